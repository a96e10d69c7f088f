# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A function in the place of moeRunOpWithOptions, that writes down what it is called with."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import POINTER, c_int, c_int32, c_void_p
from typing import Any, NamedTuple

from .runtime import Launch, Matrix, Options, Scale


class Told(NamedTuple):
    """One call. Structures as tuples of their fields, and no scale without scales."""

    op: int
    launch: tuple[Any, ...]
    x: tuple[Any, ...]
    permutation_map: int
    n_used: int
    out: tuple[Any, ...]
    scale: tuple[Any, ...] | None


def _fields(kind: type[ctypes.Structure], address: int) -> tuple[Any, ...]:
    structure = kind.from_address(address)
    return tuple(getattr(structure, field[0]) for field in kind._fields_)


class RunSpy:
    """Returns the `statuses`, then successes.

    Attributes:
        address: of the function.
        told: the calls.
        options: theirs.
    """

    def __init__(self, statuses: Iterable[int] = ()) -> None:
        self.told: list[Told] = []
        self.options: list[Options] = []
        self._statuses = list(statuses)
        kind = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, POINTER(c_void_p), c_int32,
                                POINTER(Options))
        self._function = kind(self._run)
        address = ctypes.cast(self._function, c_void_p).value
        assert address is not None
        self.address: int = address

    def _run(self, launch: int, op: int, operands: Any, count: int, options: Any) -> int:
        x, permutation_map, n_used, out, *scales = operands[:count]
        scale = _fields(Scale, *scales) if scales else None
        self.told.append(Told(op, _fields(Launch, launch), _fields(Matrix, x), permutation_map,
                              n_used, _fields(Matrix, out), scale))
        self.options.append(Options.from_buffer_copy(options.contents))
        return self._statuses.pop(0) if self._statuses else 0
