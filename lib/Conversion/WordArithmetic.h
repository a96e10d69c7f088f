//===- WordArithmetic.h - bf16 in words of two elements ---------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A CPU computes bf16 in f32. Widening a vector element by element and narrowing it again
// costs shuffles across registers; here a vector of bf16 is taken as one of 32-bit words
// of two elements each, and becomes two vectors of f32 by a shift and a mask.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_WORDARITHMETIC_H
#define MOE_LIB_CONVERSION_WORDARITHMETIC_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::moe {

/// The bits of a bf16 infinity: those of NaN are above.
inline constexpr int64_t kBF16Infinity = 0x7f80;

/// `type` if it is a vector of bf16 that can be taken as one of words, null if not.
VectorType getPairableType(Type type);

/// The elements of a vector at even and at odd places, two vectors of f32.
struct Halves {
  Value even;
  Value odd;
};

/// Builds integer arithmetic on the bits of vectors. Where `vector.bitcast` makes words
/// of elements, the target has to be little-endian.
class WordBuilder : public ImplicitLocOpBuilder {
public:
  using ImplicitLocOpBuilder::ImplicitLocOpBuilder;
  /// Builds where `b` does.
  explicit WordBuilder(const ImplicitLocOpBuilder &b) : ImplicitLocOpBuilder(b) {}

  /// `value` as a constant of `type`, an integer type or a vector of one.
  Value buildConstant(Type type, int64_t value);

  /// An operation with a constant.
  template <typename OpTy> Value build(Value lhs, int64_t rhs) {
    return OpTy::create(*this, lhs, buildConstant(lhs.getType(), rhs));
  }
  Value buildCompare(arith::CmpIPredicate predicate, Value lhs, int64_t rhs);

  /// `value`, a vector or a scalar, with elements of another type of the same width.
  Value buildBitcast(Value value, Type elementType);
  Value toF32(Value words) { return buildBitcast(words, getF32Type()); }
  Value toI32(Value floats) { return buildBitcast(floats, getI32Type()); }
  Value toI16(Value floats) { return buildBitcast(floats, getI16Type()); }

  /// A vector of 16-bit elements, each as the upper half of an f32.
  Halves buildSplit(Value elements);
  /// The upper halves of f32 as a vector of i16.
  Value buildPackUpper(Halves halves);
  /// The lower halves as a vector of i16.
  Value buildPackLower(Halves halves);

private:
  Value buildPack(Value lower, Value upper);
};

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_WORDARITHMETIC_H
