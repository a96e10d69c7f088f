# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops on PyTorch tensors, and as torch.ops.moe_mlir.* for torch.compile and torch.export.

    padded_squared_relu(x, permutation_map, n_used) -> out
    squared_relu_and_quantize_mxfp8(x, permutation_map, n_used, scale_layout="swizzle_32_4_4",
                                    dead_scales="zero") -> (data, scale)
    quantize_mxfp8, likewise
    padded_squared_relu_out(x, permutation_map, n_used, *, out)
    squared_relu_and_quantize_mxfp8_out(x, permutation_map, n_used, scale_layout="swizzle_32_4_4",
                                        dead_scales="zero", *, data, scale)
    quantize_mxfp8_out, likewise

The _out ops write into their last arguments and return nothing. Importing this module registers
them; so does moe_mlir where PyTorch is imported before it, and the first tensor where it is not.
The functions of moe_mlir say what the arguments mean.
"""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from . import _runtime
from ._common import (GROUP, MXFP8, Span, are_apart, check_distinct, parse_dead, parse_layout,
                      scale_bytes, span, unpack_out)

_BF16, _INT32 = torch.bfloat16, torch.int32
# Missing in old versions of PyTorch.
_E4M3: Any = getattr(torch, "float8_e4m3fn", None)
_E8M0: Any = getattr(torch, "float8_e8m0fnu", None)

_empty = torch.empty
_is_compiling = torch.compiler.is_compiling
_PLAIN_TYPES = frozenset((Tensor, torch.nn.Parameter))

# Private, but what PyTorch's own code generator emits; the public functions cost microseconds.
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (
    lambda index: torch.cuda.current_stream(index).cuda_stream)
_current_device = getattr(torch._C, "_cuda_getDevice", None) or torch.cuda.current_device
_dispatch_modes = getattr(torch._C, "_len_torch_dispatch_stack", None) or (lambda: 0)


def _is_traced(x: Tensor) -> bool:
    """Whether the call must go through torch.ops, for PyTorch to see it or because x is fake."""
    return _is_compiling() or type(x) not in _PLAIN_TYPES or _dispatch_modes() > 0 or x.is_meta


def _check_tensor(name: str, tensor: Any, dtype: torch.dtype, device: torch.device) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a PyTorch tensor as x is one, found "
                        f"{type(tensor).__module__}.{type(tensor).__qualname__}")
    if tensor.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, found {tensor.dtype}")
    if tensor.device != device:
        raise ValueError(f"{name}: expected device {device}, as x, found {tensor.device}")


def _row_stride(name: str, matrix: Tensor) -> int:
    """Elements from a row to the next."""
    rows, columns = matrix.shape
    row, inner = matrix.stride()
    if inner != 1 and columns > 1 and rows > 0:
        raise ValueError(f"{name}: expected consecutive elements in a row, found strides of "
                         f"{[row, inner]} elements")
    if rows <= 1 or columns == 0:
        return columns
    if row < columns:
        raise ValueError(f"{name}: expected rows at least {columns} elements apart, found strides "
                         f"of {[row, inner]} elements")
    return row


def _check_inputs(x: Tensor, permutation_map: Any, n_used: Any) -> tuple[int, int, int]:
    """Rows, columns and row stride of x."""
    if x.dtype is not _BF16:
        raise TypeError(f"x: expected dtype torch.bfloat16, found {x.dtype}")
    shape = x.shape
    if len(shape) != 2:
        raise ValueError(f"x: expected shape [M, N], found {list(shape)}")
    rows, columns = shape
    device = x.device
    if not (x.is_cuda or x.is_cpu or x.is_meta):
        raise ValueError(f"x: expected a tensor on the CPU or a CUDA device, found {device}")
    _check_tensor("permutation_map", permutation_map, _INT32, device)
    if permutation_map.dim() != 1 or permutation_map.shape[0] != rows:
        raise ValueError(f"permutation_map: expected shape [{rows}], an entry for each row of x, "
                         f"found {list(permutation_map.shape)}")
    if not permutation_map.is_contiguous():
        raise ValueError("permutation_map: expected consecutive elements, found a stride of "
                         f"{permutation_map.stride(0)} elements")
    # A value of the host would be frozen into a CUDA graph.
    _check_tensor("n_used", n_used, _INT32, device)
    if n_used.dim() > 1 or n_used.numel() != 1:
        raise ValueError(f"n_used: expected shape [] or [1], found {list(n_used.shape)}")
    return rows, columns, _row_stride("x", x)


def _check_output(name: str, tensor: Any, dtype: torch.dtype, shape: tuple[int, ...],
                  device: torch.device) -> None:
    _check_tensor(name, tensor, dtype, device)
    if tensor.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, found {list(tensor.shape)}")


def _check_quantizing(columns: int, scale_layout: str, dead_scales: str) -> tuple[int, int]:
    """The layout and what becomes of dead scales, as the runtime's numbers."""
    layout, dead = parse_layout(scale_layout), parse_dead(dead_scales)
    if columns % GROUP:
        raise ValueError(f"x: expected a multiple of 32 columns, found {columns}")
    if _E4M3 is None or _E8M0 is None:
        raise RuntimeError("expected a PyTorch with float8_e4m3fn and float8_e8m0fnu (2.7 and "
                           f"later), found {torch.__version__}")
    return layout, dead


def _check_outputs(data: Any, scale: Any, rows: int, columns: int, layout: int, size: int,
                   device: torch.device) -> tuple[int, int]:
    """The row strides of data and scale, 0 for scales without space between rows."""
    _check_output("data", data, _E4M3, (rows, columns), device)
    shape = (rows, columns // GROUP) if layout else (size,)
    _check_output("scale", scale, _E8M0, shape, device)
    if layout:
        return _row_stride("data", data), _row_stride("scale", scale)
    if not scale.is_contiguous():
        raise ValueError("scale: expected consecutive elements, found a stride of "
                         f"{scale.stride(0)} elements")
    return _row_stride("data", data), 0


def _matrix_span(name: str, matrix: Tensor, stride: int) -> Span:
    rows, columns = matrix.shape
    size = matrix.element_size()
    return span(name, matrix.data_ptr(), rows, stride * size, columns * size)


def _check_distinct(outputs: list[Span], x: Tensor, x_stride: int, permutation_map: Tensor,
                    n_used: Tensor) -> None:
    check_distinct(outputs, [
        _matrix_span("x", x, x_stride),
        span("permutation_map", permutation_map.data_ptr(), 1, 0, 4 * permutation_map.shape[0]),
        span("n_used", n_used.data_ptr(), 1, 0, 4),
    ])


def _launch(call: Any, index: int, *arguments: Any) -> None:
    """`call` (of _runtime) on the current stream of CUDA device `index`, or on the CPU for -1.

    `arguments` are those after the stream.
    """
    if index < 0:
        status = call(_runtime.CPU, 0, *arguments)
    elif index == _current_device():
        status = call(_runtime.CUDA, _raw_stream(index), *arguments)
        if status == _runtime.NO_CONTEXT:
            # A thread that has not used CUDA yet.
            _bind_context(index)
            status = call(_runtime.CUDA, _raw_stream(index), *arguments)
    else:
        with torch.cuda.device(index):
            status = call(_runtime.CUDA, _raw_stream(index), *arguments)
            if status == _runtime.NO_CONTEXT:
                _bind_context(index)
                status = call(_runtime.CUDA, _raw_stream(index), *arguments)
    if status:
        _runtime.raise_last_error(status)


def _bind_context(index: int) -> None:
    """Makes the device's primary context current in this thread, as any call of the CUDA runtime
    does.
    """
    torch.cuda.set_device(index)
    torch.cuda.mem_get_info(index)


def _run_squared_relu(x: Tensor, permutation_map: Tensor, n_used: Tensor,
                      out: Optional[Tensor] = None) -> Tensor:
    rows, columns, x_stride = _check_inputs(x, permutation_map, n_used)
    x_data, map_data, n_used_data = x.data_ptr(), permutation_map.data_ptr(), n_used.data_ptr()
    if out is None:
        out = _empty(rows, columns, dtype=_BF16, device=x.device)
        out_data, out_stride = out.data_ptr(), columns
    else:
        _check_output("out", out, _BF16, (rows, columns), x.device)
        out_data, out_stride = out.data_ptr(), _row_stride("out", out)
        if not are_apart(out_data, out_data + 2 * rows * out_stride, x_data,
                         x_data + 2 * rows * x_stride, map_data, rows, n_used_data):
            _check_distinct([_matrix_span("out", out, out_stride)], x, x_stride, permutation_map,
                            n_used)
    _launch(_runtime.padded_squared_relu, x.get_device(), x_data, rows, columns, x_stride,
            map_data, n_used_data, out_data, out_stride)
    return out


def _run_quantize(op: str, x: Tensor, permutation_map: Tensor, n_used: Tensor, scale_layout: str,
                  dead_scales: str, data: Any = None, scale: Any = None) -> tuple[Tensor, Tensor]:
    rows, columns, x_stride = _check_inputs(x, permutation_map, n_used)
    layout, dead = _check_quantizing(columns, scale_layout, dead_scales)
    x_data, map_data, n_used_data = x.data_ptr(), permutation_map.data_ptr(), n_used.data_ptr()
    size, scale_stride = scale_bytes(rows, columns, layout), 0
    if data is None:
        device = x.device
        data = _empty(rows, columns, dtype=_E4M3, device=device)
        if layout:
            scale = _empty(rows, columns // GROUP, dtype=_E8M0, device=device)
        else:
            scale = _empty(size, dtype=_E8M0, device=device)
        out_data, out_stride, scale_data = data.data_ptr(), columns, scale.data_ptr()
    else:
        out_stride, scale_stride = _check_outputs(data, scale, rows, columns, layout, size,
                                                  x.device)
        if scale_stride and size:
            size = (rows - 1) * scale_stride + columns // GROUP
        out_data, scale_data = data.data_ptr(), scale.data_ptr()
        x_end, out_end = x_data + 2 * rows * x_stride, out_data + rows * out_stride
        scale_end = scale_data + size
        if not (are_apart(out_data, out_end, x_data, x_end, map_data, rows, n_used_data)
                and are_apart(scale_data, scale_end, x_data, x_end, map_data, rows, n_used_data)
                and (out_end <= scale_data or scale_end <= out_data)):
            scale_span = (_matrix_span("scale", scale, scale_stride) if layout
                          else span("scale", scale_data, 1, 0, size))
            _check_distinct([_matrix_span("data", data, out_stride), scale_span], x, x_stride,
                            permutation_map, n_used)
    _launch(_runtime.QUANTIZING[op], x.get_device(), x_data, rows, columns, x_stride, map_data,
            n_used_data, out_data, out_stride, scale_data, size, scale_stride, layout, dead)
    return data, scale


def padded_squared_relu(x: Tensor, permutation_map: Tensor, n_used: Tensor,
                        out: Optional[Tensor] = None) -> Tensor:
    """moe_mlir.padded_squared_relu on tensors."""
    if not _is_traced(x):
        return _run_squared_relu(x, permutation_map, n_used, out)
    if out is None:
        return torch.ops.moe_mlir.padded_squared_relu(x, permutation_map, n_used)
    torch.ops.moe_mlir.padded_squared_relu_out(x, permutation_map, n_used, out=out)
    return out


def quantize(op: str, x: Tensor, permutation_map: Tensor, n_used: Tensor, scale_layout: str,
             dead_scales: str, out: Any) -> MXFP8:
    """The two quantising ops on tensors; `op` says which."""
    data, scale = (None, None) if out is None else unpack_out(out, scale_layout)
    if not _is_traced(x):
        data, scale = _run_quantize(op, x, permutation_map, n_used, scale_layout, dead_scales,
                                    data, scale)
    elif out is None:
        data, scale = getattr(torch.ops.moe_mlir, op)(x, permutation_map, n_used, scale_layout,
                                                      dead_scales)
    else:
        getattr(torch.ops.moe_mlir, op + "_out")(x, permutation_map, n_used, scale_layout,
                                                 dead_scales, data=data, scale=scale)
    return MXFP8(data, scale, scale_layout)


def load_kernels(device: Any = None) -> None:
    """Loads the kernels into a CUDA device's context, where they stay.

    The first call on a device does so too; this one spends the time early.

    Args:
        device: a CUDA device as PyTorch takes it; the current one if None.

    Raises:
        MoeRuntimeError: the device or its driver cannot run the kernels.
    """
    with torch.cuda.device(device):
        _bind_context(torch.cuda.current_device())
        status = _runtime.load_kernels(_runtime.CUDA)
    if status:
        _runtime.raise_last_error(status)


_library = torch.library.Library("moe_mlir", "DEF")


def _register(schema: str, run: Any, fake: Any) -> None:
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    name = schema[: schema.index("(")]
    for key in ("CPU", "CUDA"):
        _library.impl(name, run, key)
    torch.library.register_fake(f"moe_mlir::{name}", fake, lib=_library)


def _register_squared_relu() -> None:
    inputs = "Tensor x, Tensor permutation_map, Tensor n_used"

    def fake(x: Tensor, permutation_map: Tensor, n_used: Tensor) -> Tensor:
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        return x.new_empty((rows, columns))

    def run_out(x: Tensor, permutation_map: Tensor, n_used: Tensor, *, out: Tensor) -> None:
        _run_squared_relu(x, permutation_map, n_used, out)

    def fake_out(x: Tensor, permutation_map: Tensor, n_used: Tensor, *, out: Tensor) -> None:
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        _check_output("out", out, _BF16, (rows, columns), x.device)
        _row_stride("out", out)

    _register(f"padded_squared_relu({inputs}) -> Tensor", _run_squared_relu, fake)
    _register(f"padded_squared_relu_out({inputs}, *, Tensor(a!) out) -> ()", run_out, fake_out)


def _register_quantizing(op: str) -> None:
    inputs = ('Tensor x, Tensor permutation_map, Tensor n_used, '
              'str scale_layout="swizzle_32_4_4", str dead_scales="zero"')

    def run(x: Tensor, permutation_map: Tensor, n_used: Tensor,
            scale_layout: str = "swizzle_32_4_4",
            dead_scales: str = "zero") -> tuple[Tensor, Tensor]:
        return _run_quantize(op, x, permutation_map, n_used, scale_layout, dead_scales)

    def fake(x: Tensor, permutation_map: Tensor, n_used: Tensor,
             scale_layout: str = "swizzle_32_4_4",
             dead_scales: str = "zero") -> tuple[Tensor, Tensor]:
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        layout, _ = _check_quantizing(columns, scale_layout, dead_scales)
        shape = (rows, columns // GROUP) if layout else (scale_bytes(rows, columns, layout),)
        return x.new_empty((rows, columns), dtype=_E4M3), x.new_empty(shape, dtype=_E8M0)

    def run_out(x: Tensor, permutation_map: Tensor, n_used: Tensor,
                scale_layout: str = "swizzle_32_4_4", dead_scales: str = "zero", *,
                data: Tensor, scale: Tensor) -> None:
        _run_quantize(op, x, permutation_map, n_used, scale_layout, dead_scales, data, scale)

    def fake_out(x: Tensor, permutation_map: Tensor, n_used: Tensor,
                 scale_layout: str = "swizzle_32_4_4", dead_scales: str = "zero", *,
                 data: Tensor, scale: Tensor) -> None:
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        layout, _ = _check_quantizing(columns, scale_layout, dead_scales)
        _check_outputs(data, scale, rows, columns, layout, scale_bytes(rows, columns, layout),
                       x.device)

    _register(f"{op}({inputs}) -> (Tensor data, Tensor scale)", run, fake)
    _register(f"{op}_out({inputs}, *, Tensor(a!) data, Tensor(b!) scale) -> ()", run_out, fake_out)


_register_squared_relu()
_register_quantizing("squared_relu_and_quantize_mxfp8")
_register_quantizing("quantize_mxfp8")
