# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""benchmarks/cpu.py runs, checks its outputs and reports every case. How fast is not for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPS = {"padded_squared_relu", "squared_relu_quantize_mxfp8", "quantize_mxfp8"}


def test_quick(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    result = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "cpu.py", "--quick", "--json", file],
        text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    results = json.loads(file.read_text())
    names = {case["batch"] for case in results}
    threads = {case["threads"] for case in results}
    assert len(names) == 3 and 1 in threads
    found = [(case["batch"], case["op"], case["threads"]) for case in results]
    assert sorted(found) == sorted((n, op, t) for n in names for op in OPS for t in threads)
    for case in results:
        assert f"checking {case['batch']}, {case['op']}" in result.stdout
        assert 0 < case["live_rows"] <= case["rows"]
        for rate in ("ms", "gelements_per_s", "gb_per_s", "memcpy_gb_per_s", "share_of_memcpy",
                     "numpy_gelements_per_s", "times_numpy"):
            assert case[rate] > 0
