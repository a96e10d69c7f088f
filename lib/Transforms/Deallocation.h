//===- Deallocation.h - Free what bufferization allocated -------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Tells the buffers that bufferization allocates from those of the program, and frees
// them.
//
//===----------------------------------------------------------------------===//

#ifndef LIB_MOE_TRANSFORMS_DEALLOCATION_H
#define LIB_MOE_TRANSFORMS_DEALLOCATION_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallBitVector.h"

namespace mlir::moe {

/// Made before the functions of a module are bufferized, which is when one sees what is a
/// tensor and what is a buffer of the program. A function without tensors is left alone:
/// a memref that it returns is that buffer, and what it allocates it frees itself.
class Deallocation {
public:
  explicit Deallocation(ModuleOp module);

  /// Whether a function has a tensor anywhere.
  bool hasTensors() const;

  /// To be called right before bufferization, for `run` to know them.
  void markBuffersOfProgram();

  /// To be called after it. A tensor that a function returns belongs to the
  /// caller, so a buffer that is not the function's own is returned as a copy.
  void run();

private:
  struct Boundary {
    llvm::SmallBitVector isTensorArgument;
    llvm::SmallBitVector isTensorResult;
    bool hasTensors = false;
    /// Where tensors become memrefs that may live on, a buffer's owner is not known by
    /// the type of the value.
    bool mixesLevels = false;
  };

  const Boundary *getCallee(Operation *call);
  void freeWhatStaysLocal(func::FuncOp function);
  void copyReturnedTensors(func::FuncOp function);
  SetVector<Value> getOwnedBuffers(func::FuncOp function);
  bool mayKeep(OpOperand &use);
  bool mayKeepArgument(func::FuncOp function, unsigned index);

  llvm::MapVector<Operation *, Boundary> functions;
  /// What mayKeepArgument has found; false while it looks.
  llvm::DenseMap<Value, bool> keptArguments;
  SymbolTableCollection symbols;
};

} // namespace mlir::moe

#endif // LIB_MOE_TRANSFORMS_DEALLOCATION_H
