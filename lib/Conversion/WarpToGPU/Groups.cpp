//===- Groups.cpp - Groups and their scales -------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// How the lanes of a group agree on its scale, and where the scales of single rows go.
//
//===----------------------------------------------------------------------===//

#include "KernelLowering.h"

#include "../GroupArithmetic.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

// The lanes of a group share its elements in every step of a chunk. Each of them computes
// the scale of its group in one step, its own, and the others get the factor from it.

Value warp::buildOwnStep(ImplicitLocOpBuilder &b, const ChunkShape &shape, Value lane) {
  return buildRem(b, lane, shape.steps);
}

Value warp::buildOwnGroup(ImplicitLocOpBuilder &b, const ChunkShape &shape,
                          BlockFormatAttrInterface format, Value lane, Value chunk) {
  int64_t groupsPerStep = shape.stepColumns() / format.getGroupSize();
  Value inStep = buildDiv(b, lane, shape.lanesPerGroup(format));
  Value inChunk =
      buildAdd(b, buildMul(b, buildOwnStep(b, shape, lane), groupsPerStep), inStep);
  return buildAdd(b, buildMul(b, chunk, shape.groupsPerChunk(format)), inChunk);
}

Value warp::buildPaddedCode(Operation *op, KernelLowering &kernel,
                            BlockFormatAttrInterface format, Value chunk, Value code) {
  const ChunkShape &shape = kernel.getChunk(chunk);
  if (shape.isWhole)
    return code;
  ImplicitLocOpBuilder b(op->getLoc(), op);
  if (code.getDefiningOp() && code.getParentBlock() == op->getBlock())
    b.setInsertionPointAfterValue(code);
  Value group = buildOwnGroup(b, shape, format, kernel.getLane(b), chunk);
  Value isInRow =
      buildLess(b, group, kernel.getQuotient(shape.columns, format.getGroupSize()));
  return buildSelect(b, isInRow, code, buildI32(b, 0));
}

Value warp::getColumnTiles(KernelLowering &kernel, const ChunkShape &shape,
                           BlockFormatAttrInterface format) {
  return kernel.getCeilQuotient(shape.columns, format.getGroupSize() * kScaleTileColumns);
}

static Value buildIsLaneBitSet(ImplicitLocOpBuilder &b, Value lane, int64_t bit) {
  return buildNotZero(b, arith::AndIOp::create(b, lane, buildI32(b, bit)));
}

void warp::lower(GroupMaximumOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value lane = kernel.getLane(b);
  int64_t lanesPerGroup =
      op.getFormat().getGroupSize() / op.getFragment().getType().getDimSize(1);
  // Maxima of two steps travel in one word.
  auto pairType = VectorType::get(2, b.getBF16Type());
  auto wordType = VectorType::get(1, b.getI32Type());
  auto exchange = [&](Value pair, int64_t offset) -> Value {
    Value word = vector::BitCastOp::create(b, wordType, pair);
    Value other = buildShuffleXor(b, vector::ExtractOp::create(b, word, 0), offset);
    return vector::BitCastOp::create(b, pairType,
                                     vector::FromElementsOp::create(b, wordType, other));
  };
  SmallVector<Value> parts = kernel.getParts(b, op.getFragment());
  SmallVector<Value> pairs;
  for (size_t step = 0; step < parts.size(); step += 2)
    pairs.push_back(
        buildFragmentMaxima(b, parts[step], parts[step + 1], op.getNonNegative()));

  // Half of the pairs go to the lane on the other side of a bit, for as many of its own.
  // At the end a lane has the pair of its own step.
  int64_t pairBits = 0;
  while (pairs.size() > 1) {
    size_t half = pairs.size() / 2;
    int64_t offset = pairs.size();
    pairBits |= offset;
    Value isUpper = buildIsLaneBitSet(b, lane, offset);
    for (size_t i = 0; i < half; ++i) {
      Value kept = buildSelect(b, isUpper, pairs[half + i], pairs[i]);
      Value sent = buildSelect(b, isUpper, pairs[i], pairs[half + i]);
      pairs[i] = arith::MaxNumFOp::create(b, kept, exchange(sent, offset));
    }
    pairs.truncate(half);
  }
  Value pair = pairs.front();
  for (int64_t offset = 1; offset < lanesPerGroup; offset *= 2)
    if ((pairBits & offset) == 0)
      pair = arith::MaxNumFOp::create(b, pair, exchange(pair, offset));
  op.replaceAllUsesWith(buildSelect(b, buildIsLaneBitSet(b, lane, 1),
                                    vector::ExtractOp::create(b, pair, 1),
                                    vector::ExtractOp::create(b, pair, 0)));
}

void warp::lower(ScaleCodeOp op, KernelLowering &) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  op.replaceAllUsesWith(op.getFormat().buildScaleCode(b, op.getMaximum()));
}

/// Of the factors (bf16) that the lanes have for their own groups, the one for the lane's
/// group in step `step`.
static Value buildFactorOfStep(ImplicitLocOpBuilder &b, Value factor, int64_t step,
                               int64_t lanesPerGroup) {
  Value bits = arith::BitcastOp::create(b, b.getI16Type(), factor);
  Value word = arith::ExtUIOp::create(b, b.getI32Type(), bits);
  // Among the lanes of a group, from the one with that step.
  int64_t segment = kLanes - lanesPerGroup;
  Value clamp = buildI32(b, segment << 8 | (kLanes - 1));
  word = NVVM::ShflOp::create(b, b.getI32Type(), buildI32(b, -1), word, buildI32(b, step),
                              clamp, NVVM::ShflKind::idx,
                              /*return_value_and_is_valid=*/{});
  bits = arith::TruncIOp::create(b, b.getI16Type(), word);
  return arith::BitcastOp::create(b, b.getBF16Type(), bits);
}

void warp::lower(QuantizeOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  BlockFormatAttrInterface format = op.getFormat();
  int64_t lanesPerGroup =
      format.getGroupSize() / op.getFragment().getType().getDimSize(1);
  SmallVector<Value> parts = kernel.getParts(b, op.getFragment());
  Value factor = format.buildFactor(b, op.getCode());
  SmallVector<Value> factors;
  for (size_t step = 0; step < parts.size(); ++step)
    factors.push_back(buildFactorOfStep(b, factor, step, lanesPerGroup));
  auto buildPart = [=](ImplicitLocOpBuilder &b, int64_t step) {
    return format.buildElements(b, parts[step], factors[step]);
  };
  Operation *user = op->hasOneUse() ? *op->user_begin() : nullptr;
  if (isa_and_nonnull<StoreOp>(user) && user->getBlock() == op->getBlock())
    return kernel.deferParts(op.getData(), buildPart);
  for (auto [step, part] : llvm::enumerate(parts))
    factors[step] = buildPart(b, step);
  kernel.setParts(op.getData(), factors);
}

/// How many columns of scales a row has.
static Value getScaleColumns(KernelLowering &kernel, ImplicitLocOpBuilder &b,
                             const ChunkShape &shape, BlockFormatAttrInterface format) {
  if (format.getScaleLayout() == ScaleLayout::Linear)
    return kernel.getQuotient(shape.columns, format.getGroupSize());
  return buildMul(b, getColumnTiles(kernel, shape, format), kScaleTileColumns);
}

static SmallVector<Value> buildScaleIndices(KernelLowering &kernel,
                                            ImplicitLocOpBuilder &b,
                                            const ChunkShape &shape,
                                            BlockFormatAttrInterface format, Value row,
                                            Value group) {
  if (format.getScaleLayout() == ScaleLayout::Linear)
    return {row, toIndex(b, group)};
  Value tiles = getColumnTiles(kernel, shape, format);
  Value tile = toIndex(b, buildDiv(b, group, kScaleTileColumns));
  Value inTile = toIndex(b, buildRem(b, group, kScaleTileColumns));
  Value column = buildAdd(b, buildMul(b, tile, kScaleTileBytes), inTile);
  return {buildAdd(b, buildSwizzledRowOffset(b, row, toIndex(b, tiles)), column)};
}

void warp::lower(StoreScaleOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  const ChunkShape &shape = kernel.getChunk(op.getChunk());
  BlockFormatAttrInterface format = op.getFormat();
  Value lane = kernel.getLane(b);
  Value code = buildPaddedCode(op, kernel, format, op.getChunk(), op.getCode());
  Value group = buildOwnGroup(b, shape, format, lane, op.getChunk());
  auto store = [&] {
    Value isInRow;
    if (!shape.isWhole)
      isInRow = buildLess(b, group, getScaleColumns(kernel, b, shape, format));
    buildIfAny(b, isInRow, [&] {
      memref::StoreOp::create(
          b, buildScale(b, code, format.getScaleType()), op.getScale(),
          buildScaleIndices(kernel, b, shape, format, op.getRow(), group));
    });
  };
  // More lanes share a group than there are steps: not every lane has a scale to store.
  if (shape.lanesPerGroup(format) == shape.steps)
    return store();
  Value inGroup = buildRem(b, lane, shape.lanesPerGroup(format));
  mlir::moe::buildIf(b, buildLess(b, inGroup, buildI32(b, shape.steps)), store);
}

void warp::lower(ClearScalesOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  const ChunkShape &shape = kernel.getChunk(op.getChunk());
  BlockFormatAttrInterface format = op.getFormat();
  int64_t groups = shape.groupsPerChunk(format);
  Value lane = kernel.getLane(b);
  Value group = buildAdd(b, buildMul(b, op.getChunk(), groups), lane);
  auto store = [&] {
    Value columns = getScaleColumns(kernel, b, shape, format);
    mlir::moe::buildIf(b, buildLess(b, group, columns), [&] {
      vector::StoreOp::create(
          b, buildZeroScales(b, 1, format.getScaleType()), op.getScale(),
          buildScaleIndices(kernel, b, shape, format, op.getRow(), group));
    });
  };
  if (groups >= kLanes)
    return store();
  mlir::moe::buildIf(b, buildLess(b, lane, buildI32(b, groups)), store);
}
