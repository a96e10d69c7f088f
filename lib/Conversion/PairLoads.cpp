//===- PairLoads.cpp - Where pairs of columns are -------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "PairLoads.h"

#include "IndexArithmetic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;
using namespace mlir::moe;

/// The greatest multiple of `block` that is not above `column`.
static Value buildBlockBegin(ImplicitLocOpBuilder &b, Value column, int64_t block) {
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(b, b.getIntegerAttr(column.getType(), value));
  };
  if (llvm::isPowerOf2_64(block))
    return b.createOrFold<arith::AndIOp>(column, constant(-block));
  Value number = b.createOrFold<arith::DivUIOp>(column, constant(block));
  return buildMul(b, number, block);
}

/// Of `vectors`, which hold what follows each other in a row, every element `begin` + i,
/// for i from 0 to `block` and then again after 2 * `block`. In integers: LLVM takes
/// vectors of bf16 apart for CPUs that have no arithmetic on them.
static Value buildEveryOther(ImplicitLocOpBuilder &b, ArrayRef<Value> vectors,
                             int64_t begin, int64_t block) {
  auto type = cast<VectorType>(vectors.front().getType());
  VectorType integers = type.clone(b.getIntegerType(type.getElementTypeBitWidth()));
  SmallVector<int64_t> mask;
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    mask.push_back(begin + i / block * 2 * block + i % block);
  Value lower = arith::BitcastOp::create(b, integers, vectors[0]);
  Value upper = arith::BitcastOp::create(b, integers, vectors[1]);
  return arith::BitcastOp::create(b, type,
                                  vector::ShuffleOp::create(b, lower, upper, mask));
}

SmallVector<Value> mlir::moe::buildPartLoads(ImplicitLocOpBuilder &b, PairsAttr pairs,
                                             Value column, Value columns, int64_t size,
                                             LoadColumns load) {
  if (!pairs)
    return {load(column, size)};
  if (pairs.areHalves())
    return {load(column, size), load(buildAdd(b, column, columns), size)};
  int64_t block = pairs.getBlock();
  if (pairs.areNeighbours(size)) {
    Value first = buildAdd(b, column, buildBlockBegin(b, column, block));
    return {load(first, size), load(buildAdd(b, first, block), size)};
  }
  if (pairs.haveVectors(size)) {
    Value first = buildMul(b, column, 2);
    Value vectors[] = {load(first, size), load(buildAdd(b, first, size), size)};
    return {buildEveryOther(b, vectors, 0, block),
            buildEveryOther(b, vectors, block, block)};
  }
  // By pieces that no block begins or ends in.
  int64_t piece = std::gcd(size, block);
  SmallVector<Value> parts;
  for (int64_t begin = 0; begin < size; begin += piece) {
    SmallVector<Value> loaded =
        buildPartLoads(b, pairs, buildAdd(b, column, begin), columns, piece, load);
    for (auto [i, vector] : llvm::enumerate(loaded)) {
      if (begin == 0) {
        auto type = cast<VectorType>(vector.getType());
        parts.push_back(arith::ConstantOp::create(
            b, cast<TypedAttr>(
                   b.getZeroAttr(VectorType::get(size, type.getElementType())))));
      }
      parts[i] =
          vector::InsertStridedSliceOp::create(b, vector, parts[i], begin, /*strides=*/1);
    }
  }
  return parts;
}
