# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops on NumPy arrays, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from . import _runtime
from ._hints import parse_expected_rows, parse_programmatic_launch
from ._modes import DeadScales, ScaleLayout, parse_dead, parse_layout
from ._mxfp8 import MXFP8, unpack_out
from ._op_table import OPS, Op
from ._scales import scale_bytes

Array = NDArray[Any]

_BF16 = np.dtype(ml_dtypes.bfloat16)
_INT32 = np.dtype(np.int32)

NUsed = Union[int, "np.integer[Any]", Array]


def _check_array(name: str, array: Any, dtype: np.dtype[Any]) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array as x is one, found "
                        f"{type(array).__module__}.{type(array).__qualname__}")
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, found {array.dtype}")


def _row_stride(name: str, matrix: Array) -> int:
    """Elements from a row to the next; the runtime library knows how many are needed."""
    rows, columns = matrix.shape
    row, inner = matrix.strides
    size = matrix.itemsize
    if columns > 1 and inner != size and rows > 0:
        raise ValueError(f"{name}: expected consecutive elements in a row, {size} bytes apart, "
                         f"found strides of {matrix.strides} bytes")
    if row % size and rows > 1:
        raise ValueError(f"{name}: expected rows a multiple of {size} bytes apart, found strides "
                         f"of {matrix.strides} bytes")
    return row // size


def _check_x(x: Array, permutation_map: Any) -> tuple[int, int, int]:
    """Rows, columns and row stride of x."""
    _check_array("x", x, _BF16)
    if x.ndim != 2:
        raise ValueError(f"x: expected shape [M, N], found {list(x.shape)}")
    rows, columns = x.shape
    _check_array("permutation_map", permutation_map, _INT32)
    if permutation_map.shape != (rows,):
        raise ValueError(f"permutation_map: expected shape [{rows}], an entry for each row of x, "
                         f"found {list(permutation_map.shape)}")
    if rows > 1 and permutation_map.strides[0] != 4:
        raise ValueError("permutation_map: expected consecutive elements, 4 bytes apart, found a "
                         f"stride of {permutation_map.strides[0]} bytes")
    return rows, columns, _row_stride("x", x)


def _as_array(n_used: Any) -> Array:
    """n_used as an array of one int32, which the caller keeps alive."""
    if isinstance(n_used, np.ndarray):
        if n_used.dtype != _INT32:
            raise TypeError(f"n_used: expected dtype int32, found {n_used.dtype}")
        if n_used.size != 1 or n_used.ndim > 1:
            raise ValueError(f"n_used: expected shape [] or [1], found {list(n_used.shape)}")
        return n_used
    if isinstance(n_used, (int, np.integer)) and not isinstance(n_used, bool):
        if not -(2**31) <= n_used < 2**31:
            raise ValueError(f"n_used: expected a value of 32 bits, found {n_used}")
        return np.array(n_used, _INT32)
    raise TypeError("n_used: expected an int or a NumPy array of one int32, found "
                    f"{type(n_used).__module__}.{type(n_used).__qualname__}")


def _check_output(name: str, array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    _check_array(name, array, dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, found {list(array.shape)}")
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected a writeable array, found a read-only one")


def _make(op: Op) -> Callable[..., Array]:
    """The run of an op without scales."""
    native = _runtime.calls[op.name]
    dtype, = _dtypes(op)

    def run(x: Array, permutation_map: Array, n_used: NUsed, out: Array | None,
            expected_rows: int | None, programmatic_launch: bool) -> Array:
        expected = parse_expected_rows(expected_rows)
        flags = parse_programmatic_launch(programmatic_launch)
        rows, columns, x_stride = _check_x(x, permutation_map)
        n_used = _as_array(n_used)
        if out is None:
            out, out_stride = np.empty((rows, columns), dtype), columns
        else:
            _check_output("out", out, dtype, (rows, columns))
            out_stride = _row_stride("out", out)
        status = native(_runtime.CPU, 0, x.ctypes.data, rows, columns, x_stride,
                        permutation_map.ctypes.data, n_used.ctypes.data, expected,
                        flags, out.ctypes.data, out_stride)
        if status:
            _runtime.raise_last_error(status)
        return out

    return run


def _make_with_scales(op: Op) -> Callable[..., MXFP8[Array]]:
    """The run of an op whose results are data and scale."""
    native, group = _runtime.calls[op.name], op.format.group
    data_dtype, scale_dtype = _dtypes(op)

    def run(x: Array, permutation_map: Array, n_used: NUsed, scale_layout: ScaleLayout,
            dead_scales: DeadScales, out: Any, expected_rows: int | None,
            programmatic_launch: bool) -> MXFP8[Array]:
        layout, dead = parse_layout(scale_layout), parse_dead(dead_scales)
        expected = parse_expected_rows(expected_rows)
        flags = parse_programmatic_launch(programmatic_launch)
        rows, columns, x_stride = _check_x(x, permutation_map)
        n_used = _as_array(n_used)
        groups = columns // group
        size, scale_stride = scale_bytes(rows, groups, layout), 0
        shape = (rows, groups) if layout else (size,)
        if out is None:
            data, scale = np.empty((rows, columns), data_dtype), np.empty(shape, scale_dtype)
            data_stride = columns
        else:
            data, scale = unpack_out(out, scale_layout)
            _check_output("data", data, data_dtype, (rows, columns))
            _check_output("scale", scale, scale_dtype, shape)
            data_stride = _row_stride("data", data)
            if size and layout:
                scale_stride = _row_stride("scale", scale)
                size = (rows - 1) * scale_stride + groups
            elif size and scale.strides[0] != 1:
                raise ValueError("scale: expected consecutive elements, found a stride of "
                                 f"{scale.strides[0]} bytes")
        status = native(_runtime.CPU, 0, x.ctypes.data, rows, columns, x_stride,
                        permutation_map.ctypes.data, n_used.ctypes.data, expected,
                        flags, data.ctypes.data, data_stride, scale.ctypes.data, size,
                        scale_stride, layout, dead)
        if status:
            _runtime.raise_last_error(status)
        return MXFP8(data, scale, scale_layout, _BF16)

    return run


def _dtypes(op: Op) -> list[np.dtype[Any]]:
    return [np.dtype(getattr(ml_dtypes, output.dtype)) for output in op.format.outputs]


# The ops by name, with the arguments of the public functions, all by position.
RUNS: dict[str, Callable[..., Any]] = {
    op.name: (_make_with_scales if op.format.has_scales else _make)(op) for op in OPS}
