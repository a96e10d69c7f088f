# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A bounded run of the fuzzer, the same modules each time. Longer ones are for a person:
`python test/Fuzz/fuzz.py --seconds 600 --seed N`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from moe_fuzz.runner import BIN_DIR

FUZZ = Path(__file__).with_name("fuzz.py")
pytestmark = pytest.mark.skipif(
    not (BIN_DIR / "moe-run").is_file(), reason="needs moe-opt and moe-run"
)
COUNT = 48


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_bounded_run(seed: int) -> None:
    result = subprocess.run(
        [sys.executable, FUZZ, "--seed", str(seed), "--count", str(COUNT), "--keep", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{COUNT} modules, 0 failures" in result.stdout
