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

/// Columns that a warp handles at a time, and a CTA with it.
constexpr int64_t chunkColumns(bool isAligned) { return isAligned ? 1024 : 64; }

struct Grid {
  uint32_t x, y;
};

/// x: a CTA for each chunk of columns. y: CTAs for the rows, as many as the limit leaves
/// but no more than it takes to give every warp as many rows as the others; or, where
/// that leaves SMs without a CTA, so many that few rows are spread over more of them.
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
  int64_t maxY = numCTAs / x;
  int64_t warps = threadsPerCTA / kLanes;
  int64_t quads = ceilDiv(rows, kScaleTileRows) * (kScaleTileRows / kRowsPerQuad);
  bool isByQuads = hasQuads && quads * 8 >= maxY * warps * 7;
  int64_t unitCTAs = std::max<int64_t>(ceilDiv(isByQuads ? quads : rows, warps), 1);
  int64_t balanced = ceilDiv(unitCTAs, ceilDiv(unitCTAs, maxY));
  int64_t spread = std::min(rows, numCTAs / kSpreadShare / x);
  return {uint32_t(x), uint32_t(std::max(balanced, spread))};
}

} // namespace moe

#endif // MOE_LIB_RUNTIME_GRID_H
