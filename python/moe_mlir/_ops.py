# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The public functions. Written by scripts/write_ops.py from _op_table.py; change that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union, overload

from numpy.typing import NDArray

from ._dispatch import find_run, runs
from ._modes import DeadScales, ScaleLayout
from ._mxfp8 import MXFP8
from ._numpy import NUsed

if TYPE_CHECKING:
    import torch

__all__ = [
    "padded_squared_relu",
    "squared_relu_and_quantize_mxfp8",
    "quantize_mxfp8",
]

_padded_squared_relu = runs["padded_squared_relu"]


@overload
def padded_squared_relu(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, *,
    out: Optional[NDArray[Any]] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> NDArray[Any]: ...


@overload
def padded_squared_relu(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
    out: Optional[torch.Tensor] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> torch.Tensor: ...


def padded_squared_relu(
    x: Any, permutation_map: Any, n_used: Any, *,
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> Any:
    """relu(x)^2 of the rows that hold a token; a drop-in for the function of Megatron-Core.

    A row r is live iff r < n_used and permutation_map[r] >= 0. For every live row,
    out[r, c] = bf16(f32(max(x[r, c], 0))^2), rounded to nearest even; NaN gives 0. Rows that are
    not live are not written: in a result that is allocated here their contents are undefined, in
    `out` they stay as they are.

    All operands are NumPy arrays, or tensors of one device. On CUDA the kernel is launched on the
    current stream and nothing waits for it; the host never reads n_used, so a CUDA graph can
    capture the call, and a replay follows what n_used and permutation_map hold then.

    There is no gradient. If x is a tensor that requires grad, then so does the result, and a
    backward pass through it raises RuntimeError; with `out`, the call does, as it does if `out`
    requires grad. Under torch.no_grad() and torch.inference_mode() all is allowed.

    Args:
        x: bfloat16 [M, N] (ml_dtypes.bfloat16 for NumPy). The elements of a row are consecutive;
            rows may be further apart.
        permutation_map: int32 [M], the original token index of each row, negative for padding.
        n_used: one int32 on x's device, shape [] or [1]: rows at or past it are unused. Below 0
            counts as 0, above M as M. With NumPy arrays also a Python int.
        out: bfloat16 [M, N] for the result, apart from the inputs; nothing is allocated then.
        expected_rows: how many rows the caller expects to be live, an int of the host that is
            known when a CUDA graph is captured; more than M counts as M, None is unknown. It decides
            with how many CTAs a GPU starts: few for few rows, for many a grid that fills up as SMs
            become free. Right or wrong it changes no byte of a result, and none is required. On the
            CPU it does nothing.
        programmatic_launch: whether the kernel may start while the one before it on the stream
            still runs, as programmatic dependent launch; it waits for that one's end before it
            accesses memory, so no byte of a result changes. From compute capability 9.0 on. On the CPU
            it does nothing.

    Returns:
        `out`, or a new contiguous bfloat16 [M, N].

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device or overlap is wrong, or expected_rows is negative.
        MoeRuntimeError: the device or its driver cannot run the op.
        RuntimeError: `out` is given, and autograd would need a gradient.

    Source: core.inference.moe.activations.padded_squared_relu of Megatron-Core.
    """
    run = _padded_squared_relu.get(type(x))
    if run is None:
        run = find_run("padded_squared_relu", x)
    return run(x, permutation_map, n_used, out, expected_rows, programmatic_launch)


_squared_relu_and_quantize_mxfp8 = runs["squared_relu_and_quantize_mxfp8"]


@overload
def squared_relu_and_quantize_mxfp8(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[NDArray[Any]]: ...


@overload
def squared_relu_and_quantize_mxfp8(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[torch.Tensor], tuple[torch.Tensor, torch.Tensor], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[torch.Tensor]: ...


def squared_relu_and_quantize_mxfp8(
    x: Any, permutation_map: Any, n_used: Any, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[Any]:
    """padded_squared_relu, rounded to bf16, and then quantize_mxfp8, in one kernel.

    A drop-in for the function of Megatron-Core: the result's `.data` and `.scale` are what
    block-scaled GEMMs take. Everything that quantize_mxfp8 says about arguments, results and
    errors holds here.

    Source: core.inference.moe.activations.squared_relu_and_quantize_mxfp8 of Megatron-Core.
    """
    run = _squared_relu_and_quantize_mxfp8.get(type(x))
    if run is None:
        run = find_run("squared_relu_and_quantize_mxfp8", x)
    result: MXFP8[Any] = run(x, permutation_map, n_used, scale_layout, dead_scales, out,
                             expected_rows, programmatic_launch)
    return result


_quantize_mxfp8 = runs["quantize_mxfp8"]


@overload
def quantize_mxfp8(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[NDArray[Any]]: ...


@overload
def quantize_mxfp8(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[torch.Tensor], tuple[torch.Tensor, torch.Tensor], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[torch.Tensor]: ...


def quantize_mxfp8(
    x: Any, permutation_map: Any, n_used: Any, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[Any]:
    """x of live rows as E4M3 with an E8M0 scale for each group of 32 columns.

    A row r is live iff r < n_used and permutation_map[r] >= 0. The scale of a group is
    2^(e - 127), the smallest power of two that brings the group's largest magnitude to at most
    448 (RCEIL); e = 0 for a group of zeros, 255 (NaN) for one with an infinity. Elements are
    rounded to nearest even; NaN gives NaN.

    Data of rows that are not live is not written: undefined in a result that is allocated here,
    as it was in `out`. There is no gradient, as padded_squared_relu says.

    Args:
        x: bfloat16 [M, K] with K a multiple of 32, as for padded_squared_relu.
        permutation_map: int32 [M].
        n_used: one int32, shape [] or [1], on x's device; with NumPy arrays also a Python int.
        scale_layout: "swizzle_32_4_4", flat tiles of 128 rows by 4 groups, 512 bytes each, as
            cuBLAS wants 1x32 scales; or "linear", row-major [M, K // 32].
        dead_scales: "zero" writes 0 to the scales of rows that are not live, so that every byte
            of the scales is defined; "untouched" leaves them alone, which makes them undefined in
            a result that is allocated here.
        out: an MXFP8 or a pair (data, scale) for the result, apart from the inputs and each
            other; nothing is allocated then. data: float8_e4m3fn [M, K], scale: float8_e8m0fnu of
            the shape that scale_layout says. Rows, those of linear scales too, may be further
            apart than they are long.
        expected_rows: how many rows the caller expects to be live, as for padded_squared_relu; it
            changes no byte.
        programmatic_launch: as for padded_squared_relu.

    Returns:
        An MXFP8 of arrays if x is one, else of tensors; of those of `out` if it is given. `data`
        is float8_e4m3fn [M, K], `scale` is float8_e8m0fnu, flat [scale_size(M, K)] or
        [M, K // 32], `dtype` is bfloat16.

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device, overlap or mode is wrong, or expected_rows is negative.
        MoeRuntimeError: the device or its driver cannot run the op.
        RuntimeError: `out` is given, and autograd would need a gradient.

    Source: OCP Microscaling Formats (MX) v1.0; core.inference.quantization of Megatron-Core.
    """
    run = _quantize_mxfp8.get(type(x))
    if run is None:
        run = find_run("quantize_mxfp8", x)
    result: MXFP8[Any] = run(x, permutation_map, n_used, scale_layout, dead_scales, out,
                             expected_rows, programmatic_launch)
    return result
