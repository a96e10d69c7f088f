//===- moe-run.cpp - Run a function on arrays -----------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Compiles one function of a file for the CPU or a GPU, runs it on .npy files and saves
// what it wrote.
//
//===----------------------------------------------------------------------===//

#include "Binding.h"
#include "Jit.h"
#include "Output.h"
#include "Runtime.h"
#include "Version.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/Parser/Parser.h"
#include "moe-c/MgpuRuntime.h"
#include "moe/RegisterAll.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"

#include <chrono>

using namespace mlir;
using namespace mlir::moe::run;
using llvm::createStringError;
using llvm::Error;
using llvm::Expected;
namespace cl = llvm::cl;

static constexpr StringLiteral kOverview =
    "Run a function of an MLIR file on .npy files\n\n"
    "  moe-run relu.mlir --entry relu --arg x.npy --arg map.npy --arg n_used.npy \\\n"
    "          --arg out.npy --save 3=out.npy\n";

static constexpr StringLiteral kContract = R"(
The entry is a func.func with a body. Its arguments and results are ranked tensors,
strided memrefs or scalars of i1, i8 to i64, index, f8, bf16, f16, f32 or f64. Each
argument takes one --arg, in order: a contiguous array of the type's rank and static
sizes; a scalar takes an array of rank 0, as does a memref<i32>. Sizes that are known
only when the program runs are checked then.

Arrays are .npy files of version 1.0 or 2.0, little endian and in C order, with the
dtype of the element type: |b1 for i1, <i4 for i32, <f4 for f32, <i8 for index and so
on. bf16 is <u2 or |V2 (how numpy stores bfloat16 of ml_dtypes), f8 is |u1 or |V1; they
are saved as <u2 and |u1: np.load(file).view(ml_dtypes.bfloat16).

With --device cuda all arrays and what the program allocates are managed memory, which
its kernels and its host code both access. The kernels are compiled for the GPU at hand,
through libcuda.so.1; no CUDA toolkit is needed.

On success the exit code is 0 and every --save has been written. Otherwise it is 1, the
last line on stderr says why, and no file has been touched.
)";

static cl::OptionCategory category("moe-run options");

static cl::opt<std::string> inputFile(cl::Positional, cl::desc("FILE.mlir (- for stdin)"),
                                      cl::cat(category));
static cl::opt<std::string> entryName("entry", cl::desc("The function to run"),
                                      cl::value_desc("name"), cl::cat(category));
static cl::list<std::string> argFiles("arg", cl::desc("The next argument"),
                                      cl::value_desc("a.npy"), cl::cat(category));
static cl::list<std::string>
    saveTexts("save",
              cl::desc("Save argument INDEX as it is after the run, or result INDEX with "
                       "an r before it"),
              cl::value_desc("[r]INDEX=out.npy"), cl::cat(category));
static cl::opt<std::string>
    deviceName("device", cl::desc("Where to run: cpu (the default) or cuda"),
               cl::value_desc("name"), cl::init("cpu"), cl::cat(category));
static cl::opt<unsigned>
    repeat("repeat",
           cl::desc("Run N times and print the median and the minimum wall time. The "
                    "arrays are not reset between the runs"),
           cl::value_desc("N"), cl::init(1), cl::cat(category));
static cl::extrahelp contract(kContract);

namespace {

/// One --save.
struct Save {
  bool isResult;
  unsigned index;
  std::string path;

  static Expected<Save> parse(StringRef text, const Signature &signature);
};

} // namespace

Expected<Save> Save::parse(StringRef text, const Signature &signature) {
  Save save;
  auto [index, path] = text.split('=');
  save.isResult = index.consume_front("r");
  save.path = path.str();
  if (index.getAsInteger(10, save.index) || path.empty())
    return createStringError("--save: expected INDEX=FILE or rINDEX=FILE, found '" +
                             text + "'");
  size_t count = save.isResult ? signature.results.size() : signature.params.size();
  if (save.index >= count)
    return createStringError(
        "--save: expected an index below " + Twine(count) + ", the number of " +
        (save.isResult ? "results" : "arguments") + ", found '" + text + "'");
  return save;
}

static Expected<SmallVector<Save>> parseSaves(const Signature &signature) {
  SmallVector<Save> saves;
  for (StringRef text : saveTexts) {
    Expected<Save> save = Save::parse(text, signature);
    if (!save)
      return save.takeError();
    for (const Save &other : saves)
      if (other.path == save->path)
        return createStringError("--save: expected different files, found '" +
                                 save->path + "' twice");
    saves.push_back(std::move(*save));
  }
  return saves;
}

static Expected<std::vector<Argument>> readArguments(const Signature &signature,
                                                     Device device) {
  if (argFiles.size() != signature.params.size())
    return createStringError("expected " + Twine(signature.params.size()) +
                             " --arg for entry '" + entryName + "', found " +
                             Twine(argFiles.size()));
  std::vector<Argument> arguments;
  for (auto [index, path, spec] : llvm::enumerate(argFiles, signature.params)) {
    auto argument = [&, &path = path, &spec = spec]() -> Expected<Argument> {
      Expected<NpyFile> file = readNpy(path);
      if (!file)
        return file.takeError();
      return Argument::create(spec, *file, device);
    }();
    if (!argument)
      return createStringError("argument " + Twine(index) + " ('" + path +
                               "'): " + toString(argument.takeError()));
    arguments.push_back(std::move(*argument));
  }
  return arguments;
}

static Expected<func::FuncOp> findEntry(ModuleOp module) {
  Operation *symbol = module.lookupSymbol(entryName);
  auto entry = dyn_cast_or_null<func::FuncOp>(symbol);
  if (!entry)
    return createStringError("expected a func.func '" + entryName + "' in '" + inputFile +
                             "', found " +
                             (symbol ? symbol->getName().getStringRef() : "none"));
  if (entry.isDeclaration())
    return createStringError("expected a body of entry '" + entryName +
                             "', found a declaration");
  return entry;
}

static Error checkOptions() {
  if (deviceName != "cpu" && deviceName != "cuda")
    return createStringError("device '" + deviceName +
                             "' is unknown, expected 'cpu' or 'cuda'");
  if (inputFile.empty())
    return createStringError(Twine("expected an MLIR file, found none"));
  if (entryName.empty())
    return createStringError(Twine("expected --entry, found none"));
  if (repeat == 0)
    return createStringError(Twine("--repeat: expected at least 1, found 0"));
  return Error::success();
}

/// The results of all but the last call are freed.
static void call(const CompiledFunction &function, MutableArrayRef<void *> params) {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  std::vector<double> times;
  for (unsigned i = 0; i < repeat; ++i) {
    freeAllocations();
    auto begin = std::chrono::steady_clock::now();
    function(params);
    times.push_back(Milliseconds(std::chrono::steady_clock::now() - begin).count());
  }
  if (repeat.getNumOccurrences() == 0)
    return;
  llvm::sort(times);
  double median = (times[(times.size() - 1) / 2] + times[times.size() / 2]) / 2;
  llvm::errs() << "moe-run: " << repeat << (repeat == 1 ? " run" : " runs")
               << llvm::format(", median %.3f ms, minimum %.3f ms\n", median,
                               times.front());
}

static Error run() {
  if (Error error = checkOptions())
    return error;
  Device device = deviceName == "cuda" ? Device::CUDA : Device::CPU;

  DialectRegistry registry;
  registerAllDialects(registry);
  registerAllExtensions(registry);
  moe::registerAllMoeDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);

  llvm::SourceMgr sourceMgr;
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(inputFile);
  if (!buffer)
    return createStringError("cannot read '" + inputFile +
                             "': " + buffer.getError().message());
  sourceMgr.AddNewSourceBuffer(std::move(*buffer), SMLoc());
  SourceMgrDiagnosticHandler diagnostics(sourceMgr, &context);
  auto module = parseSourceFile<ModuleOp>(sourceMgr, &context);
  if (!module)
    return createStringError("cannot parse '" + inputFile + "'");

  Expected<func::FuncOp> entry = findEntry(*module);
  if (!entry)
    return entry.takeError();
  Expected<Signature> signature = Signature::get(*entry);
  if (!signature)
    return signature.takeError();
  Expected<SmallVector<Save>> saves = parseSaves(*signature);
  if (!saves)
    return saves.takeError();
  Expected<std::vector<Argument>> arguments = readArguments(*signature, device);
  if (!arguments)
    return arguments.takeError();
  Expected<CompiledFunction> function =
      CompiledFunction::create(*module, entryName, *signature, device);
  if (!function)
    return function.takeError();

  Results results(signature->results);
  SmallVector<void *> params;
  for (Argument &argument : *arguments)
    argument.pack(params);
  results.pack(params);
  call(*function, params);
  printPendingText();

  SmallVector<Output> outputs;
  for (const Save &save : *saves) {
    const ValueSpec &spec =
        (save.isResult ? signature->results : signature->params)[save.index];
    StridedArray array = save.isResult ? results.getArray(save.index)
                                       : (*arguments)[save.index].getArray();
    outputs.push_back({save.path, getWrittenDtype(spec.element), array});
  }
  Error error = writeOutputs(outputs);
  freeAllocations();
  return error;
}

/// Exits if there is something wrong with the command line, of which LLVM says more than
/// a line.
static void parseCommandLine(int argc, char **argv) {
  cl::HideUnrelatedOptions(category);
  std::string text;
  llvm::raw_string_ostream os(text);
  if (cl::ParseCommandLineOptions(argc, argv, kOverview, &os))
    return;
  StringRef line = StringRef(text).split('\n').first;
  line.consume_front(llvm::sys::path::filename(argv[0]));
  line.consume_front(": ");
  // A malformed value has been reported to stderr.
  exitWithError(line.empty() ? "expected other options, see --help" : line);
}

int main(int argc, char **argv) {
  llvm::InitLLVM initLLVM(argc, argv);
  moe::setVersionPrinter();
  parseCommandLine(argc, argv);
  // LLVM aborts on what it has no instruction for.
  llvm::install_fatal_error_handler(
      [](void *, const char *reason, bool) { exitWithError(reason); });
  moeMgpuSetErrorHandler([](const char *message) { exitWithError(message); });
  if (Error error = run())
    exitWithError(toString(std::move(error)));
}
