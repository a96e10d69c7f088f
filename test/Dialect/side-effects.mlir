// On tensors the ops are pure and may run where they did not; on memrefs they read, write
// and stay where they are.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -canonicalize -cse -loop-invariant-code-motion -split-input-file | FileCheck %s

// CHECK-LABEL: func @unused_tensor_op
// CHECK-NEXT: return
func.func @unused_tensor_op(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                            %init: tensor<?x64xbf16>, %data: tensor<?x64xf8E4M3FN>,
                            %scale: tensor<?xf8E8M0FNU>) {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%init : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %q:2 = moe.quantize_mxfp8
    ins(%r, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return
}

// -----

// CHECK-LABEL: func @equal_tensor_ops
// CHECK: %[[R:.*]]:2 = moe.squared_relu_quantize_mxfp8
// CHECK-NOT: moe.
// CHECK: return %[[R]]#0, %[[R]]#0
func.func @equal_tensor_ops(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                            %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x64xf8E4M3FN>) {
  %a:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  %b:2 = moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %a#0, %b#0 : tensor<?x64xf8E4M3FN>, tensor<?x64xf8E4M3FN>
}

// -----

// An attribute tells two ops apart.
// CHECK-LABEL: func @unequal_tensor_ops
// CHECK: %[[A:.*]]:2 = moe.quantize_mxfp8
// CHECK: %[[B:.*]]:2 = moe.quantize_mxfp8 {{.*}} dead_scales<untouched>
// CHECK: return %[[A]]#1, %[[B]]#1
func.func @unequal_tensor_ops(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                              %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?xf8E8M0FNU>)
    -> (tensor<?xf8E8M0FNU>, tensor<?xf8E8M0FNU>) {
  %a:2 = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  %b:2 = moe.quantize_mxfp8
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>)
    dead_scales<untouched> -> tensor<?x64xf8E4M3FN>, tensor<?xf8E8M0FNU>
  return %a#1, %b#1 : tensor<?xf8E8M0FNU>, tensor<?xf8E8M0FNU>
}

// -----

// Neither removed nor merged.
// CHECK-LABEL: func @memref_ops
// CHECK-COUNT-2: moe.padded_squared_relu
// CHECK-NEXT: return
func.func @memref_ops(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x64xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  return
}

// -----

// A load of the destination is not the same before and after.
// CHECK-LABEL: func @loads_around
// CHECK: %[[BEFORE:.*]] = memref.load
// CHECK: moe.padded_squared_relu
// CHECK: %[[AFTER:.*]] = memref.load
// CHECK: return %[[BEFORE]], %[[AFTER]]
func.func @loads_around(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                        %out: memref<?x64xbf16>) -> (bf16, bf16) {
  %c0 = arith.constant 0 : index
  %before = memref.load %out[%c0, %c0] : memref<?x64xbf16>
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  %after = memref.load %out[%c0, %c0] : memref<?x64xbf16>
  return %before, %after : bf16, bf16
}

// -----

// CHECK-LABEL: func @tensor_op_in_a_loop
// CHECK: moe.padded_squared_relu
// CHECK: scf.for
// CHECK-NOT: moe.
// CHECK: return
func.func @tensor_op_in_a_loop(%x: tensor<4x64xbf16>, %map: tensor<4xi32>, %n: tensor<i32>,
                               %init: tensor<4x64xbf16>, %count: index, %sum: bf16) -> bf16 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %s = scf.for %i = %c0 to %count step %c1 iter_args(%a = %sum) -> bf16 {
    %r = moe.padded_squared_relu
      ins(%x, %map, %n : tensor<4x64xbf16>, tensor<4xi32>, tensor<i32>)
      outs(%init : tensor<4x64xbf16>) -> tensor<4x64xbf16>
    %e = tensor.extract %r[%i, %i] : tensor<4x64xbf16>
    %b = arith.addf %a, %e : bf16
    scf.yield %b : bf16
  }
  return %s : bf16
}

// -----

// The loop may run no times, and then the destination must keep its rows.
// CHECK-LABEL: func @memref_op_in_a_loop
// CHECK: scf.for
// CHECK: moe.padded_squared_relu
// CHECK: return
func.func @memref_op_in_a_loop(%x: memref<4x64xbf16>, %map: memref<4xi32>, %n: memref<i32>,
                               %out: memref<4x64xbf16>, %count: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %count step %c1 {
    moe.padded_squared_relu
      ins(%x, %map, %n : memref<4x64xbf16>, memref<4xi32>, memref<i32>)
      outs(%out : memref<4x64xbf16>)
  }
  return
}
