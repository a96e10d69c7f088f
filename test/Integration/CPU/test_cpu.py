# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops compiled for the CPU and run by moe-run, compared byte for byte with the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from moe_testing import batches
from moe_testing.kernels import FUSED, QUANTIZE, SQUARED_RELU, Kernel
from moe_testing.on_cpu import run

OPS = [SQUARED_RELU, FUSED, QUANTIZE]
pytestmark = pytest.mark.needs("moe-run")


@pytest.mark.parametrize("op", OPS)
def test_all_bf16_patterns(op: str) -> None:
    x = batches.all_bf16_patterns(1856)
    run(Kernel(op), batches.Batch(x, np.arange(x.shape[0]), x.shape[0]))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("columns", [None, 1856])
def test_routed_batch(op: str, columns: int | None) -> None:
    run(Kernel(op, columns), batches.routed_batch(8, experts=16, top_k=3))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("n_used", [-7, 0, 1, 129, 200, 2**31 - 1, -(2**31)])
def test_n_used(op: str, n_used: int) -> None:
    run(Kernel(op), batches.random_batch(200, 96, n_used))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("M", [0, 1, 127, 129])
@pytest.mark.parametrize("K", [32, 1056])
def test_sizes(op: str, M: int, K: int) -> None:
    run(Kernel(op), batches.random_batch(M, K, M))


@pytest.mark.parametrize("N", [1, 31, 33, 1858])
def test_any_number_of_columns(N: int) -> None:
    run(Kernel(SQUARED_RELU), batches.random_batch(70, N, 66))


@pytest.mark.parametrize("op", [FUSED, QUANTIZE])
@pytest.mark.parametrize("scale_layout", ["swizzle_32_4_4", "linear"])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
def test_scale_modes(op: str, scale_layout: str, dead_scales: str) -> None:
    run(Kernel(op, None, scale_layout, dead_scales), batches.random_batch(300, 1184, 270))
