# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels that the library does not ship, compiled by moe-opt, loaded and launched: by the calls of
the ops, and by their names. On the driver that only records launches (fake_cuda.c); the PTX
interpreter runs what was recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from ctypes import byref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moe_testing import batches, descriptions, gated_batches, machine, oracle
from moe_testing import runtime as moe
from moe_testing.fake_driver import FakeDriver, build, in_child
from moe_testing.family import FamilyKernel
from moe_testing.interpreted import Interpreter
from moe_testing.kernels import SQUARED_RELU, Kernel, RegionKernel, RowMap, check, compile_ptx
from moe_testing.shipped import shipped

pytestmark = pytest.mark.needs("moe-opt", "moe-translate", machine.C_COMPILER)

LAUNCH_CALLS = ["cuCtxGetId", "cuLaunchKernel"]
ADDRESS = 0x600_0000_0000_0000


def hash_of(text: str) -> str:
    """FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


# What each is called, and what the library ships no kernel for.
OTHERS = {
    "padded_swiglu_limit5": FamilyKernel.of("padded_swiglu", {"limit": 5.0}),
    "padded_swiglu_up_gate_limit3_after_dense_probs": FamilyKernel.of(
        "padded_swiglu", {"gate_layout": "up_gate", "limit": 3.0, "limit_at": "after"},
        has_map=False, has_probs=True),
    "swiglu_quantize_mxfp8_interleaved32_alphax3fd9db23_betax40200000_linear_untouched":
        FamilyKernel.of("swiglu_quantize_mxfp8", {
            "alpha": float(np.float32(1.702)), "beta": 2.5, "gate_layout": "interleaved<32>",
            "scale_layout": oracle.LINEAR, "dead_scales": "untouched"}),
    "squared_relu_quantize_mxfp8_clampx40e80000_dense_zeroed": FamilyKernel.of(
        "squared_relu_quantize_mxfp8", {"clamp_scale": 7.25, "dead_rows": "zero"}, has_map=False),
    "quantize_mxfp8_probs": FamilyKernel.of("quantize_mxfp8", {}, has_probs=True),
    # Too long for a name.
    "padded_swiglu_" + hash_of("_interleaved16_limitx3ed00000_alphax3e800000_betax3f000000_dense_probs"
                               "_zeroed"): FamilyKernel.of("padded_swiglu", {
        "alpha": 0.25, "beta": 0.5, "gate_layout": "interleaved<16>", "limit": 0.40625,
        "dead_rows": "zero"}, has_map=False, has_probs=True),
}
each_other = pytest.mark.parametrize("name", OTHERS)


def compile_others() -> str:
    return compile_ptx("".join(kernel.mlir().replace("@entry", f"@entry{i}")
                               for i, kernel in enumerate(OTHERS.values())))


@pytest.fixture(scope="session")
def driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Here, and not in each of the processes that tests fork.
    compile_others()
    compile_ptx(REGIONS)
    return build(tmp_path_factory.mktemp("driver"), "-Wall", "-Wextra", "-Werror")


def make_call(kernel: FamilyKernel, rows: int, columns: int, **changes: Any) -> moe.Call:
    """A call for which `kernel` is the one; `columns` are those of the result."""
    settings = kernel.settings
    modes = {"layout": int(settings.pop("scale_layout", oracle.SWIZZLED) == oracle.LINEAR),
             "dead": int(settings.pop("dead_scales", "zero") == "untouched")}
    call = moe.Call(kernel.op, rows, columns * (2 if kernel.is_gated else 1), settings=settings,
                    device=moe.CUDA, probs=ADDRESS if kernel.has_probs else None, **modes)
    return call.with_(**({} if kernel.has_map else {"permutation_map": None}), **changes)


def launch_one(driver: FakeDriver, launch: Callable[[], None]):
    driver.take_calls()
    launch()
    [record] = driver.launches()
    return record


class Subject:
    """A kernel for kernels.check, of a module that has others too."""

    def __init__(self, name: str, map: RowMap) -> None:
        self.name, self.map = name, map

    def entry(self, aligned: bool) -> str:
        return self.name + ("" if aligned else "_unaligned")


class RecordedLaunch(Interpreter):
    """A backend of kernels.check that launches through the C API and runs what was recorded.
    `run` gets the grid's CTAs and, of each operand, the descriptor.
    """

    def __init__(self, driver: FakeDriver, run: Callable[[int, list[list[int]]], None]) -> None:
        super().__init__()
        self.driver, self.run = driver, run

    def launch(self, ptx, entry, grid, threads, arguments) -> None:
        description = descriptions.decode(descriptions.find(ptx, entry))
        operands, at = [], 0
        for operand in description["operands"]:
            size = 3 + 2 * operand["rank"]
            operands.append(arguments[at:at + size])
            at += size
        record = launch_one(self.driver, lambda: self.run(grid[0] * grid[1], operands))
        assert record.name.decode() == entry
        assert list(record.parameters[: record.num_parameters]) == arguments
        super().launch(ptx, entry, tuple(record.grid), record.block[0], arguments)


@each_other
@in_child
def test_launched_by_the_calls_of_the_ops(driver_path: Path, name: str) -> None:
    """What is launched is the kernel that the compiler made of the same attributes."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    ptx = compile_others()
    module = moe.load_module(ptx.encode())
    kernel = OTHERS[name]

    def run(num_ctas: int, operands: list[list[int]]) -> None:
        names = [operand["name"] for operand in
                 descriptions.decode(descriptions.find(ptx, name))["operands"]]
        given = dict(zip(names, operands))
        out = given.get("out") or given["data"]
        parts = 2 if kernel.is_gated else 1
        call = make_call(kernel, given["x"][3], given["x"][4] // parts, module=module,
                         num_ctas=num_ctas, x=given["x"][0], x_stride=given["x"][5],
                         n_used=given["n_used"][0], out=out[0], out_stride=out[5])
        for operand in ("permutation_map", "probs", "scale"):
            if operand in given:
                call = call.with_(**{operand: given[operand][0]})
        call.run()

    layout = kernel.settings.get("gate_layout", "gate_up")
    batch = (gated_batches.random_gated_batch(40, 64, 33, layout, 0.6, 1, kernel.has_probs)
             if kernel.is_gated else batches.random_batch(40, 64, 33, 0.6, 1))
    if kernel.has_probs and batch.probs is None:
        batch = batches.Batch(batch.x, batch.permutation_map, batch.n_used,
                              np.linspace(-2, 2, 40, dtype=np.float32))
    subject = Subject(name, kernel.map)
    for aligned in (True, False):
        check(RecordedLaunch(driver, run), ptx, subject, batch, (2, 3), aligned=aligned,
              x_offset=0 if aligned else 2)


@in_child
def test_nothing_but_launches(driver_path: Path) -> None:
    """From the first launch on, in a stream capture, from several threads."""
    driver = FakeDriver(driver_path)
    context = driver.create_context()
    module = moe.load_module(compile_others().encode())
    driver.set_capturing(True)
    calls = [make_call(kernel, 40, 64, module=module) for kernel in OTHERS.values()]
    driver.take_calls()
    for call in calls:
        call.run()
    assert driver.take_calls() == LAUNCH_CALLS * len(calls)
    failures = []

    def work() -> None:
        try:
            driver.make_current(context)
            for call in 20 * calls:
                call.run()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(driver.launches()) == 80 * len(calls)
    assert set(driver.take_calls()) == set(LAUNCH_CALLS)


@in_child
def test_all_that_ship_have_the_names_of_the_rule(driver_path: Path) -> None:
    """The manifest, the compiler and the runtime name kernels alike."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    module = moe.load_module(moe.embedded_ptx(90).encode())
    for kernel in shipped():
        call = moe.Call(kernel.op, 40, kernel.parts * 64, settings=kernel.arguments, device=moe.CUDA,
                        layout=int(kernel.scale_layout == oracle.LINEAR),
                        dead=int(kernel.dead_scales == "untouched"),
                        probs=ADDRESS if kernel.has_probs else None,
                        **({} if kernel.has_map else {"permutation_map": None}))
        for offset in (0, 2):
            call = call.with_(x=moe.Call.x + offset)
            own = launch_one(driver, call.run)
            own = own.name, list(own.grid), list(own.parameters)
            loaded = launch_one(driver, call.with_(module=module).run)
            assert own == (loaded.name, list(loaded.grid), list(loaded.parameters))


@in_child
def test_what_a_module_has_not(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    module = moe.load_module(compile_others().encode())
    names = ", ".join(OTHERS)
    for settings, changes, name, asked in [
            ({"limit": 6.0}, {}, "padded_swiglu_limit6", "limit 6"),
            ({"limit": 5.0}, {"permutation_map": None}, "padded_swiglu_limit5_dense",
             "limit 5 + no permutation_map"),
            ({}, {"probs": ADDRESS}, "padded_swiglu_probs", "probs"),
            ({}, {}, "padded_swiglu", "nothing")]:
        with pytest.raises(moe.MoeError) as caught:
            moe.Call("padded_swiglu", 40, 64, settings=settings, device=moe.CUDA, module=module,
                     **changes).run()
        assert str(caught.value) == (f"module: expected the kernel {name}, for {asked}, found none; "
                                     f"it has {names}")
        assert caught.value.status == moe.UNSUPPORTED
    assert driver.launches() == []
    # What is wrong for every kernel is so here.
    with pytest.raises(moe.MoeError, match="^x: expected a multiple of 32 columns, for gates"):
        make_call(OTHERS[list(OTHERS)[-1]], 40, 24, module=module).run()


@in_child
def test_a_kernel_that_only_has_the_name(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    text = compile_ptx(RegionKernel(SQUARED_RELU).mlir().replace('"leaky_relu"', '"padded_swiglu_limit5"'))
    call = make_call(OTHERS["padded_swiglu_limit5"], 40, 64)
    expected = ("^module: kernel padded_swiglu_limit5: expected operands as padded_swiglu has them, "
                "found others$")
    with pytest.raises(moe.MoeError, match=expected):
        call.with_(module=moe.load_module(text.encode())).run()
    # Columns in blocks that the caller does not say.
    changed = compile_others()
    for kernel in ("padded_swiglu_limit5", "padded_swiglu_limit5_unaligned"):
        changed = descriptions.change(changed, kernel, pair_block=8)
    with pytest.raises(moe.MoeError, match=expected):
        call.with_(module=moe.load_module(changed.encode())).run()


# Several shapes and schedules.


@in_child
def test_several_shapes(driver_path: Path) -> None:
    """The kernel for the operands, if there is one that may have them."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    text = compile_ptx("".join(Kernel(SQUARED_RELU, columns).mlir().replace("@entry", f"@f{columns}")
                               for columns in (1856, 2048)))
    module = moe.load_module(text.encode())

    def launch(columns: int, **changes: Any) -> str:
        call = moe.Call(SQUARED_RELU, 40, columns, device=moe.CUDA, module=module, **changes)
        return launch_one(driver, call.run).name.decode()

    assert [launch(1856), launch(2048)] == [SQUARED_RELU, SQUARED_RELU + "_0"]
    assert launch(2048, x=moe.Call.x + 2) == SQUARED_RELU + "_unaligned_0"
    with pytest.raises(moe.MoeError, match="^x: expected 1856 columns, which the module's kernel "
                                           "padded_squared_relu is compiled for, found 2176$"):
        launch(2176)


@in_child
def test_several_schedules(driver_path: Path) -> None:
    """In the order of the list, as the host code of convert-moe-to-gpu has them."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    schedule = ("#moe.schedule<threads = 128, access_bytes = 16>, #moe.schedule<alignment = 4>, "
                "#moe.schedule<access_bytes = 2, alignment = 2>")
    module = moe.load_module(Kernel(SQUARED_RELU, schedule=schedule, strided=True).ptx().encode())
    for offset, name in [(0, ""), (8, "_aligned4"), (4, "_aligned4"), (2, "_unaligned")]:
        call = moe.Call(SQUARED_RELU, 40, 64, device=moe.CUDA, module=module, x=moe.Call.x + offset)
        assert launch_one(driver, call.run).name.decode() == SQUARED_RELU + name


# By name.


def region(name: str, operands: str, format: str, body: str, arguments: str) -> str:
    return f"""\
func.func @{name}({operands}) {{
  moe.map_rows {arguments} format({format}) kernel_name("{name}") {{
{body}
  }}
  return
}}
"""


REGIONS = region(
    "negated", "%x: memref<?x?xbf16>, %n: memref<i32>, %out: memref<?x?xbf16>", "#moe.bf16",
    "  ^bb0(%v: bf16):\n    %r = arith.negf %v : bf16\n    moe.yield %r : bf16",
    "ins(%x, %n : memref<?x?xbf16>, memref<i32>) outs(%out : memref<?x?xbf16>)",
) + region(
    "greater", "%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>, %probs: memref<?xf32>, "
    "%data: memref<?x?xf8E4M3FN>, %scale: memref<?x?xf8E8M0FNU>",
    "#moe.mxfp8<scale_layout = linear>",
    "  ^bb0(%v: bf16, %w: bf16, %p: f32):\n    %m = arith.maxnumf %v, %w : bf16\n"
    "    %e = arith.extf %m : bf16 to f32\n    %s = arith.mulf %e, %p : f32\n"
    "    %r = arith.truncf %s : f32 to bf16\n    moe.yield %r : bf16",
    "ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>) probs(%probs : memref<?xf32>) "
    "outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?x?xf8E8M0FNU>) pairs<interleaved<64>>",
) + region(
    "gathered", "%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x?xbf16>",
    "#moe.bf16", "  ^bb0(%v: bf16):\n    %r = arith.negf %v : bf16\n    moe.yield %r : bf16",
    "ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>) gathers outs(%out : memref<?x?xbf16>)")


def launch_of(module: int | None = None, **fields: Any) -> Any:
    return byref(moe.Launch(fields.pop("device", moe.CUDA), module=module, **fields))


@in_child
def test_launched_by_name(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    ptx = compile_ptx(REGIONS)
    module = moe.load_module(ptx.encode())
    op = moe.find_kernel(module, "negated")
    batch = batches.random_batch(40, 64, 33, 0.6, 1)

    def run(num_ctas: int, operands: list[list[int]]) -> None:
        x, n_used, out = operands
        moe.check(moe.run_op(launch_of(num_ctas=num_ctas), op, byref(moe.Matrix(x[0], *x[3:6])),
                             n_used[0], byref(moe.Matrix(out[0], *out[3:6]))))

    subject = Subject("negated", RowMap(lambda x: -x, is_any_nan_right=True, has_map=False))
    for aligned in (True, False):
        check(RecordedLaunch(driver, run), ptx, subject, batch, (2, 3), aligned=aligned,
              x_offset=0 if aligned else 2)


@pytest.mark.parametrize("tokens", [7, 90])
@in_child
def test_rows_that_a_kernel_gathers(driver_path: Path, tokens: int) -> None:
    """x has rows of its own, fewer or more than the destination, of which the map has entries."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    ptx = compile_ptx(REGIONS)
    op = moe.find_kernel(moe.load_module(ptx.encode()), "gathered")
    rng = np.random.default_rng(tokens)
    batch = batches.random_batch(tokens, 64, 33)
    batch = batches.Batch(batch.x, rng.integers(-1, tokens, 40).astype(np.int32), 33)

    def run(num_ctas: int, operands: list[list[int]]) -> None:
        x, permutation_map, n_used, out = operands
        moe.check(moe.run_op(launch_of(num_ctas=num_ctas), op, byref(moe.Matrix(x[0], *x[3:6])),
                             permutation_map[0], n_used[0], byref(moe.Matrix(out[0], *out[3:6]))))

    subject = Subject("gathered", RowMap(lambda x: -x, is_any_nan_right=True, gathers=True))
    check(RecordedLaunch(driver, run), ptx, subject, batch, (2, 3))


def greater_operands(columns: int = 256, layout: int = moe.LINEAR) -> list[Any]:
    """Those of a call of `greater`."""
    size = moe.scale_size(40, columns // 2, layout)
    return [byref(moe.Matrix(ADDRESS, 40, columns, columns)), ADDRESS + 0x1000000, ADDRESS + 0x2000000,
            byref(moe.Matrix(ADDRESS + 0x3000000, 40, columns // 2, columns // 2)),
            byref(moe.Scale(ADDRESS + 0x4000000, size, 0, layout, moe.ZERO))]


@in_child
def test_pairs_weights_and_scales_by_name(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    module = moe.load_module(compile_ptx(REGIONS).encode())
    op = moe.find_kernel(module, "greater_linear")
    options = moe.Options(probs=ADDRESS + 0x5000000)

    def run(*operands: Any, options: moe.Options | None = options, **fields: Any) -> None:
        moe.check(moe.run_op(launch_of(**fields), op, *operands, options=options))

    record = launch_one(driver, lambda: run(*greater_operands(), module=module))
    assert record.name == b"greater_linear"
    assert list(record.parameters[3:6]) == [40, 256, 256]
    assert record.parameters[15] == ADDRESS + 0x5000000
    for pattern, operands, changes in [
            ("^x: expected a multiple of 128 columns, for gates and as many others, found 192$",
             greater_operands(192), {}),
            ("^scale: expected the linear layout, which the module's kernel greater_linear is compiled "
             "for, found the other$", greater_operands(layout=moe.SWIZZLED), {}),
            ("^probs: expected a buffer, found a null pointer$", greater_operands(), {"options": None}),
            (r"^num_operands: expected the 5 of greater_linear \(x, permutation_map, n_used, data, scale\), "
             "found 4$", greater_operands()[:4], {}),
            ("^options: expected those of the kernel greater_linear to be zeros but for probs, as it is "
             "compiled with its own$", greater_operands(),
             {"options": moe.Options(probs=ADDRESS, dead_rows=1)}),
            ("^module: expected null or that of the kernel greater_linear, found another$",
             greater_operands(), {"module": moe.load_module(compile_others().encode())}),
            ("^op: expected one of moeFindOp for the CPU, found the CUDA kernel greater_linear of a module$",
             greater_operands(), {"device": moe.CPU}),
            ("^permutation_map: expected a buffer, found a null", [greater_operands()[0], None,
                                                                   *greater_operands()[2:]], {})]:
        with pytest.raises(moe.MoeError, match=pattern):
            run(*operands, **changes)
    negated = moe.find_kernel(module, "negated")
    matrix = byref(moe.Matrix(ADDRESS, 4, 64, 64))
    with pytest.raises(moe.MoeError, match="^probs: the kernel negated takes none$"):
        moe.check(moe.run_op(launch_of(), negated, matrix, ADDRESS, matrix, options=options))


@in_child
def test_names_that_a_module_has(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    module = moe.load_module(compile_ptx(REGIONS).encode())
    for name in ("greater", "negated_unaligned", ""):
        with pytest.raises(moe.MoeError) as caught:
            moe.find_kernel(module, name)
        assert str(caught.value) == ("name: expected a kernel of the module (negated, greater_linear, gathered), "
                                     f"found {name}")
        assert caught.value.status == moe.INVALID_ARGUMENT
    for arguments in ((None, b"x", byref(moe.c_void_p())), (module, None, byref(moe.c_void_p())),
                      (module, b"x", None)):
        assert moe.library.moeFindKernel(*arguments) == moe.INVALID_ARGUMENT
        assert "expected a pointer, found null" in moe.library.moeGetLastError().decode()
    # A named op by its kernel's name, in another context than the module's.
    module = moe.load_module(compile_others().encode())
    op = moe.find_kernel(module, "padded_swiglu_limit5")
    x, out = moe.Matrix(ADDRESS, 40, 128, 128), moe.Matrix(ADDRESS + 0x3000000, 40, 64, 64)
    operands = [byref(x), ADDRESS + 0x1000000, ADDRESS + 0x2000000, byref(out)]
    record = launch_one(driver, lambda: moe.check(moe.run_op(launch_of(), op, *operands)))
    assert record.name == b"padded_swiglu_limit5"
    driver.create_context()
    with pytest.raises(moe.MoeError, match="^module: expected the context that it was loaded in"):
        moe.check(moe.run_op(launch_of(), op, *operands))
