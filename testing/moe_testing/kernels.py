# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles the ops to PTX with the project's tools and checks launches against the oracle.

A launch goes through a backend: the PTX interpreter, or the CUDA driver on a machine with a GPU.
Outputs start as random bytes, and every byte of every buffer is compared, so a row that should
have been left alone, or the space between strided rows, is checked too.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Protocol

import ml_dtypes
import numpy as np

from . import activations, oracle
from .batches import Batch
from .checkout import BIN_DIR

THREADS_PER_CTA = 256

SQUARED_RELU = "padded_squared_relu"
FUSED = "squared_relu_quantize_mxfp8"
QUANTIZE = "quantize_mxfp8"


@dataclass(frozen=True)
class Kernel:
    """An op with all that its PTX depends on, `columns` None for a dynamic size, `schedule` one or
    more `#moe.schedule`, empty for what the compiler chooses.
    """

    op: str
    columns: int | None = None
    scale_layout: str = "swizzle_32_4_4"
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

    def entry(self, aligned: bool) -> str:
        """What the compiler calls it."""
        linear = "_linear" if self.scale_layout == "linear" else ""
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
            scale = "?" if self.scale_layout == "swizzle_32_4_4" else f"?x{groups}"
            outputs = {"%data": f"memref<?x{columns}xf8E4M3FN{layout}>",
                       "%scale": f"memref<{scale}xf8E8M0FNU>"}
        arguments = ", ".join(f"{name}: {type}" for name, type in outputs.items())
        outs = f"{', '.join(outputs)} : {', '.join(outputs.values())}"
        if self.schedule:
            attributes += f" {{moe.schedule = [{self.schedule}]}}"
        return (
            f"func.func @entry(%x: {x}, %map: memref<?xi32>, %n: memref<i32>, {arguments}) {{\n"
            f"  {self._call(f'ins(%x, %map, %n : {ins}) outs({outs})')}\n  return\n}}\n"
        )

    def _call(self, operands: str) -> str:
        """The op itself."""
        if self.op == SQUARED_RELU:
            return f"moe.{self.op} {operands}"
        return (f"moe.{self.op} {operands} scale_layout<{self.scale_layout}>"
                f" dead_scales<{self.dead_scales}>")

    def ptx(self, chip: str = "sm_90", **options: object) -> str:
        """The PTX text, through moe-opt and moe-translate."""
        settings = " ".join(f"{k.replace('_', '-')}={v}" for k, v in options.items())
        lowered = subprocess.run(
            [BIN_DIR / "moe-opt", f"--moe-lower-to-ptx=chip={chip} {settings}", "-"],
            input=self.mlir(), text=True, capture_output=True, check=False,
        )
        assert lowered.returncode == 0, lowered.stderr
        translated = subprocess.run(
            [BIN_DIR / "moe-translate", "--moe-to-ptx", "-"],
            input=lowered.stdout, text=True, capture_output=True, check=False,
        )
        assert translated.returncode == 0, translated.stderr
        return translated.stdout


def _constant(name: str, pattern: int) -> str:
    return f"%{name}_bits = arith.constant {pattern} : i32\n%{name} = arith.bitcast %{name}_bits : i32 to f32"


def _sigmoid() -> str:
    """The region of activations.sigmoid, step by step as that function has it."""
    lines = [_constant("high", 0xBFB8AA00 - (1 << 32)), _constant("low", 0xB6ECA570 - (1 << 32))]
    patterns = (0x3F317218, 0x3E75FDEE, 0x3D6357BE, 0x3C1D96F0, 0x3AAF8417, 0x3920B5A8)
    lines += [_constant(f"c{i + 1}", pattern) for i, pattern in enumerate(patterns)]
    lines += """%magic = arith.constant 12582912.0 : f32
%one = arith.constant 1.0 : f32
%zero = arith.constant 0.0 : f32
%least = arith.constant -88.0 : f32
%most = arith.constant 64.0 : f32
%limit = arith.constant 0x7E800000 : f32
%shift = arith.constant 23 : i32
%w = arith.extf %v : bf16 to f32
%a0 = arith.maximumf %w, %least : f32
%a = arith.minimumf %a0, %most : f32
%z = math.fma %a, %high, %magic : f32
%rounded = arith.subf %z, %magic : f32
%minus_rounded = arith.negf %rounded : f32
%f0 = math.fma %a, %high, %minus_rounded : f32
%f = math.fma %a, %low, %f0 : f32
%q5 = math.fma %c6, %f, %c5 : f32
%q4 = math.fma %q5, %f, %c4 : f32
%q3 = math.fma %q4, %f, %c3 : f32
%q2 = math.fma %q3, %f, %c2 : f32
%q1 = math.fma %q2, %f, %c1 : f32
%p = math.fma %q1, %f, %one : f32
%p_bits = arith.bitcast %p : f32 to i32
%z_bits = arith.bitcast %z : f32 to i32
%scaled = arith.shli %z_bits, %shift : i32
%e_bits = arith.addi %p_bits, %scaled : i32
%e = arith.bitcast %e_bits : i32 to f32
%d = arith.addf %one, %e : f32
%quotient = arith.divf %one, %d : f32
%isHuge = arith.cmpf ogt, %d, %limit : f32
%sigma = arith.select %isHuge, %zero, %quotient : f32
%result = arith.truncf %sigma : f32 to bf16
moe.yield %result : bf16""".splitlines()
    return "\n".join(lines)


# Regions of moe.map_rows that no named op has, and what they compute.
REGIONS: dict[str, tuple[str, oracle.Activation]] = {
    "leaky_relu": ("""%quarter = arith.constant 0.25 : bf16
%zero = arith.constant 0.0 : bf16
%small = arith.mulf %v, %quarter : bf16
%isPositive = arith.cmpf ogt, %v, %zero : bf16
%result = arith.select %isPositive, %v, %small : bf16
moe.yield %result : bf16""", activations.leaky_relu),
    "clamped_square": ("""%low = arith.constant -1.5 : bf16
%high = arith.constant 6.0 : bf16
%bias = arith.constant 0.375 : f32
%above = arith.maximumf %v, %low : bf16
%clamped = arith.minimumf %above, %high : bf16
%wide = arith.extf %clamped : bf16 to f32
%square = arith.mulf %wide, %wide : f32
%sum = arith.addf %square, %bias : f32
%result = arith.truncf %sum : f32 to bf16
moe.yield %result : bf16""", activations.clamped_square),
    "sigmoid": (_sigmoid(), activations.sigmoid),
}


@dataclass(frozen=True)
class RegionKernel(Kernel):
    """A moe.map_rows with one of REGIONS, its name in `region`; `op` is padded_squared_relu for
    bf16 and quantize_mxfp8 for MXFP8, whose operands it has.
    """

    region: str = "leaky_relu"

    @property
    def name(self) -> str:
        return f"{self.region}-{super().name}"

    def entry(self, aligned: bool) -> str:
        return super().entry(aligned).replace(self.op, self.region)

    def _call(self, operands: str) -> str:
        if self.op == SQUARED_RELU:
            format = "#moe.bf16"
        else:
            format = (f"#moe.mxfp8<scale_layout = {self.scale_layout},"
                      f" dead_scales = {self.dead_scales}>")
        region, _ = REGIONS[self.region]
        return (f'moe.map_rows {operands} format({format}) kernel_name("{self.region}") {{\n'
                f"^bb0(%v: bf16):\n{region}\n}}")

    def expected_outputs(self, batch: Batch, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """What the oracle makes of `outputs`."""
        _, activation = REGIONS[self.region]
        format = (oracle.BF16() if self.op == SQUARED_RELU
                  else oracle.MXFP8(scale_layout=self.scale_layout, dead_scales=self.dead_scales))
        return oracle.map_rows(batch.x, batch.permutation_map, batch.n_used, outputs, activation,
                               format)


class Backend(Protocol):
    """Where a kernel runs."""

    def allocate(self, array: np.ndarray, offset: int) -> object:
        """A copy of `array`, guarded on both sides, `offset` bytes past 256-byte alignment."""

    def address(self, buffer: object) -> int: ...

    def read(self, buffer: object, like: np.ndarray) -> np.ndarray: ...

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
    wide = rng.integers(0, 256, (array.shape[0], (array.shape[1] + padding) * array.itemsize))
    wide = wide.astype(np.uint8).view(array.dtype)
    wide[:, : array.shape[1]] = array
    return wide


def expected_outputs(kernel: Kernel, batch: Batch, outputs: list[np.ndarray]) -> list[np.ndarray]:
    """What the oracle makes of `outputs`."""
    if isinstance(kernel, RegionKernel):
        return kernel.expected_outputs(batch, outputs)
    if kernel.op == SQUARED_RELU:
        return [oracle.padded_squared_relu(batch.x, batch.permutation_map, batch.n_used, *outputs)]
    function = getattr(oracle, kernel.op)
    return list(
        function(batch.x, batch.permutation_map, batch.n_used, *outputs,
                 scale_layout=kernel.scale_layout, dead_scales=kernel.dead_scales)
    )


def output_shapes(kernel: Kernel, M: int, N: int) -> list[tuple[tuple[int, ...], np.dtype]]:
    if kernel.op == SQUARED_RELU:
        return [((M, N), np.dtype(ml_dtypes.bfloat16))]
    scale = (M, N // 32) if kernel.scale_layout == "linear" else (oracle.scale_size(M, N),)
    return [((M, N), np.dtype(ml_dtypes.float8_e4m3fn)), (scale, np.dtype(ml_dtypes.float8_e8m0fnu))]


def check(backend: Backend, ptx: str, kernel: Kernel, batch: Batch, grid: tuple[int, int], *,
          threads: int = THREADS_PER_CTA, aligned: bool = True, x_offset: int = 0, data_offset: int = 0, padding: int = 0,
          seed: int = 0) -> None:
    """Launches `kernel` on `batch` and compares every byte with the oracle.

    `threads` are those of a CTA, `aligned` says which of the two kernels to launch. `x_offset` and `data_offset` are bytes past
    alignment, `padding` elements between the rows of x and of the first output.
    """
    rng = np.random.default_rng(seed)
    M, N = batch.x.shape
    outputs = []
    for shape, dtype in output_shapes(kernel, M, N):
        raw = rng.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
        outputs.append(raw.view(dtype).reshape(shape))
    expected = expected_outputs(kernel, batch, outputs)

    x = _widen(batch.x, padding, rng)
    inputs = [(x, x[:, :N], x_offset), (batch.permutation_map,) * 2 + (0,)]
    n_used = np.array(batch.n_used, np.int32)
    inputs.append((n_used, n_used, 0))
    wide_outputs = [_widen(outputs[0], padding, rng), *outputs[1:]]
    views = [wide_outputs[0][:, :N], *wide_outputs[1:]]
    buffers, arguments = [], []
    for storage, view, offset in inputs + [
        (w, v, data_offset if i == 0 else 0) for i, (w, v) in enumerate(zip(wide_outputs, views))
    ]:
        buffers.append(backend.allocate(storage, offset))
        arguments += descriptor(backend.address(buffers[-1]), view)

    entry = kernel.entry(aligned)
    backend.launch(ptx, entry, (*grid, 1), threads, arguments)

    names = ["x", "permutation_map", "n_used", *(["out"] if len(outputs) == 1 else ["data", "scale"])]
    wanted = [x, batch.permutation_map, n_used]
    wanted += [_widen_like(wide_outputs[0], expected[0]), *expected[1:]]
    for name, buffer, want in zip(names, buffers, wanted):
        compare(name, backend.read(buffer, want), want)
    backend.finish()


def _widen_like(wide: np.ndarray, narrow: np.ndarray) -> np.ndarray:
    result = wide.copy()
    result[:, : narrow.shape[1]] = narrow
    return result


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
