# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Registers ops with PyTorch's dispatcher, so that each of its layers knows what they do.

There are no gradients. As with PyTorch's own ops that lack them, a result of an x that requires
grad has a history, and it is the backward pass that fails; out= with it fails at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import _SingleLevelFunction
from torch.autograd.graph import increment_version

_C: Any = torch._C
_functorch: Any = torch._C._functorch
_library: Any = torch.library
_forward_ad: Any = torch.autograd.forward_ad

# Any: not all that PyTorch has has types.
library: Any = _library.Library("moe_mlir", "DEF")


def is_differentiated(tensor: Tensor) -> bool:
    """Whether autograd, in either direction, wants to know what becomes of `tensor`."""
    if tensor.requires_grad and torch.is_grad_enabled():
        return True
    # A dual tensor shows its tangent inside of a level alone.
    return (getattr(_forward_ad, "_current_level", 0) >= 0
            and _forward_ad.unpack_dual(tensor).tangent is not None)


def refuse_gradients(name: str, **operands: Tensor) -> None:
    """Raises RuntimeError if there is one to compute, for an op that writes to its arguments."""
    for operand, tensor in operands.items():
        if is_differentiated(tensor):
            raise RuntimeError(
                f"moe_mlir.{name}: out= does not support automatic differentiation, but {operand} "
                "requires grad. Detach it, or call the op under torch.no_grad()")


def refuse_inference_tensors(name: str, **outputs: Tensor) -> None:
    """Raises RuntimeError as PyTorch's own ops do: such tensors have no version to raise."""
    for operand, tensor in outputs.items():
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            raise RuntimeError(
                f"moe_mlir.{name}: {operand} is a tensor of inference mode, which cannot be "
                "written outside of it. Clone it to get a normal one")


def _fail_backward(name: str) -> None:
    raise RuntimeError(
        f"moe_mlir.{name} is not differentiable: there is no gradient of its result. Detach x, or "
        "call it under torch.no_grad() or torch.inference_mode()")


class _NotDifferentiable(_SingleLevelFunction):
    """A call whose result has a history that ends in an error.

    torch.autograd.Function itself would start with torch.func's transforms once more; where a
    kernel is called, the dispatcher is at the one whose turn it is.
    """

    @staticmethod
    def forward(ctx: Any, op: Any, keyset: Any, x: Tensor, *others: Any) -> Any:
        # The first that a gradient is wanted of: x, or what rows are multiplied by.
        ctx.place = next((i for i, needs in enumerate(ctx.needs_input_grad) if needs), 2)
        some = (op, keyset, x, *others)[ctx.place]
        ctx.name, ctx.shape, ctx.dtype = op._opname, some.shape, some.dtype
        # Else a gradient of zeros would be made for each result that has none, and E8M0 has no 0.
        ctx.set_materialize_grads(False)
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & _C._after_autograd_keyset, x, *others)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # By an op, not here: a compiler runs this to see the backward pass, when no one asked for
        # a gradient yet.
        some = next(gradient for gradient in gradients if gradient is not None)
        nothing = torch.ops.moe_mlir.fail_backward(some, ctx.name, ctx.shape, ctx.dtype)
        return tuple(nothing if i == ctx.place else None
                     for i in range(len(ctx.needs_input_grad)))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        _fail_backward(ctx.name)


def _apply_not_differentiable(*arguments: Any) -> Any:
    allowed = _functorch.get_single_level_autograd_function_allowed()
    _functorch.set_single_level_autograd_function_allowed(True)
    try:
        return cast(Any, _NotDifferentiable).apply(*arguments)
    finally:
        _functorch.set_single_level_autograd_function_allowed(allowed)


def _autograd_kernel(op: Any) -> Callable[..., Any]:
    def kernel(keyset: Any, x: Tensor, *others: Any) -> Any:
        if is_differentiated(x) or any(map(is_differentiated, _find_probs(others).values())):
            return _apply_not_differentiable(op, keyset, x, *others)
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & _C._after_autograd_keyset, x, *others)

    return kernel


def _find_probs(arguments: tuple[Any, ...]) -> dict[str, Tensor]:
    """What other argument than x may have a gradient: the only one of floats."""
    for value in arguments:
        if isinstance(value, Tensor) and value.is_floating_point():
            return {"probs": value}
    return {}


def _mutating_autograd_kernel(op: Any, name: str) -> Callable[..., Any]:
    def kernel(keyset: Any, x: Tensor, *others: Any, **outputs: Tensor) -> Any:
        refuse_gradients(name, x=x, **_find_probs(others), **outputs)
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & _C._after_autograd_keyset, x, *others, **outputs)

    return kernel


def _version_kernel(op: Any, name: str) -> Callable[..., Any]:
    """Tells autograd what was written, for what it saved before."""
    def kernel(keyset: Any, *inputs: Any, **outputs: Tensor) -> Any:
        refuse_inference_tensors(name, **outputs)
        with _C._AutoDispatchBelowADInplaceOrView():
            result = op.redispatch(keyset & _C._after_ADInplaceOrView_keyset, *inputs, **outputs)
        for output in outputs.values():
            increment_version(output)
        return result

    return kernel


def _negative_kernel(op: Any) -> Callable[..., Any]:
    """PyTorch's own for lazy negation takes it that an op returns what it writes to."""
    def kernel(*inputs: Any, **outputs: Tensor) -> Any:
        resolved = {name: output.resolve_neg() for name, output in outputs.items()}
        result = op(*[value.resolve_neg() if isinstance(value, Tensor) else value
                      for value in inputs], **resolved)
        for name, output in outputs.items():
            if output.is_neg():
                output.copy_(resolved[name])
        return result

    return kernel


def _define(schema: str) -> Any:
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    return getattr(torch.ops.moe_mlir, schema[: schema.index("(")]).default


def register(schema: str, run: Callable[..., Any], fake: Callable[..., Any],
             function: str = "") -> Any:
    """Registers an op whose first argument is x and whose keyword arguments are all outputs; the
    op, as torch.ops.moe_mlir has it.

    `run` is for real tensors, `fake` for those without memory; `function` is what errors call an
    op with outputs.
    """
    op = _define(schema)
    name = op._opname
    for key in ("CPU", "CUDA"):
        library.impl(name, run, key)
    torch.library.register_fake(f"moe_mlir::{name}", fake, lib=library)
    if function:
        library.impl(name, _mutating_autograd_kernel(op, function), "Autograd", with_keyset=True)
        library.impl(name, _version_kernel(op, function), "ADInplaceOrView", with_keyset=True)
        library.impl(name, _negative_kernel(op), "Negative")
    else:
        library.impl(name, _autograd_kernel(op), "Autograd", with_keyset=True)
    return getattr(torch.ops.moe_mlir, name)


def register_composite(schema: str, run: Callable[..., Any]) -> Any:
    """Registers an op that is a sequence of others; the op, as torch.ops.moe_mlir has it."""
    name = _define(schema)._opname
    library.impl(name, run, "CompositeImplicitAutograd")
    return getattr(torch.ops.moe_mlir, name)


def name_e8m0_for_inductor() -> None:
    """Lets Inductor copy E8M0 on the CPU.

    That takes no more than the type's name in C++, which older versions, 2.11 among them, lack.
    """
    module = sys.modules.get("torch._inductor.codegen.cpp_utils")
    names, e8m0 = getattr(module, "DTYPE_TO_CPP", None), getattr(torch, "float8_e8m0fnu", None)
    if isinstance(names, dict) and e8m0 is not None:
        names.setdefault(e8m0, "at::Float8_e8m0fnu")


def _register_fail_backward() -> None:
    def run(gradient: Tensor, name: str, shape: Any, dtype: torch.dtype) -> Any:
        _fail_backward(name)

    def fake(gradient: Tensor, name: str, shape: Any, dtype: torch.dtype) -> Tensor:
        return gradient.new_empty(shape, dtype=dtype)

    register("fail_backward(Tensor gradient, str name, SymInt[] shape, ScalarType dtype) -> Tensor",
             run, fake)


def _register_bitcast() -> None:
    def run(x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.contiguous().view(dtype).clone()

    def fake(x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.new_empty(x.shape, dtype=dtype)

    register("bitcast(Tensor x, ScalarType dtype) -> Tensor", run, fake)


_register_fail_backward()
_register_bitcast()
