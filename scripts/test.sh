#!/usr/bin/env bash
# Sets this machine up, builds, and runs every test. Needs neither a GPU nor a CUDA toolkit; what
# was skipped is counted and named at the end.
#
#   --with-torch   installs PyTorch, Triton and matplotlib, and runs the tests of tensors, of the
#                  Triton peer and of plots too; then a skip for want of them is a failure
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/build.sh "$@"
# LLVM's tools for pytest; lit has them from CMake.
[ -z "${MLIR_DIR:-}" ] || export LLVM_ROOT="${LLVM_ROOT:-${MLIR_DIR%/lib/cmake/mlir}}"
echo "test: lit (IR, passes, pipelines, PTX text)"
cmake --build build --target check-moe | tee build/lit.log
echo "test: generated reference"
scripts/update-reference.sh --check
status=0
scripts/lint.sh || status=1
echo "test: pytest (execution, tools, package)"
# In the order of their names: by how many tests they have, files with few long ones would come last,
# and one process would wait for the other.
MOE_TESTS_SKIP_NOTHING=1 build/venv/bin/python -m pytest -q -rfE -p no:cacheprovider \
  --junit-xml=build/pytest.xml --numprocesses="$(nproc)" --dist=loadfile --no-loadscope-reorder \
  test || status=1
build/venv/bin/python scripts/count_skips.py build/lit.log build/pytest.xml "$@" || status=1
exit $status
