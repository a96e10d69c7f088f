# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The programs of examples/expert-layer on the CPU: their pages are not run, as they need PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from moe_testing.checkout import ROOT, python_path

pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.needs("libmoe_runtime.so")

EXAMPLE = ROOT / "examples" / "expert-layer"


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE / program), *arguments], capture_output=True, text=True,
        timeout=600, env={**os.environ, "PYTHONPATH": python_path(ROOT / "benchmarks"),
                          "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("program", ["run.py", "parallel.py"])
def test_as_the_page_shows_it(program: str) -> None:
    done = run(program)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (EXAMPLE / "README.md").read_text()
    assert f"examples/expert-layer/{program}\n{done.stdout}```" in page, done.stdout


def test_ranks_that_cannot_share() -> None:
    done = run("parallel.py", "--ranks", "3")
    assert done.returncode == 1
    assert done.stderr == ("parallel.py: --ranks: expected a divisor of the 8 experts, found 3\n")


def test_results_that_differ_are_told() -> None:
    """What the program's checks say of a sum that one device would not have."""
    import expert_layer
    import torch

    wanted = torch.randn(4, 8)
    assert expert_layer.trouble(wanted.clone(), wanted) is None
    assert expert_layer.trouble(wanted * 1.001, wanted) is None
    assert "off by" in str(expert_layer.trouble(wanted + 0.1 * wanted.abs().max(), wanted))
    assert "not finite" in str(expert_layer.trouble(wanted / 0, wanted))
