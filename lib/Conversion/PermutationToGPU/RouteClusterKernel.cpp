//===- RouteClusterKernel.cpp - The rows of many tokens -------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The kernel of moe.route_tokens for many pairs: a cluster of CTAs shares out the tokens,
// and with them the pairs, each CTA its share to its warps, in the order of tokens, then
// k, which is that of rows.
//
// First, all pairs are counted by expert, and each CTA adds up what those of its cluster
// have in shared memory. Then a cluster takes a window of 32 experts, and gives rows to
// the pairs of these. A warp puts together those that it has, which are few where there
// are many experts, and counts them. A pair's row is then the sum of the rows of the
// experts before, of the pairs of its expert in the CTAs before, in the warps before, and
// in the warp itself, where lanes with the same expert find each other.
//
// What does not fit into a lane's registers is taken in tiles.
//
//===----------------------------------------------------------------------===//

#include "PermutationKernels.h"

#include "../../Launch/GridRule.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "moe/Warp/IR/Warp.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::lanes;
using namespace mlir::moe::warp;
using ::moe::launch::kExpertsOfCluster;

/// Pairs that a lane has of a tile of its warp.
static constexpr int64_t kSteps = 12;
static constexpr int64_t kTilePairs = kSteps * kLanes;
/// Steps under one condition: with 2, 4, 6, 8, 12, 16, 22 or 24 choices for each of 4096
/// tokens, a cluster of 8 CTAs takes no step in vain.
static constexpr int64_t kGroups[] = {1, 1, 1, 1, 2, 2, 3, 1};
/// A pair in a warp's list: its place in the tile and, above, its expert in the window.
static constexpr int64_t kPlaceBits = 9;
static_assert(kTilePairs <= int64_t(1) << kPlaceBits);
/// Counters of a warp, for the experts of a window and for no expert. An odd number, so
/// that lanes that read the same one of all warps find them in different banks.
static constexpr int64_t kCounters = kExpertsOfCluster + 1;
/// There are as many warps, so that each adds up the counters of an expert.
static_assert(Schedule::kClusterThreads == kExpertsOfCluster * kLanes &&
              kExpertsOfCluster == kLanes);

namespace {

/// Pairs of the warp next to each other: the first as its place among those of the CTA,
/// and as its token, one of the CTA's, and its k.
struct Tile {
  Value begin, token, k;
};

class RouteClusterKernel {
public:
  RouteClusterKernel(ImplicitLocOpBuilder &b, RouteTokensOp op, gpu::GPUFuncOp kernel,
                     const Schedule &schedule);

  void build();

private:
  /// Calls `body` for steps in groups, each under the condition that the warp has pairs
  /// for it. It makes new values of old ones.
  SmallVector<Value> forSteps(const Tile &tile, ArrayRef<Value> init,
                              function_ref<SmallVector<Value>(int64_t, ValueRange)> body);
  /// The same for each tile of the warp. `locals` are the experts of the first one,
  /// before and after.
  SmallVector<Value> forTiles(
      SmallVector<Value> &locals, ArrayRef<Value> init,
      function_ref<SmallVector<Value>(const Tile &, ArrayRef<Value>, ValueRange)> body);

  Tile makeTile(Value begin);
  /// The token and the k of the pair that is `place` after the tile's first one.
  std::pair<Value, Value> split(const Tile &tile, Value place);
  /// Entries of routing_map, of each step one.
  SmallVector<Value> load(const Tile &tile);
  /// The local experts of the entries, -1 for those that are no pair of one.
  SmallVector<Value> toLocals(const Tile &tile, ArrayRef<Value> entries);

  void countExperts(ArrayRef<Value> locals, const Tile &tile);
  void addUpExperts();
  void routeWindow(Value window, SmallVector<Value> &locals);
  /// Puts the warp's pairs of the window into its list. How many there are.
  Value list(const Tile &tile, ArrayRef<Value> locals, Value firstOfWindow);
  void countList(Value size);
  void routeList(const Tile &tile, Value size, Value firstOfWindow);
  /// The row of the first pair that each warp, one for each lane, has of the window's
  /// expert that this warp is for. Stores what is known of the expert.
  Value buildFirstRow(Value firstOfWindow, Value ofCTA);
  /// Calls `body` for the thread's elements of inverse_map in the window.
  void forInverse(Value firstOfWindow, function_ref<void(ValueRange)> body);

  Value align(Value count) { return buildAligned(b, count, alignment); }
  Value fits(Value row) { return buildBelow(b, row, rows); }
  Value isEqual(Value lhs, Value rhs) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lhs, rhs);
  }
  void store(Value value, Value buffer, Value at) {
    memref::StoreOp::create(b, value, buffer, toIndex(b, at));
  }
  Value load(Value buffer, Value at) {
    return memref::LoadOp::create(b, buffer, toIndex(b, at));
  }
  Value counterOf(Value warp, Value expert) {
    return buildAdd(b, buildMul(b, warp, kCounters), expert);
  }
  Value listed(Value at) { return buildAdd(b, buildMul(b, warpInCTA, kTilePairs), at); }
  void syncWarp() { NVVM::SyncWarpOp::create(b, none); }

  ImplicitLocOpBuilder &b;
  const Schedule &schedule;

  Value routing, validTokens, probs, firstExpert, alignment;
  Value counts, exclusive, inclusive, map, inverse, permutedProbs;
  // Shared by the CTA: its pairs of each expert, all of each expert, those of the window
  // and of each warp or the rows of the next ones, lists of the warps, and the end of the
  // window's rows.
  Value histogram, totals, counters, lists, windowEnd;

  Value thread, threads, lane, warpInCTA, lanesBefore, zero, none;
  Value tokens, topk, experts, rows;
  Value rank, cluster, clusters, windows;
  // Of the CTA.
  Value firstToken, ownTokens, ownPairs;
  // Of the warp, and whether it has one tile.
  Value warpPairs, firstPair, endPair, isOneTile;
  Value reciprocal, valid;
};

} // namespace

RouteClusterKernel::RouteClusterKernel(ImplicitLocOpBuilder &b, RouteTokensOp op,
                                       gpu::GPUFuncOp kernel, const Schedule &schedule)
    : b(b), schedule(schedule) {
  SmallVector<Value> arguments(kernel.getArguments().take_front(op->getNumOperands()));
  histogram = addSharedBuffer(b, kernel, b.getI32Type(), kMaxExperts);
  totals = addSharedBuffer(b, kernel, b.getI32Type(), kMaxExperts);
  counters = addSharedBuffer(b, kernel, b.getI32Type(), schedule.warps() * kCounters);
  lists = addSharedBuffer(b, kernel, b.getI16Type(), schedule.warps() * kTilePairs);
  windowEnd = addSharedBuffer(b, kernel, b.getI32Type(), 1);

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
  lanesBefore = buildLanesBefore(b, lane);
  zero = buildI32(b, 0);
  none = buildI32(b, -1);
  tokens = buildSize(b, routing, 0);
  topk = buildSize(b, routing, 1);
  experts = buildSize(b, counts, 0);
  rows = buildSize(b, map, 0);

  Value cta = toI32(b, gpu::BlockIdOp::create(b, gpu::Dimension::x));
  Value ctas = toI32(b, gpu::GridDimOp::create(b, gpu::Dimension::x));
  rank = buildRem(b, cta, schedule.cluster);
  cluster = buildDiv(b, cta, schedule.cluster);
  clusters = buildDiv(b, ctas, schedule.cluster);
  windows = buildDiv(b, buildAdd(b, experts, kExpertsOfCluster - 1), kExpertsOfCluster);
}

SmallVector<Value>
RouteClusterKernel::forSteps(const Tile &tile, ArrayRef<Value> init,
                             function_ref<SmallVector<Value>(int64_t, ValueRange)> body) {
  Value rest = arith::SubIOp::create(b, endPair, tile.begin);
  SmallVector<Value> values(init);
  int64_t end = 0;
  for (int64_t size : kGroups) {
    int64_t begin = end;
    end += size;
    Value hasSome = buildLess(b, buildI32(b, begin * kLanes), rest);
    auto buildGroup = [&] {
      SmallVector<Value> next(values);
      for (int64_t step = begin; step < end; ++step)
        next = body(step, next);
      return next;
    };
    if (init.empty())
      mlir::moe::buildIf(b, hasSome, [&] { buildGroup(); });
    else
      values = buildIfElse(b, hasSome, ValueRange(values).getTypes(), buildGroup,
                           [&] { return values; });
  }
  assert(end == kSteps && "expected groups of all steps");
  return values;
}

SmallVector<Value> RouteClusterKernel::forTiles(
    SmallVector<Value> &locals, ArrayRef<Value> init,
    function_ref<SmallVector<Value>(const Tile &, ArrayRef<Value>, ValueRange)> body) {
  SmallVector<Value> carried(locals);
  llvm::append_range(carried, init);
  auto results =
      buildLoop(b, firstPair, endPair, buildI32(b, kTilePairs), carried,
                [&](Value begin, ValueRange values) {
                  Tile tile = makeTile(begin);
                  SmallVector<Value> own(values.take_front(kSteps));
                  SmallVector<Value> next = body(tile, own, values.drop_front(kSteps));
                  SmallVector<Value> nextLocals = buildIfElse(
                      b, isOneTile, ValueRange(own).getTypes(), [&] { return own; },
                      [&] {
                        // After the last one the first, for who comes next.
                        Value nextBegin = buildAdd(b, begin, kTilePairs);
                        nextBegin = buildSelect(b, buildLess(b, nextBegin, endPair),
                                                nextBegin, firstPair);
                        Tile nextTile = makeTile(nextBegin);
                        return toLocals(nextTile, load(nextTile));
                      });
                  llvm::append_range(nextLocals, next);
                  return nextLocals;
                });
  locals.assign(results.begin(), results.begin() + kSteps);
  return SmallVector<Value>(llvm::drop_begin(results, kSteps));
}

Tile RouteClusterKernel::makeTile(Value begin) {
  Value token = arith::DivUIOp::create(b, begin, topk);
  return {begin, token, arith::SubIOp::create(b, begin, buildMul(b, token, topk))};
}

std::pair<Value, Value> RouteClusterKernel::split(const Tile &tile, Value place) {
  auto extend = [&](Value word) -> Value {
    return arith::ExtUIOp::create(b, b.getI64Type(), word);
  };
  Value k = buildAdd(b, tile.k, place);
  // k / topk. Twice of it and of the reciprocal, as that of 1 must fit into an i32.
  Value product = arith::MulIOp::create(b, extend(buildAdd(b, k, k)), extend(reciprocal));
  Value quotient =
      arith::TruncIOp::create(b, b.getI32Type(), buildDiv(b, product, int64_t(1) << 32));
  return {buildAdd(b, tile.token, quotient),
          arith::SubIOp::create(b, k, buildMul(b, quotient, topk))};
}

SmallVector<Value> RouteClusterKernel::load(const Tile &tile) {
  Type type = cast<MemRefType>(routing.getType()).getElementType();
  SmallVector<Value> zeros(kSteps, arith::ConstantOp::create(b, b.getZeroAttr(type)));
  SmallVector<Type> types(kSteps, type);
  auto metadata = memref::ExtractStridedMetadataOp::create(b, routing);
  Value stride = metadata.getStrides().front();
  // Of the CTA's first pair.
  Value offset = buildAdd(b, buildMul(b, toIndex(b, firstToken), stride),
                          Value(metadata.getOffset()));
  auto loadAt = [&](Value index) -> Value {
    Value base = memref::ExtractAlignedPointerAsIndexOp::create(b, routing);
    Value first =
        buildAdd(b, base, buildMul(b, offset, type.getIntOrFloatBitWidth() / 8));
    auto pointerType = LLVM::LLVMPointerType::get(b.getContext(), /*addressSpace=*/1);
    Value address = arith::IndexCastOp::create(b, b.getI64Type(), first);
    Value pointer = LLVM::IntToPtrOp::create(b, pointerType, address);
    pointer =
        LLVM::GEPOp::create(b, pointerType, type, pointer, ArrayRef<LLVM::GEPArg>{index});
    return LLVM::LoadOp::create(b, type, pointer);
  };
  auto extend = [&](Value word) -> Value {
    return arith::ExtUIOp::create(b, b.getI64Type(), word);
  };
  // Past the end it is the last pair or token: a load under a condition would sink to its
  // use.
  Value last = buildAdd(b, ownPairs, -1), lastToken = buildAdd(b, ownTokens, -1);
  // Else LLVM would keep the places of all steps in registers.
  Value own = recompute(b, lane), firstPlace = buildAdd(b, tile.begin, own);
  auto loadAll = [&](Value first, function_ref<Value(Value)> getIndex) {
    return forSteps(tile, zeros, [&](int64_t step, ValueRange values) {
      SmallVector<Value> next(values);
      next[step] = loadAt(getIndex(buildAdd(b, first, step * kLanes)));
      return next;
    });
  };
  Value isContiguous = isEqual(stride, toIndex(b, topk));
  return buildIfElse(
      b, isContiguous, types,
      [&] {
        return loadAll(firstPlace, [&](Value place) -> Value {
          return extend(arith::MinUIOp::create(b, place, last));
        });
      },
      [&] {
        return loadAll(own, [&](Value place) -> Value {
          auto [token, k] = split(tile, place);
          Value some = arith::MinUIOp::create(b, token, lastToken);
          Value ofRow = arith::MulIOp::create(
              b, extend(some), arith::IndexCastOp::create(b, b.getI64Type(), stride));
          return buildAdd(b, ofRow, extend(k));
        });
      });
}

SmallVector<Value> RouteClusterKernel::toLocals(const Tile &tile,
                                                ArrayRef<Value> entries) {
  SmallVector<Value> locals(kSteps, none);
  Value ofValid = arith::MinSIOp::create(b, buildMul(b, valid, topk), endPair);
  Value rest = arith::SubIOp::create(b, ofValid, buildAdd(b, tile.begin, lane));
  return forSteps(tile, locals, [&](int64_t step, ValueRange values) {
    auto [local, isLocal] = buildLocalExpert(b, entries[step], firstExpert, experts);
    Value isValid = buildLess(b, buildI32(b, step * kLanes), rest);
    SmallVector<Value> next(values);
    next[step] = buildSelect(b, arith::AndIOp::create(b, isLocal, isValid), local, none);
    return next;
  });
}

void RouteClusterKernel::countExperts(ArrayRef<Value> locals, const Tile &tile) {
  forSteps(tile, {}, [&](int64_t step, ValueRange) {
    Value isPair =
        arith::CmpIOp::create(b, arith::CmpIPredicate::sge, locals[step], zero);
    mlir::moe::buildIf(
        b, isPair, [&] { buildAtomicAdd(b, histogram, locals[step], buildI32(b, 1)); });
    return SmallVector<Value>();
  });
}

void RouteClusterKernel::addUpExperts() {
  buildLoop(b, thread, experts, threads, [&](Value expert) {
    Value total = zero;
    for (int64_t other = 0; other < schedule.cluster; ++other)
      total =
          buildAdd(b, total, buildClusterLoad(b, histogram, expert, buildI32(b, other)));
    store(total, totals, expert);
  });
}

Value RouteClusterKernel::list(const Tile &tile, ArrayRef<Value> locals,
                               Value firstOfWindow) {
  // What was there is read.
  syncWarp();
  Value own = recompute(b, lane);
  Value size =
      forSteps(tile, {zero}, [&](int64_t step, ValueRange sizes) {
        Value inWindow = arith::SubIOp::create(b, locals[step], firstOfWindow);
        Value isOwn = buildBelow(b, inWindow, buildI32(b, kExpertsOfCluster));
        Value votes = buildVote(b, isOwn);
        mlir::moe::buildIf(b, isOwn, [&] {
          Value before = buildBitCount(b, arith::AndIOp::create(b, votes, lanesBefore));
          Value entry = buildAdd(b, buildMul(b, inWindow, int64_t(1) << kPlaceBits), own);
          entry = buildAdd(b, entry, step * kLanes);
          store(arith::TruncIOp::create(b, b.getI16Type(), entry), lists,
                listed(buildAdd(b, sizes.front(), before)));
        });
        return SmallVector<Value>{buildAdd(b, sizes.front(), buildBitCount(b, votes))};
      }).front();
  syncWarp();
  return size;
}

/// Where an entry of a list is in the tile, and its expert in the window.
static std::pair<Value, Value> unpack(ImplicitLocOpBuilder &b, Value entry) {
  Value word = arith::ExtUIOp::create(b, b.getI32Type(), entry);
  constexpr int64_t kPlaces = int64_t(1) << kPlaceBits;
  return {buildRem(b, word, kPlaces), buildDiv(b, word, kPlaces)};
}

void RouteClusterKernel::countList(Value size) {
  buildLoop(b, lane, size, buildI32(b, kLanes), [&](Value at) {
    Value expert = unpack(b, load(lists, listed(at))).second;
    buildAtomicAdd(b, counters, counterOf(warpInCTA, expert), buildI32(b, 1));
  });
}

Value RouteClusterKernel::buildFirstRow(Value firstOfWindow, Value ofCTA) {
  Value expert = buildAdd(b, firstOfWindow, warpInCTA);
  Value at = counterOf(lane, warpInCTA);
  // Pairs of the warps before.
  Value ofWarp = load(counters, at), before = ofWarp;
  for (int64_t distance = 1; distance < kLanes; distance *= 2) {
    Value from = buildAdd(b, lane, -distance);
    Value other = buildShuffleFrom(b, before, from);
    Value isThere = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, from, zero);
    before = buildAdd(b, before, buildSelect(b, isThere, other, zero));
  }
  before = arith::SubIOp::create(b, before, ofWarp);
  Value beforeCTA =
      buildWarpSum(b, buildSelect(b, buildBelow(b, lane, rank), ofCTA, zero));
  // Rows of the experts before.
  auto sums =
      buildLoop(b, lane, arith::MinUIOp::create(b, expert, experts), buildI32(b, kLanes),
                {zero}, [&](Value other, ValueRange sum) -> SmallVector<Value> {
                  return {buildAdd(b, sum.front(), align(load(totals, other)))};
                });
  Value offset = buildWarpSum(b, sums.front());
  mlir::moe::buildIf(b, buildBelow(b, expert, experts), [&] {
    Value count = load(totals, expert);
    Value end = buildAdd(b, offset, align(count));
    Value isFirst = isEqual(lane, zero);
    mlir::moe::buildIf(b, isFirst, [&] {
      Value isLast = isEqual(
          expert,
          arith::MinUIOp::create(b, buildAdd(b, firstOfWindow, kExpertsOfCluster - 1),
                                 buildAdd(b, experts, -1)));
      mlir::moe::buildIf(b, isLast, [&] { store(end, windowEnd, zero); });
      mlir::moe::buildIf(b, isEqual(rank, zero), [&] {
        store(count, counts, expert);
        store(offset, exclusive, expert);
        store(end, inclusive, expert);
      });
    });
    // Each CTA has a share of the padding.
    Value padding = buildAdd(b, buildAdd(b, offset, count),
                             buildAdd(b, buildMul(b, rank, kLanes), lane));
    buildLoop(b, padding, end, buildI32(b, schedule.cluster * kLanes), [&](Value row) {
      mlir::moe::buildIf(b, fits(row), [&] { store(none, map, row); });
    });
  });
  return buildAdd(b, buildAdd(b, offset, beforeCTA), before);
}

void RouteClusterKernel::forInverse(Value firstOfWindow,
                                    function_ref<void(ValueRange)> body) {
  Value expert = buildAdd(b, firstOfWindow, lane);
  mlir::moe::buildIf(b, buildBelow(b, expert, experts), [&] {
    buildLoop(b, warpInCTA, valid, buildI32(b, schedule.warps()), [&](Value token) {
      body({toIndex(b, buildAdd(b, firstToken, token)), toIndex(b, expert)});
    });
  });
}

void RouteClusterKernel::routeList(const Tile &tile, Value size, Value firstOfWindow) {
  Value last = buildAdd(b, size, -1);
  SmallVector<Type> types = {b.getI16Type()};
  if (probs)
    types.push_back(b.getF32Type());
  // Past the end it is the last one.
  auto fetch = [&](Value at) {
    Value entry = load(lists, listed(arith::MinSIOp::create(b, at, last)));
    SmallVector<Value> fetched = {entry};
    if (probs) {
      auto [token, k] = split(tile, unpack(b, entry).first);
      fetched.push_back(memref::LoadOp::create(
          b, probs,
          ValueRange{toIndex(b, buildAdd(b, firstToken, token)), toIndex(b, k)}));
    }
    return fetched;
  };
  mlir::moe::buildIf(b, buildLess(b, zero, size), [&] {
    buildLoop(
        b, zero, size, buildI32(b, kLanes), fetch(lane),
        [&](Value begin, ValueRange fetched) {
          Value at = buildAdd(b, begin, lane);
          // Goes out before these are stored.
          SmallVector<Value> next = fetch(buildAdd(b, at, kLanes));
          Value isPair = buildLess(b, at, size);
          auto [place, expert] = unpack(b, fetched.front());
          Value slot = buildSelect(b, isPair, expert, buildI32(b, kExpertsOfCluster));
          Value same = buildMatch(b, slot);
          Value before = buildBitCount(b, arith::AndIOp::create(b, same, lanesBefore));
          Value counter = counterOf(warpInCTA, slot);
          Value first = load(counters, counter);
          syncWarp();
          Value isFirst = arith::AndIOp::create(b, isPair, isEqual(before, zero));
          mlir::moe::buildIf(b, isFirst, [&] {
            store(buildAdd(b, first, buildBitCount(b, same)), counters, counter);
          });
          syncWarp();
          mlir::moe::buildIf(b, isPair, [&] {
            Value row = buildAdd(b, first, before);
            Value token = buildAdd(b, firstToken, split(tile, place).first);
            // Of several pairs of a token and an expert the last.
            buildGlobalMax(
                b, inverse,
                {toIndex(b, token), toIndex(b, buildAdd(b, firstOfWindow, expert))}, row);
            mlir::moe::buildIf(b, fits(row), [&] {
              store(token, map, row);
              if (probs)
                store(fetched[1], permutedProbs, row);
            });
          });
          return next;
        });
  });
}

void RouteClusterKernel::routeWindow(Value window, SmallVector<Value> &locals) {
  Value firstOfWindow = buildMul(b, window, kExpertsOfCluster);
  Value expert = buildAdd(b, firstOfWindow, warpInCTA);
  // What each CTA has of the expert that the warp is for, in lanes.
  Value hasCount =
      arith::AndIOp::create(b, buildBelow(b, lane, buildI32(b, schedule.cluster)),
                            buildBelow(b, expert, experts));
  Value ofCTA =
      buildIfElse(
          b, hasCount, b.getI32Type(),
          [&] {
            return SmallVector<Value>{buildClusterLoad(b, histogram, expert, lane)};
          },
          [&] { return SmallVector<Value>{zero}; })
          .front();
  store(zero, counters, counterOf(warpInCTA, lane));
  Value size =
      forTiles(locals, {zero}, [&](const Tile &tile, ArrayRef<Value> own, ValueRange) {
        Value size = list(tile, own, firstOfWindow);
        countList(size);
        return SmallVector<Value>{size};
      }).front();
  buildBarrier(b);
  Value firstRow = buildFirstRow(firstOfWindow, ofCTA);
  store(firstRow, counters, counterOf(lane, warpInCTA));
  Value nextWindow = buildAdd(b, window, clusters);
  Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, nextWindow, windows);
  buildBarrier(b);
  // It has read all that it reads of other CTAs, so these may exit.
  mlir::moe::buildIf(b, isLast, [&] { buildClusterArrive(b, /*isRelaxed=*/true); });
  forTiles(locals, {}, [&](const Tile &tile, ArrayRef<Value> own, ValueRange) {
    Value listSize =
        buildIfElse(
            b, isOneTile, b.getI32Type(), [&] { return SmallVector<Value>{size}; },
            [&] { return SmallVector<Value>{list(tile, own, firstOfWindow)}; })
            .front();
    routeList(tile, listSize, firstOfWindow);
    return SmallVector<Value>();
  });
  // Rows that there are not.
  Value hasTooFew =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ult, rows, load(windowEnd, zero));
  mlir::moe::buildIf(b, hasTooFew, [&] {
    buildBarrier(b);
    forInverse(firstOfWindow, [&](ValueRange at) {
      Value row = memref::LoadOp::create(b, inverse, at);
      Value isPast = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, row, rows);
      mlir::moe::buildIf(b, isPast,
                         [&] { memref::StoreOp::create(b, none, inverse, at); });
    });
  });
  mlir::moe::buildIf(b, buildBelow(b, nextWindow, windows), [&] {
    forInverse(buildMul(b, nextWindow, kExpertsOfCluster),
               [&](ValueRange at) { memref::StoreOp::create(b, none, inverse, at); });
  });
}

void RouteClusterKernel::build() {
  buildLoop(b, thread, experts, threads,
            [&](Value expert) { store(zero, histogram, expert); });
  if (schedule.waits)
    buildWaitForPredecessor(b);
  // A cluster that has no window has nothing to do.
  mlir::moe::buildIf(b, buildBelow(b, cluster, windows), [&] {
    Value loadedTokens = buildUsedRowLoad(b, validTokens);
    Value most = buildDiv(b, buildAdd(b, tokens, schedule.cluster - 1), schedule.cluster);
    firstToken = arith::MinUIOp::create(b, buildMul(b, rank, most), tokens);
    ownTokens =
        arith::MinUIOp::create(b, most, arith::SubIOp::create(b, tokens, firstToken));
    ownPairs = buildMul(b, ownTokens, topk);
    // All warps have as many, but for the last ones.
    Value steps =
        buildDiv(b, buildAdd(b, ownPairs, schedule.threads - 1), schedule.threads);
    isOneTile =
        arith::CmpIOp::create(b, arith::CmpIPredicate::ule, steps, buildI32(b, kSteps));
    warpPairs = buildMul(b, steps, kLanes);
    firstPair = buildMul(b, warpPairs, warpInCTA);
    endPair = buildAdd(b, firstPair, warpPairs);
    // ceil(2^31 / topk): a product with it gives quotients by topk of what is at most a
    // topk and a tile.
    Value half = arith::DivUIOp::create(b, buildI32(b, INT32_MAX), topk);
    reciprocal = buildAdd(b, half, 1);

    Tile first = makeTile(firstPair);
    SmallVector<Value> entries = load(first);
    buildBarrier(b);
    valid = buildValidTokens(b, loadedTokens, tokens);
    valid = arith::MinSIOp::create(
        b, arith::MaxSIOp::create(b, arith::SubIOp::create(b, valid, firstToken), zero),
        ownTokens);
    SmallVector<Value> locals = toLocals(first, entries);
    forTiles(locals, {}, [&](const Tile &tile, ArrayRef<Value> own, ValueRange) {
      countExperts(own, tile);
      return SmallVector<Value>();
    });
    buildClusterArrive(b);
    forInverse(buildMul(b, cluster, kExpertsOfCluster),
               [&](ValueRange at) { memref::StoreOp::create(b, none, inverse, at); });
    buildClusterWait(b);
    addUpExperts();
    buildLoop(b, cluster, windows, clusters, locals,
              [&](Value window, ValueRange carried) {
                SmallVector<Value> own(carried);
                routeWindow(window, own);
                return own;
              });
    buildClusterWait(b);
  });
}

void mlir::moe::buildRouteClusterKernel(ImplicitLocOpBuilder &b, RouteTokensOp op,
                                        gpu::GPUFuncOp kernel, const Schedule &schedule) {
  RouteClusterKernel(b, op, kernel, schedule).build();
}
