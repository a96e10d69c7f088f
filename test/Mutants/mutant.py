# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A mistake that somebody could make. Most of those here are at boundaries, in one mode or for one chip."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """`old`, which `file` has once, becomes `new`."""

    name: str
    file: str
    old: str
    new: str
