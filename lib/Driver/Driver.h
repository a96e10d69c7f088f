//===- Driver.h - The part of the CUDA driver that is used ------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Declarations of our own for libcuda.so.1, which is opened when it is first needed: the
// library builds and runs without CUDA. test/Runtime/check_driver.cpp compares them with
// cuda.h.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_DRIVER_DRIVER_H
#define MOE_LIB_DRIVER_DRIVER_H

#include "moe-c/Runtime.h"

namespace moe {

/// CUcontext, CUmodule, CUfunction and CUstream.
using Handle = void *;
/// CUresult.
using DriverResult = int;

constexpr DriverResult kDriverSuccess = 0;
constexpr DriverResult kDriverOutOfMemory = 2;
constexpr DriverResult kDriverNotInitialized = 3;
constexpr DriverResult kDriverInvalidContext = 201;
constexpr DriverResult kDriverNotFound = 500;

/// CUdevice_attribute.
constexpr int kNumSMsAttribute = 16;
constexpr int kCapabilityMajorAttribute = 75;
constexpr int kCapabilityMinorAttribute = 76;
/// CUpointer_attribute.
constexpr int kDevicePointerAttribute = 3;
/// CUjit_option.
constexpr int kErrorLogOption = 5;
constexpr int kErrorLogSizeOption = 6;
constexpr int kOptimizationLevelOption = 7;
/// CUstreamCaptureMode.
constexpr int kRelaxedCaptureMode = 2;
/// CUlaunchAttributeID.
constexpr int kClusterAttribute = 4;
constexpr int kProgrammaticLaunchAttribute = 6;
/// CUmemAttach_flags.
constexpr unsigned kAttachGlobal = 1;
/// CUstream_flags and CUevent_flags.
constexpr unsigned kNonBlockingStream = 1;
constexpr unsigned kEventWithoutTiming = 2;

/// CUlaunchAttribute, with the kinds of values that are used: one number or three.
struct alignas(8) LaunchAttribute {
  int id;
  int padding;
  unsigned value[3];
  char rest[52];
};

/// CUlaunchConfig.
struct LaunchConfig {
  unsigned gridX, gridY, gridZ;
  unsigned blockX, blockY, blockZ;
  unsigned sharedMemoryBytes;
  Handle stream;
  LaunchAttribute *attributes;
  unsigned numAttributes;
};

/// The functions, called as in the driver without their `cu`.
struct Driver {
  DriverResult (*Init)(unsigned flags);
  DriverResult (*GetErrorName)(DriverResult, const char **);
  DriverResult (*GetErrorString)(DriverResult, const char **);
  DriverResult (*CtxGetCurrent)(Handle *context);
  DriverResult (*CtxGetDevice)(int *device);
  DriverResult (*DeviceGetAttribute)(int *value, int attribute, int device);
  DriverResult (*ModuleLoadDataEx)(Handle *module, const void *image, unsigned numOptions,
                                   int *options, void **values);
  DriverResult (*ModuleUnload)(Handle module);
  DriverResult (*ModuleGetFunction)(Handle *function, Handle module, const char *name);
  DriverResult (*ModuleGetGlobal)(uint64_t *address, size_t *size, Handle module,
                                  const char *name);
  DriverResult (*PointerGetAttribute)(void *value, int attribute, uint64_t pointer);
  DriverResult (*StreamCreate)(Handle *stream, unsigned flags);
  DriverResult (*StreamDestroy)(Handle stream);
  DriverResult (*StreamSynchronize)(Handle stream);
  DriverResult (*MemcpyAsync)(uint64_t destination, uint64_t source, size_t size,
                              Handle stream);
  DriverResult (*LaunchKernel)(Handle function, unsigned gridX, unsigned gridY,
                               unsigned gridZ, unsigned blockX, unsigned blockY,
                               unsigned blockZ, unsigned sharedMemoryBytes, Handle stream,
                               void **parameters, void **extra);

  // Of libmoe_mgpu_runtime.so alone.
  DriverResult (*DeviceGet)(int *device, int ordinal);
  DriverResult (*DevicePrimaryCtxRetain)(Handle *context, int device);
  DriverResult (*CtxSetCurrent)(Handle context);
  DriverResult (*StreamWaitEvent)(Handle stream, Handle event, unsigned flags);
  DriverResult (*EventCreate)(Handle *event, unsigned flags);
  DriverResult (*EventDestroy)(Handle event);
  DriverResult (*EventSynchronize)(Handle event);
  DriverResult (*EventRecord)(Handle event, Handle stream);
  DriverResult (*MemAlloc)(uint64_t *pointer, size_t size);
  DriverResult (*MemAllocManaged)(uint64_t *pointer, size_t size, unsigned flags);
  DriverResult (*MemFree)(uint64_t pointer);
  DriverResult (*MemsetD32Async)(uint64_t destination, unsigned value, size_t count,
                                 Handle stream);
  DriverResult (*MemsetD16Async)(uint64_t destination, unsigned short value, size_t count,
                                 Handle stream);
  DriverResult (*MemHostRegister)(void *pointer, size_t size, unsigned flags);
  DriverResult (*MemHostUnregister)(void *pointer);

  // Null in drivers that are older than these.
  DriverResult (*CtxGetId)(Handle context, unsigned long long *id);
  DriverResult (*LaunchKernelEx)(const LaunchConfig *config, Handle function,
                                 void **parameters, void **extra);
  DriverResult (*ThreadExchangeStreamCaptureMode)(int *mode);
};

/// The driver, opened and initialised by the first call that succeeds.
MoeStatus getDriver(const Driver *&driver);

/// Loads an image that is complete, text with its final NUL. `optLevel` is that at which
/// PTX is assembled, negative for the driver's default. A failure has the assembler's
/// log.
MoeStatus loadImage(const Driver &driver, const void *image, int optLevel,
                    Handle &module);

/// Fails with the driver's name and text for `result`, which `call` returned.
MoeStatus failDriver(const Driver &driver, const char *call, DriverResult result)
    __attribute__((cold));

} // namespace moe

#endif // MOE_LIB_DRIVER_DRIVER_H
