//===- VerifyLowered.cpp - Success means lowered --------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-verify-lowered: conversions are partial, so that each leaves to the next what it
// does not know. Here is where nothing comes next.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "moe/IR/Moe.h"
#include "moe/Target/Diagnostics.h"
#include "llvm/ADT/StringSwitch.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEVERIFYLOWERED
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

namespace {

enum class Level { CPU, CUDA, Kernel, Launch };

/// Whether ops like `op` belong to the level.
bool belongsTo(Level level, Operation *op) {
  if (level == Level::Launch)
    return !isa<gpu::GPUModuleOp, gpu::LaunchOp, UnrealizedConversionCastOp>(op) &&
           !isa_and_present<MoeDialect>(op->getDialect()) &&
           llvm::none_of(op->getOperandTypes(), llvm::IsaPred<TensorType>) &&
           llvm::none_of(op->getResultTypes(), llvm::IsaPred<TensorType>);
  if (isa_and_present<LLVM::LLVMDialect>(op->getDialect()))
    return true;
  switch (level) {
  case Level::CPU:
    return isa<ModuleOp>(op);
  case Level::CUDA:
    return isa<ModuleOp, gpu::BinaryOp, gpu::LaunchFuncOp>(op);
  case Level::Kernel:
    return isa<gpu::GPUModuleOp>(op) ||
           isa_and_present<NVVM::NVVMDialect>(op->getDialect());
  case Level::Launch:
    break;
  }
  return false;
}

/// The host has one memory: space 1, a GPU's global memory, is taken for it, so that a
/// program can be compiled for both.
bool hasMemorySpace(Level level, uint64_t space) {
  if (level != Level::Kernel)
    return space <= 1;
  return space <= 1 || (space >= 3 && space <= 5) || space == 7;
}

bool hasMemorySpace(Level level, Attribute space) {
  if (!space)
    return true;
  if (isa<gpu::AddressSpaceAttr>(space))
    return level == Level::Kernel;
  auto number = dyn_cast<IntegerAttr>(space);
  return number && hasMemorySpace(level, number.getValue().getZExtValue());
}

bool isForeign(Level level, Type type) {
  if (auto pointer = dyn_cast<LLVM::LLVMPointerType>(type))
    return !hasMemorySpace(level, pointer.getAddressSpace());
  if (auto memref = dyn_cast<BaseMemRefType>(type))
    return !hasMemorySpace(level, memref.getMemorySpace());
  return false;
}

/// Whether the lowering of host code to CUDA calls a function of this name. It takes a
/// program's symbol of that name for it, whatever that is.
bool isTakenByCUDA(StringRef name) {
  if (!name.consume_front("mgpu"))
    return false;
  return llvm::is_contained({"EventCreate",
                             "EventDestroy",
                             "EventRecord",
                             "EventSynchronize",
                             "LaunchKernel",
                             "LaunchClusterKernel",
                             "MemAlloc",
                             "MemFree",
                             "MemHostRegisterMemRef",
                             "MemHostUnregisterMemRef",
                             "Memcpy",
                             "Memset16",
                             "Memset32",
                             "ModuleGetFunction",
                             "ModuleLoad",
                             "ModuleLoadJIT",
                             "ModuleUnload",
                             "SetDefaultDevice",
                             "StreamCreate",
                             "StreamDestroy",
                             "StreamSynchronize",
                             "StreamWaitEvent"},
                            name);
}

/// A type of `op` with a memory space that the target does not have, or null.
Type findForeignType(Level level, Operation *op) {
  Type found;
  auto search = [&](Type type) {
    type.walk([&](Type part) {
      if (!found && isForeign(level, part))
        found = part;
    });
  };
  llvm::for_each(op->getResultTypes(), search);
  llvm::for_each(op->getOperandTypes(), search);
  if (auto function = dyn_cast<FunctionOpInterface>(op))
    search(function.getFunctionType());
  if (auto global = dyn_cast<memref::GlobalOp>(op))
    search(global.getType());
  if (auto global = dyn_cast<LLVM::GlobalOp>(op))
    search(LLVM::LLVMPointerType::get(op->getContext(), global.getAddrSpace()));
  return found;
}

struct VerifyLoweredPass : mlir::moe::impl::MoeVerifyLoweredBase<VerifyLoweredPass> {
  using MoeVerifyLoweredBase::MoeVerifyLoweredBase;

  void runOnOperation() override {
    auto known = llvm::StringSwitch<std::optional<Level>>(level)
                     .Case("cpu", Level::CPU)
                     .Case("cuda", Level::CUDA)
                     .Case("kernel", Level::Kernel)
                     .Case("launch", Level::Launch)
                     .Default(std::nullopt);
    if (!known) {
      emitError(getOperation()->getLoc())
          << getArgument()
          << ": expected level to be cpu, cuda, kernel or launch, found '" << level
          << "'";
      return signalPassFailure();
    }
    if (failed(memorySpaces ? verifyMemorySpaces(*known) : verify(*known)))
      signalPassFailure();
  }

private:
  std::string by() { return pipeline.empty() ? getArgument().str() : pipeline; }

  /// One error: what is left often has the same cause.
  LogicalResult verify(Level level) {
    // Casts are what other ops have left.
    Operation *op = nullptr, *cast = nullptr;
    getOperation()->walk<WalkOrder::PreOrder>([&](Operation *candidate) {
      if (belongsTo(level, candidate))
        return WalkResult::advance();
      if (isa<UnrealizedConversionCastOp>(candidate)) {
        if (!cast)
          cast = candidate;
        return WalkResult::advance();
      }
      op = candidate;
      return WalkResult::interrupt();
    });
    if (op)
      return report(op);
    if (cast)
      return emitError(cast->getLoc())
             << "type " << cast->getOperand(0).getType() << " was not lowered by " << by()
             << " where " << cast->getResult(0).getType() << " is expected";
    if (level == Level::Launch)
      return success();
    return verifyMemorySpaces(level);
  }

  LogicalResult verifyMemorySpaces(Level level) {
    auto verify = [&](Operation *op) -> WalkResult {
      if (isa<gpu::GPUModuleOp, gpu::LaunchOp>(op) && level != Level::Kernel)
        return report(op);
      auto symbol = dyn_cast<SymbolOpInterface>(op);
      if (memorySpaces && level == Level::CUDA && symbol &&
          isTakenByCUDA(symbol.getName()))
        return emitError(op->getLoc())
               << "expected another name than '" << symbol.getName() << "', which "
               << by() << " has for a function of the CUDA runtime";
      if (Type type = findForeignType(level, op))
        return emitError(op->getLoc())
               << "expected a memory space that the target of " << by()
               << " has, found that of " << type << " in '" << op->getName() << "'";
      // Functions that allocate know one space alone.
      if (level != Level::Kernel &&
          isa<memref::AllocOp, memref::DeallocOp, memref::ReallocOp>(op)) {
        Value buffer = op->getNumResults() != 0 ? op->getResult(0) : op->getOperand(0);
        auto type = cast<BaseMemRefType>(buffer.getType());
        if (type.getMemorySpaceAsInt() != 0)
          return emitError(op->getLoc())
                 << "expected '" << op->getName() << "' in memory space 0 for " << by()
                 << ", found " << type;
      }
      return WalkResult::advance();
    };
    return failure(getOperation()->walk<WalkOrder::PreOrder>(verify).wasInterrupted());
  }

  LogicalResult report(Operation *op) {
    auto diagnostic = emitErrorAt(op)
                      << "'" << op->getName() << "' op was not lowered by " << by();
    if (op->getNumOperands() != 0 || op->getNumResults() != 0)
      diagnostic << ": (" << op->getOperandTypes() << ") -> (" << op->getResultTypes()
                 << ")";
    return diagnostic;
  }
};

} // namespace
