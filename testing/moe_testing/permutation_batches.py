# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routings of tokens to experts, for the ops of `permutation`: ordinary ones, and what is rare. The
same arguments always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from . import batches, permutation

bfloat16 = ml_dtypes.bfloat16

ALIGNMENTS = (1, 16, 128, 256)
# float32 patterns of probabilities that no model has.
_ODD_PROBS = (0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000,
              0x7FC00000, 0xFFFFFFFF, 0x7F800001, 0xBF800000)


def rows_needed(T: int, top_k: int, experts: int, alignment: int, row_alignment: int = 1) -> int:
    """The capacity R that always does for tokens of distinct experts: a whole alignment of padding
    for each expert, rounded up.
    """
    rows = T * min(top_k, experts) + alignment * experts
    return -(-rows // row_alignment) * row_alignment


@dataclass(frozen=True)
class TokenBatch:
    """The operands of one step. Tokens at or past valid_tokens are routed too, and must not be."""

    routing_map: np.ndarray  # int32 or int64 [T, topk]
    valid_tokens: int
    first_expert: int
    experts: int  # E, those that are local
    alignment: int
    rows: int  # R, the capacity
    probs: np.ndarray | None = None  # float32 [T, topk]

    @property
    def T(self) -> int:
        return self.routing_map.shape[0]

    @property
    def top_k(self) -> int:
        return self.routing_map.shape[1]

    def before(self, byte: int = 0x5A) -> permutation.Routing:
        return permutation.Routing.filled(self.T, self.experts, self.rows, self.probs is not None,
                                          byte)

    def routed(self, before: permutation.Routing | None = None) -> permutation.Routing:
        """What the destinations hold afterwards; by default each byte was 0x5a before."""
        return permutation.route_tokens(self.routing_map, self.valid_tokens, self.first_expert,
                                        self.alignment, before or self.before(), self.probs)

    def with_wide_routing(self) -> TokenBatch:
        return replace(self, routing_map=self.routing_map.astype(np.int64))


def routed(T: int, top_k: int = 6, experts: int = 128, local: slice | None = None, *,
           alignment: int = 16, valid_tokens: int | None = None, rows: int | None = None,
           has_probs: bool = True, dtype: Any = np.int32, seed: int = 0) -> TokenBatch:
    """Each token goes to top_k distinct experts, drawn uniformly; `local` are those of this rank,
    all unless given.
    """
    rng = np.random.default_rng((seed, 3))
    chosen = np.argsort(rng.random((T, experts)), axis=1)[:, :top_k]
    first, count = (0, experts) if local is None else (local.start, local.stop - local.start)
    probs = rng.random((T, top_k), np.float32) + np.float32(0.125) if has_probs else None
    return TokenBatch(chosen.astype(dtype), T if valid_tokens is None else valid_tokens, first,
                      count, alignment,
                      rows_needed(T, top_k, count, alignment) if rows is None else rows, probs)


def with_duplicates(T: int, top_k: int, experts: int, local: slice, *, alignment: int = 16,
                    valid_tokens: int | None = None, seed: int = 0) -> TokenBatch:
    """Experts drawn with repetition, so that a token has some twice or more; each pair has room."""
    rng = np.random.default_rng((seed, 4))
    batch = routed(T, min(top_k, experts), experts, local, alignment=alignment,
                   valid_tokens=valid_tokens, seed=seed)
    return replace(batch, routing_map=rng.integers(0, experts, (T, top_k), np.int32),
                   probs=rng.random((T, top_k), np.float32),
                   rows=T * top_k + alignment * batch.experts)


def _constant(T: int, top_k: int, expert: int, batch: TokenBatch) -> TokenBatch:
    probs = np.random.default_rng(9).random((T, top_k), np.float32)
    return replace(batch, routing_map=np.full((T, top_k), expert, batch.routing_map.dtype),
                   probs=probs, rows=T * top_k + batch.alignment * batch.experts)


def _with_odd_probs(batch: TokenBatch, seed: int = 0) -> TokenBatch:
    rng = np.random.default_rng((seed, 5))
    patterns = rng.choice(np.array(_ODD_PROBS, np.uint32), batch.routing_map.shape)
    return replace(batch, probs=patterns.view(np.float32))


def _far_experts(dtype: Any) -> TokenBatch:
    """Experts of any value, so negative ones and ones that look local in fewer bits."""
    batch = routed(24, 4, 16, slice(8, 12), alignment=16, dtype=dtype)
    experts = np.array(batch.routing_map)
    info = np.iinfo(dtype)
    far = [-1, -8, 7, 12, info.min, info.max, info.min + 8, info.max - 3]
    if dtype == np.int64:
        far += [(1 << 32) + 8, -(1 << 32) + 9, (1 << 31) + 8, (1 << 62) + 10]
    experts.ravel()[1 : 1 + 3 * len(far) : 3] = far
    return replace(batch, routing_map=experts)


def rare_batches() -> dict[str, TokenBatch]:
    """Small ones, by what is rare about them."""
    plain = routed(40, 4, 16, slice(4, 10))
    T = plain.T
    found = {
        "plain": plain,
        "all experts local": routed(40, 4, 16),
        "i64": plain.with_wide_routing(),
        "no probs": replace(plain, probs=None),
        "i64, no probs": replace(plain.with_wide_routing(), probs=None),
        "one token": routed(1, 6, 16, slice(0, 16)),
        "no token": routed(0, 4, 16, slice(4, 10)),
        "no local pair": replace(plain, first_expert=100),
        "one expert takes all": _constant(T, 4, 6, plain),
        "the first expert takes all": _constant(T, 1, 4, plain),
        "the last expert takes all": _constant(T, 1, 9, plain),
        "one expert": routed(40, 4, 16, slice(7, 8)),
        "every token to every expert": routed(30, 6, 6, alignment=128),
        "duplicates": with_duplicates(40, 6, 8, slice(2, 6)),
        "only duplicates": with_duplicates(20, 8, 2, slice(0, 2)),
        "duplicates across, some dead": with_duplicates(50, 5, 4, slice(1, 3), valid_tokens=31),
        "odd probs": _with_odd_probs(plain),
        "far experts": _far_experts(np.int32),
        "far experts, i64": _far_experts(np.int64),
        "negative first_expert": replace(plain, routing_map=plain.routing_map - np.int32(9),
                                         first_expert=-5),
        "no room at all": replace(plain, rows=0),
        "room for a part of the first expert": replace(plain, rows=3),
        "no room for the last pairs": replace(plain, rows=70),
        "no room for some padding": routed(40, 4, 16, slice(4, 10), alignment=256, rows=1300),
        "duplicates without room": replace(with_duplicates(40, 6, 8, slice(2, 6)), rows=75),
        "more room than needed": replace(plain, rows=plain.rows + 333),
        "more experts than a CTA has threads": routed(9, 12, 1100, slice(20, 1050), alignment=1),
        "as many experts as may be": routed(9, 22, 2048, alignment=16),
    }
    for alignment in (*ALIGNMENTS, 3):
        found[f"alignment {alignment}"] = routed(40, 4, 16, slice(4, 10), alignment=alignment)
    for valid_tokens in (0, 1, 17, T - 1, T + 1, -1, -(2**31), 2**31 - 1):
        found[f"valid_tokens {valid_tokens}"] = replace(plain, valid_tokens=valid_tokens)
    return found


def large_batches() -> dict[str, TokenBatch]:
    """Of so many tokens that a kernel takes them in parts."""
    return {
        "4096 tokens": routed(4096, 6, 32, slice(8, 16), valid_tokens=4096),
        "4097 tokens": routed(4097, 4, 32, slice(8, 16)),
        "9000 tokens, duplicates": with_duplicates(9000, 5, 12, slice(4, 9), valid_tokens=8500,
                                                   alignment=128),
        "8192 tokens to one expert": replace(
            _constant(8192, 1, 9, routed(8192, 1, 32, slice(8, 16))), valid_tokens=8191),
    }


def random_batch(seed: int, most_tokens: int = 60) -> TokenBatch:
    """Sizes, experts, alignment, capacity and valid_tokens drawn anew."""
    rng = np.random.default_rng((seed, 6))
    T, top_k = int(rng.integers(0, most_tokens + 1)), int(rng.integers(1, 9))
    experts = int(rng.integers(1, 24))
    first = int(rng.integers(0, experts))
    local = int(rng.integers(1, experts - first + 1))
    alignment = int(rng.choice([*ALIGNMENTS, int(rng.integers(1, 40))]))
    most = T * top_k + local * alignment
    rows = int(rng.choice([most, most, most + 50, int(rng.integers(0, most + 1))]))
    valid_tokens = int(rng.choice([T, T, int(rng.integers(0, T + 1)), -3, T + 5]))
    dtype = np.int64 if rng.random() < 0.3 else np.int32
    probs = rng.random((T, top_k), np.float32) if rng.random() < 0.6 else None
    return TokenBatch(rng.integers(-1, experts + 2, (T, top_k)).astype(dtype), valid_tokens, first,
                      local, alignment, rows, probs)


def tokens(T: int, H: int, seed: int = 0) -> np.ndarray:
    """x [T, H] bf16, groups of 32 columns of many magnitudes; no value is 0."""
    x = batches.dense_batch(T, H, seed).x
    x[x == 0] = 1
    return x


def odd_tokens(T: int, H: int, seed: int = 0) -> np.ndarray:
    """The same with rows of any bf16 patterns, and such of nothing but NaN, infinities of either
    sign, zeros of either sign, or subnormals.
    """
    rng = np.random.default_rng((seed, 7))
    x = tokens(T, H, seed)
    patterns = x.view(np.uint16)
    kinds: Sequence[Sequence[int]] = ((0x7FC0, 0xFFC1, 0x7F81, 0xFFFF), (0x7F80, 0xFF80),
                                      (0x0000, 0x8000), (0x8000,), (0x0001, 0x807F, 0x0055))
    for t in range(T):
        kind = t % (len(kinds) + 2)
        if kind < len(kinds):
            patterns[t] = rng.choice(np.array(kinds[kind], np.uint16), H)
        elif kind == len(kinds):
            patterns[t] = rng.integers(0, 1 << 16, H)
    return x


def expert_results(R: int, H: int, seed: int = 0, odd: bool = False) -> np.ndarray:
    """y [R, H] bf16. With `odd`, columns that add up to NaN, to infinities, to zeros of either
    sign, to what is subnormal, or cancel; else sums whose order tells in their last bits.
    """
    rng = np.random.default_rng((seed, 8))
    y = (rng.standard_normal((R, H)) * np.exp2(rng.integers(-20, 21, (R, H)))).astype(bfloat16)
    if odd:
        y[:, 0::8] = rng.choice(np.array([0x8000, 0x0000, 0x8000], np.uint16),
                                y[:, 0::8].shape).view(bfloat16)
        y[:, 1::8] = np.uint16(0x8000).view(bfloat16)
        y[:, 2::8] = rng.choice(np.array([0x7F80, 0xFF80, 0x3F80], np.uint16),
                                y[:, 2::8].shape).view(bfloat16)
        y[:, 3::8] = rng.choice(np.array([0x7F7F, 0xFF7F], np.uint16),
                                y[:, 3::8].shape).view(bfloat16)
        y[:, 4::8] = rng.choice(np.array([0x0001, 0x8001, 0x807F], np.uint16),
                                y[:, 4::8].shape).view(bfloat16)
        y[:, 5::8] = rng.integers(0, 1 << 16, y[:, 5::8].shape).astype(np.uint16).view(bfloat16)
        y[:, 6::8] = rng.choice(np.array([0x3F80, 0xBF80, 0x7FC1, 0xFF81], np.uint16),
                                y[:, 6::8].shape, p=[0.45, 0.45, 0.05, 0.05]).view(bfloat16)
    return y
