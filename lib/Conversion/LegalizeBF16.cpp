//===- LegalizeBF16.cpp - bf16 arithmetic for a CPU -----------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Elementwise arithmetic on vectors of bf16, and the f32 arithmetic between such vectors,
// as arithmetic on two vectors of f32, the elements at even and at odd places, which are
// never put back in order before they are bf16 again.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "WordArithmetic.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOELEGALIZEBF16
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// What can be computed by halves
//===----------------------------------------------------------------------===//

static bool isBF16(Type type) { return getElementTypeOrSelf(type).isBF16(); }

/// A vector whose elements are at even and at odd places in equal number.
static bool hasHalves(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return vector && vector.getRank() == 1 && !vector.isScalable() &&
         vector.getNumElements() % 2 == 0;
}

/// Whether `op` means the same on the f32 of its bf16 operands, if it has any, and its
/// bf16 result, if it has one, is that f32 rounded.
static bool isArithmetic(Operation *op) {
  if (!OpTrait::hasElementwiseMappableTraits(op) || op->getNumResults() != 1 ||
      op->getNumRegions() != 0)
    return false;
  auto isF32 = [](Value value) { return getElementTypeOrSelf(value.getType()).isF32(); };
  bool hasBF16 =
      llvm::any_of(op->getOperandTypes(), isBF16) || isBF16(op->getResult(0).getType());
  if (!hasBF16)
    return isa<arith::ArithDialect, math::MathDialect>(op->getDialect());
  if (isa<arith::ExtFOp>(op))
    return isF32(op->getResult(0));
  if (auto truncf = dyn_cast<arith::TruncFOp>(op))
    return isF32(truncf.getIn()) && isBF16(truncf.getType()) &&
           truncf.getRoundingmode().value_or(arith::RoundingMode::to_nearest_even) ==
               arith::RoundingMode::to_nearest_even;
  return isa<arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp,
             arith::MaximumFOp, arith::MinimumFOp, arith::MaxNumFOp, arith::MinNumFOp,
             arith::NegFOp, arith::CmpFOp, arith::SelectOp>(op) ||
         isa<math::MathDialect>(op->getDialect());
}

/// The constant that `value` is, if it is one.
static DenseElementsAttr getConstant(Value value) {
  DenseElementsAttr constant;
  matchPattern(value, m_Constant(&constant));
  return constant;
}

/// The scalar that every element of `value` is, if that is known.
static Value getScalar(Value value) {
  auto broadcast = value.getDefiningOp<vector::BroadcastOp>();
  if (broadcast && !isa<VectorType>(broadcast.getSourceType()))
    return broadcast.getSource();
  return Value();
}

/// The ops below `root` to compute by halves: those whose operands are bf16, constants,
/// broadcasts or such ops' results, and whose results are bf16 or go to such ops alone.
static llvm::SetVector<Operation *> findArithmetic(Operation *root) {
  llvm::SetVector<Operation *> ops;
  root->walk([&](Operation *op) {
    if (isArithmetic(op) && hasHalves(op->getResult(0).getType()))
      ops.insert(op);
  });
  auto isOp = [&](Operation *op) { return ops.contains(op); };
  auto isAvailable = [&](Value value) {
    return !isa<VectorType>(value.getType()) || isBF16(value.getType()) ||
           isOp(value.getDefiningOp()) || getScalar(value) || getConstant(value);
  };
  auto isLost = [&](Operation *op) {
    return !llvm::all_of(op->getOperands(), isAvailable) ||
           !(isBF16(op->getResult(0).getType()) || llvm::all_of(op->getUsers(), isOp));
  };
  // What one op loses, those next to it lose too.
  while (ops.remove_if(isLost)) {
  }
  return ops;
}

//===----------------------------------------------------------------------===//
// Rewrites
//===----------------------------------------------------------------------===//

/// Whether `op` only ever gives the value of an operand, so that nothing is to be
/// rounded.
static bool isExact(Operation *op) {
  return isa<arith::MaximumFOp, arith::MinimumFOp, arith::MaxNumFOp, arith::MinNumFOp,
             arith::SelectOp, math::CopySignOp>(op);
}

/// Whether a NaN of `op` is an operand's or the processor's own: none has a bit in the
/// lower half of an f32, so that it survives rounding.
static bool keepsNaN(Operation *op) {
  return isa<arith::MulFOp, arith::SelectOp, math::CopySignOp>(op);
}

/// The value whose maximumNumber with +0 `op` is, if it is one.
static Value matchRelu(Operation *op) {
  auto maximum = dyn_cast<arith::MaxNumFOp>(op);
  if (!maximum)
    return Value();
  for (auto [bound, value] : {std::pair(maximum.getRhs(), maximum.getLhs()),
                              std::pair(maximum.getLhs(), maximum.getRhs())})
    if (matchPattern(bound, m_PosZeroFloat()))
      return value;
  return Value();
}

static bool isNumber(Value value) {
  APFloat constant(0.0f);
  return matchPattern(value, m_ConstantFloat(&constant)) && !constant.isNaN();
}

/// Whether the bf16 that `op` gives is one of its operands, and never NaN.
static bool isExactNumber(Operation *op) {
  return isa<arith::MaxNumFOp, arith::MinNumFOp>(op) &&
         llvm::any_of(op->getOperands(), isNumber);
}

namespace {
/// A conversion of f32 to bf16, and the NaN, as f32 bits, that is selected for its own.
struct Narrowing {
  arith::TruncFOp rounded;
  int64_t nan = 0;
};
} // namespace

/// That, if `op` is it.
static Narrowing matchNarrowing(Operation *op) {
  auto select = dyn_cast<arith::SelectOp>(op);
  auto isNaN =
      select ? select.getCondition().getDefiningOp<arith::CmpFOp>() : arith::CmpFOp();
  auto rounded = select ? select.getFalseValue().getDefiningOp<arith::TruncFOp>()
                        : arith::TruncFOp();
  APFloat nan(0.0f);
  if (!isNaN || !rounded || isNaN.getPredicate() != arith::CmpFPredicate::UNO ||
      isNaN.getLhs() != isNaN.getRhs() || isNaN.getLhs() != rounded.getIn() ||
      !matchPattern(select.getTrueValue(), m_ConstantFloat(&nan)) || !nan.isNaN())
    return {};
  return {rounded, nan.bitcastToAPInt().getSExtValue() << 16};
}

namespace {

class Legalizer {
public:
  explicit Legalizer(Operation *root) : ops(findArithmetic(root)) {}

  void legalize() {
    // While conversions can be told from what becomes of them.
    for (Operation *op : ops)
      if (Narrowing narrowing = matchNarrowing(op); narrowing.rounded &&
                                                    isBF16(op->getResult(0).getType()) &&
                                                    ops.contains(narrowing.rounded))
        narrowings[op] = narrowing;
    for (Operation *op : ops)
      legalize(op);
    // Users before what they use.
    for (Operation *op : llvm::reverse(done))
      op->erase();
  }

private:
  void legalize(Operation *op) {
    if (done.contains(op))
      return;
    WordBuilder b(op->getLoc(), op);
    Value result = op->getResult(0);
    if (!isBF16(result.getType())) {
      halves[result] = buildHalves(b, op);
    } else {
      Value bits = b.buildBitcast(buildBits(b, op), b.getBF16Type());
      // What is only widened again need not be put together.
      if (!matchRelu(op) && isExactNumber(op))
        halves[bits] = buildHalves(b, op);
      result.replaceAllUsesWith(bits);
    }
    done.insert(op);
  }

  /// The bits (i16) of the bf16 that `op` gives.
  Value buildBits(WordBuilder &b, Operation *op) {
    if (Value value = matchRelu(op)) {
      // The bits above those of infinity are of negative numbers and NaN.
      Value bits = b.toI16(value);
      Value isKept = b.buildCompare(arith::CmpIPredicate::ule, bits, kBF16Infinity);
      Value zero = b.buildConstant(bits.getType(), 0);
      return arith::SelectOp::create(b, isKept, bits, zero);
    }
    if (isa<arith::NegFOp>(op))
      return b.build<arith::XOrIOp>(b.toI16(op->getOperand(0)), 0x8000);
    if (isa<math::AbsFOp>(op))
      return b.build<arith::AndIOp>(b.toI16(op->getOperand(0)), 0x7fff);

    int64_t nanBits = kQuietNaN;
    if (Narrowing narrowing = narrowings.lookup(op); narrowing.rounded) {
      op = narrowing.rounded;
      nanBits = narrowing.nan;
    }
    Halves found = buildHalves(b, op);
    if (!keepsNaN(op) && !isExactNumber(op)) {
      for (Value *half : {&found.even, &found.odd}) {
        Value isNaN = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, *half, *half);
        Value bits = b.toI32(*half);
        Value nan = b.buildConstant(bits.getType(), nanBits);
        *half = b.toF32(arith::SelectOp::create(b, isNaN, nan, bits));
      }
    }
    Value upper = b.buildPackUpper(found);
    if (isExact(op))
      return upper;
    // Up if above one half, or one half above an odd value.
    Value isOdd = b.build<arith::AndIOp>(upper, 1);
    Value lower = arith::OrIOp::create(b, b.buildPackLower(found), isOdd);
    Value isUp = b.buildCompare(arith::CmpIPredicate::ugt, lower, 0x8000);
    Value up = arith::ExtUIOp::create(b, upper.getType(), isUp);
    return arith::AddIOp::create(b, upper, up);
  }

  /// What `op` gives for elements at even and at odd places, f32 where it gives bf16.
  Halves buildHalves(WordBuilder &b, Operation *op) {
    SmallVector<Value> even, odd;
    for (Value operand : op->getOperands()) {
      Halves found = getHalves(b, operand);
      even.push_back(found.even);
      odd.push_back(found.odd);
    }
    Type type = getHalfType(op->getResult(0).getType());
    if (isa<arith::ExtFOp, arith::TruncFOp>(op) && even[0].getType() == type)
      return {even[0], odd[0]};
    auto clone = [&](ValueRange operands) {
      return b
          .OpBuilder::create(b.getLoc(), op->getName().getIdentifier(), operands, type,
                             op->getAttrs())
          ->getResult(0);
    };
    return {clone(even), clone(odd)};
  }

  /// A scalar stands for both of its halves.
  Halves getHalves(WordBuilder &b, Value value) {
    if (!isa<VectorType>(value.getType()))
      return {value, value};
    VectorType type = getHalfType(value.getType());
    if (auto known = halves.find(value); known != halves.end())
      return known->second;
    if (Value scalar = getScalar(value)) {
      if (scalar.getType().isBF16())
        scalar = arith::ExtFOp::create(b, b.getF32Type(), scalar);
      Value half = vector::BroadcastOp::create(b, type, scalar);
      return {half, half};
    }
    if (DenseElementsAttr constant = getConstant(value))
      return buildConstantHalves(b, type, constant);
    if (isBF16(value.getType()))
      return b.buildSplit(value);
    // Its block may come after those that it dominates.
    legalize(value.getDefiningOp());
    return halves.lookup(value);
  }

  static Halves buildConstantHalves(WordBuilder &b, VectorType type,
                                    DenseElementsAttr constant) {
    SmallVector<Attribute> even, odd;
    for (auto [i, element] : llvm::enumerate(constant.getValues<Attribute>())) {
      if (isBF16(constant.getType()))
        element = b.getF32FloatAttr(cast<FloatAttr>(element).getValue().convertToFloat());
      (i % 2 == 0 ? even : odd).push_back(element);
    }
    return {arith::ConstantOp::create(b, DenseElementsAttr::get(type, even)),
            arith::ConstantOp::create(b, DenseElementsAttr::get(type, odd))};
  }

  static VectorType getHalfType(Type type) {
    auto vector = cast<VectorType>(type);
    Type elementType = vector.getElementType();
    if (elementType.isBF16())
      elementType = Float32Type::get(type.getContext());
    return VectorType::get(vector.getNumElements() / 2, elementType);
  }

  static constexpr int64_t kQuietNaN = 0x7fc00000;

  llvm::SetVector<Operation *> ops;
  /// In the order of their definitions.
  llvm::SetVector<Operation *> done;
  DenseMap<Operation *, Narrowing> narrowings;
  /// Those of results that are not bf16, and of some that are.
  DenseMap<Value, Halves> halves;
};

struct LegalizeBF16Pass : mlir::moe::impl::MoeLegalizeBF16Base<LegalizeBF16Pass> {
  void runOnOperation() override { Legalizer(getOperation()).legalize(); }
};

} // namespace
