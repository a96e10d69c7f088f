//===- VerifyTranslatable.cpp - What is left to lower in a kernel ---------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Ops by the pass that lowers them.
//
//===----------------------------------------------------------------------===//

#include "VerifyTranslatable.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Target/LLVMIR/LLVMTranslationInterface.h"
#include "moe/Target/Chip.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;

namespace {

/// When an op is lowered. What convert-gpu-to-nvvm takes comes after all else, since it
/// would do worse at the rest, and casts are what other ops have left.
enum class Turn { First, WithFunctions, Last, Never };

/// Whether moe-convert-kernel-math takes `op`. The pass that takes the rest, and calls
/// functions for it, would do so for these too.
bool isKernelMath(Operation *op) {
  return llvm::StringSwitch<bool>(op->getName().stripDialect())
      .Cases(
          {"absf", "absi", "ceil", "copysign", "ctlz", "ctpop", "cttz", "floor", "fma"},
          true)
      .Cases({"isfinite", "isinf", "isnan", "isnormal", "round", "roundeven", "rsqrt",
              "sqrt", "trunc"},
             true)
      .Default(false);
}

Turn getTurn(Operation *op, const LLVMTranslationInterface &translations) {
  if (isa<UnrealizedConversionCastOp>(op))
    return Turn::Last;
  Dialect *dialect = op->getDialect();
  if (isa_and_present<LLVM::LLVMDialect, NVVM::NVVMDialect>(dialect))
    return Turn::Never;
  // The gpu dialect has a translation: of its binaries and launches.
  if (isa_and_present<gpu::GPUDialect>(dialect))
    return Turn::WithFunctions;
  StringRef name = op->getName().getDialectNamespace();
  if (name == "cf" || name == "func" || (name == "math" && !isKernelMath(op)))
    return Turn::WithFunctions;
  if (dialect && name != "builtin" && translations.getInterfaceFor(dialect))
    return Turn::Never;
  return Turn::First;
}

bool isNarrowFloat(Type type) {
  auto element = dyn_cast<FloatType>(getElementTypeOrSelf(type));
  return element && element.getWidth() <= 8;
}

/// Whether `chip` has the instruction of `op`. LLVM aborts on one that it lacks. Those
/// that this project's lowerings make are looked at.
bool hasInstruction(const moe::Chip &chip, Operation *op) {
  if (isa<NVVM::ConvertF32x2ToF8x2Op>(op))
    return chip.hasF8Conversion();
  if (isa<NVVM::GriddepcontrolOp>(op))
    return chip.hasGridDependencyControl();
  return true;
}

/// Whether all chips that `module` is compiled for have all its instructions.
LogicalResult verifyInstructions(gpu::GPUModuleOp module, StringRef by) {
  for (auto target : module.getTargetsAttr().getAsRange<NVVM::NVVMTargetAttr>())
    for (const moe::Chip &chip : moe::getSupportedChips()) {
      if (chip.name != target.getChip())
        continue;
      auto verify = [&](Operation *op) -> WalkResult {
        if (hasInstruction(chip, op))
          return WalkResult::advance();
        return emitError(op->getLoc()) << by << ": expected instructions that "
                                       << chip.name << " has, a target of "
                                       << "gpu.module '" << module.getName()
                                       << "', found '" << op->getName() << "'";
      };
      if (module.getBody()->walk(verify).wasInterrupted())
        return failure();
    }
  return success();
}

/// Whether convert-vector-to-llvm leaves the transfer `op` to convert-vector-to-scf.
bool isLoopOverVectors(Operation *op) {
  auto map = op->getAttrOfType<AffineMapAttr>("permutation_map");
  if (map && !map.getValue().isMinorIdentity())
    return true;
  Type type =
      op->getNumResults() != 0 ? op->getResult(0).getType() : op->getOperand(0).getType();
  auto vector = dyn_cast<VectorType>(type);
  return vector && vector.getRank() > 1;
}

/// Whether moe-lower-kernels takes `op`. It begins where kernels are code for one lane.
bool isInKernels(Operation *op) {
  return !llvm::is_contained({"bufferization", "moe", "moe_warp", "tensor"},
                             op->getName().getDialectNamespace());
}

/// The pass that takes `op` on, or empty.
StringRef getPass(Operation *op) {
  StringRef name = op->getName().getStringRef();
  StringRef byOp =
      llvm::StringSwitch<StringRef>(name)
          .Cases({"memref.subview", "memref.collapse_shape", "memref.expand_shape"},
                 "expand-strided-metadata")
          .Default("");
  if (!byOp.empty())
    return byOp;
  if (name == "vector.transfer_read" || name == "vector.transfer_write")
    return isLoopOverVectors(op) ? "convert-vector-to-scf" : "convert-vector-to-llvm";
  if (name == "arith.truncf" || name == "arith.extf")
    if (isNarrowFloat(op->getOperand(0).getType()) ||
        isNarrowFloat(op->getResult(0).getType()))
      return "moe-legalize-f8";
  return llvm::StringSwitch<StringRef>(op->getName().getDialectNamespace())
      .Case("affine", "lower-affine")
      .Case("arith", "convert-arith-to-llvm")
      .Case("bufferization", "convert-bufferization-to-memref")
      .Case("builtin", "reconcile-unrealized-casts")
      .Case("complex", "convert-complex-to-llvm")
      .Cases({"cf", "func", "gpu"}, "convert-gpu-to-nvvm")
      .Case("index", "convert-index-to-llvm")
      .Case("linalg", "convert-linalg-to-loops")
      .Case("math", isKernelMath(op) ? "moe-convert-kernel-math" : "convert-gpu-to-nvvm")
      .Case("memref", "convert-to-llvm{filter-dialects=memref}")
      .Case("moe", "convert-moe-to-gpu")
      .Case("moe_warp", "convert-moe-warp-to-gpu")
      .Case("moe_warp", "convert-moe-warp-to-gpu")
      .Case("nvgpu", "convert-nvgpu-to-nvvm")
      .Case("scf", "convert-scf-to-cf")
      .Case("tensor", "moe-bufferize")
      .Case("ub", "convert-ub-to-llvm")
      .Case("vector", "convert-vector-to-llvm")
      .Default("");
}

} // namespace

LogicalResult mlir::moe::verifyTranslatable(gpu::GPUModuleOp module, StringRef by) {
  // At locations, not on ops: their regions would be printed with the error.
  if (!module.getTargetsAttr() || module.getTargetsAttr().empty())
    return emitError(module.getLoc())
           << by << ": expected a target on gpu.module '" << module.getName()
           << "', found none: run moe-attach-target first";

  LLVMTranslationInterface translations(module.getContext());
  Operation *next = nullptr;
  Turn turn = Turn::Never;
  module.getBody()->walk<WalkOrder::PreOrder>([&](Operation *op) {
    Turn its = getTurn(op, translations);
    if (its >= turn)
      return;
    next = op;
    turn = its;
  });
  if (!next)
    return verifyInstructions(module, by);

  auto diagnostic = emitError(next->getLoc())
                    << by
                    << ": expected ops of the LLVM and NVVM dialects in gpu.module '"
                    << module.getName() << "', found '" << next->getName() << "'";
  if (isa<UnrealizedConversionCastOp>(next))
    diagnostic << " from " << next->getOperandTypes() << " to " << next->getResultTypes();
  StringRef pass = getPass(next);
  if (pass.empty())
    return diagnostic << ", for which no pass is known here";
  diagnostic << ": run " << pass << " first";
  if (isInKernels(next))
    diagnostic << ", or moe-lower-kernels for all that a kernel needs";
  return diagnostic;
}
