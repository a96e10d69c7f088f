# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""expected_rows and programmatic_launch on tensors: the same bytes or the same error in whatever
runs the ops.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

if __name__ == "__main__":
    # Before PyTorch is there, so before anything is bound for tensors.
    from moe_mlir import _op_table, _runtime
    from moe_testing.run_spy import RunSpy

    SPY = RunSpy()
    _runtime.run_op = SPY.address
    _runtime.calls.update({op.name: _runtime.make_call(op) for op in _op_table.OPS})

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if not hasattr(torch, "float8_e8m0fnu"):
    pytest.skip("this PyTorch has no float8_e8m0fnu", allow_module_level=True)

import moe_mlir  # noqa: E402
from moe_mlir import _runtime  # noqa: E402
from moe_mlir._op_table import OPS, Op  # noqa: E402
from moe_testing.run_spy import RunSpy  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch_calls import Call, M, operands  # noqa: E402

DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"), pytest.mark.cuda])]
NEGATIVE = "expected_rows: expected a number of rows that is not negative, found -1"
by_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
by_form = pytest.mark.parametrize("form", ["function", "ops", "compiled", "compiled ops"])


def run(op: Op, form: str, hints: dict[str, Any], outs: Any, inputs: Any = None) -> None:
    """Fills `outs`."""
    names = [output.name for output in op.format.outputs]

    def call(hints: Any, outs: Any, *inputs: Any) -> None:
        if form.endswith("ops"):
            getattr(torch.ops.moe_mlir, op.name + "_out")(
                *inputs, **hints, **dict(zip(names, outs)))
        else:
            getattr(moe_mlir, op.name)(*inputs, **hints,
                                       out=outs if op.format.has_scales else outs[0])

    if form.startswith("compiled"):
        torch._dynamo.reset()
        call = torch.compile(call, backend="aot_eager", fullgraph=True)
    call(hints, outs, *(operands() if inputs is None else inputs))


@pytest.mark.parametrize("device", DEVICES)
@by_op
@by_form
def test_they_change_no_byte(op: Op, form: str, device: str) -> None:
    is_programmatic = device == "cpu" or torch.cuda.get_device_capability() >= (9, 0)
    for hints in (*({"expected_rows": rows} for rows in (None, 0, M, 2**40)),
                  {"programmatic_launch": is_programmatic}):
        outs = tuple(out.to(device) for out in Call(op.name).outs())
        run(op, form, hints, outs, [t.to(device) for t in operands()])
        Call(op.name).assert_written([out.cpu() for out in outs])


@by_op
def test_new_tensors(op: Op) -> None:
    for hints in ({"expected_rows": None}, {"expected_rows": 0}, {"expected_rows": 10**30},
                  {"programmatic_launch": True}):
        result = getattr(moe_mlir, op.name)(*operands(), **hints)
        Call(op.name).assert_returned(tuple(result) if op.format.has_scales else (result,))
    result = getattr(torch.ops.moe_mlir, op.name)(*operands(), expected_rows=5,
                                                  programmatic_launch=True)
    Call(op.name).assert_returned(tuple(result) if op.format.has_scales else (result,))


@by_op
@by_form
def test_expected_rows_is_not_negative(op: Op, form: str) -> None:
    # torch.compile wraps what is raised in an exception of its own.
    with pytest.raises(Exception if form.startswith("compiled") else ValueError, match=NEGATIVE):
        run(op, form, {"expected_rows": -1}, Call(op.name).outs())


@by_op
@pytest.mark.parametrize("value", [2.5, True, torch.tensor(4)], ids=repr)
@pytest.mark.parametrize("is_plain", [True, False])
def test_expected_rows_is_an_int(op: Op, value: Any, is_plain: bool) -> None:
    x, *others = operands()
    x.requires_grad_(not is_plain)
    with pytest.raises(TypeError, match="expected_rows: expected an int or None, found "):
        getattr(moe_mlir, op.name)(x, *others, expected_rows=value)


@by_op
@pytest.mark.parametrize("value", [None, 1, torch.tensor(True)], ids=repr)
@pytest.mark.parametrize("is_plain", [True, False])
def test_programmatic_launch_is_a_bool(op: Op, value: Any, is_plain: bool) -> None:
    x, *others = operands()
    x.requires_grad_(not is_plain)
    with pytest.raises(TypeError, match="programmatic_launch: expected a bool, found "):
        getattr(moe_mlir, op.name)(x, *others, programmatic_launch=value)


@by_op
def test_without_memory(op: Op) -> None:
    with FakeTensorMode() as mode:
        inputs = [mode.from_tensor(t) for t in operands()]

        def call(form: str, **hints: Any) -> None:
            run(op, form, hints, tuple(map(mode.from_tensor, Call(op.name).outs())), inputs)

        for form in ("function", "ops"):
            call(form, expected_rows=5, programmatic_launch=True)
            with pytest.raises(ValueError, match=NEGATIVE):
                call(form, expected_rows=-1)
        with pytest.raises(ValueError, match=NEGATIVE):
            getattr(torch.ops.moe_mlir, op.name)(*inputs, expected_rows=-1)


@by_op
def test_opcheck(op: Op) -> None:
    x, permutation_map, n_used = operands()
    all_live = x, permutation_map.abs(), torch.full_like(n_used, M)
    torch.library.opcheck(getattr(torch.ops.moe_mlir, op.name).default, all_live,
                          {"expected_rows": 7, "programmatic_launch": True})


def test_another_number_needs_no_new_compilation() -> None:
    def call(x: Any, permutation_map: Any, n_used: Any, rows: int) -> Any:
        return moe_mlir.padded_squared_relu(x, permutation_map, n_used, expected_rows=rows)

    torch._dynamo.reset()
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True, dynamic=True)
    compiled(*operands(), 10)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for rows in (20, 5000):
            Call("padded_squared_relu").assert_returned((compiled(*operands(), rows),))


@pytest.mark.skipif(not torch.cuda.is_available()
                    or torch.cuda.get_device_capability() < (9, 0), reason="no such CUDA device")
@pytest.mark.cuda
@by_op
def test_a_programmatic_launch_waits_for_what_writes_its_inputs(op: Op) -> None:
    x = torch.zeros(1 << 13, 2048, dtype=torch.bfloat16, device="cuda")
    permutation_map = torch.arange(x.shape[0], dtype=torch.int32, device="cuda")
    n_used = torch.tensor(x.shape[0], dtype=torch.int32, device="cuda")
    function = getattr(moe_mlir, op.name)
    for value in range(1, 50):
        x.fill_(value)
        result = function(x, permutation_map, n_used, programmatic_launch=True)
        wanted = function(torch.full_like(x, value), permutation_map, n_used)
        for a, b in zip(result if op.format.has_scales else (result,),
                        wanted if op.format.has_scales else (wanted,)):
            assert torch.equal(a.view(torch.uint8), b.view(torch.uint8)), value


def test_they_reach_the_runtime() -> None:
    """In every form, and nothing does where nothing is said. In a process in which another function
    is in the runtime's place from the start.
    """
    subprocess.run([sys.executable, __file__], check=True, env={
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "MOE_RUNTIME_LIBRARY": str(_runtime.path)})


def check_what_reaches_the_runtime(spy: RunSpy) -> None:
    def take() -> list[tuple[int, int]]:
        told = [(call.launch[-1], call.launch[1]) for call in spy.told]
        spy.told.clear()
        return told

    x, *others = operands()
    for op in OPS:
        for given, wanted in [(None, 0), (0, 1), (1, 1), (41, 41), (2**63 - 1, 2**63 - 1),
                              (10**30, 2**63 - 1)]:
            hints = {"expected_rows": given}
            getattr(moe_mlir, op.name)(x, *others, **hints, programmatic_launch=True)
            run(op, "function", hints, Call(op.name).outs())
            assert take() == [(wanted, 1), (wanted, 0)], (op.name, given)
        forms = ("ops", "compiled", "compiled ops")
        for form in forms:
            for hints in ({"expected_rows": 41}, {"expected_rows": 0}, {},
                          {"programmatic_launch": True}):
                run(op, form, hints, Call(op.name).outs())
        assert take() == [(41, 0), (1, 0), (0, 0), (0, 1)] * len(forms), op.name
        getattr(torch.ops.moe_mlir, op.name)(*operands(), expected_rows=2**62)
        getattr(moe_mlir, op.name)(x.detach().requires_grad_(), *others, expected_rows=10**30,
                                   programmatic_launch=True)
        assert take() == [(2**62, 0), (2**63 - 1, 1)], op.name


if __name__ == "__main__":
    check_what_reaches_the_runtime(SPY)
