# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels where a group, a chunk or a column tile ends, in the PTX interpreter, which sees races and
accesses out of bounds; and groups of unusual values."""

from __future__ import annotations

import numpy as np
import pytest
from moe_testing import batches
from moe_testing.interpreted import run
from moe_testing.kernels import FUSED, QUANTIZE, SQUARED_RELU, Kernel

pytestmark = pytest.mark.needs("moe-opt", "moe-translate")

NAN, INFINITY, LARGEST, SUBNORMAL = 0x7FC0, 0x7F80, 0x7F7F, 0x0001
SIGN = 0x8000


@pytest.mark.parametrize("op", [FUSED, QUANTIZE])
@pytest.mark.parametrize("columns", [32, 192, 1056, 1856])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
@pytest.mark.parametrize("layout", ["swizzle_32_4_4", "linear"])
@pytest.mark.parametrize("aligned", [True, False])
def test_static_columns(op: str, columns: int, layout: str, dead_scales: str, aligned: bool) -> None:
    kernel = Kernel(op, columns, layout, dead_scales)
    run(kernel, batches.random_batch(70, columns, 66), (2, 3), aligned=aligned)


def patterns_of_groups() -> np.ndarray:
    """A row for each kind of group: all elements alike, one among zeros, one among NaN, and the last one."""
    values = [0, NAN, INFINITY, LARGEST, SUBNORMAL, 0x3F80]
    values += [v | SIGN for v in values]
    rows = []
    for value in values:
        group = np.full(32, value, np.uint16)
        first, last = np.zeros(32, np.uint16), np.full(32, NAN, np.uint16)
        first[0], last[31] = value, value
        middle = np.full(32, NAN | SIGN, np.uint16)
        middle[17] = value
        rows.append(np.concatenate([group, first, last, middle]))
    return np.stack(rows).view(batches.bfloat16)


@pytest.mark.parametrize("op", [FUSED, QUANTIZE])
@pytest.mark.parametrize("chip", ["sm_80", "sm_89", "sm_90", "sm_100", "sm_120"])
@pytest.mark.parametrize("aligned", [True, False])
def test_groups_of_nan_and_infinity(op: str, chip: str, aligned: bool) -> None:
    x = patterns_of_groups()
    run(Kernel(op), batches.Batch(x, np.arange(len(x)), len(x)), (1, 2), chip, aligned=aligned)


@pytest.mark.parametrize("M, grid", [(8, (1, 1)), (16, (1, 2)), (9, (1, 1)), (7, (1, 1))])
def test_as_many_rows_as_warps(M: int, grid: tuple[int, int]) -> None:
    for op in (SQUARED_RELU, FUSED):
        run(Kernel(op), batches.random_batch(M, 1056, M, 0.9), grid)
