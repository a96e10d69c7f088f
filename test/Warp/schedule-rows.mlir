// Rows by quads and early loads, as rewrites of rows one by one.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -moe-warp-schedule-rows -verify-diagnostics | FileCheck %s

gpu.module @kernels {

// CHECK-LABEL: gpu.func @quads(
// CHECK-SAME: %[[X:[^ ]*]]: memref<?x?xbf16, 1>, %[[MAP:[^ ]*]]: memref<?xi32, 1>, %[[N:[^ ]*]]: memref<i32, 1>, %[[DATA:[^ ]*]]: memref<?x?xf8E4M3FN, 1>, %[[SCALE:[^ ]*]]: memref<?xf8E8M0FNU, 1>, %[[ROWS:[^ ]*]]: index, %[[COLUMNS:[^ ]*]]: index,
// CHECK: %[[ENTRY:.*]] = moe_warp.load_entries %[[MAP]] to %[[ROWS]] quads
// All loads go out before any is needed.
// CHECK-NEXT: %[[TILE:.*]] = moe_warp.load_tile_entries %[[MAP]] to %[[ROWS]]
// CHECK-NEXT: %[[USED:.*]] = moe_warp.load_used_rows %[[N]]
// CHECK-NEXT: moe_warp.for_row_tile in %[[MAP]] to %[[ROWS]] used %[[USED]] from %[[TILE]] {{.*}} (%[[T:.*]]: index, %[[LIVE:.*]]: vector<4xi1>) {
// CHECK-NEXT: moe_warp.for_chunk of %[[COLUMNS]] steps 4 elements 8 padded_to 128 (%[[CHUNK:.*]]: i32) {
// CHECK-NEXT: moe_warp.clear_dead_quads %[[LIVE]], %[[SCALE]][%[[T]], %[[CHUNK]]] to %[[ROWS]] bytes 16 format(#moe.mxfp8)
// CHECK-NEXT: }
// CHECK-NEXT: }
// CHECK-NEXT: moe_warp.for_live_quad in %[[MAP]] to %[[ROWS]] used %[[USED]] from %[[ENTRY]] {{.*}} (%[[FIRST:.*]]: i32, %[[BITS:.*]]: i32) {
// CHECK-NEXT: moe_warp.for_chunk of %[[COLUMNS]] steps 4 elements 8 padded_to 128 (%[[CHUNK:.*]]: i32) {
// CHECK-NEXT: %[[WORD:.*]] = moe_warp.for_row_of_quad %[[BITS]] of %[[FIRST]] (%[[ROW:.*]]: index) {
// CHECK-NEXT: %[[A:.*]] = moe_warp.load %[[X]][%[[ROW]], %[[CHUNK]]]
// CHECK-NEXT: %[[M:.*]] = moe_warp.group_maximum %[[A]]
// CHECK-NEXT: %[[C:.*]] = moe_warp.scale_code %[[M]]
// CHECK-NEXT: %[[PACKED:.*]] = moe_warp.pack_scales %[[C]][%[[CHUNK]]] format(#moe.mxfp8)
// CHECK-NEXT: %[[Q:.*]] = moe_warp.quantize %[[A]] by %[[C]]
// CHECK-NEXT: moe_warp.store %[[Q]], %[[DATA]][%[[ROW]], %[[CHUNK]]]
// CHECK-NEXT: moe_warp.yield %[[PACKED]] : i32
// CHECK-NEXT: }
// CHECK-NEXT: moe_warp.store_quad_scales %[[WORD]], %[[SCALE]][%[[FIRST]], %[[CHUNK]]] to %[[ROWS]] live %[[BITS]] dead format(#moe.mxfp8)
// CHECK-NEXT: }
// CHECK-NEXT: }
// CHECK-NEXT: gpu.return
gpu.func @quads(%x: memref<?x?xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>, %data: memref<?x?xf8E4M3FN, 1>,
                %scale: memref<?xf8E8M0FNU, 1>, %rows: index, %columns: index, %end: index)
    kernel attributes {moe_warp.schedule = #moe.schedule<rows = quads, clear_bytes = 16>} {
  %entry = moe_warp.load_entries %map to %rows : memref<?xi32, 1>
  %used = moe_warp.load_used_rows %n : memref<i32, 1>
  moe_warp.for_live_row in %map to %rows used %used from %entry : memref<?xi32, 1> (%row: index) {
    moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
      %a = moe_warp.load %x[%row, %chunk] align 16 : memref<?x?xbf16, 1>, vector<4x8xbf16>
      %m = moe_warp.group_maximum %a format(#moe.mxfp8) : vector<4x8xbf16>
      %c = moe_warp.scale_code %m format(#moe.mxfp8)
      %q = moe_warp.quantize %a by %c format(#moe.mxfp8) : vector<4x8xbf16> -> vector<4x8xf8E4M3FN>
      moe_warp.store %q, %data[%row, %chunk] align 8 : vector<4x8xf8E4M3FN>, memref<?x?xf8E4M3FN, 1>
      moe_warp.store_scale %c, %scale[%row, %chunk] format(#moe.mxfp8) : memref<?xf8E8M0FNU, 1>
    }
  } dead to %end (%row: index) {
    moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
      moe_warp.clear_scales %scale[%row, %chunk] format(#moe.mxfp8) : memref<?xf8E8M0FNU, 1>
    }
  }
  gpu.return
}

// CHECK-LABEL: gpu.func @early(
// CHECK-SAME: %[[X:[^ ]*]]: memref<?x?xbf16, 1>, %[[MAP:[^ ]*]]: memref<?xi32, 1>, %[[N:[^ ]*]]: memref<i32, 1>, %[[OUT:[^ ]*]]: memref<?x?xbf16, 1>, %[[ROWS:[^ ]*]]: index, %[[COLUMNS:[^ ]*]]: index)
// CHECK-NEXT: %[[ENTRY:.*]] = moe_warp.load_entries
// CHECK-NEXT: %[[USED:.*]] = moe_warp.load_used_rows
// CHECK-NEXT: %[[SMALL:.*]] = moe_warp.is_small %[[ROWS]] by %[[COLUMNS]] elements 8 bytes 1024
// CHECK-NEXT: scf.if %[[SMALL]] {
// CHECK-NEXT: moe_warp.for_own_row to %[[ROWS]] (%[[ROW:.*]]: index) {
// CHECK-NEXT: moe_warp.for_chunk of %[[COLUMNS]] steps 2 elements 8 (%[[CHUNK:.*]]: i32) {
// CHECK-NEXT: %[[A:.*]] = moe_warp.load %[[X]][%[[ROW]], %[[CHUNK]]]
// CHECK-NEXT: %[[B:.*]] = arith.mulf %[[A]], %[[A]]
// CHECK-NEXT: %[[LIVE:.*]] = moe_warp.is_own_row_live used %[[USED]] from %[[ENTRY]]
// CHECK-NEXT: moe_warp.store %[[B]], %[[OUT]][%[[ROW]], %[[CHUNK]]] if %[[LIVE]]
// CHECK-NEXT: }
// CHECK-NEXT: }
// CHECK-NEXT: } else {
// CHECK-NEXT: moe_warp.for_live_row
// CHECK-NOT: if %
// CHECK: gpu.return
gpu.func @early(%x: memref<?x?xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>, %out: memref<?x?xbf16, 1>, %rows: index, %columns: index)
    kernel attributes {moe_warp.schedule = #moe.schedule<steps = 2, early_bytes = 1024>} {
  %entry = moe_warp.load_entries %map to %rows : memref<?xi32, 1>
  %used = moe_warp.load_used_rows %n : memref<i32, 1>
  moe_warp.for_live_row in %map to %rows used %used from %entry : memref<?xi32, 1> (%row: index) {
    moe_warp.for_chunk of %columns steps 2 elements 8 (%chunk: i32) {
      %a = moe_warp.load %x[%row, %chunk] : memref<?x?xbf16, 1>, vector<2x8xbf16>
      %b = arith.mulf %a, %a : vector<2x8xbf16>
      moe_warp.store %b, %out[%row, %chunk] : vector<2x8xbf16>, memref<?x?xbf16, 1>
    }
  }
  gpu.return
}

// Chunks of their own for what is loaded early: what a fragment is made of is as long, whether in
// the loop or in front of it. Under grids for larger chunks these are loaded early, and the loop keeps what it has.
// CHECK-LABEL: gpu.func @early_steps(
// CHECK: %[[HALF:.*]] = arith.constant dense<5.000000e-01> : vector<4x8xf32>
// CHECK: moe_warp.is_small %{{.*}} by %{{.*}} steps 2 elements 8 bytes 512
// CHECK-NEXT: scf.if
// CHECK-NEXT: moe_warp.for_own_row
// CHECK-NEXT: moe_warp.for_chunk of %{{.*}} steps 2 elements 8 (%[[CHUNK:.*]]: i32) {
// CHECK-NEXT: %[[X:.*]]:2 = moe_warp.load %{{.*}} pairs<halves> : memref<?x?xbf16, 1>, vector<2x8xbf16>, vector<2x8xbf16>
// CHECK-NEXT: %[[P:.*]] = memref.load
// CHECK-NEXT: %[[Q:.*]] = vector.broadcast %[[P]] : f32 to vector<2x8xf32>
// CHECK-NEXT: %[[A:.*]] = arith.extf %[[X]]#0 : vector<2x8xbf16> to vector<2x8xf32>
// CHECK-NEXT: %[[B:.*]] = arith.mulf %[[A]], %[[Q]] : vector<2x8xf32>
// CHECK-NEXT: %[[C:.*]] = arith.constant dense<2.000000e+00> : vector<2x8xf32>
// CHECK-NEXT: %[[OWN:.*]] = arith.constant dense<5.000000e-01> : vector<2x8xf32>
// CHECK-NEXT: %[[LESS:.*]] = arith.cmpf olt, %[[B]], %[[OWN]] : vector<2x8xf32>
// CHECK-NEXT: %[[D:.*]] = arith.select %[[LESS]], %[[B]], %[[C]] : vector<2x8xi1>, vector<2x8xf32>
// CHECK-NEXT: %[[E:.*]] = arith.truncf %[[D]] : vector<2x8xf32> to vector<2x8xbf16>
// CHECK-NEXT: moe_warp.is_own_row_live
// CHECK-NEXT: moe_warp.store %[[E]], %{{.*}}[%{{.*}}, %[[CHUNK]]] if %{{.*}} : vector<2x8xbf16>, memref<?x?xbf16, 1>
// CHECK: } else {
// CHECK-NEXT: moe_warp.is_small %{{.*}} by %{{.*}} elements 8 bytes 512
// CHECK-NEXT: scf.if
// CHECK-NEXT: moe_warp.for_own_row
// CHECK-NEXT: moe_warp.for_chunk of %{{.*}} steps 4 elements 8
// CHECK: arith.cmpf olt, %{{.*}}, %[[HALF]] : vector<4x8xf32>
// CHECK: moe_warp.store %{{.*}} if %{{.*}} : vector<4x8xbf16>
// CHECK: } else {
// CHECK-NEXT: moe_warp.for_live_row
// CHECK-NEXT: moe_warp.for_chunk of %{{.*}} steps 4 elements 8
// CHECK: arith.cmpf olt, %{{.*}}, %[[HALF]] : vector<4x8xf32>
// CHECK: gpu.return
gpu.func @early_steps(%x: memref<?x?xbf16, 1>, %n: memref<i32, 1>, %probs: memref<?xf32, 1>, %out: memref<?x?xbf16, 1>, %rows: index, %columns: index)
    kernel attributes {moe_warp.schedule = #moe.schedule<early_bytes = 1024, early_steps = 2>} {
  %half = arith.constant dense<0.5> : vector<4x8xf32>
  %entry = moe_warp.load_entries to %rows
  %used = moe_warp.load_used_rows %n : memref<i32, 1>
  moe_warp.for_live_row to %rows used %used from %entry (%row: index) {
    moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: i32) {
      %x0, %x1 = moe_warp.load %x[%row, %chunk] pairs<halves> : memref<?x?xbf16, 1>, vector<4x8xbf16>, vector<4x8xbf16>
      %p = memref.load %probs[%row] : memref<?xf32, 1>
      %q = vector.broadcast %p : f32 to vector<4x8xf32>
      %a = arith.extf %x0 : vector<4x8xbf16> to vector<4x8xf32>
      %b = arith.mulf %a, %q : vector<4x8xf32>
      %c = arith.constant dense<2.0> : vector<4x8xf32>
      %less = arith.cmpf olt, %b, %half : vector<4x8xf32>
      %d = arith.select %less, %b, %c : vector<4x8xi1>, vector<4x8xf32>
      %e = arith.truncf %d : vector<4x8xf32> to vector<4x8xbf16>
      moe_warp.store %e, %out[%row, %chunk] : vector<4x8xbf16>, memref<?x?xbf16, 1>
    }
  }
  gpu.return
}

// As many as there are anyway: nothing is asked of the grid.
// CHECK-LABEL: gpu.func @same_steps(
// CHECK: moe_warp.is_small %{{.*}} by %{{.*}} elements 8 bytes 1024
// CHECK: moe_warp.for_chunk of %{{.*}} steps 2 elements 8
gpu.func @same_steps(%x: memref<?x?xbf16, 1>, %n: memref<i32, 1>, %out: memref<?x?xbf16, 1>, %rows: index, %columns: index)
    kernel attributes {moe_warp.schedule = #moe.schedule<steps = 2, early_bytes = 1024, early_steps = 2>} {
  %entry = moe_warp.load_entries to %rows
  %used = moe_warp.load_used_rows %n : memref<i32, 1>
  moe_warp.for_live_row to %rows used %used from %entry (%row: index) {
    moe_warp.for_chunk of %columns steps 2 elements 8 (%chunk: i32) {
      %a = moe_warp.load %x[%row, %chunk] : memref<?x?xbf16, 1>, vector<2x8xbf16>
      moe_warp.store %a, %out[%row, %chunk] : vector<2x8xbf16>, memref<?x?xbf16, 1>
    }
  }
  gpu.return
}

// Without a schedule a kernel stays.
// CHECK-LABEL: gpu.func @stays(
// CHECK-NEXT: moe_warp.load_entries %{{.*}} to %{{.*}} : memref<?xi32, 1>
gpu.func @stays(%map: memref<?xi32, 1>, %rows: index) kernel {
  %entry = moe_warp.load_entries %map to %rows : memref<?xi32, 1>
  gpu.return
}
}

// -----

gpu.module @kernels {
gpu.func @no_scales(%map: memref<?xi32, 1>, %rows: index, %used: i32)
    kernel attributes {moe_warp.schedule = #moe.schedule<rows = quads, clear_bytes = 16>} {
  %entry = moe_warp.load_entries %map to %rows : memref<?xi32, 1>
  // expected-error@+1 {{expected, to take rows by quads, entries of a moe_warp.load_entries and a body of chunks that each end with a moe_warp.store_scale of swizzled scales}}
  moe_warp.for_live_row in %map to %rows used %used from %entry : memref<?xi32, 1> (%row: index) {
  }
  gpu.return
}
}

// -----

gpu.module @kernels {
gpu.func @whole_fragments(%x: memref<?x?xbf16, 1>, %n: memref<i32, 1>, %out: memref<?x?xbf16, 1>, %rows: index, %columns: index)
    kernel attributes {moe_warp.schedule = #moe.schedule<early_bytes = 1024, early_steps = 1>} {
  %entry = moe_warp.load_entries to %rows
  %used = moe_warp.load_used_rows %n : memref<i32, 1>
  moe_warp.for_live_row to %rows used %used from %entry (%row: index) {
    moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: i32) {
      %a = moe_warp.load %x[%row, %chunk] : memref<?x?xbf16, 1>, vector<4x8xbf16>
      // expected-error@+1 {{expected, for the 'early_steps' of its schedule, nothing but elementwise ops on fragments}}
      %b = vector.shuffle %a, %a [0, 5, 2, 7] : vector<4x8xbf16>, vector<4x8xbf16>
      moe_warp.store %b, %out[%row, %chunk] : vector<4x8xbf16>, memref<?x?xbf16, 1>
    }
  }
  gpu.return
}
}

// -----

gpu.module @kernels {
gpu.func @of_another_chunk(%x: vector<4x8xbf16>, %n: memref<i32, 1>, %out: memref<?x?xbf16, 1>, %rows: index, %columns: index)
    kernel attributes {moe_warp.schedule = #moe.schedule<early_bytes = 1024, early_steps = 1>} {
  %entry = moe_warp.load_entries to %rows
  %used = moe_warp.load_used_rows %n : memref<i32, 1>
  moe_warp.for_live_row to %rows used %used from %entry (%row: index) {
    moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: i32) {
      // expected-error@+1 {{expected, for the 'early_steps' of its schedule, fragments of its own chunk, or of one value}}
      moe_warp.store %x, %out[%row, %chunk] : vector<4x8xbf16>, memref<?x?xbf16, 1>
    }
  }
  gpu.return
}
}
