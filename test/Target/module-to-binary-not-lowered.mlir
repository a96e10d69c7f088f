// What is left in a GPU module is one error, at the op to lower next, with the pass for it.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: not moe-opt %s -split-input-file -allow-unregistered-dialect -moe-module-to-binary 2>&1 \
// RUN: | FileCheck %s --implicit-check-not=error: --implicit-check-not=note: --implicit-check-not=gpu.binary

// The rest comes before what convert-gpu-to-nvvm takes, though it stands inside of it.
// CHECK: module-to-binary-not-lowered.mlir:[[#@LINE+3]]:10: error: moe-module-to-binary: expected ops of the LLVM and NVVM dialects in gpu.module 'k', found 'arith.addf': run convert-arith-to-llvm first, or moe-lower-kernels for all that a kernel needs{{$}}
gpu.module @k [#nvvm.target<chip = "sm_90">] {
  gpu.func @f(%x: f32) kernel {
    %0 = arith.addf %x, %x : f32
    %1 = arith.mulf %x, %x : f32
    gpu.return
  }
}

// -----

// CHECK: error: moe-module-to-binary: expected ops of the LLVM and NVVM dialects in gpu.module 'k', found 'gpu.func': run convert-gpu-to-nvvm first, or
gpu.module @k [#nvvm.target<chip = "sm_90">] {
  gpu.func @f(%x: f32) kernel {
    gpu.return
  }
}

// -----

// CHECK: error: {{.*}} in gpu.module 'second', found 'arith.truncf': run moe-legalize-f8 first, or
gpu.module @first [#nvvm.target<chip = "sm_90">] {
}
gpu.module @second [#nvvm.target<chip = "sm_90">] {
  llvm.func @f(%x: f32) {
    %0 = arith.truncf %x : f32 to f8E4M3FN
    llvm.return
  }
}

// -----

// CHECK: error: {{.*}} found 'moe.padded_squared_relu': run convert-moe-to-gpu first{{$}}
gpu.module @k [#nvvm.target<chip = "sm_90">] {
  gpu.func @f(%x: memref<4x64xbf16>, %m: memref<4xi32>, %n: memref<i32>,
              %out: memref<4x64xbf16>) kernel {
    moe.padded_squared_relu ins(%x, %m, %n : memref<4x64xbf16>, memref<4xi32>, memref<i32>)
      outs(%out : memref<4x64xbf16>)
    gpu.return
  }
}

// -----

// CHECK: error: {{.*}} found 'builtin.unrealized_conversion_cast' from 'i64' to 'index': run reconcile-unrealized-casts first, or
gpu.module @k [#nvvm.target<chip = "sm_90">] {
  llvm.func @f(%x: i64) {
    %0 = builtin.unrealized_conversion_cast %x : i64 to index
    llvm.return
  }
}

// -----

// CHECK: error: {{.*}} found 'other.op', for which no pass is known here{{$}}
gpu.module @k [#nvvm.target<chip = "sm_90">] {
  "other.op"() : () -> ()
}

// -----

// CHECK: :[[#@LINE+1]]:1: error: moe-module-to-binary: expected a target on gpu.module 'k', found none: run moe-attach-target first{{$}}
gpu.module @k {
}

// -----

// LLVM would abort on an instruction that one of the chips lacks.
// CHECK: :[[#@LINE+3]]:10: error: moe-module-to-binary: expected instructions that sm_80 has, a target of gpu.module 'k', found 'nvvm.convert.f32x2.to.f8x2'{{$}}
gpu.module @k [#nvvm.target<chip = "sm_90">, #nvvm.target<chip = "sm_80">] {
  llvm.func @f(%x: f32, %p: !llvm.ptr) {
    %0 = nvvm.convert.f32x2.to.f8x2 %x, %x {rnd = #nvvm.fp_rnd_mode<rn>, sat = #nvvm.sat_mode<satfinite>} : i16 (f8E4M3FN)
    llvm.return
  }
}

// -----

// CHECK: :[[#@LINE+3]]:5: error: moe-module-to-binary: expected instructions that sm_89 has, {{.*}} found 'nvvm.griddepcontrol'{{$}}
gpu.module @k [#nvvm.target<chip = "sm_89">] {
  llvm.func @f() {
    nvvm.griddepcontrol wait
    llvm.return
  }
}

// -----

// CHECK: error: {{.*}} found 'moe_warp.wait_for_predecessor': run convert-moe-warp-to-gpu first{{$}}
gpu.module @k [#nvvm.target<chip = "sm_90">] {
  gpu.func @f() kernel {
    moe_warp.wait_for_predecessor
    gpu.return
  }
}
