//===- Grid.h - The grid of a launch ----------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The rule of ../Launch/GridRule.h in integers, with the device's number of CTAs.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_GRID_H
#define MOE_LIB_RUNTIME_GRID_H

#include "../Launch/GridRule.h"
#include "../Launch/IntegerArithmetic.h"
#include "../Launch/KernelDescription.h"
#include <algorithm>

namespace moe {

using launch::kMaxCTAs;

struct Grid {
  uint32_t x, y;
};

/// `numCTAs` is the limit, 0 for what fills the device, or what suits `expectedRows` if
/// that is not 0.
inline Grid getGrid(int64_t rows, int64_t columns,
                    const launch::KernelDescription &kernel, int64_t numCTAs,
                    int64_t expectedRows, int64_t numSMs) {
  launch::IntegerArithmetic arithmetic;
  launch::GridInput<launch::IntegerArithmetic> input = {rows,
                                                        columns,
                                                        numCTAs,
                                                        kernel.threadsPerCTA,
                                                        kernel.chunkColumns,
                                                        kernel.rowsPerUnit > 1,
                                                        kernel.earlyChunkColumns,
                                                        int64_t(kernel.earlyElements)};
  std::optional<int64_t> expected;
  if (numCTAs == 0) {
    input.numCTAs =
        std::min(std::max<int64_t>(numSMs * kernel.minCTAsPerSM, 1), kMaxCTAs);
    if (expectedRows != 0)
      expected = expectedRows;
  }
  // A CTA for an expert, or a cluster for some: `rows` are those.
  if (kernel.work == launch::Work::Experts)
    return {uint32_t(std::min(rows, input.numCTAs)), 1};
  if (kernel.work == launch::Work::ExpertWindows)
    return {uint32_t(launch::getClusterCTAs(arithmetic, rows, input.numCTAs,
                                            kernel.clusterCTAs)),
            1};
  if (kernel.work == launch::Work::Tokens) {
    std::optional<int64_t> limit;
    if (numCTAs != 0)
      limit = numCTAs;
    input.rows = std::min(rows, expected.value_or(rows));
    auto grid = launch::getTokenGrid(arithmetic, input, limit);
    return {uint32_t(grid.x), uint32_t(grid.y)};
  }
  auto grid = launch::getLaunchGrid(arithmetic, input, expected);
  return {uint32_t(grid.x), uint32_t(grid.y)};
}

} // namespace moe

#endif // MOE_LIB_RUNTIME_GRID_H
