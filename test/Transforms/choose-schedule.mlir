// What is chosen, by chip and format. Lowering has tests of its own.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s --moe-choose-schedule | FileCheck %s --check-prefixes=CHECK,ANY
// RUN: moe-opt %s --moe-choose-schedule=chip=sm_89 | FileCheck %s --check-prefixes=CHECK,ANY
// RUN: moe-opt %s --moe-choose-schedule=chip=sm_90a | FileCheck %s --check-prefixes=CHECK,SM90
// RUN: moe-opt %s --moe-choose-schedule=chip=sm_120 | FileCheck %s --check-prefixes=CHECK,SM100
// RUN: moe-opt %s --moe-choose-schedule="threads-per-cta=1024 access-bytes=32 num-ctas=9" \
// RUN: | FileCheck %s --check-prefixes=CHECK,ASKED
// RUN: moe-opt %s --moe-choose-schedule=threads-per-cta=32 | FileCheck %s --check-prefixes=CHECK,FEW
// RUN: moe-opt %s --moe-choose-schedule=print-table 2>&1 >%t | FileCheck %s --check-prefix=TABLE
// RUN: echo 'module {}' | moe-opt --moe-choose-schedule=print-table 2>&1 >%t | FileCheck %s --check-prefix=TABLE
// RUN: not moe-opt %s --moe-choose-schedule=chip=sm_75 2>&1 | FileCheck %s --check-prefix=CHIP

// TABLE: | from | scales | schedules |
// TABLE: | sm_80 | none | `#moe.schedule<early_bytes = 1048576>`, `#moe.schedule<access_bytes = 2, steps = 2>` |
// TABLE: | sm_100 | swizzled | `#moe.schedule<access_bytes = 32, steps = 2, clear_bytes = 16, rows = quads, waits = true>`,

// CHIP: error: moe-choose-schedule: unsupported chip 'sm_75', expected one of sm_80,

!x = memref<?x64xbf16>
!data = memref<?x64xf8E4M3FN>

// CHECK-LABEL: @activation
// ANY: [#moe.schedule<early_bytes = 1048576>, #moe.schedule<access_bytes = 2, steps = 2>]
// SM90: [#moe.schedule<early_bytes = 1048576, waits = true>, #moe.schedule<access_bytes = 2, steps = 2, waits = true>]
// SM100: [#moe.schedule<access_bytes = 32, steps = 2, early_bytes = 1048576, waits = true>, #moe.schedule<access_bytes = 2, steps = 2, waits = true>]
// ASKED: [#moe.schedule<threads = 1024, access_bytes = 32, steps = 2, early_bytes = 1048576, min_ctas = 1, num_ctas = 9>,
// ASKED-SAME: #moe.schedule<threads = 1024, access_bytes = 2, steps = 2, min_ctas = 1, num_ctas = 9>]
// FEW: [#moe.schedule<threads = 32, early_bytes = 1048576, min_ctas = 16>,
func.func @activation(%x: !x, %map: memref<?xi32>, %n: memref<i32>, %out: !x) {
  moe.padded_squared_relu ins(%x, %map, %n : !x, memref<?xi32>, memref<i32>) outs(%out : !x)
  return
}

// CHECK-LABEL: @swizzled
// ANY: [#moe.schedule<clear_bytes = 16, rows = quads>, #moe.schedule<access_bytes = 2, steps = 2>]
// SM90: [#moe.schedule<clear_bytes = 16, rows = quads, waits = true>,
// SM100: [#moe.schedule<access_bytes = 32, steps = 2, clear_bytes = 16, rows = quads, waits = true>,
func.func @swizzled(%x: !x, %map: memref<?xi32>, %n: memref<i32>, %data: !data, %scale: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8 ins(%x, %map, %n : !x, memref<?xi32>, memref<i32>) outs(%data, %scale : !data, memref<?xf8E8M0FNU>)
  return
}

// On tensors too.
// CHECK-LABEL: @linear
// ANY: [#moe.schedule<>, #moe.schedule<access_bytes = 2, steps = 2>]
func.func @linear(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>, %data: tensor<?x64xf8E4M3FN>,
                  %scale: tensor<?x2xf8E8M0FNU>) -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %0:2 = moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) scale_layout<linear>
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %0#0, %0#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}

// What is written by hand stays.
// CHECK-LABEL: @by_hand
// CHECK: {moe.schedule = [#moe.schedule<access_bytes = 2>]}
func.func @by_hand(%x: !x, %map: memref<?xi32>, %n: memref<i32>, %out: !x) {
  moe.padded_squared_relu ins(%x, %map, %n : !x, memref<?xi32>, memref<i32>) outs(%out : !x)
    {moe.schedule = [#moe.schedule<access_bytes = 2>]}
  return
}
