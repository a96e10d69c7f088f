//===- RouteKernel.cpp - Which row a token goes to ------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The kernel of moe.route_tokens. A CTA has one expert, or several, and reads all pairs
// for it, so that no CTA waits for another one. In the order of tokens, then k, which is
// that of rows, a pair's row follows from how many pairs of its expert are before it.
//
// Each warp takes pairs next to each other, 32 in a step: those before a warp's are those
// of the warps before it, and within a warp votes tell. What does not fit into the
// registers of a CTA at once is taken in tiles of whole tokens.
//
//===----------------------------------------------------------------------===//

#include "PermutationKernels.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "moe/Warp/IR/Warp.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::lanes;
using namespace mlir::moe::warp;

/// Pairs of a tile: a multiple of the threads of any CTA.
static constexpr int64_t kTilePairs = 6144;

namespace {

/// What the lane has of a tile, of each step one pair: entries of routing_map, and of
/// probs if there are some.
struct TilePart {
  SmallVector<Value> entries, probs;

  SmallVector<Value> values() const {
    SmallVector<Value> all(entries);
    llvm::append_range(all, probs);
    return all;
  }
};

class RouteKernel {
public:
  RouteKernel(ImplicitLocOpBuilder &b, RouteTokensOp op, gpu::GPUFuncOp kernel,
              const Schedule &schedule);

  void build();

private:
  /// The values that `body` gives for each step, of `types`, first those of the first
  /// type. Steps are in groups, each under the condition that there are pairs for it: few
  /// pairs cost few instructions.
  SmallVector<SmallVector<Value>>
  forSteps(ArrayRef<Type> types, function_ref<SmallVector<Value>(int64_t)> body);

  /// Where the lane's pair of a step is in the tile.
  Value placeOf(int64_t step) { return buildAdd(b, firstPlace, step * kLanes); }
  Value tokenOf(Value place);
  /// The pairs of the tile from `token` on.
  TilePart loadTile(Value token, bool withProbs);
  /// The end of the warp's pairs that exist.
  Value buildEnd(Value token);
  /// The local expert of an entry, and whether it is one.
  std::pair<Value, Value> buildLocal(Value entry) {
    return buildLocalExpert(b, entry, firstExpert, experts);
  }
  Value align(Value count) { return buildAligned(b, count, alignment); }
  void countExperts(const TilePart &part, Value token);
  /// The first row of an expert. Stores what is known of it, and the rows of padding.
  Value buildOffset(Value expert);
  /// Rows for the expert's pairs of a tile, from what `getFirst` gives on; the row after
  /// them. `getFirst` is called behind a barrier.
  Value routeTile(const TilePart &part, Value token, Value expert,
                  function_ref<Value()> getFirst);

  Value fits(Value row) { return buildBelow(b, row, rows); }
  void store(Value value, Value buffer, Value at) {
    memref::StoreOp::create(b, value, buffer, toIndex(b, at));
  }
  Value load(Value buffer, Value at) {
    return memref::LoadOp::create(b, buffer, toIndex(b, at));
  }

  ImplicitLocOpBuilder &b;
  const Schedule &schedule;
  int64_t steps;

  Value routing, validTokens, probs, firstExpert, alignment;
  Value counts, exclusive, inclusive, map, inverse, permutedProbs;
  // Shared by the CTA: pairs of each expert and of each warp, and of each token of a tile
  // the last row.
  Value histogram, warpCounts, tokenRows;

  Value thread, threads, lane, warpInCTA, zero, none;
  Value tokens, topk, experts, rows, allPairs;
  Value isOneTile, tileTokens, tilePairs, usedSteps, firstPlace, reciprocal;
  Value valid;
};

} // namespace

RouteKernel::RouteKernel(ImplicitLocOpBuilder &b, RouteTokensOp op, gpu::GPUFuncOp kernel,
                         const Schedule &schedule)
    : b(b), schedule(schedule), steps(kTilePairs / schedule.threads) {
  SmallVector<Value> arguments(kernel.getArguments().take_front(op->getNumOperands()));
  histogram = addSharedBuffer(b, kernel, b.getI32Type(), kMaxExperts);
  warpCounts = addSharedBuffer(b, kernel, b.getI32Type(), schedule.warps());
  tokenRows = addSharedBuffer(b, kernel, b.getI32Type(), kTilePairs);

  unsigned next = 0;
  auto take = [&] { return toGlobal(b, arguments[next++]); };
  routing = take();
  validTokens = take();
  if (op.getProbs())
    probs = take();
  firstExpert = arguments[next++];
  alignment = arith::MaxSIOp::create(b, arguments[next++], buildI32(b, 1));
  for (Value *buffer : {&counts, &exclusive, &inclusive, &map, &inverse})
    *buffer = take();
  if (op.getPermutedProbs())
    permutedProbs = take();

  thread = toI32(b, gpu::ThreadIdOp::create(b, gpu::Dimension::x));
  threads = buildI32(b, schedule.threads);
  lane = buildRem(b, thread, kLanes);
  warpInCTA = buildDiv(b, thread, kLanes);
  zero = buildI32(b, 0);
  none = buildI32(b, -1);
  tokens = buildSize(b, routing, 0);
  topk = buildSize(b, routing, 1);
  experts = buildSize(b, counts, 0);
  rows = buildSize(b, map, 0);
  allPairs = buildMul(b, tokens, topk);

  // ceil(2^32 / topk), which is 0 for 1: a product with it gives the quotients by topk of
  // all places in a tile.
  Value quotient = arith::DivUIOp::create(b, none, topk);
  reciprocal = buildAdd(b, quotient, 1);
  // One tile, or tiles of as many whole tokens as fit.
  isOneTile = arith::CmpIOp::create(b, arith::CmpIPredicate::ule, allPairs,
                                    buildI32(b, kTilePairs));
  Value fit =
      buildIfElse(
          b, isOneTile, b.getI32Type(), [&] { return SmallVector<Value>{tokens}; },
          [&] {
            Value most = buildI32(b, kTilePairs);
            return SmallVector<Value>{arith::DivUIOp::create(b, most, topk)};
          })
          .front();
  tileTokens = arith::MaxUIOp::create(b, fit, buildI32(b, 1));
  tilePairs = arith::MinUIOp::create(b, buildMul(b, tileTokens, topk), allPairs);
  // All warps have the same number.
  usedSteps = buildDiv(b, buildAdd(b, tilePairs, schedule.threads - 1), schedule.threads);
  Value ofWarp = buildMul(b, buildMul(b, usedSteps, kLanes), warpInCTA);
  firstPlace = buildAdd(b, ofWarp, lane);
}

SmallVector<SmallVector<Value>>
RouteKernel::forSteps(ArrayRef<Type> types,
                      function_ref<SmallVector<Value>(int64_t)> body) {
  SmallVector<SmallVector<Value>> results(types.size());
  // 1, 1, 2, 4, 4, ... steps.
  for (int64_t begin = 0, size = 1; begin < steps;
       begin += size, size = std::min<int64_t>(begin, 4)) {
    size = std::min(size, steps - begin);
    Value hasSome = buildLess(b, buildI32(b, begin), usedSteps);
    auto buildGroup = [&] {
      SmallVector<Value> values;
      for (int64_t step = begin; step < begin + size; ++step)
        llvm::append_range(values, body(step));
      return values;
    };
    if (types.empty()) {
      mlir::moe::buildIf(b, hasSome, [&] { buildGroup(); });
      continue;
    }
    SmallVector<Type> groupTypes;
    for (int64_t i = 0; i < size; ++i)
      llvm::append_range(groupTypes, types);
    auto values = buildIfElse(b, hasSome, groupTypes, buildGroup, [&] {
      SmallVector<Value> zeros;
      for (Type type : groupTypes)
        zeros.push_back(arith::ConstantOp::create(b, b.getZeroAttr(type)));
      return zeros;
    });
    for (auto [i, value] : llvm::enumerate(values))
      results[i % types.size()].push_back(value);
  }
  return results;
}

/// place / topk
Value RouteKernel::tokenOf(Value place) {
  auto extend = [&](Value word) -> Value {
    return arith::ExtUIOp::create(b, b.getI64Type(), word);
  };
  Value product = arith::MulIOp::create(b, extend(place), extend(reciprocal));
  Value quotient =
      arith::TruncIOp::create(b, b.getI32Type(), buildDiv(b, product, int64_t(1) << 32));
  Value isOne = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, topk, buildI32(b, 1));
  return buildSelect(b, isOne, place, quotient);
}

TilePart RouteKernel::loadTile(Value token, bool withProbs) {
  SmallVector<Type> types = {cast<MemRefType>(routing.getType()).getElementType()};
  if (withProbs)
    types.push_back(b.getF32Type());
  // Where there are no pairs nothing is loaded.
  Value rest = arith::SubIOp::create(b, allPairs, buildMul(b, token, topk));
  Value last = buildAdd(b, arith::MinUIOp::create(b, tilePairs, rest), -1);
  auto loaded = forSteps(types, [&](int64_t step) {
    // Past the end it is the last pair: a load under a condition would sink to its use.
    Value place = arith::MinUIOp::create(b, placeOf(step), last);
    Value inTile = tokenOf(place);
    Value k = arith::SubIOp::create(b, place, buildMul(b, inTile, topk));
    SmallVector<Value> indices = {toIndex(b, buildAdd(b, token, inTile)), toIndex(b, k)};
    SmallVector<Value> values = {memref::LoadOp::create(b, routing, indices)};
    if (withProbs)
      values.push_back(memref::LoadOp::create(b, probs, indices));
    return values;
  });
  return {loaded[0], withProbs ? loaded[1] : SmallVector<Value>()};
}

Value RouteKernel::buildEnd(Value token) {
  Value ofWarp = buildMul(b, usedSteps, kLanes);
  Value ofTile =
      arith::MinSIOp::create(b, arith::SubIOp::create(b, valid, token), tileTokens);
  ofTile = buildMul(b, arith::MaxSIOp::create(b, ofTile, zero), topk);
  return arith::MinUIOp::create(b, ofTile,
                                buildMul(b, ofWarp, buildAdd(b, warpInCTA, 1)));
}

void RouteKernel::countExperts(const TilePart &part, Value token) {
  Value end = buildEnd(token);
  forSteps({}, [&](int64_t step) {
    auto [local, isLocal] = buildLocal(part.entries[step]);
    Value isPair = arith::AndIOp::create(b, isLocal, buildBelow(b, placeOf(step), end));
    mlir::moe::buildIf(b, isPair,
                       [&] { buildAtomicAdd(b, histogram, local, buildI32(b, 1)); });
    return SmallVector<Value>();
  });
}

Value RouteKernel::buildOffset(Value expert) {
  // Every warp for itself: it takes no barrier.
  auto sums =
      buildLoop(b, lane, expert, buildI32(b, kLanes), {zero},
                [&](Value before, ValueRange sum) -> SmallVector<Value> {
                  return {buildAdd(b, sum.front(), align(load(histogram, before)))};
                });
  Value offset = buildWarpSum(b, sums.front());
  Value count = load(histogram, expert);
  Value end = buildAdd(b, offset, align(count));
  Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, thread, zero);
  mlir::moe::buildIf(b, isFirst, [&] {
    store(count, counts, expert);
    store(offset, exclusive, expert);
    store(end, inclusive, expert);
  });
  Value padding = buildAdd(b, buildAdd(b, offset, count), thread);
  buildLoop(b, padding, end, threads, [&](Value row) {
    mlir::moe::buildIf(b, fits(row), [&] { store(none, map, row); });
  });
  return offset;
}

Value RouteKernel::routeTile(const TilePart &part, Value token, Value expert,
                             function_ref<Value()> getFirst) {
  Value end = buildEnd(token);
  auto found =
      forSteps({b.getI1Type(), b.getI32Type(), b.getI32Type()}, [&](int64_t step) {
        auto [local, isLocal] = buildLocal(part.entries[step]);
        Value isOwn = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, local, expert);
        isOwn = arith::AndIOp::create(b, isOwn, isLocal);
        isOwn = arith::AndIOp::create(b, isOwn, buildBelow(b, placeOf(step), end));
        Value votes = buildVote(b, isOwn);
        return SmallVector<Value>{isOwn, votes, buildBitCount(b, votes)};
      });
  Value count = zero;
  for (Value ofStep : found[2])
    count = buildAdd(b, count, ofStep);
  mlir::moe::buildIf(b, arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lane, zero),
                     [&] { store(count, warpCounts, warpInCTA); });
  buildBarrier(b);

  Value first = getFirst();
  Value lastWarp = buildI32(b, schedule.warps() - 1);
  Value ofLane = load(warpCounts, arith::MinUIOp::create(b, lane, lastWarp));
  auto sumBelow = [&](Value end) {
    return buildWarpSum(b, buildSelect(b, buildBelow(b, lane, end), ofLane, zero));
  };
  Value row = buildAdd(b, first, sumBelow(warpInCTA));
  Value next = buildAdd(b, first, sumBelow(buildI32(b, schedule.warps())));
  SmallVector<Value> firstRows;
  for (Value ofStep : found[2]) {
    firstRows.push_back(row);
    row = buildAdd(b, row, ofStep);
  }
  Value before = buildLanesBefore(b, lane);
  forSteps({}, [&](int64_t step) {
    mlir::moe::buildIf(b, found[0][step], [&] {
      Value rank = buildBitCount(b, arith::AndIOp::create(b, found[1][step], before));
      Value row = buildAdd(b, firstRows[step], rank);
      Value inTile = tokenOf(placeOf(step));
      // Of several pairs of a token and an expert the last.
      buildAtomicMax(b, tokenRows, inTile, row);
      mlir::moe::buildIf(b, fits(row), [&] {
        store(buildAdd(b, token, inTile), map, row);
        if (probs)
          store(part.probs[step], permutedProbs, row);
      });
    });
    return SmallVector<Value>();
  });
  buildBarrier(b);

  Value rest = arith::SubIOp::create(b, valid, token);
  buildLoop(b, thread, arith::MinSIOp::create(b, rest, tileTokens), threads,
            [&](Value inTile) {
              Value row = load(tokenRows, inTile);
              // For the next tile.
              store(none, tokenRows, inTile);
              memref::StoreOp::create(
                  b, buildSelect(b, fits(row), row, none), inverse,
                  ValueRange{toIndex(b, buildAdd(b, token, inTile)), toIndex(b, expert)});
            });
  return next;
}

void RouteKernel::build() {
  buildLoop(b, thread, experts, threads,
            [&](Value expert) { store(zero, histogram, expert); });
  buildLoop(b, thread, arith::MinUIOp::create(b, tileTokens, tokens), threads,
            [&](Value token) { store(none, tokenRows, token); });
  if (schedule.waits)
    buildWaitForPredecessor(b);
  // All loads go out before the first is needed.
  Value loadedTokens = buildUsedRowLoad(b, validTokens);
  TilePart first = loadTile(zero, bool(probs));
  buildBarrier(b);

  valid = buildValidTokens(b, loadedTokens, tokens);
  countExperts(first, zero);
  buildLoop(b, tileTokens, valid, tileTokens, [&](Value token) {
    countExperts(loadTile(token, /*withProbs=*/false), token);
  });

  Value cta = toI32(b, gpu::BlockIdOp::create(b, gpu::Dimension::x));
  Value ctas = toI32(b, gpu::GridDimOp::create(b, gpu::Dimension::x));
  auto unpack = [&](ValueRange values) {
    TilePart part;
    part.entries.assign(values.begin(), values.begin() + steps);
    part.probs.assign(values.begin() + steps, values.end());
    return part;
  };
  // Once, even if no token is valid.
  Value end = arith::MaxSIOp::create(b, valid, buildI32(b, 1));
  buildLoop(b, cta, experts, ctas, first.values(), [&](Value expert, ValueRange values) {
    SmallVector<Value> init = {zero};
    llvm::append_range(init, values);
    auto last =
        buildLoop(b, zero, end, tileTokens, init, [&](Value token, ValueRange carried) {
          TilePart part = unpack(carried.drop_front());
          Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, token, zero);
          Value next = routeTile(part, token, expert, [&] {
            return buildIfElse(
                       b, isFirst, b.getI32Type(),
                       [&] { return SmallVector<Value>{buildOffset(expert)}; },
                       [&] { return SmallVector<Value>{carried.front()}; })
                .front();
          });
          // After the last tile the first one, for the next expert.
          SmallVector<Value> nextPart = buildIfElse(
              b, isOneTile, carried.drop_front().getTypes(),
              [&] { return SmallVector<Value>(carried.drop_front()); },
              [&] {
                Value nextToken = buildAdd(b, token, tileTokens);
                nextToken = buildSelect(b, buildLess(b, nextToken, end), nextToken, zero);
                return loadTile(nextToken, bool(probs)).values();
              });
          SmallVector<Value> results = {next};
          llvm::append_range(results, nextPart);
          return results;
        });
    return SmallVector<Value>(llvm::drop_begin(last));
  });
}

void mlir::moe::buildRouteKernel(ImplicitLocOpBuilder &b, RouteTokensOp op,
                                 gpu::GPUFuncOp kernel, const Schedule &schedule) {
  RouteKernel(b, op, kernel, schedule).build();
}
