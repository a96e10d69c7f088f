//===- GroupWords.cpp - Groups on a CPU -----------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Maxima of several groups in one tree of signed integers, and the conversion of scaled
// elements from the upper halves of their f32 products.
//
//===----------------------------------------------------------------------===//

#include "GroupWords.h"

#include "WordArithmetic.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// Maxima
//===----------------------------------------------------------------------===//

/// What, added to the bits of a magnitude, makes it negative if it is NaN, and only then.
static constexpr int64_t kBias = 0x8000 - (kBF16Infinity + 1);

/// Maxima of the halves of `vector`, again and again down to `size` elements.
static Value buildFold(WordBuilder &b, Value vector, int64_t size) {
  int64_t half = cast<VectorType>(vector.getType()).getNumElements();
  while (half > size) {
    half /= 2;
    Value lower = vector::ExtractStridedSliceOp::create(b, vector, 0, half, 1);
    Value upper = vector::ExtractStridedSliceOp::create(b, vector, half, half, 1);
    vector = arith::MaxSIOp::create(b, lower, upper);
  }
  return vector;
}

/// Two vectors, in each of which element i is of source i % period, to one with twice
/// that period. Elements move within blocks of `block`.
static Value buildMerge(WordBuilder &b, Value lhs, Value rhs, int64_t period,
                        int64_t block) {
  int64_t size = cast<VectorType>(lhs.getType()).getNumElements();
  SmallVector<int64_t> lower, upper;
  for (int64_t begin = 0; begin < size; begin += block) {
    for (int64_t i = begin; i < begin + block / 2; i += period) {
      for (int64_t source : {int64_t(0), size}) {
        for (int64_t j = source + i; j < source + i + period; ++j) {
          lower.push_back(j);
          upper.push_back(j + block / 2);
        }
      }
    }
  }
  return arith::MaxSIOp::create(b, vector::ShuffleOp::create(b, lhs, rhs, lower),
                                vector::ShuffleOp::create(b, lhs, rhs, upper));
}

/// The maximum of each of `vectors` of signed integers, as a vector.
static Value buildMerged(WordBuilder &b, SmallVector<Value> vectors) {
  int64_t count = vectors.size();
  // Down to one register of SSE.
  for (Value &vector : vectors)
    vector = buildFold(b, vector, std::max<int64_t>(count, 8));
  // Each step halves the vectors. With `period` of them in one, element i is of vector
  // i % period.
  for (int64_t period = 1; period < count; period *= 2) {
    SmallVector<Value> merged;
    for (size_t i = 0; i < vectors.size(); i += 2)
      merged.push_back(buildMerge(b, vectors[i], vectors[i + 1], period, count));
    vectors = merged;
  }
  return buildFold(b, vectors[0], count);
}

Value mlir::moe::buildMagnitudeKeys(ImplicitLocOpBuilder &builder, Value group,
                                    bool isNonNegative) {
  WordBuilder b(builder);
  Value bits = b.toI16(group);
  if (isNonNegative)
    return bits;
  return b.build<arith::AddIOp>(b.build<arith::AndIOp>(bits, 0x7fff), kBias);
}

Value mlir::moe::buildGroupMaxima(ImplicitLocOpBuilder &builder, ArrayRef<Value> keys,
                                  bool isNonNegative) {
  WordBuilder b(builder);
  int64_t count = keys.size();
  int64_t size = cast<VectorType>(keys[0].getType()).getNumElements();
  auto buildUnbiased = [&](Value maxima) -> Value {
    if (isNonNegative)
      return maxima;
    Value zero = b.buildConstant(maxima.getType(), kBias);
    return arith::SubIOp::create(b, arith::MaxSIOp::create(b, maxima, zero), zero);
  };
  if (count > 1 && count <= size && llvm::isPowerOf2_64(count) &&
      llvm::isPowerOf2_64(size)) {
    Value maxima = buildMerged(b, SmallVector<Value>(keys));
    return b.buildBitcast(buildUnbiased(maxima), b.getBF16Type());
  }
  auto maxima = llvm::map_to_vector(keys, [&](Value group) {
    return buildUnbiased(
        vector::ReductionOp::create(b, vector::CombiningKind::MAXSI, group));
  });
  auto type = VectorType::get(count, b.getI16Type());
  return b.buildBitcast(vector::FromElementsOp::create(b, type, maxima), b.getBF16Type());
}

//===----------------------------------------------------------------------===//
// Conversion
//===----------------------------------------------------------------------===//

bool mlir::moe::isEncodable(Type type) {
  return isa<Float8E4M3FNType, Float8E5M2Type>(type);
}

Value mlir::moe::buildEncodedGroup(ImplicitLocOpBuilder &builder, Value group,
                                   Value factors, int64_t i, FloatType type,
                                   bool isNonNegative) {
  WordBuilder b(builder);
  const llvm::fltSemantics &semantics = type.getFloatSemantics();
  assert(isEncodable(type));
  int64_t mantissaBits = APFloat::semanticsPrecision(semantics) - 1;
  int64_t leastExponent = APFloat::semanticsMinExponent(semantics);
  int64_t bias = 1 - leastExponent;
  // From the places of bf16 to those of the type: of mantissas, and of exponents that
  // have changed their bias.
  int64_t shift = 7 - mantissaBits;
  int64_t rebias = (127 - bias) << 7;
  constexpr int64_t nan = 0x7f;

  Halves halves = b.buildSplit(group);
  Value sign;
  if (!isNonNegative)
    sign = b.build<arith::AndIOp>(b.build<arith::ShRUIOp>(b.toI16(group), 8), 0x80);
  auto floats = cast<VectorType>(halves.even.getType());
  // Widened with its neighbours a factor costs no more, and stays where a broadcast takes
  // it from.
  VectorType wideType = cast<VectorType>(factors.getType()).clone(b.getF32Type());
  Value wide = arith::ExtFOp::create(b, wideType, factors);
  Value factor =
      vector::BroadcastOp::create(b, floats, vector::ExtractOp::create(b, wide, i));
  // In the binade of `magic` an f32 has a unit in the last place of the least subnormal.
  float unit = std::ldexp(1.0f, leastExponent - mantissaBits + 23);
  Value magic = arith::ConstantOp::create(b, DenseElementsAttr::get(floats, unit));
  Halves sums;
  for (auto [half, sum] :
       {std::pair(&halves.even, &sums.even), std::pair(&halves.odd, &sums.odd)}) {
    if (sign)
      *half = b.toF32(b.build<arith::AndIOp>(b.toI32(*half), 0x7fffffff));
    *half = arith::MulFOp::create(b, *half, factor);
    *sum = arith::AddFOp::create(b, *half, magic);
  }
  // In f32 the product has nothing in its lower half (or is below all that matters), so
  // its upper half is all that has to be rounded.
  Value bits = b.buildPackUpper(halves);

  // Normal results: keep the upper bits of the mantissa, rounding to nearest even, and
  // rebias the exponent. What is not finite is all ones here.
  Value least = b.build<arith::MinUIOp>(bits, (nan << shift) + rebias);
  Value isOdd = b.build<arith::AndIOp>(b.build<arith::ShRUIOp>(least, shift), 1);
  Value rebiased = b.build<arith::AddIOp>(least, (1 << (shift - 1)) - 1 - rebias);
  Value normal =
      b.build<arith::ShRSIOp>(arith::AddIOp::create(b, rebiased, isOdd), shift);

  // Subnormal results are multiples of the least, and the addition rounded them. Of them
  // the rebiased bits make less, and normal ones are at least 2^mantissaBits.
  Value subnormal = b.build<arith::MinUIOp>(b.buildPackLower(sums), 1 << mantissaBits);
  Value result = arith::MaxSIOp::create(b, normal, subnormal);
  if (sign) {
    Value isNaN = b.buildCompare(arith::CmpIPredicate::eq, normal, nan);
    result = arith::OrIOp::create(b, result, sign);
    result = arith::SelectOp::create(b, isNaN, normal, result);
  }
  auto bytesType = cast<VectorType>(group.getType()).clone(b.getI8Type());
  Value bytes = arith::TruncIOp::create(b, bytesType, result);
  return b.buildBitcast(bytes, type);
}
