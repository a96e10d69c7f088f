# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Triton peer computes what the ops do; a comparison with anything else would say little."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from moe_testing.checkout import ROOT, python_path


def test_bytes_in_the_interpreter() -> None:
    for package, name in (("torch", "PyTorch"), ("triton", "Triton")):
        pytest.importorskip(package, reason=f"{name} is not installed")
    program = Path(__file__).with_name("check_triton_peer.py")
    done = subprocess.run([sys.executable, "-W", "ignore", str(program)], capture_output=True,
                          env={**os.environ, "PYTHONPATH": python_path(ROOT / "benchmarks")},
                          text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all bf16 patterns\n" in done.stdout and "swiglu, all gates\n" in done.stdout
