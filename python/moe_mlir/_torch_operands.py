# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an op expects of its tensors: what PyTorch knows of them and the runtime library does not,
so types, devices and shapes. Those without memory, with which compilers trace, are checked alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _hints
from ._op_table import Op

_BF16, _INT32, _FLOAT32 = torch.bfloat16, torch.int32, torch.float32


def _check_type(name: str, tensor: Any, why: str = " as x is one") -> None:
    # What stands for a tensor, such as a proxy of torch.fx, has __torch_function__.
    if not isinstance(tensor, Tensor) and not hasattr(type(tensor), "__torch_function__"):
        raise TypeError(f"{name}: expected a PyTorch tensor{why}, found "
                        f"{type(tensor).__module__}.{type(tensor).__qualname__}")


def _check_tensor(name: str, tensor: Any, dtype: torch.dtype, device: torch.device,
                  first: str = "x") -> None:
    """`first` is the operand that the device is of."""
    if not isinstance(tensor, Tensor):
        _check_type(name, tensor, f" as {first} is one")
    if tensor.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, found {tensor.dtype}")
    if tensor.device != device:
        raise ValueError(f"{name}: expected device {device}, as {first}, found {tensor.device}")


def row_stride(name: str, matrix: Tensor) -> int:
    """Elements from a row to the next; the runtime library knows how many are needed."""
    row, inner = matrix.stride()
    if inner != 1:
        rows, columns = matrix.shape
        if columns > 1 and rows > 0:
            raise ValueError(f"{name}: expected consecutive elements in a row, found strides of "
                             f"{[row, inner]} elements")
    return row


def _check_rows(name: str, tensor: Any, dtype: torch.dtype, rows: int, device: torch.device) -> None:
    """Of a vector with an element for each row of x."""
    _check_tensor(name, tensor, dtype, device)
    if tensor.dim() != 1 or tensor.shape[0] != rows:
        raise ValueError(f"{name}: expected shape [{rows}], an entry for each row of x, "
                         f"found {list(tensor.shape)}")
    _check_consecutive(name, tensor)


def check_inputs(op: Op, x: Tensor, permutation_map: Any, n_used: Any,
                 probs: Any = None) -> tuple[int, int, int]:
    """Rows and columns of the result, and the row stride of x."""
    if x.dtype is not _BF16:
        raise TypeError(f"x: expected dtype torch.bfloat16, found {x.dtype}")
    shape = x.shape
    if len(shape) != 2:
        raise ValueError(f"x: expected shape {op.x_shape}, found {list(shape)}")
    rows, columns = shape
    if op.parts > 1:
        if columns % op.parts:
            raise ValueError(f"x: expected a multiple of {op.parts} columns, found {columns}")
        columns //= op.parts
    device = x.device
    if not (x.is_cuda or x.is_cpu or x.is_meta):
        raise ValueError(f"x: expected a tensor on the CPU or a CUDA device, found {device}")
    if op.gathers:
        rows = check_vector("permutation_map", permutation_map, _INT32, device, "R")
    elif permutation_map is not None or op.needs_map:
        _check_rows("permutation_map", permutation_map, _INT32, rows, device)
    if probs is not None:
        _check_rows("probs", probs, _FLOAT32, rows, device)
    check_count("n_used", n_used, device)
    return rows, columns, row_stride("x", x)


def check_count(name: str, count: Any, device: torch.device, first: str = "x") -> None:
    """Of one int32. A value of the host would be frozen into a CUDA graph."""
    _check_tensor(name, count, _INT32, device, first)
    if count.dim() > 1 or count.numel() != 1:
        raise ValueError(f"{name}: expected shape [] or [1], found {list(count.shape)}")


def check_vector(name: str, tensor: Any, dtype: torch.dtype, device: torch.device,
                 size: str, first: str = "x") -> int:
    """The elements of a vector that has a size of its own, which errors call `size`."""
    _check_tensor(name, tensor, dtype, device, first)
    if tensor.dim() != 1:
        raise ValueError(f"{name}: expected shape [{size}], found {list(tensor.shape)}")
    _check_consecutive(name, tensor)
    elements: int = tensor.shape[0]
    return elements


def check_matrix(name: str, tensor: Any, dtype: torch.dtype, device: torch.device, shape: str,
                 first: str) -> None:
    """Of one whose sizes errors call `shape`."""
    _check_tensor(name, tensor, dtype, device, first)
    if tensor.dim() != 2:
        raise ValueError(f"{name}: expected shape {shape}, found {list(tensor.shape)}")


def _check_consecutive(name: str, tensor: Tensor) -> None:
    if not tensor.is_contiguous():
        raise ValueError(f"{name}: expected consecutive elements, found a stride of "
                         f"{tensor.stride(0)} elements")


def check_output(name: str, tensor: Any, dtype: torch.dtype, shape: tuple[int, ...],
                 device: torch.device, first: str = "x") -> None:
    _check_tensor(name, tensor, dtype, device, first)
    if tensor.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, found {list(tensor.shape)}")


def check_types(why: str = " as x is one", **operands: Any) -> None:
    """The dispatcher's own message does not say what came instead."""
    for name, tensor in operands.items():
        _check_type(name, tensor, why)


def check_input_types(op: Op, permutation_map: Any, n_used: Any, probs: Any) -> None:
    """check_types of the operands of an op, of which some may be None."""
    if permutation_map is not None or op.needs_map:
        _check_type("permutation_map", permutation_map)
    _check_type("n_used", n_used)
    if probs is not None:
        _check_type("probs", probs)


def _is_proxy(value: Any) -> bool:
    """Whether it is what torch.fx has in the place of a value."""
    return hasattr(type(value), "__torch_function__") and not isinstance(value, Tensor)


def to_schema(expected_rows: Any, programmatic_launch: Any) -> tuple[Any, Any]:
    """Both as the dispatcher takes them, whose own message does not say what came either. While a
    compiler traces an int may be a symbol, whose value is not known.
    """
    if not _is_proxy(programmatic_launch):
        _hints.parse_programmatic_launch(programmatic_launch)
    if (expected_rows is None or isinstance(expected_rows, torch.SymInt)
            or torch.compiler.is_compiling() and type(expected_rows) is int
            or _is_proxy(expected_rows)):
        return expected_rows, programmatic_launch
    # 0 is unknown to the runtime, not here.
    return (min(_hints.parse_expected_rows(expected_rows), int(expected_rows)),
            programmatic_launch)


def check_expected_rows(expected_rows: Any) -> None:
    """Of an op without memory; a symbol is checked when the op runs."""
    if not isinstance(expected_rows, torch.SymInt):
        _hints.parse_expected_rows(expected_rows)
