// Bufferization is in place on the destinations, and copies only what would be lost.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file \
// RUN:   -one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" \
// RUN:   -cse -canonicalize \
// RUN: | FileCheck %s --implicit-check-not=memref.alloc --implicit-check-not=memref.copy \
// RUN:     --implicit-check-not=cf.assert --implicit-check-not=memref.cast

// CHECK-LABEL: func @in_place
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x64xbf16>, %[[MAP:[^ ]*]]: memref<?xi32>, %[[N:[^ ]*]]: memref<i32>, %[[INIT:[^ ]*]]: memref<?x64xbf16>)
// CHECK-NEXT: moe.padded_squared_relu ins(%[[X]], %[[MAP]], %[[N]] : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%[[INIT]] : memref<?x64xbf16>){{$}}
// CHECK-NEXT: return %[[INIT]]
func.func @in_place(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                    %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// -----

// CHECK-LABEL: func @in_place_quantize
// CHECK-SAME: %[[DATA:[^ ]*]]: memref<?x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: memref<?x2xf8E8M0FNU>)
// CHECK-NEXT: moe.quantize_mxfp8 ins({{.*}}) outs(%[[DATA]], %[[SCALE]] : {{.*}}) scale_layout<linear> dead_scales<untouched> {note = "kept"}
// CHECK-NEXT: return %[[DATA]], %[[SCALE]]
func.func @in_place_quantize(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<1xi32>,
                             %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?x2xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %q:2 = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>)
    scale_layout<linear> dead_scales<untouched> {note = "kept"}
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}

// -----

// The rows that are not live come from the destination, so a copy must have them.
// CHECK-LABEL: func @destination_used_later
// CHECK-SAME: %[[INIT:[^ ]*]]: memref<?x64xbf16>)
// CHECK: %[[COPY:.*]] = memref.alloc
// CHECK-NEXT: memref.copy %[[INIT]], %[[COPY]]
// CHECK-NEXT: moe.padded_squared_relu ins({{.*}}) outs(%[[COPY]] :
// CHECK-NEXT: return %[[COPY]], %[[INIT]]
func.func @destination_used_later(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                                  %init: tensor<?x64xbf16>)
    -> (tensor<?x64xbf16>, tensor<?x64xbf16>) {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r, %init : tensor<?x64xbf16>, tensor<?x64xbf16>
}

// -----

// Every byte of the scales is written, so their old value is not copied.
// CHECK-LABEL: func @scale_used_later
// CHECK-SAME: %[[DATA:[^ ]*]]: memref<?x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: memref<?xf8E8M0FNU>)
// CHECK: %[[NEW:.*]] = memref.alloc
// CHECK-NEXT: moe.squared_relu_quantize_mxfp8 ins({{.*}}) outs(%[[DATA]], %[[NEW]] :
// CHECK-NEXT: return %[[DATA]], %[[NEW]], %[[SCALE]]
func.func @scale_used_later(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                            %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>, tensor<?xf8E8M0FNU>) {
  %q:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %q#1, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>, tensor<?xf8E8M0FNU>
}

// -----

// With dead_scales<untouched> it is.
// CHECK-LABEL: func @untouched_scale_used_later
// CHECK-SAME: %[[SCALE:[^ ]*]]: memref<?xf8E8M0FNU>)
// CHECK: %[[COPY:.*]] = memref.alloc
// CHECK-NEXT: memref.copy %[[SCALE]], %[[COPY]]
// CHECK-NEXT: moe.squared_relu_quantize_mxfp8 ins({{.*}}) outs(%{{.*}}, %[[COPY]] :
// CHECK-NEXT: return %{{.*}}, %[[COPY]], %[[SCALE]]
func.func @untouched_scale_used_later(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                                      %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>, tensor<?xf8E8M0FNU>) {
  %q:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    dead_scales<untouched> -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %q#1, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>, tensor<?xf8E8M0FNU>
}

// -----

// The data keeps the rows that are not live, whatever becomes of the scales.
// CHECK-LABEL: func @data_used_later
// CHECK-SAME: %[[DATA:[^ ]*]]: memref<?x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: memref<?xf8E8M0FNU>)
// CHECK: %[[COPY:.*]] = memref.alloc
// CHECK-NEXT: memref.copy %[[DATA]], %[[COPY]]
// CHECK-NEXT: moe.quantize_mxfp8 ins({{.*}}) outs(%[[COPY]], %[[SCALE]] :
func.func @data_used_later(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                           %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x64xf8E4M3FN>) {
  %q:2 = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %data : tensor<?x64xf8E4M3FN>, tensor<?x64xf8E4M3FN>
}

// -----

// Operands in memory must not overlap: x is not overwritten although nothing else uses it.
// CHECK-LABEL: func @x_as_destination
// CHECK-SAME: (%[[X:[^ ]*]]: memref<?x64xbf16>,
// CHECK: %[[COPY:.*]] = memref.alloc
// CHECK-NEXT: memref.copy %[[X]], %[[COPY]]
// CHECK-NEXT: moe.padded_squared_relu ins(%[[X]], {{.*}}) outs(%[[COPY]] :
func.func @x_as_destination(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>)
    -> tensor<?x64xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%x : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// -----

// A destination that was made here needs no contents.
// CHECK-LABEL: func @empty_destination
// CHECK: %[[NEW:.*]] = memref.alloc
// CHECK-NEXT: moe.padded_squared_relu ins({{.*}}) outs(%[[NEW]] :
func.func @empty_destination(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>)
    -> tensor<8x64xbf16> {
  %init = tensor.empty() : tensor<8x64xbf16>
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  return %r : tensor<8x64xbf16>
}

// -----

// Rows of a larger buffer, in place.
// CHECK-LABEL: func @slice
// CHECK-SAME: %[[ALL:[^ ]*]]: memref<64x64xbf16>)
// CHECK: %[[SLICE:.*]] = memref.subview %[[ALL]][8, 0] [8, 64] [1, 1]
// CHECK: moe.padded_squared_relu ins({{.*}}) outs(%[[SLICE]] : memref<8x64xbf16, strided<[64, 1], offset: 512>>)
// CHECK: return %[[ALL]]
func.func @slice(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>,
                 %all: tensor<64x64xbf16>) -> tensor<64x64xbf16> {
  %init = tensor.extract_slice %all[8, 0] [8, 64] [1, 1] : tensor<64x64xbf16> to tensor<8x64xbf16>
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  %s = tensor.insert_slice %r into %all[8, 0] [8, 64] [1, 1] : tensor<8x64xbf16> into tensor<64x64xbf16>
  return %s : tensor<64x64xbf16>
}
