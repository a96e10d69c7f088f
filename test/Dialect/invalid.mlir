// A negative test for each numbered constraint, and for the forms that constraint takes.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -verify-diagnostics

//===----------------------------------------------------------------------===//
// (C1) All tensors or all memrefs
//===----------------------------------------------------------------------===//

func.func @c1_activation(%x: tensor<4x8xbf16>, %map: tensor<4xi32>, %n: memref<i32>, %out: tensor<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected all operands to be tensors or all to be memrefs, found 'tensor<4x8xbf16>' and 'memref<i32>' (C1)}}
  %r = moe.padded_squared_relu ins(%x, %map, %n : tensor<4x8xbf16>, tensor<4xi32>, memref<i32>) outs(%out : tensor<4x8xbf16>) -> tensor<4x8xbf16>
  return
}

// -----

func.func @c1_quantize(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: tensor<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected all operands to be tensors or all to be memrefs, found 'memref<4x32xbf16>' and 'tensor<512xf8E8M0FNU>' (C1)}}
  %s = moe.quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, tensor<512xf8E8M0FNU>) -> tensor<512xf8E8M0FNU>
  return
}

// -----

func.func @c1_fused(%x: memref<4x32xbf16>, %map: tensor<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected all operands to be tensors or all to be memrefs, found 'memref<4x32xbf16>' and 'tensor<4xi32>' (C1)}}
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, tensor<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

// Neither: the ODS type constraint.
func.func @c1_unranked(%x: memref<*xbf16>, %map: memref<4xi32>, %n: memref<i32>, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op operand #0 must be ranked tensor or strided memref, but got 'memref<*xbf16>'}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<*xbf16>, memref<4xi32>, memref<i32>) outs(%out : memref<4x8xbf16>)
  return
}

// -----

func.func @c1_scalar_n_used(%x: memref<4x8xbf16>, %map: memref<4xi32>, %n: i32, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op operand #2 must be ranked tensor or strided memref, but got 'i32'}}
  "moe.padded_squared_relu"(%x, %map, %n, %out) <{operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>}> : (memref<4x8xbf16>, memref<4xi32>, i32, memref<4x8xbf16>) -> ()
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C2) x is a matrix of bf16 with at least one column
//===----------------------------------------------------------------------===//

func.func @c2_element_type(%x: memref<4x8xf16>, %map: memref<4xi32>, %n: memref<i32>, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'x' to be a matrix [?, ?] of 'bf16', found 'memref<4x8xf16>' (C2)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xf16>, memref<4xi32>, memref<i32>) outs(%out : memref<4x8xbf16>)
  return
}

// -----

func.func @c2_rank(%x: memref<2x4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'x' to be a matrix [?, ?] of 'bf16', found 'memref<2x4x32xbf16>' (C2)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<2x4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

func.func @c2_no_columns(%x: tensor<4x0xbf16>, %map: tensor<4xi32>, %n: tensor<i32>, %out: tensor<4x0xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'x' to have from 1 to 2^31 - 1 columns, found 'tensor<4x0xbf16>' (C2)}}
  %r = moe.padded_squared_relu ins(%x, %map, %n : tensor<4x0xbf16>, tensor<4xi32>, tensor<i32>) outs(%out : tensor<4x0xbf16>) -> tensor<4x0xbf16>
  return
}

// -----

func.func @c2_no_columns_fused(%x: memref<4x0xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x0xf8E4M3FN>, %scale: memref<0xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'x' to have from 1 to 2^31 - 1 columns, found 'memref<4x0xbf16>' (C2)}}
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<4x0xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x0xf8E4M3FN>, memref<0xf8E8M0FNU>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C3) permutation_map is a vector of i32, an entry for each row
//===----------------------------------------------------------------------===//

func.func @c3_size(%x: memref<4x8xbf16>, %map: memref<5xi32>, %n: memref<i32>, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'permutation_map' to be a vector [4] of i32, found 'memref<5xi32>' (C3)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16>, memref<5xi32>, memref<i32>) outs(%out : memref<4x8xbf16>)
  return
}

// -----

func.func @c3_element_type(%x: tensor<?x32xbf16>, %map: tensor<?xi64>, %n: tensor<i32>, %data: tensor<?x32xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'permutation_map' to be a vector [?] of i32, found 'tensor<?xi64>' (C3)}}
  %d, %s = moe.quantize_mxfp8 ins(%x, %map, %n : tensor<?x32xbf16>, tensor<?xi64>, tensor<i32>) outs(%data, %scale : tensor<?x32xf8E4M3FN>, tensor<?xf8E8M0FNU>) -> tensor<?x32xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return
}

// -----

func.func @c3_rank(%x: memref<4x32xbf16>, %map: memref<4x1xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'permutation_map' to be a vector [4] of i32, found 'memref<4x1xi32>' (C3)}}
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4x1xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C4) n_used is one i32
//===----------------------------------------------------------------------===//

func.func @c4_two_elements(%x: memref<4x8xbf16>, %map: memref<4xi32>, %n: memref<2xi32>, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'n_used' to be one i32, of rank 0 or of rank 1 with one element, found 'memref<2xi32>' (C4)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16>, memref<4xi32>, memref<2xi32>) outs(%out : memref<4x8xbf16>)
  return
}

// -----

// A dynamic size cannot be seen to be one.
func.func @c4_dynamic(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<?xi32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'n_used' to be one i32, of rank 0 or of rank 1 with one element, found 'memref<?xi32>' (C4)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<?xi32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

func.func @c4_rank(%x: tensor<4x8xbf16>, %map: tensor<4xi32>, %n: tensor<1x1xi32>, %out: tensor<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'n_used' to be one i32, of rank 0 or of rank 1 with one element, found 'tensor<1x1xi32>' (C4)}}
  %r = moe.padded_squared_relu ins(%x, %map, %n : tensor<4x8xbf16>, tensor<4xi32>, tensor<1x1xi32>) outs(%out : tensor<4x8xbf16>) -> tensor<4x8xbf16>
  return
}

// -----

func.func @c4_element_type(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<ui32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'n_used' to be one i32, of rank 0 or of rank 1 with one element, found 'memref<ui32>' (C4)}}
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<ui32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C5) The matrix written has the shape of x
//===----------------------------------------------------------------------===//

func.func @c5_out_columns(%x: memref<4x8xbf16>, %map: memref<4xi32>, %n: memref<i32>, %out: memref<4x9xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'out' to be a matrix [4, 8] of 'bf16', found 'memref<4x9xbf16>' (C5)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16>, memref<4xi32>, memref<i32>) outs(%out : memref<4x9xbf16>)
  return
}

// -----

func.func @c5_out_element_type(%x: memref<?x8xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x8xf32>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'out' to be a matrix [?, 8] of 'bf16', found 'memref<?x8xf32>' (C5)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x8xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x8xf32>)
  return
}

// -----

func.func @c5_data_rows(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<5x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'data' to be a matrix [4, 32] of 'f8E4M3FN', found 'memref<5x32xf8E4M3FN>' (C5)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<5x32xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

func.func @c5_data_element_type(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E5M2>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'data' to be a matrix [4, 32] of 'f8E4M3FN', found 'memref<4x32xf8E5M2>' (C5)}}
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E5M2>, memref<512xf8E8M0FNU>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C6) The innermost stride is 1
//===----------------------------------------------------------------------===//

func.func @c6_x(%x: memref<4x8xbf16, strided<[16, 2]>>, %map: memref<4xi32>, %n: memref<i32>, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'x' to have an innermost stride of 1, found 2 in 'memref<4x8xbf16, strided<[16, 2]>>' (C6)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16, strided<[16, 2]>>, memref<4xi32>, memref<i32>) outs(%out : memref<4x8xbf16>)
  return
}

// -----

func.func @c6_permutation_map(%x: memref<4x8xbf16>, %map: memref<4xi32, strided<[?]>>, %n: memref<i32>, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'permutation_map' to have an innermost stride of 1, found ? in 'memref<4xi32, strided<[?]>>' (C6)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16>, memref<4xi32, strided<[?]>>, memref<i32>) outs(%out : memref<4x8xbf16>)
  return
}

// -----

func.func @c6_n_used(%x: memref<4x8xbf16>, %map: memref<4xi32>, %n: memref<1xi32, strided<[4]>>, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'n_used' to have an innermost stride of 1, found 4 in 'memref<1xi32, strided<[4]>>' (C6)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16>, memref<4xi32>, memref<1xi32, strided<[4]>>) outs(%out : memref<4x8xbf16>)
  return
}

// -----

func.func @c6_out(%x: memref<4x8xbf16>, %map: memref<4xi32>, %n: memref<i32>, %out: memref<4x8xbf16, strided<[1, 4]>>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'out' to have an innermost stride of 1, found 4 in 'memref<4x8xbf16, strided<[1, 4]>>' (C6)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16>, memref<4xi32>, memref<i32>) outs(%out : memref<4x8xbf16, strided<[1, 4]>>)
  return
}

// -----

func.func @c6_data(%x: memref<?x32xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x32xf8E4M3FN, strided<[?, ?], offset: ?>>, %scale: memref<?xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'data' to have an innermost stride of 1, found ? in 'memref<?x32xf8E4M3FN, strided<[?, ?], offset: ?>>' (C6)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x32xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x32xf8E4M3FN, strided<[?, ?], offset: ?>>, memref<?xf8E8M0FNU>)
  return
}

// -----

func.func @c6_scale(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU, strided<[3]>>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'scale' to have an innermost stride of 1, found 3 in 'memref<512xf8E8M0FNU, strided<[3]>>' (C6)}}
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU, strided<[3]>>)
  return
}

// -----

// A layout without strides: the ODS type constraint.
func.func @c6_no_strides(%x: memref<4x8xbf16, affine_map<(i, j) -> (i floordiv 2, j)>>, %map: memref<4xi32>, %n: memref<i32>, %out: memref<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op operand #0 must be ranked tensor or strided memref, but got 'memref<4x8xbf16, affine_map<(d0, d1) -> (d0 floordiv 2, d1)>>'}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16, affine_map<(i, j) -> (i floordiv 2, j)>>, memref<4xi32>, memref<i32>) outs(%out : memref<4x8xbf16>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C7) A result for each tensor of outs
//===----------------------------------------------------------------------===//

func.func @c7_missing(%x: tensor<4x8xbf16>, %map: tensor<4xi32>, %n: tensor<i32>, %out: tensor<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected the types of 'outs' as results, 'tensor<4x8xbf16>', found none (C7)}}
  moe.padded_squared_relu ins(%x, %map, %n : tensor<4x8xbf16>, tensor<4xi32>, tensor<i32>) outs(%out : tensor<4x8xbf16>)
  return
}

// -----

func.func @c7_type(%x: tensor<4x8xbf16>, %map: tensor<4xi32>, %n: tensor<i32>, %out: tensor<4x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected the types of 'outs' as results, 'tensor<4x8xbf16>', found 'tensor<?x8xbf16>' (C7)}}
  %r = moe.padded_squared_relu ins(%x, %map, %n : tensor<4x8xbf16>, tensor<4xi32>, tensor<i32>) outs(%out : tensor<4x8xbf16>) -> tensor<?x8xbf16>
  return
}

// -----

func.func @c7_one_of_two(%x: tensor<4x32xbf16>, %map: tensor<4xi32>, %n: tensor<i32>, %data: tensor<4x32xf8E4M3FN>, %scale: tensor<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected the types of 'outs' as results, 'tensor<4x32xf8E4M3FN>', 'tensor<512xf8E8M0FNU>', found 'tensor<4x32xf8E4M3FN>' (C7)}}
  %d = moe.quantize_mxfp8 ins(%x, %map, %n : tensor<4x32xbf16>, tensor<4xi32>, tensor<i32>) outs(%data, %scale : tensor<4x32xf8E4M3FN>, tensor<512xf8E8M0FNU>) -> tensor<4x32xf8E4M3FN>
  return
}

// -----

func.func @c7_on_memrefs(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected no results with memrefs in 'outs', found 'tensor<4x32xf8E4M3FN>' (C7)}}
  %d = moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU>) -> tensor<4x32xf8E4M3FN>
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C8) The columns are a multiple of 32
//===----------------------------------------------------------------------===//

func.func @c8_quantize(%x: memref<4x48xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x48xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected the columns of 'x' to be a multiple of 32, found 48 (C8)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<4x48xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x48xf8E4M3FN>, memref<512xf8E8M0FNU>)
  return
}

// -----

func.func @c8_fused(%x: tensor<?x31xbf16>, %map: tensor<?xi32>, %n: tensor<i32>, %data: tensor<?x31xf8E4M3FN>, %scale: tensor<?x0xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected the columns of 'x' to be a multiple of 32, found 31 (C8)}}
  %d, %s = moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : tensor<?x31xbf16>, tensor<?xi32>, tensor<i32>) outs(%data, %scale : tensor<?x31xf8E4M3FN>, tensor<?x0xf8E8M0FNU>) scale_layout<linear> -> tensor<?x31xf8E4M3FN>, tensor<?x0xf8E8M0FNU>
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C9) The scale's shape is that of its layout
//===----------------------------------------------------------------------===//

// ceil(129 / 128) * ceil(160 / 128) * 512
func.func @c9_swizzled_size(%x: memref<129x160xbf16>, %map: memref<129xi32>, %n: memref<i32>, %data: memref<129x160xf8E4M3FN>, %scale: memref<1024xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'scale' to be a vector [2048] of 'f8E8M0FNU' under scale_layout<swizzle_32_4_4>, found 'memref<1024xf8E8M0FNU>' (C9)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<129x160xbf16>, memref<129xi32>, memref<i32>) outs(%data, %scale : memref<129x160xf8E4M3FN>, memref<1024xf8E8M0FNU>)
  return
}

// -----

func.func @c9_swizzled_rank(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?x2xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'scale' to be a vector [?] of 'f8E8M0FNU' under scale_layout<swizzle_32_4_4>, found 'memref<?x2xf8E8M0FNU>' (C9)}}
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>)
  return
}

// -----

func.func @c9_element_type(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xi8>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'scale' to be a vector [512] of 'f8E8M0FNU' under scale_layout<swizzle_32_4_4>, found 'memref<512xi8>' (C9)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xi8>)
  return
}

// -----

func.func @c9_linear_columns(%x: memref<?x96xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x96xf8E4M3FN>, %scale: memref<?x4xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'scale' to be a matrix [?, 3] of 'f8E8M0FNU', found 'memref<?x4xf8E8M0FNU>' (C9)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x96xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x96xf8E4M3FN>, memref<?x4xf8E8M0FNU>) scale_layout<linear>
  return
}

// -----

func.func @c9_linear_rank(%x: tensor<7x32xbf16>, %map: tensor<7xi32>, %n: tensor<i32>, %data: tensor<7x32xf8E4M3FN>, %scale: tensor<512xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'scale' to be a matrix [7, 1] of 'f8E8M0FNU', found 'tensor<512xf8E8M0FNU>' (C9)}}
  %d, %s = moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : tensor<7x32xbf16>, tensor<7xi32>, tensor<i32>) outs(%data, %scale : tensor<7x32xf8E4M3FN>, tensor<512xf8E8M0FNU>) scale_layout<linear> -> tensor<7x32xf8E4M3FN>, tensor<512xf8E8M0FNU>
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C10) No destination is also another operand
//===----------------------------------------------------------------------===//

func.func @c10_in_place(%x: memref<4x8xbf16>, %map: memref<4xi32>, %n: memref<i32>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'out' to be another buffer than 'x', found the same value (C10)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x8xbf16>, memref<4xi32>, memref<i32>) outs(%x : memref<4x8xbf16>)
  return
}

// -----

func.func @c10_dynamic_sizes(%x: memref<?x?xbf16, strided<[?, 1], offset: ?>, 1>, %map: memref<?xi32>, %n: memref<1xi32>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'out' to be another buffer than 'x', found the same value (C10)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x?xbf16, strided<[?, 1], offset: ?>, 1>, memref<?xi32>, memref<1xi32>) outs(%x : memref<?x?xbf16, strided<[?, 1], offset: ?>, 1>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// (C11) No operand spans 2^63 bytes
//===----------------------------------------------------------------------===//

// The size of the scale would be 2^70 / 32, which is 0 in 64 bits.
func.func @c11_scale_size(%x: memref<36028797018963968x32768xbf16>, %map: memref<36028797018963968xi32>, %n: memref<i32>, %data: memref<36028797018963968x32768xf8E4M3FN>, %scale: memref<0xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.quantize_mxfp8' op expected 'x' to span fewer than 2^63 bytes, found 'memref<36028797018963968x32768xbf16>' (C11)}}
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<36028797018963968x32768xbf16>, memref<36028797018963968xi32>, memref<i32>) outs(%data, %scale : memref<36028797018963968x32768xf8E4M3FN>, memref<0xf8E8M0FNU>)
  return
}

// -----

func.func @c11_tensor(%x: tensor<144115188075855872x32xbf16>, %map: tensor<?xi32>, %n: tensor<i32>, %data: tensor<?x32xf8E4M3FN>, %scale: tensor<?x?xf8E8M0FNU>) {
  // expected-error@+1 {{'moe.squared_relu_quantize_mxfp8' op expected 'x' to span fewer than 2^63 bytes, found 'tensor<144115188075855872x32xbf16>' (C11)}}
  %d, %s = moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : tensor<144115188075855872x32xbf16>, tensor<?xi32>, tensor<i32>) outs(%data, %scale : tensor<?x32xf8E4M3FN>, tensor<?x?xf8E8M0FNU>) scale_layout<linear> -> tensor<?x32xf8E4M3FN>, tensor<?x?xf8E8M0FNU>
  return
}

// -----

// 2^62 rows of x and of out are 2^63 bytes less one row; of the map they are 2^64.
func.func @c11_map(%x: memref<4611686018427387903x1xbf16>, %map: memref<4611686018427387903xi32>, %n: memref<i32>, %out: memref<4611686018427387903x1xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'permutation_map' to span fewer than 2^63 bytes, found 'memref<4611686018427387903xi32>' (C11)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4611686018427387903x1xbf16>, memref<4611686018427387903xi32>, memref<i32>) outs(%out : memref<4611686018427387903x1xbf16>)
  return
}

// -----

func.func @c11_unknown_columns(%x: memref<4611686018427387904x?xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x?xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'x' to span fewer than 2^63 bytes, found 'memref<4611686018427387904x?xbf16>' (C11)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4611686018427387904x?xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x?xbf16>)
  return
}

// -----

func.func @c11_stride(%x: memref<3x8xbf16>, %map: memref<3xi32>, %n: memref<i32>, %out: memref<3x8xbf16, strided<[4611686018427387904, 1]>>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'out' to span fewer than 2^63 bytes, found 'memref<3x8xbf16, strided<[4611686018427387904, 1]>>' (C11)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<3x8xbf16>, memref<3xi32>, memref<i32>) outs(%out : memref<3x8xbf16, strided<[4611686018427387904, 1]>>)
  return
}

// -----

func.func @c11_offset(%x: memref<3x8xbf16, strided<[8, 1], offset: 9223372036854775806>>, %map: memref<3xi32>, %n: memref<i32>, %out: memref<3x8xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'x' to span fewer than 2^63 bytes, found 'memref<3x8xbf16, strided<[8, 1], offset: 9223372036854775806>>' (C11)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<3x8xbf16, strided<[8, 1], offset: 9223372036854775806>>, memref<3xi32>, memref<i32>) outs(%out : memref<3x8xbf16>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// The attributes' spellings
//===----------------------------------------------------------------------===//

func.func @layout_spelling(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU>)
    // expected-error@+2 {{expected ::mlir::moe::ScaleLayout to be one of: swizzle_32_4_4, linear}}
    // expected-error@+1 {{failed to parse Moe_ScaleLayoutAttr parameter 'value'}}
    scale_layout<blocked>
  return
}

// -----

func.func @dead_scales_spelling(%x: memref<4x32xbf16>, %map: memref<4xi32>, %n: memref<i32>, %data: memref<4x32xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<4x32xbf16>, memref<4xi32>, memref<i32>) outs(%data, %scale : memref<4x32xf8E4M3FN>, memref<512xf8E8M0FNU>)
    // expected-error@+2 {{expected ::mlir::moe::DeadScales to be one of: zero, untouched}}
    // expected-error@+1 {{failed to parse Moe_DeadScalesAttr parameter 'value'}}
    dead_scales<kept>
  return
}

// -----

func.func @c2_too_many_columns(%x: memref<4x2147483648xbf16>, %map: memref<4xi32>, %n: memref<i32>, %out: memref<4x2147483648xbf16>) {
  // expected-error@+1 {{'moe.padded_squared_relu' op expected 'x' to have from 1 to 2^31 - 1 columns, found 'memref<4x2147483648xbf16>' (C2)}}
  moe.padded_squared_relu ins(%x, %map, %n : memref<4x2147483648xbf16>, memref<4xi32>, memref<i32>) outs(%out : memref<4x2147483648xbf16>)
  return
}
