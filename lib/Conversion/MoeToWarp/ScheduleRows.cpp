//===- ScheduleRows.cpp - Rows as a schedule says -------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-warp-schedule-rows: from the walk over rows one by one to the one over quads, and
// to early loads where an input is small.
//
//===----------------------------------------------------------------------===//

#include "../WarpLowerings.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "moe/Warp/IR/Warp.h"
#include "moe/Warp/Passes.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEWARPSCHEDULEROWS
#include "moe/Warp/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

/// The only op of its kind in a body; null if there is none, or several.
template <typename OpTy> static OpTy findOnly(Region &body) {
  SmallVector<OpTy> found = llvm::to_vector(body.getOps<OpTy>());
  return found.size() == 1 ? found.front() : OpTy();
}

//===----------------------------------------------------------------------===//
// Quads
//===----------------------------------------------------------------------===//

/// A loop over chunks like `loop`, but empty.
static ForChunkOp createLike(ImplicitLocOpBuilder &b, ForChunkOp loop) {
  auto made = ForChunkOp::create(b, loop.getColumns(), loop.getSteps(),
                                 loop.getElements(), loop.getPaddedTo());
  b.createBlock(&made.getBody(), {}, b.getI32Type(), b.getLoc());
  return made;
}

/// The scales of rows that are not live, cleared by row tiles. Their map entries are
/// loaded in front of `used`.
static void clearByTiles(ImplicitLocOpBuilder &b, ForLiveRowOp loop, ForChunkOp chunks,
                         StoreScaleOp store, int64_t clearBytes) {
  ImplicitLocOpBuilder early(loop.getLoc(), loop);
  if (Operation *load = loop.getUsed().getDefiningOp())
    early.setInsertionPoint(load);
  auto entriesType = VectorType::get(kRowsPerQuad, b.getI32Type());
  Value entries =
      LoadTileEntriesOp::create(early, entriesType, loop.getMap(), loop.getRows());
  auto forTile = ForRowTileOp::create(b, loop.getMap(), loop.getRows(), loop.getUsed(),
                                      entries, loop.getTokens());
  OpBuilder::InsertionGuard guard(b);
  Block *body = b.createBlock(&forTile.getBody(), {},
                              {b.getIndexType(), entriesType.clone(b.getI1Type())},
                              {b.getLoc(), b.getLoc()});
  {
    OpBuilder::InsertionGuard guard(b);
    ForChunkOp forChunk = createLike(b, chunks);
    ClearDeadQuadsOp::create(b, body->getArgument(1), store.getScale(), loop.getRows(),
                             body->getArgument(0), forChunk.getBody().getArgument(0),
                             clearBytes, store.getFormat());
    warp::YieldOp::create(b);
  }
  warp::YieldOp::create(b);
}

/// Gives rows to warps by quads: around the body of a chunk comes a loop over the rows of
/// a quad, which collects their scales, and these are stored together.
static LogicalResult takeQuads(ForLiveRowOp loop, int64_t clearBytes) {
  auto chunks = findOnly<ForChunkOp>(loop.getBody());
  auto store = chunks ? findOnly<StoreScaleOp>(chunks.getBody()) : StoreScaleOp();
  auto entries = loop.getEntries().getDefiningOp<LoadEntriesOp>();
  if (!store || !entries ||
      store.getFormat().getScaleLayout() != ScaleLayout::Swizzle32_4_4)
    return loop.emitOpError("expected, to take rows by quads, entries of a "
                            "moe_warp.load_entries and a body of chunks that each end "
                            "with a moe_warp.store_scale of swizzled scales");
  entries.setQuads(true);
  ImplicitLocOpBuilder b(loop.getLoc(), loop);
  bool clears = !loop.getDead().empty();
  if (clears)
    clearByTiles(b, loop, chunks, store, clearBytes);

  auto forQuad = ForLiveQuadOp::create(b, loop.getMap(), loop.getRows(), loop.getUsed(),
                                       loop.getEntries(), loop.getTokens());
  Type i32 = b.getI32Type();
  SmallVector<Type> types(loop.getTokens() ? 3 : 2, i32);
  Block *quad = b.createBlock(&forQuad.getBody(), {}, types,
                              SmallVector<Location>(types.size(), b.getLoc()));
  Value first = quad->getArgument(0), live = quad->getArgument(1);
  Value entriesOfQuad = loop.getTokens() ? quad->getArgument(2) : Value();
  ForChunkOp forChunk = createLike(b, chunks);
  Value chunk = forChunk.getBody().getArgument(0);
  auto forRow = ForRowOfQuadOp::create(b, i32, first, live, entriesOfQuad);
  StoreQuadScalesOp::create(b, forRow.getWord(), store.getScale(), loop.getRows(), first,
                            live, chunk, store.getFormat(), clears);
  warp::YieldOp::create(b);
  b.setInsertionPointToEnd(quad);
  warp::YieldOp::create(b);

  // The body of a chunk moves into the loop over rows, all but the store of its scale.
  forRow.getBody().takeBody(chunks.getBody());
  Block &body = forRow.getBody().front();
  body.getArgument(0).replaceAllUsesWith(chunk);
  body.eraseArgument(0);
  for (BlockArgument argument : loop.getBody().getArguments())
    argument.replaceAllUsesWith(body.addArgument(argument.getType(), b.getLoc()));
  // Before the data is converted: what packing leaves takes fewer registers.
  Value code = store.getCode();
  b.setInsertionPointAfterValue(code);
  Value packed = PackScalesOp::create(b, i32, code, chunk, store.getFormat());
  store.erase();
  body.getTerminator()->setOperands(packed);
  loop.erase();
  return success();
}

//===----------------------------------------------------------------------===//
// Small inputs
//===----------------------------------------------------------------------===//

/// Whether `op` makes fragments of no others, and can make shorter ones.
static bool canFillFragment(Operation *op) {
  if (auto constant = dyn_cast_if_present<arith::ConstantOp>(op))
    return isa<SplatElementsAttr>(constant.getValue());
  auto broadcast = dyn_cast_if_present<vector::BroadcastOp>(op);
  return broadcast && !isFragment(broadcast.getSource());
}

/// Makes the fragments that are results of `op` as long as a chunk of `steps`.
static void setSteps(Operation *op, int64_t steps) {
  auto toSteps = [&](Type type) {
    auto fragment = cast<VectorType>(type);
    return VectorType::get({steps, fragment.getDimSize(1)}, fragment.getElementType());
  };
  for (Value result : op->getResults())
    if (isFragment(result))
      result.setType(toSteps(result.getType()));
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    if (auto splat = dyn_cast<SplatElementsAttr>(constant.getValue()))
      if (splat.getType() != constant.getType())
        constant.setValueAttr(splat.resizeSplat(cast<ShapedType>(constant.getType())));
}

/// Makes the chunks of `chunks`, and the fragments in its body, as long as `steps`.
static LogicalResult takeSteps(ForChunkOp chunks, int64_t steps) {
  chunks.setSteps(steps);
  WalkResult result = chunks.walk([&](Operation *op) -> WalkResult {
    bool hasFragments = llvm::any_of(op->getOperands(), isFragment) ||
                        llvm::any_of(op->getResults(), isFragment);
    if (!hasFragments)
      return WalkResult::advance();
    if (!isa<LoadOp, StoreOp>(op) && !canFillFragment(op) &&
        !OpTrait::hasElementwiseMappableTraits(op))
      return op->emitOpError("expected, for the 'early_steps' of its schedule, nothing "
                             "but elementwise ops on fragments");
    // What is made in front of the loop is for its other copy.
    for (OpOperand &operand : op->getOpOperands()) {
      if (!isFragment(operand.get()) ||
          chunks.getBody().isAncestor(operand.get().getParentRegion()))
        continue;
      Operation *made = operand.get().getDefiningOp();
      if (!canFillFragment(made))
        return op->emitOpError("expected, for the 'early_steps' of its schedule, "
                               "fragments of its own chunk, or of one value");
      Operation *own = OpBuilder(op).clone(*made);
      setSteps(own, steps);
      operand.set(own->getResult(cast<OpResult>(operand.get()).getResultNumber()));
    }
    setSteps(op, steps);
    return WalkResult::advance();
  });
  return failure(result.wasInterrupted());
}

/// Of a small input, a warp loads and computes its one row before it is known whether it
/// is live, which saves one of two waits for memory; in larger inputs, what it would load
/// in vain costs more. With `steps` it has smaller chunks, under grids that are made for
/// them: more warps, each with less to compute one after another.
static LogicalResult loadEarly(ForLiveRowOp loop, int64_t bytes,
                               std::optional<int64_t> steps = std::nullopt) {
  auto chunks = findOnly<ForChunkOp>(loop.getBody());
  if (!chunks || !loop.getDead().empty() || loop.getTokens())
    return loop.emitOpError("expected, to load rows early, a body of chunks, none for "
                            "rows that are not live, and no tokens");
  ImplicitLocOpBuilder b(loop.getLoc(), loop);
  // A chunk of pairs is twice as many bytes.
  if (auto load = findOnly<LoadOp>(chunks.getBody()))
    bytes /= load.getNumResults();
  Value isSmall = IsSmallOp::create(b, b.getI1Type(), loop.getRows(), chunks.getColumns(),
                                    steps ? b.getI64IntegerAttr(*steps) : IntegerAttr(),
                                    b.getI64IntegerAttr(chunks.getElements()),
                                    b.getI64IntegerAttr(bytes));
  auto ifOp = scf::IfOp::create(b, isSmall, /*withElseRegion=*/true);
  loop->moveBefore(ifOp.elseBlock(), ifOp.elseBlock()->begin());
  b.setInsertionPointToStart(ifOp.thenBlock());
  auto forRow = ForOwnRowOp::create(b, loop.getRows());
  IRMapping mapping;
  loop.getBody().cloneInto(&forRow.getBody(), mapping);
  auto body = cast<ForChunkOp>(mapping.lookup(chunks.getOperation()));
  if (steps && failed(takeSteps(body, *steps)))
    return failure();
  Value isLive;
  for (StoreOp store : body.getBody().getOps<StoreOp>()) {
    b.setInsertionPoint(store);
    if (!isLive)
      isLive =
          IsOwnRowLiveOp::create(b, b.getI1Type(), loop.getUsed(), loop.getEntries());
    store.getConditionMutable().assign(isLive);
  }
  return success();
}

LogicalResult mlir::moe::scheduleRows(gpu::GPUFuncOp kernel) {
  auto attribute = kernel->getAttrOfType<ScheduleAttr>(kKernelScheduleAttrName);
  if (!attribute)
    return success();
  const Schedule &schedule = attribute.getValue();
  SmallVector<ForLiveRowOp> loops;
  kernel.walk([&](ForLiveRowOp loop) { loops.push_back(loop); });
  for (ForLiveRowOp loop : loops) {
    if (schedule.hasQuads() && failed(takeQuads(loop, schedule.clearBytes)))
      return failure();
    if (schedule.earlyBytes == 0)
      continue;
    if (schedule.hasEarlyChunks() &&
        failed(loadEarly(loop, schedule.earlyBytes, schedule.earlySteps)))
      return failure();
    if (failed(loadEarly(loop, schedule.earlyBytes)))
      return failure();
  }
  return success();
}

LogicalResult mlir::moe::scheduleRowsIn(Operation *root) {
  return failure(
      root->walk([](gpu::GPUFuncOp kernel) { return WalkResult(scheduleRows(kernel)); })
          .wasInterrupted());
}

namespace {

struct WarpScheduleRowsPass
    : mlir::moe::impl::MoeWarpScheduleRowsBase<WarpScheduleRowsPass> {
  void runOnOperation() override {
    if (failed(scheduleRowsIn(getOperation())))
      signalPassFailure();
  }
};

} // namespace
