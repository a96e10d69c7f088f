# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every kernel that the manifest lists, through the C API: on the CPU, and as what is launched on a
driver that only records it. And what is refused because none is listed for it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moe_testing import batches, descriptions, gated_batches, oracle
from moe_testing import runtime as moe
from moe_testing.fake_driver import FakeDriver, build, in_child
from moe_testing.family import FamilyKernel
from moe_testing.interpreted import Interpreter
from moe_testing.kernels import check, run_tool
from moe_testing.shipped import Shipped, shipped

KERNELS = shipped()
NEW = [kernel for kernel in KERNELS
       if kernel.is_gated or kernel.settings or kernel.has_probs or kernel.gathers]
GUARD = 64

each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.id)
each_new_kernel = pytest.mark.parametrize("kernel", NEW, ids=lambda kernel: kernel.id)


@pytest.fixture(scope="session")
def driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Here, and not in each of the processes that tests fork.
    for chip in (80, 89, 90, 100):
        moe.embedded_ptx(chip)
    return build(tmp_path_factory.mktemp("driver"), "-Wall", "-Wextra", "-Werror")


def make_call(kernel: Shipped, rows: int, columns: int, **changes: Any) -> moe.Call:
    """A call for which `kernel` is the one; `columns` are those of the result."""
    call = moe.Call(kernel.op, rows, kernel.parts * columns, settings=kernel.arguments,
                    layout=int(kernel.scale_layout == oracle.LINEAR),
                    dead=int(kernel.dead_scales == "untouched"),
                    probs=0x600_0000_0000_0000 if kernel.has_probs else None)
    return call.with_(**({} if kernel.has_map else {"permutation_map": None}), **changes)


class Guarded:
    """A copy of an array in random bytes, whose rows are `padding` elements further apart."""

    def __init__(self, array: np.ndarray, rng: np.random.Generator, padding: int = 0) -> None:
        rows, columns = array.shape if array.ndim == 2 else (1, array.size)
        self.stride = columns + padding
        size = rows * self.stride * array.itemsize
        self.storage = rng.integers(0, 256, size + 2 * GUARD, dtype=np.uint8)
        self.before = self.put(array)
        self.storage[...] = self.before
        self.address = self.storage.ctypes.data + GUARD

    def put(self, array: np.ndarray) -> np.ndarray:
        """The bytes with `array` in its place."""
        after = self.storage.copy()
        rows, columns = array.shape if array.ndim == 2 else (1, array.size)
        view = after[GUARD:-GUARD].reshape(rows, self.stride * array.itemsize)
        view[:, : columns * array.itemsize] = np.ascontiguousarray(array).reshape(
            rows, columns).view(np.uint8)
        return after


def check_on_cpu(kernel: Shipped, batch: batches.Batch, *, padding: int = 0, num_threads: int = 1,
                 by_name: bool = False) -> None:
    """Compares every byte of every buffer, and of what is around it."""
    rng = np.random.default_rng(5)
    outputs = kernel.map.random_outputs(batch, rng)
    expected = kernel.map.expected(batch, outputs)
    inputs = {name: Guarded(array, rng, padding if name == "x" else 0)
              for name, array in kernel.map.inputs(batch).items()}
    results = [Guarded(output, rng, padding if output.ndim == 2 else 0) for output in outputs]
    M, N = outputs[0].shape
    call = make_call(
        kernel, M, N, x=inputs["x"].address, n_used=inputs["n_used"].address,
        x_stride=inputs["x"].stride, out=results[0].address, out_stride=results[0].stride,
        num_threads=num_threads, by_name=by_name)
    for name in ("permutation_map", "probs"):
        if name in inputs:
            call = call.with_(**{name: inputs[name].address})
    if kernel.quantizes:
        stride = results[1].stride if outputs[1].ndim == 2 else 0
        call = call.with_(scale=results[1].address, scale_stride=stride)
    call.run()
    for name, buffer in inputs.items():
        assert np.array_equal(buffer.storage, buffer.before), name
    for name, buffer, values in zip(kernel.map.names(), results, expected):
        wrong = np.flatnonzero(buffer.storage != buffer.put(values)) - GUARD
        assert wrong.size == 0, f"{name}: {wrong.size} bytes differ, the first at {wrong[0]}"


@each_kernel
@pytest.mark.parametrize("num_threads", [1, 3])
def test_on_the_cpu(kernel: Shipped, num_threads: int) -> None:
    check_on_cpu(kernel, kernel.batch(300, 96, 270, seed=num_threads), num_threads=num_threads,
                 padding=3 * (num_threads - 1), by_name=num_threads == 1)


@each_new_kernel
@pytest.mark.parametrize("n_used", [-1, 0, 1, 129, 200, 2**31 - 1])
def test_n_used(kernel: Shipped, n_used: int) -> None:
    check_on_cpu(kernel, kernel.batch(200, 32, n_used, live_fraction=0.7))


@pytest.mark.parametrize("kernel", [kernel for kernel in NEW if not kernel.quantizes],
                         ids=lambda kernel: kernel.id)
@pytest.mark.parametrize("N", [1, 7, 33, 705])
def test_any_number_of_columns(kernel: Shipped, N: int) -> None:
    check_on_cpu(kernel, kernel.batch(20, N, 18), padding=1)


@pytest.mark.parametrize("kernel", [kernel for kernel in NEW if kernel.is_gated],
                         ids=lambda kernel: kernel.id)
def test_all_gates_and_what_is_special(kernel: Shipped) -> None:
    """Each gate with some ups, each result that there is, and what quantisers meet rarely."""
    layout = kernel.arguments.get("gate_layout", "gate_up")
    limit = kernel.arguments.get("limit", 1.0)
    for gate, up in (gated_batches.all_gates(1024, rounds=2), gated_batches.all_results(1024),
                     gated_batches.special_groups(), gated_batches.around_limit(limit)):
        batch = gated_batches.dense(gate, up, layout)
        if kernel.has_probs:
            probs = np.exp2(np.arange(batch.M, dtype=np.float32) % 5 - 2)
            batch = batches.Batch(batch.x, batch.permutation_map, batch.n_used, probs)
        check_on_cpu(kernel, batch)


def round_rows(products: np.ndarray) -> np.ndarray:
    """The bits of float32 in bf16, to nearest even, every NaN 0x7fff: as oracle.round_to_bf16, but in
    integers, for as many as these.
    """
    bits = products.view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    rounded[np.isnan(products)] = 0x7FFF
    return rounded


@pytest.mark.parametrize("kernel", [
    kernel for kernel in KERNELS if kernel.op == "padded_swiglu" and kernel.has_map and
    not kernel.has_probs and "gate_layout" not in kernel.arguments], ids=lambda kernel: kernel.id)
def test_every_gate_meets_every_mantissa(kernel: Shipped) -> None:
    """65,536 gates with 128 mantissas of both signs: a row has all gates, and one up."""
    settings = kernel.arguments
    gates = np.arange(1 << 16, dtype=np.uint16)
    ups = np.array(gated_batches.with_both_signs(gated_batches.MANTISSAS), np.uint16)
    # Of an up whose factor is 1 the result is the gate's; all ups are below any limit.
    assert np.float32(settings.get("limit", 2)) >= 2
    beta = np.float32(settings.get("beta", 0))
    one = np.full(gates.size, np.float32(1) - beta, oracle.bfloat16)
    of_gate = kernel.map.activation(gates.view(oracle.bfloat16), one)
    factors = ups.view(oracle.bfloat16).astype(np.float32) + beta
    rows = 32
    live = np.arange(rows, dtype=np.int32)
    n_used = np.array(rows, np.int32)
    x = np.empty((rows, 2 * gates.size), np.uint16)
    x[:, : gates.size] = gates
    for begin in range(0, ups.size, rows):
        x[:, gates.size:] = ups[begin:begin + rows, None]
        out = np.zeros((rows, gates.size), np.uint16)
        make_call(kernel, rows, gates.size, x=x.ctypes.data, out=out.ctypes.data,
                  permutation_map=live.ctypes.data, n_used=n_used.ctypes.data, num_threads=2).run()
        for found, up, factor in zip(out, ups[begin:], factors[begin:]):
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                wanted = round_rows(of_gate * factor)
            wrong = np.flatnonzero(found != wanted)
            assert wrong.size == 0, (f"{wrong.size} gates with the up {up:#06x}, the first {wrong[0]:#06x}: "
                                     f"expected {wanted[wrong[0]]:#06x}, found {found[wrong[0]]:#06x}")


def test_rounding_of_rows() -> None:
    values = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = oracle.round_to_bf16(values)
    assert np.array_equal(round_rows(values), oracle.bits(wanted))


def test_columns_are_where_the_layout_says() -> None:
    """Each element of x tells its column."""
    for kernel in NEW:
        if kernel.is_gated and not kernel.quantizes:
            x = gated_batches.column_numbers(3, 160)
            probs = np.ones(3, np.float32)
            check_on_cpu(kernel, batches.Batch(x, np.arange(3), 3, probs))


# What is launched.


class RecordedLaunch(Interpreter):
    """A backend of kernels.check that launches through the C API and runs what was recorded, with
    the PTX for a chip.
    """

    def __init__(self, driver: FakeDriver, kernel: Shipped) -> None:
        super().__init__()
        self.driver, self.kernel = driver, kernel

    def launch(self, ptx, entry, grid, threads, arguments) -> None:
        x, rows, columns, stride = arguments[0], *arguments[3:6]
        rest = arguments[7:]
        call = moe.Call(self.kernel.op, rows, columns, x=x, x_stride=stride, device=moe.CUDA,
                        num_ctas=grid[0] * grid[1], settings=self.kernel.arguments)
        # As the compiler orders them: those that there are, the map first.
        call = call.with_(permutation_map=rest[0] if self.kernel.has_map else None)
        rest = rest[5:] if self.kernel.has_map else rest
        call = call.with_(n_used=rest[0])
        rest = rest[3:]
        if self.kernel.has_probs:
            call = call.with_(probs=rest[0])
            rest = rest[5:]
        call = call.with_(out=rest[0], out_stride=rest[5])
        if self.kernel.quantizes:
            call = call.with_(scale=rest[7], layout=int(self.kernel.scale_layout == oracle.LINEAR),
                              dead=int(self.kernel.dead_scales == "untouched"))
        self.driver.take_calls()
        call.run()
        [record] = self.driver.launches()
        assert list(record.parameters[: record.num_parameters]) == arguments
        name = record.name.decode()
        assert name.endswith("_unaligned") == (entry == "unaligned")
        super().launch(moe.embedded_kernel(int(ptx), name), name, tuple(record.grid),
                       record.block[0], arguments)


class Subject:
    """A kernel for kernels.check, which is the library's and not compiled again."""

    def __init__(self, kernel: Shipped) -> None:
        self.map = kernel.map

    def entry(self, aligned: bool) -> str:
        return "" if aligned else "unaligned"


@each_new_kernel
@in_child
def test_what_is_launched(driver_path: Path, kernel: Shipped) -> None:
    """The embedded kernels compute the right bytes; those for other chips in turn."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    batch = kernel.batch(20, 64, 17)
    other = (80, 89, 100)[NEW.index(kernel) % 3]
    settings = {"padding": 3, "x_offset": 2, "data_offset": 1 if kernel.quantizes else 2}
    for chip, aligned in ((90, True), (90, False), (other, True)):
        check(RecordedLaunch(driver, kernel), str(chip), Subject(kernel), batch,
              (2, 3), aligned=aligned, **({} if aligned else settings))


@in_child
def test_each_has_its_own_kernel(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    names = []
    for kernel in KERNELS:
        make_call(kernel, 40, 64, device=moe.CUDA).run()
        names += [record.name.decode() for record in driver.launches()[len(names):]]
    assert len(set(names)) == len(KERNELS)
    assert all(name.startswith(kernel.op) for name, kernel in zip(names, KERNELS))


@pytest.mark.parametrize("columns", [64, 512, 768, 1856, 14336])
@in_child
def test_the_grid_is_by_the_columns_of_the_result(driver_path: Path, columns: int) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    make_call(next(kernel for kernel in KERNELS if kernel.op == "padded_swiglu"), 4000, columns,
              device=moe.CUDA).run()
    [record] = driver.launches()
    chunk = descriptions.decode(
        descriptions.find(moe.embedded_ptx(90), "padded_swiglu"))["chunk_columns"]
    assert record.grid[0] == -(-columns // chunk)


# The most elements of a small input are 2^18; 2^21 where nearly all rows are expected to be live.
@pytest.mark.parametrize(("rows", "columns", "more", "is_early"), [
    (141, 1856, {}, True), (142, 1856, {}, False), (1, 14336, {}, True), (64, 768, {}, True),
    (256, 1024, {}, True), (257, 1024, {}, False), (8, 40, {}, True),
    (1024, 1856, {"expected_rows": 1024}, True), (1024, 1856, {"expected_rows": 900}, True),
    (1024, 1856, {"expected_rows": 800}, False), (1024, 1856, {"expected_rows": 8}, False),
    (1024, 1856, {}, False), (1129, 1856, {"expected_rows": 1129}, True),
    (1130, 1856, {"expected_rows": 1130}, False), (65536, 1856, {"expected_rows": 65536}, False),
    # A row for each warp, and a CTA for each chunk.
    (7, 1856, {"num_ctas": 8}, True), (8, 1856, {"num_ctas": 8}, False),
    (3, 1856, {"num_ctas": 7}, False), (23, 1856, {"num_ctas": 31}, True),
    (24, 1856, {"num_ctas": 31}, False),
])
@pytest.mark.needs("moe-opt")
@in_child
def test_small_inputs_have_smaller_chunks(driver_path: Path, rows: int, columns: int,
                                          more: dict[str, int], is_early: bool) -> None:
    """In the runtime, and in the host code that convert-moe-to-gpu makes."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    moe.Call("padded_swiglu", rows, 2 * columns, device=moe.CUDA, **more).run()
    [record] = driver.launches()
    described = descriptions.decode(descriptions.find(moe.embedded_ptx(90), "padded_swiglu"))
    chunk = described["early_chunk_columns" if is_early else "chunk_columns"]
    x, y, _ = record.grid
    assert x == -(-columns // chunk)
    if is_early:
        assert (y * 8 - 1) | 1 >= rows
        assert (y % 2 == 0) == ("expected_rows" in more)
    num_ctas = more.get("num_ctas", 4 * 132)
    text = FamilyKernel("padded_swiglu", columns=columns).mlir().replace(
        "memref<?x", f"memref<{rows}x").replace("memref<?xi32>", f"memref<{rows}xi32>")
    if "expected_rows" in more:
        text = text.replace("\n  return",
                            f" {{moe.expected_rows = {more['expected_rows']} : i64}}\n  return")
    host = run_tool("moe-opt", f"--moe-choose-schedule=num-ctas={num_ctas}", "--convert-moe-to-gpu",
                    "--canonicalize", text=text)
    constants = dict(re.findall(r"(%\w+) = arith.constant (\d+) : index", host))
    names = re.search(r"@padded_swiglu blocks in \((%\w+), (%\w+), ", host).groups()
    assert [int(constants[name]) for name in names] == [x, y]


@in_child
def test_aligned_halves(driver_path: Path) -> None:
    """The second half of a row of x starts aligned too, or the kernel for any rows is taken."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    for columns, is_unaligned in [(64, False), (60, True), (56, False), (57, True)]:
        moe.Call("padded_swiglu", 40, 2 * columns, device=moe.CUDA).run()
        name = driver.launches()[-1].name.decode()
        assert name.endswith("_unaligned") == is_unaligned, columns



# What is refused.


@pytest.mark.parametrize(("op", "changes", "message"), [
    ("padded_swiglu", {"columns": 97}, "x: expected a multiple of 2 columns, for gates and as many "
                                       "others, found 97"),
    ("padded_swiglu", {"columns": 90, "settings": {"gate_layout": "interleaved<32>"}},
     "x: expected a multiple of 64 columns, for gates and as many others, found 90"),
    ("padded_swiglu", {"out_columns": 96}, "out: expected the 64 x 48 of the rows and half of the "
                                           "columns of x, found 64 x 96"),
    ("padded_swiglu", {"out_rows": 63}, "out: expected the 64 x 48 of the rows"),
    ("swiglu_quantize_mxfp8", {"scale_bytes": 512}, "x: expected a multiple of 64 columns, found 96"),
    ("padded_swiglu", {"x_stride": 95}, "x: expected a row_stride of at least the 96 columns, found 95"),
    ("padded_swiglu", {"out": moe.Call.x + 2 * 48}, "out: expected memory that does not overlap x"),
    ("padded_swiglu", {"x": None}, "x: expected a buffer, found a null pointer"),
    ("padded_swiglu", {"settings": {"limit": -1.0}}, "gate.limit: expected a positive number, or 0 "
                                                     "for none, found -1"),
    ("padded_swiglu", {"settings": {"limit": float("nan")}}, "gate.limit: expected a positive"),
    ("padded_squared_relu", {"settings": {"clamp_scale": float("inf")}}, "clamp_scale: expected"),
    ("padded_swiglu", {"settings": {"limit_at": 2}}, "gate.limit_at: expected one of the values of "
                                                     "its type, 0 to 1, found 2"),
    ("padded_swiglu", {"settings": {"gate_layout": -1}}, "gate.layout: expected one of the values"),
    ("padded_swiglu", {"settings": {"gate_layout": 2}}, "gate.block: expected the columns of a "
                                                        "block, found 0"),
    ("padded_squared_relu", {"settings": {"dead_rows": 3}}, "dead_rows: expected one of the values"),
])
def test_what_is_wrong(op: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(moe.MoeError) as caught:
        moe.Call(op, 64, 96).with_(**changes).run()
    assert str(caught.value).startswith(message)
    assert caught.value.status == moe.INVALID_ARGUMENT


@pytest.mark.parametrize(("op", "changes", "message"), [
    ("padded_swiglu", {"settings": {"limit": 5.5, "beta": 2.0}},
     "padded_swiglu: the library has no kernel for limit 5.5 + beta 2; it has those for nothing"),
    ("padded_swiglu", {"settings": {"gate_layout": "interleaved<3>"}, "permutation_map": None},
     "padded_swiglu: the library has no kernel for interleaved<3> + no permutation_map; it has"),
    ("padded_squared_relu", {"settings": {"clamp_scale": 15.0}},
     "padded_squared_relu: the library has no kernel for clamp_scale 15; it has those for"),
    ("quantize_mxfp8", {"probs": 0x600_0000_0000_0000, "dead": moe.UNTOUCHED},
     "quantize_mxfp8: the library has no kernel for probs + untouched dead scales; it has those"),
    ("quantize_mxfp8", {"settings": {"limit": 7.0}},
     "quantize_mxfp8: the library has no kernel for limit 7; it has those for nothing, zeroed dead "
     "rows, untouched dead scales, linear scales, linear scales + untouched dead scales, probs. "
     "Others are compiled by moe-opt and loaded by moeLoadModule"),
])
def test_what_no_kernel_is_there_for(op: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(moe.MoeError) as caught:
        moe.Call(op, 64, 96).with_(**changes).run()
    assert str(caught.value).startswith(message)
    assert caught.value.status == moe.UNSUPPORTED


def test_the_message_lists_what_there_is() -> None:
    with pytest.raises(moe.MoeError) as caught:
        moe.Call("padded_swiglu", 64, 96, settings={"limit": 3.0}).run()
    listed = str(caught.value).split("those for ")[1].split(". Others")[0].split(", ")
    assert len(listed) == sum(kernel.op == "padded_swiglu" for kernel in KERNELS)


def test_numbers_that_ask_for_nothing() -> None:
    """An alpha of 1 and a beta of -0 are those of a call without."""
    assert moe.make_options({"beta": -0.0}).gate.beta.hex() == "-0x0.0p+0"
    call = moe.Call("padded_swiglu", 0, 0, None, None, None, None, None)
    call.with_(settings={"alpha": 1.0, "beta": -0.0}).run()


def test_a_map_that_is_missing() -> None:
    with pytest.raises(moe.MoeError, match="^permutation_map: expected a buffer, found a null"):
        moe.Call("padded_squared_relu", 64, 96, permutation_map=None).run()


