//===- Chip.cpp - The GPUs that PTX is generated for ----------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The table of supported chips and the checks of chip and PTX version.
//
//===----------------------------------------------------------------------===//

#include "moe/Target/Chip.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace mlir::moe;

// sm_89 has the E4M3 conversion from PTX 8.1 on; sm_90 packed 16-bit integer arithmetic
// from 8.0 on; sm_100 accesses of 32 bytes from 8.8 on.
static constexpr Chip supportedChips[] = {
    {"sm_80", 80, 70, 70},    {"sm_86", 86, 71, 71},    {"sm_89", 89, 81, 81},
    {"sm_90", 90, 78, 80},    {"sm_90a", 90, 80, 80},   {"sm_100", 100, 86, 88},
    {"sm_100a", 100, 86, 88}, {"sm_100f", 100, 88, 88}, {"sm_103", 103, 88, 88},
    {"sm_103a", 103, 88, 88}, {"sm_103f", 103, 88, 88}, {"sm_110", 110, 90, 90},
    {"sm_110a", 110, 90, 90}, {"sm_110f", 110, 90, 90}, {"sm_120", 120, 87, 88},
    {"sm_120a", 120, 87, 88}, {"sm_120f", 120, 88, 88}, {"sm_121", 121, 88, 88},
    {"sm_121a", 121, 88, 88}, {"sm_121f", 121, 88, 88},
};

// What LLVM 22 can emit.
static constexpr unsigned ptxVersions[] = {70, 71, 72, 73, 74, 75, 76, 77, 78, 80,
                                           81, 82, 83, 84, 85, 86, 87, 88, 90};

ArrayRef<Chip> mlir::moe::getSupportedChips() { return supportedChips; }

FailureOr<Chip> mlir::moe::parseChip(StringRef name,
                                     function_ref<InFlightDiagnostic()> emitError) {
  for (const Chip &chip : supportedChips)
    if (chip.name == name)
      return chip;
  auto diagnostic = emitError() << "unsupported chip '" << name << "', expected one of ";
  llvm::interleaveComma(supportedChips, diagnostic,
                        [&](const Chip &chip) { diagnostic << chip.name; });
  return diagnostic;
}

FailureOr<std::string>
mlir::moe::parseFeatures(StringRef features, const Chip &chip,
                         function_ref<InFlightDiagnostic()> emitError) {
  if (features.empty())
    return "+ptx" + std::to_string(chip.defaultPTXVersion);
  StringRef digits = features;
  unsigned version;
  if (digits.consume_front("+ptx") && !digits.getAsInteger(10, version) &&
      version >= chip.minPTXVersion && llvm::is_contained(ptxVersions, version))
    return features.str();
  auto diagnostic = emitError() << "unsupported features '" << features << "' for "
                                << chip.name << ", expected one of ";
  auto usable = llvm::make_filter_range(
      ptxVersions, [&](unsigned version) { return version >= chip.minPTXVersion; });
  llvm::interleaveComma(usable, diagnostic,
                        [&](unsigned version) { diagnostic << "+ptx" << version; });
  return diagnostic;
}
