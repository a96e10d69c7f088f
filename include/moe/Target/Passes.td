//===- Passes.td - Passes about the GPU generated for -------*- tablegen -*-===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Passes that say which GPU a module is compiled for.
//
//===----------------------------------------------------------------------===//

#ifndef MOE_TARGET_PASSES
#define MOE_TARGET_PASSES

include "mlir/Pass/PassBase.td"

def MoeAttachTarget : Pass<"moe-attach-target", "ModuleOp"> {
  let summary = "Attach a checked NVVM target to every GPU module";
  let description = [{
    As `nvvm-attach-target`, except that a chip or a PTX version that is not supported is
    an error that lists those that are. LLVM takes them with a warning and emits PTX for
    something else.
  }];
  let options = [
    Option<"chip", "chip", "std::string", "\"sm_90\"", "The GPU, such as sm_90">,
    Option<"features", "features", "std::string", "\"\"",
           "The PTX version, such as +ptx80; empty for the chip's default">,
    Option<"optLevel", "O", "int", "3",
           "LLVM's optimisation level, 0 to 3; also that of ptxas if it runs">,
  ];
  let dependentDialects = ["gpu::GPUDialect", "NVVM::NVVMDialect"];
}

def MoeModuleToBinary : Pass<"moe-module-to-binary", "ModuleOp"> {
  let summary = "Compile every GPU module to PTX, a cubin or a fatbin";
  let description = [{
    As `gpu-module-to-binary`, with the format and the tools checked first. Formats `bin` and
    `fatbin` need `ptxas`, and `fatbin` also `fatbinary`, of a CUDA toolkit: of that in
    `toolkit` if it is given and of no other, else of the first of CUDA_ROOT, CUDA_HOME and
    CUDA_PATH that has them, else those on PATH.

    Modules are expected in the LLVM and NVVM dialects, with a target. If one is not, the error is
    at the op to lower next and names a pass that lowers it; `moe-lower-kernels` runs all of them.
    An instruction of this project's lowerings that one of the chips lacks is an error too: LLVM
    would abort.

    Objects have no properties about the time that they took, so that the same text gives the
    same bytes.
  }];
  let options = [
    Option<"format", "format", "std::string", "\"isa\"",
           "isa (PTX), bin (cubin) or fatbin">,
    Option<"toolkit", "toolkit", "std::string", "\"\"",
           "Where the CUDA toolkit is; empty to look for it">,
  ];
  let dependentDialects = ["gpu::GPUDialect"];
}

#endif // MOE_TARGET_PASSES
