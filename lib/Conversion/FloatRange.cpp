//===- FloatRange.cpp - What floats are proven to lie between -------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rounding is monotone, so the bounds of a rounded result are the rounded bounds of the
// exact one. Three steps of an exponential in f32 are understood as wholes, as intervals
// alone would lose how their operands depend on each other: what is left of a number
// rounded to an integer, the product with a power of two that is an addition to the
// exponent, and k * (1 + x) - c as k * x + (k - c).
//
//===----------------------------------------------------------------------===//

#include "FloatRange.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/ADT/bit.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::moe;

using MaybeRange = std::optional<FloatRange>;

static constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// A number in the middle of those of which the unit in the last place is 1.
static constexpr float kMagic = 12582912; // 1.5 * 2^23
static constexpr float kLeastInteger = 8388608, kMostInteger = 16777215;
static constexpr int64_t kExponentShift = 23;

static bool isFloat(Value value) {
  Type type = getElementTypeOrSelf(value.getType());
  return type.isF32() || type.isBF16();
}

static std::optional<float> getNumber(Value value) {
  APFloat constant(0.0f);
  if (!matchPattern(value, m_ConstantFloat(&constant)) || constant.isNaN())
    return std::nullopt;
  return constant.convertToFloat();
}

static std::optional<int64_t> getInteger(Value value) {
  APInt constant;
  if (!matchPattern(value, m_ConstantInt(&constant)))
    return std::nullopt;
  return constant.getSExtValue();
}

static bool isFinite(FloatRange range) {
  return std::isfinite(range.least) && std::isfinite(range.most);
}

static bool hasZero(FloatRange range) { return range.least <= 0 && range.most >= 0; }

/// Of the results that a monotone function has at the corners; none if one is NaN.
static MaybeRange getHull(ArrayRef<float> corners) {
  FloatRange range = {kInfinity, -kInfinity};
  for (float corner : corners) {
    if (std::isnan(corner))
      return std::nullopt;
    range.least = std::min(range.least, corner);
    range.most = std::max(range.most, corner);
  }
  return range;
}

MaybeRange FloatRanges::get(Value value) {
  if (!isFloat(value))
    return std::nullopt;
  if (auto known = found.find(value); known != found.end())
    return known->second;
  MaybeRange range = find(value);
  found[value] = range;
  return range;
}

MaybeRange FloatRanges::find(Value value) {
  if (std::optional<float> constant = getNumber(value))
    return FloatRange{*constant, *constant};
  Operation *op = value.getDefiningOp();
  if (!op)
    return std::nullopt;
  return llvm::TypeSwitch<Operation *, MaybeRange>(op)
      .Case([&](arith::ExtFOp op) { return get(op.getIn()); })
      .Case<arith::MaxNumFOp, arith::MinNumFOp>([&](auto op) -> MaybeRange {
        // Of NaN and a number it is the number.
        MaybeRange lhs = get(op.getLhs()), rhs = get(op.getRhs());
        if (!lhs)
          std::swap(lhs, rhs);
        if (!lhs)
          return std::nullopt;
        FloatRange other = rhs.value_or(FloatRange{-kInfinity, kInfinity});
        if (isa<arith::MaxNumFOp>(op.getOperation()))
          return FloatRange{std::max(lhs->least, rhs ? rhs->least : lhs->least),
                            std::max(lhs->most, other.most)};
        return FloatRange{std::min(lhs->least, other.least),
                          std::min(lhs->most, rhs ? rhs->most : lhs->most)};
      })
      .Case<arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp>(
          [&](auto op) -> MaybeRange {
            Operation *operation = op;
            MaybeRange lhs = get(op.getLhs()), rhs = get(op.getRhs());
            if (!lhs || !rhs)
              return std::nullopt;
            // The NaN of 0 and infinity may lie between the corners.
            if (isa<arith::MulFOp>(operation) && ((!isFinite(*lhs) && hasZero(*rhs)) ||
                                                  (!isFinite(*rhs) && hasZero(*lhs))))
              return std::nullopt;
            if (isa<arith::DivFOp>(operation) && hasZero(*rhs))
              return std::nullopt;
            auto compute = [&](float l, float r) {
              if (isa<arith::AddFOp>(operation))
                return l + r;
              if (isa<arith::SubFOp>(operation))
                return l - r;
              return isa<arith::MulFOp>(operation) ? l * r : l / r;
            };
            return getHull(
                {compute(lhs->least, rhs->least), compute(lhs->least, rhs->most),
                 compute(lhs->most, rhs->least), compute(lhs->most, rhs->most)});
          })
      .Case([&](math::FmaOp op) -> MaybeRange {
        if (MaybeRange remainder = findRemainder(op.getA(), op.getB(), op.getC()))
          return remainder;
        if (MaybeRange difference = findScaledDifference(op))
          return difference;
        MaybeRange a = get(op.getA()), b = get(op.getB()), c = get(op.getC());
        if (!a || !b || !c || !isFinite(*a) || !isFinite(*b) || !isFinite(*c))
          return std::nullopt;
        SmallVector<float> corners;
        for (float x : {a->least, a->most})
          for (float y : {b->least, b->most})
            for (float z : {c->least, c->most})
              corners.push_back(std::fma(x, y, z));
        return getHull(corners);
      })
      .Case([&](arith::BitcastOp op) { return findPowerOfTwoMultiple(op.getIn()); })
      .Default(MaybeRange());
}

/// fma(x, y, -(z - magic)), where z is fma(x, y, magic): magic, which is large, makes an
/// integer of the product, and their difference is no more than one half.
MaybeRange FloatRanges::findRemainder(Value factor, Value other, Value addend) {
  Value z;
  if (auto sub = addend.getDefiningOp<arith::SubFOp>()) {
    if (getNumber(sub.getLhs()) == kMagic)
      z = sub.getRhs();
  } else if (auto neg = addend.getDefiningOp<arith::NegFOp>()) {
    sub = neg.getOperand().getDefiningOp<arith::SubFOp>();
    if (sub && getNumber(sub.getRhs()) == kMagic)
      z = sub.getLhs();
  }
  auto rounding = z ? z.getDefiningOp<math::FmaOp>() : math::FmaOp();
  if (!rounding || rounding.getA() != factor || rounding.getB() != other ||
      getNumber(rounding.getC()) != kMagic || !getElementTypeOrSelf(z.getType()).isF32())
    return std::nullopt;
  MaybeRange integer = get(z);
  if (!integer || integer->least < kLeastInteger || integer->most > kMostInteger)
    return std::nullopt;
  return FloatRange{-0.5f, 0.5f};
}

/// The bits of p + (the bits of z << 23), where z is an integer n and magic: p * 2^n, as
/// long as that is not subnormal and not infinite.
MaybeRange FloatRanges::findPowerOfTwoMultiple(Value bits) {
  auto add = bits.getDefiningOp<arith::AddIOp>();
  if (!add || !getElementTypeOrSelf(bits.getType()).isInteger(32))
    return std::nullopt;
  for (auto [lhs, rhs] :
       {std::pair(add.getLhs(), add.getRhs()), std::pair(add.getRhs(), add.getLhs())}) {
    auto pBits = lhs.getDefiningOp<arith::BitcastOp>();
    std::optional<int64_t> constant = getInteger(lhs);
    auto shift = rhs.getDefiningOp<arith::ShLIOp>();
    if ((!pBits && !constant) || !shift || getInteger(shift.getRhs()) != kExponentShift)
      continue;
    auto zBits = shift.getLhs().getDefiningOp<arith::BitcastOp>();
    if (!zBits)
      continue;
    MaybeRange p, z = get(zBits.getIn());
    if (pBits) {
      p = get(pBits.getIn());
    } else {
      auto value = llvm::bit_cast<float>(uint32_t(*constant));
      p = FloatRange{value, value};
    }
    if (!p || !z || p->least <= 0 || !std::isnormal(p->least) ||
        !std::isnormal(p->most) || z->least < kLeastInteger || z->most > kMostInteger)
      continue;
    int least = int(z->least - kMagic), most = int(z->most - kMagic);
    if (std::ilogb(p->least) + least < -126 || std::ilogb(p->most) + most > 127)
      continue;
    return FloatRange{std::ldexp(p->least, least), std::ldexp(p->most, most)};
  }
  return std::nullopt;
}

/// fma(x * k, y, k - c), where k is positive: k * (1 + x * y) - c, and what two roundings
/// before the last make of it.
MaybeRange FloatRanges::findScaledDifference(math::FmaOp op) {
  auto difference = op.getC().getDefiningOp<arith::SubFOp>();
  if (!difference || !getElementTypeOrSelf(op.getType()).isF32())
    return std::nullopt;
  Value k = difference.getLhs();
  std::optional<float> c = getNumber(difference.getRhs());
  MaybeRange ofK = get(k);
  if (!c || !(*c >= 0) || !ofK || !isFinite(*ofK) || !std::isnormal(ofK->least) ||
      ofK->least < 0)
    return std::nullopt;
  for (auto [scaled, y] : {std::pair(op.getA(), op.getB()), {op.getB(), op.getA()}}) {
    auto product = scaled.getDefiningOp<arith::MulFOp>();
    if (!product || (product.getLhs() != k && product.getRhs() != k))
      continue;
    MaybeRange ofX = get(product.getLhs() == k ? product.getRhs() : product.getLhs());
    MaybeRange ofY = get(y);
    if (!ofX || !ofY || !isFinite(*ofX) || !isFinite(*ofY))
      continue;
    double least = kInfinity, most = -kInfinity;
    for (double xOfHull : {ofX->least, ofX->most}) {
      for (double yOfHull : {ofY->least, ofY->most}) {
        least = std::min(least, xOfHull * yOfHull);
        most = std::max(most, xOfHull * yOfHull);
      }
    }
    // Relative to k, and of the constant, with room for what doubles round. A product
    // with k that is subnormal is off by less than that.
    constexpr double kError = 0x1p-22;
    double error = kError * (1 + std::max(std::abs(least), std::abs(most)));
    least += 1 - error;
    most += 1 + error;
    if (least <= 0 || ofK->least < 0x1p-60)
      continue;
    least = ofK->least * least - *c * (1 + kError);
    most = ofK->most * most - *c * (1 - kError);
    return FloatRange{std::nextafter(float(least), -kInfinity),
                      std::nextafter(float(most), kInfinity)};
  }
  return std::nullopt;
}
