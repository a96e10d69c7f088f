#!/usr/bin/env bash
# Regenerates docs/reference from the ODS files and from what the tools print, the pictures in
# docs/figures that have a text from it, and the Python functions from the table of ops; with
# --check, fails if they are out of date.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

python3 scripts/write_ops.py "$@"
cmake --build build --target mlir-doc moe-opt moe-translate >/dev/null
python3 scripts/write_stages.py build/bin build/docs/reference/Stages.md
mkdir -p build/docs/figures
for text in docs/figures/*.txt; do
  python3 scripts/draw_picture.py "$text" "build/${text%.txt}.svg"
done
if [ "${1:-}" = --check ]; then
  diff -ru docs/reference build/docs/reference ||
    { echo "docs/reference is out of date: run scripts/update-reference.sh"; exit 1; }
  echo "docs/reference is up to date"
  for text in docs/figures/*.txt; do
    cmp "${text%.txt}.svg" "build/${text%.txt}.svg" ||
      { echo "a picture is out of date: run scripts/update-reference.sh"; exit 1; }
  done
else
  rm -rf docs/reference
  cp -r build/docs/reference docs/reference
  for text in docs/figures/*.txt; do
    cp "build/${text%.txt}.svg" docs/figures
  done
fi
