//===- GatedUnit.cpp - Gated linear units ---------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The sequence of f32 operations that defines the logistic function, and what is made of
// it. Every op rounds once, to nearest even; subnormals are kept.
//
//===----------------------------------------------------------------------===//

#include "GatedUnit.h"

#include "Elementwise.h"

using namespace mlir;
using namespace mlir::moe;

/// 1 / (1 + 2^(n + f)), where n + f is -w * log2(e) and n the nearest integer to it. The
/// quotient of what is above 2^126 would be subnormal: it is 0.
Value mlir::moe::buildSigmoid(OpBuilder &builder, Location loc, Value w) {
  Elementwise e(builder, loc, w.getType());
  SplitExponent split = e.splitExponent(w, /*isNegated=*/true);
  Value p = e.fma(split.polynomial, split.fraction, e.f32(1));
  // p * 2^n
  Value bits =
      e.build<arith::AddIOp>(e.bitcast(builder.getI32Type(), p), split.exponentBits);
  Value d = e.add(e.f32(1), e.bitcast(builder.getF32Type(), bits));
  Value quotient = e.build<arith::DivFOp>(e.f32(1), d);
  Value isHuge = e.compare(arith::CmpFPredicate::OGT, d, e.f32Of(0x7e800000));
  return e.select(isHuge, e.f32(0), quotient);
}

Value mlir::moe::buildGatedUnit(OpBuilder &builder, Location loc, const GatedUnit &unit,
                                Value gate, Value up, Value prob) {
  Elementwise e(builder, loc, gate.getType());
  if (unit.limit) {
    Value most = e.bf16(*unit.limit);
    if (unit.limitAt == LimitAt::Before)
      gate = e.build<arith::MinimumFOp>(gate, most);
    up = e.build<arith::MinimumFOp>(up, most);
    up = e.build<arith::MaximumFOp>(up, e.bf16(-*unit.limit));
  }
  Value g = e.widen(gate);
  Value w;
  if (unit.activation == GateActivation::GeluTanh) {
    // gelu(g) = g * sigmoid(2 * sqrt(2 / pi) * (g + 0.044715 * g^3)), but for rounding.
    Value c0 = e.f32Of(0x3fcc422a), c1 = e.f32Of(0x3d922279);
    w = e.clampForSigmoid(e.mul(g, e.fma(c1, e.mul(g, g), c0)));
  } else if (unit.alpha != 1) {
    w = e.clampForSigmoid(e.mul(e.f32(unit.alpha), g));
  } else {
    // Both bounds are bf16 values.
    w = e.widen(e.clampForSigmoid(gate));
  }
  Value s = e.mul(g, buildSigmoid(builder, loc, w));
  if (unit.limit && unit.limitAt == LimitAt::After)
    s = e.build<arith::MinimumFOp>(s, e.f32(*unit.limit));
  Value t = e.widen(up);
  if (unit.beta != 0)
    t = e.add(t, e.f32(unit.beta));
  Value result = e.mul(s, t);
  return e.narrow(prob ? e.mul(result, prob) : result);
}
