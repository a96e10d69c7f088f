# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoding of loads, stores, atomics and address conversions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from . import numerics as nx
from .clusters import RANK_SHIFT
from .decoder import (
    COMPUTE,
    STORAGE,
    Action,
    Decoder,
    Function,
    address_reader,
    builder,
    packed,
)
from .errors import ParseError
from .parser import TYPE_BITS, Instruction, Operand, Vec

if TYPE_CHECKING:
    from .machine import Machine

# Generic addresses of the spaces that are not global: far from the global arena, and far enough
# from each other that no offset error leads from one into another.
WINDOW_BYTES = 1 << 32
WINDOWS = {"shared": 0x7D0000000000, "local": 0x7C0000000000, "param": 0x7B0000000000}

_SPACES = {
    "global": "global",
    "const": "global",
    "shared": "shared",
    "shared::cta": "shared",
    "shared::cluster": "cluster",
    "local": "local",
    "param": "param",
    "param::entry": "param",
}
_STRONG = ("relaxed", "acquire", "release", "volatile", "mmio")
_SCOPES = ("cta", "cluster", "gpu", "sys")
_CACHE = ("ca", "cg", "cs", "lu", "cv", "wb", "wt", "weak")


class Access:
    """What the modifiers of a load or store say."""

    def __init__(self, d: Decoder, inst: Instruction):
        self.space = "generic"
        self.count = 1
        self.strong = False
        self.noncoherent = inst.opcode == "ldu"
        self.type = inst.mods[-1]
        if self.type not in TYPE_BITS or self.type == "pred":
            raise d.fail(inst, f"unsupported type .{self.type}")
        for mod in inst.mods[:-1]:
            if mod in _SPACES:
                self.space = _SPACES[mod]
            elif mod in ("v2", "v4", "v8"):
                self.count = int(mod[1])
            elif mod in _STRONG:
                self.strong = True
            elif mod == "nc":
                self.noncoherent = True
            elif mod in _SCOPES or mod in _CACHE or mod.startswith(("L1::", "L2::")):
                pass
            else:
                raise d.fail(inst, f"unsupported modifier .{mod}")
        self.bytes = TYPE_BITS[self.type] // 8 * self.count
        if self.noncoherent and self.space not in ("global", "generic"):
            raise d.fail(inst)
        if self.bytes > 32:
            raise d.fail(inst, "access of more than 32 bytes")

    @property
    def element(self) -> tuple[np.dtype, int]:
        """The numpy type of a word of the access, and how many words one thread moves."""
        if self.type == "b128":
            return np.dtype(np.uint64), 2 * self.count
        return STORAGE[TYPE_BITS[self.type]], self.count


def vector_items(d: Decoder, inst: Instruction, op: Operand, count: int) -> list[Operand]:
    if count == 1 and not isinstance(op, Vec):
        return [op]
    if not isinstance(op, Vec) or len(op.items) != count:
        raise ParseError(f"expected a vector of {count}", inst.line, inst.text)
    return list(op.items)


def by_space(m: Machine, address: np.ndarray, run: Callable[[str, np.ndarray], None]) -> None:
    """Runs a generic access in the space that each thread's address falls into."""
    address = np.broadcast_to(address, (m.n,))
    windows = list(WINDOWS.items())
    if int(address.min()) >= windows[0][1] + WINDOW_BYTES:
        run("global", address)
        return
    left = np.ones(m.n, bool)
    for space, base in windows:
        mask = (address >= np.uint64(base)) & (address < np.uint64(base + WINDOW_BYTES))
        if mask.any():
            left &= ~mask
            with m.narrowed(mask):
                run("cluster" if space == "shared" else space, address[mask] - np.uint64(base))
    if left.any():
        with m.narrowed(left):
            run("global", address[left])


@builder("ld", "ldu")
def build_load(d: Decoder, inst: Instruction) -> Action:
    access = Access(d, inst)
    operands = inst.operands[:2]  # A third one is a cache policy.
    if len(operands) != 2:
        raise ParseError("a load has two operands", inst.line, inst.text)
    items = vector_items(d, inst, operands[0], access.count)
    # b128 goes to a register of 128 bits as it is, two words.
    writers = [d.write(inst, o, access.type, relaxed=True) for o in items]
    address = address_reader(d, inst, operands[1])
    dtype, words = access.element
    compute = COMPUTE.get(access.type, dtype)
    wide = access.type == "b128"

    def load_from(m: Machine, space: str, at: np.ndarray) -> None:
        if space == "global":
            rows = m.global_access(at, access.bytes, "load", access.strong, access.noncoherent)
            data = m.memory.view(dtype.type, words)[rows]
        else:
            rows, store = m.local_access(space, at, access.bytes, "load", access.strong)
            data = store.view(dtype.type).reshape(-1, words)[rows]
        if wide:
            for i, w in enumerate(writers):
                w(m, data[:, 2 * i : 2 * i + 2])
        elif words == 1:
            writers[0](m, data.reshape(-1).view(compute))
        else:
            for i, w in enumerate(writers):
                w(m, np.ascontiguousarray(data[:, i]).view(compute))

    if access.space == "generic":
        return lambda m: by_space(m, address(m), lambda space, at: load_from(m, space, at))
    return lambda m: load_from(m, access.space, np.broadcast_to(address(m), (m.n,)))


@builder("st")
def build_store(d: Decoder, inst: Instruction) -> Action:
    access = Access(d, inst)
    if access.space == "param" or access.noncoherent:
        raise d.fail(inst)
    operands = inst.operands[:2]
    if len(operands) != 2:
        raise ParseError("a store has two operands", inst.line, inst.text)
    address = address_reader(d, inst, operands[0])
    items = vector_items(d, inst, operands[1], access.count)
    # Floats are stored as raw bits, so that no NaN payload can change on the way; only a float
    # literal needs its own type to be understood.
    readers = [d.read(inst, o, access.type, relaxed=True) for o in items]
    dtype, words = access.element
    wide = access.type == "b128"

    def store_to(m: Machine, space: str, at: np.ndarray) -> None:
        if space == "global":
            rows = m.global_access(at, access.bytes, "store", access.strong, False)
            target = m.memory.view(dtype.type, words)
        else:
            rows, store = m.local_access(space, at, access.bytes, "store", access.strong)
            target = store.view(dtype.type).reshape(-1, words)
        if words == 1:
            target[rows, 0] = readers[0](m).view(dtype)
            return
        data = np.empty((m.n, words), dtype)
        for i, r in enumerate(readers):
            if wide:
                data[:, 2 * i : 2 * i + 2] = r(m)
            else:
                data[:, i] = r(m).view(dtype)
        target[rows] = data

    if access.space == "generic":
        return lambda m: by_space(m, address(m), lambda space, at: store_to(m, space, at))
    return lambda m: store_to(m, access.space, np.broadcast_to(address(m), (m.n,)))


def _wrap(op: str, old: np.ndarray, limit: np.ndarray) -> np.ndarray:
    if op == "inc":
        return np.where(old >= limit, 0, old + old.dtype.type(1)).astype(old.dtype)
    return np.where((old == 0) | (old > limit), limit, old - old.dtype.type(1)).astype(old.dtype)


def atomic_function(d: Decoder, inst: Instruction, op: str, t: str) -> Function:
    """(old, operand, second operand) to new, in the compute type."""
    if t in ("bf16", "f16", "bf16x2", "f16x2"):
        kind = t.removesuffix("x2")
        if op not in ("add", "min", "max"):
            raise d.fail(inst)

        def one(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            if op == "add":
                return nx.narrow_binary(kind, "add", x, y)
            return nx.float_min_max(x, y, kind, op, False)

        if t.endswith("x2"):
            return lambda old, b, c: packed(one, old, b)
        return lambda old, b, c: one(old, b)
    if t in ("f32", "f64"):
        if op == "exch":
            return lambda old, b, c: b
        if op != "add":
            raise d.fail(inst)
        if t == "f32":
            return lambda old, b, c: nx.canonical_f32(old + b)
        return lambda old, b, c: old + b
    return {
        "add": lambda old, b, c: old + b,
        "min": lambda old, b, c: np.minimum(old, b),
        "max": lambda old, b, c: np.maximum(old, b),
        "and": lambda old, b, c: old & b,
        "or": lambda old, b, c: old | b,
        "xor": lambda old, b, c: old ^ b,
        "exch": lambda old, b, c: b,
        "inc": lambda old, b, c: _wrap("inc", old, b),
        "dec": lambda old, b, c: _wrap("dec", old, b),
        "cas": lambda old, b, c: np.where(old == b, c, old),
    }[op]


_ATOMIC_OPS = ("add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas")


@builder("atom", "red")
def build_atomic(d: Decoder, inst: Instruction) -> Action:
    t, op, space = inst.mods[-1], "", "generic"
    if t not in COMPUTE or TYPE_BITS[t] < 16:
        raise d.fail(inst, f"unsupported type .{t}")
    for mod in inst.mods[:-1]:
        if mod in _ATOMIC_OPS:
            op = mod
        elif mod in ("global", "shared", "shared::cta", "shared::cluster"):
            space = _SPACES[mod]
        elif mod not in _SCOPES + ("relaxed", "acquire", "release", "acq_rel", "noftz"):
            raise d.fail(inst, f"unsupported modifier .{mod}")
    returns = inst.opcode == "atom"
    sources = 2 if op == "cas" else 1
    operands = list(inst.operands)
    dst = operands.pop(0) if returns and operands else None
    if len(operands) < 1 + sources:
        raise ParseError("atomic has too few operands", inst.line, inst.text)
    fn = atomic_function(d, inst, op, t)
    write = d.write(inst, dst, t) if dst is not None else None
    address = address_reader(d, inst, operands[0])
    readers = [d.read(inst, o, t) for o in operands[1 : 1 + sources]]
    dtype, raw = COMPUTE[t], STORAGE[TYPE_BITS[t]]
    width = raw.itemsize
    summing = op == "add" and dtype.kind in "ui" and t in ("u32", "s32", "u64", "s64")

    def atomic(m: Machine, space: str, at: np.ndarray) -> None:
        if space == "global":
            rows = m.global_access(at, width, "atomic", True, False)
            flat = m.memory.view(raw.type, 1).reshape(-1).view(dtype)
        else:
            rows, store = m.local_access(space, at, width, "atomic")
            flat = store.view(raw.type).reshape(-1).view(dtype)
        values = [np.broadcast_to(r(m), (m.n,)) for r in readers]
        old = _apply(flat, rows, values, fn, summing)
        if write is not None:
            write(m, old)

    if space == "generic":
        return lambda m: by_space(m, address(m), lambda s, at: atomic(m, s, at))
    return lambda m: atomic(m, space, np.broadcast_to(address(m), (m.n,)))


def _apply(
    flat: np.ndarray, rows: np.ndarray, values: list[np.ndarray], fn: Function, summing: bool
) -> np.ndarray:
    """Applies atomics in thread order; gives the value that each thread found."""
    order = np.argsort(rows, kind="stable")  # Stable: threads keep their order at an address.
    at = rows[order]
    first = np.ones(at.size, bool)
    first[1:] = at[1:] != at[:-1]
    starts = np.flatnonzero(first)
    old = np.empty(at.size, flat.dtype)
    group = np.cumsum(first) - 1
    if summing:
        # Wrapping sums commute, so a thread finds the start value plus the sum before it.
        v = values[0][order]
        before = np.cumsum(v, dtype=flat.dtype) - v
        old[order] = flat[at] + (before - before[starts][group])
        ends = np.append(starts[1:], at.size) - 1
        last = order[ends]
        flat[at[ends]] = old[last] + values[0][last]
        return old
    rank = np.arange(at.size) - starts[group]
    second = values[1] if len(values) > 1 else values[0]
    # Each round has at most one thread an address.
    by_rank = order[np.argsort(rank, kind="stable")]
    begin = 0
    for count in np.bincount(rank):
        now = by_rank[begin : begin + count]
        begin += count
        old[now] = flat[rows[now]]
        flat[rows[now]] = fn(old[now], values[0][now], second[now])
    return old


@builder("cvta")
def build_cvta(d: Decoder, inst: Instruction) -> Action:
    to = "to" in inst.mods
    t = d.type_of(inst, "u64")
    space = inst.mods[1] if to else inst.mods[0]
    # The window of a cluster is that of its CTAs.
    space = _SPACES[space].replace("cluster", "shared")
    dst, src = d.expect(inst, 2)
    r, w = d.read(inst, src, t), d.write(inst, dst, t)
    if space == "global":
        return lambda m: w(m, r(m))
    base = np.uint64(WINDOWS[space])
    return (lambda m: w(m, r(m) - base)) if to else (lambda m: w(m, r(m) + base))


@builder("mapa")
def build_mapa(d: Decoder, inst: Instruction) -> Action:
    """The address that something in the shared memory of the CTA has in another one's."""
    t = d.type_of(inst, "u32", "u64")
    generic = not d.only(inst, "shared::cluster")
    dst, src, rank = d.expect(inst, 3)
    r, rank_reader = d.read(inst, src, t), d.read(inst, rank, "u32")
    w = d.write(inst, dst, t)
    base = np.uint64(WINDOWS["shared"] if generic else 0)
    if generic and t == "u32":
        raise d.fail(inst)

    def run(m: Machine) -> None:
        offset = r(m).astype(np.uint64) - base
        offset = offset & np.uint64((1 << RANK_SHIFT) - 1)
        where = (rank_reader(m).astype(np.uint64) + np.uint64(1)) << np.uint64(RANK_SHIFT)
        w(m, (base + where + offset).astype(np.dtype(t.replace("u", "uint"))))

    return run


@builder("isspacep")
def build_isspacep(d: Decoder, inst: Instruction) -> Action:
    space = _SPACES[inst.mods[0]]
    dst, src = d.expect(inst, 2)
    r, w = d.read(inst, src, "u64"), d.write(inst, dst, "pred")

    def test(m: Machine) -> None:
        a = r(m)
        inside = {
            name: (a >= np.uint64(base)) & (a < np.uint64(base + WINDOW_BYTES))
            for name, base in WINDOWS.items()
        }
        if space == "global":
            w(m, ~(inside["shared"] | inside["local"] | inside["param"]))
        else:
            w(m, inside[space])

    return test
