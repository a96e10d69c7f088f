/*===- Kernels.h - The compiled kernels ---------------------------*- C -*-===*\
|*
|* Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|*===----------------------------------------------------------------------===*|
|*
|* What the build makes of manifest.txt: ops with their operands and kernels, and the code
|* of the kernels. The tables are in generated files, see CMakeLists.txt.
|*
\*===----------------------------------------------------------------------===*/

#ifndef MOE_LIB_KERNELS_KERNELS_H
#define MOE_LIB_KERNELS_KERNELS_H

#include <stddef.h>

/* kNumOps, kNumKernels, and kOp_<name> for each op. */
#include "KernelCounts.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { kMaxOperands = 6 };

/** What an operand is to the op, and with it what a caller gives for it. */
typedef enum OperandForm {
  /** A row for each row of x: a MoeMatrix. The first operand is one, x itself. */
  kMatrixForm,
  /** An element for each row of x: their address. */
  kPerRowForm,
  /** How many rows are used: the address of one i32. */
  kCountForm,
  /** Scales of the matrix before them: a MoeScale. */
  kScalesForm
} OperandForm;

typedef struct OperandRow {
  const char *name;
  OperandForm form;
  int elementBytes;
  int isWritten;
} OperandRow;

/** An op, with its operands in the order of the op. The C API knows it by its tag. */
typedef struct MoeOp {
  const char *name;
  int numOperands;
  OperandRow operands[kMaxOperands];
  /** Its kernels by MoeScaleLayout and MoeDeadScales; the first for an op without scales.
      -1 for one that there is not. */
  int kernels[2][2];
} OpRow;

extern const OpRow kOps[kNumOps];

/** A compiled function, as convert-moe-to-gpu calls its kernels. */
typedef struct KernelRow {
  const char *name;
  /** Index into kOps. */
  int op;
} KernelRow;

extern const KernelRow kKernels[kNumKernels];

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

/** What lib/Launch/KernelDescription.h reads. */
typedef struct DescriptionBytes {
  const unsigned char *begin;
  size_t size;
} DescriptionBytes;

/** The descriptions that are in the images, for a launch that may not ask the driver. */
typedef struct GpuDescriptions {
  int capability;
  /** By kernel, and whether it is the one for rows that may start anywhere. */
  DescriptionBytes kernels[kNumKernels][2];
} GpuDescriptions;

/** As kGpuImages, of the chips that PTX is generated for. */
extern const GpuDescriptions kGpuDescriptions[];
extern const size_t kNumGpuDescriptions;

/** A function on memref descriptors, which it takes by their addresses. It does not look
    at more of them than its op has operands. */
typedef void (*CpuKernel)(void *, void *, void *, void *, void *, void *);

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
