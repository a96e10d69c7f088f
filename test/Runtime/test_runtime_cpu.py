# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops on the CPU through the C API, compared byte for byte with the oracle.

Buffers are parts of larger ones that start as random bytes, and the whole of each is compared, so
guards around a buffer and between its rows are checked too.
"""

from __future__ import annotations

import ctypes
import threading

import ml_dtypes
import numpy as np
import pytest
from moe_testing import batches, oracle
from moe_testing import runtime as moe

SQUARED_RELU, FUSED, QUANTIZE = moe.FUNCTIONS
OPS = list(moe.FUNCTIONS)
LAYOUTS = {moe.SWIZZLED: oracle.SWIZZLED, moe.LINEAR: oracle.LINEAR}
DEAD = {moe.ZERO: "zero", moe.UNTOUCHED: "untouched"}
GUARD = 256


class Buffer:
    """A strided matrix of bytes within random bytes, `offset` past 64-byte alignment."""

    def __init__(self, rng: np.random.Generator, rows: int, row_bytes: int, stride_bytes: int,
                 offset: int = 0) -> None:
        size = rows * stride_bytes + 2 * GUARD + offset + 64
        self.storage = rng.integers(0, 256, size, dtype=np.uint8)
        self.start = -self.storage.ctypes.data % 64 + GUARD + offset
        self.address = self.storage.ctypes.data + self.start
        self.shape = (rows, row_bytes, stride_bytes)

    def of(self, storage: np.ndarray) -> np.ndarray:
        """The matrix in `storage`, this buffer's or a copy of it."""
        rows, row_bytes, stride = self.shape
        return np.lib.stride_tricks.as_strided(storage[self.start:], (rows, row_bytes), (stride, 1))

    def values(self, dtype: np.dtype) -> np.ndarray:
        rows, row_bytes, _ = self.shape
        dense = np.ascontiguousarray(self.of(self.storage))
        return dense.reshape(-1).view(dtype).reshape(rows, row_bytes // np.dtype(dtype).itemsize)

    def expect(self, values: np.ndarray) -> np.ndarray:
        """The storage as it should be with `values` in the matrix."""
        expected = self.storage.copy()
        rows, row_bytes, _ = self.shape
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.of(expected)[...] = flat.reshape(rows, row_bytes)
        return expected


def check(op: str, batch: batches.Batch, *, layout: int = moe.SWIZZLED, dead: int = moe.ZERO,
          num_threads: int = 1, padding: int = 0, x_offset: int = 0, out_offset: int = 0,
          seed: int = 0, by_name: bool = False) -> None:
    rng = np.random.default_rng(seed)
    M, K = batch.x.shape
    quantizing = op != SQUARED_RELU
    out_dtype = ml_dtypes.float8_e4m3fn if quantizing else ml_dtypes.bfloat16
    out_bytes = 1 if quantizing else 2
    x = Buffer(rng, M, 2 * K, 2 * (K + padding), x_offset)
    x.storage[...] = x.expect(batch.x)
    out = Buffer(rng, M, out_bytes * K, out_bytes * (K + padding), out_offset)
    permutation_map = np.ascontiguousarray(batch.permutation_map)
    n_used = np.array(batch.n_used, np.int32)
    call = moe.Call(op, M, K, x=x.address, permutation_map=permutation_map.ctypes.data,
                    n_used=n_used.ctypes.data, out=out.address, x_stride=K + padding,
                    out_stride=K + padding, num_threads=num_threads, by_name=by_name)
    buffers = [(x, x.storage.copy())]
    arguments = (batch.x, permutation_map, n_used, out.values(out_dtype))
    if not quantizing:
        buffers.append((out, out.expect(oracle.padded_squared_relu(*arguments))))
    else:
        if layout == moe.LINEAR:
            scale = Buffer(rng, M, K // 32, K // 32 + padding, out_offset)
            old = scale.values(ml_dtypes.float8_e8m0fnu)
            call = call.with_(scale_stride=K // 32 + padding)
        else:
            scale = Buffer(rng, 1, *[moe.scale_size(M, K)] * 2, out_offset)
            old = scale.values(ml_dtypes.float8_e8m0fnu)[0]
        call = call.with_(scale=scale.address, layout=layout, dead=dead)
        data, scales = getattr(oracle, op)(*arguments, old, scale_layout=LAYOUTS[layout],
                                           dead_scales=DEAD[dead])
        buffers += [(out, out.expect(data)), (scale, scale.expect(scales))]
    call.run()
    for name, (buffer, expected) in zip(["x", "out", "scale"], buffers):
        differing = np.flatnonzero(buffer.storage != expected)
        assert differing.size == 0, (
            f"{name}: {differing.size} bytes differ, the first at {differing[0] - buffer.start}")


@pytest.mark.parametrize("op", OPS)
def test_all_bf16_patterns(op: str) -> None:
    if op == SQUARED_RELU:
        x = np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16).reshape(32, 2048)
    else:
        x = batches.all_bf16_patterns(2048)
    M = x.shape[0]
    check(op, batches.Batch(x, np.arange(M), M))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_routed_batch(op: str, num_threads: int) -> None:
    check(op, batches.routed_batch(40, experts=16, top_k=3, ffn=1856), num_threads=num_threads)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_by_name(op: str, layout: int) -> None:
    check(op, batches.random_batch(130, 96, 129), layout=layout, dead=moe.UNTOUCHED, padding=32,
          by_name=True)


@pytest.mark.parametrize("op", [FUSED, QUANTIZE])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dead", DEAD)
@pytest.mark.parametrize("num_threads", [1, 4])
def test_scale_modes(op: str, layout: int, dead: int, num_threads: int) -> None:
    check(op, batches.random_batch(1000, 1184, 900, 0.4), layout=layout, dead=dead,
          num_threads=num_threads, padding=32)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("n_used", [-(2**31), -7, 0, 1, 128, 129, 300, 600, 2**31 - 1])
@pytest.mark.parametrize("num_threads", [1, 5])
def test_n_used(op: str, n_used: int, num_threads: int) -> None:
    check(op, batches.random_batch(600, 96, n_used, 0.9), num_threads=num_threads)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("M", [1, 31, 127, 128, 129, 257])
@pytest.mark.parametrize("K", [32, 64, 160, 1056])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_sizes(op: str, M: int, K: int, num_threads: int) -> None:
    check(op, batches.random_batch(M, K, M, seed=M + K), num_threads=num_threads)


@pytest.mark.parametrize("N", [1, 7, 31, 33, 1025])
def test_any_number_of_columns(N: int) -> None:
    check(SQUARED_RELU, batches.random_batch(300, N, 290), num_threads=3)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("live_fraction", [0.0, 1.0])
def test_strided_unaligned(op: str, layout: int, live_fraction: float) -> None:
    check(op, batches.random_batch(270, 160, 250, live_fraction), layout=layout, padding=3, x_offset=2,
          out_offset=2 if op == SQUARED_RELU else 1, num_threads=2)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("rows", "columns"), [(0, 64), (64, 0), (0, 0)])
@pytest.mark.parametrize("device", [moe.CPU, moe.CUDA])
def test_nothing_to_do(op: str, rows: int, columns: int, device: int) -> None:
    """Null pointers, and for CUDA not even a driver."""
    moe.Call(op, rows, columns, None, None, None, None, None, device=device).run()


def test_what_is_empty_may_have_no_address() -> None:
    """A library of tensors has none for no elements: probs that nobody gives may be those of no
    rows, with which alone rows of padding are zeroed here.
    """
    call = moe.Call("padded_swiglu", 0, 64, x=None, permutation_map=None, out=None,
                    settings={"dead_rows": "zero"})
    call.run()
    with pytest.raises(moe.MoeError, match="no kernel for"):
        call.with_(rows=4, x=1 << 56, permutation_map=2 << 56, out=4 << 56).run()



@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [-5, 1, 2, 2**62])
def test_strides_of_a_single_row_mean_nothing(op: str, layout: int, stride: int,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    run = moe.Call.run
    strides = {"x_stride": stride, "out_stride": stride, "scale_stride": stride}
    monkeypatch.setattr(moe.Call, "run", lambda call: run(call.with_(**strides)))
    check(op, batches.random_batch(1, 96, 1, live_fraction=1), layout=layout)


@pytest.mark.parametrize("op", OPS)
def test_float_environment_of_the_caller(op: str) -> None:
    """Another rounding mode changes no byte, and is still there afterwards."""
    libm = ctypes.CDLL("libm.so.6")
    upward = 0x800
    before = libm.fegetround()
    assert libm.fesetround(upward) == 0
    try:
        batch = batches.random_batch(300, 64, 300)
    finally:
        libm.fesetround(before)
    # The oracle is run with the usual mode, the library alone with the other.
    run = moe.Call.run

    def run_upward(call: moe.Call) -> None:
        assert libm.fesetround(upward) == 0
        try:
            run(call)
            assert libm.fegetround() == upward
        finally:
            libm.fesetround(before)

    moe.Call.run = run_upward
    try:
        check(op, batch, num_threads=2)
    finally:
        moe.Call.run = run


def test_calls_from_several_threads() -> None:
    failures = []

    def work(seed: int) -> None:
        try:
            for op in OPS:
                check(op, batches.random_batch(700, 256, 650, seed=seed), num_threads=seed % 3, seed=seed)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_check_sees_a_wrong_byte() -> None:
    run = moe.Call.run
    moe.Call.run = lambda call: run(call.with_(dead=moe.UNTOUCHED))
    try:
        with pytest.raises(AssertionError, match="scale: .* bytes differ"):
            check(FUSED, batches.random_batch(40, 64, 20))
    finally:
        moe.Call.run = run
