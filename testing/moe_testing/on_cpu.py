# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs on the CPU, through moe-run."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import oracle
from .batches import Batch
from .checkout import BIN_DIR
from .kernels import Subject


def call(module: str, arrays: Sequence[np.ndarray], saved: Sequence[int | str],
         entry: str = "entry", timeout: float = 120) -> list[np.ndarray]:
    """Calls a function on copies of arrays. Returns what is in `saved` after it: arguments by their
    numbers, with their types, and results as "r0" and so on, as moe-run writes them.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [str(BIN_DIR / "moe-run"), "-", "--entry", entry]
        for index, array in enumerate(arrays):
            # An .npy file has no type of ml_dtypes.
            plain = array if array.dtype.isbuiltin == 1 else oracle.bits(array)
            np.save(folder / f"{index}.npy", plain)
            command += ["--arg", str(folder / f"{index}.npy")]
        for what in saved:
            command += ["--save", f"{what}={folder / f'saved{what}.npy'}"]
        done = subprocess.run(command, input=module, text=True, capture_output=True, check=False,
                              timeout=timeout)
        assert done.returncode == 0, done.stderr
        found = [np.load(folder / f"saved{what}.npy") for what in saved]
    return [array.view(arrays[what].dtype) if isinstance(what, int) else array
            for what, array in zip(saved, found)]


def run(subject: Subject, batch: Batch, seed: int = 0) -> None:
    """One call; outputs start as random bytes, and all of them are compared with the oracle."""
    outputs = subject.map.random_outputs(batch, np.random.default_rng(seed))
    inputs = list(subject.map.inputs(batch).values())
    arrays = [*inputs, *outputs]
    found = call(subject.mlir(), arrays, range(len(inputs), len(arrays)))
    wanted = subject.map.expected(batch, outputs)
    for name, have, want in zip(subject.map.names(), found, wanted):
        subject.map.compare(name, have, want)
