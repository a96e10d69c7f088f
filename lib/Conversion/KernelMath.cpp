//===- KernelMath.cpp - math that a GPU has instructions for --------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-convert-kernel-math: of the math dialect, what LLVM's NVPTX target can select.
// convert-gpu-to-nvvm makes library calls of all float functions, also of those that are
// one instruction; convert-math-to-llvm makes intrinsics of all, on which LLVM aborts.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "FloatRange.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Transforms/DialectConversion.h"

#include <cmath>

namespace mlir::moe {
#define GEN_PASS_DEF_MOECONVERTKERNELMATH
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// What a GPU has for a few ops together
//===----------------------------------------------------------------------===//

static bool isFloat(Value value, float expected) {
  APFloat constant(0.0f);
  return matchPattern(value, m_ConstantFloat(&constant)) &&
         constant.bitwiseIsEqual(APFloat(expected));
}

static constexpr float kMostDivisor = 0x1p126f;

/// d in `d > 2^126 ? 0 : 1 / d`, if `op` is that in f32.
static Value matchReciprocal(arith::SelectOp op) {
  auto isHuge = op.getCondition().getDefiningOp<arith::CmpFOp>();
  auto quotient = op.getFalseValue().getDefiningOp<arith::DivFOp>();
  if (!isHuge || !quotient || isHuge.getPredicate() != arith::CmpFPredicate::OGT ||
      isHuge.getLhs() != quotient.getRhs() || !isFloat(quotient.getLhs(), 1) ||
      !isFloat(isHuge.getRhs(), kMostDivisor) || !isFloat(op.getTrueValue(), 0))
    return Value();
  return quotient.getRhs();
}

/// 1 / d of an f32 d from 1 to 2^126, or 0 for a greater one that is finite: what ptxas
/// makes of a division in this range, without its branch for all others. The
/// approximation gives 0 for a subnormal quotient, and 0 stays 0.
static Value buildReciprocal(ImplicitLocOpBuilder &b, Value d) {
  Type type = d.getType();
  auto approximate = [&](Value d) -> Value {
    return NVVM::RcpApproxFtzF32Op::create(b, b.getF32Type(), d);
  };
  Value y;
  TypedAttr one = b.getF32FloatAttr(1);
  if (auto vector = dyn_cast<VectorType>(type)) {
    one = DenseElementsAttr::get(vector, Attribute(one));
    SmallVector<Value> elements;
    for (int64_t i = 0; i < vector.getNumElements(); ++i)
      elements.push_back(approximate(vector::ExtractOp::create(b, d, i)));
    y = vector::FromElementsOp::create(b, vector, elements);
  } else {
    y = approximate(d);
  }
  Value minusD = arith::NegFOp::create(b, d);
  Value rest =
      math::FmaOp::create(b, minusD, y, arith::ConstantOp::create(b, one).getResult());
  return math::FmaOp::create(b, rest, y, y);
}

/// Conversions of f32 to bf16, which give the NaN 0x7fff, that are selected where there
/// is no NaN, and else that: the condition decides nothing.
static Value matchNarrowing(arith::SelectOp op) {
  auto isNaN = op.getCondition().getDefiningOp<arith::CmpFOp>();
  auto rounded = op.getFalseValue().getDefiningOp<arith::TruncFOp>();
  APFloat constant(0.0f);
  if (!isNaN || !rounded || isNaN.getPredicate() != arith::CmpFPredicate::UNO ||
      isNaN.getLhs() != isNaN.getRhs() || isNaN.getLhs() != rounded.getIn() ||
      !getElementTypeOrSelf(rounded.getIn().getType()).isF32() ||
      !getElementTypeOrSelf(rounded.getType()).isBF16() ||
      !matchPattern(op.getTrueValue(), m_ConstantFloat(&constant)) ||
      constant.bitcastToAPInt() != 0x7fff)
    return Value();
  return rounded;
}

/// Whether `type` is f32 or a vector of them of rank 1.
static bool isF32OrVector(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return getElementTypeOrSelf(type).isF32() &&
         (!vector || (vector.getRank() == 1 && !vector.isScalable()));
}

static void simplify(Operation *root) {
  SmallVector<Operation *> done;
  SmallVector<std::pair<Operation *, Value>> reciprocals;
  FloatRanges ranges;
  auto isOfReciprocal = [](Operation *user) {
    auto select = dyn_cast<arith::SelectOp>(user);
    return select && matchReciprocal(select);
  };
  root->walk([&](arith::DivFOp op) {
    if (!isFloat(op.getLhs(), 1) || !isF32OrVector(op.getType()) ||
        llvm::any_of(op->getUsers(), isOfReciprocal))
      return;
    std::optional<FloatRange> range = ranges.get(op.getRhs());
    if (range && range->least >= 1 && range->most <= kMostDivisor)
      reciprocals.push_back({op, op.getRhs()});
  });
  root->walk([&](arith::SelectOp op) {
    if (Value rounded = matchNarrowing(op)) {
      op.replaceAllUsesWith(rounded);
      done.push_back(op);
      return;
    }
    Value d = matchReciprocal(op);
    if (!d || !isF32OrVector(d.getType()))
      return;
    std::optional<FloatRange> range = ranges.get(d);
    if (range && range->least >= 1 && std::isfinite(range->most))
      reciprocals.push_back({op, d});
  });
  for (auto [op, d] : reciprocals) {
    ImplicitLocOpBuilder b(op->getLoc(), op);
    op->replaceAllUsesWith(ValueRange(buildReciprocal(b, d)));
    done.push_back(op);
  }
  for (Operation *op : done) {
    SmallVector<Operation *> operands;
    for (Value operand : op->getOperands())
      if (Operation *defining = operand.getDefiningOp())
        operands.push_back(defining);
    op->erase();
    for (Operation *operand : operands)
      if (isOpTriviallyDead(operand))
        operand->erase();
  }
}

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

namespace {

struct ConvertKernelMathPass
    : mlir::moe::impl::MoeConvertKernelMathBase<ConvertKernelMathPass> {
  void runOnOperation() override {
    simplify(getOperation());
    LLVMTypeConverter converter(&getContext());
    RewritePatternSet patterns(&getContext());
    populateMathToLLVMConversionPatterns(converter, patterns);
    ConversionTarget target(getContext());
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    target.addLegalDialect<LLVM::LLVMDialect>();
    target.addDynamicallyLegalOp<
        math::AbsFOp, math::AbsIOp, math::CeilOp, math::CopySignOp,
        math::CountLeadingZerosOp, math::CountTrailingZerosOp, math::CtPopOp,
        math::FloorOp, math::FmaOp, math::IsFiniteOp, math::IsInfOp, math::IsNaNOp,
        math::IsNormalOp, math::RoundEvenOp, math::RoundOp, math::RsqrtOp, math::SqrtOp,
        math::TruncOp>([&](Operation *op) {
      // Types that have no conversion stay, and are reported in the end.
      return !converter.isLegal(op->getOperandTypes());
    });
    if (failed(applyPartialConversion(getOperation(), target, std::move(patterns))))
      return signalPassFailure();
    getOperation()->walk([](Operation *op) {
      if (isa<LLVM::CopySignOp, LLVM::FAbsOp, LLVM::FCeilOp, LLVM::FFloorOp,
              LLVM::FTruncOp, LLVM::RoundEvenOp, LLVM::RoundOp, LLVM::SqrtOp>(op))
        hide(op);
    });
  }

  /// convert-gpu-to-nvvm refuses ops of intrinsics for which it calls libdevice. It does
  /// not see them in a call by name.
  static void hide(Operation *op) {
    OpBuilder b(op);
    std::string name = ("llvm." + op->getName().getStringRef().rsplit('.').second).str();
    auto call = LLVM::CallIntrinsicOp::create(b, op->getLoc(), op->getResult(0).getType(),
                                              b.getStringAttr(name), op->getOperands());
    op->replaceAllUsesWith(call);
    op->erase();
  }
};

} // namespace
