//===- expert-compiler.cpp - A compiler that uses moe-mlir ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Builds the activation between two expert GEMMs with func, linalg, tensor and moe ops,
// lowers it with the pipeline of the installed package, and prints the PTX.
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "moe/IR/Moe.h"
#include "moe/Pipelines/Pipelines.h"
#include "moe/RegisterAll.h"
#include "moe/Target/PTX.h"

using namespace mlir;

/// func @expert_activation(x, permutation_map, n_used) -> (data, scale), with
/// destinations that the function itself fills and allocates.
static OwningOpRef<ModuleOp> buildModule(MLIRContext &context, int64_t columns) {
  OpBuilder b(&context);
  Location loc = b.getUnknownLoc();
  OwningOpRef<ModuleOp> module = ModuleOp::create(b, loc);
  b.setInsertionPointToEnd(module->getBody());

  constexpr int64_t rows = 4096;
  auto xType = RankedTensorType::get({rows, columns}, b.getBF16Type());
  auto mapType = RankedTensorType::get({rows}, b.getI32Type());
  auto nUsedType = RankedTensorType::get({}, b.getI32Type());
  auto dataType = RankedTensorType::get({rows, columns}, Float8E4M3FNType::get(&context));
  auto scaleType = RankedTensorType::get({moe::getSwizzledScaleSize(rows, columns)},
                                         Float8E8M0FNUType::get(&context));
  auto function = func::FuncOp::create(
      b, loc, "expert_activation",
      b.getFunctionType({xType, mapType, nUsedType, dataType}, {dataType, scaleType}));
  b.setInsertionPointToStart(function.addEntryBlock());
  ValueRange arguments = function.getArguments();

  // FC1's output is doubled, for the sake of an op of another dialect on the way.
  Value sum = tensor::EmptyOp::create(b, loc, xType.getShape(), b.getBF16Type());
  sum = linalg::AddOp::create(b, loc, TypeRange(xType),
                              ValueRange{arguments[0], arguments[0]}, ValueRange(sum))
            .getResult(0);
  Value scale =
      tensor::EmptyOp::create(b, loc, scaleType.getShape(), scaleType.getElementType());
  auto quantize = moe::SquaredReluQuantizeMXFP8Op::create(
      b, loc, TypeRange{dataType, scaleType}, sum, arguments[1], arguments[2],
      /*probs=*/Value(), arguments[3], scale, /*clamp_scale=*/FloatAttr());
  func::ReturnOp::create(b, loc, quantize.getResults());
  return module;
}

int main() {
  DialectRegistry registry;
  moe::registerAllMoeDialects(registry);
  MLIRContext context(registry);
  context.loadAllAvailableDialects();

  OwningOpRef<ModuleOp> module = buildModule(context, /*columns=*/2688);
  if (failed(verify(*module)))
    return 1;
  PassManager pm(&context);
  moe::LowerToPTXOptions options;
  options.chip = "sm_90";
  moe::buildLowerToPTXPipeline(pm, options);
  if (failed(pm.run(*module)))
    return 1;
  return failed(moe::translateToPTX(*module, llvm::outs()));
}
