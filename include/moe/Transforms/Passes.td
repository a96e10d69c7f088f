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
    Turns a padding-aware activation in bf16, followed by an op that stores its result in a
    format, into one op that reads `x` once and never writes the bf16 activation: for
    instance `moe.padded_squared_relu` and `moe.quantize_mxfp8` into
    `moe.squared_relu_quantize_mxfp8`. Where there is no such op, the result is a
    `moe.map_rows`. It fires on tensors, where it cannot change a byte if

    - both ops have the same `permutation_map` and the same `n_used` (the same values),
      so that the same rows are live: rows that are not live decide nothing in either,
    - the quantisation is the only use of the activation's result,
    - of an op that gathers, nothing says what the rows hold that it leaves alone: its
      destination is a `tensor.empty`, and it zeroes none. A row whose entry is past the rows
      of `x` is live in the quantisation alone, which would read it.

    On memrefs the activation's destination would lose its contents, so nothing is fused:
    run this pass before bufferization.
  }];
  let dependentDialects = ["arith::ArithDialect", "math::MathDialect"];
}

def MoeFuseElementwise : Pass<"moe-fuse-elementwise"> {
  let summary = "Fuse an elementwise linalg op into the activation of its result";
  let description = [{
    An op of linalg that computes each element of `x` from the element of one tensor at the
    same place, and is used by a padding-aware op alone, becomes part of that op's
    activation, in a `moe.map_rows`. It is then computed for live rows alone, and its result
    never written. Rows that are not live decide nothing, so no byte changes. The
    `kernel_name` of a `moe.map_rows` stays, unless it is the name of an op, which the
    kernels of the result do not compute.

    The linalg op has one input and one result, both matrices of bf16 of one shape, identity
    indexing maps, parallel iterators, and a body of what the region of `moe.map_rows` may
    hold (C13), with constants from outside. It does not read its destination.
  }];
  let dependentDialects = ["arith::ArithDialect", "math::MathDialect"];
}

def MoeGeneralize : Pass<"moe-generalize"> {
  let summary = "Turn padding-aware ops into moe.map_rows";
  let description = [{
    Every op with the `PaddingAwareOpInterface`, of this dialect or another, becomes the
    `moe.map_rows` that it is a case of: its activation as a region, its format as an
    attribute, and the name that its kernels have.
  }];
  let dependentDialects = ["arith::ArithDialect", "math::MathDialect"];
}

def MoeBufferizeTensors : Pass<"moe-bufferize-tensors", "ModuleOp"> {
  let summary = "Bufferize tensors, and free what that allocates";
  let description = [{
    Runs one-shot bufferization, across function boundaries with identity layouts, on the
    module and on those nested in it, and then frees what it allocated. The two are one pass
    because only before the first can buffers of the program be told from those made for
    tensors:

    - A function without tensors is left as it is: a memref that it returns is that buffer,
      and what it allocates is its own to free.
    - In a function with tensors, what the program itself allocates and frees is left alone
      too. A tensor that is returned becomes a buffer that the caller owns: a copy, where it
      is one of the function's arguments.

    Upstream's ownership-based deallocation does the freeing. A function that it does not
    take (loops of basic blocks, ops of unknown effects) or in which tensors become memrefs
    of the program has each buffer freed after its last use in its block; what goes into
    another block or may be kept by the program, as a memref that is returned or stored, is
    not freed. A function that is only declared keeps nothing of what is lent to it.
  }];
  let options = [
    Option<"deallocate", "deallocate", "bool", "true", "Free what bufferization allocates">,
  ];
  let dependentDialects = ["bufferization::BufferizationDialect", "cf::ControlFlowDialect",
                           "func::FuncDialect", "memref::MemRefDialect",
                           "scf::SCFDialect"];
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

def MoeChooseSchedule : Pass<"moe-choose-schedule"> {
  let summary = "Choose how a GPU does the work of each op";
  let description = [{
    Sets `moe.schedule` on padding-aware ops that have none: an array of `#moe.schedule`,
    the best first, the last one right for every address. `convert-moe-to-gpu` launches the
    first whose needs hold. What an op has is left alone, so a schedule can be written by
    hand.

    The choice is a row of a table, by the chip and by the format of the op. `print-table`
    prints the table to the standard error stream, in Markdown. The other options replace
    numbers in its rows: with other `access-bytes` as many bytes are in flight as before, and
    with other `threads-per-cta` as many threads are on an SM. The row for single elements
    keeps its accesses.
  }];
  // The table is printed of modules without an op of it too.
  let dependentDialects = ["::mlir::moe::MoeDialect"];
  let options = [
    Option<"chip", "chip", "std::string", "\"\"",
           "The GPU, such as sm_90; empty for what suits all">,
    Option<"numCTAs", "num-ctas", "int64_t", "528",
           "CTAs of a launch at most; 4 for each SM of the card are a good choice">,
    Option<"threadsPerCTA", "threads-per-cta", "int64_t", "0",
           "Threads of a CTA: a power of two from 32 to 1024; 0 for the table's">,
    Option<"accessBytes", "access-bytes", "int64_t", "0",
           "Widest access to global memory: 16, or 32 from sm_100 on; 0 for the table's">,
    Option<"printTable", "print-table", "bool", "false",
           "Print the table that schedules are chosen by">,
  ];
}

#endif // MOE_TRANSFORMS_PASSES
