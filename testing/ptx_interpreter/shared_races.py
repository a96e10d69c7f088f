# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Who touched which bytes of shared memory since threads last met there.

Two accesses to a byte by different threads of a CTA, one of them a write, are a race unless a
barrier of the CTA is between them, or a bar.warp.sync if both threads are in one warp, or both are
atomic. Shuffles and votes order no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import RaceError

if TYPE_CHECKING:
    from .machine import Machine

NOBODY, MANY = -1, -2


class _Last:
    """The last access of a kind to each granule: thread, warp, and how often its CTA and its warp
    had met before. Of several that are not ordered, MANY.
    """

    def __init__(self, size: int):
        self.thread, self.warp = np.full((2, size), NOBODY, np.int32)
        self.meetings, self.warp_meetings = np.zeros((2, size), np.int32)
        self.is_atomic = np.zeros(size, bool)


class SharedRaces:
    """Of one wave of CTAs."""

    def __init__(self, machine: Machine, granule: int):
        self.machine, self.granule = machine, granule
        size = machine.shared.size // granule
        self.written, self.read = _Last(size), _Last(size)
        self.meetings = np.zeros(machine.ctas, np.int32)
        self.warp_meetings = np.zeros(machine.warps, np.int32)

    def meet(self, ctas: np.ndarray) -> None:
        """Threads of these CTAs (a mask) have met at a barrier."""
        self.meetings[ctas] += 1

    def meet_in_warps(self, warps: np.ndarray) -> None:
        self.warp_meetings[np.unique(warps)] += 1

    def check(self, rows: np.ndarray, width: int, kind: str) -> None:
        """An access of the active threads, to rows of `width` bytes."""
        m = self.machine
        per = width // self.granule
        at = (rows[:, None] * per + np.arange(per)).reshape(-1)
        me = np.repeat(m.idx, per).astype(np.int32)
        warp = np.repeat(m.active_warps(), per).astype(np.int32)
        meetings = self.meetings[np.repeat(m.cta_of[m.sel], per)]
        warp_meetings = self.warp_meetings[warp]

        def concurrent(last: _Last) -> np.ndarray:
            is_other = (last.thread[at] != NOBODY) & (last.thread[at] != me)
            is_behind_warp = (last.warp[at] == warp) & (last.warp_meetings[at] < warp_meetings)
            return is_other & (last.meetings[at] == meetings) & ~is_behind_warp

        def report(bad: np.ndarray, what: str) -> None:
            if bad.any():
                self._report(int(np.flatnonzero(bad)[0]) // per, f"{width}-byte {kind} of {what}")

        written = concurrent(self.written)
        if kind == "atomic":
            written &= ~self.written.is_atomic[at]
        report(written, "bytes written by another thread")
        if kind != "load":
            report(concurrent(self.read), "bytes read by another thread")
        last = self.read if kind == "load" else self.written
        joins = concurrent(last)
        last.thread[at] = np.where(joins, MANY, me)
        last.warp[at] = np.where(joins & (last.warp[at] != warp), MANY, warp)
        last.meetings[at], last.warp_meetings[at] = meetings, warp_meetings
        last.is_atomic[at] = kind == "atomic"
        # Threads of this very instruction that share a byte.
        lost = (last.thread[at] != me) & (last.thread[at] != MANY)
        if not lost.any():
            return
        if kind == "store":
            report(lost, "bytes written by another thread")
        last.warp[at[lost & (last.warp[at] != warp)]] = MANY
        last.thread[at[lost]] = MANY

    def _report(self, position: int, what: str) -> None:
        self.machine.fault(f"data race in shared memory: {what}, with no barrier between",
                           position, None, RaceError)
