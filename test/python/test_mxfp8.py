# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MXFP8 of NumPy arrays: what it holds, what it is worth, and how it is copied and shown."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import ml_dtypes
import moe_mlir
import numpy as np
import pytest
from moe_testing import oracle

LAYOUTS = ("swizzle_32_4_4", "linear")


def quantize(M: int, K: int, layout: str = "swizzle_32_4_4") -> tuple[Any, np.ndarray]:
    """A result, and what was quantised; all rows are live."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((M, K)) * np.exp2(rng.integers(-100, 100, (M, 1)))
    x = x.astype(oracle.bfloat16)
    return moe_mlir.quantize_mxfp8(x, np.arange(M, dtype=np.int32), M, scale_layout=layout), x


def test_a_pair_that_knows_its_layout() -> None:
    q, x = quantize(130, 96, "linear")
    data, scale = q
    assert data is q.data and scale is q.scale and len(q) == 2 and not isinstance(q, tuple)
    assert q[0] is data and q[-1] is scale and q[:2] == (data, scale)
    with pytest.raises(IndexError):
        q[2]
    assert q.scale_layout == "linear" and q.backend == "triton"
    assert q.dtype == np.dtype(oracle.bfloat16) and q.device == "cpu"
    assert q.shape == q.size() == (130, 96) and (q.size(0), q.size(-1)) == (130, 96)
    with pytest.raises(IndexError):
        q.size(2)


def test_arguments_of_the_class() -> None:
    q, _ = quantize(4, 32)
    made = moe_mlir.MXFP8(data=q.data, scale=q.scale, dtype=np.dtype(np.float32),
                          backend="flashinfer")
    assert (made.dtype, made.backend) == (np.dtype(np.float32), "flashinfer")
    assert made.scale_layout == "swizzle_32_4_4"
    with pytest.raises(ValueError, match='scale_layout: expected .* found "triton"'):
        moe_mlir.MXFP8(q.data, q.scale, "triton")
    with pytest.raises(AttributeError):
        made.scales = q.scale


def test_equality_is_that_of_what_is_held() -> None:
    q, _ = quantize(4, 32)
    same = moe_mlir.MXFP8(q.data, q.scale)
    assert q == same and hash(q) == hash(same) and q != (q.data, q.scale)
    assert q != moe_mlir.MXFP8(q.data, q.scale.copy())
    assert q != moe_mlir.MXFP8(q.data, q.scale, "linear")
    assert q != moe_mlir.MXFP8(q.data, q.scale, dtype=np.dtype(np.float32))


@pytest.mark.parametrize("M, K", [(0, 64), (5, 0), (1, 32), (128, 128), (130, 160), (300, 544)])
def test_scale_2d(M: int, K: int) -> None:
    q, _ = quantize(M, K)
    matrix = q.scale_2d()
    assert matrix.shape == (-(-M // 128) * 128, -(-K // 128) * 4)
    assert np.shares_memory(matrix, q.scale) or q.scale.size == 0
    assert (oracle.bits(matrix).ravel() == oracle.bits(q.scale)).all()
    assert q.scale_2d(K).shape == matrix.shape
    linear, _ = quantize(M, K, "linear")
    assert linear.scale_2d() is linear.scale


@pytest.mark.parametrize("K, error, message", [
    (512, ValueError, "K: expected 160"), (33, ValueError, "K: expected a multiple of 32"),
    (-32, ValueError, "K: expected a size"), ("96", TypeError, "K: expected an int")])
def test_scale_2d_of_another_matrix(K: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        quantize(130, 160)[0].scale_2d(K)


def values(data: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """By the format's own words, one group at a time."""
    wanted = np.empty(data.shape, np.longdouble)
    for r, row in enumerate(exponents):
        for g, e in enumerate(row):
            part = slice(32 * g, 32 * g + 32)
            factor = np.longdouble(2) ** (int(e) - 127) if e < 255 else np.nan
            wanted[r, part] = data[r, part].astype(np.longdouble) * factor
    return wanted


def every_product(layout: str) -> tuple[Any, np.ndarray]:
    """All E4M3 values under all scales, 8 groups a scale, and the scales' bytes."""
    M, K = 256, 256
    data = np.tile(np.arange(256, dtype=np.uint8), (M, 1)).view(oracle.float8_e4m3fn)
    # Scales that differ from group to group, so that none may be mistaken for another.
    exponents = (np.arange(M)[:, None] + 32 * np.arange(K // 32)).astype(np.uint8)
    scale = exponents
    if layout != "linear":
        scale = np.zeros(oracle.scale_size(M, K), np.uint8)
        for r in range(M):
            for g in range(K // 32):
                tile = r // 128 * 2 + g // 4
                scale[tile * 512 + r % 32 * 16 + r % 128 // 32 * 4 + g % 4] = exponents[r, g]
    return moe_mlir.MXFP8(data, scale.view(oracle.float8_e8m0fnu), layout), exponents


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dequantize_is_exact(layout: str) -> None:
    q, exponents = every_product(layout)
    wanted = values(q.data, exponents)
    exact = q.dequantize(np.float64)
    assert exact.dtype == np.float64 and np.array_equal(exact, wanted, equal_nan=True)
    assert (np.signbit(exact) == np.signbit(wanted))[~np.isnan(wanted)].all()
    single = q.dequantize()
    assert single.dtype == np.float32
    small = ~(np.abs(wanted) >= 2.0**128)
    assert np.array_equal(single[small], wanted[small], equal_nan=True)
    assert (single[~small] == np.copysign(np.inf, wanted[~small])).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dequantize_rounds_once_to_bfloat16(layout: str) -> None:
    q, exponents = every_product(layout)
    found = q.dequantize(ml_dtypes.bfloat16)
    with np.errstate(over="ignore"):
        # Single precision holds what is below its overflow.
        wanted = values(q.data, exponents).astype(np.float32).astype(oracle.bfloat16)
    assert found.dtype == oracle.bfloat16
    nan = np.isnan(wanted.astype(np.float32))
    assert (np.isnan(found.astype(np.float32)) == nan).all()
    assert (oracle.bits(found)[~nan] == oracle.bits(wanted)[~nan]).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("M, K", [(0, 64), (5, 0), (1, 32), (127, 96), (300, 544)])
def test_dequantize_of_a_result(M: int, K: int, layout: str) -> None:
    q, x = quantize(M, K, layout)
    found, x = q.dequantize(), x.astype(np.float64)
    # Three mantissa bits, of a group's own scale.
    largest = np.abs(x.reshape(M, K // 32, 32)).max(2, initial=0).repeat(32, 1)
    assert found.shape == (M, K) and (np.abs(found - x) <= largest / 16).all()


def test_dequantize_of_strided_parts() -> None:
    q, _ = quantize(130, 96, "linear")
    wide = moe_mlir.MXFP8(np.zeros((130, 200), q.data.dtype)[:, :96],
                          np.zeros((130, 9), q.scale.dtype)[:, :3], "linear")
    wide.data[...], wide.scale[...] = q
    assert np.array_equal(wide.dequantize(), q.dequantize())


def test_dequantize_refuses() -> None:
    q, _ = quantize(130, 96)
    for dtype in (np.int32, "bytes", object()):
        with pytest.raises(TypeError, match="dtype: expected a floating-point dtype"):
            q.dequantize(dtype)
    with pytest.raises(ValueError, match=r"scale: expected shape \[130, 3\], found \[1024\]"):
        moe_mlir.MXFP8(q.data, q.scale, "linear").dequantize()
    with pytest.raises(ValueError, match="data: expected a multiple of 32 columns, found 33"):
        moe_mlir.MXFP8(q.data[:, :33], q.scale[:512]).dequantize()
    with pytest.raises(ValueError, match=r"data: expected shape \[M, K\], found \[2, 130, 96\]"):
        moe_mlir.MXFP8(np.stack([q.data] * 2), np.stack([q.scale] * 2)).dequantize()


def test_to() -> None:
    q, _ = quantize(4, 32)
    assert q.to("cpu") is q and q.to(q.dtype) is q and q.to(q) is q
    wider = q.to(np.float32)
    assert wider.dtype == np.float32 and wider.data is q.data and wider.scale is q.scale
    copied = q.to(copy=True)
    assert copied != q and copied.data.base is None
    assert (oracle.bits(copied.data) == oracle.bits(q.data)).all()
    with pytest.raises(ValueError, match='device: expected "cpu", where arrays are, found cuda'):
        q.to("cuda")
    with pytest.raises(TypeError, match="dtype: expected a floating-point dtype"):
        q.to(dtype=np.int8)
    with pytest.raises(TypeError, match="device: expected no second dtype"):
        q.to(np.float32, np.float64)


COPIES = {"pickle": lambda q: pickle.loads(pickle.dumps(q)), "deepcopy": copy.deepcopy,
          **{f"protocol {n}": lambda q, n=n: pickle.loads(pickle.dumps(q, n)) for n in range(6)}}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", COPIES)
def test_copies(kind: str, layout: str) -> None:
    q = quantize(130, 96, layout)[0].to(np.float32)
    found = COPIES[kind](q)
    assert type(found) is moe_mlir.MXFP8 and found.scale_layout == layout
    assert (found.dtype, found.backend) == (q.dtype, q.backend)
    for a, b in zip(found, q, strict=True):
        assert a.dtype == b.dtype and not np.shares_memory(a, b)
        assert a.shape == b.shape and (oracle.bits(a) == oracle.bits(b)).all()


def test_a_shallow_copy_shares() -> None:
    q, _ = quantize(4, 32)
    assert copy.copy(q) == q and copy.copy(q) is not q


def test_repr_says_what_it_is_and_no_values() -> None:
    assert repr(quantize(130, 96)[0]) == (
        "MXFP8(data=float8_e4m3fn [130, 96], scale=float8_e8m0fnu [1024], "
        'scale_layout="swizzle_32_4_4", dtype=bfloat16)')
