// Each named op as the generic op that it is a case of; what is generic stays as it is.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-generalize | FileCheck %s
// RUN: moe-opt %s -moe-generalize -moe-generalize | FileCheck %s

// CHECK-LABEL: func @activation
// CHECK-SAME:    (%[[X:[^ ]*]]: tensor<?x64xbf16>, %[[MAP:[^ ]*]]: tensor<?xi32>, %[[N:[^ ]*]]: tensor<i32>, %[[INIT:[^ ]*]]: tensor<?x64xbf16>)
// CHECK-NEXT:    %[[R:.*]] = moe.map_rows ins(%[[X]], %[[MAP]], %[[N]] : {{.*}}) outs(%[[INIT]] : tensor<?x64xbf16>) format(#moe.bf16) kernel_name("padded_squared_relu") attributes {note = "kept"} {
// CHECK-NEXT:    ^bb0(%[[V:.*]]: bf16):
// CHECK-NEXT:      %[[ZERO:.*]] = arith.constant 0.000000e+00 : bf16
// CHECK-NEXT:      %[[RELU:.*]] = arith.maxnumf %[[V]], %[[ZERO]] : bf16
// CHECK-NEXT:      %[[SQUARE:.*]] = arith.mulf %[[RELU]], %[[RELU]] : bf16
// CHECK-NEXT:      moe.yield %[[SQUARE]] : bf16
// CHECK-NEXT:    } -> tensor<?x64xbf16>
// CHECK-NEXT:    return %[[R]]
func.func @activation(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                      %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) {note = "kept"} -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// CHECK-LABEL: func @quantize
// CHECK:         moe.map_rows {{.*}} format(#moe.mxfp8<scale_layout = linear, dead_scales = untouched>) kernel_name("quantize_mxfp8") {
// CHECK-NEXT:    ^bb0(%[[V:.*]]: bf16):
// CHECK-NEXT:      moe.yield %[[V]] : bf16
// CHECK-NEXT:    }
func.func @quantize(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                    %data: memref<?x64xf8E4M3FN>, %scale: memref<?x2xf8E8M0FNU>) {
  moe.quantize_mxfp8 ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?x2xf8E8M0FNU>)
    scale_layout<linear> dead_scales<untouched>
  return
}

// CHECK-LABEL: func @fused
// CHECK:         moe.map_rows {{.*}} format(#moe.mxfp8) kernel_name("squared_relu_quantize_mxfp8") {
// CHECK:           arith.maxnumf
// CHECK-NEXT:      arith.mulf
func.func @fused(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                 %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
