//===- Passes.h - Lowerings of the moe dialect ------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The lowerings of the moe dialect, and the legalisation of what they emit.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_CONVERSION_PASSES_H
#define MOE_CONVERSION_PASSES_H

#include "mlir/Pass/Pass.h"

namespace mlir {
class RewritePatternSet;
} // namespace mlir

namespace mlir::moe {

#define GEN_PASS_DECL
#include "moe/Conversion/Passes.h.inc"

/// The patterns behind `convert-moe-to-scf`.
void populateMoeToSCFPatterns(RewritePatternSet &patterns);
/// Those of them for the ops between tokens and rows.
void populatePermutationToSCFPatterns(RewritePatternSet &patterns);

/// The patterns behind `moe-legalize-f8`. With `hasHardwareConversion` they use the
/// conversion instructions of sm_89 and later, else integer arithmetic.
void populateLegalizeF8Patterns(RewritePatternSet &patterns, bool hasHardwareConversion);

/// Emits an error at every moe op below `root`, which the pass `passName` was to lower.
LogicalResult verifyNoMoeOpsLeft(Operation *root, StringRef passName);

#define GEN_PASS_REGISTRATION
#include "moe/Conversion/Passes.h.inc"

} // namespace mlir::moe

#endif // MOE_CONVERSION_PASSES_H
