//===- BF16.cpp - The format of elements as they are computed -------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// #moe.bf16
//
//===----------------------------------------------------------------------===//

#include "moe/IR/Moe.h"

using namespace mlir;
using namespace mlir::moe;

ArrayRef<llvm::StringLiteral> BF16Attr::getDestinationNames() const {
  static constexpr llvm::StringLiteral names[] = {"out"};
  return names;
}

Type BF16Attr::getElementType() const { return BFloat16Type::get(getContext()); }
