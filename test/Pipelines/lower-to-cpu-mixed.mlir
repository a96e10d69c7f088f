// moe ops between linalg and tensor ops, on the CPU: what is allocated is freed.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-cpu | mlir-translate --mlir-to-llvmir | FileCheck %s

// CHECK-LABEL: define float @sum_of_activation(
// CHECK: %[[A:.*]] = call ptr @malloc(
// CHECK: fmul
// CHECK: call void @free(ptr %[[A]])
// CHECK: ret float
func.func @sum_of_activation(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>) -> f32 {
  %zero_bf16 = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<8x64xbf16>
  %init = linalg.fill ins(%zero_bf16 : bf16) outs(%empty : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  %zero = arith.constant 0.0 : f32
  %scalar = tensor.empty() : tensor<f32>
  %start = linalg.fill ins(%zero : f32) outs(%scalar : tensor<f32>) -> tensor<f32>
  %sum = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> ()>],
                         iterator_types = ["reduction", "reduction"]}
      ins(%a : tensor<8x64xbf16>) outs(%start : tensor<f32>) {
  ^bb0(%element: bf16, %partial: f32):
    %wide = arith.extf %element : bf16 to f32
    %next = arith.addf %partial, %wide : f32
    linalg.yield %next : f32
  } -> tensor<f32>
  %result = tensor.extract %sum[] : tensor<f32>
  return %result : f32
}
