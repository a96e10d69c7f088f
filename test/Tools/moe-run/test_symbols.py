# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Names that the program gives and that moe-run, LLVM or the C library have too."""

from __future__ import annotations

import re

import numpy as np
import pytest

DOUBLE = """
func.func @{entry}(%a: i32) -> i32 {{
  %r = arith.addi %a, %a : i32
  return %r : i32
}}
"""


def check_doubles(tool, text: str, entry: str) -> None:
    assert tool.succeed(text, entry, [np.int32(21)], "--save=r0=r.npy") == ""
    assert tool.load("r.npy") == 42


@pytest.mark.parametrize("other", [
    "func.func @_mlir_f() { return }",
    "func.func private @_mlir_f() { return }",
    "func.func @_mlir_f(%a: memref<i32>, %b: i32) -> i32 { return %b : i32 }",
    "func.func @_mlir_f() { return } func.func @_mlir__mlir_f() { return }",
    "func.func @_mlir_ciface_f() { return }",
    "func.func private @_mlir_program.f()",
    "func.func private @_mlir_program..f() func.func @program.f() { return }",
    "llvm.func @_mlir_f(%a: i32) { llvm.return }",
    "llvm.mlir.global @_mlir_f(1 : i32) : i32",
    'memref.global "private" @_mlir_f : memref<4xf32> = dense<2.0>',
    "module @inner { func.func @f() { return } }",
])
def test_symbol_beside_the_entry(tool, other):
    check_doubles(tool, DOUBLE.format(entry="f") + other, "f")


@pytest.mark.parametrize("entry", ["_mlir_f", "_mlir_ciface_f", "main", "malloc", "free", "memcpy",
                                   "printf", "puts", "abort", "exit", "memrefCopy", "__truncsfbf2",
                                   "mgpuMemAlloc", "mgpuModuleLoad", "program.f"])
def test_name_of_the_entry(tool, entry):
    text = DOUBLE.format(entry=entry) + "func.func @f() { return }"
    check_doubles(tool, text, entry)


def test_c_interface_beside_a_function_of_its_name(tool):
    text = DOUBLE.format(entry="f").replace("-> i32 {", "-> i32 attributes {llvm.emit_c_interface} {")
    check_doubles(tool, text + "func.func @_mlir_ciface_f() { return }", "f")


@pytest.mark.parametrize("name", ["malloc", "free", "memcpy", "memset", "memrefCopy", "puts",
                                  "abort", "calloc", "aligned_alloc", "mgpuMemAlloc"])
def test_function_of_the_program_instead_of_a_library_s(tool, name):
    """It is called where the program calls it, and nowhere else."""
    text = f"""
    func.func @{name}(%a: i32) -> i32 {{
      %c2 = arith.constant 2 : i32
      %r = arith.muli %a, %c2 : i32
      return %r : i32
    }}
    func.func @f(%a: i32, %x: memref<?xi32>, %c: i1) -> (i32, memref<?xi32>) {{
      cf.assert %c, "asserted"
      %c0 = arith.constant 0 : index
      %size = memref.dim %x, %c0 : memref<?xi32>
      %copy = memref.alloc(%size) : memref<?xi32>
      memref.copy %x, %copy : memref<?xi32> to memref<?xi32>
      %r = call @{name}(%a) : (i32) -> i32
      return %r, %copy : i32, memref<?xi32>
    }}"""
    x = np.arange(100, dtype=np.int32)
    arrays = [np.int32(21), x, np.bool_(True)]
    tool.succeed(text, "f", arrays, "--save=r0=r.npy", "--save=r1=copy.npy")
    assert tool.load("r.npy") == 42
    assert np.array_equal(tool.load("copy.npy"), x)
    assert tool.fail(text, "f", [*arrays[:2], np.bool_(False)]) == "asserted"


def test_uses_follow_their_symbol(tool):
    text = """
    memref.global "private" constant @_mlir_f : memref<1xi32> = dense<2>
    llvm.mlir.global internal @malloc(1 : i32) : i32
    func.func private @_mlir_g(%a: i32) -> i32 {
      %r = arith.muli %a, %a : i32
      return %r : i32
    }
    func.func @f(%a: i32) -> (i32, i32, i32) {
      %c0 = arith.constant 0 : index
      %g = memref.get_global @_mlir_f : memref<1xi32>
      %two = memref.load %g[%c0] : memref<1xi32>
      %address = llvm.mlir.addressof @malloc : !llvm.ptr
      %one = llvm.load %address : !llvm.ptr -> i32
      %function = constant @_mlir_g : (i32) -> i32
      %square = call_indirect %function(%a) : (i32) -> i32
      return %one, %two, %square : i32, i32, i32
    }"""
    saves = [f"--save=r{i}={i}.npy" for i in range(3)]
    tool.succeed(text, "f", [np.int32(3)], *saves)
    assert [tool.load(f"{i}.npy").item() for i in range(3)] == [1, 2, 9]


def test_functions_of_the_c_library(tool):
    text = """
    llvm.func @labs(i64) -> i64
    func.func private @abs(i32) -> i32
    func.func @f(%a: i32, %b: i64) -> (i32, i64) {
      %r = call @abs(%a) : (i32) -> i32
      %s = llvm.call @labs(%b) : (i64) -> i64
      return %r, %s : i32, i64
    }"""
    tool.succeed(text, "f", [np.int32(-5), np.int64(-6)], "--save=r0=0.npy", "--save=r1=1.npy")
    assert [tool.load("0.npy").item(), tool.load("1.npy").item()] == [5, 6]


@pytest.mark.parametrize("name", ["_mlir_f", "_mlir_ciface_f", "nobody_has_this"])
@pytest.mark.parametrize("kind", ["func.func private", "llvm.func"])
def test_declaration_that_nothing_defines(tool, name, kind):
    call = "call" if kind.startswith("func") else "llvm.call"
    text = f"""
    {kind} @{name}()
    func.func @f() {{
      {call} @{name}() : () -> ()
      return
    }}"""
    assert tool.fail(text, "f", diagnostics=True).startswith("cannot compile entry 'f': ")


def test_declaration_with_another_type(tool):
    text = """
    func.func private @puts(i64) -> i64
    func.func @f(%a: i1) {
      cf.assert %a, "asserted"
      return
    }"""
    found = tool.fail(text, "f", [np.bool_(True)], diagnostics=True)
    assert re.match(r"cannot (lower|compile) entry 'f'", found)


def test_entry_of_another_kind(tool):
    text = "llvm.func @f() { llvm.return } memref.global @g : memref<4xf32> = dense<2.0>"
    found = tool.fail(text, "f")
    assert found == "expected a func.func 'f' in 'input.mlir', found llvm.func"
    found = tool.fail(text, "g")
    assert found == "expected a func.func 'g' in 'input.mlir', found memref.global"


PUTS = """
llvm.mlir.global internal constant @first("first\\00")
llvm.mlir.global internal constant @second("second\\00")
llvm.func @puts(!llvm.ptr)
llvm.func @exit(i32)
func.func @f(%what: i32, %c: i1) {{
  %first = llvm.mlir.addressof @first : !llvm.ptr
  %second = llvm.mlir.addressof @second : !llvm.ptr
  llvm.call @puts(%first) : (!llvm.ptr) -> ()
  llvm.call @puts(%second) : (!llvm.ptr) -> ()
  {}
  return
}}
"""


@pytest.mark.parametrize("end, code, message", [
    ("", 0, ""),
    ('cf.assert %c, "asserted"', 1, "moe-run: error: asserted\n"),
    ("llvm.call @exit(%what) : (i32) -> ()", 1,
     "moe-run: error: the program called exit with code 7\n"),
])
def test_the_program_prints(tool, end, code, message):
    result = tool(PUTS.format(end), "f", [np.int32(7), np.bool_(False)])
    assert (result.returncode, result.stdout, result.stderr) == (code, "first\nsecond\n", message)


def test_the_program_aborts(tool):
    text = "func.func private @abort() func.func @f() { call @abort() : () -> () return }"
    assert tool.fail(text, "f") == "the program called abort"
