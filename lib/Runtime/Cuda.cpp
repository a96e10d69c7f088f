//===- Cuda.cpp - The ops on a CUDA stream --------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Contexts, the modules that are loaded in them, and launches. A launch in a context that
// has its module takes no lock, allocates nothing, and makes two calls of the driver:
// which context, and the launch itself.
//
//===----------------------------------------------------------------------===//

#include "Cuda.h"

#include "../Driver/Driver.h"
#include "../Driver/Lock.h"
#include "../Driver/Status.h"
#include "../Driver/Text.h"
#include "../Launch/AlignmentRule.h"
#include "../Launch/IntegerArithmetic.h"
#include "../Launch/KernelDescription.h"
#include "Grid.h"
#include "Image.h"
#include "Module.h"
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>

using namespace moe;

/// Below, bf16 arithmetic and the instructions of the kernels are missing.
static constexpr int kMinCapability = 80;

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

//===----------------------------------------------------------------------===//
// Loading and unloading
//===----------------------------------------------------------------------===//

/// Loads an image that is complete, text with its final NUL. `table` has the descriptions
/// of its kernels, or is null if the image has them.
static MoeStatus makeModule(const Driver &driver, uint64_t context, const void *image,
                            const Device &device, const GpuDescriptions *table,
                            MoeModule *&module) {
  auto *made = static_cast<MoeModule *>(std::calloc(1, sizeof(MoeModule)));
  if (!made)
    return failNoMemory();
  made->context = context;
  made->numSMs = device.numSMs;

  RelaxedCaptureMode relaxed(driver);
  if (MoeStatus status = loadImage(driver, image, /*optLevel=*/-1, made->handle)) {
    freeModule(made);
    return status;
  }
  if (MoeStatus status = fillModule(driver, table, *made)) {
    driver.ModuleUnload(made->handle);
    freeModule(made);
    return status;
  }
  module = made;
  return MOE_SUCCESS;
}

/// Of a table by ascending capability, the row for a device, or null.
template <typename Row>
static const Row *findRow(const Row *rows, size_t count, int capability) {
  const Row *found = nullptr;
  for (size_t i = 0; i < count; ++i)
    if (rows[i].capability <= capability)
      found = &rows[i];
  return found;
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
  const GpuImage *image = findRow(kGpuImages, kNumGpuImages, device.capability);
  // No code for an older device is taken where there is some for this one, so these are
  // those of the PTX that the code was made of.
  const GpuDescriptions *table =
      findRow(kGpuDescriptions, kNumGpuDescriptions, device.capability);
  if (!image || !table)
    return fail(MOE_UNSUPPORTED,
                "expected a device of compute capability %d.%d or later, found %d.%d",
                kGpuImages[0].capability / 10, kGpuImages[0].capability % 10,
                device.capability / 10, device.capability % 10);
  MoeModule *made;
  if (MoeStatus status = makeModule(driver, context, image->begin, device, table, made))
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

MoeStatus moe::loadModule(const void *image, size_t size, MoeModule *&module) {
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

  char *text = nullptr;
  if (isText) {
    text = static_cast<char *>(std::malloc(size + 1));
    if (!text)
      return fail(MOE_OUT_OF_MEMORY, "no memory for a copy of %zu bytes of PTX", size);
    std::memcpy(text, image, size);
    text[size] = '\0';
  }
  MoeStatus status = makeModule(*driver, context, isText ? text : image, device,
                                /*table=*/nullptr, module);
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
  freeModule(module);
  return result == kDriverSuccess ? MOE_SUCCESS
                                  : failDriver(*driver, "cuModuleUnload", result);
}

/// The names of a module's kernels.
static void list(const MoeModule &module, Text &names) {
  for (int i = 0; i < module.numNamed; ++i)
    names.addItem(module.named[i].name);
}

static const OpRow *findNamed(const MoeModule &module, const char *name) {
  for (int i = 0; i < module.numNamed; ++i)
    if (std::strcmp(module.named[i].name, name) == 0)
      return &module.named[i].op;
  return nullptr;
}

MoeStatus moe::findKernel(const MoeModule &module, const char *name, const MoeOp *&op) {
  if (const OpRow *found = findNamed(module, name)) {
    op = found;
    return MOE_SUCCESS;
  }
  Text names;
  list(module, names);
  return fail(MOE_INVALID_ARGUMENT,
              "name: expected a kernel of the module (%s), found %s", names.c_str(),
              name);
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

namespace {

/// Where an operand is, for the alignment rule.
class OperandPlace {
public:
  explicit OperandPlace(const Operand &operand) : operand(operand) {}
  uint64_t address() const { return reinterpret_cast<uintptr_t>(operand.data); }
  uint64_t rowStride() const { return bytes(operand.rowStride); }
  uint64_t row() const { return bytes(operand.columns); }

private:
  uint64_t bytes(int64_t elements) const {
    return uint64_t(elements) * uint64_t(operand.elementBytes);
  }
  const Operand &operand;
};

/// The parameters of a kernel: each memref operand as its two pointers, offset, sizes and
/// strides, each value as it is.
class Parameters {
public:
  Parameters(const Kernel &kernel, const Problem &problem) {
    uint64_t *value = values;
    void **pointer = pointers;
    auto add = [&](uint64_t parameter) {
      *pointer++ = value;
      *value++ = parameter;
    };
    for (uint32_t i = 0; i < kernel.description.numOperands; ++i) {
      const Operand &operand = problem.operands[i];
      if (operand.isValue()) {
        add(*static_cast<const uint32_t *>(operand.data));
        continue;
      }
      add(reinterpret_cast<uintptr_t>(operand.data));
      add(reinterpret_cast<uintptr_t>(operand.data));
      add(0);
      int rank = kernel.description.operands[i].rank;
      if (rank == 2) {
        add(uint64_t(operand.rows));
        add(uint64_t(operand.columns));
        add(uint64_t(operand.rowStride));
      } else if (rank == 1) {
        add(uint64_t(operand.rows));
      }
      if (rank != 0)
        add(1);
    }
  }
  void **get() { return pointers; }

private:
  static constexpr int kMax = 7 * kMaxOperands;
  uint64_t values[kMax];
  void *pointers[kMax];
};

} // namespace

/// Whether the kernel may have the operands where they are.
static bool isAligned(const Problem &problem, const Kernel &kernel) {
  launch::BitArithmetic arithmetic;
  uint64_t misalignment = 0;
  for (uint32_t i = 0; i < kernel.description.numOperands; ++i)
    if (!problem.operands[i].isValue())
      misalignment |= launch::getMisalignment(arithmetic, kernel.description.operands[i],
                                              OperandPlace(problem.operands[i]));
  return misalignment == 0;
}

namespace {

/// What a kernel does not ask for, as it is compiled for it, and the problem has
/// otherwise.
struct Misfit {
  const char *operand, *what;
  int64_t expected, found;
};

} // namespace

/// Whether the sizes and strides are those that the kernel is compiled for.
static bool isFitting(const Problem &problem, const Kernel &kernel, Misfit &misfit) {
  for (uint32_t i = 0; i < kernel.description.numOperands; ++i) {
    const launch::OperandDescription &described = kernel.description.operands[i];
    const Operand &operand = problem.operands[i];
    bool hasStride = described.rank == 2 && operand.rows > 1;
    struct {
      const char *what;
      int64_t expected, found;
    } sizes[] = {
        {described.rank == 1 ? "elements" : "rows", described.rows, operand.rows},
        {"columns", described.columns, operand.columns},
        {"as the row_stride", hasStride ? described.rowStride : launch::kAny,
         operand.rowStride},
    };
    for (auto [what, expected, found] : sizes) {
      if (expected != launch::kAny && expected != found) {
        misfit = {operand.name(), what, expected, found};
        return false;
      }
    }
  }
  return true;
}

/// Asks the driver whether every operand is one that the current context can access.
static MoeStatus validatePointers(const Driver &driver, const Problem &problem) {
  for (int i = 0; i < problem.numOperands; ++i) {
    const Operand &operand = problem.operands[i];
    if (operand.isValue() || operand.rows == 0 || operand.columns == 0)
      continue;
    uint64_t device = 0, address = reinterpret_cast<uintptr_t>(operand.data);
    DriverResult result =
        driver.PointerGetAttribute(&device, kDevicePointerAttribute, address);
    if (result != kDriverSuccess || device != address)
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected memory that the CUDA device can access, found %p, which "
                  "the driver does not know as such",
                  operand.name(), operand.data);
  }
  return MOE_SUCCESS;
}

/// Whether the kernels `op` of a module are what `request` asks for by its name.
static bool isFor(const OpRow &op, const Problem &problem) {
  const KernelMode &mode = problem.request.mode;
  if (op.numOperands != problem.numOperands)
    return false;
  for (int i = 0; i < op.numOperands; ++i) {
    const OperandRow &row = op.operands[i], &asked = *problem.operands[i].row;
    if (row.form != asked.form || row.elementBytes != problem.operands[i].elementBytes ||
        row.isWritten != asked.isWritten || std::strcmp(row.name, asked.name) != 0)
      return false;
  }
  return op.operands[0].form != kPairsForm || op.pairBlock == mode.gate_block;
}

/// Finds the kernels that compute what `problem` asks for.
static MoeStatus findKernels(const Problem &problem, const MoeModule &module,
                             const Kernel *&begin, const Kernel *&end) {
  const OpRow *op = problem.request.op;
  if (!module.named) {
    begin = module.kernels + ptrdiff_t(kKernelsOfOne) * problem.kernel;
    end = begin + kKernelsOfOne;
    return MOE_SUCCESS;
  }
  if (!op->module) {
    launch::NameText name;
    nameKernel(problem.request, name);
    op = findNamed(module, name.c_str());
    if (!op) {
      Text asked, names;
      describe(problem.request, asked);
      list(module, names);
      return fail(MOE_UNSUPPORTED,
                  "module: expected the kernel %s, for %s, found none; it has %s",
                  name.c_str(), asked.c_str(), names.c_str());
    }
    if (!isFor(*op, problem))
      return fail(MOE_UNSUPPORTED,
                  "module: kernel %s: expected operands as %s has them, found others",
                  op->name, problem.request.op->name);
  }
  begin = module.kernels + op->firstKernel;
  end = begin + op->numKernels;
  for (int i = 0; i < problem.numOperands; ++i) {
    const Operand &operand = problem.operands[i];
    int rank = begin->description.operands[i].rank;
    if (operand.row->form == kScalesForm && operand.rank != rank)
      return fail(MOE_UNSUPPORTED,
                  "%s: expected the %s layout, which the module's kernel %s is compiled "
                  "for, found the other",
                  operand.name(), rank == 1 ? "swizzled" : "linear", op->name);
  }
  return MOE_SUCCESS;
}

/// Whether there is as much to do as the kernel is made for, and `numCTAs`, the most or 0
/// for any number, leaves room for a cluster.
static bool isEnough(const Problem &problem, int numCTAs, const Kernel &kernel) {
  if (numCTAs != 0 && numCTAs < kernel.description.clusterCTAs)
    return false;
  if (kernel.description.leastUnits == 0)
    return true;
  launch::IntegerArithmetic arithmetic;
  bool isOfTokens = kernel.description.work == launch::Work::Tokens;
  const Operand &routing = problem.operands[0];
  return launch::hasEnoughUnits(arithmetic, kernel.description,
                                isOfTokens ? problem.rows : routing.rows,
                                isOfTokens ? problem.columns : routing.columns);
}

/// The kernel for a problem: of those that compute it the first that may have the
/// operands and is made for as much, or the last one.
static MoeStatus chooseKernel(const Problem &problem, const MoeModule &module,
                              int numCTAs, const Kernel *&kernel) {
  const Kernel *begin = nullptr, *end = nullptr, *unfit = nullptr;
  if (MoeStatus status = findKernels(problem, module, begin, end))
    return status;
  Misfit first = {}, misfit;
  for (kernel = begin; kernel != end; ++kernel) {
    if (!kernel->function || !isAligned(problem, *kernel) ||
        (kernel + 1 != end && !isEnough(problem, numCTAs, *kernel)))
      continue;
    if (!kernel->isFixed || isFitting(problem, *kernel, misfit))
      return MOE_SUCCESS;
    if (unfit)
      continue;
    unfit = kernel;
    first = misfit;
  }
  if (unfit)
    return fail(MOE_UNSUPPORTED,
                "%s: expected %lld %s, which the module's kernel %s is compiled for, "
                "found %lld",
                first.operand, static_cast<long long>(first.expected), first.what,
                unfit->description.name, static_cast<long long>(first.found));
  const launch::KernelDescription &description = begin->description;
  return fail(
      MOE_UNSUPPORTED,
      "the module has no kernel %.*s%s, for rows that do not start at multiples of "
      "%u bytes",
      int(description.baseNameBytes), description.name, kUnaligned,
      description.operands[0].addressAlignment);
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
  if (problem.request.op->module)
    module = problem.request.op->module;
  if (MoeStatus status = module ? checkContext(*module, context)
                                : getOwnModule(*driver, context, module))
    return status;
  if (launch.flags & MOE_VALIDATE_POINTERS)
    if (MoeStatus status = validatePointers(*driver, problem))
      return status;
  const Kernel *kernel = nullptr;
  if (MoeStatus status = chooseKernel(problem, *module, launch.num_ctas, kernel))
    return status;
  bool isProgrammatic = launch.flags & MOE_PROGRAMMATIC_LAUNCH;
  if (isProgrammatic && !kernel->description.waitsForPredecessor)
    return fail(MOE_UNSUPPORTED,
                "MOE_PROGRAMMATIC_LAUNCH: the kernels do not wait for their predecessor "
                "and would race with it");
  if (isProgrammatic && !driver->LaunchKernelEx)
    return fail(MOE_NO_DRIVER, "MOE_PROGRAMMATIC_LAUNCH: libcuda.so.1 has no function "
                               "cuLaunchKernelEx: the CUDA driver is too old");

  Grid grid = getGrid(problem.rows, problem.columns, kernel->description, launch.num_ctas,
                      launch.expected_rows, module->numSMs);
  Parameters parameters(*kernel, problem);
  unsigned threads = kernel->description.threadsPerCTA;
  if (!isProgrammatic) {
    DriverResult result =
        driver->LaunchKernel(kernel->function, grid.x, grid.y, 1, threads, 1, 1, 0,
                             launch.stream, parameters.get(), nullptr);
    return result == kDriverSuccess ? MOE_SUCCESS
                                    : failDriver(*driver, "cuLaunchKernel", result);
  }
  LaunchAttribute attribute = {kProgrammaticLaunchAttribute, 0, /*value=*/{1, 0, 0}, {}};
  LaunchConfig config = {grid.x, grid.y,        1,          threads, 1, 1,
                         0,      launch.stream, &attribute, 1};
  DriverResult result =
      driver->LaunchKernelEx(&config, kernel->function, parameters.get(), nullptr);
  return result == kDriverSuccess ? MOE_SUCCESS
                                  : failDriver(*driver, "cuLaunchKernelEx", result);
}
