# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The named ops with all that they may have: pairs of columns, parameters of the activation, no
map, probs, rows that are zeroed or gathered. For kernels.check and for on_cpu.run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import activations, oracle
from .kernels import RowMap, compile_ptx

BF16_OPS = ("padded_swiglu", "padded_squared_relu", "permute_tokens")
_PARAMETERS = ("limit", "alpha", "beta", "clamp_scale")


@dataclass(frozen=True)
class FamilyKernel:
    """An op; `arguments` are the keyword arguments of the oracle's function for it, in any order,
    `columns` those of the destination, None for a dynamic size.
    """

    op: str
    arguments: tuple[tuple[str, Any], ...] = ()
    columns: int | None = None
    has_map: bool = True
    has_probs: bool = False
    strided: bool = False

    @staticmethod
    def of(op: str, arguments: Mapping[str, Any], **fields: Any) -> FamilyKernel:
        return FamilyKernel(op, tuple(sorted(arguments.items())), **fields)

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.arguments)

    @property
    def is_gated(self) -> bool:
        return "swiglu" in self.op

    @property
    def gathers(self) -> bool:
        return "permute" in self.op

    @property
    def format(self) -> oracle.Format:
        if self.op in BF16_OPS:
            return oracle.BF16()
        settings = self.settings
        return oracle.MXFP8(settings.get("scale_layout", oracle.SWIZZLED),
                            settings.get("dead_scales", "zero"))

    @property
    def map(self) -> RowMap:
        settings = self.settings
        if self.is_gated:
            names = ("limit", "limit_at", "alpha", "beta", "activation")
            activation: oracle.Activation = activations.SwiGLU(
                **{name: settings[name] for name in names if name in settings})
            parts = oracle.gate_parts(settings.get("gate_layout", "gate_up"))
        elif self.gathers:
            activation, parts = oracle.identity, oracle.whole
        else:
            activation = (oracle._squared_relu_of(settings.get("clamp_scale"), self.has_probs)
                          if "squared_relu" in self.op else oracle.identity)
            parts = oracle.whole
        return RowMap(activation, self.format, parts, has_map=self.has_map,
                      has_probs=self.has_probs, dead_rows=settings.get("dead_rows", "untouched"),
                      gathers=self.gathers)

    def entry(self, aligned: bool) -> str:
        """What the only kernel for such operands is called, from the compiled module."""
        [name] = [line.split("(")[0].split()[-1] for line in self.ptx().splitlines()
                  if ".visible .entry" in line
                  and line.split("(")[0].endswith("_unaligned") != aligned]
        return name

    def mlir(self) -> str:
        columns = "?" if self.columns is None else str(self.columns)
        wide = columns
        if self.is_gated and self.columns is not None:
            wide = str(2 * self.columns)
        layout = ", strided<[?, 1], offset: ?>" if self.strided else ""
        inputs = {"%x": f"memref<?x{wide}xbf16{layout}>"}
        if self.has_map:
            inputs["%map"] = "memref<?xi32>"
        inputs["%n"] = "memref<i32>"
        if self.op in BF16_OPS:
            outputs = {"%out": f"memref<?x{columns}xbf16{layout}>"}
        else:
            groups = "?" if self.columns is None else str(self.columns // 32)
            is_linear = self.settings.get("scale_layout") == oracle.LINEAR
            scale = f"?x{groups}" if is_linear else "?"
            outputs = {"%data": f"memref<?x{columns}xf8E4M3FN{layout}>",
                       "%scale": f"memref<{scale}xf8E8M0FNU>"}
        probs = {"%probs": "memref<?xf32>"} if self.has_probs else {}

        def listed(operands: dict[str, str]) -> str:
            return f"({', '.join(operands)} : {', '.join(operands.values())})"

        arguments = ", ".join(f"{name}: {type}" for name, type
                              in {**inputs, **probs, **outputs}.items())
        call = f"moe.{self.op} ins{listed(inputs)}"
        if probs:
            call += f" probs{listed(probs)}"
        call += f" outs{listed(outputs)}"
        for name in ("gate_layout", "limit_at", "activation", "dead_rows", "scale_layout",
                     "dead_scales"):
            if name in self.settings:
                call += f" {name}<{self.settings[name]}>"
        numbers = [f"{name} = {self._f32(self.settings[name])} : f32" for name in _PARAMETERS
                   if name in self.settings]
        if numbers:
            call += f" {{{', '.join(numbers)}}}"
        return f"func.func @entry({arguments}) {{\n  {call}\n  return\n}}\n"

    @staticmethod
    def _f32(value: float) -> str:
        text = repr(float(value))
        return text if "." in text or "inf" in text else text.replace("e", ".0e")

    def ptx(self, chip: str = "sm_90", **options: object) -> str:
        return compile_ptx(self.mlir(), chip, **options)
