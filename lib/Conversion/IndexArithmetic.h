//===- IndexArithmetic.h - Rows, tiles and offsets --------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Target-neutral index arithmetic: how many rows may be live, and where the scales of a
// row are. Divisors are powers of two, so that a lowering never meets a division.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_INDEXARITHMETIC_H
#define MOE_LIB_CONVERSION_INDEXARITHMETIC_H

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::moe {

/// A constant index.
Value buildIndex(ImplicitLocOpBuilder &b, int64_t value);

// The rest works on indices and on integers alike; a constant has the type of the other
// operand.

Value buildAdd(ImplicitLocOpBuilder &b, Value lhs, Value rhs);
Value buildAdd(ImplicitLocOpBuilder &b, Value lhs, int64_t rhs);
Value buildMul(ImplicitLocOpBuilder &b, Value lhs, Value rhs);
Value buildMul(ImplicitLocOpBuilder &b, Value lhs, int64_t rhs);

/// Quotient, remainder and quotient rounded up of a non-negative value by a power of two.
Value buildDiv(ImplicitLocOpBuilder &b, Value lhs, int64_t powerOfTwo);
Value buildRem(ImplicitLocOpBuilder &b, Value lhs, int64_t powerOfTwo);
Value buildCeilDiv(ImplicitLocOpBuilder &b, Value lhs, int64_t powerOfTwo);

/// The i32 in memref `nUsed`, of rank 0 or 1.
Value buildUsedRowLoad(ImplicitLocOpBuilder &b, Value nUsed);

/// The number of rows that may be live: `used`, as `buildUsedRowLoad` gives it, clamped
/// to [0, rows].
Value buildUsedRowCount(ImplicitLocOpBuilder &b, Value used, Value rows);

/// Tiles of a `swizzle_32_4_4` scale buffer for a [rows, columns] matrix.
Value buildRowTileCount(ImplicitLocOpBuilder &b, Value rows);
Value buildColumnTileCount(ImplicitLocOpBuilder &b, Value columns);

/// Where the scales of `row` in column tile 0 are in a `swizzle_32_4_4` buffer. Those of
/// column tile t are t * kScaleTileBytes further on.
Value buildSwizzledRowOffset(ImplicitLocOpBuilder &b, Value row, Value columnTiles);

/// Whether `permutation_map` entry `entry` (i32) is that of a row that holds a token: it
/// is not negative and, unless `tokens` is null, below this index.
Value buildHoldsToken(ImplicitLocOpBuilder &b, Value entry, Value tokens = {});

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_INDEXARITHMETIC_H
