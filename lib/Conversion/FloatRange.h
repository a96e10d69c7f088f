//===- FloatRange.h - What floats are proven to lie between -----*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Bounds of f32 values, of every element of a vector, from the ops that they come of.
// Where nothing is proven there is no range.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_FLOATRANGE_H
#define MOE_LIB_CONVERSION_FLOATRANGE_H

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include <optional>

namespace mlir::moe {

/// From `least` to `most`, which may be infinite. No NaN.
struct FloatRange {
  float least, most;
};

/// Remembers what it has found; ops must not change meanwhile.
class FloatRanges {
public:
  /// Of a bf16 or f32, or a vector of them.
  std::optional<FloatRange> get(Value value);

private:
  std::optional<FloatRange> find(Value value);
  std::optional<FloatRange> findRemainder(Value factor, Value other, Value addend);
  std::optional<FloatRange> findPowerOfTwoMultiple(Value bits);
  std::optional<FloatRange> findScaledDifference(math::FmaOp op);

  DenseMap<Value, std::optional<FloatRange>> found;
};

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_FLOATRANGE_H
