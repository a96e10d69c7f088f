//===- RuntimeVerifiableOpInterfaceImpl.cpp - Checks at run time ----------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the verifier cannot see of dynamic sizes, as assertions in the program.
//
//===----------------------------------------------------------------------===//

#include "moe/Transforms/ExternalModels.h"
#include "moe/Transforms/PaddingAwareOpModels.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "moe/IR/Moe.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::moe;

namespace {

/// Emits the comparisons of one op. Has the arithmetic of a size of scales.
class SizeChecks {
public:
  using Value = mlir::Value;
  SizeChecks(OpBuilder &builder, Location loc, Operation *op,
             function_ref<std::string(Operation *, StringRef)> message)
      : builder(builder), loc(loc), op(op), message(message) {}

  Value dim(Value shaped, int64_t index) {
    if (isa<TensorType>(shaped.getType()))
      return tensor::DimOp::create(builder, loc, shaped, index);
    return memref::DimOp::create(builder, loc, shaped, index);
  }

  Value constant(int64_t value) {
    return arith::ConstantIndexOp::create(builder, loc, value);
  }
  Value mul(Value lhs, Value rhs) {
    return arith::MulIOp::create(builder, loc, lhs, rhs);
  }
  Value ceilDivByPowerOfTwo(Value lhs, int64_t rhs) {
    return arith::CeilDivUIOp::create(builder, loc, lhs, constant(rhs));
  }

  void expectEqual(Value found, Value expected, StringRef text) {
    expect(arith::CmpIPredicate::eq, found, expected, text);
  }
  void expect(arith::CmpIPredicate predicate, Value found, Value limit, StringRef text) {
    Value holds = arith::CmpIOp::create(builder, loc, predicate, found, limit);
    cf::AssertOp::create(builder, loc, holds, message(op, text));
  }

  OpBuilder &builder;
  Location loc;

private:
  Operation *op;
  function_ref<std::string(Operation *, StringRef)> message;
};

/// Checks what an op has beside the matrix of elements.
class CheckScales : public FormatLowering {
public:
  /// `rows` are those of the operand `ofRows`, `columns` those of `matrix`.
  CheckScales(SizeChecks &checks, PaddingAwareOpInterface op, StringRef ofRows,
              StringRef matrix, Value rows, Value columns)
      : checks(checks), op(op), ofRows(ofRows), matrix(matrix), rows(rows),
        columns(columns) {}

  void lowerElements() override {}

  void lowerGroups(BlockFormatAttrInterface format) override {
    Value scale = op.getDestinations()[1];
    OpBuilder &b = checks.builder;
    Location loc = checks.loc;
    Value groupSize = checks.constant(format.getGroupSize());
    checks.expectEqual(
        arith::RemUIOp::create(b, loc, columns, groupSize), checks.constant(0),
        llvm::formatv("expected the columns of '{0}' to be a multiple of {1} "
                      "(C8)",
                      matrix, format.getGroupSize())
            .str());
    if (format.getScaleLayout() == ScaleLayout::Linear) {
      checks.expectEqual(
          checks.dim(scale, 0), rows,
          llvm::formatv("expected 'scale' to have as many rows as '{0}' (C9)", ofRows)
              .str());
      checks.expectEqual(
          checks.dim(scale, 1), arith::DivUIOp::create(b, loc, columns, groupSize),
          llvm::formatv("expected 'scale' to have a column for each {0} of "
                        "'{1}' (C9)",
                        format.getGroupSize(), matrix)
              .str());
      return;
    }
    Value size =
        mlir::moe::getSwizzledScaleSize(checks, rows, columns, format.getGroupSize());
    checks.expectEqual(
        checks.dim(scale, 0), size,
        llvm::formatv("expected 'scale' to have ceil(M / {0}) * ceil(K / {1}) "
                      "* {2} elements (C9)",
                      kScaleTileRows, format.getGroupSize() * kScaleTileColumns,
                      kScaleTileBytes)
            .str());
  }

private:
  SizeChecks &checks;
  PaddingAwareOpInterface op;
  StringRef ofRows, matrix;
  Value rows, columns;
};

} // namespace

static void checkRouteTokens(RouteTokensOp op, SizeChecks &checks) {
  OpBuilder &b = checks.builder;
  Location loc = checks.loc;
  Value tokens = checks.dim(op.getRoutingMap(), 0);
  Value topk = checks.dim(op.getRoutingMap(), 1);
  Value experts = checks.dim(op.getTokensPerExpert(), 0);
  Value rows = checks.dim(op.getPermutationMap(), 0);
  Value one = checks.constant(1);
  // One comparison: from 1 on.
  auto expectUpToMost = [&](Value count, StringRef text) {
    checks.expect(arith::CmpIPredicate::ult, arith::SubIOp::create(b, loc, count, one),
                  checks.constant(kMaxExperts), text);
  };
  expectUpToMost(topk, llvm::formatv("expected 'routing_map' to have from 1 to {0} "
                                     "columns (C21)",
                                     kMaxExperts)
                           .str());
  if (Value probs = op.getProbs()) {
    checks.expectEqual(checks.dim(probs, 0), tokens,
                       "expected 'probs' to have as many rows as 'routing_map' (C23)");
    checks.expectEqual(checks.dim(probs, 1), topk,
                       "expected 'probs' to have as many columns as 'routing_map' (C23)");
    checks.expectEqual(checks.dim(op.getPermutedProbs(), 0), rows,
                       "expected 'permuted_probs' to have as many elements as "
                       "'permutation_map' (C23)");
  }
  expectUpToMost(experts,
                 llvm::formatv("expected 1 to {0} experts (C24)", kMaxExperts).str());
  checks.expectEqual(checks.dim(op.getExclusiveOffsets(), 0), experts,
                     "expected 'exclusive_offsets' to have as many elements as "
                     "'tokens_per_expert' (C24)");
  checks.expectEqual(checks.dim(op.getInclusiveOffsets(), 0), experts,
                     "expected 'inclusive_offsets' to have as many elements as "
                     "'tokens_per_expert' (C24)");
  checks.expectEqual(
      checks.dim(op.getInverseMap(), 0), tokens,
      "expected 'inverse_map' to have as many rows as 'routing_map' (C26)");
  checks.expectEqual(checks.dim(op.getInverseMap(), 1), experts,
                     "expected 'inverse_map' to have a column for each expert (C26)");
  Value alignment =
      arith::IndexCastOp::create(b, loc, b.getIndexType(), op.getAlignment());
  checks.expect(arith::CmpIPredicate::sge, alignment, one,
                "expected 'alignment' to be 1 or more (C27)");
  // A matrix in memory has fewer than 2^62 elements, and padding fewer than 2^42.
  Value offsets = arith::AddIOp::create(b, loc, checks.mul(tokens, topk),
                                        checks.mul(experts, alignment));
  checks.expect(arith::CmpIPredicate::ult, offsets, checks.constant(int64_t(1) << 31),
                "expected T * topk + E * alignment to be below 2^31 (C27)");
}

static void checkUnpermuteTokens(UnpermuteTokensOp op, SizeChecks &checks) {
  if (Value probs = op.getProbs())
    checks.expectEqual(checks.dim(probs, 0), checks.dim(op.getY(), 0),
                       "expected 'probs' to have as many elements as 'y' has rows (C29)");
  checks.expectEqual(checks.dim(op.getOut(), 0), checks.dim(op.getInverseMap(), 0),
                     "expected 'out' to have as many rows as 'inverse_map' (C30)");
  checks.expectEqual(checks.dim(op.getOut(), 1), checks.dim(op.getY(), 1),
                     "expected 'out' to have as many columns as 'y' (C30)");
}

void mlir::moe::detail::generateRuntimeVerification(
    Operation *op, OpBuilder &builder, Location loc,
    function_ref<std::string(Operation *, StringRef)> message) {
  SizeChecks checks(builder, loc, op, message);
  if (auto route = dyn_cast<RouteTokensOp>(op))
    return checkRouteTokens(route, checks);
  if (auto unpermute = dyn_cast<UnpermuteTokensOp>(op))
    return checkUnpermuteTokens(unpermute, checks);
  auto paddingAware = cast<PaddingAwareOpInterface>(op);
  StringRef destination = paddingAware.getFormat().getDestinationNames().front();
  StringRef ofRows = paddingAware.getGathers() ? destination : "x";
  Value rows = checks.dim(paddingAware.getRowsOperand(), 0);
  Value columns = checks.dim(paddingAware.getX(), 1);
  auto expectForEachRow = [&](StringRef name, Value vector, StringRef constraint) {
    checks.expectEqual(
        checks.dim(vector, 0), rows,
        llvm::formatv("expected '{0}' to have as many elements as '{1}' has rows ({2})",
                      name, ofRows, constraint)
            .str());
  };
  if (Value map = paddingAware.getPermutationMap())
    expectForEachRow("permutation_map", map, "C3");
  if (Value probs = paddingAware.getProbs())
    expectForEachRow("probs", probs, "C18");
  Value matrix = paddingAware.getDestinations().front();
  if (!paddingAware.getGathers())
    checks.expectEqual(checks.dim(matrix, 0), rows,
                       "expected the destination to have as many rows as 'x' (C5)");
  if (PairsAttr pairs = paddingAware.getColumnPairs()) {
    Value found = columns;
    columns = checks.dim(matrix, 1);
    checks.expectEqual(found, checks.mul(columns, checks.constant(2)),
                       "expected 'x' to have two columns for each of the destination "
                       "(C14)");
    if (pairs.getBlock() > 1)
      checks.expectEqual(
          arith::RemUIOp::create(builder, loc, columns,
                                 checks.constant(pairs.getBlock())),
          checks.constant(0),
          llvm::formatv("expected the columns of the destination to be a multiple of {0} "
                        "(C14)",
                        pairs.getBlock())
              .str());
  } else {
    checks.expectEqual(checks.dim(matrix, 1), columns,
                       "expected the destination to have as many columns as 'x' (C5)");
  }
  CheckScales checkScales(checks, paddingAware, ofRows,
                          paddingAware.getColumnPairs() ? destination : "x", rows,
                          columns);
  paddingAware.getFormat().lower(checkScales);
}

void mlir::moe::detail::loadRuntimeVerificationDialects(MLIRContext *context) {
  context->loadDialect<arith::ArithDialect, cf::ControlFlowDialect, memref::MemRefDialect,
                       tensor::TensorDialect>();
}

void mlir::moe::registerRuntimeVerifiableOpInterfaceModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, MoeDialect *) {
    attachRuntimeVerificationModels<
#define GET_OP_LIST
#include "moe/IR/MoeOps.cpp.inc"
        >(context);
  });
}
