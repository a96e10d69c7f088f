// The ops of moe_warp, parsed and printed, as text and as bytecode.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s | moe-opt | FileCheck %s
// RUN: moe-opt %s --mlir-print-op-generic | moe-opt | FileCheck %s
// RUN: moe-opt %s --emit-bytecode | moe-opt | FileCheck %s

#mxfp8 = #moe.mxfp8

// CHECK-LABEL: @single
func.func @single(%x: memref<?x?xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>, %data: memref<?x?xf8E4M3FN, 1>,
                  %scale: memref<?xf8E8M0FNU, 1>, %rows: index, %columns: index, %end: index) {
  // CHECK: moe_warp.wait_for_predecessor
  moe_warp.wait_for_predecessor
  // CHECK: %[[ENTRY:.*]] = moe_warp.load_entries %{{.*}} to %{{.*}} : memref<?xi32, 1>
  %entry = moe_warp.load_entries %map to %rows : memref<?xi32, 1>
  // CHECK: %[[USED:.*]] = moe_warp.load_used_rows %{{.*}} : memref<i32, 1>
  %used = moe_warp.load_used_rows %n : memref<i32, 1>
  // CHECK: moe_warp.for_live_row in %{{.*}} to %{{.*}} used %[[USED]] from %[[ENTRY]] : memref<?xi32, 1> (%[[ROW:.*]]: index) {
  moe_warp.for_live_row in %map to %rows used %used from %entry : memref<?xi32, 1> (%row: index) {
    // CHECK-NEXT: moe_warp.for_chunk of %{{.*}} steps 4 elements 8 padded_to 128 (%[[CHUNK:.*]]: i32) {
    moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
      // CHECK-NEXT: %[[A:.*]] = moe_warp.load %{{.*}}[%[[ROW]], %[[CHUNK]]] align 16 : memref<?x?xbf16, 1>, vector<4x8xbf16>
      %a = moe_warp.load %x[%row, %chunk] align 16 : memref<?x?xbf16, 1>, vector<4x8xbf16>
      // CHECK-NEXT: %[[M:.*]] = moe_warp.group_maximum %[[A]] format(#moe.mxfp8) non_negative : vector<4x8xbf16>
      %m = moe_warp.group_maximum %a format(#mxfp8) non_negative : vector<4x8xbf16>
      // CHECK-NEXT: %[[C:.*]] = moe_warp.scale_code %[[M]] format(#moe.mxfp8)
      %c = moe_warp.scale_code %m format(#mxfp8)
      // CHECK-NEXT: %[[Q:.*]] = moe_warp.quantize %[[A]] by %[[C]] format(#moe.mxfp8) : vector<4x8xbf16> -> vector<4x8xf8E4M3FN>
      %q = moe_warp.quantize %a by %c format(#mxfp8) : vector<4x8xbf16> -> vector<4x8xf8E4M3FN>
      // CHECK-NEXT: moe_warp.store %[[Q]], %{{.*}}[%[[ROW]], %[[CHUNK]]] align 8 : vector<4x8xf8E4M3FN>, memref<?x?xf8E4M3FN, 1>
      moe_warp.store %q, %data[%row, %chunk] align 8 : vector<4x8xf8E4M3FN>, memref<?x?xf8E4M3FN, 1>
      // CHECK-NEXT: moe_warp.store_scale %[[C]], %{{.*}}[%[[ROW]], %[[CHUNK]]] format(#moe.mxfp8) : memref<?xf8E8M0FNU, 1>
      moe_warp.store_scale %c, %scale[%row, %chunk] format(#mxfp8) : memref<?xf8E8M0FNU, 1>
      // CHECK-NEXT: }
    }
  // CHECK: } dead to %{{.*}} (%[[ROW:.*]]: index) {
  } dead to %end (%row: index) {
    moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
      // CHECK: moe_warp.clear_scales %{{.*}}[%[[ROW]], %{{.*}}] format(#moe.mxfp8) : memref<?xf8E8M0FNU, 1>
      moe_warp.clear_scales %scale[%row, %chunk] format(#mxfp8) : memref<?xf8E8M0FNU, 1>
    }
  }
  return
}

// CHECK-LABEL: @early
func.func @early(%x: memref<?x?xbf16, 1>, %out: memref<?x?xbf16, 1>, %rows: index, %columns: index, %entry: i32, %used: i32) {
  // CHECK: moe_warp.is_small %{{.*}} by %{{.*}} elements 8 bytes 1024
  %small = moe_warp.is_small %rows by %columns elements 8 bytes 1024
  // CHECK: moe_warp.is_small %{{.*}} by %{{.*}} steps 2 elements 8 bytes 1024
  %small_chunks = moe_warp.is_small %rows by %columns steps 2 elements 8 bytes 1024
  scf.if %small {
    // CHECK: moe_warp.for_own_row to %{{.*}} (%{{.*}}: index) {
    moe_warp.for_own_row to %rows (%row: index) {
      moe_warp.for_chunk of %columns steps 2 elements 8 (%chunk: i32) {
        %a = moe_warp.load %x[%row, %chunk] : memref<?x?xbf16, 1>, vector<2x8xbf16>
        // CHECK: %[[LIVE:.*]] = moe_warp.is_own_row_live used %{{.*}} from %{{.*}}
        %live = moe_warp.is_own_row_live used %used from %entry
        // CHECK: moe_warp.store %{{.*}}, %{{.*}}[%{{.*}}, %{{.*}}] if %[[LIVE]] : vector<2x8xbf16>, memref<?x?xbf16, 1>
        moe_warp.store %a, %out[%row, %chunk] if %live : vector<2x8xbf16>, memref<?x?xbf16, 1>
      }
    }
  }
  return
}

// CHECK-LABEL: @quads
func.func @quads(%x: memref<?x?xbf16, 1>, %map: memref<?xi32, 1>, %scale: memref<?xf8E8M0FNU, 1>, %rows: index, %columns: index, %used: i32) {
  // CHECK: %[[ENTRY:.*]] = moe_warp.load_entries %{{.*}} to %{{.*}} quads : memref<?xi32, 1>
  %entry = moe_warp.load_entries %map to %rows quads : memref<?xi32, 1>
  // CHECK: %[[TILE:.*]] = moe_warp.load_tile_entries %{{.*}} to %{{.*}} : memref<?xi32, 1> -> vector<4xi32>
  %entries = moe_warp.load_tile_entries %map to %rows : memref<?xi32, 1> -> vector<4xi32>
  // CHECK: moe_warp.for_row_tile in %{{.*}} to %{{.*}} used %{{.*}} from %[[TILE]] : memref<?xi32, 1>, vector<4xi32> (%{{.*}}: index, %[[LIVE:.*]]: vector<4xi1>) {
  moe_warp.for_row_tile in %map to %rows used %used from %entries : memref<?xi32, 1>, vector<4xi32> (%tile: index, %live: vector<4xi1>) {
    moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
      // CHECK: moe_warp.clear_dead_quads %[[LIVE]], %{{.*}}[%{{.*}}, %{{.*}}] to %{{.*}} bytes 16 format(#moe.mxfp8) : vector<4xi1>, memref<?xf8E8M0FNU, 1>
      moe_warp.clear_dead_quads %live, %scale[%tile, %chunk] to %rows bytes 16 format(#mxfp8) : vector<4xi1>, memref<?xf8E8M0FNU, 1>
    }
  }
  // CHECK: moe_warp.for_live_quad in %{{.*}} to %{{.*}} used %{{.*}} from %[[ENTRY]] : memref<?xi32, 1> (%[[FIRST:.*]]: i32, %[[ROWS:.*]]: i32) {
  moe_warp.for_live_quad in %map to %rows used %used from %entry : memref<?xi32, 1> (%first: i32, %live: i32) {
    moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
      // CHECK: %[[WORD:.*]] = moe_warp.for_row_of_quad %[[ROWS]] of %[[FIRST]] (%{{.*}}: index) {
      %word = moe_warp.for_row_of_quad %live of %first (%row: index) {
        %a = moe_warp.load %x[%row, %chunk] align 16 : memref<?x?xbf16, 1>, vector<4x8xbf16>
        %m = moe_warp.group_maximum %a format(#mxfp8) : vector<4x8xbf16>
        %c = moe_warp.scale_code %m format(#mxfp8)
        // CHECK: %[[PACKED:.*]] = moe_warp.pack_scales %{{.*}}[%{{.*}}] format(#moe.mxfp8)
        %packed = moe_warp.pack_scales %c[%chunk] format(#mxfp8)
        // CHECK-NEXT: moe_warp.yield %[[PACKED]] : i32
        moe_warp.yield %packed : i32
      }
      // CHECK: moe_warp.store_quad_scales %[[WORD]], %{{.*}}[%[[FIRST]], %{{.*}}] to %{{.*}} live %[[ROWS]] dead format(#moe.mxfp8) : memref<?xf8E8M0FNU, 1>
      moe_warp.store_quad_scales %word, %scale[%first, %chunk] to %rows live %live dead format(#mxfp8) : memref<?xf8E8M0FNU, 1>
    }
  }
  return
}
