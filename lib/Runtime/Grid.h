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
#include "Problem.h"
#include <algorithm>

namespace moe {

using launch::kMaxCTAs;

/// What keeps a memory-bound kernel's SM busy.
constexpr int64_t kThreadsPerSM = 1024;
/// No supported device has room for fewer.
constexpr int64_t kMaxCTAsPerSM = 16;

/// Columns that a warp handles at a time, and a CTA with it.
constexpr int64_t chunkColumns(bool isAligned) { return isAligned ? 1024 : 64; }

/// The arithmetic of non-negative integers. What may be one below zero is `bitOr`'s.
struct IntegerArithmetic {
  using Value = int64_t;
  static int64_t constant(int64_t value) { return value; }
  static int64_t add(int64_t lhs, int64_t rhs) { return lhs + rhs; }
  static int64_t sub(int64_t lhs, int64_t rhs) { return lhs - rhs; }
  static int64_t mul(int64_t lhs, int64_t rhs) { return lhs * rhs; }
  static int64_t div(int64_t lhs, int64_t rhs) { return lhs / rhs; }
  static int64_t ceilDiv(int64_t lhs, int64_t rhs) { return moe::ceilDiv(lhs, rhs); }
  static int64_t ceilDivByPowerOfTwo(int64_t lhs, int64_t rhs) {
    return moe::ceilDiv(lhs, rhs);
  }
  static int64_t remainder(int64_t lhs, int64_t powerOfTwo) { return lhs % powerOfTwo; }
  static int64_t shiftRight(int64_t lhs, int64_t bits) {
    return int64_t(uint64_t(lhs) >> bits);
  }
  static int64_t bitOr(int64_t lhs, int64_t rhs) { return lhs | rhs; }
  static int64_t min(int64_t lhs, int64_t rhs) { return std::min(lhs, rhs); }
  static int64_t max(int64_t lhs, int64_t rhs) { return std::max(lhs, rhs); }
  static bool isLess(int64_t lhs, int64_t rhs) { return lhs < rhs; }
  static int64_t select(bool condition, int64_t then, int64_t otherwise) {
    return condition ? then : otherwise;
  }
};

struct Grid {
  uint32_t x, y;
};

/// `numCTAs` is the limit, 0 for what fills the device.
inline Grid getGrid(int64_t rows, int64_t columns, bool isAligned, bool hasQuads,
                    int64_t threadsPerCTA, int64_t numCTAs, int64_t numSMs) {
  if (numCTAs == 0) {
    int64_t ctasPerSM =
        std::min(std::max<int64_t>(kThreadsPerSM / threadsPerCTA, 1), kMaxCTAsPerSM);
    numCTAs = std::min(std::max<int64_t>(numSMs * ctasPerSM, 1), kMaxCTAs);
  }
  IntegerArithmetic arithmetic;
  auto grid = launch::getGrid(arithmetic, {rows, columns, numCTAs, threadsPerCTA,
                                           chunkColumns(isAligned), hasQuads});
  return {uint32_t(grid.x), uint32_t(grid.y)};
}

} // namespace moe

#endif // MOE_LIB_RUNTIME_GRID_H
