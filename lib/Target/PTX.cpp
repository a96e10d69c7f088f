//===- PTX.cpp - PTX text out of a lowered module -------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Finds the one PTX text that is meant, or says why there is none.
//
//===----------------------------------------------------------------------===//

#include "moe/Target/PTX.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "moe/Target/Diagnostics.h"

using namespace mlir;
using namespace mlir::moe;

static StringRef getChip(gpu::ObjectAttr object) {
  auto target = dyn_cast<NVVM::NVVMTargetAttr>(object.getTarget());
  return target ? target.getChip() : "another target";
}

LogicalResult mlir::moe::translateToPTX(ModuleOp module, raw_ostream &output,
                                        StringRef binaryName, StringRef chip) {
  SmallVector<gpu::BinaryOp> binaries(module.getOps<gpu::BinaryOp>());
  auto matches = llvm::make_filter_range(binaries, [&](gpu::BinaryOp binary) {
    return binaryName.empty() || binary.getName() == binaryName;
  });
  if (!llvm::hasSingleElement(matches)) {
    auto diagnostic = emitErrorAt(module) << "expected one gpu.binary";
    if (!binaryName.empty())
      diagnostic << " called '" << binaryName << "'";
    diagnostic << ", found ";
    if (binaries.empty())
      return diagnostic << "none: lower the module with moe-lower-to-ptx first";
    llvm::interleaveComma(binaries, diagnostic, [&](gpu::BinaryOp binary) {
      diagnostic << "'" << binary.getName() << "'";
    });
    return diagnostic;
  }

  gpu::BinaryOp binary = *matches.begin();
  SmallVector<gpu::ObjectAttr> objects;
  for (Attribute attribute : binary.getObjects()) {
    auto object = cast<gpu::ObjectAttr>(attribute);
    if (chip.empty() || getChip(object) == chip)
      objects.push_back(object);
  }
  if (objects.size() != 1) {
    auto diagnostic = emitErrorAt(binary) << "expected one object";
    if (!chip.empty())
      diagnostic << " for chip '" << chip << "'";
    diagnostic << ", found objects for ";
    llvm::interleaveComma(binary.getObjects(), diagnostic, [&](Attribute object) {
      diagnostic << getChip(cast<gpu::ObjectAttr>(object));
    });
    return diagnostic;
  }
  if (objects.front().getFormat() != gpu::CompilationTarget::Assembly)
    return emitErrorAt(binary) << "expected PTX, found "
                               << gpu::stringifyCompilationTarget(
                                      objects.front().getFormat())
                               << ": lower the module with format=isa";
  output << objects.front().getObject().getValue().rtrim('\0');
  return success();
}
