//===- KernelBuilder.h - What a kernel does, op by op ----------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The state that the parts of a kernel's body share while it is built. KernelBody.cpp
// has the walk over rows and chunks, KernelQuantization.cpp what the quantising ops add.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_KERNELBUILDER_H
#define MOE_LIB_CONVERSION_KERNELBUILDER_H

#include "KernelBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {

/// Builds the body of one kernel.
class KernelBuilder {
public:
  KernelBuilder(ImplicitLocOpBuilder &b, MapRowsOp op, ValueRange arguments,
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
  void buildRows(Value firstEntry, Value used);
  SmallVector<Value> loadIf(Value condition, int64_t count,
                            function_ref<SmallVector<Value>()> load);
  Value loadMapEntry(Value row);
  Value isLive(Value row, Value entry);
  Value vote(Value condition);
  void forEachRow(Value firstEntry, Value end, function_ref<void(Value)> live,
                  function_ref<void(Value)> dead);
  Value warpsTimes(Value lanes);
  void forEachBit(Value bits, function_ref<void(Value)> body);
  SmallVector<Value> whileNotZero(ArrayRef<Value> init,
                                  function_ref<SmallVector<Value>(ValueRange)> body);
  Value clearLowestBit(Value bits);
  Value recompute(Value word);
  Value computeHere(Value elements);

  // Rows in quads.
  void buildQuads();
  Value rowOfSlot(Value slot);
  void buildQuad(Value firstRow, Value liveRows);
  Value rowOfLane();
  void storeQuadScales(Value firstRow, Value chunk, Value storedRows, Value words);
  Value packScales(Value exponent);

  // Chunks of a row.
  void forEachChunk(function_ref<void(Value)> body);
  Value vectorOfStep(Value chunk, int64_t step);
  Value isInRow(Value vector);
  SmallVector<Fragment> loadActivation(Value row, Value chunk);
  void storeFragment(Value row, const Fragment &fragment, Value elements);
  void buildActivationRow(Value row);

  // Small inputs.
  Value isSmall();
  void buildEarlyRow(Value firstEntry, Value used);

  // Quantisation.
  void buildQuantizedRow(Value row);
  void buildQuantizedChunk(Value row, Value chunk,
                           function_ref<void(Value)> takeExponent);
  Value ownStep();
  Value ownGroup(Value chunk);
  Value buildOwnMaximum(ArrayRef<Fragment> fragments);
  Value isLaneBitSet(int64_t bit);
  Value broadcastFactor(Value factor, int64_t step);
  void storeScales(Value row, Value chunk, Value exponent);
  SmallVector<Value> scaleIndices(Value row, Value group);

  // Scales of rows that are not live.
  SmallVector<Value> loadTileEntries(Value tile);
  void clearDeadQuads(ArrayRef<Value> firstEntries);
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
  Value toI32(Value index) {
    return arith::IndexCastUIOp::create(b, b.getI32Type(), index);
  }
  Value toIndex(Value nonNegative) {
    return arith::IndexCastUIOp::create(b, b.getIndexType(), nonNegative);
  }
  Value shuffleXor(Value word, int64_t offset);
  Value select(Value condition, Value then, Value otherwise) {
    return arith::SelectOp::create(b, condition, then, otherwise);
  }
  /// Of an access of `bytes` to a row of x or of the first destination.
  llvm::MaybeAlign alignment(int64_t bytes) const {
    return schedule.isElementwise() ? llvm::MaybeAlign()
                                    : llvm::MaybeAlign(schedule.alignmentOf(bytes));
  }

  ImplicitLocOpBuilder &b;
  MapRowsOp op;
  BlockFormatAttrInterface quantize; // Null for a format without scales.
  const Schedule &schedule;

  // The operands, in global memory.
  Value x, permutationMap, nUsed, out, scale;

  // Rows are indices, as addresses are; what counts along a row is an i32, which halves
  // the registers and instructions of the innermost code.
  Value rows, usedRows;
  Value vectors, chunks; // Of a row.
  // Every chunk is whole, so no lane is ever past the end of a row.
  bool hasWholeChunks;
  // Groups of a row, its scales with their padding, and column tiles of the swizzled
  // layout.
  Value rowGroups, scaleColumns, columnTiles;

  Value lane, laneIndex;
  Value firstChunk, chunkStride;
  // Warps are numbered across the grid's y so that neighbouring rows, and the row tiles
  // to clear, are spread over the SMs. `warp` is past all rows for a warp that has none.
  Value warp, warps;
  Value warp32, warps32;
  Value isIdle;

  // Where rows come in quads: whether a warp has whole ones.
  Value ownsQuads;
};

} // namespace mlir::moe

#endif // MOE_LIB_CONVERSION_KERNELBUILDER_H
