//===- WarpKernel.cpp - What a kernel does --------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The body of a kernel for a padding-aware op, on the level of warps: what an op says,
// with nothing yet of how rows are scheduled.
//
//===----------------------------------------------------------------------===//

#include "../IndexArithmetic.h"
#include "../WarpLowerings.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "moe/Warp/IR/Warp.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

/// `buffer` in global memory. Generic addresses would make every access find out where it
/// goes.
static Value toGlobal(ImplicitLocOpBuilder &b, Value buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  if (type.getMemorySpace())
    return buffer;
  auto globalType = MemRefType::get(type.getShape(), type.getElementType(),
                                    type.getLayout(), b.getI64IntegerAttr(1));
  return memref::MemorySpaceCastOp::create(b, globalType, buffer);
}

/// Adds a body whose arguments have `types`, filled by `build`.
static void buildBody(ImplicitLocOpBuilder &b, Region &region, ArrayRef<Type> types,
                      function_ref<void(ValueRange)> build) {
  OpBuilder::InsertionGuard guard(b);
  Block *block =
      b.createBlock(&region, {}, types, SmallVector<Location>(types.size(), b.getLoc()));
  build(block->getArguments());
  warp::YieldOp::create(b);
}

namespace {

/// Builds the body of a kernel, which stores rows as the op's format says.
class WarpKernel : public FormatLowering {
public:
  WarpKernel(ImplicitLocOpBuilder &b, MapRowsOp op, ValueRange arguments,
             const Schedule &schedule)
      : b(b), op(op), schedule(schedule), pairs(op.getPairsAttr()) {
    unsigned next = 0;
    x = toGlobal(b, arguments[next++]);
    map = op.getPermutationMap() ? toGlobal(b, arguments[next++]) : Value();
    nUsed = toGlobal(b, arguments[next++]);
    probs = op.getProbs() ? toGlobal(b, arguments[next++]) : Value();
    for (Value destination : arguments.drop_front(next))
      destinations.push_back(toGlobal(b, destination));
    Value out = destinations.front();
    rows = b.createOrFold<memref::DimOp>(op.getGathers() ? out : x, int64_t(0));
    if (op.getGathers())
      tokens = b.createOrFold<memref::DimOp>(x, int64_t(0));
    columns = b.createOrFold<memref::DimOp>(pairs ? out : x, int64_t(1));
  }

  void lowerElements() override {
    build(/*paddedTo=*/1, [&](Value fragment, Value row, Value chunk) {
      storeElements(fragment, row, chunk);
    });
  }

  void lowerGroups(BlockFormatAttrInterface format) override {
    Value scale = destinations[1];
    bool isSwizzled = format.getScaleLayout() == ScaleLayout::Swizzle32_4_4;
    int64_t paddedTo = isSwizzled ? format.getGroupSize() * kScaleTileColumns : 1;
    ActivationFacts facts = getActivationFacts(op.getActivation().front());
    auto store = [&](Value fragment, Value row, Value chunk) {
      Value maximum = GroupMaximumOp::create(b, b.getBF16Type(), fragment, format,
                                             !facts.mayBeNaN && !facts.mayBeNegative);
      Value code = ScaleCodeOp::create(b, b.getI32Type(), maximum, format);
      auto type = cast<VectorType>(fragment.getType());
      Value data = QuantizeOp::create(b, type.clone(format.getElementType()), fragment,
                                      code, format);
      storeElements(data, row, chunk);
      StoreScaleOp::create(b, code, scale, row, chunk, format);
    };
    if (format.getDeadScales() == DeadScales::Untouched)
      return build(paddedTo, store);
    // The last row tile of the scales may go past the last row.
    auto buildEnd = [&] {
      return isSwizzled ? buildMul(b, buildRowTileCount(b, rows), kScaleTileRows) : rows;
    };
    build(paddedTo, store, buildEnd, [&](Value row, Value chunk) {
      ClearScalesOp::create(b, scale, row, chunk, format);
    });
  }

private:
  using StoreFn = function_ref<void(Value fragment, Value row, Value chunk)>;
  using ClearFn = function_ref<void(Value row, Value chunk)>;

  IntegerAttr getAlign(Value matrix) {
    int64_t bytes = cast<MemRefType>(matrix.getType()).getElementTypeBitWidth() / 8;
    return schedule.isElementwise()
               ? IntegerAttr()
               : b.getI64IntegerAttr(schedule.alignmentOf(schedule.elements() * bytes));
  }

  void storeElements(Value elements, Value row, Value chunk, Value predicate = {}) {
    Value matrix = destinations.front();
    StoreOp::create(b, elements, matrix, row, chunk, predicate, getAlign(matrix),
                    schedule.keepsX);
  }

  /// `store` for each chunk of a live row, of columns up to a multiple of `paddedTo`; if
  /// there is one, `clear` for each of another row below what `buildEnd` gives.
  void build(int64_t paddedTo, StoreFn store, function_ref<Value()> buildEnd = {},
             ClearFn clear = {});

  ImplicitLocOpBuilder &b;
  MapRowsOp op;
  const Schedule &schedule;
  PairsAttr pairs;
  /// `tokens` is null but for an op that gathers.
  Value x, map, nUsed, probs, rows, tokens, columns;
  SmallVector<Value> destinations;
};

} // namespace

void WarpKernel::build(int64_t paddedTo, StoreFn store, function_ref<Value()> buildEnd,
                       ClearFn clear) {
  auto buildForChunk = [&](function_ref<void(Value)> build) {
    auto loop =
        ForChunkOp::create(b, columns, schedule.steps, schedule.elements(), paddedTo);
    buildBody(b, loop.getBody(), b.getI32Type(),
              [&](ValueRange arguments) { build(arguments.front()); });
  };

  if (schedule.waits)
    WaitForPredecessorOp::create(b);
  // Both loads go out before either is needed.
  Value entries = LoadEntriesOp::create(b, b.getI32Type(), map, rows);
  Value used = LoadUsedRowsOp::create(b, b.getI32Type(), nUsed);
  Value end = clear ? buildEnd() : Value();
  // Without a map no row below the used ones is dead.
  bool zeroes = map && op.getDeadRows() == DeadRows::Zero;
  if (zeroes && !end)
    end = buildUsedRowCount(b, used, rows);

  auto forRow = ForLiveRowOp::create(b, map, rows, used, entries, tokens, end);
  SmallVector<Type> rowTypes(tokens ? 2 : 1, b.getIndexType());
  buildBody(b, forRow.getBody(), rowTypes, [&](ValueRange arguments) {
    // Of `x` it is the last argument: the token, if there is one.
    Value row = arguments.front(), rowOfX = arguments.back();
    buildForChunk([&](Value chunk) {
      auto type = VectorType::get({schedule.steps, schedule.elements()}, b.getBF16Type());
      SmallVector<Type> types(op.getNumParts(), type);
      auto parts = LoadOp::create(b, types, x, rowOfX, chunk, pairs, getAlign(x));
      SmallVector<Value> values(parts.getFragments());
      if (probs) {
        Value prob = memref::LoadOp::create(b, probs, row);
        values.push_back(
            vector::BroadcastOp::create(b, type.clone(b.getF32Type()), prob));
      }
      store(op.buildActivation(b, b.getLoc(), values), row, chunk);
    });
  });
  if (!end)
    return;
  buildBody(b, forRow.getDead(), b.getIndexType(), [&](ValueRange arguments) {
    Value row = arguments.front();
    buildForChunk([&](Value chunk) {
      if (clear)
        clear(row, chunk);
      if (!zeroes)
        return;
      auto type = VectorType::get({schedule.steps, schedule.elements()},
                                  op.getFormat().getElementType());
      VectorType integers = type.clone(b.getIntegerType(type.getElementTypeBitWidth()));
      Value zeros =
          arith::ConstantOp::create(b, cast<TypedAttr>(b.getZeroAttr(integers)));
      zeros = arith::BitcastOp::create(b, type, zeros);
      Value isUsed = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, row,
                                           buildUsedRowCount(b, used, rows));
      storeElements(zeros, row, chunk, isUsed);
    });
  });
}

void mlir::moe::buildWarpKernel(ImplicitLocOpBuilder &b, MapRowsOp op,
                                ValueRange arguments, const Schedule &schedule) {
  WarpKernel kernel(b, op, arguments, schedule);
  op.getFormat().lower(kernel);
}
