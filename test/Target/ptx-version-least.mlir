// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The least PTX version of a chip is taken, and the one before it is not.

// RUN: moe-opt %s --moe-attach-target="chip=sm_80 features=+ptx70" | FileCheck %s --check-prefix=PTX70
// RUN: moe-opt %s --moe-attach-target="chip=sm_90 features=+ptx78" | FileCheck %s --check-prefix=PTX78
// RUN: moe-opt %s --moe-attach-target="chip=sm_120 features=+ptx87" | FileCheck %s --check-prefix=PTX87
// RUN: moe-opt %s --moe-attach-target="chip=sm_121 features=+ptx90" | FileCheck %s --check-prefix=PTX90
// RUN: not moe-opt %s --moe-attach-target="chip=sm_90 features=+ptx77" 2>&1 | FileCheck %s --check-prefix=PTX77
// RUN: not moe-opt %s --moe-attach-target="chip=sm_121 features=+ptx87" 2>&1 | FileCheck %s --check-prefix=OF121

// PTX70: #nvvm.target<{{.*}}chip = "sm_80", features = "+ptx70">
// PTX78: #nvvm.target<{{.*}}chip = "sm_90", features = "+ptx78">
// PTX87: #nvvm.target<{{.*}}chip = "sm_120", features = "+ptx87">
// PTX90: #nvvm.target<{{.*}}chip = "sm_121", features = "+ptx90">
// PTX77: error: moe-attach-target: unsupported features '+ptx77' for sm_90, expected one of +ptx78, +ptx80,
// OF121: error: moe-attach-target: unsupported features '+ptx87' for sm_121, expected one of +ptx88, +ptx90
gpu.module @kernels {
}
