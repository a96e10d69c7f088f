# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which ways to write relu(x)^2 in linalg give the bytes of moe.padded_squared_relu once
moe-fuse-elementwise has made a region of them: all 65536 patterns, on the CPU and as PTX.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from moe_testing import oracle
from moe_testing.checkout import BIN_DIR
from ptx_interpreter import Memory, Module

pytestmark = pytest.mark.needs("moe-opt", "moe-translate", "moe-run")

COLUMNS = 1024
SQUARE = "\n%square = arith.mulf %relu, %relu : bf16"
# Each with whether every NaN gives other bytes; no other pattern does in any form.
FORMS = {
    "maxnumf": ("%relu = arith.maxnumf %v, %zero : bf16" + SQUARE, False),
    "in f32": ("%relu = arith.maxnumf %v, %zero : bf16\n"
               "%wide = arith.extf %relu : bf16 to f32\n"
               "%wide_square = arith.mulf %wide, %wide : f32\n"
               "%square = arith.truncf %wide_square : f32 to bf16", False),
    "greater": ("%is = arith.cmpf ogt, %v, %zero : bf16\n"
                "%relu = arith.select %is, %v, %zero : bf16" + SQUARE, False),
    "maximumf": ("%relu = arith.maximumf %v, %zero : bf16" + SQUARE, True),
    "not less": ("%is = arith.cmpf ugt, %v, %zero : bf16\n"
                 "%relu = arith.select %is, %v, %zero : bf16" + SQUARE, True),
}


def fuse(body: str) -> str:
    """relu(x)^2 in linalg and an op that stores it as it is, made one op."""
    x = f"tensor<?x{COLUMNS}xbf16>"
    text = f"""\
#id = affine_map<(i, j) -> (i, j)>
func.func @form(%x: {x}, %map: tensor<?xi32>, %n: tensor<i32>, %out: {x}) -> {x} {{
  %zero = arith.constant 0.0 : bf16
  %a = linalg.generic {{indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}}
      ins(%x : {x}) outs(%out : {x}) {{
  ^bb0(%v: bf16, %o: bf16):
    {body}
    linalg.yield %square : bf16
  }} -> {x}
  %r = moe.map_rows ins(%a, %map, %n : {x}, tensor<?xi32>, tensor<i32>)
    outs(%out : {x}) format(#moe.bf16) {{
  ^bb0(%v: bf16):
    moe.yield %v : bf16
  }} -> {x}
  return %r : {x}
}}
"""
    fused = run("moe-opt", "--moe-fuse-elementwise", text=text)
    assert "linalg" not in fused, "nothing was fused"
    return fused


def to_ptx(text: str) -> str:
    lowered = run("moe-opt", "--moe-lower-to-ptx=chip=sm_90", text=text)
    return run("moe-translate", "--moe-to-ptx", text=lowered)


def run(tool: str, *arguments: object, text: str) -> str:
    done = subprocess.run([BIN_DIR / tool, "-", *map(str, arguments)], input=text, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def all_patterns() -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(oracle.bfloat16).reshape(-1, COLUMNS)


def patterns_that_differ(found: np.ndarray) -> set[int]:
    """Those of which the oracle makes something else."""
    x = all_patterns()
    rows = np.arange(x.shape[0], dtype=np.int32)
    wanted = oracle.padded_squared_relu(x, rows, rows.size, np.zeros_like(x))
    return set(oracle.bits(x)[oracle.bits(wanted) != found].tolist())


def check(form: str, found: np.ndarray) -> None:
    differs = FORMS[form][1]
    nans = set(np.flatnonzero(np.isnan(all_patterns().astype(np.float32))).tolist())
    assert len(nans) == 254
    assert patterns_that_differ(found) == (nans if differs else set())


@pytest.mark.parametrize("form", FORMS)
def test_cpu(tmp_path: Path, form: str) -> None:
    x = all_patterns()
    rows = x.shape[0]
    arrays = [oracle.bits(x), np.arange(rows, dtype=np.int32), np.array(rows, np.int32),
              np.zeros((rows, COLUMNS), np.uint16)]
    arguments = []
    for index, array in enumerate(arrays):
        np.save(tmp_path / f"{index}.npy", array)
        arguments += ["--arg", tmp_path / f"{index}.npy"]
    run("moe-run", "--entry", "form", *arguments, "--save", f"r0={tmp_path / 'result.npy'}",
        text=fuse(FORMS[form][0]))
    check(form, np.load(tmp_path / "result.npy"))


@pytest.mark.parametrize("form", FORMS)
def test_ptx(form: str) -> None:
    x = all_patterns()
    rows, memory = x.shape[0], Memory()
    out = memory.allocate(np.zeros((rows, COLUMNS), np.uint16), offset=0)
    used = memory.allocate(np.array(rows, np.int32), offset=0)
    tokens = memory.allocate(np.arange(rows, dtype=np.int32), offset=0)
    source = memory.allocate(oracle.bits(x), offset=0)
    arguments: list[int] = []
    for buffer, sizes in ((source, (rows, COLUMNS)), (tokens, (rows,)), (used, ()),
                          (out, (rows, COLUMNS))):
        strides = (COLUMNS, 1)[2 - len(sizes):]
        arguments += [buffer.address, buffer.address, 0, *sizes, *strides]
    Module(to_ptx(fuse(FORMS[form][0]))).launch("map_rows", grid=(1, 4, 1), block=(256, 1, 1),
                                       args=arguments, memory=memory)
    memory.check_guards()
    check(form, out.array(np.uint16, (rows, COLUMNS)))


def test_the_instructions_are_those_of_the_named_op() -> None:
    x = f"tensor<?x{COLUMNS}xbf16>"
    named = f"""\
func.func @form(%x: {x}, %map: tensor<?xi32>, %n: tensor<i32>, %out: {x}) -> {x} {{
  %r = moe.padded_squared_relu ins(%x, %map, %n : {x}, tensor<?xi32>, tensor<i32>)
    outs(%out : {x}) -> {x}
  return %r : {x}
}}
"""
    # The descriptions hold the names as numbers.
    found, wanted = (re.sub(r"^.*\bmoe_kernel.*\n", "", to_ptx(text), flags=re.M)
                     for text in (fuse(FORMS["maxnumf"][0]), named))
    assert "max.bf16x2" in wanted
    assert found.replace("map_rows", "padded_squared_relu") == wanted
