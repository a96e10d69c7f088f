# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The CPU kernels of every level of the instruction set, compared byte for byte with the oracle.

The library itself runs none but those of the best level that the processor has.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from ctypes import byref, c_int64, c_void_p
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Integration"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import batches
import oracle
from moe_runtime import FUNCTIONS, LIB_DIR

# A feature that the processors of a level have and those of the level below it lack.
LEVELS = {"x86-64-v2": "sse4_2", "x86-64-v3": "avx2", "x86-64-v4": "avx512bw"}


def flags() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


class MemRef(ctypes.Structure):
    """The descriptor of an array, as llvm.emit_c_interface takes it."""

    _fields_ = [("allocated", c_void_p), ("aligned", c_void_p), ("offset", c_int64),
                ("sizes_and_strides", c_int64 * 4)]

    def __init__(self, array: np.ndarray) -> None:
        strides = [stride // array.itemsize for stride in array.strides]
        super().__init__(array.ctypes.data, array.ctypes.data, 0,
                         (c_int64 * 4)(*array.shape, *strides))


@pytest.fixture(scope="module", params=LEVELS)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    level = request.param
    source = LIB_DIR / "Kernels" / f"kernels-{level}.o"
    if not source.exists():
        pytest.skip(f"the library has no kernels for {level}")
    if LEVELS[level] not in flags():
        pytest.skip(f"this processor is below {level}")
    library = tmp_path_factory.mktemp(level) / "kernels.so"
    subprocess.run(["cc", "-shared", "-o", library, source], check=True)
    loaded = ctypes.CDLL(str(library))
    return {op: getattr(loaded, f"cpu_{level.replace('-', '_')}_{op}") for op in FUNCTIONS}


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize("K", [1856, 96])
def test_all_bf16_patterns(kernels: dict, op: str, K: int) -> None:
    x = batches.all_bf16_patterns(K)
    M = x.shape[0]
    rng = np.random.default_rng(0)
    permutation_map = np.where(rng.random(M) < 0.99, np.arange(M), -1).astype(np.int32)
    n_used = np.array(M - 1, np.int32)
    shapes = [((M, K), ml_dtypes.bfloat16)]
    if op != "padded_squared_relu":
        shapes = [((M, K), ml_dtypes.float8_e4m3fn),
                  ((oracle.scale_size(M, K),), ml_dtypes.float8_e8m0fnu)]
    outputs = [rng.integers(0, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize, np.uint8)
               .view(dtype).reshape(shape) for shape, dtype in shapes]
    expected = getattr(oracle, op)(x, permutation_map, n_used, *outputs)
    if op == "padded_squared_relu":
        expected = [expected]
    arrays = [x, permutation_map, n_used, *outputs]
    # The kernel without scales takes a fifth pointer too and ignores it.
    arguments = [byref(MemRef(array)) for array in arrays] + [None] * (5 - len(arrays))
    kernels[op](*arguments)
    for found, wanted in zip(outputs, expected):
        assert np.array_equal(oracle.bits(found), oracle.bits(wanted))
