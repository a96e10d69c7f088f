// Functions on memrefs may allocate and free what they like.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-cpu | mlir-translate --mlir-to-llvmir | FileCheck %s

// CHECK-LABEL: define void @temporary(
// CHECK: %[[A:.*]] = call ptr @malloc(
// CHECK: call void @free(ptr %[[A]])
// CHECK-NOT: call void @free(
// CHECK: ret void
func.func @temporary(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,
                     %data: memref<8x64xf8E4M3FN>, %scale: memref<512xf8E8M0FNU>) {
  %a = memref.alloc() : memref<8x64xbf16>
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%a : memref<8x64xbf16>)
  moe.quantize_mxfp8
    ins(%a, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)
    outs(%data, %scale : memref<8x64xf8E4M3FN>, memref<512xf8E8M0FNU>)
  memref.dealloc %a : memref<8x64xbf16>
  return
}
