// What the verifiers of moe_warp refuse.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -verify-diagnostics

func.func @steps(%columns: index) {
  // expected-error@+1 {{'moe_warp.for_chunk' op expected 'steps' to be a power of two from 1 to 32, found 3}}
  moe_warp.for_chunk of %columns steps 3 elements 8 (%chunk: i32) {
  }
  return
}

// -----

func.func @elements(%columns: index) {
  // expected-error@+1 {{'moe_warp.for_chunk' op expected 'elements' to be a power of two from 1 to 16, found 32}}
  moe_warp.for_chunk of %columns steps 4 elements 32 (%chunk: i32) {
  }
  return
}

// -----

func.func @small_steps(%rows: index, %columns: index) {
  // expected-error@+1 {{'moe_warp.is_small' op expected 'steps' to be a power of two from 1 to 32, found 3}}
  %small = moe_warp.is_small %rows by %columns steps 3 elements 8 bytes 1024
  return
}

// -----

func.func @small_elements(%rows: index, %columns: index) {
  // expected-error@+1 {{'moe_warp.is_small' op expected 'elements' to be a power of two from 1 to 16, found 5}}
  %small = moe_warp.is_small %rows by %columns elements 5 bytes 1024
  return
}

// -----

func.func @chunk_argument(%columns: index) {
  // expected-error@+1 {{'moe_warp.for_chunk' op expected a body with arguments of 'i32', found 'index'}}
  moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: index) {
  }
  return
}

// -----

func.func @row_argument(%map: memref<?xi32, 1>, %rows: index, %used: i32, %entry: i32) {
  // expected-error@+1 {{'moe_warp.for_live_row' op expected a body with arguments of 'index', found 'i32'}}
  moe_warp.for_live_row in %map to %rows used %used from %entry : memref<?xi32, 1> (%row: i32) {
  }
  return
}

// -----

func.func @yields(%rows: index, %word: i32) {
  // expected-error@+1 {{'moe_warp.for_own_row' op expected a body that yields nothing}}
  moe_warp.for_own_row to %rows (%row: index) {
    moe_warp.yield %word : i32
  }
  return
}

// -----

func.func @yields_no_word(%first: i32, %live: i32) {
  // expected-error@+1 {{'moe_warp.for_row_of_quad' op expected a body that yields 'i32'}}
  %word = moe_warp.for_row_of_quad %live of %first (%row: index) {
  }
  return
}

// -----

func.func @no_chunk(%x: memref<?x?xbf16, 1>, %row: index, %chunk: i32) {
  // expected-error@+1 {{'moe_warp.load' op expected a chunk of a moe_warp.for_chunk}}
  %a = moe_warp.load %x[%row, %chunk] : memref<?x?xbf16, 1>, vector<4x8xbf16>
  return
}

// -----

func.func @other_chunk(%x: memref<?x?xbf16, 1>, %row: index, %columns: index) {
  moe_warp.for_chunk of %columns steps 2 elements 16 (%chunk: i32) {
    // expected-error@+1 {{'moe_warp.load' op expected a fragment of 2x16 elements, as chunks are, found 'vector<4x8xbf16>'}}
    %a = moe_warp.load %x[%row, %chunk] : memref<?x?xbf16, 1>, vector<4x8xbf16>
  }
  return
}

// -----

func.func @other_elements(%x: memref<?x?xf16, 1>, %row: index, %columns: index) {
  moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: i32) {
    // expected-error@+1 {{'moe_warp.load' op expected a matrix of 'bf16', found 'memref<?x?xf16, 1>'}}
    %a = moe_warp.load %x[%row, %chunk] : memref<?x?xf16, 1>, vector<4x8xbf16>
  }
  return
}

// -----

func.func @align(%out: memref<?x?xbf16, 1>, %row: index, %columns: index, %a: vector<4x8xbf16>) {
  moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: i32) {
    // expected-error@+1 {{'moe_warp.store' op expected 'align' to be a power of two, found 12}}
    moe_warp.store %a, %out[%row, %chunk] align 12 : vector<4x8xbf16>, memref<?x?xbf16, 1>
  }
  return
}

// -----

func.func @one_step(%a: vector<1x8xbf16>) {
  // expected-error@+1 {{'moe_warp.group_maximum' op expected from 2 to 4 steps of 8 elements for groups of 32, found 1}}
  %m = moe_warp.group_maximum %a format(#moe.mxfp8) : vector<1x8xbf16>
  return
}

// -----

func.func @no_group(%a: vector<4x8xbf16>) {
  // expected-error@+1 {{Invalid attribute `format` in property conversion: #moe.bf16}}
  %m = "moe_warp.group_maximum"(%a) <{format = #moe.bf16}> : (vector<4x8xbf16>) -> bf16
  return
}

// -----

func.func @data(%a: vector<4x8xbf16>, %c: i32) {
  // expected-error@+1 {{'moe_warp.quantize' op expected a result of 'vector<4x8xf8E4M3FN>', found 'vector<4x8xf8E5M2>'}}
  %q = moe_warp.quantize %a by %c format(#moe.mxfp8) : vector<4x8xbf16> -> vector<4x8xf8E5M2>
  return
}

// -----

func.func @linear(%scale: memref<?xf8E8M0FNU, 1>, %row: index, %columns: index, %c: i32) {
  moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: i32) {
    // expected-error@+1 {{'moe_warp.store_scale' op expected scales of 'f8E8M0FNU' of rank 2, found 'memref<?xf8E8M0FNU, 1>'}}
    moe_warp.store_scale %c, %scale[%row, %chunk] format(#moe.mxfp8<scale_layout = linear>) : memref<?xf8E8M0FNU, 1>
  }
  return
}

// -----

func.func @not_padded(%scale: memref<?xf8E8M0FNU, 1>, %rows: index, %columns: index, %c: i32) {
  moe_warp.for_chunk of %columns steps 4 elements 8 (%chunk: i32) {
    // expected-error@+1 {{'moe_warp.store_quad_scales' op expected chunks of 4 steps, of which each has whole scale tiles, padded to 128, found 4 steps of 8 elements, padded to 1}}
    moe_warp.store_quad_scales %c, %scale[%c, %chunk] to %rows live %c format(#moe.mxfp8) : memref<?xf8E8M0FNU, 1>
  }
  return
}

// -----

func.func @no_quad(%columns: index, %c: i32) {
  moe_warp.for_chunk of %columns steps 4 elements 8 padded_to 128 (%chunk: i32) {
    // expected-error@+1 {{'moe_warp.pack_scales' op expected a moe_warp.for_row_of_quad around it}}
    %word = moe_warp.pack_scales %c[%chunk] format(#moe.mxfp8)
  }
  return
}

// -----

gpu.module @kernels {
  // expected-error@+1 {{expected 'moe_warp.schedule' on a kernel, found it on a 'gpu.func' that is none}}
  gpu.func @f() attributes {moe_warp.schedule = #moe.schedule<steps = 2>} {
    moe_warp.wait_for_predecessor
    gpu.return
  }
}

// -----

// expected-error@+1 {{expected 'moe_warp.schedule' on a kernel, found it on a 'func.func' that is none}}
func.func @f() attributes {moe_warp.schedule = #moe.schedule<steps = 2>} {
  moe_warp.wait_for_predecessor
  return
}

// -----

gpu.module @kernels {
  // expected-error@+1 {{expected 'moe_warp.schedule' to be a #moe.schedule, found [#moe.schedule<steps = 2>]}}
  gpu.func @f() kernel attributes {moe_warp.schedule = [#moe.schedule<steps = 2>]} {
    moe_warp.wait_for_predecessor
    gpu.return
  }
}

// -----

gpu.module @kernels {
  // expected-error@+1 {{expected 'moe_warp.schedule' to have the threads of known_block_size, 128, found 256 in #moe.schedule<steps = 2>}}
  gpu.func @f() kernel attributes {known_block_size = array<i32: 128, 1, 1>, moe_warp.schedule = #moe.schedule<steps = 2>} {
    moe_warp.wait_for_predecessor
    gpu.return
  }
}

// -----

func.func @row_without_token(%map: memref<?xi32, 1>, %rows: index, %tokens: index, %used: i32, %entry: i32) {
  // expected-error@+1 {{'moe_warp.for_live_row' op expected a body with arguments of 'index', 'index', found 'index'}}
  moe_warp.for_live_row in %map to %rows tokens %tokens used %used from %entry : memref<?xi32, 1> (%row: index) {
  }
  return
}

// -----

func.func @token_of_no_row(%map: memref<?xi32, 1>, %rows: index, %used: i32, %entry: i32) {
  // expected-error@+1 {{'moe_warp.for_live_row' op expected a body with arguments of 'index', found 'index', 'index'}}
  moe_warp.for_live_row in %map to %rows used %used from %entry : memref<?xi32, 1> (%row: index, %token: index) {
  }
  return
}

// -----

func.func @quad_without_entries(%map: memref<?xi32, 1>, %rows: index, %tokens: index, %used: i32, %entry: i32) {
  // expected-error@+1 {{'moe_warp.for_live_quad' op expected a body with arguments of 'i32', 'i32', 'i32', found 'i32', 'i32'}}
  moe_warp.for_live_quad in %map to %rows tokens %tokens used %used from %entry : memref<?xi32, 1> (%first: i32, %live: i32) {
  }
  return
}

// -----

func.func @row_of_quad_without_token(%first: i32, %live: i32, %entries: i32) {
  // expected-error@+1 {{'moe_warp.for_row_of_quad' op expected a body with arguments of 'index', 'index', found 'index'}}
  %word = moe_warp.for_row_of_quad %live of %first from %entries (%row: index) {
    moe_warp.yield %live : i32
  }
  return
}
