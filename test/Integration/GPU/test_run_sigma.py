# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run_sigma.py in the PTX interpreter, with some of the divisors, and whether it sees what is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import run_sigma
from moe_testing import sigma
from moe_testing.checkout import python_path
from moe_testing.interpreted import Interpreter

pytestmark = pytest.mark.needs("moe-opt", "moe-translate")


def some_divisors() -> Iterable[np.ndarray]:
    """A few of each exponent, with its first and its last; and where the quotient becomes 0."""
    found = [np.append(np.arange(begin, end, 499_979), end - 1) for begin, end in sigma.binades()]
    yield np.unique(np.concatenate([*found, [sigma.ZERO_FROM]])).astype(np.uint32)


def run(folder: Path, capability: int) -> bool:
    return run_sigma.run(folder, Interpreter(), capability, some_divisors, [(1, 2)])


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sigma")
    run_sigma.prepare(folder, ["sm_90", "sm_100"])
    return folder


def test_as_they_are(kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kernels of a newer chip are left alone."""
    assert run(kernels, 90)
    printed = capsys.readouterr().out
    assert f"silu of 65536 gates, sm_90: SHA-256 {sigma.SILU_TABLE}" in printed
    assert "1 / d, sm_90: 2288 divisors, every bit of the quotient" in printed
    assert "sm_100" not in printed
    assert not run(kernels, 80)
    assert "has no kernels for compute capability 80" in capsys.readouterr().out


def test_all_divisors() -> None:
    ends = [FIRST for FIRST, _ in sigma.binades()] + [sigma.LAST + 1]
    assert list(zip(ends, ends[1:])) == list(sigma.binades())
    assert ends[0] == sigma.FIRST and len(ends) == 127 + 1 + 1
    first = next(iter(run_sigma.all_divisors()))
    values = first.view(np.float32)
    assert (first.size, values[0], values[-1]) == (1 << 23, 1, 2 - 2**-23)


@pytest.mark.parametrize("name, right, wrong, message", [
    # The last bit of one coefficient, and the numerator of the quotient.
    ("silu", "0f3F317218", "0f3F317219", "expected a table of silu with the hash 371b"),
    ("reciprocal", "0f3F800000", "0f3F800001", "elements differ 1 / d from d ="),
])
def test_a_wrong_bit_is_seen(kernels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                             name: str, right: str, wrong: str, message: str) -> None:
    for path in kernels.glob("*-sm_90.ptx"):
        text = path.read_text()
        if path.stem.startswith(name):
            assert right in text
            text = text.replace(right, wrong)
        (tmp_path / path.name).write_text(text)
    assert not run(tmp_path, 90)
    reports = capsys.readouterr().out.split(" s)\n")
    assert [message in " ".join(text.split()) for text in reports if "FAILED" in text] == [True]


def test_the_program(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, run_sigma.__file__, "prepare", str(tmp_path), "--chip",
                           "sm_90"], text=True, capture_output=True, check=False,
                          env={"PYTHONPATH": python_path(), "PATH": "/usr/bin:/bin"})
    assert done.stdout == f"kernels for sm_90 in {tmp_path}\n", done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"silu-sm_90.ptx", "reciprocal-sm_90.ptx"}
