// What a pipeline leaves is an error that names the op or the type, and the pipeline.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: split-file %s %t
// RUN: not moe-opt %t/arith.mlir -moe-lower-to-cpu 2>&1 | FileCheck %s --check-prefix=CPU
// RUN: not moe-opt %t/arith.mlir -moe-lower-to-cuda 2>&1 | FileCheck %s --check-prefix=CUDA
// CPU: arith.mlir:2:8: error: 'arith.addf' op was not lowered by moe-lower-to-cpu: ('f8E4M3FN', 'f8E4M3FN') -> ('f8E4M3FN')
// CUDA: arith.mlir:2:8: error: 'arith.addf' op was not lowered by moe-lower-to-cuda

// RUN: not moe-opt %t/space.mlir -moe-lower-to-cpu 2>&1 | FileCheck %s --check-prefix=SPACE
// RUN: not moe-opt %t/space.mlir -moe-lower-to-cuda 2>&1 | FileCheck %s --check-prefix=SPACE
// SPACE: space.mlir:1:1: error: expected a memory space that the target of moe-lower-to-{{cpu|cuda}} has, found that of 'memref<4xf32, 3>' in 'func.func'

// RUN: not moe-opt %t/kernel.mlir -moe-lower-to-cpu 2>&1 | FileCheck %s --check-prefix=HOST
// RUN: not moe-opt %t/kernel.mlir -moe-lower-to-cuda 2>&1 | FileCheck %s --check-prefix=KERNEL
// RUN: not moe-opt %t/kernel.mlir -moe-lower-to-ptx 2>&1 | FileCheck %s --check-prefix=KERNEL
// HOST: kernel.mlir:2:1: error: 'gpu.module' op was not lowered by moe-lower-to-cpu
// KERNEL: kernel.mlir:4:8: error: 'arith.truncf' op was not lowered by moe-lower-to-{{cuda|ptx}}: ('f32') -> ('f8E8M0FNU')

// RUN: not moe-opt %t/launch.mlir -moe-lower-to-cuda 2>&1 | FileCheck %s --check-prefix=LAUNCH
// RUN: not moe-opt %t/launch.mlir -moe-lower-to-ptx 2>&1 | FileCheck %s --check-prefix=LAUNCH
// RUN: not moe-opt %t/launch.mlir -convert-moe-to-gpu 2>&1 | FileCheck %s --check-prefix=LAUNCH
// LAUNCH: launch.mlir:6:5: error: 'moe.padded_squared_relu' op expected host code around it, found a gpu.launch

//--- arith.mlir
func.func @f(%a: f8E4M3FN) -> f8E4M3FN {
  %0 = arith.addf %a, %a : f8E4M3FN
  return %0 : f8E4M3FN
}
//--- space.mlir
func.func @f(%a: memref<4xf32, 3>) { return }
//--- kernel.mlir
module attributes {gpu.container_module} {
gpu.module @k {
gpu.func @k(%x: f32, %y: memref<f8E8M0FNU>) kernel {
  %0 = arith.truncf %x : f32 to f8E8M0FNU
  memref.store %0, %y[] : memref<f8E8M0FNU>
  gpu.return
}
}
}
//--- launch.mlir
func.func @f(%x: memref<4x64xbf16>, %m: memref<4xi32>, %n: memref<i32>,
             %out: memref<4x64xbf16>) {
  %c1 = arith.constant 1 : index
  gpu.launch blocks(%a, %b, %c) in (%d = %c1, %e = %c1, %f = %c1)
             threads(%g, %h, %i) in (%j = %c1, %k = %c1, %l = %c1) {
    moe.padded_squared_relu ins(%x, %m, %n : memref<4x64xbf16>, memref<4xi32>, memref<i32>)
      outs(%out : memref<4x64xbf16>)
    gpu.terminator
  }
  return
}
