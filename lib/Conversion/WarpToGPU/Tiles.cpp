//===- Tiles.cpp - Scales of rows that are not live -----------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The walk over row tiles, and what it clears.
//
//===----------------------------------------------------------------------===//

#include "KernelLowering.h"

#include "../GroupArithmetic.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

static Value buildFirstRow(ImplicitLocOpBuilder &b, KernelLowering &kernel, Value tile) {
  return buildAdd(b, buildMul(b, tile, kScaleTileRows), toIndex(b, kernel.getLane(b)));
}

SmallVector<Value> warp::buildTileEntries(ImplicitLocOpBuilder &b, KernelLowering &kernel,
                                          Value map, Value rows, Value tile) {
  Value firstRow = buildFirstRow(b, kernel, tile);
  SmallVector<Value> entries;
  for (int64_t i = 0; i < kRowsPerQuad; ++i)
    entries.push_back(buildMapEntry(b, map, rows, buildAdd(b, firstRow, i * kLanes)));
  return entries;
}

void warp::lower(LoadTileEntriesOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  kernel.setParts(op.getEntries(),
                  buildTileEntries(b, kernel, op.getMap(), op.getRows(), kernel.warp));
}

void warp::lower(ForRowTileOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value rows = op.getRows();
  Value usedRows = buildUsedRowCount(b, op.getUsed(), rows);
  auto loop =
      keepRolled(scf::ForOp::create(b, kernel.warp, buildRowTileCount(b, rows),
                                    kernel.warps, kernel.getParts(b, op.getEntries())));
  b.setInsertionPointToStart(loop.getBody());
  Value tile = loop.getInductionVar();
  Value nextTile = buildAdd(b, tile, kernel.warps);
  SmallVector<Value> nextEntries =
      buildLoadIf(b, buildLess(b, nextTile, loop.getUpperBound()), kRowsPerQuad, [&] {
        return buildTileEntries(b, kernel, op.getMap(), rows, nextTile);
      });
  Value firstRow = buildFirstRow(b, kernel, tile);
  SmallVector<Value> lives;
  for (auto [i, entry] : llvm::enumerate(loop.getRegionIterArgs())) {
    Value isUsed = buildLess(b, buildAdd(b, firstRow, i * kLanes), usedRows);
    lives.push_back(
        arith::AndIOp::create(b, isUsed, buildHoldsToken(b, entry, op.getTokens())));
  }
  kernel.setParts(op.getBody().getArgument(1), lives);
  kernel.inlineBody(b, op.getBody(), {tile, Value()});
  scf::YieldOp::create(b, nextEntries);
}

void warp::lower(ClearDeadQuadsOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  const ChunkShape &shape = kernel.getChunk(op.getChunk());
  SmallVector<Value> lives = kernel.getParts(b, op.getLive());
  SmallVector<Value> operands = lives;
  operands.push_back(op.getTile());
  ImplicitLocOpBuilder early = beforeChunks(op, op.getChunk(), operands);
  Value anyLive = arith::ConstantIntOp::create(early, 0, 1);
  for (Value live : lives)
    anyLive = arith::OrIOp::create(early, anyLive, live);
  Value columnTiles = getColumnTiles(kernel, shape, op.getFormat());
  Value tileOffset = buildMul(
      early, buildMul(early, op.getTile(), toIndex(early, columnTiles)), kScaleTileBytes);
  Value laneIndex = toIndex(early, kernel.getLane(early));
  Value laneOffset =
      buildAdd(early, tileOffset, buildMul(early, laneIndex, int64_t(op.getBytes())));
  auto storeZeros = [&](Value offset, int64_t bytes) {
    vector::StoreOp::create(b, buildZeroScales(b, bytes, op.getFormat().getScaleType()),
                            op.getScale(), offset,
                            /*nontemporal=*/false, llvm::MaybeAlign(bytes));
  };
  int64_t tilesPerChunk = shape.groupsPerChunk(op.getFormat()) / kScaleTileColumns;
  Value begin = buildMul(b, op.getChunk(), tilesPerChunk);
  // Not a loop, which would take longer to count than to store.
  auto clearQuads = [&] {
    Value offset =
        buildAdd(b, laneOffset, buildMul(b, toIndex(b, begin), kScaleTileBytes));
    for (int64_t i = 0; i < tilesPerChunk; ++i) {
      Value isInRow;
      if (!shape.isWhole)
        isInRow = buildLess(b, buildAdd(b, begin, i), columnTiles);
      buildIfAny(b, isInRow, [&] {
        storeZeros(buildAdd(b, offset, i * kScaleTileBytes), op.getBytes());
      });
    }
  };
  auto clearSingleRows = [&] {
    Value end = arith::MinUIOp::create(b, buildAdd(b, begin, tilesPerChunk), columnTiles);
    auto loop = keepRolled(scf::ForOp::create(b, begin, end, buildI32(b, 1)));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    Value offset = buildAdd(
        b, laneOffset, buildMul(b, toIndex(b, loop.getInductionVar()), kScaleTileBytes));
    for (int64_t i = 0; i < kRowsPerQuad; ++i)
      mlir::moe::buildIf(
          b, lives[i], [] {},
          [&] {
            storeZeros(buildAdd(b, offset, i * kScaleTileColumns), kScaleTileColumns);
          });
  };
  mlir::moe::buildIf(
      b, anyLive,
      [&] {
        mlir::moe::buildIf(
            b, kernel.getQuadWalk(op.getRows()).ownsQuads, [] {}, clearSingleRows);
      },
      clearQuads);
}
