// What is not supported is an error at the module that lists what is.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: not moe-opt %s -moe-attach-target=chip=sm_130 2>&1 | FileCheck %s --check-prefix=CHIP
// CHIP: attach-target-invalid.mlir:{{[1-9][0-9]*}}:1: error: moe-attach-target: unsupported chip 'sm_130', expected one of sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100, sm_100a, sm_100f, sm_103, sm_103a, sm_103f, sm_110, sm_110a, sm_110f, sm_120, sm_120a, sm_120f, sm_121, sm_121a, sm_121f{{$}}

// RUN: not moe-opt %s -moe-attach-target=chip=sm_75 2>&1 | FileCheck %s --check-prefix=OLD
// OLD: error: moe-attach-target: unsupported chip 'sm_75', expected one of sm_80,

// RUN: not moe-opt %s -moe-attach-target=chip= 2>&1 | FileCheck %s --check-prefix=EMPTY
// EMPTY: error: moe-attach-target: unsupported chip '', expected one of sm_80,

// LLVM would fall back to something else for a version that it does not know.
// RUN: not moe-opt %s -moe-attach-target=features=+ptx91 2>&1 | FileCheck %s --check-prefix=PTX91
// PTX91: error: moe-attach-target: unsupported features '+ptx91' for sm_90, expected one of +ptx78, +ptx80, +ptx81, +ptx82, +ptx83, +ptx84, +ptx85, +ptx86, +ptx87, +ptx88, +ptx90{{$}}

// A version that is older than the chip.
// RUN: not moe-opt %s -moe-attach-target="chip=sm_120 features=+ptx80" 2>&1 | FileCheck %s --check-prefix=PTX80
// PTX80: error: moe-attach-target: unsupported features '+ptx80' for sm_120, expected one of +ptx87, +ptx88, +ptx90{{$}}

// RUN: not moe-opt %s -moe-attach-target=features=ptx80 2>&1 | FileCheck %s --check-prefix=NO-PLUS
// NO-PLUS: error: moe-attach-target: unsupported features 'ptx80' for sm_90, expected one of +ptx78,

// RUN: not moe-opt %s -moe-attach-target=features=+ptx80x 2>&1 | FileCheck %s --check-prefix=REST
// REST: error: moe-attach-target: unsupported features '+ptx80x' for sm_90, expected one of +ptx78,

// RUN: not moe-opt %s -moe-attach-target=O=4 2>&1 | FileCheck %s --check-prefix=LEVEL
// LEVEL: attach-target-invalid.mlir:{{[1-9][0-9]*}}:1: error: moe-attach-target: expected O to be from 0 to 3, found 4

// Before and after kernels are lowered.
// RUN: not moe-opt %s -moe-attach-target=chip=sm_89 2>&1 | FileCheck %s --check-prefix=CLUSTER
// CLUSTER: attach-target-invalid.mlir:[[@LINE+7]]:5: error: moe-attach-target: expected a chip whose CTAs come in clusters, sm_90 or later, for kernel 'apart', found sm_89{{$}}
// RUN: not moe-opt %s -convert-gpu-to-nvvm -moe-attach-target=chip=sm_80 2>&1 | FileCheck %s --check-prefix=LOWERED
// LOWERED: attach-target-invalid.mlir:[[@LINE+5]]:5: error: moe-attach-target: expected a chip whose CTAs come in clusters, sm_90 or later, for kernel 'apart', found sm_80{{$}}
// RUN: moe-opt %s -moe-attach-target=chip=sm_90 -o /dev/null

module {
  gpu.module @kernels {
    gpu.func @apart() kernel attributes {known_cluster_size = array<i32: 2, 1, 1>} { gpu.return }
  }
}
