//===- Span.h - The memory of an operand ------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Which bytes an operand has, and whether two have some in common.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_SPAN_H
#define MOE_LIB_RUNTIME_SPAN_H

#include <cstdint>

namespace moe {

/// Rows of `width` bytes, `stride` bytes apart, the first at `begin`, the last up to
/// `end`. A single row may have any stride.
struct Span {
  uint64_t begin, end;
  uint64_t stride, width;

  bool isOneRow() const { return end - begin == width; }
};

/// Whether two spans that are not empty, and whose rows do not overlap among themselves,
/// share a byte. Of spans with several rows each and different strides, whether one
/// begins before the other ends: it takes many compares to know more.
inline bool overlap(const Span &a, const Span &b) {
  if (a.end <= b.begin || b.end <= a.begin)
    return false;
  uint64_t stride = a.isOneRow() ? b.stride : a.stride;
  if (!a.isOneRow() && !b.isOneRow() && a.stride != b.stride)
    return true;
  if (a.isOneRow() && b.isOneRow())
    return true;
  // As one begins before the other ends, rows that share bytes by their places in a
  // period share them in some row. The distance is from a row of `a` to the next of `b`.
  uint64_t distance = b.begin >= a.begin ? (b.begin - a.begin) % stride
                                         : stride - (a.begin - b.begin) % stride;
  return distance < a.width || stride - distance < b.width;
}

} // namespace moe

#endif // MOE_LIB_RUNTIME_SPAN_H
