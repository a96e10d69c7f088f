//===- Chip.h - The GPUs that PTX is generated for --------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What this project supports and what each chip can do. LLVM takes an unknown chip or
// PTX version with a warning and aborts on an instruction that the chip lacks, so both
// are decided here, before LLVM sees them.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TARGET_CHIP_H
#define MOE_TARGET_CHIP_H

#include "mlir/IR/Diagnostics.h"
#include "mlir/Support/LLVM.h"
#include <string>

namespace mlir::moe {

/// A GPU architecture, such as sm_90 or sm_100a.
struct Chip {
  StringRef name;
  /// Compute capability times ten.
  unsigned capability = 0;
  /// The lowest PTX version that has the chip and the instructions that the lowerings use
  /// on it, times ten.
  unsigned minPTXVersion = 0;
  /// The version generated unless the user asks for another.
  unsigned defaultPTXVersion = 0;

  /// cvt to E4M3 and E5M2.
  bool hasF8Conversion() const { return capability >= 89; }
  /// griddepcontrol, for programmatic dependent launch.
  bool hasGridDependencyControl() const { return capability >= 90; }
  /// Clusters of CTAs, and shared memory that those of one share.
  bool hasClusters() const { return capability >= 90; }
  /// Accesses to global memory of 32 bytes.
  bool hasWideAccesses() const { return capability >= 100; }
  /// The widest access to global memory, in bytes.
  unsigned maxAccessBytes() const { return hasWideAccesses() ? 32 : 16; }
};

/// The chip called `name`, or an error that lists those supported.
FailureOr<Chip> parseChip(StringRef name, function_ref<InFlightDiagnostic()> emitError);

/// The features string for LLVM, such as "+ptx80": that of the chip if `features` is
/// empty, else `features` if it is one PTX version that suits the chip, or an error.
FailureOr<std::string> parseFeatures(StringRef features, const Chip &chip,
                                     function_ref<InFlightDiagnostic()> emitError);

/// All supported chips.
ArrayRef<Chip> getSupportedChips();

} // namespace mlir::moe

#endif // MOE_TARGET_CHIP_H
