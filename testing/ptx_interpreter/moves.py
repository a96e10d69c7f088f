# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoding of comparisons, selections, moves, conversions and of what has no effect here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import numerics as nx
from .decoder import (
    BITS,
    BOOLEAN,
    COMPUTE,
    INTEGERS,
    NARROW,
    STORAGE,
    Action,
    Decoder,
    Function,
    binary,
    builder,
    canonical_f64,
    halves,
    narrow_relu,
    ternary,
    unary,
)
from .parser import TYPE_BITS, Instruction, Operand, Pair, Vec

if TYPE_CHECKING:
    from .machine import Machine

COMPARISONS: dict[str, Function] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lo": lambda a, b: a < b,
    "ls": lambda a, b: a <= b,
    "hi": lambda a, b: a > b,
    "hs": lambda a, b: a >= b,
}

FLOAT_COMPARISONS: dict[str, Function] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: (a < b) | (a > b),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "equ": lambda a, b: ~((a < b) | (a > b)),
    "neu": lambda a, b: a != b,
    "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b),
    "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: (a == a) & (b == b),
    "nan": lambda a, b: (a != a) | (b != b),
}


# --- Comparison and selection --------------------------------------------------------------


@builder("setp", "set")
def build_setp(d: Decoder, inst: Instruction) -> Action:
    mods = [m for m in inst.mods if m != "ftz"]
    ftz = "ftz" in inst.mods
    is_set = inst.opcode == "set"
    result = mods.pop(-2) if is_set else "pred"
    type_name = mods[-1]
    compare_name, boolean = mods[0], None
    if len(mods) == 3:
        boolean = BOOLEAN[mods[1]]
    elif len(mods) != 2:
        raise d.fail(inst)
    floating = type_name in ("f32", "f64") + NARROW
    if type_name not in INTEGERS + BITS + ("f32", "f64") + NARROW:
        raise d.fail(inst, f"unsupported type .{type_name}")
    if type_name[0] == "b" and not floating and compare_name not in ("eq", "ne"):
        raise d.fail(inst)
    if type_name in ("s16", "s32", "s64") and compare_name in ("lo", "ls", "hi", "hs"):
        raise d.fail(inst)
    compare = (FLOAT_COMPARISONS if floating else COMPARISONS)[compare_name]
    operands = d.expect(inst, 4 if boolean else 3)
    dst, a, b = operands[:3]
    ra, rb = d.read(inst, a, type_name), d.read(inst, b, type_name)
    rc = d.read(inst, operands[3], "pred") if boolean else None
    kind = type_name.removesuffix("x2")
    up: Function = lambda x: x  # noqa: E731
    if kind in ("bf16", "f16"):
        up = nx.bf16_to_f32 if kind == "bf16" else nx.f16_to_f32
    elif ftz:
        up = nx.flush_f32
    combine = boolean or (lambda p, c: p)

    def condition(m: Machine) -> tuple[np.ndarray, np.ndarray]:
        c = rc(m) if rc else np.True_
        p = compare(up(ra(m)), up(rb(m)))
        return combine(p, c), combine(~p, c) if pair is not None or rc is None else p

    pair = dst if isinstance(dst, Pair) else None
    if type_name.endswith("x2"):
        if pair is None or is_set:
            raise d.fail(inst)
        w0, w1 = d.write(inst, pair.first, "pred"), d.write(inst, pair.second, "pred")

        def packed_compare(m: Machine) -> None:
            x, y = (np.ascontiguousarray(np.broadcast_to(v, (m.n,))) for v in (ra(m), rb(m)))
            p = compare(up(halves(x)), up(halves(y)))
            c = rc(m) if rc else np.True_
            low, high = combine(p[0::2], c), combine(p[1::2], c)
            w0(m, low)
            w1(m, high)

        return packed_compare
    if is_set:
        w = d.write(inst, dst, result)
        true = {
            "u32": np.uint32(0xFFFFFFFF),
            "s32": np.int32(-1),
            "f32": np.float32(1.0),
        }[result]
        return lambda m: w(m, np.where(condition(m)[0], true, true.dtype.type(0)))
    if pair is not None:
        w0, w1 = d.write(inst, pair.first, "pred"), d.write(inst, pair.second, "pred")

        def two(m: Machine) -> None:
            p, q = condition(m)
            w0(m, p)
            w1(m, q)

        return two
    w = d.write(inst, dst, "pred")
    if rc is None:
        return lambda m: w(m, compare(up(ra(m)), up(rb(m))))
    return lambda m: w(m, combine(compare(up(ra(m)), up(rb(m))), rc(m)))


@builder("selp")
def build_selp(d: Decoder, inst: Instruction) -> Action:
    t = d.type_of(inst, *BITS, *INTEGERS, "f32", "f64")
    return ternary(d, inst, (t, t, t, "pred"), lambda a, b, c: np.where(c, a, b))


@builder("slct")
def build_slct(d: Decoder, inst: Instruction) -> Action:
    mods = [m for m in inst.mods if m != "ftz"]
    t, selector = mods
    if selector not in ("s32", "f32"):
        raise d.fail(inst)
    return ternary(d, inst, (t, t, t, selector), lambda a, b, c: np.where(c >= 0, a, b))


# --- Moves and conversions -----------------------------------------------------------------


@builder("mov")
def build_mov(d: Decoder, inst: Instruction) -> Action:
    type_name = inst.mods[-1]
    if len(inst.mods) != 1 or type_name not in TYPE_BITS:
        raise d.fail(inst)
    dst, src = d.expect(inst, 2)
    bits = TYPE_BITS[type_name]
    if isinstance(dst, Vec) and isinstance(src, Vec):
        raise d.fail(inst)
    if isinstance(dst, Vec):
        return build_unpack(d, inst, dst, src, bits)
    if isinstance(src, Vec):
        return build_pack(d, inst, dst, src, bits)
    r, w = d.read(inst, src, type_name), d.write(inst, dst, type_name)
    return lambda m: w(m, r(m))


def build_unpack(d: Decoder, inst: Instruction, dst: Vec, src: Operand, bits: int) -> Action:
    count = len(dst.items)
    part = bits // count
    if part not in (8, 16, 32, 64) or part * count != bits:
        raise d.fail(inst)
    r = d.read(inst, src, f"b{bits}")
    writers = [d.write(inst, o, f"b{part}") for o in dst.items]
    dtype = STORAGE[part]

    def unpack(m: Machine) -> None:
        value = np.broadcast_to(r(m), (m.n, 2) if bits == 128 else (m.n,))
        # A copy: a destination may be written while another part is still to be read.
        columns = np.array(value).view(dtype).reshape(-1, count)
        for i, w in enumerate(writers):
            w(m, np.ascontiguousarray(columns[:, i]))

    return unpack


def build_pack(d: Decoder, inst: Instruction, dst: Operand, src: Vec, bits: int) -> Action:
    count = len(src.items)
    part = bits // count
    if part not in (8, 16, 32, 64) or part * count != bits:
        raise d.fail(inst)
    readers = [d.read(inst, o, f"b{part}") for o in src.items]
    w, dtype = d.write(inst, dst, f"b{bits}"), STORAGE[part]

    def pack(m: Machine) -> None:
        columns = np.empty((m.n, count), dtype)
        for i, r in enumerate(readers):
            columns[:, i] = r(m)
        w(m, columns.view(np.uint64) if bits == 128 else columns.view(STORAGE[bits])[:, 0])

    return pack


ROUND_TO_INT = ("rni", "rzi", "rmi", "rpi")


@builder("cvt")
def build_cvt(d: Decoder, inst: Instruction) -> Action:
    to, source = inst.mods[-2], inst.mods[-1]
    mods = set(inst.mods[:-2])
    if to in ("bf16x2", "f16x2", "e4m3x2", "e5m2x2"):
        return build_packed_cvt(d, inst, to, source, mods)
    allowed = {"rn", "rz", "rm", "rp", "ftz", "sat", "relu", *ROUND_TO_INT}
    if mods - allowed or to not in TYPE_BITS or source not in TYPE_BITS:
        raise d.fail(inst)
    dst, src = d.expect(inst, 2)
    r, w = d.read(inst, src, source, relaxed=True), d.write(inst, dst, to, relaxed=True)
    fn = conversion(d, inst, to, source, mods)
    return lambda m: w(m, fn(np.asarray(r(m))))


FLOATS = ("f32", "f64", "bf16", "f16")


def conversion(
    d: Decoder, inst: Instruction, to: str, source: str, mods: set[str]
) -> Function:
    """The function of a scalar cvt."""
    rounding = next((m for m in mods if m in ("rn", "rz", "rm", "rp")), "")
    integral = next((m for m in mods if m in ROUND_TO_INT), "")
    saturate, ftz, relu = "sat" in mods, "ftz" in mods, "relu" in mods
    widths = TYPE_BITS[to], TYPE_BITS[source]
    if to not in FLOATS and source not in FLOATS:
        if rounding or integral or ftz or relu or to[0] == "b" or source[0] == "b":
            raise d.fail(inst)
        dtype = COMPUTE[to]
        if not saturate:
            return lambda x: x.astype(dtype)
        info = np.iinfo(dtype)

        def clamp(x: np.ndarray) -> np.ndarray:
            own = np.iinfo(x.dtype)
            low, high = max(info.min, own.min), min(info.max, own.max)
            return np.clip(x, x.dtype.type(low), x.dtype.type(high)).astype(dtype)

        return clamp
    if source in FLOATS:
        unpack = {
            "f32": (lambda x: nx.flush_f32(x)) if ftz else (lambda x: x),
            "f64": lambda x: x,
            "bf16": nx.bf16_to_f32,
            "f16": nx.f16_to_f32,
        }[source]
    if to not in FLOATS:
        if not integral or relu or to[0] == "b":
            raise d.fail(inst)
        return lambda x: nx.float_to_int(unpack(x), integral, widths[0], to[0] == "s", 64 in widths)
    if source not in FLOATS:
        if not rounding or integral or ftz or relu or saturate:
            raise d.fail(inst)
        if to == "f32":
            return lambda x: nx.int_to_f32(x, rounding)
        if rounding != "rn" or (to != "f64" and widths[1] == 64):
            raise d.fail(inst)
        narrow = {
            "f64": lambda x: x,
            "bf16": nx.f64_to_bf16,
            "f16": nx.f64_to_f16,
        }[to]
        return lambda x: narrow(x.astype(np.float64))
    # Float to float.
    if widths[0] < widths[1] and rounding not in ("rn", "rz"):
        raise d.fail(inst)
    if rounding == "rz" and to != "bf16":
        raise d.fail(inst)
    if widths[0] >= widths[1] and rounding and to != source and widths[0] != widths[1]:
        raise d.fail(inst)
    if integral and to != source:
        raise d.fail(inst)
    whole = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}.get(integral)
    zero = rounding == "rz"

    def convert(x: np.ndarray) -> np.ndarray:
        # An f32 stays one, so that widening bf16 keeps NaN payloads, as the hardware's shift does.
        v = unpack(x)
        if whole is not None:
            v = whole(v)
        if saturate:
            v = np.where(v > 0, np.minimum(v, v.dtype.type(1)), v.dtype.type(0))
        if relu:
            v = np.where(v < 0, v.dtype.type(0), v)
            v = np.where(v == 0, v.dtype.type(0), v)
        if to == "f64":
            return canonical_f64(v.astype(np.float64))
        if to == "bf16":
            return f64_or_f32_to_bf16(v, zero)
        if to == "f16":
            return nx.f64_to_f16(v)
        if source == "bf16":
            return v
        v = nx.canonical_f32(v.astype(np.float32))
        return nx.flush_f32(v) if ftz else v

    return convert


def f64_or_f32_to_bf16(v: np.ndarray, toward_zero: bool) -> np.ndarray:
    if v.dtype == np.float64:
        v = nx.round_to_odd_f32(v)
    return nx.f32_to_bf16(v, toward_zero)


def build_packed_cvt(d: Decoder, inst: Instruction, to: str, source: str, mods: set[str]) -> Action:
    relu = "relu" in mods
    if to in ("bf16x2", "f16x2") and source == "f32":
        if mods - {"rn", "rz", "relu"} or ("rz" in mods and to == "f16x2"):
            raise d.fail(inst)
        toward_zero = "rz" in mods

        def narrow(x: np.ndarray) -> np.ndarray:
            r = nx.f32_to_bf16(x, toward_zero) if to == "bf16x2" else nx.f64_to_f16(x)
            return narrow_relu(r) if relu else r

        def join(high: np.ndarray, low: np.ndarray) -> np.ndarray:
            h, lo = narrow(high).astype(np.uint32), narrow(low).astype(np.uint32)
            return (h << np.uint32(16)) | lo

        return binary(d, inst, "f32", join, result="b32")
    if to in ("e4m3x2", "e5m2x2") and source == "f32":
        if not {"rn", "satfinite"} <= mods or mods - {"rn", "satfinite", "relu"}:
            raise d.fail(inst)

        def encode(high: np.ndarray, low: np.ndarray) -> np.ndarray:
            h = nx.f32_to_fp8(high, to, relu).astype(np.uint16)
            return (h << np.uint16(8)) | nx.f32_to_fp8(low, to, relu)

        return binary(d, inst, "f32", encode, result="b16")
    if to in ("e4m3x2", "e5m2x2") and source == "f16x2":
        if not {"rn", "satfinite"} <= mods or mods - {"rn", "satfinite", "relu"}:
            raise d.fail(inst)

        def encode_halves(x: np.ndarray) -> np.ndarray:
            code = nx.f32_to_fp8(nx.f16_to_f32(halves(x)), to, relu)
            return np.ascontiguousarray(code).view(np.uint16)

        return unary(d, inst, "b32", encode_halves, result="b16")
    if to == "f16x2" and source in ("e4m3x2", "e5m2x2"):
        if mods - {"rn", "relu"}:
            raise d.fail(inst)

        def decode(x: np.ndarray) -> np.ndarray:
            r = nx.fp8_to_f16(np.atleast_1d(x).view(np.uint8), source)
            r = narrow_relu(r) if relu else r
            return np.ascontiguousarray(r).view(np.uint32)

        return unary(d, inst, "b16", decode, result="b32")
    raise d.fail(inst)


# --- Fences and hints ----------------------------------------------------------------------


@builder("membar", "fence", "griddepcontrol", "prefetch", "prefetchu", "applypriority", "nanosleep")
def build_nothing(d: Decoder, inst: Instruction) -> Action:
    """No effect here: memory is sequentially consistent, and launches do not overlap."""
    if inst.opcode == "griddepcontrol" and inst.mods not in (("wait",), ("launch_dependents",)):
        raise d.fail(inst)
    return lambda m: None


@builder("createpolicy")
def build_createpolicy(d: Decoder, inst: Instruction) -> Action:
    """Cache policies have no effect here, so any value will do."""
    w = d.write(inst, inst.operands[0], "b64")
    return lambda m: w(m, np.uint64(0))


@builder("activemask")
def build_activemask(d: Decoder, inst: Instruction) -> Action:
    (dst,) = d.expect(inst, 1)
    w = d.write(inst, dst, "b32")
    return lambda m: w(m, m.lane_bits_of_active())
