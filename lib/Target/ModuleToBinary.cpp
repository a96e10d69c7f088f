//===- ModuleToBinary.cpp - Compile GPU modules with the tools there are --===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// moe-module-to-binary: what gpu-module-to-binary would find out late, or not say, is
// checked before it runs.
//
//===----------------------------------------------------------------------===//

#include "moe/Target/Passes.h"

#include "VerifyTranslatable.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/GPU/Transforms/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Threading.h"

namespace mlir::moe {
#define GEN_PASS_DEF_MOEMODULETOBINARY
#include "moe/Target/Passes.h.inc"
} // namespace mlir::moe

using namespace mlir;

/// Whether `<root>/bin` has all of `tools`.
static bool hasTools(StringRef root, ArrayRef<StringRef> tools) {
  return llvm::all_of(tools, [&](StringRef tool) {
    SmallString<256> path(root);
    llvm::sys::path::append(path, "bin", tool);
    return llvm::sys::fs::can_execute(path);
  });
}

/// The toolkit to use, empty for the tools on PATH.
static FailureOr<std::string> findToolkit(StringRef requested, ArrayRef<StringRef> tools,
                                          function_ref<InFlightDiagnostic()> emitError) {
  auto names = llvm::join(tools, " and ");
  if (!requested.empty()) {
    if (hasTools(requested, tools))
      return requested.str();
    return emitError() << "expected " << names << " in '" << requested
                       << "/bin', found no such program";
  }
  for (StringRef variable : {"CUDA_ROOT", "CUDA_HOME", "CUDA_PATH"})
    if (std::optional<std::string> root = llvm::sys::Process::GetEnv(variable))
      if (hasTools(*root, tools))
        return *root;
  if (llvm::all_of(
          tools, [](StringRef tool) { return bool(llvm::sys::findProgramByName(tool)); }))
    return std::string();
  return emitError()
         << "expected " << names
         << " of a CUDA toolkit in the option toolkit, in CUDA_ROOT, CUDA_HOME "
            "or CUDA_PATH, or on PATH, found none; format=isa needs no toolkit";
}

namespace {

struct ModuleToBinaryPass : mlir::moe::impl::MoeModuleToBinaryBase<ModuleToBinaryPass> {
  using MoeModuleToBinaryBase::MoeModuleToBinaryBase;

  void runOnOperation() override {
    auto emitPassError = [&] {
      // At the location, not on the op: the whole module would be printed with it.
      return emitError(getOperation().getLoc()) << getArgument() << ": ";
    };
    auto tools = llvm::StringSwitch<std::optional<SmallVector<StringRef>>>(format)
                     .Case("isa", SmallVector<StringRef>{})
                     .Case("bin", SmallVector<StringRef>{"ptxas"})
                     .Case("fatbin", SmallVector<StringRef>{"ptxas", "fatbinary"})
                     .Default(std::nullopt);
    if (!tools) {
      emitPassError() << "expected format to be isa, bin or fatbin, found '" << format
                      << "'";
      return signalPassFailure();
    }
    GpuModuleToBinaryPassOptions options;
    options.compilationTarget = format;
    if (!tools->empty()) {
      FailureOr<std::string> found = findToolkit(toolkit, *tools, emitPassError);
      if (failed(found))
        return signalPassFailure();
      options.toolkitPath = *found;
    }
    for (auto module : getOperation().getOps<gpu::GPUModuleOp>())
      if (failed(moe::verifyTranslatable(module, getArgument())))
        return signalPassFailure();
    llvm::StringMap<Location> calls = findExternalCalls();
    llvm::SmallPtrSet<Operation *, 4> others;
    getOperation()->walk([&](gpu::BinaryOp binary) { others.insert(binary); });
    if (failed(compile(options)))
      return signalPassFailure();
    WalkResult result = getOperation()->walk([&](gpu::BinaryOp binary) -> WalkResult {
      if (others.contains(binary))
        return WalkResult::advance();
      if (failed(verifyComplete(binary, calls)))
        return WalkResult::interrupt();
      setProperties(binary);
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      signalPassFailure();
  }

  /// Without what upstream prints with its errors, which is the whole GPU module each
  /// time.
  LogicalResult compile(const GpuModuleToBinaryPassOptions &options) {
    SmallVector<Diagnostic> diagnostics;
    LogicalResult result = success();
    {
      uint64_t thread = llvm::get_threadid();
      ScopedDiagnosticHandler handler(&getContext(), [&](Diagnostic &diagnostic) {
        if (llvm::get_threadid() != thread)
          return failure();
        diagnostics.push_back(std::move(diagnostic));
        return success();
      });
      OpPassManager pipeline(ModuleOp::getOperationName());
      pipeline.addPass(createGpuModuleToBinaryPass(options));
      result = runPipeline(pipeline, getOperation());
    }
    for (Diagnostic &diagnostic : diagnostics) {
      std::string message = diagnostic.str();
      // That a toolkit has no libdevice is an error upstream, though it goes on. Here it
      // is one where a kernel calls it: see verifyComplete.
      if (succeeded(result) && StringRef(message).starts_with("LibDevice path"))
        continue;
      Diagnostic brief(diagnostic.getLocation(), diagnostic.getSeverity());
      brief << message;
      for (Diagnostic &note : diagnostic.getNotes())
        if (!StringRef(note.str()).starts_with("see current operation"))
          brief.attachNote(note.getLocation()) << note.str();
      getContext().getDiagEngine().emit(std::move(brief));
    }
    return result;
  }

  /// The first call of each function that kernels call and do not have.
  llvm::StringMap<Location> findExternalCalls() {
    llvm::StringMap<Location> calls;
    getOperation()->walk([&](gpu::GPUModuleOp module) {
      module.walk([&](LLVM::CallOp call) {
        std::optional<StringRef> callee = call.getCallee();
        if (!callee)
          return;
        auto function = module.lookupSymbol<LLVM::LLVMFuncOp>(*callee);
        if (function && function.isExternal())
          calls.try_emplace(*callee, call.getLoc());
      });
    });
    return calls;
  }

  /// PTX that declares a function which neither it nor the driver has cannot be loaded.
  /// That is what becomes of functions of math where there is no libdevice.
  LogicalResult verifyComplete(gpu::BinaryOp binary,
                               const llvm::StringMap<Location> &calls) {
    for (auto object : binary.getObjects().getAsRange<gpu::ObjectAttr>()) {
      if (object.getFormat() != gpu::CompilationTarget::Assembly)
        continue;
      StringRef rest = object.getObject().getValue();
      while (true) {
        rest = rest.split(".extern .func").second;
        if (rest.empty())
          break;
        StringRef declaration = rest.take_until([](char c) { return c == ';'; });
        for (const auto &[name, loc] : calls)
          if (!isDriverFunction(name) && declares(declaration, name))
            return emitError(loc)
                   << getArgument() << ": expected a function that kernels "
                   << "can call, found '" << name << "', which has no body"
                   << (name.starts_with("__nv_") ? " without libdevice of a CUDA toolkit"
                                                 : "");
      }
    }
    return success();
  }

  static bool declares(StringRef declaration, StringRef name) {
    size_t at = declaration.find(name);
    auto isWord = [](char c) { return llvm::isAlnum(c) || c == '_' || c == '$'; };
    return at != StringRef::npos && at != 0 && !isWord(declaration[at - 1]) &&
           (at + name.size() == declaration.size() ||
            !isWord(declaration[at + name.size()]));
  }

  static bool isDriverFunction(StringRef name) {
    return llvm::StringSwitch<bool>(name)
        .Cases("vprintf", "malloc", "free", "__assertfail", true)
        .Default(false);
  }

  /// The level that LLVM has optimised PTX at becomes that at which the host code has the
  /// driver assemble it, which is another matter: that is where registers are allocated.
  /// How long the compilation took goes, so that the same text gives the same bytes.
  static void setProperties(gpu::BinaryOp binary) {
    Builder builder(binary.getContext());
    SmallVector<Attribute> objects;
    for (auto object : binary.getObjects().getAsRange<gpu::ObjectAttr>()) {
      NamedAttrList properties(object.getProperties());
      properties.erase("LLVMIRToISATimeInMs");
      properties.erase("ISAToBinaryTimeInMs");
      if (object.getFormat() == gpu::CompilationTarget::Assembly)
        properties.set("O", builder.getI32IntegerAttr(3));
      objects.push_back(gpu::ObjectAttr::get(
          builder.getContext(), object.getTarget(), object.getFormat(),
          object.getObject(), properties.getDictionary(builder.getContext()),
          object.getKernels()));
    }
    binary.setObjectsAttr(builder.getArrayAttr(objects));
  }
};

} // namespace
