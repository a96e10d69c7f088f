# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs for the tests, the demo and the benchmarks: routed MoE batches, dense batches, and an x
that holds every bf16 bit pattern. The same arguments always give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

bfloat16 = ml_dtypes.bfloat16

GROUP = 32

_CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Batch:
    """One step's operands. Rows of x that are not live hold data that must not be touched."""

    x: np.ndarray  # bf16 [M, N]
    permutation_map: np.ndarray  # [M], made int32
    n_used: int  # the last inclusive expert offset
    probs: np.ndarray | None = None  # float32 [M], for ops that take them

    def __post_init__(self) -> None:
        object.__setattr__(self, "permutation_map", np.asarray(self.permutation_map, np.int32))
        object.__setattr__(self, "n_used", int(self.n_used))

    @property
    def M(self) -> int:
        """max_rows, the capacity."""
        return self.x.shape[0]

    @property
    def live(self) -> int:
        """The number of live rows."""
        return int(np.count_nonzero(self.permutation_map[: max(self.n_used, 0)] >= 0))

    def with_n_used(self, n_used: int) -> Batch:
        return replace(self, n_used=n_used)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def max_rows(tokens: int, experts: int = 128, top_k: int = 6, alignment: int = 128) -> int:
    """The capacity M that `tokens` tokens need, however they are routed.

    A whole `alignment` of padding for each expert, where alignment - 1 rows would do: the few rows
    more mean that there are always rows past n_used.
    """
    return _round_up(tokens * top_k + experts * alignment, alignment)


def _random_values(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Normal bf16 values, each group of 32 columns scaled by its own power of two.

    The squares then span some twenty binades, which exercises many exponents.
    """
    x = np.empty((rows, columns), dtype=bfloat16)
    n_groups = -(-columns // GROUP)
    step = max(1, _CHUNK_ELEMENTS // max(1, columns))
    for begin in range(0, rows, step):
        count = min(step, rows - begin)
        values = rng.standard_normal((count, columns), dtype=np.float32)
        shift = rng.integers(-5, 6, size=(count, n_groups))
        factor = np.ldexp(np.float32(1), shift)
        values *= np.repeat(factor, GROUP, axis=1)[:, :columns]
        x[begin : begin + count] = values.astype(bfloat16)
    return x


def routed_batch(
    tokens: int,
    experts: int = 128,
    top_k: int = 6,
    alignment: int = 128,
    capacity_tokens: int | None = None,
    ffn: int = 1856,
    seed: int = 0,
) -> Batch:
    """A batch in which every token goes to `top_k` distinct experts, drawn uniformly.

    Rows are grouped by expert, each expert's block padded up to `alignment` rows; an expert without
    tokens takes no rows. Live rows hold their original token index in permutation_map, padding rows
    -1, and rows at or past n_used hold junk, as uninitialised memory would. M is the capacity for
    `capacity_tokens` tokens, or for `tokens` where that is not given.
    """
    if not 0 < top_k <= experts:
        raise ValueError("top_k must be in [1, experts]")
    capacity_tokens = tokens if capacity_tokens is None else capacity_tokens
    if capacity_tokens < tokens:
        raise ValueError("capacity_tokens must not be below tokens")
    rng = np.random.default_rng(seed)
    M = max_rows(capacity_tokens, experts, top_k, alignment)

    # The top_k smallest of independent uniform numbers are a uniform draw without repetition.
    chosen = np.argsort(rng.random((tokens, experts)), axis=1)[:, :top_k]
    routed = np.zeros((tokens, experts), dtype=bool)
    np.put_along_axis(routed, chosen, True, axis=1)

    permutation_map = rng.integers(-(2**31), 2**31, size=M).astype(np.int32)
    offset = 0
    for expert in range(experts):
        members = np.flatnonzero(routed[:, expert])
        end = offset + _round_up(members.size, alignment)
        permutation_map[offset:end] = -1
        permutation_map[offset : offset + members.size] = members
        offset = end
    n_used = offset
    # A reader that is off by one must meet an entry that looks live.
    permutation_map[n_used : n_used + 1] = 0

    x = _random_values(rng, M, ffn)
    dead = np.flatnonzero((np.arange(M) >= n_used) | (permutation_map < 0))
    if ffn:
        # Zeros would hide a store of the activation; NaN betrays arithmetic on these rows.
        step = max(1, _CHUNK_ELEMENTS // ffn)
        for begin in range(0, dead.size, step):
            rows = dead[begin : begin + step]
            block = x[rows]
            block[block == 0] = 1
            block[np.arange(rows.size), rng.integers(0, ffn, size=rows.size)] = np.nan
            x[rows] = block
    return Batch(x, permutation_map, n_used)


def dense_batch(M: int, K: int, seed: int = 0) -> Batch:
    """A batch without padding: all M rows are live and n_used == M."""
    rng = np.random.default_rng(seed)
    permutation_map = rng.permutation(M).astype(np.int32)
    return Batch(_random_values(rng, M, K), permutation_map, M)


def random_batch(M: int, K: int, n_used: int, live_fraction: float = 0.5,
                 seed: int = 0) -> Batch:
    """Rows of which about `live_fraction` hold tokens, the others with any negative entry."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((M, K)) * np.exp2(rng.integers(-20, 20, (M, 1))))
    permutation_map = np.where(rng.random(M) < live_fraction, rng.permutation(M),
                               -rng.integers(1, 2**31, M))
    return Batch(x.astype(bfloat16), permutation_map, n_used)


def _alone() -> np.ndarray:
    """Each of the 65,536 patterns in a group of zeros, at a column that changes with it."""
    groups = np.zeros((1 << 16, GROUP), dtype=np.uint16)
    pattern = np.arange(1 << 16)
    groups[pattern, (pattern + pattern // GROUP) % GROUP] = pattern
    return groups


def _maxima() -> np.ndarray:
    """Each positive finite pattern as the maximum of a group of fractions of it.

    Columns 1 to 15 hold sixteenths, columns 16 to 31 go down by a binade or so each, which reaches
    the subnormals of E4M3 and what rounds to zero.
    """
    m = np.arange(1, 0x7F80, dtype=np.uint16)
    value = m.view(bfloat16).astype(np.float64)[:, None]
    sixteenths = np.arange(16, 0, -1) / 16
    odd = np.array([1.0, 0.8125, 0.9375, 0.75])
    binades = np.ldexp(odd[np.arange(16) % 4], -np.arange(1, 17))
    exact = value * np.concatenate([sixteenths, binades])[None, :]
    # None exceeds its maximum: rounding is monotone, and the maximum itself is a bf16 value.
    return exact.astype(np.float32).astype(bfloat16).view(np.uint16)


def _shuffled(rng: np.random.Generator) -> np.ndarray:
    """All patterns in random order, then again with neighbours in magnitude kept close.

    In the first order the largest element of a group dwarfs the others. In the second a group
    spans about four binades and has both signs.
    """
    patterns = np.arange(1 << 16, dtype=np.uint16)
    by_magnitude = np.stack([patterns[:0x8000], patterns[0x8000:]], axis=1).reshape(-1, 1024)
    windows = rng.permuted(by_magnitude, axis=1)
    return np.concatenate([rng.permutation(patterns), windows.ravel()]).reshape(-1, GROUP)


def all_bf16_patterns(K: int) -> np.ndarray:
    """An x [rows, K] with every bf16 bit pattern as group member and as group maximum.

    In groups of 32 columns: each pattern alone among zeros; each positive finite pattern as the
    maximum of a group of its fractions, then the same negated; all patterns shuffled. Groups of
    zeros fill up the last row. K must be a multiple of 32.
    """
    if K <= 0 or K % GROUP:
        raise ValueError("K must be a positive multiple of 32")
    maxima = _maxima()
    negated = maxima | np.uint16(0x8000)
    groups = np.concatenate([_alone(), maxima, negated, _shuffled(np.random.default_rng(0))])
    rows = -(-groups.size // K)
    x = np.zeros(rows * K, dtype=np.uint16)
    x[: groups.size] = groups.ravel()
    return x.view(bfloat16).reshape(rows, K)
