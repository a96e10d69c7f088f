# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The wheel: its tag, what is in it, and that it works away from the source tree.

pip fetches setuptools for the build.
"""

from __future__ import annotations

import json
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
    # No older than every pip knows, and no newer than distributions that are in use.
    glibc = max((2, 17), *((int(major), int(minor)) for major, minor in needed))
    assert glibc <= (2, 28)
    assert platform == f"manylinux_{glibc[0]}_{glibc[1]}_{machine()}"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"moe_mlir-{version}.dist-info/METADATA").decode()
        tags = archive.read(f"moe_mlir-{version}.dist-info/WHEEL").decode()
    assert {"moe_mlir/lib/libmoe_runtime.so", "moe_mlir/py.typed", "moe_mlir/__main__.py",
            "moe_mlir/include/moe-c/Runtime.h", "moe_mlir/include/moe/Runtime/Runtime.h"
            } <= set(names)
    assert not [n for n in names if "_packaging" in n]
    # What tests share stays in the repository.
    assert {name.partition("/")[0] for name in names} == {"moe_mlir",
                                                          f"moe_mlir-{version}.dist-info"}
    assert "Requires-Python: >=3.10\n" in metadata
    assert "Root-Is-Purelib: false" in tags


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    installed = run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                    folder, wheel, cwd=folder.parent)
    assert installed.returncode == 0, installed.stderr
    return folder


def test_installed_wheel_works(site: Path, tmp_path: Path) -> None:
    result = run(sys.executable, "-c", CODE.format(package=site / "moe_mlir"), cwd=tmp_path,
                 PYTHONPATH=str(site), PATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("no compiler: moe-opt and moe-translate were not found")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_c_program_builds_against_the_wheel(site: Path, tmp_path: Path) -> None:
    code = ("import moe_mlir; print(moe_mlir.get_include()); print(moe_mlir._runtime.path)")
    found = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(site))
    assert found.returncode == 0, found.stderr
    include, library = found.stdout.split()
    assert Path(include) == site / "moe_mlir" / "include"
    (tmp_path / "program.c").write_text(
        "#include <moe-c/Runtime.h>\n#include <stdio.h>\n"
        'int main(void) { return puts(moeGetDescription()) < 0; }\n')
    built = run("cc", "-Wall", "-Werror", f"-I{include}", "program.c", library,
                f"-Wl,-rpath,{Path(library).parent}", "-o", "program", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert run(tmp_path / "program", cwd=tmp_path).stdout.startswith(f"moe-mlir {__version__}")


def test_the_installed_package_reports_itself(site: Path, tmp_path: Path) -> None:
    result = run(sys.executable, "-m", "moe_mlir", cwd=tmp_path, PYTHONPATH=str(site))
    assert result.returncode == 0, result.stderr
    assert f"runtime library: {site}/moe_mlir/lib/libmoe_runtime.so\n" in result.stdout
    assert f"headers: {site}/moe_mlir/include\n" in result.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project with a build in which nothing but the runtime's target works: that copies
    LIBRARY.
    """
    tree = tmp_path / "tree"
    sources = [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    sources += [*(ROOT / "python").rglob("*.py"), *(ROOT / "include").rglob("Runtime.h")]
    for source in sources:
        copy = tree / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    (tree / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(stub LANGUAGES NONE)\n"
        "add_custom_target(broken ALL COMMAND ${CMAKE_COMMAND} -E false)\n"
        "add_custom_target(moe_runtime COMMAND ${CMAKE_COMMAND} -E copy ${LIBRARY}\n"
        "  ${CMAKE_BINARY_DIR}/lib/libmoe_runtime.so)\n")
    return tree


# What CMake finds itself is not fetched for the build.
CMAKE_ARGS = f"-DMOE_PTXAS=none -DMLIR_DIR=none -DLIBRARY={_runtime.path}"


def assert_clean(tree: Path) -> None:
    """Nothing is left in the sources."""
    assert not (tree / "python" / "moe_mlir" / "lib").exists()
    assert not (tree / "python" / "moe_mlir" / "include").exists()
    assert not list((tree / "python").glob("*.egg-info"))


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
@pytest.mark.parametrize("folder", ["build/wheel", "elsewhere"])
def test_the_build_runs_cmake_for_the_runtime_alone(tree: Path, tmp_path: Path,
                                                    folder: str) -> None:
    settings = {"CMAKE_ARGS": CMAKE_ARGS}
    if folder != "build/wheel":
        settings["MOE_BUILD_DIR"] = str(tree / folder)
    built = run(sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps", "-w", tmp_path,
                tree, cwd=tmp_path, **settings)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("moe_mlir/lib/libmoe_runtime.so")[:4] == b"\x7fELF"
    assert (tree / folder / "lib" / "libmoe_runtime.so").is_file()
    # It says what it carries.
    output = built.stdout + built.stderr
    assert f"moe-mlir: {wheel.name} carries:" in output
    assert f"moe-mlir:   {_runtime.description()}" in output
    assert "moe-c/Runtime.h" in output
    assert_clean(tree)


def test_metadata_builds_nothing(tree: Path, tmp_path: Path) -> None:
    (tree / "CMakeLists.txt").write_text('message(FATAL_ERROR "built")\n')
    report = tmp_path / "report.json"
    done = run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--dry-run",
               "--ignore-installed", "--report", report, tree, cwd=tmp_path, CMAKE_ARGS=CMAKE_ARGS)
    assert done.returncode == 0, done.stderr
    (package,) = json.loads(report.read_text())["install"]
    metadata = package["metadata"]
    assert (metadata["name"], metadata["version"]) == ("moe-mlir", __version__)
    assert not (tree / "build").exists()
    assert_clean(tree)


@pytest.mark.parametrize("settings, message", [
    ({"PATH": ""}, "moe-mlir: to build the runtime library, install cmake and a C++ compiler ("),
    ({"CMAKE_ARGS": f"{CMAKE_ARGS} -DCMAKE_MODULE_PATH=x", "MOE_RUNTIME_LIBRARY": "/nowhere.so"},
     "moe-mlir: MOE_RUNTIME_LIBRARY: there is no file /nowhere.so"),
])
def test_what_is_missing_is_said_in_a_sentence(tree: Path, tmp_path: Path, settings: dict[str, str],
                                               message: str) -> None:
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, tree,
               cwd=tmp_path, **{"CMAKE_ARGS": CMAKE_ARGS, **settings})
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert message in output
    assert "Traceback" not in output
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
def test_a_failure_of_cmake_is_shown(tree: Path, tmp_path: Path) -> None:
    (tree / "CMakeLists.txt").write_text('message(FATAL_ERROR "what was wrong")\n')
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, tree,
               cwd=tmp_path, CMAKE_ARGS=CMAKE_ARGS)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "what was wrong" in output
    assert "moe-mlir: the configuration by CMake failed; what was wrong is printed above" in output
    assert "Traceback" not in output
