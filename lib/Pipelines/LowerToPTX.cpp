//===- LowerToPTX.cpp - The GPU pipelines ---------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From moe ops to kernels in a gpu.binary, and host code that launches them: as it is, or
// lowered to the LLVM dialect too.
//
//===----------------------------------------------------------------------===//

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"
#include "moe/Conversion/Passes.h"
#include "moe/Pipelines/Pipelines.h"
#include "moe/Target/Chip.h"
#include "moe/Target/Passes.h"
#include "moe/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::moe;

/// What the chip can do. An unsupported one is reported by moe-attach-target, which can
/// say where.
static Chip getChip(StringRef name) {
  for (const Chip &chip : getSupportedChips())
    if (chip.name == name)
      return chip;
  return {};
}

/// From moe ops on memrefs to a gpu.binary and its launches.
static void buildKernels(OpPassManager &pm, const LowerToPTXOptions &options) {
  ConvertMoeToGPUOptions toGPU;
  toGPU.numCTAs = options.numCTAs;
  toGPU.threadsPerCTA = options.threadsPerCTA;
  Chip chip = getChip(options.chip);
  toGPU.accessBytes =
      options.accessBytes != 0 ? options.accessBytes : chip.maxAccessBytes();
  toGPU.waitForPredecessor = chip.hasGridDependencyControl();
  pm.addPass(createConvertMoeToGPU(toGPU));

  MoeAttachTargetOptions target;
  target.chip = options.chip;
  target.features = options.features;
  target.optLevel = options.optLevel >= 0     ? options.optLevel
                    : options.format == "isa" ? 0
                                              : 3;
  pm.addPass(createMoeAttachTarget(target));

  OpPassManager &kernels = pm.nest<gpu::GPUModuleOp>();
  MoeLegalizeF8Options legalizeF8;
  legalizeF8.chip = options.chip;
  kernels.addPass(createMoeLegalizeF8(legalizeF8));
  kernels.addPass(createSCFToControlFlowPass());
  // Before convert-gpu-to-nvvm, which would take bf16 vectors apart into f32 library
  // calls.
  ConvertToLLVMPassOptions toLLVM;
  toLLVM.filterDialects = {"arith", "math", "memref", "vector"};
  kernels.addPass(createConvertToLLVMPass(toLLVM));
  ConvertGpuOpsToNVVMOpsOptions toNVVM;
  toNVVM.hasRedux = true;
  kernels.addPass(createConvertGpuOpsToNVVMOps(toNVVM));
  kernels.addPass(createConvertNVVMToLLVMPass());
  kernels.addPass(createMoeLegalizeLoopAnnotations());
  kernels.addPass(createReconcileUnrealizedCastsPass());

  MoeModuleToBinaryOptions toBinary;
  toBinary.format = options.format;
  toBinary.toolkit = options.toolkit;
  pm.addPass(createMoeModuleToBinary(toBinary));
}

void mlir::moe::buildLowerToPTXPipeline(OpPassManager &pm,
                                        const LowerToPTXOptions &options) {
  BufferizationOptions bufferization;
  bufferization.deallocate = false;
  buildBufferizationPipeline(pm, bufferization);
  buildKernels(pm, options);
}

void mlir::moe::buildLowerToCUDAPipeline(OpPassManager &pm,
                                         const LowerToCUDAOptions &options) {
  buildBufferizationPipeline(pm, BufferizationOptions());
  if (options.verifyAtRuntime)
    pm.addPass(createGenerateRuntimeVerificationPass());
  buildKernels(pm, options);
  pm.addPass(memref::createExpandReallocPass());
  pm.addPass(createMoeShareHostMemory());
  buildHostLoweringPipeline(pm);
  pm.addPass(createGpuToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}
