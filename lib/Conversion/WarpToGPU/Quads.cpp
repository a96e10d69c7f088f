//===- Quads.cpp - Rows by quads ------------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The scales of the rows r, r + 32, r + 64 and r + 96 of a row tile, a quad, are
// neighbours. A warp that has all four stores 16 bytes at once where single rows would
// make four partial writes; and it clears the scales of those that are not live on the
// way.
//
// Slots number the rows so that a quad has four consecutive ones: in a row tile, slot
// 4 * r + i is row r + 32 * i.
//
//===----------------------------------------------------------------------===//

#include "KernelLowering.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

Value warp::buildRowOfSlot(ImplicitLocOpBuilder &b, Value slot) {
  Value inTile = buildRem(b, slot, kScaleTileRows);
  Value tile = arith::SubIOp::create(b, slot, inTile);
  Value quad = buildDiv(b, inTile, kRowsPerQuad);
  Value inQuad = buildMul(b, buildRem(b, slot, kRowsPerQuad), kLanes);
  return buildAdd(b, buildAdd(b, tile, quad), inQuad);
}

static Value buildAllRows(ImplicitLocOpBuilder &b) {
  return buildI32(b, (1 << kRowsPerQuad) - 1);
}

void warp::lower(ForLiveQuadOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value rows = op.getRows();
  const QuadWalk walk = kernel.getQuadWalk(rows);
  Value usedRows = toI32(b, buildUsedRowCount(b, op.getUsed(), rows));
  Value end = buildMul(b, buildRowTileCount(b, usedRows), kScaleTileRows);
  auto loop = keepRolled(scf::ForOp::create(b, walk.firstBase, end, walk.stride,
                                            ValueRange{op.getEntries()},
                                            /*bodyBuilder=*/nullptr,
                                            /*unsignedCmp=*/true));
  b.setInsertionPointToStart(loop.getBody());
  Value base = loop.getInductionVar();
  Value slot = buildAdd(b, base, walk.laneOffset);
  // The next 32 entries are on their way while these rows are computed.
  Value hasNext = arith::CmpIOp::create(b, arith::CmpIPredicate::ult,
                                        buildAdd(b, base, walk.stride), end);
  SmallVector<Value> nextEntry = buildLoadIf(b, hasNext, 1, [&] {
    Value next = buildRowOfSlot(b, buildAdd(b, slot, walk.stride));
    return SmallVector<Value>{buildMapEntry(b, op.getMap(), rows, toIndex(b, next))};
  });
  Value isUsed = arith::CmpIOp::create(b, arith::CmpIPredicate::ult,
                                       buildRowOfSlot(b, slot), usedRows);
  Value entry = loop.getRegionIterArg(0);
  Value holdsToken = buildHoldsToken(b, entry, op.getTokens());
  Value liveLanes = buildVote(b, arith::AndIOp::create(b, isUsed, holdsToken));
  buildWhileNotZero(b, {liveLanes}, [&](ValueRange values) -> SmallVector<Value> {
    Value rest = values.front();
    Value bit = math::CountTrailingZerosOp::create(b, rest);
    // The run of the first live row, and those of its rows that are live.
    Value first =
        arith::SubIOp::create(b, bit, arith::AndIOp::create(b, bit, walk.inRunMask));
    Value rowsOfRun = buildSelect(b, walk.ownsQuads, buildAllRows(b), buildI32(b, 1));
    Value live =
        arith::AndIOp::create(b, arith::ShRUIOp::create(b, rest, first), rowsOfRun);
    Value runSlot = buildAdd(b, base, buildMul(b, first, kernel.warps32));
    Value inQuad = buildRem(b, runSlot, kRowsPerQuad);
    Value firstRow = buildRowOfSlot(b, arith::SubIOp::create(b, runSlot, inQuad));
    SmallVector<Value> arguments = {firstRow, arith::ShLIOp::create(b, live, inQuad)};
    if (op.getTokens()) {
      // Where the run is but one row, the other lanes have no entry of the quad.
      Value lane = buildRem(b, kernel.getLane(b), kRowsPerQuad);
      Value source = buildAdd(b, arith::SubIOp::create(b, first, inQuad), lane);
      arguments.push_back(buildShuffleFrom(b, entry, source));
    }
    kernel.inlineBody(b, op.getBody(), arguments);
    return {arith::XOrIOp::create(b, rest, arith::ShLIOp::create(b, live, first))};
  });
  scf::YieldOp::create(b, nextEntry);
}

/// Which of a quad's rows the lane stores the scales of.
static Value buildRowOfLane(ImplicitLocOpBuilder &b, Value lane, int64_t lanesPerGroup) {
  return buildRem(b, buildDiv(b, lane, lanesPerGroup), kRowsPerQuad);
}

/// Lanes that share a group in the chunks around `op`.
static int64_t getLanesPerGroup(ForRowOfQuadOp op, KernelLowering &kernel) {
  int64_t lanes = 0;
  op.getBody().walk([&](PackScalesOp pack) {
    lanes = kernel.getChunk(pack.getChunk()).lanesPerGroup(pack.getFormat());
  });
  return lanes;
}

void warp::lower(ForRowOfQuadOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  int64_t lanesPerGroup = getLanesPerGroup(op, kernel);
  SmallVector<Value> init = {op.getLive(), buildI32(b, 0)};
  auto results = buildWhileNotZero(b, init, [&](ValueRange values) -> SmallVector<Value> {
    auto [rest, words] = std::make_pair(values[0], values[1]);
    Value inQuad = math::CountTrailingZerosOp::create(b, rest);
    Value row = buildAdd(b, op.getFirst(), buildMul(b, inQuad, kLanes));
    kernel.recomputeLane(b);
    SmallVector<Value> arguments = {toIndex(b, row)};
    if (op.getEntries())
      arguments.push_back(toIndex(b, buildShuffleFrom(b, op.getEntries(), inQuad)));
    Value packed = kernel.inlineBody(b, op.getBody(), arguments).front();
    Value isOwn =
        arith::CmpIOp::create(b, arith::CmpIPredicate::eq, inQuad,
                              buildRowOfLane(b, kernel.getLane(b), lanesPerGroup));
    return {clearLowestBit(b, rest), buildSelect(b, isOwn, packed, words)};
  });
  op.replaceAllUsesWith(results[1]);
}

/// The lanes that have the four scales of a column tile differ in two bits, and all four
/// get them.
void warp::lower(PackScalesOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  int64_t lanes = kernel.getChunk(op.getChunk()).lanesPerGroup(op.getFormat());
  Value code = buildPaddedCode(op, kernel, op.getFormat(), op.getChunk(), op.getCode());
  Value inTile = buildRem(b, buildDiv(b, kernel.getLane(b), lanes), kScaleTileColumns);
  Value packed = arith::ShLIOp::create(b, code, buildMul(b, inTile, 8));
  for (int64_t offset : {lanes, 2 * lanes})
    packed = arith::OrIOp::create(b, packed, buildShuffleXor(b, packed, offset));
  op.replaceAllUsesWith(packed);
}

void warp::lower(StoreQuadScalesOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  const ChunkShape &shape = kernel.getChunk(op.getChunk());
  Value lane = recompute(b, kernel.getLane(b));
  Value firstRow = recompute(b, op.getFirst());
  Value storedRows = op.getLive();
  if (op.getDead()) {
    ImplicitLocOpBuilder early = beforeChunks(op, op.getChunk(), op.getLive());
    storedRows = buildSelect(early, kernel.getQuadWalk(op.getRows()).ownsQuads,
                             buildAllRows(early), storedRows);
  }
  BlockFormatAttrInterface format = op.getFormat();
  int64_t lanes = shape.lanesPerGroup(format);
  int64_t tilesPerStep = shape.stepColumns() / format.getGroupSize() / kScaleTileColumns;
  int64_t tilesPerChunk = shape.groupsPerChunk(format) / kScaleTileColumns;
  Value columnTiles = getColumnTiles(kernel, shape, format);
  Value ownRow = buildRowOfLane(b, lane, lanes);
  Value inStep = buildDiv(b, lane, lanes * kScaleTileColumns);
  Value tile = buildAdd(
      b, buildMul(b, op.getChunk(), tilesPerChunk),
      buildAdd(b, buildMul(b, buildOwnStep(b, shape, lane), tilesPerStep), inStep));
  Value bit = arith::AndIOp::create(b, arith::ShRUIOp::create(b, storedRows, ownRow),
                                    buildI32(b, 1));
  Value isStored = buildNotZero(b, bit);
  if (!shape.isWhole)
    isStored = arith::AndIOp::create(b, isStored, buildLess(b, tile, columnTiles));
  mlir::moe::buildIf(b, isStored, [&] {
    auto bytesType = VectorType::get(kScaleTileColumns, b.getI8Type());
    Value word = vector::FromElementsOp::create(b, VectorType::get(1, b.getI32Type()),
                                                op.getWord());
    Value scales =
        arith::BitcastOp::create(b, bytesType.clone(format.getScaleType()),
                                 vector::BitCastOp::create(b, bytesType, word));
    Value offset =
        buildSwizzledRowOffset(b, toIndex(b, firstRow), toIndex(b, columnTiles));
    offset = buildAdd(b, offset, buildMul(b, toIndex(b, ownRow), kScaleTileColumns));
    offset = buildAdd(b, offset, buildMul(b, toIndex(b, tile), kScaleTileBytes));
    vector::StoreOp::create(b, scales, op.getScale(), offset, /*nontemporal=*/false,
                            llvm::MaybeAlign(kScaleTileColumns));
  });
}
