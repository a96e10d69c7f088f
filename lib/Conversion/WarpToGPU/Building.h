//===- Building.h - What lanes do, in one line ------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Lane-level code that several lowerings of moe_warp build. Rows are indices, as
// addresses are; what counts along a row is an i32, which halves the registers and
// instructions of the innermost code.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_CONVERSION_WARPTOGPU_BUILDING_H
#define MOE_LIB_CONVERSION_WARPTOGPU_BUILDING_H

#include "../ControlFlow.h"
#include "../IndexArithmetic.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::moe::warp {

inline Value buildI32(ImplicitLocOpBuilder &b, int64_t value) {
  return arith::ConstantIntOp::create(b, value, /*width=*/32);
}
inline Value toI32(ImplicitLocOpBuilder &b, Value index) {
  return arith::IndexCastUIOp::create(b, b.getI32Type(), index);
}
inline Value toIndex(ImplicitLocOpBuilder &b, Value nonNegative) {
  return arith::IndexCastUIOp::create(b, b.getIndexType(), nonNegative);
}
inline Value buildLess(ImplicitLocOpBuilder &b, Value lhs, Value rhs) {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, lhs, rhs);
}
inline Value buildNotZero(ImplicitLocOpBuilder &b, Value word) {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, word, buildI32(b, 0));
}
inline Value buildSelect(ImplicitLocOpBuilder &b, Value condition, Value then,
                         Value otherwise) {
  return arith::SelectOp::create(b, condition, then, otherwise);
}

/// `then` under `condition`, or unconditionally if that is null.
inline void buildIfAny(ImplicitLocOpBuilder &b, Value condition,
                       function_ref<void()> then) {
  return condition ? mlir::moe::buildIf(b, condition, then) : then();
}

/// Waits for the kernel in front, and lets the next one start.
void buildWaitForPredecessor(ImplicitLocOpBuilder &b);

/// A bit for each lane.
Value buildVote(ImplicitLocOpBuilder &b, Value condition);

/// The i32 `word` of the lane whose number differs in the bits of `offset`.
Value buildShuffleXor(ImplicitLocOpBuilder &b, Value word, int64_t offset);

/// The i32 `word` of the lane with number `lane` (i32) modulo 32.
Value buildShuffleFrom(ImplicitLocOpBuilder &b, Value word, Value lane);

/// The i32 `word`, in a form that LLVM takes for a new value in every iteration. What is
/// computed from it stays in the loop; hoisted, it would take half of the registers. No
/// instruction comes of it. There is no op for it, so it is an empty inline assembly.
Value recompute(ImplicitLocOpBuilder &b, Value word);

/// The vector `elements`, computed no later than here. LLVM would move the computation
/// into the branch of a store under a condition, and what is one predicate on a store
/// would become a branch around all of it, in which nothing overlaps with its neighbours.
/// Vectors of less than 32 bits are left alone.
Value computeHere(ImplicitLocOpBuilder &b, Value elements);

Value clearLowestBit(ImplicitLocOpBuilder &b, Value bits);

/// Repeats `body`, which makes new values of old ones, until the first of them, an i32,
/// is 0. The last values.
SmallVector<Value> buildWhileNotZero(ImplicitLocOpBuilder &b, ArrayRef<Value> init,
                                     function_ref<SmallVector<Value>(ValueRange)> body);

/// Keeps LLVM from unrolling: a chunk has all the loads in flight that pay, so copies of
/// a body would only cost compile time and instruction cache.
scf::ForOp keepRolled(scf::ForOp loop);

/// The `count` map entries that `load` gives under `condition`, else as many -1.
SmallVector<Value> buildLoadIf(ImplicitLocOpBuilder &b, Value condition, int64_t count,
                               function_ref<SmallVector<Value>()> load);

/// map[row], or -1 for a row past the end. Without a map every row holds a token.
Value buildMapEntry(ImplicitLocOpBuilder &b, Value map, Value rows, Value row);

} // namespace mlir::moe::warp

#endif // MOE_LIB_CONVERSION_WARPTOGPU_BUILDING_H
