// The CPU path ends in the LLVM dialect alone, so that it translates to LLVM IR.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-cpu | FileCheck %s --implicit-check-not=unrealized_conversion_cast
// RUN: moe-opt %s -moe-lower-to-cpu | mlir-translate --mlir-to-llvmir | FileCheck %s --check-prefix=LLVM
// RUN: moe-opt %s -moe-lower-to-cpu=verify-at-runtime | mlir-translate --mlir-to-llvmir \
// RUN: | FileCheck %s --check-prefix=VERIFY

// No arithmetic on bf16 is left: the instructions for it flush subnormals, or are library
// calls.
// CHECK-LABEL: llvm.func @activation(
// CHECK-NOT: llvm.fmul {{.*}}bf16
// CHECK-NOT: llvm.fptrunc
// CHECK: llvm.load %{{.*}} -> vector<32xi16>
// CHECK-COUNT-2: llvm.fmul %{{.*}} : vector<16xf32>
// CHECK-NOT: llvm.fptrunc
// CHECK: llvm.return
// LLVM-NOT: declare {{.*}} @__
// VERIFY: expected 'permutation_map' to have as many elements as 'x' has rows (C3)
// LLVM-LABEL: define void @activation(
// VERIFY: define void @activation(
// VERIFY: call void @abort()
// LLVM: ret void
func.func @activation(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x?xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}

// CHECK-LABEL: llvm.func @quantize(
// CHECK-NOT: llvm.fptrunc
// CHECK-NOT: vector<32xbf16>
// CHECK: llvm.return
// LLVM-LABEL: define void @quantize(
// LLVM: ret void
func.func @quantize(%x: memref<300x160xbf16>, %map: memref<300xi32>, %n: memref<1xi32>,
                    %data: memref<300x160xf8E4M3FN>, %scale: memref<3072xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<300x160xbf16>, memref<300xi32>, memref<1xi32>)
    outs(%data, %scale : memref<300x160xf8E4M3FN>, memref<3072xf8E8M0FNU>)
  return
}

// LLVM-LABEL: define void @linear(
// LLVM: ret void
func.func @linear(%x: memref<?x?xbf16, strided<[?, 1], offset: ?>>, %map: memref<?xi32>, %n: memref<i32>,
                  %data: memref<?x?xf8E4M3FN, strided<[?, 1], offset: ?>>, %scale: memref<?x?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16, strided<[?, 1], offset: ?>>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN, strided<[?, 1], offset: ?>>, memref<?x?xf8E8M0FNU>)
    scale_layout<linear> dead_scales<untouched>
  return
}
