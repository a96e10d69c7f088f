// The host side of ops that gather rows of x: the grid, the description, and which kernels there are.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-choose-schedule=chip=sm_90 -convert-moe-to-gpu -canonicalize | FileCheck %s

// A warp for each of the 300 rows of the destination, and not for those of x.
// CHECK-LABEL: func.func @few_tokens
// CHECK: gpu.launch_func @moe_kernels::@permute_tokens blocks in (%c1, %[[$CTAS:.*]], %c1)
// CHECK-LABEL: func.func @as_many_rows
// CHECK: gpu.launch_func @moe_kernels::@map_rows blocks in (%c1, %[[$CTAS]], %c1)

// The descriptions say what each operand has.
// CHECK: gpu.func @permute_tokens(
// CHECK-SAME: gathers = true
// CHECK-SAME: {access = "read", address_alignment = 16 : i64, columns = 64 : i64, element_bits = 16 : i64, kind = "matrix", name = "x", row_alignment = 16 : i64, row_stride = 64 : i64, row_stride_alignment = 16 : i64, rows = 7 : i64}
// CHECK-SAME: name = "permutation_map", rows = 300 : i64}
// CHECK-SAME: name = "out", row_stride = 64 : i64, row_stride_alignment = 16 : i64, rows = 300 : i64}
func.func @few_tokens(%map: memref<300xi32>, %n: memref<i32>) {
  %x = memref.alloc() {alignment = 16 : i64} : memref<7x64xbf16>
  %out = memref.alloc() {alignment = 16 : i64} : memref<300x64xbf16>
  moe.permute_tokens ins(%x, %map, %n : memref<7x64xbf16>, memref<300xi32>, memref<i32>)
    outs(%out : memref<300x64xbf16>)
  return
}

// Of ops that differ in nothing else, one gathers.
// CHECK: gpu.func @map_rows(
// CHECK-NOT: gathers
// CHECK: gpu.func @map_rows_0(
// CHECK-SAME: gathers = true
func.func @as_many_rows(%map: memref<300xi32>, %n: memref<i32>) {
  %x = memref.alloc() {alignment = 16 : i64} : memref<300x64xbf16>
  %out = memref.alloc() {alignment = 16 : i64} : memref<300x64xbf16>
  moe.map_rows ins(%x, %map, %n : memref<300x64xbf16>, memref<300xi32>, memref<i32>)
    outs(%out : memref<300x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  moe.map_rows ins(%x, %map, %n : memref<300x64xbf16>, memref<300xi32>, memref<i32>) gathers
    outs(%out : memref<300x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }
  return
}
