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
from ._modes import DeadScales, ScaleLayout, parse_dead, parse_layout
from ._mxfp8 import MXFP8, unpack_out
from ._op_table import OPS, Op
from ._overlap import Span, are_apart, check_distinct, span
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
    """Elements from a row to the next."""
    rows: int
    columns: int
    rows, columns = matrix.shape
    if rows == 0 or columns == 0:
        return columns
    row, inner = matrix.strides
    size = matrix.itemsize
    if columns > 1 and inner != size:
        raise ValueError(f"{name}: expected consecutive elements in a row, {size} bytes apart, "
                         f"found strides of {matrix.strides} bytes")
    if rows == 1:
        return columns
    if row < columns * size or row % size:
        raise ValueError(f"{name}: expected rows at least {columns * size} bytes apart, a multiple "
                         f"of {size}, found strides of {matrix.strides} bytes")
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


def _matrix_span(name: str, matrix: Array, stride: int) -> Span:
    rows, columns = matrix.shape
    size = matrix.itemsize
    return span(name, matrix.ctypes.data, rows, stride * size, columns * size)


def _check_distinct(outputs: list[Span], x: Array, x_stride: int,
                    permutation_map: Array, n_used: Array) -> None:
    check_distinct(outputs, [
        _matrix_span("x", x, x_stride),
        span("permutation_map", permutation_map.ctypes.data, 1, 0, permutation_map.nbytes),
        span("n_used", n_used.ctypes.data, 1, 0, 4),
    ])


def _make(op: Op) -> Callable[..., Array]:
    """The run of an op without scales."""
    native = _runtime.calls[op.name]
    dtype, = _dtypes(op)
    size = dtype.itemsize

    def run(x: Array, permutation_map: Array, n_used: NUsed, out: Array | None) -> Array:
        rows, columns, x_stride = _check_x(x, permutation_map)
        n_used = _as_array(n_used)
        x_data, map_data = x.ctypes.data, permutation_map.ctypes.data
        n_used_data = n_used.ctypes.data
        if out is None:
            out = np.empty((rows, columns), dtype)
            out_data, out_stride = out.ctypes.data, columns
        else:
            _check_output("out", out, dtype, (rows, columns))
            out_data, out_stride = out.ctypes.data, _row_stride("out", out)
            if not are_apart(out_data, out_data + size * rows * out_stride, x_data,
                             x_data + 2 * rows * x_stride, map_data, rows, n_used_data):
                _check_distinct([_matrix_span("out", out, out_stride)], x, x_stride,
                                permutation_map, n_used)
        status = native(_runtime.CPU, 0, x_data, rows, columns, x_stride, map_data,
                             n_used_data, out_data, out_stride)
        if status:
            _runtime.raise_last_error(status)
        return out

    return run


def _make_with_scales(op: Op) -> Callable[..., MXFP8[Array]]:
    """The run of an op whose results are data and scale."""
    native, group = _runtime.calls[op.name], op.format.group
    data_dtype, scale_dtype = _dtypes(op)

    def run(x: Array, permutation_map: Array, n_used: NUsed, scale_layout: ScaleLayout,
            dead_scales: DeadScales, out: Any) -> MXFP8[Array]:
        layout, dead = parse_layout(scale_layout), parse_dead(dead_scales)
        rows, columns, x_stride = _check_x(x, permutation_map)
        if columns % group:
            raise ValueError(f"x: expected a multiple of {group} columns, found {columns}")
        groups = columns // group
        n_used = _as_array(n_used)
        x_data, map_data = x.ctypes.data, permutation_map.ctypes.data
        n_used_data = n_used.ctypes.data
        size, scale_stride = scale_bytes(rows, groups, layout), 0
        shape = (rows, groups) if layout else (size,)
        if out is None:
            data, scale = np.empty((rows, columns), data_dtype), np.empty(shape, scale_dtype)
            out_data, out_stride, scale_data = data.ctypes.data, columns, scale.ctypes.data
        else:
            data, scale = unpack_out(out, scale_layout)
            _check_output("data", data, data_dtype, (rows, columns))
            _check_output("scale", scale, scale_dtype, shape)
            out_data, out_stride, scale_data = (data.ctypes.data, _row_stride("data", data),
                                                scale.ctypes.data)
            if layout:
                scale_stride = _row_stride("scale", scale)
                if size:
                    size = (rows - 1) * scale_stride + groups
            elif size and scale.strides[0] != 1:
                raise ValueError("scale: expected consecutive elements, found a stride of "
                                 f"{scale.strides[0]} bytes")
            x_end, out_end = x_data + 2 * rows * x_stride, out_data + rows * out_stride
            scale_end = scale_data + size
            if not (are_apart(out_data, out_end, x_data, x_end, map_data, rows, n_used_data)
                    and are_apart(scale_data, scale_end, x_data, x_end, map_data, rows,
                                  n_used_data)
                    and (out_end <= scale_data or scale_end <= out_data)):
                scale_span = (_matrix_span("scale", scale, scale_stride) if layout
                              else span("scale", scale_data, 1, 0, size))
                _check_distinct([_matrix_span("data", data, out_stride), scale_span], x, x_stride,
                                permutation_map, n_used)
        status = native(
            _runtime.CPU, 0, x_data, rows, columns, x_stride, map_data, n_used_data, out_data,
            out_stride, scale_data, size, scale_stride, layout, dead)
        if status:
            _runtime.raise_last_error(status)
        return MXFP8(data, scale, scale_layout, _BF16)

    return run


def _dtypes(op: Op) -> list[np.dtype[Any]]:
    return [np.dtype(getattr(ml_dtypes, output.dtype)) for output in op.format.outputs]


# The ops by name, with the arguments of the public functions, all by position.
RUNS: dict[str, Callable[..., Any]] = {
    op.name: (_make_with_scales if op.format.has_scales else _make)(op) for op in OPS}
