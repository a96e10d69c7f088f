// ptxas takes the kernels of the ops between tokens and rows, and needs no stack for them.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// REQUIRES: ptxas
// RUN: moe-opt %s "-moe-lower-to-ptx=chip=sm_80 O=3" | moe-translate --moe-to-ptx -o %t.sm_80.ptx
// RUN: %ptxas -arch=sm_80 %t.sm_80.ptx -o %t.sm_80.cubin
// RUN: moe-opt %s "-moe-lower-to-ptx=chip=sm_90 O=3" | moe-translate --moe-to-ptx -o %t.sm_90.ptx
// RUN: %ptxas -v -arch=sm_90 %t.sm_90.ptx -o %t.sm_90.cubin 2>&1 | FileCheck %s
// RUN: moe-opt %s "-moe-lower-to-ptx=chip=sm_100 O=3" | moe-translate --moe-to-ptx -o %t.sm_100.ptx
// RUN: %ptxas -v -arch=sm_100 %t.sm_100.ptx -o %t.sm_100.cubin 2>&1 | FileCheck %s

// CHECK-COUNT-5: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// CHECK-NOT: bytes stack frame
func.func @route(%routing: memref<?x?xi64, strided<[?, 1], offset: ?>>, %valid: memref<i32>,
                 %probs: memref<?x?xf32, strided<[?, 1], offset: ?>>, %first: i32, %align: i32,
                 %counts: memref<?xi32>, %exclusive: memref<?xi32>, %inclusive: memref<?xi32>,
                 %map: memref<?xi32>, %inverse: memref<?x?xi32, strided<[?, 1], offset: ?>>,
                 %row_probs: memref<?xf32>) {
  moe.route_tokens
    ins(%routing, %valid : memref<?x?xi64, strided<[?, 1], offset: ?>>, memref<i32>)
    probs(%probs : memref<?x?xf32, strided<[?, 1], offset: ?>>)
    first_expert(%first) alignment(%align)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>,
           memref<?x?xi32, strided<[?, 1], offset: ?>>)
    permuted_probs(%row_probs : memref<?xf32>)
  return
}
func.func @unpermute(%y: memref<?x?xbf16, strided<[?, 1], offset: ?>>,
                     %inverse: memref<?x?xi32, strided<[?, 1], offset: ?>>,
                     %valid: memref<i32>, %probs: memref<?xf32>,
                     %out: memref<?x?xf32, strided<[?, 1], offset: ?>>) {
  moe.unpermute_tokens
    ins(%y, %inverse, %valid : memref<?x?xbf16, strided<[?, 1], offset: ?>>,
        memref<?x?xi32, strided<[?, 1], offset: ?>>, memref<i32>)
    probs(%probs : memref<?xf32>) outs(%out : memref<?x?xf32, strided<[?, 1], offset: ?>>)
  return
}
