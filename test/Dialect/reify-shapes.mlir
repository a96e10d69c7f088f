// The size of a result is that of its destination.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -resolve-ranked-shaped-type-result-dims -canonicalize | FileCheck %s

// CHECK-LABEL: func @activation
// CHECK-SAME: (%[[X:[^ ]*]]: tensor<?x?xbf16>, %[[MAP:[^ ]*]]: tensor<?xi32>, %[[N:[^ ]*]]: tensor<i32>, %[[INIT:[^ ]*]]: tensor<?x?xbf16>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[ROWS:.*]] = tensor.dim %[[INIT]], %[[C0]] : tensor<?x?xbf16>
// CHECK-DAG: %[[COLUMNS:.*]] = tensor.dim %[[INIT]], %[[C1]] : tensor<?x?xbf16>
// CHECK-NOT: moe.
// CHECK: return %[[ROWS]], %[[COLUMNS]]
func.func @activation(%x: tensor<?x?xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                      %init: tensor<?x?xbf16>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x?xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x?xbf16>) -> tensor<?x?xbf16>
  %rows = tensor.dim %r, %c0 : tensor<?x?xbf16>
  %columns = tensor.dim %r, %c1 : tensor<?x?xbf16>
  return %rows, %columns : index, index
}

// CHECK-LABEL: func @quantize
// CHECK-SAME: %[[DATA:[^ ]*]]: tensor<?x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: tensor<?xf8E8M0FNU>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C64:.*]] = arith.constant 64 : index
// CHECK-DAG: %[[ROWS:.*]] = tensor.dim %[[DATA]], %[[C0]] : tensor<?x64xf8E4M3FN>
// CHECK-DAG: %[[SIZE:.*]] = tensor.dim %[[SCALE]], %[[C0]] : tensor<?xf8E8M0FNU>
// CHECK-NOT: moe.
// CHECK: return %[[ROWS]], %[[C64]], %[[SIZE]]
func.func @quantize(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                    %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (index, index, index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %q:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  %rows = tensor.dim %q#0, %c0 : tensor<?x64xf8E4M3FN>
  %columns = tensor.dim %q#0, %c1 : tensor<?x64xf8E4M3FN>
  %size = tensor.dim %q#1, %c0 : tensor<?xf8E8M0FNU>
  return %rows, %columns, %size : index, index, index
}
