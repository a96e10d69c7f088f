//===- Mgpu.cpp - What compiled host code calls ---------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// libmoe_mgpu_runtime.so: MLIR's mgpu functions, each a call of the driver.
//
//===----------------------------------------------------------------------===//

#include "moe-c/MgpuRuntime.h"

#include "../Driver/Driver.h"
#include "../Driver/Status.h"
#include <atomic>
#include <climits>
#include <cstdio>
#include <cstdlib>

using namespace moe;

static std::atomic<MoeMgpuErrorHandler> errorHandler{nullptr};
static thread_local int32_t defaultDevice = 0;

/// Ends the process with what fail() has been told last.
[[noreturn]] static void stop(const char *function) {
  char message[1200];
  size_t length = std::snprintf(message, sizeof(message), "%s: ", function);
  // In one line: the assembler's log has several.
  for (const char *c = getLastError(); *c != '\0' && length + 3 < sizeof(message); ++c) {
    if (*c == '\n')
      message[length++] = ';';
    message[length++] = *c == '\n' ? ' ' : *c;
  }
  message[length] = '\0';
  if (MoeMgpuErrorHandler handler = errorHandler.load())
    handler(message);
  else
    std::fprintf(stderr, "%s\n", message);
  std::fflush(nullptr);
  // Not exit(): the program's destructors would call here again.
  std::_Exit(EXIT_FAILURE);
}

namespace {

/// The driver with a current context, for the time of one call from compiled code. What
/// fails ends the process.
class Call {
public:
  explicit Call(const char *function) : function(function) {
    check(getDriver(driver));
    Handle context = nullptr;
    check("cuCtxGetCurrent", driver->CtxGetCurrent(&context));
    if (context)
      return;
    int device = 0;
    check("cuDeviceGet", driver->DeviceGet(&device, defaultDevice));
    // Never released: it may be in use until the process ends.
    check("cuDevicePrimaryCtxRetain", driver->DevicePrimaryCtxRetain(&context, device));
    check("cuCtxSetCurrent", driver->CtxSetCurrent(context));
  }

  void check(const char *name, DriverResult result) const {
    if (result != kDriverSuccess)
      check(failDriver(*driver, name, result));
  }
  void check(MoeStatus status) const {
    if (status != MOE_SUCCESS)
      stop(function);
  }
  const Driver *operator->() const { return driver; }

private:
  const char *function;
  const Driver *driver = nullptr;
};

} // namespace

/// Calls the driver's function cu`name`.
#define DRIVER_CALL(call, name, ...) (call).check("cu" #name, (call)->name(__VA_ARGS__))

static uint64_t toAddress(const void *pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

void moeMgpuSetErrorHandler(MoeMgpuErrorHandler handler) { errorHandler = handler; }

int32_t moeMgpuGetComputeCapability() {
  Call call(__func__);
  int device = 0, major = 0, minor = 0;
  DRIVER_CALL(call, CtxGetDevice, &device);
  DRIVER_CALL(call, DeviceGetAttribute, &major, kCapabilityMajorAttribute, device);
  DRIVER_CALL(call, DeviceGetAttribute, &minor, kCapabilityMinorAttribute, device);
  return 10 * major + minor;
}

void mgpuSetDefaultDevice(int32_t device) { defaultDevice = device; }

//===----------------------------------------------------------------------===//
// Modules and launches
//===----------------------------------------------------------------------===//

static void *loadModule(const Call &call, const void *image, int optLevel) {
  Handle module = nullptr;
  call.check(loadImage(*call.operator->(), image, optLevel, module));
  return module;
}

void *mgpuModuleLoad(const void *image, size_t /*size*/) {
  return loadModule(Call(__func__), image, /*optLevel=*/-1);
}

void *mgpuModuleLoadJIT(const void *ptx, int32_t optLevel) {
  return loadModule(Call(__func__), ptx, optLevel);
}

void mgpuModuleUnload(void *module) {
  Call call(__func__);
  DRIVER_CALL(call, ModuleUnload, module);
}

void *mgpuModuleGetFunction(void *module, const char *name) {
  Call call(__func__);
  Handle function = nullptr;
  DRIVER_CALL(call, ModuleGetFunction, &function, module, name);
  return function;
}

/// A grid, cluster or CTA dimension, which compiled code has computed as an index.
static unsigned toDimension(const char *function, const char *name, intptr_t value) {
  if (value < 0 || uint64_t(value) > UINT_MAX) {
    fail(MOE_INVALID_ARGUMENT, "%s: expected from 0 to %u, found %lld", name, UINT_MAX,
         static_cast<long long>(value));
    stop(function);
  }
  return unsigned(value);
}

void mgpuLaunchKernel(void *function, intptr_t gridX, intptr_t gridY, intptr_t gridZ,
                      intptr_t blockX, intptr_t blockY, intptr_t blockZ,
                      int32_t sharedMemoryBytes, void *stream, void **parameters,
                      void **extra, size_t /*numParameters*/) {
  Call call(__func__);
  DRIVER_CALL(
      call, LaunchKernel, function, toDimension(__func__, "grid x", gridX),
      toDimension(__func__, "grid y", gridY), toDimension(__func__, "grid z", gridZ),
      toDimension(__func__, "block x", blockX), toDimension(__func__, "block y", blockY),
      toDimension(__func__, "block z", blockZ), unsigned(sharedMemoryBytes), stream,
      parameters, extra);
}

void mgpuLaunchClusterKernel(void *function, intptr_t clusterX, intptr_t clusterY,
                             intptr_t clusterZ, intptr_t gridX, intptr_t gridY,
                             intptr_t gridZ, intptr_t blockX, intptr_t blockY,
                             intptr_t blockZ, int32_t sharedMemoryBytes, void *stream,
                             void **parameters, void **extra, size_t /*numParameters*/) {
  Call call(__func__);
  if (!call->LaunchKernelEx)
    call.check(fail(MOE_NO_DRIVER, "libcuda.so.1 has no function cuLaunchKernelEx: the "
                                   "CUDA driver is too old"));
  LaunchAttribute attribute = {kClusterAttribute,
                               0,
                               {toDimension(__func__, "cluster x", clusterX),
                                toDimension(__func__, "cluster y", clusterY),
                                toDimension(__func__, "cluster z", clusterZ)},
                               {}};
  LaunchConfig config = {toDimension(__func__, "grid x", gridX),
                         toDimension(__func__, "grid y", gridY),
                         toDimension(__func__, "grid z", gridZ),
                         toDimension(__func__, "block x", blockX),
                         toDimension(__func__, "block y", blockY),
                         toDimension(__func__, "block z", blockZ),
                         unsigned(sharedMemoryBytes),
                         stream,
                         &attribute,
                         1};
  DRIVER_CALL(call, LaunchKernelEx, &config, function, parameters, extra);
}

//===----------------------------------------------------------------------===//
// Streams and events
//===----------------------------------------------------------------------===//

void *mgpuStreamCreate() {
  Call call(__func__);
  Handle stream = nullptr;
  DRIVER_CALL(call, StreamCreate, &stream, kNonBlockingStream);
  return stream;
}

void mgpuStreamDestroy(void *stream) {
  Call call(__func__);
  DRIVER_CALL(call, StreamDestroy, stream);
}

void mgpuStreamSynchronize(void *stream) {
  Call call(__func__);
  DRIVER_CALL(call, StreamSynchronize, stream);
}

void mgpuStreamWaitEvent(void *stream, void *event) {
  Call call(__func__);
  DRIVER_CALL(call, StreamWaitEvent, stream, event, /*flags=*/0);
}

void *mgpuEventCreate() {
  Call call(__func__);
  Handle event = nullptr;
  DRIVER_CALL(call, EventCreate, &event, kEventWithoutTiming);
  return event;
}

void mgpuEventDestroy(void *event) {
  Call call(__func__);
  DRIVER_CALL(call, EventDestroy, event);
}

void mgpuEventSynchronize(void *event) {
  Call call(__func__);
  DRIVER_CALL(call, EventSynchronize, event);
}

void mgpuEventRecord(void *event, void *stream) {
  Call call(__func__);
  DRIVER_CALL(call, EventRecord, event, stream);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

void *mgpuMemAlloc(uint64_t size, void * /*stream*/, uint8_t isHostShared) {
  Call call(__func__);
  // The driver has no empty allocations.
  if (size == 0)
    return nullptr;
  uint64_t pointer = 0;
  if (isHostShared)
    DRIVER_CALL(call, MemAllocManaged, &pointer, size, kAttachGlobal);
  else
    DRIVER_CALL(call, MemAlloc, &pointer, size);
  return reinterpret_cast<void *>(uintptr_t(pointer));
}

void mgpuMemFree(void *pointer, void * /*stream*/) {
  Call call(__func__);
  if (pointer)
    DRIVER_CALL(call, MemFree, toAddress(pointer));
}

void mgpuMemcpy(void *destination, const void *source, uint64_t size, void *stream) {
  Call call(__func__);
  DRIVER_CALL(call, MemcpyAsync, toAddress(destination), toAddress(source), size, stream);
}

void mgpuMemset32(void *destination, uint32_t value, size_t count, void *stream) {
  Call call(__func__);
  DRIVER_CALL(call, MemsetD32Async, toAddress(destination), value, count, stream);
}

void mgpuMemset16(void *destination, uint16_t value, size_t count, void *stream) {
  Call call(__func__);
  DRIVER_CALL(call, MemsetD16Async, toAddress(destination), value, count, stream);
}

namespace {

/// The bytes that a memref covers.
struct HostRange {
  HostRange(const char *function, int64_t rank, const void *descriptor,
            int64_t elementBytes) {
    // Two pointers, the offset, sizes and strides.
    auto *words = static_cast<const int64_t *>(descriptor);
    const int64_t *sizes = words + 3, *strides = sizes + rank;
    bytes = elementBytes;
    for (int64_t dim = rank; dim-- > 0; bytes *= sizes[dim]) {
      if (sizes[dim] == 1 || strides[dim] * elementBytes == bytes)
        continue;
      fail(
          MOE_INVALID_ARGUMENT,
          "expected a memref without gaps and in C order, found stride %lld in dimension "
          "%lld, where %lld would be",
          static_cast<long long>(strides[dim]), static_cast<long long>(dim),
          static_cast<long long>(bytes / elementBytes));
      stop(function);
    }
    begin = reinterpret_cast<char *>(words[1]) + words[2] * elementBytes;
  }
  void *begin;
  int64_t bytes;
};

} // namespace

void mgpuMemHostRegisterMemRef(int64_t rank, const void *descriptor,
                               int64_t elementBytes) {
  Call call(__func__);
  HostRange range(__func__, rank, descriptor, elementBytes);
  if (range.bytes != 0)
    DRIVER_CALL(call, MemHostRegister, range.begin, size_t(range.bytes), /*flags=*/0);
}

void mgpuMemHostUnregisterMemRef(int64_t rank, const void *descriptor,
                                 int64_t elementBytes) {
  Call call(__func__);
  HostRange range(__func__, rank, descriptor, elementBytes);
  if (range.bytes != 0)
    DRIVER_CALL(call, MemHostUnregister, range.begin);
}
