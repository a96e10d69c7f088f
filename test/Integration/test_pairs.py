# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe.map_rows of two columns of x each, in every layout of the pairs, on the CPU and as PTX, byte
for byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from moe_testing import batches, interpreted, on_cpu, oracle
from moe_testing.kernels import QUANTIZE, SQUARED_RELU, Kernel, RowMap

pytestmark = pytest.mark.needs("moe-opt", "moe-translate", "moe-run")

OPERANDS = [SQUARED_RELU, QUANTIZE]
# Blocks that divide a vector of 8 elements, that it divides, and neither.
LAYOUTS = ["halves", "interleaved<1>", "interleaved<4>", "interleaved<8>", "interleaved<32>",
           "interleaved<24>"]
# The parts are told apart: neither their order nor a part alone gives the same.
REGION = """%quarter = arith.constant -0.25 : f32
%wide = arith.extf %a : bf16 to f32
%other = arith.extf %b : bf16 to f32
%scaled = arith.mulf %other, %quarter : f32
%sum = arith.addf %wide, %scaled : f32
%result = arith.truncf %sum : f32 to bf16
moe.yield %result : bf16"""


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """f32(a - b / 4). The quarter is exact: bf16 has no value below 2^-133."""
    with np.errstate(invalid="ignore", over="ignore"):
        return a.astype(np.float32) + np.float32(-0.25) * b.astype(np.float32)


@dataclass(frozen=True)
class PairKernel(Kernel):
    """`columns` are those of the destination. The operands are those of `op`."""

    pairs: str = "halves"

    @property
    def map(self) -> RowMap:
        parts = oracle.gate_parts("gate_up" if self.pairs == "halves" else self.pairs)
        return RowMap(difference, self.format, parts, is_any_nan_right=True)

    def entry(self, aligned: bool) -> str:
        return super().entry(aligned).replace(self.op, "difference")

    def mlir(self) -> str:
        columns = "?" if self.columns is None else str(self.columns)
        twice = "?" if self.columns is None else str(2 * self.columns)
        one = super().mlir()
        assert one.count(f"x{columns}xbf16") == (2 if self.op == QUANTIZE else 4)
        # The first two are x as an argument and as an operand.
        if self.op == SQUARED_RELU:
            x, out = f"%x: memref<?x{columns}xbf16", f"ins(%x, %map, %n : memref<?x{columns}xbf16"
            return one.replace(x, f"%x: memref<?x{twice}xbf16").replace(
                out, f"ins(%x, %map, %n : memref<?x{twice}xbf16")
        return one.replace(f"x{columns}xbf16", f"x{twice}xbf16")

    def _call(self, operands: str) -> str:
        format = ("#moe.bf16" if self.op == SQUARED_RELU else
                  f"#moe.mxfp8<scale_layout = {self.scale_layout},"
                  f" dead_scales = {self.dead_scales}>")
        schedule = (f" attributes {{moe.schedule = [{self.schedule}]}}" if self.schedule else "")
        return (f'moe.map_rows {operands} pairs<{self.pairs}> format({format})'
                f' kernel_name("difference"){schedule} {{\n'
                f"^bb0(%a: bf16, %b: bf16):\n{REGION}\n}}")


def batch_of(columns: int, rows: int = 37) -> batches.Batch:
    return batches.random_batch(rows, 2 * columns, rows - 3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operands", OPERANDS)
@pytest.mark.parametrize("chip", ["sm_80", "sm_90", "sm_100"])
def test_ptx(layout: str, operands: str, chip: str) -> None:
    # With padding columns of scales, and whole blocks.
    columns = 1152 if layout != "interleaved<24>" else 1152 + 96
    kernel = PairKernel(operands, None, pairs=layout)
    # Blocks that no vector suits have the kernel for single elements alone.
    aligned = layout != "interleaved<24>" or chip != "sm_100"
    interpreted.run(kernel, batch_of(columns), (2, 3), chip, aligned=aligned)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operands", OPERANDS)
def test_ptx_of_single_elements(layout: str, operands: str) -> None:
    """Rows that start anywhere, of a width that is no whole vector where there are no groups."""
    columns = 160 if operands == QUANTIZE else 32
    if layout == "interleaved<24>":
        columns = 192 if operands == QUANTIZE else 48
    if operands == SQUARED_RELU and layout in ("halves", "interleaved<1>"):
        columns = 45
    kernel = PairKernel(operands, None, strided=True, pairs=layout)
    interpreted.run(kernel, batch_of(columns), (1, 3), aligned=False, x_offset=2, padding=3)


@pytest.mark.parametrize("layout", ["halves", "interleaved<2>"])
@pytest.mark.parametrize("scale_layout", [oracle.SWIZZLED, oracle.LINEAR])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
def test_scales(layout: str, scale_layout: str, dead_scales: str) -> None:
    kernel = PairKernel(QUANTIZE, 1024, scale_layout, dead_scales, pairs=layout)
    batch = batch_of(1024, 70)
    interpreted.run(kernel, batch, (1, 2))
    on_cpu.run(kernel, batch)


@pytest.mark.parametrize("layout", [*LAYOUTS, "interleaved<3>", "interleaved<64>"])
@pytest.mark.parametrize("operands", OPERANDS)
def test_cpu(layout: str, operands: str) -> None:
    columns = 192 if operands == QUANTIZE or layout == "interleaved<24>" else 256
    if layout == "interleaved<3>":
        columns = 96 if operands == QUANTIZE else 111
    if layout == "halves" and operands == SQUARED_RELU:
        columns = 77
    on_cpu.run(PairKernel(operands, None, pairs=layout), batch_of(columns))
