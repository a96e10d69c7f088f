//===- KernelQuantization.cpp - What the quantising kernels do ------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The device side of convert-moe-to-gpu for MXFP8: how the lanes of a group agree on its
// scale, how data and scales are stored, how rows go to warps by quads, and how the
// scales of the other rows are cleared.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"

#include "GroupArithmetic.h"
#include "IndexArithmetic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/SaveAndRestore.h"

using namespace mlir;
using namespace mlir::moe;

/// As an unsigned number, past those of all rows that n_used can count.
static constexpr int64_t kPastAllSlots = std::numeric_limits<int32_t>::min();

//===----------------------------------------------------------------------===//
// Quantisation
//===----------------------------------------------------------------------===//

void KernelBuilder::buildQuantizedRow(Value row) {
  forEachChunk([&](Value chunk) {
    Value exponent;
    buildQuantizedChunk(row, chunk, [&](Value taken) { exponent = taken; });
    storeScales(row, chunk, exponent);
  });
}

/// Stores the data of a chunk. `takeExponent` gets the exponent of the scale that the
/// lane stores (i32) before the data is converted: what it makes of it takes fewer
/// registers.
void KernelBuilder::buildQuantizedChunk(Value row, Value chunk,
                                        function_ref<void(Value)> takeExponent) {
  SmallVector<Fragment> fragments = loadActivation(row, chunk);
  Value exponent = quantize.buildScaleCode(b, buildOwnMaximum(fragments));
  Value factor = quantize.buildFactor(b, exponent);
  if (!hasWholeChunks) {
    // Groups past the end of the row are the padding columns of the last column tile.
    Value isInRow = lessThan(ownGroup(chunk), rowGroups);
    exponent = select(isInRow, exponent, buildI32(0));
  }
  takeExponent(exponent);

  SmallVector<Value> factors;
  for (size_t step = 0; step < fragments.size(); ++step)
    factors.push_back(broadcastFactor(factor, step));
  for (auto [fragment, stepFactor] : llvm::zip_equal(fragments, factors))
    storeFragment(row, fragment,
                  quantize.buildElements(b, fragment.elements, stepFactor));
}

// The lanes of a group share its elements in every step of a chunk. Each of them computes
// the scale of its group in one step, its own, and the others get the factor from it.

Value KernelBuilder::ownStep() { return buildRem(b, lane, schedule.steps); }

/// The group of the row whose scale the lane computes.
Value KernelBuilder::ownGroup(Value chunk) {
  int64_t groupsPerStep = schedule.stepColumns() / kGroupSize;
  Value inStep = buildDiv(b, lane, lanesPerGroup(schedule));
  Value inChunk = buildAdd(b, buildMul(b, ownStep(), groupsPerStep), inStep);
  return buildAdd(b, buildMul(b, chunk, groupsPerChunk(schedule)), inChunk);
}

/// The greatest magnitude of the lane's own group, a bf16.
Value KernelBuilder::buildOwnMaximum(ArrayRef<Fragment> fragments) {
  // Maxima of two steps travel in one word.
  auto pairType = VectorType::get(2, b.getBF16Type());
  auto wordType = VectorType::get(1, b.getI32Type());
  auto exchange = [&](Value pair, int64_t offset) -> Value {
    Value word = vector::BitCastOp::create(b, wordType, pair);
    Value other = shuffleXor(vector::ExtractOp::create(b, word, 0), offset);
    return vector::BitCastOp::create(b, pairType,
                                     vector::FromElementsOp::create(b, wordType, other));
  };
  ActivationFacts facts = getActivationFacts(op.getActivation().front());
  SmallVector<Value> pairs;
  for (size_t step = 0; step < fragments.size(); step += 2)
    pairs.push_back(buildFragmentMaxima(b, fragments[step].elements,
                                        fragments[step + 1].elements,
                                        !facts.mayBeNaN && !facts.mayBeNegative));

  // Half of the pairs go to the lane on the other side of a bit, for as many of its own.
  // At the end a lane has the pair of its own step.
  int64_t pairBits = 0;
  while (pairs.size() > 1) {
    size_t half = pairs.size() / 2;
    int64_t offset = pairs.size();
    pairBits |= offset;
    Value isUpper = isLaneBitSet(offset);
    for (size_t i = 0; i < half; ++i) {
      Value kept = select(isUpper, pairs[half + i], pairs[i]);
      Value sent = select(isUpper, pairs[i], pairs[half + i]);
      pairs[i] = arith::MaxNumFOp::create(b, kept, exchange(sent, offset));
    }
    pairs.truncate(half);
  }
  Value pair = pairs.front();
  for (int64_t offset = 1; offset < lanesPerGroup(schedule); offset *= 2)
    if ((pairBits & offset) == 0)
      pair = arith::MaxNumFOp::create(b, pair, exchange(pair, offset));
  return select(isLaneBitSet(1), vector::ExtractOp::create(b, pair, 1),
                vector::ExtractOp::create(b, pair, 0));
}

Value KernelBuilder::isLaneBitSet(int64_t bit) {
  Value masked = arith::AndIOp::create(b, lane, buildI32(bit));
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, masked, buildI32(0));
}

/// Of the factors (bf16) that the lanes have for their own groups, the one for the lane's
/// group in step `step`.
Value KernelBuilder::broadcastFactor(Value factor, int64_t step) {
  Value bits = arith::BitcastOp::create(b, b.getI16Type(), factor);
  Value word = arith::ExtUIOp::create(b, b.getI32Type(), bits);
  // Among the lanes of a group, from the one with that step.
  int64_t segment = Schedule::kLanes - lanesPerGroup(schedule);
  Value clamp = buildI32(segment << 8 | (Schedule::kLanes - 1));
  word =
      NVVM::ShflOp::create(b, b.getI32Type(), buildI32(-1), word, buildI32(step), clamp,
                           NVVM::ShflKind::idx, /*return_value_and_is_valid=*/{});
  bits = arith::TruncIOp::create(b, b.getI16Type(), word);
  return arith::BitcastOp::create(b, b.getBF16Type(), bits);
}

/// Stores the chunk's scales, one a lane.
void KernelBuilder::storeScales(Value row, Value chunk, Value exponent) {
  Value group = ownGroup(chunk);
  auto store = [&] {
    buildIf(hasWholeChunks ? Value() : lessThan(group, scaleColumns), [&] {
      memref::StoreOp::create(b, buildScale(b, exponent, quantize.getScaleType()), scale,
                              scaleIndices(row, group));
    });
  };
  // More lanes share a group than there are steps: not every lane has a scale to store.
  if (lanesPerGroup(schedule) == schedule.steps)
    return store();
  Value inGroup = buildRem(b, lane, lanesPerGroup(schedule));
  buildIf(lessThan(inGroup, buildI32(schedule.steps)), store);
}

SmallVector<Value> KernelBuilder::scaleIndices(Value row, Value group) {
  if (quantize.getScaleLayout() == ScaleLayout::Linear)
    return {row, toIndex(group)};
  Value tile = toIndex(buildDiv(b, group, kScaleTileColumns));
  Value inTile = toIndex(buildRem(b, group, kScaleTileColumns));
  Value column = buildAdd(b, buildMul(b, tile, kScaleTileBytes), inTile);
  return {buildAdd(b, buildSwizzledRowOffset(b, row, toIndex(columnTiles)), column)};
}

//===----------------------------------------------------------------------===//
// Rows in quads
//===----------------------------------------------------------------------===//

// The scales of the rows r, r + 32, r + 64 and r + 96 of a row tile, a quad, are
// neighbours. A warp that has all four stores 16 bytes at once where single rows would
// make four partial writes; and it clears the scales of those that are not live on the
// way.
//
// Slots number the rows so that a quad has four consecutive ones: in a row tile, slot
// 4 * r + i is row r + 32 * i.

Value KernelBuilder::rowOfSlot(Value slot) {
  Value inTile = buildRem(b, slot, kScaleTileRows);
  Value tile = arith::SubIOp::create(b, slot, inTile);
  Value quad = buildDiv(b, inTile, kRowsPerQuad);
  Value inQuad = buildMul(b, buildRem(b, slot, kRowsPerQuad), Schedule::kLanes);
  return buildAdd(b, buildAdd(b, tile, quad), inQuad);
}

void KernelBuilder::buildQuads() {
  // Quads go to warps as wholes if that leaves at most one warp in eight without one.
  // Else there are few rows, and they go to warps one by one, for the sake of more loads
  // in flight.
  Value quads = buildMul(b, buildRowTileCount(b, rows), kScaleTileRows / kRowsPerQuad);
  ownsQuads = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, buildMul(b, quads, 8),
                                    buildMul(b, warps, 7));

  // The slots of a warp come in runs, of four or of one, a warp's width apart.
  Value inRunMask = select(ownsQuads, buildI32(kRowsPerQuad - 1), buildI32(0));
  Value runLength = buildAdd(b, inRunMask, 1);
  // n_used counts in 32 bits, so no row that they cannot number is live.
  Value firstBase =
      select(isIdle, buildI32(kPastAllSlots), buildMul(b, warp32, runLength));
  Value stride = buildMul(b, warps32, Schedule::kLanes);
  Value inRun = arith::AndIOp::create(b, lane, inRunMask);
  Value runOfLane = arith::SubIOp::create(b, lane, inRun);
  Value laneOffset = buildAdd(b, buildMul(b, runOfLane, warps32), inRun);
  auto loadEntryOfSlot = [&](Value slot) {
    return loadMapEntry(toIndex(rowOfSlot(slot)));
  };

  // All loads go out before any is needed.
  Value firstEntry = loadEntryOfSlot(buildAdd(b, firstBase, laneOffset));
  bool clears = quantize.getDeadScales() == DeadScales::Zero;
  SmallVector<Value> tileEntries;
  if (clears)
    tileEntries = loadTileEntries(warp);
  usedRows = buildUsedRowCount(b, buildUsedRowLoad(b, nUsed), rows);
  if (clears)
    clearDeadQuads(tileEntries);

  Value usedRows32 = toI32(usedRows);
  Value end = buildMul(b, buildRowTileCount(b, usedRows32), kScaleTileRows);
  auto loop = scf::ForOp::create(b, firstBase, end, stride, ValueRange{firstEntry},
                                 /*bodyBuilder=*/nullptr, /*unsignedCmp=*/true);
  keepRolled(loop);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value base = loop.getInductionVar();
  Value slot = buildAdd(b, base, laneOffset);
  // The next 32 entries are on their way while these rows are computed.
  Value hasNext =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ult, buildAdd(b, base, stride), end);
  SmallVector<Value> nextEntry = loadIf(hasNext, 1, [&] {
    return SmallVector<Value>{loadEntryOfSlot(buildAdd(b, slot, stride))};
  });
  Value isUsed =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ult, rowOfSlot(slot), usedRows32);
  Value holdsToken = buildHoldsToken(b, loop.getRegionIterArg(0));
  Value liveLanes = vote(arith::AndIOp::create(b, isUsed, holdsToken));
  whileNotZero({liveLanes}, [&](ValueRange values) -> SmallVector<Value> {
    Value rest = values.front();
    Value bit = math::CountTrailingZerosOp::create(b, rest);
    // The run of the first live row, and those of its rows that are live.
    Value first = arith::SubIOp::create(b, bit, arith::AndIOp::create(b, bit, inRunMask));
    Value rowsOfRun = select(ownsQuads, buildI32((1 << kRowsPerQuad) - 1), buildI32(1));
    Value live =
        arith::AndIOp::create(b, arith::ShRUIOp::create(b, rest, first), rowsOfRun);
    Value runSlot = buildAdd(b, base, buildMul(b, first, warps32));
    Value inQuad = buildRem(b, runSlot, kRowsPerQuad);
    buildQuad(rowOfSlot(arith::SubIOp::create(b, runSlot, inQuad)),
              arith::ShLIOp::create(b, live, inQuad));
    return {arith::XOrIOp::create(b, rest, arith::ShLIOp::create(b, live, first))};
  });
  scf::YieldOp::create(b, nextEntry);
}

/// Of the quad that begins with `firstRow`, computes the rows whose bits are set in
/// `liveRows` (i32), and stores their scales; where the warp has the whole quad and
/// scales are cleared, those of the other rows too.
void KernelBuilder::buildQuad(Value firstRow, Value liveRows) {
  Value storedRows = liveRows;
  if (quantize.getDeadScales() == DeadScales::Zero)
    storedRows = select(ownsQuads, buildI32((1 << kRowsPerQuad) - 1), liveRows);
  forEachChunk([&](Value chunk) {
    SmallVector<Value> init = {liveRows, buildI32(0)};
    auto results = whileNotZero(init, [&](ValueRange values) -> SmallVector<Value> {
      auto [rest, words] = std::make_pair(values[0], values[1]);
      Value inQuad = math::CountTrailingZerosOp::create(b, rest);
      Value row = buildAdd(b, firstRow, buildMul(b, inQuad, Schedule::kLanes));
      llvm::SaveAndRestore recomputed(lane, recompute(lane));
      Value packed;
      buildQuantizedChunk(toIndex(row), chunk,
                          [&](Value exponent) { packed = packScales(exponent); });
      Value isOwn =
          arith::CmpIOp::create(b, arith::CmpIPredicate::eq, inQuad, rowOfLane());
      return {clearLowestBit(rest), select(isOwn, packed, words)};
    });
    llvm::SaveAndRestore recomputed(lane, recompute(lane));
    storeQuadScales(recompute(firstRow), chunk, storedRows, results[1]);
  });
}

/// The four scales that the lane stores of a row, in an i32: those of one column tile.
/// The lanes that have them differ in two bits, and all four get them.
Value KernelBuilder::packScales(Value exponent) {
  int64_t lanes = lanesPerGroup(schedule);
  Value inTile = buildRem(b, buildDiv(b, lane, lanes), kScaleTileColumns);
  Value packed = arith::ShLIOp::create(b, exponent, buildMul(b, inTile, 8));
  for (int64_t offset : {lanes, 2 * lanes})
    packed = arith::OrIOp::create(b, packed, shuffleXor(packed, offset));
  return packed;
}

/// Which of a quad's rows the lane stores the scales of.
Value KernelBuilder::rowOfLane() {
  return buildRem(b, buildDiv(b, lane, lanesPerGroup(schedule)), kRowsPerQuad);
}

/// Stores the lane's scales if the bit of its row in `storedRows` is set.
void KernelBuilder::storeQuadScales(Value firstRow, Value chunk, Value storedRows,
                                    Value words) {
  int64_t lanes = lanesPerGroup(schedule);
  int64_t tilesPerStep = schedule.stepColumns() / kGroupSize / kScaleTileColumns;
  int64_t tilesPerChunk = groupsPerChunk(schedule) / kScaleTileColumns;
  Value ownRow = rowOfLane();
  Value inStep = buildDiv(b, lane, lanes * kScaleTileColumns);
  Value tile = buildAdd(b, buildMul(b, chunk, tilesPerChunk),
                        buildAdd(b, buildMul(b, ownStep(), tilesPerStep), inStep));
  Value bit = arith::AndIOp::create(b, arith::ShRUIOp::create(b, storedRows, ownRow),
                                    buildI32(1));
  Value isStored = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, bit, buildI32(0));
  if (!hasWholeChunks)
    isStored = arith::AndIOp::create(b, isStored, lessThan(tile, columnTiles));
  buildIf(isStored, [&] {
    auto bytesType = VectorType::get(kScaleTileColumns, b.getI8Type());
    Value word =
        vector::FromElementsOp::create(b, VectorType::get(1, b.getI32Type()), words);
    Value scales =
        arith::BitcastOp::create(b, bytesType.clone(quantize.getScaleType()),
                                 vector::BitCastOp::create(b, bytesType, word));
    Value offset = buildSwizzledRowOffset(b, toIndex(firstRow), toIndex(columnTiles));
    offset = buildAdd(b, offset, buildMul(b, toIndex(ownRow), kScaleTileColumns));
    offset = buildAdd(b, offset, buildMul(b, toIndex(tile), kScaleTileBytes));
    vector::StoreOp::create(b, scales, scale, offset, /*nontemporal=*/false,
                            llvm::MaybeAlign(kScaleTileColumns));
  });
}

//===----------------------------------------------------------------------===//
// Scales of rows that are not live
//===----------------------------------------------------------------------===//

/// The map entries of the lane's quad in row tile `tile`, which may be past the last.
SmallVector<Value> KernelBuilder::loadTileEntries(Value tile) {
  Value firstRow = buildAdd(b, buildMul(b, tile, kScaleTileRows), laneIndex);
  SmallVector<Value> entries;
  for (int64_t i = 0; i < kRowsPerQuad; ++i)
    entries.push_back(loadMapEntry(buildAdd(b, firstRow, i * Schedule::kLanes)));
  return entries;
}

/// Clears the scales of rows that are not live, a warp for each row tile and chunk of
/// columns, a quad for each lane. Quads with a live row are left to the warps that own
/// quads; where they do not, the scales of single rows are cleared. `firstEntries` are
/// those of the warp's first tile.
void KernelBuilder::clearDeadQuads(ArrayRef<Value> firstEntries) {
  auto loop =
      scf::ForOp::create(b, warp, buildRowTileCount(b, rows), warps, firstEntries);
  keepRolled(loop);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value tile = loop.getInductionVar();
  Value nextTile = buildAdd(b, tile, warps);
  SmallVector<Value> nextEntries =
      loadIf(lessThan(nextTile, loop.getUpperBound()), kRowsPerQuad,
             [&] { return loadTileEntries(nextTile); });
  Value firstRow = buildAdd(b, buildMul(b, tile, kScaleTileRows), laneIndex);
  SmallVector<Value> lives;
  Value anyLive = arith::ConstantIntOp::create(b, 0, 1);
  for (auto [i, entry] : llvm::enumerate(loop.getRegionIterArgs())) {
    lives.push_back(isLive(buildAdd(b, firstRow, i * Schedule::kLanes), entry));
    anyLive = arith::OrIOp::create(b, anyLive, lives.back());
  }

  Value tileOffset =
      buildMul(b, buildMul(b, tile, toIndex(columnTiles)), kScaleTileBytes);
  Value laneOffset = buildAdd(b, tileOffset, buildMul(b, laneIndex, schedule.clearBytes));
  auto storeZeros = [&](Value offset, int64_t bytes) {
    vector::StoreOp::create(b, buildZeroScales(b, bytes, quantize.getScaleType()), scale,
                            offset,
                            /*nontemporal=*/false, llvm::MaybeAlign(bytes));
  };
  int64_t tilesPerChunk = groupsPerChunk(schedule) / kScaleTileColumns;
  forEachChunk([&](Value chunk) {
    Value begin = buildMul(b, chunk, tilesPerChunk);
    // Not a loop, which would take longer to count than to store.
    auto clearQuads = [&] {
      Value offset =
          buildAdd(b, laneOffset, buildMul(b, toIndex(begin), kScaleTileBytes));
      for (int64_t i = 0; i < tilesPerChunk; ++i)
        buildIf(
            hasWholeChunks ? Value() : lessThan(buildAdd(b, begin, i), columnTiles), [&] {
              storeZeros(buildAdd(b, offset, i * kScaleTileBytes), schedule.clearBytes);
            });
    };
    auto clearSingleRows = [&] {
      Value end =
          arith::MinUIOp::create(b, buildAdd(b, begin, tilesPerChunk), columnTiles);
      buildFor(begin, end, buildI32(1), [&](Value columnTile) {
        Value offset =
            buildAdd(b, laneOffset, buildMul(b, toIndex(columnTile), kScaleTileBytes));
        for (int64_t i = 0; i < kRowsPerQuad; ++i)
          buildIf(
              lives[i], [] {},
              [&] {
                storeZeros(buildAdd(b, offset, i * kScaleTileColumns), kScaleTileColumns);
              });
      });
    };
    buildIf(anyLive, [&] { buildIf(ownsQuads, [] {}, clearSingleRows); }, clearQuads);
  });
  scf::YieldOp::create(b, nextEntries);
}

/// Clears the scales of one row, byte by byte.
void KernelBuilder::clearScaleRow(Value row) {
  forEachChunk([&](Value chunk) {
    Value group = buildAdd(b, buildMul(b, chunk, groupsPerChunk(schedule)), lane);
    auto store = [&] {
      buildIf(lessThan(group, scaleColumns), [&] {
        vector::StoreOp::create(b, buildZeroScales(b, 1, quantize.getScaleType()), scale,
                                scaleIndices(row, group));
      });
    };
    if (groupsPerChunk(schedule) < Schedule::kLanes)
      return buildIf(lessThan(lane, buildI32(groupsPerChunk(schedule))), store);
    store();
  });
}
