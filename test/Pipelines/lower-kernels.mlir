// moe-lower-kernels takes kernels that somebody else wrote to the LLVM dialect, on a module or
// on a gpu.module.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %S/Inputs/user-kernel.mlir -moe-attach-target=chip=sm_90 -moe-lower-kernels -o %t
// RUN: FileCheck %s --input-file=%t
// RUN: moe-opt %S/Inputs/user-kernel.mlir -moe-attach-target=chip=sm_90 \
// RUN:   | moe-opt --pass-pipeline='builtin.module(gpu.module(moe-lower-kernels))' | diff %t -
// RUN: moe-opt %t -moe-module-to-binary | moe-translate -moe-to-ptx | FileCheck %s --check-prefix=PTX
// And as a part of the pipelines that have other names.
// RUN: moe-opt %S/Inputs/user-kernel.mlir -moe-lower-to-ptx | moe-translate -moe-to-ptx | FileCheck %s --check-prefix=PTX

// CHECK: gpu.module @user [#nvvm.target<
// CHECK-NEXT: llvm.func @scale_rows({{.*}}) attributes {gpu.kernel, {{.*}}nvvm.kernel
// CHECK: nvvm.shfl.sync bfly
// CHECK: nvvm.convert.f32x2.to.f8x2
// PTX: .visible .entry scale_rows(
// PTX: cvt.rn.satfinite.e4m3x2.f32

// Conversions to E4M3 are instructions where all targets of the module have them.
// RUN: moe-opt %S/Inputs/user-kernel.mlir -moe-attach-target=chip=sm_80 -moe-lower-kernels -moe-module-to-binary \
// RUN: | moe-translate -moe-to-ptx | FileCheck %s --check-prefix=SM80 --implicit-check-not=e4m3x2
// RUN: moe-opt %S/Inputs/user-kernel.mlir -moe-attach-target=chip=sm_80 -moe-attach-target=chip=sm_90 \
// RUN:   -moe-lower-kernels -moe-module-to-binary \
// RUN: | moe-translate -moe-to-ptx -moe-chip=sm_80 | FileCheck %s --check-prefix=SM80 --implicit-check-not=e4m3x2
// RUN: moe-opt %S/Inputs/user-kernel.mlir -moe-lower-kernels | FileCheck %s --check-prefix=NONE --implicit-check-not=nvvm.convert
// SM80: .visible .entry scale_rows(
// NONE: llvm.func @scale_rows(

// What is left is an error that names the pipeline.
// RUN: not moe-opt %s -moe-lower-kernels 2>&1 | FileCheck %s --check-prefix=LEFT
// LEFT: lower-kernels.mlir:[[#@LINE+3]]:10: error: 'arith.addf' op was not lowered by moe-lower-kernels: ('f8E4M3FN', 'f8E4M3FN') -> ('f8E4M3FN')
gpu.module @left {
  gpu.func @f(%x: f8E4M3FN, %y: memref<f8E4M3FN>) kernel {
    %0 = arith.addf %x, %x : f8E4M3FN
    memref.store %0, %y[] : memref<f8E4M3FN>
    gpu.return
  }
}
