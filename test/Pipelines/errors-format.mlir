// A format that is none of the three is an error that names it and lists them.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: not moe-opt %s -moe-lower-to-ptx=format=foo 2>&1 \
// RUN: | FileCheck %s --implicit-check-not=gpu.binary --implicit-check-not=.version
// CHECK: error: {{.*}}format
// CHECK-SAME: isa, bin or fatbin, found 'foo'

func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
