# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Who gets which live row of a launch: warps, CTAs and SMs, by the rule of docs/kernel-abi.md.

Live rows stand at the beginnings of blocks that are multiples of a power of two, so a rule that
spreads dense rows evenly may still give all live ones to a few warps. Nothing but time shows that,
and only on a card; here it is counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WARPS_PER_CTA = 8


class Loads(NamedTuple):
    """Pieces of work of the busiest warp and of the busiest SM, next to the means."""

    warp: int
    warp_mean: float
    sm: int
    sm_mean: float

    def beyond_warp_limit(self) -> int:
        """How many pieces the busiest warp has beyond twice the mean, rounded up, plus one."""
        return max(0, self.warp - int(2 * -(-self.warp_mean // 1) + 1))

    def is_within(self, factor: float, more: float) -> bool:
        """Whether the busiest SM has at most `factor` times the mean and `more` pieces."""
        return self.sm <= factor * self.sm_mean + more


def row_warps(y: int) -> int:
    """Warps that get rows: an odd number."""
    return (WARPS_PER_CTA * y - 1) | 1


def goes_by_quads(rows: int, warps: int) -> bool:
    """Whether there is a quad of rows for seven eighths of the warps."""
    return -(-rows // 128) * 32 * 8 >= warps * 7


def slots(rows: np.ndarray) -> np.ndarray:
    """The numbers under which rows go to warps where scales are swizzled: quads are neighbours."""
    return rows // 128 * 128 + rows % 32 * 4 + rows % 128 // 32


def warp_of(live: np.ndarray, rows: int, warps: int, has_quads: bool) -> np.ndarray:
    """The warp of each live row."""
    if not has_quads:
        return live % warps
    slot = slots(live)
    return (slot // 4 if goes_by_quads(rows, warps) else slot) % warps


def cta_of(warp: np.ndarray, y: int, is_dense: bool) -> np.ndarray:
    """The CTA of each warp by its number."""
    return warp // WARPS_PER_CTA if is_dense else warp % y


def loads(live: np.ndarray, rows: int, grid: tuple[int, int], sms: int, has_quads: bool,
          warps: int | None = None, is_dense: bool | None = None) -> Loads:
    """`live`: the live rows; `rows`: M; `grid`: CTAs for chunks of columns, and for rows; `warps`:
    those that get rows, `is_dense`: whether a CTA has neighbours, if it is not as the rule says, which is
    that it has where y is even.

    A piece of work is a live row, or a quad with a live row where rows go by quads; for an SM, a
    chunk of one. CTAs are dealt out to the SMs in turn. An SM's mean is that of its CTAs: a grid
    that is no multiple of the SMs is uneven from the start.
    """
    x, y = grid
    warps = warps or row_warps(y)
    pieces = live
    if has_quads and goes_by_quads(rows, warps):
        # One row of each quad stands for it.
        pieces = live[np.unique(slots(live) // 4, return_index=True)[1]]
    warp = warp_of(pieces, rows, warps, has_quads)
    is_dense = y % 2 == 0 if is_dense is None else is_dense
    of_ctas = np.bincount(cta_of(warp, y, is_dense), minlength=y)
    sm_of = (np.arange(y)[:, None] * x + np.arange(x)) % sms
    of_sms = np.bincount(sm_of.ravel(), np.repeat(of_ctas, x), minlength=sms)
    return Loads(int(np.bincount(warp, minlength=warps).max()), len(pieces) / warps,
                 int(of_sms.max()), len(pieces) / y * -(-x * y // sms))
