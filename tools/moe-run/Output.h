//===- Output.h - Output files, all or none ---------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Files that appear together when all of them are complete.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_RUN_OUTPUT_H
#define MOE_RUN_OUTPUT_H

#include "Npy.h"

namespace mlir::moe::run {

struct Output {
  std::string path;
  std::string dtype;
  StridedArray array;
};

/// Writes all of `outputs`, or leaves every file as it was.
llvm::Error writeOutputs(ArrayRef<Output> outputs);

} // namespace mlir::moe::run

#endif // MOE_RUN_OUTPUT_H
