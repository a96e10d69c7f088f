// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// SwiGLU between FC1 and FC2 of a mixture of experts with an FFN size of 768. A row of x has
// 768 gates and then 768 ups, as FC1 writes them. In bf16 for bf16 GEMMs, and quantised to
// MXFP8 for block-scaled GEMMs.

func.func @swiglu(%x: memref<?x1536xbf16>, %permutation_map: memref<?xi32>,
                  %n_used: memref<i32>, %out: memref<?x768xbf16>) {
  moe.padded_swiglu
    ins(%x, %permutation_map, %n_used : memref<?x1536xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x768xbf16>)
  return
}

func.func @quantized_swiglu(%x: memref<?x1536xbf16>, %permutation_map: memref<?xi32>,
                            %n_used: memref<i32>, %data: memref<?x768xf8E4M3FN>,
                            %scale: memref<?xf8E8M0FNU>) {
  moe.swiglu_quantize_mxfp8
    ins(%x, %permutation_map, %n_used : memref<?x1536xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x768xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
