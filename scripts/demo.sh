#!/usr/bin/env bash
# A routed MoE batch through both ops on this machine's CPU, checked against the oracle, and
# their PTX for sm_90. Needs neither a GPU nor a CUDA toolkit.
#
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/build.sh
build/venv/bin/python examples/routed-moe/demo.py --output build/demo
