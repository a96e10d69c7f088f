//===- check_driver.cpp - Our declarations of the driver against cuda.h ---===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Compiles if Driver.h agrees with the cuda.h that is found. test_runtime_library.py
// compiles it where there is one.
//
//===----------------------------------------------------------------------===//

#include "Driver.h"

#include <cstddef>
#include <cuda.h>
#include <type_traits>

using namespace moe;

static_assert(sizeof(CUresult) == sizeof(DriverResult));
static_assert(kDriverSuccess == CUDA_SUCCESS);
static_assert(kDriverOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(kDriverNotInitialized == CUDA_ERROR_NOT_INITIALIZED);
static_assert(kDriverInvalidContext == CUDA_ERROR_INVALID_CONTEXT);
static_assert(kDriverNotFound == CUDA_ERROR_NOT_FOUND);
static_assert(kNumSMsAttribute == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(kCapabilityMajorAttribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(kCapabilityMinorAttribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(kDevicePointerAttribute == CU_POINTER_ATTRIBUTE_DEVICE_POINTER);
static_assert(kErrorLogOption == CU_JIT_ERROR_LOG_BUFFER);
static_assert(kErrorLogSizeOption == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
static_assert(kOptimizationLevelOption == CU_JIT_OPTIMIZATION_LEVEL);
static_assert(kRelaxedCaptureMode == CU_STREAM_CAPTURE_MODE_RELAXED);
static_assert(kProgrammaticLaunchAttribute ==
              CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
static_assert(kClusterAttribute == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
static_assert(kAttachGlobal == CU_MEM_ATTACH_GLOBAL);
static_assert(kNonBlockingStream == CU_STREAM_NON_BLOCKING);
static_assert(kEventWithoutTiming == CU_EVENT_DISABLE_TIMING);

static_assert(sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute));
static_assert(alignof(LaunchAttribute) == alignof(CUlaunchAttribute));
static_assert(offsetof(LaunchAttribute, id) == offsetof(CUlaunchAttribute, id));
static_assert(offsetof(LaunchAttribute, value) == offsetof(CUlaunchAttribute, value));
static_assert(sizeof(LaunchConfig) == sizeof(CUlaunchConfig));
static_assert(offsetof(LaunchConfig, blockX) == offsetof(CUlaunchConfig, blockDimX));
static_assert(offsetof(LaunchConfig, sharedMemoryBytes) ==
              offsetof(CUlaunchConfig, sharedMemBytes));
static_assert(offsetof(LaunchConfig, stream) == offsetof(CUlaunchConfig, hStream));
static_assert(offsetof(LaunchConfig, attributes) == offsetof(CUlaunchConfig, attrs));
static_assert(offsetof(LaunchConfig, numAttributes) ==
              offsetof(CUlaunchConfig, numAttrs));

/// Whether two argument or result types are passed alike.
template <typename A, typename B>
constexpr bool isSame =
    sizeof(A) == sizeof(B) &&
    (std::is_pointer_v<A> || std::is_enum_v<A> || std::is_integral_v<A>) &&
    std::is_pointer_v<A> == std::is_pointer_v<B>;

template <typename OursResult, typename... Ours, typename TheirsResult,
          typename... Theirs>
constexpr bool agree(OursResult (*)(Ours...), TheirsResult (*)(Theirs...)) {
  static_assert(sizeof...(Ours) == sizeof...(Theirs));
  return isSame<OursResult, TheirsResult> && (isSame<Ours, Theirs> && ...);
}

#define CHECK(name)                                                                      \
  static_assert(agree(decltype(Driver::name)(nullptr), decltype (&cu##name)(nullptr)))
CHECK(Init);
CHECK(GetErrorName);
CHECK(GetErrorString);
CHECK(CtxGetCurrent);
CHECK(DeviceGetAttribute);
CHECK(ModuleLoadDataEx);
CHECK(ModuleUnload);
CHECK(ModuleGetFunction);
CHECK(ModuleGetGlobal);
CHECK(PointerGetAttribute);
CHECK(LaunchKernel);
CHECK(DeviceGet);
CHECK(DevicePrimaryCtxRetain);
CHECK(CtxSetCurrent);
CHECK(StreamCreate);
CHECK(StreamDestroy);
CHECK(StreamSynchronize);
CHECK(StreamWaitEvent);
CHECK(EventCreate);
CHECK(EventDestroy);
CHECK(EventSynchronize);
CHECK(EventRecord);
CHECK(MemAlloc);
CHECK(MemAllocManaged);
CHECK(MemFree);
CHECK(MemcpyAsync);
CHECK(MemsetD32Async);
CHECK(MemsetD16Async);
CHECK(MemHostRegister);
CHECK(MemHostUnregister);
CHECK(CtxGetId);
CHECK(LaunchKernelEx);
CHECK(ThreadExchangeStreamCaptureMode);
// cuda.h may rename cuCtxGetDevice to a later version; the library looks up this one.
static_assert(sizeof(CUdevice) == sizeof(int));
