// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// moe-translate takes the object of the chip that is asked for, and the binary with that name. Its
// errors have a file and a line, and print no binary.

// RUN: moe-opt %s --moe-module-to-binary > %t
// RUN: moe-translate %t --moe-to-ptx --moe-binary=both --moe-chip=sm_80 | FileCheck %s --check-prefix=SM80
// RUN: moe-translate %t --moe-to-ptx --moe-binary=both --moe-chip=sm_90 | FileCheck %s --check-prefix=SM90
// RUN: moe-translate %t --moe-to-ptx --moe-binary=one | FileCheck %s --check-prefix=ONE
// RUN: not moe-translate %t --moe-to-ptx --moe-binary=both 2>&1 | FileCheck %s --check-prefix=WHICH --implicit-check-not=nvvm --implicit-check-not=note:
// RUN: not moe-translate %t --moe-to-ptx --moe-binary=both --moe-chip=sm_100 2>&1 | FileCheck %s --check-prefix=NONE --implicit-check-not=nvvm --implicit-check-not=note:
// RUN: not moe-translate %t --moe-to-ptx --moe-chip=sm_80 2>&1 | FileCheck %s --check-prefix=BINARY --implicit-check-not=nvvm --implicit-check-not=note:
// RUN: not moe-translate %t --moe-to-ptx --moe-binary=none 2>&1 | FileCheck %s --check-prefix=NAME --implicit-check-not=nvvm --implicit-check-not=note:

// SM80: .target sm_80
// SM80: .entry f(
// SM90: .target sm_90
// SM90: .entry f(
// ONE: .target sm_89
// ONE: .entry g(
// WHICH: :2:0: error: expected one object, found objects for sm_80, sm_90
// NONE: :2:0: error: expected one object for chip 'sm_100', found objects for sm_80, sm_90
// BINARY: :1:1: error: expected one gpu.binary, found 'both', 'one'
// NAME: :1:1: error: expected one gpu.binary called 'none', found 'both', 'one'

// Nor do those of the pipelines.
// RUN: not moe-opt %t --moe-lower-to-cpu 2>&1 \
// RUN: | FileCheck %s --check-prefix=CPU --implicit-check-not=nvvm --implicit-check-not=note:
// CPU: :2:0: error: 'gpu.binary' op was not lowered by moe-lower-to-cpu{{$}}
module attributes {gpu.container_module} {
  gpu.module @both [#nvvm.target<chip = "sm_80", features = "+ptx70">, #nvvm.target<chip = "sm_90", features = "+ptx80">] {
    llvm.func @f() attributes {gpu.kernel, nvvm.kernel} {
      llvm.return
    }
  }
  gpu.module @one [#nvvm.target<chip = "sm_89", features = "+ptx81">] {
    llvm.func @g() attributes {gpu.kernel, nvvm.kernel} {
      llvm.return
    }
  }
}
