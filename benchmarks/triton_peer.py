# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops in Triton, as a peer to measure against.

Written from the definition of the ops, with the structure of Megatron-Core's
core.inference.moe.activations: CTAs that walk the rows of the capacity one after another, so many
rows apart as there are CTAs; scales that PyTorch zeroes before, with a launch of its own. The bytes
are those of the ops' definition, but for SwiGLU: its sigmoid is tl.sigmoid, as the reference's is,
whose exp and division are approximations; ulps.py says how far a result may be off.

How many CTAs there are at most, and the block and the warps of each, are parameters:
candidates()[0] is what the reference takes, the others are there so that the peer can be given its
best.

Scales are uint8 here: Triton has no name for E8M0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

# The reference's, two larger ones, and a CTA for each row.
CTA_CAPS = (512, 2048, 8192, 1 << 30)


class Config(NamedTuple):
    """Columns that a CTA handles at a time, its warps, and how many CTAs there are at most."""

    block: int
    num_warps: int
    max_ctas: int = CTA_CAPS[0]

    def __str__(self) -> str:
        ctas = "a CTA a row" if self.max_ctas == CTA_CAPS[-1] else f"{self.max_ctas} CTAs"
        return f"block {self.block} warps {self.num_warps} {ctas}"


def candidates(op: str, M: int, K: int) -> list[Config]:
    """Launch parameters worth trying, the reference's first; no two that are the same for M."""
    row = triton.next_power_of_2(K)
    if op in ("padded_squared_relu", "padded_swiglu"):
        blocks = [(min(row, 1024), 4), (row, 4), (row, 8)]
    else:
        blocks = [(row, 4), (row, 8), (row, 16)]
    smaller = [cap for cap in CTA_CAPS if cap < M]
    # The first that M does not reach is a CTA for each row, and so are those after it.
    caps = [*smaller, *CTA_CAPS[len(smaller):][:1]]
    return [Config(*block, cap) for cap in caps for block in dict.fromkeys(blocks)]


@triton.jit
def _empty_kernel(x_ptr):
    pass


@triton.jit
def _squared_relu_kernel(x_ptr, permutation_map_ptr, n_used_ptr, out_ptr, max_rows, N,
                         BLOCK: tl.constexpr, STEP: tl.constexpr):
    first = tl.program_id(0)
    n_used = tl.load(n_used_ptr)
    if first >= n_used:
        return
    for row in tl.range(first, max_rows, STEP):
        if row < n_used:
            if tl.load(permutation_map_ptr + row) >= 0:
                for begin in tl.range(0, N, BLOCK):
                    column = begin + tl.arange(0, BLOCK)
                    inside = column < N
                    x = tl.load(x_ptr + row * N + column, mask=inside).to(tl.float32)
                    # A NaN counts as missing in this maximum.
                    relu = tl.maximum(x, 0.0)
                    tl.store(out_ptr + row * N + column, (relu * relu).to(tl.bfloat16),
                             mask=inside)


@triton.jit
def _squared_relu_quantize_kernel(x_ptr, permutation_map_ptr, n_used_ptr, data_ptr, scale_ptr,
                                  max_rows, K, n_col_tiles, BLOCK: tl.constexpr,
                                  STEP: tl.constexpr):
    GROUPS: tl.constexpr = BLOCK // 32
    first = tl.program_id(0)
    n_used = tl.load(n_used_ptr)
    if first >= n_used:
        return
    column = tl.arange(0, BLOCK)
    inside = column < K
    g = tl.arange(0, GROUPS)
    for row in tl.range(first, max_rows, STEP):
        if row < n_used:
            if tl.load(permutation_map_ptr + row) >= 0:
                x = tl.load(x_ptr + row * K + column, mask=inside, other=0.0).to(tl.float32)
                relu = tl.maximum(x, 0.0)
                a = (relu * relu).to(tl.bfloat16).to(tl.float32)
                a = tl.reshape(a, [GROUPS, 32])
                m = tl.max(a, axis=1)

                # RCEIL on the bits of the maximum, which is a bf16 value: 448 = 1.75 * 2^8.
                e = ((m.to(tl.int32, bitcast=True) + 0x1FFFFF) >> 23) - 8
                e = tl.where(m == 0.0, 0, tl.maximum(e, 1))
                e = tl.where(m == float("inf"), 255, e)
                factor = ((254 - e) << 23).to(tl.float32, bitcast=True)
                factor = tl.where(e == 255, 0.0, factor)
                value = a * factor[:, None]
                # Infinity times 0 is a NaN of either sign; the definition's has none.
                value = tl.where(a == float("inf"), float("nan"), value)
                data = tl.reshape(value, [BLOCK]).to(tl.float8e4nv)
                tl.store(data_ptr + row * K + column, data, mask=inside)

                tile = (row // 128) * n_col_tiles + g // 4
                offset = tile * 512 + (row % 32) * 16 + ((row % 128) // 32) * 4 + g % 4
                tl.store(scale_ptr + offset, e.to(tl.uint8), mask=g < K // 32)


@triton.jit
def _swiglu_kernel(x_ptr, permutation_map_ptr, n_used_ptr, out_ptr, max_rows, N,
                   BLOCK: tl.constexpr, STEP: tl.constexpr):
    first = tl.program_id(0)
    n_used = tl.load(n_used_ptr)
    if first >= n_used:
        return
    for row in tl.range(first, max_rows, STEP):
        if row < n_used:
            if tl.load(permutation_map_ptr + row) >= 0:
                for begin in tl.range(0, N, BLOCK):
                    column = begin + tl.arange(0, BLOCK)
                    inside = column < N
                    gate = x_ptr + row * 2 * N + column
                    g = tl.load(gate, mask=inside).to(tl.float32)
                    u = tl.load(gate + N, mask=inside).to(tl.float32)
                    tl.store(out_ptr + row * N + column, (g * tl.sigmoid(g) * u).to(tl.bfloat16),
                             mask=inside)


@triton.jit
def _swiglu_quantize_kernel(x_ptr, permutation_map_ptr, n_used_ptr, data_ptr, scale_ptr, max_rows,
                            K, n_col_tiles, BLOCK: tl.constexpr, STEP: tl.constexpr):
    GROUPS: tl.constexpr = BLOCK // 32
    first = tl.program_id(0)
    n_used = tl.load(n_used_ptr)
    if first >= n_used:
        return
    column = tl.arange(0, BLOCK)
    inside = column < K
    g = tl.arange(0, GROUPS)
    for row in tl.range(first, max_rows, STEP):
        if row < n_used:
            if tl.load(permutation_map_ptr + row) >= 0:
                gate = x_ptr + row * 2 * K + column
                v = tl.load(gate, mask=inside, other=0.0).to(tl.float32)
                u = tl.load(gate + K, mask=inside, other=0.0).to(tl.float32)
                a = (v * tl.sigmoid(v) * u).to(tl.bfloat16).to(tl.float32)
                a = tl.reshape(a, [GROUPS, 32])
                magnitude = tl.abs(a)
                # A NaN counts as missing.
                m = tl.max(tl.where(a == a, magnitude, 0.0), axis=1)

                # RCEIL on the bits of the maximum, which is a bf16 value: 448 = 1.75 * 2^8.
                e = ((m.to(tl.int32, bitcast=True) + 0x1FFFFF) >> 23) - 8
                e = tl.where(m == 0.0, 0, tl.maximum(e, 1))
                e = tl.where(m == float("inf"), 255, e)
                factor = ((254 - e) << 23).to(tl.float32, bitcast=True)
                factor = tl.where(e == 255, 0.0, factor)
                value = a * factor[:, None]
                # Infinity times 0 is a NaN of either sign; the definition's has none.
                value = tl.where((magnitude == float("inf")) | (a != a), float("nan"), value)
                data = tl.reshape(value, [BLOCK]).to(tl.float8e4nv)
                tl.store(data_ptr + row * K + column, data, mask=inside)

                tile = (row // 128) * n_col_tiles + g // 4
                offset = tile * 512 + (row % 32) * 16 + ((row % 128) // 32) * 4 + g % 4
                tl.store(scale_ptr + offset, e.to(tl.uint8), mask=g < K // 32)


def empty(x: torch.Tensor) -> None:
    """Launches a kernel that does nothing with x."""
    _empty_kernel[(1,)](x)


def scale_size(M: int, K: int) -> int:
    return -(-M // 128) * -(-K // 128) * 512


def _activate(kernel: Any, op: str, N: int, x: torch.Tensor, permutation_map: torch.Tensor,
              n_used: torch.Tensor, out: torch.Tensor | None,
              config: Config | None) -> torch.Tensor:
    M = x.shape[0]
    if out is None:
        out = torch.empty(M, N, dtype=x.dtype, device=x.device)
    block, num_warps, step = config or candidates(op, M, N)[0]
    kernel[(min(M, step),)](x, permutation_map, n_used, out, M, N, BLOCK=block, STEP=step,
                            num_warps=num_warps)
    return out


def _quantize(kernel: Any, op: str, K: int, x: torch.Tensor, permutation_map: torch.Tensor,
              n_used: torch.Tensor, out: tuple[torch.Tensor, torch.Tensor] | None,
              config: Config | None) -> tuple[torch.Tensor, torch.Tensor]:
    M = x.shape[0]
    if out is None:
        data = torch.empty(M, K, dtype=torch.float8_e4m3fn, device=x.device)
        scale = torch.zeros(scale_size(M, K), dtype=torch.uint8, device=x.device)
    else:
        data, scale = out
        scale.zero_()
    block, num_warps, step = config or candidates(op, M, K)[0]
    kernel[(min(M, step),)](x, permutation_map, n_used, data, scale, M, K, -(-K // 128),
                            BLOCK=block, STEP=step, num_warps=num_warps)
    return data, scale


def padded_squared_relu(x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor,
                        out: torch.Tensor | None = None,
                        config: Config | None = None) -> torch.Tensor:
    """relu(x)^2 of live rows, into `out` if it is given."""
    return _activate(_squared_relu_kernel, "padded_squared_relu", x.shape[1], x, permutation_map,
                     n_used, out, config)


def squared_relu_and_quantize_mxfp8(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor] | None = None, config: Config | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Data and swizzled scales (uint8), into `out` if it is given; zeroing is part of it."""
    return _quantize(_squared_relu_quantize_kernel, "squared_relu_and_quantize_mxfp8", x.shape[1],
                     x, permutation_map, n_used, out, config)


def padded_swiglu(x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor,
                  out: torch.Tensor | None = None, config: Config | None = None) -> torch.Tensor:
    """silu(gate) * up of live rows of x [M, 2N], the gate first, into `out` if it is given."""
    return _activate(_swiglu_kernel, "padded_swiglu", x.shape[1] // 2, x, permutation_map, n_used,
                     out, config)


def swiglu_and_quantize_mxfp8(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor] | None = None, config: Config | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same quantised: data and swizzled scales (uint8), as above."""
    return _quantize(_swiglu_quantize_kernel, "swiglu_and_quantize_mxfp8", x.shape[1] // 2, x,
                     permutation_map, n_used, out, config)
