# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The package's types, by mypy's strict rules: of the package, and of programs that use it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import moe_mlir
import pytest
from moe_mlir import _runtime

PACKAGE = Path(moe_mlir.__file__).parent
PROGRAMS = Path(__file__).parent / "typed"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "MYPYPATH": str(PACKAGE.parent),
               "MOE_RUNTIME_LIBRARY": str(_runtime.path)}

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no PyTorch")
pytestmark = pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="no mypy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, with what mypy keeps: PyTorch is read once."""
    return tmp_path_factory.mktemp("types")


def check(folder: Path, *arguments: str) -> None:
    """What is not among the arguments is read in silence, as where the package is installed: its
    own errors, such as a PyTorch that is not there, are none of a program's.
    """
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=",
               "--follow-imports=silent", "--cache-dir", str(folder / "cache"), *arguments]
    result = subprocess.run(command, env=ENVIRONMENT, cwd=folder, text=True, capture_output=True,
                            check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def run(name: str) -> None:
    result = subprocess.run([sys.executable, str(PROGRAMS / name)], env=ENVIRONMENT, text=True,
                            capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


@needs_torch
def test_the_package_and_programs_with_tensors(folder: Path) -> None:
    check(folder, "--exclude", "/_packaging/", str(PACKAGE),
          *map(str, sorted(PROGRAMS.glob("*.py"))))
    run("tensors.py")


def test_a_program_with_arrays(folder: Path) -> None:
    check(folder, str(PROGRAMS / "arrays.py"))
    run("arrays.py")
