# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Padding-aware activations and MXFP8 quantisation for mixture-of-experts inference.

    >>> import moe_mlir
    >>> y = moe_mlir.padded_squared_relu(x, permutation_map, n_used)
    >>> q = moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used)
    >>> q.data, q.scale

On NumPy arrays, and on PyTorch tensors of the CPU or a CUDA device. With PyTorch the ops are also
torch.ops.moe_mlir.*, as soon as both packages are imported; see moe_mlir.torch_ops. Results are
the same to the bit everywhere. A program that calls Megatron-Core's functions calls these after
moe_mlir.megatron.patch().
"""

from __future__ import annotations

from . import _ops, _permutation, _runtime
from ._compiler import CompileError, CompilerNotFoundError, compile
from ._headers import get_include
from ._load_kernels import load_kernels
from ._log import log_calls
from ._modes import DeadScales, ScaleLayout
from ._mxfp8 import MXFP8
from ._ops import *  # noqa: F403
from ._permutation import *  # noqa: F403
from ._runtime import MoeRuntimeError
from ._scales import scale_size
from ._torch_import import register_with_torch

__version__ = "0.1.0"

__all__ = [
    "MXFP8", "CompileError", "CompilerNotFoundError", "DeadScales", "MoeRuntimeError",
    "ScaleLayout", "__version__", "compile", "get_include", "load_kernels", "runtime_description",
    "scale_size",
]
__all__ += _ops.__all__
__all__ += _permutation.__all__

if _runtime.version() != tuple(map(int, __version__.split("."))):
    raise ImportError(f"moe_mlir {__version__} needs a runtime library of its own version, "
                      f"{_runtime.path} is {'.'.join(map(str, _runtime.version()))}")


def runtime_description() -> str:
    """One line: the version of the runtime library, and what it carries kernels for."""
    return _runtime.description()


register_with_torch()
log_calls(globals(), "compile", *_ops.__all__,
          *(name for name in _permutation.__all__ if name != "Routing"))
