# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Statistics and gates, on invented results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import pytest
import results
from synthetic import find, make_results

PLANNED = [case.describe() for case in cases.all_cases()]


def judge(found: list[dict[str, Any]], **settings: Any) -> dict[str, results.Verdict]:
    return {verdict.name: verdict for verdict in results.judge(found, PLANNED, **settings)}


def test_percentiles() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert results.percentile(values, 0.5) == statistics.median(values) == 3
    assert results.percentile(values, 0.1) == pytest.approx(1.4)
    assert results.percentile([7.0], 0.9) == 7
    assert results.percentile([1.0, 2.0], 0.5) == 1.5
    assert results.summarize(values) == {"us": 3.0, "p10": 1.4, "p90": 4.6}
    assert results.geometric_mean([1.0, 4.0]) == pytest.approx(2)


def test_numbers_of_a_result() -> None:
    result = find(make_results(), "activation dense 65536x1856")
    assert results.ratio(result, "triton", "moe") == pytest.approx(1.5)
    assert results.ratio(result, "absent", "moe") is None
    result["peers"]["moe"]["us"] = 170.0
    assert results.bandwidth(result, "moe") == pytest.approx(2862, abs=1)


def test_every_gate_passes_on_good_results() -> None:
    verdicts = judge(make_results())
    assert {verdict.status for verdict in verdicts.values()} == {"PASS"}
    assert all(verdict.cases == verdict.planned > 0 for verdict in verdicts.values())
    assert len(verdicts) == 15


def slow(name: str, peer: str, factor: float) -> Callable[[list[dict[str, Any]]], None]:
    def change(found: list[dict[str, Any]]) -> None:
        find(found, name)["peers"][peer]["us"] *= factor

    return change


def slow_all(peer: str, factor: float) -> Callable[[list[dict[str, Any]]], None]:
    def change(found: list[dict[str, Any]]) -> None:
        for result in found:
            result["peers"][peer]["us"] *= factor

    return change


@pytest.mark.parametrize(("change", "gate", "worst"), [
    (slow("activation capacity 64 K 1856 capacity 65536", "triton", 0.3), "Triton, every case",
     "activation capacity 64 K 1856 capacity 65536"),
    (slow("quantize dense 1024x2688", "triton", 0.6), "Triton, every case",
     "quantize dense 1024x2688"),
    (slow("activation dense 65536x1856", "triton", 1e-30), "activation, geometric mean of dense",
     "activation dense 65536x1856"),
    (slow("quantize routed 4096 K 5120 experts 512 top 22", "triton", 1e-30),
     "quantize, geometric mean of dense", "quantize routed 4096 K 5120 experts 512 top 22"),
    (slow("activation routed 1 K 1856", "triton", 1e-30), "activation, up to 512",
     "activation routed 1 K 1856"),
    (slow("quantize routed 512 K 2688 capacity 8192", "triton", 1e-30), "quantize, up to 512",
     "quantize routed 512 K 2688 capacity 8192"),
    (slow("activation capacity 64 K 1856 capacity 357", "moe", 0.8), "next larger capacity",
     "activation capacity 64 K 1856 capacity 256"),
    (slow("quantize capacity 64 K 5120 capacity 65536", "moe", 0.8), "next larger capacity",
     "quantize capacity 64 K 5120 capacity 45811"),
    (slow("quantize dense 16x7168", "moe", 1.03), "old library's, every case",
     "quantize dense 16x7168"),
    (slow("activation routed 64 K 1856 capacity 8192", "moe-old", 0.8),
     "old library's, activation routed 64 K 1856 capacity 8192", None),
    (slow("activation routed 64 K 2688 experts 512 top 22 capacity 8192", "moe-old", 0.6),
     "old library's, activation routed 64 K 2688", None),
    (slow("activation dense 65536x1856", "copy", 0.9), "activation, dense, live",
     "activation dense 65536x1856"),
    (slow("activation routed 4096 K 2688", "copy", 0.9), "activation, routed, live",
     "activation routed 4096 K 2688"),
    (slow("quantize dense 8192x7168", "copy", 0.9), "quantize, dense, live",
     "quantize dense 8192x7168"),
    (slow("quantize routed 64 K 1856", "moe-untouched", 1.05), "dead_scales untouched",
     "quantize routed 64 K 1856"),
])
def test_a_slow_case_misses_its_gate(change: Any, gate: str, worst: str | None) -> None:
    found = make_results()
    change(found)
    verdicts = judge(found)
    chosen = [verdict for name, verdict in verdicts.items() if gate in name]
    assert len(chosen) == 1 and chosen[0].status == "MISS"
    others = {verdict.status for verdict in verdicts.values() if verdict is not chosen[0]}
    if "geometric mean" not in gate and "up to 512" not in gate:
        assert others == {"PASS"}
    if worst is not None:
        assert chosen[0].worst_case == worst and worst in chosen[0].line()


def test_small_inputs_need_not_reach_the_copy() -> None:
    found = make_results()
    slow("activation dense 1024x1856", "copy", 0.7)(found)
    assert {verdict.status for verdict in judge(found).values()} == {"PASS"}


def test_failures_and_missing_cases() -> None:
    found = make_results()
    failed = [{"name": found[3]["name"], "error": "bytes differ"}]
    del found[3]
    verdicts = judge(found, failed=failed)
    wrong = next(iter(verdicts.values()))
    assert wrong.status == "MISS" and failed[0]["name"] in wrong.line()
    every = next(verdict for name, verdict in verdicts.items() if "every case" in name)
    assert (every.cases, every.planned) == (len(PLANNED) - 1, len(PLANNED))

    assert {verdict.status for verdict in judge([]).values()} == {"NOT RUN"}
    dense = [result for result in found if result["kind"] == "dense"]
    statuses = {name: verdict.status for name, verdict in judge(dense).items()}
    assert sorted(set(statuses.values())) == ["NOT RUN", "PASS"]
    for verdict in judge([]).values():
        assert verdict.line().startswith("NOT RUN")


def test_a_peer_that_failed_is_left_out() -> None:
    found = make_results()
    result = find(found, "activation dense 128x1856")
    result["peers"]["compile"] = {"error": "no compiler"}
    del result["peers"]["copy"]
    line = results.table_line(result)
    assert "compile FAILED" in line and line.startswith("activation dense 128x1856 ")
    assert results.table_header().split()[:3] == ["case", "live", "moe"]


def test_save(tmp_path: Path) -> None:
    file = tmp_path / "new" / "results.json"
    for content in ({"a": 1}, {"a": 2}):
        results.save(file, content)
        assert json.loads(file.read_text()) == content
    assert [path.name for path in file.parent.iterdir()] == ["results.json"]


def swiglu_results(times: dict[str, float]) -> list[dict[str, Any]]:
    """All cases of SwiGLU, a peer's times in times of what moe takes."""
    found = []
    for case in cases.swiglu_cases():
        us = 2.0 + cases.bytes_moved(case) / 2.9e6
        peers = {name: {"us": us * factor} for name, factor in {"moe": 1.0, **times}.items()}
        found.append({**case.describe(), "peers": peers})
    return found


def test_gates_of_swiglu() -> None:
    """They are there with results, or plans, of SwiGLU, and leave the other gates as they are."""
    good = {"triton": 1.9, "copy": 0.96}
    names = {"times Triton, SwiGLU, every case": {"triton": 0.99, "copy": 0.96},
             "times Triton, swiglu, up to 512 routed tokens, geometric mean": {
                 "triton": 1.79, "copy": 0.96},
             "part of the copy's bandwidth, swiglu, live input from 100 MB": {
                 "triton": 1.9, "copy": 0.949},
             "part of the copy's bandwidth, swiglu_quantize, live input from 100 MB": {
                 "triton": 1.9, "copy": 0.929}}
    verdicts = judge([*make_results(), *swiglu_results(good)])
    assert len(verdicts) == 20 and {verdict.status for verdict in verdicts.values()} == {"PASS"}
    # Of a dense input of 65536 x 3712, and of the tokens that 4096 is times 8 and 6.
    assert verdicts["part of the copy's bandwidth, swiglu, live input from 100 MB"].cases == 4
    assert verdicts["times Triton, every case"].cases == len(PLANNED)
    for name, times in names.items():
        assert judge(swiglu_results(times))[name].status == "MISS", name
    planned = [case.describe() for case in cases.planned_cases(["swiglu"])]
    assert {verdict.status for verdict in results.judge([], planned)} == {"NOT RUN"}
    assert len(results.judge([], planned)) == 20
    assert cases.planned_cases(["activation"]) == cases.all_cases()
