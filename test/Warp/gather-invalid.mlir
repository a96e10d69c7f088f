// A row of x that is not known until its entry is cannot be loaded before.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-warp-schedule-rows -verify-diagnostics

gpu.module @kernels {
gpu.func @early(%x: memref<?x?xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>, %out: memref<?x?xbf16, 1>, %rows: index, %tokens: index, %columns: index)
    kernel attributes {moe_warp.schedule = #moe.schedule<steps = 2, early_bytes = 1024>} {
  %entries = moe_warp.load_entries %map to %rows : memref<?xi32, 1>
  %used = moe_warp.load_used_rows %n : memref<i32, 1>
  // expected-error@+1 {{expected, to load rows early, a body of chunks, none for rows that are not live, and no tokens}}
  moe_warp.for_live_row in %map to %rows tokens %tokens used %used from %entries : memref<?xi32, 1> (%row: index, %token: index) {
    moe_warp.for_chunk of %columns steps 2 elements 8 (%chunk: i32) {
      %v = moe_warp.load %x[%token, %chunk] : memref<?x?xbf16, 1>, vector<2x8xbf16>
      moe_warp.store %v, %out[%row, %chunk] : vector<2x8xbf16>, memref<?x?xbf16, 1>
    }
  }
  gpu.return
}
}
