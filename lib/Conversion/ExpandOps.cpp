//===- ExpandOps.cpp - Ops that have no lowering of their own -------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-expand-ops: what a user may put beside the moe ops and the conversions to the LLVM
// dialect do not take as it is, by the patterns that upstream has for it.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEEXPANDOPS
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

static void populatePatterns(RewritePatternSet &patterns) {
  arith::populateCeilFloorDivExpandOpsPatterns(patterns);
  arith::populateExpandScalingExtTruncPatterns(patterns);
  math::populateExpansionPatterns(patterns, {"clampf"});
  vector::populateVectorMaskOpLoweringPatterns(patterns);
  vector::populateVectorContractLoweringPatterns(
      patterns, vector::VectorContractLowering::OuterProduct);
  vector::populateVectorMultiReductionLoweringPatterns(
      patterns, vector::VectorMultiReductionLowering::InnerReduction);
  vector::populateVectorBroadcastLoweringPatterns(patterns);
  vector::populateVectorTransposeLoweringPatterns(
      patterns, vector::VectorTransposeLowering::EltWise);
  vector::populateVectorScanLoweringPatterns(patterns);
  vector::populateVectorGatherLoweringPatterns(patterns);
  vector::populateVectorInterleaveLoweringPatterns(patterns);
}

namespace {

struct ExpandOpsPass : mlir::moe::impl::MoeExpandOpsBase<ExpandOpsPass> {
  void runOnOperation() override {
    // What the moe ops have become is left as it was built.
    SmallVector<Operation *> ops;
    getOperation()->walk([&](Operation *op) {
      if (isa<arith::CeilDivSIOp, arith::CeilDivUIOp, arith::FloorDivSIOp,
              arith::ScalingExtFOp, arith::ScalingTruncFOp, math::ClampFOp,
              vector::ContractionOp, vector::DeinterleaveOp, vector::GatherOp,
              vector::InterleaveOp, vector::MaskOp, vector::MultiDimReductionOp,
              vector::OuterProductOp, vector::ScanOp, vector::TransposeOp>(op))
        ops.push_back(op);
    });
    RewritePatternSet patterns(&getContext());
    populatePatterns(patterns);
    GreedyRewriteConfig config;
    config.setStrictness(GreedyRewriteStrictness::ExistingAndNewOps);
    config.enableFolding(false);
    // What has not changed by now is found by moe-verify-lowered.
    (void)applyOpPatternsGreedily(ops, std::move(patterns), config);
  }
};

} // namespace
