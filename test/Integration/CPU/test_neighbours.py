# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs in which the op stands among what users write beside it, run by moe-run: where buffers
have several names, and among other dialects. The results are compared with NumPy's.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from moe_testing import on_cpu
from moe_testing.kernels import compare

pytestmark = pytest.mark.needs("moe-run")

M = "memref<4x64xbf16>"
ARGUMENTS = f"%x: {M}, %map: memref<4xi32>, %n: memref<i32>, %out: {M}"
TYPES = f"{M}, memref<4xi32>, memref<i32>"


def relu(x: str = "%x", out: str = "%out", out_type: str = M) -> str:
    return (f"moe.padded_squared_relu ins({x}, %map, %n : {TYPES}) outs({out} : {out_type})")


ENTRY = f"func.func @entry({ARGUMENTS})"

# The name of a program, to it and to the activations in a row that it makes.
PROGRAMS = {
    "returned argument": (1, f"""
func.func private @pick(%w: {M}) -> {M} {{ return %w : {M} }}
{ENTRY} {{
  %o = call @pick(%out) : ({M}) -> {M}
  {relu(out="%o")}
  return
}}"""),
    "one of two returned": (1, f"""
func.func private @pick(%c: i1, %v: {M}, %w: {M}) -> {M} {{
  %0 = scf.if %c -> ({M}) {{ scf.yield %v : {M} }} else {{ scf.yield %w : {M} }}
  return %0 : {M}
}}
{ENTRY} {{
  %c = arith.constant false
  %o = call @pick(%c, %x, %out) : (i1, {M}, {M}) -> {M}
  {relu(out="%o")}
  return
}}"""),
    "returned view": (1, f"""
func.func private @view(%w: {M}) -> memref<4x64xbf16, strided<[?, 1], offset: ?>> {{
  %0 = memref.cast %w : {M} to memref<4x64xbf16, strided<[?, 1], offset: ?>>
  return %0 : memref<4x64xbf16, strided<[?, 1], offset: ?>>
}}
{ENTRY} {{
  %o = call @view(%out) : ({M}) -> memref<4x64xbf16, strided<[?, 1], offset: ?>>
  {relu(out="%o", out_type="memref<4x64xbf16, strided<[?, 1], offset: ?>>")}
  return
}}"""),
    "recursion": (1, f"""
func.func private @last(%i: index, %w: {M}) -> {M} {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %isLast = arith.cmpi eq, %i, %c0 : index
  %0 = scf.if %isLast -> ({M}) {{
    scf.yield %w : {M}
  }} else {{
    %next = arith.subi %i, %c1 : index
    %1 = func.call @last(%next, %w) : (index, {M}) -> {M}
    scf.yield %1 : {M}
  }}
  return %0 : {M}
}}
{ENTRY} {{
  %c3 = arith.constant 3 : index
  %o = call @last(%c3, %out) : (index, {M}) -> {M}
  {relu(out="%o")}
  return
}}"""),
    "loop of blocks": (2, f"""
{ENTRY} {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  cf.br ^head(%c0, %x : index, {M})
^head(%i: index, %from: {M}):
  %more = arith.cmpi slt, %i, %c2 : index
  cf.cond_br %more, ^body, ^done
^body:
  %to = memref.alloc() : {M}
  memref.copy %out, %to : {M} to {M}
  {relu(x="%from", out="%to")}
  memref.copy %to, %out : {M} to {M}
  %next = arith.addi %i, %c1 : index
  cf.br ^head(%next, %to : index, {M})
^done:
  return
}}"""),
    "memref of memrefs": (1, f"""
{ENTRY} {{
  %c1 = arith.constant 1 : index
  %table = memref.alloc() : memref<2x{M}>
  memref.store %out, %table[%c1] : memref<2x{M}>
  %o = memref.load %table[%c1] : memref<2x{M}>
  {relu(out="%o")}
  memref.dealloc %table : memref<2x{M}>
  return
}}"""),
    "stored allocation": (1, f"""
func.func private @fill(%table: memref<1x{M}>, %out: {M}) {{
  %c0 = arith.constant 0 : index
  %0 = memref.alloc() : {M}
  memref.copy %out, %0 : {M} to {M}
  memref.store %0, %table[%c0] : memref<1x{M}>
  return
}}
{ENTRY} {{
  %c0 = arith.constant 0 : index
  %table = memref.alloc() : memref<1x{M}>
  call @fill(%table, %out) : (memref<1x{M}>, {M}) -> ()
  %other = memref.alloc() : {M}
  %o = memref.load %table[%c0] : memref<1x{M}>
  {relu(out="%o")}
  memref.copy %o, %out : {M} to {M}
  memref.dealloc %other : {M}
  return
}}"""),
    "pointer as an index": (1, f"""
func.func private @leak(%out: {M}) -> (index, {M}) {{
  %0 = memref.alloc() : {M}
  memref.copy %out, %0 : {M} to {M}
  %1 = memref.extract_aligned_pointer_as_index %0 : {M} -> index
  return %1, %0 : index, {M}
}}
{ENTRY} {{
  %p, %o = call @leak(%out) : ({M}) -> (index, {M})
  %other = memref.alloc() : {M}
  %q = memref.extract_aligned_pointer_as_index %o : {M} -> index
  %same = arith.cmpi eq, %p, %q : index
  cf.assert %same, "another buffer"
  {relu(out="%o")}
  memref.copy %o, %out : {M} to {M}
  memref.dealloc %other : {M}
  return
}}"""),
    "global": (1, f"""
memref.global "private" @state : {M} = uninitialized
func.func private @get() -> {M} {{
  %0 = memref.get_global @state : {M}
  return %0 : {M}
}}
{ENTRY} {{
  %g = call @get() : () -> {M}
  memref.copy %out, %g : {M} to {M}
  {relu(out="%g")}
  %h = call @get() : () -> {M}
  memref.copy %h, %out : {M} to {M}
  return
}}"""),
    "op of unknown effects": (1, f"""
{ENTRY} {{
  llvm.inline_asm has_side_effects "", "" : () -> ()
  {relu()}
  return
}}"""),
    "call by address": (1, f"""
func.func private @pick(%w: {M}) -> {M} {{ return %w : {M} }}
{ENTRY} {{
  %f = func.constant @pick : ({M}) -> {M}
  %o = call_indirect %f(%out) : ({M}) -> {M}
  {relu(out="%o")}
  return
}}"""),
    "beside tensors": (1, f"""
func.func private @pick(%w: {M}) -> {M} {{ return %w : {M} }}
func.func private @double(%t: tensor<4xi32>) -> tensor<4xi32> {{
  %0 = arith.addi %t, %t : tensor<4xi32>
  return %0 : tensor<4xi32>
}}
{ENTRY} {{
  %o = call @pick(%out) : ({M}) -> {M}
  %t = bufferization.to_tensor %map restrict : memref<4xi32> to tensor<4xi32>
  %d = call @double(%t) : (tensor<4xi32>) -> tensor<4xi32>
  {relu(out="%o")}
  return
}}"""),
    "affine loop around": (1, f"""
{ENTRY} {{
  affine.for %i = 0 to 3 {{
    affine.if affine_set<(d0) : (d0 - 2 == 0)>(%i) {{
      {relu()}
    }}
  }}
  return
}}"""),
    "affine loops beside": (1, f"""
{ENTRY} {{
  %copy = memref.alloc() : {M}
  affine.for %i = 0 to 4 {{
    affine.for %j = 0 to 64 {{
      %0 = affine.load %out[%i, %j] : {M}
      affine.store %0, %copy[3 - %i, (%j + 32) mod 64] : {M}
    }}
  }}
  affine.parallel (%i, %j) = (0, 0) to (4, 64) {{
    %0 = affine.load %copy[3 - %i, (%j + 32) mod 64] : {M}
    affine.store %0, %out[%i, %j] : {M}
  }}
  {relu()}
  memref.dealloc %copy : {M}
  return
}}"""),
    "linalg": (1, f"""
{ENTRY} {{
  %copy = memref.alloc() : memref<64x4xbf16>
  linalg.transpose ins(%out : {M}) outs(%copy : memref<64x4xbf16>) permutation = [1, 0]
  linalg.transpose ins(%copy : memref<64x4xbf16>) outs(%out : {M}) permutation = [1, 0]
  {relu()}
  memref.dealloc %copy : memref<64x4xbf16>
  return
}}"""),
    "realloc": (1, f"""
{ENTRY} {{
  %c256 = arith.constant 256 : index
  %small = memref.alloc() : memref<256xbf16>
  %flat = memref.collapse_shape %out [[0, 1]] : {M} into memref<256xbf16>
  memref.copy %flat, %small : memref<256xbf16> to memref<256xbf16>
  %size = index.add %c256, %c256
  %large = memref.realloc %small(%size) : memref<256xbf16> to memref<?xbf16>
  %o = memref.reinterpret_cast %large to offset: [0], sizes: [4, 64], strides: [64, 1]
    : memref<?xbf16> to {M}
  {relu(out="%o")}
  memref.copy %o, %out : {M} to {M}
  memref.dealloc %large : memref<?xbf16>
  return
}}"""),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    times, program = PROGRAMS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 64)).astype(ml_dtypes.bfloat16)
    out = rng.standard_normal((4, 64)).astype(ml_dtypes.bfloat16)
    permutation_map = np.array([5, -1, 0, 3], np.int32)
    n_used = 3
    wanted, source = out.copy(), x
    for _ in range(times):
        live = (np.arange(4) < n_used) & (permutation_map >= 0)
        activated = np.maximum(source.astype(np.float32), 0) ** 2
        wanted[live] = activated.astype(ml_dtypes.bfloat16)[live]
        source = wanted
    [found] = on_cpu.call(program, [x, permutation_map, np.array(n_used, np.int32), out], [3])
    compare(name, found, wanted)


# Functions of one f32, with NumPy's; on f64, f16 and bf16 they go the same way.
FUNCTIONS = {"exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
             "sin": np.sin, "tan": np.tan, "atan": np.arctan, "tanh": np.tanh, "sqrt": np.sqrt,
             "cbrt": np.cbrt, "floor": np.floor, "absf": np.abs, "rsqrt": lambda v: 1 / np.sqrt(v)}


def test_functions_of_math() -> None:
    body = "".join(f"""
    %y{i} = math.{name} %v : f32
    %i{i} = arith.constant {i} : index
    memref.store %y{i}, %y[%i{i}, %i] : memref<{len(FUNCTIONS)}x100xf32>"""
                   for i, name in enumerate(FUNCTIONS))
    program = f"""
func.func @entry(%x: memref<100xf32>, %y: memref<{len(FUNCTIONS)}x100xf32>) {{
  affine.for %i = 0 to 100 {{
    %v = affine.load %x[%i] : memref<100xf32>{body}
  }}
  return
}}"""
    x = np.linspace(0.01, 5, 100, dtype=np.float32)
    found, = on_cpu.call(program, [x, np.zeros((len(FUNCTIONS), 100), np.float32)], [1])
    for (name, function), row in zip(FUNCTIONS.items(), found):
        np.testing.assert_allclose(row, function(x.astype(np.float64)), rtol=3e-6, err_msg=name)


def test_reductions_of_vectors() -> None:
    program = """
func.func @entry(%x: memref<4x8xf32>, %rows: memref<4xf32>, %columns: memref<8xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %v = vector.transfer_read %x[%c0, %c0], %zero : memref<4x8xf32>, vector<4x8xf32>
  %r = vector.load %rows[%c0] : memref<4xf32>, vector<4xf32>
  %c = vector.load %columns[%c0] : memref<8xf32>, vector<8xf32>
  %0 = vector.multi_reduction <add>, %v, %r [1] : vector<4x8xf32> to vector<4xf32>
  %1 = vector.multi_reduction <maximumf>, %v, %c [0] : vector<4x8xf32> to vector<8xf32>
  vector.store %0, %rows[%c0] : memref<4xf32>, vector<4xf32>
  vector.store %1, %columns[%c0] : memref<8xf32>, vector<8xf32>
  return
}"""
    x = np.arange(32, dtype=np.float32).reshape(4, 8) % 11
    rows, columns = np.arange(4, dtype=np.float32), np.full(8, 5, np.float32)
    found = on_cpu.call(program, [x, rows, columns], [1, 2])
    np.testing.assert_array_equal(found[0], rows + x.sum(axis=1))
    np.testing.assert_array_equal(found[1], np.maximum(columns, x.max(axis=0)))


def test_linalg_on_tensors() -> None:
    program = """
func.func @entry(%a: tensor<5x6xf32>, %b: tensor<6x7xf32>, %c: tensor<5x7xf32>) -> tensor<5x7xf32> {
  %0 = linalg.matmul ins(%a, %b : tensor<5x6xf32>, tensor<6x7xf32>)
    outs(%c : tensor<5x7xf32>) -> tensor<5x7xf32>
  return %0 : tensor<5x7xf32>
}"""
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-9, 9, shape).astype(np.float32) for shape in ((5, 6), (6, 7), (5, 7)))
    [found] = on_cpu.call(program, [a, b, c], ["r0"])
    np.testing.assert_array_equal(found, c + a @ b)
