//===- Schedule.h - How the work of an op is cut up -------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The fields of `#moe.schedule`, whose description says what they mean. Included by
// Moe.h, after the enums.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_IR_SCHEDULE_H
#define MOE_IR_SCHEDULE_H

#include "llvm/ADT/Hashing.h"

namespace mlir::moe {

/// How the work of an op is cut up on a GPU. A new field is a member here, a row of the
/// table in Schedule.cpp, and one of the attribute's description.
struct Schedule {
  static constexpr int64_t kLanes = 32;
  /// Of a CTA in a cluster.
  static constexpr int64_t kClusterThreads = 1024;

  int64_t threads = 256;
  int64_t accessBytes = 16;
  int64_t steps = 4;
  RowOrder rows = RowOrder::Single;
  int64_t earlyBytes = 0;
  int64_t earlySteps = 0;
  int64_t clearBytes = 1;
  int64_t minCTAs = 4;
  int64_t numCTAs = 528;
  int64_t alignment = 16;
  int64_t cluster = 1;
  bool waits = false;
  bool keepsX = false;

  int64_t warps() const { return threads / kLanes; }
  /// Elements of x, bf16, that a lane takes in a step.
  int64_t elements() const { return accessBytes / 2; }
  int64_t stepColumns() const { return kLanes * elements(); }
  int64_t chunkColumns() const { return stepColumns() * steps; }
  /// Whether what is loaded early has chunks of its own, and how large they are.
  bool hasEarlyChunks() const { return earlySteps != 0 && earlySteps != steps; }
  int64_t earlyChunkColumns() const { return stepColumns() * earlySteps; }
  bool hasQuads() const { return rows == RowOrder::Quads; }
  bool hasClusters() const { return cluster != 1; }
  bool isElementwise() const { return elements() == 1; }
  /// What rows of `bytes` an access must be aligned to.
  int64_t alignmentOf(int64_t bytes) const {
    return std::max<int64_t>(bytes * alignment / accessBytes, 1);
  }
};

bool operator==(const Schedule &lhs, const Schedule &rhs);
llvm::hash_code hash_value(const Schedule &schedule);

} // namespace mlir::moe

#endif // MOE_IR_SCHEDULE_H
