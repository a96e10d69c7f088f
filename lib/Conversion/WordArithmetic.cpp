//===- WordArithmetic.cpp - bf16 in words of two elements -----------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The steps that what a CPU does with bf16 is made of.
//
//===----------------------------------------------------------------------===//

#include "WordArithmetic.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace mlir::moe;

VectorType mlir::moe::getPairableType(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  if (vector && vector.getElementType().isBF16() && vector.getRank() == 1 &&
      !vector.isScalable() && vector.getNumElements() % 2 == 0)
    return vector;
  return VectorType();
}

Value WordBuilder::buildConstant(Type type, int64_t value) {
  TypedAttr attribute = getIntegerAttr(getElementTypeOrSelf(type), value);
  if (auto vector = dyn_cast<VectorType>(type))
    attribute = DenseElementsAttr::get(vector, Attribute(attribute));
  return arith::ConstantOp::create(*this, attribute);
}

Value WordBuilder::buildCompare(arith::CmpIPredicate predicate, Value lhs, int64_t rhs) {
  return arith::CmpIOp::create(*this, predicate, lhs, buildConstant(lhs.getType(), rhs));
}

Value WordBuilder::buildBitcast(Value value, Type elementType) {
  Type type = elementType;
  if (auto vector = dyn_cast<VectorType>(value.getType()))
    type = vector.clone(elementType);
  return createOrFold<arith::BitcastOp>(type, value);
}

Halves WordBuilder::buildSplit(Value elements) {
  int64_t size = cast<VectorType>(elements.getType()).getNumElements();
  auto type = VectorType::get(size / 2, getI32Type());
  Value words = createOrFold<vector::BitCastOp>(type, elements);
  return {toF32(build<arith::ShLIOp>(words, 16)),
          toF32(build<arith::AndIOp>(words, -0x10000))};
}

Value WordBuilder::buildPackUpper(Halves halves) {
  return buildPack(build<arith::ShRUIOp>(toI32(halves.even), 16),
                   build<arith::AndIOp>(toI32(halves.odd), -0x10000));
}

Value WordBuilder::buildPackLower(Halves halves) {
  return buildPack(build<arith::AndIOp>(toI32(halves.even), 0xffff),
                   build<arith::ShLIOp>(toI32(halves.odd), 16));
}

Value WordBuilder::buildPack(Value lower, Value upper) {
  int64_t size = cast<VectorType>(lower.getType()).getNumElements();
  auto type = VectorType::get(2 * size, getI16Type());
  return vector::BitCastOp::create(*this, type,
                                   arith::OrIOp::create(*this, lower, upper));
}
