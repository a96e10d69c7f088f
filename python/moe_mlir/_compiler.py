# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From MLIR text, or an op and a shape, to PTX text, by moe-opt and moe-translate."""

from __future__ import annotations

import operator
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ._modes import DeadScales, ScaleLayout, parse_dead, parse_layout
from ._op_table import OPS

_TOOLS = ("moe-opt", "moe-translate")
# By the functions' names in this package and by those in the dialect.
_OPS = {name: op for op in OPS for name in (op.name, op.dialect)}


class CompilerNotFoundError(RuntimeError):
    """moe-opt or moe-translate is not installed."""


class CompileError(RuntimeError):
    """The compiler rejected the source.

    Attributes:
        command: the tool that failed, and its arguments.
        diagnostics: what it printed.
    """

    def __init__(self, command: Sequence[str], diagnostics: str) -> None:
        self.command = list(command)
        self.diagnostics = diagnostics.strip()
        super().__init__(f"{Path(command[0]).name} failed:\n{self.diagnostics}")


def compile(source_or_op: str, *, chip: str = "sm_90", rows: Optional[int] = None,
            columns: Optional[int] = None, strided: bool = False,
            scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
            features: str = "", num_ctas: Optional[int] = None,
            threads_per_cta: Optional[int] = None, access_bytes: Optional[int] = None,
            opt_level: Optional[int] = None) -> str:
    """PTX text of MLIR with moe ops, or of one op.

    Needs the compiler's tools, which the wheel does not carry: those in the folder MOE_BIN_DIR,
    else on PATH, else in the build folder of a source checkout.

    Args:
        source_or_op: the text of a module or of functions; or an op, "padded_squared_relu",
            "squared_relu_and_quantize_mxfp8" or "quantize_mxfp8", for which the text is written.
        chip: the GPU, such as "sm_90" or "sm_100a".
        rows: M of the op; any if None. Ops only, as the four that follow.
        columns: N or K of the op; any if None.
        strided: whether the rows of x and of the first output may be apart and memory may be
            unaligned, else they are contiguous.
        scale_layout: "swizzle_32_4_4" or "linear".
        dead_scales: "zero" or "untouched".
        features: the PTX version, such as "+ptx80"; empty for the chip's default.
        num_ctas: CTAs of a launch at most, for the launches of the module's own host code.
        threads_per_cta: threads of a CTA.
        access_bytes: the widest access to global memory in bytes, 16 or 32.
        opt_level: LLVM's optimisation level, 0 (the default: PTX is optimised again when it is
            assembled) to 3.

    Returns:
        PTX text. Kernels have the names of their ops, with _linear, _untouched and _unaligned
        added for those variants; moeLoadModule of the runtime takes it.

    Raises:
        TypeError, ValueError: an argument is wrong.
        CompilerNotFoundError: the tools are missing.
        CompileError: the tools reject the source or the options.

    Source: the pipeline moe-lower-to-ptx.
    """
    if not isinstance(source_or_op, str):
        raise TypeError("source_or_op: expected MLIR text or the name of an op, found "
                        f"{type(source_or_op).__name__}")
    options = {"chip": _word("chip", chip), "features": _word("features", features)}
    for name, number in (("num_ctas", num_ctas), ("threads_per_cta", threads_per_cta),
                         ("access_bytes", access_bytes), ("O", opt_level)):
        if number is not None:
            options[name.replace("_", "-")] = str(_index(name, number))
    if re.fullmatch(r"[\w.]*", source_or_op):
        source = _op_source(source_or_op, rows, columns, strided, scale_layout, dead_scales)
    else:
        given = {"rows": rows is not None, "columns": columns is not None, "strided": strided,
                 "scale_layout": scale_layout != "swizzle_32_4_4",
                 "dead_scales": dead_scales != "zero"}
        for name, is_given in given.items():
            if is_given:
                raise ValueError(f"{name}: expected no value with MLIR text, which says so itself")
        source = source_or_op

    opt, translate = _find_tools()
    settings = " ".join(f"{name}={value}" for name, value in options.items() if value)
    lowered = _run([opt, f"--moe-lower-to-ptx={settings}", "-"], source)
    return _run([translate, "--moe-to-ptx", "-"], lowered)


def _word(name: str, value: object) -> str:
    """An option that is one word."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, found {type(value).__name__}")
    if not re.fullmatch(r"[\w+,.-]*", value) or (name == "chip" and not value):
        raise ValueError(f"{name}: expected one word, found {value!r}")
    return value


def _index(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected an int, found {type(value).__name__}") from None


def _size(name: str, value: Optional[int]) -> str:
    if value is None:
        return "?"
    size = _index(name, value)
    if size < 0:
        raise ValueError(f"{name}: expected a size that is not negative, found {size}")
    return str(size)


def _op_source(name: str, rows: Optional[int], columns: Optional[int], strided: bool,
               scale_layout: str, dead_scales: str) -> str:
    """A function that applies the op to its arguments."""
    op = _OPS.get(name.removeprefix("moe."))
    if op is None:
        raise ValueError(f"source_or_op: expected MLIR text or one of {', '.join(_OPS)}, found "
                         f"{name!r}")
    M, N = _size("rows", rows), _size("columns", columns)
    layout, _ = parse_layout(scale_layout), parse_dead(dead_scales)
    matrix = f"memref<{M}x{N}x%s{', strided<[?, 1], offset: ?>' if strided else ''}>"
    x, permutation_map, n_used = matrix % "bf16", f"memref<{M}xi32>", "memref<i32>"
    names = [output.name for output in op.format.outputs]
    elements = [_element_type(output.dtype) for output in op.format.outputs]
    outputs, attributes = [matrix % elements[0]], ""
    if op.format.has_scales:
        if columns is not None and int(N) % op.format.group:
            raise ValueError(f"columns: expected a multiple of {op.format.group}, found {N}")
        groups = "?" if columns is None else str(int(N) // op.format.group)
        scale = f"{M}x{groups}" if layout else "?"
        outputs.append(f"memref<{scale}x{elements[1]}>")
        attributes = f" scale_layout<{scale_layout}> dead_scales<{dead_scales}>"
    arguments = ", ".join(f"%{name}: {type_}" for name, type_ in zip(names, outputs))
    values = ", ".join(f"%{name}" for name in names)
    types = ", ".join(outputs)
    return (f"func.func @{op.dialect}(%x: {x}, %map: {permutation_map}, %n: {n_used}, {arguments})"
            f" {{\n  moe.{op.dialect} ins(%x, %map, %n : {x}, {permutation_map}, {n_used})\n"
            f"    outs({values} : {types}){attributes}\n"
            "  return\n}\n")


def _element_type(dtype: str) -> str:
    """MLIR's name of it, such as f8E4M3FN of float8_e4m3fn."""
    kind, _, variant = dtype.partition("_")
    return kind.replace("float", "f") + variant.upper()


def _find_tools() -> tuple[str, str]:
    """moe-opt and moe-translate of one folder."""
    setting = os.environ.get("MOE_BIN_DIR")
    if setting:
        folders = [Path(setting)]
    else:
        on_path = shutil.which(_TOOLS[0])
        folders = [Path(on_path).resolve().parent] if on_path else []
        root = Path(__file__).resolve().parents[2]
        if (root / "include" / "moe").is_dir():
            folders.append(root / "build" / "bin")
    for folder in folders:
        tools = [folder / tool for tool in _TOOLS]
        if all(tool.is_file() and os.access(tool, os.X_OK) for tool in tools):
            return str(tools[0]), str(tools[1])
    looked = ", ".join(map(str, folders))
    raise CompilerNotFoundError(
        f"{' and '.join(_TOOLS)} were not found"
        + (f" in MOE_BIN_DIR, {looked}" if setting else " on PATH"
           + (f" or in {looked}" if looked else ""))
        + ". Build moe-mlir (scripts/build.sh in its source) or install it (cmake --install), and "
        "set MOE_BIN_DIR to the folder of the tools or put it on PATH. The kernels that "
        "moe_mlir's functions launch need no compiler."
    )


def _run(command: list[str], text: str) -> str:
    result = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if result.returncode:
        raise CompileError(command, result.stderr or f"exit status {result.returncode}")
    return result.stdout
