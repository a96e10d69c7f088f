# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The public functions. Written by scripts/write_ops.py from _op_table.py; change that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union, overload

from numpy.typing import NDArray

from ._dispatch import find_run, runs
from ._modes import DeadScales, GateActivation, LimitAt, ScaleLayout
from ._mxfp8 import MXFP8
from ._numpy import NUsed

if TYPE_CHECKING:
    import torch

__all__ = [
    "padded_squared_relu",
    "squared_relu_and_quantize_mxfp8",
    "quantize_mxfp8",
    "padded_swiglu",
    "swiglu_and_quantize_mxfp8",
    "gather_tokens",
    "gather_and_quantize_mxfp8",
    "bounded_silu_mul",
    "swiglu_with_probs",
    "squared_relu_with_probs",
]

_padded_squared_relu = runs["padded_squared_relu"]


@overload
def padded_squared_relu(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, *,
    clamp_scale: Optional[float] = None, zero_padding: bool = False,
    probs: Optional[NDArray[Any]] = None,
    out: Optional[NDArray[Any]] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> NDArray[Any]: ...


@overload
def padded_squared_relu(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
    clamp_scale: Optional[float] = None, zero_padding: bool = False,
    probs: Optional[torch.Tensor] = None,
    out: Optional[torch.Tensor] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> torch.Tensor: ...


def padded_squared_relu(
    x: Any, permutation_map: Any, n_used: Any, *,
    clamp_scale: Optional[float] = None, zero_padding: bool = False, probs: Any = None,
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
        clamp_scale: a positive float s with which s * tanh(relu(x) / s) is in the place of relu(x), or
            None; docs/family.md says by which operations. The library has kernels for 16.
        zero_padding: whether rows below n_used that are not live become zeros.
        probs: float32 [M], by which rows are multiplied, as squared_relu_with_probs says, or None.
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
    return run(x, permutation_map, n_used, out, expected_rows, programmatic_launch, probs,
               clamp_scale, zero_padding)


_squared_relu_and_quantize_mxfp8 = runs["squared_relu_and_quantize_mxfp8"]


@overload
def squared_relu_and_quantize_mxfp8(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, *,
    clamp_scale: Optional[float] = None, zero_padding: bool = False,
    probs: Optional[NDArray[Any]] = None,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[NDArray[Any]]: ...


@overload
def squared_relu_and_quantize_mxfp8(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
    clamp_scale: Optional[float] = None, zero_padding: bool = False,
    probs: Optional[torch.Tensor] = None,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[torch.Tensor], tuple[torch.Tensor, torch.Tensor], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[torch.Tensor]: ...


def squared_relu_and_quantize_mxfp8(
    x: Any, permutation_map: Any, n_used: Any, *,
    clamp_scale: Optional[float] = None, zero_padding: bool = False, probs: Any = None,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[Any]:
    """padded_squared_relu, rounded to bf16, and then quantize_mxfp8, in one kernel.

    A drop-in for the function of Megatron-Core: the result's `.data` and `.scale` are what
    block-scaled GEMMs take. Everything that quantize_mxfp8 says about arguments, results and
    errors holds here, and what padded_squared_relu says about clamp_scale and probs.
    zero_padding is there for the default modes, without a clamp_scale and probs.

    Source: core.inference.moe.activations.squared_relu_and_quantize_mxfp8 of Megatron-Core.
    """
    run = _squared_relu_and_quantize_mxfp8.get(type(x))
    if run is None:
        run = find_run("squared_relu_and_quantize_mxfp8", x)
    result: MXFP8[Any] = run(x, permutation_map, n_used, scale_layout, dead_scales, out,
                             expected_rows, programmatic_launch, probs, clamp_scale, zero_padding)
    return result


_quantize_mxfp8 = runs["quantize_mxfp8"]


@overload
def quantize_mxfp8(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, *,
    zero_padding: bool = False, probs: Optional[NDArray[Any]] = None,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[NDArray[Any]]: ...


@overload
def quantize_mxfp8(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
    zero_padding: bool = False, probs: Optional[torch.Tensor] = None,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[torch.Tensor], tuple[torch.Tensor, torch.Tensor], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[torch.Tensor]: ...


def quantize_mxfp8(
    x: Any, permutation_map: Any, n_used: Any, *,
    zero_padding: bool = False, probs: Any = None,
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
        zero_padding: whether the data of rows below n_used that are not live becomes zeros. The
            library has a kernel for the default modes, as for probs.
        probs: float32 [M], by which rows are multiplied in float32, and rounded to bf16, before
            they are quantised, or None.
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
                             expected_rows, programmatic_launch, probs, zero_padding)
    return result


_padded_swiglu = runs["padded_swiglu"]


@overload
def padded_swiglu(
    x: NDArray[Any], permutation_map: Optional[NDArray[Any]], n_used: NUsed, *,
    gate_layout: str = "gate_up", limit: Optional[float] = None, limit_at: LimitAt = "before",
    alpha: float = 1.0, beta: float = 0.0, activation: GateActivation = "silu",
    zero_padding: bool = False, probs: Optional[NDArray[Any]] = None,
    out: Optional[NDArray[Any]] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> NDArray[Any]: ...


@overload
def padded_swiglu(
    x: torch.Tensor, permutation_map: Optional[torch.Tensor], n_used: torch.Tensor, *,
    gate_layout: str = "gate_up", limit: Optional[float] = None, limit_at: LimitAt = "before",
    alpha: float = 1.0, beta: float = 0.0, activation: GateActivation = "silu",
    zero_padding: bool = False, probs: Optional[torch.Tensor] = None,
    out: Optional[torch.Tensor] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> torch.Tensor: ...


def padded_swiglu(
    x: Any, permutation_map: Any, n_used: Any, *,
    gate_layout: str = "gate_up", limit: Optional[float] = None, limit_at: LimitAt = "before",
    alpha: float = 1.0, beta: float = 0.0, activation: GateActivation = "silu",
    zero_padding: bool = False, probs: Any = None,
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> Any:
    """SwiGLU of the rows that hold a token; a drop-in for the function of Megatron-Core.

    x has a gate g and an up u for each column of the result. For every live row and column

        gc, uc = min(g, limit), max(-limit, min(u, limit)), if there is a limit; a NaN stays
        s      = f32(gc * sigma(f32(alpha * gc)))
        out    = bf16(f32(s * f32(uc + beta)))

    where sigma(w) is 1 / (1 + exp(-w)) by a fixed sequence of float32 operations, so that the bytes
    are the same on every device; a NaN is 0x7fff. docs/family.md has all of it, and which model has
    which settings. What padded_squared_relu says about arguments, results, gradients and errors
    holds here.

    The library has kernels for the settings of models: none, limit=10; limit=7, alpha=1.702, beta=1;
    limit=7, limit_at="after"; activation="gelu_tanh"; and not for each of these with each gate_layout,
    with probs or without a map. A call for another raises MoeRuntimeError, whose message lists those
    that there are.

    Args:
        x: bfloat16 [M, 2N].
        permutation_map: int32 [M], or None: then all rows below n_used are live.
        n_used: one int32, shape [] or [1], on x's device; with NumPy arrays also a Python int.
        gate_layout: where the gate of column c is: "gate_up" for x[c], with up in x[N + c]; "up_gate"
            for the other way round; "interleaved<b>" for blocks of b columns, gate and up in turn.
        limit: a positive bf16 value that clamps gate and up, or None.
        limit_at: "after" clamps s in place of the gate.
        alpha: the factor of the gate inside of sigma.
        beta: what is added to up.
        activation: "silu", or "gelu_tanh" for GELU's approximation by tanh.
        zero_padding: whether rows below n_used that are not live become zeros.
        probs: float32 [M], by which the rows' results are multiplied in float32 before they are
            rounded to bf16, or None.
        out: bfloat16 [M, N] for the result, apart from the inputs; nothing is allocated then.
        expected_rows: how many rows the caller expects to be live, as for padded_squared_relu.
        programmatic_launch: as for padded_squared_relu.

    Returns:
        `out`, or a new contiguous bfloat16 [M, N].

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device, overlap or setting is wrong, or expected_rows is negative.
        MoeRuntimeError: the device or its driver cannot run the op, or there is no kernel for it.
        RuntimeError: `out` is given, and autograd would need a gradient.

    Source: core.inference.moe.activations.padded_swiglu of Megatron-Core.
    """
    run = _padded_swiglu.get(type(x))
    if run is None:
        run = find_run("padded_swiglu", x)
    return run(x, permutation_map, n_used, out, expected_rows, programmatic_launch, probs,
               gate_layout, limit, limit_at, alpha, beta, activation, zero_padding)


_swiglu_and_quantize_mxfp8 = runs["swiglu_and_quantize_mxfp8"]


@overload
def swiglu_and_quantize_mxfp8(
    x: NDArray[Any], permutation_map: Optional[NDArray[Any]], n_used: NUsed, *,
    gate_layout: str = "gate_up", limit: Optional[float] = None, limit_at: LimitAt = "before",
    alpha: float = 1.0, beta: float = 0.0, activation: GateActivation = "silu",
    zero_padding: bool = False, probs: Optional[NDArray[Any]] = None,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[NDArray[Any]]: ...


@overload
def swiglu_and_quantize_mxfp8(
    x: torch.Tensor, permutation_map: Optional[torch.Tensor], n_used: torch.Tensor, *,
    gate_layout: str = "gate_up", limit: Optional[float] = None, limit_at: LimitAt = "before",
    alpha: float = 1.0, beta: float = 0.0, activation: GateActivation = "silu",
    zero_padding: bool = False, probs: Optional[torch.Tensor] = None,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[torch.Tensor], tuple[torch.Tensor, torch.Tensor], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[torch.Tensor]: ...


def swiglu_and_quantize_mxfp8(
    x: Any, permutation_map: Any, n_used: Any, *,
    gate_layout: str = "gate_up", limit: Optional[float] = None, limit_at: LimitAt = "before",
    alpha: float = 1.0, beta: float = 0.0, activation: GateActivation = "silu",
    zero_padding: bool = False, probs: Any = None,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[Any]:
    """padded_swiglu, rounded to bf16, and then quantize_mxfp8, in one kernel.

    The result has the bytes of the two calls. x is bfloat16 [M, 2K], K a multiple of 32; groups are of
    columns of the result, whatever gate_layout says. What padded_swiglu says about x,
    permutation_map, n_used and the settings holds here, and what quantize_mxfp8 says about the
    modes, zero_padding, `out`, the result and errors.

    Source: core.inference.moe.activations.padded_swiglu and core.inference.quantization of
    Megatron-Core, which has no function for both.
    """
    run = _swiglu_and_quantize_mxfp8.get(type(x))
    if run is None:
        run = find_run("swiglu_and_quantize_mxfp8", x)
    result: MXFP8[Any] = run(x, permutation_map, n_used, scale_layout, dead_scales, out,
                             expected_rows, programmatic_launch, probs, gate_layout, limit,
                             limit_at, alpha, beta, activation, zero_padding)
    return result


_gather_tokens = runs["gather_tokens"]


@overload
def gather_tokens(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, *,
    zero_padding: bool = False,
    out: Optional[NDArray[Any]] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> NDArray[Any]: ...


@overload
def gather_tokens(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
    zero_padding: bool = False,
    out: Optional[torch.Tensor] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> torch.Tensor: ...


def gather_tokens(
    x: Any, permutation_map: Any, n_used: Any, *,
    zero_padding: bool = False,
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> Any:
    """The rows of x that permutation_map says, as route_tokens gives it.

    A row r of the result is live iff r < n_used and 0 <= permutation_map[r] < T; it is row
    permutation_map[r] of x then, bit for bit. Other rows are not written. What padded_squared_relu says
    about arguments, results, gradients and errors holds here. permute_tokens is route_tokens and this.

    Args:
        x: bfloat16 [T, H].
        permutation_map: int32 [R].
        n_used: one int32, shape [] or [1], on x's device; with NumPy arrays also a Python int. Below 0
            counts as 0, above R as R.
        zero_padding: whether rows below n_used that are not live become zeros.
        out: bfloat16 [R, H] for the result, apart from the inputs; nothing is allocated then.
        expected_rows: how many rows the caller expects to be live, as for padded_squared_relu.
        programmatic_launch: as for padded_squared_relu.

    Returns:
        `out`, or a new contiguous bfloat16 [R, H].

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device or overlap is wrong, or expected_rows is negative.
        MoeRuntimeError: the device or its driver cannot run the op.
        RuntimeError: `out` is given, and autograd would need a gradient.

    Source: core.inference.moe.permute.permute_tokens of Megatron-Core, the part that moves tokens.
    """
    run = _gather_tokens.get(type(x))
    if run is None:
        run = find_run("gather_tokens", x)
    return run(x, permutation_map, n_used, out, expected_rows, programmatic_launch, None,
               zero_padding)


_gather_and_quantize_mxfp8 = runs["gather_and_quantize_mxfp8"]


@overload
def gather_and_quantize_mxfp8(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[NDArray[Any]]: ...


@overload
def gather_and_quantize_mxfp8(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Union[MXFP8[torch.Tensor], tuple[torch.Tensor, torch.Tensor], None] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[torch.Tensor]: ...


def gather_and_quantize_mxfp8(
    x: Any, permutation_map: Any, n_used: Any, *,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> MXFP8[Any]:
    """gather_tokens and then quantize_mxfp8, in one kernel.

    The result has the bytes of the two calls. x is bfloat16 [T, H], H a multiple of 32, and data has
    the R rows of permutation_map. What gather_tokens says about x, permutation_map and n_used holds
    here, and what quantize_mxfp8 says about the modes, `out`, the result and errors.

    Source: core.inference.moe.permute.permute_and_quantize_mxfp8 of Megatron-Core, the part that moves
    tokens.
    """
    run = _gather_and_quantize_mxfp8.get(type(x))
    if run is None:
        run = find_run("gather_and_quantize_mxfp8", x)
    result: MXFP8[Any] = run(x, permutation_map, n_used, scale_layout, dead_scales, out,
                             expected_rows, programmatic_launch, None)
    return result


@overload
def bounded_silu_mul(
    x: NDArray[Any], n_rows: NUsed, *,
    out: Optional[NDArray[Any]] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> NDArray[Any]: ...


@overload
def bounded_silu_mul(
    x: torch.Tensor, n_rows: torch.Tensor, *,
    out: Optional[torch.Tensor] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> torch.Tensor: ...


def bounded_silu_mul(
    x: Any, n_rows: Any, *,
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> Any:
    """padded_swiglu of the first n_rows rows, all of them live.

    Args:
        x: bfloat16 [M, 2N].
        n_rows: one int32 on x's device, shape [] or [1]; with NumPy arrays also a Python int.
        out: as for padded_swiglu.
        expected_rows: as for padded_swiglu.
        programmatic_launch: as for padded_swiglu.

    Returns:
        What padded_swiglu does.

    Source: core.inference.moe.activations.bounded_silu_mul of Megatron-Core.
    """
    result: Any = padded_swiglu(x, None, n_rows, out=out, expected_rows=expected_rows,
                                programmatic_launch=programmatic_launch)
    return result


@overload
def swiglu_with_probs(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, probs: NDArray[Any],
    zero_padding: bool = False, *,
    out: Optional[NDArray[Any]] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> NDArray[Any]: ...


@overload
def swiglu_with_probs(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, probs: torch.Tensor,
    zero_padding: bool = False, *,
    out: Optional[torch.Tensor] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> torch.Tensor: ...


def swiglu_with_probs(
    x: Any, permutation_map: Any, n_used: Any, probs: Any, zero_padding: bool = False, *,
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> Any:
    """padded_swiglu of which each row is multiplied by its factor in `probs`.

    bf16(f32(f32(s * u) * prob)), rounded to bf16 once. Everything that padded_swiglu says holds here.

    Source: core.inference.moe.batch_invariant.swiglu_with_probs of Megatron-Core.
    """
    result: Any = padded_swiglu(x, permutation_map, n_used, zero_padding=zero_padding, probs=probs,
                                out=out, expected_rows=expected_rows,
                                programmatic_launch=programmatic_launch)
    return result


@overload
def squared_relu_with_probs(
    x: NDArray[Any], permutation_map: NDArray[Any], n_used: NUsed, probs: NDArray[Any],
    clamp_scale: Optional[float] = None, zero_padding: bool = False, *,
    out: Optional[NDArray[Any]] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> NDArray[Any]: ...


@overload
def squared_relu_with_probs(
    x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, probs: torch.Tensor,
    clamp_scale: Optional[float] = None, zero_padding: bool = False, *,
    out: Optional[torch.Tensor] = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> torch.Tensor: ...


def squared_relu_with_probs(
    x: Any, permutation_map: Any, n_used: Any, probs: Any, clamp_scale: Optional[float] = None,
    zero_padding: bool = False, *,
    out: Any = None,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> Any:
    """padded_squared_relu of which each row is multiplied by its factor in `probs`.

    bf16(f32(f32(bf16(f32(relu(x)^2))) * prob)), rounded to bf16 twice; with clamp_scale
    bf16(f32(f32(c * c) * prob)), rounded once. Everything that padded_squared_relu says holds here.

    Source: core.inference.moe.batch_invariant.squared_relu_with_probs of Megatron-Core.
    """
    result: Any = padded_squared_relu(x, permutation_map, n_used, clamp_scale=clamp_scale,
                                      zero_padding=zero_padding, probs=probs, out=out,
                                      expected_rows=expected_rows,
                                      programmatic_launch=programmatic_launch)
    return result
