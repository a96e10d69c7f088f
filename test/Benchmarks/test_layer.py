# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The cases and the gates of layer.py, on invented results."""

from __future__ import annotations

from typing import Any

import layer
import pytest
import results
from moe_testing import permutation_batches

PLANNED = [case.describe() for case in layer.all_cases()]


def make_results() -> list[dict[str, Any]]:
    """Of a run in which every gate passes."""
    peers = {"layer": {"moe": 100.0, "moe-programmatic": 98.0, "reference": 112.0}}
    permutation = {"moe": 8.5, "moe-programmatic": 8.0, "moe-hint": 7.0, "reference": 15.0,
                   "copy-permute": 91.0, "moe-permute": 105.0, "moe-permute-hint": 100.0,
                   "copy-unpermute": 95.0, "moe-unpermute": 100.0, "moe-unpermute-hint": 120.0}
    return [{**case, "peers": {name: {"us": us} for name, us in peers.get(
        case["op"], permutation).items()}} for case in PLANNED]


def judge(found: list[dict[str, Any]]) -> dict[str, results.Verdict]:
    return {verdict.name: verdict
            for verdict in results.judge(found, PLANNED, gates=layer.gates())}


def test_cases() -> None:
    assert len({case.name for case in layer.all_cases()}) == 3 * 6 * len(layer.KINDS)
    for case in layer.all_cases():
        # Enough, however tokens are routed, and what the reference has.
        assert case.rows >= permutation_batches.rows_needed(case.tokens, case.top_k, case.local,
                                                            case.alignment)
        assert case.rows % case.alignment == 0


def test_every_gate_passes_on_good_results() -> None:
    verdicts = judge(make_results())
    assert {verdict.status for verdict in verdicts.values()} == {"PASS"}
    assert {name: (verdict.cases, verdict.planned) for name, verdict in verdicts.items()} == {
        "the bytes of the oracle and of Triton, cases that differ or failed": (54, 54),
        "three launches in times of the reference's seven, up to 256 tokens": (12, 12),
        "three launches at 8 tokens, us": (3, 3), "three launches at 64 tokens, us": (3, 3),
        "part of the copy's bandwidth, permute, 4096 tokens, all experts": (1, 1),
        "part of the copy's bandwidth, unpermute, 4096 tokens, all experts": (1, 1),
        "the layer's speed in times of the reference's, 8 tokens": (3, 3),
        "the layer's speed in times of the reference's, 64 tokens": (3, 3)}


@pytest.mark.parametrize(("kind", "tokens", "times", "gate"), [
    ("permutation", 256, {"reference": 12.0}, "the reference's seven"),
    ("permutation", 8, {"moe": 9.1, "moe-programmatic": 9.1, "moe-hint": 9.1, "reference": 17.0},
     "at 8 tokens, us"),
    ("permutation", 64, {"moe": 12, "moe-programmatic": 12, "moe-hint": 11.1, "reference": 25},
     "at 64 tokens, us"),
    ("permutation", 4096, {"copy-permute": 89.0}, "bandwidth, permute"),
    ("permutation", 4096, {"moe-unpermute": 106.0}, "bandwidth, unpermute"),
    ("layer", 8, {"reference": 107.0}, "the layer's speed in times of the reference's, 8"),
    ("layer", 64, {"moe": 106.0, "moe-programmatic": 106.0}, "reference's, 64"),
])
def test_a_slow_case_misses_its_gate(kind: str, tokens: int, times: dict[str, float],
                                     gate: str) -> None:
    found = make_results()
    result = next(r for r in found if r["op"] == kind and r["tokens"] == tokens)
    for name, us in times.items():
        result["peers"][name]["us"] = us
    missed = [name for name, verdict in judge(found).items() if verdict.status == "MISS"]
    assert len(missed) == 1 and gate in missed[0]
    assert {verdict.status for verdict in judge([]).values()} == {"NOT RUN"}
