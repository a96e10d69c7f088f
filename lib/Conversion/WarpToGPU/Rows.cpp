//===- Rows.cpp - Which rows a warp has -----------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Map entries, votes, and the walk over rows one by one.
//
//===----------------------------------------------------------------------===//

#include "KernelLowering.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

void warp::lower(WaitForPredecessorOp op, KernelLowering &) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  buildWaitForPredecessor(b);
}

void warp::lower(LoadEntriesOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value row;
  if (op.getQuads()) {
    const QuadWalk &walk = kernel.getQuadWalk(op.getRows());
    row = toIndex(b, buildRowOfSlot(b, buildAdd(b, walk.firstBase, walk.laneOffset)));
  } else {
    row = buildAdd(b, kernel.warp, kernel.warpsTimes(b, kernel.getLane(b)));
  }
  op.replaceAllUsesWith(buildMapEntry(b, op.getMap(), op.getRows(), row));
}

void warp::lower(LoadUsedRowsOp op, KernelLowering &) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  op.replaceAllUsesWith(buildUsedRowLoad(b, op.getNUsed()));
}

/// Calls `body` with the number (i32) of each set bit of the i32 `bits`.
static void buildForEachBit(ImplicitLocOpBuilder &b, Value bits,
                            function_ref<void(Value)> body) {
  buildWhileNotZero(b, {bits}, [&](ValueRange rest) -> SmallVector<Value> {
    body(math::CountTrailingZerosOp::create(b, rest.front()));
    return {clearLowestBit(b, rest.front())};
  });
}

void warp::lower(ForLiveRowOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Value rows = op.getRows();
  Value usedRows = buildUsedRowCount(b, op.getUsed(), rows);
  Value end = op.getEnd() ? op.getEnd() : usedRows;
  Value stride = buildMul(b, kernel.warps, kLanes);
  Value laneOffset = kernel.warpsTimes(b, kernel.getLane(b));
  auto loop = keepRolled(
      scf::ForOp::create(b, kernel.warp, end, stride, ValueRange{op.getEntries()}));
  b.setInsertionPointToStart(loop.getBody());
  Value base = loop.getInductionVar();
  Value row = buildAdd(b, base, laneOffset);
  // The next 32 entries are on their way while these rows are computed.
  SmallVector<Value> nextEntry =
      buildLoadIf(b, buildLess(b, buildAdd(b, base, stride), end), 1, [&] {
        return SmallVector<Value>{
            buildMapEntry(b, op.getMap(), rows, buildAdd(b, row, stride))};
      });

  auto rowOfBit = [&](Value bit) { return buildAdd(b, base, kernel.warpsTimes(b, bit)); };
  Value entry = loop.getRegionIterArg(0);
  Value isLive = arith::AndIOp::create(b, buildLess(b, row, usedRows),
                                       buildHoldsToken(b, entry, op.getTokens()));
  buildForEachBit(b, buildVote(b, isLive), [&](Value bit) {
    SmallVector<Value> arguments = {rowOfBit(bit)};
    if (op.getTokens()) // From the lane that has the entry.
      arguments.push_back(toIndex(b, buildShuffleFrom(b, entry, bit)));
    kernel.inlineBody(b, op.getBody(), arguments);
  });
  if (!op.getDead().empty()) {
    Value yes = arith::ConstantIntOp::create(b, 1, 1);
    Value isDead = arith::AndIOp::create(b, buildLess(b, row, end),
                                         arith::XOrIOp::create(b, isLive, yes));
    buildForEachBit(b, buildVote(b, isDead), [&](Value bit) {
      kernel.inlineBody(b, op.getDead(), rowOfBit(bit));
    });
  }
  scf::YieldOp::create(b, nextEntry);
}

//===----------------------------------------------------------------------===//
// Small inputs
//===----------------------------------------------------------------------===//

void warp::lower(IsSmallOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  constexpr int64_t kElementBytes = 2;
  Value isOneRow =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ule, op.getRows(), kernel.warps);
  Value vectors = kernel.getQuotient(op.getColumns(), op.getElements());
  Value vectorsOfX = buildMul(b, op.getRows(), toIndex(b, vectors));
  Value isFew = arith::CmpIOp::create(
      b, arith::CmpIPredicate::ule, vectorsOfX,
      buildIndex(b, op.getBytes() / (kElementBytes * op.getElements())));
  // Where nearly all rows are live, none is loaded in vain.
  Value isCheap = arith::OrIOp::create(b, isFew, kernel.isDense);
  Value isSmall = arith::AndIOp::create(b, isOneRow, isCheap);
  if (std::optional<uint64_t> steps = op.getSteps()) {
    Value chunks =
        kernel.getCeilQuotient(op.getColumns(), kLanes * op.getElements() * *steps);
    Value hasCTAs =
        arith::CmpIOp::create(b, arith::CmpIPredicate::ule, chunks, kernel.chunkStride);
    isSmall = arith::AndIOp::create(b, isSmall, hasCTAs);
  }
  op.replaceAllUsesWith(isSmall);
}

void warp::lower(ForOwnRowOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  mlir::moe::buildIf(b, buildLess(b, kernel.warp, op.getRows()),
                     [&] { kernel.inlineBody(b, op.getBody(), kernel.warp); });
}

void warp::lower(IsOwnRowLiveOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  // LLVM would move it in front of a loop, and wait there for both before the row is
  // loaded. Of the warp's map entries the first alone is of a row.
  Value used = recompute(b, op.getUsed());
  Value isUsed =
      buildLess(b, kernel.warp, arith::IndexCastOp::create(b, b.getIndexType(), used));
  Value holdsToken = buildVote(b, buildHoldsToken(b, recompute(b, op.getEntries())));
  op.replaceAllUsesWith(
      arith::AndIOp::create(b, isUsed, buildNotZero(b, holdsToken)).getResult());
}
