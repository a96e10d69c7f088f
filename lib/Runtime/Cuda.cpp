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

#include "../Driver/Driver.h"
#include "../Driver/Lock.h"
#include "../Driver/Status.h"
#include "../Launch/AlignmentRule.h"
#include "../Launch/IntegerArithmetic.h"
#include "../Launch/KernelDescription.h"
#include "Grid.h"
#include "Image.h"
#include "Kernels.h"
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

using namespace moe;

/// Below, bf16 arithmetic and the instructions of the kernels are missing.
static constexpr int kMinCapability = 80;
namespace {

struct Kernel {
  /// Null if the image does not have it.
  Handle function;
  launch::KernelDescription description;
  /// For each of its parameters, which of its operands in the order of the op that is.
  uint8_t operands[launch::KernelDescription::kMaxOperands];
  /// Whether it is compiled for some size or stride.
  bool isFixed;
};

} // namespace

/// Kernels in a context. Written before it is published, then only read.
struct MoeModule {
  /// Which context; never 0.
  uint64_t context;
  Handle handle;
  /// By kKernels, and whether it is the one for rows that may start anywhere.
  Kernel kernels[kNumKernels][2];
  int numSMs;
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

//===----------------------------------------------------------------------===//
// Modules
//===----------------------------------------------------------------------===//

/// The name of a kernel as convert-moe-to-gpu makes it.
static void formatKernelName(char (&name)[launch::KernelDescription::kNameBytes],
                             int index, bool isUnaligned) {
  std::snprintf(name, sizeof(name), "%s%s", kKernels[index].name,
                isUnaligned ? "_unaligned" : "");
}

namespace {

/// Where the descriptions of a module's kernels come from.
class Descriptions {
public:
  /// Of the library's own kernels: the table that the build makes.
  explicit Descriptions(const GpuDescriptions &table) : table(&table) {}
  /// Of an image: its constants.
  Descriptions(const Driver &driver, Handle module) : driver(&driver), module(module) {}
  ~Descriptions() {
    if (stream)
      driver->StreamDestroy(stream);
  }

  MoeStatus read(int index, bool isUnaligned, Kernel &kernel);

private:
  MoeStatus copy(const char *name, uint8_t *bytes, size_t capacity, size_t &size);

  const GpuDescriptions *table = nullptr;
  const Driver *driver = nullptr;
  Handle module = nullptr;
  /// One of its own: a copy on the default stream would wait for others, and break a
  /// stream capture.
  Handle stream = nullptr;
};

} // namespace

/// Copies what the image has for the kernel `name`.
MoeStatus Descriptions::copy(const char *name, uint8_t *bytes, size_t capacity,
                             size_t &size) {
  char symbol[sizeof(launch::kDescriptionPrefix) + launch::KernelDescription::kNameBytes];
  std::snprintf(symbol, sizeof(symbol), "%s%s", launch::kDescriptionPrefix, name);
  uint64_t address = 0;
  DriverResult result = driver->ModuleGetGlobal(&address, &size, module, symbol);
  if (result == kDriverNotFound)
    return fail(MOE_UNSUPPORTED,
                "image: expected %s, a constant that says how to launch the kernel %s, "
                "found none: compile the kernel with the moe-opt and moe-translate of "
                "moe-mlir %d.%d or later",
                symbol, name, MOE_VERSION_MAJOR, MOE_VERSION_MINOR);
  if (result != kDriverSuccess)
    return failDriver(*driver, "cuModuleGetGlobal", result);
  size = std::min(size, capacity);
  if (!stream)
    if (DriverResult result = driver->StreamCreate(&stream, kNonBlockingStream))
      return failDriver(*driver, "cuStreamCreate", result);
  if (DriverResult result =
          driver->MemcpyAsync(reinterpret_cast<uintptr_t>(bytes), address, size, stream))
    return failDriver(*driver, "cuMemcpyAsync", result);
  if (DriverResult result = driver->StreamSynchronize(stream))
    return failDriver(*driver, "cuStreamSynchronize", result);
  return MOE_SUCCESS;
}

MoeStatus Descriptions::read(int index, bool isUnaligned, Kernel &kernel) {
  char name[launch::KernelDescription::kNameBytes];
  formatKernelName(name, index, isUnaligned);
  // What later versions may add to a description is not looked at.
  uint8_t copied[2 * launch::kMaxDescriptionBytes];
  const uint8_t *bytes = copied;
  size_t size;
  if (table) {
    bytes = table->kernels[index][isUnaligned].begin;
    size = table->kernels[index][isUnaligned].size;
  } else if (MoeStatus status = copy(name, copied, sizeof(copied), size)) {
    return status;
  }
  int version;
  switch (launch::decode(bytes, size, kernel.description, version)) {
  case launch::DecodeResult::Success:
    break;
  case launch::DecodeResult::OtherVersion:
    return fail(MOE_UNSUPPORTED,
                "image: expected version %d of the description of kernel %s, found %d: "
                "compile the kernel with the moe-opt of this version of moe-mlir, or use "
                "the runtime library of that one",
                launch::KernelDescription::kVersion, name, version);
  case launch::DecodeResult::Malformed:
    return fail(MOE_UNSUPPORTED,
                "image: expected a description of kernel %s, found %zu bytes that are "
                "none, or are damaged",
                name, size);
  }
  return MOE_SUCCESS;
}

/// Whether what the kernel takes is what the op has.
static bool isFor(const launch::OperandDescription &operand, const OperandRow &row,
                  bool hasLinearScales) {
  using launch::OperandKind;
  auto kind = OperandKind::Matrix;
  if (row.form == kCountForm)
    kind = OperandKind::Scalar;
  else if (row.form == kPerRowForm || row.form == kWeightForm ||
           (row.form == kScalesForm && !hasLinearScales))
    kind = OperandKind::Vector;
  bool hasRank =
      kind == OperandKind::Scalar ? operand.rank <= 1 : operand.rank == uint8_t(kind);
  return operand.kind == kind && hasRank && operand.elementBits == 8 * row.elementBytes &&
         operand.isWritten == (row.isWritten != 0) &&
         (operand.offset == 0 || operand.offset == launch::kAny);
}

/// Finds the operands of the op that the kernel takes, and refuses it if it takes others.
static MoeStatus bindOperands(int index, Kernel &kernel) {
  const KernelRow &kernelRow = kKernels[index];
  const OpRow &op = kOps[kernelRow.op];
  const OperandRow *rows[kMaxOperands];
  int numRows = 0;
  for (int i = 0; i < op.numOperands; ++i)
    if (kernelRow.operands >> i & 1)
      rows[numRows++] = &op.operands[i];
  launch::KernelDescription &description = kernel.description;
  if (description.work != launch::Work::Rows)
    return fail(
        MOE_UNSUPPORTED,
        "image: kernel %s: expected work that is given out by rows, found kind %u",
        description.name, unsigned(description.work));
  bool hasLinearScales = kernelRow.mode.scale_layout == MOE_SCALE_LINEAR;
  if (int(description.numOperands) != numRows)
    return fail(MOE_UNSUPPORTED, "image: kernel %s: expected %d operands, found %u",
                description.name, numRows, description.numOperands);
  for (uint32_t i = 0; i < description.numOperands; ++i) {
    const launch::OperandDescription &operand = description.operands[i];
    int found = 0;
    while (found < numRows && std::strcmp(rows[found]->name, operand.name) != 0)
      ++found;
    if (found == numRows || !isFor(operand, *rows[found], hasLinearScales))
      return fail(MOE_UNSUPPORTED,
                  "image: kernel %s: expected operands as %s has them, found %s '%s' of "
                  "%d bits an element, rank %d and offset %lld that is %s",
                  description.name, op.name,
                  operand.kind == launch::OperandKind::Scalar   ? "a scalar"
                  : operand.kind == launch::OperandKind::Vector ? "a vector"
                                                                : "a matrix",
                  operand.name, operand.elementBits, operand.rank,
                  static_cast<long long>(operand.offset),
                  operand.isWritten ? "written" : "read");
    kernel.operands[i] = uint8_t(found);
    kernel.isFixed |= operand.rows != launch::kAny || operand.columns != launch::kAny ||
                      operand.rowStride != launch::kAny;
  }
  return MOE_SUCCESS;
}

/// Looks up whatever kernels the module has.
static MoeStatus findKernels(const Driver &driver, MoeModule &module,
                             Descriptions &descriptions) {
  int count = 0;
  for (int index = 0; index < kNumKernels; ++index) {
    for (bool isUnaligned : {false, true}) {
      Kernel &kernel = module.kernels[index][isUnaligned];
      char name[launch::KernelDescription::kNameBytes];
      formatKernelName(name, index, isUnaligned);
      DriverResult result =
          driver.ModuleGetFunction(&kernel.function, module.handle, name);
      if (result == kDriverNotFound) {
        kernel.function = nullptr;
        continue;
      }
      if (result != kDriverSuccess)
        return failDriver(driver, "cuModuleGetFunction", result);
      if (MoeStatus status = descriptions.read(index, isUnaligned, kernel))
        return status;
      if (MoeStatus status = bindOperands(index, kernel))
        return status;
      ++count;
    }
  }
  if (count == 0)
    return fail(MOE_UNSUPPORTED,
                "image: expected a kernel that this version of moe-mlir has a call for, "
                "such as %s, found none",
                kKernels[0].name);
  return MOE_SUCCESS;
}

/// Loads an image that is complete, text with its final NUL. `table` has the descriptions
/// of its kernels, or is null if the image has them.
static MoeStatus makeModule(const Driver &driver, uint64_t context, const void *image,
                            const Device &device, const GpuDescriptions *table,
                            MoeModule *&module) {
  auto *made = static_cast<MoeModule *>(std::calloc(1, sizeof(MoeModule)));
  if (!made)
    return fail(MOE_OUT_OF_MEMORY, "no memory for a module's table of kernels");
  made->context = context;
  made->numSMs = device.numSMs;

  RelaxedCaptureMode relaxed(driver);
  if (MoeStatus status = loadImage(driver, image, /*optLevel=*/-1, made->handle)) {
    std::free(made);
    return status;
  }
  Descriptions descriptions =
      table ? Descriptions(*table) : Descriptions(driver, made->handle);
  if (MoeStatus status = findKernels(driver, *made, descriptions)) {
    driver.ModuleUnload(made->handle);
    std::free(made);
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
  std::free(module);
  return result == kDriverSuccess ? MOE_SUCCESS
                                  : failDriver(*driver, "cuModuleUnload", result);
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
    return uint64_t(elements) * uint64_t(operand.row->elementBytes);
  }
  const Operand &operand;
};

/// The parameters of a kernel: each memref operand as its two pointers, offset, sizes and
/// strides.
class Parameters {
public:
  Parameters(const Kernel &kernel, const Problem &problem) {
    for (uint32_t i = 0; i < kernel.description.numOperands; ++i) {
      const Operand &operand = problem.operands[kernel.operands[i]];
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

  void add(uint64_t value) {
    values[count] = value;
    pointers[count] = &values[count];
    ++count;
  }

  uint64_t values[kMax];
  void *pointers[kMax];
  int count = 0;
};

} // namespace

/// Whether the kernel may have the operands where they are.
static bool isAligned(const Problem &problem, const Kernel &kernel) {
  launch::BitArithmetic arithmetic;
  uint64_t misalignment = 0;
  for (uint32_t i = 0; i < kernel.description.numOperands; ++i)
    misalignment |=
        launch::getMisalignment(arithmetic, kernel.description.operands[i],
                                OperandPlace(problem.operands[kernel.operands[i]]));
  return misalignment == 0;
}

/// Refuses sizes and strides that the kernel does not ask for, as it knows others.
static MoeStatus checkFixed(const Problem &problem, const Kernel &kernel) {
  for (uint32_t i = 0; i < kernel.description.numOperands; ++i) {
    const launch::OperandDescription &described = kernel.description.operands[i];
    const Operand &operand = problem.operands[kernel.operands[i]];
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
    for (auto [what, expected, found] : sizes)
      if (expected != launch::kAny && expected != found)
        return fail(MOE_UNSUPPORTED,
                    "%s: expected %lld %s, which the module's kernel %s is compiled for, "
                    "found %lld",
                    operand.name(), static_cast<long long>(expected), what,
                    kernel.description.name, static_cast<long long>(found));
  }
  return MOE_SUCCESS;
}

/// Asks the driver whether every operand is one that the current context can access.
static MoeStatus validatePointers(const Driver &driver, const Problem &problem) {
  for (int i = 0; i < problem.numOperands; ++i) {
    const Operand &operand = problem.operands[i];
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

/// The kernel for a problem.
static MoeStatus chooseKernel(const Problem &problem, const MoeModule &module,
                              const Kernel *&kernel) {
  const Kernel(&kernels)[2] = module.kernels[problem.kernel];
  for (const Kernel &candidate : kernels) {
    if (!candidate.function || !isAligned(problem, candidate))
      continue;
    kernel = &candidate;
    return candidate.isFixed ? checkFixed(problem, candidate) : MOE_SUCCESS;
  }
  char name[launch::KernelDescription::kNameBytes];
  formatKernelName(name, problem.kernel, /*isUnaligned=*/kernels[0].function != nullptr);
  if (kernels[0].function)
    return fail(MOE_UNSUPPORTED,
                "the module has no kernel %s, for rows that do not start at multiples of "
                "%u bytes",
                name, kernels[0].description.operands[0].addressAlignment);
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
  if (launch.flags & MOE_VALIDATE_POINTERS)
    if (MoeStatus status = validatePointers(*driver, problem))
      return status;
  const Kernel *kernel = nullptr;
  if (MoeStatus status = chooseKernel(problem, *module, kernel))
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
