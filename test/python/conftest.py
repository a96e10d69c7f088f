# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes the package of this checkout and the oracle importable."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "test" / "Integration", ROOT / "python"):
    sys.path.insert(0, str(folder))


def pytest_configure(config: object) -> None:
    config.addinivalue_line("markers", "cuda: needs PyTorch and a CUDA device")  # type: ignore
