//===- AlignmentRule.h - Which operands a kernel may have -------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Whether addresses, row strides and rows are multiples of what a kernel's accesses need,
// and whether there is as much to do as it is made for. Stated once, over an arithmetic:
// the runtime computes with integers, convert-moe-to-gpu builds host code. Needs no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_LAUNCH_ALIGNMENTRULE_H
#define MOE_LIB_LAUNCH_ALIGNMENTRULE_H

#include "KernelDescription.h"

namespace moe::launch {

/// Zero if an operand may be where it is. A `Place` says, in bytes, its `address()`, and
/// of a matrix `rowStride()` and `row()`; it is asked only for what matters.
template <typename Arithmetic, typename Place>
typename Arithmetic::Value
getMisalignment(Arithmetic &a, const OperandDescription &operand, Place &&place) {
  // The low bits of all, or'ed together.
  auto misalignment = a.constant(0);
  auto require = [&](auto bytes, uint32_t alignment) {
    misalignment = a.bitOr(misalignment, a.remainder(bytes, alignment));
  };
  if (operand.addressAlignment > 1)
    require(place.address(), operand.addressAlignment);
  if (operand.rowStrideAlignment > 1)
    require(place.rowStride(), operand.rowStrideAlignment);
  if (operand.rowAlignment > 1)
    require(place.row(), operand.rowAlignment);
  return misalignment;
}

/// Whether there are as many units as the kernel is made for, `rows` of `columns`: of
/// what is routed the tokens and their choices, of tokens their columns. With fewer it is
/// right too, but another one, if there is one, is better.
template <typename Arithmetic>
auto hasEnoughUnits(Arithmetic &a, const KernelDescription &kernel,
                    typename Arithmetic::Value rows, typename Arithmetic::Value columns) {
  return a.isLess(a.constant(int64_t(kernel.leastUnits) - 1), a.mul(rows, columns));
}

} // namespace moe::launch

#endif // MOE_LIB_LAUNCH_ALIGNMENTRULE_H
