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

#include "../Launch/IntegerArithmetic.h"
#include "KernelChoice.h"
#include "moe-c/Runtime.h"
#include "moe/IR/ScaleLayout.h"

namespace moe {

using mlir::moe::kGroupSize;
using mlir::moe::kScaleTileBytes;
using mlir::moe::kScaleTileRows;

inline int64_t ceilDiv(int64_t value, int64_t divisor) {
  return launch::IntegerArithmetic::ceilDiv(value, divisor);
}

/// Whether it is passed as it is, not in memory.
inline bool isValue(const OperandRow &row) {
  return row.form == kValueForm || row.form == kAlignmentForm;
}

/// The memory of an operand, or a value. All in elements.
struct Operand {
  const OperandRow *row;
  int elementBytes;
  /// Of a value, where it is on the host.
  void *data;
  /// 0 for one value, 1 for `rows` consecutive ones, 2 for rows.
  int rank;
  int64_t rows, columns, rowStride;
  /// Of the 128 rows that share scale tiles.
  int64_t rowTileElements;

  const char *name() const { return row->name; }
  void *at(int64_t element) const {
    return static_cast<char *>(data) + element * elementBytes;
  }
  bool isValue() const { return moe::isValue(*row); }
};

/// A kernel with its operands.
struct Problem {
  KernelRequest request;
  /// Index into kKernels, or kOfModule.
  int kernel;
  /// Of the destination; of several, the first.
  int64_t rows, columns;
  /// Whether there is nothing to write.
  bool isEmpty;
  /// Those that the kernel takes, in the order of the op.
  int numOperands;
  Operand operands[kMaxOperands];
};

/// What all operands that are written have for their rows, so that a part of them may be
/// done without the rest.
Extent getSharedExtent(const OpRow &op);

/// Fills `problem`, with strides that matter to nobody set to the row's length, from what
/// the caller gave for each operand but weights; see OperandForm. `isOfModule`: not one
/// of the library's kernels is to be launched, but a module's.
MoeStatus makeProblem(const OpRow &op, const void *const *arguments,
                      const MoeOptions &options, bool isOfModule, Problem &problem);

/// How many operands a caller gives.
int countArguments(const OpRow &op);

MoeStatus getScaleSize(int64_t rows, int64_t columns, MoeScaleLayout layout,
                       int64_t &bytes);

} // namespace moe

#endif // MOE_LIB_RUNTIME_PROBLEM_H
