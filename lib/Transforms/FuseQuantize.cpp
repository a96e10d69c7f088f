//===- FuseQuantize.cpp - Fuse an activation with its quantisation --------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One pattern for every activation and every format, on tensors: an op that computes an
// activation in bf16, and one that stores its result in a format, become one that does
// both.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEFUSEQUANTIZE
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

/// The name of the op that computes the activation of `producer` and stores it in
/// `format`: of the same dialect, if it has one.
static std::optional<OperationName> getFusedName(PaddingAwareOpInterface producer,
                                                 FormatAttrInterface format) {
  StringRef activation = producer.getActivationName();
  StringRef suffix = format.getOpSuffix();
  if (activation.empty() || suffix.empty())
    return std::nullopt;
  std::string name =
      (producer->getName().getDialectNamespace() + "." + activation + "_" + suffix).str();
  if (auto registered = RegisteredOperationName::lookup(name, producer.getContext()))
    return *registered;
  return std::nullopt;
}

/// Whether the rows that `op` does not compute hold nothing that is defined.
static bool areOtherRowsUndefined(PaddingAwareOpInterface op) {
  Value destination = op.getDestinations().front();
  return op.getDeadRows() == DeadRows::Untouched &&
         destination.getDefiningOp<tensor::EmptyOp>();
}

namespace {

struct FuseIntoStore : OpInterfaceRewritePattern<PaddingAwareOpInterface> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;

  LogicalResult matchAndRewrite(PaddingAwareOpInterface store,
                                PatternRewriter &rewriter) const override {
    if (!store.isIdentity())
      return rewriter.notifyMatchFailure(store, "it computes an activation itself");
    auto activation = store.getX().getDefiningOp<PaddingAwareOpInterface>();
    if (!activation || !isa<BF16Attr>(activation.getFormat()))
      return rewriter.notifyMatchFailure(
          store, "'x' is not the result of a padding-aware activation in bf16");
    if (!activation->hasOneUse())
      return rewriter.notifyMatchFailure(
          store, "the activation's result has uses besides the quantisation");
    if (activation.getPermutationMap() != store.getPermutationMap())
      return rewriter.notifyMatchFailure(store, "the permutation maps differ");
    if (activation.getNUsed() != store.getNUsed())
      return rewriter.notifyMatchFailure(store, "the numbers of used rows differ");
    if (activation.getGathers() && !areOtherRowsUndefined(activation))
      return rewriter.notifyMatchFailure(
          store, "rows whose map entry is past those of 'x' are live in the quantisation "
                 "alone, and the gather's destination says what they hold");
    // Static sizes may contradict each other across a result of dynamic ones.
    SmallVector<Type> types(store->getOperandTypes());
    types.front() = activation.getX().getType();
    // Factors have as many rows as x.
    if (std::optional<std::string> violation = checkOperandTypes(
            store, activation.getColumnPairs(), activation.getGathers(), types))
      return rewriter.notifyMatchFailure(store, *violation);

    SmallVector<Value> operands(
        activation->getOperands().take_front(activation.getNumInputs()));
    llvm::append_range(operands, store.getDestinations());
    Location loc = rewriter.getFusedLoc({activation.getLoc(), store.getLoc()});
    Operation *fused = buildFused(rewriter, loc, activation, store, operands);
    fused->setDiscardableAttrs(llvm::to_vector(store->getDiscardableAttrs()));
    rewriter.replaceOp(store, fused);
    rewriter.eraseOp(activation);
    return success();
  }

private:
  static Operation *buildFused(PatternRewriter &rewriter, Location loc,
                               PaddingAwareOpInterface activation,
                               PaddingAwareOpInterface store, ArrayRef<Value> operands) {
    FormatAttrInterface format = store.getFormat();
    if (std::optional<OperationName> name = getFusedName(activation, format)) {
      OperationState state(loc, *name, operands, store->getResultTypes());
      // The parameters of the activation and those of the format.
      for (NamedAttribute attribute : activation->getAttrs())
        if (activation->getInherentAttr(attribute.getName()))
          state.attributes.push_back(attribute);
      format.addOpAttributes(state.attributes);
      if (state.attributes.get("dead_rows"))
        state.attributes.set(
            "dead_rows", DeadRowsAttr::get(activation.getContext(), store.getDeadRows()));
      if (name->hasTrait<OpTrait::AttrSizedOperandSegments>()) {
        SmallVector<int32_t> sizes(3 + 1 + store.getDestinations().size(), 1);
        sizes[1] = activation.getPermutationMap() ? 1 : 0;
        sizes[3] = activation.getProbs() ? 1 : 0;
        state.attributes.set("operandSegmentSizes",
                             DenseI32ArrayAttr::get(activation.getContext(), sizes));
      }
      return rewriter.create(state);
    }
    auto fused = MapRowsOp::create(
        rewriter, loc, store->getResultTypes(), store.getX(), store.getPermutationMap(),
        store.getNUsed(), activation.getProbs(), store.getDestinations(),
        activation.getColumnPairs(), format, store.getDeadRows(),
        /*kernel_name=*/StringAttr(), activation.getGathers());
    fused->setOperands(operands);
    buildActivationRegion(rewriter, loc, fused.getActivation(), activation,
                          [&](ValueRange parts) {
                            return activation.buildActivation(rewriter, loc, parts);
                          });
    return fused;
  }
};

struct FuseQuantizePass : mlir::moe::impl::MoeFuseQuantizeBase<FuseQuantizePass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateFuseQuantizePatterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

void mlir::moe::populateFuseQuantizePatterns(RewritePatternSet &patterns) {
  patterns.add<FuseIntoStore>(patterns.getContext());
}
