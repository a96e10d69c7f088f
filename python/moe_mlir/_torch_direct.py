# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether a call may go around PyTorch's dispatcher, which costs more than the rest of it.

It may where that is known to change nothing: no tracing, compiling, transform of torch.func, mode
or forward-mode differentiation is on, and all tensors are what their bytes in memory are. Whatever
is not known to be so is left to the dispatcher.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_is_compiling = torch.compiler.is_compiling
# Private; where one is missing every call goes through the dispatcher.
_function_modes: Any = getattr(torch._C, "_len_torch_function_stack", None) or (lambda: 1)
_included_keys: Any = getattr(torch._C, "_dispatch_tls_local_include_set", None) or set
_is_inference_mode = torch.is_inference_mode_enabled

_PLAIN_TYPES = frozenset((Tensor, torch.nn.Parameter))


def _plain_layers() -> frozenset[int]:
    """What PyTorch adds to every call while no mode, trace or transform is on: the set of
    dispatch keys as a number, with autograd and in inference mode.
    """
    key, keys = torch._C.DispatchKey, torch._C.DispatchKeySet
    inference = keys(key.BackendSelect)
    return frozenset((inference.raw_repr(), (inference | keys(key.ADInplaceOrView)).raw_repr()))


_PLAIN_LAYERS = _plain_layers()


def is_direct(x: Any, permutation_map: Any, n_used: Any) -> bool:
    """Whether a call with these inputs may."""
    try:
        return (not _is_compiling() and _included_keys().raw_repr() in _PLAIN_LAYERS
                and not _function_modes() and forward_ad._current_level < 0
                and type(x) in _PLAIN_TYPES and (x.is_cuda or x.is_cpu) and not x.requires_grad
                and type(permutation_map) in _PLAIN_TYPES and type(n_used) in _PLAIN_TYPES
                and not (x.is_neg() or permutation_map.is_neg() or n_used.is_neg())
                and x.data_ptr() != 0 and permutation_map.data_ptr() != 0
                and n_used.data_ptr() != 0)
    except (AttributeError, RuntimeError):
        # AttributeError: a PyTorch whose private names are others. RuntimeError: sparse tensors
        # and wrappers of torch.func that outlived their transform have no data_ptr.
        return False


def is_direct_output(tensor: Any) -> bool:
    """Whether is_direct still holds if `tensor` is written."""
    try:
        return (type(tensor) in _PLAIN_TYPES and not tensor.requires_grad and not tensor.is_neg()
                and tensor.data_ptr() != 0
                # Outside of inference mode PyTorch refuses to write to its tensors.
                and (not tensor.is_inference() or _is_inference_mode()))
    except RuntimeError:
        return False
