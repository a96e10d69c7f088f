//===- KernelLowering.cpp - Lowering the ops of one kernel ----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// convert-moe-warp-to-gpu: one walk over the ops of a kernel, and what their lowerings
// share.
//
//===----------------------------------------------------------------------===//

#include "KernelLowering.h"

#include "../WarpLowerings.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "moe/Warp/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::moe {
#define GEN_PASS_DEF_CONVERTMOEWARPTOGPU
#include "moe/Warp/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

/// A number of rows, or of row tiles, that no buffer has.
static constexpr int64_t kPastAllRows = int64_t(1) << 48;
/// As an unsigned number, past those of all rows that n_used can count.
static constexpr int64_t kPastAllSlots = std::numeric_limits<int32_t>::min();

//===----------------------------------------------------------------------===//
// Where the warp is
//===----------------------------------------------------------------------===//

KernelLowering::KernelLowering(gpu::GPUFuncOp kernel) : kernel(kernel) {
  Block &entry = kernel.getBody().front();
  ImplicitLocOpBuilder b(kernel.getLoc(), kernel.getContext());
  b.setInsertionPointToStart(&entry);
  Value thread = gpu::ThreadIdOp::create(b, gpu::Dimension::x);
  lanes[&entry] = buildRem(b, toI32(b, thread), kLanes);
  firstChunk = toI32(b, gpu::BlockIdOp::create(b, gpu::Dimension::x));
  chunkStride = toI32(b, gpu::GridDimOp::create(b, gpu::Dimension::x));
  Value rowCTA = toI32(b, gpu::BlockIdOp::create(b, gpu::Dimension::y));
  Value rowCTAs = toI32(b, gpu::GridDimOp::create(b, gpu::Dimension::y));
  Value warpInCTA = buildDiv(b, toI32(b, thread), kLanes);
  int64_t threads = kernel.getKnownBlockSize()->front();
  isDense = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, buildRem(b, rowCTAs, 2),
                                  buildI32(b, 0));
  auto schedule = kernel->getAttrOfType<ScheduleAttr>(kKernelScheduleAttrName);
  if (schedule && schedule.getValue().keepsX) {
    // CTAs come in the order of x, then y. Where they come one after another, all rows of
    // a chunk are first: x is as many times smaller for the cache as it has chunks.
    auto inOrder = scf::IfOp::create(b, TypeRange{b.getI32Type(), b.getI32Type()},
                                     isDense, /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(inOrder.thenBlock());
    Value cta = buildAdd(b, buildMul(b, rowCTA, chunkStride), firstChunk);
    scf::YieldOp::create(b, ValueRange{arith::DivUIOp::create(b, cta, rowCTAs),
                                       arith::RemUIOp::create(b, cta, rowCTAs)});
    b.setInsertionPointToStart(inOrder.elseBlock());
    scf::YieldOp::create(b, ValueRange{firstChunk, rowCTA});
    firstChunk = inOrder.getResult(0);
    rowCTA = inOrder.getResult(1);
  }
  // Rows next to each other go to different SMs, for the sake of few live ones next to
  // each other. Where nearly all are live, or so many that CTAs come one after another,
  // which an even number of CTAs says, they go to one CTA: then memory is read in order.
  // What is selected is the same for all threads, so none waits for it.
  Value stride = buildSelect(b, isDense, buildI32(b, 1), rowCTAs);
  Value first = buildSelect(b, isDense, buildMul(b, rowCTA, threads / kLanes), rowCTA);
  warp32 = buildAdd(b, buildMul(b, warpInCTA, stride), first);
  // Live rows begin at multiples of their blocks' alignment, a power of two. If the
  // number of warps had a factor in common with it, they would meet in a few warps. So it
  // is odd, and where the grid has one warp more, that one has no rows.
  Value allWarps = buildMul(b, rowCTAs, threads / kLanes);
  warps32 = b.createOrFold<arith::OrIOp>(buildAdd(b, allWarps, -1), buildI32(b, 1));
  warps = toIndex(b, warps32);
  isIdle = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, warp32, warps32);
  Value pastAllRows =
      buildSelect(b, isIdle, buildIndex(b, kPastAllRows), buildIndex(b, 0));
  warp = arith::OrIOp::create(b, toIndex(b, warp32), pastAllRows);
}

Value KernelLowering::getLane(ImplicitLocOpBuilder &b) const {
  for (Block *block = b.getInsertionBlock();; block = block->getParentOp()->getBlock())
    if (auto found = lanes.find(block); found != lanes.end())
      return found->second;
}

void KernelLowering::recomputeLane(ImplicitLocOpBuilder &b) {
  lanes[b.getInsertionBlock()] = recompute(b, getLane(b));
}

Value KernelLowering::warpsTimes(ImplicitLocOpBuilder &b, Value lanes) const {
  return toIndex(b, buildMul(b, lanes, warps32));
}

//===----------------------------------------------------------------------===//
// The same for all rows
//===----------------------------------------------------------------------===//

/// Where `value` and the place of the warp are known.
ImplicitLocOpBuilder KernelLowering::after(Value value) {
  ImplicitLocOpBuilder b(kernel.getLoc(), kernel.getContext());
  if (Operation *op = value.getDefiningOp()) {
    if (!op->hasTrait<OpTrait::ConstantLike>()) {
      b.setInsertionPointAfter(op);
      return b;
    }
  }
  b.setInsertionPointAfterValue(warp);
  return b;
}

Value KernelLowering::getColumns(Value columns) {
  Value &found = columnsOf[columns];
  if (found)
    return found;
  ImplicitLocOpBuilder b = after(columns);
  std::optional<int64_t> known = getConstantIntValue(columns);
  found = known ? buildI32(b, *known)
                : arith::IndexCastOp::create(b, b.getI32Type(), columns).getResult();
  return found;
}

Value KernelLowering::getQuotient(Value columns, int64_t powerOfTwo) {
  Value narrow = getColumns(columns);
  Value &found = quotients[{columns, powerOfTwo}];
  if (!found) {
    ImplicitLocOpBuilder b = after(narrow);
    found = buildDiv(b, narrow, powerOfTwo);
  }
  return found;
}

Value KernelLowering::getCeilQuotient(Value columns, int64_t powerOfTwo) {
  Value narrow = getColumns(columns);
  Value &found = ceilQuotients[{columns, powerOfTwo}];
  if (!found) {
    ImplicitLocOpBuilder b = after(narrow);
    found = buildCeilDiv(b, narrow, powerOfTwo);
  }
  return found;
}

Value KernelLowering::getChunkCount(const ChunkShape &shape) {
  if (shape.paddedTo == 1)
    return getCeilQuotient(shape.columns, shape.chunkColumns());
  // A chunk may be smaller than the padding: that has chunks of its own then.
  Value units = getCeilQuotient(shape.columns, shape.paddedTo);
  Value &found = chunkCounts[{shape.columns, shape.chunkColumns(), shape.paddedTo}];
  if (found)
    return found;
  ImplicitLocOpBuilder b = after(units);
  int64_t unit = std::min(shape.paddedTo, shape.chunkColumns());
  found = buildCeilDiv(b, buildMul(b, units, shape.paddedTo / unit),
                       shape.chunkColumns() / unit);
  return found;
}

const QuadWalk &KernelLowering::getQuadWalk(Value rows) {
  auto [found, isNew] = quadWalks.try_emplace(rows);
  QuadWalk &walk = found->second;
  if (!isNew)
    return walk;
  ImplicitLocOpBuilder b = after(rows);
  if (rows.getParentBlock() == &kernel.getBody().front() && rows.getDefiningOp() &&
      rows.getDefiningOp()->isBeforeInBlock(warp.getDefiningOp()))
    b.setInsertionPointAfterValue(warp);
  // Quads go to warps as wholes if that leaves at most one warp in eight without one.
  // Else there are few rows, and they go to warps one by one, for the sake of more loads
  // in flight.
  Value quads = buildMul(b, buildRowTileCount(b, rows), kScaleTileRows / kRowsPerQuad);
  walk.ownsQuads = arith::CmpIOp::create(b, arith::CmpIPredicate::uge,
                                         buildMul(b, quads, 8), buildMul(b, warps, 7));
  walk.inRunMask =
      buildSelect(b, walk.ownsQuads, buildI32(b, kRowsPerQuad - 1), buildI32(b, 0));
  Value runLength = buildAdd(b, walk.inRunMask, 1);
  // n_used counts in 32 bits, so no row that they cannot number is live.
  walk.firstBase =
      buildSelect(b, isIdle, buildI32(b, kPastAllSlots), buildMul(b, warp32, runLength));
  walk.stride = buildMul(b, warps32, kLanes);
  Value lane = getLane(b);
  Value inRun = arith::AndIOp::create(b, lane, walk.inRunMask);
  Value runOfLane = arith::SubIOp::create(b, lane, inRun);
  walk.laneOffset = buildAdd(b, buildMul(b, runOfLane, warps32), inRun);
  return walk;
}

//===----------------------------------------------------------------------===//
// Fragments
//===----------------------------------------------------------------------===//

SmallVector<Value> KernelLowering::getParts(ImplicitLocOpBuilder &b, Value value) {
  if (auto found = partsOf.find(value); found != partsOf.end())
    return found->second;
  SmallVector<Value> parts;
  for (int64_t i = 0; i < cast<VectorType>(value.getType()).getDimSize(0); ++i)
    parts.push_back(b.createOrFold<vector::ExtractOp>(value, i));
  return parts;
}

Value KernelLowering::getPart(ImplicitLocOpBuilder &b, Value value, int64_t step) {
  if (auto found = buildPartOf.find(value); found != buildPartOf.end())
    return found->second(b, step);
  return getParts(b, value)[step];
}

/// Takes an elementwise op on fragments, or what makes one of a scalar, apart into ops on
/// the parts.
bool KernelLowering::unroll(Operation *op) {
  if (op->getNumResults() != 1 || !isFragment(op->getResult(0)))
    return false;
  Value result = op->getResult(0);
  auto type = cast<VectorType>(result.getType());
  auto partType = VectorType::get(type.getDimSize(1), type.getElementType());
  ImplicitLocOpBuilder b(op->getLoc(), op);
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    auto elements = dyn_cast<SplatElementsAttr>(constant.getValue());
    if (!elements)
      return false;
    Value part = arith::ConstantOp::create(b, elements.resizeSplat(partType));
    setParts(result, SmallVector<Value>(type.getDimSize(0), part));
    return true;
  }
  if (auto broadcast = dyn_cast<vector::BroadcastOp>(op)) {
    if (isFragment(broadcast.getSource()))
      return false;
    Value part = b.createOrFold<vector::BroadcastOp>(partType, broadcast.getSource());
    setParts(result, SmallVector<Value>(type.getDimSize(0), part));
    return true;
  }
  if (!OpTrait::hasElementwiseMappableTraits(op))
    return false;
  SmallVector<Value> parts;
  for (int64_t step = 0; step < type.getDimSize(0); ++step) {
    IRMapping mapping;
    for (Value operand : op->getOperands())
      if (isFragment(operand))
        mapping.map(operand, getParts(b, operand)[step]);
    Operation *part = b.clone(*op, mapping);
    part->getResult(0).setType(partType);
    parts.push_back(part->getResult(0));
  }
  setParts(result, parts);
  return true;
}

/// Puts fragments together for an op that takes them as they are.
void KernelLowering::materializeOperands(Operation *op) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  for (OpOperand &operand : op->getOpOperands()) {
    auto found = partsOf.find(operand.get());
    if (found == partsOf.end())
      continue;
    Value whole = arith::ConstantOp::create(
        b, cast<TypedAttr>(b.getZeroAttr(operand.get().getType())));
    for (auto [i, part] : llvm::enumerate(found->second))
      whole = vector::InsertOp::create(b, part, whole, int64_t(i));
    operand.set(whole);
  }
}

//===----------------------------------------------------------------------===//
// The walk
//===----------------------------------------------------------------------===//

SmallVector<Value> KernelLowering::inlineBody(ImplicitLocOpBuilder &b, Region &body,
                                              ArrayRef<Value> arguments) {
  Block &block = body.front();
  for (auto [argument, value] : llvm::zip_equal(block.getArguments(), arguments))
    if (value)
      argument.replaceAllUsesWith(value);
  Operation *yield = block.getTerminator();
  SmallVector<Operation *> ops;
  for (Operation &op : block.without_terminator())
    ops.push_back(&op);
  for (Operation *op : ops)
    op->moveBefore(b.getInsertionBlock(), b.getInsertionPoint());
  for (Operation *op : ops)
    lower(op);
  return llvm::to_vector(yield->getOperands());
}

void KernelLowering::lowerBlock(Block &block) {
  SmallVector<Operation *> ops;
  for (Operation &op : block)
    ops.push_back(&op);
  for (Operation *op : ops)
    lower(op);
}

void KernelLowering::lower(Operation *op) {
  bool isLowered =
      TypeSwitch<Operation *, bool>(op)
          .Case<WaitForPredecessorOp, LoadEntriesOp, LoadTileEntriesOp, LoadUsedRowsOp,
                ForLiveRowOp, ForOwnRowOp, IsOwnRowLiveOp, IsSmallOp, ForLiveQuadOp,
                ForRowOfQuadOp, PackScalesOp, StoreQuadScalesOp, ForRowTileOp,
                ClearDeadQuadsOp, ForChunkOp, LoadOp, StoreOp, GroupMaximumOp,
                ScaleCodeOp, QuantizeOp, StoreScaleOp, ClearScalesOp>([&](auto op) {
            warp::lower(op, *this);
            return true;
          })
          .Default([&](Operation *op) { return unroll(op); });
  if (isLowered) {
    lowered.push_back(op);
    return;
  }
  materializeOperands(op);
  for (Region &region : op->getRegions())
    for (Block &block : region)
      lowerBlock(block);
}

void KernelLowering::run() {
  for (Block &block : kernel.getBody())
    lowerBlock(block);
  // They refer to each other, and to arguments of bodies that go with them.
  for (Operation *op : lowered)
    op->dropAllReferences();
  for (Operation *op : lowered)
    op->erase();
}

void mlir::moe::lowerWarpOps(gpu::GPUFuncOp kernel) {
  KernelLowering(kernel).run();
  kernel->removeAttr(kKernelScheduleAttrName);
}

LogicalResult mlir::moe::lowerWarpOpsIn(Operation *root) {
  WalkResult result = root->walk([&](gpu::GPUFuncOp kernel) {
    Operation *first = nullptr;
    kernel.walk([&](Operation *op) {
      if (!isa_and_nonnull<WarpDialect>(op->getDialect()))
        return WalkResult::advance();
      first = op;
      return WalkResult::interrupt();
    });
    if (!first)
      return WalkResult::skip();
    std::optional<ArrayRef<int32_t>> size = kernel.getKnownBlockSize();
    if (!size || size->size() != 3 || size->front() % kLanes != 0 || (*size)[1] != 1 ||
        (*size)[2] != 1) {
      first->emitOpError("expected a kernel with a known_block_size of whole warps in x");
      return WalkResult::interrupt();
    }
    lowerWarpOps(kernel);
    return WalkResult::skip();
  });
  return failure(result.wasInterrupted());
}

namespace {

struct ConvertMoeWarpToGPUPass
    : mlir::moe::impl::ConvertMoeWarpToGPUBase<ConvertMoeWarpToGPUPass> {
  void runOnOperation() override {
    if (failed(lowerWarpOpsIn(getOperation())))
      signalPassFailure();
  }
};

} // namespace
