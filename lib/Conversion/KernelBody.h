//===- KernelBody.h - What a kernel does ------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The schedule of a kernel and the body that follows it.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_KERNELBODY_H
#define MOE_LIB_CONVERSION_KERNELBODY_H

#include "../Launch/GridRule.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {

/// How the work of an op is cut up. A warp handles a chunk of a row at a time: in each of
/// `stepsPerChunk` steps its 32 lanes take `elementsPerLane` consecutive columns each.
struct Schedule {
  static constexpr int64_t kLanes = 32;
  /// One lane clears the four rows of a scale tile that share 16 bytes.
  static constexpr int64_t kZeroStoreBytes = 16;
  /// What an H100 loads in the time that one load takes, in bytes.
  static constexpr int64_t kEarlyBytes = 1 << 20;

  int64_t threadsPerCTA;
  int64_t elementsPerLane;
  int64_t stepsPerChunk;
  /// Whether rows start at multiples of the access width; else each element is accessed
  /// on its own.
  bool isAligned;
  /// Whether the kernel waits for its predecessor in the stream before it accesses
  /// memory.
  bool waitsForPredecessor;

  int64_t warpsPerCTA() const { return threadsPerCTA / kLanes; }
  /// 1024 threads on an SM, 16 CTAs at most: no supported chip has room for fewer.
  int64_t minCTAsPerSM() const { return std::min<int64_t>(1024 / threadsPerCTA, 16); }
  int64_t stepColumns() const { return kLanes * elementsPerLane; }
  int64_t chunkColumns() const { return stepColumns() * stepsPerChunk; }
  int64_t groupsPerChunk() const { return chunkColumns() / kGroupSize; }
  /// Lanes that share a group of the quantising ops.
  int64_t lanesPerGroup() const { return kGroupSize / elementsPerLane; }
  /// Bytes of bf16 that a lane loads or stores at once.
  int64_t accessBytes() const { return 2 * elementsPerLane; }
  /// Bytes of E4M3 that a lane stores at once.
  int64_t dataStoreBytes() const { return elementsPerLane; }
};

using ::moe::launch::kRowsPerQuad;

/// What the user chooses.
struct ScheduleOptions {
  int64_t threadsPerCTA;
  /// The widest access, in bytes.
  int64_t accessBytes;
  bool waitForPredecessor;
};

Schedule getSchedule(bool isAligned, const ScheduleOptions &options);

/// Whether the kernel loads the rows of small inputs before it knows which are live.
bool loadsEarly(MapRowsOp op, const Schedule &schedule);

/// Whether the kernel gives rows to warps by quads where there are enough of them.
bool hasQuads(MapRowsOp op, const Schedule &schedule);

/// Builds the body of a kernel for `op`, whose operands are `arguments` in the kernel.
void buildKernelBody(ImplicitLocOpBuilder &b, MapRowsOp op,
                     ValueRange arguments, const Schedule &schedule);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_KERNELBODY_H
