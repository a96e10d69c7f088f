// Rows of x that the map names: the token of a row, from its entry to its loads.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -convert-moe-to-warp | FileCheck %s --check-prefix=WARP
// RUN: moe-opt %s -convert-moe-to-warp -moe-warp-schedule-rows | FileCheck %s --check-prefix=SCHEDULED
// RUN: moe-opt %s -convert-moe-to-warp -moe-warp-schedule-rows --mlir-print-op-generic | moe-opt | FileCheck %s --check-prefix=SCHEDULED
// RUN: moe-opt %s -convert-moe-to-warp -moe-warp-schedule-rows -convert-moe-warp-to-gpu -cse | FileCheck %s

#quads = #moe.schedule<rows = quads, clear_bytes = 16>

// The grid is one for the rows of the destination.
// WARP-LABEL: func.func @permute
// WARP: %[[ROWS:.*]] = memref.dim %arg3, %
// WARP: arith.minui %[[ROWS]], %
// WARP: gpu.launch_func @moe_kernels::@permute_tokens
func.func @permute(%x: memref<?x64xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>,
                   %out: memref<?x64xbf16, 1>) {
  moe.permute_tokens
    ins(%x, %map, %n : memref<?x64xbf16, 1>, memref<?xi32, 1>, memref<i32, 1>)
    outs(%out : memref<?x64xbf16, 1>) {moe.schedule = [#moe.schedule<access_bytes = 2>]}
  return
}

func.func @quantize(%x: memref<?x1024xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>,
                    %data: memref<?x1024xf8E4M3FN, 1>, %scale: memref<?xf8E8M0FNU, 1>) {
  moe.permute_quantize_mxfp8
    ins(%x, %map, %n : memref<?x1024xbf16, 1>, memref<?xi32, 1>, memref<i32, 1>)
    outs(%data, %scale : memref<?x1024xf8E4M3FN, 1>, memref<?xf8E8M0FNU, 1>)
    {moe.schedule = [#quads, #moe.schedule<access_bytes = 2, steps = 2>]}
  return
}

// WARP-LABEL: gpu.func @permute_tokens_unaligned(
// WARP-SAME: %[[X:[^ ]*]]: memref<?x64xbf16, 1>, %[[MAP:[^ ]*]]: memref<?xi32, 1>, %[[N:[^ ]*]]: memref<i32, 1>, %[[OUT:[^ ]*]]: memref<?x64xbf16, 1>)
// WARP-DAG: %[[ROWS:.*]] = memref.dim %[[OUT]], %
// WARP-DAG: %[[TOKENS:.*]] = memref.dim %[[X]], %
// WARP: moe_warp.load_entries %[[MAP]] to %[[ROWS]]
// WARP: moe_warp.for_live_row in %[[MAP]] to %[[ROWS]] tokens %[[TOKENS]] used %{{.*}} from %{{.*}} : memref<?xi32, 1> (%[[ROW:.*]]: index, %[[TOKEN:.*]]: index) {
// WARP: moe_warp.load %[[X]][%[[TOKEN]], %{{.*}}]
// WARP: moe_warp.store %{{.*}}, %[[OUT]][%[[ROW]], %{{.*}}]

// One shuffle for a row: the lane whose vote it was has the entry.
// CHECK-LABEL: gpu.func @permute_tokens_unaligned(
// CHECK-SAME: %[[X:[^ ]*]]: memref<?x64xbf16, 1>, %[[MAP:[^ ]*]]: memref<?xi32, 1>, {{.*}}, %[[OUT:[^ ]*]]: memref<?x64xbf16, 1>)
// CHECK: %[[TOKENS:.*]] = memref.dim %[[X]], %c0
// CHECK: scf.for %[[BASE:.*]] = %{{.*}} iter_args(%[[ENTRY:.*]] = %{{.*}}) -> (i32) {
// CHECK: %[[WIDE:.*]] = arith.index_cast %[[ENTRY]] : i32 to index
// CHECK-NEXT: %[[IS_TOKEN:.*]] = arith.cmpi ult, %[[WIDE]], %[[TOKENS]] : index
// CHECK: %[[IS_LIVE:.*]] = arith.andi %{{.*}}, %[[IS_TOKEN]]
// CHECK: nvvm.vote.sync ballot %{{.*}}, %[[IS_LIVE]]
// CHECK: scf.while
// CHECK: %[[BIT:.*]] = math.cttz
// CHECK: %[[ROW:.*]] = arith.addi %[[BASE]], %
// CHECK: %[[FOUND:.*]], %{{.*}} = gpu.shuffle idx %[[ENTRY]], %[[BIT]], %c32_i32 : i32
// CHECK: %[[TOKEN:.*]] = arith.index_castui %[[FOUND]] : i32 to index
// CHECK: vector.load %[[X]][%[[TOKEN]], %
// CHECK-NOT: gpu.shuffle
// CHECK-NOT: memref.load %[[MAP]]
// CHECK: vector.store %{{.*}}, %[[OUT]][%[[ROW]], %
// CHECK: gpu.return

// By quads, the lanes have the entries of the quad before its chunks are visited. Tiles to be
// cleared ask the same of an entry.
// SCHEDULED-LABEL: gpu.func @permute_quantize_mxfp8(
// SCHEDULED: moe_warp.for_row_tile in %{{.*}} to %[[ROWS:.*]] tokens %[[TOKENS:.*]] used %{{.*}} from %
// SCHEDULED: moe_warp.for_live_quad in %{{.*}} to %[[ROWS]] tokens %[[TOKENS]] used %{{.*}} from %{{.*}} : memref<?xi32, 1> (%[[FIRST:.*]]: i32, %[[LIVE:.*]]: i32, %[[ENTRIES:.*]]: i32) {
// SCHEDULED: moe_warp.for_chunk
// SCHEDULED: moe_warp.for_row_of_quad %[[LIVE]] of %[[FIRST]] from %[[ENTRIES]] (%[[ROW:.*]]: index, %[[TOKEN:.*]]: index) {
// SCHEDULED: moe_warp.load %{{.*}}[%[[TOKEN]], %
// SCHEDULED: moe_warp.store %{{.*}}[%[[ROW]], %

// CHECK-LABEL: gpu.func @permute_quantize_mxfp8(
// CHECK-SAME: %[[X:[^ ]*]]: memref<?x1024xbf16, 1>
// CHECK: %[[LANE:.*]] = arith.andi %{{.*}}, %c31_i32
// CHECK-COUNT-4: arith.cmpi ult, %{{.*}}, %{{.*}} : index
// The walk over quads.
// CHECK: scf.for unsigned %{{.*}} iter_args(%[[ENTRY:.*]] = %{{.*}}) -> (i32)
// CHECK: arith.index_cast %[[ENTRY]] : i32 to index
// CHECK: %[[BIT:.*]] = math.cttz
// CHECK: %[[WITHIN:.*]] = arith.andi %[[BIT]], %
// CHECK: %[[FIRST:.*]] = arith.subi %[[BIT]], %[[WITHIN]]
// CHECK: %[[IN_QUAD:.*]] = arith.andi %{{.*}}, %c3_i32
// CHECK: %[[OF_LANE:.*]] = arith.andi %[[LANE]], %c3_i32
// CHECK: %[[BEFORE:.*]] = arith.subi %[[FIRST]], %[[IN_QUAD]]
// CHECK: %[[SOURCE:.*]] = arith.addi %[[BEFORE]], %[[OF_LANE]]
// CHECK: %[[OF_QUAD:.*]], %{{.*}} = gpu.shuffle idx %[[ENTRY]], %[[SOURCE]], %c32_i32
// CHECK: scf.for
// CHECK: %[[NUMBER:.*]] = math.cttz
// CHECK: %[[FOUND:.*]], %{{.*}} = gpu.shuffle idx %[[OF_QUAD]], %[[NUMBER]], %c32_i32
// CHECK: %[[TOKEN:.*]] = arith.index_castui %[[FOUND]]
// CHECK: vector.load %[[X]][%[[TOKEN]], %
