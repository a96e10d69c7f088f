//===- KernelBody.cpp - What a kernel does --------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The device side of convert-moe-to-gpu: how warps find live rows, and how a chunk of a
// row is loaded and the activation stored. KernelQuantization.cpp goes on from there.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"

#include "ControlFlow.h"
#include "IndexArithmetic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;

/// A number of rows, or of row tiles, that no buffer has.
static constexpr int64_t kPastAllRows = int64_t(1) << 48;

KernelBuilder::KernelBuilder(ImplicitLocOpBuilder &b, MapRowsOp op, ValueRange arguments,
                             const Schedule &schedule)
    : b(b), op(op), quantize(dyn_cast<BlockFormatAttrInterface>(op.getFormat())),
      schedule(schedule) {
  // Generic addresses would make every access find out where it goes.
  auto toGlobal = [&](Value buffer) -> Value {
    auto type = cast<MemRefType>(buffer.getType());
    if (type.getMemorySpace())
      return buffer;
    auto globalType = MemRefType::get(type.getShape(), type.getElementType(),
                                      type.getLayout(), b.getI64IntegerAttr(1));
    return memref::MemorySpaceCastOp::create(b, globalType, buffer);
  };
  x = toGlobal(arguments[0]);
  permutationMap = toGlobal(arguments[1]);
  nUsed = toGlobal(arguments[2]);
  out = toGlobal(arguments[3]);
  if (quantize)
    scale = toGlobal(arguments[4]);

  rows = b.createOrFold<memref::DimOp>(x, int64_t(0));
  Value columnsIndex = b.createOrFold<memref::DimOp>(x, int64_t(1));
  std::optional<int64_t> knownColumns = getConstantIntValue(columnsIndex);
  Value columns = knownColumns
                      ? buildI32(*knownColumns)
                      : arith::IndexCastOp::create(b, b.getI32Type(), columnsIndex);
  vectors = buildDiv(b, columns, schedule.elements());
  chunks = buildCeilDiv(b, columns, schedule.chunkColumns());
  int64_t wholeColumns = schedule.chunkColumns();
  if (quantize)
    rowGroups = scaleColumns = buildDiv(b, columns, kGroupSize);
  if (quantize && quantize.getScaleLayout() == ScaleLayout::Swizzle32_4_4) {
    columnTiles = buildColumnTileCount(b, columns);
    scaleColumns = buildMul(b, columnTiles, kScaleTileColumns);
    // A chunk may be smaller than a column tile: the padding has chunks of its own then.
    chunks = buildCeilDiv(b, scaleColumns, groupsPerChunk(schedule));
    wholeColumns = std::max(wholeColumns, kGroupSize * kScaleTileColumns);
  }
  hasWholeChunks = knownColumns && *knownColumns % wholeColumns == 0;

  Value thread = gpu::ThreadIdOp::create(b, gpu::Dimension::x);
  lane = buildRem(b, toI32(thread), Schedule::kLanes);
  laneIndex = toIndex(lane);
  firstChunk = toI32(gpu::BlockIdOp::create(b, gpu::Dimension::x));
  chunkStride = toI32(gpu::GridDimOp::create(b, gpu::Dimension::x));
  Value rowCTA = toI32(gpu::BlockIdOp::create(b, gpu::Dimension::y));
  Value rowCTAs = toI32(gpu::GridDimOp::create(b, gpu::Dimension::y));
  Value warpInCTA = buildDiv(b, toI32(thread), Schedule::kLanes);
  warp32 = buildAdd(b, buildMul(b, warpInCTA, rowCTAs), rowCTA);
  // Live rows begin at multiples of their blocks' alignment, a power of two. If the
  // number of warps had a factor in common with it, they would meet in a few warps. So it
  // is odd, and where the grid has one warp more, that one has no rows.
  Value allWarps = buildMul(b, rowCTAs, schedule.warps());
  warps32 = b.createOrFold<arith::OrIOp>(buildAdd(b, allWarps, -1), buildI32(1));
  warps = toIndex(warps32);
  isIdle = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, warp32, warps32);
  Value pastAllRows = select(isIdle, buildIndex(b, kPastAllRows), buildIndex(b, 0));
  warp = arith::OrIOp::create(b, toIndex(warp32), pastAllRows);
}

void KernelBuilder::build() {
  if (schedule.waits) {
    // What came before has written the operands, and may still read what is written here.
    // The next kernel waits in its turn, so it may take its place on the SMs now.
    NVVM::GriddepcontrolOp::create(b, NVVM::GridDepActionKind::wait);
    NVVM::GriddepcontrolOp::create(b, NVVM::GridDepActionKind::launch_dependents);
  }
  if (schedule.hasQuads())
    return buildQuads();
  // Both loads go out before either is needed.
  Value firstEntry = loadMapEntry(buildAdd(b, warp, warpsTimes(lane)));
  Value used = buildUsedRowLoad(b, nUsed);
  if (schedule.earlyBytes == 0)
    return buildRows(firstEntry, used);
  buildIf(
      isSmall(), [&] { buildEarlyRow(firstEntry, used); },
      [&] { buildRows(firstEntry, used); });
}

void KernelBuilder::buildRows(Value firstEntry, Value used) {
  usedRows = buildUsedRowCount(b, used, rows);
  if (!quantize)
    return forEachRow(
        firstEntry, usedRows, [&](Value row) { buildActivationRow(row); }, nullptr);

  auto live = [&](Value row) { buildQuantizedRow(row); };
  if (quantize.getDeadScales() == DeadScales::Untouched)
    return forEachRow(firstEntry, usedRows, live, nullptr);
  // The last row tile of the scales may go past the last row.
  Value scaleRows = quantize.getScaleLayout() == ScaleLayout::Swizzle32_4_4
                        ? buildMul(b, buildRowTileCount(b, rows), kScaleTileRows)
                        : rows;
  forEachRow(firstEntry, scaleRows, live, [&](Value row) { clearScaleRow(row); });
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

/// The `count` map entries that `load` gives under `condition`, else as many -1.
SmallVector<Value> KernelBuilder::loadIf(Value condition, int64_t count,
                                         function_ref<SmallVector<Value>()> load) {
  SmallVector<Type> types(count, b.getI32Type());
  auto ifOp = scf::IfOp::create(b, types, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  SmallVector<Value> entries = load();
  scf::YieldOp::create(b, entries);
  b.setInsertionPointToStart(ifOp.elseBlock());
  SmallVector<Value> none(count, buildI32(-1));
  scf::YieldOp::create(b, none);
  return llvm::to_vector_of<Value>(ifOp.getResults());
}

/// permutation_map[row], or -1 for a row past the end.
Value KernelBuilder::loadMapEntry(Value row) {
  return loadIf(lessThan(row, rows), 1, [&] {
    return SmallVector<Value>{memref::LoadOp::create(b, permutationMap, row)};
  })[0];
}

Value KernelBuilder::isLive(Value row, Value entry) {
  return arith::AndIOp::create(b, lessThan(row, usedRows), buildHoldsToken(b, entry));
}

/// A bit for each lane.
Value KernelBuilder::vote(Value condition) {
  Value allLanes = buildI32(-1);
  return NVVM::VoteSyncOp::create(b, b.getI32Type(), allLanes, condition,
                                  NVVM::VoteSyncKind::ballot);
}

/// Calls `live` for the warp's live rows below `end` and `dead`, if given, for its
/// others. `firstEntry` is the lane's map entry for the first 32 rows.
void KernelBuilder::forEachRow(Value firstEntry, Value end,
                               function_ref<void(Value)> live,
                               function_ref<void(Value)> dead) {
  Value stride = buildMul(b, warps, Schedule::kLanes);
  Value laneOffset = warpsTimes(lane);
  auto loop = scf::ForOp::create(b, warp, end, stride, ValueRange{firstEntry});
  keepRolled(loop);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value base = loop.getInductionVar();
  Value row = buildAdd(b, base, laneOffset);
  // The next 32 entries are on their way while these rows are computed.
  SmallVector<Value> nextEntry = loadIf(lessThan(buildAdd(b, base, stride), end), 1, [&] {
    return SmallVector<Value>{loadMapEntry(buildAdd(b, row, stride))};
  });

  auto rowOfBit = [&](Value bit) { return buildAdd(b, base, warpsTimes(bit)); };
  Value rowIsLive = isLive(row, loop.getRegionIterArg(0));
  forEachBit(vote(rowIsLive), [&](Value bit) { live(rowOfBit(bit)); });
  if (dead) {
    Value yes = arith::ConstantIntOp::create(b, 1, 1);
    Value isDead = arith::AndIOp::create(b, lessThan(row, end),
                                         arith::XOrIOp::create(b, rowIsLive, yes));
    forEachBit(vote(isDead), [&](Value bit) { dead(rowOfBit(bit)); });
  }
  scf::YieldOp::create(b, nextEntry);
}

/// How far apart the rows of two lanes are, `lanes` (i32, below 32) of which lie between.
Value KernelBuilder::warpsTimes(Value lanes) {
  return toIndex(buildMul(b, lanes, warps32));
}

/// Calls `body` with the number (i32) of each set bit of the i32 `bits`.
void KernelBuilder::forEachBit(Value bits, function_ref<void(Value)> body) {
  whileNotZero({bits}, [&](ValueRange rest) -> SmallVector<Value> {
    body(math::CountTrailingZerosOp::create(b, rest.front()));
    return {clearLowestBit(rest.front())};
  });
}

/// Repeats `body`, which makes new values of old ones, until the first of them, an i32,
/// is 0. The last values.
SmallVector<Value>
KernelBuilder::whileNotZero(ArrayRef<Value> init,
                            function_ref<SmallVector<Value>(ValueRange)> body) {
  TypeRange types = ValueRange(init).getTypes();
  SmallVector<Location> locations(init.size(), b.getLoc());
  auto loop = scf::WhileOp::create(b, types, init);
  OpBuilder::InsertionGuard guard(b);
  b.createBlock(&loop.getBefore(), {}, types, locations);
  Value isMore = arith::CmpIOp::create(b, arith::CmpIPredicate::ne,
                                       loop.getBeforeArguments().front(), buildI32(0));
  scf::ConditionOp::create(b, isMore, loop.getBeforeArguments());
  b.createBlock(&loop.getAfter(), {}, types, locations);
  scf::YieldOp::create(b, body(loop.getAfterArguments()));
  return llvm::to_vector_of<Value>(loop.getResults());
}

Value KernelBuilder::clearLowestBit(Value bits) {
  Value below = arith::SubIOp::create(b, bits, buildI32(1));
  return arith::AndIOp::create(b, bits, below);
}

/// The i32 `word`, in a form that LLVM takes for a new value in every iteration. What is
/// computed from it stays in the loop; hoisted, it would take half of the registers. No
/// instruction comes of it. There is no op for it, so it is an empty inline assembly.
Value KernelBuilder::recompute(Value word) {
  return LLVM::InlineAsmOp::create(b, b.getI32Type(), word, /*asm_string=*/"",
                                   /*constraints=*/"=r,0", /*has_side_effects=*/true,
                                   /*is_align_stack=*/false, LLVM::TailCallKind::None,
                                   /*asm_dialect=*/{}, /*operand_attrs=*/{})
      .getResult(0);
}

/// The vector `elements`, computed no later than here. LLVM would move the computation
/// into the branch of a store under a condition, and what is one predicate on a store
/// would become a branch around all of it, in which nothing overlaps with its neighbours.
Value KernelBuilder::computeHere(Value elements) {
  auto type = cast<VectorType>(elements.getType());
  int64_t bits = type.getElementTypeBitWidth();
  VectorType integersType = type.clone(b.getIntegerType(bits));
  auto wordsType = VectorType::get(type.getNumElements() * bits / 32, b.getI32Type());
  Value words = vector::BitCastOp::create(
      b, wordsType, arith::BitcastOp::create(b, integersType, elements));
  SmallVector<Value> computed;
  for (int64_t i = 0; i < wordsType.getNumElements(); ++i)
    computed.push_back(recompute(vector::ExtractOp::create(b, words, i)));
  words = vector::FromElementsOp::create(b, wordsType, computed);
  return arith::BitcastOp::create(b, type,
                                  vector::BitCastOp::create(b, integersType, words));
}

//===----------------------------------------------------------------------===//
// Chunks of a row
//===----------------------------------------------------------------------===//

void KernelBuilder::forEachChunk(function_ref<void(Value)> body) {
  buildFor(firstChunk, chunks, chunkStride, body);
}

/// Which of the row's vectors the lane has in step `step` of `chunk`.
Value KernelBuilder::vectorOfStep(Value chunk, int64_t step) {
  Value first = buildMul(b, chunk, Schedule::kLanes * schedule.steps);
  return buildAdd(b, first, buildAdd(b, lane, step * Schedule::kLanes));
}

Value KernelBuilder::isInRow(Value vector) {
  return hasWholeChunks ? Value() : lessThan(vector, vectors);
}

SmallVector<KernelBuilder::Fragment> KernelBuilder::loadActivation(Value row,
                                                                   Value chunk) {
  auto type = VectorType::get(schedule.elements(), b.getBF16Type());
  SmallVector<Fragment> fragments;
  for (int64_t step = 0; step < schedule.steps; ++step) {
    Value vector = vectorOfStep(chunk, step);
    Value valid = isInRow(vector);
    Value loaded = vector;
    if (valid) {
      // Lanes past the end of the row load its last vector: a load under a condition
      // would sink to its first use, and the loads would no longer overlap.
      Value last = arith::SubIOp::create(b, vectors, buildI32(1));
      loaded = arith::MinUIOp::create(b, vector, last);
    }
    Value column = toIndex(buildMul(b, loaded, schedule.elements()));
    Value elements =
        vector::LoadOp::create(b, type, x, ValueRange{row, column},
                               /*nontemporal=*/false, alignment(schedule.accessBytes));
    fragments.push_back({elements, vector, valid});
  }
  for (Fragment &fragment : fragments)
    fragment.elements = op.buildActivation(b, b.getLoc(), fragment.elements);
  return fragments;
}

/// Stores what was computed from `fragment` in its place.
void KernelBuilder::storeFragment(Value row, const Fragment &fragment, Value elements) {
  auto type = cast<VectorType>(elements.getType());
  int64_t bits = type.getNumElements() * type.getElementTypeBitWidth();
  if (fragment.isInRow && bits >= 32)
    elements = computeHere(elements);
  buildIf(fragment.isInRow, [&] {
    Value column = toIndex(buildMul(b, fragment.vector, schedule.elements()));
    vector::StoreOp::create(b, elements, out, ValueRange{row, column},
                            /*nontemporal=*/false, alignment(bits / 8));
  });
}

void KernelBuilder::buildActivationRow(Value row) {
  forEachChunk([&](Value chunk) {
    for (const Fragment &fragment : loadActivation(row, chunk))
      storeFragment(row, fragment, fragment.elements);
  });
}

//===----------------------------------------------------------------------===//
// Small inputs
//===----------------------------------------------------------------------===//

/// Whether no warp has more than one row, and all of x arrives while n_used and the map
/// do.
Value KernelBuilder::isSmall() {
  Value isOneRow = arith::CmpIOp::create(b, arith::CmpIPredicate::ule, rows, warps);
  Value vectorsOfX = buildMul(b, rows, toIndex(vectors));
  Value isFew =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ule, vectorsOfX,
                            buildIndex(b, schedule.earlyBytes / schedule.accessBytes));
  return arith::AndIOp::create(b, isOneRow, isFew);
}

/// Computes the warp's one row. It is loaded before it is known whether it is live, which
/// saves one of two waits for memory; in larger inputs, what it would load in vain costs
/// more.
void KernelBuilder::buildEarlyRow(Value firstEntry, Value used) {
  buildIf(lessThan(warp, rows), [&] {
    forEachChunk([&](Value chunk) {
      SmallVector<Fragment> fragments = loadActivation(warp, chunk);
      // Not in front of the loop, where it would wait for both before the row is loaded.
      // Of the warp's map entries the first alone is of a row.
      Value isUsed = lessThan(
          warp, arith::IndexCastOp::create(b, b.getIndexType(), recompute(used)));
      Value holdsToken = vote(buildHoldsToken(b, recompute(firstEntry)));
      Value rowIsLive = arith::AndIOp::create(
          b, isUsed,
          arith::CmpIOp::create(b, arith::CmpIPredicate::ne, holdsToken, buildI32(0)));
      for (Fragment &fragment : fragments) {
        fragment.isInRow = fragment.isInRow
                               ? arith::AndIOp::create(b, fragment.isInRow, rowIsLive)
                               : rowIsLive;
        storeFragment(warp, fragment, fragment.elements);
      }
    });
  });
}

//===----------------------------------------------------------------------===//
// Small things
//===----------------------------------------------------------------------===//

/// Builds `then` unconditionally if `condition` is null.
void KernelBuilder::buildIf(Value condition, function_ref<void()> then,
                            function_ref<void()> otherwise) {
  if (!condition)
    return then();
  moe::buildIf(b, condition, then, otherwise);
}

void KernelBuilder::buildFor(Value begin, Value end, Value step,
                             function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, begin, end, step);
  keepRolled(loop);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

/// Keeps LLVM from unrolling: a chunk has all the loads in flight that pay, so copies of
/// a body would only cost compile time and instruction cache.
void KernelBuilder::keepRolled(scf::ForOp loop) {
  auto unroll = LLVM::LoopUnrollAttr::get(
      b.getContext(), /*disable=*/b.getBoolAttr(true), /*count=*/{},
      /*runtimeDisable=*/{}, /*full=*/{}, /*followupUnrolled=*/{},
      /*followupRemainder=*/{}, /*followupAll=*/{});
  loop->setAttr("llvm.loop_annotation",
                LLVM::LoopAnnotationAttr::get(b.getContext(), {}, {}, {}, unroll, {}, {},
                                              {}, {}, {}, {}, {}, {}, {}, {}, {}));
}

Value KernelBuilder::lessThan(Value lhs, Value rhs) {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, lhs, rhs);
}

Value KernelBuilder::shuffleXor(Value word, int64_t offset) {
  return gpu::ShuffleOp::create(b, word, offset, Schedule::kLanes, gpu::ShuffleMode::XOR)
      .getShuffleResult();
}

void mlir::moe::buildKernelBody(ImplicitLocOpBuilder &b, MapRowsOp op,
                                ValueRange arguments, const Schedule &schedule) {
  KernelBuilder(b, op, arguments, schedule).build();
}
