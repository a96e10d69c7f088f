//===- GroupArithmetic.cpp - The greatest magnitude of a group ------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Magnitudes on bits where floating point would depend on the target.
//
//===----------------------------------------------------------------------===//

#include "GroupArithmetic.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;

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

Value mlir::moe::buildScale(ImplicitLocOpBuilder &b, Value code, Type scaleType) {
  Type type = code.getType();
  Value byte = arith::TruncIOp::create(b, getTypeLike(type, b.getI8Type()), code);
  return arith::BitcastOp::create(b, getTypeLike(type, scaleType), byte);
}

Value mlir::moe::buildZeroScales(ImplicitLocOpBuilder &b, int64_t count, Type scaleType) {
  auto bytesType = VectorType::get(count, b.getI8Type());
  Value bytes = arith::ConstantOp::create(b, b.getZeroAttr(bytesType));
  return arith::BitcastOp::create(b, bytesType.clone(scaleType), bytes);
}
