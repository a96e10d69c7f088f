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

#include "mlir/Conversion/AffineToStandard/AffineToStandard.h"
#include "mlir/Conversion/ConvertToLLVM/ToLLVMPass.h"
#include "mlir/Conversion/GPUCommon/GPUCommonPass.h"
#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Conversion/VectorToSCF/VectorToSCF.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/GPU/Transforms/Passes.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/SCF/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"
#include "moe/Conversion/Passes.h"
#include "moe/Pipelines/Pipelines.h"
#include "moe/Target/Passes.h"
#include "moe/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::moe;

/// Kernels that a user wrote, to what the conversions below take. Those of moe ops have
/// none of this.
static void buildUserKernelLowering(OpPassManager &kernels) {
  kernels.addPass(createConvertLinalgToLoopsPass());
  kernels.addPass(createForallToForLoopPass());
  kernels.addPass(createLowerAffinePass());
  kernels.addPass(createMoeExpandOps());
  kernels.addPass(createConvertVectorToSCFPass());
}

/// Kernels in a gpu.module to the LLVM dialect.
static void addKernelLowering(OpPassManager &kernels, StringRef pipeline) {
  kernels.addPass(createVerifyMemorySpaces("kernel", pipeline));
  buildUserKernelLowering(kernels);
  kernels.addPass(createMoeLegalizeF8());
  kernels.addPass(createSCFToControlFlowPass());
  kernels.addPass(memref::createExpandStridedMetadataPass());
  kernels.addPass(createLowerAffinePass());
  // Before convert-gpu-to-nvvm, which would take bf16 vectors apart into f32 library
  // calls.
  kernels.addPass(createMoeConvertKernelMath());
  kernels.addPass(createConvertVectorToLLVMPass());
  ConvertToLLVMPassOptions toLLVM;
  toLLVM.filterDialects = {"arith", "memref", "vector"};
  kernels.addPass(createConvertToLLVMPass(toLLVM));
  ConvertGpuOpsToNVVMOpsOptions toNVVM;
  toNVVM.hasRedux = true;
  kernels.addPass(createConvertGpuOpsToNVVMOps(toNVVM));
  kernels.addPass(createConvertNVVMToLLVMPass());
  kernels.addPass(createMoeLegalizeLoopAnnotations());
  kernels.addPass(createMoeLegalizeNontemporalStores());
  kernels.addPass(createReconcileUnrealizedCastsPass());
  kernels.addPass(createVerifyLowered("kernel", pipeline));
}

/// From moe ops on memrefs to a gpu.binary and its launches.
static void buildKernels(OpPassManager &pm, const LowerToPTXOptions &options,
                         StringRef pipeline) {
  MoeChooseScheduleOptions schedule;
  schedule.chip = options.chip;
  schedule.numCTAs = options.numCTAs;
  schedule.threadsPerCTA = options.threadsPerCTA;
  schedule.accessBytes = options.accessBytes;
  pm.addPass(createMoeChooseSchedule(schedule));
  pm.addPass(createConvertMoeToGPU());
  pm.addPass(createGpuKernelOutliningPass());

  MoeAttachTargetOptions target;
  target.chip = options.chip;
  target.features = options.features;
  // Only a level that was not asked for has a default.
  if (options.optLevel.hasValue() || options.optLevel != LowerToPTXOptions::kDefaultLevel)
    target.optLevel = options.optLevel.getValue();
  else
    target.optLevel = options.format == "isa" ? 0 : 3;
  pm.addPass(createMoeAttachTarget(target));

  addKernelLowering(pm.nest<gpu::GPUModuleOp>(), pipeline);

  MoeModuleToBinaryOptions toBinary;
  toBinary.format = options.format;
  toBinary.toolkit = options.toolkit;
  pm.addPass(createMoeModuleToBinary(toBinary));
}

void mlir::moe::buildLowerKernelsPipeline(OpPassManager &pm,
                                          const LowerKernelsOptions &options) {
  constexpr StringLiteral name = "moe-lower-kernels";
  if (pm.getOpAnchorName() == gpu::GPUModuleOp::getOperationName())
    return addKernelLowering(pm, name);
  addKernelLowering(pm.nest<gpu::GPUModuleOp>(), name);
}

void mlir::moe::buildLowerToPTXPipeline(OpPassManager &pm,
                                        const LowerToPTXOptions &options) {
  constexpr StringLiteral name = "moe-lower-to-ptx";
  BufferizationOptions bufferization;
  bufferization.deallocate = false;
  buildBufferizationPipeline(pm, bufferization);
  buildKernels(pm, options, name);
  pm.addPass(createVerifyLowered("launch", name));
}

void mlir::moe::buildLowerToCUDAPipeline(OpPassManager &pm,
                                         const LowerToCUDAOptions &options) {
  constexpr StringLiteral name = "moe-lower-to-cuda";
  buildBufferizationPipeline(pm, BufferizationOptions());
  if (options.verifyAtRuntime)
    pm.addPass(createGenerateRuntimeVerificationPass());
  buildKernels(pm, options, name);
  pm.addPass(createVerifyMemorySpaces("cuda", name));
  buildStructuredLoweringPipeline(pm);
  pm.addPass(createMoeShareHostMemory());
  buildHostLoweringPipeline(pm);
  // Which knows the ways of vectors that the pass below does not.
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createGpuToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createVerifyLowered("cuda", name));
}
