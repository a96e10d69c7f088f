//===- Activations.cpp - The named ops and their activations --------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The arithmetic of the activations of the named ops: each a function that computes one
// element, or a vector of them, bf16 in, the same type out, once for every target and
// every format. MoeOps.td says which op has which, and all else of the ops.
//
//===----------------------------------------------------------------------===//

#include "../Launch/KernelName.h"
#include "Elementwise.h"
#include "GatedUnit.h"

#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::moe;

//===----------------------------------------------------------------------===//
// Squared ReLU
//===----------------------------------------------------------------------===//

static std::optional<std::string> checkClampScale(std::optional<APFloat> scale) {
  if (!scale || (scale->isFinite() && !scale->isNegative() && !scale->isZero()))
    return std::nullopt;
  SmallString<16> text;
  scale->toString(text);
  return ("expected 'clamp_scale' to be positive and finite, found " + text + " (C17)")
      .str();
}

static std::string getClampSuffix(std::optional<APFloat> scale) {
  ::moe::launch::NameText name;
  if (scale)
    ::moe::launch::addClampScale(name, scale->convertToFloat());
  return name.c_str();
}

/// `elements` times the factor of their row, in bf16. Without one, `elements`.
static Value buildWeighted(OpBuilder &builder, Location loc, Value elements, Value prob) {
  if (!prob)
    return elements;
  Elementwise e(builder, loc, elements.getType());
  return e.narrow(e.mul(e.widen(elements), prob));
}

/// tanh(v) of v >= 0: m / (m + 2), where m is exp(2v) - 1, which is accurate near 0 too.
static Value buildTanh(Elementwise &e, OpBuilder &builder, Value v) {
  Value a = e.build<arith::MinNumFOp>(e.add(v, v), e.f32(20));
  SplitExponent split = e.splitExponent(a, /*isNegated=*/false);
  Value one = e.f32(1);
  Value bits =
      e.build<arith::AddIOp>(e.bitcast(builder.getI32Type(), one), split.exponentBits);
  Value k = e.bitcast(builder.getF32Type(), bits);
  Value m = e.fma(e.mul(split.fraction, k), split.polynomial, e.sub(k, one));
  Value inverse = e.build<arith::DivFOp>(one, e.add(m, e.f32(2)));
  return e.mul(m, inverse);
}

/// (scale * tanh(relu / scale))^2
static Value buildClampedSquare(OpBuilder &builder, Location loc, Value relu, float scale,
                                Value prob) {
  Elementwise e(builder, loc, relu.getType());
  Value wide = e.widen(relu);
  // By a power of two a product gives the same bits.
  APFloat inverse(0.0f);
  Value v = APFloat(scale).getExactInverse(&inverse)
                ? e.mul(wide, e.f32(inverse.convertToFloat()))
                : e.build<arith::DivFOp>(wide, e.f32(scale));
  Value c = e.mul(e.f32(scale), buildTanh(e, builder, v));
  Value square = e.mul(c, c);
  if (prob)
    return e.narrow(e.mul(square, prob));
  return arith::TruncFOp::create(builder, loc, relu.getType(), square);
}

/// relu(v)^2. The square of a bf16 value is exact in f32, so one multiplication that
/// rounds to bf16 gives the bits of the f32 product rounded once.
static Value buildSquaredRelu(OpBuilder &builder, Location loc, Value elements,
                              std::optional<APFloat> clampScale, Value prob) {
  Value zero =
      arith::ConstantOp::create(builder, loc, builder.getZeroAttr(elements.getType()));
  Value relu = arith::MaxNumFOp::create(builder, loc, elements, zero);
  if (clampScale)
    return buildClampedSquare(builder, loc, relu, clampScale->convertToFloat(), prob);
  Value square = arith::MulFOp::create(builder, loc, relu, relu);
  return buildWeighted(builder, loc, square, prob);
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

/// `%x, %permutation_map, %n_used : types`, of which the second may be missing.
static ParseResult parseInputs(OpAsmParser &parser, OpAsmParser::UnresolvedOperand &x,
                               std::optional<OpAsmParser::UnresolvedOperand> &map,
                               OpAsmParser::UnresolvedOperand &nUsed, Type &xType,
                               Type &mapType, Type &nUsedType) {
  SMLoc loc = parser.getCurrentLocation();
  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  SmallVector<Type> types;
  if (parser.parseOperandList(operands) || parser.parseColonTypeList(types))
    return failure();
  if (operands.size() < 2 || operands.size() > 3 || types.size() != operands.size())
    return parser.emitError(loc,
                            "expected x, permutation_map and n_used, or x and n_used, "
                            "with their types, found ")
           << operands.size() << " operands and " << types.size() << " types";
  x = operands.front();
  xType = types.front();
  nUsed = operands.back();
  nUsedType = types.back();
  if (operands.size() == 3) {
    map = operands[1];
    mapType = types[1];
  }
  return success();
}

static void printInputs(OpAsmPrinter &printer, Operation *, Value x, Value map,
                        Value nUsed, Type, Type, Type) {
  SmallVector<Value> operands = {x};
  if (map)
    operands.push_back(map);
  operands.push_back(nUsed);
  printer << operands << " : " << ValueRange(operands).getTypes();
}

#define GET_OP_CLASSES
#include "moe/IR/MoeOps.cpp.inc"
