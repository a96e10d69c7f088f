//===- Passes.td - Lowerings of the moe dialect -------------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The lowerings of the moe dialect, and the legalisation of what they emit.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_CONVERSION_PASSES
#define MOE_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"

def ConvertMoeToSCF : Pass<"convert-moe-to-scf"> {
  let summary = "Lower the moe ops on memrefs to loops over rows and vectors";
  let description = [{
    The CPU path: a loop over the rows, and for each live row a loop over its columns, 32 in
    a vector. Groups are quantised four at a time, the scales of a column tile, while the
    exponents of the next four are computed. The quantisation is arithmetic on 32-bit words
    of two elements and on 16-bit integers, and needs no conversion to an 8-bit float.

    Preconditions: the ops are on memrefs. An op on tensors is an error that says so. The
    target is little-endian, for what `vector.bitcast` means. The result has the activation
    on vectors of bf16: run `moe-legalize-bf16` and `arith-expand` next.
  }];
  let dependentDialects = ["arith::ArithDialect", "math::MathDialect",
                           "memref::MemRefDialect", "scf::SCFDialect",
                           "vector::VectorDialect"];
}

def ConvertMoeToGPU : Pass<"convert-moe-to-gpu", "ModuleOp"> {
  let summary = "Lower the moe ops on memrefs to kernels launched under a fixed grid";
  let description = [{
    Each op becomes a `gpu.launch_func` of a kernel in the module `@moe_kernels`. Ops with
    the same operand types and attributes share a kernel.

    Its steps are passes too: `convert-moe-to-warp`, `moe-warp-schedule-rows`, and
    `convert-moe-warp-to-gpu`. After the second a kernel can be read.

    How the work is cut up is what `moe.schedule` on the op says: of its schedules the first
    whose needs hold is launched. An op without it has those that `moe-choose-schedule`
    chooses for any chip.

    The grid is *fixed*: it depends on shapes and on the schedule, never on `n_used` or
    `permutation_map`, so that a launch can be captured in a CUDA graph. The kernels are
    right for any grid of at least one CTA.

    In the grid, x runs over chunks of columns and y, with the warps of a CTA, over rows. A
    warp reads 32 entries of `permutation_map` at once, a lane each and a grid's width
    apart, votes, and visits those of its rows that are live. A chunk's loads are all
    issued before the first of them is used. The schedule may have small inputs loaded
    before it is known which rows are live, and rows go to warps by quads. An odd number of warps gets
    rows, and y is a number under which live rows do not meet in few of them:
    docs/kernel-abi.md has the rule.

    A kernel is called after its op, with `_linear` and `_untouched` after it for the
    attributes of those names, and with `_unaligned` if it accesses single elements. Where
    alignment is known only when the program runs, the host code chooses between the kernels
    of an op once for each launch.

    What is launched for an op is a remark of category `moe-schedule` (`--remarks-filter`):
    passed for a kernel with wide accesses, missed for one with single elements.

    Preconditions: the ops are on memrefs in memory space 0 or 1 (generic or global). An op
    on tensors is an error that says so. The result has conversions from bf16 to f8E4M3FN:
    run `moe-legalize-f8` next.
  }];
  let dependentDialects = ["arith::ArithDialect", "gpu::GPUDialect",
                           "LLVM::LLVMDialect", "math::MathDialect",
                           "memref::MemRefDialect", "NVVM::NVVMDialect",
                           "scf::SCFDialect", "vector::VectorDialect",
                           "warp::WarpDialect"];
}

def MoeLegalizeF8 : Pass<"moe-legalize-f8"> {
  let summary = "Legalise conversions to f8 and from narrow floats for the target";
  let description = [{
    Rewrites, on scalars and on vectors of fixed size:

    - `arith.truncf` from f32, bf16 or f16 to f8E4M3FN or f8E5M2 that rounds to nearest even
      (the default). For sm_89 and later it becomes `nvvm.convert.f32x2.to.f8x2`, for other
      chips and for the CPU integer arithmetic. Both give the same bytes: magnitudes above the
      largest number, 448 or 57344, infinity among them, saturate to it, and NaN gives 0x7f.
    - `arith.extf` from any float of 8 bits or less (f8E4M3FN, f8E5M2, f8E8M0FNU, f4E2M1FN and
      so on). It becomes integer arithmetic and is exact: f32, bf16 and f64 hold every value
      of these types, subnormals and NaN included. f16 holds all but those of f8E8M0FNU, which
      are rounded.

    Other conversions are left alone. On a `gpu.module`, the chips are those of its targets.
  }];
  let options = [
    Option<"chip", "chip", "std::string", "\"\"",
           "The GPU, such as sm_90; empty for the targets of a gpu.module, else for the CPU">,
  ];
  let dependentDialects = ["arith::ArithDialect", "NVVM::NVVMDialect",
                           "vector::VectorDialect"];
}

def MoeExpandOps : Pass<"moe-expand-ops"> {
  let summary = "Expand ops that have no direct conversion to the LLVM dialect";
  let description = [{
    Applies upstream's patterns to `arith` divisions that round up or down,
    `arith.scaling_extf` and `arith.scaling_truncf`, and to `vector.contract`, `gather`,
    `interleave`, `mask`, `multi_reduction`, `outerproduct`, `scan` and `transpose`. The moe
    ops' own lowerings use none of them in a kernel, so that kernels stay as they are.
  }];
  let dependentDialects = ["arith::ArithDialect", "memref::MemRefDialect",
                           "scf::SCFDialect", "ub::UBDialect", "vector::VectorDialect"];
}

def MoeConvertKernelMath : Pass<"moe-convert-kernel-math"> {
  let summary = "Convert the functions of math that a GPU has instructions for";
  let description = [{
    In a `gpu.module`, converts absolute values, rounding, square roots, `math.fma`, classes of
    floats and bit counts to LLVM's intrinsics. Other functions are left to
    `convert-gpu-to-nvvm`, which calls libdevice, a library of the CUDA toolkit.

    What a GPU has fewer instructions for becomes those, with the same bits:

    - `d > 2^126 ? 0 : 1 / d` in f32, if `d` is proven to be finite and 1 at least:
      `rcp.approx.ftz` and two `fma`;
    - `t is NaN ? 0x7fff : arith.truncf t` from f32 to bf16: the `arith.truncf`.
  }];
  let dependentDialects = ["arith::ArithDialect", "LLVM::LLVMDialect",
                           "math::MathDialect", "NVVM::NVVMDialect",
                           "vector::VectorDialect"];
}

def MoeVerifyLowered : Pass<"moe-verify-lowered"> {
  let summary = "Fail if a pipeline has left something unlowered";
  let description = [{
    Each named pipeline ends with it. Conversions leave what they do not know to those after
    them, and say nothing. Here the first op that is left, or a type without a conversion, or
    a memory space that the target lacks, is an error at its location. `level` says what may
    be left:

    - `cpu`: the LLVM dialect, in memory space 0 or 1 (the host has one memory);
    - `cuda`: that, `gpu.binary` and `gpu.launch_func`, which the translation to LLVM IR takes;
    - `kernel`: the LLVM and NVVM dialects within a `gpu.module`;
    - `launch`: host code on memrefs in any dialect, but no moe op, `gpu.module`,
      `gpu.launch`, tensor or unresolved cast.
  }];
  let options = [
    Option<"level", "level", "std::string", "\"cpu\"", "cpu, cuda, kernel or launch">,
    Option<"pipeline", "pipeline", "std::string", "\"\"",
           "The pipeline that errors name; empty for this pass">,
    Option<"memorySpaces", "memory-spaces", "bool", "false",
           "Before a conversion: check memory spaces, that a CPU gets no kernels, and that no "
           "symbol has the name of a CUDA runtime function, alone">,
  ];
}

def MoeLegalizeBF16 : Pass<"moe-legalize-bf16"> {
  let summary = "Compute on vectors of bf16 in pairs of f32, for a CPU";
  let description = [{
    Takes a vector of bf16 as 32-bit words of two elements each, and so as two vectors of
    f32: its elements at even and at odd places. Rewritten are ops on vectors of rank 1 and
    even size:

    - on bf16, `arith.addf`, `subf`, `mulf`, `divf`, `negf`, `cmpf`, `select`, minima and
      maxima, and what `math` has: the same in f32, rounded to nearest even;
    - `arith.extf` from bf16 to f32, `arith.truncf` back, and elementwise ops of `arith` and
      `math` on any type between them, which are done twice, for even and for odd places,
      and never put back in order. Left as it is is an op that takes another vector, but for
      a constant or a scalar's broadcast, or whose result goes elsewhere; and with it, up to
      the next bf16, those that it depends on or that depend on it.

    Subnormals are kept. A NaN is 0x7fc0, as it is after `arith-expand`, but for `mulf` and
    for what works on bits, `select`, `negf`, `absf` and `copysign`, which keep an
    operand's, and where a program selects another NaN for that of a conversion to bf16.

    Other ops on bf16 are left to `arith-emulate-unsupported-floats` and `arith-expand`: run
    them next.

    Preconditions: a little-endian target, for what `vector.bitcast` means.
  }];
  let dependentDialects = ["arith::ArithDialect", "vector::VectorDialect"];
}

def MoeStrictConversions : Pass<"moe-strict-conversions"> {
  let summary = "Have every conversion between float types round, and round once";
  let description = [{
    Removes the flag `contract` from `arith.extf` and `arith.truncf`.
    `arith-emulate-unsupported-floats` sets it on all that it makes, and a truncation followed
    by an extension then disappears: the result of one bf16 op would go to the next without
    having been rounded.

    `arith.truncf` from f64 to bf16, for which LLVM calls a function that few C libraries
    have, becomes one from f32. The f64 is rounded to that one to odd, so that the result is
    that of rounding once.
  }];
  let dependentDialects = ["arith::ArithDialect"];
}

def MoeLegalizeBF16Accesses : Pass<"moe-legalize-bf16-accesses"> {
  let summary = "Load and store vectors of bf16 as integers";
  let description = [{
    Vectors of bf16 that `llvm.load` and `llvm.store` move become vectors of i16, with an
    `llvm.bitcast` to or from bf16. For CPUs without bf16 instructions LLVM takes a vector of
    bf16 apart wherever one is left: where it carries a loaded one through a loop, and where
    it finds that integer arithmetic on its bits is a function such as fabs.
  }];
  let dependentDialects = ["LLVM::LLVMDialect"];
}

def MoeLegalizeLoopAnnotations : Pass<"moe-legalize-loop-annotations"> {
  let summary = "Put loop annotations where the translation to LLVM IR reads them";
  let description = [{
    `convert-scf-to-cf` carries an `llvm.loop_annotation` from a loop to its branches, and the
    conversions to LLVM keep it as a discardable attribute, which the translation ignores.
    Here it becomes the property of `llvm.br` and `llvm.cond_br` that is read. Without it
    LLVM unrolls loops that `convert-moe-to-gpu` means to stay as they are.
  }];
  let dependentDialects = ["LLVM::LLVMDialect"];
}

def MoeLegalizeNontemporalStores : Pass<"moe-legalize-nontemporal-stores"> {
  let summary = "Say in PTX that caches need not keep what is stored";
  let description = [{
    LLVM's backend for NVPTX ignores `nontemporal`. Such an `llvm.store` to global memory
    that is one access of 2, 4, 8 or 16 bytes becomes an inline `st.global.cs`; others lose
    the hint.
  }];
  let dependentDialects = ["LLVM::LLVMDialect"];
}

#endif // MOE_CONVERSION_PASSES
