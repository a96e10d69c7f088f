//===- GatedUnit.h - Gated linear units -------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// SwiGLU and its relatives, of one pair of elements or of two vectors of them: bf16 in,
// the same type out. Once for every target and every format.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_IR_GATEDUNIT_H
#define MOE_LIB_IR_GATEDUNIT_H

#include "moe/IR/Moe.h"
#include <optional>

namespace mlir::moe {

/// The parameters of a gated unit; the defaults are those of SwiGLU.
struct GatedUnit {
  GateActivation activation = GateActivation::Silu;
  float alpha = 1, beta = 0;
  std::optional<float> limit;
  LimitAt limitAt = LimitAt::Before;
};

/// The logistic function of `w`, f32 from -88 to 64, by the sequence that defines it.
Value buildSigmoid(OpBuilder &builder, Location loc, Value w);

/// `prob`, an f32, is a factor; null if there is none.
Value buildGatedUnit(OpBuilder &builder, Location loc, const GatedUnit &unit, Value gate,
                     Value up, Value prob);

} // namespace mlir::moe

#endif // MOE_LIB_IR_GATEDUNIT_H
