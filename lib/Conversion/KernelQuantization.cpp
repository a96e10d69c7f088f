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

#include "IndexArithmetic.h"
#include "MXFP8Arithmetic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/SaveAndRestore.h"

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// Quantisation
//===----------------------------------------------------------------------===//

void KernelBuilder::buildQuantizedRow(Value row) {
  forEachChunk([&](Value chunk) {
    Value exponents;
    buildQuantizedChunk(row, chunk, [&](Value taken) { exponents = taken; });
    storeScales(row, chunk, exponents);
  });
}

/// Stores the data of a chunk. `takeExponents` gets the exponents of its scales, a vector
/// of i32 with that of the lane's group in each step, before the data is converted: what
/// it makes of them takes fewer registers.
void KernelBuilder::buildQuantizedChunk(Value row, Value chunk,
                                        function_ref<void(Value)> takeExponents) {
  SmallVector<Fragment> fragments = loadActivation(row, chunk);
  Value exponents = buildScaleExponent(b, buildGroupMaxima(fragments));
  takeExponents(exponents);
  Value factors = buildScaleFactor(b, exponents);
  SmallVector<Value> data;
  for (auto [step, fragment] : llvm::enumerate(fragments))
    data.push_back(buildQuantizedFragment(b, fragment.elements,
                                          vector::ExtractOp::create(b, factors, step)));
  storeData(row, chunk, fragments, data);
}

/// The greatest magnitude of the lane's group in each step, a vector of bf16. For groups
/// past the end of the row it is 0, whose exponent is what the padding columns of the
/// last column tile hold.
Value KernelBuilder::buildGroupMaxima(ArrayRef<Fragment> fragments) {
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(b.getBF16Type()));
  SmallVector<Value> maxima;
  for (const Fragment &fragment : fragments) {
    Value maximum =
        buildFragmentMaximum(b, fragment.elements, quantize.hasNonNegativeActivation());
    if (fragment.isInRow)
      maximum = arith::SelectOp::create(b, fragment.isInRow, maximum, zero);
    maxima.push_back(maximum);
  }

  // The lanes of a group agree, two steps' maxima in each 32-bit shuffle.
  int64_t steps = schedule.stepsPerChunk;
  auto maximaType = VectorType::get(steps, b.getBF16Type());
  auto wordsType = VectorType::get(steps / 2, b.getI32Type());
  Value packed = vector::FromElementsOp::create(b, maximaType, maxima);
  for (int64_t offset = 1; offset < schedule.lanesPerGroup(); offset *= 2) {
    Value words = vector::BitCastOp::create(b, wordsType, packed);
    SmallVector<Value> others;
    for (int64_t i = 0; i < steps / 2; ++i)
      others.push_back(shuffleXor(vector::ExtractOp::create(b, words, i), offset));
    Value other = vector::BitCastOp::create(
        b, maximaType, vector::FromElementsOp::create(b, wordsType, others));
    packed = arith::MaxNumFOp::create(b, packed, other);
  }

  return packed;
}

void KernelBuilder::storeData(Value row, Value chunk, ArrayRef<Fragment> fragments,
                              ArrayRef<Value> data) {
  if (schedule.isAligned && schedule.elementsPerLane < schedule.dataStoreBytes()) {
    for (int64_t step = 0; step < schedule.stepsPerChunk; step += 2)
      storeExchangedPair(row, chunk, step, data[step], data[step + 1]);
    return;
  }
  for (auto [fragment, elements] : llvm::zip_equal(fragments, data)) {
    buildIf(fragment.isInRow, [&, &fragment = fragment, &elements = elements] {
      Value column = toIndex(buildMul(b, fragment.vector, schedule.elementsPerLane));
      vector::StoreOp::create(b, elements, out, ValueRange{row, column},
                              /*nontemporal=*/false,
                              alignment(schedule.dataStoreBytes()));
    });
  }
}

/// Stores 16 bytes a lane where each lane has 8 of step `step` and 8 of the step after
/// it: of two neighbouring lanes the even one takes both halves of the first step and the
/// odd one those of the second.
void KernelBuilder::storeExchangedPair(Value row, Value chunk, int64_t step, Value first,
                                       Value second) {
  auto elementType = cast<VectorType>(first.getType()).getElementType();
  auto wordsType = VectorType::get(2, b.getI32Type());
  auto toWords = [&](Value elements) -> Value {
    Value bytes =
        arith::BitcastOp::create(b, VectorType::get(8, b.getI8Type()), elements);
    return vector::BitCastOp::create(b, wordsType, bytes);
  };
  first = toWords(first);
  second = toWords(second);

  Value parity = buildRem(b, lane, 2);
  Value isOdd = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, parity, buildI32(0));
  auto select = [&](Value ifOdd, Value ifEven) -> Value {
    return arith::SelectOp::create(b, isOdd, ifOdd, ifEven);
  };
  Value sent = select(first, second);
  Value kept = select(second, first);
  SmallVector<Value> words;
  for (int64_t i = 0; i < 2; ++i)
    words.push_back(shuffleXor(vector::ExtractOp::create(b, sent, i), 1));
  Value received = vector::FromElementsOp::create(b, wordsType, words);

  Value low = select(received, kept);
  Value high = select(kept, received);
  Value both = vector::ShuffleOp::create(b, low, high, ArrayRef<int64_t>{0, 1, 2, 3});
  Value bytes = vector::BitCastOp::create(b, VectorType::get(16, b.getI8Type()), both);
  Value elements = arith::BitcastOp::create(b, VectorType::get(16, elementType), bytes);

  Value ownStep = buildAdd(b, parity, step);
  Value evenLane = arith::SubIOp::create(b, lane, parity);
  Value vector = vectorOfStep(chunk, ownStep, evenLane);
  // A group has four vectors, so both of a pair are in the row or neither is.
  buildIf(isInRow(vector), [&] {
    Value column = toIndex(buildMul(b, vector, schedule.elementsPerLane));
    vector::StoreOp::create(b, elements, out, ValueRange{row, column},
                            /*nontemporal=*/false, alignment(schedule.dataStoreBytes()));
  });
}

/// The one of `exponents` that the lane is to store: every lane of a group knows those of
/// all steps, and each takes that of another step.
Value KernelBuilder::ownExponent(Value exponents) {
  Value step = buildRem(b, lane, schedule.lanesPerGroup());
  Value exponent = vector::ExtractOp::create(b, exponents, 0);
  for (int64_t i = 1; i < schedule.stepsPerChunk; ++i) {
    Value isStep = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, step, buildI32(i));
    exponent = select(isStep, vector::ExtractOp::create(b, exponents, i), exponent);
  }
  return exponent;
}

/// Stores the chunk's scales, one a lane.
void KernelBuilder::storeScales(Value row, Value chunk, Value exponents) {
  Value step = buildRem(b, lane, schedule.lanesPerGroup());
  Value exponent = ownExponent(exponents);
  Value inStep = buildDiv(b, lane, schedule.lanesPerGroup());
  int64_t groupsPerStep = schedule.stepColumns() / kGroupSize;
  Value group = buildAdd(b, buildMul(b, chunk, schedule.groupsPerChunk()),
                         buildAdd(b, buildMul(b, step, groupsPerStep), inStep));

  auto store = [&] {
    buildIf(hasWholeChunks ? Value() : lessThan(group, scaleColumns), [&] {
      memref::StoreOp::create(b, buildScale(b, exponent), scale,
                              scaleIndices(row, group));
    });
  };
  // More lanes share a group than there are steps: not every lane has a scale to store.
  if (schedule.lanesPerGroup() > schedule.stepsPerChunk)
    return buildIf(lessThan(step, buildI32(schedule.stepsPerChunk)), store);
  store();
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
  // Quads go to warps as wholes if that leaves no warp without one. Else there are few
  // rows, and they go to warps one by one, for the sake of more loads in flight.
  Value quads = buildMul(b, buildRowTileCount(b, rows), kScaleTileRows / kRowsPerQuad);
  ownsQuads = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, quads, warps);

  // n_used counts in 32 bits, so no row that they cannot number is live. The slots of a
  // warp come in runs of 2^shift, a warp's width apart.
  Value shift = select(ownsQuads, buildI32(llvm::Log2_64(kRowsPerQuad)), buildI32(0));
  Value stride = recompute(buildMul(b, toI32(warps), Schedule::kLanes));
  auto shiftLeft = [&](Value value, Value amount) -> Value {
    return arith::ShLIOp::create(b, value, amount);
  };
  auto shiftRight = [&](Value value, Value amount) -> Value {
    return arith::ShRUIOp::create(b, value, amount);
  };
  auto lowBits = [&](Value count) -> Value {
    return arith::SubIOp::create(b, shiftLeft(buildI32(1), count), buildI32(1));
  };
  // How far the slot of the warp's lane or bit `lane` is from that of its first.
  auto distance = [&](Value lane, Value shift) {
    Value inRun = arith::AndIOp::create(b, lane, lowBits(shift));
    Value distance =
        buildDiv(b, buildMul(b, shiftRight(lane, shift), stride), Schedule::kLanes);
    return buildAdd(b, shiftLeft(distance, shift), inRun);
  };
  Value firstBase = shiftLeft(toI32(warp), shift);
  Value laneOffset = distance(lane, shift);
  auto loadEntryOfSlot = [&](Value slot) {
    return loadMapEntry(toIndex(rowOfSlot(slot)));
  };

  // All loads go out before any is needed.
  Value firstEntry = loadEntryOfSlot(buildAdd(b, firstBase, laneOffset));
  bool clears = quantize.getDeadScales() == DeadScales::Zero;
  SmallVector<Value> tileEntries;
  if (clears)
    tileEntries = loadTileEntries(warp);
  usedRows = buildUsedRowCount(b, nUsed, rows);
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
  Value slot = recompute(buildAdd(b, base, laneOffset));
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
    Value here = recompute(shift);
    Value first = shiftLeft(shiftRight(bit, here), here);
    Value rowsOfRun = lowBits(shiftLeft(buildI32(1), here));
    Value live = arith::AndIOp::create(b, shiftRight(rest, first), rowsOfRun);
    Value runSlot = buildAdd(b, base, distance(first, here));
    Value inQuad = buildRem(b, runSlot, kRowsPerQuad);
    Value firstRow = rowOfSlot(arith::SubIOp::create(b, runSlot, inQuad));
    buildQuad(firstRow, shiftLeft(live, inQuad));
    return {arith::XOrIOp::create(b, rest, shiftLeft(live, first))};
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
                          [&](Value exponents) { packed = packScales(exponents); });
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
Value KernelBuilder::packScales(Value exponents) {
  Value exponent = ownExponent(exponents);
  int64_t lanes = schedule.lanesPerGroup();
  Value inTile = buildRem(b, buildDiv(b, lane, lanes), kScaleTileColumns);
  Value packed = arith::ShLIOp::create(b, exponent, buildMul(b, inTile, 8));
  for (int64_t offset : {lanes, 2 * lanes})
    packed = arith::OrIOp::create(b, packed, shuffleXor(packed, offset));
  return packed;
}

/// Which of a quad's rows the lane stores the scales of.
Value KernelBuilder::rowOfLane() {
  return buildRem(b, buildDiv(b, lane, schedule.lanesPerGroup()), kRowsPerQuad);
}

/// Stores the lane's scales if the bit of its row in `storedRows` is set.
void KernelBuilder::storeQuadScales(Value firstRow, Value chunk, Value storedRows,
                                    Value words) {
  int64_t lanes = schedule.lanesPerGroup();
  int64_t tilesPerStep = schedule.stepColumns() / kGroupSize / kScaleTileColumns;
  int64_t tilesPerChunk = schedule.groupsPerChunk() / kScaleTileColumns;
  Value ownRow = rowOfLane();
  Value step = buildRem(b, lane, lanes);
  Value inStep = buildDiv(b, lane, lanes * kScaleTileColumns);
  Value tile = buildAdd(b, buildMul(b, chunk, tilesPerChunk),
                        buildAdd(b, buildMul(b, step, tilesPerStep), inStep));
  Value bit = arith::AndIOp::create(b, arith::ShRUIOp::create(b, storedRows, ownRow),
                                    buildI32(1));
  Value isStored = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, bit, buildI32(0));
  if (!hasWholeChunks)
    isStored = arith::AndIOp::create(b, isStored, lessThan(tile, columnTiles));
  buildIf(isStored, [&] {
    auto bytesType = VectorType::get(kScaleTileColumns, b.getI8Type());
    Value word =
        vector::FromElementsOp::create(b, VectorType::get(1, b.getI32Type()), words);
    Value scales = arith::BitcastOp::create(
        b, bytesType.clone(Float8E8M0FNUType::get(b.getContext())),
        vector::BitCastOp::create(b, bytesType, word));
    Value offset = buildSwizzledRowOffset(b, toIndex(firstRow), toIndex(columnTiles));
    offset = buildAdd(b, offset, buildMul(b, toIndex(ownRow), kScaleTileColumns));
    offset = buildAdd(b, offset, buildMul(b, toIndex(tile), kScaleTileBytes));
    vector::StoreOp::create(b, scales, scale, offset, /*nontemporal=*/false,
                            alignment(kScaleTileColumns));
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
  Value laneOffset =
      buildAdd(b, tileOffset, buildMul(b, laneIndex, Schedule::kZeroStoreBytes));
  auto storeZeros = [&](Value offset, int64_t bytes) {
    vector::StoreOp::create(b, buildZeroScales(b, bytes), scale, offset,
                            /*nontemporal=*/false, alignment(bytes));
  };
  auto clearSingleRows = [&](Value offset) {
    buildIf(
        ownsQuads, [] {},
        [&] {
          for (int64_t i = 0; i < kRowsPerQuad; ++i)
            buildIf(
                lives[i], [] {},
                [&] {
                  storeZeros(buildAdd(b, offset, i * kScaleTileColumns),
                             kScaleTileColumns);
                });
        });
  };
  int64_t tilesPerChunk = schedule.groupsPerChunk() / kScaleTileColumns;
  forEachChunk([&](Value chunk) {
    Value begin = buildMul(b, chunk, tilesPerChunk);
    Value end = arith::MinUIOp::create(b, buildAdd(b, begin, tilesPerChunk), columnTiles);
    buildFor(begin, end, buildI32(1), [&](Value columnTile) {
      Value offset =
          buildAdd(b, laneOffset, buildMul(b, toIndex(columnTile), kScaleTileBytes));
      buildIf(
          anyLive, [&] { clearSingleRows(offset); },
          [&] { storeZeros(offset, Schedule::kZeroStoreBytes); });
    });
  });
  scf::YieldOp::create(b, nextEntries);
}

/// Clears the scales of one row, byte by byte.
void KernelBuilder::clearScaleRow(Value row) {
  forEachChunk([&](Value chunk) {
    Value group = buildAdd(b, buildMul(b, chunk, schedule.groupsPerChunk()), lane);
    auto store = [&] {
      buildIf(lessThan(group, scaleColumns), [&] {
        vector::StoreOp::create(b, buildZeroScales(b, 1), scale,
                                scaleIndices(row, group));
      });
    };
    if (schedule.groupsPerChunk() < Schedule::kLanes)
      return buildIf(lessThan(lane, buildI32(schedule.groupsPerChunk())), store);
    store();
  });
}
