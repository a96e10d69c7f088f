# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an op may be told beside its operands, such as a limit: the runtime library's numbers for it,
and what there is for each combination, made once.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ._modes import fail_choice
from ._op_table import Op

_LIMIT_AT = {"before": 0, "after": 1}
_ACTIVATIONS = {"silu": 0, "gelu_tanh": 1}
_LAYOUTS = {"gate_up": 0, "up_gate": 1}
_INTERLEAVED = 2

# More than there are kernels for. A program that makes up others is served as well, and slower.
_MOST = 64


def _parse_choice(name: str, value: Any, choices: Mapping[str, int]) -> int:
    try:
        return choices[value]
    except (KeyError, TypeError):
        fail_choice(name, value, choices)


def _parse_layout(value: Any) -> tuple[int, int]:
    """The MoeGateLayout, and the columns of a block."""
    if isinstance(value, str):
        block = re.fullmatch(r"interleaved<([1-9]\d{0,8})>", value)
        if block:
            return _INTERLEAVED, int(block[1])
    return _parse_choice("gate_layout", value, {**_LAYOUTS, "interleaved<b>": -1}), 0


def _parse_float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a float, found {type(value).__name__}")
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        rounded = math.inf
    if not math.isfinite(rounded):
        raise ValueError(f"{name}: expected a finite value of 32 bits, found {value}")
    return rounded


def _parse_positive(name: str, value: Any) -> float:
    """0 for None."""
    if value is None:
        return 0
    number = _parse_float(name, value)
    if number <= 0:
        raise ValueError(f"{name}: expected a positive number or None, found {value}")
    return number


def _parse_alpha(value: Any) -> float:
    alpha = _parse_float("alpha", value)
    if alpha == 0:  # Which is 1 to the runtime.
        raise ValueError("alpha: expected a number other than 0, found 0")
    return alpha


def _parse_zero_padding(value: Any) -> int:
    if not isinstance(value, bool):
        raise TypeError(f"zero_padding: expected a bool, found {type(value).__name__}")
    return int(value)


def _bits(value: float) -> int:
    bits: int = struct.unpack("<I", struct.pack("<f", value))[0]
    return bits


def parse_options(op: Op, values: tuple[Any, ...]) -> tuple[int, ...]:
    """The options of an op, by position and as many as are given, as _runtime.make_call takes them:
    clamp_scale, dead_rows, the members of MoeGate, and the type of indices, floats by their bits.
    """
    found = {option.name: option.default for option in op.options}
    found.update(zip(found, values))
    layout, block = _parse_layout(found.get("gate_layout", "gate_up"))
    return (
        _bits(_parse_positive("clamp_scale", found.get("clamp_scale"))),
        _parse_zero_padding(found.get("zero_padding", False)),
        layout, block,
        _bits(_parse_positive("limit", found.get("limit"))),
        _parse_choice("limit_at", found.get("limit_at", "before"), _LIMIT_AT),
        _bits(_parse_alpha(found.get("alpha", 1))),
        _bits(_parse_float("beta", found.get("beta", 0))),
        _parse_choice("activation", found.get("activation", "silu"), _ACTIVATIONS),
        0,
    )


_Made = TypeVar("_Made")


class Variants(Generic[_Made]):
    """What `make` makes of the numbers of an op's options.

    Attributes:
        made: what has been made, by options as `get` takes them. For those whom a call of `get`
            would take too long.
    """

    def __init__(self, op: Op, make: Callable[[tuple[int, ...]], _Made]) -> None:
        self._op, self._make = op, make
        self.made: dict[tuple[Any, ...], _Made] = {}
        self.get(())
        self.get(tuple(option.default for option in op.options))

    def get(self, options: tuple[Any, ...]) -> _Made:
        """That for options by position, of which the last may be missing."""
        try:
            return self.made[options]
        except (KeyError, TypeError):
            # The latter for what has no hash.
            pass
        made = self._make(parse_options(self._op, options))
        if len(self.made) < _MOST:
            self.made[options] = made
        return made
