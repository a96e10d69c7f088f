//===- Passes.td - Passes into, on and out of moe_warp ------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The steps of convert-moe-to-gpu, one by one.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_WARP_PASSES
#define MOE_WARP_PASSES

include "mlir/Pass/PassBase.td"

def ConvertMoeToWarp : Pass<"convert-moe-to-warp", "ModuleOp"> {
  let summary = "Lower the moe ops on memrefs to launches of kernels in moe_warp";
  let description = [{
    The first step of `convert-moe-to-gpu`: all of its host code, and kernels that have their
    rows one by one, with the schedule that they are to follow in `moe_warp.schedule`.
  }];
  let dependentDialects = ["arith::ArithDialect", "gpu::GPUDialect",
                           "LLVM::LLVMDialect", "math::MathDialect",
                           "memref::MemRefDialect", "NVVM::NVVMDialect",
                           "scf::SCFDialect", "vector::VectorDialect",
                           "warp::WarpDialect"];
}

def MoeWarpScheduleRows : Pass<"moe-warp-schedule-rows"> {
  let summary = "Rewrite kernels in moe_warp as their schedules say";
  let description = [{
    The second step of `convert-moe-to-gpu`, on kernels with a `moe_warp.schedule`:

    - `rows = quads` takes the loop over single rows apart into one over quads, with their
      scales stored together, and one over row tiles that clears those of dead quads.
    - `early_bytes` puts in front of the loop over live rows, for inputs up to that size, one
      in which a warp loads its only row before it is known whether it is live. `early_steps`
      makes the chunks of this one smaller.
  }];
  let dependentDialects = ["scf::SCFDialect", "warp::WarpDialect"];
}

def ConvertMoeWarpToGPU : Pass<"convert-moe-warp-to-gpu"> {
  let summary = "Lower moe_warp in kernels to code for one lane";
  let description = [{
    The last step of `convert-moe-to-gpu`. Loops of warps become loops of `scf`, fragments a
    vector for each step, and what lanes have to tell each other becomes shuffles and votes of
    `gpu` and `nvvm`. Elementwise ops of any dialect on fragments are taken apart by steps.

    Preconditions: a kernel is a `gpu.func` with a `known_block_size` of whole warps in x.
  }];
  let dependentDialects = ["arith::ArithDialect", "gpu::GPUDialect",
                           "LLVM::LLVMDialect", "math::MathDialect",
                           "memref::MemRefDialect", "NVVM::NVVMDialect",
                           "scf::SCFDialect", "vector::VectorDialect",
                           "warp::WarpDialect"];
}

#endif // MOE_WARP_PASSES
