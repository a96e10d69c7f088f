//===- Deallocation.cpp - Free what bufferization allocated ---------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Upstream's ownership-based deallocation takes every memref of a function for one that
// bufferization made. It is used where that is true or can be made true. Functions that
// it refuses, or in which tensors become buffers of the program, get a simpler one: a
// buffer is freed after its last use where all its uses are seen.
//
//===----------------------------------------------------------------------===//

#include "Deallocation.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Transforms/BufferViewFlowAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/CallInterfaces.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"

using namespace mlir;
using namespace mlir::moe;

static constexpr StringLiteral kManual =
    bufferization::BufferizationDialect::kManualDeallocation;

static bool isMemRef(Type type) { return isa<BaseMemRefType>(type); }

static llvm::SmallBitVector findTensors(TypeRange types) {
  llvm::SmallBitVector isTensor(types.size());
  for (auto [index, type] : llvm::enumerate(types))
    isTensor[index] = isa<TensorType>(type);
  return isTensor;
}

static bool touchesTensors(Operation *op) {
  return llvm::any_of(op->getOperandTypes(), llvm::IsaPred<TensorType>) ||
         llvm::any_of(op->getResultTypes(), llvm::IsaPred<TensorType>);
}

/// Whether `op` allocates or frees a buffer other than on the stack.
static bool managesBuffers(Operation *op) {
  auto interface = dyn_cast<MemoryEffectOpInterface>(op);
  if (!interface)
    return false;
  SmallVector<MemoryEffects::EffectInstance> effects;
  interface.getEffects(effects);
  return llvm::any_of(effects, [](const MemoryEffects::EffectInstance &effect) {
    return isa<MemoryEffects::Allocate, MemoryEffects::Free>(effect.getEffect()) &&
           effect.getValue() && isMemRef(effect.getValue().getType());
  });
}

Deallocation::Deallocation(ModuleOp module) {
  for (auto function : module.getOps<func::FuncOp>()) {
    Boundary &boundary = functions[function];
    boundary.isTensorArgument = findTensors(function.getArgumentTypes());
    boundary.isTensorResult = findTensors(function.getResultTypes());
    boundary.hasTensors =
        boundary.isTensorArgument.any() || boundary.isTensorResult.any();
    boundary.mixesLevels = llvm::any_of(function.getResultTypes(), isMemRef);
    function.walk([&](Operation *op) {
      boundary.hasTensors |= touchesTensors(op);
      boundary.mixesLevels |=
          isa<bufferization::ToBufferOp>(op) ||
          (isa<CallOpInterface>(op) && llvm::any_of(op->getResultTypes(), isMemRef));
    });
  }
}

void Deallocation::markBuffersOfProgram() {
  for (auto &[function, boundary] : functions)
    if (boundary.hasTensors)
      function->walk([](Operation *op) {
        if (managesBuffers(op))
          op->setAttr(kManual, UnitAttr::get(op->getContext()));
      });
}

bool Deallocation::hasTensors() const {
  return llvm::any_of(functions, [](auto &entry) { return entry.second.hasTensors; });
}

/// Upstream's deallocation; where it fails, the function is as it was.
static LogicalResult freeByOwnership(func::FuncOp function,
                                     SymbolTableCollection &symbols) {
  OwningOpRef<func::FuncOp> original = function.clone();
  ScopedDiagnosticHandler ignore(function.getContext(),
                                 [](Diagnostic &) { return success(); });
  if (succeeded(bufferization::deallocateBuffersOwnershipBased(function, {}, symbols)))
    return success();
  function.getBody().takeBody(original->getBody());
  return failure();
}

void Deallocation::run() {
  for (auto &[op, boundary] : functions) {
    auto function = cast<func::FuncOp>(op);
    if (!boundary.hasTensors || function.isExternal())
      continue;
    if (boundary.mixesLevels || failed(freeByOwnership(function, symbols)))
      freeWhatStaysLocal(function);
    function.walk([](Operation *op) { op->removeAttr(kManual); });
  }
}

/// Null if it is not known what `call` calls.
const Deallocation::Boundary *Deallocation::getCallee(Operation *call) {
  auto interface = dyn_cast<CallOpInterface>(call);
  if (!interface)
    return nullptr;
  auto found = functions.find(interface.resolveCallableInTable(&symbols));
  return found == functions.end() ? nullptr : &found->second;
}

/// The buffers that bufferization allocated, here or in a function that returned them.
SetVector<Value> Deallocation::getOwnedBuffers(func::FuncOp function) {
  SetVector<Value> buffers;
  function.walk([&](Operation *op) {
    if (isa<memref::AllocOp>(op) && !op->hasAttr(kManual))
      buffers.insert(op->getResult(0));
    if (const Boundary *callee = getCallee(op))
      for (unsigned index : callee->isTensorResult.set_bits())
        buffers.insert(op->getResult(index));
  });
  return buffers;
}

/// Upstream takes all that a call returns for views of its operands. No view of another
/// buffer are those that are `owned`, and values that are no buffers at all.
static BufferViewFlowAnalysis analyzeAliases(func::FuncOp function,
                                             const SetVector<Value> &owned) {
  BufferViewFlowAnalysis aliases(function);
  SetVector<Value> others = owned;
  function.walk([&](Operation *op) {
    if (isa<CallOpInterface>(op))
      for (Value result : op->getResults())
        if (!isMemRef(result.getType()))
          others.insert(result);
  });
  aliases.remove(others);
  return aliases;
}

/// Where it is not certain that the function owns a buffer that it returns as a tensor,
/// and nobody else has it, a copy is returned.
void Deallocation::copyReturnedTensors(func::FuncOp function) {
  SetVector<Value> owned = getOwnedBuffers(function);
  BufferViewFlowAnalysis aliases = analyzeAliases(function, owned);
  const Boundary &boundary = functions.find(function)->second;
  function.walk([&](func::ReturnOp ret) {
    for (unsigned index : boundary.isTensorResult.set_bits()) {
      OpOperand &operand = ret->getOpOperand(index);
      Value root = operand.get();
      while (auto cast = root.getDefiningOp<memref::CastOp>())
        root = cast.getSource();
      // Once there, such a buffer always gets to the end of its block.
      bool isMoved = owned.contains(root) && root.getParentBlock() == ret->getBlock();
      if (isMoved) {
        for (Value alias : aliases.resolve(root))
          for (OpOperand &use : alias.getUses())
            isMoved &= &use == &operand || !mayKeep(use);
      }
      auto type = dyn_cast<MemRefType>(operand.get().getType());
      if (isMoved || !type)
        continue;
      ImplicitLocOpBuilder b(ret.getLoc(), ret);
      SmallVector<Value> sizes;
      for (auto [dim, size] : llvm::enumerate(type.getShape()))
        if (ShapedType::isDynamic(size))
          sizes.push_back(memref::DimOp::create(b, operand.get(), dim));
      Value copy = memref::AllocOp::create(b, type, sizes);
      memref::CopyOp::create(b, operand.get(), copy);
      operand.set(copy);
    }
  });
}

/// Whether a buffer may be referred to after the op that uses it, other than through the
/// op's results and the arguments of its blocks.
bool Deallocation::mayKeep(OpOperand &use) {
  Operation *user = use.getOwner();
  if (isa<func::ReturnOp, memref::ExtractAlignedPointerAsIndexOp,
          UnrealizedConversionCastOp>(user))
    return true;
  if (auto store = dyn_cast<memref::StoreOp>(user))
    return use.get() == store.getValueToStore();
  if (isa<CallOpInterface>(user)) {
    const Boundary *callee = getCallee(user);
    unsigned index = use.getOperandNumber();
    if (!callee)
      return true;
    auto function =
        cast<func::FuncOp>(cast<CallOpInterface>(user).resolveCallableInTable(&symbols));
    return !callee->isTensorArgument[index] && mayKeepArgument(function, index);
  }
  if (managesBuffers(user) && hasEffect<MemoryEffects::Free>(user, use.get()))
    return true;
  // A value in memory, or in an element of an aggregate, may be anywhere later.
  return !isa<MemoryEffectOpInterface, BranchOpInterface, RegionBranchOpInterface,
              RegionBranchTerminatorOpInterface>(user) &&
         !user->hasTrait<OpTrait::HasRecursiveMemoryEffects>();
}

/// Whether an argument may be referred to after the call, other than through the results.
/// What is only declared keeps nothing: a buffer that was a tensor is lent to it.
bool Deallocation::mayKeepArgument(func::FuncOp function, unsigned index) {
  if (function.isExternal())
    return false;
  Value argument = function.getArgument(index);
  auto [found, isNew] = keptArguments.try_emplace(argument, false);
  if (!isNew)
    return found->second;
  BufferViewFlowAnalysis aliases = analyzeAliases(function, getOwnedBuffers(function));
  bool isKept = false;
  for (Value alias : aliases.resolve(argument))
    for (OpOperand &use : alias.getUses())
      isKept |= !isa<func::ReturnOp>(use.getOwner()) && mayKeep(use);
  keptArguments[argument] = isKept;
  return isKept;
}

void Deallocation::freeWhatStaysLocal(func::FuncOp function) {
  copyReturnedTensors(function);
  SetVector<Value> owned = getOwnedBuffers(function);
  BufferViewFlowAnalysis aliases = analyzeAliases(function, owned);
  // The frees come last: they are uses themselves.
  SmallVector<std::pair<Value, Operation *>> frees;
  for (Value buffer : owned) {
    Block *block = buffer.getParentBlock();
    Operation *last = buffer.getDefiningOp();
    bool isLocal = true;
    auto extend = [&](Operation *op) {
      op = block->findAncestorOpInBlock(*op);
      if (!op)
        isLocal = false;
      else if (last->isBeforeInBlock(op))
        last = op;
    };
    for (Value alias : aliases.resolve(buffer)) {
      auto argument = dyn_cast<BlockArgument>(alias);
      if (argument && argument.getOwner() == block)
        isLocal = false;
      extend(argument ? argument.getOwner()->getParentOp() : alias.getDefiningOp());
      for (OpOperand &use : alias.getUses()) {
        isLocal &= !mayKeep(use);
        extend(use.getOwner());
      }
    }
    if (isLocal && !last->hasTrait<OpTrait::IsTerminator>())
      frees.push_back({buffer, last});
  }
  for (auto [buffer, last] : frees) {
    OpBuilder b(last->getContext());
    b.setInsertionPointAfter(last);
    memref::DeallocOp::create(b, buffer.getLoc(), buffer);
  }
}
