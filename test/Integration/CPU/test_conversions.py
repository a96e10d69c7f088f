# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""bf16 arithmetic as the CPU pipeline does it, on more than the ops make of it: every bf16 value
under every scale that it can be under, and times every power of two to f8E4M3FN; ops on any two
bf16 values; every rounding from f32.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from moe_testing import on_cpu, oracle
from moe_testing.kernels import compare, run_tool

pytestmark = pytest.mark.needs("moe-opt", "moe-run")

SCALED = """
func.func @entry(%x: memref<65536xbf16>, %out: memref<255x65536xf8E4M3FN>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c32 = arith.constant 32 : index
  %c255 = arith.constant 255 : index
  %c65536 = arith.constant 65536 : index
  %c7 = arith.constant 7 : i32
  %greatest = arith.constant 254 : i32
  %zero = arith.constant 0 : i32
  scf.for %field = %c0 to %c255 step %c1 {
    %wide_field = arith.index_cast %field : index to i32
    %at_most = arith.minsi %wide_field, %greatest : i32
    %in_range = arith.maxsi %at_most, %zero : i32
    %wide_bits = arith.shli %in_range, %c7 : i32
    %bits = arith.trunci %wide_bits : i32 to i16
    %factor = arith.bitcast %bits : i16 to bf16
    %factors = vector.broadcast %factor : bf16 to vector<32xbf16>
    scf.for %i = %c0 to %c65536 step %c32 {
      %v = vector.load %x[%i] : memref<65536xbf16>, vector<32xbf16>
      %scaled = arith.mulf %v, %factors : vector<32xbf16>
      %data = arith.truncf %scaled : vector<32xbf16> to vector<32xf8E4M3FN>
      vector.store %data, %out[%field, %i] : memref<255x65536xf8E4M3FN>, vector<32xf8E4M3FN>
    }
  }
  return
}
"""


def run(program: str, inputs: list[np.ndarray], output: np.ndarray) -> np.ndarray:
    [found] = on_cpu.call(program, [*inputs, output], [len(inputs)])
    return found


def test_every_value_under_every_scale() -> None:
    # The greatest magnitude for each exponent: its mantissa is 1.75, as that of 448 is.
    maxima = [0, *((e + 9) * 128 - 32 for e in range(1, 247)), 0x7F7F, 0x7F80]
    patterns = np.arange(1 << 16, dtype=np.uint16)
    magnitudes = patterns & 0x7FFF
    is_nan = magnitudes > 0x7F80
    rows = []
    for maximum in maxima:
        members = np.where(is_nan | (magnitudes <= maximum), patterns, 0)
        groups = np.resize(members, (-(-members.size // 31), 31))
        # The maximum is in one place of its group after the other.
        is_member = np.arange(32) != (np.arange(len(groups)) % 32)[:, None]
        row = np.full(is_member.shape, maximum, np.uint16)
        row[is_member] = groups.ravel()
        rows.append(row.ravel())
    x = np.array(rows, np.uint16)
    M, K = x.shape
    program = f"""
func.func @entry(%x: memref<{M}x{K}xbf16>, %map: memref<{M}xi32>, %n: memref<i32>,
                 %data: memref<{M}x{K}xf8E4M3FN>, %scale: memref<{M}x{K // 32}xf8E8M0FNU>) {{
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<{M}x{K}xbf16>, memref<{M}xi32>, memref<i32>)
    outs(%data, %scale : memref<{M}x{K}xf8E4M3FN>, memref<{M}x{K // 32}xf8E8M0FNU>)
    scale_layout<linear>
  return
}}"""
    rows_used = [np.arange(M, dtype=np.int32), np.array(M, np.int32)]
    data, scale = np.zeros((M, K), np.uint8), np.zeros((M, K // 32), np.uint8)
    found = on_cpu.call(program, [x, *rows_used, data, scale], [3, 4])
    wanted = oracle.quantize_mxfp8(x.view(ml_dtypes.bfloat16), *rows_used,
                                   data.view(ml_dtypes.float8_e4m3fn),
                                   scale.view(ml_dtypes.float8_e8m0fnu), scale_layout="linear")
    exponents = [row[0] for row in oracle.bits(wanted[1])]
    assert exponents == [*range(248), 255]
    for name, array, want in zip(("data", "scale"), found, wanted):
        compare(name, array, oracle.bits(want))


def test_every_value_times_every_power_of_two() -> None:
    x = np.arange(1 << 16, dtype=np.uint16)
    found = run(SCALED, [x], np.zeros((255, 1 << 16), np.uint8))
    values = x.view(ml_dtypes.bfloat16).astype(np.float32)
    factors = (np.arange(255, dtype=np.uint32) << 23).view(np.float32)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for factor, row in zip(factors, found):
            product = (values * factor).astype(ml_dtypes.bfloat16).astype(np.float32)
            # What is too large is the greatest value, as it is for the instruction of a GPU.
            wanted = np.clip(product, -448, 448).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
            wanted[np.isnan(product)] = 0x7F
            compare(f"times {factor}", row, wanted)


def elementwise(arguments: int, body: str) -> str:
    """A program that computes %r from vectors %a (and %b) of 32 bf16, along whole arrays."""
    names = ["a", "b"][:arguments]
    parameters = "".join(f"%{name}s: memref<?xbf16>, " for name in names)
    loads = "".join(f"""
    %{name} = vector.load %{name}s[%i] : memref<?xbf16>, vector<32xbf16>""" for name in names)
    return f"""
func.func @entry({parameters}%out: memref<?xbf16>) {{
  %c0 = arith.constant 0 : index
  %c32 = arith.constant 32 : index
  %size = memref.dim %out, %c0 : memref<?xbf16>
  scf.for %i = %c0 to %size step %c32 {{{loads}
    {body}
    vector.store %r, %out[%i] : memref<?xbf16>, vector<32xbf16>
  }}
  return
}}"""


def is_legalized(program: str) -> bool:
    """Whether `moe-legalize-bf16` leaves no arithmetic on 32 floats to other passes."""
    lowered = run_tool("moe-opt", "--moe-legalize-bf16", text=program)
    left = re.findall(r"(?:arith|math)\.(?!bitcast|constant).*vector<32xb?f\d+>", lowered)
    return not left


BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "arith.addf": np.add,
    "arith.subf": np.subtract,
    "arith.mulf": np.multiply,
    "arith.divf": np.divide,
    "arith.maximumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.maxnumf": np.fmax,
    "arith.minnumf": np.fmin,
    "math.copysign": np.copysign,
}


@pytest.mark.parametrize("op", BINARY)
def test_binary(op: str) -> None:
    program = elementwise(2, f"%r = {op} %a, %b : vector<32xbf16>")
    assert is_legalized(program)
    rng = np.random.default_rng(0)
    x = np.arange(1 << 16, dtype=np.uint16)
    near = x ^ rng.integers(0, 256, x.size, np.uint16)
    constants = (0x0000, 0x8000, 0x7F80, 0x0001, 0x807F, 0x3F81, 0xBFC1, 0x7F7F)
    y = np.concatenate([x, near, rng.permutation(x),
                        *(np.full_like(x, bits) for bits in constants)])
    x = np.resize(x, y.size)
    found = run(program, [x, y], np.zeros_like(x))
    a, b = (v.view(ml_dtypes.bfloat16).astype(np.float32) for v in (x, y))
    with np.errstate(all="ignore"):
        wanted = BINARY[op](a, b).astype(ml_dtypes.bfloat16)
    check_bf16(op, found, wanted, zeros_are_one=op.endswith(("mumf", "numf")))


def check_bf16(name: str, found: np.ndarray, wanted: np.ndarray,
               zeros_are_one: bool = False) -> None:
    """Bits are the same, but for those of NaN; which zero a maximum has of two is left open."""
    wide = wanted.astype(np.float32)
    assert np.array_equal(np.isnan(found.view(ml_dtypes.bfloat16).astype(np.float32)),
                          np.isnan(wide))
    found, bits = found.copy(), wanted.view(np.uint16).copy()
    for array in (found, bits):
        array[np.isnan(wide)] = 0
        if zeros_are_one:
            array[array == 0x8000] = 0
    compare(name, found, bits)


# A correctly rounded f32 function, rounded to bf16.
UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "arith.negf": np.negative,
    "math.absf": np.abs,
    "math.sqrt": np.sqrt,
    "math.floor": np.floor,
}


@pytest.mark.parametrize("op", UNARY)
def test_unary(op: str) -> None:
    program = elementwise(1, f"%r = {op} %a : vector<32xbf16>")
    assert is_legalized(program)
    x = np.arange(1 << 16, dtype=np.uint16)
    found = run(program, [x], np.zeros(1 << 16, np.uint16))
    with np.errstate(invalid="ignore"):
        wanted = UNARY[op](x.view(ml_dtypes.bfloat16).astype(np.float32))
    check_bf16(op, found, wanted.astype(ml_dtypes.bfloat16))


# Not with nothing in the lower half: to widen and narrow again folds to nothing.
@pytest.mark.parametrize("lower", [0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
def test_every_rounding(lower: int) -> None:
    program = elementwise(1, f"""
    %lower = arith.constant dense<{lower}> : vector<32xi32>
    %wide = arith.extf %a : vector<32xbf16> to vector<32xf32>
    %upper = arith.bitcast %wide : vector<32xf32> to vector<32xi32>
    %bits = arith.ori %upper, %lower : vector<32xi32>
    %value = arith.bitcast %bits : vector<32xi32> to vector<32xf32>
    %r = arith.truncf %value : vector<32xf32> to vector<32xbf16>""")
    assert is_legalized(program)
    x = np.arange(1 << 16, dtype=np.uint16)
    found = run(program, [x], np.zeros(1 << 16, np.uint16))
    values = ((x.astype(np.uint32) << 16) | lower).view(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = values.astype(ml_dtypes.bfloat16).view(np.uint16).copy()
    wanted[np.isnan(values)] = 0x7FC0
    compare("rounded", found, wanted)


def test_comparison_and_selection() -> None:
    program = elementwise(2, """
    %is_less = arith.cmpf olt, %a, %b : vector<32xbf16>
    %r = arith.select %is_less, %a, %b : vector<32xi1>, vector<32xbf16>""")
    assert is_legalized(program)
    x = np.arange(1 << 16, dtype=np.uint16)
    y = np.concatenate([np.random.default_rng(0).permutation(x), x ^ 1, x ^ 0x8000])
    x = np.resize(x, y.size)
    found = run(program, [x, y], np.zeros_like(x))
    a, b = (v.view(ml_dtypes.bfloat16).astype(np.float32) for v in (x, y))
    compare("selected", found, np.where(a < b, x, y))


@pytest.mark.parametrize("narrow, greatest", [("f8E4M3FN", 448), ("f8E5M2", 57344)])
def test_every_rounding_to_f8(narrow: str, greatest: int) -> None:
    program = f"""
func.func @entry(%x: memref<?xf32>, %out: memref<?x{narrow}>) {{
  %c0 = arith.constant 0 : index
  %c32 = arith.constant 32 : index
  %size = memref.dim %x, %c0 : memref<?xf32>
  scf.for %i = %c0 to %size step %c32 {{
    %v = vector.load %x[%i] : memref<?xf32>, vector<32xf32>
    %r = arith.truncf %v : vector<32xf32> to vector<32x{narrow}>
    vector.store %r, %out[%i] : memref<?x{narrow}>, vector<32x{narrow}>
  }}
  return
}}"""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    values = np.concatenate([upper | lower for lower in (0, 1, 0x7FFF, 0x8000, 0xFFFF)])
    values = values.astype(np.uint32).view(np.float32)
    found = run(program, [values], np.zeros(values.size, np.uint8))
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = np.clip(values, -greatest, greatest).astype(NARROW[narrow]).view(np.uint8)
    wanted[np.isnan(values)] = 0x7F
    compare("rounded", found, wanted)


NARROW = {"f8E4M3FN": ml_dtypes.float8_e4m3fn, "f8E5M2": ml_dtypes.float8_e5m2,
          "f8E8M0FNU": ml_dtypes.float8_e8m0fnu}
WIDE = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16),
        "f16": np.dtype(np.float16)}


@pytest.mark.parametrize("narrow", NARROW)
@pytest.mark.parametrize("wide", WIDE)
def test_every_code_of_narrow_floats(narrow: str, wide: str) -> None:
    program = f"""
func.func @entry(%x: memref<256x{narrow}>, %out: memref<256x{wide}>) {{
  %c0 = arith.constant 0 : index
  %v = vector.load %x[%c0] : memref<256x{narrow}>, vector<128x{narrow}>
  %w = arith.extf %v : vector<128x{narrow}> to vector<128x{wide}>
  vector.store %w, %out[%c0] : memref<256x{wide}>, vector<128x{wide}>
  affine.for %i = 128 to 256 {{
    %a = affine.load %x[%i] : memref<256x{narrow}>
    %b = arith.extf %a : {narrow} to {wide}
    affine.store %b, %out[%i] : memref<256x{wide}>
  }}
  return
}}"""
    codes = np.arange(256, dtype=np.uint8)
    stored = np.float16 if wide == "f16" else np.float32 if wide == "f32" else np.uint16
    found = run(program, [codes], np.zeros(256, stored)).view(WIDE[wide])
    with np.errstate(over="ignore"):
        wanted = codes.view(NARROW[narrow]).astype(np.float32).astype(WIDE[wide])
    is_nan = np.isnan(wanted.astype(np.float32))
    assert np.array_equal(np.isnan(found.astype(np.float32)), is_nan)
    bits = np.dtype(f"u{WIDE[wide].itemsize}")
    compare("value", found.view(bits)[~is_nan], wanted.view(bits)[~is_nan])
