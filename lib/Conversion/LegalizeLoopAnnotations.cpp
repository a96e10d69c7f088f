//===- LegalizeLoopAnnotations.cpp - Loop annotations that are read -------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Closes a gap between convert-scf-to-cf and the translation to LLVM IR.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOELEGALIZELOOPANNOTATIONS
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

namespace {

struct LegalizeLoopAnnotationsPass
    : mlir::moe::impl::MoeLegalizeLoopAnnotationsBase<LegalizeLoopAnnotationsPass> {
  template <typename BranchOp> static void move(BranchOp branch) {
    if (auto annotation = dyn_cast_or_null<LLVM::LoopAnnotationAttr>(
            branch->removeDiscardableAttr("llvm.loop_annotation")))
      branch.setLoopAnnotationAttr(annotation);
  }

  void runOnOperation() override {
    getOperation()->walk([](Operation *op) {
      if (auto branch = dyn_cast<LLVM::BrOp>(op))
        move(branch);
      else if (auto branch = dyn_cast<LLVM::CondBrOp>(op))
        move(branch);
    });
  }
};

} // namespace
