# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the Triton peer in Triton's interpreter and compares every byte with the oracle, or how far
off it is where that depends on the exp of a device.

A program of its own, for test_triton_peer.py: TRITON_INTERPRET must be set before Triton is
imported. It needs the benchmarks on PYTHONPATH.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import ml_dtypes
import numpy as np
import torch
import triton.language as tl
import triton_peer
import ulps
from moe_testing import batches, gated_batches, oracle
from triton.runtime import interpreter

POISON = 0x5A


def round_as_hardware_does() -> None:
    """The interpreter truncates to bf16 and has its own E4M3; a GPU rounds to nearest even.

    So this checks everything about the peer but the two conversions, which gpu.py checks on a GPU.
    """
    convert = interpreter._convert_float
    numpy_types = {tl.float32: np.float32, tl.bfloat16: ml_dtypes.bfloat16,
                   tl.float8e4nv: ml_dtypes.float8_e4m3fn}

    def rounded(values: np.ndarray, source: tl.dtype, target: tl.dtype, mode: object) -> np.ndarray:
        if source not in numpy_types or target not in numpy_types:
            return convert(values, source, target, mode)
        values = values.view(numpy_types[source]).astype(np.float32)
        if target == tl.float8e4nv:
            bits = np.clip(values, -448, 448).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
            return np.where(np.isnan(values), np.uint8(0x7F), bits)
        return values.astype(numpy_types[target]).view(f"u{np.dtype(numpy_types[target]).itemsize}")

    interpreter._convert_float = rounded


def make_scalars_indices() -> None:
    """The interpreter keeps a scalar in an array of one element, which numpy from 2.4 on does not
    take for an index.
    """
    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, scope: interpreter._LangPatchScope) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patched


def lose_nans_in_maxima() -> None:
    """As maxnum does, which is what tl.maximum means; the interpreter keeps a NaN."""
    interpreter.InterpreterBuilder.create_maxnumf = (
        lambda self, a, b: self.binary_op(a, b, np.fmax))


def prepare_interpreter() -> None:
    round_as_hardware_does()
    lose_nans_in_maxima()
    make_scalars_indices()


def check(name: str, batch: batches.Batch) -> None:
    M, K = batch.x.shape
    x = torch.from_numpy(batch.x.view(np.int16)).view(torch.bfloat16)
    permutation_map = torch.from_numpy(batch.permutation_map)
    n_used = torch.tensor(int(batch.n_used), dtype=torch.int32)
    operands = (batch.x, batch.permutation_map, batch.n_used)

    before = np.full((M, K), 0x5A5A, np.uint16).view(ml_dtypes.bfloat16)
    wanted = oracle.padded_squared_relu(*operands, before)
    q_before = (np.full((M, K), POISON, np.uint8).view(ml_dtypes.float8_e4m3fn),
                np.full(oracle.scale_size(M, K), POISON, np.uint8).view(ml_dtypes.float8_e8m0fnu))
    q_wanted = oracle.squared_relu_quantize_mxfp8(*operands, *q_before)

    for config in triton_peer.candidates("padded_squared_relu", M, K):
        out = torch.from_numpy(before.view(np.int16).copy()).view(torch.bfloat16)
        triton_peer.padded_squared_relu(x, permutation_map, n_used, out, config)
        differ = np.count_nonzero(out.view(torch.int16).numpy() != wanted.view(np.int16))
        assert not differ, f"{name} {config}: {differ} elements of out differ"
    for config in triton_peer.candidates("squared_relu_and_quantize_mxfp8", M, K):
        out = tuple(torch.from_numpy(array.view(np.uint8).copy()) for array in q_before)
        out = (out[0].view(torch.float8_e4m3fn), out[1])
        triton_peer.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used, out, config)
        for part, found, want in zip(("data", "scale"), out, q_wanted):
            differ = np.count_nonzero(found.view(torch.uint8).numpy() != want.view(np.uint8))
            assert not differ, f"{name} {config}: {differ} bytes of {part} differ"

    # And with the results allocated.
    live = torch.from_numpy(oracle.live_rows(*operands[1:]))
    found = triton_peer.padded_squared_relu(x, permutation_map, n_used)
    assert torch.equal(found.view(torch.int16)[live],
                       torch.from_numpy(wanted.view(np.int16))[live]), name
    data, scale = triton_peer.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used)
    assert torch.equal(data.view(torch.uint8)[live],
                       torch.from_numpy(q_wanted[0].view(np.uint8))[live]), name
    assert np.array_equal(scale.numpy(), q_wanted[1].view(np.uint8)), name
    triton_peer.empty(x)
    print(name, flush=True)


def check_swiglu(name: str, batch: batches.Batch) -> None:
    """The interpreter's exp is numpy's: a GPU's is another approximation."""
    M, K = batch.x.shape[0], batch.x.shape[1] // 2
    x = torch.from_numpy(batch.x.view(np.int16)).view(torch.bfloat16)
    permutation_map = torch.from_numpy(batch.permutation_map)
    n_used = torch.tensor(int(batch.n_used), dtype=torch.int32)
    operands = (batch.x, batch.permutation_map, batch.n_used)
    live = torch.from_numpy(oracle.live_rows(*operands[1:]))

    before = np.full((M, K), 0x5A5A, np.uint16).view(ml_dtypes.bfloat16)
    wanted = torch.from_numpy(oracle.padded_swiglu(*operands, before).view(np.int16))
    for config in triton_peer.candidates("padded_swiglu", M, K):
        out = torch.full((M, K), 0x5A5A, dtype=torch.int16).view(torch.bfloat16)
        triton_peer.padded_swiglu(x, permutation_map, n_used, out, config)
        assert torch.equal(out.view(torch.int16)[~live], wanted[~live]), f"{name} {config}"
        trouble = ulps.bf16_trouble(out, wanted.view(torch.bfloat16))
        assert trouble is None, f"{name} {config}: {trouble}"
    allocated = triton_peer.padded_swiglu(x, permutation_map, n_used)
    assert ulps.bf16_trouble(allocated[live], wanted.view(torch.bfloat16)[live]) is None, name

    if K % 32 == 0:
        check_swiglu_quantize(name, x, permutation_map, n_used, operands, live)
    print(f"swiglu, {name}", flush=True)


def check_swiglu_quantize(name: str, x: torch.Tensor, permutation_map: torch.Tensor,
                          n_used: torch.Tensor, operands: tuple, live: torch.Tensor) -> None:
    M, K = x.shape[0], x.shape[1] // 2
    data = np.full((M, K), POISON, np.uint8).view(ml_dtypes.float8_e4m3fn)
    linear = np.zeros((M, K // 32), ml_dtypes.float8_e8m0fnu)
    want_data, want_scale = (torch.from_numpy(array.view(np.uint8)) for array in (
        oracle.swiglu_quantize_mxfp8(*operands, data, linear, oracle.LINEAR)))
    offset = torch.from_numpy(oracle.scale_offset(np.arange(M)[:, None],
                                                  np.arange(K // 32)[None, :], K))
    is_other = torch.ones(triton_peer.scale_size(M, K), dtype=torch.bool)
    is_other[offset[live]] = False
    for config in [None, *triton_peer.candidates("swiglu_and_quantize_mxfp8", M, K)]:
        out = None if config is None else (
            torch.full((M, K), POISON, dtype=torch.uint8).view(torch.float8_e4m3fn),
            torch.full((is_other.numel(),), POISON, dtype=torch.uint8))
        found, scale = triton_peer.swiglu_and_quantize_mxfp8(x, permutation_map, n_used, out,
                                                             config)
        found = found.view(torch.uint8)
        if config is not None:
            assert torch.equal(found[~live], want_data[~live]), f"{name} {config}"
        assert not scale[is_other].any(), f"{name} {config}: scales beside those of live rows"
        trouble = ulps.mxfp8_trouble((found[live], scale[offset][live]),
                                     (want_data[live], want_scale[live]))
        assert trouble is None, f"{name} {config}: {trouble}"


def check_all_swiglu() -> None:
    """All gates, and what no gate of a model gives; then rows as other checks have them."""
    check_swiglu("all gates", gated_batches.dense(*gated_batches.all_gates(16384, rounds=1)))
    check_swiglu("special groups", gated_batches.dense(
        *(part.reshape(-1, 4 * 32) for part in gated_batches.special_groups())))
    check_swiglu("routed", gated_batches.random_gated_batch(40, 96, 30))
    for n_used in (-1, 3, 2**31 - 1):
        check_swiglu(f"n_used {n_used}", gated_batches.random_gated_batch(9, 96, n_used))
    check_swiglu("more rows than CTAs", gated_batches.random_gated_batch(520, 64, 520, "gate_up",
                                                                         0.05))
    check_swiglu("N of 41", gated_batches.random_gated_batch(5, 41, 4, "gate_up", 1.0))


def main() -> None:
    prepare_interpreter()
    patterns = batches.all_bf16_patterns(16384)
    check("all bf16 patterns", batches.Batch(patterns, np.arange(patterns.shape[0]),
                                                  patterns.shape[0]))
    check("routed", batches.routed_batch(2, experts=8, top_k=3, alignment=16, ffn=96))
    for n_used in (-1, 3, 2**31 - 1):
        check(f"more rows than CTAs, n_used {n_used}", batches.random_batch(600, 160, n_used))
    check("K of 32", batches.random_batch(5, 32, 5))
    check("K of 1856", batches.dense_batch(40, 1856))
    check_all_swiglu()


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        main()
