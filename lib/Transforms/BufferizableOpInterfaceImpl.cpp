//===- BufferizableOpInterfaceImpl.cpp - Bufferization of the moe ops -----===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One-shot bufferization in place on `outs`.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/ExternalModels.h"
#include "moe/Transforms/PaddingAwareOpModels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "moe/IR/Moe.h"

using namespace mlir;
using namespace mlir::bufferization;
using namespace mlir::moe;

/// Gives `buffer` the statically known innermost stride of 1 that the ops ask for (C6).
/// By default a function's arguments bufferize to fully dynamic layouts; what such a
/// buffer's stride is can only be checked when the program runs. It is checked, so that
/// no buffer is ever misread.
static Value castToContiguousInnermost(RewriterBase &rewriter, Location loc,
                                       Value buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  if (type.getRank() == 0)
    return buffer;
  auto [strides, offset] = type.getStridesAndOffset();
  if (!ShapedType::isDynamic(strides.back()))
    return buffer;

  auto metadata = memref::ExtractStridedMetadataOp::create(rewriter, loc, buffer);
  Value one = arith::ConstantIndexOp::create(rewriter, loc, 1);
  Value isContiguous = arith::CmpIOp::create(rewriter, loc, arith::CmpIPredicate::eq,
                                             metadata.getStrides().back(), one);
  cf::AssertOp::create(rewriter, loc, isContiguous,
                       "moe: expected a buffer with an innermost stride of 1 (C6)");
  SmallVector<int64_t> contiguous(strides);
  contiguous.back() = 1;
  auto layout = StridedLayoutAttr::get(rewriter.getContext(), offset, contiguous);
  return memref::CastOp::create(rewriter, loc,
                                MemRefType::get(type.getShape(), type.getElementType(),
                                                layout, type.getMemorySpace()),
                                buffer);
}

bool mlir::moe::detail::bufferizesToMemoryRead(Operation *op, OpOperand &operand) {
  // Of counts and offsets every element is written.
  if (auto route = dyn_cast<RouteTokensOp>(op))
    return !llvm::is_contained({route.getTokensPerExpertMutable().getOperandNumber(),
                                route.getExclusiveOffsetsMutable().getOperandNumber(),
                                route.getInclusiveOffsetsMutable().getOperandNumber()},
                               operand.getOperandNumber());
  if (isa<PermutationOpInterface>(op))
    return true;
  // A destination keeps the rows that are not live, so its old value matters: all but
  // a scale buffer of which every byte is written.
  auto padded = cast<PaddingAwareOpInterface>(op);
  return padded.getFormat().getDeadScales() == DeadScales::Untouched ||
         operand.getOperandNumber() != padded.getNumInputs() + 1;
}

LogicalResult mlir::moe::detail::bufferize(Operation *op, RewriterBase &rewriter,
                                           const BufferizationOptions &options,
                                           BufferizationState &state) {
  OpBuilder::InsertionGuard guard(rewriter);
  rewriter.setInsertionPoint(op);
  SmallVector<Value> buffers;
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    if (operand.getType().isInteger()) {
      buffers.push_back(operand);
      operands.push_back(operand);
      continue;
    }
    if (!isa<TensorType>(operand.getType()))
      return op->emitOpError("expected tensors to bufferize, found ")
             << operand.getType();
    FailureOr<Value> buffer = getBuffer(rewriter, operand, options, state);
    if (failed(buffer))
      return failure();
    buffers.push_back(*buffer);
    operands.push_back(castToContiguousInnermost(rewriter, op->getLoc(), *buffer));
  }
  auto dstOp = cast<DestinationStyleOpInterface>(op);
  unsigned firstInit = dstOp.getDpsInitsMutable()[0].getOperandNumber();

  OperationState newState(op->getLoc(), op->getName(), operands, TypeRange(),
                          op->getAttrs());
  newState.propertiesAttr = op->getPropertiesAsAttribute();
  for (Region &region : op->getRegions())
    newState.addRegion()->takeBody(region);
  rewriter.create(newState);
  // The results are the destinations themselves, with the types that the analysis
  // promised to the other users.
  replaceOpWithBufferizedValues(
      rewriter, op, ArrayRef<Value>(buffers).slice(firstInit, dstOp.getNumDpsInits()));
  return success();
}

void mlir::moe::detail::loadBufferizationDialects(MLIRContext *context) {
  context
      ->loadDialect<arith::ArithDialect, cf::ControlFlowDialect, memref::MemRefDialect>();
}

void mlir::moe::registerBufferizableOpInterfaceModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, MoeDialect *) {
    attachBufferizationModels<
#define GET_OP_LIST
#include "moe/IR/MoeOps.cpp.inc"
        >(context);
  });
}
