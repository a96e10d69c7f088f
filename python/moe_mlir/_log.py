# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MOE_LOG=1 writes a line to standard error for each call of a public function: what it is called
with, as types and shapes, and the exception that it raises. Without it the functions stay as they
are, so that logging which is off costs nothing.

No data is read, so nothing waits for a device. Code that torch.compile traces logs nothing.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

VARIABLE = "MOE_LOG"


def _is_compiling() -> bool:
    """Whether torch.compile or torch.export traces the call; a line would break the graph."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def describe(value: Any) -> str:
    """An argument in a few words: an array by dtype, shape, strides unless dense, and device."""
    if isinstance(value, (str, int, float, type(None))):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, tuple):
        return f"({', '.join(map(describe, value))})"
    try:
        if hasattr(value, "scale"):
            return f"{type(value).__qualname__}({describe(value.data)}, {describe(value.scale)})"
        dtype = str(value.dtype).rpartition(".")[2]
        text = f"{dtype}[{', '.join(map(str, value.shape))}]"
        stride = getattr(value, "stride", None)
        if callable(stride):
            if not value.is_contiguous():
                text += f" strides {tuple(stride())}"
            return f"{text} {value.device}"
        if not value.flags["C_CONTIGUOUS"]:
            text += f" strides {tuple(s // value.itemsize for s in value.strides)}"
        return text
    except Exception:  # No array, or one that does not answer; its repr might read data.
        return type(value).__qualname__


def _logged(function: Callable[..., Any]) -> Callable[..., Any]:
    name = function.__name__

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _is_compiling():
            return function(*args, **kwargs)
        shown = [*map(describe, args), *(f"{k}={describe(v)}" for k, v in kwargs.items())]
        print(f"moe_mlir: {name}({', '.join(shown)})", file=sys.stderr, flush=True)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            print(f"moe_mlir: {name} raised {type(error).__name__}: {error}", file=sys.stderr,
                  flush=True)
            raise

    return call


def log_calls(namespace: dict[str, Any], *names: str) -> None:
    """Replaces functions of a namespace by ones that log, if MOE_LOG says so."""
    setting = os.environ.get(VARIABLE, "")
    if setting in ("", "0"):
        return
    if setting != "1":
        raise ImportError(f"moe_mlir: {VARIABLE}: expected 0 or 1, found {setting!r}")
    for name in names:
        namespace[name] = _logged(namespace[name])
