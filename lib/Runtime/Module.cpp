//===- Module.cpp - The kernels of an image -------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Which kernels an image has, what their descriptions say, and of which ops they are.
//
//===----------------------------------------------------------------------===//

#include "Module.h"

#include "../Driver/Status.h"
#include "Problem.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <iterator>

using namespace moe;

void moe::freeModule(MoeModule *module) {
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
    for (int i = 0; i < kKernelsOfOne; ++i) {
      Kernel &kernel = module.kernels[module.numKernels++];
      const DescriptionBytes &bytes = table.kernels[index][i];
      if (bytes.size == 0)
        continue;
      char name[launch::KernelDescription::kNameBytes];
      std::snprintf(name, sizeof(name), "%s%s", kKernels[index].name, kSuffixes[i]);
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
  struct Kind {
    launch::Work work;
    const char *unit;
  };
  // What has no size in common with all destinations is for experts.
  Extent shared = getSharedExtent(op);
  Kind expected = shared == kNoExtent       ? Kind{launch::Work::Experts, "experts"}
                  : shared == kTokensExtent ? Kind{launch::Work::Tokens, "tokens"}
                                            : Kind{launch::Work::Rows, "rows"};
  // A window is some of them.
  launch::Work found = description.work == launch::Work::ExpertWindows
                           ? launch::Work::Experts
                           : description.work;
  if (found == expected.work)
    return MOE_SUCCESS;
  return fail(MOE_UNSUPPORTED,
              "image: kernel %s: expected work that is given out by %s, found kind %u",
              description.name, expected.unit, unsigned(description.work));
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
    if (i == 0) {
      if (description.pairBlock != launch::kNoPairs)
        row.form = kPairsForm;
      if (description.gathers)
        row.extents[0] = kTokensExtent;
    } else if (known && known->form != kPairsForm) {
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
      description.pairBlock != first.pairBlock || description.gathers != first.gathers)
    return fail(MOE_UNSUPPORTED,
                "image: kernel %s: expected the %u operands of %s, found %u, or pairs of "
                "other columns, or that one of them gathers rows",
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

MoeStatus moe::failNoMemory() {
  return fail(MOE_OUT_OF_MEMORY, "no memory for a module's table of kernels");
}

MoeStatus moe::fillModule(const Driver &driver, const GpuDescriptions *table,
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
