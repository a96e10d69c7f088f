# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calls the runtime library for tensors, on the stream and in the context that PyTorch is at."""

from __future__ import annotations

from typing import Any, Optional

import torch

from . import _runtime

# Private, but what PyTorch's own code generator emits; the public functions cost microseconds.
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (
    lambda index: torch.cuda.current_stream(index).cuda_stream)
current_device = getattr(torch._C, "_cuda_getDevice", None) or torch.cuda.current_device


def launch(call: Any, index: int, *arguments: Any) -> None:
    """`call` (of _runtime) on the current stream of CUDA device `index`, or on the CPU for -1.

    `arguments` are those after the stream.
    """
    if index < 0:
        status = call(_runtime.CPU, 0, *arguments)
    elif index == current_device():
        status = call(_runtime.CUDA, _raw_stream(index), *arguments)
        if status == _runtime.NO_CONTEXT:
            # A thread that has not used CUDA yet.
            _bind_context(index)
            status = call(_runtime.CUDA, _raw_stream(index), *arguments)
    else:
        with torch.cuda.device(index):
            status = call(_runtime.CUDA, _raw_stream(index), *arguments)
            if status == _runtime.NO_CONTEXT:
                _bind_context(index)
                status = call(_runtime.CUDA, _raw_stream(index), *arguments)
    if status:
        _runtime.raise_last_error(status)


def _bind_context(index: int) -> None:
    """Makes the device's primary context current in this thread, as any call of the CUDA runtime
    does.
    """
    torch.cuda.set_device(index)
    torch.cuda.mem_get_info(index)


def _device_index(device: Any) -> Optional[int]:
    """The index of a CUDA device, None for the current one."""
    if device is None or isinstance(device, int) and not isinstance(device, bool):
        return device
    if not isinstance(device, (str, torch.device)):
        raise TypeError("device: expected a CUDA device as a torch.device, a str or an int, found "
                        f"{type(device).__name__}")
    try:
        parsed = torch.device(device)
    except RuntimeError:
        parsed = None
    if parsed is None or parsed.type != "cuda":
        raise ValueError(f"device: expected a CUDA device, found {device}")
    return parsed.index


def load_kernels(device: Any = None) -> None:
    """moe_mlir.load_kernels, for a device of PyTorch's."""
    index = _device_index(device)
    count = torch.cuda.device_count()
    if count and index is not None and not 0 <= index < count:
        raise ValueError(f"device: expected one of {count} CUDA devices, found {device}")
    if count:
        index = torch.cuda.current_device() if index is None else index
        with torch.cuda.device(index):
            _bind_context(index)
            status = _runtime.load_kernels(_runtime.CUDA)
    else:
        # The runtime says what is missing.
        status = _runtime.load_kernels(_runtime.CUDA)
    if status:
        _runtime.raise_last_error(status)
