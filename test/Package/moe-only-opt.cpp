//===- moe-only-opt.cpp - An opt driver that registers ours alone ---------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-opt registers all of upstream, and would not notice what registerAllMoe... forget.
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "moe/RegisterAll.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::moe::registerAllMoeDialects(registry);
  mlir::moe::registerAllMoePasses();
  mlir::moe::registerAllMoePipelines();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "registerAllMoe... and no more\n", registry));
}
