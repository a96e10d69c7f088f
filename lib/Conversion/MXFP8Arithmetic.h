//===- MXFP8Arithmetic.h - The arithmetic of MXFP8 quantisation -*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Target-neutral IR for the steps of MXFP8 quantisation, shared by every lowering. What
// a lowering adds is how the lanes of a group agree on its maximum.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_MXFP8ARITHMETIC_H
#define MOE_LIB_CONVERSION_MXFP8ARITHMETIC_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::moe {

/// The greatest magnitude of a fragment (a vector of bf16) as a bf16 that is neither
/// negative nor NaN; 0 for a fragment of nothing but NaN. `isNonNegative` promises that
/// no element is either.
Value buildFragmentMaximum(ImplicitLocOpBuilder &b, Value fragment, bool isNonNegative);

/// Those of two fragments of the same size, a power of two, as a vector of two.
Value buildFragmentMaxima(ImplicitLocOpBuilder &b, Value first, Value second,
                          bool isNonNegative);

/// The biased E8M0 exponent (i32) for a group whose greatest magnitude is `maximum`, a
/// bf16 as the functions above give it; or a vector of them for a vector.
Value buildScaleExponent(ImplicitLocOpBuilder &b, Value maximum);

/// The bf16 that elements are multiplied by under the scale with biased exponent
/// `exponent`, 2^(127 - exponent); or a vector of them for a vector. For 255 it is 0: a
/// finite element becomes 0 and an infinite one NaN.
Value buildScaleFactor(ImplicitLocOpBuilder &b, Value exponent);

/// The f8E4M3FN elements of a fragment (a vector of bf16) multiplied by `factor`. The
/// product with a power of two is exact in bf16, or so small that f8E4M3FN makes 0 of it.
Value buildQuantizedFragment(ImplicitLocOpBuilder &b, Value fragment, Value factor);

/// A scale (f8E8M0FNU) from its biased exponent (i32), or a vector of them.
Value buildScale(ImplicitLocOpBuilder &b, Value exponent);

/// `count` zero bytes as a vector of f8E8M0FNU. The type itself has no zero: its byte 0
/// stands for 2^-127.
Value buildZeroScales(ImplicitLocOpBuilder &b, int64_t count);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_MXFP8ARITHMETIC_H
