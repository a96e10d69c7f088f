# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reference results, bit for bit, of the padding-aware activation and MXFP8 quantising ops.

Written from the definition of the ops with numpy and ml_dtypes alone and sharing no code with the
compiler, so that an agreement between the two means something. Inputs are never modified: a
destination is passed with its previous content, and the result is a new array.

`map_rows` applies any activation to the live rows and stores it in a format; the named ops are
uses of it. Activations are in activations.py.

Where the definition leaves room, this file decides as follows:

* A NaN element gives 0x7f, whatever its sign or payload and whatever the exponent. 0x7f is the one
  NaN encoding that is ever written.
* e == 255: both +inf and -inf give 0x7f; a finite element gives zero with its sign kept, so 0x80
  for a negative one (and for -0).
* e == 0: every element is a zero or a NaN, and the two rules "all zero bytes" and "-0 gives 0x80"
  meet. The sign wins: -0 gives 0x80. The fused op never sees it, as its elements are never
  negative.
* An element that rounds to zero keeps its sign: 0x80 for a negative one.
* A NaN that is rounded from float32 to bf16 is BF16_NAN, whatever it was.
* dead_rows says nothing of scales: those of rows that it fills with zeros follow dead_scales.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from . import activations

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
# What PTX's conversion from float32 writes. The one place that says which NaN results have.
BF16_NAN = 0x7FFF

# Bounds the temporaries: a few float32 arrays of this many elements.
_CHUNK_ELEMENTS = 1 << 21


def bf16_from_bits(patterns: np.ndarray) -> np.ndarray:
    """The bf16 values that have the given 16-bit patterns."""
    return np.asarray(patterns, dtype=np.uint16).view(bfloat16)


def bits(array: np.ndarray) -> np.ndarray:
    """A view of `array` as unsigned integers of the same width."""
    array = np.asarray(array)
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def used_rows(M: int, n_used: int | np.ndarray) -> np.ndarray:
    """Boolean [M]: row r is used iff r < n_used."""
    # Comparing row indices clamps n_used to [0, M] by itself.
    return np.arange(M) < int(np.asarray(n_used).reshape(()))


def live_rows(permutation_map: np.ndarray, n_used: int | np.ndarray) -> np.ndarray:
    """Boolean [M]: row r is live iff r < n_used and permutation_map[r] >= 0."""
    permutation_map = np.asarray(permutation_map)
    return used_rows(permutation_map.shape[0], n_used) & (permutation_map >= 0)


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


@cache
def _rceil_table() -> np.ndarray:
    """The biased E8M0 exponent of every maximum m, indexed by the bits of m: zero to +inf.

    ceil(log2(m / 448)) is the smallest k with m <= 448 * 2^k. Both sides are exact in float64,
    and comparing them needs no logarithm.
    """
    maxima = bf16_from_bits(np.arange(1, BF16_INF)).astype(np.float64)
    least = -150  # Below that of the smallest m, 2^-133.
    k = least + np.searchsorted(np.ldexp(448.0, np.arange(least, 128)), maxima)
    table = np.zeros(BF16_INF + 1, dtype=np.uint8)
    table[1:BF16_INF] = np.maximum(1, 127 + k)
    table[BF16_INF] = E8M0_NAN
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


Shape = tuple[int, ...]
# One or more bf16 arrays [rows, N] to one of the same shape: bf16, or float32, which is then rounded
# to bf16. Rows go in any number at a time, so an element must not depend on others.
Activation = Callable[..., np.ndarray]
# The parts of x that one column of the result reads: an x [rows, columns] to arrays [rows, N].
Parts = Callable[[np.ndarray], tuple[np.ndarray, ...]]


def whole(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Column c reads x[c]."""
    return (x,)


def gate_up(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Column c reads x[c] and x[N + c]."""
    if x.shape[1] % 2:
        raise ValueError(f"expected an even number of columns, found {x.shape[1]}")
    return x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]


def up_gate(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Column c reads x[N + c] and x[c], in this order: the gate comes first."""
    return gate_up(x)[::-1]


def interleaved(block: int) -> Parts:
    """In blocks of columns, gate and up in turn."""

    def parts(x: np.ndarray) -> tuple[np.ndarray, ...]:
        rows, columns = x.shape
        if columns % (2 * block):
            raise ValueError(f"expected a multiple of {2 * block} columns, found {columns}")
        blocks = x.reshape(rows, columns // (2 * block), 2, block)
        gate, up = (blocks[:, :, part].reshape(rows, columns // 2) for part in (0, 1))
        return gate, up

    return parts


def gate_parts(gate_layout: str) -> Parts:
    """The parts of x, the gate first: "gate_up", "up_gate" or "interleaved<b>"."""
    block = re.fullmatch(r"interleaved<([1-9]\d*)>", gate_layout)
    if block:
        return interleaved(int(block[1]))
    named: dict[str, Parts] = {"gate_up": gate_up, "up_gate": up_gate}
    if gate_layout not in named:
        raise ValueError(f"expected a gate_layout {', '.join(named)} or interleaved<b>, "
                         f"found {gate_layout}")
    return named[gate_layout]


@dataclass(frozen=True)
class BF16:
    """A destination `out` [M, N]. Rows that are not live are untouched."""

    def destinations(self, M: int, N: int) -> list[tuple[Shape, np.dtype]]:
        return [((M, N), np.dtype(bfloat16))]

    def check(self, M: int, N: int, outs: Sequence[np.ndarray]) -> None:
        [out] = outs
        if out.shape != (M, N) or out.dtype != bfloat16:
            raise ValueError(f"out must be bf16 of the shape ({M}, {N})")

    def begin(self, outs: Sequence[np.ndarray]) -> None:
        pass

    def store(self, outs: Sequence[np.ndarray], rows: np.ndarray, a: np.ndarray) -> None:
        bits(outs[0])[rows] = bits(a)

    def clear(self, outs: Sequence[np.ndarray], rows: np.ndarray) -> None:
        """Zeros for elements of these rows."""
        bits(outs[0])[rows] = 0


@dataclass(frozen=True)
class MXFP8:
    """Destinations `data` [M, K], E4M3, and `scale`, E8M0, one for each 32 columns of a row.

    `scale` is flat [scale_size(M, K)] for "swizzle_32_4_4" and [M, K // 32] for "linear". With
    dead_scales="zero", every scale byte that is not a live row's exponent is 0. With "untouched",
    the bytes of rows that are not live keep their content, rows in [M, 128 * n_row_tiles) among
    them, while live rows still get zero in their padding columns. Data rows that are not live keep
    their content.
    """

    scale_layout: str = SWIZZLED
    dead_scales: str = "zero"

    def __post_init__(self) -> None:
        if self.scale_layout not in (SWIZZLED, LINEAR):
            raise ValueError(f"unknown scale_layout {self.scale_layout!r}")
        if self.dead_scales not in ("zero", "untouched"):
            raise ValueError(f"unknown dead_scales {self.dead_scales!r}")

    def destinations(self, M: int, N: int) -> list[tuple[Shape, np.dtype]]:
        scale: Shape = (scale_size(M, N),) if self.scale_layout == SWIZZLED else (M, N // GROUP)
        return [((M, N), np.dtype(float8_e4m3fn)), (scale, np.dtype(float8_e8m0fnu))]

    def check(self, M: int, N: int, outs: Sequence[np.ndarray]) -> None:
        if N % GROUP:
            raise ValueError("K must be a multiple of 32")
        data, scale = outs
        if data.shape != (M, N) or data.dtype != float8_e4m3fn:
            raise ValueError(f"data must be f8E4M3FN of the shape ({M}, {N})")
        expected = self.destinations(M, N)[1][0]
        if scale.shape != expected or scale.dtype != float8_e8m0fnu:
            raise ValueError(f"scale must be f8E8M0FNU of shape {expected}")

    def begin(self, outs: Sequence[np.ndarray]) -> None:
        if self.dead_scales == "zero":
            bits(outs[1])[...] = 0

    def store(self, outs: Sequence[np.ndarray], rows: np.ndarray, a: np.ndarray) -> None:
        data, scale = outs
        K = data.shape[1]
        values, e = _quantize_rows(a)
        bits(data)[rows] = values
        if self.scale_layout == LINEAR:
            bits(scale)[rows] = e
            return
        padded_groups = _tile_counts(0, K)[1] * TILE_COLS
        with_padding = np.zeros((rows.size, padded_groups), dtype=np.uint8)
        with_padding[:, : K // GROUP] = e
        g = np.arange(padded_groups)
        bits(scale)[scale_offset(rows[:, None], g[None, :], K)] = with_padding


    def clear(self, outs: Sequence[np.ndarray], rows: np.ndarray) -> None:
        """Zeros for elements of these rows; their scales are left alone."""
        bits(outs[0])[rows] = 0


Format = BF16 | MXFP8


def map_rows(
    x: np.ndarray,
    permutation_map: np.ndarray | None,
    n_used: int | np.ndarray,
    outs: Sequence[np.ndarray],
    activation: Activation,
    format: Format = BF16(),
    parts: Parts = whole,
    *,
    probs: np.ndarray | None = None,
    dead_rows: str = "untouched",
) -> list[np.ndarray]:
    """`outs` after `activation` of the live rows of x, rounded to bf16, in a format.

    Without a map, all rows below n_used are live. With `probs`, float32 [M], what an activation
    gives is multiplied in float32 by that of its row before it is rounded; so what it has rounded
    to bf16 itself is rounded twice. With dead_rows="zero", elements of the rows below n_used that
    are not live become +0.

    An activation that gives bf16 says itself which NaN a result is; of one that gives float32 it is
    BF16_NAN.
    """
    if dead_rows not in ("untouched", "zero"):
        raise ValueError(f"unknown dead_rows {dead_rows!r}")
    _check_operands(x, permutation_map, probs)
    M, N = x.shape[0], parts(x[:0])[0].shape[1]
    format.check(M, N, outs)
    results = [np.array(out, order="C") for out in outs]
    format.begin(results)
    used = used_rows(M, n_used)
    live = used if permutation_map is None else live_rows(permutation_map, n_used)
    if dead_rows == "zero":
        format.clear(results, np.flatnonzero(used & ~live))
    for rows in _live_chunks(live, x.shape[1]):
        a = activation(*parts(x[rows]))
        if a.shape != (rows.size, N) or a.dtype not in (np.dtype(np.float32), np.dtype(bfloat16)):
            raise ValueError(f"expected an activation that gives f32 or bf16 [{rows.size}, {N}], "
                             f"found {a.dtype} {list(a.shape)}")
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if probs is not None:
                a = a.astype(np.float32) * probs[rows][:, None]
            a = np.ascontiguousarray(round_to_bf16(a))
        format.store(results, rows, a)
    return results


def round_to_bf16(a: np.ndarray) -> np.ndarray:
    """float32 rounded to nearest even, every NaN BF16_NAN; bf16 as it is."""
    return a if a.dtype == bfloat16 else canonical_nans(a.astype(bfloat16))


def canonical_nans(array: np.ndarray) -> np.ndarray:
    """A copy of a bf16 array in which every NaN is BF16_NAN."""
    result = np.array(array)
    bits(result)[np.isnan(result.astype(np.float32))] = BF16_NAN
    return result


def squared_relu(x: np.ndarray) -> np.ndarray:
    """f32(relu(x)^2). NaN gives 0, -0 gives +0, overflow gives +inf, subnormals are kept."""
    v = x.astype(np.float32)
    # A comparison, not a maximum: it sends both NaN and -0 to +0.
    v = np.where(v > 0, v, np.float32(0))
    with np.errstate(over="ignore", under="ignore"):
        return v * v


def identity(x: np.ndarray) -> np.ndarray:
    return x


def _squared_relu_of(clamp_scale: float | None, is_weighted: bool) -> Activation:
    """Squared ReLU with or without a clamp. With probs and no clamp it is rounded to bf16 before
    the product, as the reference does.
    """
    if clamp_scale is not None:
        scale = clamp_scale
        return lambda x: activations.tanh_clamped_squared_relu(x, scale)
    return (lambda x: round_to_bf16(squared_relu(x))) if is_weighted else squared_relu


def padded_squared_relu(
    x: np.ndarray,
    permutation_map: np.ndarray | None,
    n_used: int | np.ndarray,
    out: np.ndarray,
    *,
    clamp_scale: float | None = None,
    probs: np.ndarray | None = None,
    dead_rows: str = "untouched",
) -> np.ndarray:
    """`out` with every live row replaced by bf16(f32(relu(x))^2), with `clamp_scale` s by that of
    s * tanh(relu(x) / s). `probs` and `dead_rows` as in `map_rows`.
    """
    return map_rows(x, permutation_map, n_used, [out],
                    _squared_relu_of(clamp_scale, probs is not None), probs=probs,
                    dead_rows=dead_rows)[0]


def padded_swiglu(
    x: np.ndarray,
    permutation_map: np.ndarray | None,
    n_used: int | np.ndarray,
    out: np.ndarray,
    *,
    gate_layout: str = "gate_up",
    probs: np.ndarray | None = None,
    dead_rows: str = "untouched",
    **settings: Any,
) -> np.ndarray:
    """`out` [M, N] with every live row replaced by the SwiGLU of that of x [M, 2N]; `settings` are
    those of `activations.SwiGLU`.
    """
    return map_rows(x, permutation_map, n_used, [out], activations.SwiGLU(**settings),
                    parts=gate_parts(gate_layout), probs=probs, dead_rows=dead_rows)[0]


def swiglu_quantize_mxfp8(
    x: np.ndarray,
    permutation_map: np.ndarray | None,
    n_used: int | np.ndarray,
    data: np.ndarray,
    scale: np.ndarray,
    scale_layout: str = SWIZZLED,
    dead_scales: str = "zero",
    *,
    gate_layout: str = "gate_up",
    probs: np.ndarray | None = None,
    dead_rows: str = "untouched",
    **settings: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """`data` [M, K] and `scale` after `padded_swiglu` of x [M, 2K], rounded to bf16, then
    `quantize_mxfp8`. Groups are of columns of the result, whatever the layout of the gate.
    """
    new_data, new_scale = map_rows(
        x, permutation_map, n_used, [data, scale], activations.SwiGLU(**settings),
        MXFP8(scale_layout, dead_scales), gate_parts(gate_layout), probs=probs, dead_rows=dead_rows)
    return new_data, new_scale


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
    nothing but NaN has m = 0, thus e = 0. The two modes are those of `MXFP8`.

    Decided here: a NaN element gives 0x7f for any e. When e == 255, a negative finite element (and
    -0) gives 0x80, and both +inf and -inf give 0x7f, the one NaN encoding ever written. When
    e == 0, -0 gives 0x80.
    """
    new_data, new_scale = map_rows(x, permutation_map, n_used, [data, scale], identity,
                                   MXFP8(scale_layout, dead_scales))
    return new_data, new_scale


def squared_relu_quantize_mxfp8(
    x: np.ndarray,
    permutation_map: np.ndarray | None,
    n_used: int | np.ndarray,
    data: np.ndarray,
    scale: np.ndarray,
    scale_layout: str = SWIZZLED,
    dead_scales: str = "zero",
    *,
    clamp_scale: float | None = None,
    probs: np.ndarray | None = None,
    dead_rows: str = "untouched",
) -> tuple[np.ndarray, np.ndarray]:
    """`data` and `scale` after `padded_squared_relu`, rounded to bf16, then `quantize_mxfp8`.

    Without `probs` there are neither negative values nor NaN, so +inf is the only source of 0x7f
    and 0x80 never appears.
    """
    new_data, new_scale = map_rows(
        x, permutation_map, n_used, [data, scale],
        _squared_relu_of(clamp_scale, probs is not None), MXFP8(scale_layout, dead_scales),
        probs=probs, dead_rows=dead_rows)
    return new_data, new_scale


def _check_operands(x: np.ndarray, permutation_map: np.ndarray | None,
                    probs: np.ndarray | None) -> None:
    if x.ndim != 2 or x.dtype != bfloat16:
        raise ValueError("x must be bf16 of rank 2")
    if permutation_map is not None and (
            permutation_map.shape != x.shape[:1] or permutation_map.dtype != np.int32):
        raise ValueError("permutation_map must be int32 [M]")
    if probs is not None and (probs.shape != x.shape[:1] or probs.dtype != np.float32):
        raise ValueError("probs must be float32 [M]")
