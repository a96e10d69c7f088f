# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The list of cases, and what it says of each."""

from __future__ import annotations

import itertools

import cases
import numpy as np
import pytest

import batches

ALL = cases.all_cases()


def test_dense_cases() -> None:
    shapes = {(M, K) for M, K in itertools.product((128, 1024, 8192, 65536),
                                                   (1856, 2688, 7168, 14336))
              if 2 * M * K <= 1 << 30}
    assert (65536, 7168) in shapes and (65536, 14336) not in shapes
    for op in ("activation", "quantize"):
        found = [(case.M, case.K) for case in ALL if (case.op, case.kind) == (op, "dense")]
        assert len(found) == len(set(found)) and set(found) == shapes


@pytest.mark.parametrize(("op", "alignment"),
                         [("activation", 128), ("quantize", 128), ("activation", 16)])
def test_routed_cases(op: str, alignment: int) -> None:
    expected = set(itertools.product((1, 8, 64, 512, 4096), (1856, 2688), (0, 8192)))
    found = [case for case in ALL
             if (case.op, case.kind, case.alignment) == (op, "routed", alignment)]
    assert {(case.tokens, case.K, case.capacity_tokens) for case in found} == expected
    assert len(found) == len(expected)
    assert {(case.experts, case.top_k) for case in found} == {(128, 6)}


def test_capacity_cases() -> None:
    for op in ("activation", "quantize"):
        found = [case for case in ALL if (case.op, case.kind) == (op, "capacity")]
        assert [case.capacity_tokens for case in found] == [64 << n for n in range(11)]
        assert {(case.tokens, case.K) for case in found} == {(64, 1856)}


def test_names_are_unique_and_nothing_else_is_listed() -> None:
    assert len({case.name for case in ALL}) == len(ALL) == 2 * 15 + 3 * 20 + 2 * 11
    assert set(cases.quick_cases()) - set(ALL) == set()


def test_routing_is_that_of_the_tests_batches() -> None:
    for case in ALL:
        if case.kind == "dense":
            continue
        assert case.M == batches.max_rows(case.capacity_tokens or case.tokens, 128, 6,
                                          case.alignment)
    for case in [case for case in ALL if case.tokens in (1, 64)][:8]:
        routing = case.routing()
        assert routing.permutation_map.shape == (case.M,)
        live = np.count_nonzero(routing.permutation_map[: routing.n_used] >= 0)
        assert live == routing.live == cases.live_rows(case) == 6 * case.tokens
        whole = batches.routed_batch(case.tokens, alignment=case.alignment, ffn=32,
                                     capacity_tokens=case.capacity_tokens or None)
        assert np.array_equal(routing.permutation_map, whole.permutation_map)
        assert routing.n_used == whole.n_used


def test_bytes() -> None:
    assert cases.bytes_moved(cases.Case("activation", "dense", 64, 10)) == 10 * 64 * 4
    assert cases.bytes_moved(cases.Case("quantize", "dense", 64, 10)) == 10 * (64 * 3 + 2)
    routed = cases.routed_case("activation", "routed", 8, 1856)
    assert cases.bytes_moved(routed) == 48 * 1856 * 4
