//===- Activations.cpp - The arithmetic of the activations ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What one fragment of a row becomes, once for every target. A new activation adds
// its `buildActivation` here.
//
//===----------------------------------------------------------------------===//

#include "moe/IR/Moe.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::moe;

/// relu(v)^2 in bf16. The square of a bf16 value is exact in f32, so one multiplication
/// that rounds to bf16 gives the bits of the f32 product rounded once.
static Value buildSquaredRelu(OpBuilder &builder, Location loc, Value fragment) {
  Value zero =
      arith::ConstantOp::create(builder, loc, builder.getZeroAttr(fragment.getType()));
  Value relu = arith::MaxNumFOp::create(builder, loc, fragment, zero);
  return arith::MulFOp::create(builder, loc, relu, relu);
}

Value PaddedSquaredReluOp::buildActivation(OpBuilder &builder, Location loc,
                                           Value fragment) {
  return buildSquaredRelu(builder, loc, fragment);
}

Value SquaredReluQuantizeMXFP8Op::buildActivation(OpBuilder &builder, Location loc,
                                                  Value fragment) {
  return buildSquaredRelu(builder, loc, fragment);
}

bool SquaredReluQuantizeMXFP8Op::hasNonNegativeActivation() { return true; }

Value QuantizeMXFP8Op::buildActivation(OpBuilder &, Location, Value fragment) {
  return fragment;
}

bool QuantizeMXFP8Op::hasNonNegativeActivation() { return false; }
