// A program's symbol with the name of a function that lowered host code calls: the lowering to
// CUDA would take it for that function. The other pipelines know no such names.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: split-file %s %t
// RUN: not moe-opt %t/function.mlir -moe-lower-to-cuda 2>&1 | FileCheck %s --check-prefix=FUNCTION
// RUN: not moe-opt %t/global.mlir -moe-lower-to-cuda 2>&1 | FileCheck %s --check-prefix=GLOBAL
// RUN: moe-opt %t/function.mlir -moe-lower-to-cpu -o /dev/null
// RUN: moe-opt %t/global.mlir -moe-lower-to-cpu -o /dev/null
// RUN: moe-opt %t/other.mlir -moe-lower-to-cuda -o /dev/null
// FUNCTION: function.mlir:1:1: error: expected another name than 'mgpuMemAlloc', which moe-lower-to-cuda has for a function of the CUDA runtime
// GLOBAL: global.mlir:1:1: error: expected another name than 'mgpuLaunchKernel', which moe-lower-to-cuda has

//--- function.mlir
func.func @mgpuMemAlloc(%x: memref<?x4xf32>) {
  return
}
func.func @f(%n: index) {
  %a = memref.alloc(%n) : memref<?x4xf32>
  call @mgpuMemAlloc(%a) : (memref<?x4xf32>) -> ()
  return
}

//--- global.mlir
memref.global "private" @mgpuLaunchKernel : memref<4xf32> = dense<1.0>
func.func @f() -> f32 {
  %c0 = arith.constant 0 : index
  %a = memref.get_global @mgpuLaunchKernel : memref<4xf32>
  %b = memref.load %a[%c0] : memref<4xf32>
  return %b : f32
}

//--- other.mlir
func.func @mgpu() {
  return
}
func.func @mgpuMemAllocate() {
  return
}
