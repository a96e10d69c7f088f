// From tensors: the same kernels, and the two ops of a quantised activation as one.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-ptx | moe-translate --moe-to-ptx \
// RUN: | FileCheck %s --implicit-check-not=.extern --implicit-check-not=.local \
// RUN:     --implicit-check-not=div. --implicit-check-not=rem. --implicit-check-not=call \
// RUN:     --implicit-check-not=.entry

// CHECK: .target sm_90{{$}}

// CHECK-LABEL: .visible .entry padded_squared_relu(
// CHECK: vote.sync.ballot.b32
// CHECK-DAG: ld.global.v4.b32
// CHECK-DAG: max.bf16x2
// CHECK-DAG: mul.rn.bf16x2
// CHECK-DAG: st.global.v4.b32
// CHECK: ret;
// CHECK-LABEL: .visible .entry padded_squared_relu_unaligned(
func.func @activation(%x: tensor<?x?xbf16>, %map: tensor<?xi32>, %n: tensor<1xi32>,
                      %init: tensor<?x?xbf16>) -> tensor<?x?xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x?xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%init : tensor<?x?xbf16>) -> tensor<?x?xbf16>
  return %r : tensor<?x?xbf16>
}

// CHECK-LABEL: .visible .entry squared_relu_quantize_mxfp8(
// CHECK: vote.sync.ballot.b32
// CHECK-DAG: ld.global.v4.b32
// CHECK-DAG: max.bf16x2
// CHECK-DAG: mul.rn.bf16x2
// CHECK-DAG: cvt.rn.satfinite.e4m3x2.f32
// CHECK-DAG: st.global.v2.b32
// CHECK: ret;
// CHECK-LABEL: .visible .entry squared_relu_quantize_mxfp8_unaligned(
func.func @fused(%x: tensor<300x1856xbf16>, %map: tensor<300xi32>, %n: tensor<i32>,
                 %data: tensor<300x1856xf8E4M3FN>, %scale: tensor<23040xf8E8M0FNU>)
    -> (tensor<300x1856xf8E4M3FN>, tensor<23040xf8E8M0FNU>) {
  %init = tensor.empty() : tensor<300x1856xbf16>
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<300x1856xbf16>, tensor<300xi32>, tensor<i32>)
    outs(%init : tensor<300x1856xbf16>) -> tensor<300x1856xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<300x1856xbf16>, tensor<300xi32>, tensor<i32>)
    outs(%data, %scale : tensor<300x1856xf8E4M3FN>, tensor<23040xf8E8M0FNU>)
    -> tensor<300x1856xf8E4M3FN>, tensor<23040xf8E8M0FNU>
  return %q#0, %q#1 : tensor<300x1856xf8E4M3FN>, tensor<23040xf8E8M0FNU>
}
