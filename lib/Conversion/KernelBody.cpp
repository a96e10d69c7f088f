//===- KernelBody.cpp - What a kernel does --------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The device side of convert-moe-to-gpu: how warps find live rows, how a chunk of a row
// is loaded, computed and stored, and how the scales of the other rows are cleared.
//
//===----------------------------------------------------------------------===//

#include "KernelBody.h"

#include "IndexArithmetic.h"
#include "MXFP8Arithmetic.h"
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

Schedule mlir::moe::getSchedule(PaddingAwareOpInterface op, bool isAligned,
                                int64_t threadsPerCTA, int64_t accessBytes) {
  // 1024 columns a chunk: 64 bytes in flight for each lane, and one scale for each.
  constexpr int64_t elementsPerLaneAndChunk = 32;
  int64_t elements = accessBytes / 2;
  if (isAligned)
    return {threadsPerCTA, elements, elementsPerLaneAndChunk / elements, true};
  // Neighbouring elements in neighbouring lanes coalesce without alignment, and a group
  // of the quantising ops is a step.
  return {threadsPerCTA, 1, 2, false};
}

namespace {

class KernelBody {
public:
  KernelBody(ImplicitLocOpBuilder &b, PaddingAwareOpInterface op, ValueRange arguments,
             const Schedule &schedule);
  void build();

private:
  /// One lane's part of one step of a chunk.
  struct Fragment {
    Value elements; // vector<elementsPerLane x bf16>
    Value vector;   // Which vector of the row this is.
    Value isInRow;  // Null if every lane's is.
  };

  // Rows.
  Value loadMapEntry(Value row);
  Value isLive(Value row, Value entry);
  void forEachRow(Value firstEntry, Value end, function_ref<void(Value)> live,
                  function_ref<void(Value)> dead);
  void forEachBit(Value bits, function_ref<void(Value)> body);

  // Chunks of a row.
  void forEachChunk(function_ref<void(Value)> body);
  Value vectorOfStep(Value chunk, Value step, Value lane);
  Value isInRow(Value vector);
  SmallVector<Fragment> loadActivation(Value row, Value chunk);
  void buildActivationRow(Value row);

  // Quantisation.
  void buildQuantizedRow(Value row);
  Value buildGroupMaxima(ArrayRef<Fragment> fragments);
  void storeData(Value row, Value chunk, ArrayRef<Fragment> fragments,
                 ArrayRef<Value> data);
  void storeExchangedPair(Value row, Value chunk, int64_t step, Value even, Value odd);
  void storeScales(Value row, Value chunk, Value exponents);
  SmallVector<Value> scaleIndices(Value row, Value group);

  // Scales of rows that are not live.
  void clearDeadRowTiles();
  void clearScaleRow(Value row);

  // Small things.
  void buildIf(Value condition, function_ref<void()> then,
               function_ref<void()> otherwise = nullptr);
  void buildFor(Value begin, Value end, Value step, function_ref<void(Value)> body);
  void keepRolled(scf::ForOp loop);
  Value lessThan(Value lhs, Value rhs);
  Value buildI32(int64_t value) {
    return arith::ConstantIntOp::create(b, value, /*width=*/32);
  }
  Value toIndex(Value nonNegative) {
    return arith::IndexCastUIOp::create(b, b.getIndexType(), nonNegative);
  }
  Value shuffleXor(Value word, int64_t offset);
  llvm::MaybeAlign alignment(int64_t bytes) const {
    return schedule.isAligned ? llvm::MaybeAlign(bytes) : llvm::MaybeAlign();
  }

  ImplicitLocOpBuilder &b;
  PaddingAwareOpInterface op;
  MXFP8QuantizeOpInterface quantize; // Null for an activation alone.
  const Schedule &schedule;

  // The operands, in global memory.
  Value x, permutationMap, nUsed, out, scale;

  // Rows are indices, as addresses are; what counts along a row is an i32, which halves
  // the registers and instructions of the innermost code.
  Value rows, usedRows;
  Value vectors, chunks; // Of a row.
  // Every chunk is whole, so no lane is ever past the end of a row.
  bool hasWholeChunks;
  // Column tiles of the swizzled layout, and the scales of a row with its padding.
  Value columnTiles, scaleColumns;

  Value lane, laneIndex;
  Value firstChunk, chunkStride;
  // Warps are numbered across the grid's y so that neighbouring rows, and the row tiles
  // to clear, are spread over the SMs.
  Value warp, warps;
};

} // namespace

KernelBody::KernelBody(ImplicitLocOpBuilder &b, PaddingAwareOpInterface op,
                       ValueRange arguments, const Schedule &schedule)
    : b(b), op(op), quantize(dyn_cast<MXFP8QuantizeOpInterface>(op.getOperation())),
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
  vectors = buildDiv(b, columns, schedule.elementsPerLane);
  chunks = buildCeilDiv(b, columns, schedule.chunkColumns());
  int64_t wholeColumns = schedule.chunkColumns();
  if (quantize && quantize.getScaleLayout() == ScaleLayout::Linear) {
    scaleColumns = buildDiv(b, columns, kGroupSize);
  } else if (quantize) {
    columnTiles = buildColumnTileCount(b, columns);
    scaleColumns = buildMul(b, columnTiles, kScaleTileColumns);
    // A chunk may be smaller than a column tile: the padding has chunks of its own then.
    chunks = buildCeilDiv(b, scaleColumns, schedule.groupsPerChunk());
    wholeColumns = std::max(wholeColumns, kGroupSize * kScaleTileColumns);
  }
  hasWholeChunks = knownColumns && *knownColumns % wholeColumns == 0;

  Value thread = gpu::ThreadIdOp::create(b, gpu::Dimension::x);
  auto toI32 = [&](Value index) -> Value {
    return arith::IndexCastUIOp::create(b, b.getI32Type(), index);
  };
  lane = buildRem(b, toI32(thread), Schedule::kLanes);
  laneIndex = toIndex(lane);
  firstChunk = toI32(gpu::BlockIdOp::create(b, gpu::Dimension::x));
  chunkStride = toI32(gpu::GridDimOp::create(b, gpu::Dimension::x));
  Value rowCTA = gpu::BlockIdOp::create(b, gpu::Dimension::y);
  Value rowCTAs = gpu::GridDimOp::create(b, gpu::Dimension::y);
  Value warpInCTA = buildDiv(b, thread, Schedule::kLanes);
  warp = buildAdd(b, buildMul(b, warpInCTA, rowCTAs), rowCTA);
  warps = buildMul(b, rowCTAs, schedule.warpsPerCTA());
}

void KernelBody::build() {
  // Both loads go out before either is needed.
  Value firstEntry = loadMapEntry(buildAdd(b, warp, buildMul(b, laneIndex, warps)));
  usedRows = buildUsedRowCount(b, nUsed, rows);
  if (!quantize)
    return forEachRow(
        firstEntry, usedRows, [&](Value row) { buildActivationRow(row); }, nullptr);

  auto live = [&](Value row) { buildQuantizedRow(row); };
  if (quantize.getDeadScales() == DeadScales::Untouched)
    return forEachRow(firstEntry, usedRows, live, nullptr);
  bool isSwizzled = quantize.getScaleLayout() == ScaleLayout::Swizzle32_4_4;
  if (isSwizzled && schedule.isAligned) {
    clearDeadRowTiles();
    return forEachRow(firstEntry, usedRows, live, nullptr);
  }
  // The last row tile of the scales may go past the last row.
  Value scaleRows =
      isSwizzled ? buildMul(b, buildRowTileCount(b, rows), kScaleTileRows) : rows;
  forEachRow(firstEntry, scaleRows, live, [&](Value row) { clearScaleRow(row); });
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

/// permutation_map[row], or -1 for a row past the end.
Value KernelBody::loadMapEntry(Value row) {
  auto ifOp = scf::IfOp::create(b, b.getI32Type(), lessThan(row, rows),
                                /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  Value entry = memref::LoadOp::create(b, permutationMap, row);
  scf::YieldOp::create(b, entry);
  b.setInsertionPointToStart(ifOp.elseBlock());
  Value none = buildI32(-1);
  scf::YieldOp::create(b, none);
  return ifOp.getResult(0);
}

Value KernelBody::isLive(Value row, Value entry) {
  return arith::AndIOp::create(b, lessThan(row, usedRows), buildHoldsToken(b, entry));
}

/// Calls `live` for the warp's live rows below `end` and `dead`, if given, for its
/// others. `firstEntry` is the lane's map entry for the first 32 rows.
void KernelBody::forEachRow(Value firstEntry, Value end, function_ref<void(Value)> live,
                            function_ref<void(Value)> dead) {
  Value stride = buildMul(b, warps, Schedule::kLanes);
  Value laneOffset = buildMul(b, laneIndex, warps);
  auto loop = scf::ForOp::create(b, warp, end, stride, ValueRange{firstEntry});
  keepRolled(loop);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value base = loop.getInductionVar();
  Value row = buildAdd(b, base, laneOffset);
  // The next 32 entries are on their way while these rows are computed.
  Value nextEntry = loadMapEntry(buildAdd(b, row, stride));

  auto vote = [&](Value condition) -> Value {
    Value allLanes = buildI32(-1);
    return NVVM::VoteSyncOp::create(b, b.getI32Type(), allLanes, condition,
                                    NVVM::VoteSyncKind::ballot);
  };
  auto rowOfBit = [&](Value bit) { return buildAdd(b, base, buildMul(b, bit, warps)); };
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

/// Calls `body` with the index of each set bit of the i32 `bits`.
void KernelBody::forEachBit(Value bits, function_ref<void(Value)> body) {
  Type i32 = b.getI32Type();
  auto loop = scf::WhileOp::create(b, TypeRange(i32), ValueRange(bits));
  OpBuilder::InsertionGuard guard(b);
  b.createBlock(&loop.getBefore(), {}, {i32}, {b.getLoc()});
  Value rest = loop.getBeforeArguments().front();
  Value zero = buildI32(0);
  Value isMore = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, rest, zero);
  scf::ConditionOp::create(b, isMore, rest);

  b.createBlock(&loop.getAfter(), {}, {i32}, {b.getLoc()});
  rest = loop.getAfterArguments().front();
  Value bit = math::CountTrailingZerosOp::create(b, rest);
  body(toIndex(bit));
  Value one = buildI32(1);
  Value withoutBit = arith::AndIOp::create(b, rest, arith::SubIOp::create(b, rest, one));
  scf::YieldOp::create(b, withoutBit);
}

//===----------------------------------------------------------------------===//
// Chunks of a row
//===----------------------------------------------------------------------===//

void KernelBody::forEachChunk(function_ref<void(Value)> body) {
  buildFor(firstChunk, chunks, chunkStride, body);
}

/// Which of the row's vectors `lane` has in step `step` of `chunk`.
Value KernelBody::vectorOfStep(Value chunk, Value step, Value lane) {
  Value first = buildMul(b, chunk, Schedule::kLanes * schedule.stepsPerChunk);
  Value inChunk = buildAdd(b, buildMul(b, step, Schedule::kLanes), lane);
  return buildAdd(b, first, inChunk);
}

Value KernelBody::isInRow(Value vector) {
  return hasWholeChunks ? Value() : lessThan(vector, vectors);
}

SmallVector<KernelBody::Fragment> KernelBody::loadActivation(Value row, Value chunk) {
  auto type = VectorType::get(schedule.elementsPerLane, b.getBF16Type());
  SmallVector<Fragment> fragments;
  for (int64_t step = 0; step < schedule.stepsPerChunk; ++step) {
    Value vector = vectorOfStep(chunk, buildI32(step), lane);
    Value valid = isInRow(vector);
    Value loaded = vector;
    if (valid) {
      // Lanes past the end of the row load its last vector: a load under a condition
      // would sink to its first use, and the loads would no longer overlap.
      Value last = arith::SubIOp::create(b, vectors, buildI32(1));
      loaded = arith::MinUIOp::create(b, vector, last);
    }
    Value column = toIndex(buildMul(b, loaded, schedule.elementsPerLane));
    Value elements =
        vector::LoadOp::create(b, type, x, ValueRange{row, column},
                               /*nontemporal=*/false, alignment(schedule.accessBytes()));
    fragments.push_back({elements, vector, valid});
  }
  for (Fragment &fragment : fragments)
    fragment.elements = op.buildActivation(b, b.getLoc(), fragment.elements);
  return fragments;
}

void KernelBody::buildActivationRow(Value row) {
  forEachChunk([&](Value chunk) {
    for (const Fragment &fragment : loadActivation(row, chunk)) {
      buildIf(fragment.isInRow, [&] {
        Value column = toIndex(buildMul(b, fragment.vector, schedule.elementsPerLane));
        vector::StoreOp::create(b, fragment.elements, out, ValueRange{row, column},
                                /*nontemporal=*/false, alignment(schedule.accessBytes()));
      });
    }
  });
}

//===----------------------------------------------------------------------===//
// Quantisation
//===----------------------------------------------------------------------===//

void KernelBody::buildQuantizedRow(Value row) {
  forEachChunk([&](Value chunk) {
    SmallVector<Fragment> fragments = loadActivation(row, chunk);
    Value exponents = buildScaleExponent(b, buildGroupMaxima(fragments));
    Value factors = buildScaleFactor(b, exponents);
    SmallVector<Value> data;
    for (auto [step, fragment] : llvm::enumerate(fragments))
      data.push_back(buildQuantizedFragment(b, fragment.elements,
                                            vector::ExtractOp::create(b, factors, step)));
    storeData(row, chunk, fragments, data);
    storeScales(row, chunk, exponents);
  });
}

/// The greatest magnitude of the lane's group in each step, a vector of bf16. For groups
/// past the end of the row it is 0, whose exponent is what the padding columns of the
/// last column tile hold.
Value KernelBody::buildGroupMaxima(ArrayRef<Fragment> fragments) {
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

void KernelBody::storeData(Value row, Value chunk, ArrayRef<Fragment> fragments,
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
void KernelBody::storeExchangedPair(Value row, Value chunk, int64_t step, Value first,
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

/// Stores the chunk's scales, one a lane: every lane of a group knows the exponents of
/// all steps, and each stores that of another step.
void KernelBody::storeScales(Value row, Value chunk, Value exponents) {
  Value step = buildRem(b, lane, schedule.lanesPerGroup());
  Value exponent = vector::ExtractOp::create(b, exponents, 0);
  for (int64_t i = 1; i < schedule.stepsPerChunk; ++i) {
    Value isStep = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, step, buildI32(i));
    exponent = arith::SelectOp::create(
        b, isStep, vector::ExtractOp::create(b, exponents, i), exponent);
  }
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

SmallVector<Value> KernelBody::scaleIndices(Value row, Value group) {
  if (quantize.getScaleLayout() == ScaleLayout::Linear)
    return {row, toIndex(group)};
  Value tile = toIndex(buildDiv(b, group, kScaleTileColumns));
  Value inTile = toIndex(buildRem(b, group, kScaleTileColumns));
  Value column = buildAdd(b, buildMul(b, tile, kScaleTileBytes), inTile);
  return {buildAdd(b, buildSwizzledRowOffset(b, row, toIndex(columnTiles)), column)};
}

//===----------------------------------------------------------------------===//
// Scales of rows that are not live
//===----------------------------------------------------------------------===//

/// Clears the scales of rows that are not live, a warp for each row tile and chunk of
/// columns. Lane l has the rows l, l + 32, l + 64 and l + 96 of the tile, whose scales
/// share 16 bytes: most often none of them is live, and one store clears all.
void KernelBody::clearDeadRowTiles() {
  constexpr int64_t rowsPerLane = kScaleTileRows / Schedule::kLanes;
  buildFor(warp, buildRowTileCount(b, rows), warps, [&](Value tile) {
    SmallVector<Value> entries, tileRows;
    for (int64_t i = 0; i < rowsPerLane; ++i) {
      Value inTile = buildAdd(b, laneIndex, i * Schedule::kLanes);
      tileRows.push_back(buildAdd(b, buildMul(b, tile, kScaleTileRows), inTile));
      entries.push_back(loadMapEntry(tileRows.back()));
    }
    SmallVector<Value> lives;
    Value anyLive = arith::ConstantIntOp::create(b, 0, 1);
    for (auto [row, entry] : llvm::zip_equal(tileRows, entries)) {
      lives.push_back(isLive(row, entry));
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
    int64_t tilesPerChunk = schedule.groupsPerChunk() / kScaleTileColumns;
    forEachChunk([&](Value chunk) {
      Value begin = buildMul(b, chunk, tilesPerChunk);
      Value end =
          arith::MinUIOp::create(b, buildAdd(b, begin, tilesPerChunk), columnTiles);
      buildFor(begin, end, buildI32(1), [&](Value columnTile) {
        Value offset =
            buildAdd(b, laneOffset, buildMul(b, toIndex(columnTile), kScaleTileBytes));
        buildIf(
            anyLive,
            [&] {
              for (int64_t i = 0; i < rowsPerLane; ++i)
                buildIf(
                    lives[i], [] {},
                    [&] {
                      Value word = buildAdd(b, offset, i * kScaleTileColumns);
                      storeZeros(word, kScaleTileColumns);
                    });
            },
            [&] { storeZeros(offset, Schedule::kZeroStoreBytes); });
      });
    });
  });
}

/// Clears the scales of one row, byte by byte.
void KernelBody::clearScaleRow(Value row) {
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

//===----------------------------------------------------------------------===//
// Small things
//===----------------------------------------------------------------------===//

/// Builds `then` unconditionally if `condition` is null.
void KernelBody::buildIf(Value condition, function_ref<void()> then,
                         function_ref<void()> otherwise) {
  if (!condition)
    return then();
  auto ifOp = scf::IfOp::create(b, condition, /*withElseRegion=*/bool(otherwise));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  then();
  if (otherwise) {
    b.setInsertionPointToStart(ifOp.elseBlock());
    otherwise();
  }
}

void KernelBody::buildFor(Value begin, Value end, Value step,
                          function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, begin, end, step);
  keepRolled(loop);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

/// Keeps LLVM from unrolling: a chunk has all the loads in flight that pay, so copies of
/// a body would only cost compile time and instruction cache.
void KernelBody::keepRolled(scf::ForOp loop) {
  auto unroll = LLVM::LoopUnrollAttr::get(
      b.getContext(), /*disable=*/b.getBoolAttr(true), /*count=*/{},
      /*runtimeDisable=*/{}, /*full=*/{}, /*followupUnrolled=*/{},
      /*followupRemainder=*/{}, /*followupAll=*/{});
  loop->setAttr("llvm.loop_annotation",
                LLVM::LoopAnnotationAttr::get(b.getContext(), {}, {}, {}, unroll, {}, {},
                                              {}, {}, {}, {}, {}, {}, {}, {}, {}));
}

Value KernelBody::lessThan(Value lhs, Value rhs) {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, lhs, rhs);
}

Value KernelBody::shuffleXor(Value word, int64_t offset) {
  return gpu::ShuffleOp::create(b, word, offset, Schedule::kLanes, gpu::ShuffleMode::XOR)
      .getShuffleResult();
}

void mlir::moe::buildKernelBody(ImplicitLocOpBuilder &b, PaddingAwareOpInterface op,
                                ValueRange arguments, const Schedule &schedule) {
  KernelBody(b, op, arguments, schedule).build();
}
