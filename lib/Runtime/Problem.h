//===- Problem.h - An op with its operands, checked -------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a launch is asked to do, independent of where it runs.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_PROBLEM_H
#define MOE_LIB_RUNTIME_PROBLEM_H

#include "moe-c/Runtime.h"

namespace moe {

enum class Op { PaddedSquaredRelu, SquaredReluQuantizeMXFP8, QuantizeMXFP8 };

constexpr int64_t kGroupSize = 32;
constexpr int64_t kScaleTileRows = 128;
constexpr int64_t kScaleTileColumns = 4;
constexpr int64_t kScaleTileBytes = kScaleTileRows * kScaleTileColumns;

/// Overflow-free for every `value` >= 0, unlike (value + divisor - 1) / divisor.
constexpr int64_t ceilDiv(int64_t value, int64_t divisor) {
  return value / divisor + (value % divisor != 0);
}

/// An op with its operands.
struct Problem {
  Op op;
  MoeMatrix x;
  const int32_t *permutationMap;
  const int32_t *nUsed;
  /// out or data.
  MoeMatrix out;
  /// All zeros for an op without scales.
  MoeScale scale;

  bool isQuantizing() const { return op != Op::PaddedSquaredRelu; }
  bool isEmpty() const { return x.rows == 0 || x.columns == 0; }
  bool hasLinearScale() const {
    return isQuantizing() && scale.layout == MOE_SCALE_LINEAR;
  }
  bool hasUntouchedDeadScales() const {
    return isQuantizing() && scale.dead == MOE_DEAD_UNTOUCHED;
  }
  int64_t columnTiles() const {
    return ceilDiv(x.columns, kGroupSize * kScaleTileColumns);
  }
  /// Which of kKernelNames is for this.
  int kernelIndex() const;
};

/// Fills `problem`, with strides that matter to nobody set to the row's length. `out` is
/// data and `scale` not null for an op with scales.
MoeStatus makeProblem(Op op, const MoeMatrix *x, const int32_t *permutationMap,
                      const int32_t *nUsed, const MoeMatrix *out, const MoeScale *scale,
                      Problem &problem);

MoeStatus getScaleSize(int64_t rows, int64_t columns, MoeScaleLayout layout,
                       int64_t &bytes);

} // namespace moe

#endif // MOE_LIB_RUNTIME_PROBLEM_H
