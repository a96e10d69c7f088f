# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The installed package, the plugin, and how the binaries are linked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import machine

ROOT, BUILD = machine.ROOT, machine.BUILD
LLVM_BIN = machine.LLVM / "bin"
PLUGIN = BUILD / "lib" / "MoePlugin.so"
MODEL = ROOT / "examples" / "routed-moe" / "activation.mlir"


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)


@pytest.mark.needs(machine.BUILD_TREE, "cmake", "ninja", machine.CXX_COMPILER, "moe-opt")
def test_downstream_project_builds_from_the_installed_package(tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    installed = run("cmake", "--install", BUILD, "--prefix", prefix)
    assert installed.returncode == 0, installed.stderr
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


@pytest.mark.needs(machine.BUILD_TREE, "cmake", "moe-opt")
def test_installed_tools_run(tmp_path: Path) -> None:
    assert run("cmake", "--install", BUILD, "--prefix", tmp_path).returncode == 0
    result = run(tmp_path / "bin" / "moe-opt", MODEL, "--moe-lower-to-cpu")
    assert result.returncode == 0, result.stderr


needs_plugin = pytest.mark.needs("mlir-opt", PLUGIN.name)


def plugin_opt(*arguments: object) -> subprocess.CompletedProcess:
    return run(LLVM_BIN / "mlir-opt", f"--load-dialect-plugin={PLUGIN}",
               f"--load-pass-plugin={PLUGIN}", *arguments)


@needs_plugin
def test_unmodified_mlir_opt_loads_the_dialect() -> None:
    result = plugin_opt(MODEL)
    assert result.returncode == 0, result.stderr
    assert "moe.padded_squared_relu" in result.stdout


@needs_plugin
@pytest.mark.parametrize("pipeline, expected", [
    ("convert-moe-to-gpu{num-ctas=7}", "gpu.launch_func"),
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


@pytest.mark.needs("moe-lsp-server")
def test_language_server_answers() -> None:
    body = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}'
    bye = '{"jsonrpc":"2.0","method":"exit"}'
    messages = "".join(f"Content-Length: {len(m)}\r\n\r\n{m}" for m in (body, bye))
    result = subprocess.run([BUILD / "bin" / "moe-lsp-server"], input=messages, timeout=60,
                            capture_output=True, text=True, check=False)
    assert '"capabilities"' in result.stdout
