// Casts fold into the ops, unless they are what makes an operand valid.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -canonicalize -split-input-file | FileCheck %s

// CHECK-LABEL: func @memref_casts
// CHECK-SAME: (%[[X:.*]]: memref<300x64xbf16>, %[[MAP:.*]]: memref<300xi32>, %[[N:.*]]: memref<1xi32>, %[[OUT:.*]]: memref<300x64xbf16, strided<[128, 1]>>)
// CHECK-NEXT: moe.padded_squared_relu ins(%[[X]], %[[MAP]], %[[N]] : memref<300x64xbf16>, memref<300xi32>, memref<1xi32>) outs(%[[OUT]] : memref<300x64xbf16, strided<[128, 1]>>)
// CHECK-NEXT: return
func.func @memref_casts(%x: memref<300x64xbf16>, %map: memref<300xi32>, %n: memref<1xi32>,
                        %out: memref<300x64xbf16, strided<[128, 1]>>) {
  %0 = memref.cast %x : memref<300x64xbf16> to memref<?x?xbf16>
  %1 = memref.cast %map : memref<300xi32> to memref<?xi32>
  %2 = memref.cast %n : memref<1xi32> to memref<1xi32, strided<[1], offset: ?>>
  %3 = memref.cast %out : memref<300x64xbf16, strided<[128, 1]>> to memref<?x64xbf16, strided<[?, 1], offset: ?>>
  moe.padded_squared_relu
    ins(%0, %1, %2 : memref<?x?xbf16>, memref<?xi32>, memref<1xi32, strided<[1], offset: ?>>)
    outs(%3 : memref<?x64xbf16, strided<[?, 1], offset: ?>>)
  return
}

// -----

// CHECK-LABEL: func @memref_casts_of_quantize
// CHECK-SAME: (%[[X:.*]]: memref<?x64xbf16>, %[[MAP:.*]]: memref<?xi32>, %[[N:.*]]: memref<i32>, %[[DATA:.*]]: memref<?x64xf8E4M3FN>, %[[SCALE:.*]]: memref<4x2xf8E8M0FNU>)
// CHECK-NEXT: moe.quantize_mxfp8 ins(%[[X]], %[[MAP]], %[[N]] : {{.*}}) outs(%[[DATA]], %[[SCALE]] : memref<?x64xf8E4M3FN>, memref<4x2xf8E8M0FNU>) scale_layout<linear> dead_scales<untouched>
// CHECK-NEXT: return
func.func @memref_casts_of_quantize(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                                    %data: memref<?x64xf8E4M3FN>, %scale: memref<4x2xf8E8M0FNU>) {
  %0 = memref.cast %data : memref<?x64xf8E4M3FN> to memref<?x?xf8E4M3FN>
  %1 = memref.cast %scale : memref<4x2xf8E8M0FNU> to memref<?x?xf8E8M0FNU>
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%0, %1 : memref<?x?xf8E4M3FN>, memref<?x?xf8E8M0FNU>)
    scale_layout<linear> dead_scales<untouched>
  return
}

// -----

// Without the cast the innermost stride would not be known to be 1 (C6).
// CHECK-LABEL: func @cast_to_unit_stride
// CHECK: %[[CAST:.*]] = memref.cast %{{.*}} : memref<?x?xbf16, strided<[?, ?], offset: ?>> to memref<?x?xbf16, strided<[?, 1], offset: ?>>
// CHECK: moe.padded_squared_relu ins(%[[CAST]],
func.func @cast_to_unit_stride(%x: memref<?x?xbf16, strided<[?, ?], offset: ?>>, %map: memref<?xi32>,
                               %n: memref<i32>, %out: memref<?x?xbf16>) {
  %0 = memref.cast %x : memref<?x?xbf16, strided<[?, ?], offset: ?>> to memref<?x?xbf16, strided<[?, 1], offset: ?>>
  moe.padded_squared_relu
    ins(%0, %map, %n : memref<?x?xbf16, strided<[?, 1], offset: ?>>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}

// -----

// Nor is a cast folded that adds a static size.
// CHECK-LABEL: func @cast_to_static_size
// CHECK: %[[CAST:.*]] = memref.cast
// CHECK: moe.padded_squared_relu ins(%[[CAST]],
func.func @cast_to_static_size(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                               %out: memref<?x?xbf16>) {
  %0 = memref.cast %x : memref<?x?xbf16> to memref<?x64xbf16>
  moe.padded_squared_relu
    ins(%0, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}

// -----

// The tensor dialect's pattern for destination-style ops; the result's type follows the
// destination's.
// CHECK-LABEL: func @tensor_casts
// CHECK-SAME: (%[[X:.*]]: tensor<300x64xbf16>, %[[MAP:.*]]: tensor<300xi32>, %[[N:.*]]: tensor<i32>, %[[INIT:.*]]: tensor<300x64xbf16>)
// CHECK-NEXT: %[[R:.*]] = moe.padded_squared_relu ins(%[[X]], %[[MAP]], %[[N]] : tensor<300x64xbf16>, tensor<300xi32>, tensor<i32>) outs(%[[INIT]] : tensor<300x64xbf16>) -> tensor<300x64xbf16>
// CHECK-NEXT: %[[CAST:.*]] = tensor.cast %[[R]] : tensor<300x64xbf16> to tensor<?x64xbf16>
// CHECK-NEXT: return %[[CAST]]
func.func @tensor_casts(%x: tensor<300x64xbf16>, %map: tensor<300xi32>, %n: tensor<i32>,
                        %init: tensor<300x64xbf16>) -> tensor<?x64xbf16> {
  %0 = tensor.cast %x : tensor<300x64xbf16> to tensor<?x64xbf16>
  %1 = tensor.cast %map : tensor<300xi32> to tensor<?xi32>
  %2 = tensor.cast %init : tensor<300x64xbf16> to tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%0, %1, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%2 : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// -----

// Attributes stay with the op.
// CHECK-LABEL: func @tensor_casts_of_quantize
// CHECK-SAME: %[[DATA:[^ ]*]]: tensor<300x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: tensor<1536xf8E8M0FNU>)
// CHECK-NEXT: %[[R:.*]]:2 = moe.squared_relu_quantize_mxfp8 ins({{.*}}) outs(%[[DATA]], %[[SCALE]] : {{.*}}) dead_scales<untouched> -> tensor<300x64xf8E4M3FN>, tensor<1536xf8E8M0FNU>
func.func @tensor_casts_of_quantize(%x: tensor<300x64xbf16>, %map: tensor<300xi32>, %n: tensor<i32>,
                                    %data: tensor<300x64xf8E4M3FN>, %scale: tensor<1536xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %0 = tensor.cast %data : tensor<300x64xf8E4M3FN> to tensor<?x64xf8E4M3FN>
  %1 = tensor.cast %scale : tensor<1536xf8E8M0FNU> to tensor<?xf8E8M0FNU>
  %r:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<300x64xbf16>, tensor<300xi32>, tensor<i32>)
    outs(%0, %1 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    dead_scales<untouched> -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %r#0, %r#1 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
}
