# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""libmoe_mgpu_runtime.so: each function on the driver of fake_cuda.c, and whole modules that
moe-opt has lowered under the stock mlir-runner.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from ctypes import c_char_p, c_int64, c_uint8, c_uint16, c_uint64, c_void_p
from pathlib import Path

import numpy as np
import pytest
from moe_testing import checkout, fake_driver, machine
from moe_testing import runtime as moe
from moe_testing.fake_driver import FakeDriver, FakeProcess, in_child

LIBRARY = moe.LIBRARY.with_name("libmoe_mgpu_runtime.so")
LLVM = checkout.LLVM
pytestmark = pytest.mark.needs(LIBRARY.name)
needs_tools = pytest.mark.needs("moe-opt", "mlir-runner")
PTX = b"//\n.visible .entry kernel(\n.param .u64 a,\n.param .u64 b\n)\n"


@pytest.fixture(scope="session")
def driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.build(tmp_path_factory.mktemp("driver"))


def open_library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(LIBRARY))
    for name in ("mgpuModuleLoad", "mgpuModuleLoadJIT", "mgpuModuleGetFunction",
                 "mgpuStreamCreate", "mgpuEventCreate", "mgpuMemAlloc"):
        getattr(library, name).restype = c_void_p
    library.mgpuMemAlloc.argtypes = [c_uint64, c_void_p, c_uint8]
    return library


@in_child
def test_launch(driver_path: Path) -> None:
    driver, library = FakeDriver(driver_path), open_library()
    text = ctypes.create_string_buffer(PTX)
    module = library.mgpuModuleLoadJIT(text, 3)
    # A thread without a context gets the primary one, and keeps it.
    assert driver.take_calls() == ["cuInit", "cuCtxGetCurrent", "cuDeviceGet",
                                   "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent",
                                   "cuModuleLoadDataEx"]
    assert driver.last_image(len(PTX)) == PTX
    function = library.mgpuModuleGetFunction(c_void_p(module), b"kernel")
    stream = c_void_p(library.mgpuStreamCreate())
    values = [c_uint64(2**63 + 5), c_uint64(7)]
    parameters = (c_void_p * 2)(*[ctypes.addressof(value) for value in values])
    sizes = [c_int64(size) for size in (2, 3, 4, 32, 8, 1)]
    library.mgpuLaunchKernel(c_void_p(function), *sizes, 100, stream, parameters, None,
                             c_uint64(2))
    clusters = [c_int64(size) for size in (2, 1, 1)]
    library.mgpuLaunchClusterKernel(c_void_p(function), *clusters, *sizes, 0, None, parameters,
                                    None, c_uint64(2))
    plain, clustered = driver.launches()
    for launch in (plain, clustered):
        assert launch.name == b"kernel"
        assert (list(launch.grid), list(launch.block)) == ([2, 3, 4], [32, 8, 1])
        assert list(launch.parameters[:launch.num_parameters]) == [2**63 + 5, 7]
    assert (plain.shared_memory, plain.stream, list(plain.cluster)) == (100, stream.value,
                                                                       [0, 0, 0])
    assert (clustered.shared_memory, clustered.stream, list(clustered.cluster)) == (0, None,
                                                                                   [2, 1, 1])
    library.mgpuStreamSynchronize(stream)
    library.mgpuStreamDestroy(stream)
    library.mgpuModuleUnload(c_void_p(module))
    assert driver.take_calls()[-3:] == ["cuStreamDestroy_v2", "cuCtxGetCurrent", "cuModuleUnload"]


@in_child
def test_contexts(driver_path: Path) -> None:
    """The caller's context is used as it is; the default device counts where there is none."""
    driver, library = FakeDriver(driver_path), open_library()
    assert library.moeMgpuGetComputeCapability() == 90
    driver.create_context()
    library.mgpuSetDefaultDevice(1)
    driver.take_calls()
    library.mgpuStreamCreate()
    assert driver.take_calls() == ["cuCtxGetCurrent", "cuStreamCreate"]
    driver.make_current(None)
    library.mgpuStreamCreate()
    assert "cuCtxSetCurrent" in driver.take_calls()
    assert driver.current_device() == 1


@in_child
def test_events(driver_path: Path) -> None:
    driver, library = FakeDriver(driver_path), open_library()
    first, second = (c_void_p(library.mgpuStreamCreate()) for _ in range(2))
    event = c_void_p(library.mgpuEventCreate())
    driver.take_calls()
    library.mgpuEventRecord(event, first)
    library.mgpuStreamWaitEvent(second, event)
    library.mgpuEventSynchronize(event)
    library.mgpuEventDestroy(event)
    calls = [call for call in driver.take_calls() if call != "cuCtxGetCurrent"]
    assert calls == ["cuEventRecord", "cuStreamWaitEvent", "cuEventSynchronize",
                     "cuEventDestroy_v2"]


@in_child
def test_memory(driver_path: Path) -> None:
    driver, library = FakeDriver(driver_path), open_library()
    managed = library.mgpuMemAlloc(4096, None, 1)
    device = library.mgpuMemAlloc(4096, None, 0)
    calls = driver.take_calls()
    assert calls.count("cuMemAllocManaged") == calls.count("cuMemAlloc_v2") == 1
    library.mgpuMemset32(c_void_p(device), 0x12345678, c_uint64(16), None)
    library.mgpuMemset16(c_void_p(device + 8), c_uint16(0xABCD), c_uint64(3), None)
    library.mgpuMemcpy(c_void_p(managed), c_void_p(device), c_uint64(64), None)
    expected = np.full(16, 0x12345678, np.uint32)
    expected.view(np.uint16)[4:7] = 0xABCD
    assert ctypes.string_at(managed, 64) == expected.tobytes()
    for pointer in (managed, device, None):
        library.mgpuMemFree(c_void_p(pointer), None)
    assert driver.take_calls().count("cuMemFree_v2") == 2
    assert library.mgpuMemAlloc(0, None, 1) is None
    assert "cuMemAllocManaged" not in driver.take_calls()


@in_child
def test_host_registration(driver_path: Path) -> None:
    driver, library = FakeDriver(driver_path), open_library()
    array = np.zeros((3, 5), np.float32)
    address = array.ctypes.data

    def descriptor(*strides: int) -> ctypes.Array:
        return (c_int64 * 7)(0, address, 5, 2, 5, *strides)

    library.mgpuMemHostRegisterMemRef(c_int64(2), descriptor(5, 1), c_int64(4))
    library.mgpuMemHostUnregisterMemRef(c_int64(2), descriptor(5, 1), c_int64(4))
    calls = driver.take_calls()
    assert calls.count("cuMemHostRegister_v2") == calls.count("cuMemHostUnregister") == 1


@in_child
def test_host_registration_of_sizes_0_and_1(driver_path: Path) -> None:
    """The stride of a dimension of one element means nothing, and no elements are no range."""
    driver, library = FakeDriver(driver_path), open_library()
    array = np.zeros(60, np.float32)
    address = array.ctypes.data
    for sizes, strides, calls in [((1, 5), (99, 1), 1), ((5, 1), (1, 77), 1), ((1, 1), (0, -3), 1),
                                  ((0, 5), (5, 1), 0), ((5, 0), (0, 1), 0)]:
        descriptor = (c_int64 * 7)(0, address, 0, *sizes, *strides)
        library.mgpuMemHostRegisterMemRef(c_int64(2), descriptor, c_int64(4))
        assert driver.take_calls().count("cuMemHostRegister_v2") == calls, sizes
        library.mgpuMemHostUnregisterMemRef(c_int64(2), descriptor, c_int64(4))
        assert driver.take_calls().count("cuMemHostUnregister") == calls, sizes


BAD_CALLS = {
    "driver": ("cuMemAlloc_v2 2", lambda library: library.mgpuMemAlloc(8, None, 0),
               "mgpuMemAlloc: cuMemAlloc returned CUDA_ERROR_OUT_OF_MEMORY (2): "),
    "assembler": ("cuModuleLoadDataEx 218",
                  lambda library: library.mgpuModuleLoadJIT(c_char_p(b"//"), 2),
                  "mgpuModuleLoadJIT: cuModuleLoadDataEx returned CUDA_ERROR_INVALID_PTX (218): as "
                  "told to the fake driver; ptxas: line 1; the log of the fake driver"),
    "grid": ("none 0", lambda library: library.mgpuLaunchKernel(
                 None, *[c_int64(size) for size in (1, 2**32, 1, 32, 1, 1)], 0, None, None, None,
                 c_uint64(0)),
             "mgpuLaunchKernel: grid y: expected from 0 to 4294967295, found 4294967296"),
    "layout": ("none 0", lambda library: library.mgpuMemHostRegisterMemRef(
                   c_int64(2), (c_int64 * 7)(0, 64, 0, 2, 5, 6, 1), c_int64(4)),
               "mgpuMemHostRegisterMemRef: expected a memref without gaps and in C order, found "
               "stride 6 in dimension 0, where 5 would be"),
    "device": ("cuDeviceGet 101", lambda library: library.mgpuStreamCreate(),
               "mgpuStreamCreate: cuDeviceGet returned an unknown error (101): "),
}


def fail(driver: str, name: str, has_handler: bool) -> None:
    """In a process of its own, which this ends."""
    FakeDriver(Path(driver))
    library = open_library()
    if has_handler:
        handler = ctypes.CFUNCTYPE(None, c_char_p)(
            lambda text: os.write(2, b"handler: " + text) and None)
        library.moeMgpuSetErrorHandler(handler)
    BAD_CALLS[name][1](library)


@pytest.mark.parametrize("name", BAD_CALLS)
@pytest.mark.parametrize("has_handler", [False, True])
def test_failures_end_the_process(driver_path: Path, name: str, has_handler: bool) -> None:
    failure, _, message = BAD_CALLS[name]
    code = "import sys; from test_mgpu import fail; fail(*sys.argv[1:3], sys.argv[3] == 'True')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(driver_path), name, str(has_handler)],
        env={**os.environ, "FAKE_CUDA_FAIL": failure}, cwd=Path(__file__).parent, text=True,
        capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("handler: " * has_handler + message)
    assert done.stderr.count("\n") == (not has_handler)


# Whole modules under mlir-runner.

PROGRAM = """
func.func private @printMemrefI32(memref<*xi32>)

// Elements 0 and 40 of each row of the activation, as integers.
func.func @print(%out: tensor<4x64xbf16>) {
  %picked = tensor.generate {
  ^bb0(%row: index, %i: index):
    %c40 = arith.constant 40 : index
    %column = arith.muli %i, %c40 : index
    %element = tensor.extract %out[%row, %column] : tensor<4x64xbf16>
    %wide = arith.extf %element : bf16 to f32
    %integer = arith.fptosi %wide : f32 to i32
    tensor.yield %integer : i32
  } : tensor<4x2xi32>
  %buffer = bufferization.to_buffer %picked : tensor<4x2xi32> to memref<4x2xi32>
  %unranked = memref.cast %buffer : memref<4x2xi32> to memref<*xi32>
  call @printMemrefI32(%unranked) : (memref<*xi32>) -> ()
  return
}

// Temporaries, constants and what the host fills are all within the kernel's reach.
func.func @main() {
  %x = arith.constant dense<3.0> : tensor<4x64xbf16>
  %map = arith.constant dense<[5, -1, 0, 3]> : tensor<4xi32>
  %n_used = arith.constant dense<3> : tensor<i32>
  %one = arith.constant 1.0 : bf16
  %empty = tensor.empty() : tensor<4x64xbf16>
  %filled = linalg.fill ins(%one : bf16) outs(%empty : tensor<4x64xbf16>) -> tensor<4x64xbf16>
  %out = moe.padded_squared_relu
    ins(%x, %map, %n_used : tensor<4x64xbf16>, tensor<4xi32>, tensor<i32>)
    outs(%filled : tensor<4x64xbf16>) -> tensor<4x64xbf16>
  call @print(%out) : (tensor<4x64xbf16>) -> ()
  return
}
"""


def run_program(tmp_path: Path, chip: str, environment: dict[str, str],
                text: str = PROGRAM) -> subprocess.CompletedProcess:
    source, lowered = tmp_path / "program.mlir", tmp_path / "lowered.mlir"
    source.write_text(text)
    subprocess.run([checkout.BIN_DIR / "moe-opt", f"--moe-lower-to-cuda=chip={chip}", source, "-o",
                    lowered], check=True)
    libraries = [LIBRARY, LLVM / "lib/libmlir_runner_utils.so", LLVM / "lib/libmlir_c_runner_utils.so"]
    return subprocess.run(
        [LLVM / "bin/mlir-runner", lowered, "-e", "main", "--entry-point-result=void",
         "--shared-libs=" + ",".join(map(str, libraries))],
        env=environment, text=True, capture_output=True, check=False)


def check_program(done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 0, done.stderr
    rows = done.stdout.replace(" ", "").replace("\n", "").partition("data=")[2]
    assert rows == "[[9,9],[1,1],[9,9],[1,1]]", done.stdout


@needs_tools
@pytest.mark.parametrize("chip", ["sm_80", "sm_90", "sm_100"])
def test_program(tmp_path: Path, driver_path: Path, chip: str) -> None:
    process = FakeProcess(driver_path, tmp_path / "driver")
    check_program(run_program(tmp_path, chip, process.environment))
    calls = process.take_calls()
    assert calls["cuLaunchKernel"] == 1
    process.check_nothing_left(calls)


@needs_tools
def test_program_on_a_gpu(tmp_path: Path) -> None:
    if not machine.has_gpu():
        pytest.skip("no GPU")
    check_program(run_program(tmp_path, "sm_80", dict(os.environ)))


@needs_tools
def test_program_without_a_driver(tmp_path: Path) -> None:
    if machine.has_gpu():
        pytest.skip("there is a GPU")
    done = run_program(tmp_path, "sm_90", dict(os.environ))
    assert done.returncode == 1
    assert done.stderr.startswith("mgpuModuleLoadJIT: libcuda.so.1 could not be opened: ")
    assert done.stdout == ""
