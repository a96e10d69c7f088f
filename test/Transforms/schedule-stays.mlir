// A schedule goes with its op through fusion, which takes that of the quantisation, and through
// bufferization.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s --moe-bufferize | FileCheck %s

// CHECK-LABEL: func.func @fused
// CHECK: moe.squared_relu_quantize_mxfp8
// CHECK-SAME: {moe.schedule = [#moe.schedule<threads = 64>]}
// CHECK-NOT: moe.
// CHECK: return
func.func @fused(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>, %out: tensor<?x64xbf16>,
                 %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?x2xf8E8M0FNU>) -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %a = moe.padded_squared_relu ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%out : tensor<?x64xbf16>) {moe.schedule = [#moe.schedule<early_bytes = 1024>]} -> tensor<?x64xbf16>
  %0:2 = moe.quantize_mxfp8 ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) scale_layout<linear>
    {moe.schedule = [#moe.schedule<threads = 64>]} -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %0#0, %0#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}
