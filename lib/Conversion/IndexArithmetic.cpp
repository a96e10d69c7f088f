//===- IndexArithmetic.cpp - Rows, tiles and offsets ----------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Target-neutral index arithmetic.
//
//===----------------------------------------------------------------------===//

#include "IndexArithmetic.h"

#include "IndexOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "moe/IR/Moe.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::moe;

Value mlir::moe::buildIndex(ImplicitLocOpBuilder &b, int64_t value) {
  return arith::ConstantIndexOp::create(b, value);
}

static Value buildConstantLike(ImplicitLocOpBuilder &b, Value other, int64_t value) {
  return arith::ConstantOp::create(b, b.getIntegerAttr(other.getType(), value));
}

Value mlir::moe::buildAdd(ImplicitLocOpBuilder &b, Value lhs, Value rhs) {
  return b.createOrFold<arith::AddIOp>(lhs, rhs);
}

Value mlir::moe::buildAdd(ImplicitLocOpBuilder &b, Value lhs, int64_t rhs) {
  return buildAdd(b, lhs, buildConstantLike(b, lhs, rhs));
}

Value mlir::moe::buildMul(ImplicitLocOpBuilder &b, Value lhs, Value rhs) {
  return b.createOrFold<arith::MulIOp>(lhs, rhs);
}

Value mlir::moe::buildMul(ImplicitLocOpBuilder &b, Value lhs, int64_t rhs) {
  return buildMul(b, lhs, buildConstantLike(b, lhs, rhs));
}

Value mlir::moe::buildDiv(ImplicitLocOpBuilder &b, Value lhs, int64_t powerOfTwo) {
  assert(llvm::isPowerOf2_64(powerOfTwo) && "a division would reach the kernel");
  return b.createOrFold<arith::ShRUIOp>(
      lhs, buildConstantLike(b, lhs, llvm::Log2_64(powerOfTwo)));
}

Value mlir::moe::buildRem(ImplicitLocOpBuilder &b, Value lhs, int64_t powerOfTwo) {
  assert(llvm::isPowerOf2_64(powerOfTwo) && "a division would reach the kernel");
  return b.createOrFold<arith::AndIOp>(lhs, buildConstantLike(b, lhs, powerOfTwo - 1));
}

Value mlir::moe::buildCeilDiv(ImplicitLocOpBuilder &b, Value lhs, int64_t powerOfTwo) {
  return buildDiv(b, buildAdd(b, lhs, powerOfTwo - 1), powerOfTwo);
}

Value mlir::moe::buildUsedRowLoad(ImplicitLocOpBuilder &b, Value nUsed) {
  SmallVector<Value, 1> indices(cast<MemRefType>(nUsed.getType()).getRank(),
                                buildIndex(b, 0));
  return memref::LoadOp::create(b, nUsed, indices);
}

Value mlir::moe::buildUsedRowCount(ImplicitLocOpBuilder &b, Value used, Value rows) {
  Value signedCount = arith::IndexCastOp::create(b, b.getIndexType(), used);
  Value nonNegative = arith::MaxSIOp::create(b, signedCount, buildIndex(b, 0));
  return arith::MinSIOp::create(b, nonNegative, rows);
}

Value mlir::moe::buildRowTileCount(ImplicitLocOpBuilder &b, Value rows) {
  IndexOps arithmetic(b);
  return mlir::moe::getRowTileCount(arithmetic, rows);
}

Value mlir::moe::buildColumnTileCount(ImplicitLocOpBuilder &b, Value columns) {
  IndexOps arithmetic(b);
  return mlir::moe::getColumnTileCount(arithmetic, columns);
}

Value mlir::moe::buildSwizzledRowOffset(ImplicitLocOpBuilder &b, Value row,
                                        Value columnTiles) {
  Value tileRow = buildDiv(b, row, kScaleTileRows);
  Value tile = buildMul(b, buildMul(b, tileRow, columnTiles), kScaleTileBytes);
  // Within a tile, 32 rows of 16 bytes; the four rows 32 apart share one of them.
  Value line = buildMul(b, buildRem(b, row, 32), 16);
  Value word = buildMul(b, buildRem(b, buildDiv(b, row, 32), 4), kScaleTileColumns);
  return buildAdd(b, buildAdd(b, tile, line), word);
}

Value mlir::moe::buildHoldsToken(ImplicitLocOpBuilder &b, Value entry, Value tokens) {
  if (tokens) {
    // As an unsigned number a negative entry is past all rows.
    Value token = arith::IndexCastOp::create(b, b.getIndexType(), entry);
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, token, tokens);
  }
  Value zero = arith::ConstantIntOp::create(b, 0, 32);
  return arith::CmpIOp::create(b, arith::CmpIPredicate::sge, entry, zero);
}
