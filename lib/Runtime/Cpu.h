//===- Cpu.h - The ops on the CPU -------------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_CPU_H
#define MOE_LIB_RUNTIME_CPU_H

#include "Problem.h"

namespace moe {

/// Runs a problem that has elements, on at most `numThreads` threads, 0 for as many as
/// the work is worth. Returns when it is done.
MoeStatus runOnCPU(const Problem &problem, int32_t numThreads);

} // namespace moe

#endif // MOE_LIB_RUNTIME_CPU_H
