//===- UnpermuteKernel.cpp - The sum of a token's rows --------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The kernel of moe.unpermute_tokens. A warp has a token and a chunk of its columns. Its
// lanes find the token's rows in inverse_map, 32 experts at a time, and put them one
// after another; then the rows are loaded, several at once, and added in their order.
//
//===----------------------------------------------------------------------===//

#include "PermutationKernels.h"

#include "../UnpermuteArithmetic.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "moe/Warp/IR/Warp.h"

#include <functional>

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::lanes;
using namespace mlir::moe::warp;

/// Entries of inverse_map that a lane loads at once, and experts that a warp looks at
/// then.
static constexpr int64_t kBlocks = 4;
static constexpr int64_t kExperts = kBlocks * kLanes;
/// Rows whose loads are in flight together, and bytes of a lane, at most.
static constexpr int64_t kRowsInFlight = 8, kBytesInFlight = 64;

namespace {

class UnpermuteKernel {
public:
  UnpermuteKernel(ImplicitLocOpBuilder &b, UnpermuteTokensOp op, gpu::GPUFuncOp kernel,
                  const Schedule &schedule);
  void build();

private:
  /// The entries of `token` for the experts from `first` on, -1 where there are none.
  SmallVector<Value> loadEntries(Value token, Value first);
  /// Puts those of them that are rows into the warp's list; how many there are.
  Value listRows(ArrayRef<Value> entries);
  /// The sums, a vector for each step, and `count` rows of the list.
  SmallVector<Value> addRows(ArrayRef<Value> sums, Value count,
                             ArrayRef<Value> columnsOf);
  /// The same with up to `size` rows from the `begin`-th of the lanes on, of which there
  /// are more than `least`.
  SmallVector<Value> addSomeRows(ArrayRef<Value> sums, Value row, Value prob, Value begin,
                                 Value end, int64_t least, int64_t size,
                                 ArrayRef<Value> columnsOf);
  Value shuffle(Value word, Value lane) {
    return gpu::ShuffleOp::create(b, word, lane, buildI32(b, kLanes),
                                  gpu::ShuffleMode::IDX)
        .getShuffleResult();
  }
  llvm::MaybeAlign getAlign(int64_t bytes) const {
    return schedule.isElementwise()
               ? llvm::MaybeAlign()
               : llvm::MaybeAlign(std::min<int64_t>(schedule.alignmentOf(bytes), 16));
  }

  ImplicitLocOpBuilder &b;
  const Schedule &schedule;
  int64_t elements, rowsInFlight;
  Value y, inverse, validTokens, probs, out;
  /// The rows that each warp of the CTA has found.
  Value lists;
  Value lane, listBegin, zero, none;
  Value tokens, experts, rows, columns, vectors;
};

} // namespace

UnpermuteKernel::UnpermuteKernel(ImplicitLocOpBuilder &b, UnpermuteTokensOp op,
                                 gpu::GPUFuncOp kernel, const Schedule &schedule)
    : b(b), schedule(schedule), elements(schedule.elements()),
      rowsInFlight(std::clamp<int64_t>(
          kBytesInFlight / (schedule.steps * schedule.accessBytes), 1, kRowsInFlight)) {
  SmallVector<Value> arguments(kernel.getArguments().take_front(op->getNumOperands()));
  lists = addSharedBuffer(b, kernel, b.getI32Type(), schedule.warps() * kExperts);
  unsigned next = 0;
  auto take = [&] { return toGlobal(b, arguments[next++]); };
  y = take();
  inverse = take();
  validTokens = take();
  if (op.getProbs())
    probs = take();
  out = take();
  zero = buildI32(b, 0);
  none = buildI32(b, -1);
  tokens = buildSize(b, inverse, 0);
  experts = buildSize(b, inverse, 1);
  rows = buildSize(b, y, 0);
  columns = buildSize(b, y, 1);
  vectors = buildDiv(b, columns, elements);
}

SmallVector<Value> UnpermuteKernel::loadEntries(Value token, Value first) {
  SmallVector<Value> entries;
  Value last = buildAdd(b, experts, -1);
  for (int64_t block = 0; block < kBlocks; ++block) {
    Value begin = buildAdd(b, first, block * kLanes);
    Value entry =
        buildIfElse(
            b, buildLess(b, begin, experts), b.getI32Type(),
            [&] {
              // Past the end it is the last: a load under a condition would sink.
              Value expert = arith::MinUIOp::create(b, buildAdd(b, begin, lane), last);
              return SmallVector<Value>{memref::LoadOp::create(
                  b, inverse, ValueRange{toIndex(b, token), toIndex(b, expert)})};
            },
            [&] { return SmallVector<Value>{none}; })
            .front();
    Value exists = buildLess(b, buildAdd(b, begin, lane), experts);
    entries.push_back(buildSelect(b, exists, entry, none));
  }
  return entries;
}

Value UnpermuteKernel::listRows(ArrayRef<Value> entries) {
  Value before = buildLanesBefore(b, lane);
  Value count = zero;
  for (Value entry : entries) {
    Value isRow = buildBelow(b, entry, rows);
    Value votes = buildVote(b, isRow);
    Value place =
        buildAdd(b, count, buildBitCount(b, arith::AndIOp::create(b, votes, before)));
    mlir::moe::buildIf(b, isRow, [&] {
      memref::StoreOp::create(b, entry, lists, toIndex(b, buildAdd(b, listBegin, place)));
    });
    count = buildAdd(b, count, buildBitCount(b, votes));
  }
  NVVM::SyncWarpOp::create(b, none);
  return count;
}

SmallVector<Value> UnpermuteKernel::addSomeRows(ArrayRef<Value> sums, Value row,
                                                Value prob, Value begin, Value end,
                                                int64_t least, int64_t size,
                                                ArrayRef<Value> columnsOf) {
  auto type = VectorType::get(elements, b.getBF16Type());
  Value last = buildAdd(b, end, -1);
  struct Loaded {
    Value exists, prob;
    SmallVector<Value> parts;
  };
  SmallVector<Loaded> loaded;
  for (int64_t i = 0; i < size; ++i) {
    Value place = buildAdd(b, begin, i);
    Loaded &next = loaded.emplace_back();
    if (i > least) {
      next.exists = buildLess(b, place, end);
      // Where there is no such row it is the last one, which is on its way.
      place = arith::MinSIOp::create(b, place, last);
    }
    Value index = toIndex(b, shuffle(row, place));
    for (Value column : columnsOf)
      next.parts.push_back(
          vector::LoadOp::create(b, type, y, ValueRange{index, toIndex(b, column)},
                                 /*nontemporal=*/false, getAlign(2 * elements)));
    if (prob)
      next.prob = arith::BitcastOp::create(b, b.getF32Type(), shuffle(prob, place));
  }
  SmallVector<Value> results(sums);
  for (const Loaded &next : loaded)
    for (auto [sum, part] : llvm::zip_equal(results, next.parts)) {
      Value added = buildWeightedSum(b, sum, part, next.prob);
      sum = next.exists ? buildSelect(b, next.exists, added, sum) : added;
    }
  return results;
}

SmallVector<Value> UnpermuteKernel::addRows(ArrayRef<Value> sums, Value count,
                                            ArrayRef<Value> columnsOf) {
  TypeRange types = ValueRange(sums).getTypes();
  return buildLoop(
      b, zero, count, buildI32(b, kLanes), sums, [&](Value first, ValueRange sums) {
        // A row for each lane.
        Value rest = arith::SubIOp::create(b, count, first);
        Value ofLanes = arith::MinSIOp::create(b, rest, buildI32(b, kLanes));
        Value place = arith::MinSIOp::create(b, lane, buildAdd(b, ofLanes, -1));
        place = buildAdd(b, listBegin, buildAdd(b, first, place));
        Value row = memref::LoadOp::create(b, lists, toIndex(b, place));
        Value prob;
        if (probs)
          prob = arith::BitcastOp::create(
              b, b.getI32Type(), memref::LoadOp::create(b, probs, toIndex(b, row)));
        return buildLoop(
            b, zero, ofLanes, buildI32(b, rowsInFlight), SmallVector<Value>(sums),
            [&](Value begin, ValueRange sums) {
              Value left = arith::SubIOp::create(b, ofLanes, begin);
              SmallVector<Value> init(sums);
              // More than 4, 2, 1 and 0 rows: each case is straight code, whose loads
              // stay where they are.
              std::function<SmallVector<Value>(int64_t)> build = [&](int64_t size) {
                int64_t least = size / 2;
                auto add = [&] {
                  return addSomeRows(init, row, prob, begin, ofLanes, least, size,
                                     columnsOf);
                };
                if (size == 1)
                  return add();
                return buildIfElse(b, buildLess(b, buildI32(b, least), left), types, add,
                                   [&] { return build(least); });
              };
              return build(rowsInFlight);
            });
      });
}

void UnpermuteKernel::build() {
  Value thread = toI32(b, gpu::ThreadIdOp::create(b, gpu::Dimension::x));
  lane = buildRem(b, thread, kLanes);
  Value warpInCTA = buildDiv(b, thread, kLanes);
  listBegin = buildMul(b, warpInCTA, kExperts);
  Value chunk = toI32(b, gpu::BlockIdOp::create(b, gpu::Dimension::x));
  Value chunkStride = toI32(b, gpu::GridDimOp::create(b, gpu::Dimension::x));
  Value cta = toI32(b, gpu::BlockIdOp::create(b, gpu::Dimension::y));
  Value ctas = toI32(b, gpu::GridDimOp::create(b, gpu::Dimension::y));
  // Tokens next to each other go to different SMs.
  Value warp = buildAdd(b, buildMul(b, warpInCTA, ctas), cta);
  Value warps = buildMul(b, ctas, schedule.warps());
  Value chunks = buildCeilDiv(b, columns, schedule.chunkColumns());

  if (schedule.waits)
    buildWaitForPredecessor(b);
  Value loadedTokens = buildUsedRowLoad(b, validTokens);
  auto type = VectorType::get(elements, b.getF32Type());
  Value zeros = arith::ConstantOp::create(b, b.getZeroAttr(type));
  SmallVector<Value> noSums(schedule.steps, zeros);
  // Entries are loaded before it is known which tokens are valid.
  buildLoop(b, warp, tokens, warps, [&](Value token) {
    SmallVector<Value> entries = loadEntries(token, zero);
    Value isValid = buildLess(b, token, buildValidTokens(b, loadedTokens, tokens));
    mlir::moe::buildIf(b, isValid, [&] {
      buildLoop(b, chunk, chunks, chunkStride, [&](Value ofToken) {
        Value first = buildAdd(b, buildMul(b, ofToken, kLanes * schedule.steps), lane);
        SmallVector<Value> places, columnsOf;
        Value last = buildAdd(b, vectors, -1);
        for (int64_t step = 0; step < schedule.steps; ++step) {
          Value place = buildAdd(b, first, step * kLanes);
          places.push_back(place);
          place = arith::MinUIOp::create(b, place, last);
          columnsOf.push_back(buildMul(b, place, elements));
        }
        auto add = [&](ArrayRef<Value> sums, ArrayRef<Value> entries) {
          // The list is read by lanes that may be behind.
          NVVM::SyncWarpOp::create(b, none);
          return addRows(sums, listRows(entries), columnsOf);
        };
        SmallVector<Value> sums = add(noSums, entries);
        sums =
            buildLoop(b, buildI32(b, kExperts), experts, buildI32(b, kExperts), sums,
                      [&](Value first, ValueRange sums) {
                        return add(SmallVector<Value>(sums), loadEntries(token, first));
                      });
        for (auto [place, column, sum] : llvm::zip_equal(places, columnsOf, sums))
          mlir::moe::buildIf(
              b, buildBelow(b, place, vectors), [&, column = column, sum = sum] {
                vector::StoreOp::create(b, sum, out,
                                        ValueRange{toIndex(b, token), toIndex(b, column)},
                                        /*nontemporal=*/false, getAlign(4 * elements));
              });
      });
    });
  });
}

void mlir::moe::buildUnpermuteKernel(ImplicitLocOpBuilder &b, UnpermuteTokensOp op,
                                     gpu::GPUFuncOp kernel, const Schedule &schedule) {
  UnpermuteKernel(b, op, kernel, schedule).build();
}
