//===- Registration.cpp - The pipelines by name ---------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Registration of the pipelines for opt drivers and plugins.
//
//===----------------------------------------------------------------------===//

#include "mlir/Pass/PassRegistry.h"
#include "moe/Pipelines/Pipelines.h"

using namespace mlir;
using namespace mlir::moe;

void mlir::moe::registerMoePipelines() {
  PassPipelineRegistration<BufferizationOptions>(
      "moe-bufferize",
      "Fuse and bufferize moe ops on tensors, in place on their destinations",
      buildBufferizationPipeline);
  PassPipelineRegistration<LowerToPTXOptions>(
      "moe-lower-to-ptx",
      "Lower moe ops to PTX, a cubin or a fatbin, and host code that launches it",
      buildLowerToPTXPipeline);
  PassPipelineRegistration<LowerToCUDAOptions>(
      "moe-lower-to-cuda",
      "Lower a module with moe ops to the LLVM dialect for the CPU with a CUDA device",
      buildLowerToCUDAPipeline);
  PassPipelineRegistration<LowerToCPUOptions>(
      "moe-lower-to-cpu", "Lower a module with moe ops to the LLVM dialect for the CPU",
      buildLowerToCPUPipeline);
}
