# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a program with PyTorch's tensors may write, and what a type checker says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import moe_mlir
import moe_mlir.megatron
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import assert_type

x = torch.ones(4, 32, dtype=torch.bfloat16)
rows = torch.arange(4, dtype=torch.int32)
n_used = torch.tensor([4], dtype=torch.int32)

assert_type(moe_mlir.padded_squared_relu(x, rows, n_used), torch.Tensor)
assert_type(moe_mlir.padded_squared_relu(x, rows, n_used, out=x.clone()), torch.Tensor)
assert_type(moe_mlir.padded_squared_relu(x, rows, n_used, expected_rows=2), torch.Tensor)
q = moe_mlir.quantize_mxfp8(x, rows, n_used, scale_layout="linear", dead_scales="untouched")
assert_type(q, moe_mlir.MXFP8[torch.Tensor])
data, scale = q
assert_type(data, torch.Tensor)
assert_type(q.scale_2d(), torch.Tensor)
assert_type(q.dequantize(torch.float64), torch.Tensor)
assert_type(q.to("cpu").to(torch.float32), moe_mlir.MXFP8[torch.Tensor])
moe_mlir.quantize_mxfp8(x, rows, n_used, scale_layout="linear", out=q)
moe_mlir.quantize_mxfp8(x, rows, n_used, scale_layout="linear", out=(data, scale))


def to_array(q: moe_mlir.MXFP8[torch.Tensor]) -> NDArray[Any]:
    """A function that is given what it says."""
    array: NDArray[Any] = q.dequantize().numpy()
    return array


assert to_array(q)[3, 31] == 1


def patched(step: torch.nn.Module) -> tuple[str, ...]:
    """Part of a program that has Megatron-Core."""
    with moe_mlir.megatron.patch() as patch, moe_mlir.megatron.expect_rows(2):
        step()
        assert_type(patch, moe_mlir.megatron.Patch)
        return patch.replaced


if TYPE_CHECKING:
    moe_mlir.load_kernels()
    moe_mlir.load_kernels(torch.device("cuda", 0))
    moe_mlir.load_kernels("cuda")
    # Each is an error of its own, and a checker that misses it says that it need not be ignored.
    moe_mlir.load_kernels(0.5)  # type: ignore[arg-type]
    array = np.ones((4, 32))
    moe_mlir.padded_squared_relu([[1.0]], rows, n_used)  # type: ignore[call-overload]
    moe_mlir.padded_squared_relu(array, array, 4.5)  # type: ignore[call-overload]
    moe_mlir.padded_squared_relu(x, rows, 4)  # type: ignore[call-overload]
    moe_mlir.padded_squared_relu(x, array, n_used)  # type: ignore[call-overload]
    moe_mlir.padded_squared_relu(x, rows, n_used, out=array)  # type: ignore[call-overload]
    moe_mlir.quantize_mxfp8(x, rows, n_used, scale_layout="row")  # type: ignore[call-overload]
    moe_mlir.quantize_mxfp8(x, rows, n_used, out=(array, array))  # type: ignore[arg-type]
    moe_mlir.MXFP8(data, array)  # type: ignore[type-var]
    to_array(moe_mlir.quantize_mxfp8(array, array, 4))  # type: ignore[arg-type]
