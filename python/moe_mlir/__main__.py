# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m moe_mlir: what a report of a fault should hold. Versions, the runtime library and its
kernels, the devices, and the variables that the package reads.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from typing import Optional

from . import CompilerNotFoundError, __version__, _compiler, _log, _runtime
from ._headers import get_include

VARIABLES = {
    "MOE_RUNTIME_LIBRARY": "the runtime library to load in the place of the package's",
    "MOE_BIN_DIR": "the folder of moe-opt and moe-translate, for compile()",
    _log.VARIABLE: "1: a line to standard error for each call, with types and shapes",
    "CUDA_VISIBLE_DEVICES": "the devices that the CUDA driver shows",
}

# CUdevice_attribute.
_MAJOR, _MINOR = 75, 76


def _version_of(package: str) -> str:
    """The version of a package, which is not imported."""
    if importlib.util.find_spec(package) is None:
        return "not installed"
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _compiler_folder() -> str:
    try:
        return os.path.dirname(_compiler._find_tools()[0])
    except CompilerNotFoundError:
        return "not found; compile() needs it, nothing else does"


def _include() -> str:
    try:
        return get_include()
    except FileNotFoundError as error:
        return str(error)


def _cuda_lines() -> Iterator[str]:
    """The driver and its devices; no context is made."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        yield f"CUDA: no driver ({error})"
        return
    number, device = ctypes.c_int(), ctypes.c_int()
    try:
        status = driver.cuInit(0)
        if status:
            yield f"CUDA: the driver fails with error {status}"
            return
        driver.cuDriverGetVersion(ctypes.byref(number))
        yield f"CUDA: driver for CUDA {number.value // 1000}.{number.value % 1000 // 10}"
        driver.cuDeviceGetCount(ctypes.byref(number))
        if not number.value:
            yield "CUDA: no device"
        name = ctypes.create_string_buffer(256)
        for ordinal in range(number.value):
            driver.cuDeviceGet(ctypes.byref(device), ordinal)
            driver.cuDeviceGetName(name, len(name), device)
            capability = []
            for attribute in (_MAJOR, _MINOR):
                value = ctypes.c_int()
                driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
                capability.append(value.value)
            note = ", which no kernel is for: sm_80 is the least" if capability < [8, 0] else ""
            yield (f"cuda:{ordinal}: {name.value.decode(errors='replace')}, sm_{capability[0]}"
                   f"{capability[1]}{note}")
    except AttributeError as error:
        yield f"CUDA: the driver lacks a function: {error}"


def _cpu() -> str:
    """The processor's name, where the system says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return f"{value.strip()}, {platform.machine()}"
    except OSError:
        pass
    return platform.machine()


def report() -> Iterator[str]:
    """The lines."""
    yield f"moe_mlir {__version__}, {os.path.dirname(os.path.abspath(__file__))}"
    yield f"Python {platform.python_version()}, {platform.platform()}"
    for package in ("numpy", "ml_dtypes", "torch"):
        yield f"{package} {_version_of(package)}"
    yield ""
    yield f"runtime library: {_runtime.path}"
    for part in _runtime.description().split("; "):
        yield f"  {part}"
    yield f"headers: {_include()}"
    yield f"compiler: {_compiler_folder()}"
    yield ""
    yield f"CPU: {_cpu()}"
    yield from _cuda_lines()
    yield ""
    width = max(map(len, VARIABLES))
    for name, meaning in VARIABLES.items():
        setting = os.environ.get(name)
        value = "not set" if setting is None else repr(setting)
        yield f"{name:{width}}  {value}  ({meaning})"


def main(arguments: Optional[list[str]] = None) -> int:
    """Prints the report."""
    argparse.ArgumentParser(prog="python -m moe_mlir", description="Prints versions, the runtime "
                            "library and its kernels, devices, and environment variables."
                            ).parse_args(arguments)
    print("\n".join(report()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
