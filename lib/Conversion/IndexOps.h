//===- IndexOps.h - The rules of a launch as host code ----------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The arithmetic of ../Launch's rules that builds ops on indices, folding what is known.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_INDEXOPS_H
#define MOE_LIB_CONVERSION_INDEXOPS_H

#include "IndexArithmetic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

namespace mlir::moe {

class IndexOps {
public:
  using Value = mlir::Value;
  explicit IndexOps(ImplicitLocOpBuilder &b) : b(b) {}

  Value constant(int64_t value) { return buildIndex(b, value); }
  Value add(Value lhs, Value rhs) { return b.createOrFold<arith::AddIOp>(lhs, rhs); }
  Value sub(Value lhs, Value rhs) { return b.createOrFold<arith::SubIOp>(lhs, rhs); }
  Value mul(Value lhs, Value rhs) { return b.createOrFold<arith::MulIOp>(lhs, rhs); }
  Value div(Value lhs, Value rhs) { return b.createOrFold<arith::DivUIOp>(lhs, rhs); }
  Value ceilDiv(Value lhs, Value rhs) {
    return b.createOrFold<arith::CeilDivUIOp>(lhs, rhs);
  }
  Value ceilDivByPowerOfTwo(Value lhs, int64_t rhs) { return buildCeilDiv(b, lhs, rhs); }
  Value remainder(Value lhs, int64_t powerOfTwo) { return buildRem(b, lhs, powerOfTwo); }
  Value shiftRight(Value lhs, Value rhs) {
    return b.createOrFold<arith::ShRUIOp>(lhs, rhs);
  }
  Value bitOr(Value lhs, Value rhs) { return b.createOrFold<arith::OrIOp>(lhs, rhs); }
  Value min(Value lhs, Value rhs) { return b.createOrFold<arith::MinUIOp>(lhs, rhs); }
  Value max(Value lhs, Value rhs) { return b.createOrFold<arith::MaxUIOp>(lhs, rhs); }
  Value isLess(Value lhs, Value rhs) {
    return b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::ult, lhs, rhs);
  }
  Value select(Value condition, Value then, Value otherwise) {
    return b.createOrFold<arith::SelectOp>(condition, then, otherwise);
  }

private:
  ImplicitLocOpBuilder &b;
};

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_INDEXOPS_H
