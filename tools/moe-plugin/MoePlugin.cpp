//===- MoePlugin.cpp - moe-mlir for an unmodified mlir-opt ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One shared object that is both a dialect plugin and a pass plugin:
//
//   mlir-opt --load-dialect-plugin=MoePlugin.so --load-pass-plugin=MoePlugin.so \
//     --pass-pipeline='builtin.module(moe-lower-to-ptx{chip=sm_90})' file.mlir
//
//===----------------------------------------------------------------------===//

#include "mlir/Tools/Plugins/DialectPlugin.h"
#include "mlir/Tools/Plugins/PassPlugin.h"
#include "moe/RegisterAll.h"
#include "llvm/Config/llvm-config.h"

extern "C" LLVM_ATTRIBUTE_VISIBILITY_DEFAULT ::mlir::DialectPluginLibraryInfo
mlirGetDialectPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "Moe", LLVM_VERSION_STRING,
          [](mlir::DialectRegistry *registry) {
            mlir::moe::registerAllMoeDialects(*registry);
          }};
}

extern "C" LLVM_ATTRIBUTE_VISIBILITY_DEFAULT ::mlir::PassPluginLibraryInfo
mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "Moe", LLVM_VERSION_STRING, [] {
            mlir::moe::registerAllMoePasses();
            mlir::moe::registerAllMoePipelines();
          }};
}
