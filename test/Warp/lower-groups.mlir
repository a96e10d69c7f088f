// How the lanes of a group agree on its scale, and who stores it.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -allow-unregistered-dialect -convert-moe-warp-to-gpu -cse | FileCheck %s

#linear = #moe.mxfp8<scale_layout = linear>

gpu.module @kernels {
// Four lanes share a group of 32, with 8 elements each in two steps.
// CHECK-LABEL: gpu.func @scales(
// CHECK: %[[LANE:.*]] = arith.andi %{{.*}}, %c31_i32
// CHECK: %[[COLUMNS:.*]] = arith.index_cast %
// CHECK: %[[GROUPS:.*]] = arith.shrui %[[COLUMNS]], %c5_i32
// CHECK: scf.for %[[CHUNK:.*]] = %
// Nothing is negative: no sign is cleared.
// CHECK-NOT: 32767
// CHECK-COUNT-2: gpu.shuffle xor
// CHECK-NOT: gpu.shuffle
// CHECK: %[[ODD:.*]] = arith.andi %[[LANE]], %c1_i32
// CHECK: %[[IS_ODD:.*]] = arith.cmpi ne, %[[ODD]], %c0_i32
// CHECK: %[[M:.*]] = arith.select %[[IS_ODD]]
// CHECK: "test.maximum"(%[[M]])
// CHECK: %[[CODE:.*]] = arith.select %{{.*}}, %c0_i32, %{{.*}} : i32
// A lane's group: 8 in a step, 16 in a chunk. Past the end of the row the code is 0.
// CHECK: %[[IN_STEP:.*]] = arith.shrui %[[LANE]], %c2_i32
// CHECK: %[[OF_STEP:.*]] = arith.muli %[[ODD]], %c8_i32
// CHECK: %[[IN_CHUNK:.*]] = arith.addi %[[OF_STEP]], %[[IN_STEP]]
// CHECK: %[[OF_CHUNK:.*]] = arith.muli %[[CHUNK]], %c16_i32
// CHECK: %[[GROUP:.*]] = arith.addi %[[OF_CHUNK]], %[[IN_CHUNK]]
// CHECK: %[[IN_ROW:.*]] = arith.cmpi slt, %[[GROUP]], %[[GROUPS]]
// CHECK: %[[PADDED:.*]] = arith.select %[[IN_ROW]], %[[CODE]], %c0_i32
// CHECK: "test.code"(%[[CODE]])
// Each step's factor from the lane that has it, among four.
// CHECK: nvvm.shfl.sync idx %{{.*}}, %{{.*}}, %c0_i32, %c7199_i32
// CHECK: nvvm.shfl.sync idx %{{.*}}, %{{.*}}, %c1_i32, %c7199_i32
// A step is stored before the next is computed.
// CHECK: arith.truncf {{.*}} to vector<8xf8E4M3FN>
// CHECK: vector.store
// CHECK: arith.truncf {{.*}} to vector<8xf8E4M3FN>
// CHECK: vector.store
// Of four lanes the first two have a scale.
// CHECK: %[[IN_GROUP:.*]] = arith.andi %[[LANE]], %c3_i32
// CHECK: %[[HAS_SCALE:.*]] = arith.cmpi slt, %[[IN_GROUP]], %c2_i32
// CHECK: scf.if %[[HAS_SCALE]]
// CHECK: scf.if %[[IN_ROW]]
// CHECK: arith.trunci %[[PADDED]] : i32 to i8
// CHECK: memref.store
gpu.func @scales(%a: vector<2x8xbf16>, %out: memref<?x?xf8E4M3FN, 1>, %scale: memref<?x?xf8E8M0FNU, 1>, %row: index, %columns: index)
    kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
  moe_warp.for_chunk of %columns steps 2 elements 8 (%chunk: i32) {
    %m = moe_warp.group_maximum %a format(#linear) non_negative : vector<2x8xbf16>
    "test.maximum"(%m) : (bf16) -> ()
    %c = moe_warp.scale_code %m format(#linear)
    "test.code"(%c) : (i32) -> ()
    %q = moe_warp.quantize %a by %c format(#linear) : vector<2x8xbf16> -> vector<2x8xf8E4M3FN>
    moe_warp.store %q, %out[%row, %chunk] align 8 : vector<2x8xf8E4M3FN>, memref<?x?xf8E4M3FN, 1>
    moe_warp.store_scale %c, %scale[%row, %chunk] format(#linear) : memref<?x?xf8E8M0FNU, 1>
  }
  gpu.return
}

// Magnitudes of what may be negative, NaN left out.
// CHECK-LABEL: gpu.func @signed(
// CHECK-COUNT-2: arith.andi %{{.*}}, %{{.*}} : vector<16xi16>
// CHECK: gpu.return
gpu.func @signed(%a: vector<2x16xbf16>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
  %m = moe_warp.group_maximum %a format(#linear) : vector<2x16xbf16>
  "test.maximum"(%m) : (bf16) -> ()
  gpu.return
}

// A chunk has 16 groups: half of the lanes clear one each.
// CHECK-LABEL: gpu.func @clear(
// CHECK: %[[MINE:.*]] = arith.cmpi slt, %{{.*}}, %c16_i32
// CHECK: scf.if %[[MINE]]
// CHECK: scf.if
// CHECK: vector.store %{{.*}}, %{{.*}}[%{{.*}}] : memref<?xf8E8M0FNU, 1>, vector<1xf8E8M0FNU>
gpu.func @clear(%scale: memref<?xf8E8M0FNU, 1>, %row: index, %columns: index)
    kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
  moe_warp.for_chunk of %columns steps 2 elements 8 padded_to 128 (%chunk: i32) {
    moe_warp.clear_scales %scale[%row, %chunk] format(#moe.mxfp8) : memref<?xf8E8M0FNU, 1>
  }
  gpu.return
}
}
