// moe-bufferize: fused, on memrefs, with what it allocated freed and with results that the
// caller owns; with deallocate=false in place and nothing else.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-bufferize | FileCheck %s --implicit-check-not=bufferization. --implicit-check-not='tensor<'
// RUN: moe-opt %s -moe-bufferize=deallocate=false | FileCheck %s --check-prefix=KEEP \
// RUN:   --implicit-check-not=dealloc --implicit-check-not=memref.copy --implicit-check-not=bufferization. --implicit-check-not='tensor<'

// CHECK-LABEL: func.func @returns_destination
// CHECK-SAME: %[[INIT:[^ ]*]]: memref<?x64xbf16>)
// CHECK: moe.padded_squared_relu ins({{.*}}) outs(%[[INIT]] :
// CHECK: %[[COPY:.*]] = memref.alloc
// CHECK: memref.copy %[[INIT]], %[[COPY]]
// CHECK: return %[[COPY]]
// KEEP-LABEL: func.func @returns_destination
// KEEP-SAME: %[[INIT:[^ ]*]]: memref<?x64xbf16>)
// KEEP-NOT: memref.alloc
// KEEP: moe.padded_squared_relu ins({{.*}}) outs(%[[INIT]] :
// KEEP-NOT: memref.alloc
// KEEP: return %[[INIT]]
func.func @returns_destination(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                               %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// CHECK-LABEL: func.func @temporary
// CHECK: %[[A:.*]] = memref.alloc
// CHECK: moe.padded_squared_relu ins({{.*}}) outs(%[[A]] :
// CHECK: %[[ELEMENT:.*]] = memref.load %[[A]]
// CHECK: memref.dealloc %[[A]]
// CHECK: return %[[ELEMENT]]
// KEEP-LABEL: func.func @temporary
// KEEP: %[[A:.*]] = memref.alloc
// KEEP: moe.padded_squared_relu ins({{.*}}) outs(%[[A]] :
// KEEP: return
func.func @temporary(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>, %i: index) -> bf16 {
  %init = tensor.empty() : tensor<8x64xbf16>
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  %element = tensor.extract %r[%i, %i] : tensor<8x64xbf16>
  return %element : bf16
}

// Fusion comes before bufferization, through casts.
// CHECK-LABEL: func.func @fused
// CHECK-NOT: moe.padded_squared_relu
// CHECK: moe.squared_relu_quantize_mxfp8
// CHECK: return
// KEEP-LABEL: func.func @fused
// KEEP-NOT: memref.alloc
// KEEP: moe.squared_relu_quantize_mxfp8
// KEEP-NOT: memref.alloc
func.func @fused(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>,
                 %data: tensor<8x64xf8E4M3FN>, %scale: tensor<512xf8E8M0FNU>)
    -> (tensor<8x64xf8E4M3FN>, tensor<512xf8E8M0FNU>) {
  %init = tensor.empty() : tensor<8x64xbf16>
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  %dynamic = tensor.cast %a : tensor<8x64xbf16> to tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%dynamic, %map, %n : tensor<?x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%data, %scale : tensor<8x64xf8E4M3FN>, tensor<512xf8E8M0FNU>)
    -> tensor<8x64xf8E4M3FN>, tensor<512xf8E8M0FNU>
  return %q#0, %q#1 : tensor<8x64xf8E4M3FN>, tensor<512xf8E8M0FNU>
}
