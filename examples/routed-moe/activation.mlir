// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Between FC1 and FC2 of a mixture of experts with an FFN size of 1856: the activation in
// bf16 for bf16 GEMMs, and quantised to MXFP8 for block-scaled GEMMs.

func.func @activation(%x: memref<?x1856xbf16>, %permutation_map: memref<?xi32>,
                      %n_used: memref<i32>, %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %permutation_map, %n_used : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}

func.func @quantized_activation(%x: memref<?x1856xbf16>, %permutation_map: memref<?xi32>,
                                %n_used: memref<i32>, %data: memref<?x1856xf8E4M3FN>,
                                %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %permutation_map, %n_used : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x1856xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
