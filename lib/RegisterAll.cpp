//===- RegisterAll.cpp - All of moe-mlir in three calls -------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Registration of the dialect, the passes and the pipelines.
//
//===----------------------------------------------------------------------===//

#include "moe/RegisterAll.h"

#include "RegisterUpstream.h"
#include "mlir/IR/DialectRegistry.h"
#include "moe/Conversion/Passes.h"
#include "moe/IR/Moe.h"
#include "moe/Pipelines/Pipelines.h"
#include "moe/Target/Passes.h"
#include "moe/Transforms/ExternalModels.h"
#include "moe/Transforms/Passes.h"
#include "moe/Warp/IR/Warp.h"
#include "moe/Warp/Passes.h"

using namespace mlir;

void mlir::moe::registerAllMoeDialects(DialectRegistry &registry) {
  registry.insert<MoeDialect, warp::WarpDialect>();
  registerBufferizableOpInterfaceModels(registry);
  registerRuntimeVerifiableOpInterfaceModels(registry);
  registerUpstreamDialects(registry);
  registerUpstreamBufferization(registry);
  registerUpstreamConversions(registry);
}

void mlir::moe::registerAllMoePasses() {
  registerMoeConversionPasses();
  registerMoeTargetPasses();
  registerMoeTransformsPasses();
  registerMoeWarpPasses();
}

void mlir::moe::registerAllMoePipelines() { registerMoePipelines(); }
