//===- KernelChoice.h - The kernel for what a caller asks -------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An op has a kernel for each combination of attributes and optional operands that the
// manifest lists. None is an approximation of another, so one of them is it, or none.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_KERNELCHOICE_H
#define MOE_LIB_RUNTIME_KERNELCHOICE_H

#include "Kernels.h"
#include "moe-c/Runtime.h"

namespace moe {

/// Checks what is wrong for every kernel that there may be.
MoeStatus checkOptions(const MoeOptions &options);

/// Finds the index into kKernels. `given` has what there is for each operand of the op,
/// null for an optional one that there is not; `scale` is null for an op without.
MoeStatus chooseKernel(const OpRow &op, const void *const *given,
                       const MoeOptions &options, const MoeScale *scale, int &kernel);

} // namespace moe

#endif // MOE_LIB_RUNTIME_KERNELCHOICE_H
