//===- DeallocateBuffers.cpp - Free what bufferization allocated ----------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-deallocate-buffers: upstream's deallocation where it can be used.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Pipelines/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/PassManager.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEDEALLOCATEBUFFERS
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

namespace {

struct DeallocateBuffersPass
    : moe::impl::MoeDeallocateBuffersBase<DeallocateBuffersPass> {
  void getDependentDialects(DialectRegistry &registry) const override {
    MoeDeallocateBuffersBase::getDependentDialects(registry);
    OpPassManager pipeline(ModuleOp::getOperationName());
    build(pipeline);
    pipeline.getDependentDialects(registry);
  }

  static void build(OpPassManager &pipeline) {
    bufferization::buildBufferDeallocationPipeline(
        pipeline, bufferization::BufferDeallocationPipelineOptions());
    // The copies of buffers that a function returns without owning them.
    pipeline.addPass(createConvertBufferizationToMemRefPass());
  }

  void runOnOperation() override {
    WalkResult freesMemory = getOperation().walk([](Operation *op) {
      return isa<memref::DeallocOp, memref::ReallocOp>(op) ? WalkResult::interrupt()
                                                           : WalkResult::advance();
    });
    if (freesMemory.wasInterrupted())
      return;
    OpPassManager pipeline(ModuleOp::getOperationName());
    build(pipeline);
    if (failed(runPipeline(pipeline, getOperation())))
      signalPassFailure();
  }
};

} // namespace
