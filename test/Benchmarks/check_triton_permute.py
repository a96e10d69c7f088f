# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the Triton peer of permutation in Triton's interpreter and compares it with the oracle. Which
row of its block a pair has is up to atomics, so rows are compared in the order of their tokens.

A program of its own, for test_permute_peers.py: TRITON_INTERPRET must be set before Triton is
imported. It needs the benchmarks on PYTHONPATH.
"""

from __future__ import annotations

# First: it says that Triton is to interpret, before anything imports Triton.
from check_triton_peer import prepare_interpreter  # isort: skip

from dataclasses import replace

import ml_dtypes
import numpy as np
import torch
import triton_peer
import triton_permute
from moe_testing import oracle, permutation, permutation_batches
from moe_testing.permutation_batches import TokenBatch

H = 96
POISON = 0x5A


def tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


# So few CTAs that each has several pairs and rows, and for rows in two parts, a block of fewer
# columns than they have. Whole rows otherwise.
FEW_CTAS, TWO_BLOCKS = triton_peer.Config(128, 4, 3), triton_peer.Config(64, 4, 3)


def by_token(routing: permutation.Routing, permutation_map: np.ndarray) -> np.ndarray:
    """For each live row of `routing`, one of the same expert and token of the other map."""
    found = np.full(permutation_map.size, -1)
    for begin, end in zip(routing.exclusive_offsets, routing.inclusive_offsets):
        other = begin + np.argsort(permutation_map[begin:end], kind="stable")
        own = begin + np.argsort(routing.permutation_map[begin:end], kind="stable")
        found[own] = other
    return found


def check(name: str, batch: TokenBatch) -> None:
    assert batch.probs is not None
    wanted = batch.routed()
    n_used = int(wanted.n_used[0])
    x = permutation_batches.odd_tokens(batch.T, H)
    routing_map, probs = tensor(batch.routing_map), tensor(batch.probs)
    valid_tokens = torch.tensor(batch.valid_tokens, dtype=torch.int32)

    def routed() -> triton_permute.Routing:
        routing = triton_permute.Routing(
            *(torch.full((size,), 0x5A5A5A5A, dtype=torch.int32)
              for size in (batch.experts,) * 3 + (batch.rows,)),
            torch.full((batch.rows,), 7.0))
        triton_permute.route(routing_map, valid_tokens, batch.first_expert, batch.alignment,
                             routing)
        return routing

    routing = routed()
    for field in ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets"):
        assert np.array_equal(getattr(routing, field).numpy(), getattr(wanted, field)), field
    assert (routing.permutation_map[:n_used] == -1).all()
    assert (routing.permutation_map[n_used:] == 0x5A5A5A5A).all()

    y = permutation_batches.expert_results(batch.rows, H)
    for config in (triton_permute.candidates(H, batch.routing_map.size)[0], TWO_BLOCKS):
        routing = routed()
        out = torch.full((batch.rows, H), POISON, dtype=torch.int16).view(torch.bfloat16)
        triton_permute.permute(tensor(x), probs, routing_map, valid_tokens, batch.first_expert,
                               routing, out, config)
        found_map = routing.permutation_map.numpy()
        rows = by_token(wanted, found_map)
        live = np.flatnonzero(wanted.permutation_map[:n_used] >= 0)
        assert np.array_equal(found_map[rows[live]], wanted.permutation_map[live]), name
        assert np.count_nonzero(found_map[:n_used] >= 0) == live.size
        is_live = torch.zeros(batch.rows, dtype=torch.bool)
        is_live[rows[live]] = True
        found = out.view(torch.int16)
        assert np.array_equal(found.numpy()[rows[live]],
                              x[wanted.permutation_map[live]].view(np.int16)), name
        assert (found[~is_live] == POISON).all()
        # Of a token that has an expert twice, either may come first.
        assert sorted(routing.permuted_probs[rows[live]].tolist()) == sorted(
            wanted.permuted_probs[live].tolist())

        total = torch.full((batch.T, H), 7.0)
        triton_permute.unpermute(tensor(y), routing, valid_tokens, total, config)
        valid = permutation.clamped_tokens(batch.valid_tokens, batch.T)
        exact, size = np.zeros((batch.T, H)), np.zeros((batch.T, H))
        for row in rows[live]:
            value = y[row].astype(np.float64) * float(routing.permuted_probs[row])
            exact[found_map[row]] += value
            size[found_map[row]] += np.abs(value)
        error = np.abs(total.numpy() - exact)[:valid]
        assert (error <= (batch.top_k + 1) * 2.0**-24 * size[:valid]).all(), name
        assert (total[valid:] == 7).all()

    for config in (triton_permute.candidates_mxfp8(H, batch.routing_map.size)[0], FEW_CTAS):
        routing = routed()
        data = torch.full((batch.rows, H), POISON, dtype=torch.uint8)
        scale = torch.full((triton_peer.scale_size(batch.rows, H),), POISON, dtype=torch.uint8)
        triton_permute.permute_quantize_mxfp8(
            tensor(x), probs, routing_map, valid_tokens, batch.first_expert, routing,
            data.view(torch.float8_e4m3fn), scale, config)
        found_map = routing.permutation_map.numpy()
        before = (np.full((batch.rows, H), POISON, np.uint8).view(ml_dtypes.float8_e4m3fn),
                  np.zeros(scale.numel(), np.uint8).view(ml_dtypes.float8_e8m0fnu))
        # The oracle on the order that came.
        for part, have, want in zip(("data", "scale"), (data, scale), (
                permutation.permute_quantize_mxfp8(x, found_map, n_used, *before))):
            differ = np.count_nonzero(have.numpy() != oracle.bits(want))
            assert not differ, f"{name} {config}: {differ} bytes of {part} differ"
    print(name, flush=True)


def main() -> None:
    prepare_interpreter()
    check("ordinary", permutation_batches.routed(9, 3, 6, slice(2, 5), valid_tokens=8,
                                                 dtype=np.int64))
    check("duplicates", permutation_batches.with_duplicates(5, 4, 4, slice(1, 3), alignment=8))
    check("no local pair", replace(permutation_batches.routed(3, 2, 4), first_expert=9))
    check("no token", permutation_batches.routed(3, 2, 4, slice(0, 2), valid_tokens=0))


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        main()
