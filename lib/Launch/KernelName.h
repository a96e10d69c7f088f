//===- KernelName.h - What a kernel is called -------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The name of the kernels of an op: what convert-moe-to-gpu gives them, and what the
// runtime asks an image for. It says all that they compute, so that two that differ in it
// have two names. Needs no LLVM and allocates nothing.
//
// lib/Kernels/Manifest.cmake makes the names of the kernels that ship by the same rule.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_LAUNCH_KERNELNAME_H
#define MOE_LIB_LAUNCH_KERNELNAME_H

#include "KernelDescription.h"

namespace moe::launch {

/// Text of a limited length; what there is no room for is left out.
class NameText {
public:
  void add(char character) {
    if (size + 1 < sizeof(text))
      text[size++] = character;
  }
  void add(const char *more) {
    while (*more)
      add(*more++);
  }
  void addDecimal(uint64_t value) {
    if (value >= 10)
      addDecimal(value / 10);
    add(char('0' + value % 10));
  }
  void addHex(uint64_t value, int digits) {
    while (digits-- > 0)
      add("0123456789abcdef"[value >> 4 * digits & 15]);
  }
  /// A number in digits, or the bits of what has too many.
  void addNumber(float value) {
    if (value >= 0 && value < 1000 && value == float(int(value)))
      return addDecimal(uint64_t(value));
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    add('x');
    addHex(bits, 8);
  }
  void truncate(size_t length) { size = length; }

  size_t length() const { return size; }
  const char *c_str() {
    text[size] = '\0';
    return text;
  }
  bool isFull() const { return size + 1 == sizeof(text); }

private:
  /// Twice that of a kernel, for what is shortened.
  char text[2 * KernelDescription::kNameBytes];
  size_t size = 0;
};

/// A gated unit; what is as SwiGLU has it adds nothing to the name.
struct GateName {
  bool isGateSecond = false;
  /// Columns of a block where gates and others take turns, else 0.
  int64_t block = 0;
  bool isGeluTanh = false;
  const float *limit = nullptr;
  bool isLimitAfter = false;
  float alpha = 1, beta = 0;
};

inline void addGate(NameText &name, const GateName &gate) {
  if (gate.isGateSecond)
    name.add("_up_gate");
  if (gate.block != 0) {
    name.add("_interleaved");
    name.addDecimal(uint64_t(gate.block));
  }
  if (gate.isGeluTanh)
    name.add("_gelu_tanh");
  if (gate.limit) {
    name.add("_limit");
    name.addNumber(*gate.limit);
  }
  if (gate.isLimitAfter)
    name.add("_after");
  if (gate.alpha != 1) {
    name.add("_alpha");
    name.addNumber(gate.alpha);
  }
  if (gate.beta != 0) {
    name.add("_beta");
    name.addNumber(gate.beta);
  }
}

inline void addClampScale(NameText &name, float scale) {
  name.add("_clamp");
  name.addNumber(scale);
}

/// Of a kernel for clusters; the CTAs of a cluster follow.
inline constexpr char kClusterSuffix[] = "_cluster";

/// After the parameters of the activation, which begin at `parameters`: which operands
/// there are, and what dead rows get. Puts a hash in the place of all that if it would
/// leave what follows no room in a description.
inline void addOperands(NameText &name, size_t parameters, bool hasMap, bool hasProbs,
                        bool hasZeroedRows) {
  if (!hasMap)
    name.add("_dense");
  if (hasProbs)
    name.add("_probs");
  if (hasZeroedRows)
    name.add("_zeroed");
  constexpr size_t kMostCharacters = 46;
  if (name.length() - parameters <= kMostCharacters)
    return;
  // FNV-1a.
  uint64_t hash = 0xcbf29ce484222325;
  for (const char *at = name.c_str() + parameters; *at; ++at)
    hash = (hash ^ uint8_t(*at)) * 0x100000001b3;
  name.truncate(parameters);
  name.add('_');
  name.addHex(hash, 16);
}

/// What a format with scales adds at the end.
inline void addScales(NameText &name, bool isLinear, bool areDeadUntouched) {
  if (isLinear)
    name.add("_linear");
  if (areDeadUntouched)
    name.add("_untouched");
}

} // namespace moe::launch

#endif // MOE_LIB_LAUNCH_KERNELNAME_H
