//===- Building.cpp - What lanes do, in one line --------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Votes, loops and loads under conditions.
//
//===----------------------------------------------------------------------===//

#include "Building.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "moe/Warp/IR/Warp.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::warp;

void warp::buildWaitForPredecessor(ImplicitLocOpBuilder &b) {
  NVVM::GriddepcontrolOp::create(b, NVVM::GridDepActionKind::wait);
  NVVM::GriddepcontrolOp::create(b, NVVM::GridDepActionKind::launch_dependents);
}

Value warp::buildVote(ImplicitLocOpBuilder &b, Value condition) {
  return NVVM::VoteSyncOp::create(b, b.getI32Type(), buildI32(b, -1), condition,
                                  NVVM::VoteSyncKind::ballot);
}

Value warp::buildShuffleXor(ImplicitLocOpBuilder &b, Value word, int64_t offset) {
  return gpu::ShuffleOp::create(b, word, offset, kLanes, gpu::ShuffleMode::XOR)
      .getShuffleResult();
}

Value warp::buildShuffleFrom(ImplicitLocOpBuilder &b, Value word, Value lane) {
  return gpu::ShuffleOp::create(b, word, lane, buildI32(b, kLanes), gpu::ShuffleMode::IDX)
      .getShuffleResult();
}

Value warp::recompute(ImplicitLocOpBuilder &b, Value word) {
  return LLVM::InlineAsmOp::create(b, b.getI32Type(), word, /*asm_string=*/"",
                                   /*constraints=*/"=r,0", /*has_side_effects=*/true,
                                   /*is_align_stack=*/false, LLVM::TailCallKind::None,
                                   /*asm_dialect=*/{}, /*operand_attrs=*/{})
      .getResult(0);
}

Value warp::computeHere(ImplicitLocOpBuilder &b, Value elements) {
  auto type = cast<VectorType>(elements.getType());
  int64_t bits = type.getElementTypeBitWidth();
  int64_t words = type.getNumElements() * bits / 32;
  if (words == 0)
    return elements;
  VectorType integersType = type.clone(b.getIntegerType(bits));
  auto wordsType = VectorType::get(words, b.getI32Type());
  Value vector = vector::BitCastOp::create(
      b, wordsType, arith::BitcastOp::create(b, integersType, elements));
  SmallVector<Value> computed;
  for (int64_t i = 0; i < words; ++i)
    computed.push_back(recompute(b, vector::ExtractOp::create(b, vector, i)));
  vector = vector::FromElementsOp::create(b, wordsType, computed);
  return arith::BitcastOp::create(b, type,
                                  vector::BitCastOp::create(b, integersType, vector));
}

Value warp::clearLowestBit(ImplicitLocOpBuilder &b, Value bits) {
  Value below = arith::SubIOp::create(b, bits, buildI32(b, 1));
  return arith::AndIOp::create(b, bits, below);
}

SmallVector<Value>
warp::buildWhileNotZero(ImplicitLocOpBuilder &b, ArrayRef<Value> init,
                        function_ref<SmallVector<Value>(ValueRange)> body) {
  TypeRange types = ValueRange(init).getTypes();
  SmallVector<Location> locations(init.size(), b.getLoc());
  auto loop = scf::WhileOp::create(b, types, init);
  OpBuilder::InsertionGuard guard(b);
  b.createBlock(&loop.getBefore(), {}, types, locations);
  Value isMore = buildNotZero(b, loop.getBeforeArguments().front());
  scf::ConditionOp::create(b, isMore, loop.getBeforeArguments());
  b.createBlock(&loop.getAfter(), {}, types, locations);
  scf::YieldOp::create(b, body(loop.getAfterArguments()));
  return llvm::to_vector_of<Value>(loop.getResults());
}

scf::ForOp warp::keepRolled(scf::ForOp loop) {
  MLIRContext *context = loop.getContext();
  auto unroll = LLVM::LoopUnrollAttr::get(
      context, /*disable=*/BoolAttr::get(context, true), /*count=*/{},
      /*runtimeDisable=*/{}, /*full=*/{}, /*followupUnrolled=*/{},
      /*followupRemainder=*/{}, /*followupAll=*/{});
  loop->setAttr("llvm.loop_annotation",
                LLVM::LoopAnnotationAttr::get(context, {}, {}, {}, unroll, {}, {}, {}, {},
                                              {}, {}, {}, {}, {}, {}, {}));
  return loop;
}

SmallVector<Value> warp::buildLoadIf(ImplicitLocOpBuilder &b, Value condition,
                                     int64_t count,
                                     function_ref<SmallVector<Value>()> load) {
  SmallVector<Type> types(count, b.getI32Type());
  auto ifOp = scf::IfOp::create(b, types, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(ifOp.thenBlock());
  SmallVector<Value> entries = load();
  scf::YieldOp::create(b, entries);
  b.setInsertionPointToStart(ifOp.elseBlock());
  SmallVector<Value> none(count, buildI32(b, -1));
  scf::YieldOp::create(b, none);
  return llvm::to_vector_of<Value>(ifOp.getResults());
}

Value warp::buildMapEntry(ImplicitLocOpBuilder &b, Value map, Value rows, Value row) {
  // What is past the last row is past the used ones.
  if (!map)
    return buildI32(b, 0);
  return buildLoadIf(b, buildLess(b, row, rows), 1, [&] {
    return SmallVector<Value>{memref::LoadOp::create(b, map, row)};
  })[0];
}
