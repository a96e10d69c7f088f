//===- FuseQuantize.cpp - Fuse an activation with its quantisation --------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// padded_squared_relu + quantize_mxfp8 -> squared_relu_quantize_mxfp8, on tensors.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEFUSEQUANTIZE
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

namespace {

struct FuseSquaredReluIntoQuantize : OpRewritePattern<QuantizeMXFP8Op> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(QuantizeMXFP8Op quantize,
                                PatternRewriter &rewriter) const override {
    auto activation = quantize.getX().getDefiningOp<PaddedSquaredReluOp>();
    if (!activation)
      return rewriter.notifyMatchFailure(
          quantize, "'x' is not the result of a moe.padded_squared_relu");
    if (!activation->hasOneUse())
      return rewriter.notifyMatchFailure(
          quantize, "the activation's result has uses besides the quantisation");
    if (activation.getPermutationMap() != quantize.getPermutationMap())
      return rewriter.notifyMatchFailure(quantize, "the permutation maps differ");
    if (activation.getNUsed() != quantize.getNUsed())
      return rewriter.notifyMatchFailure(quantize, "the numbers of used rows differ");
    // Static sizes may contradict each other across a result of dynamic ones.
    SmallVector<Type> types(quantize->getOperandTypes());
    types.front() = activation.getX().getType();
    if (std::optional<std::string> violation = checkOperandTypes(quantize, types))
      return rewriter.notifyMatchFailure(quantize, *violation);

    auto fused = SquaredReluQuantizeMXFP8Op::create(
        rewriter, rewriter.getFusedLoc({activation.getLoc(), quantize.getLoc()}),
        quantize.getResultTypes(), activation.getX(), quantize.getPermutationMap(),
        quantize.getNUsed(), quantize.getData(), quantize.getScale(),
        quantize.getScaleLayout(), quantize.getDeadScales());
    fused->setDiscardableAttrs(llvm::to_vector(quantize->getDiscardableAttrs()));
    rewriter.replaceOp(quantize, fused);
    rewriter.eraseOp(activation);
    return success();
  }
};

struct FuseQuantizePass : moe::impl::MoeFuseQuantizeBase<FuseQuantizePass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateFuseQuantizePatterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

void mlir::moe::populateFuseQuantizePatterns(RewritePatternSet &patterns) {
  patterns.add<FuseSquaredReluIntoQuantize>(patterns.getContext());
}
