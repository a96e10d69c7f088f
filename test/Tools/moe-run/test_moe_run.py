# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests of the moe-run tool: bytes against the oracle, and what it says and leaves behind when
something is wrong. MOE_BIN_DIR names the folder of the tool.

They run on the CPU; with a driver whose launches the PTX interpreter runs; and on a GPU where there
is one.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "test"))
sys.path.insert(0, str(REPOSITORY / "test" / "Integration"))
sys.path.insert(0, str(REPOSITORY / "test" / "Runtime"))

import batches  # noqa: E402
import fake_driver  # noqa: E402
import machine  # noqa: E402
import oracle  # noqa: E402
from oracle import bits  # noqa: E402

MOE_RUN = machine.BIN_DIR / "moe-run"
pytestmark = pytest.mark.needs("moe-run")

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


def identity(type_: str) -> str:
    return f"func.func @f(%x: {type_}) {{ return }}"


class Tool:
    """Runs the tool in a folder of its own, on arrays that it saves there."""

    def __init__(self, folder: Path, device: str, fake: fake_driver.FakeProcess | None):
        self.folder = folder
        self.device = device
        self.fake = fake

    def save(self, name: str, array: np.ndarray) -> str:
        np.save(self.folder / name, array)
        return name

    def __call__(
        self, text: str, entry: str, arrays=(), *options: str, stdin: bool = False
    ) -> subprocess.CompletedProcess:
        """`arrays` may hold the names of files too."""
        (self.folder / "input.mlir").write_text(text)
        command = [MOE_RUN, "-" if stdin else "input.mlir", "--entry", entry]
        if not any(option.startswith("--device") for option in options):
            command.append(f"--device={self.device}")
        for index, array in enumerate(arrays):
            name = array if isinstance(array, str) else self.save(f"arg{index}.npy", array)
            command += ["--arg", name]
        return subprocess.run(
            [*command, *options],
            cwd=self.folder,
            input=text if stdin else None,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.fake.environment if self.fake else None,
        )

    def succeed(self, *args, **kwargs) -> str:
        result = self(*args, **kwargs)
        assert result.returncode == 0, result.stderr
        assert result.stdout == ""
        if self.fake:
            self.fake.check_nothing_left(self.fake.take_calls())
        return result.stderr

    def fail(self, *args, diagnostics: bool = False, **kwargs) -> str:
        """The message, after checks that hold for each failure."""
        before = {p.name for p in self.folder.iterdir()}
        result = self(*args, **kwargs)
        assert result.returncode == 1, result
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert lines[-1].startswith("moe-run: error: "), result.stderr
        assert diagnostics or len(lines) == 1, result.stderr
        new = {p.name for p in self.folder.iterdir()} - before
        assert all(re.fullmatch(r"input\.mlir|arg\d+\.npy", name) for name in new), new
        return lines[-1].removeprefix("moe-run: error: ")

    def load(self, name: str) -> np.ndarray:
        return np.load(self.folder / name, allow_pickle=False)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.build(tmp_path_factory.mktemp("driver"))


@pytest.fixture(params=["cpu", "cuda", "interpreted cuda"])
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> Tool:
    if request.param == "cuda" and not machine.has_gpu():
        pytest.skip("no GPU")
    fake = None
    if request.param.startswith("interpreted"):
        driver = request.getfixturevalue("driver")
        fake = fake_driver.FakeProcess(driver, tmp_path / "driver")
    (tmp_path / "run").mkdir()
    return Tool(tmp_path / "run", request.param.split()[-1], fake)


@pytest.fixture(scope="module")
def batch() -> batches.Batch:
    return batches.routed_batch(20, experts=3, top_k=2, alignment=16, ffn=64)


@pytest.fixture
def relu_arrays(batch: batches.Batch) -> list[np.ndarray]:
    out = np.full(batch.x.shape, 0xA5A5, dtype=np.uint16)
    return [bits(batch.x), batch.permutation_map, batch.n_used, out]


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
    n_used = batch.n_used.reshape(1)
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
        [batch.x, batch.permutation_map, batch.n_used, data, scale],
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


def test_npy_version_2(tool):
    x = np.arange(5, dtype=np.int32)
    with open(tool.folder / "v2.npy", "wb") as file:
        np.lib.format.write_array(file, x, version=(2, 0))
    tool.succeed(identity("memref<5xi32>"), "f", ["v2.npy"], "--save=0=out.npy")
    assert np.array_equal(tool.load("out.npy"), x)
    assert (tool.folder / "out.npy").read_bytes()[6:8] == b"\x01\x00"


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


@pytest.mark.parametrize(
    "type_, array, message",
    [
        (
            "memref<?xbf16>",
            np.zeros(3, np.float32),
            "expected dtype <u2 or |V2 for 'memref<?xbf16>', found <f4",
        ),
        (
            "tensor<?xf8E4M3FN>",
            np.zeros(3, np.int8),
            "expected dtype |u1 or |V1 for 'tensor<?xf8E4M3FN>', found |i1",
        ),
        (
            "memref<?xi32>",
            np.zeros(3, np.int64),
            "expected dtype <i4 for 'memref<?xi32>', found <i8",
        ),
        (
            "memref<?xi32>",
            np.zeros(3, np.uint32),
            "expected dtype <i4 for 'memref<?xi32>', found <u4",
        ),
        (
            "memref<?xi32>",
            np.zeros(3, ">i4"),
            "expected dtype <i4 for 'memref<?xi32>', found >i4",
        ),
        ("i32", np.float32(1), "expected dtype <i4 for 'i32', found <f4"),
        (
            "memref<?x?xi32>",
            np.zeros(3, np.int32),
            "expected rank 2 for 'memref<?x?xi32>', found shape (3,)",
        ),
        (
            "memref<i32>",
            np.zeros(1, np.int32),
            "expected rank 0 for 'memref<i32>', found shape (1,)",
        ),
        (
            "memref<1xi32>",
            np.int32(1),
            "expected rank 1 for 'memref<1xi32>', found shape ()",
        ),
        (
            "f32",
            np.zeros((1, 1), np.float32),
            "expected rank 0 for 'f32', found shape (1, 1)",
        ),
        (
            "tensor<?x64xf32>",
            np.zeros((3, 65), np.float32),
            "expected size 64 in dimension 1 of 'tensor<?x64xf32>', found shape (3, 65)",
        ),
        (
            "memref<?x64xf32, strided<[128, 1]>>",
            np.zeros((3, 64), np.float32),
            "expected stride 128 in dimension 0 of 'memref<?x64xf32, strided<[128, 1]>>', "
            "found a contiguous array with stride 64",
        ),
        (
            "memref<4xf32, strided<[1], offset: 3>>",
            np.zeros(4, np.float32),
            "expected offset 3 of 'memref<4xf32, strided<[1], offset: 3>>', "
            "found a contiguous array with offset 0",
        ),
        (
            "memref<2x2xf32>",
            np.asfortranarray(np.ones((2, 2), np.float32)),
            "expected C order, found Fortran order",
        ),
    ],
)
def test_array_does_not_fit(tool, type_, array, message):
    text = f"func.func @f(%a: i32, %x: {type_}) {{ return }}"
    found = tool.fail(text, "f", [np.int32(0), array], "--save=1=out.npy")
    assert found == f"argument 1 ('arg1.npy'): {message}"


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + data


HEADER = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "expected an .npy file, found other content"),
        (b"PK\x03\x04 something else", "expected an .npy file, found other content"),
        (
            npy(HEADER, bytes(8), b"\x03\x00"),
            "expected version 1.0 or 2.0 of the .npy format, found 3.0",
        ),
        (b"\x93NUMPY\x01\x00v", "expected the length of a header, found the file's end"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "expected a header of 118 bytes, found 8"),
        (npy(HEADER, bytes(7)), "expected 8 bytes of data for shape (2,), found 7"),
        (npy(HEADER, bytes(9)), "expected 8 bytes of data for shape (2,), found 9"),
        (
            npy(HEADER.replace("(2,)", f"({2**62}, 4)")),
            f"expected rank 1 for 'memref<?xi32>', found shape ({2**62}, 4)",
        ),
        (
            npy(HEADER.replace("(2,)", f"({2**62},)")),
            f"expected fewer than 2^63 bytes of data, found shape ({2**62},)",
        ),
        *(
            (
                npy(header),
                "expected a header with 'descr' (one dtype), 'fortran_order' and 'shape', "
                f"found {header}",
            )
            for header in (
                "{}",
                "nonsense",
                HEADER[:-3],
                HEADER + "}",
                HEADER.replace("'shape': (2,), ", ""),
                HEADER.replace("(2,)", "(-2,)"),
                HEADER.replace("(2,)", "(x,)"),
                HEADER.replace("(2,)", f"({2**64},)"),
                HEADER.replace("(2,)", "2"),
                HEADER.replace("False", "0"),
                HEADER.replace("'<i4'", "[('a', '<i4')]"),
                HEADER.replace("'<i4'", "'<i4"),
                HEADER.replace("descr", "dtype"),
            )
        ),
    ],
)
def test_malformed_npy(tool, content, message):
    (tool.folder / "bad.npy").write_bytes(content)
    found = tool.fail(identity("memref<?xi32>"), "f", ["bad.npy"], "--save=0=out.npy")
    assert found == f"argument 0 ('bad.npy'): {message}"


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
    found = tool.fail(identity("memref<1xi32>"), "f", [np.zeros(1, np.int32)], "--save=0=/dev/full")
    assert found == "cannot write '/dev/full': expected a regular file, found something else"


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
    arrays = [batch.x, batch.permutation_map, batch.n_used.reshape(1)]
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


@pytest.fixture
def gpu_tool(tmp_path: Path, driver: Path) -> Tool:
    (tmp_path / "run").mkdir()
    fake = fake_driver.FakeProcess(driver, tmp_path / "driver")
    return Tool(tmp_path / "run", "cuda", fake)


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
