# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Device memory: one byte arena that holds every buffer, each between two guard zones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import GuardError, LaunchError

# A plausible device address.  It is far above 2**32 so that a kernel which truncates an address to
# 32 bits leaves the arena at once instead of reaching the right byte by luck.
BASE_ADDRESS = 0x7F0000000000

GUARD_BYTES = 4096
GUARD_PATTERN = 0xFB
POISON_PATTERN = 0xCB


@dataclass
class Buffer:
    """One live allocation.  `address` is what a kernel gets as the pointer."""

    memory: Memory
    start: int  # Offset of the first byte in the arena.
    nbytes: int
    readonly: bool
    tracked: bool  # A read before the first write is an error.
    name: str
    live: bool = True
    guards: tuple[tuple[int, int], ...] = field(default=())

    @property
    def address(self) -> int:
        return BASE_ADDRESS + self.start

    def bytes(self) -> np.ndarray:
        """A copy of the raw bytes."""
        return self.memory.arena[self.start : self.start + self.nbytes].copy()

    def array(self, dtype: Any = np.uint8, shape: Any = None) -> np.ndarray:
        """A copy of the contents as an array of the given type and shape."""
        flat = self.bytes().view(np.dtype(dtype))
        return flat if shape is None else flat.reshape(shape)

    def write(self, values: np.ndarray) -> None:
        """Overwrites the start of the buffer from the host (works on read-only buffers too)."""
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        if raw.size > self.nbytes:
            raise LaunchError(f"{raw.size} bytes do not fit buffer {self.name} of {self.nbytes}")
        self.memory.arena[self.start : self.start + raw.size] = raw
        self.memory.valid[self.start : self.start + raw.size] = 1

    def initialized_mask(self) -> np.ndarray:
        """One bool a byte: has it been written (by the host or by a kernel)?"""
        return self.memory.valid[self.start : self.start + self.nbytes].astype(bool)

    def free(self) -> None:
        """Ends the buffer's life: from now on every access to it is out of bounds."""
        self.live = False
        self.memory.index_buffers()


class Memory:
    """Device global memory.  Survives launches; buffers keep their addresses for ever."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.arena = np.zeros(1 << 16, np.uint8)
        # 1 where a byte has been written.  Kept for all buffers, consulted for the tracked ones.
        self.valid = np.zeros(1 << 16, np.uint8)
        self.used = 0
        # Module-scope variables by module, so that two launches see the same variable.
        self.variables: dict[object, dict[str, Buffer]] = {}
        self.index_buffers()

    def allocate(
        self,
        contents: np.ndarray | int,
        align: int = 256,
        offset: int = 0,
        readonly: bool = False,
        initialized: bool = True,
        name: str | None = None,
    ) -> Buffer:
        """Makes a buffer from an array (copied in) or of a number of bytes (zeroed).

        `offset` moves the first byte that far past a multiple of `align`, to test kernels on
        misaligned bases.  With `initialized=False` the contents are poison whatever `contents`
        is, and a load of a byte that no store has reached yet is an error.
        """
        if align <= 0 or align & (align - 1):
            raise LaunchError(f"alignment {align} is not a power of two")
        if isinstance(contents, (int, np.integer)):
            raw = np.zeros(int(contents), np.uint8)
        else:
            raw = np.ascontiguousarray(contents).reshape(-1).view(np.uint8)
        start = -(-(self.used + GUARD_BYTES) // align) * align + offset
        end = start + raw.size
        self._reserve(end + GUARD_BYTES)
        self.arena[self.used : start] = GUARD_PATTERN
        self.arena[end : end + GUARD_BYTES] = GUARD_PATTERN
        self.arena[start:end] = raw if initialized else POISON_PATTERN
        self.valid[start:end] = 1 if initialized else 0
        buffer = Buffer(
            self,
            start,
            raw.size,
            readonly,
            not initialized,
            name or f"buffer{len(self.buffers)}",
            guards=((self.used, start), (end, end + GUARD_BYTES)),
        )
        self.used = end + GUARD_BYTES
        self.buffers.append(buffer)
        self.index_buffers()
        return buffer

    def check_guards(self) -> None:
        """Raises GuardError unless every byte between the buffers is as it was laid down."""
        for buffer in self.buffers:
            for low, high in buffer.guards:
                wrong = np.flatnonzero(self.arena[low:high] != GUARD_PATTERN)
                if wrong.size:
                    at = low + int(wrong[0]) - buffer.start
                    raise GuardError(
                        f"guard zone of {buffer.name} is overwritten at byte {at} relative to the "
                        f"buffer of {buffer.nbytes} bytes ({wrong.size} bytes in all)"
                    )

    def describe(self, address: int) -> str:
        """Says where an address lies relative to the nearest live buffer."""
        live = [b for b in self.buffers if b.live]
        if not live:
            return f"address {address:#x} (there are no live buffers)"

        def distance(b: Buffer) -> int:
            return max(b.address - address, address - (b.address + b.nbytes - 1), 0)

        near = min(live, key=distance)
        return (
            f"address {address:#x} = {near.name} {address - near.address:+d} "
            f"(buffer at {near.address:#x}, {near.nbytes} bytes)"
        )

    def view(self, dtype: type, count: int) -> np.ndarray:
        """The arena as rows of `count` elements of a type: what an access of that width indexes."""
        return self.arena.view(dtype).reshape(-1, count)

    def index_buffers(self) -> None:
        """Rebuilds the sorted tables which accesses are looked up in."""
        live = [b for b in self.buffers if b.live]
        self.starts = np.array([b.start for b in live], np.uint64)
        self.ends = np.array([b.start + b.nbytes for b in live], np.uint64)
        self.readonly_flags = np.array([b.readonly for b in live], bool)
        self.tracked_flags = np.array([b.tracked for b in live], bool)

    def _reserve(self, nbytes: int) -> None:
        if nbytes <= self.arena.size:
            return
        capacity = -(-max(nbytes, 2 * self.arena.size) // 4096) * 4096
        for which in ("arena", "valid"):
            grown = np.zeros(capacity, np.uint8)
            old = getattr(self, which)
            grown[: old.size] = old
            setattr(self, which, grown)
