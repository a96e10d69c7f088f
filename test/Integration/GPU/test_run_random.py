# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""run_random.py on the CPU, and whether it sees what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not hasattr(torch, "float8_e8m0fnu"):
    pytest.skip("this PyTorch has no float8_e8m0fnu", allow_module_level=True)

import many_cases  # noqa: E402
import moe_mlir  # noqa: E402
import random_cases  # noqa: E402
import run_random  # noqa: E402
from memory_image import Layout  # noqa: E402
from moe_testing import oracle  # noqa: E402

SEED, NUMBER = 20260, 17


def test_calls_on_the_cpu() -> None:
    outcome = run_random.run_cases(SEED, "cpu", range(60), most_elements=20_000)
    assert not outcome.failures
    assert len(outcome.launched) == 5 and outcome.launched.total() >= 55
    assert outcome.launched.total() + outcome.refused == 60 and outcome.refused


def test_cases_are_of_every_kind() -> None:
    """Without making the calls."""
    cases = [random_cases.make_case(SEED, number) for number in range(400)]
    assert {case.form for case in cases} == set(random_cases.FORMS)
    assert len({case.kernel for case in cases}) == len(random_cases.KERNELS)
    assert {0, random_cases.MOST_ROWS} <= {case.M for case in cases}
    assert min(case.N for case in cases) == 1 and max(case.N for case in cases) > 7000
    assert sum(case.N % 2 for case in cases) > 40
    regions = [case.layout.regions for case in cases]
    assert {region["x"].offset % 32 == 0 for region in regions} == {True, False}
    assert {region["x"].strides[0] == region["x"].shape[1] for region in regions} == {True, False}
    assert {case.expected_rows is None for case in cases} == {True, False}
    used = [(n_used, case.M) for case in cases for n_used in case.n_used]
    assert {(n > M) - (n < 0) for n, M in used} == {-1, 0, 1}
    assert len(cases[0].layout.regions) >= 3 and str(cases[0])


def test_the_same_case_again() -> None:
    first, second = (random_cases.make_case(SEED, 5) for _ in range(2))
    assert str(first) == str(second)
    before = first.inputs(first.n_used[0])
    assert np.array_equal(before, second.inputs(second.n_used[0]))


@pytest.mark.parametrize("kind", random_cases.KINDS, ids=lambda kind: kind.__name__)
def test_values(kind: Callable[..., np.ndarray]) -> None:
    patterns = kind(np.random.default_rng(0), (5, 70), 7.0)
    assert patterns.shape == (5, 70) and patterns.dtype == np.uint16
    assert len(np.unique(patterns >> 15)) == (1 if kind.__name__ == "_root_of_tiny" else 2)


def small_case(form: str = "out") -> random_cases.Case:
    """Five rows of seven columns with space between them, of which the first is live and the second
    is not.
    """
    [kernel] = [kernel for kernel in random_cases.KERNELS
                if kernel.id == "padded_squared_relu probs"]
    layout = Layout()
    layout.place("x", (5, 7), oracle.bfloat16, padding=3)
    layout.place("permutation_map", (5,), np.int32)
    layout.place("n_used", (), np.int32)
    layout.place("probs", (5,), np.float32)
    if form != "new":
        layout.place("out", (5, 7), oracle.bfloat16, padding=2, misalignment=1)
    for seed in range(1000):
        case = random_cases.Case(kernel, 5, 7, form, layout, np.random.default_rng(seed), (5,))
        views = layout.views(case.inputs(5))
        if (views["permutation_map"][:2] >= 0).tolist() == [True, False]:
            return replace(case, rng=np.random.default_rng(seed))
    raise AssertionError("found no such seed")


@pytest.fixture
def form() -> str:
    return "out"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, form: str) -> Callable[[], list[str]]:
    """What fails of the small case, which is right as it is."""
    monkeypatch.setattr(run_random, "make_case", lambda *arguments, **named: small_case(form))

    def run() -> list[str]:
        failures: list[str] = run_random.run_cases(SEED, "cpu", [NUMBER]).failures
        for failure in failures:
            assert f"; run_random.py --device cpu --seed {SEED} --case {NUMBER}: " in failure
            assert failure.startswith("FAILED ") and "\n" not in failure
        return failures

    assert not run()
    return run


def damage_after_calls(monkeypatch: pytest.MonkeyPatch, at: Callable[[dict[str, Any]], int]) -> None:
    """From here on one bit is wrong after each call."""
    right = run_random.make_call

    def make_call(case: Any, tensors: dict[str, Any]) -> Callable[[], Any]:
        call = right(case, tensors)
        memory = torch.empty(0, dtype=torch.uint8).set_(tensors["x"].untyped_storage())

        def broken() -> Any:
            result = call()
            memory[at(case.layout.regions)] ^= 1
            return result

        return broken

    monkeypatch.setattr(run_random, "make_call", make_call)


@pytest.mark.parametrize("at, message", [
    (lambda r: r["out"].offset, r"1 bytes differ: out\[0, 0\] \("),
    (lambda r: r["out"].offset + 2 * r["out"].strides[0] + 3, r"1 bytes differ: out\[1, 1\] \("),
    (lambda r: r["out"].offset + 2 * 7, r"the space behind out\[0, 7\]"),
    (lambda r: r["out"].offset - 1, "the space after probs"),
    (lambda r: r["out"].offset + r["out"].nbytes, r"the space after out \(byte"),
    (lambda r: r["x"].offset + 2, r"1 bytes differ: x\[0, 1\] \("),
    (lambda r: r["n_used"].offset, r"1 bytes differ: n_used\[\] \("),
    (lambda r: 0, r"1 bytes differ: the space after the start \(byte 0\): expected 0x.., found 0x"),
], ids=["live row", "dead row", "between rows", "before", "after", "x", "n_used", "start"])
def test_a_wrong_byte_is_seen(monkeypatch: pytest.MonkeyPatch, run: Callable[[], list[str]],
                              at: Callable[[dict[str, Any]], int], message: str) -> None:
    damage_after_calls(monkeypatch, at)
    [failure] = run()
    assert re.search(message, failure), failure


@pytest.mark.parametrize("form", random_cases.FORMS)
def test_a_wrong_oracle_is_seen(monkeypatch: pytest.MonkeyPatch,
                                run: Callable[[], list[str]]) -> None:
    """In whatever way the call is made."""
    right = oracle.map_rows

    def wrong(*arguments: Any, **named: Any) -> list[np.ndarray]:
        outs = right(*arguments, **named)
        oracle.bits(outs[0])[0, -1] ^= 1
        return outs

    monkeypatch.setattr(oracle, "map_rows", wrong)
    [failure] = run()
    assert "FAILED AssertionError: 1 bytes differ" in failure


@pytest.mark.parametrize("status, written, message", [
    ("UNSUPPORTED", None, "refused, though its kernel ships"),
    ("UNSUPPORTED", 1, r"1 bytes differ: out\[1, 0\]"),
    ("DRIVER_ERROR", None, "status DRIVER_ERROR: no; run_random.py"),
])
def test_refusals(monkeypatch: pytest.MonkeyPatch, run: Callable[[], list[str]], status: str,
                  written: int | None, message: str) -> None:
    """What ships must not be refused; what is refused must not write; other errors are failures."""
    def refused(*arguments: Any, out: torch.Tensor, **named: Any) -> None:
        if written is not None:
            out.view(torch.int16)[written, 0] ^= 1
        raise moe_mlir.MoeRuntimeError(status, "no")

    monkeypatch.setattr(moe_mlir, "padded_squared_relu", refused)
    [failure] = run()
    assert re.search(message, failure), failure


def test_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["run_random.py", "--device", "cpu", "--case", "1"])
    with pytest.raises(SystemExit) as ended:
        run_random.main()
    assert not ended.value.code
    assert " equal the oracle, 0 were refused, 0 failed; seed 0" in capsys.readouterr().out
    monkeypatch.setattr(run_random, "run_case", lambda *arguments: 1 // 0)
    with pytest.raises(SystemExit) as ended:
        run_random.main()
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith("FAILED ZeroDivisionError: ")


def test_many(capsys: pytest.CaptureFixture[str]) -> None:
    run = partial(run_random.run_cases, SEED, "cpu", most_elements=20_000)
    with ThreadPoolExecutor(1) as pool:
        outcome = many_cases.run_many(run, 10, pool, 1, 200)
        assert outcome.launched.total() >= 10 and not outcome.failures
        outcome = many_cases.run_many(run, 10, pool, 1, -1)
        assert outcome.failures == ["FAILED: 0 of 10 calls in -1 seconds"]
