# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the NumPy and the PyTorch side share: sizes of scales, checks of modes and overlaps."""

from __future__ import annotations

import operator
from typing import Any, Iterable, Literal, NamedTuple, NoReturn

from . import _runtime

GROUP = 32

ScaleLayout = Literal["swizzle_32_4_4", "linear"]
DeadScales = Literal["zero", "untouched"]


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
        raise ValueError(f"K: expected a multiple of 32, found {K}")
    return scale_bytes(M, K, parse_layout(scale_layout))


def scale_bytes(M: int, K: int, layout: int) -> int:
    """scale_size of sizes that are right."""
    if layout:
        return M * (K // GROUP)
    return ((M + 127) // 128) * ((K + 127) // 128) * 512


def parse_layout(scale_layout: str) -> int:
    """The MoeScaleLayout with that name."""
    try:
        return _runtime.LAYOUTS[scale_layout]
    except (KeyError, TypeError):
        fail_choice("scale_layout", scale_layout, _runtime.LAYOUTS)


def parse_dead(dead_scales: str) -> int:
    """The MoeDeadScales with that name."""
    try:
        return _runtime.DEAD_SCALES[dead_scales]
    except (KeyError, TypeError):
        fail_choice("dead_scales", dead_scales, _runtime.DEAD_SCALES)


def fail_choice(name: str, found: Any, choices: Iterable[str]) -> NoReturn:
    """Raises for an argument that is not one of `choices`."""
    expected = " or ".join(f'"{choice}"' for choice in choices)
    if not isinstance(found, str):
        raise TypeError(f"{name}: expected {expected}, found {type(found).__name__}")
    raise ValueError(f'{name}: expected {expected}, found "{found}"')


class Span(NamedTuple):
    """Rows of `width` bytes, `stride` bytes apart, that begin at `begin` and end at `end`."""

    name: str
    begin: int
    end: int
    stride: int
    width: int


def span(name: str, address: int, rows: int, stride: int, width: int) -> Span:
    """The bytes of a matrix."""
    empty = rows == 0 or width == 0
    return Span(name, address, address if empty else address + (rows - 1) * stride + width,
                stride, width)


def are_apart(begin: int, end: int, x: int, x_end: int, permutation_map: int, rows: int,
              n_used: int) -> bool:
    """Whether an output from `begin` to `end` lies apart from all inputs. check_distinct knows of
    more that do, and takes longer.
    """
    return ((end <= x or x_end <= begin)
            and (end <= permutation_map or permutation_map + 4 * rows <= begin)
            and (end <= n_used or n_used + 4 <= begin))


def check_distinct(outputs: list[Span], inputs: list[Span]) -> None:
    """Raises ValueError if an output shares memory with an input or another output.

    Two matrices whose rows alternate in one buffer, with one stride, are apart.
    """
    others = list(inputs)
    for a in outputs:
        for b in others:
            if a.begin >= b.end or b.begin >= a.end or a.begin == a.end or b.begin == b.end:
                continue
            if a.stride == b.stride and a.stride > 0:
                distance = (b.begin - a.begin) % a.stride
                if distance >= a.width and a.stride - distance >= b.width:
                    continue
            raise ValueError(f"{a.name}: expected memory that does not overlap {b.name}, found "
                             f"{a.begin:#x} to {a.end:#x} and {b.begin:#x} to {b.end:#x}")
        others.append(a)
