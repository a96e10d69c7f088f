// A layout that cannot be aligned, whatever the address, needs the unaligned kernel alone.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -convert-moe-to-gpu -canonicalize -cse | FileCheck %s

// A row stride of 65 elements.
// CHECK-LABEL: func.func @odd_stride
// CHECK-NOT: scf.if
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
// CHECK: gpu.func @padded_squared_relu_unaligned(
// CHECK-NOT: gpu.func
func.func @odd_stride(%x: memref<?x64xbf16, strided<[65, 1]>>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x64xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16, strided<[65, 1]>>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  return
}
