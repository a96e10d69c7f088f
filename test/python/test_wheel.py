# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The wheel: its tag, what is in it, and that it works away from the source tree.

pip fetches setuptools for the build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from platform import machine

import pytest
from moe_mlir import __version__, _runtime

pytestmark = pytest.mark.builds_wheel

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import pathlib, ml_dtypes, moe_mlir, numpy
assert pathlib.Path(moe_mlir.__file__).parent == pathlib.Path("{package}")
assert moe_mlir._runtime.path == pathlib.Path("{package}/lib/libmoe_runtime.so")
x = numpy.full((3, 32), 2, ml_dtypes.bfloat16)
assert (moe_mlir.padded_squared_relu(x, numpy.zeros(3, numpy.int32), 3) == 4).all()
try:
    moe_mlir.compile("quantize_mxfp8")
except moe_mlir.CompilerNotFoundError as error:
    print("no compiler:", error)
"""


def run(*command: object, cwd: Path, **settings: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items()
                   if k not in ("MOE_RUNTIME_LIBRARY", "MOE_BIN_DIR", "PYTHONPATH")}
    return subprocess.run([str(c) for c in command], env={**environment, **settings}, cwd=cwd,
                          text=True, capture_output=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT,
                cwd=folder, MOE_RUNTIME_LIBRARY=str(_runtime.path))
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf, of binutils")
def test_one_wheel_for_every_python(wheel: Path) -> None:
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version, python, abi) == ("moe_mlir", __version__, "py3", "none")
    versions = run("readelf", "-VW", _runtime.path, cwd=ROOT)
    needed = re.findall(r"GLIBC_(\d+)\.(\d+)", versions.stdout)
    major, minor = max((int(major), int(minor)) for major, minor in needed)
    assert platform == f"manylinux_{major}_{minor}_{machine()}"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"moe_mlir-{version}.dist-info/METADATA").decode()
        tags = archive.read(f"moe_mlir-{version}.dist-info/WHEEL").decode()
    assert {"moe_mlir/lib/libmoe_runtime.so", "moe_mlir/py.typed"} <= set(names)
    assert not [n for n in names if "_packaging" in n]
    assert "Requires-Python: >=3.10\n" in metadata
    assert "Root-Is-Purelib: false" in tags


def test_installed_wheel_works(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    installed = run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                    site, wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    result = run(sys.executable, "-c", CODE.format(package=site / "moe_mlir"), cwd=tmp_path,
                 PYTHONPATH=str(site), PATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("no compiler: moe-opt and moe-translate were not found")


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
def test_the_build_runs_cmake_for_the_runtime_alone(tmp_path: Path) -> None:
    # A project in which nothing but the runtime's target works.
    tree = tmp_path / "tree"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    for source in (ROOT / "python").rglob("*.py"):
        copy = tree / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    (tree / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(stub LANGUAGES NONE)\n"
        "add_custom_target(broken ALL COMMAND ${CMAKE_COMMAND} -E false)\n"
        "add_custom_target(moe_runtime COMMAND ${CMAKE_COMMAND} -E copy ${LIBRARY}\n"
        "  ${CMAKE_BINARY_DIR}/lib/libmoe_runtime.so)\n")
    built = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, tree,
                cwd=tmp_path, CMAKE_ARGS=f"-DLIBRARY={_runtime.path}")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("moe_mlir/lib/libmoe_runtime.so")[:4] == b"\x7fELF"
    # Nothing is left in the sources.
    assert not (tree / "python" / "moe_mlir" / "lib").exists()
    assert not list((tree / "python").glob("*.egg-info"))
