//===- LegalizeF8.cpp - Conversions to E4M3 for the target ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// arith.truncf from f32 or bf16 to f8E4M3FN has no lowering upstream:
// convert-arith-to-llvm leaves it as it is. Here it becomes the conversion instruction of
// the chip, or integer arithmetic that gives the same bytes.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
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

/// The conversions that both patterns take: f32 or bf16 to f8E4M3FN, scalar or vector of
/// rank 1.
static LogicalResult matchToE4M3(arith::TruncFOp op, PatternRewriter &rewriter) {
  Type from = getElementTypeOrSelf(op.getIn().getType());
  if (!isa<Float8E4M3FNType>(getElementTypeOrSelf(op.getType())) ||
      !(from.isF32() || from.isBF16()))
    return rewriter.notifyMatchFailure(op, "not f32 or bf16 to f8E4M3FN");
  if (auto vector = dyn_cast<VectorType>(op.getType()))
    if (vector.getRank() != 1 || vector.isScalable())
      return rewriter.notifyMatchFailure(op, "not a fixed-size vector of rank 1");
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

/// `value`, f32 or bf16, as f32.
static Value buildF32(ImplicitLocOpBuilder &b, Value value) {
  Type type = withElementType(value.getType(), b.getF32Type());
  return value.getType() == type ? value : arith::ExtFOp::create(b, type, value);
}

namespace {

/// cvt.rn.satfinite.e4m3x2.f32, a pair at a time.
struct ConvertPairs : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncFOp op,
                                PatternRewriter &rewriter) const override {
    if (failed(matchToE4M3(op, rewriter)))
      return failure();
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Type i8 = b.getI8Type();
    auto type = dyn_cast<VectorType>(op.getType());
    if (!type) {
      Value in = buildF32(b, op.getIn());
      Value pair = buildPair(b, in, in);
      Value byte = arith::TruncIOp::create(b, i8, pair);
      rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, op.getType(), byte);
      return success();
    }

    int64_t size = type.getNumElements();
    SmallVector<Value> elements = buildElements(b, op.getIn());
    SmallVector<Value> pairs;
    for (int64_t i = 0; i < size; i += 2) {
      // An odd last element is paired with itself.
      pairs.push_back(buildPair(b, elements[i], elements[std::min(i + 1, size - 1)]));
    }
    auto pairsType = VectorType::get(pairs.size(), b.getI16Type());
    Value packed = vector::FromElementsOp::create(b, pairsType, pairs);
    Value bytes =
        vector::BitCastOp::create(b, VectorType::get(2 * pairs.size(), i8), packed);
    if (size % 2 != 0) {
      SmallVector<Value> kept;
      for (int64_t i = 0; i < size; ++i)
        kept.push_back(vector::ExtractOp::create(b, bytes, i));
      bytes = vector::FromElementsOp::create(b, type.clone(i8), kept);
    }
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
  static Value buildPair(ImplicitLocOpBuilder &b, Value low, Value high) {
    MLIRContext *context = b.getContext();
    return NVVM::ConvertF32x2ToF8x2Op::create(
        b, b.getI16Type(), high, low,
        NVVM::FPRoundingModeAttr::get(context, NVVM::FPRoundingMode::RN),
        NVVM::SaturationModeAttr::get(context, NVVM::SaturationMode::SATFINITE),
        b.getBoolAttr(false), TypeAttr::get(Float8E4M3FNType::get(context)));
  }
};

/// The same conversion in integer arithmetic and one f32 addition.
struct ExpandConversion : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(arith::TruncFOp op,
                                PatternRewriter &rewriter) const override {
    if (failed(matchToE4M3(op, rewriter)))
      return failure();
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value in = buildF32(b, op.getIn());
    Type floatType = in.getType();
    Type intType = withElementType(floatType, b.getI32Type());
    auto constant = [&](int64_t value) -> Value {
      TypedAttr attr = b.getI32IntegerAttr(value);
      if (auto vector = dyn_cast<VectorType>(intType))
        attr = DenseElementsAttr::get(vector, Attribute(attr));
      return arith::ConstantOp::create(b, attr);
    };
    auto compare = [&](arith::CmpIPredicate predicate, Value lhs, int64_t rhs) -> Value {
      return arith::CmpIOp::create(b, predicate, lhs, constant(rhs));
    };

    Value bits = arith::BitcastOp::create(b, intType, in);
    Value magnitude = arith::AndIOp::create(b, bits, constant(0x7fffffff));

    // Normal results: keep 3 of 23 mantissa bits, rounding to nearest even, and rebias
    // the exponent from 127 to 7. What exceeds 448 (0x7e) saturates.
    Value odd = arith::AndIOp::create(
        b, arith::ShRUIOp::create(b, magnitude, constant(20)), constant(1));
    Value rounded = arith::AddIOp::create(
        b, arith::AddIOp::create(b, magnitude, constant(0x7ffff)), odd);
    Value normal = arith::SubIOp::create(
        b, arith::ShRUIOp::create(b, rounded, constant(20)), constant((127 - 7) << 3));
    normal = arith::MinSIOp::create(b, normal, constant(0x7e));

    // Subnormal results are multiples of 2^-9. In the binade of 2^14 an f32 has a unit in
    // the last place of 2^-9, so an addition does the rounding.
    Value magic = constant(0x46800000); // 2^14
    Value sum =
        arith::AddFOp::create(b, arith::BitcastOp::create(b, floatType, magnitude),
                              arith::BitcastOp::create(b, floatType, magic));
    Value subnormal =
        arith::SubIOp::create(b, arith::BitcastOp::create(b, intType, sum), magic);

    constexpr int64_t smallestNormal = 0x3c800000; // 2^-6
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

struct LegalizeF8Pass : moe::impl::MoeLegalizeF8Base<LegalizeF8Pass> {
  using MoeLegalizeF8Base::MoeLegalizeF8Base;

  void runOnOperation() override {
    bool hasHardwareConversion = false;
    if (!chip.empty()) {
      FailureOr<Chip> target = parseChip(chip, [&] {
        return emitError(getOperation()->getLoc()) << getArgument() << ": ";
      });
      if (failed(target))
        return signalPassFailure();
      hasHardwareConversion = target->hasE4M3Conversion();
    }
    RewritePatternSet patterns(&getContext());
    populateLegalizeF8Patterns(patterns, hasHardwareConversion);
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};

} // namespace

void mlir::moe::populateLegalizeF8Patterns(RewritePatternSet &patterns,
                                           bool hasHardwareConversion) {
  if (hasHardwareConversion)
    patterns.add<ConvertPairs>(patterns.getContext());
  else
    patterns.add<ExpandConversion>(patterns.getContext());
}
