# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""scripts/count_skips.py counts and names what a run skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "count_skips.py"
LIT = """\
********************
Unsupported Tests (2):
  moe-mlir :: Pipelines/binary.mlir
  moe-mlir :: Pipelines/ptxas.mlir

********************
Failed Tests (1):
  moe-mlir :: Pipelines/failed.mlir

"""
PYTEST = """\
<testsuites><testsuite name="pytest">
<testcase classname="test.python.test_a" name="test_passes"/>
<testcase classname="test.python.test_a" name="test_b[1]"><skipped message="no GPU"/></testcase>
<testcase classname="test.python.test_a" name="test_b[2]"><skipped message="no GPU"/></testcase>
<testcase classname="" name="test.python.test_torch">{torch}</testcase>
<testcase classname="test.python.test_a" name="test_fails"><failure message="no"/></testcase>
</testsuite></testsuites>
"""
TORCH = """<skipped message="collection skipped">('/test/python/test_torch.py', 24, \
'Skipped: PyTorch is not installed')</skipped>"""


def run(folder: Path, lit: str, report: str, *options: str) -> subprocess.CompletedProcess:
    (folder / "lit.log").write_text(lit)
    (folder / "report.xml").write_text(report)
    return subprocess.run([sys.executable, str(SCRIPT), str(folder / "lit.log"),
                           str(folder / "report.xml"), *options], text=True, capture_output=True,
                          check=False)


@pytest.mark.parametrize("options", [[], ["--with-torch"]])
def test_skips_are_counted_and_named(tmp_path: Path, options: list[str]) -> None:
    done = run(tmp_path, LIT, PYTEST.format(torch=""), *options)
    assert done.stdout == (
        "test: skipped 4:\n"
        "test:      2  lacks what REQUIRES names: Pipelines/binary.mlir, Pipelines/ptxas.mlir\n"
        "test:      2  no GPU: test.python.test_a.test_b\n")
    assert done.returncode == 0


def test_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "Total Discovered Tests: 2\n", "<testsuites/>", "--with-torch")
    assert (done.returncode, done.stdout) == (0, "test: nothing was skipped\n")


def test_torch(tmp_path: Path) -> None:
    report = PYTEST.format(torch=TORCH)
    done = run(tmp_path, "", report)
    assert done.returncode == 0
    assert "test:      1  PyTorch is not installed: test.python.test_torch\n" in done.stdout
    assert "scripts/test.sh --with-torch runs" in done.stdout
    done = run(tmp_path, "", report, "--with-torch")
    assert done.returncode == 1
    assert "failed, as with --with-torch" in done.stdout
