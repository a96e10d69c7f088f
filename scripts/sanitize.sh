#!/usr/bin/env bash
# Builds the preset `sanitize` into build-sanitize/ and runs the tests with it: this project's own
# code under AddressSanitizer and UndefinedBehaviorSanitizer. By hand: it takes half an hour.
#
#   scripts/sanitize.sh                        every lit test, and the pytests of tools and runtime
#   scripts/sanitize.sh test/Tools/moe-run     these pytests alone
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
mkdir -p build-sanitize
cmake --preset sanitize >build-sanitize/configure.log ||
  { cat build-sanitize/configure.log; exit 1; }
cmake --build build-sanitize

# Programs that are not sanitized, such as Python, open libraries that are. What is not checked
# is explained in tools/SanitizerOptions.cpp.
runtime() { "${CXX:-g++}" -print-file-name="$1"; }
sanitized() {
  env LD_PRELOAD="$(runtime libasan.so) $(runtime libubsan.so)" UBSAN_OPTIONS=print_stacktrace=1 \
    ASAN_OPTIONS=allow_user_poisoning=0:detect_odr_violation=0:detect_leaks=0 \
    MOE_BIN_DIR="$PWD/build-sanitize/bin" MOE_LIB_DIR="$PWD/build-sanitize/lib" \
    MOE_RUNTIME_LIBRARY="$PWD/build-sanitize/lib/libmoe_runtime.so" "$@"
}

if [ $# -eq 0 ]; then
  sanitized cmake --build build-sanitize --target check-moe
  # The test that is left out looks at the libraries as they ship.
  set -- test/Tools test/Runtime --ignore=test/Runtime/test_runtime_library.py
fi
sanitized build/venv/bin/python -m pytest -q -ra -p no:cacheprovider "$@"
