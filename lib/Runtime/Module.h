//===- Module.h - The kernels of an image -----------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_MODULE_H
#define MOE_LIB_RUNTIME_MODULE_H

#include "../Driver/Driver.h"
#include "../Launch/KernelDescription.h"
#include "Kernels.h"
#include "moe-c/Runtime.h"

namespace moe {

struct Kernel {
  /// Null where the library has none with a suffix.
  Handle function;
  launch::KernelDescription description;
  /// Whether it is compiled for some size or stride.
  bool isFixed;
};

/// Kernels of an image that compute the same, as an op by their name.
struct NamedKernels {
  OpRow op;
  char name[launch::KernelDescription::kNameBytes];
  char operandNames[kMaxOperands][launch::OperandDescription::kNameBytes];
};

constexpr char kUnaligned[] = "_unaligned";

/// What the names of the library's kernels that compute the same have at their ends, the
/// preferred first: in clusters and with wider accesses, for much to do; and for rows
/// that may start anywhere.
constexpr const char *kSuffixes[] = {"_cluster8", "_aligned16", "", kUnaligned};
constexpr int kKernelsOfOne = int(sizeof(kSuffixes) / sizeof(*kSuffixes));
static_assert(kKernelsOfOne == kDescriptionsOfOne);

} // namespace moe

/// Kernels in a context. Written before it is published, then only read.
struct MoeModule {
  /// Which context; never 0.
  uint64_t context;
  moe::Handle handle;
  int numSMs;
  MoeModule *next;
  /// Those that compute the same are neighbours, the preferred first. In a module with
  /// the library's own, there are kKernelsOfOne for each of kKernels.
  moe::Kernel *kernels;
  int numKernels;
  /// Of an image. Null in a module with the library's own.
  moe::NamedKernels *named;
  int numNamed;
};

namespace moe {

/// Makes the table of the kernels that a module's image has. `table` has the descriptions
/// of the library's own, or is null for others.
MoeStatus fillModule(const Driver &driver, const GpuDescriptions *table,
                     MoeModule &module);

/// Without its image, which the driver has.
void freeModule(MoeModule *module);

MoeStatus failNoMemory();

} // namespace moe

#endif // MOE_LIB_RUNTIME_MODULE_H
