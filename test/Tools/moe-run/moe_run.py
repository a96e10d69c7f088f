# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe-run as the tests run it. MOE_BIN_DIR names the folder of the tool."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
from moe_testing import checkout, fake_driver

MOE_RUN = checkout.BIN_DIR / "moe-run"


def identity(type_: str) -> str:
    return f"func.func @f(%x: {type_}) {{ return }}"


class Tool:
    """Runs the tool in a folder of its own, on arrays that it saves there."""

    def __init__(self, folder: Path, device: str, fake: fake_driver.FakeProcess | None):
        self.folder = folder
        self.device = device
        self.fake = fake
        # Variables on top of those of this process, and a command before the tool's.
        self.environment: dict[str, str] = {}
        self.launcher: list[str] = []

    def save(self, name: str, array: np.ndarray) -> str:
        np.save(self.folder / name, array)
        return name

    def __call__(
        self, text: str, entry: str, arrays=(), *options: str, stdin: bool = False
    ) -> subprocess.CompletedProcess:
        """`arrays` may hold the names of files too."""
        (self.folder / "input.mlir").write_text(text)
        command = [MOE_RUN, "-" if stdin else "input.mlir", "--entry", entry]
        if not any(option.startswith("--device") for option in options):
            command.append(f"--device={self.device}")
        for index, array in enumerate(arrays):
            name = array if isinstance(array, str) else self.save(f"arg{index}.npy", array)
            command += ["--arg", name]
        return subprocess.run(
            [*self.launcher, *command, *options],
            cwd=self.folder,
            input=text if stdin else None,
            capture_output=True,
            text=True,
            timeout=120,
            env={**(self.fake.environment if self.fake else os.environ), **self.environment},
        )

    def succeed(self, *args, **kwargs) -> str:
        result = self(*args, **kwargs)
        assert result.returncode == 0, result.stderr
        assert result.stdout == ""
        if self.fake:
            self.fake.check_nothing_left(self.fake.take_calls())
        return result.stderr

    def fail(self, *args, diagnostics: bool = False, **kwargs) -> str:
        """The message, after checks that hold for each failure."""
        before = {p.name for p in self.folder.iterdir()}
        result = self(*args, **kwargs)
        assert result.returncode == 1, result
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert lines[-1].startswith("moe-run: error: "), result.stderr
        assert diagnostics or len(lines) == 1, result.stderr
        new = {p.name for p in self.folder.iterdir()} - before
        assert all(re.fullmatch(r"input\.mlir|arg\d+\.npy", name) for name in new), new
        return lines[-1].removeprefix("moe-run: error: ")

    def load(self, name: str) -> np.ndarray:
        return np.load(self.folder / name, allow_pickle=False)
