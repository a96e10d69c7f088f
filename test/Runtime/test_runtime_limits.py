# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The largest sizes that are taken, the smallest that are refused, and strides that mean nothing."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from moe_testing import oracle
from moe_testing import runtime as moe

SQUARED_RELU, FUSED, QUANTIZE = moe.FUNCTIONS
MAX_COLUMNS = 2**31 - 1024


def refuse(call: moe.Call, message: str) -> None:
    with pytest.raises(moe.MoeError) as caught:
        call.run()
    assert str(caught.value).startswith(message)
    assert caught.value.status == moe.INVALID_ARGUMENT


@pytest.mark.parametrize("device", [moe.CPU, moe.CUDA])
@pytest.mark.parametrize("op", moe.FUNCTIONS)
def test_most_columns(op: str, device: int) -> None:
    # Without rows there is nothing to do.
    moe.Call(op, 0, MAX_COLUMNS, device=device).run()
    refuse(moe.Call(op, 0, MAX_COLUMNS + 32, device=device),
           f"x: expected at most {MAX_COLUMNS} columns, found {MAX_COLUMNS + 32}")


@pytest.mark.parametrize("rows, stride, fits", [
    (2**31, 2**31 - 1, True), (2**31, 2**31, False), (2**30, 2**32 - 1, True), (2**32, 2**30, False),
    (2**62, 2, False), (2**61, 2, False),
])
def test_bytes_of_63_bits(rows: int, stride: int, fits: bool) -> None:
    """Elements are of two bytes: half as many of them are too many."""
    call = moe.Call(SQUARED_RELU, rows, 1, x_stride=stride, out_stride=stride, out_rows=1)
    if fits:
        # Found later than an overflow.
        refuse(call, f"out: expected the {rows} x 1 of x, found 1 x 1")
    else:
        refuse(call, f"x: {rows} rows with a row_stride of {stride} overflow a size of 64 bits")


@pytest.mark.parametrize("op, layout", [(SQUARED_RELU, moe.SWIZZLED), (FUSED, moe.SWIZZLED),
                                        (QUANTIZE, moe.LINEAR)])
@pytest.mark.parametrize("stride", [0, 1, -7, 2**62])
def test_stride_of_one_row(op: str, layout: int, stride: int) -> None:
    x = np.full((1, 64), 3, oracle.bfloat16)
    permutation_map, n_used = np.zeros(1, np.int32), np.ones(1, np.int32)
    data = np.zeros((1, 64), oracle.bfloat16 if op == SQUARED_RELU else oracle.float8_e4m3fn)
    scale = np.zeros((1, 2) if layout == moe.LINEAR else 512, oracle.float8_e8m0fnu)
    moe.Call(op, 1, 64, x=x.ctypes.data, permutation_map=permutation_map.ctypes.data,
             n_used=n_used.ctypes.data, out=data.ctypes.data, scale=scale.ctypes.data, x_stride=stride,
             out_stride=stride, scale_stride=stride, scale_bytes=scale.size, layout=layout).run()
    if op == SQUARED_RELU:
        wanted = [oracle.padded_squared_relu(x, permutation_map, 1, data * 0)]
    else:
        name = "linear" if layout == moe.LINEAR else "swizzle_32_4_4"
        wanted = getattr(oracle, op)(x, permutation_map, 1, data, scale, name)
    for found, array in zip([data, scale], wanted):
        assert (oracle.bits(found) == oracle.bits(array)).all()


@pytest.mark.parametrize("address", [0x300_0000_0000_0001, 0x300_0000_0000_0002, 0x300_0000_0000_0003])
@pytest.mark.parametrize("operand", ["permutation_map", "n_used"])
def test_addresses_of_i32(operand: str, address: int) -> None:
    refuse(moe.Call(SQUARED_RELU, 4, 64, **{operand: address}),
           f"{operand}: expected an address that is a multiple of 4")


@pytest.mark.parametrize("image", [b"", b"\x50", b"\x7fELF", b".versio", b"\x50\xed\x55\xba"])
def test_images_that_are_too_short(image: bytes) -> None:
    with pytest.raises(moe.MoeError, match="^image: expected"):
        moe.load_module(image)


def test_image_whose_parts_only_fit_one_by_one() -> None:
    # Of 64 bytes, 60 of content and 16 of header.
    fatbin = (0xBA55ED50).to_bytes(4, "little") + (1).to_bytes(2, "little") + (16).to_bytes(2, "little")
    fatbin += (60).to_bytes(8, "little") + bytes(48)
    with pytest.raises(moe.MoeError, match="^image: expected the 76 bytes of a fatbin, found 64"):
        moe.load_module(fatbin)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_float_environment_is_left_as_it_was(num_threads: int) -> None:
    """fegetround tells of the x87 unit alone, so a sum has to tell of the other."""
    libm = ctypes.CDLL("libm.so.6")
    upward, tiny = 0x800, 2.0**-60
    rows = 300
    x, permutation_map = np.ones((rows, 64), oracle.bfloat16), np.zeros(rows, np.int32)
    n_used, out = np.array(rows, np.int32), np.zeros((rows, 64), oracle.bfloat16)
    call = moe.Call(SQUARED_RELU, rows, 64, x=x.ctypes.data, permutation_map=permutation_map.ctypes.data,
                    n_used=n_used.ctypes.data, out=out.ctypes.data, num_threads=num_threads)
    before = libm.fegetround()
    assert 1.0 + tiny == 1.0
    try:
        assert libm.fesetround(upward) == 0
        was_upward = 1.0 + tiny > 1.0
        call.run()
        is_upward = 1.0 + tiny > 1.0
    finally:
        libm.fesetround(before)
    assert was_upward and is_upward
