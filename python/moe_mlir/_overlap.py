# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether an output shares memory with another operand."""

from __future__ import annotations

from typing import NamedTuple


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
