# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Who runs an op: that is decided by the type of x."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _numpy

# The runs of an op, by its name, and then by the type of x. PyTorch is never imported for the sake
# of arrays.
runs: dict[str, dict[type, Callable[..., Any]]] = {
    name: {np.ndarray: run} for name, run in _numpy.RUNS.items()}


def find_run(name: str, x: object) -> Callable[..., Any]:
    """The run of an op for an x of a type that was not seen yet, from now on among `runs`."""
    torch = sys.modules.get("torch")
    if isinstance(x, np.ndarray):
        run = _numpy.RUNS[name]
    elif torch is not None and (isinstance(x, torch.Tensor)
                                or hasattr(type(x), "__torch_function__")):
        # The latter is what stands for a tensor, such as a proxy of torch.fx.
        from . import torch_ops

        run = torch_ops.RUNS[name]
    else:
        raise TypeError("x: expected a NumPy array or a PyTorch tensor, found "
                        f"{type(x).__module__}.{type(x).__qualname__}")
    runs[name][type(x)] = run
    return run
