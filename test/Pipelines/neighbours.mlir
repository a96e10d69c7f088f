// Ops of other dialects go through each pipeline, to what the translation takes.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-cpu | mlir-translate --mlir-to-llvmir | FileCheck %s
// RUN: moe-opt %s -moe-lower-to-cuda | mlir-translate --mlir-to-llvmir | FileCheck %s
// RUN: moe-opt %s -moe-lower-to-ptx | FileCheck %s --check-prefix=HOST
// HOST-LABEL: func.func @index
// HOST: index.add

// CHECK-LABEL: define i64 @index(
// CHECK: add i64
func.func @index(%a: index, %b: index) -> index {
  %0 = index.add %a, %b
  return %0 : index
}

// The old buffer is freed once its elements are copied.
// CHECK-LABEL: define {{.*}} @realloc(
// CHECK: call {{.*}}@{{malloc|mgpuMemAlloc}}
// CHECK: call void @{{free|mgpuMemFree}}
func.func @realloc(%a: memref<?xf32>, %n: index) -> memref<?xf32> {
  %0 = memref.realloc %a(%n) : memref<?xf32> to memref<?xf32>
  return %0 : memref<?xf32>
}

// CHECK-LABEL: define {{.*}} @reduction(
// CHECK-NOT: ret
// CHECK: @llvm.vector.reduce.fadd
func.func @reduction(%a: vector<4x8xf32>, %b: vector<8xf32>) -> vector<8xf32> {
  %0 = vector.multi_reduction <add>, %a, %b [0] : vector<4x8xf32> to vector<8xf32>
  return %0 : vector<8xf32>
}

// CHECK-LABEL: define void @affine(
// CHECK: store float
func.func @affine(%a: memref<8xf32>, %v: f32) {
  affine.for %i = 0 to 8 {
    affine.store %v, %a[%i] : memref<8xf32>
  }
  return
}
