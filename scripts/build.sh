#!/usr/bin/env bash
# Sets this machine up, configures and builds everything into build/, tools into build/bin.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
echo "build: configuring"
cmake --preset debian >build/configure.log ||
  { cat build/configure.log; exit 1; }
echo "build: compiling (a few minutes the first time)"
cmake --build build
