//===- MXFP8.cpp - The format of MXFP8 -------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// #moe.mxfp8: the quantisation steps of the dialect's description. A scale code is the
// biased exponent of an E8M0 scale.
//
//===----------------------------------------------------------------------===//

#include "moe/IR/Moe.h"

#include "../Launch/KernelName.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::moe;

ArrayRef<llvm::StringLiteral> MXFP8Attr::getDestinationNames() const {
  static constexpr llvm::StringLiteral names[] = {"data", "scale"};
  return names;
}

Type MXFP8Attr::getElementType() const { return Float8E4M3FNType::get(getContext()); }

Type MXFP8Attr::getScaleType() const { return Float8E8M0FNUType::get(getContext()); }

int64_t MXFP8Attr::getGroupSize() const { return kGroupSize; }

StringRef MXFP8Attr::getOpSuffix() const { return "quantize_mxfp8"; }

std::string MXFP8Attr::getKernelSuffix() const {
  ::moe::launch::NameText name;
  ::moe::launch::addScales(name, getScaleLayout() == ScaleLayout::Linear,
                           getDeadScales() == DeadScales::Untouched);
  return name.c_str();
}

void MXFP8Attr::addOpAttributes(NamedAttrList &attributes) const {
  attributes.set("scale_layout", ScaleLayoutAttr::get(getContext(), getScaleLayout()));
  attributes.set("dead_scales", DeadScalesAttr::get(getContext(), getDeadScales()));
}

/// `value` as an i32, or as a vector of them shaped like `like`.
static Value buildI32(ImplicitLocOpBuilder &b, int64_t value, Type like) {
  TypedAttr attribute = b.getI32IntegerAttr(value);
  if (auto vector = dyn_cast<VectorType>(like))
    attribute =
        DenseElementsAttr::get(vector.clone(b.getI32Type()), Attribute(attribute));
  return arith::ConstantOp::create(b, attribute);
}

/// `elementType`, or a vector of it shaped like `like`.
static Type getTypeLike(Type like, Type elementType) {
  if (auto vector = dyn_cast<VectorType>(like))
    return vector.clone(elementType);
  return elementType;
}

/// The biased exponent of a scale, 0 to 255.
Value MXFP8Attr::buildScaleCode(ImplicitLocOpBuilder &b, Value maximum) const {
  Type type = maximum.getType();
  auto constant = [&](int64_t value) { return buildI32(b, value, type); };
  Value bits16 = arith::BitcastOp::create(b, getTypeLike(type, b.getI16Type()), maximum);
  Value bits = arith::ExtUIOp::create(b, getTypeLike(type, b.getI32Type()), bits16);
  // 127 + ceil(log2(m / 448)), as 448 is 1.75 * 2^8: a mantissa above 1.75 (0x60 of 0x7f)
  // carries into the exponent field.
  Value carried = arith::AddIOp::create(b, bits, constant(0x1f));
  Value field = arith::ShRUIOp::create(b, carried, constant(7));
  Value exponent = arith::SubIOp::create(b, field, constant(8));
  exponent = arith::MaxSIOp::create(b, exponent, constant(1));

  auto equals = [&](int64_t value) -> Value {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, bits, constant(value));
  };
  exponent = arith::SelectOp::create(b, equals(0x7f80), constant(255), exponent);
  return arith::SelectOp::create(b, equals(0), constant(0), exponent);
}

/// 2^(127 - code). For 255 it is 0: a finite element becomes 0 and an infinite one NaN.
Value MXFP8Attr::buildFactor(ImplicitLocOpBuilder &b, Value code) const {
  Type type = code.getType();
  Value field = arith::SubIOp::create(b, buildI32(b, 254, type), code);
  field = arith::MaxSIOp::create(b, field, buildI32(b, 0, type));
  Value bits = arith::ShLIOp::create(b, field, buildI32(b, 7, type));
  Value bits16 = arith::TruncIOp::create(b, getTypeLike(type, b.getI16Type()), bits);
  return arith::BitcastOp::create(b, getTypeLike(type, b.getBF16Type()), bits16);
}

/// The product with a power of two is exact in bf16, or so small that f8E4M3FN makes 0 of
/// it.
Value MXFP8Attr::buildElements(ImplicitLocOpBuilder &b, Value fragment,
                               Value factor) const {
  auto type = cast<VectorType>(fragment.getType());
  Value factors = vector::BroadcastOp::create(b, type, factor);
  Value scaled = arith::MulFOp::create(b, fragment, factors);
  VectorType dataType = type.clone(getElementType());
  return arith::TruncFOp::create(b, dataType, scaled);
}
