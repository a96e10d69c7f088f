# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routing, permuting and unpermuting tokens in Triton, as a peer to measure against.

Written from the definition of what they do, with the structure of Megatron-Core's
core.inference.moe.permute, which takes seven launches around the two products of an expert layer:

    route       counters zeroed by PyTorch; pairs counted with atomics; prefix sums by one CTA; the
                used part of the map set to -1
    permute     each pair takes its row with an atomic, and copies its token, its probability and
                its number
    unpermute   rows of the result zeroed; each row added to its token's with atomics

So the order of rows in an expert's block, and that of a sum, are those in which atomics happen to
come. permute_quantize_mxfp8 has PyTorch zero the scales as well, which is an eighth launch.

How many CTAs walk over pairs and rows at most, and the block and the warps of each, are parameters:
candidates()[0] is what the reference takes, the others are there so that the peer can be given its
best. All write into given buffers, so that who measures can choose which.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton_peer import CTA_CAPS, Config, scale_size

# Pairs that a CTA counts, and entries of the map that it clears.
_BLOCK = 1024


def candidates(H: int, most_rows: int) -> list[Config]:
    """Launch parameters worth trying, the reference's first, for so many pairs or rows."""
    row = triton.next_power_of_2(H)
    blocks = dict.fromkeys([(min(row, 1024), 4), (row, 4), (row, 8)])
    smaller = [cap for cap in CTA_CAPS[:2] if cap < most_rows]
    caps = [*smaller, CTA_CAPS[-1]]
    return [Config(*block, cap) for cap in caps for block in blocks]


def candidates_mxfp8(H: int, most_rows: int) -> list[Config]:
    """The same of permute_quantize_mxfp8, which has a whole row in a block."""
    row = triton.next_power_of_2(H)
    smaller = [cap for cap in CTA_CAPS[:2] if cap < most_rows]
    return [Config(row, warps, cap) for cap in [*smaller, CTA_CAPS[-1]] for warps in (4, 8)]


@triton.jit
def _count_kernel(routing_map_ptr, valid_tokens_ptr, counts_ptr, top_k, first_expert, experts,
                  BLOCK: tl.constexpr):
    pair = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = pair < tl.load(valid_tokens_ptr) * top_k
    expert = tl.load(routing_map_ptr + pair, mask=exists, other=-1) - first_expert
    is_local = exists & (expert >= 0) & (expert < experts)
    tl.atomic_add(counts_ptr + expert, 1, mask=is_local)


@triton.jit
def _prefix_sum_kernel(counts_ptr, exclusive_ptr, inclusive_ptr, experts, ALIGNMENT: tl.constexpr,
                       BLOCK: tl.constexpr):
    expert = tl.arange(0, BLOCK)
    inside = expert < experts
    count = tl.load(counts_ptr + expert, mask=inside, other=0)
    rows = (count + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT
    inclusive = tl.cumsum(rows, axis=0)
    tl.store(exclusive_ptr + expert, inclusive - rows, mask=inside)
    tl.store(inclusive_ptr + expert, inclusive, mask=inside)


@triton.jit
def _clear_map_kernel(permutation_map_ptr, n_used_ptr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    nothing = tl.full([BLOCK], -1, tl.int32)
    tl.store(permutation_map_ptr + row, nothing, mask=row < tl.load(n_used_ptr))


@triton.jit(do_not_specialize=["pairs"])
def _permute_kernel(x_ptr, probs_ptr, routing_map_ptr, next_row_ptr, valid_tokens_ptr, out_ptr,
                    permuted_probs_ptr, permutation_map_ptr, H, pairs, first_expert,
                    experts, TOP_K: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr):
    first = tl.program_id(0)
    valid_tokens = tl.load(valid_tokens_ptr)
    if first >= valid_tokens * TOP_K:
        return
    for pair in tl.range(first, pairs, STEP):
        token = pair // TOP_K
        if token < valid_tokens:
            expert = tl.load(routing_map_ptr + pair) - first_expert
            if (expert >= 0) & (expert < experts):
                row = tl.atomic_add(next_row_ptr + expert, 1)
                for begin in tl.range(0, H, BLOCK):
                    column = begin + tl.arange(0, BLOCK)
                    inside = column < H
                    x = tl.load(x_ptr + token * H + column, mask=inside)
                    tl.store(out_ptr + row * H + column, x, mask=inside)
                tl.store(permuted_probs_ptr + row, tl.load(probs_ptr + pair))
                tl.store(permutation_map_ptr + row, token)


@triton.jit(do_not_specialize=["pairs"])
def _permute_quantize_kernel(x_ptr, probs_ptr, routing_map_ptr, next_row_ptr, valid_tokens_ptr,
                             data_ptr, scale_ptr, permuted_probs_ptr, permutation_map_ptr, K, pairs,
                             n_col_tiles, first_expert, experts, TOP_K: tl.constexpr,
                             BLOCK: tl.constexpr, STEP: tl.constexpr):
    GROUPS: tl.constexpr = BLOCK // 32
    first = tl.program_id(0)
    valid_tokens = tl.load(valid_tokens_ptr)
    if first >= valid_tokens * TOP_K:
        return
    column = tl.arange(0, BLOCK)
    inside = column < K
    g = tl.arange(0, GROUPS)
    for pair in tl.range(first, pairs, STEP):
        token = pair // TOP_K
        if token < valid_tokens:
            expert = tl.load(routing_map_ptr + pair) - first_expert
            if (expert >= 0) & (expert < experts):
                row = tl.atomic_add(next_row_ptr + expert, 1)
                x = tl.load(x_ptr + token * K + column, mask=inside, other=0.0).to(tl.float32)
                a = tl.reshape(x, [GROUPS, 32])
                magnitude = tl.abs(a)
                # A NaN counts as missing.
                m = tl.max(tl.where(a == a, magnitude, 0.0), axis=1)

                # RCEIL on the bits of the maximum, which is a bf16 value: 448 = 1.75 * 2^8.
                e = ((m.to(tl.int32, bitcast=True) + 0x1FFFFF) >> 23) - 8
                e = tl.where(m == 0.0, 0, tl.maximum(e, 1))
                e = tl.where(m == float("inf"), 255, e)
                factor = ((254 - e) << 23).to(tl.float32, bitcast=True)
                factor = tl.where(e == 255, 0.0, factor)
                value = a * factor[:, None]
                # Infinity times 0 is a NaN of either sign; the definition's has none.
                value = tl.where((magnitude == float("inf")) | (a != a), float("nan"), value)
                data = tl.reshape(value, [BLOCK]).to(tl.float8e4nv)
                tl.store(data_ptr + row * K + column, data, mask=inside)

                tile = (row // 128) * n_col_tiles + g // 4
                offset = tile * 512 + (row % 32) * 16 + ((row % 128) // 32) * 4 + g % 4
                tl.store(scale_ptr + offset, e.to(tl.uint8), mask=g < K // 32)
                tl.store(permuted_probs_ptr + row, tl.load(probs_ptr + pair))
                tl.store(permutation_map_ptr + row, token)


@triton.jit(do_not_specialize=["tokens"])
def _zero_rows_kernel(out_ptr, valid_tokens_ptr, H, tokens, BLOCK: tl.constexpr,
                      STEP: tl.constexpr):
    first = tl.program_id(0)
    valid_tokens = tl.load(valid_tokens_ptr)
    if first >= valid_tokens:
        return
    nothing = tl.zeros([BLOCK], dtype=tl.float32)
    for row in tl.range(first, tokens, STEP):
        if row < valid_tokens:
            for begin in tl.range(0, H, BLOCK):
                column = begin + tl.arange(0, BLOCK)
                tl.store(out_ptr + row * H + column, nothing, mask=column < H)


@triton.jit(do_not_specialize=["max_rows"])
def _unpermute_kernel(y_ptr, permuted_probs_ptr, permutation_map_ptr, n_used_ptr, out_ptr, H,
                      max_rows, BLOCK: tl.constexpr, STEP: tl.constexpr):
    first = tl.program_id(0)
    n_used = tl.load(n_used_ptr)
    if first >= n_used:
        return
    for row in tl.range(first, max_rows, STEP):
        if row < n_used:
            token = tl.load(permutation_map_ptr + row)
            if token >= 0:
                prob = tl.load(permuted_probs_ptr + row)
                for begin in tl.range(0, H, BLOCK):
                    column = begin + tl.arange(0, BLOCK)
                    inside = column < H
                    y = tl.load(y_ptr + row * H + column, mask=inside)
                    tl.atomic_add(out_ptr + token * H + column, y.to(tl.float32) * prob,
                                  mask=inside)


@dataclass(frozen=True)
class Routing:
    """What routing writes, all of it int32 but for the probabilities. exclusive_offsets are
    counters: after permuting they tell where an expert's pairs end.
    """

    tokens_per_expert: torch.Tensor  # [E]
    exclusive_offsets: torch.Tensor  # [E]
    inclusive_offsets: torch.Tensor  # [E]
    permutation_map: torch.Tensor  # [R]
    permuted_probs: torch.Tensor  # float32 [R]

    @staticmethod
    def empty(experts: int, rows: int, device: torch.device | str) -> Routing:
        counts = [torch.empty(experts, dtype=torch.int32, device=device) for _ in range(3)]
        return Routing(*counts, torch.empty(rows, dtype=torch.int32, device=device),
                       torch.empty(rows, dtype=torch.float32, device=device))

    @property
    def n_used(self) -> torch.Tensor:
        return self.inclusive_offsets[-1:]


def route(routing_map: torch.Tensor, valid_tokens: torch.Tensor, first_expert: int, alignment: int,
          routing: Routing) -> None:
    """Counts, offsets, and the map cleared: four launches. valid_tokens is not above T."""
    counts, experts = routing.tokens_per_expert, routing.tokens_per_expert.numel()
    counts.zero_()
    _count_kernel[(triton.cdiv(max(routing_map.numel(), 1), _BLOCK),)](
        routing_map, valid_tokens, counts, routing_map.shape[1], first_expert, experts,
        BLOCK=_BLOCK)
    _prefix_sum_kernel[(1,)](counts, routing.exclusive_offsets, routing.inclusive_offsets, experts,
                             ALIGNMENT=alignment, BLOCK=triton.next_power_of_2(experts))
    rows = routing.permutation_map.numel()
    _clear_map_kernel[(triton.cdiv(rows, _BLOCK),)](routing.permutation_map, routing.n_used,
                                                    BLOCK=_BLOCK)


def permute(x: torch.Tensor, probs: torch.Tensor, routing_map: torch.Tensor,
            valid_tokens: torch.Tensor, first_expert: int, routing: Routing, out: torch.Tensor,
            config: Config | None = None) -> None:
    """Rows, and their part of the map: one launch, once after each `route`."""
    pairs, H = routing_map.numel(), x.shape[1]
    block, warps, step = config or candidates(H, pairs)[0]
    _permute_kernel[(min(pairs, step),)](
        x, probs, routing_map, routing.exclusive_offsets, valid_tokens, out,
        routing.permuted_probs, routing.permutation_map, H, pairs, first_expert,
        routing.tokens_per_expert.numel(), TOP_K=routing_map.shape[1], BLOCK=block, STEP=step,
        num_warps=warps)


def permute_quantize_mxfp8(x: torch.Tensor, probs: torch.Tensor, routing_map: torch.Tensor,
                           valid_tokens: torch.Tensor, first_expert: int, routing: Routing,
                           data: torch.Tensor, scale: torch.Tensor,
                           config: Config | None = None) -> None:
    """The same quantised, with swizzled scales (uint8), which are zeroed before."""
    pairs, K = routing_map.numel(), x.shape[1]
    assert scale.numel() == scale_size(data.shape[0], K)
    block, warps, step = config or candidates_mxfp8(K, pairs)[0]
    scale.zero_()
    _permute_quantize_kernel[(min(pairs, step),)](
        x, probs, routing_map, routing.exclusive_offsets, valid_tokens, data, scale,
        routing.permuted_probs, routing.permutation_map, K, pairs, -(-K // 128), first_expert,
        routing.tokens_per_expert.numel(), TOP_K=routing_map.shape[1], BLOCK=block, STEP=step,
        num_warps=warps)


def unpermute(y: torch.Tensor, routing: Routing, valid_tokens: torch.Tensor, out: torch.Tensor,
              config: Config | None = None) -> None:
    """Sums of weighted rows, float32 [T, H]: two launches."""
    (T, H), rows = out.shape, y.shape[0]
    block, warps, step = config or candidates(H, rows)[0]
    _zero_rows_kernel[(min(T, step),)](out, valid_tokens, H, T, BLOCK=block, STEP=step,
                                       num_warps=warps)
    _unpermute_kernel[(min(rows, step),)](y, routing.permuted_probs, routing.permutation_map,
                                          routing.n_used, out, H, rows, BLOCK=block, STEP=step,
                                          num_warps=warps)
