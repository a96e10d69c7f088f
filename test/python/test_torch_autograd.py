# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""There are no gradients, and PyTorch's autograd says so: one contract in every mode."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.autograd import forward_ad  # noqa: E402
from torch_calls import CALLS, LIVE, Call, as_bits, operands  # noqa: E402

ALL = pytest.mark.parametrize("call", CALLS, ids=str)
HAS_COMPILER = shutil.which(os.environ.get("CXX", "g++")) is not None
BACKENDS = [None, "aot_eager", pytest.param("inductor", marks=pytest.mark.skipif(
    not HAS_COMPILER, reason="no C++ compiler, which inductor needs"))]


def compiled(call: Call, backend: str | None) -> Any:
    def function(x: Any, permutation_map: Any, n_used: Any, *outs: Any) -> Any:
        return call(x, permutation_map, n_used, outs)

    torch._dynamo.reset()
    return torch.compile(function, backend=backend) if backend else function


@contextlib.contextmanager
def refused(call: Call, text: str = "is not differentiable") -> Iterator[None]:
    with pytest.raises(RuntimeError, match=f"moe_mlir.{call.op}.* {text}"):
        yield


@pytest.mark.parametrize("backend", BACKENDS)
@ALL
def test_the_backward_pass_fails_and_the_forward_pass_does_not(call: Call,
                                                               backend: str | None) -> None:
    x, permutation_map, n_used = operands()
    leaf = x.clone().requires_grad_()
    for tensor in (leaf, leaf * 1):
        result = compiled(call, backend)(tensor, permutation_map, n_used)
        assert all(t.requires_grad for t in result)
        call.assert_returned(result)
        with refused(call):
            result[0].float().sum().backward()
        assert leaf.grad is None


@ALL
def test_scales_have_a_history_too(call: Call) -> None:
    if not call.is_quantizing:
        pytest.skip("an op without scales")
    x, permutation_map, n_used = operands()
    _, scale = call(x.requires_grad_(), permutation_map, n_used)
    with refused(call):
        scale.float().sum().backward()


@ALL
def test_a_parameter_and_a_view_of_one(call: Call) -> None:
    x, permutation_map, n_used = operands()
    parameter = torch.nn.Parameter(torch.cat((x, x)))
    for tensor in (torch.nn.Parameter(x), parameter[:x.shape[0]]):
        result = call(tensor, permutation_map, n_used)
        call.assert_returned(result)
        with refused(call):
            result[0].float().sum().backward()
    with torch.no_grad():
        assert not call(parameter[:x.shape[0]], permutation_map, n_used)[0].requires_grad
    assert not call(parameter.detach()[:x.shape[0]], permutation_map, n_used)[0].requires_grad


@ALL
def test_transforms_of_torch_func(call: Call) -> None:
    x, permutation_map, n_used = operands()

    def loss(x: Any) -> Any:
        return call(x, permutation_map, n_used)[0].float().sum()

    for transform in (torch.func.grad, torch.func.jacrev, torch.func.hessian):
        with refused(call):
            transform(loss)(x)
    with refused(call):
        torch.vmap(torch.func.grad(loss))(x[None])
    with refused(call):
        torch.func.jvp(loss, (x,), (x,))
    with refused(call):
        torch.func.jacfwd(loss)(x)
    _, pullback = torch.func.vjp(loss, x)
    with refused(call):
        pullback(torch.tensor(1.0))
    # A gradient that does not pass through the op is none of its business.
    row = LIVE.nonzero()[0, 0]
    found = torch.func.grad(lambda w: w * call(x, permutation_map, n_used)[0].float()[row].sum())(
        torch.tensor(2.0))
    assert found == call(x, permutation_map, n_used)[0].float()[row].sum()


@ALL
def test_dual_tensors(call: Call) -> None:
    x, permutation_map, n_used = operands()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        with refused(call):
            call(dual, permutation_map, n_used)
        outs = call.outs()
        with refused(call, "x requires grad"):
            call(dual, permutation_map, n_used, outs)
        call.assert_returned(call(x, permutation_map, n_used))
    assert all(torch.equal(as_bits(a), as_bits(b)) for a, b in zip(outs, call.outs()))


@pytest.mark.parametrize("backend", BACKENDS)
@ALL
def test_out_refuses_an_x_that_requires_grad(call: Call, backend: str | None) -> None:
    x, permutation_map, n_used = operands()
    outs = call.outs()
    function = compiled(call, backend)
    with refused(call, "out= does not support automatic differentiation, but x requires grad"):
        function(x.requires_grad_(), permutation_map, n_used, *outs)
    assert all(torch.equal(as_bits(a), as_bits(b)) for a, b in zip(outs, call.outs()))
    with torch.no_grad():
        function(x, permutation_map, n_used, *outs)
    call.assert_written(outs)


@pytest.mark.parametrize("kind", ["leaf", "parameter", "view of a leaf", "result"])
@pytest.mark.parametrize("index", [0, 1])
@ALL
def test_out_that_requires_grad(call: Call, index: int, kind: str) -> None:
    outs = list(call.outs())
    if index >= len(outs):
        pytest.skip("an op without scales")
    name = ("data", "scale")[index] if call.is_quantizing else "out"
    leaf = outs[index].requires_grad_()
    outs[index] = {"leaf": lambda: leaf, "parameter": lambda: torch.nn.Parameter(leaf.detach()),
                   "view of a leaf": lambda: leaf[:], "result": leaf.clone}[kind]()
    with refused(call, f"out= does not support automatic differentiation, but {name} requires"):
        call(*operands(), outs)
    assert all(torch.equal(as_bits(a), as_bits(b)) for a, b in zip(outs, call.outs()))
    with torch.no_grad():
        call(*operands(), outs)
    call.assert_written(outs)


@pytest.mark.parametrize("context", [contextlib.nullcontext, torch.no_grad])
@ALL
def test_versions(call: Call, context: Any) -> None:
    outs = call.outs()
    views = [out[:] for out in outs]
    inputs = operands()
    with context():
        for _ in range(2):
            before = [view._version for view in views]
            call(*inputs, outs)
            # A view shares its base's; how many steps a write takes is nobody's business.
            assert all(view._version > version for view, version in zip(views, before))
    assert all(tensor._version == 0 for tensor in inputs)


@ALL
def test_a_saved_tensor_that_is_written_is_noticed(call: Call) -> None:
    outs = call.outs(fill=0)
    for out in outs:
        if out.dtype == torch.float8_e8m0fnu:
            continue
        weight = torch.ones((), dtype=torch.bfloat16, requires_grad=True)
        saved = out if out.dtype == torch.bfloat16 else out.view(torch.uint8)
        product = (weight * saved).float().sum()
        call(*operands(), outs)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.backward()


@ALL
def test_a_call_that_fails_leaves_the_version(call: Call) -> None:
    x, permutation_map, n_used = operands()
    outs = call.outs()
    before = [out._version for out in outs]
    with pytest.raises(ValueError):
        call(x, permutation_map[1:], n_used, outs)
    assert [out._version for out in outs] == before


@ALL
def test_tensors_of_inference_mode(call: Call) -> None:
    with torch.inference_mode():
        inputs = [tensor.clone() for tensor in operands()]
        outs = [torch.empty_like(out).copy_(out) for out in call.outs()]
        call(*inputs, outs)
        call.assert_written([out.clone() for out in outs])
    call.assert_returned([t.clone() for t in call(*inputs)])
    # Outside of it PyTorch writes to none of its tensors.
    for index, out in enumerate(outs):
        mixed = list(call.outs())
        mixed[index] = out
        before = [as_bits(t).clone() for t in mixed]
        with refused(call, "is a tensor of inference mode"):
            call(*operands(), mixed)
        assert all(torch.equal(as_bits(a), b) for a, b in zip(mixed, before))
