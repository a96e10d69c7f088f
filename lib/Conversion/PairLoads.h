//===- PairLoads.h - Where pairs of columns are -----------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Loads what neighbouring columns of the destination are computed of, as vectors in the
// order of the destination, for a CPU or for a lane.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_PAIRLOADS_H
#define MOE_LIB_CONVERSION_PAIRLOADS_H

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {

/// Loads a number of neighbours in a row of x, from a column of x on, as a vector.
using LoadColumns = function_ref<Value(Value column, int64_t size)>;

/// A vector for each part of `size` columns of the destination, from `column` on, which
/// is a multiple of `size`. The destination has `columns`, of the type of `column`.
/// `pairs` is null where x has as many.
SmallVector<Value> buildPartLoads(ImplicitLocOpBuilder &b, PairsAttr pairs, Value column,
                                  Value columns, int64_t size, LoadColumns load);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_PAIRLOADS_H
