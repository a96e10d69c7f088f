# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""libmoe_runtime.so through ctypes, as a C program sees it."""

from __future__ import annotations

import ctypes
import re
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
)
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from . import fatbinary
from .checkout import LIB_DIR

LIBRARY = LIB_DIR / "libmoe_runtime.so"

SUCCESS, INVALID_ARGUMENT, UNSUPPORTED, NO_DRIVER, NO_CONTEXT = range(5)
DRIVER_ERROR, OUT_OF_MEMORY = 5, 6
CPU, CUDA = 0, 1
SWIZZLED, LINEAR = 0, 1
ZERO, UNTOUCHED = 0, 1
PROGRAMMATIC_LAUNCH, VALIDATE_POINTERS = 1, 2


class Matrix(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("rows", c_int64), ("columns", c_int64),
                ("row_stride", c_int64)]


class Vector(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("size", c_int64)]


class Scale(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("size", c_int64), ("row_stride", c_int64),
                ("layout", c_int), ("dead", c_int)]


class Gate(ctypes.Structure):
    _fields_ = [("layout", c_int), ("block", c_int32), ("limit", c_float), ("limit_at", c_int),
                ("alpha", c_float), ("beta", c_float), ("activation", c_int)]


class Options(ctypes.Structure):
    _fields_ = [("probs", c_void_p), ("clamp_scale", c_float), ("dead_rows", c_int),
                ("gate", Gate), ("index_type", c_int)]


# What the attributes of the ops are to MoeGate and MoeOptions.
CHOICES = {"up_gate": 1, "after": 1, "gelu_tanh": 1, "zero": 1}


def make_options(settings: dict[str, Any], probs: int | None = None) -> Options:
    """The options that the attributes of an op, those that are not as by default, are."""
    options = Options(probs=probs)
    for name, value in settings.items():
        at = options if name in ("clamp_scale", "dead_rows") else options.gate
        block = re.fullmatch(r"interleaved<(\d+)>", str(value))
        if block:
            at.layout, at.block = 2, int(block[1])
        else:
            setattr(at, "layout" if name == "gate_layout" else name, CHOICES.get(value, value))
    return options


class Launch(ctypes.Structure):
    _fields_ = [("device", c_int), ("flags", c_uint32), ("stream", c_void_p),
                ("module", c_void_p), ("num_ctas", c_int32), ("num_threads", c_int32),
                ("expected_rows", c_int64)]


class MoeError(Exception):
    """A call that did not return MOE_SUCCESS."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(LIBRARY))
    library.moeGetLastError.restype = c_char_p
    library.moeGetDescription.restype = c_char_p
    library.moeGetScaleSize.argtypes = [c_int64, c_int64, c_int, POINTER(c_int64)]
    library.moeLoadModule.argtypes = [c_void_p, c_size_t, POINTER(c_void_p)]
    library.moeFindKernel.argtypes = [c_void_p, c_char_p, POINTER(c_void_p)]
    library.moeUnloadModule.argtypes = [c_void_p]
    operands: list[Any] = [POINTER(Launch), POINTER(Matrix), c_void_p, c_void_p, POINTER(Matrix)]
    library.moePaddedSquaredRelu.argtypes = operands
    library.moeSquaredReluQuantizeMXFP8.argtypes = [*operands, POINTER(Scale)]
    library.moeQuantizeMXFP8.argtypes = [*operands, POINTER(Scale)]
    library.moeFindOp.argtypes = [c_char_p, POINTER(c_void_p)]
    gated: list[Any] = [*operands[:4], c_void_p, POINTER(Gate), POINTER(Matrix)]
    library.moePaddedSwiGLU.argtypes = gated
    library.moeSwiGLUQuantizeMXFP8.argtypes = [*gated, POINTER(Scale)]
    library.moeRouteTokens.argtypes = [
        POINTER(Launch), POINTER(Matrix), c_int, c_void_p, POINTER(Matrix), c_int32, c_int32,
        c_void_p, c_void_p, c_void_p, POINTER(Vector), POINTER(Matrix), c_void_p]
    library.moePermuteTokens.argtypes = operands
    library.moePermuteQuantizeMXFP8.argtypes = [*operands, POINTER(Scale)]
    library.moeUnpermuteTokens.argtypes = [
        POINTER(Launch), POINTER(Matrix), POINTER(Matrix), c_void_p, c_void_p, POINTER(Matrix)]
    library.moeRunOp.argtypes = [POINTER(Launch), c_void_p, POINTER(c_void_p), c_int32]
    library.moeRunOpWithOptions.argtypes = [*library.moeRunOp.argtypes, POINTER(Options)]
    return library


library = _load()


def check(status: int) -> None:
    if status != SUCCESS:
        raise MoeError(status, library.moeGetLastError().decode())


def description() -> str:
    return library.moeGetDescription().decode()


def scale_size(M: int, K: int, layout: int = SWIZZLED) -> int:
    size = c_int64()
    check(library.moeGetScaleSize(M, K, layout, byref(size)))
    return size.value


def load_kernels(device: int) -> None:
    check(library.moeLoadKernels(device))


def load_module(image: bytes) -> int:
    module = c_void_p()
    check(library.moeLoadModule(image, len(image), byref(module)))
    assert module.value is not None
    return module.value


def find_kernel(module: int | None, name: str) -> int:
    op = c_void_p()
    check(library.moeFindKernel(module, name.encode(), byref(op)))
    assert op.value is not None
    return op.value


def unload_module(module: int | None) -> None:
    check(library.moeUnloadModule(module))


@cache
def embedded_ptx(chip: int) -> str:
    """The PTX for a chip out of the library's bytes: out of a fat binary, or, where the library
    was built without CUDA's tools, as it is.
    """
    data = LIBRARY.read_bytes()
    start = data.find(fatbinary.START)
    if start >= 0:
        # Of the comments in front of it, empty lines are left.
        return fatbinary.read_ptx(data[start:], chip).lstrip()
    text = re.search(rb"\.version [0-9.]+\n\.target sm_%d\n.*?\0" % chip, data, re.DOTALL)
    assert text, f"no PTX for sm_{chip} in {LIBRARY}"
    return text.group()[:-1].decode()


@cache
def embedded_kernel(chip: int, name: str) -> str:
    """That PTX with one of its kernels alone: the others would have to be read as well."""
    head, *entries = embedded_ptx(chip).split(".visible .entry ")
    [entry] = [entry for entry in entries if entry.startswith(f"{name}(")]
    # What follows a kernel may belong to the next.
    return head + ".visible .entry " + entry[: entry.rindex("}") + 1] + "\n"


def find_op(name: str) -> int:
    op = c_void_p()
    check(library.moeFindOp(name.encode(), byref(op)))
    assert op.value is not None
    return op.value


def run_op(launch: Any, op: int | None, *operands: Any, options: Options | None = None) -> int:
    """moeRunOp with operands as ctypes has them, and addresses as integers; the status. With
    options, moeRunOpWithOptions.
    """
    array = (c_void_p * len(operands))(*(
        ctypes.cast(operand, c_void_p) if operand and not isinstance(operand, int) else operand
        for operand in operands))
    if options is not None:
        return library.moeRunOpWithOptions(launch, op, array, len(operands), byref(options))
    return library.moeRunOp(launch, op, array, len(operands))


# Ops that have a function of their own.
FUNCTIONS = {
    "padded_squared_relu": library.moePaddedSquaredRelu,
    "squared_relu_quantize_mxfp8": library.moeSquaredReluQuantizeMXFP8,
    "quantize_mxfp8": library.moeQuantizeMXFP8,
}
GATED_FUNCTIONS = {
    "padded_swiglu": library.moePaddedSwiGLU,
    "swiglu_quantize_mxfp8": library.moeSwiGLUQuantizeMXFP8,
}


@dataclass(frozen=True)
class Call:
    """The arguments of one call of an op, addresses as integers; `with_` changes some. It is made
    by the op's own function if there is one that takes all and `by_name` does not say otherwise.
    `columns` are those of x, `settings` the attributes of the op.
    """

    op: str
    rows: int
    columns: int
    x: int | None = 0x100_0000_0000_0000
    permutation_map: int | None = 0x200_0000_0000_0000
    n_used: int | None = 0x300_0000_0000_0000
    out: int | None = 0x400_0000_0000_0000
    scale: int | None = 0x500_0000_0000_0000
    x_stride: int | None = None
    out_rows: int | None = None
    out_columns: int | None = None
    out_stride: int | None = None
    scale_bytes: int | None = None
    scale_stride: int = 0
    layout: int = SWIZZLED
    dead: int = ZERO
    device: int = CPU
    flags: int = 0
    stream: int | None = None
    module: int | None = None
    num_ctas: int = 0
    num_threads: int = 0
    expected_rows: int = 0
    by_name: bool = False
    probs: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def result_columns(self) -> int:
        return self.columns // 2 if self.op in GATED_FUNCTIONS else self.columns

    def with_(self, **changes: Any) -> Call:
        return replace(self, **changes)

    def run(self) -> None:
        def default(value: int | None, otherwise: int) -> int:
            return otherwise if value is None else value

        launch = Launch(self.device, self.flags, self.stream, self.module, self.num_ctas,
                        self.num_threads, self.expected_rows)
        x = Matrix(self.x, self.rows, self.columns, default(self.x_stride, self.columns))
        out = Matrix(self.out, default(self.out_rows, self.rows),
                     default(self.out_columns, self.result_columns),
                     default(self.out_stride, default(self.out_columns, self.result_columns)))
        arguments = [byref(launch), byref(x), self.permutation_map, self.n_used, byref(out)]
        if "quantize" in self.op:
            size = self.scale_bytes
            if size is None:
                size = 0 if self.rows == 0 else scale_size(self.rows, self.result_columns,
                                                               self.layout)
                if self.layout == LINEAR and self.scale_stride and self.rows:
                    size = (self.rows - 1) * self.scale_stride + self.result_columns // 32
            arguments.append(byref(Scale(self.scale, size, self.scale_stride, self.layout,
                                         self.dead)))
        options = make_options(self.settings, self.probs)
        if self.by_name or options.dead_rows or self.op not in {**FUNCTIONS, **GATED_FUNCTIONS}:
            check(run_op(arguments[0], find_op(self.op), *arguments[1:], options=options))
        elif self.op in GATED_FUNCTIONS:
            check(GATED_FUNCTIONS[self.op](*arguments[:4], self.probs, byref(options.gate),
                                           *arguments[4:]))
        elif self.settings or self.probs:
            check(run_op(arguments[0], find_op(self.op), *arguments[1:], options=options))
        else:
            check(FUNCTIONS[self.op](*arguments))
