//===- MXFP8Arithmetic.cpp - The arithmetic of MXFP8 quantisation ---------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The quantisation steps of the dialect's description, as integer arithmetic on bits
// where floating point would round or depend on the target.
//
//===----------------------------------------------------------------------===//

#include "MXFP8Arithmetic.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;

/// `value` as an i32, or as a vector of them shaped like `like`.
static Value buildI32(ImplicitLocOpBuilder &b, int64_t value, Type like) {
  TypedAttr attribute = b.getI32IntegerAttr(value);
  if (auto vector = dyn_cast<VectorType>(like))
    attribute =
        DenseElementsAttr::get(vector.clone(b.getI32Type()), Attribute(attribute));
  return arith::ConstantOp::create(b, attribute);
}

/// `elementType`, or a vector of it shaped like `like`.
static Type getTypeLike(Type like, Type elementType) {
  if (auto vector = dyn_cast<VectorType>(like))
    return vector.clone(elementType);
  return elementType;
}

/// Clears the sign bits. On integers, because math.absf of bf16 becomes a library call on
/// the way to PTX.
static Value buildMagnitude(ImplicitLocOpBuilder &b, Value fragment) {
  auto type = cast<VectorType>(fragment.getType());
  VectorType bitsType = type.clone(b.getI16Type());
  Value bits = arith::BitcastOp::create(b, bitsType, fragment);
  Value mask = arith::ConstantOp::create(
      b, DenseElementsAttr::get(bitsType, b.getI16IntegerAttr(0x7fff)));
  return arith::BitcastOp::create(b, type, arith::AndIOp::create(b, bits, mask));
}

Value mlir::moe::buildFragmentMaximum(ImplicitLocOpBuilder &b, Value fragment,
                                      bool isNonNegative) {
  if (isNonNegative)
    return vector::ReductionOp::create(b, vector::CombiningKind::MAXNUMF, fragment);
  // Starting from 0 filters NaN out: maxnum(NaN, 0) is 0.
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(b.getBF16Type()));
  return vector::ReductionOp::create(b, vector::CombiningKind::MAXNUMF,
                                     buildMagnitude(b, fragment), zero);
}

Value mlir::moe::buildFragmentMaxima(ImplicitLocOpBuilder &b, Value first, Value second,
                                     bool isNonNegative) {
  if (!isNonNegative) {
    first = buildMagnitude(b, first);
    second = buildMagnitude(b, second);
  }
  auto maximum = [&](Value lhs, Value rhs, ArrayRef<int64_t> firsts,
                     ArrayRef<int64_t> seconds) -> Value {
    return arith::MaxNumFOp::create(b, vector::ShuffleOp::create(b, lhs, rhs, firsts),
                                    vector::ShuffleOp::create(b, lhs, rhs, seconds));
  };
  // The halves of each, and halves of halves, as vectors, down to a pair.
  int64_t size = cast<VectorType>(first.getType()).getNumElements();
  for (; size > 2; size /= 2) {
    auto places = llvm::to_vector(llvm::seq(size));
    auto [lower, upper] = std::pair(ArrayRef(places).take_front(size / 2),
                                    ArrayRef(places).take_back(size / 2));
    first = maximum(first, first, lower, upper);
    second = maximum(second, second, lower, upper);
  }
  Value maxima =
      size == 1 ? vector::ShuffleOp::create(b, first, second, ArrayRef<int64_t>{0, 1})
                : maximum(first, second, {0, 2}, {1, 3});
  if (isNonNegative)
    return maxima;
  // maxnum(NaN, 0) is 0.
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(maxima.getType()));
  return arith::MaxNumFOp::create(b, maxima, zero);
}

Value mlir::moe::buildScaleExponent(ImplicitLocOpBuilder &b, Value maximum) {
  Type type = maximum.getType();
  auto constant = [&](int64_t value) { return buildI32(b, value, type); };
  Value bits16 = arith::BitcastOp::create(b, getTypeLike(type, b.getI16Type()), maximum);
  Value bits = arith::ExtUIOp::create(b, getTypeLike(type, b.getI32Type()), bits16);
  // 127 + ceil(log2(m / 448)), as 448 is 1.75 * 2^8: a mantissa above 1.75 (0x60 of 0x7f)
  // carries into the exponent field.
  Value carried = arith::AddIOp::create(b, bits, constant(0x1f));
  Value field = arith::ShRUIOp::create(b, carried, constant(7));
  Value exponent = arith::SubIOp::create(b, field, constant(8));
  exponent = arith::MaxSIOp::create(b, exponent, constant(1));

  auto equals = [&](int64_t value) -> Value {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, bits, constant(value));
  };
  exponent = arith::SelectOp::create(b, equals(0x7f80), constant(255), exponent);
  return arith::SelectOp::create(b, equals(0), constant(0), exponent);
}

Value mlir::moe::buildScaleFactor(ImplicitLocOpBuilder &b, Value exponent) {
  Type type = exponent.getType();
  Value field = arith::SubIOp::create(b, buildI32(b, 254, type), exponent);
  field = arith::MaxSIOp::create(b, field, buildI32(b, 0, type));
  Value bits = arith::ShLIOp::create(b, field, buildI32(b, 7, type));
  Value bits16 = arith::TruncIOp::create(b, getTypeLike(type, b.getI16Type()), bits);
  return arith::BitcastOp::create(b, getTypeLike(type, b.getBF16Type()), bits16);
}

Value mlir::moe::buildQuantizedFragment(ImplicitLocOpBuilder &b, Value fragment,
                                        Value factor) {
  auto type = cast<VectorType>(fragment.getType());
  Value factors = vector::BroadcastOp::create(b, type, factor);
  Value scaled = arith::MulFOp::create(b, fragment, factors);
  VectorType dataType = type.clone(Float8E4M3FNType::get(b.getContext()));
  return arith::TruncFOp::create(b, dataType, scaled);
}

Value mlir::moe::buildScale(ImplicitLocOpBuilder &b, Value exponent) {
  Type type = exponent.getType();
  Value byte = arith::TruncIOp::create(b, getTypeLike(type, b.getI8Type()), exponent);
  return arith::BitcastOp::create(
      b, getTypeLike(type, Float8E8M0FNUType::get(b.getContext())), byte);
}

Value mlir::moe::buildZeroScales(ImplicitLocOpBuilder &b, int64_t count) {
  auto bytesType = VectorType::get(count, b.getI8Type());
  Value bytes = arith::ConstantOp::create(b, b.getZeroAttr(bytesType));
  return arith::BitcastOp::create(
      b, bytesType.clone(Float8E8M0FNUType::get(b.getContext())), bytes);
}
