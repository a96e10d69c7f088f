//===- Chunks.cpp - Chunks of a row ---------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Which part of a chunk is the lane's, and how it is loaded and stored.
//
//===----------------------------------------------------------------------===//

#include "KernelLowering.h"

#include "../PairLoads.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

void warp::lower(ForChunkOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  ChunkShape shape{int64_t(op.getSteps()), int64_t(op.getElements()),
                   int64_t(op.getPaddedTo()), op.hasWholeChunks(), op.getColumns()};
  auto loop = keepRolled(scf::ForOp::create(
      b, kernel.firstChunk, kernel.getChunkCount(shape), kernel.chunkStride));
  kernel.setChunk(loop.getInductionVar(), shape);
  b.setInsertionPointToStart(loop.getBody());
  kernel.inlineBody(b, op.getBody(), loop.getInductionVar());
}

ImplicitLocOpBuilder warp::beforeChunks(Operation *op, Value chunk, ValueRange operands) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  Region *body = chunk.getParentRegion();
  if (llvm::none_of(operands, [&](Value operand) {
        return body->isAncestor(operand.getParentRegion());
      }))
    b.setInsertionPoint(body->getParentOp());
  return b;
}

ArrayRef<StepPlace> KernelLowering::getPlaces(ImplicitLocOpBuilder &b, Value chunk) {
  SmallVector<StepPlace> &places = placesOf[{b.getInsertionBlock(), chunk}];
  if (!places.empty())
    return places;
  const ChunkShape &shape = getChunk(chunk);
  Value vectors = getQuotient(shape.columns, shape.elements);
  for (int64_t step = 0; step < shape.steps; ++step) {
    Value first = buildMul(b, chunk, kLanes * shape.steps);
    Value vector = buildAdd(b, first, buildAdd(b, getLane(b), step * kLanes));
    places.push_back({vector, shape.isWhole ? Value() : buildLess(b, vector, vectors)});
  }
  return places;
}

static llvm::MaybeAlign toAlign(std::optional<uint64_t> align) {
  return align ? llvm::MaybeAlign(*align) : llvm::MaybeAlign();
}

void warp::lower(LoadOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  const ChunkShape &shape = kernel.getChunk(op.getChunk());
  Type elementType = op.getMatrix().getType().getElementType();
  auto load = [&](Value column, int64_t size) -> Value {
    return vector::LoadOp::create(b, VectorType::get(size, elementType), op.getMatrix(),
                                  ValueRange{op.getRow(), toIndex(b, column)},
                                  /*nontemporal=*/false, toAlign(op.getAlign()));
  };
  Value columns = op.getPairs() ? kernel.getColumns(shape.columns) : Value();
  Value vectors = kernel.getQuotient(shape.columns, shape.elements);
  SmallVector<SmallVector<Value>> parts(op.getNumResults());
  for (auto [vector, isInRow] : kernel.getPlaces(b, op.getChunk())) {
    if (isInRow) {
      Value last = arith::SubIOp::create(b, vectors, buildI32(b, 1));
      vector = arith::MinUIOp::create(b, vector, last);
    }
    Value column = buildMul(b, vector, shape.elements);
    for (auto [part, loaded] :
         llvm::zip_equal(parts, buildPartLoads(b, op.getPairsAttr(), column, columns,
                                               shape.elements, load)))
      part.push_back(loaded);
  }
  for (auto [fragment, part] : llvm::zip_equal(op.getFragments(), parts))
    kernel.setParts(fragment, part);
}

void warp::lower(StoreOp op, KernelLowering &kernel) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  const ChunkShape &shape = kernel.getChunk(op.getChunk());
  for (auto [step, place] : llvm::enumerate(kernel.getPlaces(b, op.getChunk()))) {
    Value part = kernel.getPart(b, op.getFragment(), step);
    Value vector = place.vector, condition = op.getCondition();
    if (place.isInRow)
      condition = condition
                      ? arith::AndIOp::create(b, place.isInRow, condition).getResult()
                      : place.isInRow;
    Value elements = condition ? computeHere(b, part) : part;
    buildIfAny(b, condition, [&] {
      Value column = toIndex(b, buildMul(b, vector, shape.elements));
      vector::StoreOp::create(b, elements, op.getMatrix(),
                              ValueRange{op.getRow(), column}, op.getStreaming(),
                              toAlign(op.getAlign()));
    });
  }
}
