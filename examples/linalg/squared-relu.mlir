// What another compiler has: relu(x)^2 in linalg, and behind it its quantisation.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#id = affine_map<(i, j) -> (i, j)>

func.func @quantized(%x: tensor<?x64xbf16>, %permutation_map: tensor<?xi32>,
                     %n_used: tensor<i32>, %data: tensor<?x64xf8E4M3FN>,
                     %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : bf16
  %rows = tensor.dim %x, %c0 : tensor<?x64xbf16>
  %empty = tensor.empty(%rows) : tensor<?x64xbf16>
  %activation = linalg.generic
      {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x64xbf16>) outs(%empty : tensor<?x64xbf16>) {
  ^bb0(%v: bf16, %unused: bf16):
    %relu = arith.maxnumf %v, %zero : bf16
    %square = arith.mulf %relu, %relu : bf16
    linalg.yield %square : bf16
  } -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%activation, %permutation_map, %n_used
        : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
}
