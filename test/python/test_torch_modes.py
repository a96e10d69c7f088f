# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The same bytes, or the same error, in whatever PyTorch runs the ops: every op, mode and form."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import moe_mlir
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from moe_mlir import _torch_direct  # noqa: E402
from moe_mlir._op_table import OPS, Op  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch_calls import CALLS, LIVE, N_USED, Call, K, as_bits, operands  # noqa: E402

HAS_COMPILER = shutil.which(os.environ.get("CXX", "g++")) is not None
Outs = Sequence[torch.Tensor]
ALL = pytest.mark.parametrize("call", CALLS, ids=str)


class CountDispatched(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (),
                           keywords: Any = None) -> Any:
        self.ops.append(str(function))
        return function(*arguments, **(keywords or {}))


class CountFunctions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: list[str] = []

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (),
                           keywords: Any = None) -> Any:
        self.ops.append(str(function))
        return function(*arguments, **(keywords or {}))


class Subclass(torch.Tensor):
    """One that asks for nothing special."""


def run_compiled(backend: str) -> Callable[..., Any]:
    def run(call: Call, outs: Outs) -> Any:
        torch._dynamo.reset()
        return torch.compile(lambda x, m, n, *outs: call(x, m, n, outs), backend=backend,
                             fullgraph=True)(*operands(), *outs)

    if backend == "inductor" and not HAS_COMPILER:
        return lambda call, outs: pytest.skip("no C++ compiler, which inductor needs")
    return run


def refill(outs: Outs) -> None:
    """Undoes what tracing wrote."""
    for out in outs:
        out.view(torch.uint8).fill_(0x5A)


def run_jit_trace(call: Call, outs: Outs) -> Any:
    traced = torch.jit.trace(lambda x, m, n, *outs: call(x, m, n, outs), (*operands(), *outs),
                             check_trace=False)
    assert f"moe_mlir::{call.op}" in str(traced.graph)
    refill(outs)
    return traced(*operands(), *outs)


def run_make_fx(call: Call, outs: Outs) -> Any:
    traced = make_fx(lambda x, m, n, *outs: call(x, m, n, outs))(*operands(), *outs)
    assert f"moe_mlir.{call.op}" in str(traced.graph)
    refill(outs)
    return traced(*operands(), *outs)


def run_export(call: Call, outs: Outs) -> Any:
    class Model(torch.nn.Module):
        def forward(self, x: Any, permutation_map: Any, n_used: Any, *outs: Any) -> Any:
            return call(x, permutation_map, n_used, outs)

    program = torch.export.export(Model(), (*operands(), *outs))
    assert f"moe_mlir.{call.op}" in str(program.graph)
    result = program.module()(*operands(), *outs)
    for out in outs:
        assert as_bits(out).any()
    return outs or result


def run_counted(mode: Any) -> Callable[..., Any]:
    def run(call: Call, outs: Outs) -> Any:
        with mode() as counted:
            result = call(*operands(), outs)
        assert any(f"moe_mlir.{call.op}" in op for op in counted.ops), counted.ops
        return result

    return run


def run_negated(call: Call, outs: Outs) -> Any:
    x, permutation_map, n_used = operands()
    return call(torch._neg_view(-x), torch._neg_view(-permutation_map), torch._neg_view(-n_used),
                outs)


def run_with_subclass(call: Call, outs: Outs) -> Any:
    x, permutation_map, n_used = operands()
    result = call(x.as_subclass(Subclass), permutation_map.as_subclass(Subclass), n_used, outs)
    return [t.as_subclass(torch.Tensor) for t in result]


def run_with_parameter(call: Call, outs: Outs) -> Any:
    x, permutation_map, n_used = operands()
    return call(torch.nn.Parameter(x, requires_grad=False), permutation_map, n_used, outs)


def run_under(context: Callable[[], Any], requires_grad: bool = False) -> Callable[..., Any]:
    def run(call: Call, outs: Outs) -> Any:
        x, permutation_map, n_used = operands()
        with context():
            return call(x.requires_grad_(requires_grad), permutation_map, n_used, outs)

    return run


def run_inference_tensors(call: Call, outs: Outs) -> Any:
    with torch.inference_mode():
        copies = [torch.empty_like(out).copy_(out) for out in outs]
        assert all(copy.is_inference() for copy in copies)
        result = call(*[t.clone() for t in operands()], copies)
    for out, copy in zip(outs, copies):
        as_bits(out).copy_(as_bits(copy))
    return result


@contextlib.contextmanager
def deterministic() -> Any:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES: dict[str, Callable[[Call, Outs], Any]] = {
    "eager": lambda call, outs: call(*operands(), outs),
    "inductor": run_compiled("inductor"),
    "aot_eager": run_compiled("aot_eager"),
    "dynamo alone": run_compiled("eager"),
    "jit.trace": run_jit_trace,
    "make_fx": run_make_fx,
    "export": run_export,
    "dispatch mode": run_counted(CountDispatched),
    "function mode": run_counted(CountFunctions),
    "negated": run_negated,
    "subclass": run_with_subclass,
    "parameter": run_with_parameter,
    "no_grad": run_under(torch.no_grad, requires_grad=True),
    "inference mode": run_under(torch.inference_mode, requires_grad=True),
    "inference tensors": run_inference_tensors,
    "autocast": run_under(lambda: torch.autocast("cpu")),
    "default device": run_under(lambda: torch.device("cpu")),
    "deterministic": run_under(deterministic),
}


@pytest.mark.parametrize("mode", MODES)
@ALL
def test_new_tensors(call: Call, mode: str) -> None:
    call.assert_returned(MODES[mode](call, ()))


@pytest.mark.parametrize("mode", MODES)
@ALL
def test_out(call: Call, mode: str) -> None:
    outs = call.outs()
    MODES[mode](call, outs)
    call.assert_written(outs)


@ALL
def test_negated_out(call: Call) -> None:
    outs = call.outs()
    negated = [torch._neg_view(out) for out in outs]
    if call.is_quantizing:
        # PyTorch has no negation of 8-bit floats.
        with pytest.raises(NotImplementedError, match="Float8"):
            call(*operands(), negated)
        wanted = call.outs()
    else:
        call(*operands(), negated)
        wanted = (torch.where(LIVE[:, None], -call.wanted()[0], call.outs()[0]),)
    for out, bits in zip(outs, wanted):
        assert torch.equal(as_bits(out), as_bits(bits))


@ALL
def test_vmap(call: Call) -> None:
    x, permutation_map, n_used = operands()
    batch = torch.stack((x, torch.zeros_like(x), x))
    for function, arguments, dims in [
        (lambda x: call(x, permutation_map, n_used), (batch,), (0,)),
        (lambda x, n: call(x, permutation_map, n), (batch, torch.stack([n_used] * 3)), (0, 0)),
        (lambda m: call(x, m, n_used), (torch.stack([permutation_map] * 3),), (0,)),
    ]:
        result = torch.vmap(function, in_dims=dims)(*arguments)
        call.assert_returned([t[2] for t in result])
        call.assert_returned([t[0] for t in result])


@ALL
def test_vmap_and_functionalize_refuse_out(call: Call) -> None:
    outs = call.outs()
    for transform in (torch.func.functionalize, torch.vmap):
        x, permutation_map, n_used = operands()
        x = x.expand(2, *x.shape) if transform is torch.vmap else x
        with pytest.raises(RuntimeError, match=f"moe_mlir::{call.op}"):
            transform(lambda x, m=permutation_map, n=n_used: call(x, m, n, outs)[0])(x)
        assert all((as_bits(out) == as_bits(before)).all() for out, before in
                   zip(outs, call.outs()))


@ALL
def test_functionalize(call: Call) -> None:
    call.assert_returned(torch.func.functionalize(lambda *inputs: call(*inputs))(*operands()))


@ALL
def test_symbolic_trace(call: Call) -> None:
    if call.through_ops and call.is_quantizing:
        pytest.skip("the result of an op is a proxy, which this call can't unpack")
    if call.is_quantizing:
        outs = call.outs()
        traced = torch.fx.symbolic_trace(lambda x, m, n: call(x, m, n, outs)[0])
        traced(*operands())
        call.assert_written(outs)
    else:
        call.assert_returned(torch.fx.symbolic_trace(lambda x, m, n: call(x, m, n))(*operands()))


@ALL
def test_wrappers_that_outlive_their_transform(call: Call) -> None:
    x, permutation_map, n_used = operands()
    wrapper = torch._to_functional_tensor(x)
    result = call(wrapper, permutation_map, n_used)
    call.assert_returned([torch._from_functional_tensor(t) if torch._is_functional_tensor(t) else t
                          for t in result])
    kept: list[torch.Tensor] = []
    torch.func.grad(lambda x: (kept.append(x), x.float().sum())[1])(x)
    call.assert_returned(call(kept[0], permutation_map, n_used))


@pytest.mark.parametrize("position", range(3))
@ALL
def test_real_and_fake_tensors_do_not_mix(call: Call, position: int) -> None:
    arguments = list(operands())
    with FakeTensorMode() as mode:
        arguments[position] = mode.from_tensor(arguments[position])
    with pytest.raises((AssertionError, TypeError, RuntimeError)) as caught:
        call(*arguments)
    assert "ake" in str(caught.value) and "null pointer" not in str(caught.value)


@ALL
def test_what_is_not_strided(call: Call) -> None:
    x, permutation_map, n_used = operands()
    with pytest.raises(NotImplementedError, match="SparseCPU"):
        call(x.to_sparse(), permutation_map, n_used)


@ALL
def test_a_tensor_of_zeros_without_memory(call: Call) -> None:
    n_used = torch._efficientzerotensor((), dtype=torch.int32)
    x, permutation_map, zero = operands()
    found, wanted = call(x, permutation_map, n_used), call(x, permutation_map, zero.zero_())
    if call.is_quantizing and call.dead == "zero":
        assert torch.equal(as_bits(found[1]), as_bits(wanted[1]))


@pytest.mark.parametrize("rows, columns", [(0, 0), (0, 64), (5, 0)])
@pytest.mark.parametrize("mode", ["eager", "aot_eager", "no_grad"])
@ALL
def test_sizes_of_zero(call: Call, mode: str, rows: int, columns: int) -> None:
    x = torch.empty(rows, columns, dtype=torch.bfloat16, requires_grad=mode == "no_grad")
    arguments = (x, torch.zeros(rows, dtype=torch.int32), torch.zeros(1, dtype=torch.int32))
    torch._dynamo.reset()
    function = torch.compile(call, backend="aot_eager") if mode == "aot_eager" else call
    with torch.no_grad():
        result = function(*arguments)
        again = function(*arguments, [torch.empty_like(t) for t in result])
    for tensors in (result, again):
        result_columns = columns * call.columns // K
        assert tensors[0].shape == (rows, result_columns)
        if call.is_quantizing:
            size = moe_mlir.scale_size(rows, result_columns, call.layout)
            assert tensors[1].numel() == size and not tensors[1].view(torch.uint8).any()


HAS_EXCHANGE = hasattr(torch.Tensor, "__dlpack_c_exchange_api__")


def direct_call(op: Op) -> Callable[..., Any]:
    return _torch_direct.make_direct(
        op, tuple((getattr(torch, output.dtype),) for output in op.format.outputs))


@pytest.mark.skipif(not HAS_EXCHANGE, reason="PyTorch before 2.10")
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_plain_calls_go_around_the_dispatcher(op: Op) -> None:
    # It costs more than all else: nothing but the time would show that a condition is never met.
    direct = direct_call(op)
    modes = [default for _, default in op.format.modes]
    for context in (contextlib.nullcontext, torch.no_grad, torch.inference_mode):
        with context():
            x, *others = operands()
            for tensor in (x, torch.nn.Parameter(x, requires_grad=False), x[:, :64],
                           torch.cat((x, x), 1)[:, K:]):
                for outs in ([None] * len(op.format.outputs), Call(op.name).outs()):
                    if outs[0] is not None and tensor.shape != x.shape:
                        continue
                    result = direct(tensor, *others, None, *modes, None, False, *outs)
                    assert result is not None
                    results = result if op.format.has_scales else (result,)
                    assert outs[0] is None or all(a is b for a, b in zip(results, outs))
                    if tensor.shape == x.shape:
                        Call(op.name).assert_returned(results)


@pytest.mark.skipif(not HAS_EXCHANGE, reason="PyTorch before 2.10")
def test_guards_pass_plain_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    # They are there for the time alone: without them all else is the same.
    environment, passed = _torch_direct._ENVIRONMENT, []
    assert environment is not None
    make_guard = environment.make_guard
    assert make_guard is not None

    def make(*tensors: Any) -> Any:
        check = make_guard(*tensors)

        def asked(*others: Any) -> bool:
            passed.append(check(*others))
            return passed[-1]

        return asked

    monkeypatch.setattr(environment, "make_guard", make)
    for op in OPS:
        direct, modes = direct_call(op), [default for _, default in op.format.modes]
        for outs in ([None] * len(op.format.outputs), Call(op.name).outs()):
            for rows in (5, 3):
                x, permutation_map, n_used = operands()
                if outs[0] is None:
                    x, permutation_map = x[:rows], permutation_map[:rows]
                for context in (contextlib.nullcontext, torch.no_grad):
                    with context():
                        assert direct(x, permutation_map, n_used, None, *modes, None, False,
                                      *outs) is not None
        assert passed == [True] * 6, op.name
        passed.clear()


@pytest.mark.skipif(not HAS_EXCHANGE, reason="PyTorch before 2.10")
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_outputs_of_inference_mode_after_normal_ones_in_it(op: Op) -> None:
    # All have the keys then that PyTorch dispatches by in the other case.
    direct, modes = direct_call(op), [default for _, default in op.format.modes]
    normal = [*operands(), *Call(op.name).outs()]
    with torch.inference_mode():
        tensors = [tensor.clone() for tensor in normal]
        for _ in range(2):
            assert direct(*normal[:3], None, *modes, None, False, *normal[3:]) is not None
    assert direct(*tensors[:3], None, *modes, None, False, *tensors[3:]) is None
    assert direct(*normal[:3], None, *modes, None, False, *tensors[3:]) is None


@pytest.mark.skipif(not HAS_EXCHANGE, reason="PyTorch before 2.10")
@pytest.mark.parametrize("is_guarded", [False, True])
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_calls_that_do_not(op: Op, is_guarded: bool) -> None:
    """One thing at a time that keeps a call from it, which then does nothing at all."""
    direct = direct_call(op)
    x, permutation_map, n_used = operands()
    modes = [default for _, default in op.format.modes]
    outs = Call(op.name).outs()

    def call(x: Any = x, permutation_map: Any = permutation_map, n_used: Any = n_used,
             modes: Any = modes, expected_rows: Any = None, outs: Any = outs) -> Any:
        return direct(x, permutation_map, n_used, None, *modes, expected_rows, False, *outs)

    def inference(tensor: Any) -> Any:
        with torch.inference_mode():
            return torch.empty_like(tensor)

    if is_guarded:
        for given in (outs, [None] * len(outs)):
            assert call(outs=given) is not None
        for out in outs:
            out.view(torch.uint8).fill_(0x5A)
    wrong: dict[str, dict[str, Any]] = {
        name: {"x": value} for name, value in {
            "None": None, "array": x.float().numpy(), "dtype": x.float(), "negated": torch._neg_view(x),
            "grad": x.detach().requires_grad_(), "subclass": x.as_subclass(Subclass),
            "meta": x.to("meta"), "sparse": x.to_sparse(), "columns": x[:, ::2], "rank": x[0],
            "no rows": x[:0], "transposed": x.t().contiguous().t()}.items()}
    for operand, values in {
        "permutation_map": [permutation_map[1:], permutation_map.long(), permutation_map[:, None],
                            permutation_map.repeat(2)[::2], torch._neg_view(permutation_map),
                            permutation_map.to("meta"), permutation_map.numpy()],
        "n_used": [n_used.long(), n_used.repeat(2), n_used.reshape(1, 1), n_used[None][:0],
                   torch._neg_view(n_used), n_used.to("meta"), N_USED,
                   torch._efficientzerotensor((), dtype=torch.int32)],
        "expected_rows": [-1, True, 2.0, np.int64(4), torch.tensor(4)],
    }.items():
        wrong |= {f"{operand} {i}": {operand: value} for i, value in enumerate(values)}
    for i, out in enumerate(outs):
        for j, value in enumerate([
                out.view(torch.int8), out[:-1], out.detach().requires_grad_(), inference(out),
                out.to("meta"), out.repeat_interleave(2, -1)[..., ::2],
                torch.nn.Parameter(out.detach()), None if i else out.unsqueeze(0)]):
            wrong[f"output {i} {j}"] = {"outs": [*outs[:i], value, *outs[i + 1:]]}
    if op.format.has_scales:
        wrong |= {f"mode {i}": {"modes": values} for i, values in enumerate([
            ("linear", "zero"), ("other", "zero"), ("swizzle_32_4_4", "none"), (None, "zero"),
            ("swizzle_32_4_4", 0), (["linear"], "zero")])}
        wrong["no multiple of 32"] = {"x": torch.cat((x, x[:, :2]), 1), "outs": (None, None)}
    for name, change in wrong.items():
        assert call(**change) is None, name
    contexts = [CountFunctions(), CountDispatched(), torch.device("cpu"), FakeTensorMode(),
                torch.autograd.forward_ad.dual_level()]
    for context in contexts:
        with context:
            for given in (outs, [None] * len(outs)):
                assert call(outs=given) is None, context

    def transformed(tensor: Any) -> Any:
        assert call() is None
        return tensor

    torch.vmap(transformed)(torch.ones(2))
    torch.func.grad(transformed)(torch.ones(()))
    torch.func.functionalize(transformed)(torch.ones(2))
    torch.jit.trace(transformed, torch.ones(2), check_trace=False)
    make_fx(transformed)(torch.ones(2))
    for out in outs:
        assert (out.view(torch.uint8) == 0x5A).all()
    assert call() is not None
