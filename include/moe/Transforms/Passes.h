//===- Passes.h - Passes from moe to moe ------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Transformations that stay within the moe dialect.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TRANSFORMS_PASSES_H
#define MOE_TRANSFORMS_PASSES_H

#include "mlir/Pass/Pass.h"
#include "moe/IR/Moe.h"

namespace mlir {
class RewritePatternSet;
} // namespace mlir

namespace mlir::moe {

#define GEN_PASS_DECL
#include "moe/Transforms/Passes.h.inc"

/// The pattern behind `moe-fuse-quantize`.
void populateFuseQuantizePatterns(RewritePatternSet &patterns);

/// The pattern behind `moe-fuse-elementwise`.
void populateFuseElementwisePatterns(RewritePatternSet &patterns);

/// What a schedule is chosen for besides the op; 0 for what the table has.
struct ScheduleTarget {
  /// Compute capability times ten.
  unsigned capability = 0;
  int64_t numCTAs = 528;
  int64_t threadsPerCTA = 0;
  int64_t accessBytes = 0;
};

/// The schedules that `moe-choose-schedule` sets on an op without any, the best first.
SmallVector<Schedule> chooseSchedules(PaddingAwareOpInterface op,
                                      const ScheduleTarget &target);
SmallVector<Schedule> chooseSchedules(PermutationOpInterface op,
                                      const ScheduleTarget &target);

#define GEN_PASS_REGISTRATION
#include "moe/Transforms/Passes.h.inc"

} // namespace mlir::moe

#endif // MOE_TRANSFORMS_PASSES_H
