//===- KernelDescription.h - What whoever launches must know ----*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The description of a kernel: convert-moe-to-gpu makes it, it travels in the image as
// the constant `moe_kernel_<name>`, and the runtime launches by it. Which kernels an
// image has the constant `moe_kernels` says. Needs no LLVM and allocates nothing.
//
// The bytes are little-endian: a header, then the operands in the order of the kernel's
// parameters. Both say how long they are, so that fields may be added at their ends; a
// reader skips what it does not know. What a reader must not skip has a new version.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_LAUNCH_KERNELDESCRIPTION_H
#define MOE_LIB_LAUNCH_KERNELDESCRIPTION_H

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace moe::launch {

/// What is before the name of a kernel in that of its description.
inline constexpr char kDescriptionPrefix[] = "moe_kernel_";

/// The constant with the names of an image's kernels, each with a NUL at its end.
inline constexpr char kKernelList[] = "moe_kernels";

/// How a kernel's work is given to its warps. Others than this have grids of their own.
enum class Work : uint32_t {
  /// Rows, and chunks of their columns: the grid of GridRule.h.
  Rows = 0,
  /// Experts: a CTA for each, or for several.
  Experts = 1,
  /// Tokens, and chunks of their columns.
  Tokens = 2,
  /// Experts in windows: a cluster of CTAs for each, or for several.
  ExpertWindows = 3,
};

/// A value is passed as it is, all others in memory.
enum class OperandKind : uint8_t { Scalar = 0, Vector = 1, Matrix = 2, Value = 3 };

/// A size, stride or offset that the kernel takes as it comes.
inline constexpr int64_t kAny = -1;

/// Instead of a block of columns: x has one for each of the destination. Or it has two,
/// in halves, not in blocks that take turns.
inline constexpr int64_t kNoPairs = -1, kHalves = 0;

/// An operand, passed as MLIR passes a memref of rank `rank`. Sizes, stride and offset
/// are in elements, alignments in bytes, powers of two.
struct OperandDescription {
  static constexpr size_t kNameBytes = 32;
  char name[kNameBytes];
  OperandKind kind;
  uint8_t rank;
  bool isRead, isWritten;
  uint16_t elementBits;
  /// Of the first element's address; of a matrix, of the bytes from a row to the next and
  /// of those of a row.
  uint32_t addressAlignment, rowStrideAlignment, rowAlignment;
  /// Those that the kernel is compiled for, or kAny. A vector has its size in `rows`.
  int64_t offset, rows, columns, rowStride;
};

struct KernelDescription {
  static constexpr uint16_t kVersion = 2;
  static constexpr size_t kNameBytes = 96;
  static constexpr int kMaxOperands = 12;
  static constexpr uint64_t kMaxEarlyElements = uint64_t(1) << 40;
  /// What every chip that has clusters has room for.
  static constexpr int kMaxClusterCTAs = 8;
  char name[kNameBytes];
  Work work;
  /// How many rows a warp takes at a time: 1, or 4 where it can have quads.
  uint32_t rowsPerUnit;
  /// Columns that a warp handles at a time.
  uint32_t chunkColumns;
  uint32_t threadsPerCTA;
  /// What registers and shared memory leave room for on an SM.
  uint32_t minCTAsPerSM;
  /// Whether it waits for its predecessor in the stream before it accesses memory.
  bool waitsForPredecessor;
  /// Columns of the smaller chunks that a warp takes of a small input, and the most
  /// elements of the result that such an input has; 0 if there are none.
  uint32_t earlyChunkColumns;
  uint64_t earlyElements;
  /// Of `name`: what kernels have in common that compute the same, for operands of
  /// different alignments and shapes.
  uint8_t baseNameBytes;
  /// The columns of a block, kHalves or kNoPairs.
  int64_t pairBlock;
  /// The CTAs of a cluster, of which a grid is a multiple; 0 without clusters.
  uint8_t clusterCTAs;
  /// From how many pairs of a token and a choice on, or elements of the destination where
  /// the work is tokens, the kernel is better than those after it; or 0.
  uint32_t leastUnits;
  /// Whether a row of the destination is computed of the row of x that the map names.
  bool gathers;
  uint32_t numOperands;
  OperandDescription operands[kMaxOperands];
};

//===----------------------------------------------------------------------===//
// Bytes
//===----------------------------------------------------------------------===//

/// "MOEK".
inline constexpr uint32_t kDescriptionMagic = 0x4b454f4d;
inline constexpr size_t kPrologueBytes = 16;
inline constexpr size_t kHeaderBytes = 160;
inline constexpr size_t kOperandBytes = 88;
inline constexpr size_t kMaxDescriptionBytes =
    kHeaderBytes + KernelDescription::kMaxOperands * kOperandBytes;

/// Puts fields, one after another, into bytes.
class ByteWriter {
public:
  explicit ByteWriter(uint8_t *bytes) : bytes(bytes) {}
  template <typename T> void field(const T &value) { number(uint64_t(value), sizeof(T)); }
  template <size_t size> void field(const char (&text)[size]) {
    std::memcpy(bytes, text, size);
    bytes += size;
  }

private:
  void number(uint64_t value, size_t size) {
    for (size_t i = 0; i < size; ++i)
      *bytes++ = uint8_t(value >> 8 * i);
  }
  uint8_t *bytes;
};

/// Takes them out again.
class ByteReader {
public:
  explicit ByteReader(const uint8_t *bytes) : bytes(bytes) {}
  template <typename T> void field(T &value) { value = T(number(sizeof(T))); }
  template <size_t size> void field(char (&text)[size]) {
    std::memcpy(text, bytes, size);
    text[size - 1] = '\0';
    bytes += size;
  }

private:
  uint64_t number(size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i)
      value |= uint64_t(*bytes++) << 8 * i;
    return value;
  }
  const uint8_t *bytes;
};

/// What stands before everything else, whatever the version.
struct DescriptionPrologue {
  uint32_t magic;
  uint16_t version, headerBytes, operandBytes, numOperands;
  uint32_t totalBytes;
};

template <typename Bytes, typename T> void visitPrologue(Bytes &&bytes, T &prologue) {
  bytes.field(prologue.magic);
  bytes.field(prologue.version);
  bytes.field(prologue.headerBytes);
  bytes.field(prologue.operandBytes);
  bytes.field(prologue.numOperands);
  bytes.field(prologue.totalBytes);
}

/// The rest of the header.
template <typename Bytes, typename T> void visitHeader(Bytes &&bytes, T &kernel) {
  bytes.field(kernel.name);
  bytes.field(kernel.work);
  bytes.field(kernel.rowsPerUnit);
  bytes.field(kernel.chunkColumns);
  bytes.field(kernel.threadsPerCTA);
  bytes.field(kernel.minCTAsPerSM);
  bytes.field(kernel.waitsForPredecessor);
  bytes.field(kernel.earlyChunkColumns);
  bytes.field(kernel.earlyElements);
  bytes.field(kernel.baseNameBytes);
  bytes.field(kernel.pairBlock);
  bytes.field(kernel.clusterCTAs);
  bytes.field(kernel.leastUnits);
  bytes.field(kernel.gathers);
}

template <typename Bytes, typename T> void visitOperand(Bytes &&bytes, T &operand) {
  bytes.field(operand.name);
  bytes.field(operand.kind);
  bytes.field(operand.rank);
  bytes.field(operand.isRead);
  bytes.field(operand.isWritten);
  bytes.field(operand.elementBits);
  bytes.field(operand.addressAlignment);
  bytes.field(operand.rowStrideAlignment);
  bytes.field(operand.rowAlignment);
  bytes.field(operand.offset);
  bytes.field(operand.rows);
  bytes.field(operand.columns);
  bytes.field(operand.rowStride);
}

/// The number of bytes that `kernel` takes.
inline size_t encode(const KernelDescription &kernel,
                     uint8_t (&bytes)[kMaxDescriptionBytes]) {
  std::memset(bytes, 0, sizeof(bytes));
  size_t size = kHeaderBytes + kernel.numOperands * kOperandBytes;
  DescriptionPrologue prologue = {
      kDescriptionMagic,       KernelDescription::kVersion,  uint16_t(kHeaderBytes),
      uint16_t(kOperandBytes), uint16_t(kernel.numOperands), uint32_t(size)};
  visitPrologue(ByteWriter(bytes), prologue);
  visitHeader(ByteWriter(bytes + kPrologueBytes), kernel);
  for (uint32_t i = 0; i < kernel.numOperands; ++i)
    visitOperand(ByteWriter(bytes + kHeaderBytes + i * kOperandBytes),
                 kernel.operands[i]);
  return size;
}

enum class DecodeResult {
  Success,
  /// Not a description, or one that is cut off or damaged.
  Malformed,
  /// Of a version that is not known here.
  OtherVersion,
};

/// Reads `size` bytes. Sets `version` where they are a description at all, else to 0.
inline DecodeResult decode(const uint8_t *bytes, size_t size, KernelDescription &kernel,
                           int &version) {
  version = 0;
  DescriptionPrologue prologue;
  if (size < kPrologueBytes)
    return DecodeResult::Malformed;
  visitPrologue(ByteReader(bytes), prologue);
  if (prologue.magic != kDescriptionMagic)
    return DecodeResult::Malformed;
  version = prologue.version;
  if (version != KernelDescription::kVersion)
    return DecodeResult::OtherVersion;
  if (prologue.headerBytes < kHeaderBytes || prologue.operandBytes < kOperandBytes ||
      prologue.numOperands > KernelDescription::kMaxOperands ||
      prologue.totalBytes > size ||
      prologue.headerBytes + size_t(prologue.numOperands) * prologue.operandBytes >
          prologue.totalBytes)
    return DecodeResult::Malformed;
  kernel = {};
  kernel.numOperands = prologue.numOperands;
  visitHeader(ByteReader(bytes + kPrologueBytes), kernel);
  auto isPowerOfTwo = [](uint32_t value) {
    return value != 0 && (value & (value - 1)) == 0;
  };
  // What a launch divides by and multiplies.
  if (kernel.threadsPerCTA < 32 || kernel.threadsPerCTA > 1024 ||
      !isPowerOfTwo(kernel.chunkColumns) ||
      (kernel.earlyChunkColumns != 0 && !isPowerOfTwo(kernel.earlyChunkColumns)) ||
      kernel.earlyElements > KernelDescription::kMaxEarlyElements)
    return DecodeResult::Malformed;
  if (kernel.baseNameBytes == 0 || kernel.baseNameBytes > std::strlen(kernel.name) ||
      kernel.pairBlock < kNoPairs)
    return DecodeResult::Malformed;
  if ((kernel.work == Work::ExpertWindows) != (kernel.clusterCTAs != 0) ||
      kernel.clusterCTAs > KernelDescription::kMaxClusterCTAs)
    return DecodeResult::Malformed;
  for (uint32_t i = 0; i < kernel.numOperands; ++i) {
    OperandDescription &operand = kernel.operands[i];
    visitOperand(
        ByteReader(bytes + prologue.headerBytes + i * size_t(prologue.operandBytes)),
        operand);
    if (operand.kind > OperandKind::Value || operand.rank > 2 ||
        !isPowerOfTwo(operand.addressAlignment) ||
        !isPowerOfTwo(operand.rowStrideAlignment) || !isPowerOfTwo(operand.rowAlignment))
      return DecodeResult::Malformed;
  }
  return DecodeResult::Success;
}

} // namespace moe::launch

#endif // MOE_LIB_LAUNCH_KERNELDESCRIPTION_H
