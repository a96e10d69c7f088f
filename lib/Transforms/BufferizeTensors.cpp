//===- BufferizeTensors.cpp - Tensors to buffers that are freed -----------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-bufferize-tensors: one-shot bufferization and deallocation of what it allocated, in
// one pass, because only before the first is it known what the second may free.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/Passes.h"

#include "Deallocation.h"
#include "mlir/Conversion/BufferizationToMemRef/BufferizationToMemRef.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEBUFFERIZETENSORS
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

static void buildBufferize(OpPassManager &pm) {
  bufferization::OneShotBufferizePassOptions options;
  options.bufferizeFunctionBoundaries = true;
  options.functionBoundaryTypeConversion =
      bufferization::LayoutMapOption::IdentityLayoutMap;
  options.allowReturnAllocsFromLoops = true;
  pm.addPass(bufferization::createOneShotBufferizePass(options));
  pm.addPass(createCanonicalizerPass());
}

/// What deallocation makes to calls of memref.dealloc and copies.
static void buildLowerDeallocations(OpPassManager &pm) {
  pm.addPass(createCanonicalizerPass());
  pm.addPass(bufferization::createBufferDeallocationSimplificationPass());
  pm.addPass(bufferization::createLowerDeallocationsPass());
  pm.addPass(createConvertBufferizationToMemRefPass());
  pm.addPass(createCSEPass());
  pm.addPass(createCanonicalizerPass());
}

namespace {

struct BufferizeTensorsPass
    : mlir::moe::impl::MoeBufferizeTensorsBase<BufferizeTensorsPass> {
  using MoeBufferizeTensorsBase::MoeBufferizeTensorsBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    MoeBufferizeTensorsBase::getDependentDialects(registry);
    OpPassManager pipeline(ModuleOp::getOperationName());
    buildBufferize(pipeline);
    buildLowerDeallocations(pipeline);
    pipeline.getDependentDialects(registry);
  }

  void runOnOperation() override {
    OpPassManager bufferize(ModuleOp::getOperationName());
    buildBufferize(bufferize);
    OpPassManager lower(ModuleOp::getOperationName());
    buildLowerDeallocations(lower);
    // Bufferization looks no deeper than a module's own functions.
    SmallVector<ModuleOp> modules;
    getOperation().walk([&](ModuleOp module) { modules.push_back(module); });
    for (ModuleOp module : modules) {
      Deallocation deallocation(module);
      if (!deallocation.hasTensors())
        continue;
      if (deallocate)
        deallocation.markBuffersOfProgram();
      if (failed(runPipeline(bufferize, module)))
        return signalPassFailure();
      if (!deallocate)
        continue;
      deallocation.run();
      if (failed(runPipeline(lower, module)))
        return signalPassFailure();
    }
  }
};

} // namespace
