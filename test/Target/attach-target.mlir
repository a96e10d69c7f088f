// moe-attach-target appends a target to what each GPU module has.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-attach-target | FileCheck %s --check-prefix=DEFAULT
// RUN: moe-opt %s -moe-attach-target="chip=sm_100a features=+ptx90 O=1" | FileCheck %s --check-prefix=OPTIONS
// RUN: moe-opt %s -moe-attach-target=chip=sm_80 -moe-attach-target=chip=sm_90 -moe-attach-target=chip=sm_80 \
// RUN: | FileCheck %s --check-prefix=SEVERAL

// DEFAULT: gpu.module @without [#nvvm.target<O = 3, chip = "sm_90", features = "+ptx80">]
// DEFAULT: gpu.module @with [#nvvm.target<chip = "sm_75">, #nvvm.target<O = 3, chip = "sm_90", features = "+ptx80">]

// OPTIONS: gpu.module @without [#nvvm.target<O = 1, chip = "sm_100a", features = "+ptx90">]
// OPTIONS: gpu.module @with [#nvvm.target<chip = "sm_75">, #nvvm.target<O = 1, chip = "sm_100a", features = "+ptx90">]

// A target that is there is not there twice.
// SEVERAL: gpu.module @without [#nvvm.target<O = 3, chip = "sm_80", features = "+ptx70">, #nvvm.target<O = 3, chip = "sm_90", features = "+ptx80">]
// SEVERAL: gpu.module @with [#nvvm.target<chip = "sm_75">, #nvvm.target<O = 3, chip = "sm_80", features = "+ptx70">, #nvvm.target<O = 3, chip = "sm_90", features = "+ptx80">]

gpu.module @without {
}

gpu.module @with [#nvvm.target<chip = "sm_75">] {
}
