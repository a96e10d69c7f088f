//===- IntegerArithmetic.h - The rules in integers --------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The arithmetic of what is known now: in the runtime, in verifiers. Needs no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_LAUNCH_INTEGERARITHMETIC_H
#define MOE_LIB_LAUNCH_INTEGERARITHMETIC_H

#include <algorithm>
#include <cstdint>

namespace moe::launch {

/// The arithmetic of non-negative integers. What may be one below zero is `bitOr`'s.
struct IntegerArithmetic {
  using Value = int64_t;
  static int64_t constant(int64_t value) { return value; }
  static int64_t add(int64_t lhs, int64_t rhs) { return lhs + rhs; }
  static int64_t sub(int64_t lhs, int64_t rhs) { return lhs - rhs; }
  static int64_t mul(int64_t lhs, int64_t rhs) { return lhs * rhs; }
  static int64_t div(int64_t lhs, int64_t rhs) { return lhs / rhs; }
  /// Overflow-free for every `lhs` >= 0, unlike (lhs + rhs - 1) / rhs.
  static int64_t ceilDiv(int64_t lhs, int64_t rhs) {
    return lhs / rhs + (lhs % rhs != 0);
  }
  static int64_t ceilDivByPowerOfTwo(int64_t lhs, int64_t rhs) {
    return (lhs >> __builtin_ctzll(uint64_t(rhs))) + (remainder(lhs, rhs) != 0);
  }
  static int64_t remainder(int64_t lhs, int64_t powerOfTwo) {
    return lhs & (powerOfTwo - 1);
  }
  static int64_t shiftRight(int64_t lhs, int64_t bits) {
    return int64_t(uint64_t(lhs) >> bits);
  }
  static int64_t bitOr(int64_t lhs, int64_t rhs) { return lhs | rhs; }
  static int64_t min(int64_t lhs, int64_t rhs) { return std::min(lhs, rhs); }
  static int64_t max(int64_t lhs, int64_t rhs) { return std::max(lhs, rhs); }
  static bool isLess(int64_t lhs, int64_t rhs) { return lhs < rhs; }
  static int64_t select(bool condition, int64_t then, int64_t otherwise) {
    return condition ? then : otherwise;
  }
};

/// Notices products that do not fit. What a size of scales takes.
struct CheckedArithmetic {
  using Value = int64_t;
  static int64_t constant(int64_t value) { return value; }
  int64_t mul(int64_t lhs, int64_t rhs) {
    int64_t result;
    overflows |= __builtin_mul_overflow(lhs, rhs, &result);
    return result;
  }
  static int64_t ceilDivByPowerOfTwo(int64_t lhs, int64_t rhs) {
    return IntegerArithmetic::ceilDiv(lhs, rhs);
  }
  bool overflows = false;
};

/// The bits of addresses, of which the highest may be set. What the alignment rule takes.
struct BitArithmetic {
  using Value = uint64_t;
  static uint64_t constant(uint64_t value) { return value; }
  static uint64_t remainder(uint64_t lhs, uint64_t powerOfTwo) {
    return lhs & (powerOfTwo - 1);
  }
  static uint64_t bitOr(uint64_t lhs, uint64_t rhs) { return lhs | rhs; }
};

} // namespace moe::launch

#endif // MOE_LIB_LAUNCH_INTEGERARITHMETIC_H
