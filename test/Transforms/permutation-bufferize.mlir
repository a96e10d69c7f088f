// Bufferization of the ops between tokens and rows: in place on the destinations; counts and
// offsets, of which every element is written, are not copied where their old values live on.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file \
// RUN:   -one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" \
// RUN:   -cse -canonicalize | FileCheck %s

// CHECK-LABEL: func @route
// CHECK-SAME: %[[FIRST:[^ ]*]]: i32, %[[ALIGN:[^ ]*]]: i32, %[[COUNTS:[^ ]*]]: memref<16xi32>, %[[EXC:[^ ]*]]: memref<16xi32>, %[[INC:[^ ]*]]: memref<16xi32>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[INV:[^ ]*]]: memref<?x16xi32>)
// CHECK-NEXT: moe.route_tokens {{.*}} first_expert(%[[FIRST]]) alignment(%[[ALIGN]]) outs(%[[COUNTS]], %[[EXC]], %[[INC]], %[[MAP]], %[[INV]] : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<?x16xi32>){{$}}
// CHECK-NEXT: return %[[COUNTS]], %[[EXC]], %[[INC]], %[[MAP]], %[[INV]]
func.func @route(%routing: tensor<?x6xi32>, %valid: tensor<i32>, %first: i32, %align: i32,
                 %counts: tensor<16xi32>, %exclusive: tensor<16xi32>,
                 %inclusive: tensor<16xi32>, %map: tensor<?xi32>, %inverse: tensor<?x16xi32>)
    -> (tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>) {
  %r:5 = moe.route_tokens ins(%routing, %valid : tensor<?x6xi32>, tensor<i32>)
    first_expert(%first) alignment(%align)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>)
    -> tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>
  return %r#0, %r#1, %r#2, %r#3, %r#4
    : tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>
}


// -----

// What is untouched lives on, in a copy, of the map alone.
// CHECK-LABEL: func @old_values
// CHECK-SAME: %[[E:[^ ]*]]: memref<16xi32>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[INV:[^ ]*]]: memref<?x16xi32>)
// CHECK: memref.alloc() {{.*}} : memref<16xi32>
// CHECK-NOT: memref.copy {{.*}}memref<16xi32>
// CHECK: memref.copy %[[MAP]], %{{.*}} : memref<?xi32> to memref<?xi32>
// CHECK-NOT: memref.copy
// CHECK: moe.route_tokens
func.func @old_values(%routing: tensor<?x6xi32>, %valid: tensor<i32>, %first: i32, %align: i32,
                      %e: tensor<16xi32>, %map: tensor<?xi32>, %inverse: tensor<?x16xi32>)
    -> (tensor<16xi32>, tensor<?xi32>, tensor<?xi32>, tensor<16xi32>, tensor<?x16xi32>) {
  %r:5 = moe.route_tokens ins(%routing, %valid : tensor<?x6xi32>, tensor<i32>)
    first_expert(%first) alignment(%align)
    outs(%e, %e, %e, %map, %inverse
         : tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>)
    -> tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>
  return %r#2, %r#3, %map, %e, %r#4
    : tensor<16xi32>, tensor<?xi32>, tensor<?xi32>, tensor<16xi32>, tensor<?x16xi32>
}

// -----

// CHECK-LABEL: func @unpermute
// CHECK-SAME: %[[PROBS:[^ ]*]]: memref<?xf32>, %[[OUT:[^ ]*]]: memref<?x96xf32>)
// CHECK-NEXT: moe.unpermute_tokens ins({{.*}} : memref<?x96xbf16>, memref<?x16xi32>, memref<1xi32>) probs(%[[PROBS]] : memref<?xf32>) outs(%[[OUT]] : memref<?x96xf32>){{$}}
// CHECK-NEXT: return %[[OUT]]
func.func @unpermute(%y: tensor<?x96xbf16>, %inverse: tensor<?x16xi32>, %valid: tensor<1xi32>,
                     %probs: tensor<?xf32>, %out: tensor<?x96xf32>) -> tensor<?x96xf32> {
  %r = moe.unpermute_tokens
    ins(%y, %inverse, %valid : tensor<?x96xbf16>, tensor<?x16xi32>, tensor<1xi32>)
    probs(%probs : tensor<?xf32>) outs(%out : tensor<?x96xf32>) -> tensor<?x96xf32>
  return %r : tensor<?x96xf32>
}
