# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Activations to the bit, for `oracle.map_rows`: those of the family (SwiGLU and its variants, the
clamped square), and some that no named op has, with which a user's own region is compared.

Like the oracle, this is numpy and ml_dtypes alone. Every step is one IEEE operation in float32,
rounded to nearest even, subnormals kept; a result is float32, which `map_rows` rounds to bf16.

Where results are defined by a sequence of operations, the sequence is emulated here. For plain
SwiGLU that is more than it takes: with `ieee_sigmoid`, the formula with a correctly rounded exp,
the bf16 product of any gate and any up is the same. With an alpha of 1.702 it is not. An
activation of one bf16 value, or of one and a constant, is a table of 65,536, computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import ml_dtypes
import numpy as np

bfloat16 = ml_dtypes.bfloat16

Floats = np.ndarray | np.floating


def _as_f32(*patterns: int) -> np.ndarray:
    return np.array(patterns, np.uint32).view(np.float32)


def fma(a: Floats, b: Floats, c: Floats) -> np.ndarray:
    """float32(a * b + c), rounded once.

    A product of two float32 is exact in float64. The sum is not; rounded to nearest there and again
    to float32 it may be off, so it is rounded to odd first: of the two neighbours of an inexact
    sum, the one whose last bit is set. That bit stands for all that follows, and float64 has more
    than the two bits beyond float32 that this takes.
    """
    with np.errstate(all="ignore"):
        a, b, c = (np.asarray(v, np.float32).astype(np.float64) for v in (a, b, c))
        product = a * b
        total = np.atleast_1d(product + c)
        # What rounding took away, exact (Knuth's sum of two).
        part = total - product
        error = (product - (total - part)) + (c - part)
        pattern = total.view(np.int64)
        is_even = np.isfinite(total) & (error != 0) & (pattern & 1 == 0)
        away_from_zero = np.signbit(error) == np.signbit(total)
        pattern += np.where(is_even, np.where(away_from_zero, 1, -1), 0)
        return total.astype(np.float32).reshape(np.broadcast_shapes(a.shape, b.shape, c.shape))


def leaky_relu(x: np.ndarray) -> np.ndarray:
    """x above 0, else x / 4; NaN and -0 are kept."""
    v = x.astype(np.float32)
    with np.errstate(under="ignore", invalid="ignore"):
        return np.where(v > 0, v, v * np.float32(0.25))


def clamped_square(x: np.ndarray, low: float = -1.5, high: float = 6.0,
                   bias: float = 0.375) -> np.ndarray:
    """f32(f32(c * c) + bias), where c is x clamped to low and high; NaN stays NaN.

    The bounds are bf16 values, the bias is a float32 one.
    """
    for bound in (low, high):
        if float(np.float32(bound).astype(bfloat16)) != bound:
            raise ValueError(f"expected a bound that is a bf16 value, found {bound}")
    if float(np.float32(bias)) != bias:
        raise ValueError(f"expected a bias that is a float32 value, found {bias}")
    # numpy's minimum and maximum keep a NaN, as arith.minimumf and arith.maximumf do.
    c = np.minimum(np.maximum(x.astype(np.float32), np.float32(low)), np.float32(high))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return c * c + np.float32(bias)


# log2(e) in two parts, of which the first has 16 bits, so that its product with a bf16 is exact.
_LOG2E_HIGH, _LOG2E_LOW = _as_f32(0x3FB8AA00, 0x36ECA570)
# 1.5 * 2^23: what is added to it is rounded to an integer, which is then in its low bits.
_MAGIC = np.float32(12582912.0)
# 2^f = 1 + f * (C1 + f * (C2 + ...)), for f up to a half.
_COEFFICIENTS = _as_f32(0x3F317218, 0x3E75FDEE, 0x3D6357BE, 0x3C1D96F0, 0x3AAF8417, 0x3920B5A8)
_DENOMINATOR_LIMIT = np.float32(2.0**126)


def _split_exponent(a: np.ndarray, high: np.ndarray,
                    low: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a * log2(e) as an integer and a rest: z with the integer in its low bits, the rest f, and the
    polynomial q of f, such that 2^f = 1 + f * q. high and low are the parts of log2(e), or of minus
    it.
    """
    z = fma(a, high, _MAGIC)
    f = fma(a, low, fma(a, high, -(z - _MAGIC)))
    q = np.broadcast_to(_COEFFICIENTS[5], f.shape)
    for coefficient in _COEFFICIENTS[4::-1]:
        q = fma(q, f, coefficient)
    return z, f, q


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) by one sequence of float32 operations, which is its definition: the exact
    function is within a few units of the last place, and every target can follow these steps. What
    comes of a NaN is not defined.
    """
    w = np.asarray(x).astype(np.float32)
    with np.errstate(all="ignore"):
        a = np.minimum(np.maximum(w, np.float32(-88)), np.float32(64))
        z, f, q = _split_exponent(a, -_LOG2E_HIGH, -_LOG2E_LOW)
        p = fma(q, f, np.float32(1))
        e = (p.view(np.uint32) + (z.view(np.uint32) << np.uint32(23))).view(np.float32)
        return _sigmoid_of_exp(e)


def ieee_sigmoid(x: np.ndarray) -> np.ndarray:
    """The same by the formula, with an exp that is rounded once from float64. A few results differ
    from `sigmoid` by a unit of the last place.
    """
    w = np.asarray(x).astype(np.float32)
    with np.errstate(all="ignore"):
        return _sigmoid_of_exp(np.exp(-w.astype(np.float64)).astype(np.float32))


def _sigmoid_of_exp(e: np.ndarray) -> np.ndarray:
    d = np.float32(1) + e
    return np.where(d > _DENOMINATOR_LIMIT, np.float32(0), np.float32(1) / d)


# A function of float32 values, to float32.
Function = Callable[[np.ndarray], np.ndarray]

# sqrt(8 / pi) and 0.044715 times it: gelu(x) is about x * sigmoid(x * (C0 + C1 * x^2)).
_GELU_C0, _GELU_C1 = _as_f32(0x3FCC422A, 0x3D922279)


def gate_value(g: np.ndarray, activation: str = "silu", alpha: float = 1.0,
               sigma: Function = sigmoid) -> np.ndarray:
    """f32(g * sigma(w)), where w is f32(alpha * g) for "silu" and the argument that makes it GELU's
    approximation by tanh for "gelu_tanh".
    """
    g = g.astype(np.float32)
    with np.errstate(all="ignore"):
        if activation == "gelu_tanh":
            w = g * fma(_GELU_C1, g * g, _GELU_C0)
        else:
            w = g if alpha == 1 else np.float32(alpha) * g
        return g * sigma(w)


def _patterns() -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(bfloat16)


def _as_table(values: np.ndarray) -> np.ndarray:
    """Of all patterns' float32 values; every NaN is 0x7fc00000."""
    values = np.array(values)
    values[np.isnan(values)] = _as_f32(0x7FC00000)[0]
    values.flags.writeable = False
    return values


def _look_up(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    if x.dtype != bfloat16:
        raise ValueError(f"expected bf16, found {x.dtype}")
    return table[x.view(np.uint16)]


@cache
def gate_table(activation: str = "silu", alpha: float = 1.0) -> np.ndarray:
    """`gate_value` of each bf16 pattern."""
    return _as_table(gate_value(_patterns(), activation, alpha))


def silu_table() -> np.ndarray:
    """The float32 value of silu for each bf16 pattern; every NaN is 0x7fc00000."""
    return gate_table()


def silu(x: np.ndarray) -> np.ndarray:
    """f32(x * sigmoid(x)) of bf16 values."""
    return _look_up(silu_table(), x)


def _require_f32(name: str, value: float) -> None:
    if float(np.float32(value)) != value:
        raise ValueError(f"expected {name} that is a float32 value, found {value}")


@dataclass(frozen=True)
class SwiGLU:
    """f32(s * t) of a gate and an up, bf16 arrays: s is the gate's value by `activation` and alpha,
    t is up + beta.

    With a `limit`, a positive bf16 value, up is clamped to it on both sides. limit_at="before" has
    the gate clamped from above before the activation, "after" has s. A NaN passes every clamp.
    """

    limit: float | None = None
    limit_at: str = "before"
    alpha: float = 1.0
    beta: float = 0.0
    activation: str = "silu"

    def __post_init__(self) -> None:
        limit = self.limit
        if limit is not None and not (limit > 0 and float(bfloat16(limit)) == limit):
            raise ValueError(f"expected a limit that is a positive bf16 value, found {limit}")
        for name, value, choices in (("limit_at", self.limit_at, ("before", "after")),
                                     ("activation", self.activation, ("silu", "gelu_tanh"))):
            if value not in choices:
                raise ValueError(f"expected {name} {' or '.join(choices)}, found {value}")
        _require_f32("an alpha", self.alpha)
        _require_f32("a beta", self.beta)
        if self.activation != "silu" and self.alpha != 1:
            raise ValueError(f"expected no alpha with {self.activation}, found {self.alpha}")

    def __call__(self, gate: np.ndarray, up: np.ndarray) -> np.ndarray:
        if self.limit is not None:
            limit = bfloat16(self.limit)
            # numpy's minimum and maximum keep a NaN.
            with np.errstate(invalid="ignore"):
                up = np.maximum(np.minimum(up, limit), -limit)
                if self.limit_at == "before":
                    gate = np.minimum(gate, limit)
        s = _look_up(gate_table(self.activation, self.alpha), gate)
        t = up.astype(np.float32)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if self.limit is not None and self.limit_at == "after":
                s = np.minimum(s, np.float32(self.limit))
            if self.beta != 0:
                t = t + np.float32(self.beta)
            return s * t


swiglu = SwiGLU()


def tanh(v: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent of float32 values that are not negative, by one sequence of float32
    operations, which is its definition: m / (m + 2) with m = exp(2v) - 1. The latter is computed so
    that it is accurate near 0.
    """
    with np.errstate(all="ignore"):
        v = np.asarray(v, np.float32)
        a = np.minimum(v + v, np.float32(20))
        z, f, q = _split_exponent(a, _LOG2E_HIGH, _LOG2E_LOW)
        k = np.ldexp(np.float32(1), (z - _MAGIC).astype(np.int32))
        m = fma(f * k, q, k - np.float32(1))
        return m * (np.float32(1) / (m + np.float32(2)))


@cache
def _clamped_square_table(scale: float) -> np.ndarray:
    x = _patterns().astype(np.float32)
    s = np.float32(scale)
    with np.errstate(all="ignore"):
        # NaN and -0 give +0.
        c = s * tanh(np.where(x > 0, x, np.float32(0)) / s)
        return _as_table(c * c)


def tanh_clamped_squared_relu(x: np.ndarray, scale: float) -> np.ndarray:
    """f32(c * c) of bf16 values, where c is scale * tanh(relu(x) / scale)."""
    _require_f32("a scale", scale)
    if not scale > 0:
        raise ValueError(f"expected a scale above 0, found {scale}")
    return _look_up(_clamped_square_table(scale), x)
