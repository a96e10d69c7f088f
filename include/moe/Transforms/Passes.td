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

def MoeShareHostMemory : Pass<"moe-share-host-memory", "ModuleOp"> {
  let summary = "Put the host's buffers where kernels can reach them";
  let description = [{
    Turns `memref.alloc` and `memref.dealloc` of host code into `gpu.alloc host_shared`, which
    is managed memory, and `gpu.dealloc`. A constant (`memref.get_global`) that may reach a
    kernel, here or in a function that is called, is copied into such memory when its
    function is entered. The copy is freed when the function returns, unless the function may
    return it: then nobody frees it.

    Preconditions: kernels are launched by `gpu.launch_func`, which waits for them, and
    nothing but `memref.dealloc` frees what `memref.alloc` allocates. Errors: what may reach
    a kernel is on the host's stack (`memref.alloca`) or in a global that is not constant;
    an alignment above 256 bytes; a `memref.realloc`.
  }];
  let dependentDialects = ["gpu::GPUDialect", "memref::MemRefDialect"];
}

#endif // MOE_TRANSFORMS_PASSES
