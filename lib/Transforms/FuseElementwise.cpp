//===- FuseElementwise.cpp - Fuse linalg into an activation ---------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-fuse-elementwise: what a compiler has put in front of a padding-aware op becomes
// part of its activation.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEFUSEELEMENTWISE
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

/// Why `producer` cannot be part of an activation; nothing if it can.
static std::optional<std::string> checkProducer(linalg::LinalgOp producer) {
  if (producer.getNumDpsInputs() != 1 || producer.getNumDpsInits() != 1)
    return "it has more than one input or result";
  if (!producer.hasPureTensorSemantics())
    return "it is not on tensors";
  Type type = producer.getDpsInputs()[0].getType();
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || tensor.getRank() != 2 || !tensor.getElementType().isBF16() ||
      !cast<ShapedType>(producer.getDpsInits()[0].getType()).getElementType().isBF16())
    return "its input and result are not matrices of bf16";
  if (producer.getNumParallelLoops() != 2 || producer.getNumLoops() != 2 ||
      !llvm::all_of(producer.getIndexingMapsArray(),
                    [](AffineMap map) { return map.isIdentity(); }))
    return "it does not compute each element from the one at the same place";
  Block *body = producer.getBlock();
  if (!body->getArgument(1).use_empty())
    return "it reads its destination";
  for (Operation &op : body->without_terminator())
    if (std::optional<std::string> violation = checkActivationOp(&op))
      return violation;
  for (Operation &op : *body)
    for (Value operand : op.getOperands())
      if (operand.getParentBlock() != body && !operand.getDefiningOp<arith::ConstantOp>())
        return "it uses a value from outside that is no constant";
  return std::nullopt;
}

/// What the body of `producer` makes of `element`.
static Value cloneBody(OpBuilder &builder, linalg::LinalgOp producer, Value element) {
  Block *body = producer.getBlock();
  IRMapping mapping;
  mapping.map(body->getArgument(0), element);
  for (Operation &op : *body)
    for (Value operand : op.getOperands())
      if (operand.getParentBlock() != body && !mapping.contains(operand))
        mapping.map(operand, builder.clone(*operand.getDefiningOp())->getResult(0));
  for (Operation &op : body->without_terminator())
    builder.clone(op, mapping);
  return mapping.lookup(body->getTerminator()->getOperand(0));
}

/// The kernel name that the program gives, unless that is an op's: the kernel computes
/// another activation now.
static StringAttr getGivenKernelName(PaddingAwareOpInterface op) {
  auto mapRows = dyn_cast<MapRowsOp>(op.getOperation());
  StringAttr name = mapRows ? mapRows.getKernelNameAttr() : StringAttr();
  if (!name)
    return name;
  std::string opName = (MoeDialect::getDialectNamespace() + "." + name.getValue()).str();
  return RegisteredOperationName::lookup(opName, op.getContext()) ? StringAttr() : name;
}

namespace {

struct FuseProducer : OpInterfaceRewritePattern<PaddingAwareOpInterface> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;

  LogicalResult matchAndRewrite(PaddingAwareOpInterface op,
                                PatternRewriter &rewriter) const override {
    auto producer = op.getX().getDefiningOp<linalg::LinalgOp>();
    if (!producer)
      return rewriter.notifyMatchFailure(op, "'x' is not the result of a linalg op");
    if (!producer->hasOneUse())
      return rewriter.notifyMatchFailure(op, "'x' has other uses");
    if (std::optional<std::string> reason = checkProducer(producer))
      return rewriter.notifyMatchFailure(producer, *reason);
    Value input = producer.getDpsInputs()[0];
    SmallVector<Type> types(op->getOperandTypes());
    types.front() = input.getType();
    if (std::optional<std::string> violation = checkOperandTypes(op, types))
      return rewriter.notifyMatchFailure(op, *violation);

    Location loc = rewriter.getFusedLoc({producer.getLoc(), op.getLoc()});
    auto fused = MapRowsOp::create(
        rewriter, loc, op->getResultTypes(), op.getX(), op.getPermutationMap(),
        op.getNUsed(), op.getProbs(), op.getDestinations(), op.getColumnPairs(),
        op.getFormat(), op.getDeadRows(), getGivenKernelName(op), op.getGathers());
    fused->setOperand(0, input);
    fused->setDiscardableAttrs(llvm::to_vector(op->getDiscardableAttrs()));
    buildActivationRegion(rewriter, loc, fused.getActivation(), op,
                          [&](ValueRange parts) {
                            // What is no element of x is a factor of the row.
                            SmallVector<Value> elements(parts);
                            for (int64_t i = 0; i < op.getNumParts(); ++i)
                              elements[i] = cloneBody(rewriter, producer, parts[i]);
                            return op.buildActivation(rewriter, loc, elements);
                          });
    rewriter.replaceOp(op, fused);
    rewriter.eraseOp(producer);
    return success();
  }
};

struct FuseElementwisePass
    : mlir::moe::impl::MoeFuseElementwiseBase<FuseElementwisePass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateFuseElementwisePatterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

void mlir::moe::populateFuseElementwisePatterns(RewritePatternSet &patterns) {
  patterns.add<FuseProducer>(patterns.getContext());
}
