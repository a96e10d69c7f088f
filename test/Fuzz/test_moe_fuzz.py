# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The fuzzer sees what it is there for, says the same twice, and makes what fails smaller."""

from __future__ import annotations

import numpy as np
import pytest
from moe_fuzz import moe_ops
from moe_fuzz.generator import generate
from moe_fuzz.program import expected
from moe_fuzz.properties import Case, Stage, check_execution, check_outcome, make_case
from moe_fuzz.reducer import minimize, reduce_case
from moe_fuzz.runner import BIN_DIR, Outcome, run_tool

pytestmark = pytest.mark.skipif(
    not (BIN_DIR / "moe-run").is_file(), reason="needs moe-opt and moe-run"
)
CPU = Stage(
    "cpu", ("--moe-lower-to-cpu", "--mlir-print-op-generic"), "cpu", frozenset(["builtin", "llvm"])
)


def test_same_seed_same_modules() -> None:
    for index in range(20):
        first, again = (make_case(5, index, frozenset()) for _ in range(2))
        assert first.text == again.text
        if first.module:
            for one, other in zip(first.module.arrays, again.module.arrays):
                assert one.tobytes() == other.tobytes()
    assert make_case(5, 0, frozenset()).text != make_case(6, 0, frozenset()).text


def test_what_is_avoided_is_not_there() -> None:
    avoid = frozenset(["affine", "tensors", "call", "recursion"])
    texts = "".join(generate(3, index, avoid).text() for index in range(30))
    assert "affine." not in texts and "tensor<" not in texts and "func.call" not in texts
    assert "moe." in texts and "scf." in texts


def test_errors_belong_to_their_modules() -> None:
    good, bad = (
        "func.func @f() {\n  return\n}\n",
        "func.func @g() {\n  call @f() : () -> ()\n  return\n}\n",
    )
    outcomes = run_tool("moe-opt", [], [good, bad, good, "not mlir\n", good])
    assert [o.kind for o in outcomes] == ["ok", "refused", "ok", "refused", "ok"]
    assert "'f' does not reference a valid function" in outcomes[1].text
    assert "custom op 'not' is unknown" in outcomes[3].text


@pytest.mark.parametrize(
    "outcome, may_be_refused, kind",
    [
        (Outcome("crash", "exit code -11"), True, "crash"),
        (Outcome("hang"), True, "hang"),
        (Outcome("refused", "expected something"), False, "refused"),
        (Outcome("refused", "expected something"), True, None),
        (Outcome("refused", ""), True, "refused without a located error"),
        (
            Outcome(
                "ok",
                '"llvm.func"() ({\n  %0 = "arith.extf"(%1) : (f8E4M3FN) -> f32\n}) : () -> ()\n',
            ),
            True,
            "accepted but not lowered",
        ),
        (
            Outcome("ok", '"builtin.module"() ({\n  "gpu.launch"(%1) ({\n})\n})\n'),
            True,
            "accepted but not lowered",
        ),
        (Outcome("ok", '"builtin.module"() ({\n  "llvm.return"() : () -> ()\n})\n'), False, None),
    ],
)
def test_outcomes(outcome: Outcome, may_be_refused: bool, kind: str | None) -> None:
    failure = check_outcome(CPU, outcome, may_be_refused)
    assert (failure and failure.kind) == kind


def test_minimize_finds_what_is_needed() -> None:
    left = set(range(100))

    def attempt(dropped: list[int]) -> bool:
        if set(dropped) & {3, 50, 99}:
            return False
        left.difference_update(dropped)
        return True

    minimize(100, attempt)
    assert left == {3, 50, 99}


def test_what_depends_on_an_op_goes_with_it() -> None:
    for index in range(30):
        module = generate(2, index)
        ops = module.ops()
        for number in range(0, len(ops), 7):
            module.switch_off({number})
        # What is left runs.
        expected(module)


def test_wrong_bytes_are_seen_and_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """An oracle that is wrong about one op stands for a compiler that is."""
    right = moe_ops.compute

    def wrong(op, modes, x, permutation_map, n_used, *outs):
        results = right(op, modes, x, permutation_map, n_used, *outs)
        if op == moe_ops.RELU and results[0].size:
            results[0].view(np.uint16)[0, 0] ^= 1
        return results

    monkeypatch.setattr(moe_ops, "compute", wrong)
    simple = frozenset(["affine", "call", "cf_loop", "cf_if", "recursion", "returned-memrefs"])
    for index in range(60):
        module = generate(1, index, simple)
        case = Case("planted", module.text(), module)
        failure = check_execution(module, case.text, "execution")
        if failure:
            break
    assert failure.kind == "wrong bytes"
    reduced, last = reduce_case(case, failure, [])
    assert last.kind == "wrong bytes"
    assert len(reduced) <= len(case.text) and "moe.padded_squared_relu" in reduced
    assert run_tool("moe-opt", [], [reduced])[0].kind == "ok"
