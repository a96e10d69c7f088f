// Casts fold into the ops, unless they are what makes an operand valid. No valid op becomes
// an invalid one.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -canonicalize -split-input-file 2>%t | FileCheck %s
// RUN: FileCheck %s --check-prefix=WARNING < %t

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

// -----

// Code that never runs may say that a buffer of 4 rows has as many as one of 8. Each cast is
// judged by itself: the map's contradicts nothing.
// CHECK-LABEL: func @contradicting_rows
// CHECK-SAME: %[[X:[^ ]*]]: memref<4x64xbf16>, %[[MAP:[^ ]*]]: memref<8xi32>
// CHECK: scf.if
// CHECK: %[[CAST:.*]] = memref.cast %[[X]] : memref<4x64xbf16> to memref<?x64xbf16>
// CHECK: moe.padded_squared_relu ins(%[[CAST]], %[[MAP]], %{{.*}} : memref<?x64xbf16>, memref<8xi32>, memref<i32>) outs(%{{.*}} : memref<8x64xbf16>)
func.func @contradicting_rows(%c: i1, %x: memref<4x64xbf16>, %map: memref<8xi32>,
                              %n: memref<i32>, %out: memref<8x64xbf16>) {
  scf.if %c {
    %0 = memref.cast %x : memref<4x64xbf16> to memref<?x64xbf16>
    %1 = memref.cast %map : memref<8xi32> to memref<?xi32>
    moe.padded_squared_relu
      ins(%0, %1, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
      outs(%out : memref<8x64xbf16>)
  }
  return
}

// -----

// C5, between two casts: one of them folds.
// CHECK-LABEL: func @contradicting_casts
// CHECK-SAME: (%[[X:[^ ]*]]: memref<4x64xbf16>,
// CHECK: %[[CAST:.*]] = memref.cast %{{.*}} : memref<4x48xbf16> to memref<4x?xbf16>
// CHECK: moe.padded_squared_relu ins(%[[X]], {{.*}}) outs(%[[CAST]] : memref<4x?xbf16>)
func.func @contradicting_casts(%x: memref<4x64xbf16>, %map: memref<4xi32>, %n: memref<i32>,
                               %out: memref<4x48xbf16>) {
  %0 = memref.cast %x : memref<4x64xbf16> to memref<4x?xbf16>
  %1 = memref.cast %out : memref<4x48xbf16> to memref<4x?xbf16>
  moe.padded_squared_relu
    ins(%0, %map, %n : memref<4x?xbf16>, memref<4xi32>, memref<i32>)
    outs(%1 : memref<4x?xbf16>)
  return
}

// -----

// C8 and C9: 48 columns are no multiple of 32, 1024 bytes not the size of the scale.
// CHECK-LABEL: func @contradicting_quantize
// CHECK: moe.quantize_mxfp8 ins({{.*}} : memref<4x?xbf16>, {{.*}}) outs({{.*}} : memref<4x64xf8E4M3FN>, memref<1024xf8E8M0FNU>)
// CHECK: moe.quantize_mxfp8 ins({{.*}} : memref<4x64xbf16>, {{.*}}) outs({{.*}} : memref<4x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
func.func @contradicting_quantize(%x: memref<4x48xbf16>, %map: memref<4xi32>, %n: memref<i32>,
                                  %data: memref<4x64xf8E4M3FN>, %scale: memref<1024xf8E8M0FNU>,
                                  %y: memref<4x64xbf16>) {
  %0 = memref.cast %x : memref<4x48xbf16> to memref<4x?xbf16>
  %1 = memref.cast %scale : memref<1024xf8E8M0FNU> to memref<?xf8E8M0FNU>
  moe.quantize_mxfp8
    ins(%0, %map, %n : memref<4x?xbf16>, memref<4xi32>, memref<i32>)
    outs(%data, %1 : memref<4x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  moe.quantize_mxfp8
    ins(%y, %map, %n : memref<4x64xbf16>, memref<4xi32>, memref<i32>)
    outs(%data, %1 : memref<4x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}

// -----

// C2: a matrix without columns; C10: in place by way of a cast.
// CHECK-LABEL: func @contradicting_others
// CHECK: moe.padded_squared_relu ins({{.*}} : memref<4x?xbf16>, {{.*}}) outs(%{{.*}} : memref<4x0xbf16>)
// CHECK: moe.padded_squared_relu ins({{.*}} : memref<4x64xbf16>, {{.*}}) outs(%{{.*}} : memref<?x64xbf16>)
func.func @contradicting_others(%x: memref<4x0xbf16>, %y: memref<4x64xbf16>, %map: memref<4xi32>,
                                %n: memref<i32>, %out: memref<4x0xbf16>) {
  %0 = memref.cast %x : memref<4x0xbf16> to memref<4x?xbf16>
  %1 = memref.cast %out : memref<4x0xbf16> to memref<4x?xbf16>
  moe.padded_squared_relu
    ins(%0, %map, %n : memref<4x?xbf16>, memref<4xi32>, memref<i32>)
    outs(%1 : memref<4x?xbf16>)
  %2 = memref.cast %y : memref<4x64xbf16> to memref<?x64xbf16>
  moe.padded_squared_relu
    ins(%y, %map, %n : memref<4x64xbf16>, memref<4xi32>, memref<i32>)
    outs(%2 : memref<?x64xbf16>)
  return
}

// -----

// The tensor dialect folds all casts at once. The results would be undefined.
// CHECK-LABEL: func @contradicting_tensors
// CHECK-SAME: %[[INIT:[^ ]*]]: tensor<8x64xbf16>)
// CHECK-NEXT: return %[[INIT]]
// WARNING: warning: the results are undefined, as sizes contradict each other across a tensor.cast: expected 'out' to be a matrix [4, 64] of 'bf16', found 'tensor<8x64xbf16>' (C5)
func.func @contradicting_tensors(%c: i1, %x: tensor<4x64xbf16>, %map: tensor<?xi32>,
                                 %n: tensor<i32>, %init: tensor<8x64xbf16>)
    -> tensor<8x64xbf16> {
  %r = scf.if %c -> tensor<8x64xbf16> {
    %0 = tensor.cast %x : tensor<4x64xbf16> to tensor<?x64xbf16>
    %a = moe.padded_squared_relu
      ins(%0, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
      outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
    scf.yield %a : tensor<8x64xbf16>
  } else {
    scf.yield %init : tensor<8x64xbf16>
  }
  return %r : tensor<8x64xbf16>
}

// -----

// CHECK-LABEL: func @contradicting_tensors_of_quantize
// CHECK-SAME: %[[DATA:[^ ]*]]: tensor<4x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: tensor<1024xf8E8M0FNU>)
// CHECK: %[[CAST:.*]] = tensor.cast %[[SCALE]]
// CHECK-NEXT: return %[[DATA]], %[[CAST]]
// WARNING: warning: {{.*}}: expected 'scale' to be a vector [512] {{.*}}, found 'tensor<1024xf8E8M0FNU>' (C9)
func.func @contradicting_tensors_of_quantize(%x: tensor<4x64xbf16>, %map: tensor<4xi32>,
                                             %n: tensor<i32>, %data: tensor<4x64xf8E4M3FN>,
                                             %scale: tensor<1024xf8E8M0FNU>)
    -> (tensor<4x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %0 = tensor.cast %scale : tensor<1024xf8E8M0FNU> to tensor<?xf8E8M0FNU>
  %d, %s = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<4x64xbf16>, tensor<4xi32>, tensor<i32>)
    outs(%data, %0 : tensor<4x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<4x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %d, %s : tensor<4x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
}
