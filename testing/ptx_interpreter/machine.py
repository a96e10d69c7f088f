# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The machine: runs one wave of CTAs of a decoded kernel, all threads together.

Threads are numbered CTA after CTA, and every register is an array over them.  The scheduler always
runs the threads that wait at the lowest program counter, one basic block at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .clusters import Clusters
from .counters import Counters
from .decoder import STORAGE, Reader, Writer
from .errors import (
    ConvergenceError,
    ExecutionError,
    MisalignedError,
    OutOfBoundsError,
    PTXError,
    RaceError,
    ReadOnlyError,
    RunawayError,
    TrapError,
    UninitializedError,
)
from .memory import BASE_ADDRESS, Memory
from .parser import Instruction
from .program import Block, Program
from .shared_races import SharedRaces
from .sync_ops import ClusterBarrier, CtaBarrier, WarpSync

# Registers and shared memory start with this in every byte: reading it first shows.
POISON = 0xA5


class Tracker:
    """Who touched which global bytes during one launch, at the granularity of the kernel."""

    MANY = np.int32(-1)

    def __init__(self, memory: Memory, program: Program, detect_races: bool):
        self.granule = program.granule
        size = memory.arena.size // self.granule
        self.races = detect_races
        # Thread number plus one; 0 for nobody.  zeros() costs no memory until it is touched.
        self.writer = np.zeros(size if detect_races else 0, np.int32)
        self.reader = np.zeros(size if detect_races else 0, np.int32)
        self.has_writers = False
        self.noncoherent = program.noncoherent
        self.written = np.zeros(size if self.noncoherent else 0, bool)
        self.nc_read = np.zeros(size if self.noncoherent else 0, bool)


class Narrowed:
    """Context in which only some of the active threads execute."""

    def __init__(self, machine: Machine, mask: np.ndarray):
        self.machine, self.mask = machine, mask

    def __enter__(self) -> None:
        m = self.machine
        self.saved = (m.sel, m.n, m.idx)
        m.select(m.idx[self.mask])

    def __exit__(self, *_: object) -> None:
        m = self.machine
        m.sel, m.n, m.idx = self.saved


class Machine:
    """State of one wave: CTAs first_cta .. first_cta + ctas of the grid."""

    def __init__(
        self,
        program: Program,
        memory: Memory,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        first_cta: int,
        ctas: int,
        cluster: int,
        params: np.ndarray,
        shared_bytes: tuple[int, int],  # static, dynamic
        local_bytes: int,
        variables: dict[str, int],
        tracker: Tracker,
        counters: Counters,
        limit: int | None,
    ):
        self.program, self.kernel, self.memory = program, program.kernel, memory
        self.grid, self.block, self.first_cta, self.ctas = grid, block, first_cta, ctas
        self.tracker, self.counters, self.limit = tracker, counters, limit
        self.variables = variables
        size = block[0] * block[1] * block[2]
        self.cta_threads = size
        self.threads = n = ctas * size
        linear = np.tile(np.arange(size), ctas)
        self.cta_of = np.repeat(np.arange(ctas), size)
        self.lane_of = linear & 31
        warps_per_cta = -(-size // 32)
        self.warps = ctas * warps_per_cta
        self.warp_of = self.cta_of * warps_per_cta + (linear >> 5)
        self.slot_of = self.warp_of * 32 + self.lane_of
        self.linear = linear
        self.clusters = Clusters(self, cluster)
        self.specials: dict[str, np.ndarray] = {}
        self.all = np.arange(n)
        self.regs = [self._register(bits) for bits in self.kernel.register_bits]
        # Every space ends on a multiple of 32 bytes, so that it can be seen as rows of any width.
        self.params = np.zeros(-(-params.size // 32) * 32 + 32, np.uint8)
        self.params[: params.size] = params
        self.shared_bytes = sum(shared_bytes)
        self.dynamic_bytes = shared_bytes[1]
        self.shared_stride = -(-self.shared_bytes // 32) * 32
        self.shared = np.full(ctas * self.shared_stride, POISON, np.uint8)
        self.shared_races = None
        if tracker.races and self.shared_bytes:
            self.shared_races = SharedRaces(self, program.shared_granule)
        self.local_bytes = local_bytes
        self.local_stride = -(-local_bytes // 32) * 32
        self.local = np.full(n * self.local_stride, POISON, np.uint8)
        self.pending: dict[int, list[np.ndarray]] = {0: [self.all]}
        self.held: dict[int, np.ndarray] = {}
        self.barriers: dict[int, list[tuple[np.ndarray, Block, int | None]]] = {}
        self.live = np.full(ctas, size)
        exists = np.zeros(self.warps * 32, bool)
        exists[self.slot_of] = True
        self.gone = ~np.packbits(exists, bitorder="little").view(np.uint32)
        self.instruction: Instruction | None = None
        # Whether what meets at a .sync instruction are whole warps, under a mask of all lanes.
        self.is_converged = False
        self.select(self.all)

    def _register(self, bits: int) -> np.ndarray:
        n = self.threads
        if bits == 1:
            return np.zeros(n, bool)
        if bits == 128:
            return np.full((n, 2), 0xA5A5A5A5A5A5A5A5, np.uint64)
        dtype = STORAGE[bits]
        return np.full(n * dtype.itemsize, POISON, np.uint8).view(dtype)

    # --- Active threads --------------------------------------------------------------------

    def select(self, idx: np.ndarray) -> None:
        """Makes these threads (sorted) the ones that execute."""
        self.n = idx.size
        self.idx = idx
        low = int(idx[0])
        # A slice reads registers without a copy.
        if int(idx[-1]) - low + 1 == self.n:
            self.sel: slice | np.ndarray = slice(low, low + self.n)
        else:
            self.sel = idx

    def narrowed(self, mask: np.ndarray) -> Narrowed:
        return Narrowed(self, mask)

    def active_lanes(self) -> np.ndarray:
        return self.lane_of[self.sel]

    def active_warps(self) -> np.ndarray:
        return self.warp_of[self.sel]

    def active_slots(self) -> np.ndarray:
        return self.slot_of[self.sel]

    def lane_bits(self, votes: np.ndarray | None = None) -> np.ndarray:
        """For every warp the bits of the active lanes (whose vote is true)."""
        table = np.zeros(self.warps * 32, bool)
        table[self.slot_of[self.sel]] = True if votes is None else votes
        return np.packbits(table, bitorder="little").view(np.uint32)

    def has_whole_warps(self) -> bool:
        """Whether each warp of which a lane is active has all 32 of them."""
        if self.n == self.threads:
            return self.cta_threads % 32 == 0
        if self.n % 32 != 0:
            return False
        whole = self.lane_bits() == np.uint32(0xFFFFFFFF)
        return 32 * int(np.count_nonzero(whole)) == self.n

    def lane_bits_of_active(self) -> np.ndarray:
        return self.lane_bits()[self.active_warps()]

    def count_warps(self) -> int:
        if self.n == self.threads:
            return self.warps
        warps = self.warp_of[self.sel]
        if isinstance(self.sel, slice):
            return int(warps[-1] - warps[0]) + 1
        return int(np.count_nonzero(warps[1:] != warps[:-1])) + 1

    def special(self, name: str) -> np.ndarray:
        """A special register for the active threads: an array, or a scalar where all agree."""
        if name not in self.specials:
            self.specials[name] = self._special(name)
        value = self.specials[name]
        return value[self.sel] if value.ndim else value[()]

    def _special(self, name: str) -> np.ndarray:
        base, _, axis = name.partition(".")
        if axis:
            k = "xyz".index(axis)
            size = self.clusters.size
            sizes = {"%ntid": self.block, "%nctaid": self.grid, "%cluster_nctaid": (size, 1, 1),
                     "%nclusterid": (self.grid[0] // size, *self.grid[1:])}
            if base in sizes:
                return np.array(sizes[base][k], np.uint32)
            if base == "%cluster_ctaid":
                return (self.clusters.rank() if k == 0 else np.array(0)).astype(np.uint32)
            if base == "%clusterid":
                cta = self._special(f"%ctaid.{axis}")
                return cta // np.uint32(size if k == 0 else 1)
            if base == "%tid":
                number, shape = self.linear, self.block
            else:
                number, shape = self.cta_of + self.first_cta, self.grid
            below = 1
            for extent in shape[:k]:
                below *= extent
            return (number // below % shape[k]).astype(np.uint32)
        lane = self.lane_of.astype(np.uint64)
        one = np.uint64(1)
        bit = one << lane
        everything = np.uint64(0xFFFFFFFF)
        values: dict[str, Callable[[], np.ndarray]] = {
            "%laneid": lambda: lane,
            "%warpid": lambda: self.linear >> 5,
            "%nwarpid": lambda: np.array(-(-self.cta_threads // 32)),
            "%lanemask_eq": lambda: bit,
            "%lanemask_lt": lambda: bit - one,
            "%lanemask_le": lambda: 2 * bit - one,
            "%lanemask_gt": lambda: everything & ~(2 * bit - one),
            "%lanemask_ge": lambda: everything & ~(bit - one),
            "%cluster_ctarank": self.clusters.rank,
            "%cluster_nctarank": lambda: np.array(self.clusters.size),
            "%dynamic_smem_size": lambda: np.array(self.dynamic_bytes),
            "%total_smem_size": lambda: np.array(self.shared_bytes),
        }
        return values[name]().astype(np.uint32)

    def variable_address(self, name: str) -> int:
        return self.variables[name]

    # --- Failures --------------------------------------------------------------------------

    def coordinates(self, thread: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        def split(number: int, shape: tuple[int, int, int]) -> tuple[int, int, int]:
            x, rest = number % shape[0], number // shape[0]
            return x, rest % shape[1], rest // shape[1]

        cta = self.first_cta + thread // self.cta_threads
        return split(cta, self.grid), split(thread % self.cta_threads, self.block)

    def describe_number(self, number: int) -> str:
        """A thread by its number in the whole grid."""
        ctaid, tid = self.coordinates(number - self.first_cta * self.cta_threads)
        return f"ctaid={ctaid} tid={tid}"

    def fault(
        self,
        message: str,
        position: int | None = None,
        address: int | None = None,
        error: type[ExecutionError] = ExecutionError,
        thread: int | None = None,
    ) -> None:
        """Raises for the active thread at `position`, or for `thread`."""
        if position is not None:
            thread = int(self.idx[position])
        ctaid, tid = self.coordinates(thread) if thread is not None else (None, None)
        inst = self.instruction
        raise error(
            message,
            kernel=self.kernel.name,
            instruction=inst.text if inst else "?",
            line=inst.line if inst else 0,
            ctaid=ctaid,
            tid=tid,
            address=address,
        )

    # --- Memory ----------------------------------------------------------------------------

    def local_access(
        self, space: str, at: np.ndarray, width: int, kind: str, strong: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Checks an access to shared, local or parameter memory; gives row numbers and bytes."""
        if space in ("shared", "cluster"):
            which = self.cta_of[self.sel]
            if space == "cluster":
                space = "shared"
                at, which = self.clusters.find(at.astype(np.uint64))
            size, stride, data = self.shared_bytes, self.shared_stride, self.shared
        elif space == "local":
            size, stride, which, data = self.local_bytes, self.local_stride, self.idx, self.local
        else:
            size, stride, data = self.kernel.param_bytes, 0, self.params
            which = np.zeros(1, np.int64)
            if kind != "load":
                self.fault("store to parameter memory", 0, int(at[0]), ReadOnlyError)
        wide = at.astype(np.uint64)
        bad = (wide >= np.uint64(size)) | (wide + np.uint64(width) > np.uint64(size))
        if bad.any():
            p = int(np.flatnonzero(bad)[0])
            self.fault(
                f"{width}-byte access at {space} offset {int(at[p]):#x}, of {size} bytes",
                p,
                int(at[p]),
                OutOfBoundsError,
            )
        bad = (wide & np.uint64(width - 1)) != 0
        if bad.any():
            p = int(np.flatnonzero(bad)[0])
            self.fault(
                f"{width}-byte access at {space} offset {int(at[p]):#x} is misaligned",
                p,
                int(at[p]),
                MisalignedError,
            )
        rows = (wide.astype(np.int64) + which * stride) // width
        if space == "shared" and self.shared_races is not None:
            self.shared_races.check(rows, width, "atomic" if strong else kind)
        return rows, data

    def global_access(
        self, at: np.ndarray, width: int, kind: str, strong: bool, noncoherent: bool
    ) -> np.ndarray:
        """Checks and records an access to global memory; gives the row of each thread."""
        memory = self.memory
        offset = at - np.uint64(BASE_ADDRESS)
        low, high = int(offset.min()), int(offset.max())
        writes = kind != "load"
        # Nearly always all threads fall into one buffer.
        k = int(np.searchsorted(memory.starts, np.uint64(low), "right")) - 1
        if k >= 0 and high + width <= int(memory.ends[k]):
            readonly, tracked = bool(memory.readonly_flags[k]), bool(memory.tracked_flags[k])
            readonly_at = 0
        else:
            ks = np.searchsorted(memory.starts, offset, "right").astype(np.int64) - 1
            if memory.starts.size == 0:
                bad = np.ones(self.n, bool)
            else:
                end = memory.ends[np.maximum(ks, 0)]
                bad = (ks < 0) | (offset >= end) | (end - offset < np.uint64(width))
            if bad.any():
                p = int(np.flatnonzero(bad)[0])
                address = int(at[p])
                self.fault(
                    f"{width}-byte {kind} outside every buffer: {memory.describe(address)}",
                    p,
                    address,
                    OutOfBoundsError,
                )
            flags = memory.readonly_flags[ks]
            readonly, readonly_at = bool(flags.any()), int(np.argmax(flags))
            tracked = bool(memory.tracked_flags[ks].any())
        misaligned = (offset & np.uint64(width - 1)) != 0
        if misaligned.any():
            p = int(np.flatnonzero(misaligned)[0])
            address = int(at[p])
            self.fault(
                f"{width}-byte {kind} is misaligned: {memory.describe(address)}",
                p,
                address,
                MisalignedError,
            )
        if writes and readonly:
            address = int(at[readonly_at])
            self.fault(
                f"{kind} to a read-only buffer: {memory.describe(address)}",
                readonly_at,
                address,
                ReadOnlyError,
            )
        rows = offset.view(np.int64) // width
        if kind != "store" and tracked:
            self._check_initialized(at, rows, width, kind)
        if writes:
            memory.valid.reshape(-1, width)[rows] = 1
        self._check_races(at, offset.view(np.int64), width, kind, strong, noncoherent)
        self.counters.count_access(self, offset, width, kind)
        return rows

    def _check_initialized(self, at: np.ndarray, rows: np.ndarray, width: int, kind: str) -> None:
        memory = self.memory
        known = memory.valid.reshape(-1, width)[rows].all(axis=1)
        if not known.all():
            for p in np.flatnonzero(~known):
                # Other threads of this access may be in buffers that do not track.
                offset = int(at[p]) - BASE_ADDRESS
                k = int(np.searchsorted(memory.starts, np.uint64(offset), "right")) - 1
                if memory.tracked_flags[k]:
                    address = int(at[p])
                    self.fault(
                        f"{width}-byte {kind} of bytes nobody has written: "
                        f"{memory.describe(address)}",
                        int(p),
                        address,
                        UninitializedError,
                    )

    def _check_races(
        self,
        at: np.ndarray,
        offset: np.ndarray,
        width: int,
        kind: str,
        strong: bool,
        noncoherent: bool,
    ) -> None:
        t = self.tracker
        if not (t.races or t.noncoherent):
            return
        per = width // t.granule
        rows = offset // width
        if t.noncoherent:
            written, nc_read = t.written.reshape(-1, per), t.nc_read.reshape(-1, per)
            if noncoherent:
                self._report(
                    written[rows].any(axis=1),
                    at,
                    f"{width}-byte .nc load of bytes that were " "written during this launch",
                )
                nc_read[rows] = True
            elif kind != "load":
                self._report(
                    nc_read[rows].any(axis=1),
                    at,
                    f"{width}-byte {kind} to bytes that were read "
                    "by a .nc load during this launch",
                )
                written[rows] = True
        if not t.races or strong:
            return
        me = (self.idx + (self.first_cta * self.cta_threads + 1)).astype(np.int32)[:, None]
        writer, reader = t.writer.reshape(-1, per), t.reader.reshape(-1, per)
        if t.has_writers:
            self._check_others(writer[rows], me, at, f"{width}-byte {kind} of bytes written by")
        if kind == "store":
            self._check_others(reader[rows], me, at, f"{width}-byte store to bytes read by")
            writer[rows] = me
            t.has_writers = True
            # Two threads of this very instruction: one of them does not find itself. Their
            # accesses have one width, so that they have all bytes in common, or none.
            if (writer[rows, 0] != me[:, 0]).any():
                self._check_others(writer[rows], me, at, f"{width}-byte store to bytes written by")
            return
        readers = reader[rows]
        fresh = np.where((readers == 0) | (readers == me), me, t.MANY) if readers.any() else me
        reader[rows] = fresh
        lost = reader[rows, 0] != fresh[:, 0]
        if lost.any():
            reader[rows[lost]] = t.MANY

    def _check_others(self, who: np.ndarray, me: np.ndarray, at: np.ndarray, what: str) -> None:
        if not who.any():
            return
        other = (who != 0) & (who != me)
        if other.any():
            self._report_other(other, who, at, what)

    def _report(self, bad: np.ndarray, at: np.ndarray, what: str) -> None:
        if bad.any():
            p = int(np.flatnonzero(bad)[0])
            address = int(at[p])
            self.fault(f"{what}: {self.memory.describe(address)}", p, address, RaceError)

    def _report_other(self, bad: np.ndarray, who: np.ndarray, at: np.ndarray, what: str) -> None:
        p = int(np.flatnonzero(bad.any(axis=1))[0])
        number = int(who[p][np.argmax(bad[p])])
        name = "several threads" if number < 0 else f"thread {self.describe_number(number - 1)}"
        address = int(at[p])
        self.fault(
            f"data race: {what} {name}: {self.memory.describe(address)}", p, address, RaceError
        )

    # --- Scheduling ------------------------------------------------------------------------

    def push(self, pc: int, idx: np.ndarray) -> None:
        if idx.size:
            self.pending.setdefault(pc, []).append(idx)

    def run(self) -> None:
        """Runs every thread to its end."""
        try:
            while self.pending:
                pc = min(self.pending)
                groups = self.pending.pop(pc)
                idx = groups[0] if len(groups) == 1 else np.sort(np.concatenate(groups))
                self.run_block(self.program.blocks[pc], idx)
        except PTXError:
            raise
        except Exception as e:
            inst = self.instruction
            raise ExecutionError(
                f"the interpreter failed: {type(e).__name__}: {e}",
                kernel=self.kernel.name,
                instruction=inst.text if inst else "?",
                line=inst.line if inst else 0,
            ) from e
        if self.held or any(self.barriers.values()) or self.clusters.waiting:
            self.report_deadlock()

    def run_block(self, block: Block, idx: np.ndarray) -> None:
        self.select(idx)
        self.counters.count_block(self, block)
        if self.limit is not None and self.counters.total > self.limit:
            self.instruction = block.actions[0][0] if block.actions else block.control
            self.fault(f"more than {self.limit} warp-instructions executed", 0, None, RunawayError)
        for self.instruction, action in block.actions:
            action(self)
        if block.kind == "fall":
            self.push(block.next, idx)
            return
        if block.control is not None:
            self.instruction = block.control
        if block.condition is not None:
            taken = block.condition(self)
            count = int(np.count_nonzero(taken))
            if count < idx.size:
                self.push(block.next, idx[~taken])
                if count == 0:
                    return
                idx = idx[taken]
        if block.kind == "bra":
            self.push(block.target, idx)
            return
        self.select(idx)
        HANDLERS[block.kind](self, block, idx)

    def do_brx(self, block: Block, idx: np.ndarray) -> None:
        assert block.index is not None
        which = np.broadcast_to(block.index(self), (self.n,))
        for i in np.unique(which):
            if i >= len(block.table):
                p = int(np.flatnonzero(which == i)[0])
                self.fault(f"branch index {i} is outside the table", p)
            self.push(block.table[int(i)], idx[which == i])

    def do_trap(self, block: Block, idx: np.ndarray) -> None:
        self.fault("trap executed", 0, None, TrapError)

    def do_exit(self, block: Block, idx: np.ndarray) -> None:
        self.live -= np.bincount(self.cta_of[idx], minlength=self.ctas)
        self.gone |= self.lane_bits()
        self.clusters.exit(idx)
        # Those that wait at a barrier need not wait for these threads any longer.
        for identity in list(self.barriers):
            self.release(identity)

    def do_warp_sync(self, block: Block, idx: np.ndarray) -> None:
        sync = block.sync
        assert isinstance(sync, WarpSync)
        held = self.held.pop(block.start, None)
        if held is not None:
            idx = np.sort(np.concatenate([held, idx]))
            self.select(idx)
        mask = sync.mask(self)
        masks = np.broadcast_to(mask, (self.n,))
        # What nearly always is so, and then nothing can be wrong.
        self.is_converged = mask.ndim == 0 and mask == 0xFFFFFFFF and self.has_whole_warps()
        if self.is_converged:
            self._meet_in_warps(sync, block, idx, masks)
            return
        warps, lanes = self.active_warps(), self.active_lanes().astype(np.uint32)
        outside = ((masks >> lanes) & np.uint32(1)) == 0
        if outside.any():
            p = int(np.flatnonzero(outside)[0])
            self.fault(
                f"lane executes with a mask {int(masks[p]):#010x} that does not name it",
                p,
                None,
                ConvergenceError,
            )
        missing = masks & ~self.lane_bits()[warps]
        late = missing != 0
        lost = missing & self.gone[warps]
        if lost.any():
            p = int(np.flatnonzero(lost)[0])
            self.fault(
                f"mask {int(masks[p]):#010x} names lanes {int(lost[p]):#010x} of the warp that "
                "have exited or do not exist",
                p,
                None,
                ConvergenceError,
            )
        if (masks != masks[0]).any():
            self._check_masks_agree(masks, warps)
        if late.any():
            self.held[block.start] = idx[late]
            idx, masks = idx[~late], masks[~late]
            if not idx.size:
                return
            self.select(idx)
        self._meet_in_warps(sync, block, idx, masks)

    def _meet_in_warps(self, sync: WarpSync, block: Block, idx: np.ndarray,
                       masks: np.ndarray) -> None:
        sync.run(self, masks)
        if sync.orders_memory and self.shared_races is not None:
            self.shared_races.meet_in_warps(self.active_warps())
        self.push(block.next, idx)

    def _check_masks_agree(self, masks: np.ndarray, warps: np.ndarray) -> None:
        """Every lane that a mask names must have come with that same mask."""
        table = np.zeros(self.warps * 32, np.uint32)
        table[self.active_slots()] = masks
        for lane in range(32):
            theirs = table[warps * 32 + lane]
            named = ((masks >> np.uint32(lane)) & np.uint32(1)) != 0
            bad = named & (theirs != 0) & (theirs != masks)
            if bad.any():
                p = int(np.flatnonzero(bad)[0])
                self.fault(
                    f"mask {int(masks[p]):#010x} names lane {lane}, which arrived with mask "
                    f"{int(theirs[p]):#010x}",
                    p,
                    None,
                    ConvergenceError,
                )

    def do_cluster_barrier(self, block: Block, idx: np.ndarray) -> None:
        barrier = block.sync
        assert isinstance(barrier, ClusterBarrier)
        if barrier.waits:
            self.clusters.wait(block, barrier.aligned)
            return
        self.clusters.arrive(barrier.aligned, barrier.relaxed)
        self.push(block.next, idx)

    def do_barrier(self, block: Block, idx: np.ndarray) -> None:
        barrier = block.sync
        assert isinstance(barrier, CtaBarrier)
        identity = np.broadcast_to(barrier.identity(self), (self.n,))
        counts = None
        if barrier.count is not None:
            counts = np.broadcast_to(barrier.count(self), (self.n,))
        for which in np.unique(identity):
            mine = identity == which
            if which >= 16:
                self.fault(f"barrier {which} does not exist", int(np.argmax(mine)))
            count = None
            if counts is not None:
                values = np.unique(counts[mine])
                if values.size != 1:
                    first = int(np.argmax(mine))
                    self.fault("threads disagree on the barrier's thread count", first)
                count = int(values[0])
            self.barriers.setdefault(int(which), []).append((idx[mine], block, count))
            self.release(int(which))

    def release(self, identity: int) -> None:
        """Lets the CTAs go on whose threads have all arrived at this barrier."""
        waiting = self.barriers[identity]
        if not waiting:
            return
        arrived = np.zeros(self.ctas, np.int64)
        for idx, _, _ in waiting:
            arrived += np.bincount(self.cta_of[idx], minlength=self.ctas)
        explicit = {count for _, _, count in waiting if count is not None}
        needed = self.live if not explicit else np.full(self.ctas, min(explicit))
        done = (arrived >= needed) & (arrived > 0)
        if not done.any():
            return
        if self.shared_races is not None:
            self.shared_races.meet(done)
        if self.clusters.size > 1:
            self.clusters.meet(done)
        saved = self.instruction
        self._check_aligned(waiting, done)
        self.barriers[identity] = []
        released: dict[int, tuple[Block, list[np.ndarray]]] = {}
        for idx, block, count in waiting:
            go = done[self.cta_of[idx]]
            if go.any():
                released.setdefault(block.start, (block, []))[1].append(idx[go])
            if not go.all():
                self.barriers[identity].append((idx[~go], block, count))
        for block, parts in released.values():
            idx = np.sort(np.concatenate(parts))
            barrier = block.sync
            assert isinstance(barrier, CtaBarrier)
            if barrier.reduction is not None:
                self.select(idx)
                self._reduce(barrier.reduction)
            self.push(block.next, idx)
        self.instruction = saved

    def _reduce(self, reduction: tuple[str, Reader, Writer]) -> None:
        kind, predicate, write = reduction
        ctas = self.cta_of[self.sel]
        votes = np.broadcast_to(predicate(self), (self.n,))
        yes = np.bincount(ctas, weights=votes, minlength=self.ctas).astype(np.uint32)
        total = np.bincount(ctas, minlength=self.ctas).astype(np.uint32)
        result = {"popc": yes, "or": yes > 0, "and": yes == total}[kind]
        write(self, result[ctas])

    def _check_aligned(
        self, waiting: list[tuple[np.ndarray, Block, int | None]], done: np.ndarray
    ) -> None:
        """The threads of a warp must meet at one aligned barrier instruction, not at several."""
        if len({block.start for _, block, _ in waiting}) == 1:
            return
        where = np.full(self.warps, -1)
        for idx, block, _ in waiting:
            idx = idx[done[self.cta_of[idx]]]
            assert isinstance(block.sync, CtaBarrier)
            if not idx.size or not block.sync.aligned:
                continue
            there = where[self.warp_of[idx]]
            bad = (there >= 0) & (there != block.start)
            if bad.any():
                self.instruction = block.control
                self.fault(
                    "threads of one warp wait at different barrier instructions",
                    None,
                    None,
                    ConvergenceError,
                    thread=int(idx[np.argmax(bad)]),
                )
            where[self.warp_of[idx]] = block.start

    def report_deadlock(self) -> None:
        for pc, idx in sorted(self.held.items()):
            block = self.program.blocks[pc]
            self.instruction = block.control
            self.select(idx)
            assert isinstance(block.sync, WarpSync)
            mask = int(np.broadcast_to(block.sync.mask(self), (self.n,))[0])
            warp = int(self.warp_of[idx[0]])
            absent = mask & ~int(self.lane_bits()[warp])
            exited = absent & int(self.gone[warp])
            self.fault(
                f"deadlock: lanes {absent:#010x} named by mask {mask:#010x} never arrive "
                f"(of them, {exited:#010x} have exited)",
                0,
                None,
                ConvergenceError,
            )
        for identity, waiting in self.barriers.items():
            for idx, block, _ in waiting:
                self.instruction = block.control
                cta = int(self.cta_of[idx[0]])
                here = sum(int(np.count_nonzero(self.cta_of[i] == cta)) for i, _, _ in waiting)
                self.fault(
                    f"deadlock: {here} threads of the CTA wait at barrier {identity}, and no "
                    "other thread can still arrive",
                    None,
                    None,
                    ConvergenceError,
                    thread=int(idx[0]),
                )
        self.clusters.report_deadlock()


HANDLERS: dict[str, Callable[[Machine, Block, np.ndarray], None]] = {
    "brx": Machine.do_brx,
    "trap": Machine.do_trap,
    "exit": Machine.do_exit,
    "warp": Machine.do_warp_sync,
    "cta": Machine.do_barrier,
    "cluster": Machine.do_cluster_barrier,
}
