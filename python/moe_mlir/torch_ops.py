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

The _out ops write into their last arguments and return nothing; those of the quantising ops may
be bytes, torch.uint8, too. Importing this module registers all; so does moe_mlir as soon as PyTorch
is imported, before it or after. The functions of moe_mlir say what the arguments mean.

The functions and the ops give the same bytes, or raise the same error, called as they are and
under torch.compile, torch.export, torch.jit.trace, torch.func's transforms, and Python modes. There
are no gradients: with an x that requires grad the result has a history, and the backward pass
through it raises RuntimeError; forward-mode differentiation raises it at once, and so does an _out
op or out= of which an argument requires grad while grad mode is on. What is written gets a new
version, so that autograd notices if it has saved it. torch.vmap and torch.func.functionalize refuse
out=. torch.jit.trace and torch.fx.symbolic_trace take no function that returns an MXFP8, but one that
returns its `data` and `scale`.
"""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd import forward_ad, graph

from . import _runtime
from ._common import (GROUP, DeadScales, ScaleLayout, Span, are_apart, check_distinct, parse_dead,
                      parse_layout, scale_bytes, span)
from ._mxfp8 import MXFP8, unpack_out
from ._torch_library import (name_e8m0_for_inductor, refuse_gradients, refuse_inference_tensors,
                             register, register_composite)
from ._torch_pytree import register_result

_BF16, _INT32, _BYTE = torch.bfloat16, torch.int32, torch.uint8
# Missing in old versions of PyTorch.
_E4M3: Any = getattr(torch, "float8_e4m3fn", None)
_E8M0: Any = getattr(torch, "float8_e8m0fnu", None)

_empty = torch.empty
_is_compiling = torch.compiler.is_compiling

# Private, but what PyTorch's own code generator emits; the public functions cost microseconds.
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (
    lambda index: torch.cuda.current_stream(index).cuda_stream)
_current_device = getattr(torch._C, "_cuda_getDevice", None) or torch.cuda.current_device
# Tells autograd that what it may have saved is another value now.
_increment_versions: Any = getattr(torch._C, "_increment_version", graph.increment_version)
# Likewise; where one is missing every call goes through the dispatcher.
_function_modes: Any = getattr(torch._C, "_len_torch_function_stack", None) or (lambda: 1)
_included_keys: Any = getattr(torch._C, "_dispatch_tls_local_include_set", None) or set
_is_inference_mode = torch.is_inference_mode_enabled

_PLAIN_TYPES = frozenset((Tensor, torch.nn.Parameter))


def _plain_layers() -> frozenset[int]:
    """What PyTorch adds to every call while no mode, trace or transform is on: the set of
    dispatch keys as a number, with autograd and in inference mode.
    """
    key, keys = torch._C.DispatchKey, torch._C.DispatchKeySet
    inference = keys(key.BackendSelect)
    return frozenset((inference.raw_repr(), (inference | keys(key.ADInplaceOrView)).raw_repr()))


_PLAIN_LAYERS = _plain_layers()


def _is_direct(x: Any, permutation_map: Any, n_used: Any) -> bool:
    """Whether a call may go around the dispatcher, which costs more than the rest of it.

    It may where that is known to change nothing: no tracing, compiling, transform of torch.func,
    mode or forward-mode differentiation is on, and all tensors are what their bytes in memory
    are. Whatever is not known to be so is left to the dispatcher.
    """
    try:
        return (not _is_compiling() and _included_keys().raw_repr() in _PLAIN_LAYERS
                and not _function_modes() and forward_ad._current_level < 0
                and type(x) in _PLAIN_TYPES and (x.is_cuda or x.is_cpu) and not x.requires_grad
                and type(permutation_map) in _PLAIN_TYPES and type(n_used) in _PLAIN_TYPES
                and not (x.is_neg() or permutation_map.is_neg() or n_used.is_neg())
                and x.data_ptr() != 0 and permutation_map.data_ptr() != 0
                and n_used.data_ptr() != 0)
    except (AttributeError, RuntimeError):
        # AttributeError: a PyTorch whose private names are others. RuntimeError: sparse tensors
        # and wrappers of torch.func that outlived their transform have no data_ptr.
        return False


def _is_direct_output(tensor: Any) -> bool:
    """Whether _is_direct still holds if `tensor` is written."""
    try:
        return (type(tensor) in _PLAIN_TYPES and not tensor.requires_grad and not tensor.is_neg()
                and tensor.data_ptr() != 0
                # Outside of inference mode PyTorch refuses to write to its tensors.
                and (not tensor.is_inference() or _is_inference_mode()))
    except RuntimeError:
        return False


def _check_type(name: str, tensor: Any) -> None:
    # What stands for a tensor, such as a proxy of torch.fx, has __torch_function__.
    if not isinstance(tensor, Tensor) and not hasattr(type(tensor), "__torch_function__"):
        raise TypeError(f"{name}: expected a PyTorch tensor as x is one, found "
                        f"{type(tensor).__module__}.{type(tensor).__qualname__}")


def _check_tensor(name: str, tensor: Any, dtype: torch.dtype, device: torch.device) -> None:
    if not isinstance(tensor, Tensor):
        _check_type(name, tensor)
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


def takes(x: Tensor, permutation_map: Tensor, n_used: Tensor, *, quantizing: bool) -> bool:
    """Whether the ops run on these operands. A compiler may ask: no values are looked at."""
    try:
        _, columns, _ = _check_inputs(x, permutation_map, n_used)
    except (TypeError, ValueError):
        return False
    return not quantizing or columns % GROUP == 0


def _scale_shape(rows: int, columns: int, layout: int) -> tuple[int, ...]:
    return (rows, columns // GROUP) if layout else (scale_bytes(rows, columns, layout),)


def _byte_or(tensor: Any, dtype: torch.dtype) -> torch.dtype:
    return _BYTE if getattr(tensor, "dtype", None) is _BYTE else dtype


def _check_outputs(data: Any, scale: Any, rows: int, columns: int, layout: int, size: int,
                   device: torch.device) -> tuple[int, int]:
    """The row strides of data and scale, 0 for scales without space between rows.

    Either may be bytes.
    """
    _check_output("data", data, _byte_or(data, _E4M3), (rows, columns), device)
    shape = (rows, columns // GROUP) if layout else (size,)
    _check_output("scale", scale, _byte_or(scale, _E8M0), shape, device)
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
    if out is None:
        if _is_direct(x, permutation_map, n_used):
            return _run_squared_relu(x, permutation_map, n_used)
        _check_types(permutation_map=permutation_map, n_used=n_used)
        result: Tensor = torch.ops.moe_mlir.padded_squared_relu(x, permutation_map, n_used)
        return result
    if _is_direct(x, permutation_map, n_used) and _is_direct_output(out):
        _run_squared_relu(x, permutation_map, n_used, out)
        _increment_versions((out,))
    else:
        _check_types(permutation_map=permutation_map, n_used=n_used, out=out)
        torch.ops.moe_mlir.padded_squared_relu_out(x, permutation_map, n_used, out=out)
    return out


def quantize(op: str, x: Tensor, permutation_map: Tensor, n_used: Tensor,
             scale_layout: ScaleLayout, dead_scales: DeadScales, out: Any) -> MXFP8[Tensor]:
    """The two quantising ops on tensors; `op` says which."""
    is_direct = _is_direct(x, permutation_map, n_used)
    if not is_direct:
        parse_layout(scale_layout), parse_dead(dead_scales)
        _check_types(permutation_map=permutation_map, n_used=n_used)
    if out is None:
        if is_direct:
            data, scale = _run_quantize(op, x, permutation_map, n_used, scale_layout, dead_scales)
        else:
            data, scale = getattr(torch.ops.moe_mlir, op)(x, permutation_map, n_used, scale_layout,
                                                          dead_scales)
        return MXFP8(data, scale, scale_layout, _BF16)
    data, scale = unpack_out(out, scale_layout)
    is_direct = is_direct and _is_direct_output(data) and _is_direct_output(scale)
    if not is_direct:
        _check_types(data=data, scale=scale)
    # Bytes are for the ops: a caller of these functions has mistaken one for the other.
    if data.dtype is _BYTE:
        raise TypeError(f"data: expected dtype {_E4M3}, found {_BYTE}")
    if scale.dtype is _BYTE:
        raise TypeError(f"scale: expected dtype {_E8M0}, found {_BYTE}")
    if is_direct:
        _run_quantize(op, x, permutation_map, n_used, scale_layout, dead_scales, data, scale)
        _increment_versions((data, scale))
    else:
        getattr(torch.ops.moe_mlir, op + "_out")(x, permutation_map, n_used, scale_layout,
                                                 dead_scales, data=data, scale=scale)
    return MXFP8(data, scale, scale_layout, _BF16)


def _check_types(**operands: Any) -> None:
    """The dispatcher's own message does not say what came instead."""
    for name, tensor in operands.items():
        _check_type(name, tensor)


def _device_index(device: Any) -> Optional[int]:
    """The index of a CUDA device, None for the current one."""
    if device is None or isinstance(device, int) and not isinstance(device, bool):
        return device
    if not isinstance(device, (str, torch.device)):
        raise TypeError("device: expected a CUDA device as a torch.device, a str or an int, found "
                        f"{type(device).__name__}")
    try:
        parsed = torch.device(device)
    except RuntimeError:
        parsed = None
    if parsed is None or parsed.type != "cuda":
        raise ValueError(f"device: expected a CUDA device, found {device}")
    return parsed.index


def load_kernels(device: Any = None) -> None:
    """moe_mlir.load_kernels, for a device of PyTorch's."""
    index = _device_index(device)
    count = torch.cuda.device_count()
    if count and index is not None and not 0 <= index < count:
        raise ValueError(f"device: expected one of {count} CUDA devices, found {device}")
    if count:
        index = torch.cuda.current_device() if index is None else index
        with torch.cuda.device(index):
            _bind_context(index)
            status = _runtime.load_kernels(_runtime.CUDA)
    else:
        # The runtime says what is missing.
        status = _runtime.load_kernels(_runtime.CUDA)
    if status:
        _runtime.raise_last_error(status)


def _register_squared_relu() -> None:
    name, inputs = "padded_squared_relu", "Tensor x, Tensor permutation_map, Tensor n_used"

    def fake(x: Tensor, permutation_map: Tensor, n_used: Tensor) -> Tensor:
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        return x.new_empty((rows, columns))

    def run_out(x: Tensor, permutation_map: Tensor, n_used: Tensor, *, out: Tensor) -> None:
        _run_squared_relu(x, permutation_map, n_used, out)

    def fake_out(x: Tensor, permutation_map: Tensor, n_used: Tensor, *, out: Tensor) -> None:
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        _check_output("out", out, _BF16, (rows, columns), x.device)
        _row_stride("out", out)

    register(f"{name}({inputs}) -> Tensor", _run_squared_relu, fake)
    register(f"{name}_out({inputs}, *, Tensor(a!) out) -> ()", run_out, fake_out, function=name)


def _register_quantizing(op: str) -> None:
    operands = "Tensor x, Tensor permutation_map, Tensor n_used"
    modes = 'str scale_layout="swizzle_32_4_4", str dead_scales="zero"'

    def run(x: Tensor, permutation_map: Tensor, n_used: Tensor,
            scale_layout: str = "swizzle_32_4_4",
            dead_scales: str = "zero") -> tuple[Tensor, Tensor]:
        return _run_quantize(op, x, permutation_map, n_used, scale_layout, dead_scales)

    def fake(x: Tensor, permutation_map: Tensor, n_used: Tensor,
             scale_layout: str = "swizzle_32_4_4",
             dead_scales: str = "zero") -> tuple[Tensor, Tensor]:
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        layout, _ = _check_quantizing(columns, scale_layout, dead_scales)
        return (x.new_empty((rows, columns), dtype=_E4M3),
                x.new_empty(_scale_shape(rows, columns, layout), dtype=_E8M0))

    # Inductor takes no op that writes to E8M0 (https://github.com/pytorch/pytorch/issues/189522),
    # and clones data of which it has seen a view as bytes. So what a compiler sees of _out is an
    # op that makes new scales, as bytes, from those before, and a copy; scales are a 32nd of the
    # data. Called on plain tensors it writes where it should.

    def run_into(x: Tensor, permutation_map: Tensor, n_used: Tensor, scale_layout: str,
                 dead_scales: str, scale: Optional[Tensor], *, data: Tensor) -> Tensor:
        if scale is None:
            rows, columns = x.shape
            scale = _empty(_scale_shape(rows, columns, parse_layout(scale_layout)), dtype=_BYTE,
                           device=x.device)
        else:
            scale = scale.clone()
        _run_quantize(op, x, permutation_map, n_used, scale_layout, dead_scales, data, scale)
        return scale

    def fake_into(x: Tensor, permutation_map: Tensor, n_used: Tensor, scale_layout: str,
                  dead_scales: str, scale: Optional[Tensor], *, data: Tensor) -> Tensor:
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        layout, _ = _check_quantizing(columns, scale_layout, dead_scales)
        new = x.new_empty(_scale_shape(rows, columns, layout), dtype=_BYTE)
        _check_outputs(data, new if scale is None else scale, rows, columns, layout, new.numel(),
                       x.device)
        return new

    def run_out(x: Tensor, permutation_map: Tensor, n_used: Tensor,
                scale_layout: str = "swizzle_32_4_4", dead_scales: str = "zero", *,
                data: Tensor, scale: Tensor) -> None:
        refuse_gradients(op, x=x, data=data, scale=scale)
        refuse_inference_tensors(op, data=data, scale=scale)
        if (_is_direct(x, permutation_map, n_used) and _is_direct_output(data)
                and _is_direct_output(scale)):
            _run_quantize(op, x, permutation_map, n_used, scale_layout, dead_scales, data, scale)
            _increment_versions((data, scale))
            return
        rows, columns, _ = _check_inputs(x, permutation_map, n_used)
        layout, dead = _check_quantizing(columns, scale_layout, dead_scales)
        _check_outputs(data, scale, rows, columns, layout, scale_bytes(rows, columns, layout),
                       x.device)
        name_e8m0_for_inductor()
        ops = torch.ops.moe_mlir
        before = ops.bitcast(scale, _BYTE) if dead else None
        new = getattr(ops, f"{op}_into")(x, permutation_map, n_used, scale_layout, dead_scales,
                                         before, data=data)
        scale.copy_(new if scale.dtype is _BYTE else ops.bitcast(new, _E8M0))

    register(f"{op}({operands}, {modes}) -> (Tensor data, Tensor scale)", run, fake)
    register(f"{op}_into({operands}, str scale_layout, str dead_scales, Tensor? scale, *, "
             "Tensor(a!) data) -> Tensor", run_into, fake_into, function=op)
    register_composite(f"{op}_out({operands}, {modes}, *, Tensor(a!) data, Tensor(b!) scale) "
                       "-> ()", run_out)


register_result()
_register_squared_relu()
_register_quantizing("squared_relu_and_quantize_mxfp8")
_register_quantizing("quantize_mxfp8")
