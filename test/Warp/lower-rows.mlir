// Which rows a warp visits, and when it asks what is live.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -allow-unregistered-dialect -convert-moe-warp-to-gpu -cse | FileCheck %s

gpu.module @kernels {
// CHECK-LABEL: gpu.func @live_rows(
// CHECK-SAME: %[[MAP:[^ ]*]]: memref<?xi32, 1>, %[[ROWS:[^ ]*]]: index, %[[USED:[^ ]*]]: i32, %[[ENTRY:[^ ]*]]: i32, %[[END:[^ ]*]]: index)
// Two warps a CTA; the number of those that have rows is odd, and one that has none is past all.
// CHECK: %[[LANE:.*]] = arith.andi %{{.*}}, %c31_i32
// CHECK: %[[CTA:.*]] = arith.index_castui %{{.*}}
// CHECK: %[[CTAS:.*]] = arith.index_castui %{{.*}}
// CHECK: %[[IN_CTA:.*]] = arith.shrui %{{.*}}, %c5_i32
// An even number of CTAs gives each of them neighbours.
// CHECK: %[[BIT:.*]] = arith.andi %[[CTAS]], %c1_i32
// CHECK: %[[DENSE:.*]] = arith.cmpi eq, %[[BIT]], %c0_i32
// CHECK: %[[APART:.*]] = arith.select %[[DENSE]], %c1_i32, %[[CTAS]]
// CHECK: %[[NEIGHBOURS:.*]] = arith.muli %[[CTA]], %c2_i32
// CHECK: %[[FIRST:.*]] = arith.select %[[DENSE]], %[[NEIGHBOURS]], %[[CTA]]
// CHECK: %[[OFFSET:.*]] = arith.muli %[[IN_CTA]], %[[APART]]
// CHECK: %[[NUMBER:.*]] = arith.addi %[[OFFSET]], %[[FIRST]]
// CHECK: %[[ALL:.*]] = arith.muli %[[CTAS]], %c2_i32
// CHECK: %[[LESS:.*]] = arith.addi %[[ALL]], %c-1_i32
// CHECK-NEXT: %[[ODD:.*]] = arith.ori %[[LESS]], %c1_i32
// CHECK-NEXT: %[[WARPS:.*]] = arith.index_castui %[[ODD]]
// CHECK: %[[PAST:.*]] = arith.select %{{.*}}, %c281474976710656, %c0
// CHECK: %[[WIDE:.*]] = arith.index_castui %[[NUMBER]]
// CHECK: %[[WARP:.*]] = arith.ori %[[WIDE]], %[[PAST]]
// CHECK: %[[CLAMPED:.*]] = arith.maxsi
// CHECK-NEXT: %[[USED_ROWS:.*]] = arith.minsi %[[CLAMPED]], %[[ROWS]]
// CHECK: %[[STRIDE:.*]] = arith.muli %[[WARPS]], %c32
// CHECK: scf.for %[[BASE:.*]] = %[[WARP]] to %[[END]] step %[[STRIDE]] iter_args(%[[OWN:.*]] = %[[ENTRY]])
// The next entries, which are loaded while these rows are computed.
// CHECK: memref.load %[[MAP]]
// CHECK: %[[TOKEN:.*]] = arith.cmpi sge, %[[OWN]], %c0_i32
// CHECK: %[[IS_USED:.*]] = arith.cmpi slt, %{{.*}}, %[[USED_ROWS]]
// CHECK: %[[LIVE:.*]] = arith.andi %[[IS_USED]], %[[TOKEN]]
// CHECK: %[[VOTE:.*]] = nvvm.vote.sync ballot %{{.*}}, %[[LIVE]]
// CHECK: scf.while (%{{.*}} = %[[VOTE]])
// CHECK: math.cttz
// CHECK: "test.live"
// CHECK: arith.xori %[[LIVE]]
// CHECK: nvvm.vote.sync ballot
// CHECK: scf.while
// CHECK: "test.dead"
gpu.func @live_rows(%map: memref<?xi32, 1>, %rows: index, %used: i32, %entry: i32, %end: index)
    kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  moe_warp.for_live_row in %map to %rows used %used from %entry : memref<?xi32, 1> (%row: index) {
    "test.live"(%row) : (index) -> ()
  } dead to %end (%row: index) {
    "test.dead"(%row) : (index) -> ()
  }
  gpu.return
}

// What is live is not asked before here: the values are new to LLVM.
// CHECK-LABEL: gpu.func @own_row(
// CHECK-SAME: %[[ROWS:[^ ]*]]: index, %[[COLUMNS:[^ ]*]]: index, %[[USED:[^ ]*]]: i32, %[[ENTRY:[^ ]*]]: i32)
// CHECK: %[[GRID:.*]] = gpu.grid_dim  x
// CHECK: %[[X:.*]] = arith.index_castui %[[GRID]]
// Chunks of 2 times 32 times 8 columns.
// CHECK: %[[NARROW:.*]] = arith.index_cast %[[COLUMNS]]
// CHECK: %[[UP:.*]] = arith.addi %[[NARROW]], %c511_i32
// CHECK: %[[CHUNKS:.*]] = arith.shrui %[[UP]], %c9_i32
// CHECK: %[[ONE_ROW:.*]] = arith.cmpi ule, %[[ROWS]], %{{.*}} : index
// 1024 bytes are 64 vectors of 8 elements.
// CHECK: %[[FEW:.*]] = arith.cmpi ule, %{{.*}}, %c64
// CHECK: %[[CHEAP:.*]] = arith.ori %[[FEW]], %{{.*}} : i1
// CHECK: %[[SMALL:.*]] = arith.andi %[[ONE_ROW]], %[[CHEAP]]
// CHECK: "test.small"(%[[SMALL]])
// CHECK: %[[CTAS_OF_ROW:.*]] = arith.cmpi ule, %[[CHUNKS]], %[[X]] : i32
// CHECK: %[[SMALLER:.*]] = arith.andi %[[SMALL]], %[[CTAS_OF_ROW]]
// CHECK: "test.small"(%[[SMALLER]])
// CHECK: %[[HAS_ROW:.*]] = arith.cmpi slt, %[[WARP:.*]], %[[ROWS]]
// CHECK: scf.if %[[HAS_ROW]]
// CHECK: llvm.inline_asm has_side_effects "", "=r,0" %[[USED]]
// CHECK: llvm.inline_asm has_side_effects "", "=r,0" %[[ENTRY]]
// CHECK: %[[VOTE:.*]] = nvvm.vote.sync ballot
// CHECK: %[[TOKEN:.*]] = arith.cmpi ne, %[[VOTE]], %c0_i32
// CHECK: %[[LIVE:.*]] = arith.andi %{{.*}}, %[[TOKEN]]
// CHECK: "test.row"(%[[WARP]], %[[LIVE]])
gpu.func @own_row(%rows: index, %columns: index, %used: i32, %entry: i32)
    kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  %small = moe_warp.is_small %rows by %columns elements 8 bytes 1024
  "test.small"(%small) : (i1) -> ()
  %smaller = moe_warp.is_small %rows by %columns steps 2 elements 8 bytes 1024
  "test.small"(%smaller) : (i1) -> ()
  moe_warp.for_own_row to %rows (%row: index) {
    %live = moe_warp.is_own_row_live used %used from %entry
    "test.row"(%row, %live) : (index, i1) -> ()
  }
  gpu.return
}

// CHECK-LABEL: gpu.func @wait(
// CHECK: nvvm.griddepcontrol wait
// CHECK-NEXT: nvvm.griddepcontrol launch_dependents
// CHECK: memref.load %{{.*}}[%{{.*}}] : memref<1xi32, 1>
gpu.func @wait(%n: memref<1xi32, 1>) kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  moe_warp.wait_for_predecessor
  %used = moe_warp.load_used_rows %n : memref<1xi32, 1>
  "test.used"(%used) : (i32) -> ()
  gpu.return
}
}
