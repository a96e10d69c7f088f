// A memref that a function returns is that buffer, also beside functions on tensors.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-bufferize | FileCheck %s

// CHECK-LABEL: func.func private @pick(
// CHECK-SAME: %[[W:.*]]: memref<4xf32>
// CHECK-NEXT: return %[[W]]
func.func private @pick(%w: memref<4xf32>) -> memref<4xf32> {
  return %w : memref<4xf32>
}

// CHECK-LABEL: func.func @tensor(
// CHECK-SAME: %[[T:.*]]: memref<4xf32>
// CHECK: %[[COPY:.*]] = memref.alloc
// CHECK: memref.copy %[[T]], %[[COPY]]
// CHECK: return %[[COPY]]
func.func @tensor(%t: tensor<4xf32>) -> tensor<4xf32> {
  return %t : tensor<4xf32>
}

// CHECK-LABEL: func.func @escapes(
// CHECK: %[[A:.*]] = memref.alloc
// CHECK-NOT: memref.dealloc
// CHECK: return
func.func @escapes(%table: memref<1xmemref<4xf32>>, %i: index) {
  %0 = memref.alloc() : memref<4xf32>
  memref.store %0, %table[%i] : memref<1xmemref<4xf32>>
  return
}
