//===- Grid.h - The grid of a launch ----------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The fixed grid: it depends on shapes and on the device, never on n_used or
// permutation_map, so that a launch can be captured. The rule, and the shape of a chunk,
// are those of convert-moe-to-gpu.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_GRID_H
#define MOE_LIB_RUNTIME_GRID_H

#include "Problem.h"
#include <algorithm>

namespace moe {

constexpr int64_t kLanes = 32;
/// What the hardware takes in the grid's y.
constexpr int64_t kMaxCTAs = 65535;
/// What keeps a memory-bound kernel's SM busy.
constexpr int64_t kThreadsPerSM = 1024;
/// No supported device has room for fewer.
constexpr int64_t kMaxCTAsPerSM = 16;
/// Few rows are spread over this share of numCTAs: one CTA for each SM where it allows
/// four, as it does by default with 256 threads.
constexpr int64_t kSpreadShare = 4;
constexpr int64_t kRowsPerQuad = 4;
/// From so many CTAs for the rows on, their number has one of a few remainders by 32.
constexpr int64_t kManyCTAs = 16;
/// Those remainders, as bits: 5, 9, 15, 17, 19, 21, 27 and 29.
constexpr uint64_t kSpreadingRemainders = 0x282a8220;

/// Columns that a warp handles at a time, and a CTA with it.
constexpr int64_t chunkColumns(bool isAligned) { return isAligned ? 1024 : 64; }

struct Grid {
  uint32_t x, y;
};

/// Of the numbers of CTAs under which live rows do not meet in few warps, the greatest
/// that is at most `ctas`, and the least that is at least `ctas`. Live rows begin at
/// multiples of a power of two. The number of warps that get rows is odd, so that no
/// power of two divides it; and where it is large, its remainder by 256 is one for which
/// no small multiple of 16, 64, 128 or 256 comes close to a multiple of it.
constexpr int64_t floorSpreading(int64_t ctas) {
  if (ctas < kManyCTAs)
    return (ctas - 1) | 1;
  while ((kSpreadingRemainders >> (ctas % 32) & 1) == 0)
    --ctas;
  return ctas;
}
constexpr int64_t ceilSpreading(int64_t ctas) {
  if (ctas < kManyCTAs)
    return ctas | 1;
  while ((kSpreadingRemainders >> (ctas % 32) & 1) == 0)
    ++ctas;
  return ctas;
}

/// How many warps of `ctas` CTAs get rows: all but one if that makes their number odd.
constexpr int64_t rowWarps(int64_t ctas, int64_t warpsPerCTA) {
  return (ctas * warpsPerCTA - 1) | 1;
}

/// x: a CTA for each chunk of columns. y: CTAs for the rows, as many as the limit leaves
/// but no more than it takes to give every warp as many rows as the others; or, where
/// that leaves SMs without a CTA, so many that few rows are spread over more of them.
/// Always a number under which live rows do not meet in few warps.
/// `numCTAs` is the limit, 0 for what fills the device. `hasQuads` is whether the kernel
/// can give rows to warps by quads.
inline Grid getGrid(int64_t rows, int64_t columns, bool isAligned, bool hasQuads,
                    int64_t threadsPerCTA, int64_t numCTAs, int64_t numSMs) {
  auto clamp = [](int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value < high ? value : high;
  };
  if (numCTAs == 0)
    numCTAs = clamp(numSMs * clamp(kThreadsPerSM / threadsPerCTA, 1, kMaxCTAsPerSM), 1,
                    kMaxCTAs);
  int64_t x = clamp(ceilDiv(columns, chunkColumns(isAligned)), 1, numCTAs);
  int64_t maxY = floorSpreading(numCTAs / x);
  int64_t warpsPerCTA = threadsPerCTA / kLanes;
  int64_t maxWarps = rowWarps(maxY, warpsPerCTA);
  int64_t quads = ceilDiv(rows, kScaleTileRows) * (kScaleTileRows / kRowsPerQuad);
  bool isByQuads = hasQuads && quads * 8 >= maxWarps * 7;
  int64_t units = std::max<int64_t>(isByQuads ? quads : rows, 1);
  int64_t unitsPerWarp = ceilDiv(units, maxWarps);
  // One warp more than rows need, as one may have none.
  int64_t balanced = ceilDiv(ceilDiv(units, unitsPerWarp) + 1, warpsPerCTA);
  int64_t spread = std::min(rows, numCTAs / kSpreadShare / x);
  int64_t y = std::min(ceilSpreading(std::max(balanced, spread)), maxY);
  return {uint32_t(x), uint32_t(y)};
}

} // namespace moe

#endif // MOE_LIB_RUNTIME_GRID_H
