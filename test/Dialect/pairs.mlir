// Pairs of columns, and what all ops may have besides, in their textual and binary forms.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s | moe-opt | FileCheck %s
// RUN: moe-opt --mlir-print-op-generic %s | moe-opt | FileCheck %s
// RUN: moe-opt --emit-bytecode %s | moe-opt | FileCheck %s
// RUN: moe-opt %s --moe-generalize | FileCheck %s --check-prefix=GENERIC

// CHECK-LABEL: func @map_rows
// CHECK: moe.map_rows ins(%{{.*}}, %{{.*}}, %{{.*}} : memref<?x128xbf16>, memref<?xi32>, memref<i32>) outs(%{{.*}} : memref<?x64xbf16>) pairs<halves> format(#moe.bf16) {
// CHECK: moe.map_rows ins(%{{.*}}, %{{.*}} : memref<?x128xbf16>, memref<i32>) probs(%{{.*}} : memref<?xf32>) outs(%{{.*}} : memref<?x64xbf16>) pairs<interleaved<8>> format(#moe.bf16) dead_rows<zero> kernel_name("k") {
func.func @map_rows(%x: memref<?x128xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                    %probs: memref<?xf32>, %out: memref<?x64xbf16>) {
  moe.map_rows ins(%x, %map, %n : memref<?x128xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>) pairs<halves> format(#moe.bf16) {
  ^bb0(%a: bf16, %b: bf16):
    %c = arith.mulf %a, %b : bf16
    moe.yield %c : bf16
  }
  moe.map_rows ins(%x, %n : memref<?x128xbf16>, memref<i32>) probs(%probs : memref<?xf32>)
    outs(%out : memref<?x64xbf16>) pairs<interleaved<8>> format(#moe.bf16)
    dead_rows<zero> kernel_name("k") {
  ^bb0(%a: bf16, %b: bf16, %prob: f32):
    moe.yield %a : bf16
  }
  return
}

// A default that is written is not printed. The name of a kernel has what is not.
// CHECK-LABEL: func @gated
// CHECK: moe.padded_swiglu ins({{.*}}) outs(%{{.*}} : memref<?x64xbf16>){{$}}
// CHECK: moe.padded_swiglu ins({{.*}}) outs({{.*}}) gate_layout<up_gate>{{$}}
// CHECK: moe.padded_swiglu ins({{.*}}) outs({{.*}}) gate_layout<interleaved<1>> {alpha = 1.702000e+00 : f32, beta = 1.000000e+00 : f32, limit = 7.000000e+00 : f32}
// CHECK: moe.padded_swiglu ins({{.*}}) outs({{.*}}) limit_at<after> {limit = 7.000000e+00 : f32}
// CHECK: moe.padded_swiglu ins({{.*}}) outs({{.*}}) activation<gelu_tanh>{{$}}
// CHECK: moe.padded_squared_relu ins(%{{.*}}, %{{.*}} : memref<?x64xbf16>, memref<i32>) probs(%{{.*}} : memref<?xf32>) outs(%{{.*}} : memref<?x64xbf16>) dead_rows<zero> {clamp_scale = 1.600000e+01 : f32}

// GENERIC-LABEL: func @gated
// GENERIC: moe.map_rows {{.*}} pairs<halves> format(#moe.bf16) kernel_name("padded_swiglu") {
// GENERIC: moe.map_rows {{.*}} pairs<halves> format(#moe.bf16) kernel_name("padded_swiglu_up_gate") {
// GENERIC: moe.map_rows {{.*}} pairs<interleaved<1>> format(#moe.bf16) kernel_name("padded_swiglu_interleaved1_limit7_alphax3fd9db23_beta1") {
// GENERIC: moe.map_rows {{.*}} kernel_name("padded_swiglu_limit7_after") {
// GENERIC: moe.map_rows {{.*}} kernel_name("padded_swiglu_gelu_tanh") {
// GENERIC: moe.map_rows {{.*}} probs(%{{.*}}) outs({{.*}}) format(#moe.bf16) dead_rows<zero> kernel_name("padded_squared_relu_clamp16_dense_probs_zeroed") {
// GENERIC-NEXT: ^bb0(%{{.*}}: bf16, %{{.*}}: f32):
func.func @gated(%x: memref<?x128xbf16>, %narrow: memref<?x64xbf16>, %map: memref<?xi32>,
                 %n: memref<i32>, %probs: memref<?xf32>, %out: memref<?x64xbf16>) {
  moe.padded_swiglu ins(%x, %map, %n : memref<?x128xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>) {alpha = 1.0 : f32, beta = 0.0 : f32}
  moe.padded_swiglu ins(%x, %map, %n : memref<?x128xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>) gate_layout<up_gate>
  moe.padded_swiglu ins(%x, %map, %n : memref<?x128xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>) gate_layout<interleaved<1>>
    {limit = 7.0 : f32, alpha = 1.702 : f32, beta = 1.0 : f32}
  moe.padded_swiglu ins(%x, %map, %n : memref<?x128xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>) limit_at<after> {limit = 7.0 : f32}
  moe.padded_swiglu ins(%x, %map, %n : memref<?x128xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>) activation<gelu_tanh>
  moe.padded_squared_relu ins(%narrow, %n : memref<?x64xbf16>, memref<i32>)
    probs(%probs : memref<?xf32>) outs(%out : memref<?x64xbf16>) dead_rows<zero>
    {clamp_scale = 16.0 : f32}
  return
}

// CHECK-LABEL: func @quantizing
// CHECK: moe.swiglu_quantize_mxfp8 {{.*}} gate_layout<interleaved<32>> dead_rows<zero> scale_layout<linear> dead_scales<untouched> {limit = 1.000000e+01 : f32} -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
// GENERIC-LABEL: func @quantizing
// GENERIC: moe.map_rows {{.*}} pairs<interleaved<32>> format(#moe.mxfp8<scale_layout = linear, dead_scales = untouched>) dead_rows<zero> kernel_name("swiglu_quantize_mxfp8_interleaved32_limit10_zeroed") {
func.func @quantizing(%x: tensor<?x128xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                      %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?x2xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %0:2 = moe.swiglu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x128xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>)
    gate_layout<interleaved<32>> dead_rows<zero> scale_layout<linear> dead_scales<untouched>
    {limit = 10.0 : f32} -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %0#0, %0#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}
