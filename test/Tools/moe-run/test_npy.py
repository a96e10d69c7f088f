# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What moe-run reads of .npy files, and what it says of those it does not take."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from moe_run import identity


def test_npy_version_2(tool):
    x = np.arange(5, dtype=np.int32)
    with open(tool.folder / "v2.npy", "wb") as file:
        np.lib.format.write_array(file, x, version=(2, 0))
    tool.succeed(identity("memref<5xi32>"), "f", ["v2.npy"], "--save=0=out.npy")
    assert np.array_equal(tool.load("out.npy"), x)
    assert (tool.folder / "out.npy").read_bytes()[6:8] == b"\x01\x00"


# Each message names the argument, what was expected and what was found, and Tool.fail checks that
# there is one line, exit code 1 and no new file.


@pytest.mark.parametrize(
    "type_, array, message",
    [
        (
            "memref<?xbf16>",
            np.zeros(3, np.float32),
            "expected dtype <u2 or |V2 for 'memref<?xbf16>', found <f4",
        ),
        (
            "tensor<?xf8E4M3FN>",
            np.zeros(3, np.int8),
            "expected dtype |u1 or |V1 for 'tensor<?xf8E4M3FN>', found |i1",
        ),
        (
            "memref<?xi32>",
            np.zeros(3, np.int64),
            "expected dtype <i4 for 'memref<?xi32>', found <i8",
        ),
        (
            "memref<?xi32>",
            np.zeros(3, np.uint32),
            "expected dtype <i4 for 'memref<?xi32>', found <u4",
        ),
        (
            "memref<?xi32>",
            np.zeros(3, ">i4"),
            "expected dtype <i4 for 'memref<?xi32>', found >i4",
        ),
        ("i32", np.float32(1), "expected dtype <i4 for 'i32', found <f4"),
        (
            "memref<?x?xi32>",
            np.zeros(3, np.int32),
            "expected rank 2 for 'memref<?x?xi32>', found shape (3,)",
        ),
        (
            "memref<i32>",
            np.zeros(1, np.int32),
            "expected rank 0 for 'memref<i32>', found shape (1,)",
        ),
        (
            "memref<1xi32>",
            np.int32(1),
            "expected rank 1 for 'memref<1xi32>', found shape ()",
        ),
        (
            "f32",
            np.zeros((1, 1), np.float32),
            "expected rank 0 for 'f32', found shape (1, 1)",
        ),
        (
            "tensor<?x64xf32>",
            np.zeros((3, 65), np.float32),
            "expected size 64 in dimension 1 of 'tensor<?x64xf32>', found shape (3, 65)",
        ),
        (
            "memref<?x64xf32, strided<[128, 1]>>",
            np.zeros((3, 64), np.float32),
            "expected stride 128 in dimension 0 of 'memref<?x64xf32, strided<[128, 1]>>', "
            "found a contiguous array with stride 64",
        ),
        (
            "memref<4xf32, strided<[1], offset: 3>>",
            np.zeros(4, np.float32),
            "expected offset 3 of 'memref<4xf32, strided<[1], offset: 3>>', "
            "found a contiguous array with offset 0",
        ),
        (
            "memref<2x2xf32>",
            np.asfortranarray(np.ones((2, 2), np.float32)),
            "expected C order, found Fortran order",
        ),
    ],
)
def test_array_does_not_fit(tool, type_, array, message):
    text = f"func.func @f(%a: i32, %x: {type_}) {{ return }}"
    found = tool.fail(text, "f", [np.int32(0), array], "--save=1=out.npy")
    assert found == f"argument 1 ('arg1.npy'): {message}"


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + data


HEADER = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "expected an .npy file, found other content"),
        (b"PK\x03\x04 something else", "expected an .npy file, found other content"),
        (
            npy(HEADER, bytes(8), b"\x03\x00"),
            "expected version 1.0 or 2.0 of the .npy format, found 3.0",
        ),
        (b"\x93NUMPY\x01\x00v", "expected the length of a header, found the file's end"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "expected a header of 118 bytes, found 8"),
        (npy(HEADER, bytes(7)), "expected 8 bytes of data for shape (2,), found 7"),
        (npy(HEADER, bytes(9)), "expected 8 bytes of data for shape (2,), found 9"),
        (
            npy(HEADER.replace("(2,)", f"({2**62}, 4)")),
            f"expected rank 1 for 'memref<?xi32>', found shape ({2**62}, 4)",
        ),
        (
            npy(HEADER.replace("(2,)", f"({2**62},)")),
            f"expected fewer than 2^63 bytes of data, found shape ({2**62},)",
        ),
        (
            npy(HEADER.replace("<i4", "<i4\x1b[2J\x07")),
            "expected dtype <i4 for 'memref<?xi32>', found <i4\\1B[2J\\07",
        ),
        *(
            (
                npy(header),
                "expected a header with 'descr' (one dtype), 'fortran_order' and 'shape', "
                "found " + header[:100].replace("\v", "\\0B"),
            )
            for header in (
                "{}",
                "nonsense",
                HEADER[:-3],
                HEADER + "}",
                HEADER.replace("'shape': (2,), ", ""),
                HEADER.replace("(2,)", "(-2,)"),
                HEADER.replace("(2,)", "(x,)"),
                HEADER.replace("(2,)", f"({2**64},)"),
                HEADER.replace("(2,)", "2"),
                HEADER.replace("False", "0"),
                HEADER.replace("'<i4'", "[('a', '<i4')]"),
                HEADER.replace("'<i4'", "'<i4"),
                HEADER.replace("descr", "dtype"),
                HEADER.replace("(2,)", "(2)"),
                HEADER.replace("(2,)", "(02,)"),
                HEADER.replace("(2,)", "(,)"),
                HEADER.replace("{", "{'shape': (2,), "),
                HEADER.replace("{", "{'descr': '<i4', "),
                HEADER.replace(": False", ":\vFalse"),
                HEADER.replace("(2,)", f"({'1, ' * 65})"),
            )
        ),
    ],
)
def test_malformed_npy(tool, content, message):
    (tool.folder / "bad.npy").write_bytes(content)
    found = tool.fail(identity("memref<?xi32>"), "f", ["bad.npy"], "--save=0=out.npy")
    assert found == f"argument 0 ('bad.npy'): {message}"


def test_sizes_beside_a_zero(tool):
    """There is nothing in such an array, but its strides have to be numbers."""
    header = HEADER.replace("(2,)", f"(0, {2**61}, 4)")
    (tool.folder / "x.npy").write_bytes(npy(header))
    found = tool.fail(identity("memref<?x?x?xi32>"), "f", ["x.npy"])
    assert found == ("argument 0 ('x.npy'): expected fewer than 2^63 bytes of data, found shape "
                     f"(0, {2**61}, 4)")
    header = HEADER.replace("(2,)", f"(0, {2**58}, 4)")
    (tool.folder / "x.npy").write_bytes(npy(header))
    tool.succeed(identity("memref<?x?x?xi32>"), "f", ["x.npy"], "--save=0=out.npy")
    assert tool.load("out.npy").shape == (0, 2**58, 4)


def test_bytes_of_booleans(tool):
    """To NumPy each byte but 0 is true."""
    text = """
    func.func @f(%x: memref<4xi1>, %a: i1) -> (i1, i1) {
      %c1 = arith.constant 1 : index
      %true = arith.constant true
      %b = memref.load %x[%c1] : memref<4xi1>
      %0 = arith.xori %a, %true : i1
      %1 = arith.xori %b, %true : i1
      return %0, %1 : i1, i1
    }"""
    x = np.array([0, 2, 255, 1], np.uint8).view(np.bool_)
    saves = ["--save=0=x.npy", "--save=r0=0.npy", "--save=r1=1.npy"]
    tool.succeed(text, "f", [x, x[1]], *saves)
    assert (tool.folder / "x.npy").read_bytes()[-4:] == b"\0\1\1\1"
    assert [tool.load(f"{i}.npy").view(np.uint8).item() for i in range(2)] == [0, 0]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "."])
def test_what_is_no_file(tool, path):
    found = tool.fail(identity("memref<?xi32>"), "f", [path])
    assert found == f"argument 0 ('{path}'): expected a regular file or a pipe, found something else"


def test_pipe(tool):
    tool.save("x.npy", np.arange(3, dtype=np.int32))
    tool.launcher = ["sh", "-c", 'cat x.npy | "$@"', "sh"]
    tool.succeed(identity("memref<?xi32>"), "f", ["/dev/stdin"], "--save=0=out.npy")
    assert tool.load("out.npy").tolist() == [0, 1, 2]
