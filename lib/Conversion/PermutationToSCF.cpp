//===- PermutationToSCF.cpp - Tokens and rows on the CPU ------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe.route_tokens and moe.unpermute_tokens on memrefs, to loops.
//
//===----------------------------------------------------------------------===//

#include "moe/Conversion/Passes.h"

#include "ControlFlow.h"
#include "IndexArithmetic.h"
#include "UnpermuteArithmetic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/PatternMatch.h"
#include "moe/IR/Moe.h"

using namespace mlir;
using namespace mlir::moe;

/// Elements of one vector. LLVM splits it as the machine needs.
static constexpr int64_t kVectorSize = 32;

static void buildLoop(ImplicitLocOpBuilder &b, Value begin, Value end, int64_t step,
                      function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, begin, end, buildIndex(b, step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

static void buildLoop(ImplicitLocOpBuilder &b, Value end,
                      function_ref<void(Value)> body) {
  buildLoop(b, buildIndex(b, 0), end, 1, body);
}

static Value toIndex(ImplicitLocOpBuilder &b, Value word) {
  return arith::IndexCastOp::create(b, b.getIndexType(), word);
}
static Value toWord(ImplicitLocOpBuilder &b, Value index) {
  return arith::IndexCastOp::create(b, b.getI32Type(), index);
}
static Value buildWord(ImplicitLocOpBuilder &b, int64_t value) {
  return arith::ConstantIntOp::create(b, value, /*width=*/32);
}
/// 0 <= index < end, of a signed index.
static Value buildIsWithin(ImplicitLocOpBuilder &b, Value index, Value end) {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, index, end);
}

namespace {

struct LowerRouteTokens : OpRewritePattern<RouteTokensOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(RouteTokensOp op,
                                PatternRewriter &rewriter) const override {
    if (!cast<DestinationStyleOpInterface>(op.getOperation()).hasPureBufferSemantics())
      return rewriter.notifyMatchFailure(op, "not on memrefs");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    auto dim = [&](Value buffer, int64_t index) {
      return b.createOrFold<memref::DimOp>(buffer, index);
    };
    Value counts = op.getTokensPerExpert();
    Value exclusive = op.getExclusiveOffsets();
    // While pairs are given rows, the next row of each expert.
    Value next = op.getInclusiveOffsets();
    Value map = op.getPermutationMap(), inverse = op.getInverseMap();
    Value experts = dim(counts, 0), rows = dim(map, 0);
    Value tokens = buildUsedRowCount(b, buildUsedRowLoad(b, op.getValidTokens()),
                                     dim(op.getRoutingMap(), 0));
    Value topk = dim(op.getRoutingMap(), 1);
    Value none = buildWord(b, -1);

    buildLoop(b, experts, [&](Value expert) {
      memref::StoreOp::create(b, buildWord(b, 0), counts, expert);
    });
    buildForEachPair(b, op, tokens, topk, experts, [&](Value, Value, Value expert) {
      Value count = memref::LoadOp::create(b, counts, expert);
      memref::StoreOp::create(b, buildAdd(b, count, 1), counts, expert);
    });

    Value least = buildWord(b, 1);
    Value alignment = arith::MaxSIOp::create(b, op.getAlignment(), least);
    auto alignedCount = [&](Value expert) -> Value {
      Value count = memref::LoadOp::create(b, counts, expert);
      Value units = arith::CeilDivUIOp::create(b, count, alignment);
      return buildMul(b, units, alignment);
    };
    auto offsets = scf::ForOp::create(b, buildIndex(b, 0), experts, buildIndex(b, 1),
                                      ValueRange{buildWord(b, 0)});
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(offsets.getBody());
      Value expert = offsets.getInductionVar(), offset = offsets.getRegionIterArg(0);
      memref::StoreOp::create(b, offset, exclusive, expert);
      memref::StoreOp::create(b, offset, next, expert);
      Value sum = buildAdd(b, offset, alignedCount(expert));
      scf::YieldOp::create(b, sum);
    }

    buildLoop(b, tokens, [&](Value token) {
      buildLoop(b, experts, [&](Value expert) {
        memref::StoreOp::create(b, none, inverse, ValueRange{token, expert});
      });
    });
    buildForEachPair(
        b, op, tokens, topk, experts, [&](Value token, Value k, Value expert) {
          Value word = memref::LoadOp::create(b, next, expert);
          memref::StoreOp::create(b, buildAdd(b, word, 1), next, expert);
          Value row = toIndex(b, word);
          Value exists = buildIsWithin(b, row, rows);
          // Of several pairs of a token and an expert the last.
          Value entry = arith::SelectOp::create(b, exists, word, none);
          memref::StoreOp::create(b, entry, inverse, ValueRange{token, expert});
          buildIf(b, exists, [&] {
            memref::StoreOp::create(b, toWord(b, token), map, row);
            if (!op.getProbs())
              return;
            Value prob = memref::LoadOp::create(b, op.getProbs(), ValueRange{token, k});
            memref::StoreOp::create(b, prob, op.getPermutedProbs(), row);
          });
        });

    buildLoop(b, experts, [&](Value expert) {
      Value begin = memref::LoadOp::create(b, next, expert);
      Value offset = memref::LoadOp::create(b, exclusive, expert);
      Value end = buildAdd(b, offset, alignedCount(expert));
      memref::StoreOp::create(b, end, next, expert);
      Value last = arith::MinSIOp::create(b, toIndex(b, end), rows);
      // Offsets that do not fit into an i32 must not do harm.
      Value first = arith::MaxSIOp::create(b, toIndex(b, begin), buildIndex(b, 0));
      buildLoop(b, first, last, 1,
                [&](Value row) { memref::StoreOp::create(b, none, map, row); });
    });
    rewriter.eraseOp(op);
    return success();
  }

private:
  /// Calls `body` with the token, the place among its experts, and the local expert of
  /// each pair, in the order of rows.
  static void buildForEachPair(ImplicitLocOpBuilder &b, RouteTokensOp op, Value tokens,
                               Value topk, Value experts,
                               function_ref<void(Value, Value, Value)> body) {
    Value first = arith::IndexCastOp::create(b, b.getIndexType(), op.getFirstExpert());
    buildLoop(b, tokens, [&](Value token) {
      buildLoop(b, topk, [&](Value k) {
        Value expert =
            memref::LoadOp::create(b, op.getRoutingMap(), ValueRange{token, k});
        // A difference of 64 bits that has wrapped around is none of an expert.
        Value local = arith::SubIOp::create(b, toIndex(b, expert), first);
        buildIf(b, buildIsWithin(b, local, experts), [&] { body(token, k, local); });
      });
    });
  }
};

struct LowerUnpermuteTokens : OpRewritePattern<UnpermuteTokensOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(UnpermuteTokensOp op,
                                PatternRewriter &rewriter) const override {
    if (!cast<DestinationStyleOpInterface>(op.getOperation()).hasPureBufferSemantics())
      return rewriter.notifyMatchFailure(op, "not on memrefs");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Value y = op.getY(), inverse = op.getInverseMap(), out = op.getOut();
    Value rows = b.createOrFold<memref::DimOp>(y, int64_t(0));
    Value columns = b.createOrFold<memref::DimOp>(y, int64_t(1));
    Value experts = b.createOrFold<memref::DimOp>(inverse, int64_t(1));
    Value tokens = buildUsedRowCount(b, buildUsedRowLoad(b, op.getValidTokens()),
                                     b.createOrFold<memref::DimOp>(inverse, int64_t(0)));
    Value whole = buildMul(b, buildDiv(b, columns, kVectorSize), kVectorSize);
    auto forColumns = [&](function_ref<void(Value, int64_t)> body) {
      buildLoop(b, buildIndex(b, 0), whole, kVectorSize,
                [&](Value column) { body(column, kVectorSize); });
      buildLoop(b, whole, columns, 1, [&](Value column) { body(column, 1); });
    };
    buildLoop(b, tokens, [&](Value token) {
      // The sum stays in the row of `out`, which is in the cache.
      forColumns([&](Value column, int64_t size) {
        auto type = VectorType::get(size, b.getF32Type());
        Value zeros = arith::ConstantOp::create(b, b.getZeroAttr(type));
        vector::StoreOp::create(b, zeros, out, ValueRange{token, column});
      });
      buildLoop(b, experts, [&](Value expert) {
        Value entry = memref::LoadOp::create(b, inverse, ValueRange{token, expert});
        Value row = toIndex(b, entry);
        buildIf(b, buildIsWithin(b, row, rows), [&] {
          Value prob;
          if (op.getProbs())
            prob = memref::LoadOp::create(b, op.getProbs(), row);
          forColumns([&](Value column, int64_t size) {
            Value part = vector::LoadOp::create(b, VectorType::get(size, b.getBF16Type()),
                                                y, ValueRange{row, column});
            auto type = VectorType::get(size, b.getF32Type());
            Value sum = vector::LoadOp::create(b, type, out, ValueRange{token, column});
            sum = buildWeightedSum(b, sum, part, prob);
            vector::StoreOp::create(b, buildCanonicalNaN(b, sum), out,
                                    ValueRange{token, column});
          });
        });
      });
    });
    rewriter.eraseOp(op);
    return success();
  }
};

} // namespace

void mlir::moe::populatePermutationToSCFPatterns(RewritePatternSet &patterns) {
  patterns.add<LowerRouteTokens, LowerUnpermuteTokens>(patterns.getContext());
}
