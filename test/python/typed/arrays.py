# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a program with NumPy arrays may write, and what a type checker says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import moe_mlir
import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

Array = NDArray[Any]


class Layer:
    """Buffers that live as long as the program, and a call that fills them."""

    layout: moe_mlir.ScaleLayout = "linear"
    dead: moe_mlir.DeadScales = "untouched"

    def __init__(self, M: int, K: int) -> None:
        scale = np.zeros((M, K // 32), ml_dtypes.float8_e8m0fnu)
        self.q: moe_mlir.MXFP8[Array] = moe_mlir.MXFP8(
            np.zeros((M, K), ml_dtypes.float8_e4m3fn), scale, self.layout)
        assert scale.size == moe_mlir.scale_size(M, K, self.layout)

    def __call__(self, x: Array, permutation_map: Array, n_used: int) -> Array:
        y = moe_mlir.padded_squared_relu(x, permutation_map, n_used)
        assert_type(y, Array)
        moe_mlir.quantize_mxfp8(y, permutation_map, np.int32(n_used), scale_layout=self.layout,
                                dead_scales=self.dead, out=self.q)
        return self.q.dequantize(np.float32)


x = np.ones((4, 32), ml_dtypes.bfloat16)
rows = np.arange(4, dtype=np.int32)
assert Layer(4, 32)(x, rows, 4)[3, 31] == 1

q = moe_mlir.squared_relu_and_quantize_mxfp8(x, rows, np.array(4, np.int32))
assert_type(q, moe_mlir.MXFP8[Array])
data, scale = q
assert_type(data, Array)
assert_type(q.scale, Array)
assert_type(q[1], Array)
assert_type(q.scale_2d(), Array)
assert_type(q.to("cpu", copy=True), moe_mlir.MXFP8[Array])
assert_type(q.scale_layout, moe_mlir.ScaleLayout)
backend: str | None = q.backend
moe_mlir.squared_relu_and_quantize_mxfp8(x, rows, 4, out=(data, scale))
assert_type(moe_mlir.padded_squared_relu(x, rows, 4, out=x.copy()), Array)
assert_type(moe_mlir.padded_squared_relu(x, rows, 4, expected_rows=2), Array)
assert_type(moe_mlir.padded_squared_relu(x, rows, 4, programmatic_launch=True), Array)
assert_type(moe_mlir.quantize_mxfp8(x, rows, 4, expected_rows=None), moe_mlir.MXFP8[Array])
assert_type(moe_mlir.runtime_description(), str)

if TYPE_CHECKING:
    # Each is an error of its own, and a checker that misses it says that it need not be ignored.
    moe_mlir.padded_squared_relu(x, rows, 4, x)  # type: ignore[call-overload]
    moe_mlir.quantize_mxfp8(x, rows, 4, scale_layout="rows")  # type: ignore[call-overload]
    moe_mlir.quantize_mxfp8(x, rows, 4, dead_scales="zeros")  # type: ignore[call-overload]
    moe_mlir.quantize_mxfp8(x, rows, 4, out=(data,))  # type: ignore[arg-type]
    moe_mlir.padded_squared_relu(x, rows, 4, expected_rows="2")  # type: ignore[call-overload]
    moe_mlir.quantize_mxfp8(x, rows, 4, programmatic_launch=None)  # type: ignore[call-overload]
    moe_mlir.scale_size(4, 32, "rows")  # type: ignore[arg-type]
    moe_mlir.MXFP8(data, scale, "rows")  # type: ignore[arg-type]
    moe_mlir.compile("quantize_mxfp8", scale_layout="rows")  # type: ignore[arg-type]
    moe_mlir.compile("quantize_mxfp8", dead_scales="zeros")  # type: ignore[arg-type]
    number: int = moe_mlir.padded_squared_relu(x, rows, 4)  # type: ignore[assignment]
