//===- KernelBody.h - What a kernel does ------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The body of a kernel, as its schedule says.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_KERNELBODY_H
#define MOE_LIB_CONVERSION_KERNELBODY_H

#include "../Launch/GridRule.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {

using ::moe::launch::kRowsPerQuad;

/// Of the quantising ops: groups of a chunk, and lanes that share a group.
inline int64_t groupsPerChunk(const Schedule &schedule) {
  return schedule.chunkColumns() / kGroupSize;
}
inline int64_t lanesPerGroup(const Schedule &schedule) {
  return kGroupSize / schedule.elements();
}

/// Builds the body of a kernel for `op`, whose operands are `arguments` in the kernel.
void buildKernelBody(ImplicitLocOpBuilder &b, MapRowsOp op, ValueRange arguments,
                     const Schedule &schedule);

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_KERNELBODY_H
