//===- Bufferization.cpp - Tensors to memrefs -----------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The start of both lowerings: fusion and bufferization.
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"
#include "moe/Pipelines/Pipelines.h"
#include "moe/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::moe;

void mlir::moe::buildBufferizationPipeline(OpPassManager &pm,
                                           const BufferizationOptions &options) {
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createMoeFuseQuantize());
  bufferization::OneShotBufferizePassOptions oneShot;
  oneShot.bufferizeFunctionBoundaries = true;
  oneShot.functionBoundaryTypeConversion =
      bufferization::LayoutMapOption::IdentityLayoutMap;
  pm.addPass(bufferization::createOneShotBufferizePass(oneShot));
  if (options.deallocate)
    pm.addPass(createMoeDeallocateBuffers());
}
