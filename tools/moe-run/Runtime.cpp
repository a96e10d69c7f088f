//===- Runtime.cpp - What compiled code calls -----------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Assertions, memory, memrefCopy and bf16; the mgpu functions are those of the library,
// but for memory.
//
//===----------------------------------------------------------------------===//

#include "Runtime.h"

#include "moe-c/MgpuRuntime.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

using namespace llvm;
using namespace mlir::moe::run;

void mlir::moe::run::exitWithError(StringRef message) {
  errs() << "moe-run: error: " << message << '\n';
  std::exit(1);
}

//===----------------------------------------------------------------------===//
// Assertions
//===----------------------------------------------------------------------===//

// cf.assert is lowered to puts and abort: the first keeps the message for the second.
// What is not followed by an abort is text that the program prints.
static std::unique_ptr<std::string> pendingText;

void mlir::moe::run::printPendingText() {
  if (pendingText)
    std::puts(pendingText->c_str());
  pendingText.reset();
}

static int keepText(const char *text) {
  printPendingText();
  pendingText = std::make_unique<std::string>(text);
  return 0;
}

/// Brings a message of generate-runtime-verification,
///
///     ERROR: Runtime op verification failed
///     moe.op ins(...) ...
///     ^ what was expected
///     Location: loc("file.mlir":1:2)
///
/// into one line. Other messages are kept as they are, but for line feeds.
static std::string formatAssertionMessage(StringRef message) {
  SmallVector<StringRef> lines;
  message.split(lines, '\n', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  if (lines.size() != 4 || !lines[2].consume_front("^ "))
    return join(lines, "; ");
  auto [results, op] = lines[1].split(" = ");
  StringRef name =
      (op.empty() ? results : op).take_until([](char c) { return c == ' '; });
  lines[3].consume_front("Location: ");
  return (lines[2] + ", at run time in '" + name + "' at " + lines[3]).str();
}

[[noreturn]] static void failAssertion() {
  exitWithError(pendingText ? formatAssertionMessage(*pendingText)
                            : "the program called abort");
}

/// The program would end before anything is saved.
[[noreturn]] static void failExit(int code) {
  printPendingText();
  exitWithError(("the program called exit with code " + Twine(code)).str());
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

static DenseSet<void *> &getAllocations() {
  static DenseSet<void *> allocations;
  return allocations;
}

static DenseSet<void *> &getManagedAllocations() {
  static DenseSet<void *> allocations;
  return allocations;
}

static void *allocate(size_t size) {
  void *memory = std::malloc(size);
  if (!memory && size != 0)
    exitWithError(("the program cannot allocate " + Twine(size) + " bytes").str());
  getAllocations().insert(memory);
  return memory;
}

// LLVM makes one call of malloc and memset.
static void *allocateZeroed(size_t count, size_t size) {
  return std::memset(allocate(count * size), 0, count * size);
}

static void deallocate(void *memory) {
  // Arguments are not the program's to free.
  if (getAllocations().erase(memory))
    std::free(memory);
}

static void *allocateManaged(uint64_t size, void *stream, uint8_t isHostShared) {
  void *memory = mgpuMemAlloc(size, stream, isHostShared);
  getManagedAllocations().insert(memory);
  return memory;
}

static void deallocateManaged(void *memory, void *stream) {
  if (getManagedAllocations().erase(memory))
    mgpuMemFree(memory, stream);
}

void mlir::moe::run::freeAllocations() {
  for (void *memory : getManagedAllocations())
    mgpuMemFree(memory, /*stream=*/nullptr);
  getManagedAllocations().clear();
  for (void *memory : getAllocations())
    std::free(memory);
  getAllocations().clear();
}

//===----------------------------------------------------------------------===//
// memrefCopy
//===----------------------------------------------------------------------===//

namespace {

/// The lowered form of an unranked memref: `descriptor` has the pointer that was
/// allocated, the aligned one, the offset, sizes and strides.
struct UnrankedMemRef {
  int64_t rank;
  const int64_t *descriptor;

  int64_t getSize(int64_t dim) const { return descriptor[3 + dim]; }
  int64_t getStride(int64_t dim) const { return descriptor[3 + rank + dim]; }
  char *getData(int64_t elementBytes) const {
    return reinterpret_cast<char *>(descriptor[1]) + descriptor[2] * elementBytes;
  }
};

} // namespace

static void copyElements(int64_t elementBytes, const UnrankedMemRef &source,
                         const UnrankedMemRef &destination, const char *from, char *to,
                         int64_t dim) {
  if (dim == source.rank) {
    std::memcpy(to, from, elementBytes);
    return;
  }
  for (int64_t i = 0; i < source.getSize(dim); ++i)
    copyElements(elementBytes, source, destination,
                 from + i * source.getStride(dim) * elementBytes,
                 to + i * destination.getStride(dim) * elementBytes, dim + 1);
}

/// What memref.copy is lowered to if it is not one memcpy. MLIR has it in a library that
/// would be needed for this alone.
static void copyMemRef(int64_t elementBytes, const UnrankedMemRef *source,
                       const UnrankedMemRef *destination) {
  copyElements(elementBytes, *source, *destination, source->getData(elementBytes),
               destination->getData(elementBytes), 0);
}

//===----------------------------------------------------------------------===//
// bf16
//===----------------------------------------------------------------------===//

/// The bf16 next to `value`, ties to even, in the register and the half of it that
/// compiled code expects. LLVM calls it where a bf16 goes through a branch; the C library
/// of some systems lacks it.
static float truncateToBF16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  bool isNaN = (bits & 0x7fffffff) > 0x7f800000;
  uint32_t rounded = isNaN ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
  return llvm::bit_cast<float>(rounded >> 16);
}

orc::SymbolMap mlir::moe::run::getRuntimeSymbols(orc::MangleAndInterner intern,
                                                 Device device) {
  orc::SymbolMap symbols;
  auto add = [&](StringRef name, auto *function) {
    symbols[intern(name)] = {orc::ExecutorAddr::fromPtr(function),
                             JITSymbolFlags::Exported | JITSymbolFlags::Callable};
  };
  add("puts", keepText);
  add("exit", failExit);
  add("abort", failAssertion);
  add("malloc", allocate);
  add("calloc", allocateZeroed);
  add("free", deallocate);
  add("memrefCopy", copyMemRef);
  add("__truncsfbf2", truncateToBF16);
  if (device == Device::CPU)
    return symbols;
  add("mgpuMemAlloc", allocateManaged);
  add("mgpuMemFree", deallocateManaged);
#define ADD(name) add(#name, name)
  ADD(mgpuSetDefaultDevice);
  ADD(mgpuModuleLoad);
  ADD(mgpuModuleLoadJIT);
  ADD(mgpuModuleUnload);
  ADD(mgpuModuleGetFunction);
  ADD(mgpuLaunchKernel);
  ADD(mgpuLaunchClusterKernel);
  ADD(mgpuStreamCreate);
  ADD(mgpuStreamDestroy);
  ADD(mgpuStreamSynchronize);
  ADD(mgpuStreamWaitEvent);
  ADD(mgpuEventCreate);
  ADD(mgpuEventDestroy);
  ADD(mgpuEventSynchronize);
  ADD(mgpuEventRecord);
  ADD(mgpuMemcpy);
  ADD(mgpuMemset32);
  ADD(mgpuMemset16);
  ADD(mgpuMemHostRegisterMemRef);
  ADD(mgpuMemHostUnregisterMemRef);
#undef ADD
  return symbols;
}
