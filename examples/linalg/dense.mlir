// An activation that no named op has, of a batch without padding: all rows are live.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

func.func @dense(%x: tensor<?x64xbf16>, %out: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %c0 = arith.constant 0 : index
  %token = arith.constant 0 : i32
  %rows = tensor.dim %x, %c0 : tensor<?x64xbf16>
  %empty = tensor.empty(%rows) : tensor<?xi32>
  %permutation_map = linalg.fill ins(%token : i32) outs(%empty : tensor<?xi32>)
    -> tensor<?xi32>
  %all = arith.index_cast %rows : index to i32
  %n_used = tensor.from_elements %all : tensor<i32>
  %result = moe.map_rows
    ins(%x, %permutation_map, %n_used : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%out : tensor<?x64xbf16>) format(#moe.bf16) kernel_name("leaky_relu") {
  ^bb0(%v: bf16):
    %quarter = arith.constant 0.25 : bf16
    %small = arith.mulf %v, %quarter : bf16
    %larger = arith.maxnumf %v, %small : bf16
    moe.yield %larger : bf16
  } -> tensor<?x64xbf16>
  return %result : tensor<?x64xbf16>
}
