//===- Warp.h - The moe_warp dialect ----------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The level between an op and its lanes: what the warps of a kernel do.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_WARP_IR_WARP_H
#define MOE_WARP_IR_WARP_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "moe/IR/Moe.h"

namespace mlir::moe::warp {

inline constexpr int64_t kLanes = 32;
/// Rows of a row tile whose scales are neighbours in the swizzled layout.
inline constexpr int64_t kRowsPerQuad = 4;

/// A kernel's discardable attribute with its `#moe.schedule`, until that is obeyed.
inline constexpr llvm::StringLiteral kKernelScheduleAttrName = "moe_warp.schedule";

} // namespace mlir::moe::warp

#include "moe/Warp/IR/WarpOpsDialect.h.inc"

#define GET_OP_CLASSES
#include "moe/Warp/IR/WarpOps.h.inc"

namespace mlir::moe::warp {

/// The loop that `chunk` is a chunk of; null if it is not the argument of one.
ForChunkOp getChunkLoop(Value chunk);

} // namespace mlir::moe::warp

#endif // MOE_WARP_IR_WARP_H
