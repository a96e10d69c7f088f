//===- ShareHostMemory.cpp - Host buffers that kernels can reach ----------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-share-host-memory: allocations of the host become managed memory.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/Passes.h"

#include "mlir/Dialect/Bufferization/Transforms/BufferViewFlowAnalysis.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/CallInterfaces.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"

#include <vector>

namespace mlir::moe {
#define GEN_PASS_DEF_MOESHAREHOSTMEMORY
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

/// What cuMemAllocManaged aligns to at least.
static constexpr uint64_t kManagedAlignment = 256;

/// gpu.dealloc, and a wait for it: GPUToLLVM has no dealloc that waits by itself.
static void buildDealloc(ImplicitLocOpBuilder &b, Value memref) {
  auto tokenType = b.getType<gpu::AsyncTokenType>();
  auto buildWait = [&](Type result, ValueRange dependencies) {
    return gpu::WaitOp::create(b, result, dependencies);
  };
  Value start = buildWait(tokenType, {}).getAsyncToken();
  Value freed = gpu::DeallocOp::create(b, tokenType, start, memref).getAsyncToken();
  buildWait(Type(), freed);
}

static Value buildSharedAlloc(ImplicitLocOpBuilder &b, MemRefType type,
                              ValueRange sizes = {}, ValueRange symbols = {}) {
  return gpu::AllocOp::create(b, type, /*asyncToken=*/Type(), /*asyncDependencies=*/{},
                              sizes, symbols, /*hostShared=*/true)
      .getMemref();
}

namespace {

/// The host functions that launch a kernel, themselves or through others. What a function
/// does that is external or called by its address is not known, and taken for
/// `ifUnknown`.
class LaunchingFunctions {
public:
  LaunchingFunctions(ModuleOp module, bool ifUnknown) : ifUnknown(ifUnknown) {
    bool isChanged = true;
    while (isChanged) {
      isChanged = false;
      for (auto function : module.getOps<func::FuncOp>())
        if (!functions.contains(function) && launches(function))
          isChanged |= functions.insert(function).second;
    }
  }

  /// Whether `op` hands its operands to a kernel.
  bool isWayToKernel(Operation *op) {
    if (isa<gpu::LaunchFuncOp>(op))
      return true;
    auto call = dyn_cast<CallOpInterface>(op);
    if (!call)
      return false;
    auto callee =
        dyn_cast_if_present<func::FuncOp>(call.resolveCallableInTable(&symbols));
    return !callee || callee.isExternal() ? ifUnknown : functions.contains(callee);
  }

private:
  bool launches(func::FuncOp function) {
    return function
        .walk([&](Operation *op) {
          return isWayToKernel(op) ? WalkResult::interrupt() : WalkResult::advance();
        })
        .wasInterrupted();
  }

  bool ifUnknown;
  SymbolTableCollection symbols;
  llvm::SmallPtrSet<Operation *, 8> functions;
};

/// The buffers of one function.
class HostBuffers {
public:
  HostBuffers(func::FuncOp function, LaunchingFunctions &certain,
              LaunchingFunctions &possible)
      : function(function), certain(certain), possible(possible),
        aliases(function.getOperation()) {}

  LogicalResult collect();
  void share();

private:
  bool anyUse(Value buffer, function_ref<bool(Operation *)> predicate);
  bool reachesKernel(Value buffer, LaunchingFunctions &launching) {
    return anyUse(buffer, [&](Operation *op) { return launching.isWayToKernel(op); });
  }
  LogicalResult collectGlobal(memref::GetGlobalOp op);
  void shareGlobal(memref::GetGlobalOp op, bool isReturned);

  func::FuncOp function;
  LaunchingFunctions &certain, &possible;
  BufferViewFlowAnalysis aliases;
  SmallVector<memref::AllocOp> allocs;
  SmallVector<memref::DeallocOp> deallocs;
  /// And whether the function may return it.
  SmallVector<std::pair<memref::GetGlobalOp, bool>> globals;
};

struct ShareHostMemoryPass
    : mlir::moe::impl::MoeShareHostMemoryBase<ShareHostMemoryPass> {
  void runOnOperation() override {
    LaunchingFunctions certain(getOperation(), /*ifUnknown=*/false);
    LaunchingFunctions possible(getOperation(), /*ifUnknown=*/true);
    // All of the analysis comes first: the rewriting would leave it behind.
    std::vector<HostBuffers> functions;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      functions.emplace_back(function, certain, possible);
      if (failed(functions.back().collect()))
        return signalPassFailure();
    }
    for (HostBuffers &buffers : functions)
      buffers.share();
  }
};

} // namespace

/// Through views, and through what is called: a function may return its operand.
bool HostBuffers::anyUse(Value buffer, function_ref<bool(Operation *)> predicate) {
  SetVector<Value> reached;
  reached.insert(buffer);
  for (unsigned i = 0; i < reached.size(); ++i) {
    for (Value alias : aliases.resolve(reached[i])) {
      for (Operation *user : alias.getUsers()) {
        if (predicate(user))
          return true;
        if (isa<CallOpInterface>(user))
          for (Value result : user->getResults())
            if (isa<BaseMemRefType>(result.getType()))
              reached.insert(result);
      }
    }
  }
  return false;
}

LogicalResult HostBuffers::collectGlobal(memref::GetGlobalOp op) {
  if (!reachesKernel(op, possible))
    return success();
  auto global =
      SymbolTable::lookupNearestSymbolFrom<memref::GlobalOp>(op, op.getNameAttr());
  if (!global || !global.getConstant()) {
    if (!reachesKernel(op, certain))
      return success();
    return op.emitOpError("expected a constant, or memref.alloc for what a kernel may "
                          "write, found the global '")
           << op.getName() << "'";
  }
  // In a memref of memrefs it may be found after the function has returned.
  auto leaves = [](Operation *user) {
    auto store = dyn_cast<memref::StoreOp>(user);
    return isa<func::ReturnOp>(user) ||
           (store && isa<BaseMemRefType>(store.getValueToStore().getType()));
  };
  globals.push_back({op, anyUse(op, leaves)});
  return success();
}

/// Finds what is to be changed; an error if something cannot be.
LogicalResult HostBuffers::collect() {
  WalkResult result = function.walk([&](Operation *op) -> WalkResult {
    if (auto alloc = dyn_cast<memref::AllocOp>(op)) {
      if (alloc.getAlignment().value_or(1) > kManagedAlignment)
        return op->emitOpError("expected an alignment of at most ")
               << kManagedAlignment << " bytes, found " << *alloc.getAlignment();
      allocs.push_back(alloc);
    } else if (auto dealloc = dyn_cast<memref::DeallocOp>(op)) {
      deallocs.push_back(dealloc);
    } else if (auto global = dyn_cast<memref::GetGlobalOp>(op)) {
      return collectGlobal(global);
    } else if (isa<memref::ReallocOp>(op)) {
      return op->emitOpError("expected allocation, copy and deallocation instead, as "
                             "expand-realloc makes them");
    } else if (auto alloca = dyn_cast<memref::AllocaOp>(op)) {
      if (reachesKernel(alloca, certain))
        return op->emitOpError(
            "expected memref.alloc for what a kernel may access, found "
            "memory on the host's stack");
    }
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

/// Constants are in the program's own memory: the function works on a copy.
void HostBuffers::shareGlobal(memref::GetGlobalOp op, bool isReturned) {
  ImplicitLocOpBuilder b(op.getLoc(), function.getContext());
  b.setInsertionPointToStart(&function.front());
  Value global = memref::GetGlobalOp::create(b, op.getType(), op.getNameAttr());
  Value copy = buildSharedAlloc(b, op.getType());
  memref::CopyOp::create(b, global, copy);
  op.replaceAllUsesWith(copy);
  op.erase();
  if (isReturned)
    return;
  function.walk([&](func::ReturnOp ret) {
    b.setInsertionPoint(ret);
    buildDealloc(b, copy);
  });
}

void HostBuffers::share() {
  for (auto [op, isReturned] : globals)
    shareGlobal(op, isReturned);
  for (memref::AllocOp op : allocs) {
    ImplicitLocOpBuilder b(op.getLoc(), op);
    op.replaceAllUsesWith(
        buildSharedAlloc(b, op.getType(), op.getDynamicSizes(), op.getSymbolOperands()));
    op.erase();
  }
  for (memref::DeallocOp op : deallocs) {
    ImplicitLocOpBuilder b(op.getLoc(), op);
    buildDealloc(b, op.getMemref());
    op.erase();
  }
}
