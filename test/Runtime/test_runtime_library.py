# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The libraries as files: what they need, what they export, what they carry; and their headers."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from moe_testing import batches, checkout, fatbinary, machine, oracle
from moe_testing import runtime as moe
from moe_testing.fake_driver import build

ROOT = Path(__file__).resolve().parents[2]

HEADERS = {"moe_runtime": "moe-c/Runtime.h", "moe_mgpu_runtime": "moe-c/MgpuRuntime.h"}
KERNELS = checkout.LIB_DIR / "Kernels"


def run(*command: object, **options: object) -> str:
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True,
                          check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def library(name: str) -> Path:
    machine.need(f"lib{name}.so")
    return moe.LIBRARY.with_name(f"lib{name}.so")


needs_compilers = pytest.mark.needs(machine.C_COMPILER, machine.CXX_COMPILER)
needs_readelf = pytest.mark.needs("readelf")


@needs_readelf
@pytest.mark.parametrize("name", HEADERS)
def test_needs_the_c_library_alone(name: str) -> None:
    dynamic = run("readelf", "-d", library(name))
    needed = re.findall(r"NEEDED\).*\[(.*)\]", dynamic)
    # libm, which is of the C library, for processors without FMA.
    assert set(needed) <= {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0",
                           "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic


@needs_readelf
@pytest.mark.parametrize("name", HEADERS)
def test_exports_what_the_header_declares(name: str) -> None:
    symbols = run("readelf", "-W", "--dyn-syms", library(name))
    exported = {line.split()[7].split("@")[0] for line in symbols.splitlines()
                if re.search(r"\b(GLOBAL|WEAK|UNIQUE)\b", line) and " UND " not in line}
    header = (ROOT / "include" / HEADERS[name]).read_text()
    if name == "moe_runtime":
        # For the Python package.
        header += (ROOT / "lib" / "Runtime" / "PythonCalls.h").read_text()
    declared = set(re.findall(r"\b((?:moe|mgpu)[A-Z]\w*)\(",
                              re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)))
    assert exported == declared


@pytest.mark.parametrize("name", HEADERS)
def test_does_not_carry_paths(name: str) -> None:
    assert str(ROOT).encode() not in library(name).read_bytes()


def test_version_and_description() -> None:
    version = re.search(r"VERSION (\d+)\.(\d+)\.(\d+)", (ROOT / "CMakeLists.txt").read_text()
                        .split("project(moe-mlir")[1])
    major, minor, patch = map(int, version.groups())
    assert moe.library.moeGetVersion() == 10000 * major + 100 * minor + patch
    text = moe.description()
    assert text.startswith(f"moe-mlir {major}.{minor}.{patch}; CPU kernels for ")
    code = moe.LIBRARY.read_bytes()
    start = code.find(fatbinary.START)
    if "PTX alone" in text:
        assert text.endswith("GPU kernels as PTX alone for sm_80, sm_89, sm_90, sm_100")
        assert start < 0
    else:
        assert text.endswith("GPU kernels as machine code for sm_80, sm_86, sm_89, sm_90, sm_100, "
                             "sm_103, sm_120, and PTX")
        images = list(fatbinary.images(code[start:]))
        assert {image.kind for image in images} == {fatbinary.PTX, fatbinary.MACHINE_CODE}
        assert sorted(image.capability for image in images
                      if image.kind == fatbinary.MACHINE_CODE) == [80, 86, 89, 90, 100, 103, 120]


@needs_compilers
def test_headers_compile_alone(tmp_path: Path) -> None:
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", f"-I{ROOT}/include"]
    source = tmp_path / "header.c"
    source.write_text('#include "moe-c/Runtime.h"\n'
                      "int main(void) { return moeGetVersion() == 0; }\n")
    run(os.environ.get("CC", "cc"), "-std=c99", *flags, source)
    source.write_text('#include "moe-c/MgpuRuntime.h"\n'
                      "int main(void) { return mgpuStreamCreate() == NULL; }\n")
    run(os.environ.get("CC", "cc"), "-std=c99", *flags, source)
    for header in (*HEADERS.values(), "moe/Runtime/Runtime.h"):
        source = tmp_path / "header.cpp"
        source.write_text(f'#include "{header}"\n')
        run(os.environ.get("CXX", "c++"), "-std=c++17", "-fno-exceptions", "-fno-rtti", *flags,
            source)


@needs_compilers
def test_cpp(tmp_path: Path) -> None:
    """A program that uses the C++ wrapper, on the CPU and with the fake driver."""
    program = tmp_path / "program"
    run(os.environ.get("CXX", "c++"), "-std=c++17", "-Wall", "-Wextra", "-Werror",
        f"-I{ROOT}/include", Path(__file__).with_name("program.cpp"), moe.LIBRARY,
        f"-Wl,-rpath,{checkout.LIB_DIR}", "-ldl", "-o", program)
    driver = build(tmp_path / "driver")
    ptx = tmp_path / "kernels.ptx"
    ptx.write_text(moe.embedded_ptx(90))
    assert run(program, ptx, env=machine.with_library_path(driver.parent)) == "passed\n"


@needs_compilers
def test_declarations_of_the_driver() -> None:
    homes = [os.environ.get(name) for name in ("CUDA_ROOT", "CUDA_HOME", "CUDA_PATH")]
    includes = [Path(home) / "include" for home in [*homes, "/usr/local/cuda"] if home]
    # Of scripts/requirements-cuda.txt.
    includes += Path(sysconfig.get_path("purelib")).glob("nvidia/cu*/include")
    include = next((path for path in includes if (path / "cuda.h").exists()), None)
    if include is None:
        pytest.skip("no cuda.h")
    run(os.environ.get("CXX", "c++"), "-std=c++17", "-fsyntax-only", f"-I{ROOT}/lib/Driver",
        f"-I{ROOT}/include", "-isystem", include, Path(__file__).with_name("check_driver.cpp"))


@pytest.mark.needs(machine.CXX_COMPILER)
def test_declarations_of_python_agree_with_its_headers() -> None:
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        pytest.skip("no Python.h")
    includes = [headers]
    torch = importlib.util.find_spec("torch")
    if torch and torch.origin:
        includes.append(Path(torch.origin).parent / "include")
    run(os.environ.get("CXX", "c++"), "-std=c++20", "-fsyntax-only", "-Wall", "-Werror",
        f"-I{ROOT}/lib/Runtime", *(part for path in includes for part in ("-isystem", path)),
        Path(__file__).with_name("check_python.cpp"))


# The library runs the best level that the machine has. The others are run here.


def levels() -> list[str]:
    return [path.stem.removeprefix("kernels-") for path in sorted(KERNELS.glob("kernels-*.o"))]


def supports(level: str) -> bool:
    flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(),
                          re.MULTILINE).group(1).split())
    needed = {"x86-64-v2": {"sse4_2", "ssse3", "popcnt"},
              "x86-64-v3": {"avx2", "bmi2", "fma", "f16c"},
              "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}}
    return needed.get(level, set()) <= flags


@pytest.mark.skipif(not KERNELS.is_dir(), reason=f"no objects of the kernels in {KERNELS}")
@pytest.mark.needs(machine.C_COMPILER)
@pytest.mark.parametrize("level", levels() or ["none"])
@pytest.mark.parametrize("K", [1024, 1856, 96])
def test_level(level: str, K: int, tmp_path: Path) -> None:
    if not supports(level):
        pytest.skip(f"this machine is not {level}")
    path = tmp_path / "kernels.so"
    run(os.environ.get("CC", "cc"), "-shared", "-o", path, KERNELS / f"kernels-{level}.o")
    kernels = ctypes.CDLL(str(path))
    prefix = f"cpu_{re.sub('[^a-zA-Z0-9]', '_', level)}_"

    def memref(array: np.ndarray) -> ctypes.Array:
        address = array.ctypes.data
        strides = [stride // array.itemsize for stride in array.strides]
        return (ctypes.c_int64 * (3 + 2 * array.ndim))(address, address, 0, *array.shape, *strides)

    x = batches.all_bf16_patterns(K)
    M = x.shape[0]
    rows = np.arange(M, dtype=np.int32)
    permutation_map = np.where(rows % 5 == 0, -rows - 1, rows)
    n_used = np.array(M - 3, np.int32)
    old_out = np.full((M, K), 0xABCD, np.uint16).view(ml_dtypes.bfloat16)
    old_data = np.full((M, K), 0xAB, np.uint8).view(ml_dtypes.float8_e4m3fn)
    inputs = (x, permutation_map, n_used)

    def launch(name: str, *outputs: np.ndarray) -> list[np.ndarray]:
        results = [output.copy() for output in outputs]
        getattr(kernels, prefix + name)(*map(memref, (*inputs, *results)))
        return results

    expected = [oracle.padded_squared_relu(*inputs, old_out)]
    found = launch("padded_squared_relu", old_out)
    for op in ("squared_relu_quantize_mxfp8", "quantize_mxfp8"):
        for layout in ("swizzle_32_4_4", "linear"):
            shape = (M, K // 32) if layout == "linear" else (moe.scale_size(M, K),)
            old_scale = np.full(shape, 0xCD, np.uint8).view(ml_dtypes.float8_e8m0fnu)
            for dead in ("zero", "untouched"):
                name = op + "_linear" * (layout == "linear") + "_untouched" * (dead == "untouched")
                found += launch(name, old_data, old_scale)
                expected += getattr(oracle, op)(*inputs, old_data, old_scale, scale_layout=layout,
                                                dead_scales=dead)
    assert len(found) == 17
    for result, want in zip(found, expected):
        assert np.array_equal(oracle.bits(result), oracle.bits(want))


