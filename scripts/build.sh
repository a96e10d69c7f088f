#!/usr/bin/env bash
# Sets this machine up, configures and builds everything into build/, tools into build/bin. Options
# are those of scripts/setup.sh; MLIR_DIR says where LLVM/MLIR 22 is, if not where Debian has it.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh "$@"
echo "build: configuring"
cmake --preset debian ${MLIR_DIR:+-DMLIR_DIR="$MLIR_DIR"} >build/configure.log ||
  { cat build/configure.log; exit 1; }
echo "build: compiling (a few minutes the first time)"
cmake --build build
