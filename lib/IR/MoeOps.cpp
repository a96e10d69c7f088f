//===- MoeOps.cpp - Ops of the moe dialect --------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Verification, folding, effects and shape reification of the ops. The arithmetic is
// in Activations.cpp.
//
//===----------------------------------------------------------------------===//

#include "moe/IR/Moe.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::moe;

int64_t mlir::moe::getSwizzledScaleSize(int64_t rows, int64_t columns) {
  return llvm::divideCeil(rows, kScaleTileRows) *
         llvm::divideCeil(columns, kGroupSize * kScaleTileColumns) * kScaleTileBytes;
}

//===----------------------------------------------------------------------===//
// Operand names
//===----------------------------------------------------------------------===//

static constexpr llvm::StringLiteral activationOperands[] = {"x", "permutation_map",
                                                             "n_used", "out"};
static constexpr llvm::StringLiteral quantizeOperands[] = {"x", "permutation_map",
                                                           "n_used", "data", "scale"};

ArrayRef<llvm::StringLiteral> PaddedSquaredReluOp::getOperandNames() {
  return activationOperands;
}

ArrayRef<llvm::StringLiteral> QuantizeMXFP8Op::getOperandNames() {
  return quantizeOperands;
}

ArrayRef<llvm::StringLiteral> SquaredReluQuantizeMXFP8Op::getOperandNames() {
  return quantizeOperands;
}

//===----------------------------------------------------------------------===//
// Verification
//===----------------------------------------------------------------------===//

static std::string dimToString(int64_t dim) {
  return ShapedType::isDynamic(dim) ? "?" : std::to_string(dim);
}

/// Two sizes differ for certain; dynamic ones may be anything.
static bool differ(int64_t lhs, int64_t rhs) {
  return !ShapedType::isDynamic(lhs) && !ShapedType::isDynamic(rhs) && lhs != rhs;
}

/// (C1)
static LogicalResult verifyOneKindOfOperands(Operation *op) {
  bool isTensor = isa<RankedTensorType>(op->getOperand(0).getType());
  for (Type type : op->getOperandTypes())
    if (isa<RankedTensorType>(type) != isTensor)
      return op->emitOpError("expected all operands to be tensors or all to be memrefs, "
                             "found ")
             << op->getOperand(0).getType() << " and " << type << " (C1)";
  return success();
}

/// A matrix [rows, columns] of `elementType`; dynamic sizes match any. (C2, C5, C9)
static LogicalResult verifyMatrix(Operation *op, StringRef name, ShapedType type,
                                  Type elementType, int64_t rows, int64_t columns,
                                  StringRef constraint) {
  if (type.getRank() == 2 && type.getElementType() == elementType &&
      !differ(type.getDimSize(0), rows) && !differ(type.getDimSize(1), columns))
    return success();
  return op->emitOpError("expected '")
         << name << "' to be a matrix [" << dimToString(rows) << ", "
         << dimToString(columns) << "] of " << elementType << ", found " << type << " ("
         << constraint << ")";
}

/// (C6)
static LogicalResult verifyContiguousInnermost(Operation *op, StringRef name, Type type) {
  auto memref = dyn_cast<MemRefType>(type);
  if (!memref || memref.getRank() == 0)
    return success();
  auto [strides, offset] = memref.getStridesAndOffset();
  if (strides.back() == 1)
    return success();
  return op->emitOpError("expected '")
         << name << "' to have an innermost stride of 1, found "
         << dimToString(strides.back()) << " in " << memref << " (C6)";
}

/// (C7)
static LogicalResult verifyResults(DestinationStyleOpInterface op) {
  SmallVector<Type> expected;
  for (Value init : op.getDpsInits())
    if (isa<RankedTensorType>(init.getType()))
      expected.push_back(init.getType());
  if (llvm::equal(expected, op->getResultTypes()))
    return success();
  auto diagnostic = op->emitOpError("expected ");
  if (expected.empty())
    diagnostic << "no results with memrefs in 'outs'";
  else
    llvm::interleaveComma(expected, diagnostic << "the types of 'outs' as results, ");
  diagnostic << ", found ";
  if (op->getNumResults() == 0)
    diagnostic << "none";
  else
    llvm::interleaveComma(op->getResultTypes(), diagnostic);
  return diagnostic << " (C7)";
}

/// What every op asks of its inputs, and of the strides of all operands. (C1-C4, C6, C7)
static LogicalResult verifyPaddingAwareOp(PaddingAwareOpInterface op) {
  auto shapeOf = [](Value value) { return cast<ShapedType>(value.getType()); };
  ShapedType x = shapeOf(op.getX());
  ShapedType map = shapeOf(op.getPermutationMap());
  ShapedType nUsed = shapeOf(op.getNUsed());
  Builder builder(op.getContext());

  if (failed(verifyOneKindOfOperands(op)) ||
      failed(verifyMatrix(op, "x", x, builder.getBF16Type(), ShapedType::kDynamic,
                          ShapedType::kDynamic, "C2")))
    return failure();
  if (!x.isDynamicDim(1) && (x.getDimSize(1) < 1 || !llvm::isInt<32>(x.getDimSize(1))))
    return op->emitOpError("expected 'x' to have from 1 to 2^31 - 1 columns, found ")
           << x << " (C2)";
  if (map.getRank() != 1 || !map.getElementType().isSignlessInteger(32) ||
      differ(map.getDimSize(0), x.getDimSize(0)))
    return op->emitOpError("expected 'permutation_map' to be a vector [")
           << dimToString(x.getDimSize(0)) << "] of i32, found " << map << " (C3)";
  if (!nUsed.getElementType().isSignlessInteger(32) || nUsed.getRank() > 1 ||
      (nUsed.getRank() == 1 && nUsed.getDimSize(0) != 1))
    return op->emitOpError("expected 'n_used' to be one i32, of rank 0 or of rank 1 with "
                           "one element, found ")
           << nUsed << " (C4)";
  for (auto [name, operand] : llvm::zip_equal(op.getOperandNames(), op->getOperands()))
    if (failed(verifyContiguousInnermost(op, name, operand.getType())))
      return failure();
  return verifyResults(cast<DestinationStyleOpInterface>(op.getOperation()));
}

LogicalResult PaddedSquaredReluOp::verify() {
  ShapedType x = getX().getType();
  if (failed(verifyPaddingAwareOp(*this)))
    return failure();
  return verifyMatrix(*this, "out", getOut().getType(), x.getElementType(),
                      x.getDimSize(0), x.getDimSize(1), "C5");
}

/// (C5, C8, C9)
static LogicalResult verifyQuantizeOp(MXFP8QuantizeOpInterface op) {
  if (failed(verifyPaddingAwareOp(op)))
    return failure();
  MLIRContext *context = op.getContext();
  ShapedType x = op.getX().getType();
  ShapedType scale = op.getScale().getType();
  int64_t rows = x.getDimSize(0);
  int64_t columns = x.getDimSize(1);

  if (failed(verifyMatrix(op, "data", op.getData().getType(),
                          Float8E4M3FNType::get(context), rows, columns, "C5")))
    return failure();
  if (!ShapedType::isDynamic(columns) && columns % kGroupSize != 0)
    return op->emitOpError("expected the columns of 'x' to be a multiple of ")
           << kGroupSize << ", found " << columns << " (C8)";

  Type scaleType = Float8E8M0FNUType::get(context);
  if (op.getScaleLayout() == ScaleLayout::Linear) {
    int64_t groups = ShapedType::isDynamic(columns) ? columns : columns / kGroupSize;
    return verifyMatrix(op, "scale", scale, scaleType, rows, groups, "C9");
  }
  int64_t size = ShapedType::isDynamic(rows) || ShapedType::isDynamic(columns)
                     ? ShapedType::kDynamic
                     : getSwizzledScaleSize(rows, columns);
  if (scale.getRank() != 1 || scale.getElementType() != scaleType ||
      differ(scale.getDimSize(0), size))
    return op->emitOpError("expected 'scale' to be a vector [")
           << dimToString(size) << "] of " << scaleType
           << " under scale_layout<swizzle_32_4_4>, found " << scale << " (C9)";
  return success();
}

LogicalResult QuantizeMXFP8Op::verify() { return verifyQuantizeOp(*this); }

LogicalResult SquaredReluQuantizeMXFP8Op::verify() { return verifyQuantizeOp(*this); }

//===----------------------------------------------------------------------===//
// Folding
//===----------------------------------------------------------------------===//

/// Takes the operands of memref.cast ops in the place of their results. Casts that add
/// static information stay: they may be what makes an innermost stride 1 (C6). Casts of
/// tensors are folded by the tensor dialect's pattern for destination-style ops.
static LogicalResult foldMemRefCasts(Operation *op) {
  bool folded = false;
  for (OpOperand &operand : op->getOpOperands()) {
    auto cast = operand.get().getDefiningOp<memref::CastOp>();
    if (!cast || !memref::CastOp::canFoldIntoConsumerOp(cast))
      continue;
    operand.set(cast.getSource());
    folded = true;
  }
  return success(folded);
}

//===----------------------------------------------------------------------===//
// Effects, speculation, shapes
//===----------------------------------------------------------------------===//

/// On memrefs the inputs are read and the destinations written; on tensors the op is
/// pure.
static void collectEffects(
    DestinationStyleOpInterface op,
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isa<MemRefType>(operand.get().getType()))
      continue;
    if (op.isDpsInit(&operand))
      effects.emplace_back(MemoryEffects::Write::get(), &operand,
                           SideEffects::DefaultResource::get());
    else
      effects.emplace_back(MemoryEffects::Read::get(), &operand,
                           SideEffects::DefaultResource::get());
  }
}

static Speculation::Speculatability getSpeculatabilityOf(DestinationStyleOpInterface op) {
  return op.hasPureTensorSemantics() ? Speculation::Speculatable
                                     : Speculation::NotSpeculatable;
}

/// A result has the shape of its destination.
static LogicalResult reifyShapes(DestinationStyleOpInterface op, OpBuilder &builder,
                                 ReifiedRankedShapedTypeDims &shapes) {
  for (OpResult result : op->getResults())
    shapes.push_back(
        tensor::getMixedSizes(builder, op.getLoc(), op.getTiedOpOperand(result)->get()));
  return success();
}

// The ODS base class calls the functions above from each op.
#define GET_OP_CLASSES
#include "moe/IR/MoeOps.cpp.inc"
