//===- Jit.h - From a module to a function of this process ------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Compilation of the entry function for a device.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_RUN_JIT_H
#define MOE_RUN_JIT_H

#include "Binding.h"
#include "Device.h"

#include "mlir/ExecutionEngine/ExecutionEngine.h"
#include "mlir/IR/BuiltinOps.h"

namespace mlir::moe::run {

class CompiledFunction {
public:
  /// Lowers `module` in place and compiles its function `entry`, whose signature was
  /// `signature` before. For CUDA this loads the kernels.
  static llvm::Expected<CompiledFunction>
  create(ModuleOp module, StringRef entry, const Signature &signature, Device device);

  /// Calls the function with pointers to its lowered parameters and to its results.
  void operator()(MutableArrayRef<void *> params) const { function(params.data()); }

private:
  std::unique_ptr<ExecutionEngine> engine;
  void (*function)(void **);
};

} // namespace mlir::moe::run

#endif // MOE_RUN_JIT_H
