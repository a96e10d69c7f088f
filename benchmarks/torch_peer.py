# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops as torch.compile makes them of the plain formula, as a peer to measure against.

On every row of the capacity, with static shapes, into given results: what allocates its results
would get one block of a CUDA graph's pool again and again, and write into the L2 cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def activation(x: torch.Tensor, out: torch.Tensor) -> None:
    out.copy_(torch.relu(x).square())


def quantize(x: torch.Tensor, data: torch.Tensor, scale: torch.Tensor) -> None:
    """Data and swizzled scales (uint8); M is a multiple of 128, or below it."""
    a = torch.relu(x).square()
    _store_mxfp8(a, a, data, scale)


def _silu_mul(x: torch.Tensor) -> torch.Tensor:
    """In float32: in bf16, the value of the gate would be rounded as well."""
    gate, up = x.float().chunk(2, -1)
    return torch.nn.functional.silu(gate) * up


def swiglu(x: torch.Tensor, out: torch.Tensor) -> None:
    """Of x [M, 2N], the gate first."""
    out.copy_(_silu_mul(x))


def swiglu_quantize(x: torch.Tensor, data: torch.Tensor, scale: torch.Tensor) -> None:
    a = _silu_mul(x).to(torch.bfloat16)
    _store_mxfp8(a, a.abs(), data, scale)


def _store_mxfp8(a: torch.Tensor, magnitude: torch.Tensor, data: torch.Tensor,
                 scale: torch.Tensor) -> None:
    M, K = a.shape
    groups, col_tiles, row_tiles = K // 32, -(-K // 128), -(-M // 128)
    a = a.view(M, groups, 32)
    m = magnitude.view(M, groups, 32).amax(-1).float()
    e = ((m.view(torch.int32) + 0x1FFFFF) >> 23) - 8
    e = torch.where(m == 0, 0, e.clamp(min=1))
    e = torch.where(m == float("inf"), 255, e)
    factor = torch.where(e == 255, 0.0, ((254 - e) << 23).view(torch.float32))
    data.copy_((a.float() * factor[:, :, None]).to(torch.float8_e4m3fn).view(M, K))
    linear = torch.nn.functional.pad(e.to(torch.uint8),
                                     (0, 4 * col_tiles - groups, 0, 128 * row_tiles - M))
    scale.copy_(linear.view(row_tiles, 4, 32, col_tiles, 4).permute(0, 3, 2, 1, 4).reshape(-1))


class TorchPeer:
    """The compiled functions. Each shape is compiled when it first comes."""

    def __init__(self) -> None:
        # A silent return to eager would be no peer.
        for name, value in (("recompile_limit", 256), ("fail_on_recompile_limit_hit", True)):
            if hasattr(torch._dynamo.config, name):
                setattr(torch._dynamo.config, name, value)
        # An activation is rounded to bf16 before it is quantized.
        options = {"emulate_precision_casts": True}
        self._functions: dict[str, Callable[..., None]] = {
            function.__name__: torch.compile(function, dynamic=False, options=options)
            for function in (activation, quantize, swiglu, swiglu_quantize)}

    def run(self, op: str, operands: Any, outputs: Any) -> None:
        if isinstance(outputs, torch.Tensor):
            self._functions[op](operands[0], outputs)
        else:
            data, scale = outputs
            self._functions[op](operands[0], data, scale.view(torch.uint8))
