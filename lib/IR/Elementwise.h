//===- Elementwise.h - f32 arithmetic on scalars or vectors -----*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What activations are built of: operations on one element or on a vector of them, and
// the exponential that is the same to the bit on every target.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_IR_ELEMENTWISE_H
#define MOE_LIB_IR_ELEMENTWISE_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/bit.h"

namespace mlir::moe {

/// 2^(n + f) as (1 + f * q) * 2^n, n an integer and f at most one half.
struct SplitExponent {
  Value fraction;     // f
  Value polynomial;   // q
  Value exponentBits; // n * 2^23, an i32: added to the bits of a float, it multiplies by
                      // 2^n.
};

/// Builds on scalars, or on vectors of the shape of `like`.
class Elementwise {
public:
  Elementwise(OpBuilder &b, Location loc, Type like)
      : b(b), loc(loc), shape(dyn_cast<VectorType>(like)) {}

  Type getType(Type elementType) {
    return shape ? Type(shape.clone(elementType)) : elementType;
  }
  Value constant(TypedAttr value) {
    if (shape)
      value = DenseElementsAttr::get(shape.clone(value.getType()), Attribute(value));
    return arith::ConstantOp::create(b, loc, value);
  }
  Value f32(float value) { return constant(b.getF32FloatAttr(value)); }
  Value f32Of(uint32_t bits) { return f32(llvm::bit_cast<float>(bits)); }
  Value i32(int32_t value) { return constant(b.getI32IntegerAttr(value)); }
  Value bf16Of(uint16_t bits) {
    return constant(
        FloatAttr::get(b.getBF16Type(), APFloat(APFloat::BFloat(), APInt(16, bits))));
  }
  Value bf16(float value) { return constant(FloatAttr::get(b.getBF16Type(), value)); }

  template <typename OpTy> Value build(Value lhs, Value rhs) {
    return OpTy::create(b, loc, lhs, rhs);
  }
  Value add(Value lhs, Value rhs) { return build<arith::AddFOp>(lhs, rhs); }
  Value sub(Value lhs, Value rhs) { return build<arith::SubFOp>(lhs, rhs); }
  Value mul(Value lhs, Value rhs) { return build<arith::MulFOp>(lhs, rhs); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }
  Value bitcast(Type elementType, Value value) {
    return arith::BitcastOp::create(b, loc, getType(elementType), value);
  }
  Value widen(Value value) {
    return arith::ExtFOp::create(b, loc, getType(b.getF32Type()), value);
  }
  Value compare(arith::CmpFPredicate predicate, Value lhs, Value rhs) {
    return arith::CmpFOp::create(b, loc, predicate, lhs, rhs);
  }
  Value select(Value condition, Value then, Value otherwise) {
    return arith::SelectOp::create(b, loc, condition, then, otherwise);
  }

  /// From -88 to 64, the bounds for NaN too: beyond them the function is 0 or 1.
  Value clampForSigmoid(Value value) {
    auto bound = [&](float bound) {
      return getElementTypeOrSelf(value.getType()).isBF16() ? bf16(bound) : f32(bound);
    };
    value = build<arith::MaxNumFOp>(value, bound(-88));
    return build<arith::MinNumFOp>(value, bound(64));
  }

  /// To bf16, with the one NaN that the conversion of GPUs gives.
  Value narrow(Value value) {
    Value rounded = arith::TruncFOp::create(b, loc, getType(b.getBF16Type()), value);
    Value isNaN = compare(arith::CmpFPredicate::UNO, value, value);
    return select(isNaN, bf16Of(0x7fff), rounded);
  }

  /// Of 2^(x * log2(e)), or with `isNegated` of its inverse.
  SplitExponent splitExponent(Value x, bool isNegated) {
    // log2(e) in two parts. The first has 16 bits, so that its product with a bf16 is
    // exact.
    uint32_t sign = isNegated ? 0x80000000 : 0;
    Value high = f32Of(0x3fb8aa00 | sign), low = f32Of(0x36eca570 | sign);
    // 1.5 * 2^23: what is added to it is rounded to an integer, in its lowest bits.
    Value magic = f32(12582912);
    Value z = fma(x, high, magic);
    Value fraction = fma(x, high, sub(magic, z));
    fraction = fma(x, low, fraction);
    // 2^f = 1 + f * (C1 + f * (C2 + ...)).
    Value polynomial = f32Of(0x3920b5a8);
    for (uint32_t coefficient :
         {0x3aaf8417, 0x3c1d96f0, 0x3d6357be, 0x3e75fdee, 0x3f317218})
      polynomial = fma(polynomial, fraction, f32Of(coefficient));
    // All else of z is shifted out.
    Value exponentBits = build<arith::ShLIOp>(bitcast(b.getI32Type(), z), i32(23));
    return {fraction, polynomial, exponentBits};
  }

private:
  OpBuilder &b;
  Location loc;
  VectorType shape;
};

} // namespace mlir::moe

#endif // MOE_LIB_IR_ELEMENTWISE_H
