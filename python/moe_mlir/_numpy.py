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
from ._options import Variants
from ._scales import scale_bytes

Array = NDArray[Any]

_BF16 = np.dtype(ml_dtypes.bfloat16)
_INT32 = np.dtype(np.int32)
_FLOAT32 = np.dtype(np.float32)

NUsed = Union[int, "np.integer[Any]", Array]


def _check_array(name: str, array: Any, dtype: np.dtype[Any], why: str = " as x is one") -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array{why}, found "
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


def _address(name: str, array: Any, dtype: np.dtype[Any], rows: int) -> int:
    """Of a vector with an element for each row of x."""
    _check_array(name, array, dtype)
    if array.shape != (rows,):
        raise ValueError(f"{name}: expected shape [{rows}], an entry for each row of x, "
                         f"found {list(array.shape)}")
    return _vector_address(name, array)


def _vector_address(name: str, array: Array) -> int:
    """Of elements of 4 bytes."""
    if array.shape[0] > 1 and array.strides[0] != 4:
        raise ValueError(f"{name}: expected consecutive elements, 4 bytes apart, found a "
                         f"stride of {array.strides[0]} bytes")
    address: int = array.ctypes.data
    return address


def _check_x(op: Op, x: Array, permutation_map: Any) -> tuple[int, tuple[int, ...], int]:
    """Rows of the result; address, rows, columns and row stride of x; and the address of the map, 0
    for none.
    """
    _check_array("x", x, _BF16)
    if x.ndim != 2:
        raise ValueError(f"x: expected shape {op.x_shape}, found {list(x.shape)}")
    rows, columns = x.shape
    if columns % op.parts:
        raise ValueError(f"x: expected a multiple of {op.parts} columns, found {columns}")
    if op.gathers:
        rows, map_address = _check_gathering("permutation_map", permutation_map)
    elif permutation_map is not None or op.needs_map:
        map_address = _address("permutation_map", permutation_map, _INT32, rows)
    else:
        map_address = 0
    return rows, (x.ctypes.data, *x.shape, _row_stride("x", x)), map_address


def _check_gathering(name: str, array: Any) -> tuple[int, int]:
    """The size and address of a map that has a size of its own."""
    _check_array(name, array, _INT32)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected shape [R], found {list(array.shape)}")
    return array.shape[0], _vector_address(name, array)


def _check_probs(op: Op, rows: int, probs: Any) -> tuple[int, ...]:
    """The address, 0 for none, if the op takes any."""
    if not op.has_probs:
        return ()
    return (0 if probs is None else _address("probs", probs, _FLOAT32, rows),)


def _as_array(count: Any, name: str = "n_used") -> Array:
    """A count as an array of one int32, which the caller keeps alive."""
    if isinstance(count, np.ndarray):
        if count.dtype != _INT32:
            raise TypeError(f"{name}: expected dtype int32, found {count.dtype}")
        if count.size != 1 or count.ndim > 1:
            raise ValueError(f"{name}: expected shape [] or [1], found {list(count.shape)}")
        return count
    if isinstance(count, (int, np.integer)) and not isinstance(count, bool):
        if not -(2**31) <= count < 2**31:
            raise ValueError(f"{name}: expected a value of 32 bits, found {count}")
        return np.array(count, _INT32)
    raise TypeError(f"{name}: expected an int or a NumPy array of one int32, found "
                    f"{type(count).__module__}.{type(count).__qualname__}")


def _check_output(name: str, array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    _check_array(name, array, dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, found {list(array.shape)}")
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected a writeable array, found a read-only one")


def _make(op: Op) -> Callable[..., Array]:
    """The run of an op without scales."""
    natives = _natives(op)
    dtype, = _dtypes(op)

    def run(x: Array, permutation_map: Array | None, n_used: NUsed, out: Array | None,
            expected_rows: int | None, programmatic_launch: bool, probs: Any,
            *options: Any) -> Array:
        native = natives.get(options)
        expected = parse_expected_rows(expected_rows)
        flags = parse_programmatic_launch(programmatic_launch)
        rows, matrix, map_address = _check_x(op, x, permutation_map)
        n_used, weights = _as_array(n_used), _check_probs(op, rows, probs)
        columns = x.shape[1] // op.parts
        if out is None:
            out, out_stride = np.empty((rows, columns), dtype), columns
        else:
            _check_output("out", out, dtype, (rows, columns))
            out_stride = _row_stride("out", out)
        status = native(_runtime.CPU, 0, expected, flags, *matrix, map_address, n_used.ctypes.data,
                        *weights, out.ctypes.data, rows, columns, out_stride)
        if status:
            _runtime.raise_last_error(status)
        return out

    return run


def _make_with_scales(op: Op) -> Callable[..., MXFP8[Array]]:
    """The run of an op whose results are data and scale."""
    natives, group = _natives(op), op.format.group
    data_dtype, scale_dtype = _dtypes(op)

    def run(x: Array, permutation_map: Array | None, n_used: NUsed, scale_layout: ScaleLayout,
            dead_scales: DeadScales, out: Any, expected_rows: int | None,
            programmatic_launch: bool, probs: Any, *options: Any) -> MXFP8[Array]:
        native = natives.get(options)
        layout, dead = parse_layout(scale_layout), parse_dead(dead_scales)
        expected = parse_expected_rows(expected_rows)
        flags = parse_programmatic_launch(programmatic_launch)
        rows, matrix, map_address = _check_x(op, x, permutation_map)
        n_used, weights = _as_array(n_used), _check_probs(op, rows, probs)
        columns = x.shape[1] // op.parts
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
        status = native(_runtime.CPU, 0, expected, flags, *matrix, map_address, n_used.ctypes.data,
                        *weights, data.ctypes.data, rows, columns, data_stride, scale.ctypes.data,
                        size, scale_stride, layout, dead)
        if status:
            _runtime.raise_last_error(status)
        return MXFP8(data, scale, scale_layout, _BF16)

    return run


def _natives(op: Op) -> Variants[Callable[..., int]]:
    """The calls of the runtime library, by the options after probs."""
    return Variants(op, lambda options: _runtime.make_call(op, options))


def _dtypes(op: Op) -> list[np.dtype[Any]]:
    return [np.dtype(getattr(ml_dtypes, output.dtype)) for output in op.format.outputs]


# The ops by name, with the arguments of the public functions, all by position.
RUNS: dict[str, Callable[..., Any]] = {
    op.name: (_make_with_scales if op.format.has_scales else _make)(op) for op in OPS}
