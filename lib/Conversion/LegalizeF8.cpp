//===- LegalizeF8.cpp - Conversions to and from f8 for the target ---------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// arith.truncf from f32, bf16 or f16 to f8E4M3FN or f8E5M2, and arith.extf from any
// narrow float, have no lowering upstream: convert-arith-to-llvm leaves them as they are.
// Here they become the conversion instruction of the chip, or integer arithmetic that
// gives the same bytes.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"
#include "moe/Target/Chip.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOELEGALIZEF8
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

static bool hasFixedSize(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return !vector.isScalable();
  return !isa<ShapedType>(type);
}

/// The conversions that both patterns take: f32, bf16 or f16 to f8E4M3FN or f8E5M2,
/// scalar or vector of fixed size.
static LogicalResult matchToF8(arith::TruncFOp op, PatternRewriter &rewriter) {
  Type from = getElementTypeOrSelf(op.getIn().getType());
  if (!isa<Float8E4M3FNType, Float8E5M2Type>(getElementTypeOrSelf(op.getType())) ||
      !(from.isF32() || from.isBF16() || from.isF16()))
    return rewriter.notifyMatchFailure(op, "not f32, bf16 or f16 to f8E4M3FN or f8E5M2");
  if (!hasFixedSize(op.getType()))
    return rewriter.notifyMatchFailure(op, "not a scalar or a vector of fixed size");
  if (op.getRoundingmode().value_or(arith::RoundingMode::to_nearest_even) !=
      arith::RoundingMode::to_nearest_even)
    return rewriter.notifyMatchFailure(op, "not rounded to nearest even");
  return success();
}

static Type withElementType(Type type, Type elementType) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.clone(elementType);
  return elementType;
}

/// `value` as a constant of `type`, i32 or a vector of it.
static Value buildConstant(ImplicitLocOpBuilder &b, Type type, int64_t value) {
  TypedAttr attr = b.getI32IntegerAttr(static_cast<int32_t>(value));
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(b, attr);
}

/// `value`, f32, bf16 or f16, as f32.
static Value buildF32(ImplicitLocOpBuilder &b, Value value) {
  Type type = withElementType(value.getType(), b.getF32Type());
  return value.getType() == type ? value : arith::ExtFOp::create(b, type, value);
}

namespace {

/// cvt.rn.satfinite.e4m3x2.f32 or e5m2x2, a pair at a time.
struct ConvertPairs : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncFOp op,
                                PatternRewriter &rewriter) const override {
    if (failed(matchToF8(op, rewriter)))
      return failure();
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Type i8 = b.getI8Type();
    auto type = dyn_cast<VectorType>(op.getType());
    if (!type) {
      Value in = buildF32(b, op.getIn());
      Value pair = buildPair(b, in, in, op.getType());
      Value byte = arith::TruncIOp::create(b, i8, pair);
      rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), byte);
      return success();
    }

    // The instruction's operands are elements of one row.
    int64_t size = type.getNumElements();
    auto rowType = VectorType::get(size, type.getElementType());
    bool isRow = type.getRank() == 1;
    Value in = op.getIn();
    if (!isRow)
      in = vector::ShapeCastOp::create(
          b, withElementType(rowType, getElementTypeOrSelf(in)), in);
    SmallVector<Value> elements = buildElements(b, in);
    SmallVector<Value> pairs;
    for (int64_t i = 0; i < size; i += 2) {
      // An odd last element is paired with itself.
      pairs.push_back(buildPair(b, elements[i], elements[std::min(i + 1, size - 1)],
                                type.getElementType()));
    }
    auto pairsType = VectorType::get(pairs.size(), b.getI16Type());
    Value packed = vector::FromElementsOp::create(b, pairsType, pairs);
    Value bytes =
        vector::BitCastOp::create(b, VectorType::get(2 * pairs.size(), i8), packed);
    if (size % 2 != 0) {
      SmallVector<Value> kept;
      for (int64_t i = 0; i < size; ++i)
        kept.push_back(vector::ExtractOp::create(b, bytes, i));
      bytes = vector::FromElementsOp::create(b, rowType.clone(i8), kept);
    }
    if (!isRow)
      bytes = vector::ShapeCastOp::create(b, type.clone(i8), bytes);
    rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, type, bytes);
    return success();
  }

  /// The elements of a vector as f32. Pairs of bf16 are words, of which a shift and a
  /// mask make two f32; one by one they would be taken out of their words first.
  static SmallVector<Value> buildElements(ImplicitLocOpBuilder &b, Value vector) {
    auto type = cast<VectorType>(vector.getType());
    int64_t size = type.getNumElements();
    SmallVector<Value> elements;
    if (!type.getElementType().isBF16() || size % 2 != 0) {
      Value wide = buildF32(b, vector);
      for (int64_t i = 0; i < size; ++i)
        elements.push_back(vector::ExtractOp::create(b, wide, i));
      return elements;
    }
    Type i32 = b.getI32Type(), f32 = b.getF32Type();
    Value words = vector::BitCastOp::create(b, VectorType::get(size / 2, i32), vector);
    Value half = arith::ConstantIntOp::create(b, 16, /*width=*/32);
    Value upper = arith::ConstantIntOp::create(b, -0x10000, /*width=*/32);
    for (int64_t i = 0; i < size / 2; ++i) {
      Value word = vector::ExtractOp::create(b, words, i);
      Value low = arith::ShLIOp::create(b, word, half);
      Value high = arith::AndIOp::create(b, word, upper);
      elements.push_back(arith::BitcastOp::create(b, f32, low));
      elements.push_back(arith::BitcastOp::create(b, f32, high));
    }
    return elements;
  }

  /// The first operand of the instruction ends up in the high byte.
  static Value buildPair(ImplicitLocOpBuilder &b, Value low, Value high, Type type) {
    MLIRContext *context = b.getContext();
    return NVVM::ConvertF32x2ToF8x2Op::create(
        b, b.getI16Type(), high, low,
        NVVM::FPRoundingModeAttr::get(context, NVVM::FPRoundingMode::RN),
        NVVM::SaturationModeAttr::get(context, NVVM::SaturationMode::SATFINITE),
        b.getBoolAttr(false), TypeAttr::get(type));
  }
};

/// The same conversion in integer arithmetic and one f32 addition.
struct ExpandConversion : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncFOp op,
                                PatternRewriter &rewriter) const override {
    if (failed(matchToF8(op, rewriter)))
      return failure();
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    const llvm::fltSemantics &semantics =
        cast<FloatType>(getElementTypeOrSelf(op.getType())).getFloatSemantics();
    int64_t mantissaBits = APFloat::semanticsPrecision(semantics) - 1;
    int64_t leastExponent = APFloat::semanticsMinExponent(semantics);
    int64_t shift = 23 - mantissaBits, bias = 1 - leastExponent;
    int64_t largest = APFloat::getLargest(semantics).bitcastToAPInt().getZExtValue();
    Value in = buildF32(b, op.getIn());
    Type floatType = in.getType();
    Type intType = withElementType(floatType, b.getI32Type());
    auto constant = [&](int64_t value) { return buildConstant(b, intType, value); };
    auto compare = [&](arith::CmpIPredicate predicate, Value lhs, int64_t rhs) -> Value {
      return arith::CmpIOp::create(b, predicate, lhs, constant(rhs));
    };

    Value bits = arith::BitcastOp::create(b, intType, in);
    Value magnitude = arith::AndIOp::create(b, bits, constant(0x7fffffff));

    // Normal results: keep the upper mantissa bits, rounding to nearest even, and rebias
    // the exponent. What exceeds the largest number saturates.
    Value odd = arith::AndIOp::create(
        b, arith::ShRUIOp::create(b, magnitude, constant(shift)), constant(1));
    Value rounded = arith::AddIOp::create(
        b, arith::AddIOp::create(b, magnitude, constant((1 << (shift - 1)) - 1)), odd);
    Value normal =
        arith::SubIOp::create(b, arith::ShRUIOp::create(b, rounded, constant(shift)),
                              constant((127 - bias) << mantissaBits));
    normal = arith::MinSIOp::create(b, normal, constant(largest));

    // Subnormal results are multiples of the least. In the binade of `magic` that is the
    // unit in the last place of an f32, so an addition does the rounding.
    Value magic = constant((127 + leastExponent + shift) << 23);
    Value sum =
        arith::AddFOp::create(b, arith::BitcastOp::create(b, floatType, magnitude),
                              arith::BitcastOp::create(b, floatType, magic));
    Value subnormal =
        arith::SubIOp::create(b, arith::BitcastOp::create(b, intType, sum), magic);

    int64_t smallestNormal = (127 + leastExponent) << 23;
    Value isNormal = compare(arith::CmpIPredicate::uge, magnitude, smallestNormal);
    Value result = arith::SelectOp::create(b, isNormal, normal, subnormal);
    Value sign = arith::AndIOp::create(b, arith::ShRUIOp::create(b, bits, constant(24)),
                                       constant(0x80));
    result = arith::OrIOp::create(b, result, sign);
    Value isNaN = compare(arith::CmpIPredicate::ugt, magnitude, 0x7f800000);
    result = arith::SelectOp::create(b, isNaN, constant(0x7f), result);

    Value byte =
        arith::TruncIOp::create(b, withElementType(floatType, b.getI8Type()), result);
    rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), byte);
    return success();
  }
};

/// arith.extf from a float of 8 bits or less, by its bits.
struct ExpandExtension : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::ExtFOp op,
                                PatternRewriter &rewriter) const override {
    auto from = cast<FloatType>(getElementTypeOrSelf(op.getIn().getType()));
    auto to = cast<FloatType>(getElementTypeOrSelf(op.getType()));
    if (from.getWidth() > 8 || to.getWidth() <= 8)
      return rewriter.notifyMatchFailure(op, "not from 8 bits or less to more");
    if (!hasFixedSize(op.getType()))
      return rewriter.notifyMatchFailure(op, "not a scalar or a vector of fixed size");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value bits = arith::BitcastOp::create(
        b, withElementType(op.getType(), b.getIntegerType(from.getWidth())), op.getIn());
    Type i32 = withElementType(op.getType(), b.getI32Type());
    bits = arith::ExtUIOp::create(b, i32, bits);
    Value wide = isa<Float8E8M0FNUType>(from)
                     ? buildPowerOfTwo(b, bits)
                     : buildWide(b, bits, from.getFloatSemantics());
    Type f32 = withElementType(op.getType(), b.getF32Type());
    if (to.isBF16()) {
      // Nothing is in the lower half.
      Value upper = arith::ShRUIOp::create(b, wide, buildConstant(b, i32, 16));
      upper = arith::TruncIOp::create(b, withElementType(i32, b.getI16Type()), upper);
      rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), upper);
      return success();
    }
    Value result = arith::BitcastOp::create(b, f32, wide);
    if (to.getWidth() < 32)
      result = arith::TruncFOp::create(b, op.getType(), result);
    else if (!to.isF32())
      result = arith::ExtFOp::create(b, op.getType(), result);
    rewriter.replaceOp(op, result);
    return success();
  }

private:
  static constexpr int64_t kQuietNaN = 0x7fc00000;

  static Value buildCompare(ImplicitLocOpBuilder &b, arith::CmpIPredicate predicate,
                            Value lhs, int64_t rhs) {
    return arith::CmpIOp::create(b, predicate, lhs, buildConstant(b, lhs.getType(), rhs));
  }

  /// The bits of an f32 with the value of an E8M0. 2^-127, of code 0, is a subnormal.
  static Value buildPowerOfTwo(ImplicitLocOpBuilder &b, Value bits) {
    auto constant = [&](int64_t value) {
      return buildConstant(b, bits.getType(), value);
    };
    Value wide = arith::ShLIOp::create(b, bits, constant(23));
    Value isLeast = buildCompare(b, arith::CmpIPredicate::eq, bits, 0);
    wide = arith::SelectOp::create(b, isLeast, constant(0x00400000), wide);
    Value isNaN = buildCompare(b, arith::CmpIPredicate::eq, bits, 0xff);
    return arith::SelectOp::create(b, isNaN, constant(kQuietNaN), wide);
  }

  /// The bits of an f32 with the value of a float with a sign.
  static Value buildWide(ImplicitLocOpBuilder &b, Value bits,
                         const llvm::fltSemantics &semantics) {
    Type i32 = bits.getType();
    Type f32 = withElementType(i32, b.getF32Type());
    auto constant = [&](int64_t value) { return buildConstant(b, i32, value); };
    int64_t width = APFloat::semanticsSizeInBits(semantics);
    int64_t mantissaBits = APFloat::semanticsPrecision(semantics) - 1;
    int64_t leastExponent = APFloat::semanticsMinExponent(semantics);
    int64_t signBit = int64_t(1) << (width - 1);
    Value magnitude = arith::AndIOp::create(b, bits, constant(signBit - 1));

    // A normal value's exponent is rebiased; a subnormal one is a multiple of the least.
    Value shifted = arith::ShLIOp::create(b, magnitude, constant(23 - mantissaBits));
    Value normal =
        arith::AddIOp::create(b, shifted, constant((127 + leastExponent - 1) << 23));
    Value unit = arith::BitcastOp::create(
        b, f32, constant((127 + leastExponent - mantissaBits) << 23));
    Value subnormal = arith::BitcastOp::create(
        b, i32,
        arith::MulFOp::create(b, arith::UIToFPOp::create(b, f32, magnitude), unit));
    Value isSubnormal =
        buildCompare(b, arith::CmpIPredicate::ult, magnitude, int64_t(1) << mantissaBits);
    Value wide = arith::SelectOp::create(b, isSubnormal, subnormal, normal);

    auto codeOf = [](const APFloat &value) {
      return static_cast<int64_t>(value.bitcastToAPInt().getZExtValue());
    };
    Value isNaN;
    if (APFloat::semanticsHasInf(semantics)) {
      int64_t infinity = codeOf(APFloat::getInf(semantics));
      Value isInfinity = buildCompare(b, arith::CmpIPredicate::eq, magnitude, infinity);
      wide = arith::SelectOp::create(b, isInfinity, constant(0x7f800000), wide);
      isNaN = buildCompare(b, arith::CmpIPredicate::ugt, magnitude, infinity);
    } else if (APFloat::semanticsHasNaN(semantics)) {
      // All ones, or what would be -0.
      int64_t code = codeOf(APFloat::getQNaN(semantics));
      isNaN = buildCompare(b, arith::CmpIPredicate::eq,
                           code == signBit ? bits : magnitude, code);
    }
    if (isNaN)
      wide = arith::SelectOp::create(b, isNaN, constant(kQuietNaN), wide);
    Value sign = arith::AndIOp::create(b, bits, constant(signBit));
    sign = arith::ShLIOp::create(b, sign, constant(32 - width));
    return arith::OrIOp::create(b, wide, sign);
  }
};

/// Whether all targets of the GPU module `op`, which is compiled once for them all, do.
bool haveF8Conversion(Operation *op) {
  auto module = dyn_cast<gpu::GPUModuleOp>(op);
  if (!module || !module.getTargetsAttr() || module.getTargetsAttr().empty())
    return false;
  return llvm::all_of(module.getTargetsAttr(), [](Attribute attribute) {
    auto target = dyn_cast<NVVM::NVVMTargetAttr>(attribute);
    return target && llvm::any_of(getSupportedChips(), [&](const Chip &chip) {
             return chip.name == target.getChip() && chip.hasF8Conversion();
           });
  });
}

struct LegalizeF8Pass : mlir::moe::impl::MoeLegalizeF8Base<LegalizeF8Pass> {
  using MoeLegalizeF8Base::MoeLegalizeF8Base;

  void runOnOperation() override {
    bool hasHardwareConversion = haveF8Conversion(getOperation());
    if (!chip.empty()) {
      FailureOr<Chip> target = parseChip(chip, [&] {
        return emitError(getOperation()->getLoc()) << getArgument() << ": ";
      });
      if (failed(target))
        return signalPassFailure();
      hasHardwareConversion = target->hasF8Conversion();
    }
    RewritePatternSet patterns(&getContext());
    populateLegalizeF8Patterns(patterns, hasHardwareConversion);
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};

} // namespace

void mlir::moe::populateLegalizeF8Patterns(RewritePatternSet &patterns,
                                           bool hasHardwareConversion) {
  patterns.add<ExpandExtension>(patterns.getContext());
  if (hasHardwareConversion)
    patterns.add<ConvertPairs>(patterns.getContext());
  else
    patterns.add<ExpandConversion>(patterns.getContext());
}
