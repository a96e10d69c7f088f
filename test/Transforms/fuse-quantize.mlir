// An activation and the quantisation of its result become one op, when no byte can change.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-fuse-quantize -split-input-file | FileCheck %s
// RUN: moe-opt %s -canonicalize -moe-fuse-quantize -split-input-file | FileCheck %s --check-prefix=CANON

// CHECK-LABEL: func @fuses
// CHECK-SAME: (%[[X:[^ ]*]]: tensor<?x64xbf16>, %[[MAP:[^ ]*]]: tensor<?xi32>, %[[N:[^ ]*]]: tensor<i32>, %[[INIT:[^ ]*]]: tensor<?x64xbf16>, %[[DATA:[^ ]*]]: tensor<?x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: tensor<?xf8E8M0FNU>)
// CHECK-NEXT: %[[Q:.*]]:2 = moe.squared_relu_quantize_mxfp8 ins(%[[X]], %[[MAP]], %[[N]] : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>) outs(%[[DATA]], %[[SCALE]] : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
// CHECK-NEXT: return %[[Q]]#0, %[[Q]]#1
func.func @fuses(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                 %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                 %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
}

// -----

// CHECK-LABEL: func @keeps_attributes
// CHECK-NOT: moe.padded_squared_relu
// CHECK: moe.squared_relu_quantize_mxfp8 {{.*}} scale_layout<linear> dead_scales<untouched> {note = "kept"} ->
// CHECK-NOT: moe.
func.func @keeps_attributes(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<1xi32>,
                            %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                            %scale: tensor<?x2xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>)
    scale_layout<linear> dead_scales<untouched> {note = "kept"}
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}

// -----

// CHECK-LABEL: func @other_map
// CHECK: moe.padded_squared_relu
// CHECK-NEXT: moe.quantize_mxfp8
func.func @other_map(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %other: tensor<?xi32>,
                     %n: tensor<i32>, %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                     %scale: tensor<?xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN> {
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %other, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// CHECK-LABEL: func @other_n_used
// CHECK: moe.padded_squared_relu
// CHECK-NEXT: moe.quantize_mxfp8
func.func @other_n_used(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                        %other: tensor<i32>, %init: tensor<?x64xbf16>,
                        %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN> {
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %other : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// CHECK-LABEL: func @activation_used_twice
// CHECK: moe.padded_squared_relu
// CHECK-NEXT: moe.quantize_mxfp8
func.func @activation_used_twice(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                                 %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                                 %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xbf16>, tensor<?x64xf8E4M3FN>) {
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %a, %q#0 : tensor<?x64xbf16>, tensor<?x64xf8E4M3FN>
}

// -----

// The buffer %a would lose its contents.
// CHECK-LABEL: func @on_memrefs
// CHECK: moe.padded_squared_relu
// CHECK-NEXT: moe.quantize_mxfp8
func.func @on_memrefs(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %a: memref<?x64xbf16>, %data: memref<?x64xf8E4M3FN>,
                      %scale: memref<?xf8E8M0FNU>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%a : memref<?x64xbf16>)
  moe.quantize_mxfp8
    ins(%a, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}

// -----

// Quantising a quantity that is no squared ReLU stays as it is.
// CHECK-LABEL: func @no_activation
// CHECK-NEXT: moe.quantize_mxfp8
func.func @no_activation(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                         %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN> {
  %q:2 = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// Casts between the two ops go away with -canonicalize.
// CANON-LABEL: func @through_casts
// CANON-NOT: moe.padded_squared_relu
// CANON: moe.squared_relu_quantize_mxfp8 ins({{.*}} : tensor<300x64xbf16>, tensor<300xi32>, tensor<i32>)
// CANON-NOT: moe.
func.func @through_casts(%x: tensor<300x64xbf16>, %map: tensor<300xi32>, %n: tensor<i32>,
                         %init: tensor<300x64xbf16>, %data: tensor<300x64xf8E4M3FN>,
                         %scale: tensor<1536xf8E8M0FNU>) -> tensor<?x64xf8E4M3FN> {
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<300x64xbf16>, tensor<300xi32>, tensor<i32>)
    outs(%init : tensor<300x64xbf16>) -> tensor<300x64xbf16>
  %0 = tensor.cast %a : tensor<300x64xbf16> to tensor<?x64xbf16>
  %1 = tensor.cast %map : tensor<300xi32> to tensor<?xi32>
  %2 = tensor.cast %data : tensor<300x64xf8E4M3FN> to tensor<?x64xf8E4M3FN>
  %3 = tensor.cast %scale : tensor<1536xf8E8M0FNU> to tensor<?xf8E8M0FNU>
  %q:2 = moe.quantize_mxfp8
    ins(%0, %1, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%2, %3 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0 : tensor<?x64xf8E4M3FN>
}

// -----

// Each op is valid by itself, as the size between them is not known; one of both would not be.
// CANON-LABEL: func @contradiction
// CHECK-LABEL: func @contradiction
// CHECK: moe.padded_squared_relu
// CHECK: moe.quantize_mxfp8
// CHECK: moe.padded_squared_relu
// CHECK: moe.quantize_mxfp8
func.func @contradiction(%x: tensor<4x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                         %init: tensor<?x64xbf16>, %data: tensor<8x64xf8E4M3FN>,
                         %scale: tensor<?xf8E8M0FNU>, %any: tensor<?x64xf8E4M3FN>,
                         %two_tiles: tensor<1024xf8E8M0FNU>)
    -> (tensor<8x64xf8E4M3FN>, tensor<1024xf8E8M0FNU>) {
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<4x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<8x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<8x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  %b = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<4x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %r:2 = moe.quantize_mxfp8
    ins(%b, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%any, %two_tiles : tensor<?x64xf8E4M3FN>, tensor<1024xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<1024xf8E8M0FNU>
  return %q#0, %r#1 : tensor<8x64xf8E4M3FN>, tensor<1024xf8E8M0FNU>
}

// -----

// There is one pattern: an activation that has no name with any format becomes the generic
// op, and so does one that has a name with a format of no op.
// CHECK-LABEL: func @without_a_name
// CHECK:         moe.map_rows ins(%{{.*}}) outs({{.*}}) format(#moe.mxfp8<scale_layout = linear>) attributes {note = "kept"} {
// CHECK-NEXT:    ^bb0(%[[V:.*]]: bf16):
// CHECK-NEXT:      %[[NEGATED:.*]] = arith.negf %[[V]] : bf16
// CHECK-NEXT:      moe.yield %[[NEGATED]] : bf16
// CHECK-NEXT:    }
// CHECK-NEXT:    return
func.func @without_a_name(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<1xi32>,
                          %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                          %scale: tensor<?x2xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %a = moe.map_rows
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%init : tensor<?x64xbf16>) format(#moe.bf16) {
  ^bb0(%v: bf16):
    %negated = arith.negf %v : bf16
    moe.yield %negated : bf16
  } -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>)
    scale_layout<linear> {note = "kept"}
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}

// -----

// A store that computes something is none.
// CHECK-LABEL: func @two_activations
// CHECK:         moe.padded_squared_relu
// CHECK:         moe.padded_squared_relu
func.func @two_activations(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<1xi32>,
                           %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %b = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<1xi32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %b : tensor<?x64xbf16>
}
