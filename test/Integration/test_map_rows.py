# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Regions of moe.map_rows that no named op has, on the CPU and as PTX, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from moe_testing import batches, interpreted, on_cpu, oracle
from moe_testing.kernels import QUANTIZE, SQUARED_RELU, RegionKernel
from moe_testing.regions import REGIONS

OPERANDS = [SQUARED_RELU, QUANTIZE]
pytestmark = pytest.mark.needs("moe-opt", "moe-translate", "moe-run")


def inputs(region: str, columns: int) -> np.ndarray:
    """Every bf16 pattern. What the sigmoid makes of a NaN is not defined, so it gets none."""
    x = batches.all_bf16_patterns(columns)
    if region == "sigmoid":
        oracle.bits(x)[np.isnan(x.astype(np.float32))] = 0x3F80
    return x


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("operands", OPERANDS)
def test_ptx(region: str, operands: str) -> None:
    x = inputs(region, 1024)
    rows = np.arange(x.shape[0])
    rows[::5] = -1
    batch = batches.Batch(x, rows, x.shape[0] - 1)
    interpreted.run(RegionKernel(operands, 1024, region=region), batch, (1, 5))


@pytest.mark.parametrize("chip", ["sm_80", "sm_89", "sm_100"])
@pytest.mark.parametrize("operands", OPERANDS)
@pytest.mark.parametrize("aligned", [True, False])
def test_ptx_of_other_chips(chip: str, operands: str, aligned: bool) -> None:
    kernel = RegionKernel(operands, None, region="clamped_square")
    interpreted.run(kernel, batches.random_batch(70, 96, 66), (1, 3), chip, aligned=aligned,
                    x_offset=0 if aligned else 2)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("operands", OPERANDS)
def test_cpu(region: str, operands: str) -> None:
    x = inputs(region, 1856)
    on_cpu.run(RegionKernel(operands, None, region=region),
               batches.Batch(x, np.arange(x.shape[0]), x.shape[0] - 1))
