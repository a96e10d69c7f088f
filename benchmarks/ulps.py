# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How far the results of a peer may be from the definition's where its exp is an approximation.

One unit of the last place of bf16, in one element of a thousand: the error of an approximate
sigmoid, 2^-17 of it at the most, moves a result across a rounding boundary in one of some hundred
cases at worst, and over ordinary gates in one of some ten thousand. Gates of -87.5 and less, whose
sigma is 0 by definition, may give something as small as TINY instead.

Quantised, that is a step of E4M3 in as few elements, and an exponent that is off by one where a
group's maximum is next to 448 times a power of two.
"""

from __future__ import annotations

import torch

MOST_ULPS = 1
MOST_DIFFERENT = 1e-3
# Of a small result a few elements may always differ.
FEW = 4
# -88 * sigmoid(-88) is 2^-119.5, times an up of up to 2^19.
TINY = 2.0**-100


def in_order(values: torch.Tensor) -> torch.Tensor:
    """Integers in the order of bf16 values, one apart for neighbours; both zeros are 0."""
    pattern = values.view(torch.int16).int()
    return torch.where(pattern < 0, -(pattern & 0x7FFF), pattern)


def bf16_ulps(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How many values apart two tensors are, element by element. NaN and NaN are the same, and so
    is what is tiny in both.
    """
    apart = (in_order(found) - in_order(wanted)).abs()
    are_same = (found.isnan() & wanted.isnan()) | ((found.abs() <= TINY) & (wanted.abs() <= TINY))
    return torch.where(are_same, 0, apart)


def _trouble(what: str, wrong: torch.Tensor, different: torch.Tensor) -> str | None:
    """`wrong`: elements that are too far off. `different`: all that are not the same."""
    if count := int(torch.count_nonzero(wrong)):
        return f"{count} of {wrong.numel()} {what} are too far off"
    most = FEW + int(MOST_DIFFERENT * different.numel())
    if (count := int(torch.count_nonzero(different))) > most:
        return f"{count} of {different.numel()} {what} differ, expected at most {most}"
    return None


def bf16_trouble(found: torch.Tensor, wanted: torch.Tensor) -> str | None:
    """What is wrong with `found`, None if nothing is."""
    apart = bf16_ulps(found, wanted)
    return _trouble("elements", apart > MOST_ULPS, apart > 0)


def _values(data: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """float64 [rows, groups, 32]."""
    values = data.view(torch.float8_e4m3fn).double().unflatten(1, (-1, 32))
    return values * torch.exp2(scale.double() - 127)[:, :, None]


def mxfp8_trouble(found: tuple[torch.Tensor, torch.Tensor],
                  wanted: tuple[torch.Tensor, torch.Tensor]) -> str | None:
    """The same of data [rows, K] and linear scales [rows, K / 32], both as bytes."""
    (data, scale), (want_data, want_scale) = found, wanted
    apart = (scale.int() - want_scale.int()).abs()
    is_special = (scale == 255) | (want_scale == 255)
    small = 127 - 109  # 448 * 2^-109 is tiny
    are_tiny = (scale < small) & (want_scale < small)
    wrong_scale = ((apart > 1) & ~are_tiny) | ((apart > 0) & is_special)
    trouble = _trouble("scales", wrong_scale, (apart > 0) & ~are_tiny)
    if trouble is not None:
        return trouble

    values, want_values = _values(data, scale), _values(want_data, want_scale)
    off = (values - want_values).abs()
    # Both are rounded, to at most half a step each: an eighth of the value, or the least subnormal.
    step = torch.exp2(torch.maximum(scale, want_scale).double() - 127 - 9)[:, :, None]
    bound = torch.maximum(values.abs(), want_values.abs()) / 8 + step + TINY
    both_nan = values.isnan() & want_values.isnan()
    wrong = ~((off <= bound) | both_nan)
    differs = (data.unflatten(1, (-1, 32)) != want_data.unflatten(1, (-1, 32)))
    of_same_scale = (apart == 0)[:, :, None]
    return _trouble("elements", wrong, differs & of_same_scale & ~both_nan)
