# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The table of ops: what is written from it is up to date, and one more op is one more row."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import moe_mlir
import pytest
from moe_mlir import _runtime
from moe_mlir._op_table import OPS

ROOT = Path(__file__).resolve().parents[2]

ROWS = '''
    Op("another_relu", BF16, "padded_squared_relu",
       """relu(x)^2 under another name.

As padded_squared_relu.
""", options=(CLAMP_SCALE, ZERO_PADDING), has_probs=True),
    Op("another_quantize", MXFP8, "quantize_mxfp8", "Likewise.", options=(ZERO_PADDING,), has_probs=True),
    Op("in_another_format", MXFP8._replace(outputs=(Output("data", "float8_e5m2"), MXFP8.outputs[1])),
       "quantize_mxfp8", "The bytes of E4M3 under another name.", options=(ZERO_PADDING,), has_probs=True),
'''
ARRAYS = """
import inspect, ml_dtypes, numpy as np
import moe_mlir
x = np.full((3, 32), -1.5, ml_dtypes.bfloat16)
x[:2] = 2
operands = x, np.arange(3, dtype=np.int32), 3
assert (moe_mlir.another_relu(*operands) == [[4], [4], [0]]).all()
out = np.zeros((3, 32), ml_dtypes.bfloat16)
assert moe_mlir.another_relu(*operands, out=out) is out and out[0, 0] == 4
q = moe_mlir.another_quantize(*operands, scale_layout="linear")
assert (q.dequantize() == x.astype(np.float32)).all() and q.scale.shape == (3, 1)
other = moe_mlir.in_another_format(*operands, scale_layout="linear")
assert other.data.dtype == ml_dtypes.float8_e5m2
assert (other.data.view(np.uint8) == q.data.view(np.uint8)).all()
for name in ("another_relu", "another_quantize", "in_another_format"):
    function = getattr(moe_mlir, name)
    assert name in moe_mlir.__all__ and function.__doc__.strip()
    like = moe_mlir.padded_squared_relu if "relu" in name else moe_mlir.quantize_mxfp8
    assert inspect.signature(function) == inspect.signature(like)
assert inspect.getdoc(moe_mlir.another_relu).endswith("name.\\n\\nAs padded_squared_relu.")
"""
TENSORS = """
import torch
import moe_mlir
x = torch.full((3, 32), 2, dtype=torch.bfloat16)
operands = x, torch.arange(3, dtype=torch.int32), torch.tensor(3, dtype=torch.int32)
ops = torch.ops.moe_mlir
for call in (moe_mlir.another_relu, ops.another_relu,
             torch.compile(moe_mlir.another_relu, backend="aot_eager", fullgraph=True)):
    assert (call(*operands) == 4).all()
out = torch.zeros_like(x)
ops.another_relu_out(*operands, out=out)
assert (out == 4).all()
assert (moe_mlir.another_quantize(*operands).dequantize() == 2).all()
assert len(ops.another_quantize(*operands)) == 2
assert moe_mlir.in_another_format(*operands).data.dtype == torch.float8_e5m2
q = moe_mlir.quantize_mxfp8(*operands)
q.data.view(torch.uint8).zero_()
ops.another_quantize_out(*operands, data=q.data, scale=q.scale)
assert (q.dequantize() == 2).all()
"""


def write(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(root / "scripts" / "write_ops.py"), *arguments],
                          text=True, capture_output=True, check=False)


def run(tree: Path, program: str) -> subprocess.CompletedProcess[str]:
    """A program that uses the package of a tree."""
    return subprocess.run([sys.executable, "-c", program], text=True, capture_output=True,
                          check=False, env={**os.environ, "PYTHONPATH": str(tree / "python"),
                                            "MOE_RUNTIME_LIBRARY": str(_runtime.path)})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package, with what writes a part of it."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "write_ops.py", tmp_path / "scripts")
    shutil.copytree(Path(moe_mlir.__file__).parent, tmp_path / "python" / "moe_mlir",
                    ignore=shutil.ignore_patterns("__pycache__", "lib", "include"))
    return tmp_path


def test_the_functions_are_up_to_date() -> None:
    result = write(ROOT, "--check")
    assert result.returncode == 0, result.stderr


def test_every_op_of_the_library_has_a_row() -> None:
    manifest = (ROOT / "lib" / "Kernels" / "manifest.txt").read_text()
    kernels = re.findall(r"^kernel +(\w+)", manifest, re.MULTILINE)
    # Those that are no maps of rows have functions of their own.
    assert kernels and set(kernels) == {op.dialect for op in OPS} | {"route_tokens",
                                                                    "unpermute_tokens"}


def test_an_op_is_a_row(tree: Path) -> None:
    table = tree / "python" / "moe_mlir" / "_op_table.py"
    text = table.read_text()
    assert text.endswith("\n)\n")
    table.write_text(text[:-2] + ROWS + ")\n")
    stale = write(tree, "--check")
    assert stale.returncode != 0 and "_ops.py is out of date" in stale.stderr
    assert write(tree).returncode == 0
    assert write(tree, "--check").returncode == 0
    programs = [ARRAYS] + ([TENSORS] if importlib.util.find_spec("torch") else [])
    for program in programs:
        result = run(tree, program)
        assert result.returncode == 0, result.stderr


def test_a_row_that_the_library_has_no_op_for(tree: Path) -> None:
    table = tree / "python" / "moe_mlir" / "_op_table.py"
    table.write_text(table.read_text()[:-2] + '    Op("gelu", BF16, "padded_gelu", "None."),\n)\n')
    result = run(tree, "import moe_mlir")
    assert result.returncode != 0
    assert re.search(r"ImportError: moe_mlir: expected .* to be a libmoe_runtime.so of this version, "
                     r"but: name: expected an op of the library \(.*, quantize_mxfp8, .*\), found "
                     "padded_gelu$", result.stderr.strip()), result.stderr


