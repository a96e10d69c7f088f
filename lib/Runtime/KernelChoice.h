//===- KernelChoice.h - The kernel for what a caller asks -------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An op has a kernel for each combination of attributes and optional operands that the
// manifest lists. None is an approximation of another, so one of them is it, or none. Of
// a module it is the one with the name that the compiler gives it.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_KERNELCHOICE_H
#define MOE_LIB_RUNTIME_KERNELCHOICE_H

#include "../Driver/Text.h"
#include "../Launch/KernelName.h"
#include "Kernels.h"
#include "moe-c/Runtime.h"

namespace moe {

/// Checks the type that the options say indices have.
MoeStatus checkIndexType(const MoeOptions &options);

/// Checks what is wrong for every kernel that there may be.
MoeStatus checkOptions(const MoeOptions &options);

/// What a caller asks for.
struct KernelRequest {
  const OpRow *op;
  KernelMode mode;
  /// Which of the op's operands there are, a bit for each.
  unsigned operands;
};

/// Of a kernel that a module is to have: no index into kKernels.
constexpr int kOfModule = -1;

/// Makes the request and finds its kernel, an index into kKernels, unless a module is to
/// have it. `given` has what there is for each operand of the op, null for an optional
/// one that there is not; `scale` is null for an op without. `isEmpty`: there is nothing
/// to write.
MoeStatus chooseKernel(const OpRow &op, const void *const *given,
                       const MoeOptions &options, const MoeScale *scale, bool isOfModule,
                       bool isEmpty, KernelRequest &request, int &kernel);

/// What convert-moe-to-gpu calls the kernels for it.
void nameKernel(const KernelRequest &request, launch::NameText &name);

/// Says what of it is not as by default.
void describe(const KernelRequest &request, Text &text);

} // namespace moe

#endif // MOE_LIB_RUNTIME_KERNELCHOICE_H
