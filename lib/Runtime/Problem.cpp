//===- Problem.cpp - An op with its operands, checked ---------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The checks that are the same on every device.
//
//===----------------------------------------------------------------------===//

#include "Problem.h"

#include "../Driver/Status.h"
#include "Span.h"
#include <algorithm>
#include <cinttypes>

using namespace moe;

/// The kernels count along a row, up to the end of its last chunk, in 32 bits.
static constexpr int64_t kMaxColumns = (int64_t(1) << 31) - 1024;

/// Whether there are 32 columns to a scale, or as many as there like to be.
static bool hasScales(const OpRow &op) {
  return op.operands[op.numOperands - 1].form == kScalesForm;
}

//===----------------------------------------------------------------------===//
// Sizes and strides
//===----------------------------------------------------------------------===//

/// Checks the sizes of `matrix` and gives a stride to what has no second row.
static MoeStatus makeMatrix(const OperandRow &row, const MoeMatrix &matrix,
                            Operand &operand) {
  const char *name = row.name;
  auto [data, rows, columns, stride] = matrix;
  if (rows < 0 || columns < 0)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected sizes that are not negative, found %" PRId64 " x %" PRId64,
                name, rows, columns);
  if (columns > kMaxColumns)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected at most %" PRId64 " columns, found %" PRId64, name,
                kMaxColumns, columns);
  if (rows <= 1 || columns == 0)
    stride = columns;
  if (stride < columns)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a row_stride of at least the %" PRId64
                " columns, found %" PRId64,
                name, columns, stride);
  int64_t bytes;
  if (__builtin_mul_overflow(rows, stride, &bytes) ||
      __builtin_mul_overflow(bytes, row.elementBytes, &bytes))
    return fail(MOE_INVALID_ARGUMENT,
                "%s: %" PRId64 " rows with a row_stride of %" PRId64
                " overflow a size of 64 bits",
                name, rows, stride);
  // Beyond what overflows there is no second row tile.
  operand = {
      &row, data, 2, rows, columns, stride, int64_t(kScaleTileRows * uint64_t(stride))};
  return MOE_SUCCESS;
}

MoeStatus moe::getScaleSize(int64_t rows, int64_t columns, MoeScaleLayout layout,
                            int64_t &bytes) {
  if (rows < 0 || columns < 0)
    return fail(MOE_INVALID_ARGUMENT,
                "expected sizes that are not negative, found M = %" PRId64
                " and K = %" PRId64,
                rows, columns);
  if (columns % kGroupSize != 0)
    return fail(MOE_INVALID_ARGUMENT,
                "expected K to be a multiple of %" PRId64 ", found %" PRId64, kGroupSize,
                columns);
  if (layout != MOE_SCALE_SWIZZLE_32_4_4 && layout != MOE_SCALE_LINEAR)
    return fail(MOE_INVALID_ARGUMENT,
                "scale layout: expected MOE_SCALE_SWIZZLE_32_4_4 or MOE_SCALE_LINEAR, "
                "found %d",
                int(layout));
  launch::CheckedArithmetic arithmetic;
  bytes = layout == MOE_SCALE_LINEAR
              ? arithmetic.mul(rows, columns / kGroupSize)
              : mlir::moe::getSwizzledScaleSize(arithmetic, rows, columns);
  if (arithmetic.overflows)
    return fail(MOE_INVALID_ARGUMENT,
                "the scales of %" PRId64 " x %" PRId64 " overflow a size of 64 bits",
                rows, columns);
  return MOE_SUCCESS;
}

/// Checks all of `scale` but its pointer.
static MoeStatus makeScales(const OperandRow &row, const MoeScale &scale,
                            const Problem &problem, Operand &operand) {
  int64_t rows = problem.rows, columns = problem.columns, groups = columns / kGroupSize;
  int64_t expected;
  if (MoeStatus status = getScaleSize(rows, columns, scale.layout, expected))
    return status;
  if (scale.dead != MOE_DEAD_ZERO && scale.dead != MOE_DEAD_UNTOUCHED)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected dead to be MOE_DEAD_ZERO or MOE_DEAD_UNTOUCHED, found %d",
                row.name, int(scale.dead));
  bool isLinear = scale.layout == MOE_SCALE_LINEAR;
  if (isLinear) {
    int64_t stride = scale.row_stride;
    if (stride == 0 || rows <= 1)
      stride = groups;
    if (stride < groups)
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected a row_stride of at least K / 32 = %" PRId64
                  ", found %" PRId64,
                  row.name, groups, stride);
    int64_t rowsBefore = rows == 0 ? 0 : rows - 1;
    if (__builtin_mul_overflow(rowsBefore, stride, &expected) ||
        __builtin_add_overflow(expected, rows == 0 ? 0 : groups, &expected))
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: %" PRId64 " rows with a row_stride of %" PRId64
                  " overflow a size of 64 bits",
                  row.name, rows, stride);
    operand = {&row,
               scale.data,
               2,
               rows,
               groups,
               stride,
               int64_t(kScaleTileRows * uint64_t(stride))};
  } else {
    launch::IntegerArithmetic arithmetic;
    operand = {&row,
               scale.data,
               1,
               scale.size,
               1,
               1,
               mlir::moe::getColumnTileCount(arithmetic, columns) * kScaleTileBytes};
  }
  if (scale.size != expected)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a size of %" PRId64 " bytes for the %s scales of %" PRId64
                " x %" PRId64 ", found %" PRId64,
                row.name, expected, isLinear ? "linear" : "swizzled", rows, columns,
                scale.size);
  return MOE_SUCCESS;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// Checks the address of an operand that has elements, and says which bytes they are.
static MoeStatus makeSpan(const Operand &operand, Span &span) {
  const char *name = operand.name();
  uint64_t bytes = uint64_t(operand.row->elementBytes);
  if (!operand.data)
    return fail(MOE_INVALID_ARGUMENT, "%s: expected a buffer, found a null pointer",
                name);
  span.begin = reinterpret_cast<uintptr_t>(operand.data);
  if (span.begin % bytes != 0)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected an address that is a multiple of %d, as its elements are, "
                "found %p",
                name, int(bytes), operand.data);
  uint64_t size;
  if (operand.rank == 2) {
    span.stride = bytes * uint64_t(operand.rowStride);
    span.width = bytes * uint64_t(operand.columns);
    size = uint64_t(operand.rows - 1) * span.stride + span.width;
  } else {
    span.stride = 0;
    span.width = size = bytes * uint64_t(operand.rows);
  }
  span.end = span.begin + size;
  if (span.end < span.begin)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a buffer below the last address, found one of %" PRIu64
                " bytes at %p",
                name, size, operand.data);
  return MOE_SUCCESS;
}

/// Checks the memory of a problem that has elements: no output may share a byte with
/// another operand.
static MoeStatus checkMemory(const Problem &problem) {
  Span spans[kMaxOperands];
  for (int i = 0; i < problem.numOperands; ++i)
    if (MoeStatus status = makeSpan(problem.operands[i], spans[i]))
      return status;
  for (int output = 0; output < problem.numOperands; ++output) {
    if (!problem.operands[output].row->isWritten)
      continue;
    for (int other = 0; other < output; ++other)
      if (overlap(spans[output], spans[other]))
        return fail(MOE_INVALID_ARGUMENT,
                    "%s: expected memory that does not overlap %s, found %#" PRIx64
                    " to %#" PRIx64 " and %#" PRIx64 " to %#" PRIx64,
                    problem.operands[output].name(), problem.operands[other].name(),
                    spans[output].begin, spans[output].end, spans[other].begin,
                    spans[other].end);
  }
  return MOE_SUCCESS;
}

//===----------------------------------------------------------------------===//
// The problem
//===----------------------------------------------------------------------===//

int moe::countArguments(const OpRow &op) {
  int count = 0;
  for (int i = 0; i < op.numOperands; ++i)
    count += op.operands[i].form != kWeightForm;
  return count;
}

static bool isMatrix(const OperandRow &row) {
  return row.form == kMatrixForm || row.form == kPairsForm;
}

/// Checks the sizes of the matrices, of which x is the first, against each other, and
/// fills in those of the problem.
static MoeStatus checkSizes(const OpRow &op, const MoeOptions &options,
                            const Operand *operands, Problem &problem) {
  const Operand &x = operands[0];
  bool hasPairs = x.row->form == kPairsForm;
  if (hasPairs) {
    int64_t block = op.module                                     ? op.pairBlock
                    : options.gate.layout == MOE_GATE_INTERLEAVED ? options.gate.block
                                                                  : launch::kHalves;
    block = std::max<int64_t>(block, 1);
    if (x.columns % 2 != 0 || x.columns / 2 % block != 0)
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected a multiple of %" PRIu64
                  " columns, for gates and as many others, found %" PRId64,
                  x.name(), 2 * uint64_t(block), x.columns);
  }
  int64_t parts = hasPairs ? 2 : 1;
  int64_t rows = problem.rows = x.rows, columns = problem.columns = x.columns / parts;
  for (int i = 1; i < op.numOperands; ++i)
    if (isMatrix(op.operands[i]) &&
        (operands[i].rows != rows || operands[i].columns != columns))
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected the %" PRId64 " x %" PRId64 " %s %s, found %" PRId64
                  " x %" PRId64,
                  operands[i].name(), rows, columns,
                  hasPairs ? "of the rows and half of the columns of" : "of", x.name(),
                  operands[i].rows, operands[i].columns);
  if (hasScales(op) && columns % kGroupSize != 0)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a multiple of %" PRId64 " columns, found %" PRId64,
                x.name(), parts * kGroupSize, x.columns);
  return MOE_SUCCESS;
}

MoeStatus moe::makeProblem(const OpRow &op, const void *const *arguments,
                           const MoeOptions &options, bool isOfModule, Problem &problem) {
  // For each operand of the op what there is for it.
  const void *given[kMaxOperands];
  const MoeScale *scale = nullptr;
  Operand operands[kMaxOperands];
  for (int i = 0; i < op.numOperands; ++i) {
    const OperandRow &row = op.operands[i];
    given[i] = row.form == kWeightForm ? options.probs : *arguments++;
    if (!given[i] && (isMatrix(row) || row.form == kScalesForm))
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected a description of the operand, found a null pointer",
                  row.name);
    if (row.form == kScalesForm)
      scale = static_cast<const MoeScale *>(given[i]);
  }
  for (int i = 0; i < op.numOperands; ++i)
    if (isMatrix(op.operands[i]))
      if (MoeStatus status = makeMatrix(
              op.operands[i], *static_cast<const MoeMatrix *>(given[i]), operands[i]))
        return status;
  if (MoeStatus status = checkOptions(options))
    return status;
  if (MoeStatus status = checkSizes(op, options, operands, problem))
    return status;
  for (int i = 0; i < op.numOperands; ++i) {
    const OperandRow &row = op.operands[i];
    void *data = const_cast<void *>(given[i]);
    if (row.form == kScalesForm) {
      if (MoeStatus status = makeScales(row, *scale, problem, operands[i]))
        return status;
    } else if (row.form == kPerRowForm || row.form == kWeightForm) {
      operands[i] = {&row, data, 1, problem.rows, 1, 1, kScaleTileRows};
    } else if (row.form == kCountForm) {
      operands[i] = {&row, data, 0, 1, 1, 1, 0};
    }
  }
  if (MoeStatus status = chooseKernel(op, given, options, scale, isOfModule,
                                      problem.request, problem.kernel))
    return status;
  problem.numOperands = 0;
  for (int i = 0; i < op.numOperands; ++i)
    if (problem.request.operands >> i & 1)
      problem.operands[problem.numOperands++] = operands[i];
  return problem.isEmpty() ? MOE_SUCCESS : checkMemory(problem);
}
