//===- Driver.cpp - The part of the CUDA driver that is used --------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Opens libcuda.so.1 and finds the functions in it.
//
//===----------------------------------------------------------------------===//

#include "Driver.h"

#include "Lock.h"
#include "Status.h"
#include <atomic>
#include <cstdio>
#include <dlfcn.h>

using namespace moe;

static Driver theDriver;
// Null until it is complete.
static std::atomic<const Driver *> openDriver{nullptr};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/// Fills `driver` from the library. The name of the first function that is missing, or
/// null.
static const char *findFunctions(void *library, Driver &driver) {
  const char *missing = nullptr;
  auto find = [&](auto &function, const char *name, bool isRequired = true) {
    void *symbol = dlsym(library, name);
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
    if (!symbol && isRequired && !missing)
      missing = name;
  };
  find(driver.Init, "cuInit");
  find(driver.GetErrorName, "cuGetErrorName");
  find(driver.GetErrorString, "cuGetErrorString");
  find(driver.CtxGetCurrent, "cuCtxGetCurrent");
  find(driver.CtxGetDevice, "cuCtxGetDevice");
  find(driver.DeviceGetAttribute, "cuDeviceGetAttribute");
  find(driver.ModuleLoadDataEx, "cuModuleLoadDataEx");
  find(driver.ModuleUnload, "cuModuleUnload");
  find(driver.ModuleGetFunction, "cuModuleGetFunction");
  find(driver.ModuleGetGlobal, "cuModuleGetGlobal_v2");
  find(driver.PointerGetAttribute, "cuPointerGetAttribute");
  find(driver.LaunchKernel, "cuLaunchKernel");
  find(driver.DeviceGet, "cuDeviceGet");
  find(driver.DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
  find(driver.CtxSetCurrent, "cuCtxSetCurrent");
  find(driver.StreamCreate, "cuStreamCreate");
  find(driver.StreamDestroy, "cuStreamDestroy_v2");
  find(driver.StreamSynchronize, "cuStreamSynchronize");
  find(driver.StreamWaitEvent, "cuStreamWaitEvent");
  find(driver.EventCreate, "cuEventCreate");
  find(driver.EventDestroy, "cuEventDestroy_v2");
  find(driver.EventSynchronize, "cuEventSynchronize");
  find(driver.EventRecord, "cuEventRecord");
  find(driver.MemAlloc, "cuMemAlloc_v2");
  find(driver.MemAllocManaged, "cuMemAllocManaged");
  find(driver.MemFree, "cuMemFree_v2");
  find(driver.MemcpyAsync, "cuMemcpyAsync");
  find(driver.MemsetD32Async, "cuMemsetD32Async");
  find(driver.MemsetD16Async, "cuMemsetD16Async");
  find(driver.MemHostRegister, "cuMemHostRegister_v2");
  find(driver.MemHostUnregister, "cuMemHostUnregister");
  find(driver.CtxGetId, "cuCtxGetId", /*isRequired=*/false);
  find(driver.LaunchKernelEx, "cuLaunchKernelEx", /*isRequired=*/false);
  find(driver.ThreadExchangeStreamCaptureMode, "cuThreadExchangeStreamCaptureMode",
       /*isRequired=*/false);
  return missing;
}

MoeStatus moe::getDriver(const Driver *&driver) {
  driver = openDriver.load(std::memory_order_acquire);
  if (driver)
    return MOE_SUCCESS;
  Lock lock(mutex);
  driver = openDriver.load(std::memory_order_relaxed);
  if (driver)
    return MOE_SUCCESS;

  // Never closed: the process uses it until it ends.
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return fail(MOE_NO_DRIVER, "libcuda.so.1 could not be opened: %s", dlerror());
  if (const char *missing = findFunctions(library, theDriver))
    return fail(MOE_NO_DRIVER,
                "libcuda.so.1 has no function %s: the CUDA driver is too old", missing);
  if (DriverResult result = theDriver.Init(0))
    return failDriver(theDriver, "cuInit", result);
  driver = &theDriver;
  openDriver.store(driver, std::memory_order_release);
  return MOE_SUCCESS;
}

MoeStatus moe::failDriver(const Driver &driver, const char *call, DriverResult result) {
  const char *name = nullptr, *text = nullptr;
  if (driver.GetErrorName(result, &name) != kDriverSuccess || !name)
    name = "an unknown error";
  if (driver.GetErrorString(result, &text) != kDriverSuccess || !text)
    text = "no description";
  MoeStatus status = result == kDriverOutOfMemory ? MOE_OUT_OF_MEMORY : MOE_DRIVER_ERROR;
  return fail(status, "%s returned %s (%d): %s", call, name, result, text);
}

MoeStatus moe::loadImage(const Driver &driver, const void *image, int optLevel,
                         Handle &module) {
  char log[512] = "";
  int options[] = {kErrorLogOption, kErrorLogSizeOption, kOptimizationLevelOption};
  void *values[] = {log, reinterpret_cast<void *>(sizeof(log)),
                    reinterpret_cast<void *>(uintptr_t(optLevel))};
  DriverResult result =
      driver.ModuleLoadDataEx(&module, image, optLevel < 0 ? 2 : 3, options, values);
  if (result == kDriverSuccess)
    return MOE_SUCCESS;
  MoeStatus status = failDriver(driver, "cuModuleLoadDataEx", result);
  log[sizeof(log) - 1] = '\0';
  if (log[0] == '\0')
    return status;
  char message[512];
  std::snprintf(message, sizeof(message), "%s", getLastError());
  return fail(status, "%s\n%s", message, log);
}
