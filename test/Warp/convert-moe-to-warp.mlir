// Each op as a kernel for warps: rows one by one, whatever the schedule says.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -convert-moe-to-warp | FileCheck %s

// CHECK-LABEL: func.func @activation
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu blocks
// CHECK-LABEL: gpu.func @padded_squared_relu(
// CHECK-SAME: %[[X:[^ ]*]]: memref<?x1856xbf16, 1>, %[[MAP:[^ ]*]]: memref<?xi32, 1>, %[[N:[^ ]*]]: memref<i32, 1>, %[[OUT:[^ ]*]]: memref<?x1856xbf16, 1>)
// CHECK-SAME: known_block_size = array<i32: 256, 1, 1>{{.*}}, moe_warp.schedule = #moe.schedule<early_bytes = 1048576, waits = true>, nvvm.minctasm = 4 : i32
// CHECK: %[[ROWS:.*]] = memref.dim %[[X]], %c0
// CHECK: %[[COLUMNS:.*]] = arith.constant 1856 : index
// CHECK-NEXT: moe_warp.wait_for_predecessor
// CHECK-NEXT: %[[ENTRY:.*]] = moe_warp.load_entries %[[MAP]] to %[[ROWS]] : memref<?xi32, 1>
// CHECK-NEXT: %[[USED:.*]] = moe_warp.load_used_rows %[[N]] : memref<i32, 1>
// CHECK-NEXT: moe_warp.for_live_row in %[[MAP]] to %[[ROWS]] used %[[USED]] from %[[ENTRY]] : memref<?xi32, 1> (%[[ROW:.*]]: index) {
// CHECK-NEXT: moe_warp.for_chunk of %[[COLUMNS]] steps 4 elements 8 (%[[CHUNK:.*]]: i32) {
// CHECK-NEXT: %[[A:.*]] = moe_warp.load %[[X]][%[[ROW]], %[[CHUNK]]] align 16 : memref<?x1856xbf16, 1>, vector<4x8xbf16>
// CHECK-NEXT: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<4x8xbf16>
// CHECK-NEXT: %[[RELU:.*]] = arith.maxnumf %[[A]], %[[ZERO]] : vector<4x8xbf16>
// CHECK-NEXT: %[[SQUARE:.*]] = arith.mulf %[[RELU]], %[[RELU]] : vector<4x8xbf16>
// CHECK-NEXT: moe_warp.store %[[SQUARE]], %[[OUT]][%[[ROW]], %[[CHUNK]]] align 16 : vector<4x8xbf16>, memref<?x1856xbf16, 1>
// CHECK-NEXT: }
// CHECK-NEXT: }
// CHECK-NEXT: gpu.return
func.func @activation(%x: memref<?x1856xbf16, 1>, %map: memref<?xi32, 1>, %n: memref<i32, 1>, %out: memref<?x1856xbf16, 1>) {
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x1856xbf16, 1>, memref<?xi32, 1>, memref<i32, 1>) outs(%out : memref<?x1856xbf16, 1>)
    {moe.schedule = [#moe.schedule<early_bytes = 1048576, waits = true>, #moe.schedule<access_bytes = 2>]}
  return
}

// -----

// Single elements are not aligned. Linear scales end where rows do; generic operands are taken to
// global memory.
// CHECK-LABEL: gpu.func @quantize_mxfp8_linear_unaligned(
// CHECK-SAME: moe_warp.schedule = #moe.schedule<access_bytes = 2, steps = 2>
// CHECK: %[[X:.*]] = memref.memory_space_cast %{{.*}} : memref<?x64xbf16> to memref<?x64xbf16, 1>
// CHECK: %[[ROWS:.*]] = memref.dim
// CHECK-NOT: wait_for_predecessor
// CHECK: moe_warp.for_live_row in
// CHECK: moe_warp.for_chunk of %{{.*}} steps 2 elements 1 (
// CHECK-NEXT: %[[A:.*]] = moe_warp.load %[[X]][%{{.*}}, %{{.*}}] : memref<?x64xbf16, 1>, vector<2x1xbf16>
// CHECK-NEXT: %[[M:.*]] = moe_warp.group_maximum %[[A]] format(#moe.mxfp8<scale_layout = linear>) : vector<2x1xbf16>
// CHECK-NEXT: %[[C:.*]] = moe_warp.scale_code %[[M]] format(#moe.mxfp8<scale_layout = linear>)
// CHECK-NEXT: %[[Q:.*]] = moe_warp.quantize %[[A]] by %[[C]] format(#moe.mxfp8<scale_layout = linear>) : vector<2x1xbf16> -> vector<2x1xf8E4M3FN>
// CHECK-NEXT: moe_warp.store %[[Q]], %{{.*}}[%{{.*}}, %{{.*}}] : vector<2x1xf8E4M3FN>, memref<?x64xf8E4M3FN, 1>
// CHECK-NEXT: moe_warp.store_scale %[[C]], %{{.*}}[%{{.*}}, %{{.*}}] format(#moe.mxfp8<scale_layout = linear>) : memref<?x2xf8E8M0FNU, 1>
// CHECK: } dead to %[[ROWS]] (%{{.*}}: index) {
// CHECK-NEXT: moe_warp.for_chunk of %{{.*}} steps 2 elements 1 (
// CHECK-NEXT: moe_warp.clear_scales
func.func @linear(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?x2xf8E8M0FNU>) {
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>)
    scale_layout<linear> {moe.schedule = [#moe.schedule<access_bytes = 2, steps = 2>]}
  return
}

// -----

// No squared relu is negative. Chunks cover the padding of the last column tile, and cleared scales
// that of the last row tile.
// CHECK-LABEL: gpu.func @squared_relu_quantize_mxfp8_unaligned(
// CHECK: %[[ROWS:.*]] = memref.dim
// CHECK: %[[TILES:.*]] = arith.shrui %{{.*}}, %c7
// CHECK: %[[END:.*]] = arith.muli %[[TILES]], %c128
// CHECK: moe_warp.for_chunk of %{{.*}} steps 2 elements 1 padded_to 128 (
// CHECK: moe_warp.group_maximum %{{.*}} format(#moe.mxfp8) non_negative : vector<2x1xbf16>
// CHECK: } dead to %[[END]] (
// CHECK-NEXT: moe_warp.for_chunk of %{{.*}} steps 2 elements 1 padded_to 128 (

// Nothing is cleared.
// CHECK-LABEL: gpu.func @squared_relu_quantize_mxfp8_untouched_unaligned(
// CHECK-NOT: dead to
// CHECK: gpu.return
func.func @swizzled(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
    {moe.schedule = [#moe.schedule<access_bytes = 2, steps = 2>]}
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
    dead_scales<untouched> {moe.schedule = [#moe.schedule<access_bytes = 2, steps = 2>]}
  return
}
