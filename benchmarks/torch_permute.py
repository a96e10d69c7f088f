# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routing, permuting and unpermuting tokens in eager PyTorch, as a peer to measure against: what
one writes by hand so that it can be captured in a CUDA graph, so without a size that depends on
values. Pairs are sorted by expert; those that are of no local expert go to a row past the capacity.

It does as the definition says, in the order of tokens, then k; only the sum is PyTorch's, over k.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Routing:
    inclusive_offsets: torch.Tensor  # int32 [E]
    permutation_map: torch.Tensor  # int32 [R], -1 in every row without a pair
    pair_rows: torch.Tensor  # int64 [T, topk], R for a pair that does not exist

    @property
    def n_used(self) -> torch.Tensor:
        return self.inclusive_offsets[-1:]


def route(routing_map: torch.Tensor, valid_tokens: torch.Tensor, first_expert: int, experts: int,
          alignment: int, rows: int) -> Routing:
    T, top_k = routing_map.shape
    device = routing_map.device
    local = routing_map.long() - first_expert
    exists = ((local >= 0) & (local < experts)
              & (torch.arange(T, device=device) < valid_tokens)[:, None])
    expert = torch.where(exists, local, experts).flatten()
    order = torch.argsort(expert, stable=True)
    ordered = expert[order]
    counts = torch.zeros(experts + 1, dtype=torch.int64, device=device)
    counts.scatter_add_(0, expert, torch.ones_like(expert))
    blocks = (counts + alignment - 1) // alignment * alignment
    inclusive = blocks.cumsum(0)
    begin = inclusive - blocks - (counts.cumsum(0) - counts)
    row = torch.arange(T * top_k, device=device) + begin[ordered]
    row = torch.where(ordered < experts, row, rows).clamp(max=rows)
    permutation_map = torch.full((rows + 1,), -1, dtype=torch.int32, device=device)
    permutation_map[row] = (order // top_k).int()
    pair_rows = torch.empty_like(row)
    pair_rows[order] = row
    return Routing(inclusive[:experts].int(), permutation_map[:rows], pair_rows.view(T, top_k))


def permute(x: torch.Tensor, routing: Routing) -> torch.Tensor:
    """[R, H]; rows without a pair hold what a new tensor holds."""
    rows, top_k = routing.permutation_map.numel(), routing.pair_rows.shape[1]
    out = x.new_empty(rows + 1, x.shape[1])
    out[routing.pair_rows.flatten()] = x.repeat_interleave(top_k, 0)
    return out[:rows]


def unpermute(y: torch.Tensor, routing: Routing, probs: torch.Tensor) -> torch.Tensor:
    """float32 [T, H], 0 for a token without a pair."""
    rows = routing.permutation_map.numel()
    exists = routing.pair_rows < rows
    values = y[routing.pair_rows.clamp(max=rows - 1)].float() * probs[:, :, None]
    return torch.where(exists[:, :, None], values, 0).sum(1)
