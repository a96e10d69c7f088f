# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""An interpreter for the PTX that LLVM's NVPTX backend emits, for machines without a GPU.

README.md beside this file says how it is used, what it checks and counts, and what it does not
model.
"""

from .errors import (
    ConvergenceError,
    ExecutionError,
    GuardError,
    LaunchError,
    MisalignedError,
    OutOfBoundsError,
    ParseError,
    PTXError,
    RaceError,
    ReadOnlyError,
    RunawayError,
    TrapError,
    UninitializedError,
    UnsupportedInstruction,
)
from .memory import BASE_ADDRESS, Buffer, Memory
from .module import Module

__all__ = [
    "BASE_ADDRESS",
    "Buffer",
    "ConvergenceError",
    "ExecutionError",
    "GuardError",
    "LaunchError",
    "Memory",
    "MisalignedError",
    "Module",
    "OutOfBoundsError",
    "PTXError",
    "ParseError",
    "RaceError",
    "ReadOnlyError",
    "RunawayError",
    "TrapError",
    "UninitializedError",
    "UnsupportedInstruction",
]
