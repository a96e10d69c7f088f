# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routing and unpermuting tokens on the CPU, compared byte for byte with the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from moe_testing import permutation_batches
from moe_testing.permutation_kernels import RouteTokens, UnpermuteTokens, run_on_cpu

RARE = permutation_batches.rare_batches()
LARGE = permutation_batches.large_batches()
pytestmark = pytest.mark.needs("moe-run")


@pytest.mark.parametrize("name", RARE)
def test_rare_routings(name: str) -> None:
    run_on_cpu(RouteTokens(RARE[name]))


@pytest.mark.parametrize("name", LARGE)
def test_many_tokens(name: str) -> None:
    run_on_cpu(RouteTokens(LARGE[name]))


@pytest.mark.parametrize("seed", range(12))
def test_random_routings(seed: int) -> None:
    run_on_cpu(RouteTokens(permutation_batches.random_batch(seed)))


def test_sizes_that_are_known() -> None:
    batch = RARE["plain"]
    run_on_cpu(RouteTokens(batch, topk=batch.top_k, experts=batch.experts))


@pytest.mark.parametrize("has_probs", [False, True])
@pytest.mark.parametrize("columns", [1, 31, 96, 165])
@pytest.mark.parametrize("odd", [False, True])
def test_unpermute(has_probs: bool, columns: int, odd: bool) -> None:
    """With `odd`, sums and products of NaN, infinities, zeros of either sign and subnormals."""
    batch = permutation_batches.routed(50, 6, 16, slice(2, 12), valid_tokens=47)
    routing = batch.routed()
    probs = None
    if has_probs:
        rng = np.random.default_rng(3)
        probs = rng.random(batch.rows, np.float32)
        if odd:
            special = np.array([np.nan, np.inf, -0.0, 0.0, -2.5, 1e-40], np.float32)
            probs[::3] = rng.choice(special, probs[::3].shape)
    y = permutation_batches.expert_results(batch.rows, columns, odd=odd)
    run_on_cpu(UnpermuteTokens(y, routing.inverse_map, batch.valid_tokens, probs))


@pytest.mark.parametrize("valid_tokens", [-(2**31), -1, 0, 1, 8, 9, 2**31 - 1])
def test_valid_tokens(valid_tokens: int) -> None:
    inverse = np.arange(24, dtype=np.int32).reshape(8, 3)
    y = permutation_batches.expert_results(24, 40)
    run_on_cpu(UnpermuteTokens(y, inverse, valid_tokens))


def test_entries_that_are_no_rows() -> None:
    """Past the last row, far past it, and negative."""
    rng = np.random.default_rng(0)
    inverse = rng.choice(np.array([-(2**31), -1, 0, 1, 6, 7, 8, 2**31 - 1], np.int32), (20, 5))
    y = permutation_batches.expert_results(7, 33)
    run_on_cpu(UnpermuteTokens(y, inverse, 20, np.full(7, 0.3, np.float32)))


@pytest.mark.parametrize("sizes", [(0, 4, 8), (8, 0, 8), (5, 3, 0)])
def test_nothing_to_do(sizes: tuple[int, int, int]) -> None:
    """No tokens; no experts, so that the sums are 0; no rows."""
    T, E, R = sizes
    inverse = np.zeros((T, E), np.int32)
    run_on_cpu(UnpermuteTokens(permutation_batches.expert_results(R, 40), inverse, T))
