//===- Dlpack.h - The part of DLPack that is used ---------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Declarations of our own for DLPack 1.3's exchange of tensors between C programs, which
// PyTorch has from 2.10 on as torch.Tensor.__dlpack_c_exchange_api__. It tells in
// nanoseconds what attributes of a tensor tell in microseconds.
// test/Runtime/check_python.cpp compares them with the dlpack.h that PyTorch has.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_RUNTIME_DLPACK_H
#define MOE_LIB_RUNTIME_DLPACK_H

#include <cstdint>

namespace moe::dlpack {

/// DLDeviceType.
constexpr int kCpu = 1, kCuda = 2;

/// DLDevice.
struct Device {
  int type;
  int32_t index;
};

/// DLDataType: in each element type there are `lanes` of these.
struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

/// DLTensor. Strides are in elements.
struct Tensor {
  void *data;
  Device device;
  int32_t rank;
  DataType type;
  int64_t *shape;
  int64_t *strides;
  uint64_t byteOffset;
};

/// DLPackExchangeAPI. What a function returns is 0, or -1 with an exception of Python.
struct Exchange {
  uint32_t major, minor;
  void *previous;
  void (*allocate)();
  void (*fromPython)();
  void (*toPython)();
  /// Lends what a tensor of Python is; null if the library has no such function.
  int (*lendFromPython)(void *tensor, Tensor *lent);
  int (*getCurrentStream)(int deviceType, int32_t index, void **stream);
};
constexpr uint32_t kExchangeMajor = 1;
constexpr const char *kExchangeName = "dlpack_exchange_api";

} // namespace moe::dlpack

#endif // MOE_LIB_RUNTIME_DLPACK_H
