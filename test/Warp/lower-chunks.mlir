// Chunks of a row, loads and stores.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -convert-moe-warp-to-gpu -cse | FileCheck %s

gpu.module @kernels {
// Warps of a CTA are spread over the grid's y, and their number is odd.
// CHECK-LABEL: gpu.func @load_and_store(
// CHECK-SAME: %[[X:[^ ]*]]: memref<?x?xbf16, 1>, %[[OUT:[^ ]*]]: memref<?x?xf32, 1>, %[[ROW:[^ ]*]]: index, %[[COLUMNS:[^ ]*]]: index)
// CHECK: %[[THREAD:.*]] = gpu.thread_id x
// CHECK: %[[LANE:.*]] = arith.andi %{{.*}}, %c31_i32 : i32
// CHECK: %[[BLOCK:.*]] = gpu.block_id x
// CHECK: %[[FIRST:.*]] = arith.index_castui %[[BLOCK]]
// CHECK: %[[GRID:.*]] = gpu.grid_dim x
// CHECK: %[[STRIDE:.*]] = arith.index_castui %[[GRID]]
// CHECK: %[[NARROW:.*]] = arith.index_cast %[[COLUMNS]] : index to i32
// A chunk is 2 steps of 32 lanes with 4 elements each: 256 columns.
// CHECK: scf.for %[[CHUNK:.*]] = %[[FIRST]] to %{{.*}} step %[[STRIDE]] : i32 {
// All loads before the first op that needs one, of the last vector past the end of the row.
// CHECK: %[[OF_CHUNK:.*]] = arith.muli %[[CHUNK]], %c64_i32
// CHECK: %[[VECTOR:.*]] = arith.addi %[[OF_CHUNK]], %[[LANE]]
// CHECK: %[[IN_ROW:.*]] = arith.cmpi slt, %[[VECTOR]], %
// CHECK: arith.minui %[[VECTOR]], %
// CHECK: %[[A:.*]] = vector.load %[[X]][%[[ROW]], %{{.*}}] {alignment = 8 : i64} : memref<?x?xbf16, 1>, vector<4xbf16>
// CHECK-NOT: arith.extf
// CHECK: %[[B:.*]] = vector.load %[[X]][%[[ROW]], %{{.*}}] {alignment = 8 : i64} : memref<?x?xbf16, 1>, vector<4xbf16>
// CHECK-NEXT: %[[C:.*]] = arith.extf %[[A]] : vector<4xbf16> to vector<4xf32>
// CHECK-NEXT: %[[D:.*]] = arith.extf %[[B]] : vector<4xbf16> to vector<4xf32>
// CHECK-NEXT: %[[SCALE:.*]] = arith.constant dense<2.000000e+00> : vector<4xf32>
// CHECK-NEXT: %[[E:.*]] = arith.mulf %[[C]], %[[SCALE]] : vector<4xf32>
// CHECK-NEXT: %[[F:.*]] = arith.mulf %[[D]], %[[SCALE]] : vector<4xf32>
// What a store under a condition stores is computed in front of it.
// CHECK: arith.bitcast %[[E]] : vector<4xf32> to vector<4xi32>
// CHECK-COUNT-4: llvm.inline_asm has_side_effects "", "=r,0"
// CHECK: scf.if %[[IN_ROW]] {
// CHECK: vector.store %{{.*}}, %[[OUT]][%[[ROW]], %{{.*}}] : memref<?x?xf32, 1>, vector<4xf32>
// CHECK: scf.if
// CHECK: vector.store
// CHECK-NOT: vector.store
// CHECK: gpu.return
gpu.func @load_and_store(%x: memref<?x?xbf16, 1>, %out: memref<?x?xf32, 1>, %row: index, %columns: index)
    kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  moe_warp.for_chunk of %columns steps 2 elements 4 (%chunk: i32) {
    %a = moe_warp.load %x[%row, %chunk] align 8 : memref<?x?xbf16, 1>, vector<2x4xbf16>
    %wide = arith.extf %a : vector<2x4xbf16> to vector<2x4xf32>
    %two = arith.constant dense<2.0> : vector<2x4xf32>
    %b = arith.mulf %wide, %two : vector<2x4xf32>
    moe_warp.store %b, %out[%row, %chunk] : vector<2x4xf32>, memref<?x?xf32, 1>
  }
  gpu.return
}

// Every chunk of 512 columns is whole.
// CHECK-LABEL: gpu.func @whole(
// CHECK: scf.for
// CHECK-NOT: arith.minui
// CHECK-NOT: scf.if
// CHECK-COUNT-2: vector.store
// CHECK: gpu.return
gpu.func @whole(%x: memref<?x?xbf16, 1>, %row: index)
    kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  %columns = arith.constant 512 : index
  moe_warp.for_chunk of %columns steps 2 elements 4 (%chunk: i32) {
    %a = moe_warp.load %x[%row, %chunk] : memref<?x?xbf16, 1>, vector<2x4xbf16>
    moe_warp.store %a, %x[%row, %chunk] : vector<2x4xbf16>, memref<?x?xbf16, 1>
  }
  gpu.return
}

// What no lowering knows gets fragments whole.
// CHECK-LABEL: gpu.func @others(
// CHECK: %[[A:.*]] = vector.load
// CHECK: %[[B:.*]] = vector.load
// CHECK: %[[ONE:.*]] = vector.insert %[[A]], %{{.*}} [0] : vector<4xbf16> into vector<2x4xbf16>
// CHECK: %[[BOTH:.*]] = vector.insert %[[B]], %[[ONE]] [1] : vector<4xbf16> into vector<2x4xbf16>
// CHECK: %[[C:.*]] = vector.transpose %[[BOTH]], [1, 0]
// CHECK: vector.shape_cast %[[C]]
gpu.func @others(%x: memref<?x?xbf16, 1>, %row: index, %columns: index)
    kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  moe_warp.for_chunk of %columns steps 2 elements 4 (%chunk: i32) {
    %a = moe_warp.load %x[%row, %chunk] : memref<?x?xbf16, 1>, vector<2x4xbf16>
    %b = vector.transpose %a, [1, 0] : vector<2x4xbf16> to vector<4x2xbf16>
    %c = vector.shape_cast %b : vector<4x2xbf16> to vector<2x4xbf16>
    moe_warp.store %c, %x[%row, %chunk] : vector<2x4xbf16>, memref<?x?xbf16, 1>
  }
  gpu.return
}
}
