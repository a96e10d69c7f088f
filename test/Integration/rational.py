# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The sequences that define the family's activations in exact rational arithmetic, a value at a
time, rounded where the definition rounds. From its text alone; it shares nothing with the oracle.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def as_f32(pattern: int) -> Fraction:
    """The value of a float32 with these bits."""
    return Fraction(float(np.uint32(pattern).view(np.float32)))


def round_to(value: Fraction, digits: int, lowest: int) -> Fraction:
    """To nearest even, with so many significant bits and none below 2^lowest."""
    if value == 0:
        return value
    magnitude = abs(value)
    # The unit in the last place.
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - digits + 1, lowest)
    count, rest = divmod(magnitude, unit)
    if rest > unit / 2 or (rest == unit / 2 and count % 2):
        count += 1
    return count * unit if value > 0 else -count * unit


def _round(value: Fraction, digits: int, lowest: int) -> Fraction:
    """A float that is infinite passes for a Fraction: Python compares and multiplies the two."""
    if isinstance(value, float):
        return value
    rounded = round_to(value, digits, lowest)
    if abs(rounded) >= 2**128:
        return float("inf") if value > 0 else float("-inf")  # type: ignore[return-value]
    return rounded


def f32(value: Fraction) -> Fraction:
    """Rounded to float32."""
    return _round(value, 24, -149)


def bf16(value: Fraction) -> float:
    """A float32 value rounded to bf16."""
    return float(_round(value, 8, -133))


MAGIC = Fraction(3, 2) * 2**23
LOG2E = as_f32(0x3FB8AA00), as_f32(0x36ECA570)
C1, C2, C3, C4, C5, C6 = map(as_f32, (0x3F317218, 0x3E75FDEE, 0x3D6357BE, 0x3C1D96F0, 0x3AAF8417,
                                      0x3920B5A8))


def split_exponent(a: Fraction, sign: int) -> tuple[Fraction, Fraction, Fraction]:
    """The integer n, the rest f and the polynomial q of f, for sign * a * log2(e)."""
    high, low = (sign * part for part in LOG2E)
    n = f32(f32(a * high + MAGIC) - MAGIC)
    f = f32(f32(a * high - n) + a * low)
    q = C6
    for coefficient in (C5, C4, C3, C2, C1):
        q = f32(q * f + coefficient)
    return n, f, q


def sigmoid(w: Fraction) -> Fraction:
    a = min(max(w, Fraction(-88)), Fraction(64))
    n, f, q = split_exponent(a, -1)
    d = f32(1 + f32(q * f + 1) * Fraction(2) ** n)
    return Fraction(0) if d > 2**126 else f32(1 / d)


def gelu_argument(g: Fraction) -> Fraction:
    return f32(g * f32(as_f32(0x3D922279) * f32(g * g) + as_f32(0x3FCC422A)))


def swiglu(g: Fraction, u: Fraction, *, limit: Fraction | None = None, limit_at: str = "before",
           alpha: Fraction = Fraction(1), beta: Fraction = Fraction(0), activation: str = "silu",
           prob: Fraction | None = None) -> float:
    """The bf16 result of a finite gate and up. A zero has no sign."""
    if limit is not None:
        u = max(-limit, min(u, limit))
        if limit_at == "before":
            g = min(g, limit)
    s = f32(g * sigmoid(gelu_argument(g) if activation == "gelu_tanh" else f32(alpha * g)))
    if limit is not None and limit_at == "after":
        s = min(s, limit)
    product = f32(s * f32(u + beta))
    return bf16(product if prob is None else f32(product * prob))


def tanh(v: Fraction) -> Fraction:
    """Of what is not negative."""
    n, f, q = split_exponent(min(2 * v, Fraction(20)), 1)
    k = Fraction(2) ** n
    m = f32(f32(f * k) * q + f32(k - 1))
    return f32(m * f32(1 / f32(m + 2)))


def clamped_square(x: Fraction, scale: Fraction, prob: Fraction | None = None) -> float:
    """The bf16 result of squared ReLU with the clamp scale * tanh(. / scale)."""
    c = f32(scale * tanh(f32(max(x, Fraction(0)) / scale)))
    square = f32(c * c)
    return bf16(square if prob is None else f32(square * prob))
