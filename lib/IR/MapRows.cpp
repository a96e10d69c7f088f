//===- MapRows.cpp - The generic op ---------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe.map_rows: what its region may hold, what is proven of it, how it is built of many
// elements at once, and how other ops become one.
//
//===----------------------------------------------------------------------===//

#include "moe/IR/Moe.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// Verification
//===----------------------------------------------------------------------===//

static bool isScalar(Type type) { return isa<IntegerType, FloatType>(type); }

std::optional<std::string> mlir::moe::checkActivationOp(Operation *op) {
  bool isAllowed =
      isa_and_present<arith::ArithDialect, math::MathDialect>(op->getDialect()) &&
      isPure(op) && op->getNumResults() == 1 &&
      (isa<arith::ConstantOp>(op) || OpTrait::hasElementwiseMappableTraits(op)) &&
      llvm::all_of(op->getOperandTypes(), isScalar) &&
      llvm::all_of(op->getResultTypes(), isScalar);
  if (isAllowed)
    return std::nullopt;
  return llvm::formatv("expected the region to consist of arith.constant and of "
                       "elementwise arith and math ops on integers and floats, found "
                       "{0} (C13)",
                       op->getName().getStringRef());
}

/// What the region of a `moe.map_rows` takes that computes the activation of `op`.
static SmallVector<Type> getActivationTypes(PaddingAwareOpInterface op) {
  MLIRContext *context = op->getContext();
  SmallVector<Type> types(op.getNumParts(), BFloat16Type::get(context));
  if (op.getProbs())
    types.push_back(Float32Type::get(context));
  return types;
}

/// Whether it is a name in PTX too, as it is.
static bool isKernelName(StringRef name) {
  auto isLetter = [](char c) { return llvm::isAlpha(c) || c == '_'; };
  return !name.empty() && isLetter(name.front()) &&
         llvm::all_of(name, [&](char c) { return isLetter(c) || llvm::isDigit(c); });
}

LogicalResult MapRowsOp::verifyRegions() {
  if (std::optional<StringRef> name = getKernelName(); name && !isKernelName(*name))
    return emitOpError("expected 'kernel_name' to be letters, digits and '_', of which "
                       "the first is no digit, found '")
           << *name << "' (C31)";
  Block &block = getActivation().front();
  Type type = BFloat16Type::get(getContext());
  SmallVector<Type> types = getActivationTypes(*this);
  if (block.getArgumentTypes() != ArrayRef<Type>(types)) {
    auto diagnostic = emitOpError("expected the region to take ")
                      << (getPairs() ? "two " : "one ") << type;
    if (getPairs())
      diagnostic << " under pairs";
    if (getProbs())
      diagnostic << " and, with probs, " << types.back();
    diagnostic << ", found (";
    llvm::interleaveComma(block.getArgumentTypes(), diagnostic);
    return diagnostic << ") (C12)";
  }
  auto yield = dyn_cast<YieldOp>(block.back());
  if (!yield)
    return emitOpError("expected the region to end with moe.yield, found ")
           << block.back().getName() << " (C12)";
  if (yield.getActivation().getType() != type)
    return yield.emitOpError("expected a ")
           << type << ", found " << yield.getActivation().getType() << " (C12)";
  for (Operation &op : block.without_terminator())
    if (std::optional<std::string> violation = checkActivationOp(&op))
      return op.emitOpError(*violation);
  return success();
}

//===----------------------------------------------------------------------===//
// The interface
//===----------------------------------------------------------------------===//

std::string MapRowsOp::getKernelBaseName() {
  return getKernelName().value_or("map_rows").str();
}

PairsAttr MapRowsOp::getColumnPairs() { return getPairsAttr(); }

bool MapRowsOp::isIdentity() {
  if (getPairs() || getProbs() || getGathers())
    return false;
  Block &block = getActivation().front();
  return cast<YieldOp>(block.getTerminator()).getActivation() == block.getArgument(0);
}

Value MapRowsOp::buildActivation(OpBuilder &builder, Location loc, ValueRange elements) {
  return mlir::moe::buildActivation(builder, loc, getActivation().front(), elements);
}

Value mlir::moe::buildActivation(OpBuilder &builder, Location loc, Block &block,
                                 ValueRange elements) {
  auto vector = dyn_cast<VectorType>(elements.front().getType());
  IRMapping mapping;
  mapping.map(block.getArguments(), elements);
  for (Operation &op : block.without_terminator()) {
    if (auto constant = dyn_cast<arith::ConstantOp>(op); constant && vector) {
      auto type = vector.clone(constant.getType());
      Value splat = arith::ConstantOp::create(
          builder, loc, DenseElementsAttr::get(type, Attribute(constant.getValue())));
      mapping.map(constant.getResult(), splat);
      continue;
    }
    Operation *clone = builder.clone(op, mapping);
    clone->setLoc(loc);
    if (!vector)
      continue;
    for (Value result : clone->getResults())
      result.setType(vector.clone(result.getType()));
  }
  return mapping.lookupOrDefault(cast<YieldOp>(block.getTerminator()).getActivation());
}

void mlir::moe::buildActivationRegion(OpBuilder &builder, Location loc, Region &region,
                                      PaddingAwareOpInterface op,
                                      function_ref<Value(ValueRange)> build) {
  OpBuilder::InsertionGuard guard(builder);
  SmallVector<Type> types = getActivationTypes(op);
  Block *block =
      builder.createBlock(&region, {}, types, SmallVector<Location>(types.size(), loc));
  YieldOp::create(builder, loc, build(block->getArguments()));
}

MapRowsOp mlir::moe::generalize(RewriterBase &rewriter, PaddingAwareOpInterface op) {
  if (auto generic = dyn_cast<MapRowsOp>(op.getOperation()))
    return generic;
  Location loc = op.getLoc();
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPoint(op);
  auto generic = MapRowsOp::create(
      rewriter, loc, op->getResultTypes(), op.getX(), op.getPermutationMap(),
      op.getNUsed(), op.getProbs(), op.getDestinations(), op.getColumnPairs(),
      op.getFormat(), op.getDeadRows(), rewriter.getStringAttr(op.getKernelBaseName()),
      op.getGathers());
  generic->setDiscardableAttrs(llvm::to_vector(op->getDiscardableAttrs()));
  buildActivationRegion(
      rewriter, loc, generic.getActivation(), op,
      [&](ValueRange parts) { return op.buildActivation(rewriter, loc, parts); });
  rewriter.replaceOp(op, generic);
  return generic;
}

//===----------------------------------------------------------------------===//
// What is proven of an activation
//===----------------------------------------------------------------------===//

namespace {

/// Derives what is known of each float of a region from what is known of its operands.
class FactFinder {
public:
  explicit FactFinder(Block &block) {
    for (Operation &op : block.without_terminator())
      for (Value result : op.getResults())
        facts[result] = derive(&op);
  }

  /// A value of which nothing is known may be anything.
  ActivationFacts get(Value value) const { return facts.lookup(value); }

private:
  ActivationFacts derive(Operation *op) const {
    APFloat constant(0.0f);
    if (matchPattern(op, m_ConstantFloat(&constant)))
      return {constant.isNaN(), constant.isNegative()};
    return llvm::TypeSwitch<Operation *, ActivationFacts>(op)
        .Case([&](arith::MulFOp op) -> ActivationFacts {
          // A square is never negative, and 0 * inf, the one product that is a new NaN,
          // cannot come of equal factors.
          if (op.getLhs() == op.getRhs())
            return {get(op.getLhs()).mayBeNaN, false};
          auto [lhs, rhs] = getBoth(op);
          return {true, lhs.mayBeNegative || rhs.mayBeNegative};
        })
        .Case([&](arith::AddFOp op) -> ActivationFacts {
          // inf - inf takes a negative number.
          auto [lhs, rhs] = getBoth(op);
          bool mayBeNegative = lhs.mayBeNegative || rhs.mayBeNegative;
          return {lhs.mayBeNaN || rhs.mayBeNaN || mayBeNegative, mayBeNegative};
        })
        .Case([&](arith::MaxNumFOp op) -> ActivationFacts {
          // Of NaN and a number it is the number. Which zero it is of two is left open.
          auto [lhs, rhs] = getBoth(op);
          bool isPositive =
              isPositiveConstant(op.getLhs()) || isPositiveConstant(op.getRhs());
          bool areNumbers = !lhs.mayBeNaN && !rhs.mayBeNaN;
          bool isNonNegative = areNumbers && !lhs.mayBeNegative && !rhs.mayBeNegative;
          return {lhs.mayBeNaN && rhs.mayBeNaN, !isPositive && !isNonNegative};
        })
        .Case([&](arith::MinNumFOp op) -> ActivationFacts {
          auto [lhs, rhs] = getBoth(op);
          return {lhs.mayBeNaN && rhs.mayBeNaN, lhs.mayBeNegative || rhs.mayBeNegative};
        })
        .Case([&](arith::MaximumFOp op) -> ActivationFacts {
          auto [lhs, rhs] = getBoth(op);
          return {lhs.mayBeNaN || rhs.mayBeNaN, lhs.mayBeNegative && rhs.mayBeNegative};
        })
        .Case([&](arith::MinimumFOp op) -> ActivationFacts {
          auto [lhs, rhs] = getBoth(op);
          return {lhs.mayBeNaN || rhs.mayBeNaN, lhs.mayBeNegative || rhs.mayBeNegative};
        })
        .Case([&](arith::SelectOp op) -> ActivationFacts {
          ActivationFacts then = get(op.getTrueValue());
          ActivationFacts otherwise = get(op.getFalseValue());
          return {then.mayBeNaN || otherwise.mayBeNaN,
                  then.mayBeNegative || otherwise.mayBeNegative};
        })
        .Case<arith::ExtFOp, arith::TruncFOp>(
            [&](Operation *op) -> ActivationFacts { return get(op->getOperand(0)); })
        .Case([&](math::AbsFOp op) -> ActivationFacts {
          return {get(op.getOperand()).mayBeNaN, false};
        })
        .Default(ActivationFacts());
  }

  std::pair<ActivationFacts, ActivationFacts> getBoth(Operation *op) const {
    return {get(op->getOperand(0)), get(op->getOperand(1))};
  }

  static bool isPositiveConstant(Value value) {
    APFloat constant(0.0f);
    return matchPattern(value, m_ConstantFloat(&constant)) && !constant.isNaN() &&
           !constant.isNegative() && !constant.isZero();
  }

  DenseMap<Value, ActivationFacts> facts;
};

} // namespace

ActivationFacts mlir::moe::getActivationFacts(Block &block) {
  return FactFinder(block).get(cast<YieldOp>(block.getTerminator()).getActivation());
}
