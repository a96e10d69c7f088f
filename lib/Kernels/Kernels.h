/*===- Kernels.h - The compiled kernels ---------------------------*- C -*-===*\
|*
|* Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* What the build makes of kernels.mlir. The tables are in a generated file, see
|* CMakeLists.txt.
|*
\*===----------------------------------------------------------------------===*/

#ifndef MOE_LIB_KERNELS_KERNELS_H
#define MOE_LIB_KERNELS_KERNELS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Functions of kernels.mlir: padded_squared_relu; then each of
    squared_relu_quantize_mxfp8 and quantize_mxfp8 with no suffix, _untouched, _linear and
    _linear_untouched. */
enum { kNumKernels = 9 };

extern const char *const kKernelNames[kNumKernels];

/** Code for GPUs from a compute capability on. */
typedef struct GpuImage {
  /** Ten times the lowest compute capability. */
  int capability;
  const void *begin, *end;
} GpuImage;

/** By ascending capability: the last that a device reaches is the one for it. Either PTX
    texts, each with its final NUL, or one fatbin. */
extern const GpuImage kGpuImages[];
extern const size_t kNumGpuImages;

/** A function of kernels.mlir: pointers to memref descriptors, null for operands that the
    op does not have. */
typedef void (*CpuKernel)(void *x, void *permutation_map, void *n_used, void *out,
                          void *scale);

/** The functions compiled for one set of instructions. */
typedef struct CpuLevel {
  const char *name;
  int (*isSupported)(void);
  CpuKernel kernels[kNumKernels];
} CpuLevel;

/** By ascending demands. */
extern const CpuLevel kCpuLevels[];
extern const size_t kNumCpuLevels;

/** What the tables hold, in words. */
extern const char kKernelsDescription[];

#ifdef __cplusplus
}
#endif

#endif /* MOE_LIB_KERNELS_KERNELS_H */
