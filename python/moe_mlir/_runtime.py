# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loads libmoe_runtime.so and has it make the functions that call it; include/moe-c/Runtime.h says
what the ops take, and lib/Runtime/PythonCalls.cpp how they are called from here.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._op_table import OPS, Op

_NAME = "libmoe_runtime.so"
_PACKAGE = Path(__file__).resolve().parent

INVALID_ARGUMENT = 1
NO_CONTEXT = 4
_STATUS_NAMES = ("SUCCESS", "INVALID_ARGUMENT", "UNSUPPORTED", "NO_DRIVER", "NO_CONTEXT",
                 "DRIVER_ERROR", "OUT_OF_MEMORY")

CPU, CUDA = 0, 1


class MoeRuntimeError(RuntimeError):
    """The runtime library could not do what was asked; nothing was launched or written.

    Attributes:
        status: the name of the MoeStatus, such as "NO_DRIVER".
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def _find() -> Path:
    """The library that MOE_RUNTIME_LIBRARY names, else the wheel's, else a checkout's build."""
    setting = os.environ.get("MOE_RUNTIME_LIBRARY")
    if setting:
        # Another library in its place would hide the mistake.
        candidates, source = [Path(setting)], "MOE_RUNTIME_LIBRARY names"
    else:
        candidates, source = [_PACKAGE / "lib" / _NAME], "Looked for:"
        root = _PACKAGE.parents[1]
        if (root / "include" / "moe-c" / "Runtime.h").is_file():
            candidates.append(root / "build" / "lib" / _NAME)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ImportError(
        f"moe_mlir: {_NAME} was not found. {source} {', '.join(map(str, candidates))}. "
        "Install the wheel (pip install .), set MOE_RUNTIME_LIBRARY to the library's path, or "
        "build the target moe_runtime of a source checkout."
    )


def _load(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ImportError(f"moe_mlir: {path} could not be loaded: {error}") from error
    try:
        library.moeGetLastError.restype = ctypes.c_char_p
        library.moeGetDescription.restype = ctypes.c_char_p
        library.moeGetVersion.restype = ctypes.c_int32
        library.moeLoadKernels.argtypes = [ctypes.c_int]
        library.moeFindOp.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        # Called elsewhere.
        library.moeRunOpWithOptions, library.moeGetPythonCalls  # noqa: B018
    except AttributeError as error:
        raise ImportError(f"moe_mlir: expected {path} to be a {_NAME} of this version, but "
                          f"a function is missing: {error}") from error
    return library


path = _find()
_library = _load(path)


def version() -> tuple[int, int, int]:
    """Major, minor and patch of the library."""
    number: int = _library.moeGetVersion()
    return number // 10000, number // 100 % 100, number % 100


def description() -> str:
    """One line: the library's version, and what it carries kernels for."""
    text: bytes = _library.moeGetDescription()
    return text.decode()


def load_kernels(device: int) -> int:
    """moeLoadKernels; the MoeStatus."""
    status: int = _library.moeLoadKernels(device)
    return status


def raise_last_error(status: int) -> None:
    """Raises what `status`, which is not 0, and the message of this thread's last call say."""
    message = _library.moeGetLastError().decode(errors="replace")
    if status == INVALID_ARGUMENT:
        raise ValueError(message)
    name = _STATUS_NAMES[status] if 0 <= status < len(_STATUS_NAMES) else str(status)
    raise MoeRuntimeError(name, message)


def _get_calls(path: Path) -> dict[str, Callable[..., Any]]:
    """The functions that the library has for Python."""
    # With the GIL, unlike all other calls.
    get_calls = ctypes.PyDLL(str(path)).moeGetPythonCalls
    get_calls.restype = ctypes.py_object
    try:
        calls: dict[str, Callable[..., Any]] = get_calls()
    except ValueError as error:
        raise ImportError("moe_mlir: expected CPython 3.10 or later, whose C API is in this process, "
                          f"found {sys.implementation.name} {sys.version.split()[0]}") from error
    return calls


_calls = _get_calls(path)


def _find_op(name: str) -> int:
    """The address of the MoeOp `moe.<name>`."""
    op = ctypes.c_void_p()
    if _library.moeFindOp(name.encode(), ctypes.byref(op)):
        raise ImportError(f"moe_mlir: expected {path} to be a {_NAME} of this version, but: "
                          + _library.moeGetLastError().decode(errors="replace"))
    assert op.value is not None
    return op.value


# The address of moeRunOpWithOptions, by which every op is called.
run_op = ctypes.cast(_library.moeRunOpWithOptions, ctypes.c_void_p).value

# Of parse_options of _options.py, what asks for nothing.
NO_OPTIONS = (0,) * 10


def make_call(op: Op, options: tuple[int, ...] = NO_OPTIONS) -> Callable[..., int]:
    """What calls an op with numbers, and returns the MoeStatus:

        call(device, stream, expected_rows, flags, operands...)

    `expected_rows` and `flags` are as _hints.py gives them. Operands are in the order of
    lib/Kernels/manifest.txt: x or another matrix as its address, rows, columns, and elements from a
    row to the next; permutation_map, n_used, and probs where an op takes any, as their addresses, 0
    for what is not given; scale as its address, size and row stride in bytes, layout, and mode of
    dead rows.
    """
    return make_call_of(op.dialect, op.format.has_scales, options)


def make_call_of(dialect: str, has_scales: bool = False,
                 options: tuple[int, ...] = NO_OPTIONS) -> Callable[..., int]:
    """make_call of the op moe.<dialect>, which need not be one of the table. A vector that has a
    size of its own is its address and size; a value is itself; a matrix that is not given has -1
    rows.
    """
    call: Callable[..., int] = _calls["make_call"](run_op, _find_op(dialect), has_scales, *options)
    return call


def make_tensor_call(op: Op, call: Callable[..., int], environment: Any,
                     types: tuple[tuple[tuple[int, int], ...], ...],
                     dtypes: tuple[Any, ...],
                     options: tuple[int, ...] = NO_OPTIONS) -> Callable[..., Any] | None:
    """What calls an op with tensors, for _torch_direct.py, which says how; None if the library does
    not know this PyTorch.
    """
    tensor_call: Callable[..., Any] | None = _calls["make_tensor_call"](
        run_op, _find_op(op.dialect), op.format.has_scales, *options, call, environment, types,
        dtypes)
    return tensor_call


# The ops by name, without options.
calls = {op.name: make_call(op) for op in OPS}
