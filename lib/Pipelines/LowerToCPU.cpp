//===- LowerToCPU.cpp - The CPU pipeline ----------------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From moe ops, mixed with linalg and others, to the LLVM dialect.
//
//===----------------------------------------------------------------------===//

#include "mlir/Conversion/AffineToStandard/AffineToStandard.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/BufferizationToMemRef/BufferizationToMemRef.h"
#include "mlir/Conversion/ComplexToLLVM/ComplexToLLVM.h"
#include "mlir/Conversion/ComplexToStandard/ComplexToStandard.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/IndexToLLVM/IndexToLLVM.h"
#include "mlir/Conversion/MathToFuncs/MathToFuncs.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MathToLibm/MathToLibm.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Conversion/VectorToSCF/VectorToSCF.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/SCF/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"
#include "moe/Conversion/Passes.h"
#include "moe/Pipelines/Pipelines.h"

using namespace mlir;
using namespace mlir::moe;

std::unique_ptr<Pass> mlir::moe::createVerifyLowered(StringRef level,
                                                     StringRef pipeline) {
  MoeVerifyLoweredOptions options;
  options.level = level.str();
  options.pipeline = pipeline.str();
  return createMoeVerifyLowered(options);
}

std::unique_ptr<Pass> mlir::moe::createVerifyMemorySpaces(StringRef level,
                                                          StringRef pipeline) {
  MoeVerifyLoweredOptions options;
  options.level = level.str();
  options.pipeline = pipeline.str();
  options.memorySpaces = true;
  return createMoeVerifyLowered(options);
}

void mlir::moe::buildStructuredLoweringPipeline(OpPassManager &pm) {
  pm.addPass(bufferization::createLowerDeallocationsPass());
  pm.addPass(createConvertBufferizationToMemRefPass());
  pm.addPass(memref::createExpandReallocPass());
  pm.addPass(memref::createExpandOpsPass());
  pm.addPass(createConvertLinalgToLoopsPass());
  pm.addPass(createForallToForLoopPass());
  // Before its loops' bodies are looked at, and before control flow is taken apart.
  pm.addPass(createLowerAffinePass());
  pm.addPass(createMoeExpandOps());
  pm.addPass(createConvertComplexToStandardPass());
}

void mlir::moe::buildHostLoweringPipeline(OpPassManager &pm) {
  pm.addPass(createMoeLegalizeBF16());
  pm.addPass(createMoeLegalizeF8());

  // bf16 in f32 arithmetic, and the conversions between the two in integer arithmetic:
  // the AVX-512 conversion to bf16 flushes subnormals, and others are library calls.
  arith::ArithEmulateUnsupportedFloatsOptions emulation;
  emulation.sourceTypeStrs = {"bf16"};
  emulation.targetTypeStr = "f32";
  pm.addPass(arith::createArithEmulateUnsupportedFloats(emulation));
  pm.addPass(createMoeStrictConversions());
  arith::ArithExpandOpsPassOptions expansion;
  expansion.includeBf16 = true;
  pm.addPass(arith::createArithExpandOpsPass(expansion));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createLoopInvariantCodeMotionPass());

  pm.addNestedPass<func::FuncOp>(createConvertVectorToSCFPass());
  pm.addPass(createConvertMathToFuncs());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(memref::createExpandStridedMetadataPass());
  // The addresses that this has computed.
  pm.addPass(createLowerAffinePass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createConvertMathToLibmPass());
}

void mlir::moe::buildLowerToCPUPipeline(OpPassManager &pm,
                                        const LowerToCPUOptions &options) {
  constexpr StringLiteral name = "moe-lower-to-cpu";
  buildBufferizationPipeline(pm, BufferizationOptions());
  if (options.verifyAtRuntime)
    pm.addPass(createGenerateRuntimeVerificationPass());
  pm.addPass(createConvertMoeToSCF());
  pm.addPass(createVerifyMemorySpaces("cpu", name));
  buildStructuredLoweringPipeline(pm);
  buildHostLoweringPipeline(pm);
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createFinalizeMemRefToLLVMConversionPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createConvertComplexToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createMoeLegalizeBF16Accesses());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createVerifyLowered("cpu", name));
}
