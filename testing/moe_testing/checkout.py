# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where this checkout, what was built of it, and LLVM are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
BIN_DIR = Path(os.environ.get("MOE_BIN_DIR", BUILD / "bin"))
LIB_DIR = Path(os.environ.get("MOE_LIB_DIR", BUILD / "lib"))
LLVM = Path(os.environ.get("LLVM_ROOT", "/usr/lib/llvm-22"))


def python_path(*first: Path | str) -> str:
    """A PYTHONPATH for a new process: `first`, then the packages of this checkout, then what this
    process was given. build/venv has those packages anyway, another Python may not.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([*map(str, first), str(ROOT / "python"), str(ROOT / "testing"),
                            *filter(None, given)])
