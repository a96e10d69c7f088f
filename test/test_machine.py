# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the tests say of a machine that lacks something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from moe_testing import checkout, fake_driver, machine


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOE_TESTS_SKIP_NOTHING", raising=False)
    machine.why_not.cache_clear()
    yield
    machine.why_not.cache_clear()


def write_program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_tool_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "BIN_DIR", tmp_path)
    message = f"^needs moe-run: {tmp_path}/moe-run is not there$"
    with pytest.raises(pytest.skip.Exception, match=message):
        machine.need("moe-run")
    monkeypatch.setenv("MOE_TESTS_SKIP_NOTHING", "1")
    with pytest.raises(pytest.fail.Exception, match=message):
        machine.need("moe-run")


def test_a_tool_whose_libraries_are_not_there(monkeypatch: pytest.MonkeyPatch,
                                              tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "BIN_DIR", tmp_path)
    write_program(tmp_path, "moe-opt", "echo $0: error while loading shared libraries: "
                  "libMLIR.so.22: cannot open shared object file >&2; exit 127")
    with pytest.raises(pytest.skip.Exception,
                       match="^needs moe-opt: .*/moe-opt does not start without libMLIR.so.22$"):
        machine.need("moe-opt")
    # Another failure is the tool's own, and no reason to skip its tests.
    write_program(tmp_path, "moe-translate", "echo broken >&2; exit 3")
    machine.need("moe-translate")


def test_commands_and_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "LIB_DIR", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "some-compiler")
    for name, reason in ((machine.C_COMPILER, "some-compiler is not on the PATH"),
                         ("readelf", "readelf is not on the PATH"),
                         ("MoePlugin.so", f"{tmp_path}/MoePlugin.so is not there")):
        assert machine.why_not(name) == reason
    machine.why_not.cache_clear()
    for name in ("some-compiler", "readelf", "MoePlugin.so"):
        write_program(tmp_path, name, "")
    machine.need(machine.C_COMPILER, "readelf", "MoePlugin.so")


def test_the_fake_driver_goes_before_other_libraries(monkeypatch: pytest.MonkeyPatch,
                                                     tmp_path: Path) -> None:
    driver = tmp_path / "driver" / "libcuda.so.1"
    for before, after in (("/llvm/lib:/more", [driver.parent, "/llvm/lib", "/more"]),
                          ("", [driver.parent])):
        monkeypatch.setenv("LD_LIBRARY_PATH", before)
        environment = fake_driver.FakeProcess(driver, tmp_path / "process").environment
        assert environment["LD_LIBRARY_PATH"] == ":".join(map(str, after))


def test_a_test_with_a_driver_open_runs_in_a_new_process(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a driver is open, the test must not run in a fork of this process."""
    ran = []
    monkeypatch.setattr(fake_driver, "_driver_is_open", lambda: True)
    monkeypatch.setattr(fake_driver, "_in_new_process", ran.append)
    fake_driver.in_child(lambda: pytest.fail("ran in a fork"))()
    assert ran == [__file__]


@pytest.mark.needs(machine.C_COMPILER, "libmoe_mgpu_runtime.so")
def test_new_processes_have_no_driver_open(tmp_path: Path) -> None:
    """A whole run of pytest that has a driver open from its start."""
    driver = fake_driver.build(tmp_path)
    (tmp_path / "open_driver.py").write_text(f"import ctypes; ctypes.CDLL({str(driver)!r})\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "open_driver",
         f"{checkout.ROOT}/test/Runtime/test_mgpu.py", "-k", "test_contexts or end_the_process"],
        env={**os.environ, "PYTHONPATH": checkout.python_path(tmp_path)}, text=True,
        capture_output=True, check=False)
    assert done.returncode == 0 and "11 passed" in done.stdout, done.stdout + done.stderr
