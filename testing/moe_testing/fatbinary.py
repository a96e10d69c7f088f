# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The PTX in a fat binary, as `fatbinary --compress-mode=speed` packs it.

A fat binary is a header and images, each with a header of its own whose first bytes are described
by `_IMAGE`. What is compressed is so as blocks of LZ4 are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

# Magic, version, bytes of this header; then how many bytes the images have.
START = struct.pack("<IHH", 0xBA55ED50, 1, 16)
_SIZE = struct.Struct("<Q")
# Kind, version, bytes of the header, bytes that follow; those of them that are compressed; nothing
# known; the compute capability; nothing known; flags; nothing known; bytes once decompressed.
_IMAGE = struct.Struct("<HHIQI8xI8xQ8xQ")
PTX, MACHINE_CODE = 1, 2
_IS_LZ4, _IS_OTHERWISE_COMPRESSED = 0x2000, 0x8000


def decompress(block: bytes, size: int) -> bytes:
    """The `size` bytes that a block of LZ4 stands for."""
    result = bytearray()
    at = 0

    def read_length(nibble: int) -> int:
        nonlocal at
        length, more = nibble, nibble == 15
        while more:
            length += block[at]
            more = block[at] == 255
            at += 1
        return length

    while True:
        token = block[at]
        at += 1
        literals = read_length(token >> 4)
        result += block[at : at + literals]
        at += literals
        if at >= len(block):
            break
        start = len(result) - int.from_bytes(block[at : at + 2], "little")
        at += 2
        length = read_length(token & 15) + 4
        if not 0 <= start < len(result):
            raise ValueError(f"expected a distance into {len(result)} bytes, found one before them")
        # What is copied may go on into what it has made.
        while length > 0:
            part = result[start : start + length]
            result += part
            length -= len(part)
    if len(result) != size:
        raise ValueError(f"expected {size} bytes, found {len(result)}")
    return bytes(result)


class Image(NamedTuple):
    """kind: PTX, or machine code. capability: 90 for sm_90. code: as it is packed."""

    kind: int
    capability: int
    code: bytes
    packed: int
    flags: int
    unpacked: int


def images(data: bytes) -> Iterator[Image]:
    """Those of the fat binary that `data` begins with."""
    at = len(START)
    if data[:at] != START:
        raise ValueError(f"expected a fat binary, found {data[:at]!r}")
    (size,) = _SIZE.unpack_from(data, at)
    at += _SIZE.size
    end = at + size
    while at < end:
        kind, _, header, size, packed, found, flags, unpacked = _IMAGE.unpack_from(data, at)
        yield Image(kind, found, data[at + header : at + header + size], packed, flags, unpacked)
        at += header + size


def read_ptx(data: bytes, capability: int) -> str:
    """Of the fat binary that `data` begins with, the PTX for a compute capability."""
    for image in images(data):
        if (image.kind, image.capability) != (PTX, capability):
            continue
        if image.flags & _IS_OTHERWISE_COMPRESSED:
            raise ValueError("expected images as they are, or compressed by LZ4")
        code = image.code
        if image.flags & _IS_LZ4:
            code = decompress(code[:image.packed], image.unpacked)
        return code.rstrip(b"\0").decode()
    raise ValueError(f"expected PTX for sm_{capability}, found none")
