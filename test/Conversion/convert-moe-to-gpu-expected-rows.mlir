// What the caller expects decides the grid, and nothing else.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt --moe-choose-schedule --convert-moe-to-gpu --canonicalize --cse %s | FileCheck %s
// RUN: moe-opt --split-input-file --verify-diagnostics %S/Inputs/expected-rows-invalid.mlir

!x = memref<65536x1024xbf16, strided<[1024, 1], offset: 0>>

// A chunk is 1024 columns. Unknown: 528 CTAs at most, under which each of 4096 warps has 16
// rows; 517 is the next of the numbers under which rows do not meet.
// CHECK-LABEL: func.func @unknown
// CHECK-DAG:     %[[Y:.*]] = arith.constant 517 : index
// CHECK:         gpu.launch_func {{.*}} blocks in (%{{.*}}, %[[Y]], %{{.*}})
func.func @unknown(%x: !x, %map: memref<65536xi32>, %n: memref<i32>, %out: !x) {
  %a = memref.assume_alignment %x, 16 : !x
  %b = memref.assume_alignment %out, 16 : !x
  moe.padded_squared_relu ins(%a, %map, %n : !x, memref<65536xi32>, memref<i32>) outs(%b : !x)
  return
}

// An eighth of 528, and the nearest spreading number below.
// CHECK-LABEL: func.func @few
// CHECK-DAG:     %[[Y:.*]] = arith.constant 61 : index
// CHECK:         gpu.launch_func {{.*}} blocks in (%{{.*}}, %[[Y]], %{{.*}})
func.func @few(%x: !x, %map: memref<65536xi32>, %n: memref<i32>, %out: !x) {
  %a = memref.assume_alignment %x, 16 : !x
  %b = memref.assume_alignment %out, 16 : !x
  moe.padded_squared_relu ins(%a, %map, %n : !x, memref<65536xi32>, memref<i32>) outs(%b : !x)
    {moe.expected_rows = 6 : i64}
  return
}

// 8 warps a CTA, and one may be idle: 8193 for a row each, of which 8197 is the next. One more
// makes an even number, by which the kernel knows.
// CHECK-LABEL: func.func @all
// CHECK-DAG:     %[[Y:.*]] = arith.constant 8198 : index
// CHECK:         gpu.launch_func {{.*}} blocks in (%{{.*}}, %[[Y]], %{{.*}})
func.func @all(%x: !x, %map: memref<65536xi32>, %n: memref<i32>, %out: !x) {
  %a = memref.assume_alignment %x, 16 : !x
  %b = memref.assume_alignment %out, 16 : !x
  moe.padded_squared_relu ins(%a, %map, %n : !x, memref<65536xi32>, memref<i32>) outs(%b : !x)
    {moe.expected_rows = 65536 : i64}
  return
}

// One kernel for all of them.
// CHECK:         gpu.func @padded_squared_relu(
// CHECK-NOT:     gpu.func
