//===- UnpermuteArithmetic.cpp - The sum of a token's rows ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "UnpermuteArithmetic.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;

Value mlir::moe::buildWeightedSum(ImplicitLocOpBuilder &b, Value sum, Value part,
                                  Value prob) {
  Value term = arith::ExtFOp::create(b, sum.getType(), part);
  if (prob)
    term = arith::MulFOp::create(b, term,
                                 vector::BroadcastOp::create(b, sum.getType(), prob));
  return arith::AddFOp::create(b, sum, term);
}

Value mlir::moe::buildCanonicalNaN(ImplicitLocOpBuilder &b, Value vector) {
  auto type = cast<VectorType>(vector.getType());
  APFloat nan(APFloat::IEEEsingle(), APInt(32, 0x7fffffff));
  Value nans = arith::ConstantOp::create(b, DenseElementsAttr::get(type, nan));
  Value isNaN = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, vector, vector);
  return arith::SelectOp::create(b, isNaN, nans, vector);
}
