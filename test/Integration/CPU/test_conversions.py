# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""bf16 arithmetic as the CPU pipeline does it, on more than the ops make of it: every bf16 value
times every power of two to f8E4M3FN, and products of any two bf16 values.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from moe_testing import on_cpu
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

PRODUCTS = """
func.func @entry(%x: memref<65536xbf16>, %y: memref<65536xbf16>, %out: memref<65536xbf16>) {
  %c0 = arith.constant 0 : index
  %c32 = arith.constant 32 : index
  %c65536 = arith.constant 65536 : index
  scf.for %i = %c0 to %c65536 step %c32 {
    %a = vector.load %x[%i] : memref<65536xbf16>, vector<32xbf16>
    %b = vector.load %y[%i] : memref<65536xbf16>, vector<32xbf16>
    %p = arith.mulf %a, %b : vector<32xbf16>
    vector.store %p, %out[%i] : memref<65536xbf16>, vector<32xbf16>
  }
  return
}
"""


def run(program: str, inputs: list[np.ndarray], output: np.ndarray) -> np.ndarray:
    [found] = on_cpu.call(program, [*inputs, output], [len(inputs)])
    return found


def test_every_value_times_every_power_of_two() -> None:
    lowered = run_tool("moe-opt", "--moe-legalize-bf16", text=SCALED)
    assert "truncf" not in lowered
    x = np.arange(1 << 16, dtype=np.uint16)
    found = run(SCALED, [x], np.zeros((255, 1 << 16), np.uint8))
    values = x.view(ml_dtypes.bfloat16).astype(np.float32)
    factors = (np.arange(255, dtype=np.uint32) << 23).view(np.float32)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for factor, row in zip(factors, found):
            product = values * factor
            wanted = product.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
            # The one NaN that is ever written, for what is too large too.
            wanted[wanted & 0x7F == 0x7F] = 0x7F
            compare(f"times {factor}", row, wanted)


def test_products() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(1 << 16, dtype=np.uint16)
    for y in (x, rng.permutation(x), np.full_like(x, 0x7F80), np.full_like(x, 0x0001),
              np.full_like(x, 0x3F81), np.full_like(x, 0xBFC1)):
        found = run(PRODUCTS, [x, y], np.zeros(1 << 16, np.uint16))
        a, b = (v.view(ml_dtypes.bfloat16).astype(np.float32) for v in (x, y))
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            wanted = (a * b).astype(ml_dtypes.bfloat16)
        is_nan = np.isnan(wanted.astype(np.float32))
        found_nan = np.isnan(found.view(ml_dtypes.bfloat16).astype(np.float32))
        assert np.array_equal(found_nan, is_nan)
        compare("product", found[~is_nan], wanted.view(np.uint16)[~is_nan])


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
