//===- PaddingAwareOp.cpp - What padding-aware ops have in common ---------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Verification, folding, effects and shape reification of padding-aware ops, of this
// dialect and of others. What depends on the format is asked of its attribute.
//
//===----------------------------------------------------------------------===//

#include "moe/IR/Moe.h"

#include "../Launch/IntegerArithmetic.h"
#include "Constraints.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::moe;

int64_t mlir::moe::getSwizzledScaleSize(int64_t rows, int64_t columns,
                                        int64_t groupSize) {
  ::moe::launch::IntegerArithmetic arithmetic;
  return getSwizzledScaleSize(arithmetic, rows, columns, groupSize);
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

SmallVector<StringRef> mlir::moe::detail::getOperandNames(Operation *op) {
  if (auto permutation = dyn_cast<PermutationOpInterface>(op))
    return permutation.getOperandNames();
  auto padded = cast<PaddingAwareOpInterface>(op);
  SmallVector<StringRef> names = {"x"};
  if (padded.getPermutationMap())
    names.push_back("permutation_map");
  names.push_back("n_used");
  if (padded.getProbs())
    names.push_back("probs");
  llvm::append_range(names, padded.getFormat().getDestinationNames());
  return names;
}

unsigned mlir::moe::detail::getNumInputs(Operation *op) {
  if (auto permutation = dyn_cast<PermutationOpInterface>(op))
    return permutation.getNumInputs();
  auto padded = cast<PaddingAwareOpInterface>(op);
  return 2 + (padded.getPermutationMap() ? 1 : 0) + (padded.getProbs() ? 1 : 0);
}

MutableOperandRange mlir::moe::detail::getDestinationsMutable(Operation *op) {
  unsigned numInputs = getNumInputs(op);
  return MutableOperandRange(op, numInputs, op->getNumOperands() - numInputs);
}

//===----------------------------------------------------------------------===//
// Verification
//===----------------------------------------------------------------------===//

/// What an op asks of its inputs, and of the strides and extents of all operands, whose
/// types are `types`; it has `rows`. (C1-C4, C6, C11, C18)
static Violation checkPaddingAwareOp(PaddingAwareOpInterface op, TypeRange types,
                                     int64_t rows) {
  if (Violation violation = checkOneKind(types))
    return violation;
  auto x = cast<ShapedType>(types[0]);
  unsigned next = 1;
  auto map = op.getPermutationMap() ? cast<ShapedType>(types[next++]) : ShapedType();
  auto nUsed = cast<ShapedType>(types[next++]);
  auto probs = op.getProbs() ? cast<ShapedType>(types[next]) : ShapedType();
  if (Violation violation = checkMatrix("x", x, BFloat16Type::get(op.getContext()),
                                        ShapedType::kDynamic, ShapedType::kDynamic, "C2"))
    return violation;
  if (!x.isDynamicDim(1) && (x.getDimSize(1) < 1 || !llvm::isInt<32>(x.getDimSize(1))))
    return llvm::formatv(
        "expected 'x' to have from 1 to 2^31 - 1 columns, found {0} (C2)", quote(x));
  if (map && (map.getRank() != 1 || !map.getElementType().isSignlessInteger(32) ||
              differ(map.getDimSize(0), rows)))
    return llvm::formatv(
        "expected 'permutation_map' to be a vector [{0}] of i32, found {1} (C3)",
        dimToString(rows), quote(map));
  if (Violation violation = checkOneI32("n_used", nUsed, "C4"))
    return violation;
  if (probs && (probs.getRank() != 1 || !probs.getElementType().isF32() ||
                differ(probs.getDimSize(0), rows)))
    return llvm::formatv("expected 'probs' to be a vector [{0}] of f32, found {1} (C18)",
                         dimToString(rows), quote(probs));
  for (auto [name, type] : llvm::zip_equal(op.getOperandNames(), types))
    if (Violation violation = checkContiguousInnermost(name, cast<ShapedType>(type)))
      return violation;
  for (auto [name, type] : llvm::zip_equal(op.getOperandNames(), types))
    if (Violation violation = checkExtent(name, cast<ShapedType>(type)))
      return violation;
  return std::nullopt;
}

/// `columns` are those of a destination that is half as wide as `x`. (C14)
static Violation checkPairs(PairsAttr pairs, StringRef name, ShapedType x,
                            int64_t columns) {
  if (!x.isDynamicDim(1) && x.getDimSize(1) % 2 != 0)
    return llvm::formatv("expected 'x' to have an even number of columns under {0}, "
                         "found {1} (C14)",
                         pairs, quote(x));
  if (!pairs.areHalves() && !ShapedType::isDynamic(columns) &&
      columns % pairs.getBlock() != 0)
    return llvm::formatv("expected the columns of '{0}' to be a multiple of {1} under "
                         "{2}, found {3} (C14)",
                         name, pairs.getBlock(), pairs, columns);
  return std::nullopt;
}

/// (C8, C9)
Violation mlir::moe::checkScalesOfGroups(BlockFormatAttrInterface format, StringRef name,
                                         int64_t rows, int64_t columns,
                                         TypeRange scales) {
  auto scale = cast<ShapedType>(scales.front());
  int64_t groupSize = format.getGroupSize();
  if (!ShapedType::isDynamic(columns) && columns % groupSize != 0)
    return llvm::formatv(
        "expected the columns of '{0}' to be a multiple of {1}, found {2} (C8)", name,
        groupSize, columns);

  if (format.getScaleLayout() == ScaleLayout::Linear) {
    int64_t groups = ShapedType::isDynamic(columns) ? columns : columns / groupSize;
    return checkMatrix("scale", scale, format.getScaleType(), rows, groups, "C9");
  }
  // There is a size for every 'x' of fewer than 2^63 bytes (C11).
  int64_t size = ShapedType::isDynamic(rows) || ShapedType::isDynamic(columns)
                     ? ShapedType::kDynamic
                     : getSwizzledScaleSize(rows, columns, groupSize);
  if (scale.getRank() != 1 || scale.getElementType() != format.getScaleType() ||
      differ(scale.getDimSize(0), size))
    return llvm::formatv("expected 'scale' to be a vector [{0}] of {1} under "
                         "scale_layout<{2}>, found {3} (C9)",
                         dimToString(size), quote(format.getScaleType()),
                         stringifyScaleLayout(format.getScaleLayout()), quote(scale));
  return std::nullopt;
}

/// The constraints on operands of these types; see those of the operands themselves
/// below.
Violation mlir::moe::checkOperandTypes(PaddingAwareOpInterface op, TypeRange types) {
  return checkOperandTypes(op, op.getColumnPairs(), op.getGathers(), types);
}

Violation mlir::moe::checkOperandTypes(PaddingAwareOpInterface op, PairsAttr pairs,
                                       bool gathers, TypeRange types) {
  if (gathers && !op.getPermutationMap())
    return "expected a 'permutation_map' that says which rows are gathered, found none "
           "(C19)";
  auto x = cast<ShapedType>(types[0]);
  unsigned numInputs = op.getNumInputs();
  auto elements = cast<ShapedType>(types[numInputs]);
  // What is no matrix is found out below.
  ShapedType ofRows = gathers ? elements : x;
  int64_t rows = ofRows.getRank() == 2 ? ofRows.getDimSize(0) : ShapedType::kDynamic;
  if (Violation violation = checkPaddingAwareOp(op, types, rows))
    return violation;
  FormatAttrInterface format = op.getFormat();
  StringRef name = format.getDestinationNames().front();
  int64_t columns = x.getDimSize(1);
  if (pairs) {
    if (!ShapedType::isDynamic(columns))
      columns /= 2;
    int64_t known = ShapedType::isDynamic(columns) && elements.getRank() == 2
                        ? elements.getDimSize(1)
                        : columns;
    if (Violation violation = checkPairs(pairs, name, x, known))
      return violation;
  }
  if (Violation violation =
          checkMatrix(name, elements, format.getElementType(), rows, columns, "C5"))
    return violation;
  return format.checkScales(pairs ? name : "x", rows, columns,
                            types.drop_front(numInputs + 1));
}

LogicalResult mlir::moe::verifyPaddingAwareOp(Operation *operation) {
  auto op = cast<PaddingAwareOpInterface>(operation);
  // What the checks below take for granted.
  SmallVector<StringRef> names = op.getOperandNames();
  if (operation->getNumOperands() != names.size())
    return op->emitOpError("expected the operands ")
           << llvm::join(names, ", ") << ", found " << operation->getNumOperands()
           << (operation->getNumOperands() == 1 ? " operand" : " operands");
  for (auto [name, type] : llvm::zip_equal(names, operation->getOperandTypes()))
    if (!isa<RankedTensorType, MemRefType>(type))
      return op->emitOpError("expected '")
             << name << "' to be a ranked tensor or a memref, found " << type;

  Violation violation = checkOperandTypes(op, op->getOperandTypes());
  if (!violation)
    violation = checkDistinctDestinations(op, op->getOperands());
  if (!violation)
    violation = checkResults(cast<DestinationStyleOpInterface>(operation));
  return violation ? op->emitOpError(*violation) : success();
}

//===----------------------------------------------------------------------===//
// Folding and canonicalization
//===----------------------------------------------------------------------===//

/// What the constraints on operands are broken by, of an op of either interface.
static Violation checkTypes(Operation *op, TypeRange types) {
  if (auto permutation = dyn_cast<PermutationOpInterface>(op))
    return permutation.checkOperandTypes(types);
  return checkOperandTypes(cast<PaddingAwareOpInterface>(op), types);
}

/// Takes the operands of memref.cast ops in the place of their results, one by one, where
/// the op stays valid. Static sizes before the casts may contradict each other, in code
/// that never runs. Casts that add static information stay: they may be what makes an
/// innermost stride 1 (C6).
LogicalResult mlir::moe::detail::foldMemRefCasts(Operation *op) {
  SmallVector<Value> operands(op->getOperands());
  for (Value &operand : operands) {
    auto cast = operand.getDefiningOp<memref::CastOp>();
    if (!cast || !memref::CastOp::canFoldIntoConsumerOp(cast))
      continue;
    Value result = operand;
    operand = cast.getSource();
    if (checkTypes(op, ValueRange(operands).getTypes()) ||
        checkDistinctDestinations(op, operands))
      operand = result;
  }
  if (llvm::equal(operands, op->getOperands()))
    return failure();
  op->setOperands(operands);
  return success();
}

/// Casts of tensors are folded by the tensor dialect's pattern for destination-style ops,
/// all at once, and there is no way to refuse. Where that would make the op invalid its
/// results are undefined, as sizes do not fit, and the op is replaced by its
/// destinations.
namespace {

struct ReplaceContradictoryOp : RewritePattern {
  // Before the tensor dialect's.
  ReplaceContradictoryOp(StringRef opName, MLIRContext *context)
      : RewritePattern(opName, /*benefit=*/2, context) {}

  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    SmallVector<Type> types;
    for (Value operand : op->getOperands()) {
      auto cast = operand.getDefiningOp<tensor::CastOp>();
      types.push_back(cast && tensor::canFoldIntoConsumerOp(cast)
                          ? cast.getSource().getType()
                          : operand.getType());
    }
    Violation violation = checkTypes(op, types);
    if (!violation)
      return failure();
    op->emitWarning("the results are undefined, as sizes contradict each other across a "
                    "tensor.cast: ")
        << *violation;
    rewriter.replaceOp(
        op, SmallVector<Value>(cast<DestinationStyleOpInterface>(op).getDpsInits()));
    return success();
  }
};

} // namespace

void mlir::moe::detail::addContradictionPattern(RewritePatternSet &patterns,
                                                StringRef opName) {
  patterns.add<ReplaceContradictoryOp>(opName, patterns.getContext());
}

//===----------------------------------------------------------------------===//
// Effects, speculation, shapes
//===----------------------------------------------------------------------===//

/// On memrefs the inputs are read and the destinations written; on tensors the op is
/// pure.
void mlir::moe::detail::collectEffects(
    Operation *operation,
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  auto op = cast<DestinationStyleOpInterface>(operation);
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

Speculation::Speculatability mlir::moe::detail::getSpeculatability(Operation *op) {
  return cast<DestinationStyleOpInterface>(op).hasPureTensorSemantics()
             ? Speculation::Speculatable
             : Speculation::NotSpeculatable;
}

/// A result has the shape of its destination.
LogicalResult mlir::moe::detail::reifyShapes(Operation *operation, OpBuilder &builder,
                                             ReifiedRankedShapedTypeDims &shapes) {
  auto op = cast<DestinationStyleOpInterface>(operation);
  for (OpResult result : op->getResults())
    shapes.push_back(
        tensor::getMixedSizes(builder, op.getLoc(), op.getTiedOpOperand(result)->get()));
  return success();
}
