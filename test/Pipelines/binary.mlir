// With a CUDA toolkit the pipeline goes on to a cubin or a fatbin.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// REQUIRES: ptxas
// RUN: moe-opt %s -moe-lower-to-ptx="format=bin toolkit=%cuda_home" | FileCheck %s --check-prefix=BIN
// RUN: moe-opt %s -moe-lower-to-ptx="format=fatbin toolkit=%cuda_home" | FileCheck %s --check-prefix=FATBIN
// RUN: moe-opt %s -moe-lower-to-ptx="format=bin toolkit=%cuda_home" \
// RUN: | not moe-translate --moe-to-ptx 2>&1 \
// RUN: | FileCheck %s --check-prefix=TRANSLATE --implicit-check-not=gpu.object

// An ELF file.
// BIN: gpu.binary @moe_kernels [#gpu.object<#nvvm.target<O = 3, {{.*}}>, {{.*}}bin = "\7FELF
// FATBIN: gpu.binary @moe_kernels [#gpu.object<#nvvm.target<{{.*}}>, {{.*}}"P\EDU\BA
// TRANSLATE: error: expected PTX, found {{.*}}: lower the module with format=isa
func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
