# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Stands in for Megatron-Core's module of this name: its functions, without Triton, for any device,
counted, and as they are called.
"""

import torch

calls = []


def _squared_relu(x):
    return torch.relu(x.float()).square()


def padded_squared_relu(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor
) -> torch.Tensor:
    """Of all rows: what those that are not live hold is undefined."""
    calls.append("padded_squared_relu")
    return _squared_relu(x).to(x.dtype)


def padded_swiglu(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor
) -> torch.Tensor:
    calls.append("padded_swiglu")
    gate, up = x.float().chunk(2, dim=1)
    return (torch.nn.functional.silu(gate) * up).to(x.dtype)


def squared_relu_and_quantize_mxfp8(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor
):
    """Of rows that are not live: data as of live ones, scales of zero."""
    from megatron.core.inference.quantization.mxfp8_tensor import MXFP8Tensor

    calls.append("squared_relu_and_quantize_mxfp8")
    rows, columns = x.shape
    assert columns % 32 == 0
    groups = _squared_relu(x).bfloat16().float().reshape(rows, -1, 32)
    # Rounded up to a power of two, on the bits.
    bits = (groups.amax(2) / 448).view(torch.int32) + 0x7FFFFF & 0x7F800000
    factor = torch.where(bits == 0, 0, 1 / bits.view(torch.float32))
    data = (groups * factor[:, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)

    live = (permutation_map >= 0) & (torch.arange(rows, device=x.device) < n_used)
    matrix = torch.zeros(-(-rows // 128) * 128, -(-columns // 128) * 4, dtype=torch.uint8,
                         device=x.device)
    matrix[:rows, : columns // 32] = (bits >> 23).to(torch.uint8) * live[:, None]
    tiles = matrix.reshape(-(-rows // 128), 4, 32, -1, 4).permute(0, 3, 2, 1, 4)
    return MXFP8Tensor(data=data, scale=tiles.flatten().view(torch.float8_e8m0fnu),
                       backend="triton")
