# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe_mlir.compile: PTX text, and what it says when it cannot give any."""

from __future__ import annotations

from pathlib import Path

import moe_mlir
import pytest
from moe_mlir import _compiler

MLIR = """
func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
"""


@pytest.mark.compiler
def test_text() -> None:
    ptx = moe_mlir.compile(MLIR)
    assert ".target sm_90\n" in ptx
    assert ".visible .entry padded_squared_relu(" in ptx


@pytest.mark.compiler
@pytest.mark.parametrize("op, kernel", [
    ("padded_squared_relu", "padded_squared_relu"),
    ("squared_relu_and_quantize_mxfp8", "squared_relu_quantize_mxfp8"),
    ("moe.squared_relu_quantize_mxfp8", "squared_relu_quantize_mxfp8"),
    ("quantize_mxfp8", "quantize_mxfp8"),
])
@pytest.mark.parametrize("rows, columns", [(None, None), (None, 1856), (300, 1856)])
def test_op(op: str, kernel: str, rows: int | None, columns: int | None) -> None:
    ptx = moe_mlir.compile(op, rows=rows, columns=columns, chip="sm_100")
    assert ".target sm_100\n" in ptx
    assert f".visible .entry {kernel}(" in ptx


@pytest.mark.compiler
@pytest.mark.parametrize("layout, linear", [("swizzle_32_4_4", ""), ("linear", "_linear")])
@pytest.mark.parametrize("dead, untouched", [("zero", ""), ("untouched", "_untouched")])
@pytest.mark.parametrize("rows, columns", [(None, None), (300, 1856)])
def test_modes(layout: str, linear: str, dead: str, untouched: str, rows: int | None,
               columns: int | None) -> None:
    ptx = moe_mlir.compile("quantize_mxfp8", rows=rows, columns=columns, scale_layout=layout,
                           dead_scales=dead, strided=True)
    assert f".visible .entry quantize_mxfp8{linear}{untouched}(" in ptx
    assert f".visible .entry quantize_mxfp8{linear}{untouched}_unaligned(" in ptx


@pytest.mark.compiler
def test_options() -> None:
    ptx = moe_mlir.compile("padded_squared_relu", features="+ptx80", threads_per_cta=128,
                           num_ctas=64, access_bytes=16, opt_level=2)
    assert ".version 8.0" in ptx
    assert "128" in ptx


@pytest.mark.compiler
def test_bad_mlir() -> None:
    with pytest.raises(moe_mlir.CompileError, match="moe-opt failed:") as caught:
        moe_mlir.compile(MLIR.replace("xi32>", "xi64>"))
    assert "error: " in caught.value.diagnostics and "permutation_map" in caught.value.diagnostics
    assert Path(caught.value.command[0]).name == "moe-opt"
    with pytest.raises(moe_mlir.CompileError, match="expected"):
        moe_mlir.compile("func.func @f( {")


@pytest.mark.compiler
def test_bad_chip() -> None:
    with pytest.raises(moe_mlir.CompileError, match="sm_12"):
        moe_mlir.compile("quantize_mxfp8", chip="sm_12")


@pytest.mark.compiler
def test_text_without_ops() -> None:
    with pytest.raises(moe_mlir.CompileError, match="moe-translate failed:"):
        moe_mlir.compile("func.func @f() { return }")


def test_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOE_BIN_DIR", str(tmp_path))
    with pytest.raises(moe_mlir.CompilerNotFoundError) as caught:
        moe_mlir.compile(MLIR)
    assert str(caught.value).startswith(
        f"moe-opt and moe-translate were not found in MOE_BIN_DIR, {tmp_path}.")
    assert "scripts/build.sh" in str(caught.value) and "set MOE_BIN_DIR" in str(caught.value)


def test_missing_compiler_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOE_BIN_DIR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_compiler, "__file__", str(tmp_path / "site" / "moe_mlir" / "c.py"))
    with pytest.raises(moe_mlir.CompilerNotFoundError, match="were not found on PATH. Build"):
        moe_mlir.compile(MLIR)


@pytest.mark.parametrize("arguments, kind, text", [
    ((3,), TypeError, "source_or_op: expected MLIR text or the name of an op, found int"),
    (("swiglu",), ValueError, "source_or_op: expected MLIR text or one of padded_squared_relu,"),
])
def test_bad_source(arguments: tuple, kind: type, text: str) -> None:
    with pytest.raises(kind) as caught:
        moe_mlir.compile(*arguments)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("option, kind, text", [
    ({"rows": -1}, ValueError, "rows: expected a size that is not negative, found -1"),
    ({"rows": 1.5}, TypeError, "rows: expected an int, found float"),
    ({"columns": 33}, ValueError, "columns: expected a multiple of 32, found 33"),
    ({"scale_layout": "blocked"}, ValueError, 'scale_layout: expected "swizzle_32_4_4" or'),
    ({"dead_scales": "one"}, ValueError, 'dead_scales: expected "zero" or "untouched", found'),
    ({"chip": "sm_90 format=bin"}, ValueError, "chip: expected one word, found"),
    ({"chip": 90}, TypeError, "chip: expected a str, found int"),
    ({"num_ctas": "1"}, TypeError, "num_ctas: expected an int, found str"),
])
def test_bad_options(option: dict, kind: type, text: str) -> None:
    with pytest.raises(kind) as caught:
        moe_mlir.compile("quantize_mxfp8", **option)
    assert str(caught.value).startswith(text)


def test_sizes_do_not_go_with_text() -> None:
    with pytest.raises(ValueError, match="columns: expected no value with MLIR text"):
        moe_mlir.compile(MLIR, columns=1856)
