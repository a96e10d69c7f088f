//===- Activations.cpp - The named ops and their activations --------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The arithmetic of the activations of the named ops: each a function that computes one
// element, or a vector of them, bf16 in, the same type out, once for every target and
// every format. MoeOps.td says which op has which, and all else of the ops.
//
//===----------------------------------------------------------------------===//

#include "moe/IR/Moe.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::moe;

/// relu(v)^2. The square of a bf16 value is exact in f32, so one multiplication that
/// rounds to bf16 gives the bits of the f32 product rounded once.
static Value buildSquaredRelu(OpBuilder &builder, Location loc, Value elements) {
  Value zero =
      arith::ConstantOp::create(builder, loc, builder.getZeroAttr(elements.getType()));
  Value relu = arith::MaxNumFOp::create(builder, loc, elements, zero);
  return arith::MulFOp::create(builder, loc, relu, relu);
}

#define GET_OP_CLASSES
#include "moe/IR/MoeOps.cpp.inc"
