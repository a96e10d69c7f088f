//===- Jit.cpp - From a module to a function of this process --------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The pipeline of the device, LLVM's -O3 and the ExecutionEngine.
//
//===----------------------------------------------------------------------===//

#include "Jit.h"
#include "Runtime.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/ExecutionEngine/OptUtils.h"
#include "mlir/Pass/PassManager.h"
#include "moe/Pipelines/Pipelines.h"
#include "llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace mlir::moe;
using namespace mlir::moe::run;
using llvm::createStringError;
using llvm::Error;
using llvm::Expected;

static Error lower(ModuleOp module, StringRef entry, const Signature &signature,
                   Device device) {
  PassManager pm(module->getName());
  if (device == Device::CUDA) {
    LowerToCUDAOptions options;
    options.verifyAtRuntime = true;
    options.chip = getChip().str();
    buildLowerToCUDAPipeline(pm, options);
  } else {
    LowerToCPUOptions options;
    options.verifyAtRuntime = true;
    buildLowerToCPUPipeline(pm, options);
  }
  if (failed(pm.run(module)))
    return createStringError("cannot lower entry '" + entry + "' for " +
                             (device == Device::CUDA ? "CUDA" : "the CPU"));

  // The call is made without types: a function that takes something else than what is
  // passed would read or write anywhere.
  unsigned expected = 0;
  for (const ValueSpec &param : signature.params)
    expected += param.getNumLoweredParams();
  auto function = module.lookupSymbol<LLVM::LLVMFuncOp>(entry);
  unsigned found = function ? function.getNumArguments() : 0;
  if (!function || found != expected)
    return createStringError("cannot call entry '" + entry + "': expected " +
                             Twine(expected) + " parameters after lowering, found " +
                             Twine(found));
  return Error::success();
}

Expected<CompiledFunction> CompiledFunction::create(ModuleOp module, StringRef entry,
                                                    const Signature &signature,
                                                    Device device) {
  if (Error error = lower(module, entry, signature, device))
    return error;

  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  auto host = llvm::orc::JITTargetMachineBuilder::detectHost();
  if (!host)
    return host.takeError();
  host->setCodeGenOptLevel(llvm::CodeGenOptLevel::Aggressive);
  // Conversions to bf16 that LLVM adds must not flush subnormals, as these instructions
  // do.
  if (host->getTargetTriple().isX86())
    host->addFeatures({"-avx512bf16", "-avxneconvert"});
  auto machine = host->createTargetMachine();
  if (!machine)
    return machine.takeError();

  ExecutionEngineOptions options;
  auto optimize =
      makeOptimizingTransformer(/*optLevel=*/3, /*sizeLevel=*/0, machine->get());
  options.transformer = optimize;
  options.jitCodeGenOptLevel = llvm::CodeGenOptLevel::Aggressive;
  auto engine = ExecutionEngine::create(module, options, std::move(*machine));
  if (!engine)
    return createStringError("cannot compile entry '" + entry +
                             "': " + toString(engine.takeError()));

  CompiledFunction compiled;
  compiled.engine = std::move(*engine);
  compiled.engine->registerSymbols([&](llvm::orc::MangleAndInterner intern) {
    llvm::orc::SymbolMap symbols = getRuntimeSymbols(intern, device);
    for (auto function : module.getOps<LLVM::LLVMFuncOp>())
      if (!function.isExternal())
        symbols.erase(intern(function.getSymName()));
    return symbols;
  });
  // A function that the program declares and nobody has is found missing here.
  auto function = compiled.engine->lookupPacked(entry);
  if (!function)
    return createStringError("cannot compile entry '" + entry +
                             "': " + toString(function.takeError()));
  compiled.function = *function;
  // Kernels are loaded by constructors of the program.
  compiled.engine->initialize();
  return compiled;
}
