//===- moe-lsp-server.cpp - The language server ---------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// mlir-lsp-server for files with moe ops.
//
//===----------------------------------------------------------------------===//

#include "Version.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "moe/IR/Moe.h"

int main(int argc, char **argv) {
  mlir::moe::setVersionPrinter();
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<mlir::moe::MoeDialect>();
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
