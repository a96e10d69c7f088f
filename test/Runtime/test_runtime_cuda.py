# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Launches through the C API, on a driver that only records them (fake_cuda.c).

What was recorded is looked at, and handed to the PTX interpreter with the PTX that the library
carries, whose results are compared with the oracle.
"""

from __future__ import annotations

import ctypes
import re
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from moe_testing import batches, checkout, descriptions, machine
from moe_testing import runtime as moe
from moe_testing.fake_driver import FakeDriver, build, in_child
from moe_testing.interpreted import Interpreter
from moe_testing.kernels import Kernel, check, compile_ptx, descriptor
from moe_testing.shipped import shipped

SQUARED_RELU, FUSED, QUANTIZE = moe.FUNCTIONS
OPS = list(moe.FUNCTIONS)
CHIPS = [80, 89, 90, 100]
embedded_ptx = moe.embedded_ptx
LAUNCH_CALLS = ["cuCtxGetId", "cuLaunchKernel"]


@pytest.fixture(scope="session")
def driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Here, and not in each of the processes that tests fork.
    for chip in CHIPS:
        embedded_ptx(chip)
    return build(tmp_path_factory.mktemp("driver"), "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="session")
def old_driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A driver without what came with CUDA 12."""
    return build(tmp_path_factory.mktemp("old-driver"), "-DOLD_DRIVER")


def call(op: str = SQUARED_RELU, rows: int = 300, columns: int = 2048, **changes) -> moe.Call:
    return moe.Call(op, rows, columns, device=moe.CUDA, **changes)


def launch_one(driver: FakeDriver, launch: moe.Call):
    """Launches, and returns the one record of it."""
    driver.take_calls()
    launch.run()
    [record] = driver.launches()
    return record


# Execution.


class ApiBackend(Interpreter):
    """A backend of kernels.check that launches through the C API and runs what was recorded, with
    the PTX for a chip.
    """

    def __init__(self, driver: FakeDriver, kernel: Kernel) -> None:
        super().__init__()
        self.driver, self.kernel = driver, kernel

    def launch(self, ptx, entry, grid, threads, arguments) -> None:
        kernel = self.kernel
        x, permutation_map, n_used, out = (arguments[i] for i in (0, 7, 12, 15))
        launch = call(kernel.op, *arguments[3:5], x=x, x_stride=arguments[5],
                      permutation_map=permutation_map, n_used=n_used, out=out,
                      out_stride=arguments[20], num_ctas=grid[0] * grid[1])
        if kernel.op != SQUARED_RELU:
            launch = launch.with_(scale=arguments[22],
                                  layout=int(kernel.scale_layout == "linear"),
                                  dead=int(kernel.dead_scales == "untouched"))
        record = launch_one(self.driver, launch)
        assert record.name.decode() == entry
        # The parameters are those that the compiler's own descriptors are.
        assert list(record.parameters[: record.num_parameters]) == arguments
        assert list(record.block) == [threads, 1, 1]
        super().launch(moe.embedded_kernel(int(ptx), entry), entry, tuple(record.grid), threads,
                       arguments)


KERNELS = [Kernel(SQUARED_RELU)] + [
    Kernel(op, None, layout, dead)
    for op in (FUSED, QUANTIZE) for layout in ("swizzle_32_4_4", "linear")
    for dead in ("zero", "untouched")
]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("aligned", [True, False])
@in_child
def test_execution(driver_path: Path, kernel: Kernel, aligned: bool) -> None:
    """Each embedded kernel, for each chip that there is PTX for, computes the right bytes."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    settings = {} if aligned else {"padding": 3, "x_offset": 2,
                                   "data_offset": 2 if kernel.op == SQUARED_RELU else 1}
    for chip in CHIPS:
        check(ApiBackend(driver, kernel), str(chip), kernel,
              batches.random_batch(200, 1184, 170, seed=chip), (2, 3), aligned=aligned, **settings)


# What is launched.


@pytest.mark.parametrize("op", OPS)
@in_child
def test_parameters(driver_path: Path, op: str) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    launch = call(op, 300, 2048, x_stride=2112, out_stride=2176, stream=0xABC0)
    record = launch_one(driver, launch)
    x = np.lib.stride_tricks.as_strided(np.empty(0, np.uint16), (300, 2048), (2112 * 2, 2))
    out = np.lib.stride_tricks.as_strided(np.empty(0, np.uint8), (300, 2048), (2176, 1))
    expected = descriptor(launch.x, x)
    expected += descriptor(launch.permutation_map, np.empty(300, np.int32))
    expected += descriptor(launch.n_used, np.empty((), np.int32))
    expected += descriptor(launch.out, out)
    if op != SQUARED_RELU:
        expected += descriptor(launch.scale, np.empty(moe.scale_size(300, 2048), np.uint8))
    assert list(record.parameters[: record.num_parameters]) == expected
    assert (record.stream, record.shared_memory, record.programmatic) == (0xABC0, 0, 0)


@in_child
def test_linear_scale_parameters(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    record = launch_one(driver, call(FUSED, layout=moe.LINEAR, scale_stride=80))
    address = moe.Call.scale
    assert list(record.parameters[22:29]) == [address, address, 0, 300, 64, 80, 1]
    record = launch_one(driver, call(FUSED, layout=moe.LINEAR))
    assert list(record.parameters[22:29]) == [address, address, 0, 300, 64, 64, 1]


@pytest.mark.parametrize(
    ("rows", "columns", "num_ctas", "expected"),
    [
        # 132 SMs, 4 CTAs each: at most 528 CTAs, 264 for the rows, or 261, the next number of
        # those that spread live rows. Of their 2088 warps 2087 get rows, 48 at most here, for
        # which 2084 would do: 261 CTAs.
        (100_000, 2048, 0, (2, 261)),
        (100_000, 1856, 0, (2, 261)),
        (2087 * 48, 2048, 0, (2, 261)),
        (2087 * 24, 2048, 0, (2, 261)),
        (2087 * 4 + 1, 2048, 0, (2, 209)),  # five a warp: 1670 warps
        (100_000, 1, 0, (1, 521)),
        (1, 1024, 0, (1, 1)),
        # Few rows: a warp or two of as many CTAs as there are SMs.
        (8, 1024, 0, (1, 9)),
        (9, 1025 + 7, 0, (2, 9)),
        (128, 1856, 0, (2, 69)),
        (128, 14336, 0, (14, 17)),
        (128, 1856, 7, (2, 3)),
        (4000, 14336, 0, (14, 37)),
        (100_000, 8 * 2**20, 0, (528, 1)),  # no more than the limit, however many columns
        (100_000, 2048, 1, (1, 1)),
        (100_000, 2048, 7, (2, 3)),
        (100_000, 2048, 256, (2, 125)),  # 128 CTAs would let live rows meet
        (2**40, 1024, 65535, (1, 65533)),
    ],
)
@in_child
def test_grid(driver_path: Path, rows: int, columns: int, num_ctas: int, expected) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    record = launch_one(driver, call(SQUARED_RELU, rows, columns, num_ctas=num_ctas))
    aligned = columns % 8 == 0
    assert record.name.decode() == SQUARED_RELU + ("" if aligned else "_unaligned")
    assert (*record.grid, *record.block) == (*expected, 1, 256, 1, 1)


@pytest.mark.parametrize(
    ("rows", "layout", "expected"),
    [
        (1024, moe.SWIZZLED, (2, 133)),  # a warp for each row: 129 CTAs, or the next such number
        (7296 - 128, moe.SWIZZLED, (2, 229)),  # too few quads: by rows, four a warp
        (7424, moe.SWIZZLED, (2, 233)),  # 1856 quads for at most 2087 warps
        (8192, moe.SWIZZLED, (2, 261)),
        (65536, moe.SWIZZLED, (2, 261)),  # 8 quads for each
        (8192, moe.LINEAR, (2, 261)),
        (2087 * 4 + 1, moe.LINEAR, (2, 209)),
    ],
)
@in_child
def test_grid_by_quads(driver_path: Path, rows: int, layout: int, expected) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    record = launch_one(driver, call(FUSED, rows, 1856, layout=layout))
    assert tuple(record.grid) == (*expected, 1)


@pytest.mark.needs("moe-opt")
@pytest.mark.parametrize("op", [SQUARED_RELU, FUSED])
@pytest.mark.parametrize(("rows", "columns", "num_ctas"), [
    (1, 32, 528), (128, 1856, 528), (1024, 1856, 528), (7296, 1856, 528), (7424, 1856, 528),
    (9001, 2048, 528), (65536, 14336, 528), (100, 2**20, 528), (128, 1856, 7), (128, 1856, 1056),
    (7424, 1856, 1056), (65536, 1856, 256), (65536, 1024, 17), (65536, 1024, 16), (120, 1024, 528),
    (65536, 1024, 65535), (65536, 1024, 1), (65536, 1024, 2), (1000, 8192, 255)])
@in_child
def test_grid_is_that_of_the_compiler(driver_path: Path, op: str, rows: int, columns: int,
                                      num_ctas: int) -> None:
    """convert-moe-to-gpu has the same rule, in the host code that it makes."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    record = launch_one(driver, call(op, rows, columns, num_ctas=num_ctas))
    text = Kernel(op, columns).mlir().replace("memref<?xi32>", f"memref<{rows}xi32>")
    text = re.sub(r"memref<\?x(?=\d+x(bf16|f8E4M3FN))", f"memref<{rows}x", text)
    done = subprocess.run(
        [checkout.BIN_DIR / "moe-opt", f"--moe-choose-schedule=num-ctas={num_ctas}",
         "--convert-moe-to-gpu", "--canonicalize", "-"],
        input=text, text=True, capture_output=True, check=True)
    constants = dict(re.findall(r"(%\w+) = arith.constant (\d+) : index", done.stdout))
    x, y, z = re.search(rf"@{op} blocks in \((%\w+), (%\w+), (%\w+)\)", done.stdout).groups()
    assert tuple(record.grid) == tuple(int(constants[name]) for name in (x, y, z))


@in_child
def test_grid_of_unaligned_rows(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    record = launch_one(driver, call(SQUARED_RELU, 100_000, 1857))
    assert tuple(record.grid) == (30, 17, 1)  # 64 columns a chunk


@in_child
def test_grid_follows_the_device_and_the_kernel(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.set_device(num_sms=20)
    driver.create_context()
    # As the compiler describes kernels for so many threads.
    for threads, ctas, y in [(512, 2, 37), (64, 16, 317), (256, 4, 79)]:
        ptx = descriptions.change(embedded_ptx(90), SQUARED_RELU, threads_per_cta=threads,
                                  min_ctas_per_sm=ctas)
        module = moe.load_module(ptx.encode())
        record = launch_one(driver, call(SQUARED_RELU, 100_000, 1024, module=module))
        assert (*record.grid, *record.block) == (1, y, 1, threads, 1, 1)


@in_child
def test_choice_of_kernel(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    base = moe.Call.x

    def is_unaligned(op: str, **changes) -> bool:
        name = launch_one(driver, call(op, 40, 64, **changes)).name.decode()
        return name.endswith("_unaligned")

    for op in OPS:
        assert not is_unaligned(op)
        assert is_unaligned(op, x=base + 8)
        assert is_unaligned(op, x_stride=68)
        assert not is_unaligned(op, x_stride=72)
        # 16 bytes of bf16, 8 of E4M3.
        assert is_unaligned(op, out=moe.Call.out + 8) == (op == SQUARED_RELU)
        assert is_unaligned(op, out=moe.Call.out + 4)
        assert is_unaligned(op, out_stride=68)
        assert not is_unaligned(op, out_stride=72)
    for op in (FUSED, QUANTIZE):
        scale = moe.Call.scale
        assert is_unaligned(op, scale=scale + 4)
        assert not is_unaligned(op, scale=scale + 4, dead=moe.UNTOUCHED)
        assert is_unaligned(op, scale=scale + 1, dead=moe.UNTOUCHED)
        assert not is_unaligned(op, scale=scale + 1, layout=moe.LINEAR)
    # The stride of a single row means nothing.
    record = launch_one(driver, call(rows=1, columns=64, x_stride=1, out_stride=3))
    assert record.name == b"padded_squared_relu"


@in_child
def test_kernel_names(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    for kernel in KERNELS:
        launch = call(kernel.op, layout=int(kernel.scale_layout == "linear"),
                      dead=int(kernel.dead_scales == "untouched"))
        assert launch_one(driver, launch).name.decode() == kernel.entry(aligned=True)


# Loading.


@in_child
def test_loaded_once_per_context(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    first = driver.create_context()
    driver.take_calls()
    call().run()
    calls = driver.take_calls()
    assert calls[0] == "cuInit" and calls.count("cuModuleLoadDataEx") == 1
    call().run()
    call(QUANTIZE).run()
    assert driver.take_calls() == LAUNCH_CALLS * 2
    second = driver.create_context()
    call().run()
    calls = driver.take_calls()
    assert calls.count("cuModuleLoadDataEx") == 1 and "cuInit" not in calls
    for context in (first, second, first):
        driver.make_current(context)
        call().run()
    assert driver.take_calls() == LAUNCH_CALLS * 3


@in_child
def test_context_at_the_address_of_a_destroyed_one(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    context = driver.create_context()
    call().run()
    driver.replace_context(context)
    driver.take_calls()
    call().run()
    assert driver.take_calls().count("cuModuleLoadDataEx") == 1


@in_child
def test_explicit_load(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    moe.load_kernels(moe.CPU)
    assert driver.take_calls() == []
    moe.load_kernels(moe.CUDA)
    assert driver.take_calls().count("cuModuleLoadDataEx") == 1
    moe.load_kernels(moe.CUDA)
    call().run()
    assert driver.take_calls() == ["cuCtxGetId", *LAUNCH_CALLS]


@in_child
def test_first_launch_while_capturing(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_capturing(True)
    launch_one(driver, call())
    calls = driver.take_calls()
    # The thread's mode is what it was.
    assert calls.count("cuThreadExchangeStreamCaptureMode") == 2
    mode = ctypes.c_int(1)
    driver.library.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))
    assert mode.value == 0


@in_child
def test_threads_load_once(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    contexts = [driver.create_context() for _ in range(3)]
    failures = []
    barrier = threading.Barrier(12)

    def work(index: int) -> None:
        try:
            driver.make_current(contexts[index % 3])
            barrier.wait()
            for repeat in range(50):
                call(OPS[repeat % 3]).run()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    launches = driver.launches()
    assert len(launches) == 600
    assert {launch.context for launch in launches} == {0, 1, 2}
    assert driver.take_calls().count("cuModuleLoadDataEx") == 3


@in_child
def test_old_driver(old_driver_path: Path) -> None:
    """Without context ids, the context's address is what tells contexts apart."""
    driver = FakeDriver(old_driver_path)
    with pytest.raises(moe.MoeError, match="no current CUDA context") as caught:
        call().run()
    assert caught.value.status == moe.NO_CONTEXT
    driver.create_context()
    call().run()
    driver.take_calls()
    call().run()
    assert driver.take_calls() == ["cuCtxGetCurrent", "cuLaunchKernel"]
    module = moe.load_module(embedded_ptx(90).encode())
    with pytest.raises(moe.MoeError, match="no function cuLaunchKernelEx") as caught:
        call(module=module, flags=moe.PROGRAMMATIC_LAUNCH).run()
    assert caught.value.status == moe.NO_DRIVER


# Errors of the driver.


def expect_error(status: int, pattern: str, run) -> None:
    with pytest.raises(moe.MoeError, match=pattern) as caught:
        run()
    assert caught.value.status == status


def has_driver() -> bool:
    """Whether this machine has the real one. Not asked in this process, which would keep it."""
    code = "import ctypes; ctypes.CDLL('libcuda.so.1')"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


@pytest.mark.skipif(has_driver(), reason="this machine has a CUDA driver")
@in_child
def test_no_driver() -> None:
    expect_error(moe.NO_DRIVER, r"^libcuda\.so\.1 could not be opened: .*libcuda\.so\.1",
                 call().run)
    expect_error(moe.NO_DRIVER, r"could not be opened", lambda: moe.load_kernels(moe.CUDA))
    expect_error(moe.NO_DRIVER, r"could not be opened", lambda: moe.load_module(b".version 8.0"))


@pytest.mark.needs(machine.C_COMPILER)
@in_child
def test_driver_without_a_function(tmp_path: Path) -> None:
    driver = FakeDriver(build(tmp_path, "-DcuPointerGetAttribute=cuRenamed"))
    driver.create_context()
    expect_error(moe.NO_DRIVER, "has no function cuPointerGetAttribute: .* too old", call().run)


@in_child
def test_driver_found_by_the_loader(driver_path: Path) -> None:
    """Nothing but its name leads to the driver."""
    code = ("from moe_testing import runtime as moe\n"
            "try: moe.load_kernels(moe.CUDA)\n"
            "except moe.MoeError as error: print(error)")
    environment = machine.with_library_path(driver_path.parent)
    run = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], text=True,
                         capture_output=True, env=environment, check=True)
    assert "no current CUDA context" in run.stdout and run.stderr == ""


@in_child
def test_no_device(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.fail("cuInit", 100)
    expect_error(moe.DRIVER_ERROR, r"^cuInit returned CUDA_ERROR_NO_DEVICE \(100\): as told",
                 call().run)
    driver.fail("", 0)
    driver.create_context()
    call().run()  # It is tried again.


@in_child
def test_no_context(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    expect_error(moe.NO_CONTEXT, "the calling thread has no current CUDA context", call().run)
    driver.create_context()
    call().run()
    driver.make_current(None)
    expect_error(moe.NO_CONTEXT, "the calling thread has no current CUDA context", call().run)


@pytest.mark.parametrize("capability", [35, 75, 79])
@in_child
def test_old_device(driver_path: Path, capability: int) -> None:
    driver = FakeDriver(driver_path)
    driver.set_device(capability=capability)
    driver.create_context()
    found = rf"{capability // 10}\.{capability % 10}"
    pattern = rf"expected compute capability 8\.0 or later, found {found}"
    expect_error(moe.UNSUPPORTED, pattern, call().run)
    expect_error(moe.UNSUPPORTED, pattern, lambda: moe.load_kernels(moe.CUDA))
    assert driver.launches() == []


@in_child
def test_driver_errors(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    for name in ("cuCtxGetDevice", "cuDeviceGetAttribute", "cuModuleGetFunction",
                 "cuLaunchKernel", "cuCtxGetId"):
        driver.fail(name, 700)
        expect_error(moe.DRIVER_ERROR, rf"^{name} returned CUDA_ERROR_ILLEGAL_ADDRESS \(700\): as "
                                       "told to the fake driver$", call().run)
    driver.fail("cuLaunchKernel", 2)
    expect_error(moe.OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", call().run)
    driver.fail("cuLaunchKernel", 12345)
    expect_error(moe.DRIVER_ERROR, r"an unknown error \(12345\): no description", call().run)
    driver.fail("", 0)
    launch_one(driver, call())


@in_child
def test_log_of_a_failed_load(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.fail("cuModuleLoadDataEx", 218)
    expect_error(moe.DRIVER_ERROR, "(?s)CUDA_ERROR_INVALID_PTX.*line 1; the log of the fake driver",
                 call().run)
    driver.fail("", 0)
    launch_one(driver, call())


@in_child
def test_host_pointers(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_device_memory(0x100_0000_0000_0000, 0x600_0000_0000_0000)
    validated = call(FUSED, flags=moe.VALIDATE_POINTERS)
    validated.run()
    for name, argument in (("x", "x"), ("permutation_map", "permutation_map"),
                           ("n_used", "n_used"), ("data", "out"), ("scale", "scale")):
        launch = validated.with_(**{argument: 0x700_0000_0000_0000})
        expect_error(moe.INVALID_ARGUMENT, f"^{name}: expected memory that the CUDA device can "
                                           "access, found 0x700000000000000", launch.run)
    assert len(driver.launches()) == 1
    call(flags=moe.VALIDATE_POINTERS).run()


@pytest.mark.parametrize("num_ctas", [-1, 65536])
@in_child
def test_num_ctas(driver_path: Path, num_ctas: int) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    expect_error(moe.INVALID_ARGUMENT, f"num_ctas: expected from 0 to 65535, found {num_ctas}",
                 call(num_ctas=num_ctas).run)


# Programmatic dependent launch.


@pytest.mark.parametrize("chip", CHIPS)
def test_kernels_wait_before_they_access_memory(chip: int) -> None:
    kernels = embedded_ptx(chip).split(".visible .entry ")[1:]
    # Those that route tokens are not among the former.
    assert len(kernels) == len(descriptions.kernels(embedded_ptx(chip))) > 2 * len(shipped())
    for kernel in kernels:
        name = kernel.partition("(")[0]
        waits = re.findall(r"griddepcontrol\.(\w+);|(?:ld|st)\.(global)", kernel)
        steps = ["".join(step) for step in waits]
        if chip >= 90:
            assert steps[:3] == ["wait", "launch_dependents", "global"], name
        assert set(steps[2 if chip >= 90 else 0:]) == {"global"}, name


@in_child
def test_programmatic_launch(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    programmatic = call(flags=moe.PROGRAMMATIC_LAUNCH, stream=0x40)
    programmatic.run()
    [own] = driver.launches()
    assert own.programmatic == 1
    driver.set_device(capability=89)
    driver.create_context()
    driver.take_calls()
    expect_error(moe.UNSUPPORTED, "the kernels do not wait for their predecessor",
                 programmatic.run)
    plain = moe.load_module(embedded_ptx(89).encode())
    expect_error(moe.UNSUPPORTED, "the kernels do not wait for their predecessor",
                 programmatic.with_(module=plain).run)
    assert driver.launches() == []
    waiting = moe.load_module(embedded_ptx(90).encode())
    driver.take_calls()
    programmatic.with_(module=waiting).run()
    call(module=waiting, stream=0x40).run()
    first, second = driver.launches()
    assert (first.programmatic, second.programmatic) == (1, 0)
    for field in ("name", "stream", "shared_memory"):
        assert getattr(first, field) == getattr(second, field)
    for field in ("grid", "block", "parameters"):
        assert list(getattr(first, field)) == list(getattr(second, field))
    assert driver.take_calls() == ["cuCtxGetId", "cuLaunchKernelEx", *LAUNCH_CALLS]


# Modules of one's own.


@pytest.mark.needs("moe-opt", "moe-translate")
@in_child
def test_module(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    text = Kernel(SQUARED_RELU, 1856).ptx().encode()
    module = moe.load_module(text)
    assert driver.take_calls().count("cuModuleLoadDataEx") == 1
    assert launch_one(driver, call(module=module, columns=1856)).name == b"padded_squared_relu"
    # The library's own kernels were not needed.
    assert driver.take_calls() == LAUNCH_CALLS
    other = driver.create_context()
    expect_error(moe.NO_CONTEXT, "^module: expected the context that it was loaded in",
                 call(module=module).run)
    expect_error(moe.NO_CONTEXT, "^module: expected", lambda: moe.unload_module(module))
    del other
    moe.unload_module(None)


@in_child
def test_module_is_unloaded(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    module = moe.load_module(embedded_ptx(90).encode())
    driver.take_calls()
    moe.unload_module(module)
    assert driver.take_calls() == ["cuCtxGetId", "cuModuleUnload"]


@in_child
def test_module_with_some_kernels(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    ptx = embedded_ptx(90)

    def load(*names: str) -> int:
        return moe.load_module(descriptions.keep(ptx, *names).encode())

    unaligned = SQUARED_RELU + "_unaligned"
    module = load(SQUARED_RELU, QUANTIZE)
    launch_one(driver, call(module=module))
    expect_error(moe.UNSUPPORTED, "no kernel padded_squared_relu_unaligned, for rows that do not "
                                  "start at multiples of 16 bytes",
                 call(module=module, columns=9).run)
    expect_error(moe.UNSUPPORTED, "^module: expected the kernel squared_relu_quantize_mxfp8_linear, "
                                  "for linear scales, found none; it has padded_squared_relu, "
                                  "quantize_mxfp8$",
                 call(FUSED, module=module, layout=moe.LINEAR).run)
    assert launch_one(driver, call(module=load(unaligned))).name.decode() == unaligned
    # The first that the operands suit.
    assert launch_one(driver, call(module=load(unaligned, SQUARED_RELU))).name.decode() == unaligned
    # Others may stand between those of one op.
    module = load(QUANTIZE, SQUARED_RELU, QUANTIZE + "_unaligned", unaligned)
    names = [launch_one(driver, call(op, module=module, x=moe.Call.x + offset)).name.decode()
             for op in (SQUARED_RELU, QUANTIZE) for offset in (0, 2)]
    assert names == [SQUARED_RELU, unaligned, QUANTIZE, QUANTIZE + "_unaligned"]
    driver.set_missing_suffix("_unaligned")
    expect_error(moe.UNSUPPORTED, "^image: expected the kernel padded_squared_relu_unaligned, which "
                                  "moe_kernels names, found none$", lambda: load(SQUARED_RELU, unaligned))


@in_child
def test_width_of_accesses(driver_path: Path) -> None:
    """A module is launched as it was compiled, whatever the device and the library's own kernels."""
    driver = FakeDriver(driver_path)

    def is_unaligned(**changes) -> bool:
        return launch_one(driver, call(columns=64, **changes)).name.endswith(b"_unaligned")

    for capability, chip in [(90, 90), (100, 90), (90, 100), (103, 100), (100, 80)]:
        width = 32 if chip == 100 else 16
        driver.set_device(capability=capability)
        driver.create_context()
        module = moe.load_module(embedded_ptx(chip).encode())
        assert is_unaligned(module=module, x=moe.Call.x + 16) == (width == 32)
        assert is_unaligned(module=module, x_stride=72) == (width == 32)
        assert not is_unaligned(module=module, x_stride=80)
        assert is_unaligned(x=moe.Call.x + 16) == (capability >= 100)
        assert is_unaligned(op=FUSED, module=module, out=moe.Call.out + 8) == (width == 32)
        assert is_unaligned(op=FUSED, module=module, out_stride=72) == (width == 32)
        assert not is_unaligned(op=FUSED, module=module, out_stride=80)


# Descriptions.


@in_child
def test_every_need_is_looked_at(driver_path: Path) -> None:
    """Each number of each description says what the kernel may have, the library's own ideas do
    not.
    """
    driver = FakeDriver(driver_path)
    driver.create_context()

    def is_unaligned(op: str, module: int, columns: int = 64, **changes) -> bool:
        launch = call(op, 4, columns, module=module, **changes)
        return launch_one(driver, launch).name.endswith(b"_unaligned")

    for op, operand, need, changes, others in [
        (SQUARED_RELU, "x", "address_alignment", {"x": moe.Call.x + 32}, {"x": moe.Call.x + 64}),
        (SQUARED_RELU, "x", "row_stride_alignment", {"x_stride": 80}, {"x_stride": 96}),
        (SQUARED_RELU, "x", "row_alignment", {"columns": 72, "x_stride": 96, "out_stride": 96}, {}),
        (SQUARED_RELU, "out", "row_alignment", {"columns": 72, "x_stride": 96, "out_stride": 96}, {}),
        (SQUARED_RELU, "permutation_map", "address_alignment",
         {"permutation_map": moe.Call.permutation_map + 32}, {}),
        (SQUARED_RELU, "n_used", "address_alignment", {"n_used": moe.Call.n_used + 4}, {}),
        (FUSED, "data", "address_alignment", {"out": moe.Call.out + 32}, {}),
        (FUSED, "data", "row_stride_alignment", {"out_stride": 96}, {"out_stride": 128}),
        (FUSED, "scale", "address_alignment", {"scale": moe.Call.scale + 16}, {}),
    ]:
        ptx = embedded_ptx(90)
        before = moe.load_module(ptx.encode())
        after = moe.load_module(descriptions.change(ptx, op, operand, **{need: 64}).encode())
        assert not is_unaligned(op, before, **changes), (op, operand, need)
        assert is_unaligned(op, after, **changes), (op, operand, need)
        assert not is_unaligned(op, after, **others), (op, operand, need)


@in_child
def test_quads_and_chunks(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    ptx = embedded_ptx(90)
    # 2016 quads, or 8000 rows of which a warp gets four: a warp more, in CTAs of eight.
    rows = call(FUSED, 8000, 1856)
    assert tuple(launch_one(driver, rows).grid) == (2, 253, 1)
    single = moe.load_module(descriptions.change(ptx, FUSED, rows_per_unit=1).encode())
    assert tuple(launch_one(driver, rows.with_(module=single)).grid) == (2, 251, 1)
    wide = moe.load_module(descriptions.change(ptx, FUSED, chunk_columns=2048).encode())
    assert launch_one(driver, rows.with_(module=wide)).grid[0] == 1


@pytest.mark.needs("moe-opt", "moe-translate")
@in_child
def test_sizes_that_a_kernel_is_compiled_for(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    text = Kernel(SQUARED_RELU, 1856).ptx()
    module = moe.load_module(text.encode())
    launch = call(module=module, columns=1856)
    launch_one(driver, launch)
    # A single row has no stride.
    launch_one(driver, launch.with_(rows=1, x_stride=5))
    compiled = "which the module's kernel padded_squared_relu is compiled for"
    for changes, message in [
        ({"columns": 2048}, rf"^x: expected 1856 columns, {compiled}, found 2048$"),
        ({"x_stride": 1920}, rf"^x: expected 1856 as the row_stride, {compiled}, found 1920$"),
        ({"out_stride": 1920}, rf"^out: expected 1856 as the row_stride, {compiled}, found 1920$"),
        ({"columns": 1857}, "^x: expected 1856 columns, which the module's kernel "
                            "padded_squared_relu_unaligned is compiled for, found 1857$"),
    ]:
        expect_error(moe.UNSUPPORTED, message, launch.with_(**changes).run)
    # Where the first is not for these rows, the other is.
    unaligned = SQUARED_RELU + "_unaligned"
    fixed = descriptions.change(text, SQUARED_RELU, "permutation_map", rows=64)
    launch = launch.with_(module=moe.load_module(fixed.encode()))
    assert launch_one(driver, launch.with_(rows=64)).name.decode() == SQUARED_RELU
    assert launch_one(driver, launch).name.decode() == unaligned
    fixed = descriptions.change(fixed, unaligned, "permutation_map", rows=65)
    launch = launch.with_(module=moe.load_module(fixed.encode()))
    expect_error(moe.UNSUPPORTED, rf"^permutation_map: expected 64 elements, {compiled}, found 300$",
                 launch.run)
    fixed = descriptions.change(text, SQUARED_RELU, "out", rows=64)
    fixed = descriptions.change(fixed, unaligned, "out", rows=64)
    launch = launch.with_(module=moe.load_module(fixed.encode()))
    expect_error(moe.UNSUPPORTED, rf"^out: expected 64 rows, {compiled}, found 300$", launch.run)


@pytest.mark.needs("moe-opt", "moe-translate")
@in_child
def test_vector_of_one(driver_path: Path) -> None:
    """n_used as a vector has a size and a stride among the parameters."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    kernel = Kernel(SQUARED_RELU)
    text = compile_ptx(kernel.mlir().replace("memref<i32>", "memref<1xi32>"))
    record = launch_one(driver, call(module=moe.load_module(text.encode())))
    n_used = moe.Call.n_used
    assert list(record.parameters[12:18]) == [n_used, n_used, 0, 1, 1, moe.Call.out]
    assert record.num_parameters == 24


@in_child
def test_images_that_do_not_say_how_to_launch(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    ptx = embedded_ptx(90)
    bytes_ = descriptions.find(ptx, SQUARED_RELU)

    def refuse(pattern: str, text: str) -> None:
        driver.take_calls()
        expect_error(moe.UNSUPPORTED, pattern, lambda: moe.load_module(text.encode()))
        calls = driver.take_calls()
        assert calls.count("cuModuleUnload") == calls.count("cuModuleLoadDataEx") == 1
        assert calls.count("cuStreamCreate") == calls.count("cuStreamDestroy_v2")

    compile_it = (r"found none: compile it with the moe-opt and moe-translate of moe-mlir "
                  r"\d+\.\d+ or later$")
    refuse("^image: expected moe_kernel_quantize_mxfp8, a constant that says how to launch the kernel "
           "quantize_mxfp8, " + compile_it, descriptions.put(ptx, QUANTIZE, b""))
    refuse("^image: expected moe_kernels, a constant that says which kernels it has, " + compile_it,
           descriptions.put_list(ptx, b""))
    for names in (b"\0", b"padded_squared_relu", b"padded_squared_relu\0\0", b"x" * 96 + b"\0"):
        refuse(f"^image: expected names of kernels in moe_kernels, found {len(names)} bytes that are none, "
               "or are damaged$", descriptions.put_list(ptx, names))
    refuse("^image: expected version 2 of the description of kernel padded_squared_relu, found 1: "
           "compile the kernel with the moe-opt of this version of moe-mlir, or use the runtime library "
           "of that one$", descriptions.change(ptx, SQUARED_RELU, version=1))
    damaged = "^image: expected a description of kernel padded_squared_relu, found {} bytes"
    for cut in (1, 15, 16, 100, len(bytes_) - 1):
        refuse(damaged.format(cut), descriptions.put(ptx, SQUARED_RELU, bytes_[:cut]))
    for fields in ({"magic": "MOEX"}, {"header_bytes": 132}, {"operand_bytes": 81},
                   {"num_operands": 13}, {"num_operands": 5}, {"total_bytes": len(bytes_) + 1},
                   {"total_bytes": len(bytes_) - 1},
                   {"name": QUANTIZE}, {"base_name_bytes": 0}, {"base_name_bytes": 20}, {"pair_block": -2},
                   {"threads_per_cta": 31}, {"threads_per_cta": 2048}, {"chunk_columns": 0},
                   {"chunk_columns": 1000}, {"early_chunk_columns": 24},
                   {"early_elements": 2**40 + 1}):
        refuse(damaged.format(len(bytes_)), descriptions.change(ptx, SQUARED_RELU, **fields))
    for fields in ({"kind": 4}, {"rank": 3}, {"address_alignment": 0}, {"row_alignment": 3},
                   {"row_stride_alignment": 24}):
        refuse(damaged.format(len(bytes_)), descriptions.change(ptx, SQUARED_RELU, "x", **fields))
    refuse("^image: kernel padded_squared_relu: expected work that is given out by rows, found kind 1$",
           descriptions.change(ptx, SQUARED_RELU, work=1))
    refuse("^image: kernel padded_squared_relu: expected 1 to 12 operands, found 0$",
           descriptions.change(ptx, SQUARED_RELU, num_operands=0))
    for fields, found in [({"name": "probs"}, "a matrix 'probs' of 16 bits"), ({"element_bits": 12}, "12 bits"),
                          ({"rank": 1}, "rank 1"), ({"kind": 1}, "a vector 'out'"),
                          ({"offset": 4}, "offset 4")]:
        refuse("^image: kernel padded_squared_relu: expected operands as moe.map_rows has them, "
               f"found .*{found}", descriptions.change(ptx, SQUARED_RELU, "out", **fields))
    for operand, fields in [("x", {"name": "out"}), ("x", {"is_written": 1}), ("n_used", {"element_bits": 64}),
                            ("permutation_map", {"kind": 2, "rank": 2})]:
        refuse("^image: kernel padded_squared_relu: expected operands as moe.map_rows has them, found",
               descriptions.change(ptx, SQUARED_RELU, operand, **fields))
    # Those of one op take the same.
    unaligned = SQUARED_RELU + "_unaligned"
    for fields in ({"num_operands": 3}, {"pair_block": 0}):
        refuse("^image: kernel padded_squared_relu_unaligned: expected the 4 operands of "
               "padded_squared_relu, found", descriptions.change(ptx, unaligned, **fields))
    refuse("^image: kernel padded_squared_relu_unaligned: expected operands as padded_squared_relu has them, "
           "found .*8 bits", descriptions.change(ptx, unaligned, "out", element_bits=8))
    refuse("^image: kernel padded_squared_relu_unaligned: expected operands as padded_squared_relu has them, "
           "found a matrix 'data'", descriptions.change(ptx, unaligned, "out", name="data"))
    refuse("^image: expected moe_kernels, a constant that says which kernels it has, found none",
           "// PTX\n.version 8.0\n.target sm_90\n")


@in_child
def test_fields_of_a_later_version(driver_path: Path) -> None:
    """What is added at the end of the header and of the operands is not looked at."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    ptx = embedded_ptx(90)
    for kernel in (SQUARED_RELU, SQUARED_RELU + "_unaligned"):
        old = descriptions.decode(descriptions.find(ptx, kernel))
        bytes_ = descriptions.find(ptx, kernel)
        header, size = old["header_bytes"], old["operand_bytes"]
        longer = bytes_[:header] + b"\xaa" * 8
        for i in range(old["num_operands"]):
            longer += bytes_[header + i * size:header + (i + 1) * size] + b"\xbb" * 24
        longer += b"\xcc" * 100
        ptx = descriptions.put(ptx, kernel, longer)
        ptx = descriptions.change(ptx, kernel, header_bytes=header + 8, operand_bytes=size + 24,
                                  total_bytes=len(longer))
    module = moe.load_module(ptx.encode())
    own = launch_one(driver, call())
    record = launch_one(driver, call(module=module))
    assert (own.name, list(own.grid), list(own.parameters)) == (record.name, list(record.grid),
                                                                list(record.parameters))


@in_child
def test_loading_a_module_while_capturing(driver_path: Path) -> None:
    """Nothing is copied on the default stream, which would end a capture."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_capturing(True)
    driver.take_calls()
    module = moe.load_module(embedded_ptx(90).encode())
    calls = driver.take_calls()
    assert calls.count("cuStreamCreate") == calls.count("cuStreamDestroy_v2") == 1
    assert calls.count("cuMemcpyAsync") == 1 + len(descriptions.kernels(embedded_ptx(90)))
    assert calls.count("cuThreadExchangeStreamCaptureMode") == 2
    # The library's own kernels need not even that.
    moe.load_kernels(moe.CUDA)
    assert not {"cuMemcpyAsync", "cuModuleGetGlobal_v2"} & set(driver.take_calls())
    for name in ("cuModuleGetGlobal_v2", "cuStreamCreate", "cuMemcpyAsync", "cuStreamSynchronize",
                 "cuModuleGetFunction"):
        driver.fail(name, 700)
        expect_error(moe.DRIVER_ERROR, f"^{name.removesuffix('_v2')} returned CUDA_ERROR_ILLEGAL_ADDRESS",
                     lambda: moe.load_module(embedded_ptx(90).encode()))
    driver.fail("", 0)
    moe.unload_module(module)


@pytest.mark.parametrize("chip", CHIPS)
@in_child
def test_own_kernels_are_described_as_their_images_are(driver_path: Path, chip: int) -> None:
    """The table of the library, and the constants in the code that it loads."""
    driver = FakeDriver(driver_path)
    driver.set_device(capability=chip)
    driver.create_context()
    module = moe.load_module(embedded_ptx(chip).encode())
    for kernel in KERNELS:
        for columns in (2048, 2080 if kernel.op != SQUARED_RELU else 2041):
            own = call(kernel.op, 7424, columns, layout=int(kernel.scale_layout == "linear"),
                       dead=int(kernel.dead_scales == "untouched"), x_stride=2081)
            first, second = launch_one(driver, own), launch_one(driver, own.with_(module=module))
            for field in ("name", "grid", "block", "parameters"):
                assert bytes(getattr(first, field)) == bytes(getattr(second, field))


@in_child
def test_images(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    text = embedded_ptx(90).encode()
    # The text is read to its size and given to the driver with a NUL.
    buffer = ctypes.create_string_buffer(text + b"junk", len(text) + 4)
    module = ctypes.c_void_p()
    moe.check(moe.library.moeLoadModule(buffer, len(text), ctypes.byref(module)))
    expect_error(moe.INVALID_ARGUMENT, "^image: expected PTX text, a cubin or a fatbin",
                 lambda: moe.load_module(b"not an image"))
    expect_error(moe.INVALID_ARGUMENT, "^image: expected PTX text", lambda: moe.load_module(b""))
    fatbin = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 100) + bytes(100)
    expect_error(moe.UNSUPPORTED, "^image: expected moe_kernels, a constant",
                 lambda: moe.load_module(fatbin))
    driver.set_machine_code(text.decode())
    moe.load_module(fatbin)
    expect_error(moe.INVALID_ARGUMENT, "^image: expected the 116 bytes of a fatbin, found 115",
                 lambda: moe.load_module(fatbin[:-1]))
    expect_error(moe.INVALID_ARGUMENT, "^image: expected the 16 bytes of a fatbin's header",
                 lambda: moe.load_module(fatbin[:9]))
    cubin = b"\x7fELF\x02\x01\x01" + bytes(33) + struct.pack("<Q", 64) + bytes(10)
    cubin += struct.pack("<HHH", 64, 2, 0)
    cubin = cubin.ljust(64 + 128, b"\0")
    moe.load_module(cubin)
    expect_error(moe.INVALID_ARGUMENT, "^image: expected the 192 bytes of a cubin, found 191",
                 lambda: moe.load_module(cubin[:-1]))
    expect_error(moe.INVALID_ARGUMENT, "^image: expected the 64 bytes of a cubin's header",
                 lambda: moe.load_module(cubin[:10]))


@pytest.mark.parametrize(("capability", "expected"), [(80, 80), (86, 80), (89, 89), (90, 90),
                                                      (100, 100), (121, 100)])
@in_child
def test_choice_of_image(driver_path: Path, capability: int, expected: int) -> None:
    driver = FakeDriver(driver_path)
    driver.set_device(capability=capability)
    driver.create_context()
    moe.load_kernels(moe.CUDA)
    image = driver.last_image(200)
    if "PTX alone" in moe.description():
        assert f".target sm_{expected}\n".encode() in image
    else:
        assert image[:4] == struct.pack("<I", 0xBA55ED50)
