# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a test, or a program, in a process of its own with fake_cuda.c as its CUDA driver.

A process opens its driver once, so a test of how it is opened, or of what is in a context, needs a
process that has none yet.
"""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from ctypes import c_char, c_char_p, c_int, c_uint, c_uint64, c_ulonglong, c_void_p
from pathlib import Path

import pytest

from . import machine
from .checkout import python_path

SOURCE = Path(__file__).with_name("fake_cuda.c")


class Launch(ctypes.Structure):
    _fields_ = [("name", c_char * 96), ("grid", c_uint * 3), ("block", c_uint * 3),
                ("shared_memory", c_uint), ("stream", c_void_p), ("num_parameters", c_int),
                ("parameters", c_uint64 * 64), ("programmatic", c_int), ("cluster", c_uint * 3),
                ("context", c_ulonglong)]


def build(folder: Path, *flags: str) -> Path:
    """Compiles the driver into `folder`; skips the test where nothing compiles it."""
    machine.need(machine.C_COMPILER)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "libcuda.so.1"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-pthread", "-Wl,-soname,libcuda.so.1", *flags,
                    "-o", path, SOURCE], check=True)
    return path


class FakeDriver:
    """The tests' side of the driver. Opening it here is what makes the runtime's dlopen find it."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.fake_create_context.restype = c_void_p
        self.library.fake_launch.restype = ctypes.POINTER(Launch)
        self.library.fake_calls.restype = c_char_p
        self.library.fake_last_image.restype = c_void_p
        self.library.fake_set_device_memory.argtypes = [c_uint64, c_uint64]

    def create_context(self) -> int:
        """A new context, made current."""
        context = self.library.fake_create_context()
        self.make_current(context)
        return context

    def make_current(self, context: int | None) -> None:
        self.library.fake_make_current(c_void_p(context))

    def current_device(self) -> int:
        return self.library.fake_current_device()

    def replace_context(self, context: int) -> None:
        self.library.fake_replace_context(c_void_p(context))

    def set_device(self, capability: int = 90, num_sms: int = 132) -> None:
        self.library.fake_set_device(capability, num_sms)

    def set_machine_code(self, text: str | None) -> None:
        """The PTX whose constants those of machine code are."""
        self.library.fake_set_machine_code(text.encode() if text else None)

    def fail(self, call: str, code: int) -> None:
        self.library.fake_fail(call.encode(), code)

    def set_capturing(self, value: bool) -> None:
        self.library.fake_set_capturing(int(value))

    def set_missing_suffix(self, suffix: str) -> None:
        self.library.fake_set_missing_suffix(suffix.encode())

    def set_device_memory(self, begin: int, end: int) -> None:
        self.library.fake_set_device_memory(begin, end)

    def set_device_shift(self, shift: int) -> None:
        """How much further on than the host the device sees the same memory."""
        self.library.fake_set_device_shift(c_uint64(shift))

    def take_calls(self) -> list[str]:
        """The driver calls since the last time, whose launches are forgotten too."""
        calls = self.library.fake_calls().decode().split()
        self.library.fake_clear()
        return calls

    def launches(self) -> list[Launch]:
        return [self.library.fake_launch(i).contents
                for i in range(self.library.fake_num_launches())]

    def last_image(self, size: int) -> bytes:
        return ctypes.string_at(self.library.fake_last_image(), size)


class FakeProcess:
    """A program with the fake driver, whose launches the PTX interpreter runs."""

    def __init__(self, driver: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        launcher = f"'{sys.executable}' -m moe_testing.run_launch '{folder}'"
        self.environment = {**machine.with_library_path(driver.parent),
                            "PYTHONPATH": python_path(),
                            "FAKE_CUDA_FOLDER": str(folder), "FAKE_CUDA_LAUNCHER": launcher}

    def take_calls(self) -> Counter[str]:
        """How often each driver function was called since the last time."""
        path = self.folder / "calls"
        calls = Counter(path.read_text().split()) if path.exists() else Counter()
        path.unlink(missing_ok=True)
        return calls

    def check_nothing_left(self, calls: Counter[str]) -> None:
        """Everything that was made has been freed."""
        allocated = calls["cuMemAlloc_v2"] + calls["cuMemAllocManaged"]
        assert allocated == calls["cuMemFree_v2"], calls
        assert calls["cuStreamCreate"] == calls["cuStreamDestroy_v2"], calls
        assert calls["cuEventCreate"] == calls["cuEventDestroy_v2"], calls
        assert calls["cuModuleLoadDataEx"] == calls["cuModuleUnload"], calls


def _driver_is_open() -> bool:
    return "/libcuda.so" in Path("/proc/self/maps").read_text()


def _in_new_process(file: str) -> None:
    """Runs the current test in a pytest of its own. A child of this process would have the driver
    that this process has opened, PyTorch's say, and a driver does not work after a fork.
    """
    assert "MOE_TESTS_NEW_PROCESS" not in os.environ, "a new process has opened a driver, too"
    test = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].rpartition(" ")[0]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", f"{file}::{test}"],
        env={**os.environ, "MOE_TESTS_NEW_PROCESS": "1"}, text=True, capture_output=True,
        check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if "1 passed" not in done.stdout:
        pytest.skip(f"in a process of its own: {done.stdout}")


def in_child(test: Callable[..., None]) -> Callable[..., None]:
    """The test, run in a process that has no driver yet; its failure is the test's."""

    @functools.wraps(test)
    def run(*arguments: object, **named: object) -> None:
        if _driver_is_open():
            _in_new_process(test.__code__.co_filename)
            return
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reader)
                test(*arguments, **named)
                status = 0
            except BaseException:
                os.write(writer, traceback.format_exc().encode()[:60000])
            finally:
                os._exit(status)
        os.close(writer)
        with open(reader, "rb") as pipe:
            report = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        assert status == 0, report or f"the child process ended with wait status {status}"

    return run
