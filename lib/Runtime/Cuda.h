//===- Cuda.h - The ops on a CUDA stream ------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_CUDA_H
#define MOE_LIB_RUNTIME_CUDA_H

#include "Problem.h"

namespace moe {

/// Launches a problem that has elements on `launch.stream`.
MoeStatus launchOnCUDA(const Problem &problem, const MoeLaunch &launch);

/// Loads the library's kernels into the current context unless they are there.
MoeStatus loadKernels();

MoeStatus loadModule(const void *image, size_t size, MoeModule *&module);
MoeStatus findKernel(const MoeModule &module, const char *name, const MoeOp *&op);
MoeStatus unloadModule(MoeModule *module);

} // namespace moe

#endif // MOE_LIB_RUNTIME_CUDA_H
