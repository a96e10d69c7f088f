//===- Runtime.h - What compiled code calls ---------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The functions of the C library that compiled code calls and that mean something else
// here: a failed assertion is an error of this tool, and memory is kept track of.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_RUN_RUNTIME_H
#define MOE_RUN_RUNTIME_H

#include "Device.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ExecutionEngine/Orc/Core.h"
#include "llvm/ExecutionEngine/Orc/Mangling.h"

namespace mlir::moe::run {

/// Prints the one line that an unsuccessful run ends with, and exits.
[[noreturn]] void exitWithError(llvm::StringRef message);

/// The functions that code compiled for `device` finds: those that take the place of the
/// C library's, and for CUDA those of libmoe_mgpu_runtime.so.
llvm::orc::SymbolMap getRuntimeSymbols(llvm::orc::MangleAndInterner intern,
                                       Device device);

/// Prints what the program has handed to puts and is not the message of an assertion.
void printPendingText();

/// Frees what compiled code has allocated and not freed: the results of a call belong to
/// the caller, but may share memory with each other, with an argument or with a constant.
void freeAllocations();

} // namespace mlir::moe::run

#endif // MOE_RUN_RUNTIME_H
