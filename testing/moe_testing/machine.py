# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tests need of the machine beside Python, and the skip, by name, where it is not there.

On a machine with a GPU there may be neither compiler nor LLVM nor package index. scripts/test.sh
sets MOE_TESTS_SKIP_NOTHING: where everything was built, a tool that is missing is a failure.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .checkout import BIN_DIR, BUILD, LIB_DIR, LLVM

C_COMPILER, CXX_COMPILER = "a C compiler", "a C++ compiler"
BUILD_TREE, PIP_INDEX = "a configured build tree", "a package index"

OWN_TOOLS = ("moe-opt", "moe-translate", "moe-run", "moe-lsp-server")
LLVM_TOOLS = ("mlir-opt", "mlir-runner", "mlir-tblgen")


def _why_it_does_not_start(program: Path) -> str:
    """Empty if the program starts, and where it fails for a reason that is not the machine's."""
    if not program.is_file():
        return f"{program} is not there"
    done = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=60)
    missing = re.search(r"error while loading shared libraries: ([^:]*)", done.stderr)
    return f"{program} does not start without {missing.group(1)}" if missing else ""


@functools.cache
def why_not(name: str) -> str:
    """Why this machine does not have what has this name; empty if it has."""
    if name in OWN_TOOLS:
        return _why_it_does_not_start(BIN_DIR / name)
    if name in LLVM_TOOLS:
        return _why_it_does_not_start(LLVM / "bin" / name)
    if name.endswith(".so"):
        return "" if (LIB_DIR / name).is_file() else f"{LIB_DIR / name} is not there"
    if name == BUILD_TREE:
        return "" if (BUILD / "build.ninja").is_file() else f"{BUILD} has no build.ninja"
    if name == PIP_INDEX:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                       "--retries=0", "--timeout=5", "--dest", folder, "setuptools"]
            done = subprocess.run(command, capture_output=True, check=False)
        return "pip finds no setuptools" if done.returncode else ""
    program = {C_COMPILER: os.environ.get("CC", "cc"),
               CXX_COMPILER: os.environ.get("CXX", "c++")}.get(name, name)
    return "" if shutil.which(program) else f"{program} is not on the PATH"


def need(*names: str) -> None:
    """Skips the test that is running, or fails it where nothing may be skipped."""
    import pytest

    for name in names:
        reason = why_not(name)
        if not reason:
            continue
        if os.environ.get("MOE_TESTS_SKIP_NOTHING"):
            pytest.fail(f"needs {name}: {reason}", pytrace=False)
        pytest.skip(f"needs {name}: {reason}")


@functools.cache
def has_gpu() -> bool:
    """Whether there is a driver with a device; found out in another process, which would keep it
    open.
    """
    code = ("import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); count = ctypes.c_int();"
            "assert cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0;"
            "assert count.value > 0")
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def with_library_path(folder: Path) -> dict[str, str]:
    """The environment with a folder that the loader looks into first. What was there stays: it may
    be what leads to LLVM.
    """
    others = [part for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join([str(folder), *others])}
