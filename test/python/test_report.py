# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m moe_mlir: versions, library, kernels, devices, variables."""

from __future__ import annotations

import ctypes
import platform
from typing import Any

import moe_mlir
import pytest
from moe_mlir import __main__ as report
from moe_mlir import _runtime


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert report.main([]) == 0
    return capsys.readouterr().out.splitlines()


def test_versions_and_library(capsys: pytest.CaptureFixture[str]) -> None:
    text = lines(capsys)
    assert text[0].startswith(f"moe_mlir {moe_mlir.__version__}, ")
    assert text[1].startswith(f"Python {platform.python_version()}, ")
    assert f"runtime library: {_runtime.path}" in text
    for part in moe_mlir.runtime_description().split("; "):
        assert f"  {part}" in text
    assert f"headers: {moe_mlir.get_include()}" in text


def test_variables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("MOE_BIN_DIR", raising=False)
    monkeypatch.setenv("MOE_LOG", "0")
    text = {line.split()[0]: line for line in lines(capsys) if line}
    assert text["MOE_BIN_DIR"].split(maxsplit=1)[1].startswith("not set ")
    assert text["MOE_LOG"].split(maxsplit=1)[1].startswith("'0' ")
    assert set(report.VARIABLES) <= set(text)


def test_a_package_that_is_not_there() -> None:
    assert report._version_of("no_such_package_of_moe") == "not installed"


class Driver:
    """As much of the CUDA driver as is asked, with devices of these capabilities."""

    def __init__(self, *capabilities: tuple[int, int], status: int = 0) -> None:
        self.capabilities = capabilities
        self.status = status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13020
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.capabilities)
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device._obj.value = 40 + ordinal
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        name.value = b"card %d" % device.value
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = self.capabilities[device.value - 40][{75: 0, 76: 1}[attribute]]
        return 0


@pytest.mark.parametrize("driver, expected", [
    (Driver((9, 0), (7, 5), (12, 1)),
     ["CUDA: driver for CUDA 13.2", "cuda:0: card 40, sm_90",
      "cuda:1: card 41, sm_75, which no kernel is for: sm_80 is the least",
      "cuda:2: card 42, sm_121"]),
    (Driver(), ["CUDA: driver for CUDA 13.2", "CUDA: no device"]),
    (Driver((9, 0), status=100), ["CUDA: the driver fails with error 100"]),
    (object(), ["CUDA: the driver lacks a function: 'object' object has no attribute 'cuInit'"]),
])
def test_devices(monkeypatch: pytest.MonkeyPatch, driver: object, expected: list[str]) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert list(report._cuda_lines()) == expected


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(f"{name}: not there")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert list(report._cuda_lines()) == ["CUDA: no driver (libcuda.so.1: not there)"]


def test_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        report.main(["--verbose"])
    assert "usage: python -m moe_mlir" in capsys.readouterr().err
