// What convert-moe-to-gpu says of a kernel to whoever launches it: an attribute to read, and a constant
// with the same in bytes. test/Docs compares the bytes with docs/kernel-abi.md.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -moe-choose-schedule=chip=sm_90 -convert-moe-to-gpu | FileCheck %s
// RUN: moe-opt %s -split-input-file -moe-choose-schedule="access-bytes=32 threads-per-cta=128" -convert-moe-to-gpu | FileCheck %s --check-prefix=WIDE

// Anything that is known when it is compiled is what a caller must have.
// CHECK: gpu.func @padded_squared_relu(
// CHECK-SAME: moe.kernel = {base_name_bytes = 19 : i64, chunk_columns = 1024 : i64, min_ctas_per_sm = 4 : i64, operands = [
// CHECK-SAME: {access = "read", address_alignment = 16 : i64, columns = 1856 : i64, element_bits = 16 : i64, kind = "matrix", name = "x", row_alignment = 16 : i64, row_stride = 1856 : i64, row_stride_alignment = 16 : i64},
// CHECK-SAME: {access = "read", element_bits = 32 : i64, kind = "vector", name = "permutation_map"},
// CHECK-SAME: {access = "read", element_bits = 32 : i64, kind = "scalar", name = "n_used", rank = 1 : i64},
// CHECK-SAME: {access = "write", address_alignment = 16 : i64, columns = 1856 : i64, element_bits = 16 : i64, kind = "matrix", name = "out", offset = 8 : i64, row_stride_alignment = 16 : i64}],
// CHECK-SAME: rows_per_unit = 1 : i64, threads_per_cta = 256 : i64, version = 2 : i64, waits_for_predecessor = true, work = "rows"}
// CHECK: llvm.mlir.global external constant @moe_kernel_padded_squared_relu("MOEK\02\00
// CHECK-SAME: {addr_space = 1 : i32, alignment = 8 : i64}

// Of the kernel for rows that may start anywhere nothing more is asked than elements need.
// CHECK: gpu.func @padded_squared_relu_unaligned(
// CHECK-SAME: moe.kernel = {base_name_bytes = 19 : i64, chunk_columns = 64 : i64
// CHECK-NOT: _alignment =
// CHECK: llvm.mlir.global external constant @moe_kernel_padded_squared_relu_unaligned(

// Behind all kernels their names.
// CHECK: llvm.mlir.global external constant @moe_kernels("padded_squared_relu\00padded_squared_relu_unaligned\00")
// CHECK-SAME: {addr_space = 1 : i32, alignment = 1 : i64}

// WIDE: gpu.func @padded_squared_relu(
// WIDE-SAME: min_ctas_per_sm = 8 : i64
// WIDE-SAME: address_alignment = 32 : i64
// WIDE-SAME: row_alignment = 32 : i64{{.*}}row_stride_alignment = 32 : i64
// WIDE-SAME: threads_per_cta = 128 : i64
// WIDE-SAME: waits_for_predecessor = false
func.func @static(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<1xi32>,
                  %out: memref<?x1856xbf16, strided<[?, 1], offset: 8>>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%out : memref<?x1856xbf16, strided<[?, 1], offset: 8>>)
  return
}

// -----

// Quads, and scales that are cleared 16 bytes at a time, or of which four are stored.
// CHECK: gpu.func @quantize_mxfp8(
// CHECK-SAME: {access = "write", address_alignment = 8 : i64, element_bits = 8 : i64, kind = "matrix", name = "data", row_stride_alignment = 8 : i64}
// CHECK-SAME: {access = "write", address_alignment = 16 : i64, element_bits = 8 : i64, kind = "vector", name = "scale"}
// CHECK-SAME: rows_per_unit = 4 : i64
// CHECK: gpu.func @quantize_mxfp8_unaligned(
// CHECK-SAME: rows_per_unit = 1 : i64
// CHECK: gpu.func @quantize_mxfp8_untouched(
// CHECK-SAME: {access = "write", address_alignment = 4 : i64, element_bits = 8 : i64, kind = "vector", name = "scale"}
// CHECK-SAME: rows_per_unit = 4 : i64
// CHECK: gpu.func @quantize_mxfp8_linear(
// CHECK-SAME: {access = "write", element_bits = 8 : i64, kind = "matrix", name = "scale"}
// CHECK-SAME: rows_per_unit = 1 : i64
// CHECK-NOT: pair_block
!x = memref<?x?xbf16, strided<[?, 1], offset: ?>>
!data = memref<?x?xf8E4M3FN, strided<[?, 1], offset: ?>>
!linear = memref<?x?xf8E8M0FNU, strided<[?, 1], offset: ?>>
func.func @quantize(%x: !x, %map: memref<?xi32>, %n: memref<i32>, %data: !data,
                    %scale: memref<?xf8E8M0FNU>, %linear: !linear) {
  moe.quantize_mxfp8 ins(%x, %map, %n : !x, memref<?xi32>, memref<i32>)
    outs(%data, %scale : !data, memref<?xf8E8M0FNU>)
  moe.quantize_mxfp8 ins(%x, %map, %n : !x, memref<?xi32>, memref<i32>)
    outs(%data, %scale : !data, memref<?xf8E8M0FNU>) dead_scales<untouched>
  moe.quantize_mxfp8 ins(%x, %map, %n : !x, memref<?xi32>, memref<i32>)
    outs(%data, %linear : !data, !linear) scale_layout<linear>
  return
}

// -----

// Which two columns of x one of the destination is computed of, and the name without what tells kernels of
// one op apart.
// CHECK: gpu.func @padded_swiglu_interleaved8_dense(
// CHECK-SAME: moe.kernel = {base_name_bytes = 32 : i64
// CHECK-SAME: pair_block = 8 : i64
// CHECK: gpu.func @padded_swiglu_interleaved8_dense_unaligned(
// CHECK-SAME: moe.kernel = {base_name_bytes = 32 : i64
// CHECK-SAME: pair_block = 8 : i64
func.func @pairs(%x: memref<?x?xbf16>, %n: memref<i32>, %out: memref<?x?xbf16>) {
  moe.padded_swiglu ins(%x, %n : memref<?x?xbf16>, memref<i32>) outs(%out : memref<?x?xbf16>)
    gate_layout<interleaved<8>>
  return
}
