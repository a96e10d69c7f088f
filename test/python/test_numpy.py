# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe_mlir on NumPy arrays: every byte of every output against the oracle, and every error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moe_mlir
import numpy as np
import pytest
from moe_mlir import _runtime
from moe_testing import batches, oracle
from moe_testing.oracle import bfloat16, float8_e4m3fn, float8_e8m0fnu
from numpy.lib.stride_tricks import as_strided

PACKAGE = Path(moe_mlir.__file__).parent
ORACLE = {"squared_relu_and_quantize_mxfp8": oracle.squared_relu_quantize_mxfp8,
          "quantize_mxfp8": oracle.quantize_mxfp8}
QUANTIZING = list(ORACLE)
MODES = [(layout, dead) for layout in ("swizzle_32_4_4", "linear")
         for dead in ("zero", "untouched")]


def random_bytes(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    return raw.view(dtype).reshape(shape)


def spread(array: np.ndarray, padding: int) -> np.ndarray:
    """A copy of `array` whose rows are `padding` random elements apart."""
    rows, columns = array.shape
    wide = random_bytes((rows, columns + padding), array.dtype, seed=7)
    wide[:, :columns] = array
    return wide[:, :columns]


def base_of(array: np.ndarray) -> np.ndarray:
    """All memory that a view's array has, the space between rows included."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def scale_shape(M: int, K: int, layout: str) -> tuple[int, ...]:
    return (M, K // 32) if layout == "linear" else (oracle.scale_size(M, K),)


def assert_same(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype and found.shape == wanted.shape, name
    differ = np.argwhere(oracle.bits(found) != oracle.bits(wanted))
    assert differ.size == 0, f"{name}: {len(differ)} elements differ, first {differ[0]}"


def check_relu(x: np.ndarray, permutation_map: np.ndarray, n_used: Any, padding: int = 0) -> None:
    """The out= form and the allocating form."""
    out = spread(random_bytes(x.shape, bfloat16), padding)
    guard = base_of(out).copy()
    wanted = oracle.padded_squared_relu(x, permutation_map, n_used, out)
    result = moe_mlir.padded_squared_relu(x, permutation_map, n_used, out=out)
    assert result is out
    assert_same("out", out, wanted)
    if padding:
        assert_same("between rows", base_of(out).reshape(-1).view(bfloat16).reshape(
            x.shape[0], -1)[:, x.shape[1]:], guard.reshape(-1).view(bfloat16).reshape(
            x.shape[0], -1)[:, x.shape[1]:])
    live = oracle.live_rows(permutation_map, n_used)
    fresh = moe_mlir.padded_squared_relu(x, permutation_map, n_used)
    assert fresh.flags.c_contiguous and fresh.shape == x.shape and fresh.dtype == bfloat16
    assert_same("live rows", fresh[live], wanted[live])


def check_quantize(op: str, x: np.ndarray, permutation_map: np.ndarray, n_used: Any,
                   layout: str = "swizzle_32_4_4", dead: str = "zero", padding: int = 0) -> None:
    M, K = x.shape
    data = spread(random_bytes((M, K), float8_e4m3fn), padding)
    scale = random_bytes(scale_shape(M, K, layout), float8_e8m0fnu, seed=1)
    if layout == "linear":
        scale = spread(scale, padding)
    wanted = ORACLE[op](x, permutation_map, n_used, data, scale, layout, dead)
    guards = [base_of(a).reshape(-1).view(np.uint8).copy() for a in (data, scale)]
    modes = {"scale_layout": layout, "dead_scales": dead}
    function = getattr(moe_mlir, op)
    result = function(x, permutation_map, n_used, **modes, out=(data, scale))
    assert result.data is data and result.scale is scale and result.scale_layout == layout
    assert_same("data", data, wanted[0])
    assert_same("scale", scale, wanted[1])
    if padding:
        for found, guard in zip((data, scale), guards):
            if found.ndim == 2:
                wide = base_of(found).reshape(-1).view(np.uint8).reshape(M, -1)
                width = found.shape[1]
                assert_same("between rows", wide[:, width:], guard.reshape(M, -1)[:, width:])

    live = oracle.live_rows(permutation_map, n_used)
    fresh = function(x, permutation_map, n_used, **modes)
    assert fresh.data.dtype == float8_e4m3fn and fresh.data.shape == (M, K)
    assert fresh.scale.dtype == float8_e8m0fnu
    assert_same("live rows", fresh.data[live], wanted[0][live])
    if dead == "zero":
        assert_same("scale", fresh.scale, wanted[1])
    elif layout == "linear":
        assert_same("live scales", fresh.scale[live], wanted[1][live])


def random_operands(M: int, K: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((M, K)) * np.exp2(rng.integers(-20, 20, (M, 1)))
    permutation_map = np.where(rng.random(M) < 0.5, rng.permutation(M), -rng.integers(1, 2**31, M))
    return x.astype(bfloat16), permutation_map.astype(np.int32)


def test_all_bf16_patterns() -> None:
    x = batches.all_bf16_patterns(1856)
    permutation_map = np.arange(x.shape[0], dtype=np.int32)
    check_relu(x, permutation_map, x.shape[0])
    for op in QUANTIZING:
        check_quantize(op, x, permutation_map, x.shape[0])


def test_routed_batch() -> None:
    batch = batches.routed_batch(16, experts=16, top_k=3)
    check_relu(batch.x, batch.permutation_map, batch.n_used)
    for op in QUANTIZING:
        check_quantize(op, batch.x, batch.permutation_map, batch.n_used)


@pytest.mark.parametrize("padding", [0, 3, 32])
def test_strided_rows(padding: int) -> None:
    x, permutation_map = random_operands(150, 96)
    x = spread(x, padding)
    check_relu(x, permutation_map, 140, padding)
    for op in QUANTIZING:
        for layout, dead in MODES:
            check_quantize(op, x, permutation_map, 140, layout, dead, padding)


@pytest.mark.parametrize("op", QUANTIZING)
@pytest.mark.parametrize("layout, dead", MODES)
def test_modes(op: str, layout: str, dead: str) -> None:
    x, permutation_map = random_operands(300, 1184)
    check_quantize(op, x, permutation_map, 270, layout, dead)


@pytest.mark.parametrize("n_used", [-7, 0, 1, 129, 200, 2**31 - 1, -(2**31)])
def test_n_used(n_used: int) -> None:
    x, permutation_map = random_operands(200, 64)
    forms = [n_used, np.int32(n_used), np.array(n_used, np.int32), np.array([n_used], np.int32)]
    for form in forms:
        check_relu(x, permutation_map, form)
        check_quantize("quantize_mxfp8", x, permutation_map, form)


@pytest.mark.parametrize("M, K", [(0, 0), (0, 64), (5, 0), (1, 32), (127, 32), (129, 1856)])
def test_sizes(M: int, K: int) -> None:
    x, permutation_map = random_operands(M, K)
    check_relu(x, permutation_map, M)
    for op in QUANTIZING:
        for layout, dead in MODES:
            check_quantize(op, x, permutation_map, M, layout, dead)


@pytest.mark.parametrize("N", [1, 31, 33])
def test_any_number_of_columns(N: int) -> None:
    x, permutation_map = random_operands(70, N)
    check_relu(x, permutation_map, 66)


def test_all_padding() -> None:
    x, _ = random_operands(140, 64)
    permutation_map = np.full(140, -5, np.int32)
    check_relu(x, permutation_map, 140)
    for op in QUANTIZING:
        check_quantize(op, x, permutation_map, 140)


def test_out_may_be_the_result_of_a_call() -> None:
    x, permutation_map = random_operands(40, 64)
    first = moe_mlir.quantize_mxfp8(x, permutation_map, 40)
    again = moe_mlir.quantize_mxfp8(x, permutation_map, 40, out=first)
    assert again == first and again.data is first.data and again.scale is first.scale
    data, scale = first
    assert data is first.data and scale is first.scale


def test_rows_that_alternate_in_one_buffer() -> None:
    both = random_bytes((60, 128), bfloat16)
    both[:, :64] = 2
    permutation_map = np.arange(60, dtype=np.int32)
    moe_mlir.padded_squared_relu(both[:, :64], permutation_map, 60, out=both[:, 64:])
    assert (both[:, :64] == 2).all() and (both[:, 64:] == 4).all()


def test_read_only_inputs_and_subclasses() -> None:
    x, permutation_map = random_operands(20, 64)
    x.flags.writeable = permutation_map.flags.writeable = False
    check_relu(x, permutation_map, 20)

    class Mine(np.ndarray):
        pass

    found = moe_mlir.padded_squared_relu(x.view(Mine), permutation_map, 20)
    live = oracle.live_rows(permutation_map, 20)
    assert_same("out", found[live], moe_mlir.padded_squared_relu(x, permutation_map, 20)[live])


def test_threads() -> None:
    x, permutation_map = random_operands(300, 256)
    wanted = moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, 300)
    live = oracle.live_rows(permutation_map, 300)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                found = moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, 300)
                assert_same("data", found.data[live], wanted.data[live])
                assert_same("scale", found.scale, wanted.scale)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


X = np.zeros((4, 64), bfloat16)
MAP = np.zeros(4, np.int32)
DATA = np.zeros((4, 64), float8_e4m3fn)
SCALE = np.zeros(512, float8_e8m0fnu)
LINEAR = np.zeros((4, 2), float8_e8m0fnu)
READ_ONLY = np.zeros((4, 64), bfloat16)
READ_ONLY.flags.writeable = False
relu, fused = moe_mlir.padded_squared_relu, moe_mlir.squared_relu_and_quantize_mxfp8

ERRORS: dict[str, tuple[Callable[[], Any], type, str]] = {
    "x type": (lambda: relu([1], MAP, 4), TypeError,
               "x: expected a NumPy array or a PyTorch tensor, found builtins.list"),
    "x dtype": (lambda: relu(X.astype(np.float32), MAP, 4), TypeError,
                "x: expected dtype bfloat16, found float32"),
    "x rank": (lambda: relu(X[0], MAP, 4), ValueError,
               "x: expected shape [M, N], found [64]"),
    "x inner stride": (lambda: relu(X[:, ::2], MAP, 4), ValueError,
                       "x: expected consecutive elements in a row, 2 bytes apart, found strides "
                       "of (128, 4) bytes"),
    "x row stride": (lambda: relu(np.broadcast_to(X[:1], (4, 64)), MAP, 4), ValueError,
                     "x: expected a row_stride of at least the 64 columns, found 0"),
    "x upside down": (lambda: relu(X[::-1], MAP, 4), ValueError,
                      "x: expected a row_stride of at least the 64 columns, found -64"),
    "x odd row stride": (lambda: relu(np.ndarray((4, 64), bfloat16, np.zeros(515, np.uint8),
                                                  strides=(129, 2)), MAP, 4), ValueError,
                         "x: expected rows a multiple of 2 bytes apart, found strides of (129, 2)"),
    "out odd row stride": (lambda: relu(X, MAP, 4, out=np.ndarray(
        (4, 64), bfloat16, np.zeros(521, np.uint8), strides=(131, 2))), ValueError,
                           "out: expected rows a multiple of 2 bytes apart, found strides of "
                           "(131, 2) bytes"),
    "x columns": (lambda: fused(X[:, :33], MAP, 4), ValueError,
                  "x: expected a multiple of 32 columns, found 33"),
    "x unaligned": (lambda: relu(np.zeros(513, np.uint8)[1:].view(bfloat16).reshape(4, 64),
                                 MAP, 4), ValueError,
                    "x: expected an address that is a multiple of 2, as its elements are"),
    "map type": (lambda: relu(X, [0] * 4, 4), TypeError,
                 "permutation_map: expected a NumPy array as x is one, found builtins.list"),
    "map dtype": (lambda: relu(X, MAP.astype(np.int64), 4), TypeError,
                  "permutation_map: expected dtype int32, found int64"),
    "map size": (lambda: relu(X, MAP[:3], 4), ValueError,
                 "permutation_map: expected shape [4], an entry for each row of x, found [3]"),
    "map rank": (lambda: relu(X, MAP.reshape(4, 1), 4), ValueError,
                 "permutation_map: expected shape [4], an entry for each row of x, found [4, 1]"),
    "map stride": (lambda: relu(X, np.zeros(8, np.int32)[::2], 4), ValueError,
                   "permutation_map: expected consecutive elements, 4 bytes apart, found a stride "
                   "of 8 bytes"),
    "n_used type": (lambda: relu(X, MAP, 4.0), TypeError,
                    "n_used: expected an int or a NumPy array of one int32, found builtins.float"),
    "n_used bool": (lambda: relu(X, MAP, True), TypeError,
                    "n_used: expected an int or a NumPy array of one int32, found builtins.bool"),
    "n_used dtype": (lambda: relu(X, MAP, np.array(4)), TypeError,
                     "n_used: expected dtype int32, found int64"),
    "n_used shape": (lambda: relu(X, MAP, MAP), ValueError,
                     "n_used: expected shape [] or [1], found [4]"),
    "n_used rank": (lambda: relu(X, MAP, MAP[:1].reshape(1, 1)), ValueError,
                    "n_used: expected shape [] or [1], found [1, 1]"),
    "n_used range": (lambda: relu(X, MAP, 2**31), ValueError,
                     "n_used: expected a value of 32 bits, found 2147483648"),
    "out type": (lambda: relu(X, MAP, 4, out=3), TypeError,
                 "out: expected a NumPy array as x is one, found builtins.int"),
    "out dtype": (lambda: relu(X, MAP, 4, out=DATA), TypeError,
                  "out: expected dtype bfloat16, found float8_e4m3fn"),
    "out shape": (lambda: relu(X, MAP, 4, out=READ_ONLY[:3]), ValueError,
                  "out: expected shape [4, 64], found [3, 64]"),
    "out read-only": (lambda: relu(X, MAP, 4, out=READ_ONLY), ValueError,
                      "out: expected a writeable array, found a read-only one"),
    "out stride": (lambda: relu(X, MAP, 4, out=np.zeros((64, 4), bfloat16).T), ValueError,
                   "out: expected consecutive elements in a row"),
    "out is x": (lambda: relu(X, MAP, 4, out=X), ValueError,
                 "out: expected memory that does not overlap x, found"),
    "pair type": (lambda: fused(X, MAP, 4, out=DATA), TypeError,
                  "out: expected an MXFP8 or a pair (data, scale), found ndarray"),
    "pair length": (lambda: fused(X, MAP, 4, out=(DATA,)), TypeError,
                    "out: expected an MXFP8 or a pair (data, scale), found tuple of 1"),
    "pair layout": (lambda: fused(X, MAP, 4, out=moe_mlir.MXFP8(DATA, LINEAR, "linear")),
                    ValueError,
                    'out: expected an MXFP8 with scale_layout "swizzle_32_4_4", found "linear"'),
    "data dtype": (lambda: fused(X, MAP, 4, out=(X, SCALE)), TypeError,
                   "data: expected dtype float8_e4m3fn, found bfloat16"),
    "data shape": (lambda: fused(X, MAP, 4, out=(DATA[:2], SCALE)), ValueError,
                   "data: expected shape [4, 64], found [2, 64]"),
    "scale dtype": (lambda: fused(X, MAP, 4, out=(DATA, SCALE.view(np.uint8))), TypeError,
                    "scale: expected dtype float8_e8m0fnu, found uint8"),
    "scale shape": (lambda: fused(X, MAP, 4, out=(DATA, LINEAR)), ValueError,
                    "scale: expected shape [512], found [4, 2]"),
    "linear shape": (lambda: fused(X, MAP, 4, scale_layout="linear", out=(DATA, SCALE)),
                     ValueError, "scale: expected shape [4, 2], found [512]"),
    "scale stride": (lambda: fused(X, MAP, 4, out=(DATA, np.zeros(1024, float8_e8m0fnu)[::2])),
                     ValueError, "scale: expected consecutive elements, found a stride of 2"),
    "scale row stride": (lambda: fused(X, MAP, 4, scale_layout="linear", out=(
        DATA, np.zeros((4, 2), float8_e8m0fnu)[::-1])), ValueError,
                         "scale: expected a row_stride of at least K / 32 = 2, found -2"),
    "scale of one row": (lambda: fused(X, MAP, 4, scale_layout="linear", out=(
        DATA, as_strided(LINEAR, (4, 2), (0, 1)))), ValueError,
                         "scale: expected a size of 8 bytes for the linear scales of 4 x 64, "
                         "found 2"),
    "scale in data": (lambda: fused(np.zeros((8, 64), bfloat16), np.zeros(8, np.int32), 4,
                                    out=(lambda b: (b.view(float8_e4m3fn).reshape(8, 64),
                                                    b.view(float8_e8m0fnu)))(
                                        np.zeros(512, np.uint8))), ValueError,
                      "scale: expected memory that does not overlap data, found"),
    "layout": (lambda: fused(X, MAP, 4, scale_layout="blocked"), ValueError,
               'scale_layout: expected "swizzle_32_4_4" or "linear", found "blocked"'),
    "layout type": (lambda: fused(X, MAP, 4, scale_layout=[0]), TypeError,
                    'scale_layout: expected "swizzle_32_4_4" or "linear", found list'),
    "dead": (lambda: fused(X, MAP, 4, dead_scales="one"), ValueError,
             'dead_scales: expected "zero" or "untouched", found "one"'),
    "dead type": (lambda: fused(X, MAP, 4, dead_scales=0), TypeError,
                  'dead_scales: expected "zero" or "untouched", found int'),
    "size type": (lambda: moe_mlir.scale_size(1.5, 32), TypeError,
                  "M: expected an int, found float"),
    "size negative": (lambda: moe_mlir.scale_size(-1, 32), ValueError,
                      "M: expected a size that is not negative, found -1"),
    "size columns": (lambda: moe_mlir.scale_size(1, 33), ValueError,
                     "K: expected a multiple of 32, found 33"),
}


def bytes_of(buffer: np.ndarray, begin: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array in `buffer`, `begin` bytes past its start."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return buffer[begin:begin + size].view(dtype).reshape(shape)


@pytest.mark.parametrize("entries", [1, 20, 63])
def test_outputs_over_the_end_of_the_map(entries: int) -> None:
    # The map is 64 entries of 4 bytes; an output begins so many of them before its end.
    buffer = np.zeros(4096, np.uint8)
    permutation_map, x = bytes_of(buffer, 0, (64,), np.int32), np.zeros((64, 32), bfloat16)
    begin = 256 - 4 * entries
    with pytest.raises(ValueError, match="^out: .* not overlap permutation_map"):
        relu(x[:, :2], permutation_map, 64, out=bytes_of(buffer, begin, (64, 2), bfloat16))
    data, scale = np.zeros((64, 32), float8_e4m3fn), np.zeros(512, float8_e8m0fnu)
    for outs, name in [((bytes_of(buffer, begin, (64, 32), float8_e4m3fn), scale), "data"),
                       ((data, bytes_of(buffer, begin, (512,), float8_e8m0fnu)), "scale")]:
        with pytest.raises(ValueError, match=f"^{name}: .* not overlap permutation_map"):
            fused(x, permutation_map, 64, out=outs)
    # Right behind it is apart.
    relu(x[:, :2], permutation_map, 64, out=bytes_of(buffer, 256, (64, 2), bfloat16))


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, kind, text = ERRORS[name]
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(text)


def test_scale_size() -> None:
    for M in (0, 1, 127, 128, 129, 4096):
        for K in (0, 32, 128, 1856, 14336):
            assert moe_mlir.scale_size(M, K) == oracle.scale_size(M, K)
            assert moe_mlir.scale_size(M, K, "linear") == M * K // 32


def test_statuses_become_exceptions() -> None:
    # One element, so that a library which took the call would do no harm.
    x = np.zeros((1, 1), bfloat16)
    call = _runtime.calls["padded_squared_relu"]
    status = call(9, 0, 0, 0, x.ctypes.data, 1, 1, 1, MAP.ctypes.data, MAP.ctypes.data, 0,
                  DATA.ctypes.data, 1, 1, 1)
    assert status
    with pytest.raises((ValueError, moe_mlir.MoeRuntimeError), match="device"):
        _runtime.raise_last_error(status)


def in_python(code: str, tmp_path: Path | None = None, **env: str) -> subprocess.CompletedProcess:
    folder = tmp_path if tmp_path else PACKAGE.parent
    environment = {**os.environ, "PYTHONPATH": str(folder), **env}
    return subprocess.run([sys.executable, "-c", code], env=environment, text=True,
                          capture_output=True, check=False)


def test_missing_library(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "moe_mlir",
                    ignore=shutil.ignore_patterns("lib", "__pycache__"))
    absent = str(tmp_path / "none.so")
    result = in_python("import moe_mlir", tmp_path, MOE_RUNTIME_LIBRARY=absent)
    assert "ImportError: moe_mlir: libmoe_runtime.so was not found" in result.stderr
    assert absent in result.stderr and "pip install ." in result.stderr
    Path(absent).write_text("not a library")
    result = in_python("import moe_mlir", tmp_path, MOE_RUNTIME_LIBRARY=absent)
    assert f"ImportError: moe_mlir: {absent} could not be loaded" in result.stderr


@pytest.mark.parametrize("kind", ["absent", "a folder"])
def test_a_setting_that_names_no_file_is_an_error(tmp_path: Path, kind: str) -> None:
    # Although there is a library that would do.
    named = tmp_path if kind == "a folder" else tmp_path / "none.so"
    result = in_python("import moe_mlir", MOE_RUNTIME_LIBRARY=str(named))
    assert "ImportError: moe_mlir: libmoe_runtime.so was not found" in result.stderr
    assert f"MOE_RUNTIME_LIBRARY names {named}. " in result.stderr


def test_a_setting_goes_before_the_library_of_the_wheel(tmp_path: Path) -> None:
    package, named = tmp_path / "moe_mlir", tmp_path / "named.so"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("lib", "__pycache__"))
    (package / "lib").mkdir()
    for copy in (package / "lib" / "libmoe_runtime.so", named):
        shutil.copy(_runtime.path, copy)
    code = "import moe_mlir; print(moe_mlir._runtime.path)"
    for setting, found in (("", package / "lib" / "libmoe_runtime.so"), (str(named), named)):
        result = in_python(code, tmp_path, MOE_RUNTIME_LIBRARY=setting)
        assert result.stdout == f"{found}\n", result.stderr


def test_another_library(tmp_path: Path) -> None:
    # Any shared library will do: one that NumPy has loaded already.
    other = np._core._multiarray_umath.__file__
    result = in_python("import moe_mlir", MOE_RUNTIME_LIBRARY=other)
    assert f"ImportError: moe_mlir: expected {other} to be a libmoe_runtime.so" in result.stderr
    assert "AttributeError" not in result.stderr.splitlines()[-1]


def test_torch_is_not_imported() -> None:
    code = ("import sys, numpy, ml_dtypes, moe_mlir\n"
            "x = numpy.ones((2, 32), ml_dtypes.bfloat16)\n"
            "moe_mlir.quantize_mxfp8(x, numpy.zeros(2, numpy.int32), 2)\n"
            "assert 'torch' not in sys.modules")
    result = in_python(code, MOE_RUNTIME_LIBRARY=str(_runtime.path))
    assert result.returncode == 0, result.stderr


def test_cuda_without_a_driver_or_a_context() -> None:
    # In a process of its own, which has neither, with a GPU or without.
    code = ("import sys\n"
            "sys.modules['torch'] = None\n"
            "import moe_mlir\n"
            "try:\n"
            "    moe_mlir.load_kernels()\n"
            "except moe_mlir.MoeRuntimeError as error:\n"
            "    print(error.status, error)")
    result = in_python(code, MOE_RUNTIME_LIBRARY=str(_runtime.path))
    status, _, message = result.stdout.partition(" ")
    assert (status, message[:10]) in [("NO_DRIVER", "libcuda.so"), ("DRIVER_ERROR", "cuInit ret"),
                                      ("NO_CONTEXT", "the callin")], result
    result = in_python(code.replace("load_kernels()", "load_kernels(0)"),
                       MOE_RUNTIME_LIBRARY=str(_runtime.path))
    assert "ValueError: device: expected None without PyTorch, found 0" in result.stderr


def test_runtime_description() -> None:
    assert moe_mlir.__version__ in moe_mlir.runtime_description()
