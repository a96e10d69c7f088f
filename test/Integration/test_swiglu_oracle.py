# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests of the oracle's SwiGLU and of the input makers for it: against rational arithmetic, against
values worked out by hand from the definition, and against what is known of all gates and ups.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import rational
from moe_testing import activations, batches, gated_batches, oracle
from moe_testing.gated_batches import ALPHA, VARIANTS

PATTERNS = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16)
NAN, INF, ZERO = oracle.BF16_NAN, 0x7F80, 0x0000
MINUS = 0x8000
JUNK = 0x5A5A


def bf16(*values: float) -> np.ndarray:
    """Given values, exact in bf16 or not numbers."""
    exact = np.array(values, np.float64)
    rounded = exact.astype(ml_dtypes.bfloat16)
    assert np.array_equal(rounded.astype(np.float64), exact, equal_nan=True)
    return rounded


def raw(*patterns: int) -> np.ndarray:
    return np.array(patterns, np.uint16).view(ml_dtypes.bfloat16)


def swiglu(gate: np.ndarray, up: np.ndarray, **arguments: Any) -> np.ndarray:
    """Bits of the results of two flat arrays, side by side in a row."""
    x = np.concatenate([gate, up])[None, :]
    out = np.full((1, gate.size), JUNK, np.uint16).view(ml_dtypes.bfloat16)
    return oracle.bits(oracle.padded_swiglu(x, np.zeros(1, np.int32), 1, out, **arguments))[0]


def quantized(x: np.ndarray, N: int, layout: str = oracle.SWIZZLED) -> list[np.ndarray]:
    """Destinations of junk."""
    return [np.full(int(np.prod(shape)) * dtype.itemsize, 0xA5, np.uint8).view(dtype).reshape(shape)
            for shape, dtype in oracle.MXFP8(layout).destinations(x.shape[0], N)]


# The formula.

FINITE = PATTERNS[np.isfinite(PATTERNS.astype(np.float32))]


def random_pairs(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gates and ups, half of them any finite pattern, half of ordinary size."""
    rng = np.random.default_rng(seed)
    ordinary = (rng.standard_normal((2, count)) * 4).astype(ml_dtypes.bfloat16)
    gate, up = np.where(rng.random((2, count)) < 0.5, rng.choice(FINITE, (2, count)), ordinary)
    return gate, up


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("prob", [None, 0.7109375, -3.0e-5])
def test_in_rational_arithmetic(name: str, prob: float | None) -> None:
    gate, up = random_pairs(len(name), 200)
    settings = VARIANTS[name]
    exact = {key: Fraction(value) if isinstance(value, float) else value
             for key, value in settings.items()}
    weight = {} if prob is None else {"prob": Fraction(float(np.float32(prob)))}
    probs = None if prob is None else np.full(1, prob, np.float32)
    found = swiglu(gate, up, probs=probs, **settings).view(ml_dtypes.bfloat16)
    for g, u, have in zip(gate, up, found):
        want = rational.swiglu(Fraction(float(g)), Fraction(float(u)), **exact, **weight)
        assert float(have) == want, (float(g), float(u))


def test_signs_of_zeros() -> None:
    """The rational numbers have none: that of a zero is the product's, and -0 + 0 would lose it."""
    gate = bf16(-0.0, 0.0, -0.0, 0.0, -100, -100)
    up = bf16(1, -1, -0.0, 0.0, 5, -5)
    assert swiglu(gate, up).tolist() == [MINUS, MINUS, ZERO, ZERO, MINUS, ZERO]
    assert swiglu(bf16(2), bf16(-0.0)).tolist() == [MINUS]
    # With a beta the sum is what counts.
    assert swiglu(bf16(-0.0, 2), bf16(-3, -1), beta=1.0).tolist() == [ZERO, ZERO]


# Both ways to the same bits.


def differing_gates(activation: str, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The patterns where the sequence and the IEEE formula differ, and what each gives there."""
    sequence = activations.gate_table(activation, alpha)
    formula = activations.gate_value(PATTERNS, activation, alpha, activations.ieee_sigmoid)
    differ = np.flatnonzero((oracle.bits(sequence) != oracle.bits(formula))
                            & ~(np.isnan(sequence) & np.isnan(formula)))
    return differ, sequence[differ], formula[differ]


def differing_products(a: np.ndarray, b: np.ndarray, up: np.ndarray) -> int:
    with np.errstate(all="ignore"):
        first, second = (oracle.bits(oracle.round_to_bf16(values[:, None] * up[None, :]))
                         for values in (a, b))
    return int(np.count_nonzero(first != second))


@pytest.mark.parametrize("activation, gates", [("silu", 62), ("gelu_tanh", 60)])
def test_the_ieee_formula_gives_every_bf16_result(activation: str, gates: int) -> None:
    """Of all 2^32 pairs; those of gates that agree need no look. So it is with a limit before the
    activation, which leaves some of these pairs, and with one after it of 10.
    """
    differ, sequence, formula = differing_gates(activation, 1)
    up = PATTERNS.astype(np.float32)
    assert differ.size == gates
    # By one or two units of the last place.
    assert np.abs(oracle.bits(sequence).astype(np.int64) - oracle.bits(formula)).max() == 2
    assert differing_products(sequence, formula, up) == 0
    limited = (np.minimum(values, np.float32(10)) for values in (sequence, formula))
    assert differing_products(*limited, np.clip(up, -10, 10)) == 0


def test_with_an_alpha_it_does_not() -> None:
    """limit 7, alpha 1.702, beta 1: 16 of 255 million different pairs of a gate and up + beta."""
    differ, sequence, formula = differing_gates("silu", ALPHA)
    values = PATTERNS.astype(np.float32)
    within = values[np.abs(values) <= 7]
    up = np.unique(np.unique(within) + np.float32(1))
    is_gate = values[differ] <= 7
    gates = np.count_nonzero(np.isfinite(values) & (values <= 7))
    assert gates * up.size == 255_356_065
    assert differing_products(sequence[is_gate], formula[is_gate], up) == 16


def test_silu_next_to_the_exact_function() -> None:
    """Over the finite gates; an exp of 64 bits leaves no doubt about one of 24."""
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no wider than double")
    wide = FINITE.astype(np.longdouble)
    found = activations.silu(FINITE)
    with np.errstate(over="ignore"):
        exact = wide / (1 + np.exp(-wide))
    is_right = found == exact.astype(np.float32)
    assert (FINITE.size, np.count_nonzero(is_right)) == (65280, 62586)
    usual = wide > -87.5
    assert np.count_nonzero(~is_right & usual) == 2651
    unit = np.ldexp(np.longdouble(1), np.maximum(np.frexp(exact)[1] - 24, -149))
    error = (np.abs(found - exact) / unit)[usual]
    assert np.count_nonzero(error > 1) == 647
    assert 2.18 < error.max() < 2.19


def test_a_quotient_in_one_step_is_another_function() -> None:
    """g / (1 + exp(-g)), as training kernels have it: rounded once where silu is rounded twice. One
    gate and one mantissa of an up show it in bf16.
    """
    gate = PATTERNS.astype(np.float32)
    with np.errstate(all="ignore"):
        quotient = gate / (1 + np.exp(-gate.astype(np.float64)).astype(np.float32))
        formula = activations.gate_value(PATTERNS, sigma=activations.ieee_sigmoid)
    usual = np.isfinite(gate) & (gate > -87.5)
    assert np.count_nonzero(usual & (oracle.bits(formula) != oracle.bits(quotient))) == 1365
    mantissas = PATTERNS[list(gated_batches.MANTISSAS)].astype(np.float32)
    silu = activations.silu_table()
    assert differing_products(silu[usual], quotient[usual], mantissas) == 1
    at = gate == 0.78515625
    assert differing_products(silu[at], quotient[at], np.float32([1.7421875])) == 1


# Edge values.


@pytest.mark.parametrize("gate, up, wanted", [
    ([NAN, 0xFFC1, 0x3F80, 0x7F81], [0x3F80, ZERO, 0xFFFF, 0x7F81], [NAN] * 4),
    # The gate -infinity, whose sigma is 0; infinity.
    ([0xFF80] * 3, [0x3F80, ZERO, INF], [NAN] * 3),
    ([INF] * 4, [0x4000, 0xC000, INF, 0xFF80], [INF, 0xFF80, INF, 0xFF80]),
    ([INF, ZERO, MINUS, 0x3F80], [ZERO, INF, 0xFF80, INF], [NAN, NAN, NAN, INF]),
    # -87.5 is the first gate whose sigma is 0; -87 has one.
    ([0xC2AF, 0xC2AF, 0xFF7F], [0x4000, 0xC000, 0x7F7F], [MINUS, ZERO, MINUS]),
    ([0xC2AF], [INF], [NAN]),
    # -0 and +0.
    ([MINUS, MINUS, ZERO], [0x4000, 0xC000, 0xC000], [MINUS, ZERO, MINUS]),
    # Overflow: of the float32 product, and of its rounding to bf16.
    ([0x7F00, 0xFF7F, 0x7F7F], [0x4000, 0x7F7F, 0xBF81], [INF, MINUS, 0xFF80]),
    ([0x7EEA, 0x7EEA], [0x400C, 0x400B], [INF, 0x7F7E]),  # 234 * 140 is 32760, * 139 is 32526
    # A subnormal gate halves exactly, a gate of 32 is 32.
    ([0x0002, 0x8006, 0x007E, 0x0100], [0x3F80] * 4, [0x0001, 0x8003, 0x003F, 0x0080]),
    ([0x4200, 0x4200], [0x0001, 0x8081], [0x0020, 0x8381 - 0x80]),
])
def test_edge_values(gate: list[int], up: list[int], wanted: list[int]) -> None:
    assert list(map(hex, swiglu(raw(*gate), raw(*up)))) == list(map(hex, wanted))


def test_sigma_is_zero_from_minus_87_5_on() -> None:
    assert activations.sigmoid(np.float32([-87.0, -87.5, -88.0, -1e38, -np.inf])).tolist()[1:] == [
        0.0] * 4
    assert float(activations.sigmoid(np.float32([-87.0]))[0]) > 2.0**-126


def test_every_subnormal_gate_is_halved() -> None:
    """In float32, which holds the half; bf16 rounds that of odd ones to even."""
    gate = np.arange(0x80, dtype=np.uint16)
    assert activations.silu_table()[gate].tolist() == [k * 2.0**-134 for k in gate.tolist()]
    found = swiglu(gate.view(ml_dtypes.bfloat16), np.ones(0x80, ml_dtypes.bfloat16))
    assert found.tolist() == [round(Fraction(k, 2)) for k in gate.tolist()]


L, ABOVE = 10.0, 10.0625  # neighbours


def silu(g: float) -> float:
    return float(activations.silu(bf16(g))[0])


@pytest.mark.parametrize("gate, up, clamped_gate, clamped_up", [
    (L, L, L, L), (ABOVE, ABOVE, L, L), (ABOVE, -ABOVE, L, -L), (L, -L, L, -L),
    (9.9375, -9.9375, 9.9375, -9.9375), (-L, 1, -L, 1), (-ABOVE, 1, -ABOVE, 1),
    (-1000.0, -1000.0, -1000.0, -L), (np.inf, np.inf, L, L), (np.inf, -np.inf, L, -L),
    (1, 3.0e38, 1, L), (0.0, -np.inf, 0.0, -L),
])
def test_limit(gate: float, up: float, clamped_gate: float, clamped_up: float) -> None:
    """The gate from above, the up from both sides; the bounds belong to what is kept."""
    pair = [np.array([value], np.float64).astype(ml_dtypes.bfloat16) for value in (gate, up)]
    wanted = swiglu(bf16(clamped_gate), bf16(clamped_up))
    assert swiglu(*pair, limit=L).tolist() == wanted.tolist()


def test_nan_passes_a_limit() -> None:
    one, nan = bf16(1.0), raw(0x7FC0)
    for settings in ({"limit": L}, {"limit": L, "limit_at": "after"}):
        for pair in ((nan, one), (one, nan), (nan, nan), (raw(0xFF81), one)):
            assert swiglu(*pair, **settings).tolist() == [NAN]
        # The gate -infinity is below every limit, and NaN as without one.
        assert swiglu(bf16(-np.inf), one, **settings).tolist() == [NAN]


def test_limit_after_the_activation() -> None:
    """silu(10.0625) is 10.06207, above 10; silu of 10 is below, as is that of a negative gate."""
    assert L < silu(ABOVE) < ABOVE and silu(L) < L
    found = swiglu(bf16(ABOVE, L, np.inf, -2, 200), bf16(1, 1, -30, 1, 0.5), limit=L,
                   limit_at="after").view(ml_dtypes.bfloat16)
    assert found.tolist() == [L, *bf16_of(silu(L)), -100, *bf16_of(silu(-2)), 5]
    before = swiglu(bf16(ABOVE), bf16(1), limit=L).view(ml_dtypes.bfloat16)
    assert before.tolist() == bf16_of(silu(L))


def bf16_of(value: float) -> list[float]:
    return [rational.bf16(Fraction(value))]


def test_alpha_is_in_sigma_alone_and_beta_follows_the_limit() -> None:
    """silu(2, alpha 1.5) is 2 * sigmoid(3); an up of 9 is 7 and then 8."""
    sigma = float(activations.sigmoid(np.float32([3]))[0])
    wanted = rational.f32(rational.f32(Fraction(sigma) * 2) * 8)
    found = swiglu(bf16(2), bf16(9), alpha=1.5, beta=1.0, limit=7.0).view(ml_dtypes.bfloat16)
    assert found.tolist() == [rational.bf16(wanted)]


def test_gelu_tanh_is_near_gelu() -> None:
    gate = PATTERNS[(PATTERNS.astype(np.float32) >= -3) & np.isfinite(PATTERNS.astype(np.float32))]
    wide = gate.astype(np.float64)
    wanted = wide * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    found = activations.gate_table("gelu_tanh")[oracle.bits(gate)]
    keep = np.abs(wide) > 2.0**-100
    np.testing.assert_allclose(found[keep], wanted[keep], rtol=2.0**-20.79)


@pytest.mark.parametrize("wrong, message", [
    ({"limit": 0.0}, "a limit that is a positive bf16 value, found 0.0"),
    ({"limit": -7.0}, "a limit that is a positive bf16 value, found -7.0"),
    ({"limit": 7.01}, "a limit that is a positive bf16 value, found 7.01"),
    ({"limit": float("nan")}, "a limit that is a positive bf16 value, found nan"),
    ({"limit": 7.0, "limit_at": "during"}, "limit_at before or after, found during"),
    ({"activation": "relu"}, "activation silu or gelu_tanh, found relu"),
    ({"alpha": 1.702}, "an alpha that is a float32 value, found 1.702"),
    ({"beta": 0.1}, "a beta that is a float32 value, found 0.1"),
    ({"alpha": 2.0, "activation": "gelu_tanh"}, "no alpha with gelu_tanh, found 2.0"),
    ({"gate_layout": "up"}, "a gate_layout gate_up, up_gate or interleaved<b>, found up"),
    ({"gate_layout": "interleaved<0>"}, "interleaved<b>, found interleaved<0>"),
    ({"gate_layout": "interleaved<3>"}, "a multiple of 6 columns, found 4"),
    ({"dead_rows": "gone"}, "unknown dead_rows 'gone'"),
    ({"probs": np.ones(2, np.float32)}, r"probs must be float32 \[M\]"),
    ({"probs": np.ones(1, np.float64)}, r"probs must be float32 \[M\]"),
])
def test_what_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swiglu(bf16(1, 2), bf16(3, 4), **wrong)


def test_odd_columns_have_no_halves() -> None:
    with pytest.raises(ValueError, match="an even number of columns, found 3"):
        oracle.padded_swiglu(np.zeros((1, 3), ml_dtypes.bfloat16), None, 1,
                             np.zeros((1, 1), ml_dtypes.bfloat16))


# Layouts.

LAYOUTS: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "gate_up": lambda c, N: (c, N + c),
    "up_gate": lambda c, N: (N + c, c),
    "interleaved<1>": lambda c, N: (2 * c, 2 * c + 1),
    "interleaved<8>": lambda c, N: (c // 8 * 16 + c % 8, c // 8 * 16 + c % 8 + 8),
    "interleaved<32>": lambda c, N: (c // 32 * 64 + c % 32, c // 32 * 64 + c % 32 + 32),
    "interleaved<96>": lambda c, N: (c, 96 + c),
}


@pytest.mark.parametrize("gate_layout", LAYOUTS)
def test_each_layout_reads_its_columns(gate_layout: str) -> None:
    """Columns hold their numbers plus 32, which makes silu of a gate the gate."""
    N = 96
    x = np.tile(np.arange(32, 32 + 2 * N, dtype=np.float32), (2, 1)).astype(ml_dtypes.bfloat16)
    out = np.zeros((2, N), ml_dtypes.bfloat16)
    found = oracle.padded_swiglu(x, None, 2, out, gate_layout=gate_layout)
    for c in range(N):
        gate, up = LAYOUTS[gate_layout](c, N)
        assert float(found[1, c]) == rational.bf16(Fraction((32 + gate) * (32 + up))), c
    # Gate and up do not commute where a gate is small.
    small = np.array(x) / ml_dtypes.bfloat16(64)
    found = oracle.padded_swiglu(small, None, 2, out, gate_layout=gate_layout)
    for c in range(N):
        gate, up = (small[0, column : column + 1] for column in LAYOUTS[gate_layout](c, N))
        assert oracle.bits(found)[0, c] == swiglu(gate, up)[0], c


@pytest.mark.parametrize("gate_layout", LAYOUTS)
def test_groups_are_of_columns_of_the_result(gate_layout: str) -> None:
    """The same pairs give the same bytes however they lie."""
    gate, up = gated_batches.all_gates(96, rounds=1)
    wanted = oracle.swiglu_quantize_mxfp8(np.concatenate([gate, up], axis=1), None, gate.shape[0],
                                          *quantized(gate, 96))
    x = gated_batches.join(gate, up, gate_layout)
    found = oracle.swiglu_quantize_mxfp8(x, None, gate.shape[0], *quantized(gate, 96),
                                         gate_layout=gate_layout)
    for have, want in zip(found, wanted):
        assert np.array_equal(oracle.bits(have), oracle.bits(want))


def test_odd_columns_of_the_result() -> None:
    for gate_layout in ("gate_up", "up_gate", "interleaved<1>", "interleaved<5>"):
        batch = gated_batches.random_gated_batch(3, 35, 3, gate_layout, 1.0)
        out = oracle.padded_swiglu(batch.x, batch.permutation_map, 3,
                                   np.zeros((3, 35), ml_dtypes.bfloat16), gate_layout=gate_layout)
        gate, up = oracle.gate_parts(gate_layout)(batch.x)
        assert oracle.bits(out)[2].tolist() == swiglu(gate[2], up[2]).tolist()


# Rows.


@pytest.mark.parametrize("has_map", [True, False])
@pytest.mark.parametrize("n_used", [-3, 0, 4, 9, 50])
@pytest.mark.parametrize("dead_rows", ["untouched", "zero"])
def test_rows(has_map: bool, n_used: int, dead_rows: str) -> None:
    """Row by row, also quantised: scales of rows that are filled with zeros are those of dead
    ones.
    """
    batch = gated_batches.random_gated_batch(9, 32, n_used, live_fraction=0.6, seed=3)
    permutation_map = batch.permutation_map if has_map else None
    before = np.full((9, 32), JUNK, np.uint16).view(ml_dtypes.bfloat16)
    found = oracle.bits(oracle.padded_swiglu(batch.x, permutation_map, n_used, before,
                                             dead_rows=dead_rows))
    data, scale = map(oracle.bits, oracle.swiglu_quantize_mxfp8(
        batch.x, permutation_map, n_used, *quantized(batch.x, 32, oracle.LINEAR), oracle.LINEAR,
        "untouched", dead_rows=dead_rows))
    kinds = set()
    for r in range(9):
        if r >= n_used:
            kind, wanted, byte = "unused", [JUNK] * 32, 0xA5
        elif has_map and batch.permutation_map[r] < 0:
            kind = "dead"
            wanted, byte = ([JUNK] * 32, 0xA5) if dead_rows == "untouched" else ([0] * 32, 0)
        else:
            kind, wanted = "live", swiglu(batch.x[r, :32], batch.x[r, 32:]).tolist()
        kinds.add(kind)
        assert found[r].tolist() == wanted, r
        if kind != "live":
            assert data[r].tolist() == [byte] * 32 and scale[r].tolist() == [0xA5], r
        else:
            assert scale[r, 0] != 0xA5
    if n_used in (4, 9):
        assert kinds >= ({"live", "dead"} if has_map else {"live"})


def test_a_rows_bytes_do_not_depend_on_others() -> None:
    batch = gated_batches.random_gated_batch(40, 64, 40, live_fraction=1, has_probs=True)
    assert batch.probs is not None
    for arguments in ({}, VARIANTS["limit 7 alpha beta"]):
        whole = oracle.swiglu_quantize_mxfp8(
            batch.x, None, 40, *quantized(batch.x, 64, oracle.LINEAR), oracle.LINEAR,
            probs=batch.probs, **arguments)
        for r in (0, 17, 39):
            alone = oracle.swiglu_quantize_mxfp8(
                batch.x[[r]], None, 1, *quantized(batch.x[[r]], 64, oracle.LINEAR), oracle.LINEAR,
                probs=batch.probs[[r]], **arguments)
            for a, b in zip(whole, alone):
                assert np.array_equal(oracle.bits(a)[r], oracle.bits(b)[0])


def test_probs_of_rows_that_are_not_live_are_not_read() -> None:
    """Were they, numpy would warn of nothing: the result tells, which must not change."""
    batch = gated_batches.random_gated_batch(12, 32, 9, has_probs=True)
    assert batch.probs is not None
    live = oracle.live_rows(batch.permutation_map, 9)
    other = np.where(live, batch.probs, np.float32(np.nan))
    before = np.zeros((12, 32), ml_dtypes.bfloat16)
    first, second = (oracle.padded_swiglu(batch.x, batch.permutation_map, 9, before, probs=probs)
                     for probs in (batch.probs, other))
    assert 0 < np.count_nonzero(live) < 9
    assert np.array_equal(oracle.bits(first), oracle.bits(second))


@pytest.mark.parametrize("prob, wanted", [
    (1.0, 0x3F80), (-1.0, 0xBF80), (0.0, 0x0000), (-0.0, 0x8000), (np.inf, INF), (np.nan, NAN),
    (2.0**-133, 0x0001), (-(2.0**-149), 0x8000), (3.0e38, 0x7F62)])
def test_probs_by_hand(prob: float, wanted: int) -> None:
    """Of a result that is 1: 32 times a 32nd."""
    probs = np.array([prob], np.float32)
    assert swiglu(bf16(32), bf16(1 / 32), probs=probs).tolist() == [wanted]
    if prob in (0.0, np.inf):
        assert swiglu(bf16(32), bf16(np.inf if prob == 0 else 0), probs=probs).tolist() == [NAN]


def test_a_product_with_a_prob_is_rounded_once() -> None:
    """(129 / 128)^2 is 130.0078 / 128. Times 1.0038 it is 130.5018 / 128; rounded before, 130.494.
    """
    probs = np.array([1.0038], np.float32)
    found = swiglu(bf16(32.25), bf16(129 / 4096), probs=probs)
    assert found.view(ml_dtypes.bfloat16).tolist() == [131 / 128]


# Quantised.


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("has_probs", [False, True])
def test_fused_is_unfused(name: str, has_probs: bool) -> None:
    """On groups of all kinds."""
    gate, up = gated_batches.special_groups()
    batch = gated_batches.dense(gate, up)
    rows = gate.shape[0]
    probs = np.linspace(-2, 2, rows, dtype=np.float32) if has_probs else None
    out = oracle.padded_swiglu(batch.x, None, rows, np.zeros(gate.shape, gate.dtype), probs=probs,
                               **VARIANTS[name])
    wanted = oracle.quantize_mxfp8(out, batch.permutation_map, rows, *quantized(batch.x, 32))
    found = oracle.swiglu_quantize_mxfp8(batch.x, None, rows, *quantized(batch.x, 32), probs=probs,
                                         **VARIANTS[name])
    for have, want in zip(found, wanted):
        assert np.array_equal(oracle.bits(have), oracle.bits(want))


def one_group(gate: Any, up: Any) -> tuple[list[int], int]:
    """Bytes and exponent of a group."""
    gate, up = (np.broadcast_to(np.asarray(part, ml_dtypes.bfloat16), 32) for part in (gate, up))
    x = np.concatenate([gate, up])[None, :]
    data, scale = oracle.swiglu_quantize_mxfp8(x, None, 1, *quantized(x, 32, oracle.LINEAR),
                                               oracle.LINEAR)
    return oracle.bits(data)[0].tolist(), int(oracle.bits(scale)[0, 0])


def test_groups_by_hand() -> None:
    """32 * 14 is 448, whose scale is 1: 0x7e. A group of -0 has an exponent of 0 and 0x80."""
    assert one_group(32, 14) == ([0x7E] * 32, 127)
    assert one_group(32, -14) == ([0xFE] * 32, 127)
    assert one_group(32, 16) == ([0x78] * 32, 128)
    assert one_group(-0.0, 1) == ([0x80] * 32, 0)
    assert one_group(-100, 1) == ([0x80] * 32, 0)
    assert one_group(32, -0.0) == ([0x80] * 32, 0)
    mixed = np.where(np.arange(32) % 2, -0.0, 0.0)
    assert one_group(32, mixed) == ([0x00, 0x80] * 16, 0)
    assert one_group(np.nan, 1) == ([0x7F] * 32, 0)
    assert one_group(-np.inf, 1) == ([0x7F] * 32, 0)
    assert one_group(np.inf, -1) == ([0x7F] * 32, 255)
    up = np.full(32, 14.0)
    up[5] = np.nan
    assert one_group(32, up) == ([0x7E] * 5 + [0x7F] + [0x7E] * 26, 127)
    up[5] = -np.inf
    assert one_group(32, up) == ([0x00] * 5 + [0x7F] + [0x00] * 26, 255)


# Squared ReLU with a clamp, probs and zeros.


def squared_relu(x: np.ndarray, **arguments: Any) -> np.ndarray:
    out = np.full((1, x.size), JUNK, np.uint16).view(ml_dtypes.bfloat16)
    return oracle.bits(oracle.padded_squared_relu(x[None, :], None, 1, out, **arguments))[0]


@pytest.mark.parametrize("scale", [16.0, 7.0, 0.3125])
@pytest.mark.parametrize("prob", [None, -0.30078125])
def test_clamp_in_rational_arithmetic(scale: float, prob: float | None) -> None:
    x, _ = random_pairs(5, 250)
    probs = None if prob is None else np.full(1, prob, np.float32)
    found = squared_relu(x, clamp_scale=scale, probs=probs).view(ml_dtypes.bfloat16)
    for value, have in zip(x, found):
        want = rational.clamped_square(Fraction(float(value)), Fraction(scale),
                                       None if prob is None else Fraction(prob))
        assert float(have) == want, float(value)


@pytest.mark.parametrize("scale, count", [(16, 5), (7, 6), (10, 11), (30, 9)])
def test_clamp_next_to_the_exact_function(scale: int, count: int) -> None:
    """So many of the positive finite values whose result is normal differ in bf16."""
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no wider than double")
    x = PATTERNS[1:INF]
    wide = x.astype(np.longdouble)
    exact = (scale * np.tanh(wide / scale)) ** 2
    # It is below the square, also where 64 bits do not show it; and many squares are ties of bf16.
    exact = np.minimum(exact, np.nextafter(wide**2, np.longdouble(0)))
    fraction, exponent = np.frexp(exact)
    wanted = np.ldexp(np.rint(np.ldexp(fraction, 8)), exponent - 8)
    is_normal = exact >= 2.0**-126
    found = squared_relu(x, clamp_scale=scale).view(ml_dtypes.bfloat16).astype(np.longdouble)
    assert np.count_nonzero(is_normal) == 24447
    assert np.count_nonzero(found[is_normal] != wanted[is_normal]) == count


def test_tanh_in_rational_arithmetic() -> None:
    rng = np.random.default_rng(0)
    v = np.concatenate([rng.uniform(0, 11, 300), np.exp2(rng.uniform(-130, 3, 200)),
                        [0, 10, 11, 2.0**-140, 3.0e38]]).astype(np.float32)
    for value, found in zip(v, activations.tanh(v)):
        assert float(found) == rational.tanh(Fraction(float(value))), float(value)


def test_tanh_is_near_the_function() -> None:
    v = np.concatenate([np.linspace(0, 12, 40001), np.exp2(np.linspace(-120, -1, 20001))])
    wide = v.astype(np.float32).astype(np.longdouble)
    exact = np.tanh(wide)
    unit = np.ldexp(np.longdouble(1), np.frexp(exact)[1] - 24)
    assert np.max(np.abs(activations.tanh(wide.astype(np.float32)) - exact) / unit) < 3.01


def test_clamp_of_unusual_values() -> None:
    x = raw(0x7FC0, 0xFFFF, 0xFF80, MINUS, 0xC000, INF, 0x7F7F, 0x0001)
    assert squared_relu(x, clamp_scale=16.0).tolist() == [0, 0, 0, 0, 0, 0x4380, 0x4380, 0]
    for wrong in (0.0, -16.0, float("nan")):
        with pytest.raises(ValueError, match="a scale above 0|a float32 value"):
            squared_relu(x, clamp_scale=wrong)
    with pytest.raises(ValueError, match="a scale that is a float32 value, found 0.1"):
        squared_relu(x, clamp_scale=0.1)


def test_without_a_clamp_a_weighted_square_is_rounded_twice() -> None:
    """130.0078 / 128 is 130 / 128 first; a prob of 1.0038 then leaves that, by 0.006 / 128."""
    x, probs = bf16(129 / 128), np.array([1.0038], np.float32)
    assert squared_relu(x, probs=probs).view(ml_dtypes.bfloat16).tolist() == [130 / 128]
    # With a scale so large that it clamps nothing, the product is rounded once.
    found = squared_relu(x, probs=probs, clamp_scale=2.0**12).view(ml_dtypes.bfloat16)
    assert found.tolist() == [131 / 128]


@pytest.mark.parametrize("prob, wanted", [(-2.0, 0xC100), (0.0, 0), (-0.0, MINUS), (np.nan, NAN)])
def test_weighted_squares_by_hand(prob: float, wanted: int) -> None:
    probs = np.array([prob], np.float32)
    assert squared_relu(bf16(2), probs=probs).tolist() == [wanted]
    # relu of what is negative is 0, which has the sign of the prob then.
    assert squared_relu(bf16(-2), probs=probs).tolist() == [
        NAN if np.isnan(prob) else MINUS if np.signbit(prob) else 0]


@pytest.mark.parametrize("clamp_scale", [None, 16.0])
def test_weighted_squares_quantised(clamp_scale: float | None) -> None:
    """fused is unfused, negative values and NaN among them, and dead rows zero."""
    batch = batches.random_batch(20, 64, 17, seed=2)
    probs = np.linspace(-1, 1, 20, dtype=np.float32)
    probs[3] = np.nan
    arguments: dict[str, Any] = {"clamp_scale": clamp_scale, "probs": probs, "dead_rows": "zero"}
    operands = batch.permutation_map, 17
    out = oracle.padded_squared_relu(batch.x, *operands, np.zeros((20, 64), ml_dtypes.bfloat16),
                                     **arguments)
    wanted = oracle.quantize_mxfp8(out, *operands, *quantized(batch.x, 64))
    found = oracle.squared_relu_quantize_mxfp8(batch.x, *operands, *quantized(batch.x, 64),
                                               **arguments)
    live = oracle.live_rows(*operands)
    assert np.array_equal(oracle.bits(found[0])[live], oracle.bits(wanted[0])[live])
    assert np.array_equal(oracle.bits(found[1]), oracle.bits(wanted[1]))
    assert not oracle.bits(found[0])[:17][~live[:17]].any()
    assert (oracle.bits(found[0])[17:] == 0xA5).all()


# The input makers.


def test_every_gate_meets_every_up() -> None:
    ups = (0x3F80, 0xBF80, 0x0001)
    gate, up = gated_batches.all_gates(1000, ups)
    size = 3 << 16
    assert gate.shape == up.shape == (-(-size // 1000), 1000)
    pairs = oracle.bits(gate).ravel()[:size].astype(np.int64) << 16 | oracle.bits(up).ravel()[:size]
    assert np.unique(pairs).size == size
    assert not oracle.bits(gate).ravel()[size:].any()
    gate, up = gated_batches.all_gates(64, rounds=1)
    assert np.array_equal(oracle.bits(gate).ravel(), np.arange(1 << 16))
    assert set(oracle.bits(up).ravel()) == set(gated_batches.UPS)
    # 128 mantissas, zero and subnormals, what is huge, infinity and NaN, each with both signs.
    assert len(gated_batches.UPS) == len(set(gated_batches.UPS)) == 2 * (128 + 16)


def test_every_value_is_a_result() -> None:
    gate, up = gated_batches.all_results(64)
    patterns = batches.all_bf16_patterns(64)
    found = oracle.padded_swiglu(np.concatenate([gate, up], axis=1), None, gate.shape[0],
                                 np.zeros(gate.shape, gate.dtype))
    value = patterns.astype(np.float32)
    is_kept, is_small = np.abs(value) >= 2.0**-121, np.abs(value) < 2.0**-121
    assert np.array_equal(oracle.bits(found)[is_kept], oracle.bits(patterns)[is_kept])
    assert np.array_equal(np.signbit(found[is_small]), np.signbit(patterns[is_small]))
    assert (oracle.bits(found)[~is_kept & ~is_small] == NAN).all()


def test_what_the_special_groups_hold() -> None:
    gate, up = gated_batches.special_groups()
    _, scale = oracle.swiglu_quantize_mxfp8(
        np.concatenate([gate, up], axis=1), None, gate.shape[0],
        *quantized(gate, 32, oracle.LINEAR), oracle.LINEAR)
    out = oracle.padded_swiglu(np.concatenate([gate, up], axis=1), None, gate.shape[0],
                               np.zeros(gate.shape, gate.dtype))
    value, e = out.astype(np.float32), oracle.bits(scale)[:, 0]
    assert {0, 1, 127 - 8, 255} <= set(e.tolist())
    all_of = {"positive": value > 0, "negative": value < 0, "-0": oracle.bits(out) == MINUS,
              "+0": oracle.bits(out) == 0, "NaN": np.isnan(value), "infinite": np.isinf(value),
              "subnormal": (value != 0) & (np.abs(value) < 2.0**-126)}
    for name, mask in all_of.items():
        assert mask.all(axis=1).any(), name
    for name in ("NaN", "infinite"):
        assert (np.count_nonzero(all_of[name], axis=1) == 1).any(), name
    assert (all_of["-0"].any(axis=1) & all_of["+0"].any(axis=1)).any()


@pytest.mark.parametrize("limit", [7.0, 10.0])
def test_pairs_around_a_limit(limit: float) -> None:
    gate, up = gated_batches.around_limit(limit)
    values = gate[:, 0].astype(np.float32)
    assert np.array_equal(values, up[0].astype(np.float32), equal_nan=True)
    step = {7.0: 1 / 32, 10.0: 1 / 16}[limit]
    assert {limit, limit + step, limit - step, -limit, -limit - step, np.inf, -np.inf} <= set(
        values.tolist())
    assert np.isnan(values).any()
    [plain, before, after] = (swiglu(gate.ravel(), up.ravel(), **settings) for settings in (
        {}, {"limit": limit}, {"limit": limit, "limit_at": "after"}))
    assert len({plain.tobytes(), before.tobytes(), after.tobytes()}) == 3


def test_joining_is_the_inverse_of_parting() -> None:
    gate, up = (np.arange(begin, begin + 192, dtype=np.uint16).view(ml_dtypes.bfloat16)
                .reshape(2, 96) for begin in (0, 192))
    for gate_layout in LAYOUTS:
        x = gated_batches.join(gate, up, gate_layout)
        for c, part in itertools.product(range(96), (0, 1)):
            column = LAYOUTS[gate_layout](c, 96)[part]
            assert oracle.bits(x)[1, column] == oracle.bits((gate, up)[part])[1, c]
    with pytest.raises(ValueError, match="a multiple of 5 columns, found 96"):
        gated_batches.join(gate, up, "interleaved<5>")


@pytest.mark.parametrize("quantizes", [False, True])
def test_random_cases(quantizes: bool) -> None:
    """What the oracle takes, of many kinds, the same for the same seed, fused and unfused alike."""
    layouts, keys = set(), set()
    for seed in range(60):
        case = gated_batches.random_case(seed, quantizes=quantizes, is_plain=seed % 4 == 0)
        M, N = case.batch.M, case.batch.x.shape[1] // 2
        assert M * N <= 20_000 or M == 1
        layouts.add(case.arguments["gate_layout"])
        keys |= case.arguments.keys() | ({"probs"} if case.batch.probs is not None else set())
        keys |= set() if case.has_map else {"no map"}
        if seed % 4 == 0:
            assert case.has_map and case.batch.probs is None
            assert not case.arguments.keys() - {"gate_layout", "scale_layout", "dead_scales"}
        if seed < 12:
            again = gated_batches.random_case(seed, quantizes=quantizes, is_plain=seed % 4 == 0)
            assert again.batch.x.tobytes() == case.batch.x.tobytes()
            assert again.arguments == case.arguments
        permutation_map = case.batch.permutation_map if case.has_map else None
        operands = case.batch.x, permutation_map, case.batch.n_used
        if quantizes:
            layout = case.arguments["scale_layout"]
            oracle.swiglu_quantize_mxfp8(*operands, *quantized(case.batch.x, N, layout),
                                         probs=case.batch.probs, **case.arguments)
        else:
            oracle.padded_swiglu(*operands, np.zeros((M, N), ml_dtypes.bfloat16),
                                 probs=case.batch.probs, **case.arguments)
    assert {"gate_up", "up_gate", "interleaved<1>", "interleaved<8>", "interleaved<32>"} < layouts
    assert {"limit", "limit_at", "alpha", "beta", "activation", "dead_rows", "probs",
            "no map"} <= keys


def test_column_numbers_differ() -> None:
    x = gated_batches.column_numbers(2, 3072)
    assert x.shape == (2, 6144) and np.all(np.diff(x[1].astype(np.float32)) > 0)
    with pytest.raises(ValueError, match="at most 10176 columns, found 10177"):
        gated_batches.column_numbers(1, 10177)
