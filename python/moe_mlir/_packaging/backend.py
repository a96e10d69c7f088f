# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The build backend: setuptools, with libmoe_runtime.so built by CMake and put into the wheel.

The library is, of these, the first that applies:

* the file that MOE_RUNTIME_LIBRARY names;
* what CMake builds as the target moe_runtime in the folder MOE_BUILD_DIR, else in build/wheel.
  The build needs LLVM/MLIR 22 and a C++ compiler (scripts/setup.sh installs both) and takes
  minutes the first time. CMAKE_ARGS adds arguments to the configuration. Where there is no CUDA
  toolkit, ptxas of a package from the index makes the machine code.

The wheel's tag is py3-none-PLATFORM: the library uses no Python API. It needs the C library and
nothing else, so on Linux the platform is manylinux with the release of glibc that it asks for.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Optional

from setuptools import build_meta

ROOT = Path(__file__).resolve().parents[3]
_NAME = "libmoe_runtime.so"
_MLIR_DIR = Path("/usr/lib/llvm-22/lib/cmake/mlir")
# The headers of the library, where get_include() finds them.
_HEADERS = ("moe-c/Runtime.h", "moe/Runtime/Runtime.h")
_PTXAS_PACKAGE = "nvidia-cuda-nvcc==13.0.*"
_CUDA_TOOLS = ("ptxas", "fatbinary")
# The oldest glibc that a wheel's tag names: what every pip that is in use knows.
_OLDEST_GLIBC = (2, 17)

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


def _fail(message: str) -> NoReturn:
    """Ends the build with a sentence, without the backend's own stack above it."""
    raise SystemExit(f"moe-mlir: {message}")


def _say(text: str) -> None:
    """Prints a line; standard output belongs to the frontend's protocol."""
    print(f"moe-mlir: {text}", file=sys.stderr, flush=True)


def _run(what: str, *command: object) -> None:
    done = subprocess.run([str(c) for c in command], check=False, stdout=sys.stderr)
    if done.returncode:
        _fail(f"{what} failed; what was wrong is printed above")


def _build_folder() -> Path:
    return Path(os.environ.get("MOE_BUILD_DIR") or ROOT / "build" / "wheel")


def _cmake_arguments() -> list[str]:
    return shlex.split(os.environ.get("CMAKE_ARGS", ""))


def _is_set(variable: str, *environment: str) -> bool:
    """Whether CMAKE_ARGS sets a variable of CMake, or the environment one that stands for it."""
    return (any(re.match(rf"-D{variable}\b", argument) for argument in _cmake_arguments())
            or any(os.environ.get(name) for name in environment))


def _check_prerequisites() -> None:
    """Ends the build if it cannot even begin."""
    missing = []
    if not shutil.which("cmake"):
        missing.append("cmake")
    if not (_is_set("CMAKE_CXX_COMPILER", "CXX")
            or any(map(shutil.which, ("c++", "g++", "clang++")))):
        missing.append("a C++ compiler")
    if not (_MLIR_DIR.is_dir() or _is_set("MLIR_DIR", "MLIR_DIR", "MLIR_ROOT")
            or _is_set("CMAKE_PREFIX_PATH", "CMAKE_PREFIX_PATH")):
        missing.append("LLVM/MLIR 22")
    if missing:
        _fail(f"to build the runtime library, install {' and '.join(missing)} (on Debian, "
              "scripts/setup.sh does; for an LLVM elsewhere, set MLIR_DIR to its lib/cmake/mlir), "
              f"or set MOE_RUNTIME_LIBRARY to a built {_NAME}")


def _is_ptxas(path: str) -> bool:
    """Whether a ptxas is of CUDA 13 or newer, as cmake/MoeCudaTools.cmake wants it."""
    try:
        text = subprocess.run([path, "--version"], capture_output=True, text=True,
                              check=False).stdout
    except OSError:
        return False
    release = re.search(r"release (\d+)", text)
    return release is not None and int(release.group(1)) >= 13


def _has_cuda_tools() -> bool:
    """Whether CMake finds ptxas and fatbinary without the package."""
    if _is_set("MOE_PTXAS"):
        return True
    cache = _build_folder() / "CMakeCache.txt"
    if cache.is_file():
        known = re.search(r"^MOE_PTXAS:\w+=(.+)$", cache.read_text(), re.M)
        if known and Path(known.group(1)).is_file():
            return True
    folders = [os.path.join(os.environ[name], "bin")
               for name in ("CUDA_ROOT", "CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    folders += os.environ.get("PATH", "").split(os.pathsep)
    folders += map(str, ROOT.glob("build/venv/lib/python3*/site-packages/nvidia/cu*/bin"))
    return any(all(os.access(os.path.join(folder, tool), os.X_OK) for tool in _CUDA_TOOLS)
               and _is_ptxas(os.path.join(folder, _CUDA_TOOLS[0])) for folder in folders)


def _packaged_cuda_tools() -> list[str]:
    """The arguments with which CMake takes the tools of the package that the build asked for."""
    for entry in sys.path:
        for folder in Path(entry or ".").glob("nvidia/cu*/bin"):
            if all((folder / tool).is_file() for tool in _CUDA_TOOLS):
                return [f"-DMOE_{tool.upper()}={folder / tool}" for tool in _CUDA_TOOLS]
    return []


def _build_runtime() -> Path:
    """The library, built if need be."""
    setting = os.environ.get("MOE_RUNTIME_LIBRARY")
    if setting:
        library = Path(setting)
        if not library.is_file():
            _fail(f"MOE_RUNTIME_LIBRARY: there is no file {library}")
        return library
    _check_prerequisites()
    build = _build_folder()
    arguments = _cmake_arguments()
    if not (build / "CMakeCache.txt").is_file():
        if shutil.which("ninja"):
            arguments = ["-G", "Ninja", *arguments]
        if not _is_set("MLIR_DIR", "MLIR_DIR", "MLIR_ROOT") and _MLIR_DIR.is_dir():
            arguments.append(f"-DMLIR_DIR={_MLIR_DIR}")
    if not _has_cuda_tools():
        arguments += _packaged_cuda_tools()
    _say(f"building {_NAME} in {build}, which takes minutes the first time")
    _run("the configuration by CMake", "cmake", "-S", ROOT, "-B", build, *arguments)
    _run("the compilation", "cmake", "--build", build, "--target", "moe_runtime", "--parallel")
    return build / "lib" / _NAME


def _needed_glibc(library: Path) -> Optional[tuple[int, ...]]:
    """The release of glibc that a library asks for; None if it needs no glibc."""
    releases = re.findall(rb"\0GLIBC_(\d+)\.(\d+)", library.read_bytes())
    return max((tuple(map(int, release)) for release in releases), default=None)


def _manylinux_platform(library: Path) -> Optional[str]:
    """The platform tag of PEP 600 for a library that needs glibc alone; None for another."""
    needed = _needed_glibc(library)
    if needed is None:
        return None
    major, minor = max(needed, _OLDEST_GLIBC)
    return f"manylinux_{major}_{minor}_{platform.machine()}"


def _strip(library: Path) -> None:
    """Drops symbols that only debuggers need."""
    for name in ("strip", "llvm-strip"):
        tool = shutil.which(name)
        if tool:
            return _run("strip", tool, "--strip-unneeded", library)


def _describe(library: Path) -> str:
    """What the library says that it carries."""
    try:
        function = ctypes.CDLL(str(library)).moeGetDescription
    except (OSError, AttributeError):
        return "kernels unknown: the library is not for this machine"
    function.restype = ctypes.c_char_p
    return function().decode()


@contextmanager
def _staged(library: Optional[Path]) -> Iterator[Path]:
    """The current folder is a copy of the project with the library in it, so that the source
    tree stays as it is. For metadata there is no library.
    """
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy2(ROOT / name, staged / name)
        package = staged / "python" / "moe_mlir"
        shutil.copytree(ROOT / "python" / "moe_mlir", package, ignore=shutil.ignore_patterns(
            "_packaging", "lib", "include", "__pycache__"))
        tag = None
        if library:
            for header in _HEADERS:
                copy = package / "include" / header
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / "include" / header, copy)
            (package / "lib").mkdir()
            shutil.copy2(library, package / "lib" / _NAME)
            _strip(package / "lib" / _NAME)
            tag = _manylinux_platform(library)
        (staged / "setup.py").write_text(f"PLATFORM = {tag!r}\n" + _SETUP)
        try:
            os.chdir(staged)
            yield package
        finally:
            os.chdir(before)


def get_requires_for_build_wheel(config_settings: Optional[dict[str, Any]] = None) -> list[str]:
    """PEP 517: ptxas, where the library is to be built and there is no CUDA toolkit."""
    is_needed = (not os.environ.get("MOE_RUNTIME_LIBRARY") and not _has_cuda_tools()
                 and sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64"))
    return [_PTXAS_PACKAGE] if is_needed else []


def prepare_metadata_for_build_wheel(metadata_directory: str,
                                     config_settings: Optional[dict[str, Any]] = None) -> str:
    """PEP 517: the metadata, for which nothing is built."""
    target = str(Path(metadata_directory).resolve())
    with _staged(None):
        return build_meta.prepare_metadata_for_build_wheel(target, config_settings)


def build_wheel(wheel_directory: str, config_settings: Optional[dict[str, Any]] = None,
                metadata_directory: Optional[str] = None) -> str:
    """PEP 517: builds the library and the wheel, and prints what it carries."""
    library = _build_runtime()
    target = Path(wheel_directory).resolve()
    with _staged(library) as package:
        name = build_meta.build_wheel(str(target), config_settings)
        size = (package / "lib" / _NAME).stat().st_size
    needed = _needed_glibc(library)
    _say(f"{name} carries:")
    _say(f"  {_NAME}, {size / 1e6:.1f} MB, "
         + (f"for glibc {needed[0]}.{needed[1]} and newer" if needed else "without glibc"))
    _say(f"  {_describe(library)}")
    _say(f"  C and C++ headers: {', '.join(_HEADERS)}")
    return name


# The source tree itself, with the library of MOE_RUNTIME_LIBRARY or of its build folder.
build_editable = build_meta.build_editable
get_requires_for_build_editable = build_meta.get_requires_for_build_editable


def build_sdist(sdist_directory: str, config_settings: Optional[dict[str, Any]] = None) -> str:
    """PEP 517: there is none; the repository is the source distribution."""
    _fail("there is no source distribution; build the wheel from the repository")
