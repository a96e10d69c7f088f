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

#include "Span.h"
#include "Status.h"
#include <cinttypes>

using namespace moe;

/// The kernels count along a row, up to the end of its last chunk, in 32 bits.
static constexpr int64_t kMaxColumns = (int64_t(1) << 31) - 1024;

int Problem::kernelIndex() const {
  if (!isQuantizing())
    return 0;
  return 1 + 4 * (op == Op::QuantizeMXFP8) + 2 * hasLinearScale() +
         hasUntouchedDeadScales();
}

static bool isAligned(const void *pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

/// Checks the sizes of `matrix` and gives a stride to what has no second row.
static MoeStatus checkSizes(const char *name, MoeMatrix &matrix, int64_t elementBytes) {
  if (matrix.rows < 0 || matrix.columns < 0)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected sizes that are not negative, found %" PRId64 " x %" PRId64,
                name, matrix.rows, matrix.columns);
  if (matrix.columns > kMaxColumns)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected at most %" PRId64 " columns, found %" PRId64, name,
                kMaxColumns, matrix.columns);
  if (matrix.rows <= 1 || matrix.columns == 0)
    matrix.row_stride = matrix.columns;
  if (matrix.row_stride < matrix.columns)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a row_stride of at least the %" PRId64
                " columns, found %" PRId64,
                name, matrix.columns, matrix.row_stride);
  int64_t bytes;
  if (__builtin_mul_overflow(matrix.rows, matrix.row_stride, &bytes) ||
      __builtin_mul_overflow(bytes, elementBytes, &bytes))
    return fail(MOE_INVALID_ARGUMENT,
                "%s: %" PRId64 " rows with a row_stride of %" PRId64
                " overflow a size of 64 bits",
                name, matrix.rows, matrix.row_stride);
  return MOE_SUCCESS;
}

static MoeStatus checkPointer(const char *name, const void *pointer, uintptr_t bytes) {
  if (!pointer)
    return fail(MOE_INVALID_ARGUMENT, "%s: expected a buffer, found a null pointer",
                name);
  if (!isAligned(pointer, bytes))
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected an address that is a multiple of %d, as its elements are, "
                "found %p",
                name, int(bytes), pointer);
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
  int64_t rowUnits = rows, rowBytes = columns / kGroupSize;
  bool overflows = false;
  if (layout == MOE_SCALE_SWIZZLE_32_4_4) {
    rowUnits = ceilDiv(rows, kScaleTileRows);
    // Of no rows there is nothing, however wide.
    overflows = __builtin_mul_overflow(ceilDiv(rowBytes, kScaleTileColumns),
                                       kScaleTileBytes, &rowBytes) &&
                rows > 0;
  }
  overflows |= __builtin_mul_overflow(rowUnits, rowBytes, &bytes);
  if (overflows)
    return fail(MOE_INVALID_ARGUMENT,
                "the scales of %" PRId64 " x %" PRId64 " overflow a size of 64 bits",
                rows, columns);
  return MOE_SUCCESS;
}

/// Checks all of `scale` but its pointer.
static MoeStatus checkScale(const Problem &problem, MoeScale &scale) {
  int64_t groups = problem.x.columns / kGroupSize;
  int64_t expected;
  if (MoeStatus status =
          getScaleSize(problem.x.rows, problem.x.columns, scale.layout, expected))
    return status;
  if (scale.dead != MOE_DEAD_ZERO && scale.dead != MOE_DEAD_UNTOUCHED)
    return fail(
        MOE_INVALID_ARGUMENT,
        "scale: expected dead to be MOE_DEAD_ZERO or MOE_DEAD_UNTOUCHED, found %d",
        int(scale.dead));
  if (scale.layout == MOE_SCALE_LINEAR) {
    if (scale.row_stride == 0 || problem.x.rows <= 1)
      scale.row_stride = groups;
    if (scale.row_stride < groups)
      return fail(MOE_INVALID_ARGUMENT,
                  "scale: expected a row_stride of at least K / 32 = %" PRId64
                  ", found %" PRId64,
                  groups, scale.row_stride);
    int64_t rowsBefore = problem.x.rows == 0 ? 0 : problem.x.rows - 1;
    if (__builtin_mul_overflow(rowsBefore, scale.row_stride, &expected) ||
        __builtin_add_overflow(expected, problem.x.rows == 0 ? 0 : groups, &expected))
      return fail(MOE_INVALID_ARGUMENT,
                  "scale: %" PRId64 " rows with a row_stride of %" PRId64
                  " overflow a size of 64 bits",
                  problem.x.rows, scale.row_stride);
  }
  if (scale.size != expected)
    return fail(MOE_INVALID_ARGUMENT,
                "scale: expected a size of %" PRId64
                " bytes for the %s scales of %" PRId64 " x %" PRId64 ", found %" PRId64,
                expected, scale.layout == MOE_SCALE_LINEAR ? "linear" : "swizzled",
                problem.x.rows, problem.x.columns, scale.size);
  return MOE_SUCCESS;
}

/// The rows of a matrix that has elements, `stride` and `width` in bytes, or fails if they
/// go past the last address.
static MoeStatus makeSpan(const char *name, const void *pointer, int64_t rows,
                          int64_t stride, int64_t width, Span &span) {
  uint64_t begin = reinterpret_cast<uintptr_t>(pointer);
  uint64_t bytes = uint64_t(rows - 1) * uint64_t(stride) + uint64_t(width);
  span = {begin, begin + bytes, uint64_t(stride), uint64_t(width)};
  if (span.end < begin)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a buffer below the last address, found one of %" PRIu64
                " bytes at %p",
                name, bytes, pointer);
  return MOE_SUCCESS;
}

/// Checks the pointers of a problem that has elements, and that no output shares a byte
/// with another operand.
static MoeStatus checkMemory(const Problem &problem) {
  bool isQuantizing = problem.isQuantizing();
  const char *outName = isQuantizing ? "data" : "out";
  int64_t outBytes = isQuantizing ? 1 : 2;
  const MoeMatrix &x = problem.x, &out = problem.out;
  const MoeScale &scale = problem.scale;
  bool isLinear = problem.hasLinearScale();
  struct {
    const char *name;
    const void *pointer;
    int64_t elementBytes, rows, stride, width;
  } operands[] = {
      {"x", x.data, 2, x.rows, 2 * x.row_stride, 2 * x.columns},
      {"permutation_map", problem.permutationMap, 4, 1, 0, 4 * x.rows},
      {"n_used", problem.nUsed, 4, 1, 0, 4},
      {outName, out.data, outBytes, out.rows, outBytes * out.row_stride,
       outBytes * out.columns},
      {"scale", scale.data, 1, isLinear ? x.rows : 1, scale.row_stride,
       isLinear ? x.columns / kGroupSize : scale.size},
  };
  constexpr int kFirstOutput = 3;
  int count = isQuantizing ? 5 : 4;
  Span spans[5];
  for (int i = 0; i < count; ++i) {
    auto [name, pointer, elementBytes, rows, stride, width] = operands[i];
    if (MoeStatus status = checkPointer(name, pointer, uintptr_t(elementBytes)))
      return status;
    if (MoeStatus status = makeSpan(name, pointer, rows, stride, width, spans[i]))
      return status;
  }
  for (int output = kFirstOutput; output < count; ++output)
    for (int other = 0; other < output; ++other)
      if (overlap(spans[output], spans[other]))
        return fail(MOE_INVALID_ARGUMENT,
                    "%s: expected memory that does not overlap %s, found %#" PRIx64
                    " to %#" PRIx64 " and %#" PRIx64 " to %#" PRIx64,
                    operands[output].name, operands[other].name, spans[output].begin,
                    spans[output].end, spans[other].begin, spans[other].end);
  return MOE_SUCCESS;
}

MoeStatus moe::makeProblem(Op op, const MoeMatrix *x, const int32_t *permutationMap,
                           const int32_t *nUsed, const MoeMatrix *out,
                           const MoeScale *scale, Problem &problem) {
  bool isQuantizing = op != Op::PaddedSquaredRelu;
  const char *outName = isQuantizing ? "data" : "out";
  if (!x || !out || (isQuantizing && !scale))
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a description of the operand, found a null pointer",
                !x     ? "x"
                : !out ? outName
                       : "scale");
  problem = {op, *x, permutationMap, nUsed, *out, isQuantizing ? *scale : MoeScale()};
  if (MoeStatus status = checkSizes("x", problem.x, 2))
    return status;
  if (MoeStatus status = checkSizes(outName, problem.out, isQuantizing ? 1 : 2))
    return status;
  if (out->rows != x->rows || out->columns != x->columns)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected the %" PRId64 " x %" PRId64 " of x, found %" PRId64
                " x %" PRId64,
                outName, x->rows, x->columns, out->rows, out->columns);
  if (isQuantizing) {
    if (x->columns % kGroupSize != 0)
      return fail(MOE_INVALID_ARGUMENT,
                  "x: expected a multiple of %" PRId64 " columns, found %" PRId64,
                  kGroupSize, x->columns);
    if (MoeStatus status = checkScale(problem, problem.scale))
      return status;
  }
  return problem.isEmpty() ? MOE_SUCCESS : checkMemory(problem);
}
