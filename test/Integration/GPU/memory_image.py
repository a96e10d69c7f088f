# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""All operands of a launch in one piece of memory, so that one comparison sees every byte: results,
what is between and around rows, and inputs, which must stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

GUARD_BYTES = 256
ALIGNMENT = 256


@dataclass(frozen=True)
class Region:
    """Where an array is: `offset` in bytes, `strides` in elements. The last dimension has no space
    between elements.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """From the first element to the end of the last."""
        if 0 in self.shape:
            return 0
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        return (last + 1) * self.dtype.itemsize

    def view(self, memory: np.ndarray) -> np.ndarray:
        """The array in the bytes of an image."""
        size = self.dtype.itemsize
        part = memory[self.offset : self.offset + self.nbytes].view(self.dtype)
        return np.lib.stride_tricks.as_strided(part, self.shape,
                                               [stride * size for stride in self.strides])

    def describe(self, byte: int) -> str:
        """The element at a byte of an image that is within the first and the last."""
        at, index = (byte - self.offset) // self.dtype.itemsize, []
        for stride in self.strides:
            index.append(at // stride)
            at %= stride
        is_between = any(i >= size for i, size in zip(index, self.shape))
        return f"{'the space behind ' * is_between}{self.name}{index}"


class Layout:
    """Places arrays one behind another, each between guard zones."""

    def __init__(self) -> None:
        self.regions: dict[str, Region] = {}
        self._end = 0

    @property
    def nbytes(self) -> int:
        return self._end + GUARD_BYTES

    def place(self, name: str, shape: tuple[int, ...], dtype: Any, *, padding: int = 0,
              misalignment: int = 0) -> None:
        """`padding`: elements between rows; `misalignment`: elements past ALIGNMENT."""
        dtype = np.dtype(dtype)
        start = -(-(self._end + GUARD_BYTES) // ALIGNMENT) * ALIGNMENT
        strides = (shape[1] + padding, 1) if len(shape) == 2 else (1,) * len(shape)
        region = Region(name, shape, dtype, start + misalignment * dtype.itemsize, strides)
        self.regions[name] = region
        self._end = region.offset + region.nbytes

    def views(self, memory: np.ndarray) -> dict[str, np.ndarray]:
        return {name: region.view(memory) for name, region in self.regions.items()}

    def random_bytes(self, rng: np.random.Generator) -> np.ndarray:
        """An image without sense."""
        return np.frombuffer(bytearray(rng.bytes(self.nbytes)), np.uint8)

    def compare(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """Fails with how many bytes differ, and what the first ones belong to."""
        if np.array_equal(found, wanted):
            return
        where = np.flatnonzero(found != wanted)
        lines = [f"{self._describe(int(at))} (byte {int(at)}): expected {int(wanted[at]):#04x}, "
                 f"found {int(found[at]):#04x}" for at in where[:3]]
        raise AssertionError(f"{where.size} bytes differ: " + "; ".join(lines))

    def _describe(self, byte: int) -> str:
        before = "the start"
        for region in self.regions.values():
            if byte < region.offset:
                break
            if byte < region.offset + region.nbytes:
                return region.describe(byte)
            before = region.name
        return f"the space after {before}"
