// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// examples/routed-moe/activation.mlir with buffers that are known to be aligned, so that no
// kernel for other buffers is needed.

func.func @activation(%x: memref<?x1856xbf16>, %permutation_map: memref<?xi32>,
                      %n_used: memref<i32>, %out: memref<?x1856xbf16>) {
  %aligned_x = memref.assume_alignment %x, 16 : memref<?x1856xbf16>
  %aligned_out = memref.assume_alignment %out, 16 : memref<?x1856xbf16>
  moe.padded_squared_relu
    ins(%aligned_x, %permutation_map, %n_used
        : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%aligned_out : memref<?x1856xbf16>)
  return
}

func.func @quantized_activation(%x: memref<?x1856xbf16>, %permutation_map: memref<?xi32>,
                                %n_used: memref<i32>, %data: memref<?x1856xf8E4M3FN>,
                                %scale: memref<?xf8E8M0FNU>) {
  %aligned_x = memref.assume_alignment %x, 16 : memref<?x1856xbf16>
  %aligned_data = memref.assume_alignment %data, 16 : memref<?x1856xf8E4M3FN>
  %aligned_scale = memref.assume_alignment %scale, 16 : memref<?xf8E8M0FNU>
  moe.squared_relu_quantize_mxfp8
    ins(%aligned_x, %permutation_map, %n_used
        : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%aligned_data, %aligned_scale : memref<?x1856xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
