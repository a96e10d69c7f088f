//===- Pipelines.h - From the moe dialect to something that runs *- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The named pipelines and their options. Each is a sequence of passes that can also be
// run one by one.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_PIPELINES_PIPELINES_H
#define MOE_PIPELINES_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace mlir::moe {

struct LowerToPTXOptions : PassPipelineOptions<LowerToPTXOptions> {
  Option<std::string> chip{*this, "chip",
                           llvm::cl::desc("The GPU, such as sm_90 or sm_100a"),
                           llvm::cl::init("sm_90")};
  Option<std::string> features{
      *this, "features",
      llvm::cl::desc("The PTX version, such as +ptx80; empty for the chip's default"),
      llvm::cl::init("")};
  Option<std::string> format{
      *this, "format",
      llvm::cl::desc("What gpu.binary holds: isa (PTX), bin (cubin) or fatbin. The last "
                     "two need ptxas and fatbinary of the CUDA toolkit"),
      llvm::cl::init("isa")};
  Option<std::string> toolkit{
      *this, "toolkit",
      llvm::cl::desc("Where the CUDA toolkit is; empty for CUDA_ROOT, CUDA_HOME, "
                     "CUDA_PATH or PATH"),
      llvm::cl::init("")};
  Option<int64_t> numCTAs{*this, "num-ctas", llvm::cl::desc("CTAs of a launch at most"),
                          llvm::cl::init(528)};
  Option<int64_t> threadsPerCTA{*this, "threads-per-cta",
                                llvm::cl::desc("Threads of a CTA; 0 for the schedule's"),
                                llvm::cl::init(0)};
  Option<int64_t> accessBytes{
      *this, "access-bytes",
      llvm::cl::desc("Widest access to global memory in bytes; 0 for the schedule's"),
      llvm::cl::init(0)};
  static constexpr int kDefaultLevel = -1;
  Option<int> optLevel{
      *this, "O",
      llvm::cl::desc("LLVM's optimisation level, 0 to 3; by default 0 for format=isa, "
                     "which ptxas or the driver will optimise, else 3"),
      llvm::cl::init(kDefaultLevel)};
};

/// Those of LowerToPTXOptions, and one more.
struct LowerToCUDAOptions : LowerToPTXOptions {
  Option<bool> verifyAtRuntime{
      *this, "verify-at-runtime",
      llvm::cl::desc("Check the sizes that are known only when the program runs"),
      llvm::cl::init(false)};
};

/// The chips are those of the targets that the GPU modules have.
struct LowerKernelsOptions : PassPipelineOptions<LowerKernelsOptions> {};

struct LowerToCPUOptions : PassPipelineOptions<LowerToCPUOptions> {
  Option<bool> verifyAtRuntime{
      *this, "verify-at-runtime",
      llvm::cl::desc("Check the sizes that are known only when the program runs"),
      llvm::cl::init(false)};
};

struct BufferizationOptions : PassPipelineOptions<BufferizationOptions> {
  Option<bool> deallocate{
      *this, "deallocate",
      llvm::cl::desc("Free what bufferization allocates; a result that is one of the "
                     "function's arguments becomes a copy that the caller owns"),
      llvm::cl::init(true)};
};

/// Tensors to memrefs: fusion, one-shot bufferization in place on `outs` with identity
/// layouts at function boundaries, and deallocation of what it allocated.
void buildBufferizationPipeline(OpPassManager &pm, const BufferizationOptions &options);

/// The moe ops of a module, on tensors or memrefs, to kernels in a `gpu.binary` and host
/// code that launches them. A result that is one of a function's arguments is returned as
/// it is, and what bufferization allocates is not freed: the host cannot copy device
/// memory.
void buildLowerToPTXPipeline(OpPassManager &pm, const LowerToPTXOptions &options);

/// The same, and the host code to the LLVM dialect, with calls of the functions in
/// moe-c/MgpuRuntime.h. The host's allocations become managed memory, which both sides
/// can access; a launch waits for its kernel.
void buildLowerToCUDAPipeline(OpPassManager &pm, const LowerToCUDAOptions &options);

/// Kernels of any origin in GPU modules, with ops of gpu, scf, vector, arith, memref and
/// more, to the LLVM dialect. `pm` is of `gpu.module`, or of an op that holds some.
void buildLowerKernelsPipeline(OpPassManager &pm, const LowerKernelsOptions &options);

/// A module with moe ops, on tensors or memrefs, to the LLVM dialect for the CPU.
void buildLowerToCPUPipeline(OpPassManager &pm, const LowerToCPUOptions &options);

/// What stands beside the moe ops in host code, to loops, memory and vectors that the
/// pipeline below takes: linalg, affine, reallocation and more.
void buildStructuredLoweringPipeline(OpPassManager &pm);

/// What host code needs on either way before its conversion to the LLVM dialect: bf16,
/// and conversions of narrow floats, in arithmetic of the host; control flow in basic
/// blocks; functions of math that LLVM does not have as calls of libm.
void buildHostLoweringPipeline(OpPassManager &pm);

/// The check that a named pipeline ends with: moe-verify-lowered at `level`.
std::unique_ptr<Pass> createVerifyLowered(StringRef level, StringRef pipeline);

/// The same of memory spaces alone, before conversions that give no location for them.
std::unique_ptr<Pass> createVerifyMemorySpaces(StringRef level, StringRef pipeline);

/// Registers the pipelines of docs/reference/Pipelines.md.
void registerMoePipelines();

} // namespace mlir::moe

#endif // MOE_PIPELINES_PIPELINES_H
