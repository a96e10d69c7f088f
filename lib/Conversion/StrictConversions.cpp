//===- StrictConversions.cpp - Conversions that round ---------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-strict-conversions: what stands between two emulated ops stays.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOESTRICTCONVERSIONS
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

namespace {

struct StrictConversionsPass
    : moe::impl::MoeStrictConversionsBase<StrictConversionsPass> {
  void runOnOperation() override {
    getOperation()->walk([](Operation *op) {
      auto flagged = dyn_cast<arith::ArithFastMathInterface>(op);
      if (!flagged || !isa<arith::ExtFOp, arith::TruncFOp>(op))
        return;
      arith::FastMathFlagsAttr attribute = flagged.getFastMathFlagsAttr();
      if (!attribute)
        return;
      arith::FastMathFlags flags = attribute.getValue();
      op->setAttr(flagged.getFastMathAttrName(),
                  arith::FastMathFlagsAttr::get(op->getContext(),
                                                flags & ~arith::FastMathFlags::contract));
    });
  }
};

} // namespace
