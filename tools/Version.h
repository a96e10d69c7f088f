//===- Version.h - What --version prints ------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The version of every tool: this project's, then that of the LLVM it was built with.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TOOLS_VERSION_H
#define MOE_TOOLS_VERSION_H

#include "llvm/Support/CommandLine.h"
#include "llvm/Support/raw_ostream.h"

namespace mlir::moe {

/// Makes --version name moe-mlir. To be called before the command line is parsed.
inline void setVersionPrinter() {
  llvm::cl::SetVersionPrinter([](llvm::raw_ostream &os) {
    os << "moe-mlir version " MOE_VERSION "\n";
    os.flush();
    llvm::cl::PrintVersionMessage();
  });
}

} // namespace mlir::moe

#endif // MOE_TOOLS_VERSION_H
