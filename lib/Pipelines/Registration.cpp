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

#include "NamedPipelines.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace mlir::moe;

void mlir::moe::registerMoePipelines() {
  forEachNamedPipeline([](const auto &pipeline) {
    using Options = typename std::decay_t<decltype(pipeline)>::Options;
    PassPipelineRegistration<Options>(pipeline.name, pipeline.summary, pipeline.build);
  });
}
