//===- MoeOps.cpp - The named ops of the moe dialect ----------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What each named op is: an activation, from Activations.h, and a format.
//
//===----------------------------------------------------------------------===//

#include "Activations.h"
#include "moe/IR/Moe.h"

#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// PaddedSquaredReluOp
//===----------------------------------------------------------------------===//

FormatAttrInterface PaddedSquaredReluOp::getFormat() {
  return BF16Attr::get(getContext());
}

StringRef PaddedSquaredReluOp::getActivationName() { return "squared_relu"; }

Value PaddedSquaredReluOp::buildActivation(OpBuilder &builder, Location loc,
                                           Value elements) {
  return buildSquaredRelu(builder, loc, elements);
}

//===----------------------------------------------------------------------===//
// QuantizeMXFP8Op
//===----------------------------------------------------------------------===//

FormatAttrInterface QuantizeMXFP8Op::getFormat() {
  return MXFP8Attr::get(getContext(), getScaleLayout(), getDeadScales());
}

bool QuantizeMXFP8Op::isIdentity() { return true; }

Value QuantizeMXFP8Op::buildActivation(OpBuilder &, Location, Value elements) {
  return elements;
}

//===----------------------------------------------------------------------===//
// SquaredReluQuantizeMXFP8Op
//===----------------------------------------------------------------------===//

FormatAttrInterface SquaredReluQuantizeMXFP8Op::getFormat() {
  return MXFP8Attr::get(getContext(), getScaleLayout(), getDeadScales());
}

Value SquaredReluQuantizeMXFP8Op::buildActivation(OpBuilder &builder, Location loc,
                                                  Value elements) {
  return buildSquaredRelu(builder, loc, elements);
}

#define GET_OP_CLASSES
#include "moe/IR/MoeOps.cpp.inc"
