// The same text gives the same machine code, and no word beside it that changes. A toolkit without
// libdevice is no error of kernels that do not call it.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// REQUIRES: ptxas
// RUN: moe-opt %s -moe-lower-to-ptx="format=bin toolkit=%cuda_home" -o %t.first 2> %t.errors
// RUN: moe-opt %s -moe-lower-to-ptx="format=bin toolkit=%cuda_home" -o %t.second
// RUN: cmp %t.first %t.second
// RUN: FileCheck %s --input-file=%t.first
// RUN: cmp %t.errors /dev/null
// RUN: moe-opt %s -moe-lower-to-ptx="format=fatbin toolkit=%cuda_home" -o %t.first
// RUN: moe-opt %s -moe-lower-to-ptx="format=fatbin toolkit=%cuda_home" -o %t.second
// RUN: cmp %t.first %t.second
// RUN: FileCheck %s --input-file=%t.first

// CHECK: gpu.binary @moe_kernels [#gpu.object<#nvvm.target<{{[^>]*}}>, properties = {}, {{(bin = )?}}"
func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
