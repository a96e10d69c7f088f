//===- npy-reader.cpp - moe-run's reader of .npy files, by itself ---------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Reads the files that stdin names, one a line, and says of each what was read or why
// not: what fuzz_npy.py compares with NumPy, thousands of files in a process.
//
//===----------------------------------------------------------------------===//

#include "Npy.h"

#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"

#include <iostream>
#include <string>

using namespace mlir::moe::run;

int main() {
  std::string path;
  while (std::getline(std::cin, path)) {
    llvm::Expected<NpyFile> file = readNpy(path);
    if (file)
      llvm::outs() << "array\t" << file->dtype << '\t' << formatShape(file->shape) << '\t'
                   << file->data.size() << '\t' << llvm::xxh3_64bits(file->data) << '\n';
    else
      llvm::outs() << "error\t" << toString(file.takeError()) << '\n';
    // What was said of the files before is known if this one ends the process.
    llvm::outs().flush();
  }
}
