// Where the parts of a chunk are.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -convert-moe-warp-to-gpu -canonicalize -cse | FileCheck %s

gpu.module @kernels {
// The second half is as many columns further on as the destination has.
// CHECK-LABEL: gpu.func @halves(
// CHECK-SAME: %[[COLUMNS:[^ ]*]]: index)
// CHECK: %[[N:.*]] = arith.index_cast %[[COLUMNS]] : index to i32
// CHECK: %[[FIRST:.*]] = arith.muli %{{.*}}, %c8_i32
// CHECK-NEXT: %[[AT:.*]] = arith.index_castui %[[FIRST]]
// CHECK-NEXT: vector.load %{{.*}}, %[[AT]]] {alignment = 16 : i64}
// CHECK-NEXT: %[[SECOND:.*]] = arith.addi %[[FIRST]], %[[N]]
// CHECK-NEXT: %[[THERE:.*]] = arith.index_castui %[[SECOND]]
// CHECK-NEXT: vector.load %{{.*}}, %[[THERE]]] {alignment = 16 : i64}
gpu.func @halves(%x: memref<?x?xbf16, 1>, %out: memref<?x?xbf16, 1>, %row: index, %columns: index)
    kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
  moe_warp.for_chunk of %columns steps 1 elements 8 (%chunk: i32) {
    %a, %b = moe_warp.load %x[%row, %chunk] pairs<halves> align 16 : memref<?x?xbf16, 1>, vector<1x8xbf16>, vector<1x8xbf16>
    %c = arith.mulf %a, %b : vector<1x8xbf16>
    moe_warp.store %c, %out[%row, %chunk] : vector<1x8xbf16>, memref<?x?xbf16, 1>
  }
  gpu.return
}

// Whole vectors of a block of 16, and of one that is no power of two.
// CHECK-LABEL: gpu.func @blocks(
// CHECK: %[[BEGIN:.*]] = arith.andi %[[COLUMN:.*]], %c-16_i32
// CHECK-NEXT: %[[FIRST:.*]] = arith.addi %[[COLUMN]], %[[BEGIN]]
// CHECK: vector.load
// CHECK: arith.addi %[[FIRST]], %c16_i32
// CHECK: vector.load
// CHECK: arith.divui %{{.*}}, %c24_i32
gpu.func @blocks(%x: memref<?x?xbf16, 1>, %out: memref<?x?xbf16, 1>, %row: index, %columns: index)
    kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
  moe_warp.for_chunk of %columns steps 1 elements 8 (%chunk: i32) {
    %a, %b = moe_warp.load %x[%row, %chunk] pairs<interleaved<16>> : memref<?x?xbf16, 1>, vector<1x8xbf16>, vector<1x8xbf16>
    %c = arith.mulf %a, %b : vector<1x8xbf16>
    moe_warp.store %c, %out[%row, %chunk] : vector<1x8xbf16>, memref<?x?xbf16, 1>
  }
  moe_warp.for_chunk of %columns steps 1 elements 8 (%chunk: i32) {
    %a, %b = moe_warp.load %x[%row, %chunk] pairs<interleaved<24>> : memref<?x?xbf16, 1>, vector<1x8xbf16>, vector<1x8xbf16>
    %c = arith.mulf %a, %b : vector<1x8xbf16>
    moe_warp.store %c, %out[%row, %chunk] : vector<1x8xbf16>, memref<?x?xbf16, 1>
  }
  gpu.return
}

// One run of columns, of which every other element is of a part.
// CHECK-LABEL: gpu.func @elements(
// CHECK: %[[FIRST:.*]] = arith.muli %{{.*}}, %c8_i32
// CHECK: vector.load
// CHECK: arith.addi %[[FIRST]], %c4_i32
// CHECK: vector.load
// CHECK: vector.shuffle %{{.*}}, %{{.*}} [0, 2, 4, 6] : vector<4xi16>, vector<4xi16>
// CHECK: vector.shuffle %{{.*}}, %{{.*}} [1, 3, 5, 7] : vector<4xi16>, vector<4xi16>
gpu.func @elements(%x: memref<?x?xbf16, 1>, %out: memref<?x?xbf16, 1>, %row: index, %columns: index)
    kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
  moe_warp.for_chunk of %columns steps 1 elements 4 (%chunk: i32) {
    %a, %b = moe_warp.load %x[%row, %chunk] pairs<interleaved<1>> : memref<?x?xbf16, 1>, vector<1x4xbf16>, vector<1x4xbf16>
    %c = arith.mulf %a, %b : vector<1x4xbf16>
    moe_warp.store %c, %out[%row, %chunk] : vector<1x4xbf16>, memref<?x?xbf16, 1>
  }
  gpu.return
}
}
