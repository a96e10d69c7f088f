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

enum { kMaxOperands = 12 };

/** What an operand is to the op, and with it what a caller gives for it. */
typedef enum OperandForm {
  /** Rows of consecutive elements: a MoeMatrix. */
  kMatrixForm,
  /** An x that has two columns for each of the other matrices: a MoeMatrix. */
  kPairsForm,
  /** A matrix of i32 or i64, as MoeOptions says: a MoeMatrix. */
  kIndicesForm,
  /** Elements of which others say how many they are: their address. */
  kVectorForm,
  /** Elements that say how many they are themselves: a MoeVector. */
  kSizedVectorForm,
  /** How many rows or tokens are used: the address of one i32. */
  kCountForm,
  /** An i32 that the kernel is passed: its address on the host. */
  kValueForm,
  /** A value to multiples of which the rows of an expert are rounded up. */
  kAlignmentForm,
  /** An f32 for each row, given by MoeOptions and not among the operands. */
  kWeightForm,
  /** Scales of the matrix before them: a MoeScale. */
  kScalesForm
} OperandForm;

/** A size that operands of an op have in common. */
typedef enum Extent {
  kNoExtent,
  /** Of activations, a token each or none. */
  kRowsExtent,
  kColumnsExtent,
  kTokensExtent,
  /** Those that are local. */
  kExpertsExtent,
  /** The experts that a token is sent to. */
  kChoicesExtent,
  kNumExtents
} Extent;

typedef struct OperandRow {
  const char *name;
  OperandForm form;
  /** Of indices, those of an i32. */
  int elementBytes;
  int isWritten;
  /** Whether some kernel is without. */
  int isOptional;
  /** Of a matrix, its rows and columns; of a vector, its elements; of a count, what it
      counts. */
  Extent extents[2];
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
enum { kIndexI32 = 0, kIndexI64 = 1 };

/** What a kernel computes and stores, beside its op: the attributes of the op, zero where
    they are as by default. */
typedef struct KernelMode {
  int scale_layout, dead_scales;
  int gate_layout, gate_block;
  int limit_at, activation, dead_rows;
  int index_type;
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

enum { kDescriptionsOfOne = 4 };

/** The descriptions that are in the images, for a launch that may not ask the driver. */
typedef struct GpuDescriptions {
  int capability;
  /** By kernel: the one in clusters of CTAs, that with wider accesses, that with the
      kernel's name, and the one for rows that may start anywhere. Without bytes where
      there is none. */
  DescriptionBytes kernels[kNumKernels][kDescriptionsOfOne];
} GpuDescriptions;

/** As kGpuImages, of the chips that PTX is generated for. */
extern const GpuDescriptions kGpuDescriptions[];
extern const size_t kNumGpuDescriptions;

/** A function on the addresses of what the kernel takes, in the order of the op: memref
    descriptors, and values. */
typedef void (*CpuKernel)(void *const *);

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
