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
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/ExecutionEngine/OptUtils.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
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

/// Whether the program defines the symbol, rather than expects another to.
static bool isDefinition(SymbolOpInterface symbol) {
  if (auto global = dyn_cast<memref::GlobalOp>(symbol.getOperation()))
    return !global.isExternal();
  if (auto global = dyn_cast<LLVM::GlobalOp>(symbol.getOperation()))
    return global.getValueOrNull() || global.getInitializerBlock();
  if (auto function = dyn_cast<FunctionOpInterface>(symbol.getOperation()))
    return !function.isExternal();
  // Names of modules go no further than the IR.
  return !symbol->hasTrait<OpTrait::SymbolTable>();
}

/// Puts what the program defines into a namespace of its own, and returns the new name of
/// `entry`. The lowerings, LLVM and the ExecutionEngine all make symbols, and calls of
/// some in the C library: _mlir_f, malloc, memcpy, memrefCopy. A function of the program
/// with such a name would be called, or be written into, in the place of theirs.
static Expected<std::string> separateSymbols(ModuleOp module, StringRef entry) {
  std::string prefix = "program.";
  auto isTaken = [&] {
    return llvm::any_of(
        module.getOps<SymbolOpInterface>(),
        [&](SymbolOpInterface symbol) { return symbol.getName().contains(prefix); });
  };
  while (isTaken())
    prefix += '.';

  SymbolTable table(module);
  for (auto symbol : llvm::make_early_inc_range(module.getOps<SymbolOpInterface>()))
    if (isDefinition(symbol) &&
        failed(table.rename(symbol, (prefix + symbol.getName()).str())))
      return createStringError("cannot compile entry '" + entry +
                               "': there are uses of symbol '" + symbol.getName() +
                               "' in unknown ops");
  return prefix + entry.str();
}

/// Lowers `module`, where `entry` has the name `symbol`.
static Error lower(ModuleOp module, StringRef entry, StringRef symbol,
                   const Signature &signature, Device device) {
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
  auto function = module.lookupSymbol<LLVM::LLVMFuncOp>(symbol);
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
  Expected<std::string> symbol = separateSymbols(module, entry);
  if (!symbol)
    return symbol.takeError();
  if (Error error = lower(module, entry, *symbol, signature, device))
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
  // It would leave a folder of dumps behind each run, below $JITDUMPDIR or the home
  // folder.
  options.enablePerfNotificationListener = false;
  auto engine = ExecutionEngine::create(module, options, std::move(*machine));
  if (!engine)
    return createStringError("cannot compile entry '" + entry +
                             "': " + toString(engine.takeError()));

  CompiledFunction compiled;
  compiled.engine = std::move(*engine);
  compiled.engine->registerSymbols([&](llvm::orc::MangleAndInterner intern) {
    return getRuntimeSymbols(intern, device);
  });
  // A function that the program declares and nobody has is found missing here.
  auto function = compiled.engine->lookupPacked(*symbol);
  if (!function)
    return createStringError("cannot compile entry '" + entry +
                             "': " + toString(function.takeError()));
  compiled.function = *function;
  // Kernels are loaded by constructors of the program.
  compiled.engine->initialize();
  return compiled;
}
