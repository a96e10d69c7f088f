# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Stands in for Megatron-Core's module of this name, beside those of ../stand_in: its functions,
without Triton, for any device, and counted. The rows of an expert are in the reverse of the order of
tokens, as atomics may have it.
"""

import torch
from megatron.core.inference.moe.activations import calls


def compute_local_tokens_per_expert(
    routing_map: torch.Tensor,
    local_expert_start: int,
    num_local_experts: int,
    valid_tokens: torch.Tensor,
    persistent: bool = False,
) -> torch.Tensor:
    calls.append("compute_local_tokens_per_expert")
    local = routing_map[: int(valid_tokens)].flatten().long() - local_expert_start
    local = local[(local >= 0) & (local < num_local_experts)]
    return torch.bincount(local, minlength=num_local_experts).int()


def compute_expert_offsets(tokens_per_expert: torch.Tensor, alignment: int = 1) -> tuple:
    calls.append("compute_expert_offsets")
    rows = (tokens_per_expert + alignment - 1) // alignment * alignment
    inclusive = rows.cumsum(0).int()
    return inclusive - rows, inclusive


def init_permutation_map(permutation_map: torch.Tensor, n_used: torch.Tensor) -> None:
    calls.append("init_permutation_map")
    permutation_map[: int(n_used)] = -1


def permute_tokens(
    hidden_states: torch.Tensor,
    probs: torch.Tensor,
    routing_map: torch.Tensor,
    local_expert_start: int,
    num_local_experts: int,
    valid_tokens: torch.Tensor,
    alignment: int = 1,
    return_batch_invariant_inverse_map: bool = False,
    row_alignment: int = 1,
    zero_padding: bool = False,
) -> tuple:
    calls.append("permute_tokens")
    tokens, topk = routing_map.shape
    counts = compute_local_tokens_per_expert(
        routing_map, local_expert_start, num_local_experts, valid_tokens)
    exclusive, inclusive = compute_expert_offsets(counts, alignment)
    size = tokens * min(topk, num_local_experts) + alignment * num_local_experts
    size = -(-size // row_alignment) * row_alignment
    rows = hidden_states.new_zeros(size, hidden_states.shape[1])
    permuted_probs = probs.new_zeros(size)
    permutation_map = torch.full((size,), 77, dtype=torch.int32)
    init_permutation_map(permutation_map, inclusive[-1:])
    inverse_map = torch.full((tokens, num_local_experts), -1, dtype=torch.int32)
    for expert in range(num_local_experts):
        pairs = (routing_map[: int(valid_tokens)] == local_expert_start + expert).nonzero().flip(0)
        for row, (token, k) in enumerate(pairs.tolist(), int(exclusive[expert])):
            rows[row] = hidden_states[token]
            permuted_probs[row] = probs[token, k]
            permutation_map[row] = token
            inverse_map[token, expert] = row
    results = (rows, permuted_probs, permutation_map, inclusive)
    return (*results, inverse_map) if return_batch_invariant_inverse_map else results


def permute_and_quantize_mxfp8(
    hidden_states: torch.Tensor,
    probs: torch.Tensor,
    routing_map: torch.Tensor,
    local_expert_start: int,
    num_local_experts: int,
    valid_tokens: torch.Tensor,
    alignment: int = 128,
) -> tuple:
    calls.append("permute_and_quantize_mxfp8")
    raise NotImplementedError("this stand-in quantises no rows")


def unpermute_tokens(
    expert_output: torch.Tensor,
    permuted_probs: torch.Tensor | None,
    permutation_map: torch.Tensor,
    num_tokens: int,
    n_used: torch.Tensor,
    valid_tokens: torch.Tensor,
    out: torch.Tensor | None = None,
    batch_invariant_inverse_map: torch.Tensor | None = None,
) -> torch.Tensor:
    calls.append("unpermute_tokens")
    assert permuted_probs is not None and permuted_probs.dtype == torch.float32
    if out is None:
        out = torch.empty(num_tokens, expert_output.shape[1])
    out[: int(valid_tokens)] = 0
    for row in range(int(n_used)):
        token = int(permutation_map[row])
        if token >= 0:
            out[token] += expert_output[row].float() * permuted_probs[row]
    return out
