//===- GroupWords.h - Groups on a CPU ---------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the CPU path does for formats with scales on words of two bf16 elements. It relies
// on what a lowering knows and no IR says: a factor is 0 or a power of two, an activation
// may be known not to be negative, the maxima of several groups are wanted at once.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_GROUPWORDS_H
#define MOE_LIB_CONVERSION_GROUPWORDS_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::moe {

/// Signed integers (i16) that order as the magnitudes of a group (a vector of bf16) do,
/// those of NaN below all others. `isNonNegative` promises that no element is negative or
/// NaN: here, and in all that is below.
Value buildMagnitudeKeys(ImplicitLocOpBuilder &b, Value group, bool isNonNegative);

/// The greatest magnitude of each of the groups that `keys` are of, all of one size, as a
/// vector of bf16 that are neither negative nor NaN; 0 for a group of nothing but NaN.
Value buildGroupMaxima(ImplicitLocOpBuilder &b, ArrayRef<Value> keys, bool isNonNegative);

/// Whether there is `buildEncodedGroup` for elements of `type`.
bool isEncodable(Type type);

/// The elements of a group (a vector of bf16) multiplied by element `i` of `factors` (a
/// vector of bf16, each 0 or a power of two), as floats of `type`, rounded to nearest
/// even. No finite product may lie beyond its greatest value. Infinity times 0, and NaN,
/// is all ones without a sign.
Value buildEncodedGroup(ImplicitLocOpBuilder &b, Value group, Value factors, int64_t i,
                        FloatType type, bool isNonNegative);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_GROUPWORDS_H
