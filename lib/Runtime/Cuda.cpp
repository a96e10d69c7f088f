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
#include "../Driver/Text.h"
#include "../Launch/AlignmentRule.h"
#include "../Launch/IntegerArithmetic.h"
#include "../Launch/KernelDescription.h"
#include "Grid.h"
#include "Image.h"
#include "Kernels.h"
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <iterator>

using namespace moe;

/// Below, bf16 arithmetic and the instructions of the kernels are missing.
static constexpr int kMinCapability = 80;
namespace {

struct Kernel {
  Handle function;
  launch::KernelDescription description;
  /// Whether it is compiled for some size or stride.
  bool isFixed;
};

/// Kernels of an image that compute the same, as an op by their name.
struct NamedKernels {
  OpRow op;
  char name[launch::KernelDescription::kNameBytes];
  char operandNames[kMaxOperands][launch::OperandDescription::kNameBytes];
};

} // namespace

/// Kernels in a context. Written before it is published, then only read.
struct MoeModule {
  /// Which context; never 0.
  uint64_t context;
  Handle handle;
  int numSMs;
  MoeModule *next;
  /// Those that compute the same are neighbours, the preferred first. In a module with
  /// the library's own, there are kKernelsOfOne for each of kKernels.
  Kernel *kernels;
  int numKernels;
  /// Of an image. Null in a module with the library's own.
  NamedKernels *named;
  int numNamed;
};

/// The one for rows that may start anywhere is the second.
static constexpr int kKernelsOfOne = 2;

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

static constexpr char kUnaligned[] = "_unaligned";

static void freeModule(MoeModule *module) {
  std::free(module->kernels);
  std::free(module->named);
  std::free(module);
}

namespace {

/// The constants of an image.
class Constants {
public:
  Constants(const Driver &driver, Handle module) : driver(driver), module(module) {}
  ~Constants() {
    if (stream)
      driver.StreamDestroy(stream);
  }

  /// Finds one, or says in the message what it is that is missing.
  MoeStatus find(const char *symbol, const char *what, uint64_t &address, size_t &size);
  MoeStatus copy(uint64_t address, size_t size, void *bytes);

private:
  const Driver &driver;
  Handle module;
  /// One of its own: a copy on the default stream would wait for others, and break a
  /// stream capture.
  Handle stream = nullptr;
};

} // namespace

MoeStatus Constants::find(const char *symbol, const char *what, uint64_t &address,
                          size_t &size) {
  address = 0;
  DriverResult result = driver.ModuleGetGlobal(&address, &size, module, symbol);
  if (result == kDriverNotFound)
    return fail(
        MOE_UNSUPPORTED,
        "image: expected %s, a constant that says %s, found none: compile it with "
        "the moe-opt and moe-translate of moe-mlir %d.%d or later",
        symbol, what, MOE_VERSION_MAJOR, MOE_VERSION_MINOR);
  return result == kDriverSuccess ? MOE_SUCCESS
                                  : failDriver(driver, "cuModuleGetGlobal", result);
}

MoeStatus Constants::copy(uint64_t address, size_t size, void *bytes) {
  if (!stream)
    if (DriverResult result = driver.StreamCreate(&stream, kNonBlockingStream))
      return failDriver(driver, "cuStreamCreate", result);
  if (DriverResult result =
          driver.MemcpyAsync(reinterpret_cast<uintptr_t>(bytes), address, size, stream))
    return failDriver(driver, "cuMemcpyAsync", result);
  if (DriverResult result = driver.StreamSynchronize(stream))
    return failDriver(driver, "cuStreamSynchronize", result);
  return MOE_SUCCESS;
}

/// Reads the description of the kernel `name`.
static MoeStatus decode(const uint8_t *bytes, size_t size, const char *name,
                        Kernel &kernel) {
  int version;
  launch::DecodeResult result = launch::decode(bytes, size, kernel.description, version);
  if (result == launch::DecodeResult::OtherVersion)
    return fail(MOE_UNSUPPORTED,
                "image: expected version %d of the description of kernel %s, found %d: "
                "compile the kernel with the moe-opt of this version of moe-mlir, or use "
                "the runtime library of that one",
                launch::KernelDescription::kVersion, name, version);
  if (result == launch::DecodeResult::Malformed ||
      std::strcmp(kernel.description.name, name) != 0)
    return fail(MOE_UNSUPPORTED,
                "image: expected a description of kernel %s, found %zu bytes that are "
                "none, or are damaged",
                name, size);
  for (uint32_t i = 0; i < kernel.description.numOperands; ++i) {
    const launch::OperandDescription &operand = kernel.description.operands[i];
    kernel.isFixed |= operand.rows != launch::kAny || operand.columns != launch::kAny ||
                      operand.rowStride != launch::kAny;
  }
  return MOE_SUCCESS;
}

//===----------------------------------------------------------------------===//
// The library's own kernels
//===----------------------------------------------------------------------===//

static MoeStatus findOwnKernels(const Driver &driver, const GpuDescriptions &table,
                                MoeModule &module) {
  for (int index = 0; index < kNumKernels; ++index) {
    for (bool isUnaligned : {false, true}) {
      Kernel &kernel = module.kernels[module.numKernels++];
      const DescriptionBytes &bytes = table.kernels[index][isUnaligned];
      // What needs no alignment is there once.
      if (bytes.size == 0)
        continue;
      char name[launch::KernelDescription::kNameBytes];
      std::snprintf(name, sizeof(name), "%s%s", kKernels[index].name,
                    isUnaligned ? kUnaligned : "");
      if (DriverResult result =
              driver.ModuleGetFunction(&kernel.function, module.handle, name))
        return failDriver(driver, "cuModuleGetFunction", result);
      if (MoeStatus status = decode(bytes.begin, bytes.size, name, kernel))
        return status;
    }
  }
  return MOE_SUCCESS;
}

//===----------------------------------------------------------------------===//
// The kernels of an image
//===----------------------------------------------------------------------===//

/// The names of an image's kernels.
class KernelList {
public:
  KernelList() = default;
  KernelList(const KernelList &) = delete;
  ~KernelList() { std::free(names); }

  MoeStatus read(Constants &constants);
  int count() const { return numNames; }
  /// The first, if `name` is null, else the next.
  const char *next(const char *name) const {
    return name ? name + std::strlen(name) + 1 : names;
  }

private:
  char *names = nullptr;
  int numNames = 0;
};

MoeStatus KernelList::read(Constants &constants) {
  uint64_t address;
  size_t size;
  if (MoeStatus status =
          constants.find(launch::kKernelList, "which kernels it has", address, size))
    return status;
  names = static_cast<char *>(std::malloc(size + 1));
  if (!names)
    return fail(MOE_OUT_OF_MEMORY, "no memory for %zu bytes of names of kernels", size);
  if (MoeStatus status = constants.copy(address, size, names))
    return status;
  names[size] = '\0';
  bool isList = size != 0 && names[size - 1] == '\0';
  for (const char *name = names; isList && name < names + size; name = next(name)) {
    size_t length = std::strlen(name);
    isList = length != 0 && length < launch::KernelDescription::kNameBytes;
    ++numNames;
  }
  return isList ? MOE_SUCCESS
                : fail(MOE_UNSUPPORTED,
                       "image: expected names of kernels in %s, found %zu bytes that are "
                       "none, or are damaged",
                       launch::kKernelList, size);
}

static launch::OperandKind getKind(OperandForm form, int rank) {
  switch (form) {
  case kCountForm:
    return launch::OperandKind::Scalar;
  case kValueForm:
  case kAlignmentForm:
    return launch::OperandKind::Value;
  case kVectorForm:
  case kSizedVectorForm:
  case kWeightForm:
    return launch::OperandKind::Vector;
  case kScalesForm:
    return rank == 1 ? launch::OperandKind::Vector : launch::OperandKind::Matrix;
  case kMatrixForm:
  case kPairsForm:
  case kIndicesForm:
    break;
  }
  return launch::OperandKind::Matrix;
}

/// Whether what the kernel takes can be passed as what the op has.
static bool isFor(const launch::OperandDescription &operand, const OperandRow &row) {
  using launch::OperandKind;
  OperandKind kind = getKind(row.form, operand.rank);
  bool hasRank = kind == OperandKind::Value    ? operand.rank == 0
                 : kind == OperandKind::Scalar ? operand.rank <= 1
                                               : operand.rank == uint8_t(kind);
  bool hasBits = operand.elementBits == 8 * row.elementBytes ||
                 (row.form == kIndicesForm && operand.elementBits == 64);
  return std::strcmp(operand.name, row.name) == 0 && operand.kind == kind && hasRank &&
         hasBits && operand.isWritten == (row.isWritten != 0) &&
         (operand.offset == 0 || operand.offset == launch::kAny);
}

static MoeStatus failOperand(const launch::KernelDescription &description,
                             const launch::OperandDescription &operand,
                             const char *expected) {
  return fail(MOE_UNSUPPORTED,
              "image: kernel %s: expected operands as %s has them, found %s '%s' of "
              "%d bits an element, rank %d and offset %lld that is %s",
              description.name, expected,
              operand.kind == launch::OperandKind::Value    ? "a value"
              : operand.kind == launch::OperandKind::Scalar ? "a scalar"
              : operand.kind == launch::OperandKind::Vector ? "a vector"
                                                            : "a matrix",
              operand.name, operand.elementBits, operand.rank,
              static_cast<long long>(operand.offset),
              operand.isWritten ? "written" : "read");
}

/// The operand of the library's ops that is called so, or null.
static const OperandRow *findOperand(const char *name) {
  for (const OpRow &op : kOps)
    for (int i = 0; i < op.numOperands; ++i)
      if (std::strcmp(op.operands[i].name, name) == 0)
        return &op.operands[i];
  return nullptr;
}

/// The op of the library that begins a kernel's name, or null.
static const OpRow *findOp(const char *name) {
  for (const OpRow &op : kOps) {
    size_t length = std::strlen(op.name);
    if (std::strncmp(name, op.name, length) == 0 &&
        (name[length] == '_' || name[length] == '\0'))
      return &op;
  }
  return nullptr;
}

/// The kernel's first operand that is none of the op's in their order, or null.
static const launch::OperandDescription *
findOther(const launch::KernelDescription &description, const OpRow &op) {
  uint32_t numFound = 0;
  for (int i = 0; i < op.numOperands && numFound < description.numOperands; ++i)
    numFound += isFor(description.operands[numFound], op.operands[i]);
  return numFound < description.numOperands ? &description.operands[numFound] : nullptr;
}

/// Makes the operands of `op` those of `other` that the kernel has.
static void copyOperands(const launch::KernelDescription &description, const OpRow &other,
                         OpRow &op) {
  int count = 0;
  for (int i = 0; i < other.numOperands && count < op.numOperands; ++i) {
    const launch::OperandDescription &operand = description.operands[count];
    if (!isFor(operand, other.operands[i]))
      continue;
    op.operands[count] = other.operands[i];
    op.operands[count++].elementBytes = operand.elementBits / 8;
  }
}

static MoeStatus checkWork(const launch::KernelDescription &description,
                           const OpRow &op) {
  // What is not for rows or tokens is for experts.
  bool isForRows = getSharedExtent(op) != kNoExtent;
  if (description.work == (isForRows ? launch::Work::Rows : launch::Work::Experts))
    return MOE_SUCCESS;
  return fail(MOE_UNSUPPORTED,
              "image: kernel %s: expected work that is given out by %s, found kind %u",
              description.name, isForRows ? "rows" : "experts",
              unsigned(description.work));
}

/// The op that the kernel is. Its operands mean what those of the library's ops with the
/// same names do; others are matrices of the destination's size.
static MoeStatus makeOp(const launch::KernelDescription &description,
                        NamedKernels &named) {
  OpRow &op = named.op;
  op.pairBlock = description.pairBlock;
  op.numOperands = int(description.numOperands);
  if (const OpRow *known = findOp(description.name)) {
    const launch::OperandDescription *other = findOther(description, *known);
    if (!other) {
      copyOperands(description, *known, op);
      return checkWork(description, op);
    }
    // What is no map of rows has none but its own.
    if (std::strcmp(known->operands[0].name, "x") != 0)
      return failOperand(description, *other, known->name);
  }
  for (int i = 0; i < op.numOperands; ++i) {
    const launch::OperandDescription &operand = description.operands[i];
    const OperandRow *known = findOperand(operand.name);
    OperandRow &row = op.operands[i];
    std::memcpy(named.operandNames[i], operand.name, sizeof(operand.name));
    row = {named.operandNames[i],   kMatrixForm,
           operand.elementBits / 8, operand.isWritten,
           /*isOptional=*/0,        {kRowsExtent, kColumnsExtent}};
    if (i == 0 && description.pairBlock != launch::kNoPairs) {
      row.form = kPairsForm;
    } else if (i != 0 && known && known->form != kPairsForm) {
      row.form = known->form;
      std::copy(std::begin(known->extents), std::end(known->extents), row.extents);
    }
    bool hasKnownSize = row.form == kMatrixForm || row.form == kPairsForm ||
                        row.elementBytes == known->elementBytes;
    bool isPlaced = i != 0 || (std::strcmp(operand.name, "x") == 0 && !row.isWritten);
    if (!hasKnownSize || !isPlaced || !isFor(operand, row))
      return failOperand(description, operand, "moe.map_rows");
  }
  return checkWork(description, op);
}

/// Checks what a launch relies on, and finds those that the kernel belongs to or makes
/// them.
static MoeStatus addToNamed(const launch::KernelDescription &description,
                            MoeModule &module, NamedKernels *&named) {
  if (description.numOperands == 0 || description.numOperands > kMaxOperands)
    return fail(MOE_UNSUPPORTED, "image: kernel %s: expected 1 to %d operands, found %u",
                description.name, int(kMaxOperands), description.numOperands);
  size_t length = description.baseNameBytes;
  named = module.named;
  NamedKernels *end = module.named + module.numNamed;
  while (named != end && (named->name[length] != '\0' ||
                          std::memcmp(named->name, description.name, length) != 0))
    ++named;
  if (named == end) {
    ++module.numNamed;
    std::memcpy(named->name, description.name, length);
    named->op.name = named->name;
    named->op.firstKernel = module.numKernels;
    named->op.module = &module;
    return makeOp(description, *named);
  }
  const OpRow &op = named->op;
  const launch::KernelDescription &first = module.kernels[op.firstKernel].description;
  if (description.numOperands != first.numOperands ||
      description.pairBlock != first.pairBlock)
    return fail(MOE_UNSUPPORTED,
                "image: kernel %s: expected the %u operands of %s, found %u, or pairs of "
                "other columns",
                description.name, first.numOperands, first.name, description.numOperands);
  for (int i = 0; i < op.numOperands; ++i)
    if (!isFor(description.operands[i], op.operands[i]) ||
        description.operands[i].kind != first.operands[i].kind)
      return failOperand(description, description.operands[i], first.name);
  return checkWork(description, op);
}

/// Looks up all kernels of an image.
static MoeStatus findKernels(const Driver &driver, Constants &constants,
                             const KernelList &list, MoeModule &module) {
  const char *name = nullptr;
  while (module.numKernels < list.count()) {
    name = list.next(name);
    Kernel kernel = {};
    DriverResult result = driver.ModuleGetFunction(&kernel.function, module.handle, name);
    if (result == kDriverNotFound)
      return fail(MOE_UNSUPPORTED,
                  "image: expected the kernel %s, which %s names, found none", name,
                  launch::kKernelList);
    if (result != kDriverSuccess)
      return failDriver(driver, "cuModuleGetFunction", result);
    char symbol[sizeof(launch::kDescriptionPrefix) +
                launch::KernelDescription::kNameBytes];
    std::snprintf(symbol, sizeof(symbol), "%s%s", launch::kDescriptionPrefix, name);
    char what[64 + launch::KernelDescription::kNameBytes];
    std::snprintf(what, sizeof(what), "how to launch the kernel %s", name);
    uint64_t address;
    size_t size;
    if (MoeStatus status = constants.find(symbol, what, address, size))
      return status;
    // What later versions may add to a description is not looked at.
    uint8_t bytes[2 * launch::kMaxDescriptionBytes];
    size = std::min(size, sizeof(bytes));
    if (MoeStatus status = constants.copy(address, size, bytes))
      return status;
    if (MoeStatus status = decode(bytes, size, name, kernel))
      return status;
    NamedKernels *named = nullptr;
    if (MoeStatus status = addToNamed(kernel.description, module, named))
      return status;
    // Behind those that it belongs to; the others move on.
    int at = named->op.firstKernel + named->op.numKernels++;
    std::memmove(&module.kernels[at + 1], &module.kernels[at],
                 (module.numKernels - at) * sizeof(Kernel));
    module.kernels[at] = kernel;
    ++module.numKernels;
    for (int i = 0; i < module.numNamed; ++i) {
      OpRow &other = module.named[i].op;
      other.firstKernel += &module.named[i] != named && other.firstKernel >= at;
    }
  }
  return MOE_SUCCESS;
}

static MoeStatus failNoMemory() {
  return fail(MOE_OUT_OF_MEMORY, "no memory for a module's table of kernels");
}

/// Makes the table of the kernels that a module's image has.
static MoeStatus fillModule(const Driver &driver, const GpuDescriptions *table,
                            MoeModule &module) {
  Constants constants(driver, module.handle);
  KernelList list;
  if (!table)
    if (MoeStatus status = list.read(constants))
      return status;
  size_t count = table ? size_t(kKernelsOfOne) * kNumKernels : size_t(list.count());
  module.kernels = static_cast<Kernel *>(std::calloc(count, sizeof(Kernel)));
  if (!module.kernels)
    return failNoMemory();
  if (table)
    return findOwnKernels(driver, *table, module);
  module.named = static_cast<NamedKernels *>(std::calloc(count, sizeof(NamedKernels)));
  if (!module.named)
    return failNoMemory();
  return findKernels(driver, constants, list, module);
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

/// The kernel for a problem: of those that compute it the first that may have the
/// operands.
static MoeStatus chooseKernel(const Problem &problem, const MoeModule &module,
                              const Kernel *&kernel) {
  const Kernel *begin = nullptr, *end = nullptr, *unfit = nullptr;
  if (MoeStatus status = findKernels(problem, module, begin, end))
    return status;
  Misfit first = {}, misfit;
  for (kernel = begin; kernel != end; ++kernel) {
    if (!kernel->function || !isAligned(problem, *kernel))
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
