//===- LoweringPreconditions.cpp - What a lowering leaves behind ----------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An op that a lowering could not take is an error where it stands, not a surprise three
// passes on.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"
#include "moe/IR/Moe.h"

using namespace mlir;
using namespace mlir::moe;

LogicalResult mlir::moe::verifyNoMoeOpsLeft(Operation *root, StringRef passName) {
  bool isClean = true;
  root->walk([&](DestinationStyleOpInterface op) {
    if (!isa<PaddingAwareOpInterface, PermutationOpInterface>(op.getOperation()))
      return;
    if (op.hasPureTensorSemantics())
      op->emitOpError("expected memrefs for ")
          << passName << ", found tensors: run one-shot-bufferize before it";
    else
      op->emitOpError("was not lowered by ") << passName;
    isClean = false;
  });
  return success(isClean);
}
