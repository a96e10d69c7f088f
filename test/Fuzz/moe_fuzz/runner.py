# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the project's tools: many modules in one moe-opt, one program in one moe-run.

A process that crashes or hangs says nothing of the modules behind the culprit, so the modules of
such a batch are then run one by one. MOE_BIN_DIR names the folder of the tools.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from moe_testing.checkout import BIN_DIR

from .program import DTYPES, Module, Shaped

MARKER = "// -----"
LOCATED_ERROR = re.compile(r"^(?:<stdin>|[\w./-]+\.mlir):(\d+):\d+: error: (.*)$", re.MULTILINE)
# For one module, and a second more for each of a batch.
TIMEOUT_S = 30


@dataclass(frozen=True)
class Outcome:
    """What a tool made of one module. `kind` is ok, refused, crash or hang; `text` what came out,
    the located errors, or what it said before it ended."""

    kind: str
    text: str = ""


def _execute(
    command: list[str], text: str, timeout: float, **kwargs
) -> tuple[int | None, str, str]:
    """Exit code (None after a timeout), stdout and stderr."""
    try:
        result = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            errors="replace",
            check=False,
            **kwargs,
        )
    except subprocess.TimeoutExpired:
        return None, "", ""
    return result.returncode, result.stdout, result.stderr


def run_tool(tool: str, options: list[str], texts: list[str]) -> list[Outcome]:
    """What `tool` makes of each module, in as few processes as it takes."""
    if not texts:
        return []
    command = [str(BIN_DIR / tool), *options, "--split-input-file", "-"]
    if tool == "moe-opt":
        command.insert(1, "--mlir-disable-threading")
    code, out, err = _execute(command, f"\n{MARKER}\n".join(texts), TIMEOUT_S + len(texts))
    outputs = re.split(rf"^{MARKER}\n?", out, flags=re.MULTILINE)
    if code not in (0, 1) or len(outputs) != len(texts):
        if len(texts) > 1:
            return [run_tool(tool, options, [text])[0] for text in texts]
        if code is None:
            return [Outcome("hang")]
        if code not in (0, 1):
            return [Outcome("crash", f"exit code {code}\n{err}")]
    errors = _errors_by_module(texts, err)
    return [
        Outcome("ok", output) if output.strip() else Outcome("refused", "\n".join(found))
        for output, found in zip(outputs, errors)
    ]


def _errors_by_module(texts: list[str], err: str) -> list[list[str]]:
    """The located errors of each module, by their lines."""
    firsts, line = [], 1
    for text in texts:
        firsts.append(line)
        line += text.count("\n") + 2
    found: list[list[str]] = [[] for _ in texts]
    for match in LOCATED_ERROR.finditer(err):
        # A module as a whole is located at the end of the marker in front of it.
        module = sum(first - 1 <= int(match[1]) for first in firsts) - 1
        found[module].append(match[2])
    return found


def execute(module: Module, text: str) -> tuple[Outcome, list[np.ndarray], list[np.ndarray]]:
    """The entry on the CPU: the arguments as they are afterwards, and the results."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "module.mlir").write_text(text)
        command = [str(BIN_DIR / "moe-run"), "module.mlir", "--entry", module.entry.name]
        for index, array in enumerate(module.arrays):
            np.save(path / f"{index}.npy", _as_words(array))
            command += ["--arg", f"{index}.npy", "--save", f"{index}=saved{index}.npy"]
        for index in range(len(module.entry.body.yields)):
            command += ["--save", f"r{index}=result{index}.npy"]
        code, _, err = _execute(
            command, "", TIMEOUT_S, cwd=folder, env={**os.environ, "JITDUMPDIR": folder}
        )
        if code is None:
            return Outcome("hang"), [], []
        if code == 1:
            return Outcome("refused", err), [], []
        if code != 0:
            return Outcome("crash", f"exit code {code}\n{err}"), [], []
        arguments = [
            np.load(path / f"saved{i}.npy").view(a.dtype) for i, a in enumerate(module.arrays)
        ]
        results = [
            _from_words(np.load(path / f"result{i}.npy"), v.type)
            for i, v in enumerate(module.entry.body.yields)
        ]
        return Outcome("ok"), arguments, results


def _as_words(array: np.ndarray) -> np.ndarray:
    """numpy writes types that it does not know as raw bytes."""
    return array if array.dtype.kind in "if" else array.view(np.dtype(f"u{array.itemsize}"))


def _from_words(array: np.ndarray, type: Shaped | str) -> np.ndarray:
    element = type.element if isinstance(type, Shaped) else type
    return array.view(DTYPES[element])
