# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arithmetic of PTX types on numpy arrays, with the roundings and NaN rules of PTX.

Registers hold raw bits, so the narrow float functions here take and give unsigned integers.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

CANONICAL_F32 = np.uint32(0x7FFFFFFF)
CANONICAL_16 = np.uint16(0x7FFF)
CANONICAL_F64 = np.uint64(0x7FFFFFFFFFFFFFFF)


def canonical_f32(x: np.ndarray) -> np.ndarray:
    """Replaces every NaN by the one NaN that f32 arithmetic produces."""
    x = np.asarray(x, np.float32)
    nan = x != x
    if nan.any():
        x = np.where(nan, CANONICAL_F32.view(np.float32), x)
    return x


def flush_f32(x: np.ndarray) -> np.ndarray:
    """.ftz: subnormals become zeros of the same sign."""
    x = np.asarray(x, np.float32)
    tiny = np.abs(x) < np.float32(2.0**-126)
    return np.where(tiny, np.copysign(np.float32(0), x), x) if tiny.any() else x


# --- bf16 and f16 ---------------------------------------------------------------------------


def bf16_to_f32(bits: np.ndarray) -> np.ndarray:
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)


def f32_to_bf16(x: np.ndarray, toward_zero: bool = False) -> np.ndarray:
    bits = np.asarray(x, np.float32).view(np.uint32)
    if toward_zero:
        result = (bits >> np.uint32(16)).astype(np.uint16)
    else:
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        result = ((bits + half) >> np.uint32(16)).astype(np.uint16)
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    return np.where(nan, CANONICAL_16, result) if nan.any() else result


def f16_to_f32(bits: np.ndarray) -> np.ndarray:
    return canonical_f32(np.asarray(bits, np.uint16).view(np.float16).astype(np.float32))


def f64_to_f16(x: np.ndarray) -> np.ndarray:
    """Rounds to nearest even.  f32 arguments are fine too: both conversions are single."""
    result = np.asarray(x).astype(np.float16).view(np.uint16)
    nan = np.isnan(x)
    return np.where(nan, CANONICAL_16, result) if np.any(nan) else result


def f64_to_bf16(x: np.ndarray) -> np.ndarray:
    """Rounds to nearest even in one step."""
    return f32_to_bf16(round_to_odd_f32(x))


def round_to_odd_f32(x: np.ndarray) -> np.ndarray:
    """Rounds f64 to f32 so that a later rounding to a narrower type is as if it were the only one.

    Rounding to odd keeps, in the last bit, the fact that something was cut off; with 24 bits that
    is harmless before rounding to any type of at most 22.
    """
    x = np.asarray(x, np.float64)
    near = x.astype(np.float32)
    back = near.astype(np.float64)
    # An overflow to infinity must come back as the largest finite value (which is odd).
    inexact = (back != x) & ~np.isnan(x)
    even = (near.view(np.uint32) & np.uint32(1)) == 0
    fix = inexact & even
    if not np.any(fix):
        return near
    toward = np.where(x > back, np.float32(np.inf), np.float32(-np.inf))
    return np.where(fix, np.nextafter(near, toward), near).astype(np.float32)


def exact_sum_to_odd(p: np.ndarray, c: np.ndarray) -> np.ndarray:
    """p + c in f64, rounded to odd, so that one further rounding to 51 bits or fewer is exact."""
    s = p + c
    # Knuth's two-sum: s + error is exactly p + c (no overflow: arguments come from f32).
    t = s - p
    error = (p - (s - t)) + (c - t)
    fix = (error != 0) & np.isfinite(error) & np.isfinite(s)
    fix &= (s.view(np.uint64) & np.uint64(1)) == 0
    if not fix.any():
        return s
    toward = np.where(error > 0, np.inf, -np.inf)
    return np.where(fix, np.nextafter(s, toward), s)


def fma_f32(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """One rounding.  The product of two f32 is exact in f64; only the sum needs care."""
    a, b, c = np.broadcast_arrays(np.asarray(a), np.asarray(b), np.asarray(c))
    p = a.astype(np.float64) * b.astype(np.float64)
    wide = c.astype(np.float64)
    s = np.atleast_1d(p + wide)
    # Rounding s again goes wrong only if s lies on a tie of f32; any tie has 28 low zero bits
    # (a subnormal result has more).  Only those elements pay for the exact sum.
    suspect = np.flatnonzero((s.view(np.uint64) & np.uint64(0x0FFFFFFF)) == 0)
    if suspect.size:
        s[suspect] = exact_sum_to_odd(np.atleast_1d(p)[suspect], np.atleast_1d(wide)[suspect])
    return canonical_f32(s.reshape(np.shape(p)).astype(np.float32))


def fma_f64(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Exact, through fractions: slow, but doubles are rare in these kernels."""

    def one(x: float, y: float, z: float) -> float:
        x, y, z = float(x), float(y), float(z)
        if not all(map(np.isfinite, (x, y, z))):
            return float(np.float64(x) * np.float64(y) + np.float64(z))
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        if exact == 0:
            return float(np.float64(x) * np.float64(y) + np.float64(z))
        try:
            return exact.numerator / exact.denominator
        except OverflowError:
            return float("inf") if exact > 0 else float("-inf")

    return np.vectorize(one, otypes=[np.float64])(a, b, c)


def narrow_binary(kind: str, op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """add, sub, mul of bf16 or f16 bits.

    f32 has more than twice the bits plus two of either type, which makes the double rounding
    (f32, then the narrow type) the same as a single one for these three operations.
    """
    up = bf16_to_f32 if kind == "bf16" else f16_to_f32
    x, y = up(a), up(b)
    r = x + y if op == "add" else x - y if op == "sub" else x * y
    return f32_to_bf16(r) if kind == "bf16" else f64_to_f16(r)


def narrow_fma(kind: str, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    up = bf16_to_f32 if kind == "bf16" else f16_to_f32
    x, y, z = (up(v).astype(np.float64) for v in (a, b, c))
    s = exact_sum_to_odd(np.atleast_1d(x * y), np.atleast_1d(z))
    r = f64_to_bf16(s) if kind == "bf16" else f64_to_f16(s)
    return r


def float_min_max(bits_a: np.ndarray, bits_b: np.ndarray, kind: str, op: str,
                  nan: bool) -> np.ndarray:
    """min and max on raw bits: -0 < +0; a NaN loses to a number, or wins with .NaN."""
    types: dict[str, tuple[Any, Any, Any]] = {
        "f32": (np.int32, np.uint32(0x7F800000), CANONICAL_F32),
        "f64": (np.int64, np.uint64(0x7FF0000000000000), CANONICAL_F64),
        "bf16": (np.int16, np.uint16(0x7F80), CANONICAL_16),
        "f16": (np.int16, np.uint16(0x7C00), CANONICAL_16),
    }
    signed, inf, canonical = types[kind]
    magnitude = canonical  # All ones but the sign: serves as the mask too.
    a, b = np.broadcast_arrays(np.asarray(bits_a), np.asarray(bits_b))

    def key(bits: np.ndarray) -> np.ndarray:
        s = bits.view(signed)
        return s ^ ((s >> signed(s.itemsize * 8 - 1)) & signed(magnitude))

    ka, kb = key(np.ascontiguousarray(a)), key(np.ascontiguousarray(b))
    r = np.where(ka < kb if op == "min" else ka > kb, a, b)
    na, nb = (a & magnitude) > inf, (b & magnitude) > inf
    if na.any() or nb.any():
        if nan:
            r = np.where(na | nb, canonical, r)
        else:
            r = np.where(na & nb, canonical, np.where(na, b, np.where(nb, a, r)))
    return r


# --- fp8 ------------------------------------------------------------------------------------


def round_f64(x: np.ndarray, precision: int, emin: int) -> np.ndarray:
    """Rounds to nearest even to a float type of that many bits and least normal exponent."""
    x = np.asarray(x, np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, emin)
    quantum = np.ldexp(1.0, exponent - (precision - 1))
    return np.where(np.isfinite(x), np.rint(x / quantum) * quantum, x)


_FP8 = {  # mantissa bits, exponent bias, largest finite value, code of the canonical NaN
    "e4m3x2": (3, 7, 448.0, 0x7F),
    "e5m2x2": (2, 15, 57344.0, 0x7F),
}


@cache
def _fp8_encode_table(kind: str) -> np.ndarray:
    """fp8 code of every bf16 pattern, saturating."""
    mantissa, bias, largest, nan_code = _FP8[kind]
    x = bf16_to_f32(np.arange(65536, dtype=np.uint32)).astype(np.float64)
    emin = 1 - bias
    magnitude = np.minimum(round_f64(np.abs(x), mantissa + 1, emin), largest)
    safe = np.where(np.isnan(magnitude), 0.0, magnitude)
    exponent = np.frexp(safe)[1] - 1
    normal = safe >= 2.0**emin
    units = np.ldexp(safe, mantissa - np.where(normal, exponent, emin)).astype(np.int64)
    code = np.where(normal, ((exponent + bias) << mantissa) + units - (1 << mantissa), units)
    code |= np.where(np.signbit(x), 0x80, 0)
    return np.where(np.isnan(x), nan_code, code).astype(np.uint8)


@cache
def _fp8_decode_table(kind: str) -> np.ndarray:
    """f16 bits of every fp8 code (every fp8 value is an f16 value)."""
    mantissa, bias, _, _ = _FP8[kind]
    code = np.arange(256)
    field, low = (code & 0x7F) >> mantissa, code & ((1 << mantissa) - 1)
    value = np.where(
        field == 0,
        np.ldexp(low.astype(np.float64), 1 - bias - mantissa),
        np.ldexp(low + float(1 << mantissa), field - bias - mantissa),
    )
    if kind == "e4m3x2":
        nan = (code & 0x7F) == 0x7F
    else:
        nan = (code & 0x7F) > 0x7C
        value = np.where((code & 0x7F) == 0x7C, np.inf, value)
    value = np.where(code & 0x80, -value, value)
    return np.where(nan, CANONICAL_16, value.astype(np.float16).view(np.uint16)).astype(np.uint16)


def f32_to_fp8(x: np.ndarray, kind: str, relu: bool = False) -> np.ndarray:
    """Rounds to nearest even and saturates; NaN gives 0x7f.

    f32 is cut to the 16 high bits with the rest gathered into the last one (a rounding to odd).
    fp8 keeps so much less that rounding from there is exact, and 65,536 results fit a table.
    """
    bits = np.asarray(x, np.float32).view(np.uint32)
    sticky = (bits & np.uint32(0xFFFF)) != 0
    code = _fp8_encode_table(kind)[(bits >> np.uint32(16)) | sticky]
    if relu:  # Negative numbers become +0; a NaN stays NaN.
        code = np.where((code & 0x80) != 0, np.uint8(0), code)
    return code


def fp8_to_f16(code: np.ndarray, kind: str) -> np.ndarray:
    return _fp8_decode_table(kind)[code]


# --- integers -------------------------------------------------------------------------------


def mul_hi(a: np.ndarray, b: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """The high half of the product, in the type of the arguments."""
    if bits < 64:
        wide = np.int64 if signed else np.uint64
        narrow = np.dtype(f"{'i' if signed else 'u'}{bits // 8}")
        product = np.asarray(a).astype(wide) * np.asarray(b).astype(wide)
        return (product >> wide(bits)).astype(narrow)
    x, y = np.asarray(a).astype(np.uint64), np.asarray(b).astype(np.uint64)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    x0, x1, y0, y1 = x & low, x >> half, y & low, y >> half
    mid = x1 * y0 + ((x0 * y0) >> half)
    mid2 = x0 * y1 + (mid & low)
    high = x1 * y1 + (mid >> half) + (mid2 >> half)
    if signed:
        high = high - np.where(np.asarray(a) < 0, y, np.uint64(0))
        high = high - np.where(np.asarray(b) < 0, x, np.uint64(0))
        return high.astype(np.int64)
    return high


def divide(a: np.ndarray, b: np.ndarray, remainder: bool) -> np.ndarray:
    """Truncating division.  Callers rule out zero divisors."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "u":
        return a % b if remainder else a // b
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    # Magnitudes in unsigned arithmetic, where |INT_MIN| is representable.
    ua = np.where(a < 0, -a, a).astype(unsigned)
    ub = np.where(b < 0, -b, b).astype(unsigned)
    if remainder:
        r = (ua % ub).astype(a.dtype)
        return np.where(a < 0, -r, r)
    q = (ua // ub).astype(a.dtype)
    return np.where((a < 0) != (b < 0), -q, q)


def highest_bit(x: np.ndarray) -> np.ndarray:
    """Position of the most significant one bit, -1 for zero; unsigned argument up to 64 bits."""
    x = np.asarray(x).astype(np.uint64)
    high = x >> np.uint64(32)
    part = np.where(high != 0, high, x & np.uint64(0xFFFFFFFF)).astype(np.float64)
    return (np.frexp(part)[1] - 1 + np.where(high != 0, 32, 0)).astype(np.int64)


def reverse_bits(x: np.ndarray, bits: int) -> np.ndarray:
    x = np.asarray(x)
    t = x.dtype.type
    for shift, mask in ((1, 0x55), (2, 0x33), (4, 0x0F)):
        m = t(int.from_bytes(bytes([mask]) * (bits // 8), "little"))
        x = ((x >> t(shift)) & m) | ((x & m) << t(shift))
    return x.byteswap()


def permute_bytes(a: np.ndarray, b: np.ndarray, selector: np.ndarray) -> np.ndarray:
    """prmt.b32 in its default mode."""
    ab = np.asarray(a).astype(np.uint64) | (np.asarray(b).astype(np.uint64) << np.uint64(32))
    selector = np.asarray(selector).astype(np.uint64)
    result = np.zeros((), np.uint64)
    for i in range(4):
        s = (selector >> np.uint64(4 * i)) & np.uint64(0xF)
        byte = (ab >> ((s & np.uint64(7)) << np.uint64(3))) & np.uint64(0xFF)
        sign = np.where(byte & np.uint64(0x80), np.uint64(0xFF), np.uint64(0))
        byte = np.where(s & np.uint64(8), sign, byte)
        result = result | (byte << np.uint64(8 * i))
    return result.astype(np.uint32)


def float_to_int(x: np.ndarray, rounding: str, bits: int, signed: bool, wide: bool) -> np.ndarray:
    """Rounds, saturates; NaN gives 0, or 1 << (bits - 1) if either type has 64 bits (`wide`)."""
    x = np.asarray(x).astype(np.float64)
    x = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}[rounding](x)
    low = -(2.0 ** (bits - 1)) if signed else 0.0
    high = 2.0 ** (bits - 1) if signed else 2.0**bits
    target = np.dtype(f"{'i' if signed else 'u'}{bits // 8}")
    info = np.iinfo(target)
    inside = (x >= low) & (x < high)
    r = np.where(inside, x, 0.0).astype(target)
    r = np.where(x < low, target.type(info.min), r)
    r = np.where(x >= high, target.type(info.max), r)
    nan_value = np.array(1 << (bits - 1) if wide else 0, np.uint64).astype(f"u{bits // 8}")
    return np.where(np.isnan(x), nan_value.view(target), r)


def int_to_f32(x: np.ndarray, rounding: str) -> np.ndarray:
    """Integers to f32 under any of the four roundings."""
    x = np.asarray(x)
    near = x.astype(np.float32)
    if rounding == "rn":
        return near
    # Compare exactly: a finite f32 is an integer as soon as it was rounded, so take differences
    # in Python integers only where they can be inexact.
    exact = np.array([int(v) for v in np.atleast_1d(near)], object).reshape(np.shape(near))
    value = np.array([int(v) for v in np.atleast_1d(x)], object).reshape(np.shape(x))
    above, below = exact > value, exact < value
    if rounding == "rm":
        step = np.where(above, -1, 0)
    elif rounding == "rp":
        step = np.where(below, 1, 0)
    else:  # rz
        step = np.where((value >= 0) & above, -1, np.where((value < 0) & below, 1, 0))
    step = step.astype(np.int8)
    toward = np.where(step < 0, np.float32(-np.inf), np.float32(np.inf))
    return np.where(step != 0, np.nextafter(near, toward), near).astype(np.float32)
