//===- Npy.h - Arrays in .npy files -----------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Reading and writing of NumPy's .npy format: versions 1.0 and 2.0 in, 1.0 out, C order,
// little endian.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_RUN_NPY_H
#define MOE_RUN_NPY_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBuffer.h"

#include <memory>
#include <string>

namespace mlir::moe::run {

/// A file as it was found. Whether `data` has the size that `dtype` and `shape` ask for
/// is not checked yet: it takes the size of an element.
struct NpyFile {
  std::string dtype;
  SmallVector<int64_t> shape;
  StringRef data;
  std::unique_ptr<llvm::MemoryBuffer> buffer;
};

/// Elements in memory, with strides in elements.
struct StridedArray {
  const char *data;
  unsigned elementBytes;
  ArrayRef<int64_t> shape;
  ArrayRef<int64_t> strides;
};

/// Reads a regular file or a pipe. What a message quotes of the content is printable and
/// short.
llvm::Expected<NpyFile> readNpy(StringRef path);

/// Writes the elements of `array` one after the other, as `dtype`.
void writeNpy(llvm::raw_ostream &os, StringRef dtype, const StridedArray &array);

/// A shape as Python prints it.
std::string formatShape(ArrayRef<int64_t> shape);

} // namespace mlir::moe::run

#endif // MOE_RUN_NPY_H
