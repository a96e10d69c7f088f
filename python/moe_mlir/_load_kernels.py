# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loads the kernels before the first call of an op does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from . import _runtime

if TYPE_CHECKING:
    import torch


def load_kernels(device: Union[torch.device, str, int, None] = None) -> None:
    """Loads the kernels into a CUDA device's context, where they stay.

    The first call of an op on a device does so too; this one spends the time early, and must come
    before a CUDA graph is captured if no call does.

    Args:
        device: a CUDA device, as PyTorch takes it, which is imported for that; the current one if
            None. Without PyTorch it must be None, and means the calling thread's CUDA context.

    Raises:
        TypeError: device is none.
        ValueError: it is not of CUDA, there is none with that index, or PyTorch is not installed.
        MoeRuntimeError: there is no GPU, or it or its driver cannot run the kernels; the status
            says which, "NO_DRIVER" where there is no driver.

    Source: moeLoadKernels of the runtime library.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        if device is not None:
            raise ValueError(f"device: expected None without PyTorch, found {device}") from None
        status = _runtime.load_kernels(_runtime.CUDA)
        if status:
            _runtime.raise_last_error(status)
        return
    from . import torch_ops

    torch_ops.load_kernels(device)
