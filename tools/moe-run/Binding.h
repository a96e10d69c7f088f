//===- Binding.h - The entry's signature and its values ---------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the entry function takes and returns before it is lowered, and the values of one
// call in the form that compiled code takes and returns them in.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_RUN_BINDING_H
#define MOE_RUN_BINDING_H

#include "Device.h"
#include "Npy.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/STLExtras.h"

namespace mlir::moe::run {

/// How the elements of a type are stored in an .npy file.
struct ElementFormat {
  unsigned bytes;
  /// The dtypes that are accepted, without byte order. The first is the one written.
  SmallVector<StringRef, 2> dtypes;
};

/// A parameter or a result of the entry function: a tensor, a memref or a scalar.
struct ValueSpec {
  Type type;
  ElementFormat element;

  /// The rank of a tensor or a memref, which is passed as a memref descriptor; none for a
  /// scalar, which is passed as it is.
  std::optional<int64_t> rank;

  /// How many parameters it becomes when it is lowered.
  unsigned getNumLoweredParams() const { return rank ? 3 + 2 * *rank : 1; }
};

struct Signature {
  SmallVector<ValueSpec> params;
  SmallVector<ValueSpec> results;

  /// Fails if there is a type that has no counterpart in an .npy file.
  static llvm::Expected<Signature> get(func::FuncOp entry);
};

/// An argument in memory that compiled code may write to.
class Argument {
public:
  /// Copies the content of `file` to memory of `device`, if it is what `spec` asks for.
  static llvm::Expected<Argument> create(const ValueSpec &spec, const NpyFile &file,
                                         Device device);

  /// Appends a pointer to each lowered parameter. They stay valid while this lives.
  void pack(SmallVectorImpl<void *> &params);

  StridedArray getArray() const { return {data.get(), elementBytes, shape, strides}; }

private:
  explicit Argument(DeviceMemory data) : data(std::move(data)) {}

  DeviceMemory data;
  unsigned elementBytes;
  bool isScalar;
  SmallVector<int64_t> shape;
  SmallVector<int64_t> strides;
  /// The memref descriptor of a tensor or a memref, in units of 64 bits.
  std::unique_ptr<int64_t[]> descriptor;
};

/// The memory that compiled code writes its results to: the value itself if there is one,
/// a struct if there are more.
class Results {
public:
  explicit Results(ArrayRef<ValueSpec> specs);

  /// Appends a pointer to the results, if there are any.
  void pack(SmallVectorImpl<void *> &params);

  /// Result `index` of the latest call. Refers to memory that the callee allocated.
  StridedArray getArray(unsigned index) const;

private:
  ArrayRef<ValueSpec> specs;
  SmallVector<size_t> offsets;
  /// In units of 64 bits for the sake of alignment.
  std::unique_ptr<int64_t[]> storage;
};

/// The dtype that elements of this format are written as.
std::string getWrittenDtype(const ElementFormat &element);

} // namespace mlir::moe::run

#endif // MOE_RUN_BINDING_H
