# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The formula that torch.compile gets is the ops' definition, and goes into given results."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from moe_testing import batches, oracle

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch_peer  # noqa: E402


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
