# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe_mlir on NumPy arrays: which strides are taken, and where one operand ends and the next begins."""

from __future__ import annotations

import moe_mlir
import numpy as np
import pytest
from moe_testing import oracle
from moe_testing.oracle import bfloat16, float8_e4m3fn, float8_e8m0fnu
from numpy.lib.stride_tricks import as_strided

ROWS, COLUMNS = 4, 64
MAP = np.zeros(ROWS, np.int32)
BYTES = 2 * ROWS * COLUMNS


def memory(size: int) -> np.ndarray:
    """Bytes that are bf16 1 wherever they begin at an even address."""
    return np.full(size // 2, 0x3F80, np.uint16).view(np.uint8)


def part(buffer: np.ndarray, offset: int, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """A contiguous array in `buffer`, from byte `offset` on."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return buffer[offset:offset + size].view(dtype).reshape(shape)


@pytest.mark.parametrize("shape, strides", [((1, 64), (1, 2)), ((1, 64), (0, 2)), ((1, 64), (-130, 2)),
                                            ((4, 1), (128, 6)), ((4, 1), (2, 0))])
def test_strides_of_one_row_or_column_do_not_matter(shape: tuple, strides: tuple) -> None:
    x = as_strided(np.full(512, 3, bfloat16), shape, strides)
    out = np.zeros(shape, bfloat16)
    permutation_map = np.zeros(shape[0], np.int32)
    assert (moe_mlir.padded_squared_relu(x, permutation_map, 9, out=out) == bfloat16(9)).all()


@pytest.mark.parametrize("stride, message", [
    (126, "a row_stride of at least the 64 columns, found 63"),
    (-128, "a row_stride of at least the 64 columns, found -64"),
    (129, "rows a multiple of 2 bytes apart"), (131, "rows a multiple of 2 bytes apart")])
def test_row_strides_that_are_refused(stride: int, message: str) -> None:
    x = as_strided(np.zeros(1024, bfloat16)[512:], (ROWS, COLUMNS), (stride, 2))
    with pytest.raises(ValueError, match=f"x: expected {message}"):
        moe_mlir.padded_squared_relu(x, MAP, ROWS)


def test_read_only_view_as_output() -> None:
    out = np.zeros((ROWS, COLUMNS), bfloat16)[:]
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out: expected a writeable array"):
        moe_mlir.padded_squared_relu(np.zeros((ROWS, COLUMNS), bfloat16), MAP, ROWS, out=out)


@pytest.mark.parametrize("offset", [-BYTES + 2, -2, 0, 2, BYTES - 2])
def test_out_over_x(offset: int) -> None:
    buffer = memory(3 * BYTES)
    x = part(buffer, BYTES, bfloat16, (ROWS, COLUMNS))
    out = part(buffer, BYTES + offset, bfloat16, (ROWS, COLUMNS))
    with pytest.raises(ValueError, match="out: expected memory that does not overlap x"):
        moe_mlir.padded_squared_relu(x, MAP, ROWS, out=out)


@pytest.mark.parametrize("offset", [-BYTES, BYTES])
def test_out_beside_x(offset: int) -> None:
    buffer = memory(3 * BYTES)
    x = part(buffer, BYTES, bfloat16, (ROWS, COLUMNS))
    out = part(buffer, BYTES + offset, bfloat16, (ROWS, COLUMNS))
    out[...] = 5
    moe_mlir.padded_squared_relu(x, MAP, ROWS, out=out)
    assert (out == 1).all()


@pytest.mark.parametrize("rows", [4, 64])
@pytest.mark.parametrize("place", ["first", "last"])
def test_out_over_an_end_of_the_map(rows: int, place: str) -> None:
    size = 2 * rows * COLUMNS
    buffer = memory(size + 4 * rows)
    at_map, at_out = (0, 4 * rows - 2) if place == "last" else (size, 2)
    permutation_map = part(buffer, at_map, np.int32, (rows,))
    out = part(buffer, at_out, bfloat16, (rows, COLUMNS))
    with pytest.raises(ValueError, match="out: expected memory that does not overlap permutation_map"):
        moe_mlir.padded_squared_relu(np.zeros((rows, COLUMNS), bfloat16), permutation_map, rows, out=out)


@pytest.mark.parametrize("at_n_used, at_out", [(0, 2), (BYTES, 2)])
def test_out_over_half_of_n_used(at_n_used: int, at_out: int) -> None:
    buffer = memory(2 * BYTES)
    n_used = part(buffer, at_n_used, np.int32, ())
    out = part(buffer, at_out, bfloat16, (ROWS, COLUMNS))
    with pytest.raises(ValueError, match="out: expected memory that does not overlap n_used"):
        moe_mlir.padded_squared_relu(np.zeros((ROWS, COLUMNS), bfloat16), MAP, n_used, out=out)


def test_output_that_ends_where_x_begins_between_its_rows() -> None:
    """The space that a last row would have behind it belongs to nobody."""
    buffer = np.full(1024, 2, bfloat16)
    out = as_strided(buffer, (ROWS, COLUMNS), (192, 2))
    end = 3 * 96 + COLUMNS
    x = buffer[end:end + ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    moe_mlir.padded_squared_relu(x, MAP, ROWS, out=out)
    assert (out == 4).all() and (x == 2).all()


@pytest.mark.parametrize("column", [1, 63, 65, 96, 127])
def test_rows_that_alternate_and_overlap(column: int) -> None:
    buffer = np.zeros(1024, bfloat16)
    out = as_strided(buffer, (ROWS, COLUMNS), (256, 2))
    x = as_strided(buffer[column:], (ROWS, COLUMNS), (256, 2))
    with pytest.raises(ValueError, match="out: expected memory that does not overlap x"):
        moe_mlir.padded_squared_relu(x, MAP, ROWS, out=out)


@pytest.mark.parametrize("offset", [0, BYTES // 2, BYTES - 1])
@pytest.mark.parametrize("layout", ["swizzle_32_4_4", "linear"])
def test_data_and_scale_over_parts_of_x(layout: str, offset: int) -> None:
    buffer = memory(4 * BYTES)
    x = part(buffer, 0, bfloat16, (ROWS, COLUMNS))
    shape = (512,) if layout == "swizzle_32_4_4" else (ROWS, 2)
    apart = np.zeros((ROWS, COLUMNS), float8_e4m3fn), np.zeros(shape, float8_e8m0fnu)
    over = part(buffer, offset, float8_e4m3fn, (ROWS, COLUMNS)), part(buffer, offset, float8_e8m0fnu, shape)
    for data, scale, name in [(over[0], apart[1], "data"), (apart[0], over[1], "scale")]:
        with pytest.raises(ValueError, match=f"{name}: expected memory that does not overlap x"):
            moe_mlir.quantize_mxfp8(x, MAP, ROWS, scale_layout=layout, out=(data, scale))


@pytest.mark.parametrize("offset", [-511, -1, 1, 255])
def test_scale_over_an_end_of_data(offset: int) -> None:
    buffer = np.zeros(2048, np.uint8)
    data = part(buffer, 512, float8_e4m3fn, (ROWS, COLUMNS))
    scale = part(buffer, 512 + offset, float8_e8m0fnu, (512,))
    with pytest.raises(ValueError, match="scale: expected memory that does not overlap data"):
        moe_mlir.quantize_mxfp8(np.zeros((ROWS, COLUMNS), bfloat16), MAP, ROWS, out=(data, scale))


def test_scale_beside_data() -> None:
    x = np.full((ROWS, COLUMNS), 3, bfloat16)
    for at_data, at_scale in [(512, 0), (0, 256)]:
        buffer = np.zeros(1024, np.uint8)
        data = part(buffer, at_data, float8_e4m3fn, (ROWS, COLUMNS))
        scale = part(buffer, at_scale, float8_e8m0fnu, (512,))
        wanted = oracle.quantize_mxfp8(x, MAP, ROWS, data, scale)
        moe_mlir.quantize_mxfp8(x, MAP, ROWS, out=(data, scale))
        assert (oracle.bits(data) == oracle.bits(wanted[0])).all()
        assert (oracle.bits(scale) == oracle.bits(wanted[1])).all()
