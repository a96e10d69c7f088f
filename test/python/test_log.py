# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MOE_LOG: a line for each call, and nothing at all without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import moe_mlir
import numpy as np
import pytest
from moe_mlir import _log, _ops

CALLS = """
import sys, ml_dtypes, numpy as np, moe_mlir
x = np.zeros((4, 64), ml_dtypes.bfloat16)
wide = np.zeros((4, 128), ml_dtypes.bfloat16)
map = np.zeros(4, np.int32)
moe_mlir.padded_squared_relu(wide[:, :64], map, 3)
out = (np.zeros((4, 64), ml_dtypes.float8_e4m3fn), np.zeros(512, ml_dtypes.float8_e8m0fnu))
moe_mlir.quantize_mxfp8(x, permutation_map=map, n_used=np.array([3], np.int32), out=out)
try:
    moe_mlir.squared_relu_and_quantize_mxfp8(x, map, 3, scale_layout="sideways")
except ValueError as error:
    print(error)
"""
LINES = """\
moe_mlir: padded_squared_relu(bfloat16[4, 64] strides (128, 1), int32[4], 3)
moe_mlir: quantize_mxfp8(bfloat16[4, 64], permutation_map=int32[4], n_used=int32[1], \
out=(float8_e4m3fn[4, 64], float8_e8m0fnu[512]))
moe_mlir: squared_relu_and_quantize_mxfp8(bfloat16[4, 64], int32[4], 3, scale_layout='sideways')
moe_mlir: squared_relu_and_quantize_mxfp8 raised ValueError: """


def run(code: str, setting: str | None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(Path(moe_mlir.__file__).parents[1])}
    environment.pop("MOE_LOG", None)
    if setting is not None:
        environment["MOE_LOG"] = setting
    return subprocess.run([sys.executable, "-c", code], env=environment, text=True,
                          capture_output=True, check=False)


def test_calls_are_logged() -> None:
    done = run(CALLS, "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == LINES + done.stdout


@pytest.mark.parametrize("setting", [None, "", "0"])
def test_off(setting: str | None) -> None:
    done = run(CALLS + "from moe_mlir import _ops\n"
               "assert moe_mlir.padded_squared_relu is _ops.padded_squared_relu\n", setting)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_setting_that_is_neither() -> None:
    done = run("import moe_mlir", "yes")
    assert done.returncode != 0
    assert "MOE_LOG: expected 0 or 1, found 'yes'" in done.stderr


def test_results_and_signatures_stay(monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MOE_LOG", "1")
    namespace = {"padded_squared_relu": _ops.padded_squared_relu}
    _log.log_calls(namespace, "padded_squared_relu")
    logged = namespace["padded_squared_relu"]
    assert logged.__doc__ == _ops.padded_squared_relu.__doc__
    x = np.full((2, 32), 1.5, ml_dtypes.bfloat16)
    assert (logged(x, np.zeros(2, np.int32), n_used=2) == 2.25).all()
    assert capsys.readouterr().err == (
        "moe_mlir: padded_squared_relu(bfloat16[2, 32], int32[2], n_used=2)\n")


class Odd:
    dtype, shape = "t.bf16", None

    def __repr__(self) -> str:
        raise AssertionError("it would read the data")


class Pair:
    """A result type: it has data and scale."""

    data, scale = np.zeros((2, 32), np.int8), np.zeros(512, np.uint8)
    __repr__ = Odd.__repr__


def test_what_is_no_array_is_described() -> None:
    assert _log.describe(Odd()) == "Odd"
    assert _log.describe([Odd()]) == "list"
    assert _log.describe(Pair()) == "Pair(int8[2, 32], uint8[512])"
    assert _log.describe((None, 3)) == "(None, 3)"
    assert _log.describe("x" * 100) == "'" + "x" * 56 + "..."


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert _log.describe(torch.zeros(4, 64, dtype=torch.bfloat16)) == "bfloat16[4, 64] cpu"
    assert (_log.describe(torch.zeros(4, 64, device="meta").t())
            == "float32[64, 4] strides (1, 64) meta")


def test_compiled_code_is_one_graph() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    done = run("import torch, moe_mlir\n"
               "f = torch.compile(lambda x, m, n: moe_mlir.padded_squared_relu(x, m, n) + 1,\n"
               "                  fullgraph=True, backend='eager')\n"
               "x = torch.full((2, 32), 1.5, dtype=torch.bfloat16)\n"
               "m, n = torch.zeros(2, dtype=torch.int32), torch.tensor(2, dtype=torch.int32)\n"
               "assert (f(x, m, n) == 3.25).all()\n", "1")
    assert done.returncode == 0, done.stderr
    assert "moe_mlir: " not in done.stderr
