# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""scripts/setup.sh says in a sentence what a machine lacks that it cannot install."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "scripts" / "setup.sh"
# What the script itself runs.
TOOLS = ("bash", "dirname", "sed", "sort", "head")


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """A PATH with nothing to build with and nothing to install with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    return folder


def add(folder: Path, name: str, text: str = "") -> None:
    program = folder / name
    program.write_text(f"#!{folder}/bash\n{text}\n")
    program.chmod(0o755)


def run(bin_dir: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("MLIR_DIR", "CC", "CXX")}
    return subprocess.run([str(bin_dir / "bash"), str(SETUP), *arguments],
                          env={**environment, "PATH": str(bin_dir), **settings}, text=True,
                          capture_output=True, check=False)


def test_no_apt(bin_dir: Path) -> None:
    done = run(bin_dir)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("setup: this machine lacks CMake 3.21 or newer, Ninja, a C++ compiler, "
                           "pkg-config, Python 3.11 or newer with venv")
    assert "there is no apt-get here" in line


def test_what_is_there_is_not_asked_for(bin_dir: Path) -> None:
    for name in ("ninja", "c++", "cc", "pkg-config"):
        add(bin_dir, name)
    add(bin_dir, "cmake", "echo cmake version 3.30.1")
    line = run(bin_dir).stderr
    assert line.startswith("setup: this machine lacks Python 3.11 or newer with venv")
    for name in ("CMake", "Ninja", "compiler"):
        assert name not in line.split(":")[1]


@pytest.mark.parametrize("version, is_enough", [("3.9.6", False), ("3.20.5", False),
                                                ("3.21.0", True), ("4.0.0-rc1", True)])
def test_version_of_cmake(bin_dir: Path, version: str, is_enough: bool) -> None:
    add(bin_dir, "cmake", f"echo cmake version {version}")
    assert ("CMake 3.21" not in run(bin_dir).stderr) == is_enough


def test_neither_root_nor_sudo(bin_dir: Path) -> None:
    add(bin_dir, "apt-get", "echo apt-get must not run; exit 9")
    add(bin_dir, "id", "echo 1000")
    done = run(bin_dir)
    assert done.returncode == 1
    assert "as root, run apt-get install --no-install-recommends cmake ninja-build g++" in done.stderr
    assert "must not run" not in done.stdout + done.stderr


def test_a_package_that_apt_does_not_know(bin_dir: Path) -> None:
    add(bin_dir, "apt-get", '[ "$1" = update ] || { echo it installs; exit 9; }')
    add(bin_dir, "id", "echo 0")
    add(bin_dir, "apt-cache", '[[ "${@: -1}" != ninja-build ]]')
    done = run(bin_dir)
    assert done.returncode == 1
    assert "none of apt's sources has ninja-build" in done.stderr
    assert "it installs" not in done.stdout


def test_mlir_dir(bin_dir: Path, tmp_path: Path) -> None:
    done = run(bin_dir, MLIR_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == ("setup: MLIR_DIR: expected the folder of MLIRConfig.cmake, found "
                           f"{tmp_path}\n")
    (tmp_path / "MLIRConfig.cmake").touch()
    assert "LLVM/MLIR 22," not in run(bin_dir, MLIR_DIR=str(tmp_path)).stderr.split(":")[1]


def test_unknown_option(bin_dir: Path) -> None:
    done = run(bin_dir, "--with-tensorflow")
    assert done.returncode == 2
    assert done.stderr == "setup: expected --with-torch or nothing, found --with-tensorflow\n"
