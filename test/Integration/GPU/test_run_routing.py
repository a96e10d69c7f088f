# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run_routing.py on the CPU, and whether it sees what is wrong."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not hasattr(torch, "float8_e8m0fnu"):
    pytest.skip("this PyTorch has no float8_e8m0fnu", allow_module_level=True)

import many_cases  # noqa: E402
import routing_cases  # noqa: E402
import run_routing  # noqa: E402

SEED = 20261


def results_of(case: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """What a call gives that is right: what the oracle does."""
    storage = next(iter(tensors.values())).untyped_storage()
    memory = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    if case.form != "new":
        views = case.layout.views(memory)
        for name, array in case.results_of(views).items():
            views[name][...] = array
        return {}
    return {name: torch.from_numpy(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            .view(many_cases.DTYPES[array.dtype]).reshape(array.shape)
            for name, array in case.new_results(memory, 0x77).items()}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_routing, "CALLS", dict.fromkeys(run_routing.CALLS, results_of))
    monkeypatch.setattr(run_routing, "call_c_api", results_of)


def find(op: str, form: str) -> int:
    """The number of a case that writes something."""
    for number in range(3000):
        case = routing_cases.make_case(SEED, number, 60)
        if (case.op, case.form) != (op, form):
            continue
        before = case.inputs()
        if form == "new":
            wanted, other = (case.new_results(before, fill) for fill in (0x00, 0xFF))
            if all((array.view(np.uint8) == other[name].view(np.uint8)).any()
                   for name, array in wanted.items()):
                return number
        elif not np.array_equal(before, case.after(before)):
            return number
    raise AssertionError("found no such case")


def test_cases_are_of_every_kind() -> None:
    cases = [routing_cases.make_case(SEED, number, 60) for number in range(200)]
    assert {case.op for case in cases} == set(routing_cases.OPS)
    assert {case.form for case in cases} == set(routing_cases.FORMS)
    routes = [case for case in cases if case.op == "route_tokens"]
    maps = [case.layout.regions["routing_map"] for case in routes]
    assert {region.dtype for region in maps} == {np.dtype(np.int32), np.dtype(np.int64)}
    assert {region.strides[0] == region.shape[1] for region in maps} == {True, False}
    assert {0} < {region.shape[0] for region in maps}
    assert {"probs" in case.layout.regions for case in routes} == {True, False}
    assert len({case.arguments["alignment"] for case in routes}) > 4
    first, second = (routing_cases.make_case(SEED, 5) for _ in range(2))
    assert str(first) == str(second) and np.array_equal(first.inputs(), second.inputs())


def test_calls_on_the_cpu() -> None:
    outcome = run_routing.run_cases(SEED, "cpu", range(60), 60)
    assert not outcome.failures and len(outcome.launched) == 4
    outcome = run_routing.run_steps(SEED, "cpu", 3)
    assert not outcome.failures and outcome.launched.total() == 9


@pytest.mark.usefixtures("stand_in")
def test_what_is_right() -> None:
    outcome = run_routing.run_cases(SEED, "cpu", range(40), 60)
    assert not outcome.failures and outcome.launched.total() == 40
    outcome = run_routing.run_steps(SEED, "cpu", 3)
    assert not outcome.failures and outcome.launched == {"a layer's step": 9}


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("form", routing_cases.FORMS)
@pytest.mark.parametrize("op", routing_cases.OPS)
def test_a_wrong_bit_is_seen(monkeypatch: pytest.MonkeyPatch, op: str, form: str) -> None:
    number = find(op, form)

    def wrong(case: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        before = case.inputs_before  # Those of the call.
        results = results_of(case, tensors)
        if form != "new":
            memory = torch.empty(0, dtype=torch.uint8).set_(
                next(iter(tensors.values())).untyped_storage())
            changed = np.flatnonzero(memory.numpy() != before)
            memory[int(changed[-1])] ^= 1
            return {}
        name = list(results)[-1]
        wanted, other = (case.new_results(before, fill)[name] for fill in (0x00, 0xFF))
        defined = np.flatnonzero(wanted.reshape(-1).view(np.uint8)
                                 == other.reshape(-1).view(np.uint8))
        results[name].reshape(-1).view(torch.uint8)[int(defined[-1])] ^= 1
        return results

    right = routing_cases.Case.inputs

    def inputs(case: Any) -> np.ndarray:
        memory = right(case)
        object.__setattr__(case, "inputs_before", memory.copy())
        return memory

    monkeypatch.setattr(routing_cases.Case, "inputs", inputs)
    assert not run_routing.run_cases(SEED, "cpu", [number], 60).failures
    monkeypatch.setattr(run_routing, "CALLS", dict.fromkeys(run_routing.CALLS, wrong))
    monkeypatch.setattr(run_routing, "call_c_api", wrong)
    [failure] = run_routing.run_cases(SEED, "cpu", [number], 60).failures
    assert re.match("FAILED AssertionError: 1 bytes differ", failure)
    assert f"; run_routing.py --device cpu --seed {SEED} --case {number}: {op}, {form}" in failure


def test_a_wrong_step_is_seen(monkeypatch: pytest.MonkeyPatch,
                              capsys: pytest.CaptureFixture[str]) -> None:
    """In the third of four."""
    calls: list[Any] = []

    def wrong(case: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        calls.append(case)
        results = results_of(case, tensors)
        if calls.count(case) == 3:
            tensors["sums"].view(torch.int32)[0, 0] ^= 1
        return results

    monkeypatch.setattr(run_routing, "CALLS", dict.fromkeys(run_routing.CALLS, wrong))
    outcome = run_routing.run_steps(SEED, "cpu", 4)
    assert len(outcome.failures) == len(routing_cases.STEPS) and not outcome.launched
    assert len(calls) == 3 * len(routing_cases.STEPS)
    assert all("1 bytes differ: sums[0, 0]" in failure for failure in outcome.failures)
    assert capsys.readouterr().out.splitlines() == outcome.failures
