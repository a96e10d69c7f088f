# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calls that go around PyTorch's dispatcher, which costs more than the rest of a call.

They may where that is known to change nothing: no tracing, transform of torch.func, mode or
forward-mode differentiation is on, and all tensors are what their bytes in memory are. Whatever is
not known to be so is left to the dispatcher, and so is what has something wrong with it: the
checks that say what are behind it. lib/Runtime/PythonTensorCalls.cpp looks at all this, allocates and
launches; here is what it must know of PyTorch. Whether a compiler traces is for the caller to see.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.autograd import forward_ad, graph

from . import _modes, _runtime
from ._op_table import Op
from ._torch_launch import current_device, launch

_C: Any = torch._C


def _plain_keys() -> tuple[int, int]:
    """What PyTorch adds to every call while no mode, trace or transform is on: the set of
    dispatch keys as a number, with autograd and in inference mode.
    """
    key, keys = _C.DispatchKey, _C.DispatchKeySet
    inference = keys(key.BackendSelect)
    return inference.raw_repr(), (inference | keys(key.ADInplaceOrView)).raw_repr()


def _make_guard(*tensors: torch.Tensor) -> Callable[..., bool]:
    """What says whether as many other tensors are what these are, but for their sizes and strides,
    and whether PyTorch is in the state that it is in now, but for modes: what torch.compile asks
    before each call of what it has compiled. It holds no tensor.
    """
    dims = [[None] * tensor.dim() for tensor in tensors]
    check: Callable[..., bool] = _C._dynamo.guards.TensorGuards(
        *tensors, dynamic_dims_sizes=dims, dynamic_dims_strides=dims).check
    return check


def _do_guards_see_all() -> bool:
    """Whether in this PyTorch they know what is relied on."""
    try:
        with torch.inference_mode():
            of_inference = torch.zeros(2, device="cpu")
        with torch.inference_mode(False):
            tensor = torch.zeros(2, device="cpu")
            check = _make_guard(tensor)
            others = [of_inference, torch._neg_view(tensor), tensor.double(), tensor.to("meta"),
                      tensor.detach().requires_grad_(), tensor[None],
                      torch.nn.Parameter(tensor, requires_grad=False)]
            with _C._IncludeDispatchKeyGuard(_C.DispatchKey.Functionalize):
                sees_state = not check(tensor)
            return sees_state and check(torch.zeros(3, device="cpu")) and not any(map(check, others))
    except Exception:
        return False


def _make_environment() -> SimpleNamespace | None:
    """None for a PyTorch whose private names are others."""
    try:
        return SimpleNamespace(
            tensor_type=torch.Tensor, parameter_type=torch.nn.Parameter,
            # PyTorch 2.10 and later.
            exchange=torch.Tensor.__dlpack_c_exchange_api__,
            included_keys=_C._dispatch_tls_local_include_set, plain_keys=_plain_keys(),
            count_function_modes=_C._len_torch_function_stack,
            count_dispatch_modes=_C._len_torch_dispatch_stack, forward_ad=forward_ad,
            is_inference_mode=torch.is_inference_mode_enabled, empty=torch.empty,
            # Private, but what Inductor's generated code allocates with; a dispatcher less.
            empty_on_cpu=_C._dynamo.guards._empty_strided_cpu,
            empty_on_cuda=_C._dynamo.guards._empty_strided_cuda,
            is_deterministic=_C._get_deterministic_algorithms,
            make_guard=_make_guard if _do_guards_see_all() else None,
            # Private, for microseconds: tells autograd that what it may have saved is another
            # value now.
            increment_versions=getattr(_C, "_increment_version", graph.increment_version),
            current_device=current_device, launch=launch,
            raise_last_error=_runtime.raise_last_error,
            scale_layouts=_modes.LAYOUTS, dead_scales=_modes.DEAD_SCALES)
    except AttributeError:
        return None


# The type codes of DLPack, and bits.
_TYPES = {getattr(torch, name, name): type for name, type in {
    "bfloat16": (4, 16), "uint8": (1, 8), "float8_e4m3fn": (10, 8), "float8_e5m2": (12, 8),
    "float8_e8m0fnu": (14, 8)}.items()}

_ENVIRONMENT = _make_environment()


def make_direct(op: Op, dtypes: tuple[tuple[Any, ...], ...],
                options: tuple[int, ...] | None = None) -> Callable[..., Any]:
    """A call of an op that goes around the dispatcher, or does nothing and returns None:

        direct(x, permutation_map, n_used, probs, expected_rows, programmatic_launch, out)
        direct(x, permutation_map, n_used, probs, scale_layout, dead_scales, expected_rows,
               programmatic_launch, data, scale)

    An output of None is allocated; the outputs are returned. `dtypes` are those that each may
    have, the first that of new ones; `options` are as parse_options of _options.py gives them.
    """
    def do_nothing(*arguments: Any) -> None:
        return None

    if _ENVIRONMENT is None or any(dtype not in _TYPES for found in dtypes for dtype in found):
        return do_nothing

    types = tuple(tuple(_TYPES[dtype] for dtype in found) for found in dtypes)
    arguments = () if options is None else (options,)
    call = _runtime.make_call(op, *arguments) if arguments else _runtime.calls[op.name]
    return _runtime.make_tensor_call(op, call, _ENVIRONMENT, types,
                                     tuple(found[0] for found in dtypes), *arguments) or do_nothing
