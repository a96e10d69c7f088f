# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The list of cases, and what it says of each."""

from __future__ import annotations

import itertools

import cases
import numpy as np
import pytest
from moe_testing import batches

ALL = cases.all_cases()


def test_dense_cases() -> None:
    shapes = {(M, K) for M, K in itertools.product((16, 128, 1024, 8192, 65536),
                                                   (1856, 2688, 7168, 14336))
              if 2 * M * K <= 1 << 30}
    assert (65536, 7168) in shapes and (65536, 14336) not in shapes
    for op in ("activation", "quantize"):
        found = [(case.M, case.K) for case in ALL if (case.op, case.kind) == (op, "dense")]
        assert len(found) == len(set(found)) and set(found) == shapes


@pytest.mark.parametrize(("op", "alignment"),
                         [("activation", 128), ("quantize", 128), ("activation", 16)])
def test_routed_cases(op: str, alignment: int) -> None:
    expected = set(itertools.product((1, 8, 32, 64, 256, 512, 4096), (1856, 2688), (0, 8192)))
    found = [case for case in ALL if (case.op, case.kind, case.alignment, case.experts)
             == (op, "routed", alignment, 128)]
    assert {(case.tokens, case.K, case.capacity_tokens) for case in found} == expected
    assert len(found) == len(expected)
    assert {case.top_k for case in found} == {6}


def test_cases_of_many_experts() -> None:
    for op in ("activation", "quantize"):
        found = [case for case in ALL if case.op == op and case.experts != 128]
        assert {(case.experts, case.top_k, case.kind, case.alignment)
                for case in found} == {(512, 22, "routed", 128)}
        assert {case.K for case in found} == {2688, 5120}
        assert {(case.tokens, case.capacity_tokens) for case in found} == {
            *((tokens, 0) for tokens in (1, 8, 64, 512, 4096)), (64, 8192)}


def test_capacity_cases() -> None:
    for op, K in itertools.product(("activation", "quantize"), (1856, 2688, 5120)):
        found = [case for case in ALL if (case.op, case.kind, case.K) == (op, "capacity", K)]
        capacities = [case.capacity_tokens for case in found]
        assert capacities == sorted(set(capacities)) and len(capacities) == 21
        assert {64 << n for n in range(11)} < set(capacities)
        assert {case.tokens for case in found} == {64}
        # Rows at neighbouring capacities must not all share a power of two.
        others = [case.M for case in found if case.capacity_tokens & (case.capacity_tokens - 1)]
        assert len(others) == 10 and min(M & -M for M in others) == 128


def test_names_are_unique_and_nothing_else_is_listed() -> None:
    assert len({case.name for case in ALL}) == len(ALL) == 2 * 19 + 3 * 28 + 2 * 12 + 6 * 21
    assert set(cases.quick_cases()) - set(ALL) == set()
    assert len(cases.quick_cases()) == 6


def test_swiglu_cases() -> None:
    """Widths, experts and tokens of models; dense ones of the width of others."""
    found = cases.swiglu_cases()
    assert len({case.name for case in found}) == len(found) == 2 * (3 * 8 + 5)
    assert not {case.name for case in found} & {case.name for case in ALL}
    for op, quantizes in (("swiglu", False), ("swiglu_quantize", True)):
        own = [case for case in found if case.op == op]
        assert {case.quantizes for case in own} == {quantizes}
        assert all(case.x_columns == 2 * case.K and case.alignment == 128 for case in own)
        assert {(case.K, case.experts, case.top_k, case.tokens, case.capacity_tokens)
                for case in own if case.kind == "routed"} == {
            (*model, tokens, capacity)
            for model in ((768, 128, 8), (2048, 256, 6), (3072, 384, 6))
            for tokens, capacity in (*((n, 0) for n in (1, 8, 32, 64, 256, 512, 4096)), (64, 8192))}
        assert {(case.M, case.K) for case in own if case.kind == "dense"} == {
            (M, 1856) for M in (16, 128, 1024, 8192, 65536)}
    assert max(2 * case.M * case.x_columns for case in found) < 5 << 28


def test_routing_is_that_of_the_tests_batches() -> None:
    for case in [*ALL, *(case for case in cases.swiglu_cases() if case.tokens < 4096)]:
        if case.kind == "dense":
            continue
        assert batches.max_rows(case.capacity_tokens or case.tokens, case.experts,
                                          case.top_k, case.alignment) == case.M
    few = [case for case in ALL if case.tokens in (1, 64)]
    for case in [*few[:8], *(case for case in few if case.experts != 128)]:
        routing = case.routing()
        assert routing.permutation_map.shape == (case.M,)
        live = np.count_nonzero(routing.permutation_map[: routing.n_used] >= 0)
        assert live == routing.live == cases.live_rows(case) == case.top_k * case.tokens
        whole = batches.routed_batch(case.tokens, case.experts, case.top_k, case.alignment,
                                     case.capacity_tokens or None, ffn=32)
        assert np.array_equal(routing.permutation_map, whole.permutation_map)
        assert routing.n_used == whole.n_used


def test_bytes() -> None:
    assert cases.bytes_moved(cases.Case("activation", "dense", 64, 10)) == 10 * 64 * 4
    assert cases.bytes_moved(cases.Case("quantize", "dense", 64, 10)) == 10 * (64 * 3 + 2)
    routed = cases.routed_case("activation", "routed", 8, 1856)
    assert cases.bytes_moved(routed) == 48 * 1856 * 4
    assert cases.bytes_moved(cases.Case("swiglu", "dense", 64, 10)) == 10 * (128 + 64) * 2
    assert cases.bytes_moved(cases.Case("swiglu_quantize", "dense", 64, 10)) == 10 * (
        128 * 2 + 64 + 2)
