// A negative test for each numbered constraint of the ops between tokens and rows, and for the
// forms that constraint takes.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -verify-diagnostics

func.func @c1_route(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: tensor<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected all operands to be tensors or all to be memrefs, found 'memref<8x6xi32>' and 'tensor<?xi32>' (C1)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, tensor<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c1_unpermute(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: tensor<i32>, %out: memref<8x96xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected all operands to be tensors or all to be memrefs, found 'memref<64x96xbf16>' and 'tensor<i32>' (C1)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, tensor<i32>) outs(%out : memref<8x96xf32>)
  return
}

// -----

func.func @c6_route(%routing: memref<8x6xi32, strided<[12, 2]>>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'routing_map' to have an innermost stride of 1, found 2 in 'memref<8x6xi32, strided<[12, 2]>>' (C6)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32, strided<[12, 2]>>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c6_unpermute(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x96xf32, strided<[?, ?]>>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'out' to have an innermost stride of 1, found ? in 'memref<8x96xf32, strided<[?, ?]>>' (C6)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x96xf32, strided<[?, ?]>>)
  return
}

// -----

func.func @c7_unpermute(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x96xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected no results with memrefs in 'outs', found 'tensor<8x96xf32>' (C7)}}
  %r = moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x96xf32>) -> tensor<8x96xf32>
  return
}

// -----

func.func @c10_route(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'inclusive_offsets' to be another buffer than 'exclusive_offsets', found the same value (C10)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %exclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c10_input(%routing: memref<8x16xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'inverse_map' to be another buffer than 'routing_map', found the same value (C10)}}
  moe.route_tokens ins(%routing, %valid : memref<8x16xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %routing : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c11_unpermute(%y: memref<4611686018427387904x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x96xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'y' to span fewer than 2^63 bytes, found 'memref<4611686018427387904x96xbf16>' (C11)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<4611686018427387904x96xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x96xf32>)
  return
}

// -----

func.func @c21_rank(%routing: memref<8xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'routing_map' to be a matrix [?, ?] of i32 or i64, found 'memref<8xi32>' (C21)}}
  moe.route_tokens ins(%routing, %valid : memref<8xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c21_type(%routing: memref<8x6xi16>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'routing_map' to be a matrix [?, ?] of i32 or i64, found 'memref<8x6xi16>' (C21)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi16>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c21_columns(%routing: memref<8x0xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'routing_map' to have from 1 to 2048 columns, found 'memref<8x0xi32>' (C21)}}
  moe.route_tokens ins(%routing, %valid : memref<8x0xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c21_many_columns(%routing: memref<8x2049xi64>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'routing_map' to have from 1 to 2048 columns, found 'memref<8x2049xi64>' (C21)}}
  moe.route_tokens ins(%routing, %valid : memref<8x2049xi64>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c22_route(%routing: memref<8x6xi32>, %valid: memref<2xi32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'valid_tokens' to be one i32, of rank 0 or of rank 1 with one element, found 'memref<2xi32>' (C22)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<2xi32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c22_unpermute(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i64>, %out: memref<8x96xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'valid_tokens' to be one i32, of rank 0 or of rank 1 with one element, found 'memref<i64>' (C22)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i64>) outs(%out : memref<8x96xf32>)
  return
}

// -----

func.func @c23_probs_alone(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %probs: memref<8x6xf32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'probs' and 'permuted_probs' or neither, found 'probs' alone (C23)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) probs(%probs : memref<8x6xf32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c23_permuted_alone(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %row_probs: memref<?xf32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'probs' and 'permuted_probs' or neither, found 'permuted_probs' alone (C23)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>) permuted_probs(%row_probs : memref<?xf32>)
  return
}

// -----

func.func @c23_shape(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %probs: memref<8x7xf32>, %row_probs: memref<?xf32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'probs' to be a matrix [8, 6] of 'f32', found 'memref<8x7xf32>' (C23)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) probs(%probs : memref<8x7xf32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>) permuted_probs(%row_probs : memref<?xf32>)
  return
}

// -----

func.func @c23_type(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<100xi32>, %inverse: memref<8x16xi32>, %probs: memref<8x6xf32>, %row_probs: memref<100xbf16>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'permuted_probs' to be a vector [100] of 'f32', found 'memref<100xbf16>' (C23)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) probs(%probs : memref<8x6xf32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<100xi32>, memref<8x16xi32>) permuted_probs(%row_probs : memref<100xbf16>)
  return
}

// -----

func.func @c23_size(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<100xi32>, %inverse: memref<8x16xi32>, %probs: memref<8x6xf32>, %row_probs: memref<99xf32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'permuted_probs' to be a vector [100] of 'f32', found 'memref<99xf32>' (C23)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) probs(%probs : memref<8x6xf32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<100xi32>, memref<8x16xi32>) permuted_probs(%row_probs : memref<99xf32>)
  return
}

// -----

func.func @c24_sizes(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<17xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'inclusive_offsets' to be a vector [16] of 'i32', found 'memref<17xi32>' (C24)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<17xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c24_type(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi64>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'tokens_per_expert' to be a vector [16] of 'i32', found 'memref<16xi64>' (C24)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi64>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c24_many(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<2049xi32>, %exclusive: memref<?xi32>, %inclusive: memref<?xi32>, %map: memref<?xi32>, %inverse: memref<8x?xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 1 to 2048 experts, found 2049 (C24)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<2049xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<8x?xi32>)
  return
}

// -----

// The size is that of any of them.
func.func @c24_none(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<?xi32>, %exclusive: memref<?xi32>, %inclusive: memref<?xi32>, %map: memref<?xi32>, %inverse: memref<8x0xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 1 to 2048 experts, found 0 (C24)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<8x0xi32>)
  return
}

// -----

func.func @c25_type(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi64>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'permutation_map' to be a vector [?] of 'i32', found 'memref<?xi64>' (C25)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi64>, memref<8x16xi32>)
  return
}

// -----

func.func @c26_tokens(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<9x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'inverse_map' to be a matrix [8, 16] of 'i32', found 'memref<9x16xi32>' (C26)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<9x16xi32>)
  return
}

// -----

func.func @c26_experts(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x15xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected 'inverse_map' to be a matrix [8, 16] of 'i32', found 'memref<8x15xi32>' (C26)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x15xi32>)
  return
}

// -----

func.func @c26_unpermute(%y: memref<64x96xbf16>, %inverse: memref<8xi32>, %valid: memref<i32>, %out: memref<8x96xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'inverse_map' to be a matrix [8, ?] of 'i32', found 'memref<8xi32>' (C26)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8xi32>, memref<i32>) outs(%out : memref<8x96xf32>)
  return
}

// -----

func.func @c27_alignment(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %first: i32) {
  %align = arith.constant 0 : i32
  // expected-error@+1 {{'moe.route_tokens' op expected 'alignment' to be 1 or more, found 0 (C27)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c27_padding(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %first: i32) {
  %align = arith.constant 134217728 : i32
  // expected-error@+1 {{'moe.route_tokens' op expected T * topk + E * alignment to be below 2^31, found 'memref<8x6xi32>' and 'memref<16xi32>' with an 'alignment' of 134217728 (C27)}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>)
  return
}

// -----

func.func @c27_pairs(%routing: memref<1073741824x2xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<?x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.route_tokens' op expected T * topk + E * alignment to be below 2^31, found 'memref<1073741824x2xi32>' and 'memref<16xi32>' with an 'alignment' of 1 (C27)}}
  moe.route_tokens ins(%routing, %valid : memref<1073741824x2xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<?x16xi32>)
  return
}

// -----

func.func @c28_type(%y: memref<64x96xf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x96xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'y' to be a matrix [?, ?] of 'bf16', found 'memref<64x96xf16>' (C28)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x96xf32>)
  return
}

// -----

func.func @c28_columns(%y: memref<64x0xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x0xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'y' to have from 1 to 2^31 - 1 columns, found 'memref<64x0xbf16>' (C28)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x0xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x0xf32>)
  return
}

// -----

func.func @c29_probs(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x96xf32>, %probs: memref<63xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'probs' to be a vector [64] of 'f32', found 'memref<63xf32>' (C29)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i32>) probs(%probs : memref<63xf32>) outs(%out : memref<8x96xf32>)
  return
}

// -----

// Tokens are those of both.
func.func @c30_rows(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<9x96xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'inverse_map' to be a matrix [9, ?] of 'i32', found 'memref<8x16xi32>' (C26)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<9x96xf32>)
  return
}

// -----

func.func @c30_columns(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x95xf32>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'out' to be a matrix [8, 96] of 'f32', found 'memref<8x95xf32>' (C30)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x95xf32>)
  return
}

// -----

func.func @c30_type(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x96xbf16>) {
  // expected-error@+1 {{'moe.unpermute_tokens' op expected 'out' to be a matrix [8, 96] of 'f32', found 'memref<8x96xbf16>' (C30)}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x96xbf16>)
  return
}

// -----

// Schedules.
func.func @quads(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x96xf32>) {
  // expected-error@+1 {{'moe.schedule': expected rows = single, 'early_bytes' of 0 and 'keeps_x' of false for moe.unpermute_tokens in}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x96xf32>) {moe.schedule = [#moe.schedule<clear_bytes = 16, rows = quads>]}
  return
}

// -----

func.func @few_threads(%routing: memref<8x6xi32>, %valid: memref<i32>, %counts: memref<16xi32>, %exclusive: memref<16xi32>, %inclusive: memref<16xi32>, %map: memref<?xi32>, %inverse: memref<8x16xi32>, %align: i32, %first: i32) {
  // expected-error@+1 {{'moe.schedule': expected 'threads' to be 256 or more, found 128 in}}
  moe.route_tokens ins(%routing, %valid : memref<8x6xi32>, memref<i32>) first_expert(%first) alignment(%align) outs(%counts, %exclusive, %inclusive, %map, %inverse : memref<16xi32>, memref<16xi32>, memref<16xi32>, memref<?xi32>, memref<8x16xi32>) {moe.schedule = [#moe.schedule<threads = 128>]}
  return
}

// -----

func.func @expected_rows(%y: memref<64x96xbf16>, %inverse: memref<8x16xi32>, %valid: memref<i32>, %out: memref<8x96xf32>) {
  // expected-error@+1 {{expected 'moe.expected_rows' on a padding-aware op, found it on 'moe.unpermute_tokens'}}
  moe.unpermute_tokens ins(%y, %inverse, %valid : memref<64x96xbf16>, memref<8x16xi32>, memref<i32>) outs(%out : memref<8x96xf32>) {moe.expected_rows = 8 : i64}
  return
}
