#!/usr/bin/env bash
# Sets this machine up, builds, and runs every test. Needs neither a GPU nor a CUDA toolkit;
# what is skipped without them is named, and nothing is skipped for want of anything else.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/build.sh
echo "test: lit (IR, passes, pipelines, PTX text)"
cmake --build build --target check-moe
echo "test: generated reference"
scripts/update-reference.sh --check
echo "test: pytest (execution, tools, package)"
MOE_TESTS_SKIP_NOTHING=1 build/venv/bin/python -m pytest -q -ra -p no:cacheprovider test
