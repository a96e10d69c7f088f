//===- moe-translate.cpp - The translate driver ---------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Takes what moe-opt has lowered out of MLIR: PTX text, ready for the driver.
//
//===----------------------------------------------------------------------===//

#include "Version.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Tools/mlir-translate/MlirTranslateMain.h"
#include "mlir/Tools/mlir-translate/Translation.h"
#include "moe/IR/Moe.h"
#include "moe/Target/PTX.h"
#include "llvm/Support/CommandLine.h"

static llvm::cl::opt<std::string>
    binary("moe-binary",
           llvm::cl::desc("The gpu.binary to translate, if there are several"));
static llvm::cl::opt<std::string>
    chip("moe-chip", llvm::cl::desc("The chip to translate for, if there are several"));

int main(int argc, char **argv) {
  mlir::moe::setVersionPrinter();
  mlir::TranslateFromMLIRRegistration registration(
      "moe-to-ptx", "PTX text of a module lowered by moe-lower-to-ptx",
      [](mlir::ModuleOp module, llvm::raw_ostream &output) {
        return mlir::moe::translateToPTX(module, output, binary, chip);
      },
      [](mlir::DialectRegistry &registry) {
        mlir::registerAllDialects(registry);
        registry.insert<mlir::moe::MoeDialect>();
      });
  return mlir::failed(mlir::mlirTranslateMain(argc, argv, "moe-mlir translation driver"));
}
