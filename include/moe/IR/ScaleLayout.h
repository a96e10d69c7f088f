//===- ScaleLayout.h - Sizes of scale buffers -------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Groups, scale tiles, and how many of them there are. Stated once, over an arithmetic:
// verifiers and the runtime compute with integers, lowerings build code. Needs no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_SCALELAYOUT_H
#define MOE_IR_SCALELAYOUT_H

#include <cstdint>

namespace mlir::moe {

/// Columns that share one scale in MXFP8.
inline constexpr int64_t kGroupSize = 32;

/// The scale tile of `swizzle_32_4_4`.
inline constexpr int64_t kScaleTileRows = 128;
inline constexpr int64_t kScaleTileColumns = 4;
inline constexpr int64_t kScaleTileBytes = kScaleTileRows * kScaleTileColumns;

/// Scale tiles below each other for a matrix of so many rows.
template <typename Arithmetic>
typename Arithmetic::Value getRowTileCount(Arithmetic &a,
                                           typename Arithmetic::Value rows) {
  return a.ceilDivByPowerOfTwo(rows, kScaleTileRows);
}

/// Scale tiles beside each other for a matrix of so many columns.
template <typename Arithmetic>
typename Arithmetic::Value getColumnTileCount(Arithmetic &a,
                                              typename Arithmetic::Value columns,
                                              int64_t groupSize = kGroupSize) {
  return a.ceilDivByPowerOfTwo(columns, groupSize * kScaleTileColumns);
}

/// Bytes, which are elements, of a `swizzle_32_4_4` buffer for a [rows, columns] matrix.
template <typename Arithmetic>
typename Arithmetic::Value
getSwizzledScaleSize(Arithmetic &a, typename Arithmetic::Value rows,
                     typename Arithmetic::Value columns, int64_t groupSize = kGroupSize) {
  auto rowTiles = getRowTileCount(a, rows);
  auto columnTiles = getColumnTileCount(a, columns, groupSize);
  auto tiles = a.mul(rowTiles, columnTiles);
  return a.mul(tiles, a.constant(kScaleTileBytes));
}

} // namespace mlir::moe

#endif // MOE_IR_SCALELAYOUT_H
