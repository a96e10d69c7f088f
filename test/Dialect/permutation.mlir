// The ops between tokens and rows survive the trip through text, through the generic form
// and through bytecode; what is free is canonicalised.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s | moe-opt | FileCheck %s
// RUN: moe-opt %s --mlir-print-op-generic | moe-opt | FileCheck %s
// RUN: moe-opt %s -emit-bytecode | moe-opt | FileCheck %s
// RUN: moe-opt %s -canonicalize -cse | FileCheck %s --check-prefix=FREE

// CHECK-LABEL: func @route
// CHECK-SAME: (%[[ROUTING:[^ ]*]]: memref<?x6xi32>, %[[VALID:[^ ]*]]: memref<i32>, %[[FIRST:[^ ]*]]: i32, %[[ALIGN:[^ ]*]]: i32, %[[COUNTS:[^ ]*]]: memref<16xi32>, %[[EXC:[^ ]*]]: memref<16xi32>, %[[INC:[^ ]*]]: memref<16xi32>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[INV:[^ ]*]]: memref<?x16xi32>)
// CHECK-NEXT: moe.route_tokens ins(%[[ROUTING]], %[[VALID]] : memref<?x6xi32>, memref<i32>) first_expert(%[[FIRST]]) alignment(%[[ALIGN]]) outs(%[[COUNTS]], %[[EXC]], %[[INC]], %[[MAP]], %[[INV]] : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<?x16xi32>){{$}}
// FREE-LABEL: func @route
// FREE: moe.route_tokens
func.func @route(%routing: memref<?x6xi32>, %valid: memref<i32>, %first: i32, %align: i32,
                 %counts: memref<16xi32>, %exclusive: memref<16xi32>,
                 %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<?x16xi32>) {
  moe.route_tokens ins(%routing, %valid : memref<?x6xi32>, memref<i32>)
    first_expert(%first) alignment(%align)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<?x16xi32>)
  return
}

// CHECK-LABEL: func @route_with_probs
// CHECK: moe.route_tokens ins(%{{.*}}, %{{.*}} : memref<?x?xi64>, memref<1xi32>) probs(%{{.*}} : memref<?x?xf32>) first_expert(%{{.*}}) alignment(%{{.*}}) outs(%{{.*}} : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?x?xi32>) permuted_probs(%{{.*}} : memref<?xf32>) {note = "kept"}
func.func @route_with_probs(%routing: memref<?x?xi64>, %valid: memref<1xi32>,
                            %probs: memref<?x?xf32>, %first: i32, %align: i32,
                            %counts: memref<?xi32>, %exclusive: memref<?xi32>,
                            %inclusive: memref<?xi32>, %map: memref<?xi32>,
                            %inverse: memref<?x?xi32>, %row_probs: memref<?xf32>) {
  moe.route_tokens ins(%routing, %valid : memref<?x?xi64>, memref<1xi32>)
    probs(%probs : memref<?x?xf32>) first_expert(%first) alignment(%align)
    outs(%counts, %exclusive, %inclusive, %map, %inverse
         : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?x?xi32>)
    permuted_probs(%row_probs : memref<?xf32>) {note = "kept"}
  return
}

// CHECK-LABEL: func @on_tensors
// CHECK: %[[R:.*]]:5 = moe.route_tokens ins({{.*}} : tensor<?x6xi32>, tensor<i32>) {{.*}} -> tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>
// CHECK: %[[S:.*]] = moe.unpermute_tokens ins(%{{.*}}, %[[R]]#4, %{{.*}} : tensor<?x96xbf16>, tensor<?x16xi32>, tensor<i32>) outs(%{{.*}} : tensor<?x96xf32>) -> tensor<?x96xf32>
// CHECK: return %[[S]]
// FREE-LABEL: func @on_tensors
// FREE-COUNT-1: moe.route_tokens
// FREE-NOT: moe.route_tokens
// FREE-COUNT-1: moe.unpermute_tokens
// FREE-NOT: moe.unpermute_tokens
// FREE: return
func.func @on_tensors(%routing: tensor<?x6xi32>, %valid: tensor<i32>, %first: i32, %align: i32,
                      %e: tensor<16xi32>, %map: tensor<?xi32>, %inverse: tensor<?x16xi32>,
                      %y: tensor<?x96xbf16>, %out: tensor<?x96xf32>) -> tensor<?x96xf32> {
  %r:5 = moe.route_tokens ins(%routing, %valid : tensor<?x6xi32>, tensor<i32>)
    first_expert(%first) alignment(%align)
    outs(%e, %e, %e, %map, %inverse
         : tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>)
    -> tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>
  // The same once more, and nobody looks at it.
  %again:5 = moe.route_tokens ins(%routing, %valid : tensor<?x6xi32>, tensor<i32>)
    first_expert(%first) alignment(%align)
    outs(%e, %e, %e, %map, %inverse
         : tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>)
    -> tensor<16xi32>, tensor<16xi32>, tensor<16xi32>, tensor<?xi32>, tensor<?x16xi32>
  %s = moe.unpermute_tokens
    ins(%y, %r#4, %valid : tensor<?x96xbf16>, tensor<?x16xi32>, tensor<i32>)
    outs(%out : tensor<?x96xf32>) -> tensor<?x96xf32>
  %t = moe.unpermute_tokens
    ins(%y, %again#4, %valid : tensor<?x96xbf16>, tensor<?x16xi32>, tensor<i32>)
    outs(%out : tensor<?x96xf32>) -> tensor<?x96xf32>
  return %s : tensor<?x96xf32>
}

// A cast of a memref that only loses what is known is taken away.
// CHECK-LABEL: func @unpermute_with_probs
// CHECK: moe.unpermute_tokens ins(%{{.*}}, %{{.*}}, %{{.*}} : memref<?x?xbf16>, memref<?x16xi32>, memref<i32>) probs(%{{.*}} : memref<?xf32>) outs(%{{.*}} : memref<?x96xf32>){{$}}
// FREE-LABEL: func @unpermute_with_probs
// FREE-NOT: memref.cast
// FREE: moe.unpermute_tokens ins({{.*}} : memref<64x96xbf16>, memref<?x16xi32>, memref<i32>)
func.func @unpermute_with_probs(%y: memref<64x96xbf16>, %inverse: memref<?x16xi32>,
                                %valid: memref<i32>, %probs: memref<?xf32>,
                                %out: memref<?x96xf32>) {
  %any = memref.cast %y : memref<64x96xbf16> to memref<?x?xbf16>
  moe.unpermute_tokens
    ins(%any, %inverse, %valid : memref<?x?xbf16>, memref<?x16xi32>, memref<i32>)
    probs(%probs : memref<?xf32>) outs(%out : memref<?x96xf32>)
  return
}

// CHECK-LABEL: func @scheduled
// CHECK: moe.unpermute_tokens {{.*}} {moe.schedule = [#moe.schedule<access_bytes = 8, steps = 1>, #moe.schedule<access_bytes = 2, steps = 2>]}
func.func @scheduled(%y: memref<?x96xbf16>, %inverse: memref<?x16xi32>, %valid: memref<i32>,
                     %out: memref<?x96xf32>) {
  moe.unpermute_tokens
    ins(%y, %inverse, %valid : memref<?x96xbf16>, memref<?x16xi32>, memref<i32>)
    outs(%out : memref<?x96xf32>)
    {moe.schedule = [#moe.schedule<access_bytes = 8, steps = 1>, #moe.schedule<access_bytes = 2, steps = 2>]}
  return
}
