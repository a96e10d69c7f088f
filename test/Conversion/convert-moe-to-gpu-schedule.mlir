// Schedules that are written by hand are obeyed.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -convert-moe-to-gpu -canonicalize -cse | FileCheck %s

// Three candidates: accesses of 32 and of 8 bytes, and single elements. 100 columns are no whole
// accesses of 32 bytes.
// CHECK-LABEL: func.func @candidates
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C7:.*]] = arith.constant 7 : index
// CHECK-NOT: arith.constant 31
// CHECK: arith.andi %{{.*}}, %[[C7]]
// CHECK: scf.if
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu blocks
// CHECK-NEXT: } else {
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
// CHECK: gpu.func @padded_squared_relu(
// CHECK-SAME: known_block_size = array<i32: 64, 1, 1>, moe.kernel = {{.*}}, nvvm.minctasm = 2 : i32
// CHECK-NOT: griddepcontrol
// CHECK-COUNT-2: vector.load {{.*}} {alignment = 8 : i64} : {{.*}} vector<4xbf16>
// CHECK-NOT: vector.load
// CHECK: gpu.func @padded_squared_relu_unaligned(
// CHECK-SAME: known_block_size = array<i32: 256, 1, 1>, moe.kernel = {{.*}}, nvvm.minctasm = 4 : i32
// CHECK: nvvm.griddepcontrol wait
// CHECK-COUNT-4: vector.load {{.*}} vector<1xbf16>
// CHECK-NOT: vector.load
func.func @candidates(%x: memref<?x100xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x100xbf16>) {
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x100xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x100xbf16>)
    {moe.schedule = [#moe.schedule<access_bytes = 32>,
                     #moe.schedule<access_bytes = 8, steps = 2, threads = 64, min_ctas = 2>,
                     #moe.schedule<access_bytes = 2, waits = true>]}
  return
}

// -----

// Several that may suit: the kernels after the first say what they need.
// CHECK-LABEL: func.func @aligned_less
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu blocks
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_aligned8 blocks
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_aligned4 blocks
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
func.func @aligned_less(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x?xbf16>) {
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x?xbf16>)
    {moe.schedule = [#moe.schedule<>, #moe.schedule<access_bytes = 8>, #moe.schedule<alignment = 4>,
                     #moe.schedule<access_bytes = 2>]}
  return
}

// -----

// Accesses in parts, of what is aligned less. E4M3 needs half of it.
// CHECK-LABEL: func.func @parts
// CHECK: gpu.func @quantize_mxfp8_linear(
// CHECK: vector.load {{.*}} {alignment = 4 : i64} : {{.*}} vector<8xbf16>
// CHECK: vector.store {{.*}} {alignment = 2 : i64} : {{.*}} vector<8xf8E4M3FN>
func.func @parts(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x64xf8E4M3FN>, %scale: memref<?x2xf8E8M0FNU>) {
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>)
    scale_layout<linear> {moe.schedule = [#moe.schedule<alignment = 4>, #moe.schedule<access_bytes = 2>]}
  return
}

// -----

// Ops whose schedules differ have kernels of their own, unless it is by the number of CTAs alone.
// CHECK-LABEL: func.func @two
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned_0 blocks
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
// CHECK-COUNT-2: gpu.func
// CHECK-NOT: gpu.func
func.func @two(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x64xbf16>) {
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>)
    {moe.schedule = [#moe.schedule<access_bytes = 2>]}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>)
    {moe.schedule = [#moe.schedule<access_bytes = 2, steps = 8>]}
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>)
    {moe.schedule = [#moe.schedule<access_bytes = 2, num_ctas = 7>]}
  return
}
