// A kernel that leaves the cache to x: its stores, and the order of its chunks.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -convert-moe-to-warp | FileCheck %s --check-prefix=WARP
// RUN: moe-opt %s -convert-moe-to-warp -moe-warp-schedule-rows -convert-moe-warp-to-gpu | FileCheck %s
// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_90 | moe-translate --moe-to-ptx | FileCheck %s --check-prefix=PTX

func.func @permute(%x: memref<?x?xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>,
                   %out: memref<?x?xbf16, 1>) {
  moe.permute_tokens
    ins(%x, %map, %n : memref<?x?xbf16, 1>, memref<?xi32, 1>, memref<i32, 1>)
    outs(%out : memref<?x?xbf16, 1>) dead_rows<zero>
    {moe.schedule = [#moe.schedule<keeps_x = true>,
                     #moe.schedule<access_bytes = 2, keeps_x = true>]}
  return
}

// WARP-LABEL: gpu.func @permute_tokens_zeroed(
// WARP: moe_warp.store %{{.*}} align 16 streaming : vector<4x8xbf16>
// WARP: moe_warp.store %{{.*}} if %{{.*}} align 16 streaming : vector<4x8xbf16>
// WARP-LABEL: gpu.func @permute_tokens_zeroed_unaligned(
// WARP: moe_warp.store %{{.*}} streaming : vector<4x1xbf16>

// An even number of CTAs for the rows, of which the kernel knows that they come one after another,
// counts rows first.
// CHECK-LABEL: gpu.func @permute_tokens_zeroed(
// CHECK: %[[X:.*]] = arith.index_castui %block_id_x : index to i32
// CHECK: %[[XS:.*]] = arith.index_castui %grid_dim_x : index to i32
// CHECK: %[[Y:.*]] = arith.index_castui %block_id_y : index to i32
// CHECK: %[[YS:.*]] = arith.index_castui %grid_dim_y : index to i32
// CHECK: %[[IS_DENSE:.*]] = arith.cmpi eq, %{{.*}}, %c0_i32
// CHECK: %[[PLACE:.*]]:2 = scf.if %[[IS_DENSE]] -> (i32, i32) {
// CHECK-NEXT: %[[BEFORE:.*]] = arith.muli %[[Y]], %[[XS]] : i32
// CHECK-NEXT: %[[CTA:.*]] = arith.addi %[[BEFORE]], %[[X]] : i32
// CHECK-NEXT: %[[CHUNK:.*]] = arith.divui %[[CTA]], %[[YS]] : i32
// CHECK-NEXT: %[[ROW:.*]] = arith.remui %[[CTA]], %[[YS]] : i32
// CHECK-NEXT: scf.yield %[[CHUNK]], %[[ROW]] : i32, i32
// CHECK-NEXT: } else {
// CHECK-NEXT: scf.yield %[[X]], %[[Y]] : i32, i32
// CHECK: vector.store %{{.*}} {alignment = 16 : i64, nontemporal = true}

// PTX-LABEL: .entry permute_tokens_zeroed(
// PTX-NOT: st.global.v4
// PTX-COUNT-8: st.global.cs.v4.b32
// PTX-NOT: st.global.v4
// PTX-LABEL: .entry permute_tokens_zeroed_unaligned(
// PTX: st.global.cs.b16
