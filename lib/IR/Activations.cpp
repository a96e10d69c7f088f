//===- Activations.cpp - The arithmetic of the activations ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The activations of the named ops. A new one is a function here.
//
//===----------------------------------------------------------------------===//

#include "Activations.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

/// The square of a bf16 value is exact in f32, so one multiplication that rounds to bf16
/// gives the bits of the f32 product rounded once.
Value mlir::moe::buildSquaredRelu(OpBuilder &builder, Location loc, Value elements) {
  Value zero =
      arith::ConstantOp::create(builder, loc, builder.getZeroAttr(elements.getType()));
  Value relu = arith::MaxNumFOp::create(builder, loc, elements, zero);
  return arith::MulFOp::create(builder, loc, relu, relu);
}
