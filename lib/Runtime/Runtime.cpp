//===- Runtime.cpp - The C API --------------------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The functions of moe-c/Runtime.h.
//
//===----------------------------------------------------------------------===//

#include "moe-c/Runtime.h"

#include "../Driver/Status.h"
#include "../Driver/Text.h"
#include "Cpu.h"
#include "Cuda.h"
#include "Kernels.h"
#include "Problem.h"
#include <cinttypes>
#include <cstdio>
#include <cstring>

using namespace moe;

const char *moeGetLastError() { return getLastError(); }

int32_t moeGetVersion() {
  return 10000 * MOE_VERSION_MAJOR + 100 * MOE_VERSION_MINOR + MOE_VERSION_PATCH;
}

const char *moeGetDescription() {
  static thread_local char description[512];
  std::snprintf(description, sizeof(description), "moe-mlir %d.%d.%d; %s",
                MOE_VERSION_MAJOR, MOE_VERSION_MINOR, MOE_VERSION_PATCH,
                kKernelsDescription);
  return description;
}

static MoeStatus failNull(const char *name) {
  return fail(MOE_INVALID_ARGUMENT, "%s: expected a pointer, found null", name);
}

static MoeStatus failDevice(MoeDevice device) {
  return fail(MOE_INVALID_ARGUMENT, "device: expected MOE_CPU or MOE_CUDA, found %d",
              int(device));
}

MoeStatus moeGetScaleSize(int64_t M, int64_t K, MoeScaleLayout layout, int64_t *bytes) {
  if (!bytes)
    return failNull("bytes");
  int64_t result;
  MoeStatus status = getScaleSize(M, K, layout, result);
  if (status == MOE_SUCCESS)
    *bytes = result;
  return status;
}

MoeStatus moeLoadKernels(MoeDevice device) {
  if (device == MOE_CPU)
    return MOE_SUCCESS;
  return device == MOE_CUDA ? loadKernels() : failDevice(device);
}

MoeStatus moeLoadModule(const void *image, size_t size, MoeModule **module) {
  if (!image)
    return failNull("image");
  if (!module)
    return failNull("module");
  return loadModule(image, size, *module);
}

MoeStatus moeFindKernel(const MoeModule *module, const char *name, const MoeOp **op) {
  if (!module)
    return failNull("module");
  if (!name)
    return failNull("name");
  if (!op)
    return failNull("op");
  return findKernel(*module, name, *op);
}

MoeStatus moeUnloadModule(MoeModule *module) {
  return module ? unloadModule(module) : MOE_SUCCESS;
}

/// Checks everything, then runs or launches. `operands` are those of the op, in its
/// order, without weights.
static MoeStatus run(const MoeLaunch *launch, const OpRow &op,
                     const void *const *operands, const MoeOptions &options = {}) {
  if (!launch)
    return failNull("launch");
  if (launch->device != MOE_CPU && launch->device != MOE_CUDA)
    return failDevice(launch->device);
  if (launch->flags & ~uint32_t(MOE_PROGRAMMATIC_LAUNCH | MOE_VALIDATE_POINTERS))
    return fail(MOE_INVALID_ARGUMENT,
                "flags: expected MOE_PROGRAMMATIC_LAUNCH and "
                "MOE_VALIDATE_POINTERS alone, found %#x",
                launch->flags);
  if (launch->expected_rows < 0)
    return fail(MOE_INVALID_ARGUMENT,
                "expected_rows: expected a number of rows that is not negative, found "
                "%" PRId64,
                launch->expected_rows);
  if (launch->device == MOE_CPU && launch->module)
    return fail(MOE_INVALID_ARGUMENT,
                "module: expected null for the CPU, found a module of CUDA kernels");
  if (launch->device == MOE_CPU && op.module)
    return fail(
        MOE_INVALID_ARGUMENT,
        "op: expected one of moeFindOp for the CPU, found the CUDA kernel %s of a "
        "module",
        op.name);
  if (op.module && launch->module && launch->module != op.module)
    return fail(MOE_INVALID_ARGUMENT,
                "module: expected null or that of the kernel %s, found another", op.name);
  Problem problem;
  bool isOfModule = launch->module || op.module;
  if (MoeStatus status = makeProblem(op, operands, options, isOfModule, problem))
    return status;
  if (problem.isEmpty)
    return MOE_SUCCESS;
  return launch->device == MOE_CPU ? runOnCPU(problem, launch->num_threads)
                                   : launchOnCUDA(problem, *launch);
}

//===----------------------------------------------------------------------===//
// Any op
//===----------------------------------------------------------------------===//

MoeStatus moeFindOp(const char *name, const MoeOp **op) {
  if (!name)
    return failNull("name");
  if (!op)
    return failNull("op");
  Text names;
  for (const OpRow &row : kOps) {
    if (std::strcmp(row.name, name) == 0) {
      *op = &row;
      return MOE_SUCCESS;
    }
    names.addItem(row.name);
  }
  return fail(MOE_INVALID_ARGUMENT, "name: expected an op of the library (%s), found %s",
              names.c_str(), name);
}

MoeStatus moeRunOp(const MoeLaunch *launch, const MoeOp *op, const void *const *operands,
                   int32_t num_operands) {
  return moeRunOpWithOptions(launch, op, operands, num_operands, nullptr);
}

MoeStatus moeRunOpWithOptions(const MoeLaunch *launch, const MoeOp *op,
                              const void *const *operands, int32_t num_operands,
                              const MoeOptions *options) {
  if (!op)
    return failNull("op");
  if (!operands)
    return failNull("operands");
  if (int count = countArguments(*op); num_operands != count) {
    Text names;
    for (int i = 0; i < op->numOperands; ++i)
      if (op->operands[i].form != kWeightForm)
        names.addItem(op->operands[i].name);
    return fail(MOE_INVALID_ARGUMENT,
                "num_operands: expected the %d of %s (%s), found %" PRId32, count,
                op->name, names.c_str(), num_operands);
  }
  return run(launch, *op, operands, options ? *options : MoeOptions());
}

//===----------------------------------------------------------------------===//
// Those with a function of their own, which has the types of the operands
//===----------------------------------------------------------------------===//

MoeStatus moePaddedSquaredRelu(const MoeLaunch *launch, const MoeMatrix *x,
                               const int32_t *permutation_map, const int32_t *n_used,
                               const MoeMatrix *out) {
  const void *operands[] = {x, permutation_map, n_used, out};
  return run(launch, kOps[kOp_padded_squared_relu], operands);
}

MoeStatus moeSquaredReluQuantizeMXFP8(const MoeLaunch *launch, const MoeMatrix *x,
                                      const int32_t *permutation_map,
                                      const int32_t *n_used, const MoeMatrix *data,
                                      const MoeScale *scale) {
  const void *operands[] = {x, permutation_map, n_used, data, scale};
  return run(launch, kOps[kOp_squared_relu_quantize_mxfp8], operands);
}

MoeStatus moeQuantizeMXFP8(const MoeLaunch *launch, const MoeMatrix *x,
                           const int32_t *permutation_map, const int32_t *n_used,
                           const MoeMatrix *data, const MoeScale *scale) {
  const void *operands[] = {x, permutation_map, n_used, data, scale};
  return run(launch, kOps[kOp_quantize_mxfp8], operands);
}

static MoeOptions makeGateOptions(const float *probs, const MoeGate *gate) {
  MoeOptions options = {};
  options.probs = probs;
  if (gate)
    options.gate = *gate;
  return options;
}

MoeStatus moePaddedSwiGLU(const MoeLaunch *launch, const MoeMatrix *x,
                          const int32_t *permutation_map, const int32_t *n_used,
                          const float *probs, const MoeGate *gate, const MoeMatrix *out) {
  const void *operands[] = {x, permutation_map, n_used, out};
  return run(launch, kOps[kOp_padded_swiglu], operands, makeGateOptions(probs, gate));
}

MoeStatus moeSwiGLUQuantizeMXFP8(const MoeLaunch *launch, const MoeMatrix *x,
                                 const int32_t *permutation_map, const int32_t *n_used,
                                 const float *probs, const MoeGate *gate,
                                 const MoeMatrix *data, const MoeScale *scale) {
  const void *operands[] = {x, permutation_map, n_used, data, scale};
  return run(launch, kOps[kOp_swiglu_quantize_mxfp8], operands,
             makeGateOptions(probs, gate));
}

MoeStatus moeRouteTokens(const MoeLaunch *launch, const MoeMatrix *routing_map,
                         MoeIndexType index_type, const int32_t *valid_tokens,
                         const MoeMatrix *probs, int32_t first_expert, int32_t alignment,
                         int32_t *tokens_per_expert, int32_t *exclusive_offsets,
                         int32_t *inclusive_offsets, const MoeVector *permutation_map,
                         const MoeMatrix *inverse_map, float *permuted_probs) {
  const void *operands[] = {routing_map,
                            valid_tokens,
                            probs,
                            &first_expert,
                            &alignment,
                            tokens_per_expert,
                            exclusive_offsets,
                            inclusive_offsets,
                            permutation_map,
                            inverse_map,
                            probs ? permuted_probs : nullptr};
  MoeOptions options = {};
  options.index_type = index_type;
  return run(launch, kOps[kOp_route_tokens], operands, options);
}

MoeStatus moePermuteTokens(const MoeLaunch *launch, const MoeMatrix *x,
                           const int32_t *permutation_map, const int32_t *n_used,
                           const MoeMatrix *out) {
  const void *operands[] = {x, permutation_map, n_used, out};
  return run(launch, kOps[kOp_permute_tokens], operands);
}

MoeStatus moePermuteQuantizeMXFP8(const MoeLaunch *launch, const MoeMatrix *x,
                                  const int32_t *permutation_map, const int32_t *n_used,
                                  const MoeMatrix *data, const MoeScale *scale) {
  const void *operands[] = {x, permutation_map, n_used, data, scale};
  return run(launch, kOps[kOp_permute_quantize_mxfp8], operands);
}

MoeStatus moeUnpermuteTokens(const MoeLaunch *launch, const MoeMatrix *y,
                             const MoeMatrix *inverse_map, const int32_t *valid_tokens,
                             const float *probs, const MoeMatrix *out) {
  const void *operands[] = {y, inverse_map, valid_tokens, out};
  MoeOptions options = {};
  options.probs = probs;
  return run(launch, kOps[kOp_unpermute_tokens], operands, options);
}
