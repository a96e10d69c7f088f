// The generic op in its textual and binary forms, on tensors and on memrefs.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s | moe-opt | FileCheck %s
// RUN: moe-opt --mlir-print-op-generic %s | moe-opt | FileCheck %s
// RUN: moe-opt --emit-bytecode %s | moe-opt | FileCheck %s

// CHECK-LABEL: func @bf16
// CHECK:         moe.map_rows ins(%{{.*}}, %{{.*}}, %{{.*}} : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
// CHECK-SAME:      outs(%{{.*}} : memref<?x64xbf16>) format(#moe.bf16) kernel_name("leaky_relu")
// CHECK-SAME:      attributes {note = 1 : i32} {
// CHECK-NEXT:    ^bb0(%[[V:.*]]: bf16):
// CHECK-NEXT:      %[[QUARTER:.*]] = arith.constant 2.500000e-01 : bf16
// CHECK-NEXT:      %[[SMALL:.*]] = arith.mulf %[[V]], %[[QUARTER]] : bf16
// CHECK-NEXT:      %[[A:.*]] = arith.maximumf %[[V]], %[[SMALL]] : bf16
// CHECK-NEXT:      moe.yield %[[A]] : bf16
// CHECK-NEXT:    }
func.func @bf16(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                %out: memref<?x64xbf16>) {
  moe.map_rows ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>) format(#moe.bf16) kernel_name("leaky_relu")
    attributes {note = 1 : i32} {
  ^bb0(%v: bf16):
    %quarter = arith.constant 0.25 : bf16
    %small = arith.mulf %v, %quarter : bf16
    %a = arith.maximumf %v, %small : bf16
    moe.yield %a : bf16
  }
  return
}

// The defaults of a format are not printed.
// CHECK-LABEL: func @formats
// CHECK:         format(#moe.mxfp8) {
// CHECK:         format(#moe.mxfp8<scale_layout = linear, dead_scales = untouched>) {
// CHECK:         } -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
func.func @formats(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                   %data: tensor<?x64xf8E4M3FN>, %swizzled: tensor<?xf8E8M0FNU>,
                   %linear: tensor<?x2xf8E8M0FNU>) {
  %0:2 = moe.map_rows ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %swizzled : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    format(#moe.mxfp8<scale_layout = swizzle_32_4_4, dead_scales = zero>) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  } -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  %1:2 = moe.map_rows ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %linear : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>)
    format(#moe.mxfp8<dead_scales = untouched, scale_layout = linear>) {
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  } -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return
}
