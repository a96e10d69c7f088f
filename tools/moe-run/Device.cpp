//===- Device.cpp - Where a program runs ----------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Memory and the choice of a chip.
//
//===----------------------------------------------------------------------===//

#include "Device.h"

#include "Runtime.h"
#include "moe-c/MgpuRuntime.h"
#include "moe/Target/Chip.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <cstdlib>
#include <string>

using namespace mlir::moe;
using namespace mlir::moe::run;

/// No vector of the host is wider; managed memory is aligned to more.
static constexpr size_t kAlignment = 64;

DeviceMemory mlir::moe::run::allocateMemory(Device device, size_t size) {
  // An empty array gets memory too, so that its pointer is a valid one.
  size_t bytes = llvm::alignTo(std::max<size_t>(size, 1), kAlignment);
  void *memory = device == Device::CUDA
                     ? mgpuMemAlloc(bytes, /*stream=*/nullptr, /*is_host_shared=*/1)
                     : std::aligned_alloc(kAlignment, bytes);
  auto freeManaged = [](void *pointer) { mgpuMemFree(pointer, /*stream=*/nullptr); };
  return {static_cast<char *>(memory), device == Device::CUDA ? freeManaged : std::free};
}

mlir::StringRef mlir::moe::run::getChip() {
  unsigned capability = moeMgpuGetComputeCapability();
  StringRef name;
  for (const Chip &chip : getSupportedChips())
    // The PTX of a chip with a letter, such as sm_90a, runs on that chip alone.
    if (chip.capability <= capability && llvm::isDigit(chip.name.back()))
      name = chip.name;
  if (name.empty())
    exitWithError(
        "device 'cuda': expected a GPU of compute capability 8.0 or later, found " +
        std::to_string(capability / 10) + "." + std::to_string(capability % 10));
  return name;
}
