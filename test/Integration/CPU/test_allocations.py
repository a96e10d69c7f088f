# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a program allocates and frees, counted: all that bufferization made is freed, once, and
nothing else. The programs run under the stock mlir-runner with functions that count.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from moe_testing.checkout import LLVM
from moe_testing.kernels import run_tool

pytestmark = pytest.mark.needs("moe-opt", "mlir-runner")

T = "tensor<8x64xbf16>"
M = "memref<8x64xbf16>"

# What the programs share: operands as tensors, an activation on each level, uses.
PROLOGUE = f"""
memref.global "private" constant @map : memref<8xi32> = dense<[0, -1, 2, 3, 4, -1, 6, 7]>
memref.global "private" constant @count : memref<i32> = dense<7>
func.func private @relu(%x: {T}, %init: {T}) -> {T} {{
  %map = arith.constant dense<[0, -1, 2, 3, 4, -1, 6, 7]> : tensor<8xi32>
  %n = arith.constant dense<7> : tensor<i32>
  %r = moe.padded_squared_relu ins(%x, %map, %n : {T}, tensor<8xi32>, tensor<i32>)
    outs(%init : {T}) -> {T}
  return %r : {T}
}}
func.func private @filled(%v: bf16) -> {T} {{
  %0 = tensor.empty() : {T}
  %1 = linalg.fill ins(%v : bf16) outs(%0 : {T}) -> {T}
  return %1 : {T}
}}
func.func private @read(%t: {T}) -> f32 {{
  %c3 = arith.constant 3 : index
  %0 = tensor.extract %t[%c3, %c3] : {T}
  %1 = arith.extf %0 : bf16 to f32
  return %1 : f32
}}
func.func private @relu_buffer(%x: {M}, %out: {M}) {{
  %map = memref.get_global @map : memref<8xi32>
  %n = memref.get_global @count : memref<i32>
  moe.padded_squared_relu ins(%x, %map, %n : {M}, memref<8xi32>, memref<i32>) outs(%out : {M})
  return
}}
func.func private @read_buffer(%m: {M}) -> f32 {{
  %c3 = arith.constant 3 : index
  %0 = memref.load %m[%c3, %c3] : {M}
  %1 = arith.extf %0 : bf16 to f32
  return %1 : f32
}}
"""

# Programs on tensors: the body of @main, whose f32 %r is what the CPU prints.
TENSORS = {
    "temporary": (9.0, f"""
  %v = arith.constant 3.0 : bf16
  %x = call @filled(%v) : (bf16) -> {T}
  %i = tensor.empty() : {T}
  %y = call @relu(%x, %i) : ({T}, {T}) -> {T}
  %r = call @read(%y) : ({T}) -> f32
"""),
    "twice the same operand": (3.0, f"""
  %v = arith.constant 3.0 : bf16
  %x = call @filled(%v) : (bf16) -> {T}
  %y = call @relu(%x, %x) : ({T}, {T}) -> {T}
  %r = call @read(%x) : ({T}) -> f32
"""),
    "loop": (81.0, f"""
  %v = arith.constant 3.0 : bf16
  %x = call @filled(%v) : (bf16) -> {T}
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %y = scf.for %i = %c0 to %c2 step %c1 iter_args(%a = %x) -> ({T}) {{
    %e = tensor.empty() : {T}
    %b = func.call @relu(%a, %e) : ({T}, {T}) -> {T}
    scf.yield %b : {T}
  }}
  %r = call @read(%y) : ({T}) -> f32
"""),
    "branches": (4.0, f"""
  %v = arith.constant 3.0 : bf16
  %w = arith.constant 2.0 : bf16
  %x = call @filled(%v) : (bf16) -> {T}
  %f = arith.constant dense<false> : tensor<1xi1>
  %c0 = arith.constant 0 : index
  %c = tensor.extract %f[%c0] : tensor<1xi1>
  %y = scf.if %c -> ({T}) {{
    scf.yield %x : {T}
  }} else {{
    %z = func.call @filled(%w) : (bf16) -> {T}
    %e = tensor.empty() : {T}
    %b = func.call @relu(%z, %e) : ({T}, {T}) -> {T}
    scf.yield %b : {T}
  }}
  %r = call @read(%y) : ({T}) -> f32
"""),
    "blocks": (9.0, f"""
  %v = arith.constant 3.0 : bf16
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %zero = arith.constant 0.0 : f32
  cf.br ^head(%c0, %zero : index, f32)
^head(%i: index, %last: f32):
  %more = arith.cmpi slt, %i, %c3 : index
  cf.cond_br %more, ^body, ^done
^body:
  %x = call @filled(%v) : (bf16) -> {T}
  %e = tensor.empty() : {T}
  %y = call @relu(%x, %e) : ({T}, {T}) -> {T}
  %now = call @read(%y) : ({T}) -> f32
  %next = arith.addi %i, %c1 : index
  cf.br ^head(%next, %now : index, f32)
^done:
  %r = arith.addf %last, %zero : f32
"""),
    "an op of unknown effects beside": (9.0, f"""
  %v = arith.constant 3.0 : bf16
  %x = call @filled(%v) : (bf16) -> {T}
  %e = tensor.empty() : {T}
  %y = call @relu(%x, %e) : ({T}, {T}) -> {T}
  llvm.inline_asm has_side_effects "", "" : () -> ()
  %r = call @read(%y) : ({T}) -> f32
"""),
    "buffers of its own beside": (13.0, f"""
  %v = arith.constant 3.0 : bf16
  %x = call @filled(%v) : (bf16) -> {T}
  %e = tensor.empty() : {T}
  %y = call @relu(%x, %e) : ({T}, {T}) -> {T}
  %w = arith.constant 2.0 : bf16
  %a = memref.alloc() : {M}
  %b = memref.alloc() : {M}
  linalg.fill ins(%w : bf16) outs(%a : {M})
  call @relu_buffer(%a, %b) : ({M}, {M}) -> ()
  %s = call @read_buffer(%b) : ({M}) -> f32
  memref.dealloc %b : {M}
  memref.dealloc %a : {M}
  %t = call @read(%y) : ({T}) -> f32
  %r = arith.addf %s, %t : f32
"""),
    "a tensor seen as a buffer": (9.0, f"""
  %v = arith.constant 3.0 : bf16
  %x = call @filled(%v) : (bf16) -> {T}
  %e = tensor.empty() : {T}
  %y = call @relu(%x, %e) : ({T}, {T}) -> {T}
  %b = bufferization.to_buffer %y : {T} to {M}
  %c3 = arith.constant 3 : index
  %l = memref.load %b[%c3, %c3] : {M}
  %r = arith.extf %l : bf16 to f32
"""),
    "a buffer seen as a tensor": (9.0, f"""
  %v = arith.constant 3.0 : bf16
  %a = memref.alloc() : {M}
  linalg.fill ins(%v : bf16) outs(%a : {M})
  %x = bufferization.to_tensor %a restrict : {M} to {T}
  %e = tensor.empty() : {T}
  %y = call @relu(%x, %e) : ({T}, {T}) -> {T}
  %r = call @read(%y) : ({T}) -> f32
  memref.dealloc %a : {M}
"""),
}

# Programs on memrefs, and how many buffers they leave allocated, by intent.
BUFFERS = {
    "never frees": (2, f"""
  %v = arith.constant 3.0 : bf16
  %a = memref.alloc() : {M}
  %b = memref.alloc() : {M}
  linalg.fill ins(%v : bf16) outs(%a : {M})
  call @relu_buffer(%a, %b) : ({M}, {M}) -> ()
  %r = call @read_buffer(%b) : ({M}) -> f32
"""),
    "frees through another name": (0, f"""
  %v = arith.constant 3.0 : bf16
  %a = memref.alloc() : {M}
  %b = memref.alloc() : {M}
  %c = memref.cast %b : {M} to memref<?x64xbf16>
  linalg.fill ins(%v : bf16) outs(%a : {M})
  call @relu_buffer(%a, %b) : ({M}, {M}) -> ()
  %r = call @read_buffer(%b) : ({M}) -> f32
  memref.dealloc %c : memref<?x64xbf16>
  memref.dealloc %a : {M}
"""),
    "keeps one in memory": (2, f"""
  %v = arith.constant 3.0 : bf16
  %table = memref.alloc() : memref<1x{M}>
  %c0 = arith.constant 0 : index
  %a = memref.alloc() : {M}
  memref.store %a, %table[%c0] : memref<1x{M}>
  linalg.fill ins(%v : bf16) outs(%a : {M})
  %b = memref.load %table[%c0] : memref<1x{M}>
  call @relu_buffer(%b, %b) : ({M}, {M}) -> ()
  %r = call @read_buffer(%b) : ({M}) -> f32
"""),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("count") / "libcount.so"
    source = Path(__file__).with_name("count_allocations.c")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", path, source],
                   check=True)
    return path


def run(folder: Path, library: Path, pipeline: str, text: str) -> tuple[float, list[int]]:
    """What @main returned, and: allocated, live on the host, live on the device, faults."""
    program = re.sub(r"@malloc\b", "@countedMalloc",
                     run_tool("moe-opt", f"--{pipeline}", text=text))
    program = re.sub(r"@free\b", "@countedFree", program)
    (folder / "program.mlir").write_text(program)
    done = subprocess.run(
        [LLVM / "bin/mlir-runner", folder / "program.mlir", "-e", "main",
         "--entry-point-result=f32", f"--shared-libs={library}"],
        text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    value, counts = done.stdout.splitlines()
    return float(value), [int(word) for word in counts.split() if word.isdigit()]


def module(body: str) -> str:
    return f"{PROLOGUE}\nfunc.func @main() -> f32 {{{body}  return %r : f32\n}}\n"


@pytest.mark.parametrize("pipeline", ["moe-lower-to-cpu", "moe-lower-to-cuda"])
@pytest.mark.parametrize("name", TENSORS)
def test_tensors(tmp_path: Path, library: Path, pipeline: str, name: str) -> None:
    wanted, body = TENSORS[name]
    value, (allocated, *counts) = run(tmp_path, library, pipeline, module(body))
    assert allocated > 0
    assert counts == [0, 0, 0]
    # No kernel runs here.
    assert pipeline == "moe-lower-to-cuda" or value == wanted


@pytest.mark.parametrize("pipeline", ["moe-lower-to-cpu", "moe-lower-to-cuda"])
@pytest.mark.parametrize("name", BUFFERS)
@pytest.mark.parametrize("is_mixed", [False, True])
def test_buffers(tmp_path: Path, library: Path, pipeline: str, name: str, is_mixed: bool) -> None:
    """A function on memrefs does what it says, also next to functions on tensors."""
    live, body = BUFFERS[name]
    text = module(body)
    if not is_mixed:
        text = re.sub(r"func.func private @(relu|filled|read)\(.*?\n}\n", "", text, flags=re.S)
        assert "tensor<" not in text
    value, (_, on_host, on_device, faults) = run(tmp_path, library, pipeline, text)
    assert faults == 0
    assert on_host + on_device == live
    assert (on_host == 0) == (pipeline == "moe-lower-to-cuda" or live == 0)
    assert pipeline == "moe-lower-to-cuda" or value == 9.0


@pytest.mark.parametrize("pipeline", ["moe-lower-to-cpu", "moe-lower-to-cuda"])
@pytest.mark.parametrize("is_kept", [True, False])
def test_lent_buffers(tmp_path: Path, library: Path, pipeline: str, is_kept: bool) -> None:
    """A buffer that was a tensor is freed after a call that it goes into, unless the function that is
    called keeps it.
    """
    keep = f"  memref.store %b, %table[%c0] : memref<1x{M}>\n" if is_kept else ""
    read = (f"""
  %c = memref.load %table[%c0] : memref<1x{M}>
  %r = call @read_buffer(%c) : ({M}) -> f32
""" if is_kept else f"""
  %r = call @read(%t) : ({T}) -> f32
""")
    text = f"""
func.func private @lend(%b: {M}, %table: memref<1x{M}>) {{
  %c0 = arith.constant 0 : index
{keep}  return
}}
func.func private @through(%b: {M}, %table: memref<1x{M}>) {{
  call @lend(%b, %table) : ({M}, memref<1x{M}>) -> ()
  return
}}
""" + module(f"""
  %v = arith.constant 3.0 : bf16
  %c0 = arith.constant 0 : index
  %table = memref.alloc() : memref<1x{M}>
  %t = call @filled(%v) : (bf16) -> {T}
  %b = bufferization.to_buffer %t : {T} to {M}
  call @through(%b, %table) : ({M}, memref<1x{M}>) -> ()
{read}""")
    value, (_, on_host, on_device, faults) = run(tmp_path, library, pipeline, text)
    assert faults == 0
    # The program's own table, and the one that is kept.
    assert on_host + on_device == 1 + is_kept
    assert pipeline == "moe-lower-to-cuda" or value == 3.0
