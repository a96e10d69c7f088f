# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoding of arithmetic on floats and integers, and of bit operations."""

from __future__ import annotations

from collections.abc import Callable
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
    narrow_relu,
    packed,
    packed_f32,
    ternary,
    unary,
)
from .parser import TYPE_BITS, Imm, Instruction

if TYPE_CHECKING:
    from .machine import Machine

# --- Float arithmetic ----------------------------------------------------------------------


def float_finish(mods: set[str]) -> Callable[[np.ndarray], np.ndarray]:
    """What happens to an f32 result: one NaN, then flushing and clamping as asked."""
    ftz, sat = "ftz" in mods, "sat" in mods

    def finish(r: np.ndarray) -> np.ndarray:
        r = nx.canonical_f32(r)
        if ftz:
            r = nx.flush_f32(r)
        if sat:  # NaN becomes +0.
            r = np.where(r > 0, np.minimum(r, np.float32(1)), np.float32(0))
        return r

    return finish


def float_inputs(mods: set[str]) -> Callable[[np.ndarray], np.ndarray]:
    return nx.flush_f32 if "ftz" in mods else lambda x: x


ARITHMETIC: dict[str, Function] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}


def float_binary(d: Decoder, inst: Instruction, type_name: str) -> Action:
    op = inst.opcode
    fn = ARITHMETIC[op]
    if type_name == "f64":
        d.only(inst, "rn")
        return binary(d, inst, type_name, lambda a, b: canonical_f64(fn(a, b)))
    if type_name == "f32":
        mods = d.only(inst, "rn", "ftz", "sat")
        finish, prepare = float_finish(mods), float_inputs(mods)
        return binary(d, inst, type_name, lambda a, b: finish(fn(prepare(a), prepare(b))))
    if type_name == "f32x2":
        finish, prepare = float_finish(mods := d.only(inst, "rn", "ftz")), float_inputs(mods)
        return binary(
            d,
            inst,
            "b64",
            lambda a, b: packed_f32(lambda x, y: finish(fn(prepare(x), prepare(y))), a, b),
        )
    d.only(inst, "rn")
    kind = type_name.removesuffix("x2")
    if type_name.endswith("x2"):
        return binary(
            d,
            inst,
            type_name,
            lambda a, b: packed(lambda x, y: nx.narrow_binary(kind, op, x, y), a, b),
        )
    return binary(d, inst, type_name, lambda a, b: nx.narrow_binary(kind, op, a, b))


def mixed(d: Decoder, inst: Instruction, kind: str) -> Action:
    """add, sub or fma on f32, of which all operands but the last are `kind` (from sm_100 on)."""
    mods = d.only(inst, "rn", "f32", "sat")
    finish = float_finish(mods)
    up = nx.bf16_to_f32 if kind == "bf16" else nx.f16_to_f32
    if inst.opcode == "fma":
        return ternary(d, inst, ("f32", kind, kind, "f32"),
                       lambda a, b, c: finish(nx.fma_f32(up(a), up(b), c)))
    fn = ARITHMETIC[inst.opcode]
    return binary(d, inst, kind, lambda a, c: finish(fn(up(a), c)), result="f32", second="f32")


@builder("fma")
def build_fma(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, "f32", "f64", "f32x2", *NARROW)
    if type_name in ("f16", "bf16") and "f32" in inst.mods:
        return mixed(d, inst, type_name)
    types = ("b64" if type_name == "f32x2" else type_name,) * 4
    if type_name == "f64":
        d.only(inst, "rn")
        return ternary(d, inst, types, lambda a, b, c: canonical_f64(nx.fma_f64(a, b, c)))
    if type_name in ("f32", "f32x2"):
        mods = d.only(inst, "rn", "ftz", *(("sat",) if type_name == "f32" else ()))
        finish, p = float_finish(mods), float_inputs(mods)

        def fma_f32(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
            return finish(nx.fma_f32(p(a), p(b), p(c)))

        if type_name == "f32x2":
            return ternary(d, inst, types, lambda a, b, c: packed_f32(fma_f32, a, b, c))
        return ternary(d, inst, types, fma_f32)
    relu = "relu" in d.only(inst, "rn", "relu")
    kind = type_name.removesuffix("x2")

    def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        r = nx.narrow_fma(kind, a, b, c)
        return narrow_relu(r) if relu else r

    if type_name.endswith("x2"):
        return ternary(d, inst, types, lambda a, b, c: packed(fma, a, b, c))
    return ternary(d, inst, types, fma)


@builder("add", "sub", "mul")
def build_arithmetic(d: Decoder, inst: Instruction) -> Action:
    op = inst.opcode
    type_name = inst.mods[-1] if inst.mods else ""
    if op != "mul" and type_name in ("f16", "bf16") and "f32" in inst.mods:
        return mixed(d, inst, type_name)
    if type_name in ("f32", "f64", "f32x2") + NARROW:
        return float_binary(d, inst, type_name)
    if op == "add" and type_name in ("u16x2", "s16x2"):
        d.only(inst)
        return binary(d, inst, type_name, lambda a, b: packed(lambda x, y: x + y, a, b))
    type_name = d.type_of(inst, *INTEGERS)
    if op == "mul":
        return build_integer_mul(d, inst, type_name)
    mods = d.only(inst, *(("sat",) if type_name == "s32" else ()))
    fn = ARITHMETIC[op]
    if "sat" in mods:

        def saturating(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            wide = fn(np.asarray(a).astype(np.int64), np.asarray(b).astype(np.int64))
            return np.clip(wide, -(2**31), 2**31 - 1).astype(np.int32)

        return binary(d, inst, type_name, saturating)
    return binary(d, inst, type_name, fn)


def product(type_name: str, half: str) -> tuple[Function, str]:
    """The integer product function for .lo, .hi or .wide, and the type of its result."""
    bits, signed = TYPE_BITS[type_name], type_name[0] == "s"
    if half == "lo":
        return (lambda a, b: a * b), type_name
    if half == "hi":
        return (lambda a, b: nx.mul_hi(a, b, bits, signed)), type_name
    result = f"{type_name[0]}{2 * bits}"
    dtype = COMPUTE[result]
    return (lambda a, b: a.astype(dtype) * b.astype(dtype)), result


def half_of(d: Decoder, inst: Instruction, type_name: str) -> str:
    if len(inst.mods) != 2 or inst.mods[0] not in ("lo", "hi", "wide"):
        raise d.fail(inst)
    if inst.mods[0] == "wide" and TYPE_BITS[type_name] == 64:
        raise d.fail(inst)
    return inst.mods[0]


def build_integer_mul(d: Decoder, inst: Instruction, type_name: str) -> Action:
    fn, result = product(type_name, half_of(d, inst, type_name))
    return binary(d, inst, type_name, fn, result=result)


@builder("mad")
def build_mad(d: Decoder, inst: Instruction) -> Action:
    if inst.mods[-1] in ("f32", "f64"):  # The same as fma on everything since sm_20.
        return build_fma(d, inst)
    type_name = d.type_of(inst, *INTEGERS)
    fn, result = product(type_name, half_of(d, inst, type_name))
    types = (result, type_name, type_name, result)
    return ternary(d, inst, types, lambda a, b, c: fn(a, b) + c)


@builder("div", "rem")
def build_div(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, "f32", "f64", *INTEGERS)
    if type_name in ("f32", "f64"):
        if inst.opcode == "rem":
            raise d.fail(inst)
        # approx and full are given the correctly rounded quotient; see interpreter.py.
        mods = d.only(inst, "rn", "approx", "full", "ftz")
        if type_name == "f64":
            return binary(d, inst, type_name, lambda a, b: canonical_f64(a / b))
        finish, prepare = float_finish(mods), float_inputs(mods)
        return binary(d, inst, type_name, lambda a, b: finish(prepare(a) / prepare(b)))
    d.only(inst)
    dst, a, b = d.expect(inst, 3)
    ra, rb = d.read(inst, a, type_name), d.read(inst, b, type_name)
    w = d.write(inst, dst, type_name)
    remainder = inst.opcode == "rem"

    def divide(m: Machine) -> None:
        divisor = rb(m)
        zero = np.flatnonzero(np.broadcast_to(divisor == 0, (m.n,)))
        if zero.size:
            m.fault("division by zero has an unspecified result", int(zero[0]))
        w(m, nx.divide(ra(m), divisor, remainder))

    return divide


@builder("min", "max")
def build_min_max(d: Decoder, inst: Instruction) -> Action:
    op = inst.opcode
    type_name = d.type_of(inst, "f32", "f64", "u16x2", "s16x2", *NARROW, *INTEGERS)
    pick = np.minimum if op == "min" else np.maximum
    if type_name in INTEGERS:
        relu = "relu" in d.only(inst, *(("relu",) if type_name == "s32" else ()))
        if relu:
            return binary(d, inst, type_name, lambda a, b: np.maximum(pick(a, b), np.int32(0)))
        return binary(d, inst, type_name, pick)
    if type_name in ("u16x2", "s16x2"):
        d.only(inst)
        part = np.dtype(np.int16 if type_name[0] == "s" else np.uint16)

        def both(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return pick(x.view(part), y.view(part)).view(np.uint16)

        return binary(d, inst, type_name, lambda a, b: packed(both, a, b))
    mods = d.only(inst, "NaN", "ftz")
    nan = "NaN" in mods
    if type_name in ("f32", "f64"):
        raw = f"b{TYPE_BITS[type_name]}"
        dtype = COMPUTE[type_name]
        ftz = "ftz" in mods

        def choose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            if ftz:
                a = nx.flush_f32(a.view(np.float32)).view(np.uint32)
                b = nx.flush_f32(b.view(np.float32)).view(np.uint32)
            return nx.float_min_max(a, b, type_name, op, nan).view(dtype)

        # Raw bits in, so that NaN payloads cannot change on the way.
        return binary(d, inst, raw, choose)
    kind = type_name.removesuffix("x2")

    def narrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return nx.float_min_max(x, y, kind, op, nan)

    if type_name.endswith("x2"):
        return binary(d, inst, type_name, lambda a, b: packed(narrow, a, b))
    return binary(d, inst, type_name, narrow)


@builder("neg", "abs")
def build_sign(d: Decoder, inst: Instruction) -> Action:
    negate = inst.opcode == "neg"
    type_name = d.type_of(inst, "f32", "f64", "s16", "s32", "s64", *NARROW)
    if type_name in ("s16", "s32", "s64"):
        d.only(inst)
        return unary(d, inst, type_name, (lambda a: -a) if negate else np.abs)
    mods = d.only(inst, "ftz")
    bits = TYPE_BITS[type_name]
    sign = 0x80008000 if type_name.endswith("x2") else 1 << (bits - 1)
    t = STORAGE[bits].type
    mask = t(sign) if negate else t(((1 << bits) - 1) ^ sign)
    fn: Function = (lambda a: a ^ mask) if negate else (lambda a: a & mask)
    if "ftz" in mods:
        return unary(
            d, inst, f"b{bits}", lambda a: fn(nx.flush_f32(a.view(np.float32)).view(np.uint32))
        )
    return unary(d, inst, f"b{bits}", fn)


# Functions whose hardware versions are approximations: these are the rounded exact values.
APPROXIMATIONS: dict[str, Function] = {
    "rcp": lambda x: 1.0 / x,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}


@builder("rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh")
def build_approximate(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, "f32", "f64")
    mods = d.only(inst, "rn", "approx", "ftz")
    fn = APPROXIMATIONS[inst.opcode]
    if type_name == "f64":
        return unary(d, inst, type_name, lambda a: canonical_f64(fn(a)))
    finish, prepare = float_finish(mods), float_inputs(mods)

    def run(a: np.ndarray) -> np.ndarray:
        return finish(fn(np.asarray(prepare(a)).astype(np.float64)).astype(np.float32))

    return unary(d, inst, type_name, run)


@builder("copysign")
def build_copysign(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, "f32", "f64")
    d.only(inst)
    # copysign d, a, b: the sign of a on the magnitude of b.
    return binary(d, inst, type_name, lambda a, b: np.copysign(b, a))


@builder("testp")
def build_testp(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, "f32", "f64")
    least = np.finfo(COMPUTE[type_name]).tiny
    tests: dict[str, Function] = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda a: ~np.isnan(a),
        "notanumber": np.isnan,
        "normal": lambda a: np.isfinite(a) & (np.abs(a) >= least),
        "subnormal": lambda a: (np.abs(a) < least) & (a != 0),
    }
    return unary(d, inst, type_name, tests[inst.mods[0]], result="pred")


# --- Integers and bits ---------------------------------------------------------------------


@builder("and", "or", "xor")
def build_logic(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, "pred", *BITS)
    d.only(inst)
    return binary(d, inst, type_name, BOOLEAN[inst.opcode])


@builder("not")
def build_not(d: Decoder, inst: Instruction) -> Action:
    return unary(d, inst, d.type_of(inst, "pred", *BITS), lambda a: ~a)


@builder("cnot")
def build_cnot(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, *BITS)
    dtype = COMPUTE[type_name]
    return unary(d, inst, type_name, lambda a: (a == 0).astype(dtype))


@builder("shl", "shr")
def build_shift(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, *BITS, *(INTEGERS if inst.opcode == "shr" else ()))
    d.only(inst)
    bits, dtype = TYPE_BITS[type_name], COMPUTE[type_name]
    last = np.uint32(bits - 1)

    def shift(a: np.ndarray, count: np.ndarray) -> np.ndarray:
        inside = np.minimum(count, last).astype(dtype)
        if inst.opcode == "shl":
            r = a << inside
        else:
            r = a >> inside
            if dtype.kind == "i":
                return r
        over = count > last
        return np.where(over, dtype.type(0), r) if np.any(over) else r

    return binary(d, inst, type_name, shift, second="u32")


@builder("shf")
def build_funnel(d: Decoder, inst: Instruction) -> Action:
    d.type_of(inst, "b32")
    left, wrap = {"l": True, "r": False}[inst.mods[0]], {"wrap": True, "clamp": False}[inst.mods[1]]

    def shift(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        n = (c & np.uint32(31)) if wrap else np.minimum(c, np.uint32(32))
        both = a.astype(np.uint64) | (b.astype(np.uint64) << np.uint64(32))
        n = n.astype(np.uint64)
        if left:
            # The high word of both << n, written without overflowing a shift by 32.
            both = both << n
            return (both >> np.uint64(32)).astype(np.uint32)
        return (both >> n).astype(np.uint32)

    return ternary(d, inst, ("b32", "b32", "b32", "u32"), shift)


@builder("popc", "clz", "brev", "bfind")
def build_bit_count(d: Decoder, inst: Instruction) -> Action:
    op = inst.opcode
    if op == "bfind":
        type_name = d.type_of(inst, "u32", "s32", "u64", "s64")
        amount = "shiftamt" in d.only(inst, "shiftamt")
        bits = TYPE_BITS[type_name]

        def find(a: np.ndarray) -> np.ndarray:
            if type_name[0] == "s":
                a = np.where(a < 0, ~a, a)
            p = nx.highest_bit(np.asarray(a).astype(STORAGE[bits]))
            if amount:
                p = np.where(p < 0, -1, bits - 1 - p)
            return p.astype(np.int32).view(np.uint32)

        return unary(d, inst, type_name, find, result="u32")
    type_name = d.type_of(inst, "b32", "b64")
    d.only(inst)
    bits = TYPE_BITS[type_name]
    if op == "popc":
        return unary(
            d, inst, type_name, lambda a: np.bitwise_count(a).astype(np.uint32), result="u32"
        )
    if op == "clz":
        count = lambda a: (bits - 1 - nx.highest_bit(a)).astype(np.uint32)  # noqa: E731
        return unary(d, inst, type_name, count, result="u32")
    return unary(d, inst, type_name, lambda a: nx.reverse_bits(a, bits))


@builder("bfe")
def build_bfe(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, "u32", "s32", "u64", "s64")
    bits, dtype = TYPE_BITS[type_name], COMPUTE[type_name]
    signed, raw = type_name[0] == "s", STORAGE[bits]

    def extract(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        a, position, length = np.broadcast_arrays(a, b & np.uint32(255), c & np.uint32(255))
        value = np.ascontiguousarray(a).view(raw)
        position, length = position.astype(np.int64), length.astype(np.int64)
        shifted = np.where(
            position < bits, value >> np.minimum(position, bits - 1).astype(raw), raw.type(0)
        )
        ones = raw.type((1 << bits) - 1)
        keep = ones >> np.clip(bits - length, 0, bits - 1).astype(raw)
        keep = np.where(length == 0, raw.type(0), keep)
        r = shifted & keep
        if signed:
            top = np.minimum(position + length - 1, bits - 1)
            sign = (value >> np.maximum(top, 0).astype(raw)) & raw.type(1)
            sign = np.where(length == 0, raw.type(0), sign)
            # Above the field, and above the part of it that the register holds, is the sign.
            held = np.clip(np.minimum(length, bits - position), 0, bits)
            low = ones >> np.minimum(bits - held, bits - 1).astype(raw)
            low = np.where(held == 0, raw.type(0), low)
            r = np.where(sign != 0, (r & low) | ~low, r & low)
        return r.view(dtype)

    return ternary(d, inst, (type_name, type_name, "u32", "u32"), extract)


@builder("bfi")
def build_bfi(d: Decoder, inst: Instruction) -> Action:
    type_name = d.type_of(inst, "b32", "b64")
    bits = TYPE_BITS[type_name]
    raw = STORAGE[bits]
    dst, a, b, c, e = d.expect(inst, 5)
    ra, rb = d.read(inst, a, type_name), d.read(inst, b, type_name)
    rc, re_ = d.read(inst, c, "u32"), d.read(inst, e, "u32")
    w = d.write(inst, dst, type_name)

    def insert(m: Machine) -> None:
        position = (rc(m) & np.uint32(255)).astype(np.int64)
        length = (re_(m) & np.uint32(255)).astype(np.int64)
        ones = raw.type((1 << bits) - 1)
        field = np.where(
            length == 0, raw.type(0), ones >> np.clip(bits - length, 0, bits - 1).astype(raw)
        )
        shift = np.minimum(position, bits - 1).astype(raw)
        mask = np.where(position < bits, field << shift, raw.type(0))
        w(m, (rb(m) & ~mask) | ((ra(m) << shift) & mask))

    return insert


@builder("prmt")
def build_prmt(d: Decoder, inst: Instruction) -> Action:
    if inst.mods != ("b32",):
        raise d.fail(inst)
    return ternary(d, inst, ("b32",) * 4, nx.permute_bytes)


@builder("lop3")
def build_lop3(d: Decoder, inst: Instruction) -> Action:
    if inst.mods != ("b32",):
        raise d.fail(inst)
    dst, a, b, c, table = d.expect(inst, 5)
    if not isinstance(table, Imm) or not isinstance(table.value, int):
        raise d.fail(inst, "the table of lop3 must be an immediate")
    ra, rb, rc = (d.read(inst, o, "b32") for o in (a, b, c))
    w, lut = d.write(inst, dst, "b32"), table.value & 255

    def logic(m: Machine) -> None:
        x, y, z = ra(m), rb(m), rc(m)
        r = np.zeros(m.n, np.uint32)
        for i in range(8):
            if lut >> i & 1:
                term = (x if i & 4 else ~x) & (y if i & 2 else ~y) & (z if i & 1 else ~z)
                r |= term
        w(m, r)

    return logic


@builder("sad")
def build_sad(d: Decoder, inst: Instruction) -> Action:
    t = d.type_of(inst, *INTEGERS)
    return ternary(d, inst, (t,) * 4, lambda a, b, c: c + np.where(a < b, b - a, a - b))
