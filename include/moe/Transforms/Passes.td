//===- Passes.td - Passes from moe to moe -------------------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Transformations that stay within the moe dialect.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TRANSFORMS_PASSES
#define MOE_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

def MoeFuseQuantize : Pass<"moe-fuse-quantize"> {
  let summary = "Fuse an activation with the quantisation of its result";
  let description = [{
    Turns `moe.padded_squared_relu` followed by `moe.quantize_mxfp8` into
    `moe.squared_relu_quantize_mxfp8`, which reads `x` once and never writes the bf16
    activation. It fires on tensors, where it cannot change a byte if

    - both ops have the same `permutation_map` and the same `n_used` (the same values),
      so that the same rows are live: rows that are not live decide nothing in either,
    - the quantisation is the only use of the activation's result.

    On memrefs the activation's destination would lose its contents, so nothing is fused:
    run this pass before bufferization.
  }];
}

def MoeDeallocateBuffers : Pass<"moe-deallocate-buffers", "ModuleOp"> {
  let summary = "Free what bufferization allocated";
  let description = [{
    Runs upstream's buffer deallocation pipeline and lowers the copies that it makes, unless
    the module frees memory itself: upstream's analysis does not take such functions. What
    bufferization allocates in such a module is not freed.
  }];
  let dependentDialects = ["bufferization::BufferizationDialect", "func::FuncDialect",
                           "memref::MemRefDialect", "scf::SCFDialect"];
}

#endif // MOE_TRANSFORMS_PASSES
