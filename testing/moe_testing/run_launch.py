# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a launch of fake_cuda.c in the PTX interpreter: its FAKE_CUDA_LAUNCHER.

    run_launch.py FOLDER

The kernel sees the allocations of the driver and nothing else: an access to memory of the host, or
past the end of an allocation, is an error of the launch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ptx_interpreter import Memory, Module


def main() -> None:
    folder = Path(sys.argv[1])
    name, grid, block, parameters, base, *rest = (folder / "launch").read_text().splitlines()
    contents = np.memmap(folder / "memory", np.uint8, mode="r+")
    memory = Memory()
    buffers = []
    for line in rest:
        address, size = map(int, line.split())
        host = contents[address - int(base):][:size]
        buffers.append((address, host, memory.allocate(host)))

    def translate(parameter: int) -> int:
        """An address of the driver's as one of the interpreter's."""
        for address, host, buffer in buffers:
            if address <= parameter < address + host.size:
                return buffer.address + parameter - address
        return parameter

    Module((folder / "ptx").read_text()).launch(
        name, grid=tuple(map(int, grid.split())), block=tuple(map(int, block.split())),
        args=[translate(int(parameter)) for parameter in parameters.split()], memory=memory)
    memory.check_guards()
    for _, host, buffer in buffers:
        host[:] = buffer.bytes()


if __name__ == "__main__":
    main()
