// Fusion into and of ops of pairs of columns, with factors and without a map.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -moe-fuse-quantize | FileCheck %s
// RUN: moe-opt %s -split-input-file -moe-fuse-elementwise | FileCheck %s --check-prefix=LINALG

// All parameters of the activation are kept; what becomes of dead rows is for the second op to say.
// CHECK-LABEL: func @swiglu
// CHECK-SAME: %[[X:[^ ]*]]: tensor<?x128xbf16>, %[[MAP:[^ ]*]]: tensor<?xi32>, %[[N:[^ ]*]]: tensor<i32>, %[[P:[^ ]*]]: tensor<?xf32>
// CHECK-NOT: moe.padded_swiglu
// CHECK: moe.swiglu_quantize_mxfp8 ins(%[[X]], %[[MAP]], %[[N]] : {{.*}}) probs(%[[P]] : tensor<?xf32>) outs({{.*}}) gate_layout<interleaved<8>> limit_at<after> scale_layout<linear> {limit = 7.000000e+00 : f32} ->
// CHECK-NOT: moe.quantize_mxfp8
func.func @swiglu(%x: tensor<?x128xbf16>, %map: tensor<?xi32>, %n: tensor<i32>, %p: tensor<?xf32>,
                  %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                  %scale: tensor<?x2xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN> {
  %a = moe.padded_swiglu ins(%x, %map, %n : tensor<?x128xbf16>, tensor<?xi32>, tensor<i32>)
    probs(%p : tensor<?xf32>) outs(%init : tensor<?x64xbf16>)
    gate_layout<interleaved<8>> limit_at<after> dead_rows<zero> {limit = 7.0 : f32}
    -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) scale_layout<linear>
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// CHECK-LABEL: func @no_map
// CHECK: moe.squared_relu_quantize_mxfp8 ins(%{{.*}}, %{{.*}} : tensor<?x64xbf16>, tensor<i32>) outs({{.*}}) dead_rows<zero> {clamp_scale = 1.600000e+01 : f32} ->
// CHECK-NOT: moe.quantize_mxfp8
func.func @no_map(%x: tensor<?x64xbf16>, %n: tensor<i32>, %init: tensor<?x64xbf16>,
                  %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN> {
  %a = moe.padded_squared_relu ins(%x, %n : tensor<?x64xbf16>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) {clamp_scale = 16.0 : f32} -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %n : tensor<?x64xbf16>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) dead_rows<zero>
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// One of them leaves rows out that the other computes.
// CHECK-LABEL: func @one_map
// CHECK: moe.padded_squared_relu
// CHECK-NEXT: moe.quantize_mxfp8
func.func @one_map(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                   %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                   %scale: tensor<?xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN> {
  %a = moe.padded_squared_relu ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %n : tensor<?x64xbf16>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// With factors the second op computes something itself.
// CHECK-LABEL: func @weighted_quantize
// CHECK: moe.padded_squared_relu
// CHECK-NEXT: moe.quantize_mxfp8
func.func @weighted_quantize(%x: tensor<?x64xbf16>, %n: tensor<i32>, %p: tensor<?xf32>,
                             %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                             %scale: tensor<?xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN> {
  %a = moe.padded_squared_relu ins(%x, %n : tensor<?x64xbf16>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %n : tensor<?x64xbf16>, tensor<i32>) probs(%p : tensor<?xf32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// The region has no name in the dialect: the generic op takes both parts and the factor.
// CHECK-LABEL: func @region
// CHECK: moe.map_rows ins({{.*}} : tensor<?x128xbf16>, tensor<?xi32>, tensor<i32>) probs(%{{.*}}) outs({{.*}}) pairs<halves> format(#moe.mxfp8) {
// CHECK-NEXT: ^bb0(%[[A:.*]]: bf16, %[[B:.*]]: bf16, %{{.*}}: f32):
// CHECK-NEXT: arith.mulf %[[A]], %[[B]]
// CHECK-NOT: moe.quantize_mxfp8
func.func @region(%x: tensor<?x128xbf16>, %map: tensor<?xi32>, %n: tensor<i32>, %p: tensor<?xf32>,
                  %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                  %scale: tensor<?xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN> {
  %a = moe.map_rows ins(%x, %map, %n : tensor<?x128xbf16>, tensor<?xi32>, tensor<i32>)
    probs(%p : tensor<?xf32>) outs(%init : tensor<?x64xbf16>) pairs<halves> format(#moe.bf16) {
  ^bb0(%a: bf16, %b: bf16, %prob: f32):
    %c = arith.mulf %a, %b : bf16
    moe.yield %c : bf16
  } -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8 ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// What is computed of each element of x is computed of both parts.
// LINALG-LABEL: func @linalg
// LINALG-NOT: linalg
// LINALG: moe.map_rows {{.*}} pairs<interleaved<2>> format(#moe.bf16) {
// LINALG-NEXT: ^bb0(%[[A:.*]]: bf16, %[[B:.*]]: bf16):
// LINALG-DAG: %[[NA:.*]] = arith.negf %[[A]]
// LINALG-DAG: %[[NB:.*]] = arith.negf %[[B]]
// LINALG: arith.subf %[[NA]], %[[NB]]
func.func @linalg(%y: tensor<8x128xbf16>, %map: tensor<8xi32>, %n: tensor<i32>,
                  %init: tensor<8x64xbf16>) -> tensor<8x64xbf16> {
  %e = tensor.empty() : tensor<8x128xbf16>
  %x = linalg.negf ins(%y : tensor<8x128xbf16>) outs(%e : tensor<8x128xbf16>) -> tensor<8x128xbf16>
  %a = moe.map_rows ins(%x, %map, %n : tensor<8x128xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) pairs<interleaved<2>> format(#moe.bf16) {
  ^bb0(%a: bf16, %b: bf16):
    %c = arith.subf %a, %b : bf16
    moe.yield %c : bf16
  } -> tensor<8x64xbf16>
  return %a : tensor<8x64xbf16>
}
