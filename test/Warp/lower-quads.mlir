// Rows by quads: who has which, whose scales a lane stores, and how dead ones are cleared.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -allow-unregistered-dialect -convert-moe-warp-to-gpu -cse | FileCheck %s

gpu.module @kernels {
// CHECK-LABEL: gpu.func @quads(
// CHECK-SAME: %[[MAP:[^ ]*]]: memref<?xi32, 1>, %[[SCALE:[^ ]*]]: memref<?xf8E8M0FNU, 1>, %[[ROWS:[^ ]*]]: index, %[[COLUMNS:[^ ]*]]: index, %[[USED:[^ ]*]]: i32, %[[CODE:[^ ]*]]: i32)
// CHECK: %[[LANE:.*]] = arith.andi %{{.*}}, %c31_i32
// Seven quads for eight warps are enough.
// CHECK-DAG: %[[QUADS:.*]] = arith.muli %{{.*}}, %c8 : index
// CHECK-DAG: %[[WARPS:.*]] = arith.muli %{{.*}}, %c7 : index
// CHECK: %[[OWNS:.*]] = arith.cmpi uge, %[[QUADS]], %[[WARPS]]
// CHECK: %[[MASK:.*]] = arith.select %[[OWNS]], %c3_i32, %c0_i32
// CHECK: memref.load %[[MAP]]
// CHECK: scf.for unsigned %{{.*}} iter_args
// CHECK: memref.load %[[MAP]]
// CHECK: nvvm.vote.sync ballot
// CHECK: scf.while
// CHECK: arith.select %[[OWNS]], %c15_i32, %c1_i32
// What is stored is the same for all chunks.
// CHECK: %[[STORED:.*]] = arith.select %[[OWNS]], %c15_i32, %{{.*}}
// CHECK: scf.for
// In the loop over rows lanes are numbered anew.
// CHECK: %[[WORDS:.*]]:2 = scf.while
// CHECK: math.cttz
// CHECK: llvm.inline_asm has_side_effects "", "=r,0" %[[LANE]]
// CHECK: "test.row"
// Four scales of a column tile are a word.
// CHECK-COUNT-2: gpu.shuffle xor
// And for what comes after it.
// CHECK: llvm.inline_asm has_side_effects "", "=r,0" %[[LANE]]
// CHECK: arith.shrui %[[STORED]]
// CHECK: vector.from_elements %[[WORDS]]#1 : vector<1xi32>
// CHECK: vector.store %{{.*}}, %[[SCALE]][%{{.*}}] {alignment = 4 : i64} : memref<?xf8E8M0FNU, 1>, vector<4xf8E8M0FNU>
gpu.func @quads(%map: memref<?xi32, 1>, %scale: memref<?xf8E8M0FNU, 1>, %rows: index, %columns: index, %used: i32, %code: i32)
    kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  %entry = moe_warp.load_entries %map to %rows quads : memref<?xi32, 1>
  moe_warp.for_live_quad in %map to %rows used %used from %entry : memref<?xi32, 1> (%first: i32, %live: i32) {
    moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
      %word = moe_warp.for_row_of_quad %live of %first (%row: index) {
        "test.row"(%row) : (index) -> ()
        %packed = moe_warp.pack_scales %code[%chunk] format(#moe.mxfp8)
        moe_warp.yield %packed : i32
      }
      moe_warp.store_quad_scales %word, %scale[%first, %chunk] to %rows live %live dead format(#moe.mxfp8) : memref<?xf8E8M0FNU, 1>
    }
  }
  gpu.return
}

// CHECK-LABEL: gpu.func @dead(
// CHECK-SAME: %[[MAP:[^ ]*]]: memref<?xi32, 1>, %[[SCALE:[^ ]*]]: memref<?xf8E8M0FNU, 1>,
// CHECK: %[[OWNS:.*]] = arith.cmpi uge, %{{.*}} : index
// The entries of a lane's quad, and those of the next tile.
// CHECK-COUNT-4: memref.load %[[MAP]]
// CHECK: scf.for {{.*}} iter_args
// CHECK-COUNT-4: memref.load %[[MAP]]
// CHECK-COUNT-3: arith.ori %{{.*}} : i1
// CHECK: %[[ANY:.*]] = arith.ori %{{.*}} : i1
// CHECK: scf.for
// CHECK: scf.if %[[ANY]]
// Of a quad with a live row, those of the others, if the warps have single rows.
// CHECK: scf.if %[[OWNS]] {
// CHECK-NEXT: } else {
// CHECK: scf.for
// CHECK-COUNT-4: vector.store %{{.*}}, %[[SCALE]][%{{.*}}] {alignment = 4 : i64} : memref<?xf8E8M0FNU, 1>, vector<4xf8E8M0FNU>
// A chunk has eight column tiles.
// CHECK-COUNT-8: vector.store %{{.*}}, %[[SCALE]][%{{.*}}] {alignment = 16 : i64} : memref<?xf8E8M0FNU, 1>, vector<16xf8E8M0FNU>
// CHECK-NOT: vector.store
// CHECK: gpu.return
gpu.func @dead(%map: memref<?xi32, 1>, %scale: memref<?xf8E8M0FNU, 1>, %rows: index, %columns: index, %used: i32)
    kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  %entries = moe_warp.load_tile_entries %map to %rows : memref<?xi32, 1> -> vector<4xi32>
  moe_warp.for_row_tile in %map to %rows used %used from %entries : memref<?xi32, 1>, vector<4xi32> (%tile: index, %live: vector<4xi1>) {
    moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
      moe_warp.clear_dead_quads %live, %scale[%tile, %chunk] to %rows bytes 16 format(#moe.mxfp8) : vector<4xi1>, memref<?xf8E8M0FNU, 1>
    }
  }
  gpu.return
}
}
