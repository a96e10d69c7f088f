# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Activations that no named op has, to the bit, for `oracle.map_rows`: what a user's own region
computes is compared with these.

Like the oracle, this is numpy and ml_dtypes alone. Every step is one IEEE operation in float32,
rounded to nearest even, subnormals kept; a result is float32, which `map_rows` rounds to bf16.
"""

from __future__ import annotations

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


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) by one sequence of float32 operations, which is its definition: the exact
    function is within a few units of the last place, and every target can follow these steps. What
    comes of a NaN is not defined.
    """
    w = np.asarray(x).astype(np.float32)
    with np.errstate(all="ignore"):
        a = np.minimum(np.maximum(w, np.float32(-88)), np.float32(64))
        z = fma(a, -_LOG2E_HIGH, _MAGIC)
        n = z - _MAGIC
        f = fma(a, -_LOG2E_HIGH, -n)
        f = fma(a, -_LOG2E_LOW, f)
        q = np.broadcast_to(_COEFFICIENTS[5], f.shape)
        for coefficient in _COEFFICIENTS[4::-1]:
            q = fma(q, f, coefficient)
        p = fma(q, f, np.float32(1))
        e = (p.view(np.uint32) + (z.view(np.uint32) << np.uint32(23))).view(np.float32)
        d = np.float32(1) + e
        return np.where(d > _DENOMINATOR_LIMIT, np.float32(0), np.float32(1) / d)


@cache
def silu_table() -> np.ndarray:
    """The float32 value of silu for each bf16 pattern; every NaN is 0x7fc00000."""
    gate = np.arange(1 << 16, dtype=np.uint16).view(bfloat16).astype(np.float32)
    with np.errstate(all="ignore"):
        table = gate * sigmoid(gate)
    table[np.isnan(table)] = _as_f32(0x7FC00000)[0]
    table.flags.writeable = False
    return table


def silu(x: np.ndarray) -> np.ndarray:
    """f32(x * sigmoid(x)) of bf16 values."""
    if x.dtype != bfloat16:
        raise ValueError(f"expected bf16, found {x.dtype}")
    return silu_table()[x.view(np.uint16)]


def swiglu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """f32(silu(gate) * up), an activation of two parts."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return silu(gate) * up.astype(np.float32)
