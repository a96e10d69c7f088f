# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The kernels on rows that the runtime library carries, as its manifest lists them: what each must
compute, and how a call asks for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from . import activations, oracle
from .batches import Batch, random_batch
from .checkout import ROOT
from .gated_batches import random_gated_batch
from .kernels import RowMap

MANIFEST = ROOT / "lib" / "Kernels" / "manifest.txt"
_NUMBERS = ("limit", "alpha", "beta", "clamp_scale")
_SWIGLU = ("limit", "limit_at", "alpha", "beta", "activation")


@dataclass(frozen=True)
class Shipped:
    """A kernel of the manifest. `settings` are the attributes of the op that are not as by default,
    those of scales not among them; it is a kernels.Subject but for how it is compiled.
    """

    op: str
    operands: tuple[str, ...]
    scale_layout: str
    dead_scales: str
    settings: tuple[tuple[str, Any], ...]

    @property
    def id(self) -> str:
        """For a test that has it as its parameter."""
        words = [self.op, *(f"{name}={value:g}" if name in _NUMBERS else value
                            for name, value in self.settings)]
        words += ["no map"] * (not self.has_map) + ["probs"] * self.has_probs
        words += [mode for mode in (self.scale_layout, self.dead_scales)
                  if self.quantizes and mode not in (oracle.SWIZZLED, "zero")]
        return " ".join(words)

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.settings)

    @property
    def has_map(self) -> bool:
        return "permutation_map" in self.operands

    @property
    def has_probs(self) -> bool:
        return "probs" in self.operands

    @property
    def quantizes(self) -> bool:
        return "scale" in self.operands

    @property
    def is_gated(self) -> bool:
        return "swiglu" in self.op

    @property
    def gathers(self) -> bool:
        return "permute" in self.op

    @property
    def parts(self) -> int:
        """Columns of x for each of the result."""
        return 2 if self.is_gated else 1

    @property
    def map(self) -> RowMap:
        settings = self.arguments
        parts: oracle.Parts = oracle.whole
        if self.is_gated:
            activation: oracle.Activation = activations.SwiGLU(
                **{name: settings[name] for name in _SWIGLU if name in settings})
            parts = oracle.gate_parts(settings.get("gate_layout", "gate_up"))
        elif "squared_relu" in self.op:
            activation = oracle._squared_relu_of(settings.get("clamp_scale"), self.has_probs)
        else:
            activation = oracle.identity
        format: oracle.Format = oracle.BF16()
        if self.quantizes:
            format = oracle.MXFP8(self.scale_layout, self.dead_scales)
        return RowMap(activation, format, parts, has_map=self.has_map, has_probs=self.has_probs,
                      dead_rows=settings.get("dead_rows", "untouched"), gathers=self.gathers)

    def batch(self, M: int, N: int, n_used: int, seed: int = 0,
              live_fraction: float = 0.5) -> Batch:
        """A batch whose result has N columns."""
        if self.is_gated:
            return random_gated_batch(M, N, n_used, self.arguments.get("gate_layout", "gate_up"),
                                      live_fraction, seed, self.has_probs)
        batch = random_batch(M, N, n_used, live_fraction, seed)
        if self.gathers:
            # Any row of x, some more than once, and some that there are not.
            rng = np.random.default_rng((seed, 4))
            rows = rng.integers(0, M + M // 8 + 1, M, np.int32)
            return Batch(batch.x, np.where(batch.permutation_map < 0, -1, rows), batch.n_used)
        if not self.has_probs:
            return batch
        rng = np.random.default_rng((seed, 3))
        probs = rng.standard_normal(M).astype(np.float32)
        return Batch(batch.x, batch.permutation_map, batch.n_used, probs)


def _read_setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if name not in _NUMBERS:
        return name, value
    if value.startswith("0x"):
        return name, float(np.uint32(int(value, 16)).view(np.float32))
    return name, float(value)


@cache
def shipped() -> tuple[Shipped, ...]:
    """All of them."""
    found = []
    for line in MANIFEST.read_text().splitlines():
        words = line.split()
        if words[:1] != ["kernel"]:
            continue
        _, op, operands, *rest = words
        # Others are no maps of rows.
        if operands.split(",")[0] not in ("x", "x/pairs", "x/tokens"):
            continue
        modes = [word for word in rest if "=" not in word] or [oracle.SWIZZLED, "zero"]
        settings = sorted(_read_setting(word) for word in rest if "=" in word)
        found.append(Shipped(op, tuple(re.sub("/.*", "", name) for name in operands.split(",")),
                             modes[0], modes[1], tuple(settings)))
    return tuple(found)
