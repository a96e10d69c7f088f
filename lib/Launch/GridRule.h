//===- GridRule.h - The grid of a launch ------------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The fixed grid: it depends on shapes and on the device, never on n_used or
// permutation_map, so that a launch can be captured. Stated once, over an arithmetic: the
// runtime computes with integers, convert-moe-to-gpu builds host code. Needs no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_LAUNCH_GRIDRULE_H
#define MOE_LIB_LAUNCH_GRIDRULE_H

#include "moe/IR/ScaleLayout.h"
#include <cstdint>
#include <optional>

namespace moe::launch {

/// What the hardware takes in the grid's y.
constexpr int64_t kMaxCTAs = 65535;
/// Few rows are spread over this share of the CTAs: one CTA for each SM where four are
/// allowed.
constexpr int64_t kSpreadShare = 4;
/// Rows of a row tile whose scales are neighbours in the swizzled layout.
constexpr int64_t kRowsPerQuad = 4;
constexpr int64_t kQuadsPerRowTile = mlir::moe::kScaleTileRows / kRowsPerQuad;
/// From so many CTAs for the rows on, their number has one of a few remainders.
constexpr int64_t kManyCTAs = 16;
/// Those remainders, as bits: 5, 9, 15, 17, 19, 21, 27 and 29 by 32.
constexpr uint64_t kSpreadingRemainders = 0x282a8220;
constexpr int64_t kSpreadingPeriod = 32;

/// From each of sixteen remainders, `begin` the first, how far it is down or up to the
/// nearest of kSpreadingRemainders: four bits each, the first lowest.
constexpr int64_t packSpreadingDistances(int64_t begin, bool isFloor) {
  uint64_t word = 0;
  for (int64_t i = 0; i < 16; ++i) {
    uint64_t distance = 0;
    int64_t remainder = begin + i;
    for (; (kSpreadingRemainders >> remainder & 1) == 0; ++distance)
      remainder = (remainder + (isFloor ? kSpreadingPeriod - 1 : 1)) % kSpreadingPeriod;
    word |= distance << 4 * i;
  }
  return int64_t(word);
}

/// Up and down, from the remainders below 16 and from the others. Made by the compiler:
/// as calls they took half of all instructions of a launch.
constexpr int64_t kSpreadingDistances[2][2] = {
    {packSpreadingDistances(0, false), packSpreadingDistances(16, false)},
    {packSpreadingDistances(0, true), packSpreadingDistances(16, true)}};

/// Experts that a cluster of CTAs has at a time.
constexpr int64_t kExpertsOfCluster = 32;
/// From so many pairs of a token and an expert on, routing them is for clusters: those
/// that no longer fit into the registers of one CTA.
constexpr int64_t kLeastPairsOfClusters = 6145;
/// From so many elements of their sums on, unpermuting tokens is for accesses of 16
/// bytes: fewer have too few chunks of them for all SMs.
constexpr int64_t kLeastElementsOfWide = int64_t(1) << 19;

template <typename Arithmetic> struct GridInput {
  using Value = typename Arithmetic::Value;
  Value rows, columns;
  /// The most CTAs, at least 1.
  Value numCTAs;
  int64_t threadsPerCTA;
  /// Columns that a warp handles at a time, and a CTA with it.
  int64_t chunkColumns;
  /// Whether the kernel can give rows to warps by quads.
  bool hasQuads;
  /// The columns of the smaller chunks that the kernel takes of a small input, and the
  /// most elements of the result that such an input has; 0 if all chunks are the same.
  int64_t earlyChunkColumns = 0, earlyElements = 0;
  /// 1 if nearly all rows, or very many, are expected to be live, 0 if not; none if the
  /// caller expects nothing. It makes y even, by which a kernel knows it, and changes no
  /// result.
  std::optional<Value> isDense = std::nullopt;
};

template <typename Arithmetic> struct Grid {
  typename Arithmetic::Value x, y;
};

/// The least CTAs under a hint, as a share of those without one: where rows go one by
/// one, and where quads do, whose warps also clear the scales of the other rows.
constexpr int64_t kLeastShare = 8;
constexpr int64_t kLeastShareOfQuads = 2;
/// Chunks for a warp from which on CTAs come as SMs become free: of any input, and of one
/// of which nearly all rows are live, that is this share.
constexpr int64_t kManyChunks = 3, kManyDenseChunks = 1;
constexpr int64_t kNearlyAll = 7, kNearlyAllOf = 8;
/// And then the most of them where rows go by quads, in multiples of those without a
/// hint.
constexpr int64_t kMostOfQuads = 16;

template <typename Arithmetic> struct ExpectedGrid {
  typename Arithmetic::Value numCTAs, isDense;
};

/// The most CTAs of a launch of which the caller expects `expectedRows` rows to be live,
/// in the place of `input.numCTAs`, which is for any number, and whether they are many.
/// No result depends on it.
///
/// Few rows: a CTA for each of their chunks, which is more than it takes, so that rows do
/// not meet. A CTA that finds nothing costs as much as it does. Many: as many as it takes
/// for each warp to have one chunk. SMs are not equally fast, so equal shares of a grid
/// that is resident at once wait for the slowest; those of a grid that is not are taken
/// as SMs become free. docs/performance-diary.md has what was measured.
template <typename Arithmetic>
ExpectedGrid<Arithmetic> getExpectedGrid(Arithmetic &a,
                                         const GridInput<Arithmetic> &input,
                                         typename Arithmetic::Value expectedRows) {
  int64_t warpsPerCTA = input.threadsPerCTA / 32;
  auto zero = a.constant(0), one = a.constant(1);
  auto numCTAs = input.numCTAs;
  auto perRow = a.max(a.ceilDivByPowerOfTwo(input.columns, input.chunkColumns), one);
  auto rows = a.min(expectedRows, input.rows);
  auto chunks = a.mul(rows, perRow);
  auto share = a.constant(input.hasQuads ? kLeastShareOfQuads : kLeastShare);
  auto few = a.min(a.max(a.max(chunks, a.div(numCTAs, share)), one), numCTAs);
  auto most = input.hasQuads
                  ? a.min(a.mul(numCTAs, a.constant(kMostOfQuads)), a.constant(kMaxCTAs))
                  : a.constant(kMaxCTAs);
  // Room for the nearest spreading number.
  auto y = a.add(a.ceilDiv(rows, a.constant(warpsPerCTA)), a.constant(kSpreadingPeriod));
  auto many = a.min(a.max(a.mul(y, perRow), numCTAs), most);
  auto isNearlyAll = a.select(a.isLess(a.mul(rows, a.constant(kNearlyAllOf)),
                                       a.mul(input.rows, a.constant(kNearlyAll))),
                              zero, one);
  // Rows next to each other on one SM leave others without any.
  isNearlyAll = a.select(a.isLess(chunks, numCTAs), zero, isNearlyAll);
  int64_t denseChunks = input.hasQuads ? kManyChunks : kManyDenseChunks;
  auto manyChunks = a.select(a.isLess(zero, isNearlyAll), a.constant(denseChunks),
                             a.constant(kManyChunks));
  auto isFew =
      a.isLess(chunks, a.mul(a.mul(numCTAs, a.constant(warpsPerCTA)), manyChunks));
  return {a.select(isFew, few, many), a.select(isFew, isNearlyAll, one)};
}

/// Of a kernel for experts, in x: a CTA for each.
template <typename Arithmetic>
typename Arithmetic::Value getExpertCTAs(Arithmetic &a,
                                         typename Arithmetic::Value experts,
                                         typename Arithmetic::Value numCTAs) {
  return a.min(a.max(experts, a.constant(1)), numCTAs);
}

/// Warps that tokens are shared out to, in multiples of those that are on the device at
/// once: so many that SMs that are done early find more of them.
constexpr int64_t kTokenWaves = 4;

/// Of a kernel for tokens: a warp for each, and as many warps more in x for the chunks of
/// a token as it takes for all SMs to have enough of them. Fewer than chunks, where there
/// are many tokens, because a warp loads what leads to a token's rows once for its
/// chunks.
///
/// `input.numCTAs` are those that fill the device. CTAs come as SMs become free, unless
/// `limit` says how many there may be.
template <typename Arithmetic>
Grid<Arithmetic> getTokenGrid(Arithmetic &a, const GridInput<Arithmetic> &input,
                              std::optional<typename Arithmetic::Value> limit) {
  auto one = a.constant(1);
  int64_t warpsPerCTA = input.threadsPerCTA / 32;
  auto tokens = a.max(input.rows, one);
  auto most = limit ? *limit : a.constant(kMaxCTAs);
  auto chunks = a.max(a.ceilDivByPowerOfTwo(input.columns, input.chunkColumns), one);
  auto warps = a.mul(input.numCTAs, a.constant(kTokenWaves * warpsPerCTA));
  auto x = a.min(a.min(a.ceilDiv(warps, tokens), chunks), most);
  auto y = a.ceilDiv(tokens, a.constant(warpsPerCTA));
  return {x, a.min(y, a.max(a.div(most, x), one))};
}

/// Of a kernel for experts in clusters of CTAs, in x: a cluster for each window of them.
template <typename Arithmetic>
typename Arithmetic::Value
getClusterCTAs(Arithmetic &a, typename Arithmetic::Value experts,
               typename Arithmetic::Value numCTAs, int64_t clusterCTAs) {
  auto one = a.constant(1);
  auto windows = a.max(a.ceilDivByPowerOfTwo(experts, kExpertsOfCluster), one);
  auto most = a.max(a.div(numCTAs, a.constant(clusterCTAs)), one);
  return a.mul(a.min(windows, most), a.constant(clusterCTAs));
}

/// The nearest number of CTAs, down or up, under which live rows do not meet in few
/// warps. Live rows begin at multiples of a power of two. The number of warps that get
/// rows is odd, so that no power of two divides it; and where it is large, its remainder
/// by 256 is one for which no small multiple of 16, 64, 128 or 256 comes close to a
/// multiple of it.
template <typename Arithmetic>
typename Arithmetic::Value toSpreading(Arithmetic &a, typename Arithmetic::Value ctas,
                                       bool isFloor) {
  auto one = a.constant(1);
  auto few = a.bitOr(isFloor ? a.add(ctas, a.constant(-1)) : ctas, one);
  auto remainder = a.remainder(ctas, kSpreadingPeriod);
  const int64_t (&distances)[2] = kSpreadingDistances[isFloor];
  auto word = a.select(a.isLess(remainder, a.constant(16)), a.constant(distances[0]),
                       a.constant(distances[1]));
  auto place = a.mul(a.remainder(remainder, 16), a.constant(4));
  auto distance = a.remainder(a.shiftRight(word, place), 16);
  auto many = isFloor ? a.sub(ctas, distance) : a.add(ctas, distance);
  return a.select(a.isLess(ctas, a.constant(kManyCTAs)), few, many);
}

/// x: a CTA for each chunk of columns. y: CTAs for the rows, as many as the limit leaves
/// but no more than it takes to give every warp as many rows as the others; or, where
/// that leaves SMs without a CTA, so many that few rows are spread over more of them:
/// idle warps cost less than idle SMs. Always a number under which live rows do not meet
/// in few warps, which is odd, or the even one next to it.
template <typename Arithmetic>
Grid<Arithmetic> getGrid(Arithmetic &a, const GridInput<Arithmetic> &input) {
  auto one = a.constant(1);
  auto warpsPerCTA = a.constant(input.threadsPerCTA / 32);
  auto chunks = a.ceilDivByPowerOfTwo(input.columns, input.chunkColumns);
  auto x = a.min(a.max(chunks, one), input.numCTAs);
  auto mostY = a.div(input.numCTAs, x);
  if (input.isDense) // The even one comes on top.
    mostY = a.max(a.sub(mostY, *input.isDense), one);
  auto maxY = toSpreading(a, mostY, /*isFloor=*/true);
  // All warps but one, if that makes their number odd: as the kernels do.
  auto maxWarps = a.bitOr(a.add(a.mul(maxY, warpsPerCTA), a.constant(-1)), one);
  auto units = input.rows;
  if (input.hasQuads) {
    // Where seven eighths of the warps, or all, have a quad of rows, quads are the unit.
    auto rowTiles = mlir::moe::getRowTileCount(a, input.rows);
    auto quads = a.mul(rowTiles, a.constant(kQuadsPerRowTile));
    auto isTooFew = a.isLess(a.mul(quads, a.constant(8)), a.mul(maxWarps, a.constant(7)));
    units = a.select(isTooFew, input.rows, quads);
  }
  units = a.max(units, one);
  // One warp more than rows need, as one may have none.
  auto neededWarps = a.add(a.ceilDiv(units, a.ceilDiv(units, maxWarps)), one);
  auto balanced = a.ceilDiv(neededWarps, warpsPerCTA);
  auto spreadCTAs = a.div(a.div(input.numCTAs, a.constant(kSpreadShare)), x);
  auto spread = a.min(input.rows, spreadCTAs);
  auto y = toSpreading(a, a.max(balanced, spread), /*isFloor=*/false);
  y = a.min(y, maxY);
  return {x, input.isDense ? a.add(y, *input.isDense) : y};
}

/// An input of which nearly all rows are live is small up to so many times the elements:
/// from there on larger chunks are faster.
constexpr int64_t kDenseEarlyFactor = 8;

/// The grid of a launch of which the caller may expect some number of rows to be live:
/// for the smaller chunks of a small input if there are such, and it has a warp for each
/// row and a CTA for each of their columns. By these two a kernel knows.
template <typename Arithmetic>
Grid<Arithmetic> getLaunchGrid(Arithmetic &a, const GridInput<Arithmetic> &input,
                               std::optional<typename Arithmetic::Value> expectedRows) {
  using Value = typename Arithmetic::Value;
  auto withChunks = [&](int64_t chunkColumns) {
    GridInput<Arithmetic> result = input;
    result.chunkColumns = chunkColumns;
    if (expectedRows) {
      auto expected = getExpectedGrid(a, result, *expectedRows);
      result.numCTAs = expected.numCTAs;
      result.isDense = expected.isDense;
    }
    return result;
  };
  auto grid = getGrid(a, withChunks(input.chunkColumns));
  if (input.earlyChunkColumns == 0)
    return grid;
  auto early = withChunks(input.earlyChunkColumns);
  auto earlyGrid = getGrid(a, early);
  auto most = a.constant(input.earlyElements);
  if (early.isDense)
    most = a.select(a.isLess(a.constant(0), *early.isDense),
                    a.constant(input.earlyElements * kDenseEarlyFactor), most);
  auto isLarge = a.isLess(most, a.mul(input.rows, input.columns));
  // All warps but one, if that makes their number odd: as the kernels do.
  auto allWarps = a.mul(earlyGrid.y, a.constant(input.threadsPerCTA / 32));
  auto warps = a.bitOr(a.add(allWarps, a.constant(-1)), a.constant(1));
  auto hasTwoRows = a.isLess(warps, input.rows);
  auto chunks = a.ceilDivByPowerOfTwo(input.columns, input.earlyChunkColumns);
  auto hasTwoChunks = a.isLess(earlyGrid.x, chunks);
  auto choose = [&](Value ofEarly, Value ofOther) {
    auto chosen = a.select(hasTwoChunks, ofOther, ofEarly);
    return a.select(isLarge, ofOther, a.select(hasTwoRows, ofOther, chosen));
  };
  return {choose(earlyGrid.x, grid.x), choose(earlyGrid.y, grid.y)};
}

} // namespace moe::launch

#endif // MOE_LIB_LAUNCH_GRIDRULE_H
