// Kernels of pairs of columns, with factors, without a map, and with rows that become zeros.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -convert-moe-to-warp | FileCheck %s
// RUN: moe-opt %s -split-input-file -convert-moe-to-warp | moe-opt -split-input-file | FileCheck %s

// Both parts of a chunk are loaded by one op. The columns are those of the destination.
// CHECK-LABEL: gpu.func @map_rows(
// CHECK: %[[COLUMNS:.*]] = memref.dim %arg3, %{{.*}} : memref<?x?xbf16, 1>
// CHECK: moe_warp.for_chunk of %[[COLUMNS]] steps 2 elements 8
// CHECK: %[[P:.*]]:2 = moe_warp.load %{{.*}} pairs<interleaved<4>> align 16 : memref<?x?xbf16, 1>, vector<2x8xbf16>, vector<2x8xbf16>
// CHECK-NEXT: arith.mulf %[[P]]#0, %[[P]]#1 : vector<2x8xbf16>
func.func @pairs(%x: memref<?x?xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>, %out: memref<?x?xbf16, 1>) {
  moe.map_rows ins(%x, %map, %n : memref<?x?xbf16, 1>, memref<?xi32, 1>, memref<i32, 1>)
    outs(%out : memref<?x?xbf16, 1>) pairs<interleaved<4>> format(#moe.bf16) {
  ^bb0(%a: bf16, %b: bf16):
    %c = arith.mulf %a, %b : bf16
    moe.yield %c : bf16
  }
  return
}

// -----

// CHECK-LABEL: gpu.func @padded_squared_relu_dense_probs(
// CHECK-SAME: %[[X:[^ ]*]]: memref<?x64xbf16, 1>, %[[N:[^ ]*]]: memref<i32, 1>, %[[PROBS:[^ ]*]]: memref<?xf32, 1>, %[[OUT:[^ ]*]]: memref<?x64xbf16, 1>)
// CHECK: %[[ENTRY:.*]] = moe_warp.load_entries to %[[ROWS:.*]]
// CHECK: moe_warp.for_live_row to %[[ROWS]] used %{{.*}} from %[[ENTRY]] (%[[ROW:.*]]: index) {
// CHECK: moe_warp.load %[[X]]
// CHECK: %[[PROB:.*]] = memref.load %[[PROBS]][%[[ROW]]]
// CHECK: vector.broadcast %[[PROB]] : f32 to vector<4x8xf32>
func.func @no_map(%x: memref<?x64xbf16, 1>, %n: memref<i32, 1>, %p: memref<?xf32, 1>, %out: memref<?x64xbf16, 1>) {
  moe.padded_squared_relu ins(%x, %n : memref<?x64xbf16, 1>, memref<i32, 1>)
    probs(%p : memref<?xf32, 1>) outs(%out : memref<?x64xbf16, 1>)
  return
}

// -----

// Rows below n_used, and none from it on.
// CHECK-LABEL: gpu.func @padded_squared_relu_zeroed(
// CHECK: dead to %{{.*}}(%[[ROW:.*]]: index) {
// CHECK: %[[ZEROS:.*]] = arith.bitcast %{{.*}} : vector<4x8xi16> to vector<4x8xbf16>
// CHECK: %[[IS_USED:.*]] = arith.cmpi slt, %[[ROW]], %
// CHECK: moe_warp.store %[[ZEROS]], %{{.*}} if %[[IS_USED]]
func.func @zeroed(%x: memref<?x64xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>, %out: memref<?x64xbf16, 1>) {
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16, 1>, memref<?xi32, 1>, memref<i32, 1>)
    outs(%out : memref<?x64xbf16, 1>) dead_rows<zero>
  return
}
