// What the pipeline cannot do is an error that says what was expected, and no PTX.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: not moe-opt %s -moe-lower-to-ptx=chip=sm_130 2>&1 \
// RUN: | FileCheck %s --check-prefix=CHIP --implicit-check-not=gpu.binary --implicit-check-not=.version
// CHIP: error: {{.*}}unsupported chip 'sm_130', expected one of sm_80, sm_86, sm_89, sm_90,

// RUN: not moe-opt %s -moe-lower-to-ptx=chip=hopper 2>&1 \
// RUN: | FileCheck %s --check-prefix=NAME --implicit-check-not=gpu.binary --implicit-check-not=.version
// NAME: error: {{.*}}unsupported chip 'hopper', expected one of sm_80,

// RUN: not moe-opt %s -moe-lower-to-ptx=features=+ptx91 2>&1 \
// RUN: | FileCheck %s --check-prefix=FEATURES --implicit-check-not=gpu.binary --implicit-check-not=.version
// FEATURES: error: {{.*}}unsupported features '+ptx91' for sm_90, expected one of +ptx78,

// RUN: not moe-opt %s -moe-lower-to-ptx="chip=sm_100 features=+ptx80" 2>&1 \
// RUN: | FileCheck %s --check-prefix=OLD --implicit-check-not=gpu.binary --implicit-check-not=.version
// OLD: error: {{.*}}unsupported features '+ptx80' for sm_100, expected one of +ptx86,

// RUN: not moe-opt %s -moe-lower-to-ptx=num-ctas=0 2>&1 \
// RUN: | FileCheck %s --check-prefix=CTAS --implicit-check-not=gpu.binary --implicit-check-not=.version
// CTAS: error: {{.*}}expected num-ctas to be from 1 to 65535, found 0

// RUN: not moe-opt %s -moe-lower-to-ptx=access-bytes=8 2>&1 \
// RUN: | FileCheck %s --check-prefix=ACCESS --implicit-check-not=gpu.binary --implicit-check-not=.version
// ACCESS: error: {{.*}}expected access-bytes to be 16 or 32, found 8

// RUN: not moe-opt %s -moe-lower-to-ptx=access-bytes=-16 2>&1 \
// RUN: | FileCheck %s --check-prefix=NEGATIVE --implicit-check-not=gpu.binary --implicit-check-not=.version
// NEGATIVE: error: {{.*}}expected access-bytes to be 16 or 32, found -16

// RUN: not moe-opt %s -moe-lower-to-ptx=O=-7 2>&1 \
// RUN: | FileCheck %s --check-prefix=LEVEL --implicit-check-not=gpu.binary --implicit-check-not=.version
// RUN: not moe-opt %s -moe-lower-to-cuda=O=-1 2>&1 \
// RUN: | FileCheck %s --check-prefix=LEVEL --implicit-check-not=gpu.binary --implicit-check-not=.version
// LEVEL: error: {{.*}}expected O to be from 0 to 3, found -{{[17]}}

// RUN: not moe-opt %s -moe-lower-to-ptx=chips=sm_90 2>&1 \
// RUN: | FileCheck %s --check-prefix=OPTION --implicit-check-not=gpu.binary --implicit-check-not=.version
// OPTION: no such option chips

// No toolkit anywhere: an error, not PTX in the place of a cubin.
// RUN: env -u CUDA_HOME -u CUDA_ROOT -u CUDA_PATH PATH=%llvm_tools not moe-opt %s -moe-lower-to-ptx=format=bin 2>&1 \
// RUN: | FileCheck %s --check-prefix=BIN --implicit-check-not=gpu.binary --implicit-check-not=.version
// BIN: error: {{.*}}expected ptxas of a CUDA toolkit in the option toolkit, in CUDA_ROOT, CUDA_HOME or CUDA_PATH, or on PATH, found none

// RUN: env -u CUDA_HOME -u CUDA_ROOT -u CUDA_PATH PATH=%llvm_tools not moe-opt %s -moe-lower-to-ptx=format=fatbin 2>&1 \
// RUN: | FileCheck %s --check-prefix=FATBIN --implicit-check-not=gpu.binary --implicit-check-not=.version
// FATBIN: error: {{.*}}expected ptxas and fatbinary of a CUDA toolkit

// PTX itself needs none of it.
// RUN: env -u CUDA_HOME -u CUDA_ROOT -u CUDA_PATH PATH=%llvm_tools moe-opt %s -moe-lower-to-ptx=format=isa \
// RUN: | FileCheck %s --check-prefix=ISA
// ISA: gpu.binary @moe_kernels {{.*}}.target sm_90

func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
