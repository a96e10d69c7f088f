//===- own-opt.cpp - moe-opt with a dialect of its own --------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An op says what it computes of an element and what it stores that as. It then fuses,
// bufferizes and lowers to the CPU and to PTX as the ops of moe do.
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "moe/IR/Moe.h"
#include "moe/RegisterAll.h"
#include "moe/Transforms/PaddingAwareOpModels.h"

#include "OwnDialect.h.inc"

#define GET_OP_CLASSES
#include "OwnOps.h.inc"

#include "OwnDialect.cpp.inc"

using namespace mlir;

void own::OwnDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "OwnOps.cpp.inc"
      >();
}

moe::FormatAttrInterface own::PaddedLeakyReluOp::getFormat() {
  return moe::BF16Attr::get(getContext());
}

Value own::PaddedLeakyReluOp::buildActivation(OpBuilder &builder, Location loc,
                                              ValueRange parts) {
  Value elements = parts.front();
  auto constant = [&](double value) -> Value {
    TypedAttr attribute = builder.getFloatAttr(builder.getBF16Type(), value);
    if (auto vector = dyn_cast<VectorType>(elements.getType()))
      attribute = DenseElementsAttr::get(vector, Attribute(attribute));
    return arith::ConstantOp::create(builder, loc, attribute);
  };
  Value small = arith::MulFOp::create(builder, loc, elements, constant(0.25));
  Value isPositive = arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::OGT,
                                           elements, constant(0));
  return arith::SelectOp::create(builder, loc, isPositive, elements, small);
}

#define GET_OP_CLASSES
#include "OwnOps.cpp.inc"

int main(int argc, char **argv) {
  DialectRegistry registry;
  registerAllDialects(registry);
  registerAllExtensions(registry);
  moe::registerAllMoeDialects(registry);
  registry.insert<own::OwnDialect>();
  registry.addExtension(+[](MLIRContext *context, own::OwnDialect *) {
    moe::attachPaddingAwareOpModels<own::PaddedLeakyReluOp>(context);
  });
  registerAllPasses();
  moe::registerAllMoePasses();
  moe::registerAllMoePipelines();
  return failed(MlirOptMain(argc, argv, "own-opt: a dialect beside moe\n", registry));
}
