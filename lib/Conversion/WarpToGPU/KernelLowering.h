//===- KernelLowering.h - Lowering the ops of one kernel --------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the lowerings of moe_warp share: where the warp is, what is the same for all rows,
// and what has become of fragments, chunks and bodies. Each op family has its lowerings
// in a file of its own.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_WARPTOGPU_KERNELLOWERING_H
#define MOE_LIB_CONVERSION_WARPTOGPU_KERNELLOWERING_H

#include "Building.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "moe/Warp/IR/Warp.h"
#include "llvm/ADT/DenseMap.h"
#include <functional>

namespace mlir::moe::warp {

/// What the chunks of a loop have in common.
struct ChunkShape {
  int64_t steps, elements, paddedTo;
  /// No lane is ever past the end of a row.
  bool isWhole;
  /// Of the matrix.
  Value columns;

  int64_t stepColumns() const { return kLanes * elements; }
  int64_t chunkColumns() const { return stepColumns() * steps; }
  int64_t groupsPerChunk(BlockFormatAttrInterface format) const {
    return chunkColumns() / format.getGroupSize();
  }
  int64_t lanesPerGroup(BlockFormatAttrInterface format) const {
    return format.getGroupSize() / elements;
  }
};

/// The lane's place in a step of a chunk.
struct StepPlace {
  Value vector;  // Which vector of the row this is.
  Value isInRow; // Null if every lane's is.
};

/// How rows go to warps by quads.
struct QuadWalk {
  /// Whether a warp has whole ones.
  Value ownsQuads;
  /// The slots of a warp come in runs, of four or of one, a warp's width apart.
  Value inRunMask, firstBase, stride, laneOffset;
};

class KernelLowering {
public:
  explicit KernelLowering(gpu::GPUFuncOp kernel);
  void run();

  /// Moves the ops of `body` to where `b` inserts, lowers them, and returns what the body
  /// yields. `arguments` take the place of its arguments; a null one has parts.
  SmallVector<Value> inlineBody(ImplicitLocOpBuilder &b, Region &body,
                                ArrayRef<Value> arguments);

  /// A fragment as a vector for each step; a quad as a scalar for each row.
  SmallVector<Value> getParts(ImplicitLocOpBuilder &b, Value value);
  void setParts(Value value, ArrayRef<Value> parts) {
    partsOf[value] = llvm::to_vector(parts);
  }

  /// Has the parts of `value` built by `build` where a store takes them, one by one: what
  /// is computed of a step is stored before the next one is computed.
  using BuildPart = std::function<Value(ImplicitLocOpBuilder &, int64_t)>;
  void deferParts(Value value, BuildPart build) { buildPartOf[value] = std::move(build); }
  /// A part of a fragment, deferred or not.
  Value getPart(ImplicitLocOpBuilder &b, Value value, int64_t step);

  const ChunkShape &getChunk(Value chunk) const { return chunkOf.at(chunk); }
  /// Of all steps of `chunk`. What comes later in the block uses the same values.
  ArrayRef<StepPlace> getPlaces(ImplicitLocOpBuilder &b, Value chunk);
  void setChunk(Value chunk, const ChunkShape &shape) { chunkOf[chunk] = shape; }

  /// The lane's number (i32) where `b` inserts.
  Value getLane(ImplicitLocOpBuilder &b) const;
  /// Has it computed anew in the block that `b` inserts into: there it takes no register
  /// outside of it.
  void recomputeLane(ImplicitLocOpBuilder &b);

  // The same for all rows, computed once where the size is known.

  /// The index `columns` as an i32, and its quotients.
  Value getColumns(Value columns);
  Value getQuotient(Value columns, int64_t powerOfTwo);
  Value getCeilQuotient(Value columns, int64_t powerOfTwo);
  /// How many chunks a row has.
  Value getChunkCount(const ChunkShape &shape);
  const QuadWalk &getQuadWalk(Value rows);

  /// How far apart the rows of two lanes are, `lanes` (i32, below 32) of which lie
  /// between.
  Value warpsTimes(ImplicitLocOpBuilder &b, Value lanes) const;

  // `warp` is past all rows for a warp that has none.
  Value warp, warps;
  Value warp32, warps32;
  Value isIdle;
  /// Whether the launch expects nearly all rows, or very many, to be live.
  Value isDense;
  Value firstChunk, chunkStride;

private:
  void lowerBlock(Block &block);
  void lower(Operation *op);
  bool unroll(Operation *op);
  void materializeOperands(Operation *op);
  ImplicitLocOpBuilder after(Value value);

  gpu::GPUFuncOp kernel;
  DenseMap<Block *, Value> lanes;
  DenseMap<Value, SmallVector<Value>> partsOf;
  DenseMap<Value, BuildPart> buildPartOf;
  DenseMap<Value, ChunkShape> chunkOf;
  DenseMap<std::pair<Block *, Value>, SmallVector<StepPlace>> placesOf;
  DenseMap<Value, Value> columnsOf;
  DenseMap<std::pair<Value, int64_t>, Value> quotients, ceilQuotients;
  DenseMap<std::tuple<Value, int64_t, int64_t>, Value> chunkCounts;
  DenseMap<Value, QuadWalk> quadWalks;
  /// In their order. They go last, as others may still refer to them.
  SmallVector<Operation *> lowered;
};

// The lowerings. Each builds code in front of its op.

void lower(WaitForPredecessorOp op, KernelLowering &kernel);
void lower(LoadEntriesOp op, KernelLowering &kernel);
void lower(LoadTileEntriesOp op, KernelLowering &kernel);
void lower(LoadUsedRowsOp op, KernelLowering &kernel);
void lower(ForLiveRowOp op, KernelLowering &kernel);
void lower(ForOwnRowOp op, KernelLowering &kernel);
void lower(IsOwnRowLiveOp op, KernelLowering &kernel);
void lower(IsSmallOp op, KernelLowering &kernel);

void lower(ForLiveQuadOp op, KernelLowering &kernel);
void lower(ForRowOfQuadOp op, KernelLowering &kernel);
void lower(PackScalesOp op, KernelLowering &kernel);
void lower(StoreQuadScalesOp op, KernelLowering &kernel);

void lower(ForRowTileOp op, KernelLowering &kernel);
void lower(ClearDeadQuadsOp op, KernelLowering &kernel);

void lower(ForChunkOp op, KernelLowering &kernel);
void lower(LoadOp op, KernelLowering &kernel);
void lower(StoreOp op, KernelLowering &kernel);

void lower(GroupMaximumOp op, KernelLowering &kernel);
void lower(ScaleCodeOp op, KernelLowering &kernel);
void lower(QuantizeOp op, KernelLowering &kernel);
void lower(StoreScaleOp op, KernelLowering &kernel);
void lower(ClearScalesOp op, KernelLowering &kernel);

/// Where what is the same for all chunks is computed: in front of the loop over them, if
/// all of `operands` are known there, else where `op` is.
ImplicitLocOpBuilder beforeChunks(Operation *op, Value chunk, ValueRange operands);

// What the scales of a group and those of quads share.

/// In which step of a chunk the lane computes its group's scale, and which group of the
/// row that is.
Value buildOwnStep(ImplicitLocOpBuilder &b, const ChunkShape &shape, Value lane);
Value buildOwnGroup(ImplicitLocOpBuilder &b, const ChunkShape &shape,
                    BlockFormatAttrInterface format, Value lane, Value chunk);
/// `code` of the lane's own group, 0 in the padding columns of the last column tile; for
/// `op`, as soon as the code is known.
Value buildPaddedCode(Operation *op, KernelLowering &kernel,
                      BlockFormatAttrInterface format, Value chunk, Value code);
/// How many column tiles a row's scales have.
Value getColumnTiles(KernelLowering &kernel, const ChunkShape &shape,
                     BlockFormatAttrInterface format);
/// The row that a slot (i32) is of; see Quads.cpp.
Value buildRowOfSlot(ImplicitLocOpBuilder &b, Value slot);
/// The map entries of the lane's quad in row tile `tile`, which may be past the last.
SmallVector<Value> buildTileEntries(ImplicitLocOpBuilder &b, KernelLowering &kernel,
                                    Value map, Value rows, Value tile);

} // namespace mlir::moe::warp

#endif // MOE_LIB_CONVERSION_WARPTOGPU_KERNELLOWERING_H
