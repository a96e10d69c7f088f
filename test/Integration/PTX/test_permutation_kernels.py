# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The kernels that route and unpermute tokens in the PTX interpreter, which finds races, compared
byte for byte with the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from moe_testing import permutation_batches
from moe_testing.interpreted import Interpreter
from moe_testing.permutation_kernels import (
    CLUSTER,
    CLUSTER_EXPERTS,
    Call,
    RouteTokens,
    UnpermuteTokens,
    check,
)
from ptx_interpreter import ExecutionError, RaceError

RARE = permutation_batches.rare_batches()
LARGE = permutation_batches.large_batches()
# Of so many pairs, or choices of a token, that even a cluster takes them in parts.
VERY_LARGE = {
    "20000 tokens": permutation_batches.routed(20000, 6, 64, slice(8, 48)),
    "more pairs than registers, by one": permutation_batches.routed(12288 + 1, 8, 16, slice(0, 4)),
    "20000 tokens, duplicates, without room": replace(
        permutation_batches.with_duplicates(20000, 5, 40, slice(1, 39), valid_tokens=19000),
        rows=70000),
    "700 choices": permutation_batches.with_duplicates(23, 700, 60, slice(3, 50), valid_tokens=22),
    "2048 choices": permutation_batches.with_duplicates(9, 2048, 3, slice(1, 3)),
}
pytestmark = pytest.mark.needs("moe-opt", "moe-translate")


def run(call: Call, grid: tuple[int, int], chip: str = "sm_90", **options: int) -> dict:
    backend = Interpreter()
    check(backend, call, grid, chip, **options)
    return backend.stats


# Which the interpreter would take longest for: the CPU has it.
@pytest.mark.parametrize("name", [name for name in RARE if name != "as many experts as may be"])
def test_rare_routings(name: str) -> None:
    """A CTA for each expert, as launches have."""
    run(RouteTokens(RARE[name]), (min(RARE[name].experts, 40), 1))


def route_in_clusters(batch: permutation_batches.TokenBatch, clusters: int) -> dict:
    return run(RouteTokens(batch, has_cluster=True), (CLUSTER * clusters, 1))


def windows(experts: int) -> int:
    return -(-experts // CLUSTER_EXPERTS)


# In the few tokens of these nothing tells a thousand experts from seventy.
@pytest.mark.parametrize("name", [name for name in RARE if RARE[name].experts <= 200])
def test_rare_routings_in_clusters(name: str) -> None:
    """A cluster for each window of experts, as launches have."""
    route_in_clusters(RARE[name], windows(RARE[name].experts))


@pytest.mark.parametrize("name", ["70 experts", "duplicates", "no token", "no room"])
@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_any_number_of_clusters(name: str, clusters: int) -> None:
    """Windows for each cluster, and clusters without a window."""
    batch = permutation_batches.routed(60, 12, 90, slice(5, 75), alignment=8)
    batches = {
        "70 experts": batch, "no room": replace(batch, rows=300),
        "duplicates": permutation_batches.with_duplicates(60, 9, 80, slice(2, 72), valid_tokens=51),
        "no token": permutation_batches.routed(0, 4, 90, slice(5, 75)),
    }
    route_in_clusters(batches[name], clusters)


@pytest.mark.parametrize("name", [*LARGE, *VERY_LARGE])
def test_tiles_in_clusters(name: str) -> None:
    batch = {**LARGE, **VERY_LARGE}[name]
    route_in_clusters(batch, windows(batch.experts))


@pytest.mark.parametrize("seed", range(6))
def test_random_routings_in_clusters(seed: int) -> None:
    route_in_clusters(permutation_batches.random_batch(seed, most_tokens=500), 1)


@pytest.mark.parametrize("padding", [1, 5])
def test_strides_in_clusters(padding: int) -> None:
    """routing_map with elements between its rows, and permuted_probs or inverse_map elsewhere."""
    for batch in (RARE["plain"], RARE["i64, no probs"], VERY_LARGE["700 choices"]):
        check(Interpreter(), RouteTokens(batch, has_cluster=True), (CLUSTER * 2, 1), offset=8,
              padding=padding)


def test_sizes_that_the_kernel_is_compiled_for_in_clusters() -> None:
    batch = permutation_batches.routed(300, 6, 60, slice(2, 50))
    run(RouteTokens(batch, topk=6, experts=48, has_cluster=True), (CLUSTER * 2, 1))


def test_clusters_read_each_pair_once() -> None:
    """And their threads meet few times."""
    batch = permutation_batches.routed(4096, 22, 512, slice(0, 64), alignment=128, has_probs=False)
    stats = route_in_clusters(batch, 2)
    warps = 2 * CLUSTER * 32
    barriers = {name: count for name, count in stats["by_opcode"].items() if "bar" in name
                and "warp" not in name}
    assert barriers == {"bar.sync": 3 * warps, "barrier.cluster.arrive.aligned": warps,
                        "barrier.cluster.arrive.relaxed.aligned": warps,
                        "barrier.cluster.wait.aligned": 2 * warps}
    # valid_tokens, once a thread, and each cluster all pairs.
    assert stats["global_loads"][4]["bytes"] == 4 * (2 * 4096 * 22 + 2 * CLUSTER * 1024)


def broken(change: Callable[[str], str]) -> type[Interpreter]:
    """A backend that changes the PTX."""
    class Broken(Interpreter):
        def launch(self, ptx: str, entry: str, *arguments: object) -> None:
            head, found, kernel = ptx.partition(f".entry {entry}(")
            changed = change(kernel)
            assert changed != kernel
            super().launch(head + found + changed, entry, *arguments)  # type: ignore[arg-type]

    return Broken


WAIT = "\tbarrier.cluster.wait.aligned;\n"
ARRIVE = "\tbarrier.cluster.arrive.aligned;\n"
RELAXED = "\tbarrier.cluster.arrive.relaxed.aligned;\n"


@pytest.mark.parametrize(("change", "error"), [
    # Reads the counts of the other CTAs before they are made.
    (lambda text: text.replace(ARRIVE, "", 1).replace(WAIT, "", 1), RaceError),
    # Ends while others read them.
    (lambda text: "".join(text.replace(RELAXED, "").rsplit(WAIT, 1)), ExecutionError),
])
def test_what_the_barriers_of_a_cluster_are_for(change: Callable[[str], str],
                                                error: type[Exception]) -> None:
    call = RouteTokens(RARE["no probs"], has_cluster=True)
    with pytest.raises(error, match="data race in shared memory|the CTA ends while another"):
        check(broken(change)(), call, (CLUSTER, 1))


@pytest.mark.parametrize("name", ["plain", "no probs", "duplicates", "one token", "no token",
                                  "duplicates without room", "alignment 3"])
@pytest.mark.parametrize("ctas", [1, 2, 5, 9])
def test_any_grid(name: str, ctas: int) -> None:
    """Experts for each CTA, and CTAs without an expert."""
    run(RouteTokens(RARE[name]), (ctas, 1))


@pytest.mark.parametrize("name", LARGE)
def test_tiles(name: str) -> None:
    run(RouteTokens(LARGE[name]), (LARGE[name].experts, 1))


@pytest.mark.parametrize("ctas", [1, 3])
def test_tiles_of_several_experts(ctas: int) -> None:
    run(RouteTokens(LARGE["9000 tokens, duplicates"]), (ctas, 1))


@pytest.mark.parametrize("seed", range(6))
def test_random_routings(seed: int) -> None:
    run(RouteTokens(permutation_batches.random_batch(seed)), (3, 1), "sm_80")


@pytest.mark.parametrize("top_k", [1, 2, 22])
@pytest.mark.parametrize("T", [1, 64, 256])
def test_sizes_of_serving(T: int, top_k: int) -> None:
    batch = permutation_batches.routed(T, top_k, 128, slice(16, 24))
    run(RouteTokens(batch), (8, 1))


def test_one_pass_has_three_barriers() -> None:
    batch = permutation_batches.routed(256, 22, 512, slice(0, 4), alignment=128)
    stats = run(RouteTokens(batch), (4, 1))
    barriers = {name: count for name, count in stats["by_opcode"].items() if "bar" in name}
    assert barriers == {"bar.sync": 3 * 4 * 16}


def routing(T: int = 50, **options: object) -> permutation_batches.TokenBatch:
    return permutation_batches.routed(T, 6, 16, slice(2, 12), **options)


@pytest.mark.parametrize("has_probs", [False, True])
@pytest.mark.parametrize(("columns", "aligned", "is_wide"), [
    (128, True, False), (132, True, False), (300, True, False), (256, True, True), (264, True, True),
    (600, True, True), (8, True, True), (33, False, False), (1, False, False), (200, False, False)])
@pytest.mark.parametrize("odd", [False, True])
def test_unpermute(has_probs: bool, columns: int, aligned: bool, is_wide: bool, odd: bool) -> None:
    batch = routing(valid_tokens=47)
    probs = np.random.default_rng(3).random(batch.rows, np.float32) if has_probs else None
    if odd and probs is not None:
        special = np.array([np.nan, np.inf, -0.0, 0.0, -2.5, 1e-40], np.float32)
        probs[::3] = np.random.default_rng(4).choice(special, probs[::3].shape)
    y = permutation_batches.expert_results(batch.rows, columns, odd=odd)
    call = UnpermuteTokens(y, batch.routed().inverse_map, batch.valid_tokens, probs, is_wide=is_wide)
    run(call, (2, 5), aligned=aligned)


@pytest.mark.parametrize("grid", [(1, 1), (3, 2), (2, 7), (5, 40)])
@pytest.mark.parametrize(("aligned", "is_wide"), [(True, False), (True, True), (False, False)])
def test_any_grid_of_unpermute(grid: tuple[int, int], aligned: bool, is_wide: bool) -> None:
    batch = routing(41)
    y = permutation_batches.expert_results(batch.rows, 280)
    run(UnpermuteTokens(y, batch.routed().inverse_map, 41, is_wide=is_wide), grid, "sm_80",
        aligned=aligned)


@pytest.mark.parametrize("valid_tokens", [-(2**31), -1, 0, 1, 8, 9, 2**31 - 1])
def test_valid_tokens(valid_tokens: int) -> None:
    inverse = np.arange(24, dtype=np.int32).reshape(8, 3)
    run(UnpermuteTokens(permutation_batches.expert_results(24, 40), inverse, valid_tokens), (1, 2))


@pytest.mark.parametrize("experts", [1, 31, 32, 33, 64, 65, 128, 129, 300])
@pytest.mark.parametrize("most", [1, 9, 40, 300])
def test_many_rows_of_a_token(experts: int, most: int) -> None:
    """From none of them on, in every place; rows in any order."""
    rng = np.random.default_rng((experts, most))
    inverse = rng.integers(0, 50, (12, experts)).astype(np.int32)
    keep = rng.random((12, experts)) < np.linspace(0, min(most / experts, 1), 12)[:, None]
    inverse[~keep] = -1
    probs = rng.random(50, np.float32)
    for is_wide in (False, True):
        y = permutation_batches.expert_results(50, 40)
        run(UnpermuteTokens(y, inverse, 12, probs, is_wide=is_wide), (1, 3))


def test_entries_that_are_no_rows() -> None:
    rng = np.random.default_rng(0)
    inverse = rng.choice(np.array([-(2**31), -1, 0, 1, 6, 7, 8, 2**31 - 1], np.int32), (20, 5))
    y = permutation_batches.expert_results(7, 33)
    run(UnpermuteTokens(y, inverse, 20, np.full(7, 0.3, np.float32)), (1, 2), aligned=False)


@pytest.mark.parametrize("sizes", [(0, 4, 8), (8, 0, 8), (5, 3, 0)])
def test_nothing_to_do(sizes: tuple[int, int, int]) -> None:
    T, E, R = sizes
    inverse = np.zeros((T, E), np.int32)
    run(UnpermuteTokens(permutation_batches.expert_results(R, 40), inverse, T), (1, 2))


@pytest.mark.parametrize(("aligned", "offset", "padding"), [(True, 0, 4), (True, 16, 12),
                                                            (False, 2, 3), (False, 4, 1)])
def test_strides_and_addresses(aligned: bool, offset: int, padding: int) -> None:
    batch = routing()
    y = permutation_batches.expert_results(batch.rows, 140)
    if offset == 2:
        offset = 4 if aligned else 12
    run(UnpermuteTokens(y, batch.routed().inverse_map, 50), (1, 6), aligned=aligned,
        offset=offset, padding=padding)


def test_unpermute_moves_each_row_once() -> None:
    batch = permutation_batches.routed(64, 6, 16)
    y = permutation_batches.expert_results(batch.rows, 512)
    stats = run(UnpermuteTokens(y, batch.routed().inverse_map, 64), (4, 8))
    assert stats["global_stores"] == {16: {"instructions": 64 * 4, "bytes": 64 * 512 * 4,
                                           "sectors": 64 * 512 * 4 // 32}}
    # Of 6 rows, 2 are in a group of 4, and 8 loads are made for them.
    assert stats["global_loads"][8]["instructions"] == 64 * 4 * 8
