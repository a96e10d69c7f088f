//===- MoeToSCF.cpp - The CPU path ----------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Lowers the moe ops on memrefs to loops over rows and vectors.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "IndexArithmetic.h"
#include "MXFP8Arithmetic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {
#define GEN_PASS_DEF_CONVERTMOETOSCF
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

/// Elements of one vector: a group of the quantising ops, and two AVX-512 registers of
/// f32. LLVM splits it as the machine needs.
static constexpr int64_t kVectorSize = kGroupSize;

/// scf.for from `begin` to `end` in steps of `step`.
static void buildLoop(ImplicitLocOpBuilder &b, Value begin, Value end, int64_t step,
                      function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, begin, end, buildIndex(b, step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

/// scf.if with an empty else if `otherwise` is null.
static void buildIf(ImplicitLocOpBuilder &b, Value condition, function_ref<void()> then,
                    function_ref<void()> otherwise) {
  auto ifOp = scf::IfOp::create(b, condition, /*withElseRegion=*/bool(otherwise));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  then();
  if (otherwise) {
    b.setInsertionPointToStart(ifOp.elseBlock());
    otherwise();
  }
}

/// Whether row `row` is live; reads no map entry at or past `usedRows`.
static Value buildIsLive(ImplicitLocOpBuilder &b, PaddingAwareOpInterface op, Value row,
                         Value usedRows) {
  Value isUsed = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, row, usedRows);
  auto ifOp = scf::IfOp::create(b, b.getI1Type(), isUsed, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  Value entry = memref::LoadOp::create(b, op.getPermutationMap(), row);
  scf::YieldOp::create(b, buildHoldsToken(b, entry));
  b.setInsertionPointToStart(ifOp.elseBlock());
  Value no = arith::ConstantIntOp::create(b, 0, 1);
  scf::YieldOp::create(b, no);
  return ifOp.getResult(0);
}

/// out[row, :] = activation(x[row, :])
static void buildActivationRow(ImplicitLocOpBuilder &b, PaddingAwareOpInterface op,
                               Value out, Value row, Value columns) {
  auto buildSpan = [&](Value begin, Value end, int64_t size) {
    buildLoop(b, begin, end, size, [&](Value column) {
      auto type = VectorType::get(size, b.getBF16Type());
      Value fragment =
          vector::LoadOp::create(b, type, op.getX(), ValueRange{row, column});
      Value result = op.buildActivation(b, b.getLoc(), fragment);
      vector::StoreOp::create(b, result, out, ValueRange{row, column});
    });
  };
  Value whole = buildMul(b, buildDiv(b, columns, kVectorSize), kVectorSize);
  buildSpan(buildIndex(b, 0), whole, kVectorSize);
  buildSpan(whole, columns, 1);
}

namespace {

/// Emits the rows of a quantising op.
class QuantizeRows {
public:
  QuantizeRows(ImplicitLocOpBuilder &b, MXFP8QuantizeOpInterface op, Value columns)
      : b(b), op(op), isSwizzled(op.getScaleLayout() == ScaleLayout::Swizzle32_4_4) {
    groups = buildDiv(b, columns, kGroupSize);
    columnTiles = buildColumnTileCount(b, columns);
  }

  /// A live row: its data, its scales, and zeros up to the end of its last column tile.
  void buildLiveRow(Value row) {
    Value base = rowOffset(row);
    buildLoop(b, buildIndex(b, 0), groups, 1, [&](Value group) {
      Value column = buildMul(b, group, kGroupSize);
      auto type = VectorType::get(kGroupSize, b.getBF16Type());
      Value fragment =
          vector::LoadOp::create(b, type, op.getX(), ValueRange{row, column});
      Value result = op.buildActivation(b, b.getLoc(), fragment);
      Value maximum = buildFragmentMaximum(b, result, op.hasNonNegativeActivation());
      Value exponent = buildScaleExponent(b, maximum);
      Value factor = buildScaleFactor(b, exponent);
      vector::StoreOp::create(b, buildQuantizedFragment(b, result, factor), op.getData(),
                              ValueRange{row, column});
      memref::StoreOp::create(b, buildScale(b, exponent), op.getScale(),
                              scaleIndices(row, base, group));
    });
    if (isSwizzled)
      buildZeroScales(row, groups, buildMul(b, columnTiles, kScaleTileColumns), 1);
  }

  /// A row that is not live: zeros in all of its scales.
  void buildDeadRow(Value row) {
    if (isSwizzled)
      buildZeroScales(row, buildIndex(b, 0), buildMul(b, columnTiles, kScaleTileColumns),
                      kScaleTileColumns);
    else
      buildZeroScales(row, buildIndex(b, 0), groups, 1);
  }

private:
  Value rowOffset(Value row) {
    return isSwizzled ? buildSwizzledRowOffset(b, row, columnTiles) : Value();
  }

  SmallVector<Value> scaleIndices(Value row, Value rowOffset, Value group) {
    if (!isSwizzled)
      return {row, group};
    Value tile = buildMul(b, buildDiv(b, group, kScaleTileColumns), kScaleTileBytes);
    Value within = buildRem(b, group, kScaleTileColumns);
    return {buildAdd(b, buildAdd(b, rowOffset, tile), within)};
  }

  void buildZeroScales(Value row, Value begin, Value end, int64_t step) {
    Value base = rowOffset(row);
    buildLoop(b, begin, end, step, [&](Value group) {
      vector::StoreOp::create(b, moe::buildZeroScales(b, step), op.getScale(),
                              scaleIndices(row, base, group));
    });
  }

  ImplicitLocOpBuilder &b;
  MXFP8QuantizeOpInterface op;
  bool isSwizzled;
  Value groups;
  Value columnTiles;
};

struct LowerToLoops : OpInterfaceRewritePattern<PaddingAwareOpInterface> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;

  LogicalResult matchAndRewrite(PaddingAwareOpInterface op,
                                PatternRewriter &rewriter) const override {
    auto dstOp = cast<DestinationStyleOpInterface>(op.getOperation());
    if (!dstOp.hasPureBufferSemantics())
      return rewriter.notifyMatchFailure(op, "not on memrefs");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value rows = b.createOrFold<memref::DimOp>(op.getX(), int64_t(0));
    Value columns = b.createOrFold<memref::DimOp>(op.getX(), int64_t(1));
    Value usedRows = buildUsedRowCount(b, op.getNUsed(), rows);
    Value zero = buildIndex(b, 0);

    auto quantize = dyn_cast<MXFP8QuantizeOpInterface>(op.getOperation());
    if (!quantize) {
      buildLoop(b, zero, usedRows, 1, [&](Value row) {
        buildIf(
            b, buildIsLive(b, op, row, usedRows),
            [&] { buildActivationRow(b, op, dstOp.getDpsInits().front(), row, columns); },
            nullptr);
      });
      rewriter.eraseOp(op);
      return success();
    }

    QuantizeRows quantizeRows(b, quantize, columns);
    auto live = [&](Value row) { quantizeRows.buildLiveRow(row); };
    if (quantize.getDeadScales() == DeadScales::Untouched) {
      buildLoop(b, zero, usedRows, 1, [&](Value row) {
        buildIf(
            b, buildIsLive(b, op, row, usedRows), [&] { live(row); }, nullptr);
      });
    } else {
      // The last row tile of the scales may go past the last row.
      Value scaleRows = rows;
      if (quantize.getScaleLayout() == ScaleLayout::Swizzle32_4_4)
        scaleRows = buildMul(b, buildRowTileCount(b, rows), kScaleTileRows);
      buildLoop(b, zero, scaleRows, 1, [&](Value row) {
        buildIf(
            b, buildIsLive(b, op, row, usedRows), [&] { live(row); },
            [&] { quantizeRows.buildDeadRow(row); });
      });
    }
    rewriter.eraseOp(op);
    return success();
  }
};

struct ConvertMoeToSCFPass : moe::impl::ConvertMoeToSCFBase<ConvertMoeToSCFPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateMoeToSCFPatterns(patterns);
    walkAndApplyPatterns(getOperation(), std::move(patterns));
    if (failed(verifyNoMoeOpsLeft(getOperation(), getArgument())))
      signalPassFailure();
  }
};

} // namespace

void mlir::moe::populateMoeToSCFPatterns(RewritePatternSet &patterns) {
  patterns.add<LowerToLoops>(patterns.getContext());
}
