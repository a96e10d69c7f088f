//===- UnpermuteArithmetic.h - The sum of a token's rows --------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The arithmetic of moe.unpermute_tokens, for both lowerings.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_UNPERMUTEARITHMETIC_H
#define MOE_LIB_CONVERSION_UNPERMUTEARITHMETIC_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::moe {

/// f32(sum + f32(part * prob)), or f32(sum + part) if `prob`, an f32, is null, of a
/// vector `sum` of f32 and one `part` of bf16.
Value buildWeightedSum(ImplicitLocOpBuilder &b, Value sum, Value part, Value prob);

/// A vector of f32 whose NaNs all are what the hardware of GPUs makes of them.
Value buildCanonicalNaN(ImplicitLocOpBuilder &b, Value vector);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_UNPERMUTEARITHMETIC_H
