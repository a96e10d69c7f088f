//===- Cuda.cpp - The ops on a CUDA stream --------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Modules, one for each context, and launches. A launch in a context that has its module
// takes no lock, allocates nothing, and makes two calls of the driver: which context, and
// the launch itself.
//
//===----------------------------------------------------------------------===//

#include "Cuda.h"

#include "Driver.h"
#include "Grid.h"
#include "Image.h"
#include "Kernels.h"
#include "Lock.h"
#include "Status.h"
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

using namespace moe;

/// Below, bf16 arithmetic and the instructions of the kernels are missing.
static constexpr int kMinCapability = 80;
/// From here on moe-lower-to-ptx emits accesses of 32 bytes unless told otherwise.
static constexpr int kWideAccessCapability = 100;
/// From here on the kernels that moe-lower-to-ptx emits wait for their predecessor.
static constexpr int kWaitingCapability = 90;
/// Accesses that clear scales under the swizzled layout.
static constexpr uintptr_t kZeroStoreBytes = 16;
/// Those that store them.
static constexpr uintptr_t kScaleAccessBytes = 4;

namespace {

struct Kernel {
  Handle function;
  int threadsPerCTA;
};

} // namespace

/// Kernels in a context. Written before it is published, then only read.
struct MoeModule {
  /// Which context; never 0.
  uint64_t context;
  Handle handle;
  /// By Problem::kernelIndex() and whether accesses are aligned. Without a function if
  /// the image does not have it.
  Kernel kernels[kNumKernels][2];
  int numSMs;
  int accessBytes;
  bool waitsForPredecessor;
  MoeModule *next;
};

/// The modules with the library's own kernels, which stay until the process ends.
static std::atomic<const MoeModule *> ownModules{nullptr};
static pthread_mutex_t ownModulesMutex = PTHREAD_MUTEX_INITIALIZER;

//===----------------------------------------------------------------------===//
// Contexts
//===----------------------------------------------------------------------===//

static MoeStatus failNoContext() {
  return fail(MOE_NO_CONTEXT,
              "the calling thread has no current CUDA context: make one current first, "
              "for instance by cudaSetDevice or cuCtxSetCurrent");
}

/// A number for the current context. The address of a destroyed context may come back,
/// its id does not; drivers before CUDA 12 have no ids.
static MoeStatus getContext(const Driver &driver, uint64_t &context) {
  if (driver.CtxGetId) {
    unsigned long long id = 0;
    DriverResult result = driver.CtxGetId(nullptr, &id);
    if (result == kDriverInvalidContext || result == kDriverNotInitialized)
      return failNoContext();
    if (result != kDriverSuccess)
      return failDriver(driver, "cuCtxGetId", result);
    context = id + 1;
    return MOE_SUCCESS;
  }
  Handle handle = nullptr;
  if (DriverResult result = driver.CtxGetCurrent(&handle))
    return failDriver(driver, "cuCtxGetCurrent", result);
  if (!handle)
    return failNoContext();
  context = reinterpret_cast<uintptr_t>(handle);
  return MOE_SUCCESS;
}

/// What every call begins with: the driver and the current context.
static MoeStatus enter(const Driver *&driver, uint64_t &context) {
  context = 0;
  if (MoeStatus status = getDriver(driver))
    return status;
  return getContext(*driver, context);
}

namespace {

struct Device {
  int capability;
  int numSMs;
};

/// While it lives, this thread may do what a stream capture in progress forbids by
/// default, such as loading a module.
class RelaxedCaptureMode {
public:
  explicit RelaxedCaptureMode(const Driver &driver) : driver(driver) { exchange(); }
  ~RelaxedCaptureMode() { exchange(); }

private:
  void exchange() {
    if (driver.ThreadExchangeStreamCaptureMode)
      driver.ThreadExchangeStreamCaptureMode(&mode);
  }
  const Driver &driver;
  int mode = kRelaxedCaptureMode;
};

} // namespace

/// The device of the current context.
static MoeStatus getDevice(const Driver &driver, Device &device) {
  int ordinal, major, minor;
  if (DriverResult result = driver.CtxGetDevice(&ordinal))
    return failDriver(driver, "cuCtxGetDevice", result);
  struct {
    int attribute;
    int *value;
  } queries[] = {{kCapabilityMajorAttribute, &major},
                 {kCapabilityMinorAttribute, &minor},
                 {kNumSMsAttribute, &device.numSMs}};
  for (auto [attribute, value] : queries)
    if (DriverResult result = driver.DeviceGetAttribute(value, attribute, ordinal))
      return failDriver(driver, "cuDeviceGetAttribute", result);
  device.capability = 10 * major + minor;
  if (device.capability < kMinCapability)
    return fail(MOE_UNSUPPORTED,
                "device %d: expected compute capability %d.%d or later, found %d.%d",
                ordinal, kMinCapability / 10, kMinCapability % 10, major, minor);
  return MOE_SUCCESS;
}

/// The widest access that moe-lower-to-ptx emits for the device.
static int getAccessBytes(const Device &device) {
  return device.capability >= kWideAccessCapability ? 32 : 16;
}

//===----------------------------------------------------------------------===//
// Modules
//===----------------------------------------------------------------------===//

/// The name of a kernel as convert-moe-to-gpu makes it.
static void formatKernelName(char (&name)[80], int index, bool isAligned) {
  std::snprintf(name, sizeof(name), "%s%s", kKernelNames[index],
                isAligned ? "" : "_unaligned");
}

/// Looks up whatever kernels the module has.
static MoeStatus findKernels(const Driver &driver, MoeModule &module) {
  for (int index = 0; index < kNumKernels; ++index) {
    for (bool isAligned : {false, true}) {
      Kernel &kernel = module.kernels[index][isAligned];
      char name[80];
      formatKernelName(name, index, isAligned);
      DriverResult result =
          driver.ModuleGetFunction(&kernel.function, module.handle, name);
      if (result == kDriverNotFound) {
        kernel.function = nullptr;
        continue;
      }
      if (result != kDriverSuccess)
        return failDriver(driver, "cuModuleGetFunction", result);
      // What the kernel is compiled for.
      result = driver.FuncGetAttribute(&kernel.threadsPerCTA, kMaxThreadsAttribute,
                                       kernel.function);
      if (result != kDriverSuccess)
        return failDriver(driver, "cuFuncGetAttribute", result);
    }
  }
  return MOE_SUCCESS;
}

/// Loads an image that is complete, text with its final NUL.
static MoeStatus makeModule(const Driver &driver, uint64_t context, const void *image,
                            const Device &device, int accessBytes,
                            bool waitsForPredecessor, MoeModule *&module) {
  auto *made = static_cast<MoeModule *>(std::calloc(1, sizeof(MoeModule)));
  if (!made)
    return fail(MOE_OUT_OF_MEMORY, "no memory for a module's table of kernels");
  made->context = context;
  made->numSMs = device.numSMs;
  made->accessBytes = accessBytes;
  made->waitsForPredecessor = waitsForPredecessor;

  RelaxedCaptureMode relaxed(driver);
  if (MoeStatus status = loadImage(driver, image, /*optLevel=*/-1, made->handle)) {
    std::free(made);
    return status;
  }
  if (MoeStatus status = findKernels(driver, *made)) {
    driver.ModuleUnload(made->handle);
    std::free(made);
    return status;
  }
  module = made;
  return MOE_SUCCESS;
}

static const MoeModule *findOwnModule(uint64_t context) {
  const MoeModule *module = ownModules.load(std::memory_order_acquire);
  while (module && module->context != context)
    module = module->next;
  return module;
}

/// The module with the library's own kernels in the current context.
static MoeStatus getOwnModule(const Driver &driver, uint64_t context,
                              const MoeModule *&module) {
  module = findOwnModule(context);
  if (module)
    return MOE_SUCCESS;
  Lock lock(ownModulesMutex);
  module = findOwnModule(context);
  if (module)
    return MOE_SUCCESS;

  Device device;
  if (MoeStatus status = getDevice(driver, device))
    return status;
  const GpuImage *image = nullptr;
  for (size_t i = 0; i < kNumGpuImages; ++i)
    if (kGpuImages[i].capability <= device.capability)
      image = &kGpuImages[i];
  if (!image)
    return fail(MOE_UNSUPPORTED,
                "expected a device of compute capability %d.%d or later, found %d.%d",
                kGpuImages[0].capability / 10, kGpuImages[0].capability % 10,
                device.capability / 10, device.capability % 10);
  // The build compiles them with the defaults of the chip, and no code for an older one
  // is taken where there is some for the device.
  MoeModule *made;
  if (MoeStatus status =
          makeModule(driver, context, image->begin, device, getAccessBytes(device),
                     device.capability >= kWaitingCapability, made))
    return status;
  made->next = const_cast<MoeModule *>(ownModules.load(std::memory_order_relaxed));
  ownModules.store(made, std::memory_order_release);
  module = made;
  return MOE_SUCCESS;
}

MoeStatus moe::loadKernels() {
  const Driver *driver;
  uint64_t context;
  if (MoeStatus status = enter(driver, context))
    return status;
  const MoeModule *module;
  return getOwnModule(*driver, context, module);
}

MoeStatus moe::loadModule(const void *image, size_t size, const MoeModuleOptions &options,
                          MoeModule *&module) {
  bool isText;
  if (MoeStatus status = checkImage(image, size, isText))
    return status;
  const Driver *driver;
  uint64_t context;
  if (MoeStatus status = enter(driver, context))
    return status;
  Device device;
  if (MoeStatus status = getDevice(*driver, device))
    return status;

  int accessBytes =
      options.access_bytes != 0 ? options.access_bytes : getAccessBytes(device);
  char *text = nullptr;
  if (isText) {
    text = static_cast<char *>(std::malloc(size + 1));
    if (!text)
      return fail(MOE_OUT_OF_MEMORY, "no memory for a copy of %zu bytes of PTX", size);
    std::memcpy(text, image, size);
    text[size] = '\0';
  }
  MoeStatus status = makeModule(*driver, context, isText ? text : image, device,
                                accessBytes, options.waits_for_predecessor != 0, module);
  std::free(text);
  return status;
}

static MoeStatus checkContext(const MoeModule &module, uint64_t context) {
  if (module.context != context)
    return fail(MOE_NO_CONTEXT,
                "module: expected the context that it was loaded in to be "
                "current, found another");
  return MOE_SUCCESS;
}

MoeStatus moe::unloadModule(MoeModule *module) {
  const Driver *driver;
  uint64_t context;
  if (MoeStatus status = enter(driver, context))
    return status;
  if (MoeStatus status = checkContext(*module, context))
    return status;
  DriverResult result = driver->ModuleUnload(module->handle);
  std::free(module);
  return result == kDriverSuccess ? MOE_SUCCESS
                                  : failDriver(*driver, "cuModuleUnload", result);
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

/// Whether the kernel with wide accesses may be used: the rule by which the host code of
/// convert-moe-to-gpu chooses.
static bool hasAlignedRows(const Problem &problem, int accessBytes) {
  uintptr_t access = uintptr_t(accessBytes);
  auto address = [](const void *pointer) { return reinterpret_cast<uintptr_t>(pointer); };
  uintptr_t misalignment = address(problem.x.data) % access;
  misalignment |= uintptr_t(problem.x.row_stride * 2) % access;
  misalignment |= uintptr_t(problem.x.columns * 2) % access;
  if (!problem.isQuantizing()) {
    misalignment |= address(problem.out.data) % access;
    misalignment |= uintptr_t(problem.out.row_stride * 2) % access;
    return misalignment == 0;
  }
  // A byte for two bytes of x.
  misalignment |= address(problem.out.data) % (access / 2);
  misalignment |= uintptr_t(problem.out.row_stride) % (access / 2);
  if (!problem.hasLinearScale())
    misalignment |=
        address(problem.scale.data) %
        (problem.hasUntouchedDeadScales() ? kScaleAccessBytes : kZeroStoreBytes);
  return misalignment == 0;
}

namespace {

/// The parameters of a kernel: each memref operand as its two pointers, offset, sizes and
/// strides.
class Parameters {
public:
  explicit Parameters(const Problem &problem) {
    addMatrix(problem.x);
    addVector(problem.permutationMap, problem.x.rows);
    addPointer(problem.nUsed);
    addMatrix(problem.out);
    if (problem.hasLinearScale())
      addMatrix({problem.scale.data, problem.x.rows, problem.x.columns / kGroupSize,
                 problem.scale.row_stride});
    else if (problem.isQuantizing())
      addVector(problem.scale.data, problem.scale.size);
  }
  void **get() { return pointers; }

private:
  // Three operands of rank 2, one of rank 1, one of rank 0.
  static constexpr int kMax = 3 * 7 + 5 + 3;

  void add(uint64_t value) {
    values[count] = value;
    pointers[count] = &values[count];
    ++count;
  }
  void addPointer(const void *pointer) {
    add(reinterpret_cast<uintptr_t>(pointer));
    add(reinterpret_cast<uintptr_t>(pointer));
    add(0);
  }
  void addVector(const void *pointer, int64_t size) {
    addPointer(pointer);
    add(uint64_t(size));
    add(1);
  }
  void addMatrix(const MoeMatrix &matrix) {
    addPointer(matrix.data);
    add(uint64_t(matrix.rows));
    add(uint64_t(matrix.columns));
    add(uint64_t(matrix.row_stride));
    add(1);
  }

  uint64_t values[kMax];
  void *pointers[kMax];
  int count = 0;
};

} // namespace

/// Asks the driver whether every operand is one that the current context can access.
static MoeStatus validatePointers(const Driver &driver, const Problem &problem) {
  struct {
    const char *name;
    const void *pointer;
  } operands[] = {{"x", problem.x.data},
                  {"permutation_map", problem.permutationMap},
                  {"n_used", problem.nUsed},
                  {problem.isQuantizing() ? "data" : "out", problem.out.data},
                  {"scale", problem.scale.data}};
  for (auto [name, pointer] : operands) {
    if (!pointer)
      continue; // No such operand.
    uint64_t device = 0;
    DriverResult result = driver.PointerGetAttribute(
        &device, kDevicePointerAttribute, reinterpret_cast<uintptr_t>(pointer));
    if (result != kDriverSuccess || device != reinterpret_cast<uintptr_t>(pointer))
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected memory that the CUDA device can access, found %p, which "
                  "the driver does not know as such",
                  name, pointer);
  }
  return MOE_SUCCESS;
}

/// The kernel for a problem. Sets `isAligned` to which of the two it is.
static MoeStatus chooseKernel(const Problem &problem, const MoeModule &module,
                              bool &isAligned, Kernel &kernel) {
  const Kernel(&kernels)[2] = module.kernels[problem.kernelIndex()];
  bool hasAligned = hasAlignedRows(problem, module.accessBytes);
  // An image for sizes that are never aligned has the one kernel alone.
  isAligned = hasAligned && kernels[true].function;
  kernel = kernels[isAligned];
  if (kernel.function)
    return MOE_SUCCESS;
  char name[80];
  formatKernelName(name, problem.kernelIndex(), hasAligned);
  if (kernels[true].function)
    return fail(MOE_UNSUPPORTED,
                "the module has no kernel %s, for rows that do not start at multiples of "
                "%d bytes",
                name, module.accessBytes);
  return fail(MOE_UNSUPPORTED, "the module has no kernel %s", name);
}

MoeStatus moe::launchOnCUDA(const Problem &problem, const MoeLaunch &launch) {
  if (launch.num_ctas < 0 || launch.num_ctas > kMaxCTAs)
    return fail(MOE_INVALID_ARGUMENT, "num_ctas: expected from 0 to %d, found %d",
                int(kMaxCTAs), launch.num_ctas);
  const Driver *driver;
  uint64_t context;
  if (MoeStatus status = enter(driver, context))
    return status;
  const MoeModule *module = launch.module;
  if (MoeStatus status = module ? checkContext(*module, context)
                                : getOwnModule(*driver, context, module))
    return status;
  bool isProgrammatic = launch.flags & MOE_PROGRAMMATIC_LAUNCH;
  if (isProgrammatic && !module->waitsForPredecessor)
    return fail(MOE_UNSUPPORTED,
                "MOE_PROGRAMMATIC_LAUNCH: the kernels do not wait for their predecessor "
                "and would race with it");
  if (isProgrammatic && !driver->LaunchKernelEx)
    return fail(MOE_NO_DRIVER, "MOE_PROGRAMMATIC_LAUNCH: libcuda.so.1 has no function "
                               "cuLaunchKernelEx: the CUDA driver is too old");
  if (launch.flags & MOE_VALIDATE_POINTERS)
    if (MoeStatus status = validatePointers(*driver, problem))
      return status;

  bool isAligned;
  Kernel kernel;
  if (MoeStatus status = chooseKernel(problem, *module, isAligned, kernel))
    return status;
  bool hasQuads = isAligned && problem.isQuantizing() && !problem.hasLinearScale();
  Grid grid = getGrid(problem.x.rows, problem.x.columns, isAligned, hasQuads,
                      kernel.threadsPerCTA, launch.num_ctas, module->numSMs);
  Parameters parameters(problem);
  unsigned threads = unsigned(kernel.threadsPerCTA);
  if (!isProgrammatic) {
    DriverResult result =
        driver->LaunchKernel(kernel.function, grid.x, grid.y, 1, threads, 1, 1, 0,
                             launch.stream, parameters.get(), nullptr);
    return result == kDriverSuccess ? MOE_SUCCESS
                                    : failDriver(*driver, "cuLaunchKernel", result);
  }
  LaunchAttribute attribute = {kProgrammaticLaunchAttribute, 0, /*value=*/{1, 0, 0}, {}};
  LaunchConfig config = {grid.x, grid.y,        1,          threads, 1, 1,
                         0,      launch.stream, &attribute, 1};
  DriverResult result =
      driver->LaunchKernelEx(&config, kernel.function, parameters.get(), nullptr);
  return result == kDriverSuccess ? MOE_SUCCESS
                                  : failDriver(*driver, "cuLaunchKernelEx", result);
}
