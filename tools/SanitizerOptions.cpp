//===- SanitizerOptions.cpp - What a sanitized tool does not check --------===//
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Part of each tool of the preset `sanitize`. The distribution's LLVM is not
// instrumented, but code of its headers that is compiled here is.
//
//===----------------------------------------------------------------------===//

/// User poisoning: an allocator's inline half would poison memory that its other half, in
/// libLLVM.so, hands out. Vtables and type ids of templates are defined on both sides.
/// What MLIR's global registries hold is never freed.
extern "C" const char *__asan_default_options() {
  return "allow_user_poisoning=0:detect_odr_violation=0:detect_leaks=0";
}

extern "C" const char *__ubsan_default_options() { return "print_stacktrace=1"; }
