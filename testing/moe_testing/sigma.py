# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels that show to the bit what is inside of SwiGLU: silu in f32, of every gate, and the
quotient 1 / d of every divisor that sigma may have.

A kernel stores 16 bits for a column, so these store the upper or the lower half of an f32. They are
what the compiler makes of the op, or of its division under the same proof. The checks take any
backend of kernels.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from . import gated_batches, oracle
from .batches import Batch
from .family import FamilyKernel
from .kernels import THREADS_PER_CTA, Backend, compare, descriptor, run_tool

# Of the table as it is published with the sequence: little-endian, every NaN 0x7fc00000.
SILU_TABLE = "371b01c38748fb2ce433343f931dab36ebe138c1b608eea6695dbcddeea78838"
SILU_COLUMNS = 1024

# Of the f32 that a divisor may be: 1 is the first; from the second on the quotient, which would be
# subnormal, is 0; the third is the greatest.
FIRST, ZERO_FROM, LAST = 0x3F800000, 0x7E800001, 0x7F000000
# As many divisors as there are mantissas.
BINADE = 1 << 23


def silu_module() -> str:
    """A generic op that gives the upper or the lower half of the bits of silu(gate): the lower one
    where the up is not 0. It is what the compiler makes of padded_swiglu up to f32(g * sigma).
    """
    generic = run_tool("moe-opt", "--moe-generalize", "--mlir-print-op-generic=false",
                       text=FamilyKernel("padded_swiglu").mlir())
    lines = generic.splitlines()
    # The last f32 product is with the up: what is in front of it is silu.
    products = [i for i, line in enumerate(lines) if "arith.mulf" in line and ": f32" in line]
    silu = lines[products[-2]].split()[0]
    widened = [line.split()[0] for line in lines if "arith.extf %arg5" in line
               or "arith.extf %in_0" in line]
    assert len(widened) == 1
    cut = next(i for i, line in enumerate(lines) if "moe.yield" in line)
    body = f"""%zero_up = arith.constant 0.0 : f32
%bits_of_silu = arith.bitcast {silu} : f32 to i32
%is_upper = arith.cmpf oeq, {widened[0]}, %zero_up : f32
%sixteen_bits = arith.constant 16 : i32
%upper = arith.shrui %bits_of_silu, %sixteen_bits : i32
%half = arith.select %is_upper, %upper, %bits_of_silu : i32
%half_bits = arith.trunci %half : i32 to i16
%as_float = arith.bitcast %half_bits : i16 to bf16
moe.yield %as_float : bf16"""
    lines[cut] = body
    return "\n".join(lines).replace('kernel_name("padded_swiglu")', 'kernel_name("silu")')


def silu_batch() -> Batch:
    """Every gate for its upper half, and again for the lower one."""
    gates = np.tile(np.arange(1 << 16, dtype=np.uint16).view(oracle.bfloat16), 2)
    gates = gates.reshape(-1, SILU_COLUMNS)
    ups = np.repeat([0.0, 1.0], (1 << 16) // SILU_COLUMNS).astype(oracle.bfloat16)[:, None]
    return gated_batches.dense(gates, np.broadcast_to(ups, gates.shape))


def table_of(halves: np.ndarray) -> str:
    """The hash of the table, from its upper halves and its lower ones; every NaN is one."""
    bits = oracle.bits(halves).reshape(2, 1 << 16).astype(np.uint32)
    table = (bits[0] << np.uint32(16) | bits[1]).view(np.float32)
    table = np.where(np.isnan(table), np.uint32(0x7FC00000).view(np.float32), table)
    return hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()


def check_silu(backend: Backend, ptx: str, grid: tuple[int, int], *, aligned: bool = True) -> None:
    """Launches a kernel of silu_module(), and compares the table's hash."""
    batch = silu_batch()
    halves = _launch(backend, ptx, "silu" if aligned else "silu_unaligned",
                     [batch.x, batch.permutation_map], batch.M, SILU_COLUMNS, grid)
    found = table_of(halves)
    if found != SILU_TABLE:
        raise AssertionError(f"expected a table of silu with the hash {SILU_TABLE}, found {found}")


def reciprocal_module() -> str:
    """Two functions, of which one gives the upper, one the lower half of the quotient 1 / d of
    sigma, of an f32 d that is two columns of x. What is not a divisor of sigma is replaced by one,
    without which there would be no proof that it is one.
    """
    x, out, n = ("memref<?x?xbf16>",) * 2 + ("memref<i32>",)
    return "".join(f"""func.func @{half}(%x: {x}, %n: {n}, %out: {out}) {{
  moe.map_rows ins(%x, %n : {x}, {n}) outs(%out : {out}) pairs<interleaved<1>>
    format(#moe.bf16) kernel_name("{half}") {{
  ^bb0(%low: bf16, %high: bf16):
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    %limit = arith.constant 0x7E800000 : f32
    %most = arith.constant 0x{LAST:X} : f32
    %sixteen = arith.constant 16 : i32
    %low_i16 = arith.bitcast %low : bf16 to i16
    %high_i16 = arith.bitcast %high : bf16 to i16
    %low_bits = arith.extui %low_i16 : i16 to i32
    %wide = arith.extui %high_i16 : i16 to i32
    %high_bits = arith.shli %wide, %sixteen : i32
    %bits = arith.ori %high_bits, %low_bits : i32
    %any = arith.bitcast %bits : i32 to f32
    %least = arith.maxnumf %any, %one : f32
    %d = arith.minnumf %least, %most : f32
    %quotient = arith.divf %one, %d : f32
    %is_huge = arith.cmpf ogt, %d, %limit : f32
    %sigma = arith.select %is_huge, %zero, %quotient : f32
    %sigma_bits = arith.bitcast %sigma : f32 to i32
    %shift = arith.constant {shift} : i32
    %moved = arith.shrui %sigma_bits, %shift : i32
    %half = arith.trunci %moved : i32 to i16
    %result = arith.bitcast %half : i16 to bf16
    moe.yield %result : bf16
  }}
  return
}}
""" for half, shift in (("upper", 16), ("lower", 0)))


def reciprocal(patterns: np.ndarray) -> np.ndarray:
    """The bits of the quotients of divisors, by numpy's division in float32."""
    quotients = np.float32(1) / patterns.view(np.float32)
    return np.where(patterns < ZERO_FROM, quotients, np.float32(0)).view(np.uint32)


def binades() -> Iterable[tuple[int, int]]:
    """Every divisor, as ranges of their bits."""
    for begin in range(FIRST, LAST + 1, BINADE):
        yield begin, min(begin + BINADE, LAST + 1)


def check_reciprocal(backend: Backend, ptx: str, patterns: np.ndarray,
                     grid: tuple[int, int]) -> None:
    """Launches the kernels of reciprocal_module() on divisors given by their bits, uint32, and
    compares all bits of the quotients.
    """
    if patterns.min() < FIRST or patterns.max() > LAST:
        raise ValueError(f"expected patterns from {FIRST:#x} to {LAST:#x}, found "
                         f"{int(patterns.min()):#x} to {int(patterns.max()):#x}")
    # A multiple of what a row of aligned operands has.
    columns = min(4096, -(-patterns.size // 32) * 32)
    rows = -(-patterns.size // columns)
    x = np.full(rows * columns, FIRST, np.uint32)
    x[: patterns.size] = patterns
    # Of a little-endian f32 the lower half is the first of two columns.
    operand = x.view(oracle.bfloat16).reshape(rows, 2 * columns)
    upper, lower = (_launch(backend, ptx, half, [operand], rows, columns, grid)
                    for half in ("upper", "lower"))
    found = oracle.bits(upper).astype(np.uint32) << np.uint32(16) | oracle.bits(lower)
    compare(f"1 / d from d = {int(x[0]):#x} on, ", found, reciprocal(x).reshape(rows, columns))


def _launch(backend: Backend, ptx: str, entry: str, inputs: list[np.ndarray], rows: int,
            columns: int, grid: tuple[int, int]) -> np.ndarray:
    """What a kernel writes: `inputs` are those before n_used, and all rows are used."""
    arrays = [*inputs, np.array(rows, np.int32), np.zeros((rows, columns), oracle.bfloat16)]
    buffers = [backend.allocate(array, 0) for array in arrays]
    arguments = [word for buffer, array in zip(buffers, arrays)
                 for word in descriptor(backend.address(buffer), array)]
    backend.launch(ptx, entry, (*grid, 1), THREADS_PER_CTA, arguments)
    found = backend.read(buffers[-1], arrays[-1]).copy()
    backend.finish()
    return found
