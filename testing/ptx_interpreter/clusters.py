# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Clusters of CTAs: who has arrived at the barrier of a cluster, and whose shared memory others may
still read.

A thread that has waited for the n-th barrier comes after all that the threads of its cluster did
before they arrived at it for the n-th time, unless one of them arrived .relaxed: then what it read it
has read, but no more is known. CTAs of a cluster have neighbouring numbers: clusters
extend along x alone. Without clusters, a CTA is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import ConvergenceError, ExecutionError

if TYPE_CHECKING:
    from .machine import Machine
    from .program import Block

# In an address in shared::cluster, above the offset: the rank of the CTA and one, or 0 for the CTA
# that executes.
RANK_SHIFT = 24


class Clusters:
    """Of one wave of CTAs, which has whole clusters."""

    def __init__(self, machine: Machine, size: int):
        self.machine, self.size = machine, size
        n = machine.threads
        self.of_cta = np.arange(machine.ctas) // size
        # Of each thread: how often it has arrived and waited, and whether it has not exited; and
        # of which barriers it knows, as it has waited itself or met a thread that has.
        self.arrived, self.waited, self.known = np.zeros((3, n), np.int32)
        self.is_live = np.ones(n, bool)
        self.waiting: list[tuple[np.ndarray, Block]] = []
        # Of each barrier, from the first on, which is 1: whether someone arrived .relaxed.
        self.is_relaxed = np.zeros(2, bool)
        # Of each CTA: which barrier comes after all accesses of other CTAs to its shared memory.
        self.needed = np.zeros(machine.ctas, np.int32)

    def of(self, threads: np.ndarray) -> np.ndarray:
        return self.of_cta[self.machine.cta_of[threads]]

    def rank(self) -> np.ndarray:
        """Of each thread's CTA in its cluster."""
        return self.machine.cta_of % self.size

    def meet(self, ctas: np.ndarray) -> None:
        """The threads of these CTAs (a mask) have met, so that each knows what any of them did."""
        known = np.zeros(self.machine.ctas, np.int32)
        np.maximum.at(known, self.machine.cta_of, self.known)
        self.known = np.where(ctas[self.machine.cta_of], known[self.machine.cta_of], self.known)

    def are_behind(self, arrivals: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Whether who knows of so many barriers comes after what was done after so many arrivals."""
        next_orders = ~self.is_relaxed[np.minimum(arrivals + 1, self.is_relaxed.size - 1)]
        return (arrivals < known) & (next_orders | (arrivals + 1 < known))

    def arrive(self, aligned: bool, relaxed: bool) -> None:
        m = self.machine
        if aligned:
            self.check_aligned()
        twice = self.arrived[m.idx] != self.waited[m.idx]
        if twice.any():
            m.fault("arrives at the barrier of the cluster again without having waited for it",
                    int(np.argmax(twice)), None, ConvergenceError)
        self.arrived[m.idx] += 1
        latest = int(self.arrived[m.idx].max())
        if latest + 1 >= self.is_relaxed.size:
            self.is_relaxed = np.append(self.is_relaxed, np.zeros(latest + 1, bool))
        self.is_relaxed[self.arrived[m.idx]] |= relaxed
        self.release()

    def wait(self, block: Block, aligned: bool) -> None:
        m = self.machine
        if aligned:
            self.check_aligned()
        early = self.arrived[m.idx] == self.waited[m.idx]
        if early.any():
            m.fault("waits for the barrier of the cluster without having arrived at it",
                    int(np.argmax(early)), None, ConvergenceError)
        self.waiting.append((m.idx, block))
        self.release()

    def check_aligned(self) -> None:
        """Under .aligned all threads of a warp that have not exited execute the instruction."""
        m = self.machine
        warps = m.active_warps()
        absent = ~m.lane_bits()[warps] & ~m.gone[warps]
        if absent.any():
            m.fault("threads of the warp do not execute this .aligned instruction together",
                    int(np.argmax(absent != 0)), None, ConvergenceError)

    def release(self) -> None:
        """Lets the threads go on for whose barrier all of their cluster have arrived."""
        if not self.waiting:
            return
        m = self.machine
        threads = np.flatnonzero(self.is_live)
        complete = np.full(self.of_cta[-1] + 1, np.iinfo(np.int32).max, np.int32)
        np.minimum.at(complete, self.of(threads), self.arrived[threads])
        still = []
        for idx, block in self.waiting:
            go = complete[self.of(idx)] > self.waited[idx]
            passed = idx[go]
            if passed.size:
                self.waited[passed] += 1
                self.known[passed] = np.maximum(self.known[passed], self.waited[passed])
                m.push(block.next, passed)
            if not go.all():
                still.append((idx[~go], block))
        self.waiting = still

    def exit(self, idx: np.ndarray) -> None:
        """These threads do, whom the machine has already counted as gone."""
        m = self.machine
        self.is_live[idx] = False
        for cta in np.unique(m.cta_of[idx]):
            if m.live[cta] == 0 and self.needed[cta] > self.known[m.cta_of == cta].max():
                last = idx[m.cta_of[idx] == cta][-1]
                m.fault("the CTA ends while another one of its cluster may still access its "
                        "shared memory, with no barrier of the cluster between", None, None,
                        ExecutionError, thread=int(last))
        self.release()

    def find(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The offsets of addresses in shared::cluster, and the CTA in whose memory each is."""
        m = self.machine
        rank = (at >> np.uint64(RANK_SHIFT)).astype(np.int64) - 1
        own = m.cta_of[m.sel]
        bad = rank >= self.size
        if bad.any():
            p = int(np.argmax(bad))
            m.fault(f"access to shared memory of CTA {int(rank[p])} of a cluster of {self.size}", p,
                    int(at[p]))
        target = np.where(rank < 0, own, own - own % self.size + rank)
        ended = m.live[target] == 0
        if ended.any():
            p = int(np.argmax(ended))
            m.fault("access to shared memory of a CTA that has ended", p, int(at[p]))
        remote = target != own
        np.maximum.at(self.needed, target[remote], self.arrived[m.idx[remote]] + 1)
        return at & np.uint64((1 << RANK_SHIFT) - 1), target

    def report_deadlock(self) -> None:
        for idx, block in self.waiting:
            self.machine.instruction = block.control
            self.machine.fault(
                "deadlock: the thread waits for the barrier of its cluster, at which others never "
                "arrive", None, None, ConvergenceError, thread=int(idx[0]))
