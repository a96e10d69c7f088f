# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How many scales a matrix has, and in what shape."""

from __future__ import annotations

import operator

from ._modes import ScaleLayout, parse_layout
from ._op_table import MXFP8

# Columns that share a scale.
GROUP = MXFP8.group


def scale_size(M: int, K: int, scale_layout: ScaleLayout = "swizzle_32_4_4") -> int:
    """Bytes, which are elements, of the scales of an [M, K] matrix.

    ceil(M / 128) * ceil(K / 128) * 512 for "swizzle_32_4_4", M * K / 32 for "linear".

    Raises:
        TypeError: M or K is not an integer.
        ValueError: M or K is negative, K is no multiple of 32, or there is no such layout.
    """
    sizes = []
    for name, value in (("M", M), ("K", K)):
        try:
            sizes.append(operator.index(value))
        except TypeError:
            raise TypeError(f"{name}: expected an int, found {type(value).__name__}") from None
        if sizes[-1] < 0:
            raise ValueError(f"{name}: expected a size that is not negative, found {value}")
    M, K = sizes
    if K % GROUP:
        raise ValueError(f"K: expected a multiple of {GROUP}, found {K}")
    return scale_bytes(M, K // GROUP, parse_layout(scale_layout))


def scale_bytes(rows: int, groups: int, layout: int) -> int:
    """Bytes of the scales of `rows` rows of `groups` groups without space between rows."""
    if layout:
        return rows * groups
    return ((rows + 127) // 128) * ((groups + 3) // 4) * 512


def scale_shape(rows: int, groups: int, layout: int) -> tuple[int, ...]:
    """The shape of an array of them."""
    return (rows, groups) if layout else (scale_bytes(rows, groups, layout),)
