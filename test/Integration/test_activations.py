# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests of the activations that no named op has, and of the oracle's map over rows, against the C
library, exact rational arithmetic, and loops over elements.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import rational
from moe_testing import activations, batches, oracle

PATTERNS = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16)


def round_bf16(value: Fraction) -> int:
    """The pattern of a float32 rounded to bf16, for what is no NaN."""
    pattern = int(np.float32(float(value)).view(np.uint32))
    return (pattern + 0x7FFF + (pattern >> 16 & 1)) >> 16


# fma.


def c_library_fma() -> Callable[[float, float, float], float]:
    function = ctypes.CDLL("libm.so.6").fmaf
    function.argtypes, function.restype = [ctypes.c_float] * 3, ctypes.c_float
    return function


def random_f32(rng: np.random.Generator, size: int) -> np.ndarray:
    """All kinds: any pattern, few bits, neighbours of 1, subnormals."""
    anything = rng.integers(0, 1 << 32, size, dtype=np.uint32).view(np.float32)
    few_bits = np.ldexp(rng.integers(-3, 4, size).astype(np.float32), rng.integers(-150, 100, size))
    near_one = 1 + np.ldexp(rng.integers(-4, 5, size).astype(np.float32), -23)
    tiny = rng.integers(0, 1 << 24, size, dtype=np.uint32).view(np.float32)
    kind = rng.integers(0, 4, size)
    return np.choose(kind, [anything, few_bits, near_one, tiny]).astype(np.float32)


def test_fma_against_the_c_library() -> None:
    rng, fmaf = np.random.default_rng(0), c_library_fma()
    a, b, c = (random_f32(rng, 60000) for _ in range(3))
    with np.errstate(all="ignore"):
        # Sums that nearly cancel, and sums that end next to a tie.
        c[:20000] = -(a[:20000] * b[:20000])
        c[20000:30000] *= np.float32(2.0**-30)
    found = activations.fma(a, b, c)
    wanted = np.array([fmaf(*map(float, abc)) for abc in zip(a, b, c)], np.float32)
    is_nan = np.isnan(wanted)
    assert 0 < np.count_nonzero(is_nan) < 20000
    assert np.array_equal(np.isnan(found), is_nan)
    assert np.array_equal(found[~is_nan].view(np.uint32), wanted[~is_nan].view(np.uint32))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("beyond, bits_up", [(-1, 0), (0, 0), (1, 1)])
def test_fma_rounds_once(sign: int, beyond: int, bits_up: int) -> None:
    """A tie of float32, and what lies 2^-60 beside it, which float64 does not hold."""
    a, b = np.float32(sign * (1 + 2.0**-12)), np.float32(1 + 2.0**-12)
    # a * b = 1 + 2^-11 + 2^-24: a tie between neighbours, of which the lower one is even.
    found = activations.fma(a, b, np.float32(sign * beyond * 2.0**-60))
    assert found == np.float32(sign * (1 + 2.0**-11 + bits_up * 2.0**-23))
    assert found.shape == ()


# Activations.


def test_leaky_relu_of_every_pattern() -> None:
    """A quarter in integers: the exponent less two; of small ones the bits, rounded to even."""
    found = activations.leaky_relu(PATTERNS).astype(ml_dtypes.bfloat16)
    is_nan = np.isnan(PATTERNS.astype(np.float32))
    assert np.array_equal(np.isnan(found.astype(np.float32)), is_nan)
    for pattern in np.flatnonzero(~is_nan).tolist():
        wanted = pattern
        magnitude = pattern & 0x7FFF
        if pattern & 0x8000 and magnitude != 0x7F80:
            if magnitude >> 7 > 2:
                wanted = pattern - (2 << 7)
            else:
                units = (magnitude & 0x7F) + (0x80 if magnitude >> 7 else 0)
                units <<= max((magnitude >> 7) - 1, 0)
                wanted = 0x8000 | round(Fraction(units, 4))
        assert int(oracle.bits(found[pattern])) == wanted, hex(pattern)


@pytest.mark.parametrize("low, high, bias, step", [
    (-1.5, 6.0, 0.375, 1), (0.0, 2.0**64, -3.25, 7), (-8.0, -0.5, 2.0**-20, 7)])
def test_clamped_square(low: float, high: float, bias: float, step: int) -> None:
    """Of every pattern, or of each seventh."""
    found = activations.clamped_square(PATTERNS, low, high, bias).astype(ml_dtypes.bfloat16)
    is_nan = np.isnan(PATTERNS.astype(np.float32))
    assert np.array_equal(np.isnan(found.astype(np.float32)), is_nan)
    for index in np.flatnonzero(~is_nan)[::step]:
        value = min(max(float(PATTERNS[index]), low), high)
        square = value * value  # exact in float64
        if square >= 2.0**128:
            wanted = 0x7F80
        else:
            wanted = round_bf16(rational.f32(rational.f32(Fraction(square)) + Fraction(bias)))
        assert int(oracle.bits(found[index])) == wanted, float(PATTERNS[index])


@pytest.mark.parametrize("bound", [1.001, 3.0e38])
def test_bounds_are_bf16_values(bound: float) -> None:
    with pytest.raises(ValueError, match=f"a bound that is a bf16 value, found {bound}".replace(
            "+", r"\+")):
        activations.clamped_square(PATTERNS, high=bound)
    with pytest.raises(ValueError, match="a bias that is a float32 value, found 0.1"):
        activations.clamped_square(PATTERNS, bias=0.1)


def test_table_of_silu() -> None:
    """As it is published with the sequence: little-endian float32, in the order of the patterns."""
    table = activations.silu_table().astype("<f4").tobytes()
    assert (hashlib.sha256(table).hexdigest()
            == "371b01c38748fb2ce433343f931dab36ebe138c1b608eea6695dbcddeea78838")


def test_sigmoid_in_rational_arithmetic() -> None:
    rng = np.random.default_rng(0)
    finite = PATTERNS[np.isfinite(PATTERNS.astype(np.float32))]
    chosen = rng.choice(finite, 1500)
    near = rng.uniform(-90, 66, 500).astype(np.float32)
    edges = np.array([0.0, -0.0, -88, -87.5, 64, 65, -1e30, 1e30, 2.0**-130], np.float32)
    values = np.concatenate([chosen.astype(np.float32), near, edges])
    for value, found in zip(values, activations.sigmoid(values)):
        assert float(found) == float(rational.sigmoid(Fraction(float(value)))), float(value)


def test_sigmoid_is_near_the_function() -> None:
    x = np.linspace(-80, 40, 100001).astype(np.float32)
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(activations.sigmoid(x), wanted, rtol=2.2 * 2.0**-23)
    assert activations.sigmoid(np.float32([-np.inf, np.inf])).tolist() == [0, 1]


def test_silu_of_unusual_values() -> None:
    """Infinity times 0 is NaN; subnormals halve; far below 0 remains the sign."""
    x = np.array([-np.inf, np.inf, np.nan, -1000, 2.0**-133, -0.0], ml_dtypes.bfloat16)
    found = activations.silu(x)
    assert np.isnan(found[[0, 2]]).all() and found[1] == np.inf
    assert found[3:].tolist() == [-0.0, 2.0**-134, -0.0] and np.signbit(found[[3, 5]]).all()
    with pytest.raises(ValueError, match="expected bf16, found float32"):
        activations.silu(np.zeros(3, np.float32))


# The map over rows.


def junk(form: oracle.Format, M: int, N: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, np.uint8)
            .view(dtype).reshape(shape) for shape, dtype in form.destinations(M, N)]


def halves(rows: int, columns: int) -> np.ndarray:
    """Each element is the number of its column, which bf16 holds up to 256."""
    assert columns <= 256
    return np.tile(np.arange(columns, dtype=np.float32), (rows, 1)).astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("parts, gate_of, up_of", [
    (oracle.gate_up, lambda c: c, lambda c: 48 + c),
    (oracle.up_gate, lambda c: 48 + c, lambda c: c),
    (oracle.interleaved(1), lambda c: 2 * c, lambda c: 2 * c + 1),
    (oracle.interleaved(8), lambda c: c // 8 * 16 + c % 8, lambda c: c // 8 * 16 + c % 8 + 8),
], ids=["gate_up", "up_gate", "interleaved 1", "interleaved 8"])
def test_parts(parts: oracle.Parts, gate_of: Callable[[int], int],
               up_of: Callable[[int], int]) -> None:
    x, used = halves(3, 96), np.arange(3, dtype=np.int32)
    for pick, column_of in ((0, gate_of), (1, up_of)):
        [found] = oracle.map_rows(x, used, 3, junk(oracle.BF16(), 3, 48),
                                  lambda *read, pick=pick: read[pick], parts=parts)
        assert found.tolist() == [[column_of(c) for c in range(48)]] * 3


@pytest.mark.parametrize("n_used", [-1, 0, 5, 9, 100])
def test_rows_that_are_not_live(n_used: int) -> None:
    """Element by element, and bytes elsewhere as they were."""
    batch = batches.random_batch(9, 40, n_used)
    before = junk(oracle.BF16(), 9, 40)
    [found] = oracle.map_rows(batch.x, batch.permutation_map, n_used, before,
                              activations.leaky_relu)
    for r in range(9):
        for c in range(40):
            wanted = before[0][r, c]
            if r < n_used and batch.permutation_map[r] >= 0:
                v = float(batch.x[r, c])
                wanted = np.float32(v if v > 0 else v / 4).astype(ml_dtypes.bfloat16)
            assert oracle.bits(found[r, c]) == oracle.bits(np.array(wanted)), (r, c)


@pytest.mark.parametrize("layout", [oracle.SWIZZLED, oracle.LINEAR])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
@pytest.mark.parametrize("activation, parts", [
    (activations.leaky_relu, oracle.whole), (activations.clamped_square, oracle.whole),
    (activations.silu, oracle.whole), (activations.swiglu, oracle.gate_up)])
def test_quantising_is_rounding_to_bf16_and_then_quantising(
        activation: oracle.Activation, parts: oracle.Parts, layout: str, dead_scales: str) -> None:
    batch = batches.random_batch(140, 320, 133)
    form = oracle.MXFP8(layout, dead_scales)
    N = parts(batch.x)[0].shape[1]
    before = junk(form, 140, N)
    found = oracle.map_rows(batch.x, batch.permutation_map, batch.n_used, before, activation, form,
                            parts)
    [rounded] = oracle.map_rows(batch.x, batch.permutation_map, batch.n_used,
                                [np.zeros((140, N), oracle.bfloat16)], activation, parts=parts)
    wanted = oracle.quantize_mxfp8(rounded, batch.permutation_map, batch.n_used, *before, layout,
                                   dead_scales)
    for a, b in zip(found, wanted):
        assert np.array_equal(oracle.bits(a), oracle.bits(b))
    assert not np.array_equal(oracle.bits(found[0]), oracle.bits(before[0]))


def test_activations_that_would_round_elsewhere_are_refused() -> None:
    batch = batches.random_batch(4, 32, 4, live_fraction=1)
    for wrong, found in ((lambda x: x.astype(np.float64), r"float64 \[4, 32\]"),
                         (lambda x: x[:, :16], r"bfloat16 \[4, 16\]")):
        with pytest.raises(ValueError, match=r"f32 or bf16 \[4, 32\], found " + found):
            oracle.map_rows(batch.x, batch.permutation_map, 4, junk(oracle.BF16(), 4, 32), wrong)


def test_nans_are_made_one() -> None:
    x = np.array([0x7FC0, 0xFF81, 0x7F80, 0xFF80, 0x0001], np.uint16).view(oracle.bfloat16)
    found = oracle.bits(oracle.canonical_nans(x)).tolist()
    assert found == [0x7FFF, 0x7FFF, 0x7F80, 0xFF80, 0x0001]
    assert oracle.bits(x)[0] == 0x7FC0
