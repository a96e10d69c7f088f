//===- MoeDialect.cpp - The moe dialect -----------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Registration of the dialect, its attributes and its interfaces.
//
//===----------------------------------------------------------------------===//

#include "moe/IR/Moe.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::moe;

#include "moe/IR/MoeOpsDialect.cpp.inc"

#include "moe/IR/MoeEnums.cpp.inc"

#include "moe/IR/MoeAttrInterfaces.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "moe/IR/MoeAttrs.cpp.inc"

#include "moe/IR/MoeInterfaces.cpp.inc"

void MoeDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "moe/IR/MoeAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "moe/IR/MoeOps.cpp.inc"
      >();
}
