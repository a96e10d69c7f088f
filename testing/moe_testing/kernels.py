# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles kernels with the project's tools, and checks launches against the oracle.

What is compiled is a named op (`Kernel`), or the generic one with a region (`RegionKernel`);
`RowMap` says what it must compute. A launch goes through a backend: the PTX interpreter
(interpreted.py), or the CUDA driver on a machine with a GPU (cuda_driver.py); on_cpu.py runs the
same on the CPU. Outputs start as random bytes, and every byte of every buffer is compared, so a row
that should have been left alone, or the space between strided rows, is checked too.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

from . import oracle, permutation
from .batches import Batch
from .checkout import BIN_DIR
from .regions import REGIONS

THREADS_PER_CTA = 256

SQUARED_RELU = "padded_squared_relu"
FUSED = "squared_relu_quantize_mxfp8"
QUANTIZE = "quantize_mxfp8"
ACTIVATIONS = {SQUARED_RELU: oracle.squared_relu, FUSED: oracle.squared_relu,
               QUANTIZE: oracle.identity}


def run_tool(tool: str, *arguments: str, text: str) -> str:
    """What a tool of the build prints for a module on its standard input."""
    done = subprocess.run([str(BIN_DIR / tool), *arguments, "-"], input=text, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, f"{tool} {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@cache
def compile_ptx(module: str, chip: str = "sm_90", **options: object) -> str:
    """The PTX text of a module, through moe-opt and moe-translate; `options` are those of the
    pipeline, with underscores.
    """
    settings = " ".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())
    lowered = run_tool("moe-opt", f"--moe-lower-to-ptx=chip={chip} {settings}", text=module)
    return run_tool("moe-translate", "--moe-to-ptx", text=lowered)


@dataclass(frozen=True)
class RowMap:
    """What a kernel must compute: an activation of the live rows, in a format.

    `is_any_nan_right`: where the result is NaN, any NaN will do. `has_map` and `has_probs` say
    which inputs there are beside x and n_used; `dead_rows` is as in oracle.map_rows. With `gathers`
    a row is computed of the row of x that the map names, and there are as many as the map has.
    """

    activation: oracle.Activation
    format: oracle.Format = oracle.BF16()
    parts: oracle.Parts = oracle.whole
    is_any_nan_right: bool = False
    has_map: bool = True
    has_probs: bool = False
    dead_rows: str = "untouched"
    gathers: bool = False

    def inputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """What comes before the destinations, by their names."""
        inputs = {"x": batch.x}
        if self.has_map:
            inputs["permutation_map"] = batch.permutation_map
        inputs["n_used"] = np.array(batch.n_used, np.int32)
        if self.has_probs:
            assert batch.probs is not None, "a batch without probs"
            inputs["probs"] = batch.probs
        return inputs

    def names(self) -> list[str]:
        """Of the destinations."""
        return ["out"] if isinstance(self.format, oracle.BF16) else ["data", "scale"]

    def destinations(self, batch: Batch) -> list[tuple[oracle.Shape, np.dtype]]:
        """Their shapes and types."""
        rows = batch.permutation_map.size if self.gathers else batch.M
        return self.format.destinations(rows, self.parts(batch.x[:0])[0].shape[1])

    def random_outputs(self, batch: Batch, rng: np.random.Generator) -> list[np.ndarray]:
        """Destinations of random bytes."""
        return [rng.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
                .view(dtype).reshape(shape) for shape, dtype in self.destinations(batch)]

    def expected(self, batch: Batch, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the oracle makes of `outputs`."""
        inputs = self.inputs(batch)
        x, where = batch.x, inputs.get("permutation_map")
        if self.gathers:
            x, where = permutation.gathered(x, batch.permutation_map, batch.n_used)
        return oracle.map_rows(x, where, batch.n_used, outputs, self.activation, self.format,
                               self.parts, probs=inputs.get("probs"), dead_rows=self.dead_rows)

    def compare(self, name: str, found: np.ndarray, wanted: np.ndarray) -> None:
        """Fails with the first few differing elements of an output."""
        if self.is_any_nan_right and wanted.dtype == oracle.bfloat16:
            found, wanted = np.array(found), np.array(wanted)
            are_nan = np.isnan(found.astype(np.float32)) & np.isnan(wanted.astype(np.float32))
            oracle.bits(found)[are_nan] = oracle.bits(wanted)[are_nan]
        compare(name, found, wanted)


class Subject(Protocol):
    """What `check` launches."""

    @property
    def map(self) -> RowMap: ...

    def entry(self, aligned: bool) -> str:
        """What the compiler calls the kernel for operands that are aligned, or any."""

    def mlir(self) -> str:
        """A module whose @entry has the kernel's operands: the inputs of its map, and outputs."""

    def ptx(self, chip: str = "sm_90", **options: object) -> str: ...


@dataclass(frozen=True)
class Kernel:
    """An op with all that its PTX depends on, `columns` None for a dynamic size, `schedule` one or
    more `#moe.schedule`, empty for what the compiler chooses.
    """

    op: str
    columns: int | None = None
    scale_layout: str = oracle.SWIZZLED
    dead_scales: str = "zero"
    strided: bool = False
    schedule: str = ""

    @property
    def name(self) -> str:
        """A file name for it."""
        parts = [self.op, str(self.columns or "dynamic")]
        if self.op != SQUARED_RELU:
            parts += [self.scale_layout, self.dead_scales]
        return "-".join(parts + ["strided"] * self.strided)

    @property
    def format(self) -> oracle.Format:
        return (oracle.BF16() if self.op == SQUARED_RELU
                else oracle.MXFP8(self.scale_layout, self.dead_scales))

    @property
    def map(self) -> RowMap:
        return RowMap(ACTIVATIONS[self.op], self.format)

    def entry(self, aligned: bool) -> str:
        linear = "_linear" if self.scale_layout == oracle.LINEAR else ""
        untouched = "_untouched" if self.dead_scales == "untouched" else ""
        return self.op + linear + untouched + ("" if aligned else "_unaligned")

    def mlir(self) -> str:
        """A function that applies the op to its arguments."""
        columns = "?" if self.columns is None else str(self.columns)
        layout = ", strided<[?, 1], offset: ?>" if self.strided else ""
        x = f"memref<?x{columns}xbf16{layout}>"
        ins = f"{x}, memref<?xi32>, memref<i32>"
        if self.op == SQUARED_RELU:
            outputs = {"%out": x}
        else:
            groups = "?" if self.columns is None else str(self.columns // 32)
            scale = "?" if self.scale_layout == oracle.SWIZZLED else f"?x{groups}"
            outputs = {"%data": f"memref<?x{columns}xf8E4M3FN{layout}>",
                       "%scale": f"memref<{scale}xf8E8M0FNU>"}
        arguments = ", ".join(f"{name}: {type}" for name, type in outputs.items())
        outs = f"{', '.join(outputs)} : {', '.join(outputs.values())}"
        return (
            f"func.func @entry(%x: {x}, %map: memref<?xi32>, %n: memref<i32>, {arguments}) {{\n"
            f"  {self._call(f'ins(%x, %map, %n : {ins}) outs({outs})')}\n  return\n}}\n"
        )

    def _call(self, operands: str) -> str:
        """The op itself."""
        layout = ("" if self.op == SQUARED_RELU else
                  f" scale_layout<{self.scale_layout}> dead_scales<{self.dead_scales}>")
        schedule = f" {{moe.schedule = [{self.schedule}]}}" if self.schedule else ""
        return f"moe.{self.op} {operands}{layout}{schedule}"

    def ptx(self, chip: str = "sm_90", **options: object) -> str:
        return compile_ptx(self.mlir(), chip, **options)


@dataclass(frozen=True)
class RegionKernel(Kernel):
    """A moe.map_rows with one of regions.REGIONS, its name in `region`; `op` is
    padded_squared_relu for bf16 and quantize_mxfp8 for MXFP8, whose operands it has.
    """

    region: str = "leaky_relu"

    @property
    def name(self) -> str:
        return f"{self.region}-{super().name}"

    @property
    def map(self) -> RowMap:
        return RowMap(REGIONS[self.region][1], self.format, is_any_nan_right=True)

    def entry(self, aligned: bool) -> str:
        return super().entry(aligned).replace(self.op, self.region)

    def _call(self, operands: str) -> str:
        format = ("#moe.bf16" if self.op == SQUARED_RELU else
                  f"#moe.mxfp8<scale_layout = {self.scale_layout},"
                  f" dead_scales = {self.dead_scales}>")
        schedule = (f" attributes {{moe.schedule = [{self.schedule}]}}" if self.schedule else "")
        return (f'moe.map_rows {operands} format({format}) kernel_name("{self.region}")'
                f"{schedule} {{\n^bb0(%v: bf16):\n{REGIONS[self.region][0]}\n}}")


class Backend(Protocol):
    """Where a kernel runs. `allocate` gives buffers of the backend's own type."""

    def allocate(self, array: np.ndarray, offset: int) -> Any:
        """A copy of `array`, guarded on both sides, `offset` bytes past 256-byte alignment."""

    def address(self, buffer: Any) -> int: ...

    def read(self, buffer: Any, like: np.ndarray) -> np.ndarray: ...

    def launch(self, ptx: str, entry: str, grid: tuple[int, int, int], threads: int,
               arguments: list[int]) -> None: ...

    def finish(self) -> None:
        """Checks the guards and frees everything."""


def descriptor(address: int, array: np.ndarray) -> list[int]:
    """The parameters that a memref argument becomes: pointers, offset, sizes, strides."""
    strides = [s // array.itemsize for s in array.strides]
    return [address, address, 0, *array.shape, *strides]


def _widen(array: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """`array` as the left part of rows that are `padding` elements longer."""
    if padding == 0:
        return array
    size = (array.shape[0], (array.shape[1] + padding) * array.itemsize)
    wide = rng.integers(0, 256, size).astype(np.uint8).view(array.dtype)
    wide[:, : array.shape[1]] = array
    return wide


def _widen_like(wide: np.ndarray, narrow: np.ndarray) -> np.ndarray:
    result = wide.copy()
    result[:, : narrow.shape[1]] = narrow
    return result


def check(backend: Backend, ptx: str, subject: Subject, batch: Batch, grid: tuple[int, int], *,
          threads: int = THREADS_PER_CTA, aligned: bool = True, x_offset: int = 0,
          data_offset: int = 0, padding: int = 0, seed: int = 0) -> None:
    """Launches a kernel of `ptx` on `batch` and compares every byte with the oracle.

    `threads` are those of a CTA, `aligned` says which of the two kernels to launch. `x_offset` and
    `data_offset` are bytes past alignment, `padding` elements between the rows of x and of the
    first output.
    """
    rng = np.random.default_rng(seed)
    outputs = subject.map.random_outputs(batch, rng)
    expected = subject.map.expected(batch, outputs)

    inputs = subject.map.inputs(batch)
    inputs["x"] = x = _widen(batch.x, padding, rng)
    first = _widen(outputs[0], padding, rng)
    # Each with its view that the kernel gets, and its offset.
    operands = [(x, x[:, : batch.x.shape[1]], x_offset),
                *((array, array, 0) for name, array in inputs.items() if name != "x"),
                (first, first[:, : outputs[0].shape[1]], data_offset),
                *((output, output, 0) for output in outputs[1:])]
    buffers, arguments = [], []
    for storage, view, offset in operands:
        buffers.append(backend.allocate(storage, offset))
        arguments += descriptor(backend.address(buffers[-1]), view)

    backend.launch(ptx, subject.entry(aligned), (*grid, 1), threads, arguments)

    for buffer, (name, want) in zip(buffers, inputs.items()):
        compare(name, backend.read(buffer, want), want)
    wanted = [_widen_like(first, expected[0]), *expected[1:]]
    for name, buffer, want in zip(subject.map.names(), buffers[len(inputs):], wanted):
        subject.map.compare(name, backend.read(buffer, want), want)
    backend.finish()


def compare(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    """Fails with the first few differing elements of `name`."""
    found_bits, wanted_bits = oracle.bits(found), oracle.bits(wanted)
    if np.array_equal(found_bits, wanted_bits):
        return
    where = np.argwhere(found_bits != wanted_bits)
    lines = [
        f"{name}{list(map(int, at))}: expected {int(wanted_bits[tuple(at)]):#x},"
        f" found {int(found_bits[tuple(at)]):#x}"
        for at in where[:5]
    ]
    raise AssertionError(f"{len(where)} elements differ\n" + "\n".join(lines))
