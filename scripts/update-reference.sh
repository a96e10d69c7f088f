#!/usr/bin/env bash
# Regenerates docs/reference from the ODS files; with --check, fails if it is out of date.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --build build --target mlir-doc >/dev/null
if [ "${1:-}" = --check ]; then
  diff -ru docs/reference build/docs/reference ||
    { echo "docs/reference is out of date: run scripts/update-reference.sh"; exit 1; }
  echo "docs/reference is up to date"
else
  rm -rf docs/reference
  cp -r build/docs/reference docs/reference
fi
