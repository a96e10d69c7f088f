# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The modes of the quantising ops: their names, and the runtime library's numbers for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NoReturn

ScaleLayout = Literal["swizzle_32_4_4", "linear"]
DeadScales = Literal["zero", "untouched"]
# Of gated linear units.
LimitAt = Literal["before", "after"]
GateActivation = Literal["silu", "gelu_tanh"]

LAYOUTS = {"swizzle_32_4_4": 0, "linear": 1}
DEAD_SCALES = {"zero": 0, "untouched": 1}


def parse_layout(scale_layout: str) -> int:
    """The MoeScaleLayout with that name; only "linear" is not 0."""
    try:
        return LAYOUTS[scale_layout]
    except (KeyError, TypeError):
        fail_choice("scale_layout", scale_layout, LAYOUTS)


def parse_dead(dead_scales: str) -> int:
    """The MoeDeadScales with that name; only "untouched" is not 0."""
    try:
        return DEAD_SCALES[dead_scales]
    except (KeyError, TypeError):
        fail_choice("dead_scales", dead_scales, DEAD_SCALES)


def fail_choice(name: str, found: Any, choices: Iterable[str]) -> NoReturn:
    """Raises for an argument that is not one of `choices`."""
    expected = " or ".join(f'"{choice}"' for choice in choices)
    if not isinstance(found, str):
        raise TypeError(f"{name}: expected {expected}, found {type(found).__name__}")
    raise ValueError(f'{name}: expected {expected}, found "{found}"')
