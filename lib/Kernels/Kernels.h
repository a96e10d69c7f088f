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
#include <stdint.h>

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
  /** An x that has two columns for each of the other matrices: a MoeMatrix. */
  kPairsForm,
  /** An element for each row of x: their address, or null for a kernel without. */
  kPerRowForm,
  /** How many rows are used: the address of one i32. */
  kCountForm,
  /** An f32 for each row of x, given by MoeOptions and not among the operands. */
  kWeightForm,
  /** Scales of the matrix before them: a MoeScale. */
  kScalesForm
} OperandForm;

typedef struct OperandRow {
  const char *name;
  OperandForm form;
  int elementBytes;
  int isWritten;
} OperandRow;

/** An op, with the operands that its kernels may have, in the order of the op; or a
    kernel of a module. The C API knows it by its tag. */
typedef struct MoeOp {
  const char *name;
  int numOperands;
  OperandRow operands[kMaxOperands];
  /** Its kernels in kKernels, or in the module, which are neighbours. */
  int firstKernel, numKernels;
  /** Null for an op of the library. */
  const struct MoeModule *module;
  /** Of a module's kernel with pairs: the columns of a block, or 0 for halves. */
  int64_t pairBlock;
} OpRow;

extern const OpRow kOps[kNumOps];

/** A float, whose bits the manifest may have. */
typedef union FloatBits {
  float value;
  uint32_t bits;
} FloatBits;

enum { kGateUp = 0, kUpGate = 1, kInterleaved = 2 };
enum { kLimitBefore = 0, kLimitAfter = 1 };
enum { kSilu = 0, kGeluTanh = 1 };
enum { kDeadRowsUntouched = 0, kDeadRowsZero = 1 };

/** What a kernel computes and stores, beside its op: the attributes of the op, zero where
    they are as by default. */
typedef struct KernelMode {
  int scale_layout, dead_scales;
  int gate_layout, gate_block;
  int limit_at, activation, dead_rows;
  /** 0 for none, and for an alpha of 1. */
  FloatBits limit, alpha, beta, clamp_scale;
} KernelMode;

/** A compiled function, as convert-moe-to-gpu calls its kernels. */
typedef struct KernelRow {
  const char *name;
  /** Index into kOps. */
  int op;
  /** Which of the op's operands it takes, a bit for each. */
  unsigned operands;
  KernelMode mode;
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
