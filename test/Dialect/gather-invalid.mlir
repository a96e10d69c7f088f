// What ops that gather rows of x refuse.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt --split-input-file --verify-diagnostics %s

func.func @no_map(%x: memref<8x64xbf16>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{'moe.map_rows' op expected a 'permutation_map' that says which rows are gathered, found none (C19)}}
  moe.map_rows ins(%x, %n : memref<8x64xbf16>, memref<i32>) gathers
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}

// -----

// Entries are of the rows of the destination.
func.func @map_of_x(%x: memref<7x64xbf16>, %map: memref<7xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'permutation_map' to be a vector [8] of i32, found 'memref<7xi32>' (C3)}}
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<7xi32>, memref<i32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @map_of_i64(%x: memref<7x64xbf16>, %map: memref<8xi64>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'permutation_map' to be a vector [8] of i32, found 'memref<8xi64>' (C3)}}
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<8xi64>, memref<i32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @vector_of_x(%x: memref<64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'x' to be a matrix [?, ?] of 'bf16', found 'memref<64xbf16>' (C2)}}
  moe.permute_tokens ins(%x, %map, %n : memref<64xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @n_used(%x: memref<7x64xbf16>, %map: memref<8xi32>, %n: memref<2xi32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'n_used' to be one i32, of rank 0 or of rank 1 with one element, found 'memref<2xi32>' (C4)}}
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<8xi32>, memref<2xi32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @columns(%x: memref<7x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x32xbf16>) {
  // expected-error @+1 {{expected 'out' to be a matrix [8, 64] of 'bf16', found 'memref<8x32xbf16>' (C5)}}
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x32xbf16>)
  return
}

// -----

func.func @vector_of_out(%x: memref<7x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<64xbf16>) {
  // expected-error @+1 {{expected 'out' to be a matrix [?, 64] of 'bf16', found 'memref<64xbf16>' (C5)}}
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<64xbf16>)
  return
}

// -----

func.func @stride(%x: memref<7x64xbf16, strided<[128, 2]>>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'x' to have an innermost stride of 1, found 2}}
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16, strided<[128, 2]>>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @no_result(%x: tensor<7x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>, %out: tensor<8x64xbf16>) {
  // expected-error @+1 {{expected the types of 'outs' as results, 'tensor<8x64xbf16>', found none (C7)}}
  moe.permute_tokens ins(%x, %map, %n : tensor<7x64xbf16>, tensor<8xi32>, tensor<i32>) outs(%out : tensor<8x64xbf16>)
  return
}

// -----

func.func @groups(%x: memref<7x48xbf16>, %map: memref<8xi32>, %n: memref<i32>, %data: memref<8x48xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error @+1 {{expected the columns of 'x' to be a multiple of 32, found 48 (C8)}}
  moe.permute_quantize_mxfp8 ins(%x, %map, %n : memref<7x48xbf16>, memref<8xi32>, memref<i32>) outs(%data, %scale : memref<8x48xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

// 300 rows have three row tiles; 7 would have one.
func.func @scales_of_x(%x: memref<7x64xbf16>, %map: memref<300xi32>, %n: memref<i32>, %data: memref<300x64xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error @+1 {{expected 'scale' to be a vector [1536] of 'f8E8M0FNU' under scale_layout<swizzle_32_4_4>, found 'memref<512xf8E8M0FNU>' (C9)}}
  moe.permute_quantize_mxfp8 ins(%x, %map, %n : memref<7x64xbf16>, memref<300xi32>, memref<i32>) outs(%data, %scale : memref<300x64xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

func.func @linear_scales_of_x(%x: memref<7x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %data: memref<8x64xf8E4M3FN>, %scale: memref<7x2xf8E8M0FNU>) {
  // expected-error @+1 {{expected 'scale' to be a matrix [8, 2] of 'f8E8M0FNU', found 'memref<7x2xf8E8M0FNU>' (C9)}}
  moe.permute_quantize_mxfp8 ins(%x, %map, %n : memref<7x64xbf16>, memref<8xi32>, memref<i32>) outs(%data, %scale : memref<8x64xf8E4M3FN>, memref<7x2xf8E8M0FNU>) scale_layout<linear>
  return
}

// -----

func.func @same_buffer(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>) {
  // expected-error @+1 {{expected 'out' to be another buffer than 'x', found the same value (C10)}}
  moe.permute_tokens ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>) outs(%x : memref<8x64xbf16>)
  return
}

// -----

func.func @extent(%x: memref<?x64xbf16, strided<[4611686018427387904, 1]>>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16, strided<[4611686018427387904, 1]>>) {
  // expected-error @+1 {{expected 'out' to span fewer than 2^63 bytes}}
  moe.permute_tokens ins(%x, %map, %n : memref<?x64xbf16, strided<[4611686018427387904, 1]>>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16, strided<[4611686018427387904, 1]>>)
  return
}

// -----

func.func @probs_of_x(%x: memref<7x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %probs: memref<7xf32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected 'probs' to be a vector [8] of f32, found 'memref<7xf32>' (C18)}}
  moe.map_rows ins(%x, %map, %n : memref<7x64xbf16>, memref<8xi32>, memref<i32>) gathers probs(%probs : memref<7xf32>)
    outs(%out : memref<8x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16, %prob: f32):
    moe.yield %v : bf16
  }
  return
}

// -----

func.func @mixed(%x: tensor<7x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{expected all operands to be tensors or all to be memrefs, found 'tensor<7x64xbf16>' and 'memref<8xi32>' (C1)}}
  moe.permute_tokens ins(%x, %map, %n : tensor<7x64xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>)
  return
}

// -----

func.func @early(%x: memref<7x64xbf16>, %map: memref<8xi32>, %n: memref<i32>, %out: memref<8x64xbf16>) {
  // expected-error @+1 {{'moe.schedule': expected 'early_bytes' to be 0 for an op that gathers rows, found 4096 in #moe.schedule<early_bytes = 4096>}}
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x64xbf16>) {moe.schedule = [#moe.schedule<early_bytes = 4096>]}
  return
}
