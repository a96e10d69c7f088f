# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reference results, bit for bit, of the ops that bring tokens to experts and back.

Like the oracle, this is numpy and ml_dtypes alone, written from the definition of the ops. Inputs
are never modified: a destination is passed with its previous content, and the result is a new
array, so that what an op must leave alone is part of what is compared.

Terms: T tokens of H columns, each routed to topk experts, of which E are local, from first_expert
on; R rows, the capacity, hold the tokens of an expert one after the other. A pair is a token t and
a k: one row each. It exists where t < valid_tokens and the expert is local.

Where the definition leaves room, this file decides as follows:

* An expert is local by exact arithmetic, whatever the width of routing_map: nothing wraps around.
* inverse_map of a token that has an expert twice tells the row of the last k. Where that row does
  not fit, it is -1, though the row of an earlier k may fit.
* A row of x is copied bit for bit, its NaNs as they are.
* A sum begins with +0, so that of nothing but -0 is +0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

from . import oracle

bfloat16 = ml_dtypes.bfloat16

# What PTX's operations on float32 write.
F32_NAN = 0x7FFFFFFF


@dataclass(frozen=True)
class Routing:
    """The destinations of `route_tokens`, before or after."""

    tokens_per_expert: np.ndarray  # int32 [E]
    exclusive_offsets: np.ndarray  # int32 [E]
    inclusive_offsets: np.ndarray  # int32 [E]
    permutation_map: np.ndarray  # int32 [R]
    inverse_map: np.ndarray  # int32 [T, E]
    permuted_probs: np.ndarray | None = None  # float32 [R], with probs

    @property
    def n_used(self) -> np.ndarray:
        """[1]: what the other ops take for n_used."""
        return self.inclusive_offsets[-1:]

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, those that there are."""
        return {name: array for name, array in vars(self).items() if array is not None}

    @staticmethod
    def filled(T: int, experts: int, rows: int, has_probs: bool = False,
               byte: int = 0x5A) -> Routing:
        """Every byte the same."""
        def array(dtype: type, *shape: int) -> np.ndarray:
            return np.full(shape, np.frombuffer(bytes([byte]) * 4, dtype)[0], dtype)

        return Routing(array(np.int32, experts), array(np.int32, experts),
                       array(np.int32, experts), array(np.int32, rows),
                       array(np.int32, T, experts),
                       array(np.float32, rows) if has_probs else None)


def clamped_tokens(valid_tokens: int | np.ndarray, T: int) -> int:
    """valid_tokens, below 0 taken for 0 and above T for T."""
    return min(max(int(np.asarray(valid_tokens).reshape(())), 0), T)


def route_tokens(
    routing_map: np.ndarray,
    valid_tokens: int | np.ndarray,
    first_expert: int,
    alignment: int,
    before: Routing,
    probs: np.ndarray | None = None,
) -> Routing:
    """`before` after the tokens' pairs have been counted and given their rows.

    The pairs of an expert have the rows from its exclusive offset on, in the order of t, then k:
    permutation_map holds t, permuted_probs probs[t, k]. The number of rows of an expert is that of
    its pairs rounded up to the alignment, so 0 for none; in those that are left over,
    permutation_map is -1. inverse_map [t, e] is the row of (t, e), -1 for none.

    Untouched: permutation_map at or past the last inclusive offset, permuted_probs of rows without
    a pair, inverse_map of tokens at or past valid_tokens. Rows at or past R are not written; the
    offsets do not know R.
    """
    _check_routing(routing_map, probs, alignment, before)
    T, E = before.inverse_map.shape
    R = before.permutation_map.shape[0]
    after = replace(before, **{name: array.copy() for name, array in before.arrays().items()})
    valid = clamped_tokens(valid_tokens, T)

    # Flat, pairs are in the order of t, then k. int64 holds every expert, and first_expert + E.
    expert = routing_map[:valid].ravel().astype(np.int64)
    is_local = (expert >= first_expert) & (expert < first_expert + E)
    pair = np.flatnonzero(is_local)
    local = expert[pair] - first_expert
    counts = np.bincount(local, minlength=E)
    blocks = -(-counts // alignment) * alignment
    inclusive = np.cumsum(blocks)
    exclusive = inclusive - blocks
    for array, values in ((after.tokens_per_expert, counts), (after.exclusive_offsets, exclusive),
                          (after.inclusive_offsets, inclusive)):
        array[...] = values

    by_expert = np.argsort(local, kind="stable")
    pair, local = pair[by_expert], local[by_expert]
    number = np.arange(pair.size) - np.repeat(np.cumsum(counts) - counts, counts)
    row = exclusive[local] + number
    fits = row < R
    token = pair // max(routing_map.shape[1], 1)

    after.permutation_map[: int(inclusive[-1])] = -1
    after.permutation_map[row[fits]] = token[fits]
    if probs is not None and after.permuted_probs is not None:
        oracle.bits(after.permuted_probs)[row[fits]] = oracle.bits(probs).ravel()[pair[fits]]
    after.inverse_map[:valid] = -1
    # Of a token that has an expert twice, the last row is the largest.
    last = np.full((T, E), -1, np.int64)
    np.maximum.at(last, (token, local), row)
    after.inverse_map[:valid] = np.where(last < R, last, -1)[:valid]
    return after


def live_rows(permutation_map: np.ndarray, n_used: int | np.ndarray, T: int) -> np.ndarray:
    """Boolean [R]: row r is live iff r < n_used and 0 <= permutation_map[r] < T."""
    return oracle.live_rows(permutation_map, n_used) & (permutation_map < T)


def gathered(x: np.ndarray, permutation_map: np.ndarray,
             n_used: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [R, H] of x where the map has them; and the map, -1 where an entry is at or past T."""
    if permutation_map.ndim != 1 or permutation_map.dtype != np.int32:
        raise ValueError("permutation_map must be int32 [R]")
    live = live_rows(permutation_map, n_used, x.shape[0])
    rows = np.zeros((permutation_map.shape[0], x.shape[1]), x.dtype)
    rows[live] = x[permutation_map[live]]
    return rows, np.where(live, permutation_map, np.int32(-1))


def permute_tokens(
    x: np.ndarray,
    permutation_map: np.ndarray,
    n_used: int | np.ndarray,
    out: np.ndarray,
    *,
    dead_rows: str = "untouched",
) -> np.ndarray:
    """`out` [R, H] with every live row replaced by that of x [T, H] which the map names."""
    rows, where = gathered(x, permutation_map, n_used)
    return oracle.map_rows(rows, where, n_used, [out], oracle.identity, dead_rows=dead_rows)[0]


def permute_quantize_mxfp8(
    x: np.ndarray,
    permutation_map: np.ndarray,
    n_used: int | np.ndarray,
    data: np.ndarray,
    scale: np.ndarray,
    scale_layout: str = oracle.SWIZZLED,
    dead_scales: str = "zero",
    *,
    dead_rows: str = "untouched",
) -> tuple[np.ndarray, np.ndarray]:
    """`data` [R, H] and the scales of R rows after `permute_tokens`, then `quantize_mxfp8`."""
    rows, where = gathered(x, permutation_map, n_used)
    new_data, new_scale = oracle.map_rows(
        rows, where, n_used, [data, scale], oracle.identity,
        oracle.MXFP8(scale_layout, dead_scales), dead_rows=dead_rows)
    return new_data, new_scale


def unpermute_tokens(
    y: np.ndarray,
    inverse_map: np.ndarray,
    valid_tokens: int | np.ndarray,
    out: np.ndarray,
    probs: np.ndarray | None = None,
) -> np.ndarray:
    """`out` [T, H] float32 with the rows below valid_tokens replaced by the sum of a token's rows
    of y [R, H], in the order of its experts, from +0 on, each product and each sum rounded to
    float32. Every NaN is F32_NAN. Entries of the map that are no row of y count for none.
    """
    R, H = y.shape
    T, E = inverse_map.shape
    if y.dtype != bfloat16:
        raise ValueError("y must be bf16 of rank 2")
    if inverse_map.dtype != np.int32:
        raise ValueError("inverse_map must be int32 [T, E]")
    if out.shape != (T, H) or out.dtype != np.float32:
        raise ValueError(f"out must be float32 of the shape ({T}, {H})")
    if probs is not None and (probs.shape != (R,) or probs.dtype != np.float32):
        raise ValueError("probs must be float32 [R]")
    result = np.array(out, order="C")
    valid = clamped_tokens(valid_tokens, T)
    total = np.zeros((valid, H), np.float32)
    with np.errstate(all="ignore"):
        for expert in range(E):
            row = inverse_map[:valid, expert]
            token = np.flatnonzero((row >= 0) & (row < R))
            value = y[row[token]].astype(np.float32)
            if probs is not None:
                value = value * probs[row[token]][:, None]
            total[token] = total[token] + value
    oracle.bits(total)[np.isnan(total)] = F32_NAN
    result[:valid] = total
    return result


def _check_routing(routing_map: np.ndarray, probs: np.ndarray | None, alignment: int,
                   before: Routing) -> None:
    T, E = before.inverse_map.shape
    if routing_map.ndim != 2 or routing_map.dtype not in (np.int32, np.int64):
        raise ValueError("routing_map must be int32 or int64 [T, topk]")
    if routing_map.shape[0] != T:
        raise ValueError(f"inverse_map has {T} tokens, routing_map {routing_map.shape[0]}")
    if alignment < 1:
        raise ValueError(f"expected an alignment of at least 1, found {alignment}")
    if E < 1:
        raise ValueError("expected at least one expert")
    if routing_map.size + E * alignment >= 1 << 31:
        raise ValueError("T * topk + E * alignment must be below 2^31")
    for name, array in before.arrays().items():
        if array.dtype != (np.float32 if name == "permuted_probs" else np.int32):
            raise ValueError(f"{name} must not be {array.dtype}")
    for name in ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets"):
        if getattr(before, name).shape != (E,):
            raise ValueError(f"{name} must be [{E}]")
    if before.permutation_map.ndim != 1:
        raise ValueError("permutation_map must be [R]")
    if (probs is None) != (before.permuted_probs is None):
        raise ValueError("probs and permuted_probs go together")
    if probs is not None:
        if probs.shape != routing_map.shape or probs.dtype != np.float32:
            raise ValueError("probs must be float32 [T, topk]")
        if before.permuted_probs is not None and (
                before.permuted_probs.shape != before.permutation_map.shape):
            raise ValueError("permuted_probs must be [R]")
