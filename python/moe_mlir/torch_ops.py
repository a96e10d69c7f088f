# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops on PyTorch tensors, and as torch.ops.moe_mlir.* for torch.compile and torch.export.

    padded_squared_relu(x, permutation_map, n_used, expected_rows=None,
                        programmatic_launch=False) -> out
    padded_squared_relu_out(x, permutation_map, n_used, expected_rows=None,
                            programmatic_launch=False, *, out)
    squared_relu_and_quantize_mxfp8(x, permutation_map, n_used, scale_layout="swizzle_32_4_4",
                                    dead_scales="zero", expected_rows=None,
                                    programmatic_launch=False) -> (data, scale)
    squared_relu_and_quantize_mxfp8_out(x, permutation_map, n_used, scale_layout="swizzle_32_4_4",
                                        dead_scales="zero", expected_rows=None,
                                        programmatic_launch=False, *, data, scale)

    padded_swiglu(x, permutation_map, n_used, expected_rows=None, programmatic_launch=False,
                  probs=None, gate_layout="gate_up", limit=None, limit_at="before", alpha=1.0,
                  beta=0.0, activation="silu") -> out

and so on for each op on rows, with an out or with data and scale; all of squared ReLU and SwiGLU end in
probs and options of their own. The _out ops write into their last
arguments and return nothing; those of the quantising ops may be bytes, torch.uint8, too. Importing
this module registers all; so does moe_mlir as soon as PyTorch is imported, before it or after. The
functions of moe_mlir say what the arguments mean.

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

from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from . import _runtime, _torch_permutation  # noqa: F401
from ._hints import parse_expected_rows, parse_programmatic_launch
from ._modes import DeadScales, ScaleLayout, parse_dead, parse_layout
from ._mxfp8 import MXFP8, unpack_out
from ._op_table import OPS, Op
from ._options import Variants, parse_options
from ._scales import scale_bytes, scale_shape
from ._torch_direct import make_direct
from ._torch_launch import launch, load_kernels
from ._torch_library import (
    name_e8m0_for_inductor,
    refuse_gradients,
    refuse_inference_tensors,
    register,
    register_composite,
)
from ._torch_operands import (
    check_expected_rows,
    check_input_types,
    check_inputs,
    check_output,
    check_types,
    row_stride,
    to_schema,
)
from ._torch_pytree import register_result

__all__ = ["load_kernels"]

_BF16, _BYTE = torch.bfloat16, torch.uint8

_empty = torch.empty
_is_compiling = torch.compiler.is_compiling

def _operands(op: Op) -> str:
    """Those of the schema."""
    return f"Tensor x, Tensor{'' if op.needs_map else '?'} permutation_map, Tensor n_used"


def _extras(op: Op) -> str:
    """What a schema has after the operands and modes. What came later comes last."""
    # Symbolic, so that a compiler need not compile anew for another number.
    text = "SymInt? expected_rows=None, bool programmatic_launch=False"
    if op.has_probs:
        text += ", Tensor? probs=None"
    for option in op.options:
        default = f'"{option.default}"' if isinstance(option.default, str) else option.default
        text += f", {option.schema} {option.name}={default}"
    return text


def _probs(op: Op, extras: tuple[Any, ...]) -> Any:
    """Those that may come after the hints, before options, if the op takes any."""
    return extras[0] if op.has_probs and extras else None


def _join(op: Op, probs: Any, options: tuple[Any, ...]) -> tuple[Any, ...]:
    """What _probs takes apart."""
    return (probs, *options) if op.has_probs else options


def takes(name: str, x: Tensor, permutation_map: Any, n_used: Tensor, *extras: Any) -> bool:
    """Whether an op runs on these operands. A compiler may ask: no values are looked at."""
    op = _OPS[name]
    try:
        _, columns, _ = check_inputs(op, x, permutation_map, n_used, _probs(op, extras))
        parse_options(op, extras[op.has_probs:])
    except (TypeError, ValueError):
        return False
    return columns % op.format.group == 0


def _dtypes(op: Op) -> list[Any]:
    """Of the outputs; None for what is missing in old versions of PyTorch."""
    return [getattr(torch, output.dtype, None) for output in op.format.outputs]


def _register(op: Op) -> Callable[..., Tensor]:
    """Registers an op without scales; what the public function runs."""
    name = op.name
    natives = Variants(op, lambda options: _runtime.make_call(op, options))
    dtype, = _dtypes(op)

    def run(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
            expected_rows: Optional[int] = None, programmatic_launch: bool = False,
            *extras: Any, out: Optional[Tensor] = None) -> Tensor:
        native, probs = natives.get(extras[op.has_probs:]), _probs(op, extras)
        expected = parse_expected_rows(expected_rows)
        flags = parse_programmatic_launch(programmatic_launch)
        rows, columns, x_stride = check_inputs(op, x, permutation_map, n_used, probs)
        if out is None:
            out, out_stride = _empty(rows, columns, dtype=dtype, device=x.device), columns
        else:
            check_output("out", out, dtype, (rows, columns), x.device)
            out_stride = row_stride("out", out)
        launch(native, x.get_device(), expected, flags, x.data_ptr(), *x.shape, x_stride,
               _address(permutation_map), n_used.data_ptr(), *_probs_address(op, probs),
               out.data_ptr(), rows, columns, out_stride)
        return out

    def fake(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
             expected_rows: Any = None, programmatic_launch: bool = False,
             *extras: Any) -> Tensor:
        check_expected_rows(expected_rows)
        parse_options(op, extras[op.has_probs:])
        rows, columns, _ = check_inputs(op, x, permutation_map, n_used, _probs(op, extras))
        return x.new_empty((rows, columns), dtype=dtype)

    def run_out(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
                expected_rows: Optional[int] = None, programmatic_launch: bool = False,
                *extras: Any, out: Tensor) -> None:
        run(x, permutation_map, n_used, expected_rows, programmatic_launch, *extras, out=out)

    def fake_out(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
                 expected_rows: Any = None, programmatic_launch: bool = False, *extras: Any,
                 out: Tensor) -> None:
        check_expected_rows(expected_rows)
        parse_options(op, extras[op.has_probs:])
        rows, columns, _ = check_inputs(op, x, permutation_map, n_used, _probs(op, extras))
        check_output("out", out, dtype, (rows, columns), x.device)
        row_stride("out", out)

    new = register(f"{name}({_operands(op)}, {_extras(op)}) -> Tensor", run, fake)
    into = register(f"{name}_out({_operands(op)}, {_extras(op)}, *, Tensor(a!) out) -> ()",
                    run_out, fake_out, function=name)

    directs = Variants(op, lambda options: make_direct(op, ((dtype,),), options))
    made_directs = directs.made

    def call(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
             out: Optional[Tensor] = None, expected_rows: Optional[int] = None,
             programmatic_launch: bool = False, probs: Any = None, *options: Any) -> Tensor:
        result: Optional[Tensor]
        if not _is_compiling():
            try:
                direct = made_directs[options]
            except (KeyError, TypeError):
                direct = directs.get(options)
            result = direct(x, permutation_map, n_used, probs, expected_rows,
                            programmatic_launch, out)
            if result is not None:
                return result
        check_input_types(op, permutation_map, n_used, probs)
        parse_options(op, options)
        hints = to_schema(expected_rows, programmatic_launch)
        extras = _join(op, probs, options)
        if out is None:
            result = new(x, permutation_map, n_used, *hints, *extras)
            return result
        check_types(out=out)
        into(x, permutation_map, n_used, *hints, *extras, out=out)
        return out

    return call


def _register_with_scales(op: Op) -> Callable[..., MXFP8[Tensor]]:
    """Registers an op whose results are data and scale; what the public function runs."""
    name, parts, group = op.name, op.parts, op.format.group
    natives = Variants(op, lambda options: _runtime.make_call(op, options))
    data_dtype, scale_dtype = _dtypes(op)
    modes = ", ".join(f'str {mode}="{default}"' for mode, default in op.format.modes)
    default_layout, default_dead = (default for _, default in op.format.modes)

    def parse(columns: int, scale_layout: str, dead_scales: str) -> tuple[int, int, int]:
        """Groups of a row, and the modes as the runtime's numbers."""
        layout, dead = parse_layout(scale_layout), parse_dead(dead_scales)
        if columns % group:
            raise ValueError(f"x: expected a multiple of {group * parts} columns, found "
                             f"{columns * parts}")
        if data_dtype is None or scale_dtype is None:
            needed = " and ".join(output.dtype for output in op.format.outputs)
            raise RuntimeError(f"expected a PyTorch with {needed} (2.7 and later), found "
                               f"{torch.__version__}")
        return columns // group, layout, dead

    def check_outputs(data: Any, scale: Any, rows: int, columns: int, shape: tuple[int, ...],
                      device: torch.device) -> tuple[int, int]:
        """The row strides of data and scale, 0 for scales without space between rows; `shape` is
        that of the scales. Either may be bytes.
        """
        check_output("data", data, _byte_or(data, data_dtype), (rows, columns), device)
        check_output("scale", scale, _byte_or(scale, scale_dtype), shape, device)
        if len(shape) == 2:
            return row_stride("data", data), row_stride("scale", scale)
        if not scale.is_contiguous():
            raise ValueError("scale: expected consecutive elements, found a stride of "
                             f"{scale.stride(0)} elements")
        return row_stride("data", data), 0

    def run(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
            scale_layout: str = default_layout, dead_scales: str = default_dead,
            expected_rows: Optional[int] = None, programmatic_launch: bool = False,
            *extras: Any, data: Any = None, scale: Any = None) -> tuple[Tensor, Tensor]:
        native, probs = natives.get(extras[op.has_probs:]), _probs(op, extras)
        expected = parse_expected_rows(expected_rows)
        flags = parse_programmatic_launch(programmatic_launch)
        rows, columns, x_stride = check_inputs(op, x, permutation_map, n_used, probs)
        groups, layout, dead = parse(columns, scale_layout, dead_scales)
        size, scale_stride = scale_bytes(rows, groups, layout), 0
        if data is None:
            device = x.device
            data, data_stride = _empty(rows, columns, dtype=data_dtype, device=device), columns
            if layout:
                scale = _empty(rows, groups, dtype=scale_dtype, device=device)
            else:
                scale = _empty(size, dtype=scale_dtype, device=device)
        else:
            data_stride, scale_stride = check_outputs(
                data, scale, rows, columns, (rows, groups) if layout else (size,), x.device)
            if not size:
                scale_stride = 0
            elif layout:
                size = (rows - 1) * scale_stride + groups
        launch(native, x.get_device(), expected, flags, x.data_ptr(), *x.shape, x_stride,
               _address(permutation_map), n_used.data_ptr(), *_probs_address(op, probs),
               data.data_ptr(), rows, columns, data_stride, scale.data_ptr(), size, scale_stride,
               layout, dead)
        return data, scale

    def fake(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
             scale_layout: str = default_layout, dead_scales: str = default_dead,
             expected_rows: Any = None, programmatic_launch: bool = False,
             *extras: Any) -> tuple[Tensor, Tensor]:
        check_expected_rows(expected_rows)
        parse_options(op, extras[op.has_probs:])
        rows, columns, _ = check_inputs(op, x, permutation_map, n_used, _probs(op, extras))
        groups, layout, _ = parse(columns, scale_layout, dead_scales)
        return (x.new_empty((rows, columns), dtype=data_dtype),
                x.new_empty(scale_shape(rows, groups, layout), dtype=scale_dtype))

    directs = Variants(op, lambda options: make_direct(
        op, ((data_dtype,), (scale_dtype,)), options))
    made_directs = directs.made
    directs_or_bytes = Variants(op, lambda options: make_direct(
        op, ((data_dtype, _BYTE), (scale_dtype, _BYTE)), options))

    # Inductor takes no op that writes to E8M0 (https://github.com/pytorch/pytorch/issues/189522),
    # and clones data of which it has seen a view as bytes. So what a compiler sees of _out is an
    # op that makes new scales, as bytes, from those before, and a copy; scales are a 32nd of the
    # data. Called on plain tensors it writes where it should.

    def run_into(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor, scale_layout: str,
                 dead_scales: str, scale: Optional[Tensor],
                 expected_rows: Optional[int] = None, programmatic_launch: bool = False,
                 *extras: Any, data: Tensor) -> Tensor:
        if scale is None:
            rows, columns = data.shape
            shape = scale_shape(rows, columns // group, parse_layout(scale_layout))
            scale = _empty(shape, dtype=_BYTE, device=x.device)
        else:
            scale = scale.clone()
        run(x, permutation_map, n_used, scale_layout, dead_scales, expected_rows,
            programmatic_launch, *extras, data=data, scale=scale)
        return scale

    def fake_into(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor, scale_layout: str,
                  dead_scales: str, scale: Optional[Tensor], expected_rows: Any = None,
                  programmatic_launch: bool = False, *extras: Any, data: Tensor) -> Tensor:
        check_expected_rows(expected_rows)
        parse_options(op, extras[op.has_probs:])
        rows, columns, _ = check_inputs(op, x, permutation_map, n_used, _probs(op, extras))
        groups, layout, _ = parse(columns, scale_layout, dead_scales)
        shape = scale_shape(rows, groups, layout)
        after = x.new_empty(shape, dtype=_BYTE)
        check_outputs(data, after if scale is None else scale, rows, columns, shape, x.device)
        return after

    def run_out(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
                scale_layout: str = default_layout, dead_scales: str = default_dead,
                expected_rows: Optional[int] = None, programmatic_launch: bool = False,
                *extras: Any, data: Tensor, scale: Tensor) -> None:
        probs = _probs(op, extras)
        refuse_gradients(name, x=x, **({} if probs is None else {"probs": probs}), data=data,
                         scale=scale)
        refuse_inference_tensors(name, data=data, scale=scale)
        if not _is_compiling() and directs_or_bytes.get(extras[op.has_probs:])(
                x, permutation_map, n_used, probs, scale_layout, dead_scales, expected_rows,
                programmatic_launch, data, scale) is not None:
            return
        rows, columns, _ = check_inputs(op, x, permutation_map, n_used, probs)
        groups, layout, dead = parse(columns, scale_layout, dead_scales)
        check_outputs(data, scale, rows, columns, scale_shape(rows, groups, layout), x.device)
        name_e8m0_for_inductor()
        bitcast = torch.ops.moe_mlir.bitcast
        before = bitcast(scale, _BYTE) if dead else None
        after = renewing(x, permutation_map, n_used, scale_layout, dead_scales, before,
                         expected_rows, programmatic_launch, *extras, data=data)
        scale.copy_(after if scale.dtype is _BYTE else bitcast(after, scale_dtype))

    new = register(f"{name}({_operands(op)}, {modes}, {_extras(op)}) -> "
                   "(Tensor data, Tensor scale)", run, fake)
    renewing = register(f"{name}_into({_operands(op)}, str scale_layout, str dead_scales, "
                        f"Tensor? scale, {_extras(op)}, *, Tensor(a!) data) -> Tensor", run_into,
                        fake_into, function=name)
    into = register_composite(f"{name}_out({_operands(op)}, {modes}, {_extras(op)}, *, "
                              "Tensor(a!) data, Tensor(b!) scale) -> ()", run_out)

    def call(x: Tensor, permutation_map: Optional[Tensor], n_used: Tensor,
             scale_layout: ScaleLayout, dead_scales: DeadScales, out: Any,
             expected_rows: Optional[int] = None, programmatic_launch: bool = False,
             probs: Any = None, *options: Any) -> MXFP8[Tensor]:
        data: Any
        scale: Any
        data, scale = (None, None) if out is None else unpack_out(out, scale_layout)
        if not _is_compiling():
            try:
                direct = made_directs[options]
            except (KeyError, TypeError):
                direct = directs.get(options)
            result = direct(x, permutation_map, n_used, probs, scale_layout, dead_scales,
                            expected_rows, programmatic_launch, data, scale)
            if result is not None:
                data, scale = result
                return MXFP8(data, scale, scale_layout, _BF16)
        parse_layout(scale_layout), parse_dead(dead_scales)
        check_input_types(op, permutation_map, n_used, probs)
        parse_options(op, options)
        hints = to_schema(expected_rows, programmatic_launch)
        extras = _join(op, probs, options)
        if out is None:
            data, scale = new(x, permutation_map, n_used, scale_layout, dead_scales, *hints,
                              *extras)
            return MXFP8(data, scale, scale_layout, _BF16)
        check_types(data=data, scale=scale)
        # Bytes are for the ops: a caller of these functions has mistaken one for the other.
        if data.dtype is _BYTE:
            raise TypeError(f"data: expected dtype {data_dtype}, found {_BYTE}")
        if scale.dtype is _BYTE:
            raise TypeError(f"scale: expected dtype {scale_dtype}, found {_BYTE}")
        into(x, permutation_map, n_used, scale_layout, dead_scales, *hints, *extras, data=data,
             scale=scale)
        return MXFP8(data, scale, scale_layout, _BF16)

    return call


def _address(tensor: Optional[Tensor]) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _probs_address(op: Op, probs: Optional[Tensor]) -> tuple[int, ...]:
    """Where the op takes any."""
    return (_address(probs),) if op.has_probs else ()


def _byte_or(tensor: Any, dtype: torch.dtype) -> torch.dtype:
    return _BYTE if getattr(tensor, "dtype", None) is _BYTE else dtype


register_result()

# The ops by name, with the arguments of the public functions, all by position.
RUNS: dict[str, Callable[..., Any]] = {
    op.name: (_register_with_scales if op.format.has_scales else _register)(op) for op in OPS}

_OPS = {op.name: op for op in OPS}
