# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Wrong arguments: each has its own message, which says what was expected and what was found."""

from __future__ import annotations

import ctypes
import threading
from ctypes import byref

import pytest
from moe_testing import runtime as moe

SQUARED_RELU, FUSED, QUANTIZE = moe.FUNCTIONS
MAX = 2**63 - 1

# Changes of a good call of 64 rows and 96 columns, and the message. The addresses are not
# dereferenced: all of it is found before.
ANY_OP = [
    ({"x": None}, "x: expected a buffer, found a null pointer"),
    ({"permutation_map": None}, "permutation_map: expected a buffer, found a null pointer"),
    ({"n_used": None}, "n_used: expected a buffer, found a null pointer"),
    ({"x": 0x10001}, "x: expected an address that is a multiple of 2, as its elements are, "
                     "found 0x10001"),
    ({"permutation_map": 0x10002}, "permutation_map: expected an address that is a multiple of 4"),
    ({"n_used": 0x10001}, "n_used: expected an address that is a multiple of 4"),
    ({"x": 2**64 - 2}, "x: expected a buffer below the last address, found one of 12288 bytes at "
                       "0xfffffffffffffffe"),
    ({"permutation_map": 2**64 - 4}, "permutation_map: expected a buffer below the last address"),
    ({"rows": -1}, "x: expected sizes that are not negative, found -1 x 96"),
    ({"columns": -32}, "x: expected sizes that are not negative, found 64 x -32"),
    ({"x_stride": 95}, "x: expected a row_stride of at least the 96 columns, found 95"),
    ({"x_stride": -96}, "x: expected a row_stride of at least the 96 columns, found -96"),
    ({"rows": 2**57}, "x: 144115188075855872 rows with a row_stride of 96 overflow"),
    # Overflows as bytes alone: 2^62 elements.
    ({"rows": 2**31, "x_stride": 2**31}, "x: 2147483648 rows with a row_stride of 2147483648 "
                                         "overflow a size of 64 bits"),
    ({"x_stride": MAX}, f"x: 64 rows with a row_stride of {MAX} overflow a size of 64 bits"),
    ({"columns": 2**31}, "x: expected at most 2147482624 columns, found 2147483648"),
    ({"device": 2}, "device: expected MOE_CPU or MOE_CUDA, found 2"),
    ({"flags": 4}, "flags: expected MOE_PROGRAMMATIC_LAUNCH and MOE_VALIDATE_POINTERS alone, "
                   "found 0x4"),
    ({"module": 0x1000}, "module: expected null for the CPU"),
    ({"num_threads": -1}, "num_threads: expected 0 or a number of threads, found -1"),
]
OUT = [
    ({"out": None}, "out: expected a buffer, found a null pointer"),
    ({"out": 0x10001}, "out: expected an address that is a multiple of 2"),
    ({"out_rows": 65}, "out: expected the 64 x 96 of x, found 65 x 96"),
    ({"out_columns": 95}, "out: expected the 64 x 96 of x, found 64 x 95"),
    ({"out_stride": 90}, "out: expected a row_stride of at least the 96 columns, found 90"),
    ({"rows": 2**31, "out_stride": 2**31}, "out: 2147483648 rows with a row_stride of 2147483648 "
                                           "overflow a size of 64 bits"),
    ({"out": moe.Call.x}, "out: expected memory that does not overlap x, found 0x100000000000000 "
                          "to 0x100000000003000 and 0x100000000000000 to "),
    ({"out": moe.Call.n_used}, "out: expected memory that does not overlap n_used"),
]
DATA = [
    ({"out": None}, "data: expected a buffer, found a null pointer"),
    ({"scale": None}, "scale: expected a buffer, found a null pointer"),
    ({"columns": 100, "scale_bytes": 512}, "x: expected a multiple of 32 columns, found 100"),
    ({"out_columns": 64}, "data: expected the 64 x 96 of x, found 64 x 64"),
    ({"scale_bytes": 513}, "scale: expected a size of 512 bytes for the swizzled scales of "
                           "64 x 96, found 513"),
    ({"layout": moe.LINEAR, "scale_bytes": 512},
     "scale: expected a size of 192 bytes for the linear scales of 64 x 96, found 512"),
    ({"layout": moe.LINEAR, "scale_stride": 4, "scale_bytes": 256},
     "scale: expected a size of 255 bytes"),
    ({"layout": moe.LINEAR, "scale_stride": 2}, "scale: expected a row_stride of at least K / 32 = "
                                                "3, found 2"),
    ({"layout": moe.LINEAR, "scale_stride": MAX, "scale_bytes": 192},
     f"scale: 64 rows with a row_stride of {MAX} overflow"),
    ({"layout": 2, "scale_bytes": 512}, "scale layout: expected MOE_SCALE_SWIZZLE_32_4_4 or "
                                        "MOE_SCALE_LINEAR, found 2"),
    ({"dead": 2}, "scale: expected dead to be MOE_DEAD_ZERO or MOE_DEAD_UNTOUCHED, found 2"),
    ({"out": moe.Call.x}, "data: expected memory that does not overlap x"),
    ({"scale": moe.Call.out}, "scale: expected memory that does not overlap data"),
    ({"scale": moe.Call.permutation_map}, "scale: expected memory that does not overlap "
                                          "permutation_map"),
]
CASES = [(op, *case) for op in moe.FUNCTIONS for case in ANY_OP]
CASES += [(SQUARED_RELU, *case) for case in OUT]
CASES += [(op, *case) for op in (FUSED, QUANTIZE) for case in DATA]


@pytest.mark.parametrize(("op", "changes", "message"), CASES)
def test_message(op: str, changes: dict, message: str) -> None:
    launch = moe.Call(op, 64, 96, scale_bytes=changes.get("scale_bytes"))
    if launch.scale_bytes is None and changes.get("layout", 0) == moe.SWIZZLED:
        launch = launch.with_(scale_bytes=512)
    with pytest.raises(moe.MoeError) as caught:
        launch.with_(**changes).run()
    assert str(caught.value).startswith(message)
    assert caught.value.status == moe.INVALID_ARGUMENT


@pytest.mark.parametrize("op", moe.FUNCTIONS)
def test_null_descriptions(op: str) -> None:
    quantizing = op != SQUARED_RELU
    names = ["launch", "x", None, None, "data" if quantizing else "out"] + ["scale"] * quantizing
    good = [byref(moe.Launch()), byref(moe.Matrix()), None, None, byref(moe.Matrix())]
    good += [byref(moe.Scale())] * quantizing
    assert moe.FUNCTIONS[op](*good) == moe.SUCCESS
    for index, name in enumerate(names):
        if name:
            arguments = good[:index] + [None] + good[index + 1:]
            with pytest.raises(moe.MoeError, match=f"^{name}: expected .*, found (a )?null"):
                moe.check(moe.FUNCTIONS[op](*arguments))


def test_messages_of_other_calls() -> None:
    def expect(status: int, message: str) -> None:
        assert status == moe.INVALID_ARGUMENT
        assert moe.library.moeGetLastError().decode() == message

    module = ctypes.c_void_p()
    expect(moe.library.moeLoadKernels(7), "device: expected MOE_CPU or MOE_CUDA, found 7")
    expect(moe.library.moeLoadModule(None, 4, byref(module)),
           "image: expected a pointer, found null")
    expect(moe.library.moeLoadModule(b"", 0, None), "module: expected a pointer, found null")
    null_bytes = "bytes: expected a pointer, found null"
    expect(moe.library.moeGetScaleSize(1, 32, 0, None), null_bytes)
    # A call that succeeds leaves the message.
    assert moe.scale_size(1, 32) == 512
    assert moe.library.moeGetLastError().decode() == null_bytes


@pytest.mark.parametrize("op", moe.FUNCTIONS)
def test_operands_of_an_op_by_name(op: str) -> None:
    found = moe.find_op(op)
    names = ["x", "permutation_map", "n_used", *(["out"] if op == SQUARED_RELU
                                                 else ["data", "scale"])]
    operands: list = [byref(moe.Matrix()), None, None, byref(moe.Matrix()), byref(moe.Scale())]
    launch, count = byref(moe.Launch()), len(names)
    assert moe.run_op(launch, found, *operands[:count]) == moe.SUCCESS

    def expect(message: str, *arguments: object) -> None:
        assert moe.library.moeRunOp(*arguments) == moe.INVALID_ARGUMENT
        assert moe.library.moeGetLastError().decode() == message

    for wrong in (0, count - 1, count + 1, -1):
        expect(f"num_operands: expected the {count} of {op} ({', '.join(names)}), found {wrong}",
               launch, found, (ctypes.c_void_p * 6)(), wrong)
    expect("op: expected a pointer, found null", launch, None, (ctypes.c_void_p * count)(), count)
    expect("operands: expected a pointer, found null", launch, found, None, count)
    # What the op's own function checks.
    assert moe.run_op(None, found, *operands[:count]) == moe.INVALID_ARGUMENT
    assert moe.library.moeGetLastError() == b"launch: expected a pointer, found null"
    assert moe.run_op(launch, found, None, *operands[1:count]) == moe.INVALID_ARGUMENT
    assert moe.library.moeGetLastError().startswith(b"x: expected a description of the operand")
    with pytest.raises(moe.MoeError, match="^x: expected a buffer, found a null pointer$"):
        moe.Call(op, 64, 96, x=None, by_name=True).run()


def test_names_of_ops() -> None:
    known = ", ".join([*moe.FUNCTIONS, *moe.GATED_FUNCTIONS, "permute_tokens",
                       "permute_quantize_mxfp8", "route_tokens", "unpermute_tokens"])
    for wrong in ("gelu", "", "moe.quantize_mxfp8", "quantize_mxfp", "quantize_mxfp8_linear",
                  "n" * 5000):
        with pytest.raises(moe.MoeError) as caught:
            moe.find_op(wrong)
        assert caught.value.status == moe.INVALID_ARGUMENT
        message = f"name: expected an op of the library ({known}), found {wrong}"
        assert str(caught.value) == message[:2047]
    op = ctypes.c_void_p(5)
    for arguments, name in (((None, byref(op)), "name"), ((b"quantize_mxfp8", None), "op")):
        assert moe.library.moeFindOp(*arguments) == moe.INVALID_ARGUMENT
        assert (moe.library.moeGetLastError().decode()
                == f"{name}: expected a pointer, found null")
    # Nothing is written where nothing is found.
    assert moe.library.moeFindOp(b"gelu", byref(op)) == moe.INVALID_ARGUMENT and op.value == 5


def test_messages_are_of_a_thread() -> None:
    assert moe.library.moeLoadKernels(7) == moe.INVALID_ARGUMENT
    messages = []
    other = threading.Thread(target=lambda: messages.append(moe.library.moeGetLastError()))
    other.start()
    other.join()
    assert messages == [b""]


def test_scale_size() -> None:
    assert moe.scale_size(0, 1024) == 0
    assert moe.scale_size(0, 2**61) == 0
    assert moe.scale_size(1, 32) == 512
    assert moe.scale_size(129, 160) == 2 * 2 * 512
    assert moe.scale_size(129, 160, moe.LINEAR) == 129 * 5
    # More than 32 bits.
    assert moe.scale_size(2**31, 14336) == 2**31 // 128 * 112 * 512
    assert moe.scale_size(MAX, 32, moe.LINEAR) == MAX
    for arguments, message in [
        ((-1, 32), "expected sizes that are not negative, found M = -1 and K = 32"),
        ((1, -32), "expected sizes that are not negative, found M = 1 and K = -32"),
        ((1, 33), "expected K to be a multiple of 32, found 33"),
        ((1, 32, 5), "scale layout: expected"),
        # The bytes of a row tile alone.
        ((1, 2**61), f"the scales of 1 x {2**61} overflow a size of 64 bits"),
        ((MAX, 128), f"the scales of {MAX} x 128 overflow a size of 64 bits"),
        ((MAX, 2**62, moe.LINEAR), "the scales of .* overflow a size of 64 bits"),
        ((2**62, 2**62), "the scales of .* overflow a size of 64 bits"),
    ]:
        with pytest.raises(moe.MoeError, match=message):
            moe.scale_size(*arguments)


# Operands that share bytes, or do not. Nothing is launched: a wrong number of CTAs is found after
# the operands are.

BASE = 0x700_0000_0000_0000


def is_apart(op: str, rows: int, columns: int, **changes: object) -> str:
    """Which output is refused for which other operand; "" if none is."""
    launch = moe.Call(op, rows, columns, device=moe.CUDA, num_ctas=-1, **changes)
    with pytest.raises(moe.MoeError) as caught:
        launch.run()
    assert caught.value.status == moe.INVALID_ARGUMENT
    message = str(caught.value)
    if message.startswith("num_ctas:"):
        return ""
    output, text, other = message.partition(": expected memory that does not overlap ")
    assert text, message
    return f"{output} {other.partition(',')[0]}"


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("offset", [0, 2, 190, 192, 194, 382, 384])
def test_neighbours(rows: int, offset: int) -> None:
    """Contiguous operands, one behind the other or over its end."""
    size = 192 * rows
    expected = "out x" if offset < size else ""
    assert is_apart(SQUARED_RELU, rows, 96, x=BASE, out=BASE + offset) == expected
    assert is_apart(SQUARED_RELU, rows, 96, x=BASE + offset, out=BASE) == expected


@pytest.mark.parametrize("other, size", [("permutation_map", 12), ("n_used", 4)])
def test_ends_of_vectors(other: str, size: int) -> None:
    for offset in range(-8, 16, 2):
        overlaps = -2 * 3 * 96 < offset < size
        found = is_apart(SQUARED_RELU, 3, 96, out=BASE + offset, **{other: BASE})
        assert found == (f"out {other}" if overlaps else "")


def _bytes(begin: int, rows: int, stride: int, width: int) -> set[int]:
    return {begin + row * stride + i for row in range(rows) for i in range(width)}


def test_rows_between_each_other() -> None:
    """All distances of few short rows, against sets of their bytes."""
    rows, width, stride = 3, 6, 24
    for offset in range(-80, 81, 2):
        shared = (_bytes(0, rows, stride, width) & _bytes(offset, rows, stride, width))
        found = is_apart(SQUARED_RELU, rows, width // 2, x=BASE, x_stride=stride // 2,
                         out=BASE + offset, out_stride=stride // 2)
        assert found == ("out x" if shared else ""), offset
        # One value in the space between rows.
        shared = _bytes(0, rows, stride, width) & _bytes(offset // 4 * 4, 1, 0, 4)
        found = is_apart(SQUARED_RELU, rows, width // 2, out=BASE, out_stride=stride // 2,
                         n_used=BASE + offset // 4 * 4)
        assert found == ("out n_used" if shared else ""), offset


def test_rows_of_different_strides() -> None:
    """Refused where they might lie between each other, as the reference says."""
    def find(offset: int) -> str:
        return is_apart(SQUARED_RELU, 3, 2, x=BASE, x_stride=16, out=BASE + offset, out_stride=32)

    # x from 0 to 68, out from the offset on, 132 bytes.
    assert [offset for offset in range(-140, 80, 4) if not find(offset)] == [
        -140, -136, -132, 68, 72, 76]


@pytest.mark.parametrize("op", [FUSED, QUANTIZE])
def test_data_and_scales_in_one_buffer(op: str) -> None:
    """x, data and linear scales as the parts of rows of 256 bytes."""
    def find(data: int, scale: int) -> str:
        return is_apart(op, 4, 64, x=BASE, x_stride=128, out=BASE + data, out_stride=256,
                        scale=BASE + scale, scale_stride=256, layout=moe.LINEAR)

    assert find(128, 192) == find(192, 128) == find(128, 254) == ""
    assert find(127, 192) == "data x"
    assert find(193, 128) == "data x"
    assert find(128, 191) == "scale data"
    assert find(128, 255) == "scale x"
    assert find(128, 127) == "scale x"
    # Swizzled scales are all of one piece.
    assert is_apart(op, 4, 64, x=BASE, out=BASE + 512, scale=BASE + 768) == ""
    assert is_apart(op, 4, 64, x=BASE, out=BASE + 512, scale=BASE + 767) == "scale data"
    assert is_apart(op, 4, 64, x=BASE + 512, out=BASE, scale=BASE + 1) == "scale x"
