//===- DescribeKernel.cpp - What whoever launches must know ---------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DescribeKernel.h"

#include "../Launch/AlignmentRule.h"
#include "../Launch/GridRule.h"
#include "IndexOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::moe;
using ::moe::launch::KernelDescription;
using ::moe::launch::OperandDescription;
using ::moe::launch::OperandKind;

static_assert(PairsAttr::kHalves == ::moe::launch::kHalves);
static constexpr StringLiteral kDescriptionAttrName = "moe.kernel";

/// False if it does not fit.
template <size_t size> static bool copyName(char (&to)[size], StringRef name) {
  if (name.size() >= size)
    return false;
  llvm::copy(name, to);
  return true;
}

static int64_t toFixed(int64_t value) {
  return ShapedType::isDynamic(value) ? ::moe::launch::kAny : value;
}

/// What every access to an element needs.
static uint32_t getElementBytes(const OperandDescription &operand) {
  return std::max(operand.elementBits / 8, 1);
}

/// The alignments without which the kernel would fault.
static void describeAlignment(MapRowsOp op, const Schedule &schedule,
                              KernelDescription &description) {
  auto &operands = description.operands;
  auto requireRows = [](OperandDescription &operand, int64_t bytes) {
    operand.addressAlignment = operand.rowStrideAlignment = bytes;
  };
  requireRows(operands[0], schedule.alignment);
  // What it holds are whole accesses. Of pairs there are two for a destination's, so that
  // the second half of a row begins with one too.
  operands[0].rowAlignment = schedule.accessBytes * op.getNumParts();
  OperandDescription &out = operands[op.getNumInputs()];
  requireRows(out, schedule.alignmentOf(schedule.elements() * getElementBytes(out)));
  if (schedule.hasQuads())
    operands[op.getNumInputs() + 1].addressAlignment =
        op.getFormat().getDeadScales() == DeadScales::Zero ? schedule.clearBytes
                                                           : kScaleTileColumns;
}

OperandDescription mlir::moe::describeOperand(StringRef name, Type anyType,
                                              bool isWritten, bool isScalar) {
  OperandDescription operand = {};
  (void)copyName(operand.name, name);
  operand.isWritten = isWritten;
  operand.isRead = !isWritten;
  operand.addressAlignment = operand.rowStrideAlignment = operand.rowAlignment = 1;
  operand.rows = operand.columns = operand.rowStride = ::moe::launch::kAny;
  if (auto integer = dyn_cast<IntegerType>(anyType)) {
    operand.kind = OperandKind::Value;
    operand.elementBits = integer.getWidth();
    return operand;
  }
  auto type = cast<MemRefType>(anyType);
  auto [strides, offset] = type.getStridesAndOffset();
  operand.rank = type.getRank();
  operand.kind = isScalar ? OperandKind::Scalar : OperandKind(type.getRank());
  operand.elementBits = type.getElementTypeBitWidth();
  operand.addressAlignment = getElementBytes(operand);
  operand.offset = toFixed(offset);
  if (operand.rank > 0 && !isScalar)
    operand.rows = toFixed(type.getDimSize(0));
  if (operand.rank == 2) {
    operand.columns = toFixed(type.getDimSize(1));
    operand.rowStride = toFixed(strides.front());
  }
  return operand;
}

KernelDescription mlir::moe::describeKernel(MapRowsOp op, const Schedule &schedule) {
  KernelDescription description = {};
  description.work = ::moe::launch::Work::Rows;
  description.rowsPerUnit = schedule.hasQuads() ? ::moe::launch::kRowsPerQuad : 1;
  description.chunkColumns = schedule.chunkColumns();
  description.threadsPerCTA = schedule.threads;
  description.minCTAsPerSM = schedule.minCTAs;
  description.waitsForPredecessor = schedule.waits;
  description.gathers = op.getGathers();
  if (schedule.hasEarlyChunks()) {
    constexpr int64_t kElementBytes = 2;
    description.earlyChunkColumns = schedule.earlyChunkColumns();
    description.earlyElements = schedule.earlyBytes / (kElementBytes * op.getNumParts());
  }
  PairsAttr pairs = op.getPairsAttr();
  description.pairBlock = pairs ? pairs.getBlock() : ::moe::launch::kNoPairs;
  auto names = cast<PaddingAwareOpInterface>(op.getOperation()).getOperandNames();
  for (OpOperand &opOperand : op->getOpOperands()) {
    description.operands[description.numOperands++] =
        describeOperand(names[opOperand.getOperandNumber()], opOperand.get().getType(),
                        op.isDpsInit(&opOperand), opOperand.get() == op.getNUsed());
  }
  if (!schedule.isElementwise())
    describeAlignment(op, schedule, description);
  return description;
}

//===----------------------------------------------------------------------===//
// The choice on the host
//===----------------------------------------------------------------------===//

/// Whether the base address of `buffer` is known to be a multiple of `bytes`.
static bool isBaseKnownAligned(Value buffer, int64_t bytes) {
  auto type = cast<MemRefType>(buffer.getType());
  auto [strides, offset] = type.getStridesAndOffset();
  if (offset != 0)
    return false;
  if (auto assume = buffer.getDefiningOp<memref::AssumeAlignmentOp>())
    return assume.getAlignment() % bytes == 0;
  if (auto alloc = buffer.getDefiningOp<memref::AllocOp>())
    return alloc.getAlignment().value_or(1) % bytes == 0;
  return false;
}

namespace {

/// Where a memref is, as host code.
class MemRefPlace {
public:
  MemRefPlace(ImplicitLocOpBuilder &b, Value buffer, int64_t alignment)
      : b(b), buffer(buffer), type(cast<MemRefType>(buffer.getType())),
        elementBytes(type.getElementTypeBitWidth() / 8), alignment(alignment) {
    std::tie(strides, offset) = type.getStridesAndOffset();
  }

  Value address() {
    if (isBaseKnownAligned(buffer, alignment))
      return buildIndex(b, 0);
    Value base = memref::ExtractAlignedPointerAsIndexOp::create(b, buffer);
    Value offsetValue = offset == 0                     ? buildIndex(b, 0)
                        : ShapedType::isDynamic(offset) ? getMetadata().getOffset()
                                                        : buildIndex(b, offset);
    return buildAdd(b, base, buildMul(b, offsetValue, elementBytes));
  }
  Value rowStride() {
    Value stride = ShapedType::isDynamic(strides.front())
                       ? getMetadata().getStrides().front()
                       : buildIndex(b, strides.front());
    return buildMul(b, stride, elementBytes);
  }
  Value row() {
    return buildMul(b, b.createOrFold<memref::DimOp>(buffer, int64_t(1)), elementBytes);
  }

private:
  memref::ExtractStridedMetadataOp getMetadata() {
    if (!metadata)
      metadata = memref::ExtractStridedMetadataOp::create(b, buffer);
    return metadata;
  }

  ImplicitLocOpBuilder &b;
  Value buffer;
  MemRefType type;
  int64_t elementBytes, alignment, offset;
  SmallVector<int64_t> strides;
  memref::ExtractStridedMetadataOp metadata;
};

/// The arithmetic of the alignment rule. Notices remainders that are known not to be 0:
/// nothing else matters then.
class AlignmentOps {
public:
  using Value = mlir::Value;
  explicit AlignmentOps(ImplicitLocOpBuilder &b) : ops(b) {}

  Value constant(int64_t value) { return ops.constant(value); }
  Value bitOr(Value lhs, Value rhs) { return ops.bitOr(lhs, rhs); }
  Value remainder(Value lhs, int64_t powerOfTwo) {
    Value result = ops.remainder(lhs, powerOfTwo);
    isKnownMisaligned |= getConstantIntValue(result).value_or(0) != 0;
    return result;
  }
  bool isKnownMisaligned = false;

private:
  IndexOps ops;
};

} // namespace

static Value buildIsAligned(ImplicitLocOpBuilder &b, Operation *op,
                            const KernelDescription &description) {
  AlignmentOps arithmetic(b);
  Value misalignment = buildIndex(b, 0);
  for (auto [i, buffer] : llvm::enumerate(op->getOperands())) {
    const OperandDescription &operand = description.operands[i];
    // What its elements need it has.
    if (operand.addressAlignment <= getElementBytes(operand))
      continue;
    MemRefPlace place(b, buffer, operand.addressAlignment);
    misalignment = arithmetic.bitOr(
        misalignment, ::moe::launch::getMisalignment(arithmetic, operand, place));
  }
  if (arithmetic.isKnownMisaligned)
    return arith::ConstantIntOp::create(b, 0, /*width=*/1);
  return b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::eq, misalignment,
                                       buildIndex(b, 0));
}

Value mlir::moe::buildIsSuitable(ImplicitLocOpBuilder &b, Operation *op,
                                 const KernelDescription &description, bool hasOther) {
  Value isAligned = buildIsAligned(b, op, description);
  if (description.leastUnits == 0 || !hasOther)
    return isAligned;
  IndexOps arithmetic(b);
  // Of tokens the sums, else the routing.
  bool isOfTokens = description.work == ::moe::launch::Work::Tokens;
  Value units = isOfTokens ? op->getOperands().back() : op->getOperand(0);
  Value isEnough = ::moe::launch::hasEnoughUnits(
      arithmetic, description, b.createOrFold<memref::DimOp>(units, int64_t(0)),
      b.createOrFold<memref::DimOp>(units, int64_t(1)));
  return b.createOrFold<arith::AndIOp>(isAligned, isEnough);
}

//===----------------------------------------------------------------------===//
// Beside the kernel
//===----------------------------------------------------------------------===//

/// The description as an attribute. What a kernel takes as it comes, and what the type of
/// an element needs anyway, is left out.
static DictionaryAttr toAttribute(Builder &b, const KernelDescription &description) {
  auto number = [&](StringRef name, int64_t value) {
    return b.getNamedAttr(name, b.getI64IntegerAttr(value));
  };
  SmallVector<Attribute> operands;
  for (const OperandDescription &operand :
       ArrayRef(description.operands, description.numOperands)) {
    constexpr StringLiteral kinds[] = {"scalar", "vector", "matrix", "value"};
    SmallVector<NamedAttribute> fields = {
        b.getNamedAttr("name", b.getStringAttr(operand.name)),
        b.getNamedAttr("kind", b.getStringAttr(kinds[int(operand.kind)])),
        b.getNamedAttr("access", b.getStringAttr(operand.isWritten ? "write" : "read")),
        number("element_bits", operand.elementBits)};
    auto addUnless = [&](int64_t usual, StringRef name, int64_t value) {
      if (value != usual)
        fields.push_back(number(name, value));
    };
    if (operand.kind != OperandKind::Value) {
      addUnless(int64_t(operand.kind), "rank", operand.rank);
      addUnless(getElementBytes(operand), "address_alignment", operand.addressAlignment);
    }
    addUnless(1, "row_stride_alignment", operand.rowStrideAlignment);
    addUnless(1, "row_alignment", operand.rowAlignment);
    if (operand.offset != ::moe::launch::kAny)
      addUnless(0, "offset", operand.offset);
    addUnless(::moe::launch::kAny, "rows", operand.rows);
    addUnless(::moe::launch::kAny, "columns", operand.columns);
    addUnless(::moe::launch::kAny, "row_stride", operand.rowStride);
    operands.push_back(b.getDictionaryAttr(fields));
  }
  constexpr StringLiteral works[] = {"rows", "experts", "tokens", "expert_windows"};
  SmallVector<NamedAttribute> header = {
      number("version", KernelDescription::kVersion),
      b.getNamedAttr("work", b.getStringAttr(works[int(description.work)])),
      number("rows_per_unit", description.rowsPerUnit),
      number("chunk_columns", description.chunkColumns),
      number("threads_per_cta", description.threadsPerCTA),
      number("min_ctas_per_sm", description.minCTAsPerSM),
      number("base_name_bytes", description.baseNameBytes),
      b.getNamedAttr("waits_for_predecessor",
                     b.getBoolAttr(description.waitsForPredecessor)),
      b.getNamedAttr("operands", b.getArrayAttr(operands))};
  if (description.earlyChunkColumns != 0) {
    header.push_back(number("early_chunk_columns", description.earlyChunkColumns));
    header.push_back(number("early_elements", description.earlyElements));
  }
  if (description.clusterCTAs != 0)
    header.push_back(number("cluster_ctas", description.clusterCTAs));
  if (description.leastUnits != 0)
    header.push_back(number("least_units", description.leastUnits));
  if (description.gathers)
    header.push_back(b.getNamedAttr("gathers", b.getBoolAttr(true)));
  if (description.pairBlock != ::moe::launch::kNoPairs)
    header.push_back(number("pair_block", description.pairBlock));
  return b.getDictionaryAttr(header);
}

/// A constant for those who load the image. In global memory: constants of a program
/// would share 64 KiB with it.
static void createConstant(OpBuilder &b, Location loc, const Twine &name, StringRef bytes,
                           int64_t alignment) {
  auto type = LLVM::LLVMArrayType::get(b.getI8Type(), bytes.size());
  LLVM::GlobalOp::create(b, loc, type, /*isConstant=*/true, LLVM::Linkage::External,
                         name.str(), b.getStringAttr(bytes), alignment, /*addrSpace=*/1);
}

LogicalResult mlir::moe::attachDescription(gpu::GPUFuncOp kernel, Operation *op,
                                           KernelDescription description,
                                           StringRef baseName) {
  if (!copyName(description.name, kernel.getName()))
    return op->emitOpError("expected the name of its kernel to have fewer than ")
           << KernelDescription::kNameBytes << " characters, found '" << kernel.getName()
           << "'";
  description.baseNameBytes = baseName.size();
  OpBuilder b(kernel.getContext());
  b.setInsertionPointAfter(kernel);
  kernel->setAttr(kDescriptionAttrName, toAttribute(b, description));

  uint8_t bytes[::moe::launch::kMaxDescriptionBytes];
  size_t size = ::moe::launch::encode(description, bytes);
  createConstant(b, kernel.getLoc(), ::moe::launch::kDescriptionPrefix + kernel.getName(),
                 StringRef(reinterpret_cast<char *>(bytes), size), /*alignment=*/8);
  return success();
}

void mlir::moe::listDescribedKernels(gpu::GPUModuleOp module) {
  std::string names;
  for (auto kernel : module.getOps<gpu::GPUFuncOp>())
    if (kernel->hasAttr(kDescriptionAttrName))
      names.append(kernel.getName()).push_back('\0');
  if (names.empty())
    return;
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  createConstant(b, module.getLoc(), ::moe::launch::kKernelList, names, /*alignment=*/1);
}
