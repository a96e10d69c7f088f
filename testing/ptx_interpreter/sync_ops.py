# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoding of the instructions at which the lanes of a warp, or the threads of a CTA, meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .decoder import Decoder, Reader, Writer
from .errors import ParseError
from .parser import Instruction, Pair

if TYPE_CHECKING:
    from .machine import Machine

# What a lane gets from a lane that does not take part: any value would be right, this one shows.
UNDEFINED = np.uint32(0xA5A5A5A5)


@dataclass
class WarpSync:
    """A .sync instruction: `run` is called with exactly the lanes that execute it together."""

    mask: Reader
    run: Callable[[Machine, np.ndarray], None]
    orders_memory: bool = False


@dataclass
class CtaBarrier:
    """bar.sync and relatives.  `count` is None when all threads of the CTA take part."""

    identity: Reader
    count: Reader | None
    aligned: bool
    # For bar.red: operation, predicate and destination.
    reduction: tuple[str, Reader, Writer] | None = None


@dataclass
class ClusterBarrier:
    """barrier.cluster: the arrival at it, or the wait for it."""

    waits: bool
    aligned: bool
    relaxed: bool


def decode_sync(d: Decoder, inst: Instruction) -> WarpSync | CtaBarrier | ClusterBarrier:
    op, mods = inst.opcode, inst.mods
    if op == "barrier" and mods[:1] == ("cluster",):
        return decode_cluster_barrier(d, inst)
    if op in ("bar", "barrier") and mods[:1] != ("warp",):
        return decode_barrier(d, inst)
    if op == "bar":
        if mods != ("warp", "sync"):
            raise d.fail(inst)
        (mask,) = d.expect(inst, 1)
        return WarpSync(d.read(inst, mask, "b32"), lambda m, masks: None, orders_memory=True)
    if mods[:1] != ("sync",) and mods[1:2] != ("sync",):
        raise d.fail(inst, "only the .sync form is supported")
    return {
        "shfl": decode_shfl,
        "vote": decode_vote,
        "match": decode_match,
        "redux": decode_redux,
        "elect": decode_elect,
    }[op](d, inst)


def decode_cluster_barrier(d: Decoder, inst: Instruction) -> ClusterBarrier:
    d.expect(inst, 0)
    forms = {("arrive",): False, ("arrive", "release"): False, ("arrive", "relaxed"): False,
             ("wait",): True, ("wait", "acquire"): True}
    mods = tuple(mod for mod in inst.mods[1:] if mod != "aligned")
    if mods not in forms:
        raise d.fail(inst)
    return ClusterBarrier(forms[mods], "aligned" in inst.mods, "relaxed" in inst.mods)


def decode_barrier(d: Decoder, inst: Instruction) -> CtaBarrier:
    mods = [m for m in inst.mods if m not in ("cta", "aligned")]
    aligned = inst.opcode == "bar" or "aligned" in inst.mods
    operands = list(inst.operands)
    reduction = None
    if mods[:1] == ["red"] and len(mods) == 3:
        kind, t = mods[1], mods[2]
        if kind not in ("popc", "and", "or") or len(operands) not in (3, 4):
            raise d.fail(inst)
        dst, predicate = operands.pop(0), operands.pop()
        reduction = (kind, d.read(inst, predicate, "pred"), d.write(inst, dst, t))
    elif mods != ["sync"]:
        raise d.fail(inst)
    if len(operands) not in (1, 2):
        raise ParseError("a barrier has one or two operands", inst.line, inst.text)
    count = d.read(inst, operands[1], "b32") if len(operands) == 2 else None
    return CtaBarrier(d.read(inst, operands[0], "b32"), count, aligned, reduction)


def decode_shfl(d: Decoder, inst: Instruction) -> WarpSync:
    if len(inst.mods) != 3 or inst.mods[2] != "b32":
        raise d.fail(inst)
    mode = inst.mods[1]
    if mode not in ("up", "down", "bfly", "idx"):
        raise d.fail(inst)
    dst, a, b, c, mask = d.expect(inst, 5)
    first, second = (dst.first, dst.second) if isinstance(dst, Pair) else (dst, None)
    ra, rb, rc = (d.read(inst, o, "b32") for o in (a, b, c))
    w = d.write(inst, first, "b32")
    wp = d.write(inst, second, "pred") if second is not None else None

    def find_source(
        lane: np.ndarray, b: np.ndarray, c: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """From which lane each of `lane` gets its value, and whether it is one of its segment."""
        b_value = (b & np.uint32(31)).astype(np.int64)
        c_value = c.astype(np.int64)
        clamp, segment = c_value & 31, (c_value >> 8) & 31
        low = lane & segment
        # For up, the clamp is where the segment begins; for the others, where it ends.
        limit = low | (clamp & ~segment)
        if mode == "up":
            source = lane - b_value
            valid = source >= limit
        elif mode == "down":
            source = lane + b_value
            valid = source <= limit
        elif mode == "bfly":
            source = lane ^ b_value
            valid = source <= limit
        else:
            source = low | (b_value & ~segment)
            valid = source <= limit
        return np.where(valid, source, lane), valid

    def run(m: Machine, masks: np.ndarray) -> None:
        b_value, c_value = rb(m), rc(m)
        if m.is_converged and b_value.ndim == c_value.ndim == 0:
            # The same in each warp.
            source, valid = find_source(np.arange(32), b_value, c_value)
            lanes = np.broadcast_to(ra(m), (m.n,)).reshape(-1, 32)
            w(m, lanes[:, source].reshape(-1))
            if wp is not None:
                wp(m, np.tile(valid, m.n // 32))
            return
        lane = m.active_lanes()
        source, valid = find_source(lane, b_value, c_value)
        table = np.full(m.warps * 32, UNDEFINED, np.uint32)
        slots = m.active_slots()
        table[slots] = ra(m)
        value = table[slots - lane + source]
        takes_part = (masks >> source.astype(np.uint32)) & np.uint32(1)
        if not takes_part.all():
            value = np.where(takes_part != 0, value, UNDEFINED)
        w(m, value)
        if wp is not None:
            wp(m, valid)

    return WarpSync(d.read(inst, mask, "b32"), run)


def decode_vote(d: Decoder, inst: Instruction) -> WarpSync:
    _, mode, t = inst.mods
    if (mode, t) not in (("ballot", "b32"), ("any", "pred"), ("all", "pred"), ("uni", "pred")):
        raise d.fail(inst)
    dst, a, mask = d.expect(inst, 3)
    ra, w = d.read(inst, a, "pred"), d.write(inst, dst, t)

    def run(m: Machine, masks: np.ndarray) -> None:
        votes = m.lane_bits(np.broadcast_to(ra(m), (m.n,)))[m.active_warps()] & masks
        if mode == "ballot":
            w(m, votes)
        elif mode == "any":
            w(m, votes != 0)
        elif mode == "all":
            w(m, votes == masks)
        else:
            w(m, (votes == 0) | (votes == masks))

    return WarpSync(d.read(inst, mask, "b32"), run)


def by_group(m: Machine, masks: np.ndarray) -> np.ndarray:
    """A number for each active thread that is the same within, and only within, its group."""
    key = (m.active_warps().astype(np.uint64) << np.uint64(32)) | masks.astype(np.uint64)
    return np.unique(key, return_inverse=True)[1]


def decode_match(d: Decoder, inst: Instruction) -> WarpSync:
    mods = [x for x in inst.mods if x != "sync"]
    if len(mods) != 2 or mods[0] not in ("any", "all") or mods[1] not in ("b32", "b64"):
        raise d.fail(inst)
    every = mods[0] == "all"
    dst, a, mask = d.expect(inst, 3)
    first, second = (dst.first, dst.second) if isinstance(dst, Pair) else (dst, None)
    ra, w = d.read(inst, a, mods[1]), d.write(inst, first, "b32")
    wp = d.write(inst, second, "pred") if second is not None else None

    def run(m: Machine, masks: np.ndarray) -> None:
        value = np.broadcast_to(ra(m), (m.n,))
        group = by_group(m, masks)
        bit = np.uint32(1) << m.active_lanes().astype(np.uint32)
        value_number = np.unique(value, return_inverse=True)[1]
        key = group.astype(np.int64) * (int(value_number.max()) + 1) + value_number
        number = np.unique(key, return_inverse=True)[1]
        bits = np.zeros(int(number.max()) + 1, np.uint32)
        np.bitwise_or.at(bits, number, bit)
        same = bits[number]
        if every:
            w(m, np.where(same == masks, masks, np.uint32(0)))
            if wp is not None:
                wp(m, same == masks)
        else:
            w(m, same)

    return WarpSync(d.read(inst, mask, "b32"), run)


def decode_redux(d: Decoder, inst: Instruction) -> WarpSync:
    _, op, t = inst.mods
    functions = {
        "add": np.add,
        "min": np.minimum,
        "max": np.maximum,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
    }
    fn = functions[op]
    if t not in ("b32", "u32", "s32"):
        raise d.fail(inst)
    dst, a, mask = d.expect(inst, 3)
    ra, w = d.read(inst, a, t), d.write(inst, dst, t)

    def run(m: Machine, masks: np.ndarray) -> None:
        value = np.broadcast_to(ra(m), (m.n,))
        group = by_group(m, masks)
        first = np.unique(group, return_index=True)[1]
        # A group starts from its first value, so that no operation needs an identity.
        total = value[first].copy()
        rest = np.ones(m.n, bool)
        rest[first] = False
        fn.at(total, group[rest], value[rest])
        w(m, total[group])

    return WarpSync(d.read(inst, mask, "b32"), run)


def decode_elect(d: Decoder, inst: Instruction) -> WarpSync:
    dst, mask = d.expect(inst, 2)
    if not isinstance(dst, Pair):
        raise d.fail(inst)
    w, wp = d.write(inst, dst.first, "b32"), d.write(inst, dst.second, "pred")

    def run(m: Machine, masks: np.ndarray) -> None:
        lowest = masks & (~masks + np.uint32(1))
        leader = np.bitwise_count(lowest - np.uint32(1)).astype(np.uint32)
        w(m, leader)
        wp(m, m.active_lanes().astype(np.uint32) == leader)

    return WarpSync(d.read(inst, mask, "b32"), run)


def is_sync(inst: Instruction) -> bool:
    return inst.opcode in ("bar", "barrier", "shfl", "vote", "match", "redux", "elect")
