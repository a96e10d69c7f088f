// An elementwise linalg op becomes part of the activation that reads it, where no byte can
// change.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-fuse-elementwise -split-input-file | FileCheck %s

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (j)>
#transposed = affine_map<(i, j) -> (j, i)>

// CHECK-LABEL: func @relu_square_is_quantised
// CHECK-SAME:    (%[[X:[^ ]*]]: tensor<?x64xbf16>,
// CHECK-NOT:     linalg
// CHECK:         moe.map_rows ins(%[[X]], {{.*}} format(#moe.mxfp8) attributes {note = "kept"} {
// CHECK-NEXT:    ^bb0(%[[V:.*]]: bf16):
// CHECK-NEXT:      %[[ZERO:.*]] = arith.constant 0.000000e+00 : bf16
// CHECK-NEXT:      %[[RELU:.*]] = arith.maxnumf %[[V]], %[[ZERO]] : bf16
// CHECK-NEXT:      %[[SQUARE:.*]] = arith.mulf %[[RELU]], %[[RELU]] : bf16
// CHECK-NEXT:      moe.yield %[[SQUARE]] : bf16
func.func @relu_square_is_quantised(
    %x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>, %init: tensor<?x64xbf16>,
    %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %zero = arith.constant 0.0 : bf16
  %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>) {
  ^bb0(%v: bf16, %o: bf16):
    %relu = arith.maxnumf %v, %zero : bf16
    %square = arith.mulf %relu, %relu : bf16
    linalg.yield %square : bf16
  } -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {note = "kept"}
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
}

// A named linalg op, and an activation after it.
// CHECK-LABEL: func @before_an_activation
// CHECK-NOT:     linalg
// CHECK:         moe.map_rows {{.*}} format(#moe.bf16) {
// CHECK-NEXT:    ^bb0(%[[V:.*]]: bf16):
// CHECK-NEXT:      %[[ZERO:.*]] = arith.constant
// CHECK-NEXT:      %[[ABS:.*]] = math.absf %[[V]] : bf16
// CHECK-NEXT:      %[[RELU:.*]] = arith.maxnumf %[[ABS]], %[[ZERO]] : bf16
// CHECK-NEXT:      arith.mulf %[[RELU]], %[[RELU]] : bf16
func.func @before_an_activation(%x: tensor<?x64xbf16>, %map: tensor<?xi32>,
                                %n: tensor<i32>, %init: tensor<?x64xbf16>)
    -> tensor<?x64xbf16> {
  %a = linalg.abs ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>)
    -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// -----

// The name that a program gives the kernels stays. One that is an op's does not: they compute
// something else.
// CHECK-LABEL: func @kernel_names
// CHECK:         moe.map_rows {{.*}} format(#moe.bf16) kernel_name("negated") {
// CHECK-NEXT:    ^bb0(%[[V:.*]]: bf16):
// CHECK-NEXT:      %[[ABS:.*]] = math.absf %[[V]] : bf16
// CHECK-NEXT:      arith.negf %[[ABS]] : bf16
// CHECK:         moe.map_rows {{.*}} format(#moe.bf16) {
// CHECK-NEXT:    ^bb0(%[[V:.*]]: bf16):
// CHECK-NEXT:      math.absf
func.func @kernel_names(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                        %init: tensor<?x64xbf16>) -> (tensor<?x64xbf16>, tensor<?x64xbf16>) {
  %a = linalg.abs ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>)
    -> tensor<?x64xbf16>
  %r = moe.map_rows ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) format(#moe.bf16) kernel_name("negated") {
  ^bb0(%v: bf16):
    %y = arith.negf %v : bf16
    moe.yield %y : bf16
  } -> tensor<?x64xbf16>
  %b = linalg.abs ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>)
    -> tensor<?x64xbf16>
  %s = moe.map_rows ins(%b, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) format(#moe.bf16) kernel_name("padded_squared_relu") {
  ^bb0(%v: bf16):
    %y = arith.mulf %v, %v : bf16
    moe.yield %y : bf16
  } -> tensor<?x64xbf16>
  return %r, %s : tensor<?x64xbf16>, tensor<?x64xbf16>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// CHECK-LABEL: func @has_other_uses
// CHECK:         linalg.abs
// CHECK:         moe.padded_squared_relu
func.func @has_other_uses(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                          %init: tensor<?x64xbf16>)
    -> (tensor<?x64xbf16>, tensor<?x64xbf16>) {
  %a = linalg.abs ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>)
    -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %a, %r : tensor<?x64xbf16>, tensor<?x64xbf16>
}

// -----

// CHECK-LABEL: func @is_the_destination
// CHECK:         linalg.abs
// CHECK:         moe.padded_squared_relu
func.func @is_the_destination(%x: tensor<?x64xbf16>, %y: tensor<?x64xbf16>,
                              %map: tensor<?xi32>, %n: tensor<i32>,
                              %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %a = linalg.abs ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>)
    -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%y, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%a : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// -----

// Two inputs, other maps, a destination that is read, a value from outside, an op that the
// region may not hold, another element type.

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (j)>
#transposed = affine_map<(i, j) -> (j, i)>

// CHECK-LABEL: func @two_inputs
// CHECK:         linalg.add
// CHECK:         moe.padded_squared_relu
func.func @two_inputs(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                      %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %a = linalg.add ins(%x, %x : tensor<?x64xbf16>, tensor<?x64xbf16>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// CHECK-LABEL: func @transposed
// CHECK:         linalg.generic
// CHECK:         moe.padded_squared_relu
func.func @transposed(%x: tensor<64x64xbf16>, %map: tensor<64xi32>, %n: tensor<i32>,
                      %init: tensor<64x64xbf16>) -> tensor<64x64xbf16> {
  %a = linalg.generic {indexing_maps = [#transposed, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<64x64xbf16>) outs(%init : tensor<64x64xbf16>) {
  ^bb0(%v: bf16, %o: bf16):
    linalg.yield %v : bf16
  } -> tensor<64x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<64x64xbf16>, tensor<64xi32>, tensor<i32>)
    outs(%init : tensor<64x64xbf16>) -> tensor<64x64xbf16>
  return %r : tensor<64x64xbf16>
}

// CHECK-LABEL: func @broadcast
// CHECK:         linalg.generic
// CHECK:         moe.padded_squared_relu
func.func @broadcast(%x: tensor<64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                     %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %a = linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<64xbf16>) outs(%init : tensor<?x64xbf16>) {
  ^bb0(%v: bf16, %o: bf16):
    linalg.yield %v : bf16
  } -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// CHECK-LABEL: func @reads_its_destination
// CHECK:         linalg.generic
// CHECK:         moe.padded_squared_relu
func.func @reads_its_destination(%x: tensor<?x64xbf16>, %map: tensor<?xi32>,
                                 %n: tensor<i32>, %init: tensor<?x64xbf16>)
    -> tensor<?x64xbf16> {
  %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>) {
  ^bb0(%v: bf16, %o: bf16):
    %s = arith.addf %v, %o : bf16
    linalg.yield %s : bf16
  } -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// CHECK-LABEL: func @value_from_outside
// CHECK:         linalg.generic
// CHECK:         moe.padded_squared_relu
func.func @value_from_outside(%x: tensor<?x64xbf16>, %bias: bf16, %map: tensor<?xi32>,
                              %n: tensor<i32>, %init: tensor<?x64xbf16>)
    -> tensor<?x64xbf16> {
  %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>) {
  ^bb0(%v: bf16, %o: bf16):
    %s = arith.addf %v, %bias : bf16
    linalg.yield %s : bf16
  } -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// CHECK-LABEL: func @index
// CHECK:         linalg.generic
// CHECK:         moe.padded_squared_relu
func.func @index(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                 %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x64xbf16>) outs(%init : tensor<?x64xbf16>) {
  ^bb0(%v: bf16, %o: bf16):
    %i = linalg.index 1 : index
    %c = arith.index_cast %i : index to i32
    %f = arith.sitofp %c : i32 to bf16
    %s = arith.addf %v, %f : bf16
    linalg.yield %s : bf16
  } -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// CHECK-LABEL: func @another_element_type
// CHECK:         linalg.generic
// CHECK:         moe.padded_squared_relu
func.func @another_element_type(%x: tensor<?x64xf32>, %map: tensor<?xi32>, %n: tensor<i32>,
                                %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x64xf32>) outs(%init : tensor<?x64xbf16>) {
  ^bb0(%v: f32, %o: bf16):
    %s = arith.truncf %v : f32 to bf16
    linalg.yield %s : bf16
  } -> tensor<?x64xbf16>
  %r = moe.padded_squared_relu
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}
