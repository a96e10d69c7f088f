# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run leaves behind: its outputs, and nothing else anywhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from moe_run import identity

VARIABLES = ("TMPDIR", "TMP", "TEMP", "HOME", "JITDUMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")


def run_in(tool, folders: dict[str, str]) -> None:
    tool.environment = folders
    x = np.arange(3, dtype=np.int32)
    assert tool.succeed(identity("memref<3xi32>"), "f", [x], "--save=0=out.npy") == ""
    assert np.array_equal(tool.load("out.npy"), x)


def test_nothing_is_left(tool, tmp_path):
    folders = {name: tmp_path / name for name in VARIABLES}
    for folder in folders.values():
        folder.mkdir()
    run_in(tool, {name: str(folder) for name, folder in folders.items()})
    assert [p for folder in folders.values() for p in folder.rglob("*")] == []
    assert {p.name for p in tool.folder.iterdir()} == {"input.mlir", "arg0.npy", "out.npy"}


def test_nothing_is_said_where_nothing_can_be_left(tool, tmp_path):
    (tmp_path / "file").write_text("")
    run_in(tool, {name: str(tmp_path / "file" / "folder") for name in VARIABLES})


def test_nothing_is_left_by_a_failure(tool, tmp_path):
    tool.environment = {name: str(tmp_path / name) for name in VARIABLES}
    for folder in tool.environment.values():
        Path(folder).mkdir()
    text = """func.func @f(%a: i1) { cf.assert %a, "asserted" return }"""
    assert tool.fail(text, "f", [np.bool_(False)]) == "asserted"
    assert [p for name in VARIABLES for p in (tmp_path / name).rglob("*")] == []


@pytest.fixture
def without_override(tool):
    """The tool as a user to whom the permissions of files apply, which they do not to root."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv")
    if subprocess.run([*drop, "true"], capture_output=True, check=False).returncode != 0:
        # Not root: they apply.
        drop = []
    tool.launcher = drop
    return tool


def test_read_only_output(without_override):
    tool = without_override
    old = tool.folder / "old.npy"
    old.write_text("old")
    old.chmod(0o444)
    x = np.arange(3, dtype=np.int32)
    found = tool.fail(identity("memref<3xi32>"), "f", [x], "--save=0=new.npy", "--save=0=old.npy")
    assert found == "cannot write 'old.npy': Permission denied"
    assert old.read_text() == "old"


def test_output_in_a_read_only_folder(without_override):
    tool = without_override
    (tool.folder / "folder").mkdir()
    (tool.folder / "folder").chmod(0o555)
    x = np.arange(3, dtype=np.int32)
    found = tool.fail(identity("memref<3xi32>"), "f", [x], "--save=0=new.npy",
                      "--save=0=folder/out.npy")
    assert found.startswith("cannot write 'folder/out.npy': ")
    assert list((tool.folder / "folder").iterdir()) == []
