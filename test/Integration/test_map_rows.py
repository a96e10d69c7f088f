# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Regions of moe.map_rows that no named op has, on the CPU and as PTX, byte for byte."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from moe_testing import batches, oracle
from moe_testing.checkout import BIN_DIR
from moe_testing.kernels import (QUANTIZE, REGIONS, SQUARED_RELU, RegionKernel, check, compare,
                                 expected_outputs, output_shapes)
from ptx_interpreter import Memory, Module

OPERANDS = [SQUARED_RELU, QUANTIZE]
pytestmark = pytest.mark.needs("moe-opt", "moe-translate", "moe-run")


def numbers(columns: int) -> np.ndarray:
    """Every bf16 pattern but NaN, of which a region may make any NaN."""
    x = batches.all_bf16_patterns(columns)
    patterns = oracle.bits(x)
    patterns[np.isnan(x.astype(np.float32))] = 0x3F80
    return x


def inputs(operands: str, columns: int) -> np.ndarray:
    """Where the result is quantised, NaN is defined too."""
    return batches.all_bf16_patterns(columns) if operands == QUANTIZE else numbers(columns)


class Interpreter:
    def __init__(self) -> None:
        self.memory = Memory()

    def allocate(self, array: np.ndarray, offset: int) -> object:
        return self.memory.allocate(array, offset=offset)

    def address(self, buffer: object) -> int:
        return buffer.address

    def read(self, buffer: object, like: np.ndarray) -> np.ndarray:
        return buffer.array(like.dtype, like.shape)

    def launch(self, ptx, entry, grid, threads, arguments) -> None:
        Module(ptx).launch(entry, grid=grid, block=(threads, 1, 1), args=arguments,
                           memory=self.memory)

    def finish(self) -> None:
        self.memory.check_guards()


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("operands", OPERANDS)
def test_ptx(region: str, operands: str) -> None:
    if region == "sigmoid" and operands == QUANTIZE:
        x = numbers(1024)  # A NaN gives what it gives.
    else:
        x = inputs(operands, 1024)
    rows = np.arange(x.shape[0])
    rows[::5] = -1
    batch = batches.make_batch(x, rows, x.shape[0] - 1)
    kernel = RegionKernel(operands, 1024, region=region)
    check(Interpreter(), kernel.ptx(), kernel, batch, (1, 5))


@pytest.mark.parametrize("chip", ["sm_80", "sm_89", "sm_100"])
@pytest.mark.parametrize("operands", OPERANDS)
@pytest.mark.parametrize("aligned", [True, False])
def test_ptx_of_other_chips(chip: str, operands: str, aligned: bool) -> None:
    kernel = RegionKernel(operands, None, region="clamped_square")
    check(Interpreter(), kernel.ptx(chip), kernel, batches.random_batch(70, 96, 66), (1, 3),
          aligned=aligned, x_offset=0 if aligned else 2)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("operands", OPERANDS)
def test_cpu(tmp_path: Path, region: str, operands: str) -> None:
    x = numbers(1856) if region == "sigmoid" else inputs(operands, 1856)
    batch = batches.make_batch(x, np.arange(x.shape[0]), x.shape[0] - 1)
    kernel = RegionKernel(operands, None, region=region)
    rng = np.random.default_rng(0)
    outputs = []
    for shape, dtype in output_shapes(kernel, *x.shape):
        raw = rng.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
        outputs.append(raw.view(dtype).reshape(shape))
    arrays = [x, batch.permutation_map, np.array(batch.n_used, np.int32), *outputs]
    command = [str(BIN_DIR / "moe-run"), "-", "--entry", "entry"]
    for index, array in enumerate(arrays):
        np.save(tmp_path / f"{index}.npy", oracle.bits(array) if array.itemsize < 4 else array)
        command += ["--arg", str(tmp_path / f"{index}.npy")]
        if index >= 3:
            command += ["--save", f"{index}={tmp_path / f'saved{index}.npy'}"]
    result = subprocess.run(command, input=kernel.mlir(), text=True, capture_output=True,
                            check=False)
    assert result.returncode == 0, result.stderr
    for index, wanted in enumerate(expected_outputs(kernel, batch, outputs), start=3):
        found = np.load(tmp_path / f"saved{index}.npy").view(wanted.dtype)
        compare(f"output {index - 3}", found, wanted)
