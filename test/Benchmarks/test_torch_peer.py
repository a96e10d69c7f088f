# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The formula that torch.compile gets is the ops' definition, or near it for SwiGLU, and goes into
given results.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from moe_testing import batches, gated_batches, oracle

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch_peer  # noqa: E402
import ulps  # noqa: E402


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)


# Row tiles and column tiles that are not whole.
@pytest.mark.parametrize(("M", "K"), [(16, 96), (128, 128), (300, 288)])
def test_bytes(M: int, K: int) -> None:
    batch = batches.dense_batch(M, K)
    operands = (batch.x, np.arange(M, dtype=np.int32), M)
    out = np.full((M, K), 0x5A5A, np.uint16).view(ml_dtypes.bfloat16)
    wanted = oracle.padded_squared_relu(*operands, out)
    found = as_tensor(out.copy())
    torch_peer.activation(as_tensor(batch.x), found)
    assert np.array_equal(found.view(torch.int16).numpy(), wanted.view(np.int16))

    before = (np.full((M, K), 0x5A, np.uint8).view(ml_dtypes.float8_e4m3fn),
              np.full(oracle.scale_size(M, K), 0x5A, np.uint8).view(ml_dtypes.float8_e8m0fnu))
    data, scale = oracle.squared_relu_quantize_mxfp8(*operands, *before)
    found_data = torch.full((M, K), 0x5A, dtype=torch.uint8).view(torch.float8_e4m3fn)
    found_scale = torch.full((scale.size,), 0x5A, dtype=torch.uint8)
    torch_peer.quantize(as_tensor(batch.x), found_data, found_scale)
    assert np.array_equal(found_data.view(torch.uint8).numpy(), data.view(np.uint8))
    assert np.array_equal(found_scale.numpy(), scale.view(np.uint8))


@pytest.mark.parametrize(("M", "K"), [(16, 96), (128, 128), (300, 288)])
def test_swiglu(M: int, K: int) -> None:
    """PyTorch divides by 1 + exp(-gate), with an exp of its own."""
    batch = gated_batches.dense(*gated_batches.ordinary_pairs(M, K))
    operands = (batch.x, batch.permutation_map, M)
    wanted = oracle.padded_swiglu(*operands, np.zeros((M, K), ml_dtypes.bfloat16))
    found = torch.full((M, K), 7, dtype=torch.bfloat16)
    torch_peer.swiglu(as_tensor(batch.x), found)
    assert ulps.bf16_trouble(found, as_tensor(wanted)) is None

    before = (np.zeros((M, K), ml_dtypes.float8_e4m3fn),
              np.zeros(oracle.scale_size(M, K), ml_dtypes.float8_e8m0fnu))
    data, scale = oracle.swiglu_quantize_mxfp8(*operands, *before)
    found_data = torch.full((M, K), 0x5A, dtype=torch.uint8).view(torch.float8_e4m3fn)
    found_scale = torch.full((scale.size,), 0x5A, dtype=torch.uint8)
    torch_peer.swiglu_quantize(as_tensor(batch.x), found_data, found_scale)
    offset = oracle.scale_offset(np.arange(M)[:, None], np.arange(K // 32)[None, :], K)
    assert ulps.mxfp8_trouble(
        (found_data.view(torch.uint8), found_scale[torch.from_numpy(offset)]),
        (torch.from_numpy(data.view(np.uint8)), torch.from_numpy(scale.view(np.uint8)[offset])),
    ) is None
    padding = np.ones(scale.size, bool)
    padding[offset] = False
    assert not found_scale.numpy()[padding].any()
