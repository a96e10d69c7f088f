// The same text gives the same bytes, however long it takes: nothing but the level for the driver
// is a property of what was compiled.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-ptx -o %t.first
// RUN: moe-opt %s -moe-lower-to-ptx -o %t.second
// RUN: cmp %t.first %t.second
// RUN: FileCheck %s --input-file=%t.first
// RUN: moe-opt %s -moe-lower-to-cuda -o %t.first
// RUN: moe-opt %s -moe-lower-to-cuda -o %t.second
// RUN: cmp %t.first %t.second
// RUN: FileCheck %s --input-file=%t.first

// CHECK: gpu.binary @moe_kernels [#gpu.object<#nvvm.target<{{[^>]*}}>, properties = {O = 3 : i32}, assembly = "
func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
