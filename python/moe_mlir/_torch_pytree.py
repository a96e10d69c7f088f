# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tells PyTorch what an MXFP8 is: a node of its pytrees, and a type that torch.load may make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import ml_dtypes
import numpy as np
import torch
from torch.utils import _pytree

from ._mxfp8 import MXFP8, rebuild

# What the leaves do not say: scale_layout, dtype and backend.
_Context = tuple[Any, Any, Any]


def _flatten(q: MXFP8[Any]) -> tuple[list[Any], _Context]:
    return [q.data, q.scale], (q.scale_layout, q.dtype, q.backend)


def _flatten_with_keys(q: MXFP8[Any]) -> tuple[list[Any], _Context]:
    leaves, context = _flatten(q)
    return list(zip((_pytree.GetAttrKey("data"), _pytree.GetAttrKey("scale")), leaves)), context


def _unflatten(leaves: Iterable[Any], context: _Context) -> MXFP8[Any]:
    data, scale = leaves
    return MXFP8(data, scale, *context)


def _dump_context(context: Any) -> list[Any]:
    """The context as torch.export writes it, as JSON."""
    scale_layout, dtype, backend = context
    return [scale_layout, str(dtype), backend]


def _load_context(dumped: Any) -> _Context:
    scale_layout, name, backend = cast(list[Any], dumped)
    if name.startswith("torch."):
        return scale_layout, getattr(torch, name.removeprefix("torch.")), backend
    return scale_layout, np.dtype(getattr(ml_dtypes, name, name)), backend


def register_result() -> None:
    """Registers MXFP8."""
    _pytree.register_pytree_node(
        MXFP8, _flatten, _unflatten, serialized_type_name="moe_mlir.MXFP8",
        to_dumpable_context=_dump_context, from_dumpable_context=_load_context,
        flatten_with_keys_fn=_flatten_with_keys)
    add_safe_globals = getattr(torch.serialization, "add_safe_globals", None)
    if add_safe_globals is not None:
        add_safe_globals([MXFP8, rebuild])
