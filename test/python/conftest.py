# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Skips by name what this machine has no tools for."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
import tempfile

import pytest

MARKERS = {
    "cuda": "needs PyTorch and a CUDA device",
    "compiler": "needs moe-opt and moe-translate",
    "builds_wheel": "needs what pip builds a wheel with: setuptools, or an index to fetch it from",
}


def pytest_configure(config: pytest.Config) -> None:
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")


def _has_compiler() -> bool:
    from moe_mlir import _compiler

    try:
        _compiler._find_tools()
    except _compiler.CompilerNotFoundError:
        return False
    return True


def _can_build_wheels() -> bool:
    """Whether pip gets the build's requirement, in the way in which it will for the build."""
    if importlib.util.find_spec("pip") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--disable-pip-version-check", "--retries", "0", "--timeout", "15",
                   "--dest", folder, "setuptools>=77"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


# Only what is asked for is looked for: pip takes seconds.
CONDITIONS = {
    "compiler": (functools.cache(_has_compiler), "no moe-opt and moe-translate: not built"),
    "builds_wheel": (functools.cache(_can_build_wheels),
                     "pip cannot fetch setuptools: no package index"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, (is_met, reason) in CONDITIONS.items():
        if item.get_closest_marker(name) and not is_met():
            pytest.skip(reason)
