// Several functions with several ops each, on tensors and on memrefs, in one module.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-ptx | FileCheck %s --implicit-check-not=moe.
// RUN: moe-opt %s -moe-lower-to-ptx | moe-translate --moe-to-ptx | FileCheck %s --check-prefix=PTX
// RUN: moe-opt %s -moe-lower-to-cpu | mlir-translate --mlir-to-llvmir | FileCheck %s --check-prefix=CPU

// A kernel for each kind of op and operands: both functions launch the first two.
// PTX-COUNT-6: .visible .entry
// PTX-NOT: .entry

// CHECK-LABEL: func.func @on_memrefs
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu blocks
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8 blocks
// CHECK: gpu.launch_func @moe_kernels::@quantize_mxfp8_unaligned blocks
// CPU-LABEL: define void @on_memrefs(
func.func @on_memrefs(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x64xbf16>, %data: memref<?x64xf8E4M3FN>,
                      %scale: memref<?xf8E8M0FNU>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  moe.quantize_mxfp8
    ins(%out, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}

// CHECK-LABEL: func.func @on_tensors
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu blocks
// CHECK: gpu.launch_func @moe_kernels::@padded_squared_relu_unaligned blocks
// CHECK: gpu.launch_func @moe_kernels::@squared_relu_quantize_mxfp8 blocks
// CHECK: gpu.launch_func @moe_kernels::@squared_relu_quantize_mxfp8_unaligned blocks
// CPU-LABEL: define {{.*}} @on_tensors(
func.func @on_tensors(%x: tensor<?x64xbf16>, %y: tensor<?x64xbf16>, %map: tensor<?xi32>,
                      %n: tensor<i32>, %init: tensor<?x64xbf16>, %other: tensor<?x64xbf16>,
                      %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xbf16>, tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %a = moe.padded_squared_relu
    ins(%y, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%other : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %r, %q#0, %q#1 : tensor<?x64xbf16>, tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
}

// CHECK-LABEL: func.func @without_moe_ops
// CHECK-NOT: gpu.launch_func
// CPU-LABEL: define i32 @without_moe_ops(
func.func @without_moe_ops(%a: i32) -> i32 {
  return %a : i32
}

// CHECK: gpu.binary @moe_kernels
// CHECK-NOT: gpu.binary
