# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops compiled for the CPU and run by moe-run, compared byte for byte with the oracle."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from moe_testing import batches, oracle
from moe_testing.checkout import BIN_DIR
from moe_testing.kernels import (FUSED, QUANTIZE, SQUARED_RELU, Kernel, compare, expected_outputs,
                                 output_shapes)

OPS = [SQUARED_RELU, FUSED, QUANTIZE]
pytestmark = pytest.mark.needs("moe-run")


def run(folder: Path, kernel: Kernel, batch: batches.Batch, seed: int = 0) -> None:
    """One call; outputs start as random bytes, and all of them are compared."""
    rng = np.random.default_rng(seed)
    outputs = []
    for shape, dtype in output_shapes(kernel, *batch.x.shape):
        raw = rng.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
        outputs.append(raw.view(dtype).reshape(shape))
    arrays = [batch.x, batch.permutation_map, np.array(batch.n_used, np.int32), *outputs]
    command = [str(BIN_DIR / "moe-run"), "-", "--entry", "entry"]
    for index, array in enumerate(arrays):
        path = folder / f"{index}.npy"
        np.save(path, oracle.bits(array) if array.itemsize < 4 else array)
        command += ["--arg", str(path)]
        if index >= 3:
            command += ["--save", f"{index}={folder / f'saved{index}.npy'}"]
    result = subprocess.run(command, input=kernel.mlir(), text=True, capture_output=True,
                            check=False)
    assert result.returncode == 0, result.stderr
    for index, wanted in enumerate(expected_outputs(kernel, batch, outputs), start=3):
        found = np.load(folder / f"saved{index}.npy").view(wanted.dtype)
        compare(f"output {index - 3}", found, wanted)


@pytest.mark.parametrize("op", OPS)
def test_all_bf16_patterns(tmp_path: Path, op: str) -> None:
    x = batches.all_bf16_patterns(1856)
    run(tmp_path, Kernel(op), batches.make_batch(x, np.arange(x.shape[0]), x.shape[0]))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("columns", [None, 1856])
def test_routed_batch(tmp_path: Path, op: str, columns: int | None) -> None:
    run(tmp_path, Kernel(op, columns), batches.routed_batch(8, experts=16, top_k=3))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("n_used", [-7, 0, 1, 129, 200, 2**31 - 1, -(2**31)])
def test_n_used(tmp_path: Path, op: str, n_used: int) -> None:
    run(tmp_path, Kernel(op), batches.random_batch(200, 96, n_used))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("M", [0, 1, 127, 129])
@pytest.mark.parametrize("K", [32, 1056])
def test_sizes(tmp_path: Path, op: str, M: int, K: int) -> None:
    run(tmp_path, Kernel(op), batches.random_batch(M, K, M))


@pytest.mark.parametrize("N", [1, 31, 33, 1858])
def test_any_number_of_columns(tmp_path: Path, N: int) -> None:
    run(tmp_path, Kernel(SQUARED_RELU), batches.random_batch(70, N, 66))


@pytest.mark.parametrize("op", [FUSED, QUANTIZE])
@pytest.mark.parametrize("scale_layout", ["swizzle_32_4_4", "linear"])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
def test_scale_modes(tmp_path: Path, op: str, scale_layout: str, dead_scales: str) -> None:
    run(tmp_path, Kernel(op, None, scale_layout, dead_scales), batches.random_batch(300, 1184, 270))
