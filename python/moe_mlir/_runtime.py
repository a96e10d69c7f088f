# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loads libmoe_runtime.so and calls it; include/moe-c/Runtime.h is the source.

A call packs its operands into a buffer that holds all the C structures, so that no ctypes object
is made for it.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._op_table import OPS

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
    pointer = ctypes.c_void_p
    try:
        library.moeGetLastError.restype = ctypes.c_char_p
        library.moeGetDescription.restype = ctypes.c_char_p
        library.moeGetVersion.restype = ctypes.c_int32
        library.moeLoadKernels.argtypes = [ctypes.c_int]
        library.moeFindOp.argtypes = [ctypes.c_char_p, pointer]
        # Launch, op, the operands' addresses and their number.
        library.moeRunOp.argtypes = [pointer, pointer, pointer, ctypes.c_int32]
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


# MoeLaunch (device, flags, stream, module, num_ctas, num_threads, expected_rows); MoeMatrix x,
# MoeMatrix out, each (data, rows, columns, row_stride); the operands of moeRunOp (x,
# permutation_map, n_used, out, scale); MoeScale (data, size, row_stride, layout, dead).
_WITHOUT_SCALES = struct.Struct("@iIPPiiq Pqqq Pqqq PPPP")
_LAYOUT = struct.Struct("@iIPPiiq Pqqq Pqqq PPPPP Pqqii")
_X, _OUT, _OPERANDS, _SCALE = 40, 72, 104, 144
assert _LAYOUT.size == 176, "MoeLaunch of Runtime.h is 40 bytes, matrices and scales 32 each"
_pack, _pack_with_scales = _WITHOUT_SCALES.pack_into, _LAYOUT.pack_into


class _Operands:
    """The memory of one call's structures."""

    __slots__ = ("buffer", "launch", "x", "out", "operands", "scale")

    def __init__(self) -> None:
        self.buffer: Any = (ctypes.c_uint64 * (_LAYOUT.size // 8))()
        self.launch = ctypes.addressof(self.buffer)
        self.x = self.launch + _X
        self.out = self.launch + _OUT
        self.operands = self.launch + _OPERANDS
        self.scale = self.launch + _SCALE


# Those that no call is using. A list's append and pop are atomic, so threads share it, and a call
# that interrupts another on the same thread takes one of its own.
_free: list[_Operands] = []


def _find_op(name: str) -> int:
    """The MoeOp `moe.<name>`."""
    op = ctypes.c_void_p()
    if _library.moeFindOp(name.encode(), ctypes.byref(op)):
        raise ImportError(f"moe_mlir: expected {path} to be a {_NAME} of this version, but: "
                          + _library.moeGetLastError().decode(errors="replace"))
    assert op.value is not None
    return op.value


def _bind(function: Any, op: int) -> Callable[..., int]:
    def call(device: int, stream: int, x: int, rows: int, columns: int, x_stride: int,
             permutation_map: int, n_used: int, expected_rows: int, out: int,
             out_stride: int) -> int:
        try:
            memory = _free.pop()
        except IndexError:
            memory = _Operands()
        _pack(memory.buffer, 0, device, 0, stream, 0, 0, 0, expected_rows, x, rows, columns,
              x_stride, out, rows, columns, out_stride, memory.x, permutation_map, n_used,
              memory.out)
        status: int = function(memory.launch, op, memory.operands, 4)
        _free.append(memory)
        return status

    return call


def _bind_with_scales(function: Any, op: int) -> Callable[..., int]:
    def call(device: int, stream: int, x: int, rows: int, columns: int, x_stride: int,
             permutation_map: int, n_used: int, expected_rows: int, data: int, data_stride: int,
             scale: int, scale_size: int, scale_stride: int, layout: int, dead: int) -> int:
        try:
            memory = _free.pop()
        except IndexError:
            memory = _Operands()
        _pack_with_scales(
            memory.buffer, 0, device, 0, stream, 0, 0, 0, expected_rows, x, rows, columns,
            x_stride, data, rows, columns, data_stride, memory.x, permutation_map, n_used,
            memory.out, memory.scale, scale, scale_size, scale_stride, layout, dead)
        status: int = function(memory.launch, op, memory.operands, 5)
        _free.append(memory)
        return status

    return call


# The ops by name, with buffers as addresses, `scale_size` and `scale_stride` in bytes, other
# strides in elements, and `expected_rows` as _expected_rows.parse gives it; each returns the
# MoeStatus.
calls = {op.name: (_bind_with_scales if op.format.has_scales else _bind)(
    _library.moeRunOp, _find_op(op.dialect)) for op in OPS}
