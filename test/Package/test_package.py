# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The installed package, which can be moved, the plugin, and how the binaries are linked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from moe_testing import checkout, machine

ROOT, BUILD = checkout.ROOT, checkout.BUILD
LLVM_BIN = checkout.LLVM / "bin"
PLUGIN = BUILD / "lib" / "MoePlugin.so"
TOOLS = ["moe-lsp-server", "moe-opt", "moe-run", "moe-translate"]
LIBRARIES = ["MoePlugin.so", "libmoe_mgpu_runtime.so", "libmoe_runtime.so"]
MODEL = ROOT / "examples" / "routed-moe" / "activation.mlir"

pytestmark = pytest.mark.needs(machine.BUILD_TREE, "cmake", "moe-opt")


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed, elsewhere than where it was installed to."""
    folder = tmp_path_factory.mktemp("package")
    installed = run("cmake", "--install", BUILD, "--prefix", folder / "installed")
    assert installed.returncode == 0, installed.stderr
    return (folder / "installed").rename(folder / "moved")


@pytest.fixture(scope="module", params=["prefix", "build tree"])
def moved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix or a build tree that was moved: the folder of bin and lib."""
    if request.param == "prefix":
        return request.getfixturevalue("prefix")
    folder = tmp_path_factory.mktemp("build")
    (folder / "lib").mkdir()
    shutil.copytree(BUILD / "bin", folder / "bin")
    for library in BUILD.glob("lib/*.so"):
        shutil.copy2(library, folder / "lib")
    return folder


def test_downstream_project_builds_from_the_installed_package(prefix: Path,
                                                              tmp_path: Path) -> None:
    configured = run("cmake", "-S", ROOT / "examples" / "downstream", "-B", tmp_path / "build",
                     "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}")
    assert configured.returncode == 0, configured.stdout + configured.stderr
    # Nothing of the source or build tree is on its include path.
    flags = (tmp_path / "build" / "build.ninja").read_text()
    assert f"-I{ROOT}/include" not in flags and f"{BUILD}/include" not in flags
    built = run("cmake", "--build", tmp_path / "build")
    assert built.returncode == 0, built.stdout
    result = run(tmp_path / "build" / "expert-compiler")
    assert result.returncode == 0, result.stderr
    assert ".target sm_90" in result.stdout
    assert "squared_relu_quantize_mxfp8(" in result.stdout
    assert "cvt.rn.satfinite.e4m3x2.f32" in result.stdout


# Of x = 1.5: 2.25 = 288 * 2^-7, and 288 is 0x79 in E4M3.
PRINTED = ["row 0: scale 120, data 0x79", "row 1: scale 0, data 0", "row 2: scale 120, data 0x79"]


@pytest.fixture(scope="module")
def runtime_prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The component of the runtime alone, elsewhere than where it was installed to."""
    folder = tmp_path_factory.mktemp("runtime")
    installed = run("cmake", "--install", BUILD, "--component", "MoeRuntime", "--prefix",
                    folder / "installed")
    assert installed.returncode == 0, installed.stderr
    return (folder / "installed").rename(folder / "moved")


def test_component_of_the_runtime_has_nothing_of_the_compiler(runtime_prefix: Path) -> None:
    files = {str(path.relative_to(runtime_prefix)) for path in runtime_prefix.rglob("*")
             if path.is_file()}
    package = {path for path in files if path.startswith("lib/cmake/MoeRuntime/")}
    assert "lib/cmake/MoeRuntime/MoeRuntimeConfig.cmake" in package
    assert files - package == {
        "include/moe-c/MgpuRuntime.h", "include/moe-c/Runtime.h", "include/moe/Runtime/Runtime.h",
        "lib/libmoe_mgpu_runtime.so", "lib/libmoe_runtime.so", "lib/pkgconfig/moe-runtime.pc",
        "share/doc/moe-mlir/LICENSE"}
    licence = (runtime_prefix / "share/doc/moe-mlir/LICENSE").read_text()
    assert licence == (ROOT / "LICENSE").read_text()


def test_c_program_finds_the_runtime_with_cmake_and_no_mlir(runtime_prefix: Path,
                                                            tmp_path: Path) -> None:
    configured = run("cmake", "-S", ROOT / "examples" / "runtime", "-B", tmp_path, "-G", "Ninja",
                     f"-DCMAKE_PREFIX_PATH={runtime_prefix}",
                     "-DCMAKE_DISABLE_FIND_PACKAGE_MLIR=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_LLVM=ON")
    assert configured.returncode == 0, configured.stdout + configured.stderr
    # CMake's own modules have LLVM in their names.
    assert not re.search(r"lib(LLVM|MLIR)|llvm-22", (tmp_path / "build.ninja").read_text())
    built = run("cmake", "--build", tmp_path)
    assert built.returncode == 0, built.stdout
    result = run(tmp_path / "activation")
    assert result.stdout.splitlines() == PRINTED, result.stderr


@pytest.mark.needs("pkg-config", machine.C_COMPILER)
def test_c_program_finds_the_runtime_with_pkg_config(runtime_prefix: Path, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PKG_CONFIG_PATH", "")
    monkeypatch.setenv("PKG_CONFIG_LIBDIR", str(runtime_prefix / "lib" / "pkgconfig"))
    asked = run("pkg-config", "--cflags", "--libs", "moe-runtime")
    assert asked.returncode == 0, asked.stderr
    version = run("pkg-config", "--modversion", "moe-runtime").stdout.strip()
    assert version == re.search(r"VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text()
                                .split("project(")[1])[1]
    program = tmp_path / "activation"
    built = run(os.environ.get("CC", "cc"), ROOT / "examples" / "runtime" / "activation.c",
                *asked.stdout.split(), f"-Wl,-rpath,{runtime_prefix / 'lib'}", "-o", program)
    assert built.returncode == 0, built.stderr
    result = run(program)
    assert result.stdout.splitlines() == PRINTED, result.stderr


def test_everything_that_is_installed_is_tested_below(prefix: Path) -> None:
    assert {p.name for p in (prefix / "bin").iterdir()} == set(TOOLS)
    assert {p.name for p in (prefix / "lib").glob("*.so*")} == set(LIBRARIES)


@pytest.mark.parametrize("name", TOOLS + LIBRARIES)
def test_no_path_of_this_machine_but_that_of_llvm(moved: Path, name: str) -> None:
    """In the search path of a moved binary; an empty entry would be the current folder."""
    dynamic = run("readelf", "-d", moved / ("bin" if name in TOOLS else "lib") / name).stdout
    paths = re.findall(r"R(?:UN)?PATH.*\[(.*)\]", dynamic)
    for path in paths[0].split(":") if paths else []:
        assert path.startswith("$ORIGIN/") or Path(path) == LLVM_BIN.parent / "lib", dynamic


def test_moved_compiler_runs(moved: Path) -> None:
    lowered = run(moved / "bin" / "moe-opt", MODEL, "--moe-lower-to-ptx=chip=sm_90")
    assert lowered.returncode == 0, lowered.stderr
    translated = subprocess.run([moved / "bin" / "moe-translate", "--moe-to-ptx"], check=False,
                                input=lowered.stdout, capture_output=True, text=True)
    assert translated.returncode == 0, translated.stderr
    assert ".target sm_90" in translated.stdout


def test_moved_moe_run_runs(moved: Path, tmp_path: Path) -> None:
    x = np.full((3, 64), 1.5, ml_dtypes.bfloat16)
    arrays = {"x": x, "map": np.array([0, -1, 1], np.int32), "n": np.array(3, np.int32),
              "out": np.zeros((3, 64), ml_dtypes.bfloat16)}
    command = [moved / "bin" / "moe-run", "relu.mlir", "--entry", "relu", "--save", "3=out.npy"]
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
        command += ["--arg", f"{name}.npy"]
    (tmp_path / "relu.mlir").write_text("""
        func.func @relu(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                        %out: memref<?x64xbf16>) {
          moe.padded_squared_relu
            ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>)
            outs(%out : memref<?x64xbf16>)
          return
        }""")
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    out = np.load(tmp_path / "out.npy").view(ml_dtypes.bfloat16)
    assert out[:, 0].tolist() == [2.25, 0, 2.25]


def test_moved_language_server_answers(moved: Path) -> None:
    body = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
    bye = '{"jsonrpc":"2.0","method":"exit"}'
    messages = "".join(f"Content-Length: {len(m)}\r\n\r\n{m}" for m in (body, bye))
    result = subprocess.run([moved / "bin" / "moe-lsp-server"], input=messages, timeout=60,
                            capture_output=True, text=True, check=False)
    assert '"capabilities"' in result.stdout


@pytest.mark.parametrize("library, call", [("libmoe_runtime.so", "moeGetVersion"),
                                           ("libmoe_mgpu_runtime.so", "moeMgpuSetErrorHandler")])
def test_moved_library_is_opened(moved: Path, library: str, call: str) -> None:
    code = f"import ctypes; ctypes.CDLL({str(moved / 'lib' / library)!r}).{call}(None)"
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr


def test_moved_plugin_is_loaded(moved: Path) -> None:
    result = plugin_opt("--pass-pipeline=builtin.module(moe-lower-to-cpu)", MODEL,
                        plugin=moved / "lib" / "MoePlugin.so")
    assert result.returncode == 0, result.stderr
    assert "llvm.func" in result.stdout


def plugin_opt(*arguments: object, plugin: Path = PLUGIN) -> subprocess.CompletedProcess:
    return run(LLVM_BIN / "mlir-opt", f"--load-dialect-plugin={plugin}",
               f"--load-pass-plugin={plugin}", *arguments)


@pytest.mark.needs("mlir-opt", PLUGIN.name)
def test_unmodified_mlir_opt_loads_the_dialect() -> None:
    result = plugin_opt(MODEL)
    assert result.returncode == 0, result.stderr
    assert "moe.padded_squared_relu" in result.stdout


@pytest.mark.needs("mlir-opt", PLUGIN.name)
@pytest.mark.parametrize("pipeline, expected", [
    ("moe-choose-schedule{num-ctas=7},convert-moe-to-gpu", "gpu.launch_func"),
    ("convert-moe-to-scf", "scf.for"),
    ("moe-lower-to-ptx{chip=sm_90}", ".target sm_90"),
    ("moe-lower-to-cpu", "llvm.func"),
])
def test_unmodified_mlir_opt_runs(pipeline: str, expected: str) -> None:
    result = plugin_opt(f"--pass-pipeline=builtin.module({pipeline})", MODEL)
    assert result.returncode == 0, result.stderr
    assert expected in result.stdout and "moe.padded_squared_relu ins" not in result.stdout


@pytest.mark.needs("readelf", "nm")
@pytest.mark.parametrize("binary", ["bin/moe-opt", "bin/moe-translate", "bin/moe-run",
                                    "bin/moe-lsp-server", "lib/MoePlugin.so"])
def test_mlir_is_linked_once(binary: str) -> None:
    """libMLIR.so is needed, and nothing that it defines is defined again.

    A second copy of MLIR would have type ids of its own, and casts would fail at random.
    """
    machine.need(Path(binary).name)
    needed = run("readelf", "-d", BUILD / binary).stdout
    assert len(re.findall(r"NEEDED.*libMLIR\.so", needed)) == 1
    symbols = run("nm", "-C", "--defined-only", BUILD / binary).stdout
    assert not re.search(r" T mlir::(MLIRContext|Operation|PassManager)::", symbols)


@pytest.mark.needs(machine.BUILD_TREE)
def test_link_command_has_no_mlir_archives() -> None:
    assert not re.search(r"libMLIR\w+\.a", (BUILD / "build.ninja").read_text())


@pytest.fixture(scope="module")
def own_opt(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool of examples/own-op, built from the installed package."""
    folder = tmp_path_factory.mktemp("own-op")
    configured = run("cmake", "-S", ROOT / "examples" / "own-op", "-B", folder, "-G", "Ninja",
                     f"-DCMAKE_PREFIX_PATH={prefix}")
    assert configured.returncode == 0, configured.stdout + configured.stderr
    built = run("cmake", "--build", folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "own-opt"


LEAKY = ROOT / "examples" / "own-op" / "leaky.mlir"


def test_op_of_another_dialect_is_fused_and_lowered_as_ours(own_opt: Path) -> None:
    fused = run(own_opt, LEAKY, "--moe-fuse-quantize")
    assert fused.returncode == 0, fused.stderr
    assert fused.stdout.count("moe.map_rows") == 1 and "own." not in fused.stdout
    for pipeline in ["--moe-lower-to-cpu", "--moe-lower-to-ptx", "--moe-lower-to-cuda"]:
        lowered = run(own_opt, LEAKY, pipeline)
        assert lowered.returncode == 0, lowered.stderr
        assert "own." not in lowered.stdout and "moe.map_rows" not in lowered.stdout


def test_op_of_another_dialect_is_verified_as_ours(own_opt: Path, tmp_path: Path) -> None:
    source = tmp_path / "narrow.mlir"
    source.write_text(
        "func.func @f(%x: memref<8x64xbf16>, %map: memref<8xi32>, %n: memref<i32>,\n"
        "             %out: memref<8x32xbf16>) {\n"
        "  own.padded_leaky_relu ins(%x, %map, %n : memref<8x64xbf16>, memref<8xi32>, memref<i32>)\n"
        "    outs(%out : memref<8x32xbf16>)\n"
        "  return\n}\n")
    result = run(own_opt, source)
    assert result.returncode != 0
    assert ("'own.padded_leaky_relu' op expected 'out' to be a matrix [8, 64] of 'bf16', "
            "found 'memref<8x32xbf16>' (C5)") in result.stderr


def test_op_of_another_dialect_checks_its_sizes_at_run_time(own_opt: Path) -> None:
    checked = run(own_opt, LEAKY, "--generate-runtime-verification")
    assert checked.returncode == 0, checked.stderr
    assert "expected the destination to have as many rows as 'x' (C5)" in checked.stdout
