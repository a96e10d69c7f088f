//===- KernelChoice.cpp - The kernel for what a caller asks ---------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelChoice.h"

#include "../Driver/Status.h"
#include "../Driver/Text.h"
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

using namespace moe;

static_assert(int(MOE_GATE_UP) == kGateUp && int(MOE_UP_GATE) == kUpGate &&
              int(MOE_GATE_INTERLEAVED) == kInterleaved);
static_assert(int(MOE_LIMIT_AFTER) == kLimitAfter && int(MOE_GELU_TANH) == kGeluTanh &&
              int(MOE_DEAD_ROWS_ZERO) == kDeadRowsZero);

MoeStatus moe::checkIndexType(const MoeOptions &options) {
  if (options.index_type == MOE_INDEX_I32 || options.index_type == MOE_INDEX_I64)
    return MOE_SUCCESS;
  return fail(MOE_INVALID_ARGUMENT,
              "index_type: expected MOE_INDEX_I32 or MOE_INDEX_I64, found %d",
              int(options.index_type));
}

MoeStatus moe::checkOptions(const MoeOptions &options) {
  const MoeGate &gate = options.gate;
  struct {
    const char *name;
    int value, last;
  } choices[] = {{"gate.layout", gate.layout, kInterleaved},
                 {"gate.limit_at", gate.limit_at, kLimitAfter},
                 {"gate.activation", gate.activation, kGeluTanh},
                 {"dead_rows", options.dead_rows, kDeadRowsZero}};
  for (auto [name, value, last] : choices)
    if (value < 0 || value > last)
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected one of the values of its type, 0 to %d, found %d", name,
                  last, value);
  if (gate.layout == MOE_GATE_INTERLEAVED && gate.block < 1)
    return fail(MOE_INVALID_ARGUMENT,
                "gate.block: expected the columns of a block, found %" PRId32,
                gate.block);
  struct {
    const char *name;
    float value;
  } numbers[] = {{"gate.limit", gate.limit}, {"clamp_scale", options.clamp_scale}};
  for (auto [name, value] : numbers)
    if (!(value >= 0) || std::isinf(value))
      return fail(MOE_INVALID_ARGUMENT,
                  "%s: expected a positive number, or 0 for none, found %g", name,
                  double(value));
  return MOE_SUCCESS;
}

/// Zero where `value` is the number that asks for nothing.
static FloatBits toBits(float value, float nothing) {
  FloatBits bits = {};
  if (value != nothing && value != 0)
    bits.value = value;
  return bits;
}

static KernelMode makeMode(const MoeOptions &options, const MoeScale *scale) {
  const MoeGate &gate = options.gate;
  KernelMode mode = {};
  if (scale) {
    mode.scale_layout = scale->layout;
    mode.dead_scales = scale->dead;
  }
  mode.gate_layout = gate.layout;
  mode.gate_block = gate.layout == MOE_GATE_INTERLEAVED ? gate.block : 0;
  mode.limit_at = gate.limit_at;
  mode.activation = gate.activation;
  mode.dead_rows = options.dead_rows;
  mode.index_type = options.index_type;
  mode.limit = toBits(gate.limit, 0);
  mode.alpha = toBits(gate.alpha, 1);
  mode.beta = toBits(gate.beta, 0);
  mode.clamp_scale = toBits(options.clamp_scale, 0);
  return mode;
}

static bool isSame(const KernelMode &a, const KernelMode &b) {
  return a.scale_layout == b.scale_layout && a.dead_scales == b.dead_scales &&
         a.gate_layout == b.gate_layout && a.gate_block == b.gate_block &&
         a.limit_at == b.limit_at && a.activation == b.activation &&
         a.dead_rows == b.dead_rows && a.index_type == b.index_type &&
         a.limit.bits == b.limit.bits && a.alpha.bits == b.alpha.bits &&
         a.beta.bits == b.beta.bits && a.clamp_scale.bits == b.clamp_scale.bits;
}

static int findKernel(const KernelRequest &request, unsigned operands) {
  const OpRow &op = *request.op;
  for (int i = op.firstKernel; i < op.firstKernel + op.numKernels; ++i)
    if (kKernels[i].operands == operands && isSame(kKernels[i].mode, request.mode))
      return i;
  return -1;
}

/// Of no matter which operands.
static int findKernelOfMode(const KernelRequest &request) {
  const OpRow &op = *request.op;
  for (int i = op.firstKernel; i < op.firstKernel + op.numKernels; ++i)
    if (isSame(kKernels[i].mode, request.mode))
      return i;
  return -1;
}

static bool has(const KernelRequest &request, const char *name) {
  for (int i = 0; i < request.op->numOperands; ++i)
    if (std::strcmp(request.op->operands[i].name, name) == 0 &&
        (request.operands >> i & 1))
      return true;
  return false;
}

void moe::nameKernel(const KernelRequest &request, launch::NameText &name) {
  const KernelMode &mode = request.mode;
  name.add(request.op->name);
  size_t begin = name.length();
  launch::GateName gate;
  gate.isGateSecond = mode.gate_layout == kUpGate;
  gate.block = mode.gate_block;
  gate.isGeluTanh = mode.activation == kGeluTanh;
  gate.limit = mode.limit.bits != 0 ? &mode.limit.value : nullptr;
  gate.isLimitAfter = mode.limit_at == kLimitAfter;
  gate.alpha = mode.alpha.bits != 0 ? mode.alpha.value : 1;
  gate.beta = mode.beta.value;
  launch::addGate(name, gate);
  if (mode.clamp_scale.bits != 0)
    launch::addClampScale(name, mode.clamp_scale.value);
  if (mode.index_type == kIndexI64)
    name.add("_i64");
  bool isDense = has(request, "n_used") && !has(request, "permutation_map");
  launch::addOperands(name, begin, !isDense, has(request, "probs"),
                      mode.dead_rows == kDeadRowsZero);
  launch::addScales(name, mode.scale_layout == MOE_SCALE_LINEAR,
                    mode.dead_scales == MOE_DEAD_UNTOUCHED);
}

void moe::describe(const KernelRequest &request, Text &text) {
  const auto &[row, mode, operands] = request;
  const OpRow &op = *row;
  const char *separator = "";
  auto add = [&](const char *word) {
    text.add("%s%s", separator, word);
    separator = " + ";
  };
  auto addNumber = [&](const char *word, FloatBits number) {
    if (number.bits == 0)
      return;
    add(word);
    // As few digits as it takes to tell it from all others.
    char digits[32];
    for (int precision : {6, 7, 8, 9}) {
      std::snprintf(digits, sizeof(digits), "%.*g", precision, double(number.value));
      if (std::strtof(digits, nullptr) == number.value)
        break;
    }
    text.add(" %s", digits);
  };
  if (mode.gate_layout == kUpGate)
    add("up_gate");
  if (mode.gate_layout == kInterleaved) {
    add("interleaved");
    text.add("<%d>", mode.gate_block);
  }
  if (mode.activation == kGeluTanh)
    add("gelu_tanh");
  addNumber("limit", mode.limit);
  if (mode.limit_at == kLimitAfter)
    add("limit_at after");
  addNumber("alpha", mode.alpha);
  addNumber("beta", mode.beta);
  addNumber("clamp_scale", mode.clamp_scale);
  if (mode.index_type == kIndexI64)
    add("indices of 64 bits");
  for (int i = 0; i < op.numOperands; ++i) {
    bool isTaken = operands >> i & 1;
    if (op.operands[i].form == kWeightForm ? isTaken : !isTaken) {
      add(isTaken ? "" : "no ");
      text.add("%s", op.operands[i].name);
    }
  }
  if (mode.dead_rows == kDeadRowsZero)
    add("zeroed dead rows");
  if (mode.scale_layout == MOE_SCALE_LINEAR)
    add("linear scales");
  if (mode.dead_scales == MOE_DEAD_UNTOUCHED)
    add("untouched dead scales");
  if (!*separator)
    add("nothing");
}

/// Of a module's kernel that the caller has found by its name.
static MoeStatus checkRequest(const KernelRequest &request, const MoeOptions &options) {
  KernelMode compiled = {};
  compiled.scale_layout = request.mode.scale_layout;
  compiled.dead_scales = request.mode.dead_scales;
  const OpRow &op = *request.op;
  if (!isSame(compiled, request.mode))
    return fail(MOE_INVALID_ARGUMENT,
                "options: expected those of the kernel %s to be zeros but for probs, as "
                "it is compiled with its own",
                op.name);
  if (options.probs && !has(request, "probs"))
    return fail(MOE_INVALID_ARGUMENT, "probs: the kernel %s takes none", op.name);
  return MOE_SUCCESS;
}

MoeStatus moe::chooseKernel(const OpRow &op, const void *const *given,
                            const MoeOptions &options, const MoeScale *scale,
                            bool isOfModule, bool isEmpty, KernelRequest &request,
                            int &kernel) {
  // `known` where a vector that is not there is only missing.
  unsigned present = 0, known = 0;
  bool takesWeights = false;
  for (int i = 0; i < op.numOperands; ++i) {
    OperandForm form = op.operands[i].form;
    takesWeights |= form == kWeightForm;
    bool isPresent = true, isKnown = true;
    if (!given[i]) {
      bool isOptional = form == kWeightForm || op.operands[i].isOptional;
      isPresent = op.module || (form != kVectorForm && !isOptional);
      isKnown = form == kVectorForm || !isOptional;
    }
    present |= unsigned(isPresent) << i;
    known |= unsigned(isKnown) << i;
  }
  request = {&op, makeMode(options, scale), present};
  kernel = kOfModule;
  if (op.module)
    return checkRequest(request, options);
  if (options.probs && !takesWeights)
    return fail(MOE_UNSUPPORTED, "probs: the library has no kernel of %s that takes any",
                op.name);
  if (isOfModule)
    return MOE_SUCCESS;
  kernel = findKernel(request, present);
  if (kernel < 0) {
    kernel = findKernel(request, known);
    request.operands = kernel < 0 ? present : known;
  }
  // What has no elements may have no address, so that it is there nobody knows.
  if (kernel < 0 && isEmpty)
    kernel = findKernelOfMode(request);
  if (kernel >= 0)
    return MOE_SUCCESS;
  Text asked, shipped;
  describe(request, asked);
  for (int i = op.firstKernel; i < op.firstKernel + op.numKernels; ++i) {
    shipped.addItem("");
    describe({&op, kKernels[i].mode, kKernels[i].operands}, shipped);
  }
  return fail(MOE_UNSUPPORTED,
              "%s: the library has no kernel for %s; it has those for %s. Others are "
              "compiled by moe-opt and loaded by moeLoadModule",
              op.name, asked.c_str(), shipped.c_str());
}
