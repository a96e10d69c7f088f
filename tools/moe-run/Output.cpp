//===- Output.cpp - Output files, all or none -----------------------------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each file is written next to its destination under another name, and renamed when all
// of them are on the disk.
//
//===----------------------------------------------------------------------===//

#include "Output.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::moe::run;
using llvm::createStringError;
using llvm::Error;
using llvm::Expected;
namespace fs = llvm::sys::fs;

static Error makeError(const Output &output, const Twine &message) {
  return createStringError("cannot write '" + output.path + "': " + message);
}

/// What a rename would replace without asking, or fail to replace after other files have
/// been renamed.
static Error checkDestination(const Output &output) {
  fs::file_status status;
  if (fs::status(output.path, status))
    return Error::success();
  if (!fs::is_regular_file(status))
    return makeError(output, "expected a regular file, found something else");
  if (std::error_code code = fs::access(output.path, fs::AccessMode::Write))
    return makeError(output, code.message());
  return Error::success();
}

static Error write(const Output &output, fs::TempFile &file) {
  llvm::raw_fd_ostream os(file.FD, /*shouldClose=*/false);
  writeNpy(os, output.dtype, output.array);
  os.flush();
  if (!os.has_error())
    return Error::success();
  std::error_code code = os.error();
  os.clear_error();
  return makeError(output, code.message());
}

Error moe::run::writeOutputs(ArrayRef<Output> outputs) {
  std::vector<fs::TempFile> files;
  auto discardAll = [&](Error error) {
    for (fs::TempFile &file : files)
      error = joinErrors(std::move(error), file.discard());
    return error;
  };
  for (const Output &output : outputs) {
    if (Error error = checkDestination(output))
      return discardAll(std::move(error));
    Expected<fs::TempFile> file = fs::TempFile::create(output.path + ".%%%%%%.tmp");
    if (!file)
      return discardAll(makeError(output, toString(file.takeError())));
    files.push_back(std::move(*file));
    if (Error error = write(output, files.back()))
      return discardAll(std::move(error));
  }
  for (auto [output, file] : llvm::zip_equal(outputs, files))
    if (Error error = file.keep(output.path))
      return discardAll(makeError(output, toString(std::move(error))));
  return Error::success();
}
