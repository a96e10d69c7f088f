# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests of the moe-run tool: bytes against the oracle, and what it says and leaves behind when
something is wrong."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pytest
from moe_run import MOE_RUN, identity
from moe_testing import batches, machine, oracle
from moe_testing.oracle import bits

RELU = """
func.func @relu(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                %out: memref<?x64xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x64xbf16>)
  return
}
"""

RELU_TENSOR = """
func.func @relu(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                %out: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %r = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%out : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %r : tensor<?x64xbf16>
}
"""

QUANTIZE = """
func.func @quantize(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<1xi32>,
                    %data: memref<?x64xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<1xi32>)
    outs(%data, %scale : memref<?x64xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
"""

QUANTIZE_TENSOR = """
func.func @quantize(%x: tensor<?x64xbf16>, %map: tensor<?xi32>, %n: tensor<i32>,
                    %data: tensor<?x64xf8E4M3FN>, %scale: tensor<?x2xf8E8M0FNU>)
    -> (tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>) {
  %m, %k = call @shape(%x) : (tensor<?x64xbf16>) -> (index, index)
  %empty = tensor.empty(%m) : tensor<?x64xbf16>
  %a = moe.padded_squared_relu
    ins(%x, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%empty : tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %r:2 = moe.quantize_mxfp8
    ins(%a, %map, %n : tensor<?x64xbf16>, tensor<?xi32>, tensor<i32>)
    outs(%data, %scale : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>)
    scale_layout<linear> dead_scales<untouched>
    -> tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
  return %r#0, %r#1 : tensor<?x64xf8E4M3FN>, tensor<?x2xf8E8M0FNU>
}
func.func private @shape(%x: tensor<?x64xbf16>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %c64 = arith.constant 64 : index
  %m = tensor.dim %x, %c0 : tensor<?x64xbf16>
  return %m, %c64 : index, index
}
"""


@pytest.fixture(scope="module")
def batch() -> batches.Batch:
    return batches.routed_batch(20, experts=3, top_k=2, alignment=16, ffn=64)


@pytest.fixture
def relu_arrays(batch: batches.Batch) -> list[np.ndarray]:
    out = np.full(batch.x.shape, 0xA5A5, dtype=np.uint16)
    return [bits(batch.x), batch.permutation_map, np.array(batch.n_used, np.int32), out]


@pytest.fixture
def relu_expected(batch: batches.Batch, relu_arrays: list[np.ndarray]) -> np.ndarray:
    out = oracle.bf16_from_bits(relu_arrays[3])
    return bits(oracle.padded_squared_relu(batch.x, batch.permutation_map, batch.n_used, out))


def junk(shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, 0xA5, dtype=np.uint8)


# What it computes


def test_memrefs(tool, relu_arrays, relu_expected):
    assert tool.succeed(RELU, "relu", relu_arrays, "--save", "3=out.npy") == ""
    out = tool.load("out.npy")
    assert out.dtype == "<u2"
    assert np.array_equal(out, relu_expected)


def test_inputs_are_left_alone(tool, relu_arrays):
    tool.succeed(RELU, "relu", relu_arrays, "--save", "0=x.npy", "--save", "2=n.npy")
    assert np.array_equal(tool.load("x.npy"), relu_arrays[0])
    assert np.array_equal(tool.load("arg3.npy"), relu_arrays[3])
    assert tool.load("n.npy").shape == ()
    assert tool.load("n.npy").dtype == np.int32


def test_stdin(tool, relu_arrays, relu_expected):
    tool.succeed(RELU, "relu", relu_arrays, "--save=3=out.npy", stdin=True)
    assert np.array_equal(tool.load("out.npy"), relu_expected)


def test_ml_dtypes_as_numpy_stores_them(tool, batch, relu_arrays, relu_expected):
    arrays = [batch.x, *relu_arrays[1:]]
    tool.succeed(RELU, "relu", arrays, "--save", "3=out.npy")
    assert b"V2" in (tool.folder / "arg0.npy").read_bytes()[:128]
    assert np.array_equal(tool.load("out.npy"), relu_expected)


def test_tensors(tool, relu_arrays, relu_expected):
    tool.succeed(RELU_TENSOR, "relu", relu_arrays, "--save", "r0=out.npy")
    assert np.array_equal(tool.load("out.npy"), relu_expected)


BF16_CHAIN = """
func.func @f(%a: bf16, %b: bf16, %c: i1) -> (bf16, bf16) {
  %sum = arith.addf %a, %b : bf16
  %difference = arith.subf %sum, %a : bf16
  %square = arith.mulf %b, %b : bf16
  %chosen = scf.if %c -> bf16 {
    %quarter = arith.constant 0.25 : bf16
    %product = arith.mulf %square, %quarter : bf16
    scf.yield %product : bf16
  } else {
    scf.yield %square : bf16
  }
  return %difference, %chosen : bf16, bf16
}"""


@pytest.mark.parametrize("b", [0x3B00, 0x1FC0, 0x2000, 0x5FC0, 0x0001])
@pytest.mark.parametrize("condition", [False, True])
def test_bf16_rounds_after_each_op_and_keeps_subnormals(tool, b, condition):
    arrays = [np.uint16(0x3F80), np.uint16(b), np.bool_(condition)]
    tool.succeed(BF16_CHAIN, "f", arrays, "--save=r0=0.npy", "--save=r1=1.npy")
    one, value = (oracle.bf16_from_bits(array) for array in arrays[:2])
    with np.errstate(over="ignore"):
        square = oracle.bfloat16(value * value)
    wanted = [oracle.bfloat16(oracle.bfloat16(one + value) - one),
              oracle.bfloat16(square * oracle.bfloat16(0.25)) if condition else square]
    assert [tool.load(f"{i}.npy").item() for i in range(2)] == [bits(w).item() for w in wanted]


@pytest.mark.parametrize("rows", [0, 1, 130])
def test_quantize_memrefs(tool, rows):
    batch = batches.dense_batch(rows, 64)
    data, scale = junk(batch.x.shape), junk((oracle.scale_size(rows, 64),))
    n_used = np.array([batch.n_used], np.int32)
    tool.succeed(
        QUANTIZE,
        "quantize",
        [batch.x, batch.permutation_map, n_used, data, scale.view(oracle.float8_e8m0fnu)],
        "--save=3=data.npy",
        "--save=4=scale.npy",
    )
    expected = oracle.quantize_mxfp8(
        batch.x,
        batch.permutation_map,
        batch.n_used,
        data.view(oracle.float8_e4m3fn),
        scale.view(oracle.float8_e8m0fnu),
    )
    for name, array in zip(("data.npy", "scale.npy"), expected):
        assert tool.load(name).dtype == "|u1"
        assert np.array_equal(tool.load(name), bits(array))


def test_several_results_of_tensors(tool, batch):
    data, scale = junk(batch.x.shape), junk((batch.M, 2))
    tool.succeed(
        QUANTIZE_TENSOR,
        "quantize",
        [batch.x, batch.permutation_map, np.array(batch.n_used, np.int32), data, scale],
        "--save=r1=scale.npy",
        "--save=r0=data.npy",
    )
    expected = oracle.squared_relu_quantize_mxfp8(
        batch.x,
        batch.permutation_map,
        batch.n_used,
        data.view(oracle.float8_e4m3fn),
        scale.view(oracle.float8_e8m0fnu),
        oracle.LINEAR,
        "untouched",
    )
    for name, array in zip(("data.npy", "scale.npy"), expected):
        assert np.array_equal(tool.load(name), bits(array))


@pytest.mark.parametrize("op", ["padded_squared_relu", "quantize_mxfp8"])
def test_all_bf16_patterns(tool, op):
    x = batches.all_bf16_patterns(64)
    rows = x.shape[0]
    permutation_map = np.arange(rows, dtype=np.int32)
    operands = (x, permutation_map, np.int32(rows))
    if op == "padded_squared_relu":
        out = np.full(x.shape, 0xA5A5, dtype=np.uint16)
        expected = [oracle.padded_squared_relu(*operands, oracle.bf16_from_bits(out))]
        tool.succeed(RELU, "relu", [*operands, out], "--save=3=0.npy")
    else:
        data, scale = junk(x.shape), junk((oracle.scale_size(rows, 64),))
        expected = oracle.quantize_mxfp8(
            *operands, data.view(oracle.float8_e4m3fn), scale.view(oracle.float8_e8m0fnu)
        )
        n_used = np.array([rows], dtype=np.int32)
        arrays = [x, permutation_map, n_used, data, scale]
        tool.succeed(QUANTIZE, "quantize", arrays, "--save=3=0.npy", "--save=4=1.npy")
    for index, array in enumerate(expected):
        assert np.array_equal(tool.load(f"{index}.npy"), bits(array))


def test_no_arguments_and_a_constant_result(tool):
    text = """
    func.func @f() -> tensor<2x2xf32> {
      %c = arith.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
      return %c : tensor<2x2xf32>
    }"""
    tool.succeed(text, "f", [], "--save=r0=c.npy", "--repeat=3")
    assert tool.load("c.npy").tolist() == [[1, 2], [3, 4]]


def test_scalars(tool):
    text = """
    func.func @f(%a: i32, %b: f32, %c: index, %d: i1, %e: bf16)
        -> (bf16, i1, f32, index, i32) {
      %s = arith.addi %a, %a : i32
      %t = arith.addf %b, %b : f32
      return %e, %d, %t, %c, %s : bf16, i1, f32, index, i32
    }"""
    arrays = [np.int32(21), np.float32(1.5), np.int64(7), np.bool_(True), np.uint16(0x3FC0)]
    saves = [f"--save=r{i}={i}.npy" for i in range(5)]
    tool.succeed(text, "f", arrays, *saves)
    found = [tool.load(f"{i}.npy") for i in range(5)]
    assert [a.dtype for a in found] == ["<u2", "|b1", "<f4", "<i8", "<i4"]
    assert [a.shape for a in found] == [()] * 5
    assert [a.item() for a in found] == [0x3FC0, True, 3.0, 7, 42]


def test_row_strided_result_is_compacted(tool):
    text = """
    func.func @f(%v: f32) -> (index, memref<4x2xf32, strided<[8, 1], offset: 9>>) {
      %c1 = arith.constant 1 : index
      %c2 = arith.constant 2 : index
      %c5 = arith.constant 5.0 : f32
      %a = memref.alloc() : memref<6x8xf32>
      linalg.fill ins(%v : f32) outs(%a : memref<6x8xf32>)
      memref.store %c5, %a[%c1, %c2] : memref<6x8xf32>
      memref.store %c5, %a[%c2, %c1] : memref<6x8xf32>
      %s = memref.subview %a[1, 1] [4, 2] [1, 1]
        : memref<6x8xf32> to memref<4x2xf32, strided<[8, 1], offset: 9>>
      return %c1, %s : index, memref<4x2xf32, strided<[8, 1], offset: 9>>
    }"""
    tool.succeed(text, "f", [np.float32(7)], "--save=r1=out.npy")
    assert tool.load("out.npy").tolist() == [[7, 5], [5, 7], [7, 7], [7, 7]]


@pytest.mark.parametrize("inner", ["2", "?"])
def test_result_with_an_inner_stride_is_compacted(tool, inner):
    type_ = f"memref<2x3xi32, strided<[6, {inner}], offset: ?>>"
    text = f"""
    func.func @f(%x: memref<12xi32>, %offset: index, %step: index) -> {type_} {{
      %a = memref.alloc() : memref<12xi32>
      memref.copy %x, %a : memref<12xi32> to memref<12xi32>
      %s = memref.reinterpret_cast %a to offset: [%offset], sizes: [2, 3],
        strides: [6, {"%step" if inner == "?" else inner}] : memref<12xi32> to {type_}
      return %s : {type_}
    }}"""
    x = np.arange(12, dtype=np.int32)
    tool.succeed(text, "f", [x, np.int64(1), np.int64(2)], "--save=r0=out.npy")
    assert tool.load("out.npy").tolist() == [[1, 3, 5], [7, 9, 11]]


def test_transposed_result(tool):
    text = """
    func.func @f(%x: memref<3x4xf32>) -> memref<4x3xf32, strided<[1, 4]>> {
      %a = memref.alloc() : memref<3x4xf32>
      memref.copy %x, %a : memref<3x4xf32> to memref<3x4xf32>
      %t = memref.transpose %a (i, j) -> (j, i)
        : memref<3x4xf32> to memref<4x3xf32, strided<[1, 4]>>
      return %t : memref<4x3xf32, strided<[1, 4]>>
    }"""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    tool.succeed(text, "f", [x], "--save=r0=out.npy")
    assert np.array_equal(tool.load("out.npy"), x.T)


@pytest.mark.parametrize("returns", ["%r", "%r, %x"])
def test_destination_that_is_an_input(tool, relu_arrays, batch, returns):
    """A tensor is a value, which the op does not change."""
    type_ = "tensor<?x64xbf16>"
    text = f"""
    func.func @f(%x: {type_}, %map: tensor<?xi32>, %n: tensor<i32>)
        -> ({", ".join([type_] * len(returns.split()))}) {{
      %r = moe.padded_squared_relu
        ins(%x, %map, %n : {type_}, tensor<?xi32>, tensor<i32>) outs(%x : {type_}) -> {type_}
      return {returns} : {", ".join([type_] * len(returns.split()))}
    }}"""
    saves = [f"--save=r{i}={i}.npy" for i in range(len(returns.split()))]
    tool.succeed(text, "f", relu_arrays[:3], *saves, "--save=0=x.npy")
    expected = oracle.padded_squared_relu(batch.x, batch.permutation_map, batch.n_used,
                                          batch.x.copy())
    assert np.array_equal(tool.load("0.npy"), bits(expected))
    assert np.array_equal(tool.load("x.npy"), bits(batch.x))
    if len(saves) == 2:
        assert np.array_equal(tool.load("1.npy"), bits(batch.x))


def test_copy_between_layouts(tool):
    text = """
    func.func @f(%x: tensor<?x8xi16>) -> tensor<3x2xi16> {
      %s = tensor.extract_slice %x[1, 2] [3, 2] [1, 2] : tensor<?x8xi16> to tensor<3x2xi16>
      return %s : tensor<3x2xi16>
    }"""
    x = np.arange(40, dtype=np.int16).reshape(5, 8)
    tool.succeed(text, "f", [x], "--save=r0=out.npy")
    assert np.array_equal(tool.load("out.npy"), x[1:4, 2:6:2])


@pytest.mark.parametrize(
    "element, dtype",
    [
        ("i1", "?"),
        ("i8", "i1"),
        ("i16", "i2"),
        ("i32", "i4"),
        ("i64", "i8"),
        ("index", "i8"),
        ("f16", "f2"),
        ("f32", "f4"),
        ("f64", "f8"),
        ("bf16", "u2"),
        ("f8E4M3FN", "u1"),
        ("f8E5M2", "u1"),
        ("f8E8M0FNU", "u1"),
    ],
)
def test_element_types_and_ranks(tool, element, dtype):
    for shape in [(), (1,), (3,), (2, 0), (2, 3, 4)]:
        x = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        sizes = "".join(f"{size}x" for size in shape)
        for type_ in (f"memref<{sizes}{element}>", f"tensor<{sizes}{element}>"):
            tool.succeed(identity(type_), "f", [x], "--save=0=out.npy")
            assert tool.load("out.npy").dtype == np.dtype(dtype)
            assert np.array_equal(tool.load("out.npy"), x)
            assert tool.load("out.npy").shape == shape


def test_dynamic_strides(tool):
    text = """
    func.func @f(%x: memref<?x?xi32, strided<[?, ?], offset: ?>>) -> i32 {
      %c1 = arith.constant 1 : index
      %v = memref.load %x[%c1, %c1] : memref<?x?xi32, strided<[?, ?], offset: ?>>
      return %v : i32
    }"""
    tool.succeed(text, "f", [np.arange(6, dtype=np.int32).reshape(2, 3)], "--save=r0=v.npy")
    assert tool.load("v.npy") == 4


def test_static_strides_of_a_contiguous_array(tool):
    text = identity("memref<?x64xf32, strided<[64, 1], offset: ?>>")
    tool.succeed(text, "f", [np.zeros((3, 64), np.float32)])


def test_arguments_are_aligned(tool):
    text = """
    func.func @f(%x: memref<3xi8>, %y: memref<1xi8>) -> (index, index) {
      %a = memref.extract_aligned_pointer_as_index %x : memref<3xi8> -> index
      %b = memref.extract_aligned_pointer_as_index %y : memref<1xi8> -> index
      return %a, %b : index, index
    }"""
    arrays = [np.zeros(3, np.int8), np.zeros(1, np.int8)]
    tool.succeed(text, "f", arrays, "--save=r0=a.npy", "--save=r1=b.npy")
    assert tool.load("a.npy") % 64 == 0
    assert tool.load("b.npy") % 64 == 0


def test_repeat(tool):
    text = """
    func.func @f(%x: memref<i32>) {
      %c1 = arith.constant 1 : i32
      %v = memref.load %x[] : memref<i32>
      %w = arith.addi %v, %c1 : i32
      memref.store %w, %x[] : memref<i32>
      return
    }"""
    stderr = tool.succeed(text, "f", [np.int32(5)], "--repeat", "10", "--save=0=x.npy")
    assert re.fullmatch(
        r"moe-run: 10 runs, median \d+\.\d{3} ms, minimum \d+\.\d{3} ms\n", stderr
    )
    # The arrays are not reset between the runs.
    assert tool.load("x.npy") == 15
    stderr = tool.succeed(text, "f", [np.int32(5)], "--repeat=1")
    assert stderr.startswith("moe-run: 1 run, median ")


def test_output_is_what_numpy_writes(tool):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    tool.succeed(identity("memref<2x3xf32>"), "f", [x], "--save=0=out.npy")
    assert (tool.folder / "out.npy").read_bytes() == (tool.folder / "arg0.npy").read_bytes()


def test_outputs_are_replaced_and_nothing_else_is_left(tool):
    (tool.folder / "out.npy").write_text("old")
    x = np.arange(3, dtype=np.int32)
    tool.succeed(identity("memref<3xi32>"), "f", [x], "--save=0=out.npy")
    assert np.array_equal(tool.load("out.npy"), x)
    assert {p.name for p in tool.folder.iterdir()} == {"input.mlir", "arg0.npy", "out.npy"}


def test_input_file_as_output(tool):
    tool.save("x.npy", np.arange(3, dtype=np.int32))
    tool.succeed(identity("memref<3xi32>"), "f", ["x.npy"], "--save=0=x.npy")
    assert tool.load("x.npy").tolist() == [0, 1, 2]


def test_help():
    result = subprocess.run([MOE_RUN, "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    for word in ("--entry", "--arg", "--save", "--device", "--repeat", "bf16", "rank 0"):
        assert word in result.stdout


# What it refuses. Each message names the argument, what was expected and what was found, and
# Tool.fail checks that there is one line, exit code 1 and no new file.


def test_argument_file_is_missing(tool):
    found = tool.fail(identity("memref<?xi32>"), "f", ["none.npy"], "--save=0=out.npy")
    assert found.startswith("argument 0 ('none.npy'): cannot read the file: ")


@pytest.mark.parametrize("count", [0, 3, 5])
def test_number_of_arguments(tool, relu_arrays, count):
    arrays = (relu_arrays * 2)[:count]
    found = tool.fail(RELU, "relu", arrays, "--save=3=out.npy")
    assert found == f"expected 4 --arg for entry 'relu', found {count}"


def test_missing_entry(tool):
    found = tool.fail(RELU, "nothing")
    assert found == "expected a func.func 'nothing' in 'input.mlir', found none"


def test_entry_without_body(tool):
    found = tool.fail("func.func private @f()", "f")
    assert found == "expected a body of entry 'f', found a declaration"


@pytest.mark.parametrize(
    "type_",
    ["memref<*xf32>", "memref<2xi4>", "memref<2xcomplex<f32>>", "vector<2xf32>"],
)
def test_unsupported_types(tool, type_):
    found = tool.fail(f"func.func @f(%a: i32, %x: {type_}) {{ return }}", "f")
    assert found.startswith("entry 'f': expected a ranked tensor, a strided memref or ")
    assert found.endswith(f"f64 as argument 1, found '{type_}'")
    found = tool.fail(f"func.func @f(%x: {type_}) -> {type_} {{ return %x : {type_} }}", "f")
    assert found.endswith(f"as argument 0, found '{type_}'")


def test_unsupported_result_type(tool):
    text = """
    func.func @f() -> vector<2xf32> {
      %c = arith.constant dense<1.0> : vector<2xf32>
      return %c : vector<2xf32>
    }"""
    assert tool.fail(text, "f").endswith("as result 0, found 'vector<2xf32>'")


def test_parse_error(tool):
    found = tool.fail("func.func @f( {", "f", [], "--save=0=out.npy", diagnostics=True)
    assert found == "cannot parse 'input.mlir'"


def test_verifier_error(tool, relu_arrays):
    text = RELU.replace("memref<?xi32>", "memref<?xi64>")
    found = tool.fail(text, "relu", relu_arrays, "--save=3=out.npy", diagnostics=True)
    assert found == "cannot parse 'input.mlir'"


def test_lowering_error(tool):
    text = """
    func.func @f(%x: memref<4xf32>) {
      gpu.barrier
      return
    }"""
    arrays = [np.zeros(4, np.float32)]
    found = tool.fail(text, "f", arrays, "--save=0=out.npy", diagnostics=True)
    where = "CUDA" if tool.device == "cuda" else "the CPU"
    assert found == f"cannot lower entry 'f' for {where}"


def test_function_that_nobody_has(tool):
    text = """
    func.func private @nobody_has_this()
    func.func @f(%x: memref<1xi32>) {
      call @nobody_has_this() : () -> ()
      return
    }"""
    arrays = [np.zeros(1, np.int32)]
    found = tool.fail(text, "f", arrays, "--save=0=out.npy", diagnostics=True)
    assert found.startswith("cannot compile entry 'f': ")


def test_input_file_is_missing(tool):
    result = subprocess.run(
        [MOE_RUN, "none.mlir", "--entry", "f"], cwd=tool.folder, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith("moe-run: error: cannot read 'none.mlir': ")


@pytest.mark.parametrize(
    "save, message",
    [
        ("4=out.npy", "expected an index below 4, the number of arguments, found '4=out.npy'"),
        ("r0=out.npy", "expected an index below 0, the number of results, found 'r0=out.npy'"),
        ("x=out.npy", "expected INDEX=FILE or rINDEX=FILE, found 'x=out.npy'"),
        ("-1=out.npy", "expected INDEX=FILE or rINDEX=FILE, found '-1=out.npy'"),
        ("out.npy", "expected INDEX=FILE or rINDEX=FILE, found 'out.npy'"),
        ("3=", "expected INDEX=FILE or rINDEX=FILE, found '3='"),
        ("0=good.npy", "expected different files, found 'good.npy' twice"),
    ],
)
def test_save_option(tool, relu_arrays, save, message):
    found = tool.fail(RELU, "relu", relu_arrays, "--save=3=good.npy", f"--save={save}")
    assert found == f"--save: {message}"


@pytest.mark.parametrize("path", ["none/out.npy", "folder"])
def test_unwritable_output(tool, relu_arrays, path):
    (tool.folder / "folder").mkdir()
    (tool.folder / "old.npy").write_text("old")
    found = tool.fail(
        RELU,
        "relu",
        relu_arrays,
        "--save=0=new.npy",
        "--save=1=old.npy",
        f"--save=3={path}",
    )
    assert found.startswith(f"cannot write '{path}': ")
    assert (tool.folder / "old.npy").read_text() == "old"


def test_output_is_no_regular_file(tool):
    """A named pipe of the test's own: a tool that replaces it, as root too, does no harm."""
    pipe = tool.folder / "pipe"
    os.mkfifo(pipe)
    found = tool.fail(identity("memref<1xi32>"), "f", [np.zeros(1, np.int32)], "--save=0=pipe")
    assert found == "cannot write 'pipe': expected a regular file, found something else"
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "option, message",
    [
        ("--device=tpu", "device 'tpu' is unknown, expected 'cpu' or 'cuda'"),
        ("--repeat=0", "--repeat: expected at least 1, found 0"),
    ],
)
def test_option_values(tool, relu_arrays, option, message):
    assert tool.fail(RELU, "relu", relu_arrays, option, "--save=3=out.npy") == message


def test_malformed_options(tool, relu_arrays):
    found = tool.fail(RELU, "relu", relu_arrays, "--unknown", "--save=3=out.npy")
    assert found.startswith("Unknown command line argument '--unknown'.")
    tool.fail(RELU, "relu", relu_arrays, "--repeat=x", "--save=3=out.npy", diagnostics=True)
    for command in ([MOE_RUN], [MOE_RUN, "input.mlir"]):
        result = subprocess.run(command, cwd=tool.folder, capture_output=True, text=True)
        assert result.returncode == 1
        assert result.stderr.startswith("moe-run: error: expected ")


# Sizes that are known only when the program runs


@pytest.mark.parametrize("text", [RELU, RELU_TENSOR])
@pytest.mark.parametrize(
    "index, message",
    [
        (1, "expected 'permutation_map' to have as many elements as 'x' has rows (C3)"),
        (3, "expected the destination to have as many rows as 'x' (C5)"),
    ],
)
def test_run_time_sizes(tool, relu_arrays, text, index, message):
    (tool.folder / "out.npy").write_text("old")
    relu_arrays[index] = relu_arrays[index][:-1]
    found = tool.fail(text, "relu", relu_arrays, "--save=3=out.npy", "--save=0=new.npy")
    assert found.startswith(f"{message}, at run time in 'moe.padded_squared_relu' at loc(")
    assert "input.mlir" in found
    assert (tool.folder / "out.npy").read_text() == "old"


def test_run_time_size_of_scale(tool):
    batch = batches.dense_batch(5, 64)
    arrays = [batch.x, batch.permutation_map, np.array([batch.n_used], np.int32)]
    found = tool.fail(QUANTIZE, "quantize", [*arrays, junk((5, 64)), junk((511,))])
    assert found.startswith("expected 'scale' to have ceil(M / 128) * ceil(K / 128) * 512 ")


def test_assertion_of_the_program(tool):
    text = """
    func.func @f(%x: i1) {
      cf.assert %x, "first line\\0Asecond line"
      return
    }"""
    tool.succeed(text, "f", [np.bool_(True)])
    assert tool.fail(text, "f", [np.bool_(False)]) == "first line; second line"


# What only a GPU can lack


@pytest.mark.parametrize("capability, chip", [(80, "sm_80"), (86, "sm_86"), (90, "sm_90"),
                                              (100, "sm_100"), (103, "sm_103"), (120, "sm_120"),
                                              (121, "sm_121"), (130, "sm_121")])
def test_chip_of_the_gpu(gpu_tool, relu_arrays, capability, chip):
    """The last one that the GPU can run, and none with a letter, which is for one GPU alone."""
    gpu_tool.fake.environment["FAKE_CUDA_CAPABILITY"] = str(capability)
    gpu_tool(RELU, "relu", relu_arrays)
    ptx = (gpu_tool.fake.folder / "ptx").read_text()
    assert re.findall(r"^\.target (\w+)", ptx, re.MULTILINE) == [chip]


def test_gpu_that_is_too_old(gpu_tool, relu_arrays):
    gpu_tool.fake.environment["FAKE_CUDA_CAPABILITY"] = "75"
    found = gpu_tool.fail(RELU, "relu", relu_arrays, "--save=3=out.npy")
    assert found == ("device 'cuda': expected a GPU of compute capability 8.0 or later, found 7.5")


def test_kernels_do_the_work(gpu_tool, relu_arrays):
    gpu_tool(RELU, "relu", relu_arrays, "--repeat=3")
    assert gpu_tool.fake.take_calls()["cuLaunchKernel"] == 3


@pytest.mark.parametrize(
    "failure, message",
    [
        ("cuInit 100", "mgpuMemAlloc: cuInit returned CUDA_ERROR_NO_DEVICE (100): "),
        ("cuMemAllocManaged 2", "mgpuMemAlloc: cuMemAllocManaged returned CUDA_ERROR_OUT_OF_MEMORY "),
        ("cuModuleLoadDataEx 218", "mgpuModuleLoadJIT: cuModuleLoadDataEx returned "
                                   "CUDA_ERROR_INVALID_PTX (218): as told to the fake driver; ptxas"),
        ("cuStreamSynchronize 700", "mgpuStreamSynchronize: cuStreamSynchronize returned "
                                    "CUDA_ERROR_ILLEGAL_ADDRESS (700): "),
    ],
)
def test_driver_errors(gpu_tool, relu_arrays, failure, message):
    gpu_tool.fake.environment["FAKE_CUDA_FAIL"] = failure
    found = gpu_tool.fail(RELU, "relu", relu_arrays, "--save=3=out.npy")
    assert found.startswith(message)


def test_no_driver(gpu_tool, relu_arrays):
    if machine.has_gpu():
        pytest.skip("there is a GPU")
    gpu_tool.fake = None
    found = gpu_tool.fail(RELU, "relu", relu_arrays, "--save=3=out.npy")
    assert found.startswith("mgpuMemAlloc: libcuda.so.1 could not be opened: ")
