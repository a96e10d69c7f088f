# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reference results, bit for bit, of the padding-aware activation and MXFP8 quantising ops.

Written from the definition of the ops with numpy and ml_dtypes alone and sharing no code with the
compiler, so that an agreement between the two means something. Inputs are never modified: a
destination is passed with its previous content, and the result is a new array.

Where the definition leaves room, this file decides as follows:

* A NaN element gives 0x7f, whatever its sign or payload and whatever the exponent. 0x7f is the one
  NaN encoding that is ever written.
* e == 255: both +inf and -inf give 0x7f; a finite element gives zero with its sign kept, so 0x80
  for a negative one (and for -0).
* e == 0: every element is a zero or a NaN, and the two rules "all zero bytes" and "-0 gives 0x80"
  meet. The sign wins: -0 gives 0x80. The fused op never sees it, as its elements are never
  negative.
* An element that rounds to zero keeps its sign: 0x80 for a negative one.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import ml_dtypes
import numpy as np

bfloat16 = ml_dtypes.bfloat16
float8_e4m3fn = ml_dtypes.float8_e4m3fn
float8_e8m0fnu = ml_dtypes.float8_e8m0fnu

GROUP = 32
TILE_ROWS = 128
TILE_COLS = 4
TILE_BYTES = TILE_ROWS * TILE_COLS

SWIZZLED = "swizzle_32_4_4"
LINEAR = "linear"

E4M3_NAN = 0x7F
E8M0_NAN = 255
BF16_INF = 0x7F80

# Bounds the temporaries: a few float32 arrays of this many elements.
_CHUNK_ELEMENTS = 1 << 21


def bf16_from_bits(patterns: np.ndarray) -> np.ndarray:
    """The bf16 values that have the given 16-bit patterns."""
    return np.asarray(patterns, dtype=np.uint16).view(bfloat16)


def bits(array: np.ndarray) -> np.ndarray:
    """A view of `array` as unsigned integers of the same width."""
    array = np.asarray(array)
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def live_rows(permutation_map: np.ndarray, n_used: int | np.ndarray) -> np.ndarray:
    """Boolean [M]: row r is live iff r < n_used and permutation_map[r] >= 0."""
    permutation_map = np.asarray(permutation_map)
    limit = int(np.asarray(n_used).reshape(()))
    # Comparing row indices clamps n_used to [0, M] by itself.
    return (np.arange(permutation_map.shape[0]) < limit) & (permutation_map >= 0)


def _tile_counts(M: int, K: int) -> tuple[int, int]:
    return -(-M // TILE_ROWS), -(-K // (TILE_COLS * GROUP))


def scale_size(M: int, K: int) -> int:
    """Bytes in the swizzled scale buffer of an [M, K] tensor."""
    n_row_tiles, n_col_tiles = _tile_counts(M, K)
    return n_row_tiles * n_col_tiles * TILE_BYTES


def scale_offset(r: int | np.ndarray, g: int | np.ndarray, K: int) -> int | np.ndarray:
    """Byte offset of row r, group g in the swizzled scale buffer; r and g broadcast."""
    n_col_tiles = _tile_counts(0, K)[1]
    tile = (r // 128) * n_col_tiles + g // 4
    return tile * 512 + (r % 32) * 16 + ((r % 128) // 32) * 4 + g % 4


def _live_chunks(live: np.ndarray, columns: int) -> list[np.ndarray]:
    rows = np.flatnonzero(live)
    step = max(1, _CHUNK_ELEMENTS // max(1, columns))
    return [rows[i : i + step] for i in range(0, rows.size, step)]


def _relu_squared(x: np.ndarray) -> np.ndarray:
    v = x.astype(np.float32)
    # A comparison, not a maximum: it sends both NaN and -0 to +0.
    v = np.where(v > 0, v, np.float32(0))
    with np.errstate(over="ignore", under="ignore"):
        return (v * v).astype(bfloat16)


@lru_cache(maxsize=None)
def _rceil_table() -> np.ndarray:
    """The biased E8M0 exponent of every maximum m, indexed by the bits of m: zero to +inf.

    Fractions keep m / 448 exact, and comparing with powers of two needs no logarithm.
    """
    maxima = bf16_from_bits(np.arange(BF16_INF)).astype(np.float64)
    table = np.zeros(BF16_INF + 1, dtype=np.uint8)
    table[BF16_INF] = E8M0_NAN
    for pattern in range(1, BF16_INF):
        quotient = Fraction(float(maxima[pattern])) / 448
        # ceil(log2(q)) is the smallest k with q <= 2^k. The bit lengths give
        # 2^(k - 1) < q < 2^(k + 1), so it is k or k + 1.
        k = quotient.numerator.bit_length() - quotient.denominator.bit_length()
        if quotient > Fraction(2) ** k:
            k += 1
        table[pattern] = max(1, 127 + k)
    table.flags.writeable = False
    return table


def _quantize_rows(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E4M3 bytes [rows, K] and exponents [rows, K / 32] of the bf16 values `a`."""
    rows, K = a.shape
    v = a.astype(np.float32).reshape(rows, K // GROUP, GROUP)
    nan = np.isnan(v)
    m = np.where(nan, np.float32(0), np.abs(v)).max(axis=2)
    e = _rceil_table()[bits(m.astype(bfloat16))]

    # float32, because the cast from float64 rounds twice (once to float32). A product has the 8
    # significant bits of its bf16 factor, so float32 holds it exactly unless it is below 2^-142,
    # and then what it holds is still far below half the smallest E4M3 value.
    factor = np.ldexp(np.float32(1), 127 - e.astype(np.int32))[:, :, None]
    invalid_scale = (e == E8M0_NAN)[:, :, None]
    with np.errstate(under="ignore"):
        product = np.where(nan | np.isinf(v), np.float32(0), v) * factor
    product = np.where(invalid_scale, np.copysign(np.float32(0), v), product)
    data = bits(product.astype(float8_e4m3fn))
    data = np.where(nan | np.isinf(v), np.uint8(E4M3_NAN), data)
    return data.reshape(rows, K), e


def padded_squared_relu(
    x: np.ndarray, permutation_map: np.ndarray, n_used: int | np.ndarray, out: np.ndarray
) -> np.ndarray:
    """`out` with every live row replaced by bf16(f32(relu(x))^2); other rows are untouched.

    NaN gives 0, -0 gives +0, overflow gives +inf, subnormals are kept.
    """
    _check_operands(x, permutation_map)
    if out.shape != x.shape or out.dtype != bfloat16:
        raise ValueError("out must be bf16 of the shape of x")
    result = np.array(out, order="C")
    for rows in _live_chunks(live_rows(permutation_map, n_used), x.shape[1]):
        bits(result)[rows] = bits(_relu_squared(x[rows]))
    return result


def quantize_mxfp8(
    x: np.ndarray,
    permutation_map: np.ndarray,
    n_used: int | np.ndarray,
    data: np.ndarray,
    scale: np.ndarray,
    scale_layout: str = SWIZZLED,
    dead_scales: str = "zero",
) -> tuple[np.ndarray, np.ndarray]:
    """`data` and `scale` after quantising the live rows of x in groups of 32 columns.

    The exponent e of a group is RCEIL of its largest magnitude, NaN counting as missing: a group of
    nothing but NaN has m = 0, thus e = 0. Data rows that are not live keep their content.

    `scale` is flat [scale_size(M, K)] for "swizzle_32_4_4" and [M, K // 32] for "linear".
    With dead_scales="zero", every scale byte that is not a live row's exponent is 0. With
    "untouched", the bytes of rows that are not live keep their content, rows in
    [M, 128 * n_row_tiles) among them, while live rows still get zero in their padding columns.

    Decided here: a NaN element gives 0x7f for any e. When e == 255, a negative finite element (and
    -0) gives 0x80, and both +inf and -inf give 0x7f, the one NaN encoding ever written. When
    e == 0, -0 gives 0x80.
    """
    return _quantize(
        x, permutation_map, n_used, data, scale, scale_layout, dead_scales, squared_relu=False
    )


def squared_relu_quantize_mxfp8(
    x: np.ndarray,
    permutation_map: np.ndarray,
    n_used: int | np.ndarray,
    data: np.ndarray,
    scale: np.ndarray,
    scale_layout: str = SWIZZLED,
    dead_scales: str = "zero",
) -> tuple[np.ndarray, np.ndarray]:
    """`data` and `scale` after squared ReLU, rounded to bf16, then `quantize_mxfp8`.

    The operands and the two modes are those of `quantize_mxfp8`. The activation has neither
    negative values nor NaN, so +inf is the only source of 0x7f and 0x80 never appears.
    """
    return _quantize(
        x, permutation_map, n_used, data, scale, scale_layout, dead_scales, squared_relu=True
    )


def _quantize(
    x: np.ndarray,
    permutation_map: np.ndarray,
    n_used: int | np.ndarray,
    data: np.ndarray,
    scale: np.ndarray,
    scale_layout: str,
    dead_scales: str,
    *,
    squared_relu: bool,
) -> tuple[np.ndarray, np.ndarray]:
    _check_operands(x, permutation_map)
    M, K = x.shape
    if K % GROUP:
        raise ValueError("K must be a multiple of 32")
    if data.shape != x.shape or data.dtype != float8_e4m3fn:
        raise ValueError("data must be f8E4M3FN of the shape of x")
    if scale_layout not in (SWIZZLED, LINEAR):
        raise ValueError(f"unknown scale_layout {scale_layout!r}")
    expected = (scale_size(M, K),) if scale_layout == SWIZZLED else (M, K // GROUP)
    if scale.shape != expected or scale.dtype != float8_e8m0fnu:
        raise ValueError(f"scale must be f8E8M0FNU of shape {expected}")
    if dead_scales not in ("zero", "untouched"):
        raise ValueError(f"unknown dead_scales {dead_scales!r}")

    new_data = np.array(data, order="C")
    new_scale = np.array(scale, order="C")
    if dead_scales == "zero":
        bits(new_scale)[...] = 0

    n_groups = K // GROUP
    padded_groups = _tile_counts(M, K)[1] * TILE_COLS
    for rows in _live_chunks(live_rows(permutation_map, n_used), K):
        a = _relu_squared(x[rows]) if squared_relu else x[rows]
        values, e = _quantize_rows(a)
        bits(new_data)[rows] = values
        if scale_layout == LINEAR:
            bits(new_scale)[rows] = e
        else:
            with_padding = np.zeros((rows.size, padded_groups), dtype=np.uint8)
            with_padding[:, :n_groups] = e
            g = np.arange(padded_groups)
            bits(new_scale)[scale_offset(rows[:, None], g[None, :], K)] = with_padding
    return new_data, new_scale


def _check_operands(x: np.ndarray, permutation_map: np.ndarray) -> None:
    if x.ndim != 2 or x.dtype != bfloat16:
        raise ValueError("x must be bf16 of rank 2")
    if permutation_map.shape != x.shape[:1] or permutation_map.dtype != np.int32:
        raise ValueError("permutation_map must be int32 [M]")
