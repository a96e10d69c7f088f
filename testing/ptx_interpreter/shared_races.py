# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Who touched which bytes of shared memory since threads last met there.

Two accesses to a byte by different threads of a cluster, one of them a write, are a race unless a
barrier of the cluster is between them, or of the CTA if both threads are in one, or a bar.warp.sync
if both are in one warp, or both are atomic. Shuffles and votes order no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import RaceError

if TYPE_CHECKING:
    from .machine import Machine

NOBODY, MANY = -1, -2


class _Last:
    """The last access of a kind to each granule: thread, warp, CTA, and how often its CTA and its
    warp had met before, and the thread arrived at the barrier of its cluster. Of several that are
    not ordered, MANY, and the most arrivals.
    """

    def __init__(self, size: int):
        self.thread, self.warp, self.cta = np.full((3, size), NOBODY, np.int32)
        self.meetings, self.warp_meetings, self.arrivals = np.zeros((3, size), np.int32)
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
        cta = np.repeat(m.cta_of[m.sel], per).astype(np.int32)
        meetings = self.meetings[cta]
        arrivals, known = m.clusters.arrived[me], m.clusters.known[me]
        warp_meetings = self.warp_meetings[warp]

        def concurrent(last: _Last) -> np.ndarray:
            is_other = (last.thread[at] != NOBODY) & (last.thread[at] != me)
            is_behind_warp = (last.warp[at] == warp) & (last.warp_meetings[at] < warp_meetings)
            is_behind_cta = (last.cta[at] == cta) & (last.meetings[at] < meetings)
            is_behind_cluster = m.clusters.are_behind(last.arrivals[at], known)
            return is_other & ~(is_behind_warp | is_behind_cta | is_behind_cluster)

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
        last.cta[at] = np.where(joins & (last.cta[at] != cta), MANY, cta)
        last.arrivals[at] = np.where(joins, np.maximum(last.arrivals[at], arrivals), arrivals)
        last.meetings[at], last.warp_meetings[at] = meetings, warp_meetings
        last.is_atomic[at] = kind == "atomic"
        # Threads of this very instruction that share a byte.
        lost = (last.thread[at] != me) & (last.thread[at] != MANY)
        if not lost.any():
            return
        if kind == "store":
            report(lost, "bytes written by another thread")
        last.warp[at[lost & (last.warp[at] != warp)]] = MANY
        last.cta[at[lost & (last.cta[at] != cta)]] = MANY
        last.thread[at[lost]] = MANY

    def _report(self, position: int, what: str) -> None:
        self.machine.fault(f"data race in shared memory: {what}, with no barrier between",
                           position, None, RaceError)
