// What the verifier cannot see of the ops between tokens and rows becomes assertions.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -generate-runtime-verification | FileCheck %s
// RUN: moe-opt %s -generate-runtime-verification -canonicalize | FileCheck %s --check-prefix=FOLDED

// CHECK-LABEL: func @route
// CHECK: cf.assert {{.*}}expected 'routing_map' to have from 1 to 2048 columns (C21)
// CHECK: cf.assert {{.*}}expected 'probs' to have as many rows as 'routing_map' (C23)
// CHECK: cf.assert {{.*}}expected 'probs' to have as many columns as 'routing_map' (C23)
// CHECK: cf.assert {{.*}}expected 'permuted_probs' to have as many elements as 'permutation_map' (C23)
// CHECK: cf.assert {{.*}}expected 1 to 2048 experts (C24)
// CHECK: cf.assert {{.*}}expected 'exclusive_offsets' to have as many elements as 'tokens_per_expert' (C24)
// CHECK: cf.assert {{.*}}expected 'inclusive_offsets' to have as many elements as 'tokens_per_expert' (C24)
// CHECK: cf.assert {{.*}}expected 'inverse_map' to have as many rows as 'routing_map' (C26)
// CHECK: cf.assert {{.*}}expected 'inverse_map' to have a column for each expert (C26)
// CHECK: cf.assert {{.*}}expected 'alignment' to be 1 or more (C27)
// CHECK: cf.assert {{.*}}expected T * topk + E * alignment to be below 2^31 (C27)
// CHECK-NOT: cf.assert
// CHECK: moe.route_tokens
func.func @route(%routing: memref<?x?xi64>, %valid: memref<1xi32>, %probs: memref<?x?xf32>,
                 %first: i32, %align: i32, %counts: memref<?xi32>, %exclusive: memref<?xi32>,
                 %inclusive: memref<?xi32>, %map: memref<?xi32>, %inverse: memref<?x?xi32>,
                 %row_probs: memref<?xf32>) {
  moe.route_tokens ins(%routing, %valid : memref<?x?xi64>, memref<1xi32>)
    probs(%probs : memref<?x?xf32>) first_expert(%first) alignment(%align)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?x?xi32>)
    permuted_probs(%row_probs : memref<?xf32>)
  return
}

// CHECK-LABEL: func @unpermute
// CHECK: cf.assert {{.*}}expected 'probs' to have as many elements as 'y' has rows (C29)
// CHECK: cf.assert {{.*}}expected 'out' to have as many rows as 'inverse_map' (C30)
// CHECK: cf.assert {{.*}}expected 'out' to have as many columns as 'y' (C30)
// CHECK-NOT: cf.assert
// CHECK: moe.unpermute_tokens
func.func @unpermute(%y: memref<?x?xbf16>, %inverse: memref<?x?xi32>, %valid: memref<1xi32>,
                     %probs: memref<?xf32>, %out: memref<?x?xf32>) {
  moe.unpermute_tokens
    ins(%y, %inverse, %valid : memref<?x?xbf16>, memref<?x?xi32>, memref<1xi32>)
    probs(%probs : memref<?xf32>) outs(%out : memref<?x?xf32>)
  return
}

// What is known need not be checked.
// FOLDED-LABEL: func @static
// FOLDED-NOT: cf.assert
// FOLDED: return
func.func @static(%routing: memref<8x6xi32>, %valid: memref<i32>, %first: i32,
                  %counts: memref<16xi32>, %exclusive: memref<16xi32>,
                  %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>,
                  %y: memref<?x96xbf16>, %out: memref<8x96xf32>) {
  %align = arith.constant 16 : i32
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>)
    first_expert(%first) alignment(%align)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  moe.unpermute_tokens
    ins(%y, %inverse, %valid : memref<?x96xbf16>, memref<8x16xi32>, memref<i32>)
    outs(%out : memref<8x96xf32>)
  return
}
