//===- VerifyTranslatable.h - What is left to lower in a kernel -*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The translation to LLVM IR stops at an op that it does not know, and says neither where
// the op should have gone nor what would have taken it there. This does, before it runs.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_TARGET_VERIFYTRANSLATABLE_H
#define MOE_LIB_TARGET_VERIFYTRANSLATABLE_H

#include "mlir/Support/LLVM.h"

namespace mlir::gpu {
class GPUModuleOp;
} // namespace mlir::gpu

namespace mlir::moe {

/// Whether `module` has a target and holds nothing but ops that LLVM IR, and the chip,
/// has. If not, the error is at the first op that is to be lowered next, and names a pass
/// for it. `by` is the pass that asks.
LogicalResult verifyTranslatable(gpu::GPUModuleOp module, StringRef by);

} // namespace mlir::moe

#endif // MOE_LIB_TARGET_VERIFYTRANSLATABLE_H
