//===- GroupArithmetic.h - The greatest magnitude of a group ----*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Target-neutral IR for what formats with scales have in common, shared by every
// lowering. What a lowering adds is how the lanes of a group agree on its maximum; the
// rest is the format's.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_GROUPARITHMETIC_H
#define MOE_LIB_CONVERSION_GROUPARITHMETIC_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::moe {

/// The greatest magnitude of each of two fragments (vectors of bf16) of the same size, a
/// power of two, as a vector of two bf16 that are neither negative nor NaN; 0 for a
/// fragment of nothing but NaN. `isNonNegative` promises that no element is either.
Value buildFragmentMaxima(ImplicitLocOpBuilder &b, Value first, Value second,
                          bool isNonNegative);

/// A scale of `scaleType` from its code (i32), or a vector of them.
Value buildScale(ImplicitLocOpBuilder &b, Value code, Type scaleType);

/// `count` zero bytes as a vector of `scaleType`, which may have no zero: byte 0 of
/// f8E8M0FNU stands for 2^-127.
Value buildZeroScales(ImplicitLocOpBuilder &b, int64_t count, Type scaleType);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_GROUPARITHMETIC_H
