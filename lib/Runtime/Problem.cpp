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

/// The kernels keep a number for each expert in a CTA's shared memory.
static constexpr int64_t kMaxExperts = 2048;
/// The numbers of rows that kernels write are of 32 bits.
static constexpr int64_t kMaxRoutedRows = (int64_t(1) << 31) - 1;

/// Whether there are 32 columns to a scale, or as many as there like to be.
static bool hasScales(const OpRow &op) {
  return op.operands[op.numOperands - 1].form == kScalesForm;
}

//===----------------------------------------------------------------------===//
// Sizes and strides
//===----------------------------------------------------------------------===//

/// Checks the sizes of `matrix` and gives a stride to what has no second row.
static MoeStatus makeMatrix(const OperandRow &row, const MoeMatrix &matrix,
                            int elementBytes, Operand &operand) {
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
      __builtin_mul_overflow(bytes, elementBytes, &bytes))
    return fail(MOE_INVALID_ARGUMENT,
                "%s: %" PRId64 " rows with a row_stride of %" PRId64
                " overflow a size of 64 bits",
                name, rows, stride);
  // Beyond what overflows there is no second row tile.
  operand = {&row, elementBytes, data,   2,
             rows, columns,      stride, int64_t(kScaleTileRows * uint64_t(stride))};
  return MOE_SUCCESS;
}

/// What has no rows, of `size` elements.
static Operand makeVector(const OperandRow &row, void *data, int64_t size) {
  return {&row, row.elementBytes, data, 1, size, 1, 1, kScaleTileRows};
}

static MoeStatus makeSizedVector(const OperandRow &row, const MoeVector &vector,
                                 Operand &operand) {
  int64_t bytes;
  if (vector.size < 0 ||
      __builtin_mul_overflow(vector.size, int64_t(row.elementBytes), &bytes))
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a size that is not negative and of 64 bits in bytes, found "
                "%" PRId64,
                row.name, vector.size);
  operand = makeVector(row, vector.data, vector.size);
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
static MoeStatus makeScales(const OperandRow &row, const MoeScale &scale, int64_t rows,
                            int64_t columns, Operand &operand) {
  int64_t groups = columns / kGroupSize;
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
    operand = {
        &row, row.elementBytes, scale.data, 2,
        rows, groups,           stride,     int64_t(kScaleTileRows * uint64_t(stride))};
  } else {
    launch::IntegerArithmetic arithmetic;
    operand = {
        &row,       row.elementBytes,
        scale.data, 1,
        scale.size, 1,
        1,          mlir::moe::getColumnTileCount(arithmetic, columns) * kScaleTileBytes};
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

static bool hasElements(const Operand &operand) {
  return operand.rows != 0 && operand.columns != 0;
}

/// Checks the address of an operand, and says which bytes it has. One without elements
/// has none, and overlaps nothing.
static MoeStatus makeSpan(const Operand &operand, Span &span) {
  span = {};
  if (!hasElements(operand) || operand.isValue())
    return MOE_SUCCESS;
  const char *name = operand.name();
  uint64_t bytes = uint64_t(operand.elementBytes);
  if (!operand.data)
    return fail(MOE_INVALID_ARGUMENT, "%s: expected a buffer, found a null pointer",
                name);
  span.begin = reinterpret_cast<uintptr_t>(operand.data);
  // Hardly ever a division, which takes as long as all of this.
  bool isPowerOfTwo = (bytes & (bytes - 1)) == 0;
  if ((isPowerOfTwo ? span.begin & (bytes - 1) : span.begin % bytes) != 0)
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

/// Whether a caller gives its size.
static bool isSized(const OperandRow &row) {
  return row.form == kMatrixForm || row.form == kPairsForm || row.form == kIndicesForm ||
         row.form == kSizedVectorForm;
}

namespace {

/// The sizes that operands have in common, each with the operand that it is from.
struct Sizes {
  int64_t values[kNumExtents];
  const Operand *from[kNumExtents];

  int64_t operator[](Extent extent) const { return values[extent]; }
};

} // namespace

/// Notes the sizes of an operand that are not known yet, and compares the others.
static MoeStatus addSizes(const Operand &operand, int64_t parts, Sizes &sizes) {
  const OperandRow &row = *operand.row;
  int64_t found[2] = {operand.rows, operand.columns};
  if (row.form == kPairsForm)
    found[1] /= parts;
  const Operand *known[2] = {};
  bool isOther = false;
  for (int i : {0, 1}) {
    Extent extent = row.extents[i];
    if (extent == kNoExtent)
      continue;
    known[i] = sizes.from[extent];
    isOther |= known[i] && sizes[extent] != found[i];
    if (!known[i]) {
      sizes.values[extent] = found[i];
      sizes.from[extent] = &operand;
    }
  }
  if (!isOther)
    return MOE_SUCCESS;
  // Of one operand, both.
  if (known[0] == known[1]) {
    bool hasParts = known[0]->row->form == kPairsForm;
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected the %" PRId64 " x %" PRId64 " %s %s, found %" PRId64
                " x %" PRId64,
                row.name, sizes[row.extents[0]], sizes[row.extents[1]],
                hasParts ? "of the rows and half of the columns of" : "of",
                known[0]->name(), found[0], found[1]);
  }
  int i = known[0] && sizes[row.extents[0]] != found[0] ? 0 : 1;
  bool isRows = known[i]->row->extents[0] == row.extents[i];
  return fail(MOE_INVALID_ARGUMENT,
              "%s: expected %" PRId64 " %s, as many as %s has %s, found %" PRId64,
              row.name, sizes[row.extents[i]],
              operand.rank == 1 ? "elements"
              : i == 0          ? "rows"
                                : "columns",
              known[i]->name(),
              known[i]->rank == 1 ? "elements"
              : isRows            ? "rows"
                                  : "columns",
              found[i]);
}

/// Checks the sizes that callers give against each other. `sized` are the operands that
/// have some.
static MoeStatus checkSizes(const OpRow &op, const MoeOptions &options, const int *sized,
                            int numSized, const Operand *operands, Sizes &sizes) {
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
  for (int i = 0; i < numSized; ++i)
    if (MoeStatus status = addSizes(operands[sized[i]], parts, sizes))
      return status;
  if (hasScales(op) && sizes[kColumnsExtent] % kGroupSize != 0)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected a multiple of %" PRId64 " columns, found %" PRId64,
                x.name(), parts * kGroupSize, x.columns);
  return MOE_SUCCESS;
}

/// Checks what an op that gives rows to experts asks of its sizes, which `alignment` is
/// an operand of.
static MoeStatus checkRouting(const Sizes &sizes, const Operand &alignment) {
  int32_t value = *static_cast<const int32_t *>(alignment.data);
  if (value < 1)
    return fail(MOE_INVALID_ARGUMENT, "%s: expected at least 1, found %" PRId32,
                alignment.name(), value);
  int64_t experts = sizes[kExpertsExtent];
  if (experts < 1 || experts > kMaxExperts)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected from 1 to %" PRId64
                " columns, for the experts, found %" PRId64,
                sizes.from[kExpertsExtent]->name(), kMaxExperts, experts);
  int64_t pairs;
  if (__builtin_mul_overflow(sizes[kTokensExtent], sizes[kChoicesExtent], &pairs) ||
      pairs > kMaxRoutedRows - experts * value)
    return fail(MOE_INVALID_ARGUMENT,
                "%s: expected tokens whose rows have numbers of 32 bits, found %" PRId64
                " x %" PRId64 " for %" PRId64 " experts with an alignment of %" PRId32,
                sizes.from[kTokensExtent]->name(), sizes[kTokensExtent],
                sizes[kChoicesExtent], experts, value);
  return MOE_SUCCESS;
}

Extent moe::getSharedExtent(const OpRow &op) {
  Extent shared = kNoExtent;
  for (int i = 0; i < op.numOperands; ++i) {
    Extent extent = op.operands[i].extents[0];
    if (!op.operands[i].isWritten)
      continue;
    if (shared != kNoExtent && extent != shared)
      return kNoExtent;
    shared = extent;
  }
  return shared;
}

MoeStatus moe::makeProblem(const OpRow &op, const void *const *arguments,
                           const MoeOptions &options, bool isOfModule, Problem &problem) {
  // For each operand of the op what there is for it.
  const void *given[kMaxOperands];
  const MoeScale *scale = nullptr;
  // All of the op at first.
  Operand *operands = problem.operands;
  for (int i = 0; i < op.numOperands; ++i) {
    const OperandRow &row = op.operands[i];
    given[i] = row.form == kWeightForm ? options.probs : *arguments++;
    if (row.form == kScalesForm)
      scale = static_cast<const MoeScale *>(given[i]);
    // A kernel of a module takes all that it is compiled with.
    if (given[i] || (row.isOptional && !op.module))
      continue;
    if (isSized(row) || row.form == kScalesForm || isValue(row))
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected a description of the operand, found a null pointer",
                  row.name);
  }
  if (MoeStatus status = checkIndexType(options))
    return status;
  // Those that have sizes of their own, and the others.
  int sized[kMaxOperands], others[kMaxOperands];
  int numSized = 0, numOthers = 0;
  for (int i = 0; i < op.numOperands; ++i) {
    const OperandRow &row = op.operands[i];
    if (!isSized(row)) {
      others[numOthers++] = i;
      continue;
    }
    if (!given[i])
      continue;
    sized[numSized++] = i;
    int bytes = row.elementBytes;
    if (row.form == kIndicesForm && !op.module && options.index_type == MOE_INDEX_I64)
      bytes = 8;
    MoeStatus status =
        row.form == kSizedVectorForm
            ? makeSizedVector(row, *static_cast<const MoeVector *>(given[i]), operands[i])
            : makeMatrix(row, *static_cast<const MoeMatrix *>(given[i]), bytes,
                         operands[i]);
    if (status)
      return status;
  }
  if (MoeStatus status = checkOptions(options))
    return status;
  Sizes sizes = {};
  if (MoeStatus status = checkSizes(op, options, sized, numSized, operands, sizes))
    return status;
  bool isEmpty = true;
  auto note = [&](int i) {
    isEmpty &= !given[i] || !op.operands[i].isWritten || !hasElements(operands[i]);
  };
  for (int i = 0; i < numSized; ++i)
    note(sized[i]);
  for (int other = 0; other < numOthers; ++other) {
    int i = others[other];
    const OperandRow &row = op.operands[i];
    void *data = const_cast<void *>(given[i]);
    if (row.form == kScalesForm) {
      if (MoeStatus status = makeScales(row, *scale, sizes[kRowsExtent],
                                        sizes[kColumnsExtent], operands[i]))
        return status;
    } else if (row.form == kVectorForm || row.form == kWeightForm) {
      operands[i] = makeVector(row, data, sizes[row.extents[0]]);
    } else {
      operands[i] = {&row, row.elementBytes, data, 0, 1, 1, 1, 0};
    }
    if (row.form == kAlignmentForm)
      if (MoeStatus status = checkRouting(sizes, operands[i]))
        return status;
    note(i);
  }
  if (MoeStatus status = chooseKernel(op, given, options, scale, isOfModule, isEmpty,
                                      problem.request, problem.kernel))
    return status;
  problem.numOperands = 0;
  problem.isEmpty = true;
  const Operand *destination = nullptr;
  for (int i = 0; i < op.numOperands; ++i) {
    if (!(problem.request.operands >> i & 1))
      continue;
    Operand &operand = operands[problem.numOperands];
    if (problem.numOperands++ != i)
      operand = operands[i];
    if (!operand.row->isWritten)
      continue;
    problem.isEmpty &= !hasElements(operand);
    if (!destination)
      destination = &operand;
  }
  // A kernel of a module may write nothing.
  if (!destination)
    destination = &operands[0];
  problem.rows = destination->rows;
  problem.columns = destination->columns;
  return problem.isEmpty ? MOE_SUCCESS : checkMemory(problem);
}
