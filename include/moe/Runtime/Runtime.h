//===- Runtime.h - The runtime library in C++ -------------------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A thin cover of moe-c/Runtime.h, which documents what everything does: statuses that
// keep their messages, and modules that unload themselves. Header only, C++17, with or
// without exceptions.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_RUNTIME_RUNTIME_H
#define MOE_RUNTIME_RUNTIME_H

#include "moe-c/Runtime.h"
#include <initializer_list>
#include <string>
#include <utility>

namespace moe::runtime {

/// The outcome of a call, with its message if it failed.
class [[nodiscard]] Status {
public:
  Status() = default;
  /// Right after the C call that returned `code`, on the same thread.
  Status(MoeStatus code) : code_(code) {
    if (code != MOE_SUCCESS)
      message_ = moeGetLastError();
  }

  bool ok() const { return code_ == MOE_SUCCESS; }
  MoeStatus code() const { return code_; }
  /// Empty if the call succeeded.
  const std::string &message() const { return message_; }

private:
  MoeStatus code_ = MOE_SUCCESS;
  std::string message_;
};

/// Kernels loaded from an image, unloaded with the object: destroy it with the context
/// that it was loaded in current.
class Module {
public:
  Module() = default;
  Module(Module &&other) noexcept : module_(std::exchange(other.module_, nullptr)) {}
  Module &operator=(Module &&other) noexcept {
    if (this != &other) {
      (void)unload();
      module_ = std::exchange(other.module_, nullptr);
    }
    return *this;
  }
  ~Module() { (void)unload(); }

  static Status load(const void *image, size_t size, Module &result) {
    MoeModule *loaded = nullptr;
    Status status = moeLoadModule(image, size, &loaded);
    if (status.ok()) {
      result = Module();
      result.module_ = loaded;
    }
    return status;
  }

  /// One of its kernels as an op for runOp.
  Status find(const char *name, const MoeOp *&op) const {
    return moeFindKernel(module_, name, &op);
  }

  /// Unloads it now, for its status. On failure it is kept.
  Status unload() {
    Status status = moeUnloadModule(module_);
    if (status.ok())
      module_ = nullptr;
    return status;
  }

  const MoeModule *get() const { return module_; }

private:
  MoeModule *module_ = nullptr;
};

/// Where and how to run, the CPU by default.
inline MoeLaunch onCPU(int32_t numThreads = 0) {
  MoeLaunch launch = {};
  launch.num_threads = numThreads;
  return launch;
}

inline MoeLaunch onStream(void *stream, const Module *module = nullptr) {
  MoeLaunch launch = {};
  launch.device = MOE_CUDA;
  launch.stream = stream;
  launch.module = module ? module->get() : nullptr;
  return launch;
}

inline Status loadKernels(MoeDevice device) { return moeLoadKernels(device); }

inline Status getScaleSize(int64_t M, int64_t K, MoeScaleLayout layout, int64_t &bytes) {
  return moeGetScaleSize(M, K, layout, &bytes);
}

inline Status paddedSquaredRelu(const MoeLaunch &launch, const MoeMatrix &x,
                                const int32_t *permutation_map, const int32_t *n_used,
                                const MoeMatrix &out) {
  return moePaddedSquaredRelu(&launch, &x, permutation_map, n_used, &out);
}

inline Status squaredReluQuantizeMXFP8(const MoeLaunch &launch, const MoeMatrix &x,
                                       const int32_t *permutation_map,
                                       const int32_t *n_used, const MoeMatrix &data,
                                       const MoeScale &scale) {
  return moeSquaredReluQuantizeMXFP8(&launch, &x, permutation_map, n_used, &data, &scale);
}

inline Status quantizeMXFP8(const MoeLaunch &launch, const MoeMatrix &x,
                            const int32_t *permutation_map, const int32_t *n_used,
                            const MoeMatrix &data, const MoeScale &scale) {
  return moeQuantizeMXFP8(&launch, &x, permutation_map, n_used, &data, &scale);
}

/// `permutation_map` and `probs` may be null.
inline Status paddedSwiGLU(const MoeLaunch &launch, const MoeMatrix &x,
                           const int32_t *permutation_map, const int32_t *n_used,
                           const MoeMatrix &out, const MoeGate &gate = {},
                           const float *probs = nullptr) {
  return moePaddedSwiGLU(&launch, &x, permutation_map, n_used, probs, &gate, &out);
}

inline Status swigluQuantizeMXFP8(const MoeLaunch &launch, const MoeMatrix &x,
                                  const int32_t *permutation_map, const int32_t *n_used,
                                  const MoeMatrix &data, const MoeScale &scale,
                                  const MoeGate &gate = {},
                                  const float *probs = nullptr) {
  return moeSwiGLUQuantizeMXFP8(&launch, &x, permutation_map, n_used, probs, &gate, &data,
                                &scale);
}

/// `probs` and `permuted_probs` may be null.
inline Status routeTokens(const MoeLaunch &launch, const MoeMatrix &routing_map,
                          MoeIndexType index_type, const int32_t *valid_tokens,
                          const MoeMatrix *probs, int32_t first_expert, int32_t alignment,
                          int32_t *tokens_per_expert, int32_t *exclusive_offsets,
                          int32_t *inclusive_offsets, const MoeVector &permutation_map,
                          const MoeMatrix &inverse_map, float *permuted_probs) {
  return moeRouteTokens(&launch, &routing_map, index_type, valid_tokens, probs,
                        first_expert, alignment, tokens_per_expert, exclusive_offsets,
                        inclusive_offsets, &permutation_map, &inverse_map,
                        permuted_probs);
}

inline Status permuteTokens(const MoeLaunch &launch, const MoeMatrix &x,
                            const int32_t *permutation_map, const int32_t *n_used,
                            const MoeMatrix &out) {
  return moePermuteTokens(&launch, &x, permutation_map, n_used, &out);
}

inline Status permuteQuantizeMXFP8(const MoeLaunch &launch, const MoeMatrix &x,
                                   const int32_t *permutation_map, const int32_t *n_used,
                                   const MoeMatrix &data, const MoeScale &scale) {
  return moePermuteQuantizeMXFP8(&launch, &x, permutation_map, n_used, &data, &scale);
}

/// `probs` may be null.
inline Status unpermuteTokens(const MoeLaunch &launch, const MoeMatrix &y,
                              const MoeMatrix &inverse_map, const int32_t *valid_tokens,
                              const MoeMatrix &out, const float *probs = nullptr) {
  return moeUnpermuteTokens(&launch, &y, &inverse_map, valid_tokens, probs, &out);
}

inline Status findOp(const char *name, const MoeOp *&op) { return moeFindOp(name, &op); }

/// Any op; `operands` are what moeRunOp says.
inline Status runOp(const MoeLaunch &launch, const MoeOp *op,
                    std::initializer_list<const void *> operands,
                    const MoeOptions &options = {}) {
  return moeRunOpWithOptions(&launch, op, operands.begin(), int32_t(operands.size()),
                             &options);
}

} // namespace moe::runtime

#endif // MOE_RUNTIME_RUNTIME_H
