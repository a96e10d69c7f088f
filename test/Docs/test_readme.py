# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the commands of the README exactly as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import machine

ROOT = machine.ROOT
# The commands begin with a build.
needs_a_build = pytest.mark.needs(machine.BUILD_TREE, "cmake", "ninja", machine.CXX_COMPILER,
                                  "moe-opt", "mlir-opt")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def test_readme_has_its_commands() -> None:
    assert len(BLOCKS) >= 7
    # It is what runs this test, so it can't be run by it.
    assert sum(block.startswith("scripts/test.sh ") for block in BLOCKS) == 1


@needs_a_build
@pytest.mark.parametrize("block", [b for b in BLOCKS if not b.startswith("scripts/test.sh ")],
                         ids=lambda block: " ".join(block.split())[:50])
def test_command(block: str) -> None:
    if " pip " in block:
        machine.need(machine.PIP_INDEX)
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_a_build
def test_what_the_commands_left() -> None:
    """The files that the README's commands write hold what it says."""
    for name in ("activation.ptx", "expert.ptx"):
        ptx = (ROOT / "build" / name).read_text()
        assert ".target sm_90" in ptx and ".entry" in ptx
    assert "sm_100" in (ROOT / "build" / "plugin.mlir").read_text()
    assert "gpu.launch_func" in (ROOT / "build" / "kernels.mlir").read_text()
    assert (ROOT / "build" / "result.npy").exists()


def test_folders_of_the_table_exist() -> None:
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "README.md").read_text(), re.M)
    for folder in re.findall(r"`([^`]+)`", " ".join(table)):
        assert (ROOT / folder).is_dir(), folder
