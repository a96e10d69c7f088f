# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Kernels in the PTX interpreter, on a machine without a GPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from ptx_interpreter import Buffer, Memory, Module

from .batches import Batch
from .kernels import Subject, check


@cache
def parse(ptx: str) -> Module:
    """The same module for the same text: an instruction is decoded once."""
    return Module(ptx)


class Interpreter:
    """A backend of kernels.check. `stats` are those of the last launch."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.stats: dict[str, Any] = {}

    def allocate(self, array: np.ndarray, offset: int) -> Buffer:
        return self.memory.allocate(array, offset=offset)

    def address(self, buffer: Buffer) -> int:
        return buffer.address

    def read(self, buffer: Buffer, like: np.ndarray) -> np.ndarray:
        return buffer.array(like.dtype, like.shape)

    def launch(self, ptx: str, entry: str, grid: tuple[int, int, int], threads: int,
               arguments: list[int]) -> None:
        self.stats = parse(ptx).launch(entry, grid=grid, block=(threads, 1, 1), args=arguments,
                                       memory=self.memory)

    def finish(self) -> None:
        self.memory.check_guards()


def run(subject: Subject, batch: Batch, grid: tuple[int, int], chip: str = "sm_90",
        **options: Any) -> dict[str, Any]:
    """Compiles and launches, compares every byte, and returns what the interpreter counted.
    `options` are those of kernels.check.
    """
    backend = Interpreter()
    check(backend, subject.ptx(chip), subject, batch, grid, **options)
    return backend.stats
