// The CPU path of ops that gather rows of x.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -convert-moe-to-scf -canonicalize -cse | FileCheck %s

// Rows are those of the destination. An entry that is negative, or at or past the last token, is
// no token's: as unsigned numbers both are too large.
// CHECK-LABEL: func.func @permute
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x64xbf16>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[N:[^ ]*]]: memref<i32>, %[[OUT:[^ ]*]]: memref<?x64xbf16>)
// CHECK: %[[ROWS:.*]] = memref.dim %[[OUT]], %c0
// CHECK: %[[USED:.*]] = arith.minsi %{{.*}}, %[[ROWS]]
// CHECK: scf.for %[[ROW:.*]] = %c0 to %[[USED]] step %c1 {
// CHECK: %[[IS_USED:.*]] = arith.cmpi slt, %[[ROW]], %[[USED]]
// CHECK: %[[LIVE:.*]]:2 = scf.if %[[IS_USED]] -> (i1, index) {
// CHECK-NEXT: %[[ENTRY:.*]] = memref.load %[[MAP]][%[[ROW]]]
// CHECK-NEXT: %[[TOKENS:.*]] = memref.dim %[[X]], %c0
// CHECK-NEXT: %[[TOKEN:.*]] = arith.index_cast %[[ENTRY]] : i32 to index
// CHECK-NEXT: %[[IS_TOKEN:.*]] = arith.cmpi ult, %[[TOKEN]], %[[TOKENS]] : index
// CHECK-NEXT: scf.yield %[[IS_TOKEN]], %[[TOKEN]]
// CHECK-NEXT: } else {
// CHECK-NEXT: scf.yield %false, %c0
// CHECK: scf.if %[[LIVE]]#0 {
// CHECK: %[[V:.*]] = vector.load %[[X]][%[[LIVE]]#1, %[[COLUMN:.*]]] : memref<?x64xbf16>, vector<32xbf16>
// CHECK-NEXT: vector.store %[[V]], %[[OUT]][%[[ROW]], %[[COLUMN]]] : memref<?x64xbf16>, vector<32xbf16>
func.func @permute(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                   %out: memref<?x64xbf16>) {
  moe.permute_tokens ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  return
}

// The scales of as many row tiles as the destination has are cleared.
// CHECK-LABEL: func.func @quantize
// CHECK-DAG: %[[END:.*]] = arith.constant 384 : index
// CHECK: scf.for %[[TILE:.*]] = %c0 to %[[END]] step %c128 {
// CHECK: scf.for %[[ROW:.*]] = %[[TILE]] to
// CHECK: %[[LIVE:.*]]:2 = scf.if
// CHECK: arith.cmpi ult, %{{.*}}, %c7 : index
// CHECK: vector.load %{{.*}}[%[[LIVE]]#1, %{{.*}}] : memref<7x64xbf16>, vector<32xbf16>
// CHECK: vector.store %{{.*}}, %{{.*}}[%[[ROW]], %{{.*}}] : memref<300x64xf8E4M3FN>, vector<32xf8E4M3FN>
func.func @quantize(%x: memref<7x64xbf16>, %map: memref<300xi32>, %n: memref<i32>,
                    %data: memref<300x64xf8E4M3FN>, %scale: memref<1536xf8E8M0FNU>) {
  moe.permute_quantize_mxfp8 ins(%x, %map, %n : memref<7x64xbf16>, memref<300xi32>, memref<i32>)
    outs(%data, %scale : memref<300x64xf8E4M3FN>, memref<1536xf8E8M0FNU>)
  return
}

// A factor is that of the row, not of the token.
// CHECK-LABEL: func.func @weighted
// CHECK-SAME: %[[PROBS:[^ ]*]]: memref<?xf32>
// CHECK: scf.for %[[ROW:.*]] = %c0 to
// CHECK: vector.load %{{.*}}[%{{.*}}#1,
// CHECK: memref.load %[[PROBS]][%[[ROW]]]
func.func @weighted(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                    %probs: memref<?xf32>, %out: memref<?x64xbf16>) {
  moe.map_rows ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) gathers
    probs(%probs : memref<?xf32>) outs(%out : memref<?x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16, %prob: f32):
    %narrow = arith.truncf %prob : f32 to bf16
    %product = arith.mulf %v, %narrow : bf16
    moe.yield %product : bf16
  }
  return
}
