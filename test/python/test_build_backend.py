# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the build backend asks for before a build: ptxas, where no CUDA toolkit has it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PTXAS = ["nvidia-cuda-nvcc==13.0.*"]

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"),
                                reason="NVIDIA has no ptxas for this machine")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The backend as it is in a checkout without a build, on a machine without a toolkit."""
    setuptools, build_meta = ModuleType("setuptools"), ModuleType("setuptools.build_meta")
    setuptools.build_meta = build_meta
    build_meta.build_editable = build_meta.get_requires_for_build_editable = None
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    monkeypatch.setitem(sys.modules, "setuptools.build_meta", build_meta)
    spec = importlib.util.spec_from_file_location(
        "backend", ROOT / "python" / "moe_mlir" / "_packaging" / "backend.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path / "checkout")
    for name in ("CUDA_ROOT", "CUDA_HOME", "CUDA_PATH", "CMAKE_ARGS", "MOE_BUILD_DIR",
                 "MOE_RUNTIME_LIBRARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return module


def make_toolkit(folder: Path, release: str) -> Path:
    """A folder with a bin that answers as ptxas of that release does."""
    (folder / "bin").mkdir(parents=True)
    for tool in ("ptxas", "fatbinary"):
        program = folder / "bin" / tool
        program.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V1'\n")
        program.chmod(0o755)
    return folder


def test_ptxas_is_asked_for(backend: ModuleType) -> None:
    assert backend.get_requires_for_build_wheel() == PTXAS


@pytest.mark.parametrize("variable", ["CUDA_ROOT", "CUDA_HOME", "CUDA_PATH", "PATH"])
@pytest.mark.parametrize("release, needed", [("13.0", []), ("14.2", []), ("12.9", PTXAS)])
def test_a_toolkit_is_looked_for(backend: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                 tmp_path: Path, variable: str, release: str,
                                 needed: list[str]) -> None:
    toolkit = make_toolkit(tmp_path / "cuda", release)
    monkeypatch.setenv(variable, str(toolkit / "bin" if variable == "PATH" else toolkit))
    assert backend.get_requires_for_build_wheel() == needed


def test_half_a_toolkit_is_none(backend: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                tmp_path: Path) -> None:
    toolkit = make_toolkit(tmp_path / "cuda", "13.0")
    (toolkit / "bin" / "fatbinary").unlink()
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    assert backend.get_requires_for_build_wheel() == PTXAS


def test_the_environment_of_the_tests_has_it(backend: ModuleType) -> None:
    make_toolkit(backend.ROOT / "build/venv/lib/python3.12/site-packages/nvidia/cu13", "13.0")
    assert backend.get_requires_for_build_wheel() == []


@pytest.mark.parametrize("there", [True, False])
def test_a_build_folder_that_knows_one(backend: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                       tmp_path: Path, there: bool) -> None:
    toolkit = make_toolkit(tmp_path / "cuda", "13.0")
    monkeypatch.setenv("MOE_BUILD_DIR", str(tmp_path))
    ptxas = toolkit / "bin" / ("ptxas" if there else "gone")
    (tmp_path / "CMakeCache.txt").write_text(f"// ptxas\nMOE_PTXAS:FILEPATH={ptxas}\n")
    assert backend.get_requires_for_build_wheel() == ([] if there else PTXAS)


def test_a_built_library_needs_none(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOE_RUNTIME_LIBRARY", "libmoe_runtime.so")
    assert backend.get_requires_for_build_wheel() == []


def test_cmake_takes_the_package(backend: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                 tmp_path: Path) -> None:
    toolkit = make_toolkit(tmp_path / "site" / "nvidia" / "cu13", "13.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), str(tmp_path / "site")])
    assert backend._packaged_cuda_tools() == [f"-DMOE_PTXAS={toolkit}/bin/ptxas",
                                              f"-DMOE_FATBINARY={toolkit}/bin/fatbinary"]


@pytest.mark.parametrize("versions, platform_tag", [
    (b"\0GLIBC_2.2.5\0GLIBC_2.14\0", "manylinux_2_17"), (b"\0GLIBC_2.34\0", "manylinux_2_34"),
    (b"\0GLIBC_2.4\0GLIBC_2.28\0", "manylinux_2_28"), (b"", None),
])
def test_tag(backend: ModuleType, tmp_path: Path, versions: bytes, platform_tag: str) -> None:
    library = tmp_path / "library.so"
    library.write_bytes(b"\x7fELF" + versions)
    expected = platform_tag and f"{platform_tag}_{platform.machine()}"
    assert backend._manylinux_platform(library) == expected
