/*===- Runtime.h - The C API of the runtime library ---------------*- C -*-===*\
|*                                                                            *|
|* Part of the moe-mlir project, under the Apache License v2.0 with LLVM      *|
|* Exceptions. SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception        *|
|*                                                                            *|
|*===----------------------------------------------------------------------===*|
|*                                                                            *|
|* The ops of the moe dialect, one call each, on the CPU or on a CUDA stream. *|
|*                                                                            *|
|* Conventions:                                                               *|
|* - A call returns a MoeStatus. If that is not MOE_SUCCESS, nothing was      *|
|*   launched or written, and moeGetLastError() says why. Nothing prints,     *|
|*   aborts or throws.                                                        *|
|* - Every function may be called from any number of threads at once.         *|
|* - Sizes and strides are in elements unless a name or a comment says bytes. *|
|* - Structures are read during the call and never kept. Start them as zeros: *|
|*   zero is the default of every field.                                      *|
|* - GPU calls work in the calling thread's current CUDA context, which the   *|
|*   caller makes current (a cudaSetDevice does). libcuda.so.1 is opened by   *|
|*   the first of them; without it everything on the CPU works.               *|
|*                                                                            *|
\*===----------------------------------------------------------------------===*/

#ifndef MOE_C_RUNTIME_H
#define MOE_C_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define MOE_API
#else
#define MOE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*===----------------------------------------------------------------------===*\
|* Status
\*===----------------------------------------------------------------------===*/

typedef enum MoeStatus {
  MOE_SUCCESS = 0,
  /** An argument is wrong. The message names it, what was expected and what was found. */
  MOE_INVALID_ARGUMENT = 1,
  /** The device, or the kernels, cannot do what was asked. */
  MOE_UNSUPPORTED = 2,
  /** libcuda.so.1 could not be opened, or is too old. */
  MOE_NO_DRIVER = 3,
  /** The thread has no current CUDA context, or another than the module's. */
  MOE_NO_CONTEXT = 4,
  /** The CUDA driver returned an error. The message has its name and text. */
  MOE_DRIVER_ERROR = 5,
  MOE_OUT_OF_MEMORY = 6
} MoeStatus;

/** The message of the last call on this thread that failed; never null. Valid until the
    next call on this thread. */
MOE_API const char *moeGetLastError(void);

/** The version of the library: 10000 * major + 100 * minor + patch. */
MOE_API int32_t moeGetVersion(void);

/** One line: the version, and what the library carries kernels for. A build without
    ptxas of CUDA 13 carries PTX alone, which the driver compiles when it is loaded. */
MOE_API const char *moeGetDescription(void);

/*===----------------------------------------------------------------------===*\
|* Operands
\*===----------------------------------------------------------------------===*/

/** Rows of consecutive elements, of the type that an op says: bf16 (x, out), f8E4M3FN
    (data). */
typedef struct MoeMatrix {
  /** Aligned for an element. May be null if there are no elements. */
  void *data;
  int64_t rows;
  int64_t columns;
  /** From a row to the next, at least `columns`. Not looked at without a second row. */
  int64_t row_stride;
} MoeMatrix;

/** Elements that say how many they are. */
typedef struct MoeVector {
  /** Aligned for an element. May be null if there are none. */
  void *data;
  int64_t size;
} MoeVector;

typedef enum MoeScaleLayout {
  /** Tiles of 128 rows by 4 groups, 512 bytes each, as cuBLAS wants 1x32 scales. */
  MOE_SCALE_SWIZZLE_32_4_4 = 0,
  /** Row-major [M, K / 32]. */
  MOE_SCALE_LINEAR = 1
} MoeScaleLayout;

/** The scales of rows that are not live. */
typedef enum MoeDeadScales { MOE_DEAD_ZERO = 0, MOE_DEAD_UNTOUCHED = 1 } MoeDeadScales;

/** The E8M0 scales of an [M, K] matrix, a byte for each group of 32 columns. */
typedef struct MoeScale {
  void *data;
  /** Bytes: what moeGetScaleSize gives; with rows apart, (M - 1) * row_stride + K / 32.
   */
  int64_t size;
  /** Linear layout alone: bytes from a row to the next, at least K / 32; 0 for K / 32. */
  int64_t row_stride;
  MoeScaleLayout layout;
  MoeDeadScales dead;
} MoeScale;

/** Where x [M, 2N] of a gated linear unit has the gate of column c, and the other factor,
    up. */
typedef enum MoeGateLayout {
  /** x[c] and x[N + c]. */
  MOE_GATE_UP = 0,
  /** x[N + c] and x[c]. */
  MOE_UP_GATE = 1,
  /** In blocks of columns, a block of gates first. */
  MOE_GATE_INTERLEAVED = 2
} MoeGateLayout;

/** What a limit clamps beside up: gates, or what the activation makes of them. */
typedef enum MoeLimitAt { MOE_LIMIT_BEFORE = 0, MOE_LIMIT_AFTER = 1 } MoeLimitAt;

typedef enum MoeGateActivation { MOE_SILU = 0, MOE_GELU_TANH = 1 } MoeGateActivation;

/** A gated linear unit; zeros are SwiGLU. docs/family.md says which model has which. The
    library has kernels for some: others are refused with MOE_UNSUPPORTED and a list of
    those that there are, unless the call has a module with a kernel for it. */
typedef struct MoeGate {
  MoeGateLayout layout;
  /** MOE_GATE_INTERLEAVED: columns of a block. */
  int32_t block;
  /** A positive bf16 value; 0 for none. */
  float limit;
  MoeLimitAt limit_at;
  /** 0 for 1. */
  float alpha;
  float beta;
  MoeGateActivation activation;
} MoeGate;

/** What is in the elements of rows below n_used that are not live. */
typedef enum MoeDeadRows {
  MOE_DEAD_ROWS_UNTOUCHED = 0,
  MOE_DEAD_ROWS_ZERO = 1
} MoeDeadRows;

/** The elements of a routing_map. */
typedef enum MoeIndexType { MOE_INDEX_I32 = 0, MOE_INDEX_I64 = 1 } MoeIndexType;

/** What an op may have beside its operands; zeros are nothing of it. */
typedef struct MoeOptions {
  /** A factor for each row of x or y, of which those of live rows are read; null for
      none. */
  const float *probs;
  /** Squared ReLU: what its tanh clamps to; 0 for no clamp. */
  float clamp_scale;
  MoeDeadRows dead_rows;
  /** Gated linear units. */
  MoeGate gate;
  /** Routing. */
  MoeIndexType index_type;
} MoeOptions;

/** Bytes of the scales of an [M, K] matrix without space between rows. K % 32 == 0. */
MOE_API MoeStatus moeGetScaleSize(int64_t M, int64_t K, MoeScaleLayout layout,
                                  int64_t *bytes);

/*===----------------------------------------------------------------------===*\
|* Kernels
\*===----------------------------------------------------------------------===*/

typedef enum MoeDevice { MOE_CPU = 0, MOE_CUDA = 1 } MoeDevice;

/** Loads the library's kernels into the current CUDA context, where they stay. The first
    launch in a context does so too; call this before a stream capture, or to have the
   time it takes spent early. Does nothing on the CPU. */
MOE_API MoeStatus moeLoadKernels(MoeDevice device);

/** Kernels loaded from an image, in one CUDA context. */
typedef struct MoeModule MoeModule;

/** Loads `size` bytes of PTX text, a cubin or a fatbin from moe-opt and moe-translate
   into the current CUDA context. The image may be freed afterwards. Which kernels it has
   and how they are launched is in the image, docs/kernel-abi.md says where; one that does
   not say it, or says it in a way that this version does not know, is refused with
   MOE_UNSUPPORTED.

   A call with the module in its MoeLaunch launches the kernel that moe-opt compiles for
   the op with these operands and options, whether the library ships one like it or not.
   moeFindKernel finds others. */
MOE_API MoeStatus moeLoadModule(const void *image, size_t size, MoeModule **module);

/** An op that the library has kernels for, or a kernel of a module. */
typedef struct MoeOp MoeOp;

/** The kernel `name` of a module as an op for moeRunOp and moeRunOpWithOptions: the
    kernel_name of a moe.map_rows, or the name of an op with what its attributes add to
    it, without what convert-moe-to-gpu adds for an alignment or a shape. Of another name
    than those that the module has, the message lists them. The op is a part of the
    module.

    Its operands are those that the kernel is compiled for, in the order of the op. Of
    options there is probs alone, for a kernel that takes it, and `dead` of a MoeScale is
    not looked at: what the kernel computes is compiled. */
MOE_API MoeStatus moeFindKernel(const MoeModule *module, const char *name,
                                const MoeOp **op);

/** Unloads it, with the context that it was loaded in current; null does nothing. No
   launch of its kernels may be running. */
MOE_API MoeStatus moeUnloadModule(MoeModule *module);

/*===----------------------------------------------------------------------===*\
|* Launches
\*===----------------------------------------------------------------------===*/

/** Bits of MoeLaunch::flags. */
enum {
  /** CUDA: let the kernel start before its predecessor on the stream has ended
      (programmatic dependent launch), which the kernel waits for before it accesses
      memory. From compute capability 9.0 on, else MOE_UNSUPPORTED. */
  MOE_PROGRAMMATIC_LAUNCH = 1,
  /** CUDA: check that the driver knows every pointer as one that this context can access.
      A few microseconds. */
  MOE_VALIDATE_POINTERS = 2
};

/** Where and how to run. Zeros are the CPU. */
typedef struct MoeLaunch {
  MoeDevice device;
  /** MOE_PROGRAMMATIC_LAUNCH, MOE_VALIDATE_POINTERS. */
  uint32_t flags;
  /** CUDA: the CUstream or cudaStream_t; null is the legacy default stream. */
  void *stream;
  /** CUDA: kernels to use instead of the library's; null too for those of moeFindKernel.
      Operands of other sizes or strides than a kernel is compiled for are refused. */
  const MoeModule *module;
  /** CUDA: CTAs at most, up to 65535; 0 for 4 of 256 threads on each SM. Somewhat
      fewer may be launched, so that live rows do not meet in a few of them. */
  int32_t num_ctas;
  /** CPU: threads at most, the caller's included; 0 for as many as the work is worth. */
  int32_t num_threads;
  /** CUDA: how many rows the caller expects to be live, for instance because a batch has
     so many tokens; 0 for unknown. No result depends on it: it decides how many CTAs are
      launched where num_ctas is 0. Few for few rows; for many, a grid of which SMs take
      more as they become free. */
  int64_t expected_rows;
} MoeLaunch;

/*
 * The ops, as docs/reference/MoeDialect.md defines them. A row r is live if r < *n_used
 * and permutation_map[r] >= 0; where an op says that the map may be null, without one, if
 * r < *n_used.
 *
 * permutation_map has an entry for each row of x; n_used is one value. On CUDA both are
 * in device memory and read by the kernel, as everything is: the host reads no buffer,
 * allocates nothing and waits for nothing, so a launch can be captured in a CUDA graph,
 * and the captured launch follows whatever n_used and permutation_map hold at each
 * replay. On the CPU the call returns when the work is done.
 *
 * Rows of bf16 that start at multiples of 16 bytes (32 from compute capability 10.0 on,
 * or as a module is compiled) and have a whole number of them are fast, with data at
 * multiples of half as many; others take a slower kernel with the same result. So do
 * swizzled scales that do not start at a multiple of 16 bytes, or of 4 where those of
 * dead rows are untouched.
 *
 * An output must not share a byte with another operand, else the call is refused. Rows of
 * two operands may lie between each other, in one buffer with the same distance between
 * rows for both.
 *
 * Without rows or columns there is nothing to do and pointers may be null.
 */

/** out[r, c] = bf16(relu(x[r, c])^2) in live rows; other rows are untouched. */
MOE_API MoeStatus moePaddedSquaredRelu(const MoeLaunch *launch, const MoeMatrix *x,
                                       const int32_t *permutation_map,
                                       const int32_t *n_used, const MoeMatrix *out);

/** padded_squared_relu and then quantisation to MXFP8. columns % 32 == 0. */
MOE_API MoeStatus moeSquaredReluQuantizeMXFP8(const MoeLaunch *launch, const MoeMatrix *x,
                                              const int32_t *permutation_map,
                                              const int32_t *n_used,
                                              const MoeMatrix *data,
                                              const MoeScale *scale);

/** Quantisation to MXFP8 of live rows. columns % 32 == 0. */
MOE_API MoeStatus moeQuantizeMXFP8(const MoeLaunch *launch, const MoeMatrix *x,
                                   const int32_t *permutation_map, const int32_t *n_used,
                                   const MoeMatrix *data, const MoeScale *scale);

/** SwiGLU of live rows: x has two columns for each of out. permutation_map and probs may
   be null, and so may gate, for SwiGLU as it is. */
MOE_API MoeStatus moePaddedSwiGLU(const MoeLaunch *launch, const MoeMatrix *x,
                                  const int32_t *permutation_map, const int32_t *n_used,
                                  const float *probs, const MoeGate *gate,
                                  const MoeMatrix *out);

/** padded_swiglu and then quantisation to MXFP8. x has two columns for each of data,
   which has a multiple of 32. */
MOE_API MoeStatus moeSwiGLUQuantizeMXFP8(const MoeLaunch *launch, const MoeMatrix *x,
                                         const int32_t *permutation_map,
                                         const int32_t *n_used, const float *probs,
                                         const MoeGate *gate, const MoeMatrix *data,
                                         const MoeScale *scale);

/*
 * What brings tokens to experts and back. T tokens, of which those below *valid_tokens
 * exist, each with `topk` experts, of which E are local: those from first_expert on. R
 * rows, the capacity, hold the tokens of one local expert after those of another.
 */

/** Counts the tokens of each local expert and gives each of them a row, in order of the
    expert, the token, and the place in its row of routing_map.

    routing_map [T, topk] has the experts of the tokens, of index_type; valid_tokens is
    one value in device memory, below 0 taken for 0 and above T for T; probs [T, topk], in
    f32, may be null, and then permuted_probs is not looked at. The rows of an expert are
   rounded up to a multiple of `alignment`, at least 1; those of an expert without tokens
   are 0.

    tokens_per_expert, exclusive_offsets and inclusive_offsets have E values each. E is
    the number of columns of inverse_map [T, E], of i32, from 1 to 2048; R is the size of
    permutation_map, of i32. In permutation_map, a row that has a token has its number,
    one of padding -1; inverse_map has the row of a token at an expert, -1 for none;
    permuted_probs [R] has the factor of each row with a token. What is at or past the
   last offset is untouched, as is inverse_map of tokens that do not exist. Where R is too
   small, what fits is right. The last of inclusive_offsets is what the other ops take for
    n_used.

    T * topk + E * alignment is less than 2^31. */
MOE_API MoeStatus moeRouteTokens(const MoeLaunch *launch, const MoeMatrix *routing_map,
                                 MoeIndexType index_type, const int32_t *valid_tokens,
                                 const MoeMatrix *probs, int32_t first_expert,
                                 int32_t alignment, int32_t *tokens_per_expert,
                                 int32_t *exclusive_offsets, int32_t *inclusive_offsets,
                                 const MoeVector *permutation_map,
                                 const MoeMatrix *inverse_map, float *permuted_probs);

/** out[r, c] = x[permutation_map[r], c] in live rows: x is [T, H], out [R, H], and a row
    whose entry is at or past T is not live either. Other rows are untouched. */
MOE_API MoeStatus moePermuteTokens(const MoeLaunch *launch, const MoeMatrix *x,
                                   const int32_t *permutation_map, const int32_t *n_used,
                                   const MoeMatrix *out);

/** permute_tokens and then quantize_mxfp8: data is [R, H], H a multiple of 32. */
MOE_API MoeStatus moePermuteQuantizeMXFP8(const MoeLaunch *launch, const MoeMatrix *x,
                                          const int32_t *permutation_map,
                                          const int32_t *n_used, const MoeMatrix *data,
                                          const MoeScale *scale);

/** out[t, c] = the sum over local experts, in their order, of y[inverse_map[t, e], c],
    each times probs of the row if that is not null: y is [R, H] in bf16, inverse_map
    [T, E] in i32, probs [R] and out [T, H] in f32. Every product and every sum is rounded
    to f32, and an entry below 0, or at or past R, adds nothing. Rows at or past
    *valid_tokens are untouched. */
MOE_API MoeStatus moeUnpermuteTokens(const MoeLaunch *launch, const MoeMatrix *y,
                                     const MoeMatrix *inverse_map,
                                     const int32_t *valid_tokens, const float *probs,
                                     const MoeMatrix *out);

/*===----------------------------------------------------------------------===*\
|* Any op, by its name: what a binding needs, so that it has no code per op.
\*===----------------------------------------------------------------------===*/

/** The op `moe.<name>`, such as "quantize_mxfp8"; a part of the library, never freed. Of
    another name than those that the library has, the message lists them. */
MOE_API MoeStatus moeFindOp(const char *name, const MoeOp **op);

/** Runs `op`, from moeFindOp or moeFindKernel: what the functions above do for the ops
   that they name, with the same checks and at the same cost. `operands` has a pointer for
   each operand, inputs before outputs, in the order of lib/Kernels/manifest.txt, where an
   operand's form says what it points to:

      matrix        const MoeMatrix *
      pairs         const MoeMatrix *, of two columns for each of the other matrices
      indices       const MoeMatrix *, of the elements that MoeOptions says
      vector        its elements, int32_t or float, whose number the other operands say
      sized_vector  const MoeVector *
      count         const int32_t *, one value in memory of the device
      value         const int32_t *, one value in memory of the host, as is
      alignment     another
      scales        const MoeScale *

    A weight is none of them, it is in the options. `num_operands` is their number, which
    is checked. */
MOE_API MoeStatus moeRunOp(const MoeLaunch *launch, const MoeOp *op,
                           const void *const *operands, int32_t num_operands);

/** moeRunOp with options; null for none. */
MOE_API MoeStatus moeRunOpWithOptions(const MoeLaunch *launch, const MoeOp *op,
                                      const void *const *operands, int32_t num_operands,
                                      const MoeOptions *options);

#ifdef __cplusplus
}
#endif

#endif /* MOE_C_RUNTIME_H */
