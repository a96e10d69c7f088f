# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""torch.ops.moe_mlir is there once both packages are imported, in whatever way and order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import moe_mlir
import pytest
from moe_mlir import _runtime

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

PACKAGE = Path(moe_mlir.__file__).parent
ROWS = """
x = torch.full((2, 32), 3, dtype=torch.bfloat16)
m, n = torch.zeros(2, dtype=torch.int32), torch.tensor([2], dtype=torch.int32)
"""
CALL = ROWS + "print(torch.ops.moe_mlir.padded_squared_relu(x, m, n)[1, 31].item())"


def run(code: str, *folders: Path) -> str:
    environment = {**os.environ, "MOE_RUNTIME_LIBRARY": str(_runtime.path),
                   "PYTHONPATH": os.pathsep.join(map(str, [*folders, PACKAGE.parent]))}
    result = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code],
                            env=environment, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("imports", [
    "import moe_mlir; import torch",
    "import torch; import moe_mlir",
    "import moe_mlir; from torch.nn import functional; import torch",
    "import moe_mlir, importlib; torch = importlib.import_module('torch')",
    # Somebody who only looks must not be taken for one who imports.
    "import moe_mlir, importlib.util; importlib.util.find_spec('torch'); import torch",
    "import threading, moe_mlir\n"
    "t = threading.Thread(target=__import__, args=('torch',)); t.start(); t.join()\n"
    "import torch",
])
def test_orders(imports: str) -> None:
    assert run(f"{imports}\n{CALL}") == "9.0\n"


def test_torch_is_left_as_it_was_found() -> None:
    assert run(
        "import sys; finders = list(sys.meta_path)\n"
        "import moe_mlir; assert 'torch' not in sys.modules; import torch\n"
        "assert sys.meta_path == finders\n"
        "loader = torch.__spec__.loader\n"
        "assert loader is torch.__loader__ and 'exec_module' not in vars(loader)\n"
        "print(type(loader).__name__)") == "SourceFileLoader\n"


def test_a_torch_that_fails_to_import_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('not today')")
    assert run(
        "import moe_mlir, sys\n"
        "for _ in range(2):\n"
        "    try: import torch\n"
        "    except ImportError as error: print(error)\n"
        f"sys.path.remove({str(tmp_path)!r}); import importlib; importlib.invalidate_caches()\n"
        f"import torch\n{CALL}", tmp_path) == "not today\nnot today\n9.0\n"


@pytest.mark.parametrize("imports", ["moe_mlir, torch", "torch, moe_mlir"])
def test_a_torch_that_will_not_do_fails_with_the_first_tensor(tmp_path: Path,
                                                              imports: str) -> None:
    (tmp_path / "torch.py").write_text("class Tensor: pass")
    assert run(
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        f"    warnings.simplefilter('always'); import {imports}\n"
        "assert 'torch.ops.moe_mlir could not be registered' in str(caught[-1].message)\n"
        "import numpy, ml_dtypes\n"
        "x = numpy.full((1, 1), 3, ml_dtypes.bfloat16)\n"
        "print(moe_mlir.padded_squared_relu(x, numpy.zeros(1, numpy.int32), 1))\n"
        "try: moe_mlir.padded_squared_relu(torch.Tensor(), None, None)\n"
        "except (ImportError, AttributeError): print('no torch')", tmp_path) == "[[9]]\nno torch\n"


def serialises_e8m0() -> bool:
    module = pytest.importorskip("torch._export.serde.serialize")
    return torch.float8_e8m0fnu in module._TORCH_TO_SERIALIZE_DTYPE


saves_e8m0 = pytest.mark.skipif(not serialises_e8m0(),
                                reason="this PyTorch does not save programs with E8M0")


# 9 = 288 * 2^-5.
@pytest.mark.parametrize("imports", ["import moe_mlir, torch", "import torch, moe_mlir"])
@pytest.mark.parametrize("result, numbers", [
    ("(y,)", "9.0"),
    pytest.param("(q.data, q.scale.view(torch.uint8))", "288.0 122.0", marks=saves_e8m0),
])
def test_an_exported_program_is_loaded_by_another_process(tmp_path: Path, imports: str,
                                                          result: str, numbers: str) -> None:
    saved = tmp_path / "program.pt2"
    run(f"import torch, moe_mlir\n{ROWS}"
        "class Model(torch.nn.Module):\n"
        "    def forward(self, x, m, n):\n"
        "        y = moe_mlir.padded_squared_relu(x, m, n)\n"
        f"        {'q = moe_mlir.quantize_mxfp8(y, m, n)' if 'q' in result else ''}\n"
        f"        return {result}\n"
        f"torch.export.save(torch.export.export(Model(), (x, m, n)), {str(saved)!r})")
    assert run(f"{imports}\n{ROWS}"
               f"q = torch.export.load({str(saved)!r}).module()(x, m, n)\n"
               "print(*[t.float().flatten()[0].item() for t in q[:2]])") == f"{numbers}\n"
