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

namespace mlir::moe {
#define GEN_PASS_DEF_MOESHAREHOSTMEMORY
#include "moe/Transforms/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

static Value buildSharedAlloc(ImplicitLocOpBuilder &b, MemRefType type,
                              ValueRange sizes) {
  return gpu::AllocOp::create(b, type, /*asyncToken=*/Type(), /*asyncDependencies=*/{},
                              sizes, /*symbolOperands=*/{}, /*hostShared=*/true)
      .getMemref();
}

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

namespace {

/// The buffers of one function.
class HostBuffers {
public:
  explicit HostBuffers(func::FuncOp function)
      : function(function), aliases(function.getOperation()) {}

  LogicalResult share();

private:
  bool anyUse(Value buffer, function_ref<bool(Operation *)> predicate);
  /// Whether a kernel gets the buffer from this function or, perhaps, from one that it
  /// calls.
  bool reachesKernel(Value buffer) {
    return anyUse(buffer, llvm::IsaPred<gpu::LaunchFuncOp, func::CallOp>);
  }
  void shareGlobal(memref::GetGlobalOp op);

  func::FuncOp function;
  BufferViewFlowAnalysis aliases;
};

struct ShareHostMemoryPass : moe::impl::MoeShareHostMemoryBase<ShareHostMemoryPass> {
  void runOnOperation() override {
    if (!getOperation().isExternal() && failed(HostBuffers(getOperation()).share()))
      signalPassFailure();
  }
};

} // namespace

bool HostBuffers::anyUse(Value buffer, function_ref<bool(Operation *)> predicate) {
  for (Value alias : aliases.resolve(buffer))
    if (llvm::any_of(alias.getUsers(), predicate))
      return true;
  return false;
}

/// Constants are in the program's own memory: the function works on a copy.
void HostBuffers::shareGlobal(memref::GetGlobalOp op) {
  bool isReturned = anyUse(op, llvm::IsaPred<func::ReturnOp>);
  ImplicitLocOpBuilder b(op.getLoc(), function.getContext());
  Block &entry = function.front();
  b.setInsertionPointToStart(&entry);
  Value global = memref::GetGlobalOp::create(b, op.getType(), op.getNameAttr());
  Value copy = buildSharedAlloc(b, op.getType(), {});
  memref::CopyOp::create(b, global, copy);
  op.replaceAllUsesWith(copy);
  op.erase();
  if (isReturned)
    return; // Now the caller's.
  function.walk([&](func::ReturnOp ret) {
    b.setInsertionPoint(ret);
    buildDealloc(b, copy);
  });
}

LogicalResult HostBuffers::share() {
  // All of the analysis comes first: the rewriting below would leave it behind.
  SmallVector<memref::AllocOp> allocs;
  SmallVector<memref::DeallocOp> deallocs;
  SmallVector<memref::GetGlobalOp> globals;
  WalkResult result = function.walk([&](Operation *op) -> WalkResult {
    if (auto alloc = dyn_cast<memref::AllocOp>(op))
      allocs.push_back(alloc);
    else if (auto dealloc = dyn_cast<memref::DeallocOp>(op))
      deallocs.push_back(dealloc);
    else if (auto global = dyn_cast<memref::GetGlobalOp>(op)) {
      if (reachesKernel(global))
        globals.push_back(global);
    } else if (isa<memref::ReallocOp>(op))
      return op->emitOpError("expected allocation, copy and deallocation instead, as "
                             "expand-realloc makes them");
    else if (auto alloca = dyn_cast<memref::AllocaOp>(op))
      if (reachesKernel(alloca))
        return op->emitOpError(
            "expected memref.alloc for what a kernel may access, found "
            "memory on the host's stack");
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  for (memref::GetGlobalOp global : globals)
    shareGlobal(global);
  for (memref::AllocOp op : allocs) {
    ImplicitLocOpBuilder b(op.getLoc(), op);
    op.replaceAllUsesWith(buildSharedAlloc(b, op.getType(), op.getDynamicSizes()));
    op.erase();
  }
  for (memref::DeallocOp op : deallocs) {
    ImplicitLocOpBuilder b(op.getLoc(), op);
    buildDealloc(b, op.getMemref());
    op.erase();
  }
  return success();
}
