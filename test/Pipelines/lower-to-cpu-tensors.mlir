// Functions on tensors that return their destinations, and a call of one, reach LLVM IR.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-cpu | mlir-translate --mlir-to-llvmir | FileCheck %s

// CHECK-LABEL: define {{.*}} @activation(
// CHECK: ret {
func.func private @activation(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>,
                              %init: tensor<8x64xbf16>) -> tensor<8x64xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  return %r : tensor<8x64xbf16>
}

// CHECK-LABEL: define {{.*}} @caller(
// CHECK: call ptr @malloc(
// CHECK: call {{.*}} @activation(
// CHECK: call void @free(
// CHECK: ret {
func.func @caller(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>,
                  %data: tensor<8x64xf8E4M3FN>, %scale: tensor<512xf8E8M0FNU>)
    -> (tensor<8x64xf8E4M3FN>, tensor<512xf8E8M0FNU>) {
  %init = tensor.empty() : tensor<8x64xbf16>
  %a = call @activation(%x, %map, %n, %init)
    : (tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>, tensor<8x64xbf16>) -> tensor<8x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%data, %scale : tensor<8x64xf8E4M3FN>, tensor<512xf8E8M0FNU>)
    -> tensor<8x64xf8E4M3FN>, tensor<512xf8E8M0FNU>
  return %q#0, %q#1 : tensor<8x64xf8E4M3FN>, tensor<512xf8E8M0FNU>
}
