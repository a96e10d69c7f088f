//===- Warp.cpp - The moe_warp dialect ------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Registration, text of bodies, and verification.
//
//===----------------------------------------------------------------------===//

#include "moe/Warp/IR/Warp.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

#include "moe/Warp/IR/WarpOpsDialect.cpp.inc"

void WarpDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "moe/Warp/IR/WarpOps.cpp.inc"
      >();
}

LogicalResult WarpDialect::verifyOperationAttribute(Operation *op,
                                                    NamedAttribute attribute) {
  if (attribute.getName() != kKernelScheduleAttrName)
    return success();
  auto kernel = dyn_cast<gpu::GPUFuncOp>(op);
  if (!kernel || !kernel.isKernel())
    return op->emitError("expected '")
           << kKernelScheduleAttrName << "' on a kernel, found it on a '" << op->getName()
           << "' that is none";
  auto schedule = dyn_cast<ScheduleAttr>(attribute.getValue());
  if (!schedule)
    return op->emitError("expected '")
           << kKernelScheduleAttrName << "' to be a #moe.schedule, found "
           << attribute.getValue();
  std::optional<ArrayRef<int32_t>> size = kernel.getKnownBlockSize();
  if (size && size->front() != schedule.getValue().threads)
    return op->emitError("expected '")
           << kKernelScheduleAttrName << "' to have the threads of known_block_size, "
           << size->front() << ", found " << schedule.getValue().threads << " in "
           << schedule;
  return success();
}

//===----------------------------------------------------------------------===//
// Bodies
//===----------------------------------------------------------------------===//

/// `(%row: index) { ... }`: what a body gets, and the body. An empty region is printed as
/// nothing.
static ParseResult parseBody(OpAsmParser &parser, Region &body) {
  SmallVector<OpAsmParser::Argument> arguments;
  if (parser.parseArgumentList(arguments, OpAsmParser::Delimiter::Paren,
                               /*allowType=*/true) ||
      parser.parseRegion(body, arguments))
    return failure();
  if (body.empty())
    return parser.emitError(parser.getNameLoc(), "expected a body");
  Block &block = body.back();
  if (block.empty() || !block.back().hasTrait<OpTrait::IsTerminator>()) {
    OpBuilder builder(parser.getContext());
    builder.setInsertionPointToEnd(&block);
    warp::YieldOp::create(builder, parser.getEncodedSourceLoc(parser.getNameLoc()));
  }
  return success();
}

static void printBody(OpAsmPrinter &printer, Operation *, Region &body) {
  if (body.empty())
    return;
  printer << "(";
  llvm::interleaveComma(body.getArguments(), printer, [&](BlockArgument argument) {
    printer.printRegionArgument(argument);
  });
  printer << ") ";
  printer.printRegion(body, /*printEntryBlockArgs=*/false,
                      /*printBlockTerminators=*/!body.front().empty() &&
                          body.front().back().getNumOperands() > 0);
}

/// The type of a map, if there is one, and that of its entries.
static ParseResult parseMapType(OpAsmParser &parser, Type &mapType, Type &entriesType) {
  if (parser.parseType(entriesType))
    return failure();
  if (!isa<MemRefType>(entriesType))
    return success();
  mapType = entriesType;
  return failure(parser.parseComma() || parser.parseType(entriesType));
}

static void printMapType(OpAsmPrinter &printer, Operation *, Type mapType,
                         Type entriesType) {
  if (mapType)
    printer << mapType << ", ";
  printer << entriesType;
}

/// A body gets `types` and yields `results`.
static LogicalResult verifyBody(Operation *op, Region &body, TypeRange types,
                                TypeRange results = {}) {
  if (body.getArgumentTypes() != types) {
    auto error = op->emitOpError("expected a body with arguments of ");
    llvm::interleaveComma(types, error);
    error << ", found ";
    llvm::interleaveComma(body.getArgumentTypes(), error);
    return error;
  }
  auto yield = dyn_cast<warp::YieldOp>(body.front().getTerminator());
  if (!yield || yield->getOperandTypes() != results) {
    auto error = op->emitOpError("expected a body that yields ");
    if (results.empty())
      error << "nothing";
    llvm::interleaveComma(results, error);
    return error;
  }
  return success();
}

LogicalResult ForLiveRowOp::verify() {
  Type index = IndexType::get(getContext());
  SmallVector<Type> types(getTokens() ? 2 : 1, index);
  if (failed(verifyBody(*this, getBody(), types)))
    return failure();
  if (getDead().empty())
    return success();
  return verifyBody(*this, getDead(), index);
}

LogicalResult ForOwnRowOp::verify() {
  return verifyBody(*this, getBody(), IndexType::get(getContext()));
}

LogicalResult ForLiveQuadOp::verify() {
  Type i32 = IntegerType::get(getContext(), 32);
  return verifyBody(*this, getBody(), SmallVector<Type>(getTokens() ? 3 : 2, i32));
}

LogicalResult ForRowOfQuadOp::verify() {
  SmallVector<Type> types(getEntries() ? 2 : 1, IndexType::get(getContext()));
  return verifyBody(*this, getBody(), types, IntegerType::get(getContext(), 32));
}

LogicalResult ForRowTileOp::verify() {
  auto entries = cast<VectorType>(getEntries().getType());
  return verifyBody(
      *this, getBody(),
      {IndexType::get(getContext()), entries.clone(IntegerType::get(getContext(), 1))});
}

//===----------------------------------------------------------------------===//
// Chunks
//===----------------------------------------------------------------------===//

ForChunkOp mlir::moe::warp::getChunkLoop(Value chunk) {
  auto argument = dyn_cast<BlockArgument>(chunk);
  return argument ? dyn_cast<ForChunkOp>(argument.getOwner()->getParentOp())
                  : ForChunkOp();
}

bool ForChunkOp::hasWholeChunks() {
  std::optional<int64_t> columns = getConstantIntValue(getColumns());
  return columns && *columns % std::max<int64_t>(getChunkColumns(), getPaddedTo()) == 0;
}

static LogicalResult verifyPowerOfTwo(Operation *op, StringRef name, int64_t value,
                                      int64_t max) {
  if (value < 1 || value > max || !llvm::isPowerOf2_64(value))
    return op->emitOpError("expected '")
           << name << "' to be a power of two from 1 to " << max << ", found " << value;
  return success();
}

static constexpr int64_t kMaxSteps = 32, kMaxElements = 16;

LogicalResult ForChunkOp::verify() {
  if (failed(verifyPowerOfTwo(*this, "steps", getSteps(), kMaxSteps)) ||
      failed(verifyPowerOfTwo(*this, "elements", getElements(), kMaxElements)) ||
      failed(verifyPowerOfTwo(*this, "padded_to", getPaddedTo(), 1 << 16)))
    return failure();
  return verifyBody(*this, getBody(), IntegerType::get(getContext(), 32));
}

LogicalResult IsSmallOp::verify() {
  if (failed(verifyPowerOfTwo(*this, "steps", getSteps().value_or(1), kMaxSteps)))
    return failure();
  return verifyPowerOfTwo(*this, "elements", getElements(), kMaxElements);
}

/// `chunk` is one of a loop around `op`, with fragments of this type, if any.
static LogicalResult verifyChunk(Operation *op, Value chunk, Type fragment = nullptr) {
  ForChunkOp loop = getChunkLoop(chunk);
  if (!loop)
    return op->emitOpError("expected a chunk of a moe_warp.for_chunk");
  if (!fragment)
    return success();
  ArrayRef<int64_t> shape = cast<VectorType>(fragment).getShape();
  if (shape[0] != int64_t(loop.getSteps()) || shape[1] != int64_t(loop.getElements()))
    return op->emitOpError("expected a fragment of ")
           << loop.getSteps() << "x" << loop.getElements() << " elements, as chunks are, "
           << "found " << fragment;
  return success();
}

static LogicalResult verifyAccess(Operation *op, Value chunk, MemRefType matrix,
                                  VectorType fragment, std::optional<int64_t> align) {
  if (failed(verifyChunk(op, chunk, fragment)))
    return failure();
  if (matrix.getRank() != 2 || matrix.getElementType() != fragment.getElementType())
    return op->emitOpError("expected a matrix of ")
           << fragment.getElementType() << ", found " << matrix;
  if (align && !llvm::isPowerOf2_64(*align))
    return op->emitOpError("expected 'align' to be a power of two, found ") << *align;
  return success();
}

LogicalResult LoadOp::verify() {
  size_t numParts = getPairs() ? 2 : 1;
  if (getNumResults() != numParts)
    return emitOpError("expected ")
           << (numParts == 1 ? "a fragment" : "two fragments, of pairs") << ", found "
           << getNumResults();
  for (Type fragment : getFragments().getTypes())
    if (failed(verifyAccess(*this, getChunk(), getMatrix().getType(),
                            cast<VectorType>(fragment), getAlign())))
      return failure();
  if (getPairs() && !getPairs()->haveVectors(getChunkLoop(getChunk()).getElements()))
    return emitOpError(
               "expected chunks by a number of elements that divides the blocks of "
               "pairs, or is a multiple of them, found ")
           << getChunkLoop(getChunk()).getElements() << " for " << *getPairs();
  return success();
}

LogicalResult StoreOp::verify() {
  return verifyAccess(*this, getChunk(), getMatrix().getType(), getFragment().getType(),
                      getAlign());
}

//===----------------------------------------------------------------------===//
// Groups
//===----------------------------------------------------------------------===//

/// A lane of a group has no more than one step for its own, and steps come in pairs.
static LogicalResult verifyGroups(Operation *op, BlockFormatAttrInterface format,
                                  int64_t steps, int64_t elements) {
  int64_t lanes = format.getGroupSize() / elements;
  if (steps < 2 || steps > lanes || lanes > kLanes)
    return op->emitOpError("expected from 2 to ")
           << std::min(lanes, kLanes) << " steps of " << elements
           << " elements for groups of " << format.getGroupSize() << ", found " << steps;
  return success();
}

static LogicalResult verifyFragment(Operation *op, BlockFormatAttrInterface format,
                                    VectorType fragment) {
  if (!fragment.getElementType().isBF16())
    return op->emitOpError("expected a fragment of bf16, found ") << fragment;
  return verifyGroups(op, format, fragment.getDimSize(0), fragment.getDimSize(1));
}

static LogicalResult verifyScales(Operation *op, BlockFormatAttrInterface format,
                                  Value chunk, Value scale) {
  if (failed(verifyChunk(op, chunk)))
    return failure();
  if (scale) {
    auto type = cast<MemRefType>(scale.getType());
    int64_t rank = format.getScaleLayout() == ScaleLayout::Linear ? 2 : 1;
    if (type.getRank() != rank || type.getElementType() != format.getScaleType())
      return op->emitOpError("expected scales of ")
             << format.getScaleType() << " of rank " << rank << ", found " << type;
  }
  ForChunkOp loop = getChunkLoop(chunk);
  return verifyGroups(op, format, loop.getSteps(), loop.getElements());
}

LogicalResult GroupMaximumOp::verify() {
  return verifyFragment(*this, getFormat(), getFragment().getType());
}

LogicalResult QuantizeOp::verify() {
  Type type = getFragment().getType().clone(getFormat().getElementType());
  if (getData().getType() != type)
    return emitOpError("expected a result of ")
           << type << ", found " << getData().getType();
  return verifyFragment(*this, getFormat(), getFragment().getType());
}

LogicalResult StoreScaleOp::verify() {
  return verifyScales(*this, getFormat(), getChunk(), getScale());
}

LogicalResult ClearScalesOp::verify() {
  return verifyScales(*this, getFormat(), getChunk(), getScale());
}

/// The scales of a column tile are in four lanes of a step, and each lane has one.
static LogicalResult verifyQuads(Operation *op, BlockFormatAttrInterface format,
                                 Value chunk, Value scale) {
  if (format.getScaleLayout() != ScaleLayout::Swizzle32_4_4)
    return op->emitOpError("expected a format with swizzled scales, found ") << format;
  if (failed(verifyScales(op, format, chunk, scale)))
    return failure();
  ForChunkOp loop = getChunkLoop(chunk);
  int64_t lanes = format.getGroupSize() / loop.getElements();
  int64_t tileColumns = format.getGroupSize() * kScaleTileColumns;
  if (kScaleTileColumns * lanes > kLanes || int64_t(loop.getSteps()) != lanes ||
      int64_t(loop.getPaddedTo()) != tileColumns)
    return op->emitOpError("expected chunks of ")
           << lanes << " steps, of which each has whole scale tiles, padded to "
           << tileColumns << ", found " << loop.getSteps() << " steps of "
           << loop.getElements() << " elements, padded to " << loop.getPaddedTo();
  return success();
}

LogicalResult PackScalesOp::verify() {
  if (!(*this)->getParentOfType<ForRowOfQuadOp>())
    return emitOpError("expected a moe_warp.for_row_of_quad around it");
  return verifyQuads(*this, getFormat(), getChunk(), Value());
}

LogicalResult StoreQuadScalesOp::verify() {
  return verifyQuads(*this, getFormat(), getChunk(), getScale());
}

LogicalResult ClearDeadQuadsOp::verify() {
  if (getBytes() != kRowsPerQuad * kScaleTileColumns)
    return emitOpError("expected 'bytes' to be ")
           << kRowsPerQuad * kScaleTileColumns << ", found " << getBytes();
  return verifyQuads(*this, getFormat(), getChunk(), getScale());
}

#define GET_OP_CLASSES
#include "moe/Warp/IR/WarpOps.cpp.inc"
