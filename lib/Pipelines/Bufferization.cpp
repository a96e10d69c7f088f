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

#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Transforms/Passes.h"
#include "moe/Pipelines/Pipelines.h"
#include "moe/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::moe;

void mlir::moe::buildBufferizationPipeline(OpPassManager &pm,
                                           const BufferizationOptions &options) {
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createMoeFuseQuantize());
  // arith and math on tensors, which have no bufferization of their own.
  pm.addPass(createConvertElementwiseToLinalgPass());
  MoeBufferizeTensorsOptions bufferizeTensors;
  bufferizeTensors.deallocate = options.deallocate;
  pm.addPass(createMoeBufferizeTensors(bufferizeTensors));
}
