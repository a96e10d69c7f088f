// registerAllMoeDialects, ...Passes and ...Pipelines are enough for every named pipeline, on all
// that it takes.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-only-opt %s -moe-bufferize | FileCheck %s --check-prefixes=MEMREF
// RUN: moe-only-opt %s -moe-lower-to-cpu=verify-at-runtime | FileCheck %s --check-prefixes=LLVM
// RUN: moe-only-opt %s -moe-lower-to-cuda=verify-at-runtime | FileCheck %s --check-prefixes=LLVM,LAUNCH
// RUN: moe-only-opt %s -moe-lower-to-ptx | FileCheck %s --check-prefixes=MEMREF,LAUNCH
// RUN: moe-only-opt %S/../Pipelines/Inputs/user-kernel.mlir -moe-attach-target -moe-lower-kernels -moe-module-to-binary \
// RUN: | FileCheck %s --check-prefix=KERNEL

// As moe-opt, which registers all of MLIR, has it.
// RUN: moe-opt %s -moe-lower-to-cpu=verify-at-runtime > %t.all
// RUN: moe-only-opt %s -moe-lower-to-cpu=verify-at-runtime | diff %t.all -
// RUN: moe-opt %s -moe-lower-to-cuda=verify-at-runtime > %t.all
// RUN: moe-only-opt %s -moe-lower-to-cuda=verify-at-runtime | diff %t.all -
// RUN: moe-opt %S/../../examples/program/main.mlir -moe-lower-to-cuda > %t.all
// RUN: moe-only-opt %S/../../examples/program/main.mlir -moe-lower-to-cuda | diff %t.all -
// RUN: moe-opt %S/../Pipelines/neighbours.mlir -moe-lower-to-cpu > %t.all
// RUN: moe-only-opt %S/../Pipelines/neighbours.mlir -moe-lower-to-cpu | diff %t.all -

// MEMREF-LABEL: func.func @expert(
// MEMREF-NOT: tensor<
// LLVM-LABEL: llvm.func @expert(
// LAUNCH: gpu.launch_func
// LAUNCH: gpu.binary
// KERNEL: .visible .entry scale_rows(
func.func @expert(%x: tensor<64x128xbf16>, %map: tensor<64xi32>, %n: tensor<i32>,
                  %bias: tensor<64x128xbf16>, %data: tensor<64x128xf8E4M3FN>,
                  %scale: tensor<512xf8E8M0FNU>, %row: index)
    -> (tensor<64x128xf8E4M3FN>, tensor<512xf8E8M0FNU>, tensor<1x128xbf16>) {
  %empty = tensor.empty() : tensor<64x128xbf16>
  %sum = linalg.add ins(%x, %bias : tensor<64x128xbf16>, tensor<64x128xbf16>)
    outs(%empty : tensor<64x128xbf16>) -> tensor<64x128xbf16>
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %pad = arith.constant 0.0 : bf16
  %doubled = scf.for %i = %c0 to %c4 step %c1 iter_args(%t = %sum) -> tensor<64x128xbf16> {
    %slice = tensor.extract_slice %t[%i, 0] [1, 128] [1, 1]
      : tensor<64x128xbf16> to tensor<1x128xbf16>
    %v = vector.transfer_read %slice[%c0, %c0], %pad {in_bounds = [true, true]}
      : tensor<1x128xbf16>, vector<1x128xbf16>
    %w = arith.addf %v, %v : vector<1x128xbf16>
    %written = vector.transfer_write %w, %slice[%c0, %c0] {in_bounds = [true, true]}
      : vector<1x128xbf16>, tensor<1x128xbf16>
    %next = tensor.insert_slice %written into %t[%i, 0] [1, 128] [1, 1]
      : tensor<1x128xbf16> into tensor<64x128xbf16>
    scf.yield %next : tensor<64x128xbf16>
  }
  %q, %s = moe.squared_relu_quantize_mxfp8
    ins(%doubled, %map, %n : tensor<64x128xbf16>, tensor<64xi32>, tensor<i32>)
    outs(%data, %scale : tensor<64x128xf8E4M3FN>, tensor<512xf8E8M0FNU>)
    -> tensor<64x128xf8E4M3FN>, tensor<512xf8E8M0FNU>
  %one = tensor.extract_slice %x[%row, 0] [1, 128] [1, 1]
    : tensor<64x128xbf16> to tensor<1x128xbf16>
  return %q, %s, %one : tensor<64x128xf8E4M3FN>, tensor<512xf8E8M0FNU>, tensor<1x128xbf16>
}
