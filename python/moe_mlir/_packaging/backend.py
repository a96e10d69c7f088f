# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The build backend: setuptools, with libmoe_runtime.so built by CMake and put into the wheel.

The library is, of these, the first that applies:

* the file that MOE_RUNTIME_LIBRARY names;
* what CMake builds as the target moe_runtime in the folder MOE_BUILD_DIR, else in build/wheel.
  The build needs LLVM/MLIR 22 and a C++ compiler (scripts/setup.sh installs both) and takes
  minutes the first time. CMAKE_ARGS adds arguments to the configuration.

The wheel's tag is py3-none-PLATFORM: the library uses no Python API. It needs the C library and
nothing else, so on Linux the platform is manylinux with the release of glibc that it asks for.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

from setuptools import build_meta

ROOT = Path(__file__).resolve().parents[3]
_NAME = "libmoe_runtime.so"
_MLIR_DIR = Path("/usr/lib/llvm-22/lib/cmake/mlir")

# The staged project's: a wheel for a platform and any Python.
_SETUP = """
from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel

class BinaryDistribution(Distribution):
    def has_ext_modules(self):
        return True

class PlatformWheel(bdist_wheel):
    def get_tag(self):
        return "py3", "none", PLATFORM or super().get_tag()[2]

setup(distclass=BinaryDistribution, cmdclass={"bdist_wheel": PlatformWheel})
"""


def _run(*command: object) -> None:
    # Standard output belongs to the frontend's protocol.
    subprocess.run([str(c) for c in command], check=True, stdout=sys.stderr)


def _build_runtime() -> Path:
    """The library, built if need be."""
    setting = os.environ.get("MOE_RUNTIME_LIBRARY")
    if setting:
        library = Path(setting)
        if not library.is_file():
            raise RuntimeError(f"MOE_RUNTIME_LIBRARY: there is no file {library}")
        return library
    cmake = shutil.which("cmake")
    if not cmake:
        raise RuntimeError("moe-mlir: cmake was not found; scripts/setup.sh installs what a build "
                           "needs, or set MOE_RUNTIME_LIBRARY to a built libmoe_runtime.so")
    build = Path(os.environ.get("MOE_BUILD_DIR", ROOT / "build" / "wheel"))
    arguments = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    if not (build / "CMakeCache.txt").is_file():
        if shutil.which("ninja"):
            arguments = ["-G", "Ninja", *arguments]
        if not any(a.startswith("-DMLIR_DIR") for a in arguments) and _MLIR_DIR.is_dir():
            arguments.append(f"-DMLIR_DIR={_MLIR_DIR}")
    _run(cmake, "-S", ROOT, "-B", build, *arguments)
    _run(cmake, "--build", build, "--target", "moe_runtime", "--parallel")
    return build / "lib" / _NAME


def _manylinux_platform(library: Path) -> Optional[str]:
    """The platform tag of PEP 600 for a library that needs glibc alone; None for another."""
    releases = re.findall(rb"\0GLIBC_(\d+)\.(\d+)", library.read_bytes())
    if not releases:
        return None
    major, minor = max(tuple(map(int, release)) for release in releases)
    return f"manylinux_{major}_{minor}_{platform.machine()}"


def _strip(library: Path) -> None:
    """Drops symbols that only debuggers need."""
    for name in ("strip", "llvm-strip"):
        tool = shutil.which(name)
        if tool:
            return _run(tool, "--strip-unneeded", library)


def build_wheel(wheel_directory: str, config_settings: Optional[dict[str, Any]] = None,
                metadata_directory: Optional[str] = None) -> str:
    """PEP 517: builds the wheel from a staged copy, so that the source tree stays as it is."""
    library = _build_runtime()
    target = Path(wheel_directory).resolve()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy2(ROOT / name, staged / name)
        package = staged / "python" / "moe_mlir"
        shutil.copytree(ROOT / "python" / "moe_mlir", package,
                        ignore=shutil.ignore_patterns("_packaging", "lib", "__pycache__"))
        (package / "lib").mkdir()
        shutil.copy2(library, package / "lib" / _NAME)
        _strip(package / "lib" / _NAME)
        setup = f"PLATFORM = {_manylinux_platform(library)!r}\n" + _SETUP
        (staged / "setup.py").write_text(setup)
        try:
            os.chdir(staged)
            return build_meta.build_wheel(str(target), config_settings)
        finally:
            os.chdir(before)


# The source tree itself, with the library of MOE_RUNTIME_LIBRARY or of its build folder.
build_editable = build_meta.build_editable
get_requires_for_build_editable = build_meta.get_requires_for_build_editable


def build_sdist(sdist_directory: str, config_settings: Optional[dict[str, Any]] = None) -> str:
    """PEP 517: there is none; the repository is the source distribution."""
    raise RuntimeError("moe-mlir: no source distribution; build the wheel from the repository")
