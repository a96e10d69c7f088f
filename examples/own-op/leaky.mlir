// A leaky relu of another dialect, and its quantisation: one kernel comes of the two.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

func.func @leaky(%x: tensor<?x1856xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                 %activation: tensor<?x1856xbf16>, %data: tensor<?x1856xf8E4M3FN>,
                 %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x1856xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %a = own.padded_leaky_relu
    ins(%x, %map, %n : tensor<?x1856xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%activation : tensor<?x1856xbf16>) -> tensor<?x1856xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x1856xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x1856xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x1856xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x1856xf8E4M3FN>, tensor<?xf8E8M0FNU>
}
