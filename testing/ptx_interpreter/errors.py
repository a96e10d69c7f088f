# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exceptions of the PTX interpreter.

Every failure derives from PTXError.  A failure met while a kernel runs is an ExecutionError,
whose attributes say where it happened: kernel, instruction text, line of the PTX text, and the
first offending thread.
"""

from __future__ import annotations


class PTXError(Exception):
    """Base of everything the interpreter raises on purpose."""


class ParseError(PTXError):
    """The PTX text is malformed, or uses a construct this interpreter does not know."""

    def __init__(self, message: str, line: int | None = None, instruction: str | None = None):
        self.line = line
        self.instruction = instruction
        where = f"line {line}: " if line is not None else ""
        what = f" in `{instruction}`" if instruction else ""
        super().__init__(f"{where}{message}{what}")


class UnsupportedInstruction(ParseError):
    """A well-formed instruction which the interpreter does not implement."""


class LaunchError(PTXError):
    """A launch was asked for with unsuitable arguments."""


class GuardError(PTXError):
    """Bytes outside every buffer were overwritten."""


class ExecutionError(PTXError):
    """A kernel did something wrong while it ran."""

    def __init__(
        self,
        message: str,
        *,
        kernel: str = "?",
        instruction: str = "?",
        line: int = 0,
        ctaid: tuple[int, int, int] | None = None,
        tid: tuple[int, int, int] | None = None,
        address: int | None = None,
    ):
        self.kernel = kernel
        self.instruction = instruction
        self.line = line
        self.ctaid = ctaid
        self.tid = tid
        self.address = address
        thread = f", thread ctaid={ctaid} tid={tid}" if tid is not None else ""
        super().__init__(f"kernel {kernel}, line {line}, `{instruction}`{thread}: {message}")


class OutOfBoundsError(ExecutionError):
    """An access outside every live buffer, or outside shared/local/parameter memory."""


class MisalignedError(ExecutionError):
    """An access whose address is no multiple of its width."""


class ReadOnlyError(ExecutionError):
    """A store or atomic to a read-only buffer."""


class UninitializedError(ExecutionError):
    """A load of bytes nobody has written, from a buffer that tracks this."""


class RaceError(ExecutionError):
    """Two threads touch a byte and at least one writes it, or a .nc load meets a store."""


class ConvergenceError(ExecutionError):
    """A .sync instruction whose participants cannot all arrive, a deadlock, or a barrier misuse."""


class TrapError(ExecutionError):
    """The kernel executed trap."""


class RunawayError(ExecutionError):
    """The launch executed more instructions than it was allowed."""
