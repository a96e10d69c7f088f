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

#include "ControlFlow.h"
#include "GroupArithmetic.h"
#include "GroupWords.h"
#include "IndexArithmetic.h"
#include "PairLoads.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"
#include "moe/IR/Moe.h"

namespace mlir::moe {
#define GEN_PASS_DEF_CONVERTMOETOSCF
#include "moe/Conversion/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;
using namespace mlir::moe;

/// Elements of one vector: a group of the quantising ops. LLVM splits it as the machine
/// needs.
static constexpr int64_t kVectorSize = kGroupSize;

/// scf.for from `begin` to `end` in steps of `step`.
static void buildLoop(ImplicitLocOpBuilder &b, Value begin, Value end, int64_t step,
                      function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, begin, end, buildIndex(b, step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

namespace {

/// A row of the destinations, and that of `x` which it is computed of.
struct LiveRow {
  Value row, source;
};

} // namespace

/// Whether row `row` is live, and what it is computed of then; reads no map entry at or
/// past `usedRows`.
static std::pair<Value, LiveRow> buildIsLive(ImplicitLocOpBuilder &b, MapRowsOp op,
                                             Value row, Value usedRows) {
  Value isUsed = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, row, usedRows);
  if (!op.getPermutationMap())
    return {isUsed, {row, row}};
  bool gathers = op.getGathers();
  SmallVector<Type> types = {b.getI1Type()};
  if (gathers)
    types.push_back(b.getIndexType());
  auto ifOp = scf::IfOp::create(b, types, isUsed, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  Value entry = memref::LoadOp::create(b, op.getPermutationMap(), row);
  SmallVector<Value> found;
  if (gathers) {
    Value tokens = b.createOrFold<memref::DimOp>(op.getX(), int64_t(0));
    found = {buildHoldsToken(b, entry, tokens),
             arith::IndexCastOp::create(b, b.getIndexType(), entry)};
  } else {
    found = {buildHoldsToken(b, entry)};
  }
  scf::YieldOp::create(b, found);
  b.setInsertionPointToStart(ifOp.elseBlock());
  SmallVector<Value> none = {arith::ConstantIntOp::create(b, 0, 1)};
  if (gathers)
    none.push_back(buildIndex(b, 0));
  scf::YieldOp::create(b, none);
  return {ifOp.getResult(0), {row, gathers ? ifOp.getResult(1) : row}};
}

/// The activation of `size` columns of a row of the destination, which has `columns`.
static Value buildActivation(ImplicitLocOpBuilder &b, MapRowsOp op, const LiveRow &live,
                             Value column, Value columns, int64_t size) {
  auto load = [&](Value column, int64_t size) -> Value {
    auto type = VectorType::get(size, b.getBF16Type());
    return vector::LoadOp::create(b, type, op.getX(), ValueRange{live.source, column});
  };
  SmallVector<Value> parts =
      buildPartLoads(b, op.getPairsAttr(), column, columns, size, load);
  if (Value probs = op.getProbs()) {
    Value prob = memref::LoadOp::create(b, probs, live.row);
    parts.push_back(
        vector::BroadcastOp::create(b, VectorType::get(size, b.getF32Type()), prob));
  }
  return op.buildActivation(b, b.getLoc(), parts);
}

/// out[row, :] = activation(x[source, :])
static void buildActivationRow(ImplicitLocOpBuilder &b, MapRowsOp op, Value out,
                               const LiveRow &live, Value columns) {
  auto buildSpan = [&](Value begin, Value end, int64_t size) {
    buildLoop(b, begin, end, size, [&](Value column) {
      Value result = buildActivation(b, op, live, column, columns, size);
      vector::StoreOp::create(b, result, out, ValueRange{live.row, column});
    });
  };
  Value whole = buildMul(b, buildDiv(b, columns, kVectorSize), kVectorSize);
  buildSpan(buildIndex(b, 0), whole, kVectorSize);
  buildSpan(whole, columns, 1);
}

static Value buildZeros(ImplicitLocOpBuilder &b, VectorType type) {
  VectorType integers = type.clone(b.getIntegerType(type.getElementTypeBitWidth()));
  Value zeros = arith::ConstantOp::create(b, cast<TypedAttr>(b.getZeroAttr(integers)));
  return arith::BitcastOp::create(b, type, zeros);
}

/// Zeros in a row of the matrix of elements, if that is what becomes of those that are
/// not live and `row` is below the used ones.
static void buildDeadRow(ImplicitLocOpBuilder &b, MapRowsOp op, Value row, Value usedRows,
                         Value columns) {
  // Without a map all of them are live.
  if (op.getDeadRows() == DeadRows::Untouched || !op.getPermutationMap())
    return;
  Value matrix = op.getOuts().front();
  Value isUsed = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, row, usedRows);
  buildIf(b, isUsed, [&] {
    auto buildSpan = [&](Value begin, Value end, int64_t size) {
      auto type = VectorType::get(size, getElementTypeOrSelf(matrix.getType()));
      buildLoop(b, begin, end, size, [&](Value column) {
        vector::StoreOp::create(b, buildZeros(b, type), matrix, ValueRange{row, column});
      });
    };
    Value whole = buildMul(b, buildDiv(b, columns, kVectorSize), kVectorSize);
    buildSpan(buildIndex(b, 0), whole, kVectorSize);
    buildSpan(whole, columns, 1);
  });
}

namespace {

/// Emits the rows of a quantising op.
class QuantizeRows {
public:
  QuantizeRows(ImplicitLocOpBuilder &b, MapRowsOp op, BlockFormatAttrInterface format,
               Value columns)
      : b(b), op(op), format(format), data(op.getOuts()[0]), scale(op.getOuts()[1]),
        columns(columns), groupSize(format.getGroupSize()),
        isSwizzled(format.getScaleLayout() == ScaleLayout::Swizzle32_4_4) {
    ActivationFacts facts = getActivationFacts(op.getActivation().front());
    isNonNegative = !facts.mayBeNaN && !facts.mayBeNegative;
    groups = buildDiv(b, columns, groupSize);
    columnTiles = buildColumnTileCount(b, columns);
  }

  /// A live row: its data and its scales.
  ///
  /// Between the elements of a group and its first byte lies a long chain of dependent
  /// instructions. So four groups are quantised while the exponents of the next four are
  /// computed.
  void buildLiveRow(const LiveRow &live) {
    constexpr int64_t step = kScaleTileColumns;
    Value row = live.row;
    Value base = rowOffset(row);
    Value whole = buildMul(b, buildDiv(b, groups, step), step);
    Value any =
        arith::CmpIOp::create(b, arith::CmpIPredicate::ne, whole, buildIndex(b, 0));
    buildIf(b, any, [&] {
      SmallVector<Value> first = buildExponents(live, buildIndex(b, 0), step);
      auto loop =
          scf::ForOp::create(b, buildIndex(b, step), whole, buildIndex(b, step), first);
      {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToStart(loop.getBody());
        Value group = loop.getInductionVar();
        SmallVector<Value> next = buildExponents(live, group, step);
        buildStores(row, base, buildAdd(b, group, -step), loop.getRegionIterArgs());
        scf::YieldOp::create(b, next);
      }
      buildStores(row, base, buildAdd(b, whole, -step), loop.getResults());
    });
    buildLoop(b, whole, groups, 1, [&](Value group) {
      buildStores(row, base, group, buildExponents(live, group, 1));
    });
  }

  /// Zeros up to the end of the last column tile of a row.
  void buildPaddingColumns(Value row) {
    if (isSwizzled)
      buildZeroScales(row, groups, buildMul(b, columnTiles, kScaleTileColumns));
  }

  /// Zeros in the scales of all rows of the row tile that begins at `row`.
  void buildZeroRowTile(Value row) {
    Value begin = rowOffset(row);
    Value end = buildAdd(b, begin, buildMul(b, columnTiles, kScaleTileBytes));
    constexpr int64_t step = 64;
    buildLoop(b, begin, end, step, [&](Value offset) {
      vector::StoreOp::create(
          b, mlir::moe::buildZeroScales(b, step, format.getScaleType()), scale, offset);
    });
  }

  /// Zeros in the scales of a row.
  void buildZeroRow(Value row) { buildZeroScales(row, buildIndex(b, 0), groups); }

private:
  /// The activations of `count` groups from `group` on and a vector of their exponents.
  /// Activations as words of two elements: LLVM takes bf16 that a loop carries apart.
  SmallVector<Value> buildExponents(const LiveRow &live, Value group, int64_t count) {
    auto wordsType = VectorType::get(groupSize / 2, b.getI32Type());
    SmallVector<Value> results, keys;
    for (int64_t i = 0; i < count; ++i) {
      Value fragment =
          buildActivation(b, op, live, columnOf(group, i), columns, groupSize);
      keys.push_back(buildMagnitudeKeys(b, fragment, isNonNegative));
      results.push_back(vector::BitCastOp::create(b, wordsType, fragment));
    }
    Value maxima = buildGroupMaxima(b, keys, isNonNegative);
    results.push_back(format.buildScaleCode(b, maxima));
    return results;
  }

  /// Stores the data and the scales of the groups from `group` on, neighbours all, that
  /// `buildExponents` gave `values` for.
  void buildStores(Value row, Value base, Value group, ValueRange values) {
    Value exponents = values.back();
    Value factors = format.buildFactor(b, exponents);
    auto type = VectorType::get(groupSize, b.getBF16Type());
    for (auto [i, words] : llvm::enumerate(values.drop_back())) {
      Value fragment = vector::BitCastOp::create(b, type, words);
      Value column = columnOf(group, i);
      vector::StoreOp::create(b, buildElements(fragment, factors, i), data,
                              ValueRange{row, column});
    }
    vector::StoreOp::create(b, buildScale(b, exponents, format.getScaleType()), scale,
                            scaleIndices(row, base, group));
  }

  /// The elements of a group whose factor is element `i` of `factors`. A scale of E8M0 is
  /// a power of two, and so is what undoes it.
  Value buildElements(Value fragment, Value factors, int64_t i) {
    Type type = format.getElementType();
    if (isa<Float8E8M0FNUType>(format.getScaleType()) && isEncodable(type))
      return buildEncodedGroup(b, fragment, factors, i, cast<FloatType>(type),
                               isNonNegative);
    return format.buildElements(b, fragment, vector::ExtractOp::create(b, factors, i));
  }

  Value columnOf(Value group, int64_t i) {
    return buildMul(b, buildAdd(b, group, i), groupSize);
  }

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

  void buildZeroScales(Value row, Value begin, Value end) {
    Value base = rowOffset(row);
    buildLoop(b, begin, end, 1, [&](Value group) {
      vector::StoreOp::create(b, mlir::moe::buildZeroScales(b, 1, format.getScaleType()),
                              scale, scaleIndices(row, base, group));
    });
  }

  ImplicitLocOpBuilder &b;
  MapRowsOp op;
  BlockFormatAttrInterface format;
  Value data, scale;
  Value columns;
  int64_t groupSize;
  bool isSwizzled;
  /// Whether no activation is negative or NaN.
  bool isNonNegative;
  Value groups;
  Value columnTiles;
};

/// Emits the rows of an op, which are stored as its format says.
class Rows : public FormatLowering {
public:
  Rows(ImplicitLocOpBuilder &b, MapRowsOp op) : b(b), op(op) {
    rows = b.createOrFold<memref::DimOp>(op.getRowsOperand(), int64_t(0));
    columns = b.createOrFold<memref::DimOp>(op.getColumnsOperand(), int64_t(1));
    usedRows = buildUsedRowCount(b, buildUsedRowLoad(b, op.getNUsed()), rows);
    zero = buildIndex(b, 0);
  }

  void lowerElements() override {
    buildLoop(b, zero, usedRows, 1, [&](Value row) {
      buildIfLive(row, [&](const LiveRow &live) {
        buildActivationRow(b, op, op.getOuts().front(), live, columns);
      });
    });
  }

  void lowerGroups(BlockFormatAttrInterface format) override {
    QuantizeRows quantizeRows(b, op, format, columns);
    if (format.getDeadScales() == DeadScales::Untouched) {
      buildLoop(b, zero, usedRows, 1, [&](Value row) {
        buildIfLive(row, [&](const LiveRow &live) {
          quantizeRows.buildLiveRow(live);
          quantizeRows.buildPaddingColumns(row);
        });
      });
    } else if (format.getScaleLayout() == ScaleLayout::Swizzle32_4_4) {
      // In a row tile the scales of a row are not contiguous, those of all its rows are.
      // So all are cleared before those of live rows are stored.
      Value scaleRows = buildMul(b, buildRowTileCount(b, rows), kScaleTileRows);
      buildLoop(b, zero, scaleRows, kScaleTileRows, [&](Value begin) {
        quantizeRows.buildZeroRowTile(begin);
        Value end =
            arith::MinSIOp::create(b, buildAdd(b, begin, kScaleTileRows), usedRows);
        buildLoop(b, begin, end, 1, [&](Value row) {
          buildIfLive(row, [&](const LiveRow &live) { quantizeRows.buildLiveRow(live); });
        });
      });
    } else {
      buildLoop(b, zero, rows, 1, [&](Value row) {
        buildIfLive(
            row, [&](const LiveRow &live) { quantizeRows.buildLiveRow(live); },
            [&] { quantizeRows.buildZeroRow(row); });
      });
    }
  }

private:
  /// `dead` for a row that is not live, and what becomes of its elements.
  void buildIfLive(Value row, function_ref<void(const LiveRow &)> build,
                   function_ref<void()> dead = {}) {
    auto [isLive, liveRow] = buildIsLive(b, op, row, usedRows);
    auto live = [&, &liveRow = liveRow] { build(liveRow); };
    if (op.getDeadRows() == DeadRows::Untouched && !dead)
      return buildIf(b, isLive, live);
    buildIf(b, isLive, live, [&] {
      if (dead)
        dead();
      buildDeadRow(b, op, row, usedRows, columns);
    });
  }

  ImplicitLocOpBuilder &b;
  MapRowsOp op;
  Value rows, columns, usedRows, zero;
};

struct LowerToLoops : OpInterfaceRewritePattern<PaddingAwareOpInterface> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;

  LogicalResult matchAndRewrite(PaddingAwareOpInterface padded,
                                PatternRewriter &rewriter) const override {
    auto dstOp = cast<DestinationStyleOpInterface>(padded.getOperation());
    if (!dstOp.hasPureBufferSemantics())
      return rewriter.notifyMatchFailure(padded, "not on memrefs");
    MapRowsOp op = generalize(rewriter, padded);
    rewriter.setInsertionPoint(op);
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Rows rows(b, op);
    op.getFormat().lower(rows);
    rewriter.eraseOp(op);
    return success();
  }
};

struct ConvertMoeToSCFPass : mlir::moe::impl::ConvertMoeToSCFBase<ConvertMoeToSCFPass> {
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
  populatePermutationToSCFPatterns(patterns);
}
