//===- NamedPipelines.h - The pipelines that have a name --------*- C++ -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One list for the registry and for docs/reference/Pipelines.md.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_LIB_PIPELINES_NAMEDPIPELINES_H
#define MOE_LIB_PIPELINES_NAMEDPIPELINES_H

#include "moe/Pipelines/Pipelines.h"

namespace mlir::moe {

template <typename OptionsT> struct NamedPipeline {
  using Options = OptionsT;

  StringLiteral name;
  /// A line.
  StringLiteral summary;
  /// What goes in and what comes out, in Markdown.
  StringLiteral takes;
  StringLiteral gives;
  void (*build)(OpPassManager &, const OptionsT &);
};

/// Calls `visit` with each `NamedPipeline<...>`.
template <typename VisitorT> void forEachNamedPipeline(VisitorT visit) {
  visit(NamedPipeline<BufferizationOptions>{
      "moe-bufferize",
      "Fuse and bufferize moe ops on tensors, in place on their destinations",
      "A module. Its functions have moe ops on tensors or memrefs, among ops of `arith`, "
      "`math`, `linalg`, `tensor`, `scf` and others that implement upstream's "
      "`BufferizableOpInterface`. What is on memrefs already stays as it is.",
      "The same on memrefs with identity layouts. An activation whose only use is its "
      "quantisation has become one op with it.",
      buildBufferizationPipeline});
  visit(NamedPipeline<LowerToPTXOptions>{
      "moe-lower-to-ptx",
      "Lower moe ops to PTX, a cubin or a fatbin, and host code that launches it",
      "What `moe-bufferize` takes, and GPU modules with kernels of the user's own in "
      "what "
      "`moe-lower-kernels` takes.",
      "Each `gpu.module` is a `gpu.binary`, each moe op a `gpu.launch_func`, with "
      "arithmetic around it that computes its grid. Other host code is as it was, on "
      "memrefs. A result that is one of a function's arguments is returned as it is, and "
      "what bufferization allocates is not freed: the host cannot copy device memory.",
      buildLowerToPTXPipeline});
  visit(NamedPipeline<LowerToCUDAOptions>{
      "moe-lower-to-cuda",
      "Lower a module with moe ops to the LLVM dialect for the CPU with a CUDA device",
      "What `moe-lower-to-ptx` takes. The host code may hold whatever `moe-lower-to-cpu` "
      "takes.",
      "Ops of the LLVM dialect, `gpu.binary` and `gpu.launch_func`, all of which "
      "`mlir-translate --mlir-to-llvmir` takes. It calls the functions of "
      "`moe-c/MgpuRuntime.h`. The host's allocations are managed memory, which both "
      "sides "
      "can access; a launch waits for its kernel. With `verify-at-runtime`, "
      "`generate-runtime-verification` runs before `convert-moe-to-gpu`.",
      buildLowerToCUDAPipeline});
  visit(NamedPipeline<LowerKernelsOptions>{
      "moe-lower-kernels", "Lower the kernels of GPU modules to the LLVM dialect",
      "GPU modules, those of `convert-moe-to-gpu` or of another compiler, outlined, with "
      "their targets attached (`moe-attach-target` or `nvvm-attach-target`). Kernels are "
      "in `gpu`, `scf`, `vector`, `arith`, `memref`, `math`, `affine`, `index`, `linalg` "
      "on "
      "memrefs, `nvvm` and `llvm`. On a `gpu.module` it can be nested: "
      "`builtin.module(gpu.module(moe-lower-kernels))`. `moe-lower-to-ptx` and "
      "`moe-lower-to-cuda` run the same passes.",
      "GPU modules in the LLVM and NVVM dialects alone, which `moe-module-to-binary` and "
      "`gpu-module-to-binary` take, or an error at the first op that is left. "
      "Conversions "
      "to E4M3 are instructions where all targets of the module have them.",
      buildLowerKernelsPipeline});
  visit(NamedPipeline<LowerToCPUOptions>{
      "moe-lower-to-cpu", "Lower a module with moe ops to the LLVM dialect for the CPU",
      "What `moe-bufferize` takes, without GPU modules. Around the moe ops there may be "
      "`affine`, `arith`, `bufferization`, `cf`, `complex`, `func`, `index`, `linalg`, "
      "`math`, `memref`, `scf`, `tensor`, `ub` and `vector`.",
      "The LLVM dialect alone, which `mlir-translate --mlir-to-llvmir` and `mlir-runner` "
      "take. It calls `malloc`, `free` and functions of libm. With `verify-at-runtime`, "
      "`generate-runtime-verification` runs before `convert-moe-to-scf`.",
      buildLowerToCPUPipeline});
}

} // namespace mlir::moe

#endif // MOE_LIB_PIPELINES_NAMEDPIPELINES_H
