# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A kernel that no moe op has become, through moe-lower-kernels: the bytes that it writes."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from moe_testing.kernels import run_tool
from ptx_interpreter import Memory, Module

KERNEL = Path(__file__).parent / "Inputs" / "user-kernel.mlir"
ROWS, COLUMNS = 3, 256

pytestmark = pytest.mark.needs("moe-opt", "moe-translate")


def compile_kernel(chip: str) -> str:
    lowered = run_tool("moe-opt", f"--moe-attach-target=chip={chip}", "--moe-lower-kernels",
                       "--moe-module-to-binary", text=KERNEL.read_text())
    return run_tool("moe-translate", "--moe-to-ptx", text=lowered)


def matrix(address: object) -> list[object]:
    """A memref<?x256> as the parameters of a kernel."""
    return [address, address, 0, ROWS, COLUMNS, COLUMNS, 1]


@pytest.mark.parametrize("chip", ["sm_80", "sm_90"])
def test_bytes(chip: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, COLUMNS)).astype(ml_dtypes.bfloat16)
    x[1] = 0
    x[2, 77] = -1000
    memory = Memory()
    source = memory.allocate(x.view(np.uint16), readonly=True)
    out = memory.allocate(ROWS * COLUMNS, initialized=False)
    Module(compile_kernel(chip)).launch("scale_rows", grid=(ROWS, 1, 1), block=(32, 1, 1),
                                        args=matrix(source) + matrix(out), memory=memory)
    wide = x.astype(np.float32)
    greatest = np.maximum(np.abs(wide).max(axis=1, keepdims=True), np.float32(1e-30))
    expected = (wide / greatest).astype(ml_dtypes.float8_e4m3fn)
    np.testing.assert_array_equal(out.array(np.uint8, (ROWS, COLUMNS)), expected.view(np.uint8))
    memory.check_guards()
