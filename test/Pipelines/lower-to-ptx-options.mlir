// The pipeline's options reach the passes that they are for.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-ptx | FileCheck %s --check-prefixes=CHECK,DEFAULT
// RUN: moe-opt %s -moe-lower-to-ptx="chip=sm_100a features=+ptx90 O=2 num-ctas=7 threads-per-cta=64" \
// RUN: | FileCheck %s --check-prefixes=CHECK,OPTIONS
// RUN: moe-opt %s -moe-lower-to-ptx="chip=sm_100 access-bytes=16" | moe-translate --moe-to-ptx \
// RUN: | FileCheck %s --check-prefix=NARROW --implicit-check-not=.global.v8
// RUN: moe-opt %s -moe-lower-to-ptx="chip=sm_90 threads-per-cta=1024" | moe-translate --moe-to-ptx \
// RUN: | FileCheck %s --check-prefix=LARGE

// CHECK: module attributes {gpu.container_module}
// CHECK-LABEL: func.func @activation
// DEFAULT: %[[THREADS:.*]] = arith.constant 256 : index
// OPTIONS: %[[CTAS:.*]] = arith.constant 7 : index
// OPTIONS: %[[THREADS:.*]] = arith.constant 64 : index
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu blocks in ({{.*}}) threads in (%[[THREADS]],
// CHECK-NOT: moe.
// LLVM leaves the optimising to the assembler, which is told to do it.
// DEFAULT: gpu.binary @moe_kernels [#gpu.object<#nvvm.target<O = 0, chip = "sm_90", features = "+ptx80">, properties = {{[{].*}}O = 3 : i32}
// OPTIONS: gpu.binary @moe_kernels [#gpu.object<#nvvm.target<chip = "sm_100a", features = "+ptx90">, properties = {{[{].*}}O = 3 : i32}
// DEFAULT-SAME: .version 8.0
// OPTIONS-SAME: .version 9.0
// DEFAULT-SAME: .target sm_90\0A
// OPTIONS-SAME: .target sm_100a\0A

// NARROW: .target sm_100{{$}}
// NARROW: ld.global.v4.b32

// LARGE: .maxntid 1024, 1, 1
func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
