// On the GPU path a function on tensors works in place on its destinations and returns
// them: the host cannot copy device memory.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-ptx | FileCheck %s --implicit-check-not=alloc \
// RUN:   --implicit-check-not=memref.copy --implicit-check-not=clone --implicit-check-not=bufferization.

// CHECK-LABEL: func.func @activation
// CHECK-SAME: %[[INIT:[^ ]*]]: memref<?x64xbf16>) -> memref<?x64xbf16>
// CHECK: gpu.launch_func {{.*}} %[[INIT]] : memref<?x64xbf16>)
// CHECK: gpu.launch_func {{.*}} %[[INIT]] : memref<?x64xbf16>)
// CHECK: return %[[INIT]]
func.func @activation(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                      %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}

// CHECK-LABEL: func.func @quantize
// CHECK-SAME: %[[DATA:[^ ]*]]: memref<?x64xf8E4M3FN>, %[[SCALE:[^ ]*]]: memref<?xf8E8M0FNU>)
// CHECK: gpu.launch_func {{.*}} %[[DATA]] : memref<?x64xf8E4M3FN>, %[[SCALE]] : memref<?xf8E8M0FNU>)
// CHECK: return %[[DATA]], %[[SCALE]]
func.func @quantize(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                    %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>) {
  %q:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %q#0, %q#1 : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
}

// Called, it is still in place.
// CHECK-LABEL: func.func @caller
// CHECK-SAME: %[[OUT:[^ ]*]]: memref<?x64xbf16>)
// CHECK: call @activation({{.*}}%[[OUT]])
// CHECK: return
func.func @caller(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                  %init: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %r = call @activation(%x, %map, %n, %init)
    : (tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}
