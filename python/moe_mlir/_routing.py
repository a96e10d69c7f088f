# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What routing on arrays and on tensors have in common: the numbers that are its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._runtime import NO_OPTIONS

# Of the runtime's call, for a matrix that is not given.
NO_MATRIX = (0, -1, 0, 0)


def index_options(number: int) -> tuple[int, ...]:
    """The options of an op whose indices have the MoeIndexType `number`."""
    return (*NO_OPTIONS[:-1], number)


def check_int(name: str, value: Any, least: int) -> None:
    """Of what the kernels are passed, in 32 bits."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, found {type(value).__module__}."
                        f"{type(value).__qualname__}")
    if not least <= value < 2**31:
        raise ValueError(f"{name}: expected from {least} to {2**31 - 1}, found {value}")
