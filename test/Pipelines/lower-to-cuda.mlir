// moe-lower-to-cuda: host code in LLVM IR that loads and launches kernels.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s --moe-lower-to-cuda=chip=sm_90 | mlir-translate --mlir-to-llvmir | FileCheck %s
// RUN: moe-opt %s --moe-lower-to-cuda="chip=sm_90 verify-at-runtime" | mlir-translate --mlir-to-llvmir \
// RUN:   | FileCheck %s --check-prefix=VERIFY
// RUN: not moe-opt %s --moe-lower-to-cuda=chip=sm_10 2>&1 | FileCheck %s --check-prefix=CHIP

// CHIP: error: {{.*}}unsupported chip 'sm_10', expected one of sm_80,

// VERIFY: expected 'permutation_map' to have as many elements

// CHECK: constant {{.*}}.target sm_90
// CHECK: @llvm.global_ctors = {{.*}} @moe_kernels_load

// The temporary between the host's code and the kernel is managed memory, and is freed.
// CHECK-LABEL: define float @first(
// CHECK:         %[[A:.*]] = call ptr @mgpuMemAlloc(i64 1024, ptr null, i8 1)
// CHECK:         call void @mgpuLaunchKernel(ptr %{{.*}}, i64 1, i64 9, i64 1, i64 256, i64 1, i64 1, i32 0,
// CHECK:         call void @mgpuStreamSynchronize(
// CHECK:         call void @mgpuMemFree(ptr %[[A]],
// CHECK:         ret float
// CHECK-NOT: @malloc
func.func @first(%x: tensor<8x64xbf16>, %map: tensor<8xi32>, %n: tensor<i32>) -> f32 {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<8x64xbf16>
  %init = linalg.fill ins(%zero : bf16) outs(%empty : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<8x64xbf16>, tensor<8xi32>, tensor<i32>)
    outs(%init : tensor<8x64xbf16>) -> tensor<8x64xbf16>
  %element = tensor.extract %a[%c0, %c0] : tensor<8x64xbf16>
  %wide = arith.extf %element : bf16 to f32
  return %wide : f32
}

func.func @sizes(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                 %out: memref<?x64xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  return
}
