//===- Generalize.cpp - Padding-aware ops as the generic one --------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-generalize
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/PatternMatch.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEGENERALIZE
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

namespace {

struct GeneralizePass : mlir::moe::impl::MoeGeneralizeBase<GeneralizePass> {
  void runOnOperation() override {
    SmallVector<PaddingAwareOpInterface> ops;
    getOperation()->walk([&](PaddingAwareOpInterface op) { ops.push_back(op); });
    IRRewriter rewriter(&getContext());
    for (PaddingAwareOpInterface op : ops)
      generalize(rewriter, op);
  }
};

} // namespace
