# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests of the oracle and of the input makers, against values worked out by hand from the
definition of the ops or by exact integer arithmetic that shares nothing with the oracle.
"""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from moe_testing import batches, oracle

NAN, NEG_NAN = 0x7FC0, 0xFFC0
INF, NEG_INF = 0x7F80, 0xFF80
NEG_ZERO = 0x8000
MAX_FINITE = 0x7F7F
JUNK = 0xA5


def bf16(*values: float) -> np.ndarray:
    """The given values, which must be exact in bf16 (a typing error would round unnoticed)."""
    exact = np.array(values, dtype=np.float64)
    rounded = exact.astype(np.float32).astype(ml_dtypes.bfloat16)
    assert np.array_equal(rounded.astype(np.float64), exact)
    return rounded


def e4m3_from_bytes(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn)


def e8m0_from_bytes(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu)


def junk_data(M: int, K: int) -> np.ndarray:
    return e4m3_from_bytes(np.full((M, K), JUNK))


def junk_scale(M: int, K: int, layout: str = "swizzle_32_4_4") -> np.ndarray:
    # The sizes are spelled out again: the oracle's scale_size is under test here.
    swizzled = ((M + 127) // 128) * ((K + 127) // 128) * 512
    shape = (swizzled,) if layout == "swizzle_32_4_4" else (M, K // 32)
    return e8m0_from_bytes(np.full(shape, JUNK))


def all_live(M: int) -> np.ndarray:
    return np.arange(M, dtype=np.int32)


def activate(x: np.ndarray) -> np.ndarray:
    """Bits of the squared ReLU of a flat array, every element live."""
    x = x.reshape(1, -1)
    out = oracle.bf16_from_bits(np.full(x.shape, 0xBEEF))
    return oracle.bits(oracle.padded_squared_relu(x, all_live(1), 1, out))[0]


def quantize_groups(groups: np.ndarray, op=oracle.quantize_mxfp8) -> tuple[np.ndarray, np.ndarray]:
    """Bytes [n, 32] and exponents [n] of n groups, one group to a row."""
    n = groups.shape[0]
    data, scale = op(
        groups, all_live(n), n, junk_data(n, 32), junk_scale(n, 32, "linear"), "linear"
    )
    return oracle.bits(data), oracle.bits(scale)[:, 0]


def one_group(*values: float | np.ndarray) -> tuple[list[int], int]:
    """Bytes of the given leading elements of a group, the rest being zeros, and the exponent."""
    given = np.concatenate([v if isinstance(v, np.ndarray) else bf16(v) for v in values])
    group = np.zeros((1, 32), dtype=ml_dtypes.bfloat16)
    group[0, : given.size] = given
    data, e = quantize_groups(group)
    assert not data[0, given.size :].any()
    return data[0, : given.size].tolist(), int(e[0])


def raw(*patterns: int) -> np.ndarray:
    return oracle.bf16_from_bits(np.array(patterns, dtype=np.uint16))


# Squared ReLU.


@pytest.mark.parametrize(
    "pattern, expected",
    [
        (NAN, 0),
        (NEG_NAN, 0),
        (0x7F81, 0),  # signalling NaN
        (0x7FFF, 0),
        (0x0000, 0),
        (NEG_ZERO, 0),
        (INF, INF),
        (NEG_INF, 0),
        (0xBF80, 0),  # -1
        (0x8001, 0),  # the negative subnormal next to -0
        (0x3F80, 0x3F80),  # 1
        (0x4040, 0x4110),  # 3^2 = 9
        (0x3F81, 0x3F82),  # (129/128)^2 = 130.0078/128
        (0x3F88, 0x3F90),  # (136/128)^2 = 144.5/128, a tie, to the even 144
        (0x3F98, 0x3FB4),  # (152/128)^2 = 180.5/128, a tie, to the even 180
        (0x5F80, INF),  # (2^64)^2 = 2^128 overflows
        (MAX_FINITE, INF),
        (0x5F7F, 0x7F7E),  # (255 * 2^56)^2 = 254.0078 * 2^120
        (0x2000, 0x0080),  # (2^-63)^2 = 2^-126, the smallest normal
        (0x1E80, 0x0002),  # (2^-66)^2 = 2^-132, a subnormal of 2 units
        (0x1EC0, 0x0004),  # (1.5 * 2^-66)^2 = 4.5 units, a tie, to the even 4
        (0x1E00, 0x0000),  # (2^-67)^2 = half a unit, a tie, to the even 0
        (0x1E01, 0x0001),  # one step above that tie
        (0x0001, 0x0000),  # the smallest subnormal
    ],
)
def test_squared_relu_by_hand(pattern: int, expected: int) -> None:
    assert activate(raw(pattern)).tolist() == [expected]


def exact_square_bits(pattern: int) -> int:
    """Bits of bf16(v^2) for a positive finite pattern, rounded once, in integers."""
    biased, mantissa = pattern >> 7, pattern & 0x7F
    significand, power = (mantissa, -133) if biased == 0 else (mantissa + 128, biased - 134)
    value, power = significand * significand, 2 * power
    # Round to a multiple of the unit: 8 significant bits, and no finer than the subnormals.
    unit = max(power + value.bit_length() - 8, -133)
    if unit > power:
        step = 1 << (unit - power)
        value, rest = divmod(value, step)
        value += 2 * rest > step or (2 * rest == step and value % 2 == 1)
    else:
        value <<= power - unit
    if value == 256:
        value, unit = 128, unit + 1
    if value < 128:
        assert unit == -133
        return value
    biased = unit + 134
    return INF if biased >= 255 else (biased << 7) + value - 128


def test_squared_relu_rounds_as_if_once_for_every_pattern() -> None:
    got = activate(oracle.bf16_from_bits(np.arange(1 << 16)))
    expected = [0] + [exact_square_bits(p) for p in range(1, INF)] + [INF]
    assert got[: INF + 1].tolist() == expected
    assert not got[INF + 1 :].any()  # NaN, and everything with the sign bit


# The exponent.


@pytest.mark.parametrize(
    "pattern, expected",
    [
        (0x0000, 0),
        (0x0001, 1),  # 2^-133 / 448: far below the clamp
        (0x0080, 1),  # smallest normal
        (0x0460, 1),  # 1.75 * 2^-119: raw exponent 0
        (0x0461, 1),  # raw exponent 1
        (0x04E0, 1),  # 1.75 * 2^-118: the last with raw exponent 1
        (0x04E1, 2),
        (0x3F80, 119),  # 1: ceil(log2(1 / 448)) = -8
        (0x3FE0, 119),  # 1.75: exactly 2^-8
        (0x3FE1, 120),
        (0x43E0, 127),  # 448: exactly 2^0
        (0x43E1, 128),  # 450
        (MAX_FINITE, 247),  # 1.992 * 2^127 / 448 = 1.138 * 2^119
        (INF, 255),
    ],
)
@pytest.mark.parametrize("sign", [0, NEG_ZERO])
def test_exponent_by_hand(pattern: int, expected: int, sign: int) -> None:
    assert one_group(raw(pattern | sign))[1] == expected


def test_exponent_agrees_with_the_integer_form() -> None:
    b = np.arange(INF)
    assert b.size == 32640
    groups = np.zeros((b.size, 32), dtype=np.uint16)
    groups[b, b % 32] = b
    _, e = quantize_groups(oracle.bf16_from_bits(groups))
    expected = np.maximum(1, ((b + 0x1F) >> 7) - 8)
    expected[0] = 0
    assert np.array_equal(e, expected)


def test_fused_exponent_is_that_of_the_bf16_activation() -> None:
    # 21.125^2 = 446.27 rounds to 446; 21.25^2 = 451.56 rounds to 452.
    groups = np.zeros((2, 32), dtype=ml_dtypes.bfloat16)
    groups[:, 5] = bf16(21.125, 21.25)
    data, e = quantize_groups(groups, oracle.squared_relu_quantize_mxfp8)
    assert e.tolist() == [127, 128]
    # 446 rounds to 448; 452 / 2 = 226 rounds to 224.
    assert data[:, 5].tolist() == [0x7E, 0x76]


def test_fused_rounds_to_bf16_before_it_quantises() -> None:
    # 16^2 = 256 makes e = 127. (132/128)^2 = 1.0634765625 is nearer to 1.125 than to 1, but in bf16
    # it is 1.0625, which is a tie between them and goes to the even 1.
    groups = np.zeros((1, 32), dtype=ml_dtypes.bfloat16)
    groups[0, :2] = bf16(16.0, 132 / 128)
    data, e = quantize_groups(groups, oracle.squared_relu_quantize_mxfp8)
    assert e.tolist() == [127]
    assert data[0, :2].tolist() == [0x78, 0x38]


# E4M3 rounding.


def test_e4m3_ties_by_hand() -> None:
    # The maximum 448 makes e = 127, so the elements are rounded unscaled.
    cases = [
        (448.0, 0x7E),
        (432.0, 0x7E),  # between 416 and 448
        (400.0, 0x7C),  # between 384 and 416
        (1.0, 0x38),
        (1.0625, 0x38),  # between 1 and 1.125
        (1.0703125, 0x39),  # just above it
        (1.0546875, 0x38),
        (1.1875, 0x3A),  # between 1.125 and 1.25
        (2.0**-6, 0x08),  # smallest normal
        (7.5 * 2.0**-9, 0x08),  # between the largest subnormal and the smallest normal
        (6.5 * 2.0**-9, 0x06),
        (2.5 * 2.0**-9, 0x02),
        (1.5 * 2.0**-9, 0x02),
        (2.0**-9, 0x01),
        (2.0**-10, 0x00),  # between 0 and the smallest subnormal
        (1.0078125 * 2.0**-10, 0x01),
    ]
    values = [v for v, _ in cases]
    expected = [b for _, b in cases]
    assert one_group(*values) == (expected, 127)
    # A zero keeps its sign too.
    negated = one_group(*[-v for v in values])
    assert negated == ([b | 0x80 for b in expected], 127)


def test_scaled_data_by_hand() -> None:
    assert one_group(450.0, 1.0) == ([0x76, 0x30], 128)  # 225 -> 224, and 1/2
    assert one_group(1.0) == ([0x78], 119)  # 256
    assert one_group(raw(0x0001)) == ([0x04], 1)  # 2^-133 * 2^126 = 2^-7
    # 255 * 2^120 * 2^-120 = 255 rounds to 256; 2^-120 vanishes under it.
    assert one_group(raw(MAX_FINITE, 0x0380, 0x8380)) == ([0x78, 0x00, 0x80], 247)


def exact_e4m3_byte(value: Fraction) -> int:
    """Nearest E4M3 value to 0 <= value <= 448, to the even byte on a tie, by enumeration."""
    byte = EXACT_E4M3.index(max(v for v in EXACT_E4M3 if v <= value))
    if EXACT_E4M3[byte] == value:
        return byte
    below, above = value - EXACT_E4M3[byte], EXACT_E4M3[byte + 1] - value
    if below == above:
        return byte + byte % 2
    return byte if below < above else byte + 1


EXACT_E4M3 = [
    Fraction(b & 7, 512) if b < 8 else Fraction(8 + (b & 7), 8) * Fraction(2) ** ((b >> 3) - 7)
    for b in range(0x7F)
]


def test_e4m3_rounding_against_enumeration() -> None:
    # Every significand of 8 bits from where all rounds to zero up to 448, with e = 127.
    assert EXACT_E4M3[-1] == 448
    patterns = np.arange((127 - 14) << 7, 0x43E1)
    padded = np.zeros(-(-patterns.size // 31) * 31, dtype=np.uint16)
    padded[: patterns.size] = patterns
    groups = np.full((padded.size // 31, 32), 0x43E0, dtype=np.uint16)
    groups[:, 1:] = padded.reshape(-1, 31)
    x = oracle.bf16_from_bits(groups)
    data, e = quantize_groups(x)
    assert np.all(e == 127)
    expected = [exact_e4m3_byte(Fraction(float(v))) for v in x.ravel()]
    assert data.ravel().tolist() == expected
    data, _ = quantize_groups(oracle.bf16_from_bits(groups ^ 0x8000))
    assert data.ravel().tolist() == [b | 0x80 for b in expected]


def test_every_maximum_against_enumeration() -> None:
    m = np.arange(1, INF, 7)  # an odd stride meets every mantissa in every few binades
    groups = np.zeros((m.size, 32), dtype=np.uint16)
    groups[:, 0] = m
    groups[:, 1] = np.maximum(m - 37, 0)
    groups[:, 2] = np.maximum(m - 5 * 128 - 11, 0)
    groups[:, 3] = np.maximum(m - 16 * 128 - 3, 0)
    x = oracle.bf16_from_bits(groups)
    data, e = quantize_groups(x)
    scaled = x[:, :4].astype(np.float64)
    for row, b in enumerate(m.tolist()):
        exponent = max(1, ((b + 0x1F) >> 7) - 8)
        factor = Fraction(2) ** (127 - exponent)
        expected = [exact_e4m3_byte(Fraction(v) * factor) for v in scaled[row].tolist()]
        assert (data[row, :4].tolist(), int(e[row])) == (expected, exponent)


def test_no_finite_value_saturates() -> None:
    b = np.arange(INF)
    groups = np.repeat(b[:, None], 32, axis=1)
    data, e = quantize_groups(oracle.bf16_from_bits(groups))
    values = e4m3_from_bytes(data[:, 0]).astype(np.float64)
    exact = oracle.bf16_from_bits(b).astype(np.float64) * np.ldexp(1.0, 127 - e.astype(int))
    assert exact.max() == 448
    assert np.all(np.abs(values - exact) <= np.maximum(exact / 16, 2.0**-10))


# NaN, infinity, negative zero.


def test_nan_is_missing_and_gives_7f() -> None:
    # 1.0 decides: e = 119.
    assert one_group(raw(NAN, 0x3F80, NEG_NAN, 0x7F81, 0xFFFF)) == (
        [0x7F, 0x78, 0x7F, 0x7F, 0x7F],
        119,
    )
    data, e = quantize_groups(oracle.bf16_from_bits(np.full((1, 32), NEG_NAN)))
    assert np.all(data == 0x7F) and e.tolist() == [0]
    assert one_group(raw(NAN, INF)) == ([0x7F, 0x7F], 255)
    # Scale 1, the clamp, does not change it.
    assert one_group(raw(NAN, 0x0001)) == ([0x7F, 0x04], 1)


def test_infinity_invalidates_the_scale() -> None:
    everything = raw(INF, NEG_INF, 0x3F80, 0xBF80, 0, NEG_ZERO, MAX_FINITE, 0xFF7F, NAN)
    expected = [0x7F, 0x7F, 0x00, 0x80, 0x00, 0x80, 0x00, 0x80, 0x7F]
    assert one_group(everything) == (expected, 255)
    assert one_group(raw(NEG_INF)) == ([0x7F], 255)


def test_negative_zero_keeps_its_sign() -> None:
    assert one_group(raw(0x3F80, NEG_ZERO)) == ([0x78, 0x80], 119)
    assert one_group(raw(NEG_ZERO, NEG_ZERO)) == ([0x80, 0x80], 0)
    # Far below half of the smallest E4M3 value.
    assert one_group(raw(0x43E0, 0x8001, 0x0001)) == ([0x7E, 0x80, 0x00], 127)


def test_fused_specials() -> None:
    groups = np.zeros((4, 32), dtype=np.uint16)
    groups[0, :6] = [INF, NEG_INF, NAN, NEG_ZERO, 0x4000, 0xC000]
    groups[1, :2] = [0x5F80, 0x3F80]  # 2^64 overflows when squared
    groups[2, :] = NEG_NAN
    groups[3, :5] = [NAN, 0x3F80, 0xFF7F, NEG_INF, NEG_ZERO]
    data, e = quantize_groups(oracle.bf16_from_bits(groups), oracle.squared_relu_quantize_mxfp8)
    assert e.tolist() == [255, 255, 0, 119]
    assert data[0].tolist() == [0x7F] + [0] * 31
    assert data[1].tolist() == [0x7F] + [0] * 31
    assert not data[2].any()
    assert data[3].tolist() == [0, 0x78] + [0] * 30


# The scale layout.


@pytest.mark.parametrize(
    "r, g, K, expected",
    [
        (0, 0, 128, 0),
        (0, 1, 128, 1),
        (0, 3, 128, 3),
        (1, 0, 128, 16),
        (31, 0, 128, 496),
        (32, 0, 128, 4),
        (96, 0, 128, 12),
        (127, 3, 128, 511),
        (128, 0, 128, 512),
        (0, 4, 256, 512),
        (128, 0, 256, 1024),
        (0, 0, 32, 0),
        (128, 0, 32, 512),  # one column tile, though only a quarter of it is used
        (200, 5, 1856, 8329),  # tile 1 * 15 + 1; 200 % 32 = 8; 72 / 32 = 2: 8192 + 128 + 8 + 1
    ],
)
def test_scale_offset_by_hand(r: int, g: int, K: int, expected: int) -> None:
    assert oracle.scale_offset(r, g, K) == expected


@pytest.mark.parametrize(
    "M, K, expected",
    [(1, 32, 512), (128, 128, 512), (129, 160, 2048), (65536, 1856, 3932160), (0, 64, 0)],
)
def test_scale_size_by_hand(M: int, K: int, expected: int) -> None:
    assert oracle.scale_size(M, K) == expected


def test_scale_offset_is_a_bijection() -> None:
    r, g = np.meshgrid(np.arange(3 * 128), np.arange(5 * 4), indexing="ij")
    offsets = oracle.scale_offset(r, g, 5 * 128)
    assert np.array_equal(np.sort(offsets.ravel()), np.arange(oracle.scale_size(384, 640)))


def test_swizzled_scales_hold_the_linear_ones() -> None:
    M, K = 300, 1856
    x = batches.dense_batch(M, K, seed=3).x
    args = (x, all_live(M), M, junk_data(M, K))
    _, swizzled = oracle.quantize_mxfp8(*args, junk_scale(M, K))
    _, linear = oracle.quantize_mxfp8(*args, junk_scale(M, K, "linear"), "linear")
    buffer, rows = oracle.bits(swizzled), oracle.bits(linear)
    assert np.all(rows > 0)
    for r in (0, 1, 31, 32, 127, 128, 200, 299):
        for g in (0, 1, 3, 4, 57):
            offset = ((r // 128) * 15 + g // 4) * 512
            offset += (r % 32) * 16 + ((r % 128) // 32) * 4 + g % 4
            assert buffer[offset] == rows[r, g]
    assert np.count_nonzero(buffer) == rows.size


# Live rows.


@pytest.mark.parametrize(
    "n_used, expected",
    [
        (3, [True, False, True, False, False]),
        (5, [True, False, True, False, True]),
        (6, [True, False, True, False, True]),
        (2**31 - 1, [True, False, True, False, True]),
        (1, [True, False, False, False, False]),
        (0, [False] * 5),
        (-1, [False] * 5),
        (-(2**31), [False] * 5),
    ],
)
@pytest.mark.parametrize("rank", ["int", "rank0", "rank1"])
def test_live_rows(n_used: int, expected: list[bool], rank: str) -> None:
    permutation_map = np.array([0, -1, 7, -(2**31), 2**31 - 1], dtype=np.int32)
    value = {
        "int": n_used,
        "rank0": np.array(n_used, dtype=np.int32),
        "rank1": np.array([n_used], dtype=np.int32),
    }[rank]
    assert oracle.live_rows(permutation_map, value).tolist() == expected


PARTIAL_MAP = np.array([4, -1, 0, -7, 9, 9], dtype=np.int32)  # with n_used = 5: 0, 2 and 4 live
PARTIAL_LIVE, PARTIAL_DEAD = [0, 2, 4], [1, 3, 5]


def test_dead_rows_of_the_activation_are_untouched() -> None:
    x = oracle.bf16_from_bits(np.full((6, 3), 0x4000))
    out = oracle.bf16_from_bits(np.arange(0x7FC0, 0x7FC0 + 18).reshape(6, 3))
    got = oracle.bits(oracle.padded_squared_relu(x, PARTIAL_MAP, 5, out))
    assert np.all(got[PARTIAL_LIVE] == 0x4080)
    assert np.array_equal(got[PARTIAL_DEAD], oracle.bits(out)[PARTIAL_DEAD])
    assert np.array_equal(oracle.bits(out).ravel(), np.arange(0x7FC0, 0x7FC0 + 18))


@pytest.mark.parametrize("op", [oracle.quantize_mxfp8, oracle.squared_relu_quantize_mxfp8])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
def test_dead_rows_and_padding_of_the_scales(op, dead_scales: str) -> None:
    # K / 32 = 5 leaves three padding columns; M = 6 leaves 122 padding rows.
    M, K = 6, 160
    x = oracle.bf16_from_bits(np.full((M, K), 0x3F80))
    data, scale = junk_data(M, K), junk_scale(M, K)
    new_data, new_scale = op(x, PARTIAL_MAP, 5, data, scale, dead_scales=dead_scales)
    assert np.all(oracle.bits(new_data)[PARTIAL_LIVE] == 0x78)
    assert np.all(oracle.bits(new_data)[PARTIAL_DEAD] == JUNK)

    kept = 0 if dead_scales == "zero" else JUNK
    expected = np.full(1024, kept, dtype=np.uint8)
    for r in PARTIAL_LIVE:
        expected[16 * r : 16 * r + 4] = 119
        expected[512 + 16 * r : 512 + 16 * r + 4] = [119, 0, 0, 0]
    assert np.array_equal(oracle.bits(new_scale), expected)

    linear = junk_scale(M, K, "linear")
    _, new_linear = op(x, PARTIAL_MAP, 5, data, linear, "linear", dead_scales)
    expected = np.full((M, 5), kept, dtype=np.uint8)
    expected[PARTIAL_LIVE] = 119
    assert np.array_equal(oracle.bits(new_linear), expected)

    # Destinations are previous content, not storage.
    for destination in (data, scale, linear):
        assert np.all(oracle.bits(destination) == JUNK)
    assert np.all(oracle.bits(x) == 0x3F80)


@pytest.mark.parametrize("n_used", [0, -5, -(2**31)])
@pytest.mark.parametrize("dead_scales, kept", [("zero", 0), ("untouched", JUNK)])
def test_nothing_used(n_used: int, dead_scales: str, kept: int) -> None:
    M, K = 130, 64
    x = oracle.bf16_from_bits(np.full((M, K), NAN))
    data, scale = oracle.squared_relu_quantize_mxfp8(
        x, all_live(M), n_used, junk_data(M, K), junk_scale(M, K), dead_scales=dead_scales
    )
    assert np.all(oracle.bits(data) == JUNK)
    assert scale.shape == (1024,) and np.all(oracle.bits(scale) == kept)


def test_n_used_past_the_end_and_all_rows_padding() -> None:
    M, K = 5, 32
    x = oracle.bf16_from_bits(np.full((M, K), 0x3F80))
    data, scale = oracle.quantize_mxfp8(
        x, all_live(M), 2**31 - 1, junk_data(M, K), junk_scale(M, K, "linear"), "linear"
    )
    assert np.all(oracle.bits(data) == 0x78) and np.all(oracle.bits(scale) == 119)
    padding = np.full(M, -1, dtype=np.int32)
    data, scale = oracle.quantize_mxfp8(x, padding, M, junk_data(M, K), junk_scale(M, K))
    assert np.all(oracle.bits(data) == JUNK) and not oracle.bits(scale).any()


def test_bad_operands_are_refused() -> None:
    x = np.zeros((2, 48), dtype=ml_dtypes.bfloat16)
    with pytest.raises(ValueError, match="multiple of 32"):
        oracle.quantize_mxfp8(x, all_live(2), 2, junk_data(2, 48), junk_scale(2, 48))
    x = np.zeros((2, 64), dtype=ml_dtypes.bfloat16)
    with pytest.raises(ValueError, match="scale"):
        oracle.quantize_mxfp8(x, all_live(2), 2, junk_data(2, 64), junk_scale(2, 64), "linear")
    with pytest.raises(ValueError, match="dead_scales"):
        oracle.quantize_mxfp8(
            x, all_live(2), 2, junk_data(2, 64), junk_scale(2, 64), dead_scales="keep"
        )


# Fused against unfused.


@pytest.mark.parametrize("layout", ["swizzle_32_4_4", "linear"])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
@pytest.mark.parametrize("source", ["patterns", "routed"])
def test_fused_equals_unfused(source: str, layout: str, dead_scales: str) -> None:
    if source == "patterns":
        x = batches.all_bf16_patterns(1856)
        permutation_map, n_used = all_live(x.shape[0]), x.shape[0]
    else:
        batch = batches.routed_batch(50, experts=8, top_k=2, alignment=16, ffn=160, seed=1)
        x, permutation_map, n_used = batch.x, batch.permutation_map, batch.n_used
    M, K = x.shape
    destination = (junk_data(M, K), junk_scale(M, K, layout), layout, dead_scales)
    activation = oracle.padded_squared_relu(x, permutation_map, n_used, np.zeros_like(x))
    unfused = oracle.quantize_mxfp8(activation, permutation_map, n_used, *destination)
    fused = oracle.squared_relu_quantize_mxfp8(x, permutation_map, n_used, *destination)
    for a, b in zip(fused, unfused, strict=True):
        assert np.array_equal(oracle.bits(a), oracle.bits(b))


# The input makers.


@pytest.mark.parametrize(
    "tokens, M", [(1, 16512), (64, 16768), (512, 19456), (4096, 40960), (8192, 65536)]
)
def test_capacity(tokens: int, M: int) -> None:
    assert batches.max_rows(tokens) == M
    batch = batches.routed_batch(min(tokens, 512), capacity_tokens=tokens, ffn=1)
    assert batch.M == M and batch.x.shape == (M, 1) and batch.permutation_map.shape == (M,)


@pytest.mark.parametrize("alignment", [16, 128])
@pytest.mark.parametrize("tokens", [1, 64, 300])
def test_routed_batch(tokens: int, alignment: int) -> None:
    batch = batches.routed_batch(tokens, alignment=alignment, ffn=64, seed=5)
    assert batch.x.dtype == ml_dtypes.bfloat16 and batch.permutation_map.dtype == np.int32
    n_used = batch.n_used
    assert n_used % alignment == 0 and n_used < batch.M and batch.M % alignment == 0
    used = batch.permutation_map[:n_used]
    live = used[used >= 0]
    assert batch.live == live.size == tokens * 6
    assert np.all(used[used < 0] == -1)
    assert np.array_equal(np.bincount(live, minlength=tokens), np.full(tokens, 6))

    # A block starts with a live row and holds each token once, live rows before padding rows.
    blocks = used.reshape(-1, alignment)
    assert np.all(blocks[:, 0] >= 0)
    for block in blocks:
        count = int((block >= 0).sum())
        assert np.all(block[:count] >= 0) and np.unique(block[:count]).size == count

    junk = batch.permutation_map[n_used:]
    assert junk[0] >= 0 and (junk >= 0).any() and (junk < 0).any()

    is_live = np.zeros(batch.M, dtype=bool)
    is_live[:n_used] = used >= 0
    values = batch.x.astype(np.float32)
    assert np.isfinite(values[is_live]).all()
    assert np.isnan(values[~is_live]).any(axis=1).all()
    assert np.all(values[~is_live] != 0)


def test_routed_squares_span_several_binades() -> None:
    batch = batches.routed_batch(64, ffn=256)
    args = (batch.x, batch.permutation_map, batch.n_used, junk_data(batch.M, 256))
    scale = junk_scale(batch.M, 256, "linear")
    _, scale = oracle.squared_relu_quantize_mxfp8(*args, scale, "linear")
    assert np.unique(oracle.bits(scale)).size > 10


def test_batches_are_reproducible() -> None:
    a = batches.routed_batch(32, ffn=32, seed=7)
    b = batches.routed_batch(32, ffn=32, seed=7)
    c = batches.routed_batch(32, ffn=32, seed=8)
    assert np.array_equal(oracle.bits(a.x), oracle.bits(b.x))
    assert np.array_equal(a.permutation_map, b.permutation_map) and a.n_used == b.n_used
    assert not np.array_equal(oracle.bits(a.x), oracle.bits(c.x))


def test_capacity_below_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity_tokens"):
        batches.routed_batch(64, capacity_tokens=63)


def test_dense_batch() -> None:
    batch = batches.dense_batch(200, 96, seed=2)
    assert batch.x.shape == (200, 96) and batch.M == batch.live == batch.n_used == 200
    assert np.array_equal(np.sort(batch.permutation_map), np.arange(200))


@pytest.mark.parametrize("K", [32, 160, 1856])
def test_all_bf16_patterns(K: int) -> None:
    x = batches.all_bf16_patterns(K)
    assert x.dtype == ml_dtypes.bfloat16 and x.shape[1] == K
    groups = oracle.bits(x).reshape(-1, 32)

    alone = groups[: 1 << 16]
    assert np.array_equal(alone.max(axis=1), np.arange(1 << 16))
    assert np.array_equal((alone != 0).sum(axis=1), np.arange(1 << 16) > 0)
    # No pattern is tied to one column: its low bits do not decide it.
    assert np.all((alone != 0).sum(axis=0) > 2000)

    # Positive patterns order as their values do.
    maxima = groups[1 << 16 :][: INF - 1]
    assert np.array_equal(maxima.max(axis=1), np.arange(1, INF))
    negated = groups[(1 << 16) + INF - 1 :][: INF - 1]
    assert np.array_equal(negated, maxima | 0x8000)

    rest = groups[(1 << 16) + 2 * (INF - 1) :].ravel()
    for part in (rest[: 1 << 16], rest[1 << 16 : 1 << 17]):
        assert np.array_equal(np.sort(part), np.arange(1 << 16))
    assert not rest[1 << 17 :].any() and rest.size - (1 << 17) < K
