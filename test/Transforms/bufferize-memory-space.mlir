// A buffer of unknown layout keeps its memory space where it is cast.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -one-shot-bufferize | FileCheck %s

// CHECK: memref.cast %{{.*}} : memref<4x64xbf16, strided<[?, ?], offset: ?>, 1> to memref<4x64xbf16, strided<[?, 1], offset: ?>, 1>
// CHECK: moe.padded_squared_relu ins({{.*}} : memref<4x64xbf16, strided<[?, 1], offset: ?>, 1>,
func.func @f(%x: memref<4x64xbf16, strided<[?, ?], offset: ?>, 1>, %m: memref<4xi32>,
             %n: memref<i32>, %out: memref<4x64xbf16>) {
  %tx = bufferization.to_tensor %x restrict
    : memref<4x64xbf16, strided<[?, ?], offset: ?>, 1> to tensor<4x64xbf16>
  %tm = bufferization.to_tensor %m restrict : memref<4xi32> to tensor<4xi32>
  %tn = bufferization.to_tensor %n restrict : memref<i32> to tensor<i32>
  %to = bufferization.to_tensor %out restrict writable : memref<4x64xbf16> to tensor<4x64xbf16>
  %r = moe.padded_squared_relu
    ins(%tx, %tm, %tn : tensor<4x64xbf16>, tensor<4xi32>, tensor<i32>)
    outs(%to : tensor<4x64xbf16>) -> tensor<4x64xbf16>
  bufferization.materialize_in_destination %r in restrict writable %out
    : (tensor<4x64xbf16>, memref<4x64xbf16>) -> ()
  return
}
