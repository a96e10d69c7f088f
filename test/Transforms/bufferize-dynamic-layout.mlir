// Arguments of unknown layout: the innermost stride is checked when the program runs (C6)
// and the buffer cast to what the op asks for.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -one-shot-bufferize=bufferize-function-boundaries \
// RUN: | FileCheck %s --implicit-check-not=memref.alloc --implicit-check-not=memref.copy

// CHECK-LABEL: func @activation
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x64xbf16, strided<[?, ?], offset: ?>>, %[[MAP:[^ ]*]]: memref<?xi32, strided<[?], offset: ?>>, %[[N:[^ ]*]]: memref<i32, strided<[], offset: ?>>, %[[OUT:[^ ]*]]: memref<?x64xbf16, strided<[?, ?], offset: ?>>)
// CHECK: %{{.*}}, %{{.*}}, %{{.*}}:2, %[[X_STRIDES:.*]]:2 = memref.extract_strided_metadata %[[X]]
// CHECK: %[[C1:.*]] = arith.constant 1 : index
// CHECK: %[[X_OK:.*]] = arith.cmpi eq, %[[X_STRIDES]]#1, %[[C1]] : index
// CHECK: cf.assert %[[X_OK]], "moe: expected a buffer with an innermost stride of 1 (C6)"
// CHECK: %[[X_CAST:.*]] = memref.cast %[[X]] : {{.*}} to memref<?x64xbf16, strided<[?, 1], offset: ?>>
// CHECK: %{{.*}}, %{{.*}}, %{{.*}}, %[[MAP_STRIDE:.*]] = memref.extract_strided_metadata %[[MAP]]
// CHECK: %[[MAP_OK:.*]] = arith.cmpi eq, %[[MAP_STRIDE]], %{{.*}} : index
// CHECK: cf.assert %[[MAP_OK]], "moe: expected a buffer with an innermost stride of 1 (C6)"
// CHECK: %[[MAP_CAST:.*]] = memref.cast %[[MAP]] : {{.*}} to memref<?xi32, strided<[1], offset: ?>>
// CHECK: cf.assert
// CHECK: %[[OUT_CAST:.*]] = memref.cast %[[OUT]]
// CHECK-NOT: cf.assert
// CHECK: moe.padded_squared_relu ins(%[[X_CAST]], %[[MAP_CAST]], %[[N]] : {{.*}}) outs(%[[OUT_CAST]] :
// CHECK: return %[[OUT]]
func.func @activation(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                      %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// x, permutation_map, n_used of rank 1, data, scale.
// CHECK-LABEL: func @quantize
// CHECK-COUNT-5: cf.assert
// CHECK-NOT: cf.assert
// CHECK: moe.squared_relu_quantize_mxfp8
func.func @quantize(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<1xi32>,
                    %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %q:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
}
