//===- Device.h - Where a program runs --------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The devices, and memory that both the program and its kernels can access.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_RUN_DEVICE_H
#define MOE_RUN_DEVICE_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/StringRef.h"

#include <cstddef>
#include <memory>

namespace mlir::moe::run {

enum class Device { CPU, CUDA };

/// Memory of the host, or managed memory for CUDA.
using DeviceMemory = std::unique_ptr<char, void (*)(void *)>;

/// At least `size` bytes, aligned for every vector; null if there is no such memory.
DeviceMemory allocateMemory(Device device, size_t size);

/// The best chip to compile for: of the supported ones the last whose code the GPU at
/// hand can run. A GPU that is older than all of them, or none, ends the process.
StringRef getChip();

} // namespace mlir::moe::run

#endif // MOE_RUN_DEVICE_H
