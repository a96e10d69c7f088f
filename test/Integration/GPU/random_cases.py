# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random calls of the activations that ship: an op with its settings, shapes, places in memory, and values,
with what the oracle makes of them. The same seed and number always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import lcm
from typing import Any

import numpy as np
from memory_image import Layout
from moe_testing import gated_batches, oracle
from moe_testing.batches import GROUP, Batch
from moe_testing.shipped import Shipped, shipped

# Those whose rows are rows of x.
KERNELS = tuple(kernel for kernel in shipped() if "permute" not in kernel.op)
INT32 = np.iinfo(np.int32)
WIDTHS = (704, 768, 1856, 2048, 2688, 3072, 7168)
MOST_ROWS = 600

# How a call is made: by the function of the package into given outputs or new ones, by the op of
# PyTorch's dispatcher, by another of the function's names, by a CUDA graph that is captured once,
# by the C API.
FORMS = ("out", "new", "ops", "alias", "graph", "c")
FORM_WEIGHTS = (0.45, 0.1, 0.1, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Case:
    """A call. `steps` is how often it is made, each time with other contents. `expected_rows` and
    `programmatic_launch` are hints, `ctas` and `threads` those of the C API.
    """

    kernel: Shipped
    M: int
    N: int
    form: str
    layout: Layout = field(repr=False)
    rng: np.random.Generator = field(repr=False)
    n_used: tuple[int, ...]
    expected_rows: int | None = None
    programmatic_launch: bool = False
    ctas: int = 0
    threads: int = 0
    by_name: bool = False

    @property
    def ships(self) -> bool:
        return self.kernel in KERNELS

    @property
    def steps(self) -> int:
        return len(self.n_used)

    def __str__(self) -> str:
        places = [f"{name} at {region.offset % 256} by {list(region.strides)}"
                  for name, region in self.layout.regions.items()]
        return (f"{self.kernel.id}, {self.M} x {self.N}, {self.form}, n_used {self.n_used}, "
                f"expected_rows {self.expected_rows}, {', '.join(places)}")

    def inputs(self, n_used: int) -> np.ndarray:
        """What is in memory before a call."""
        memory = self.layout.random_bytes(self.rng)
        _fill(self.rng, self.kernel, self.layout.views(memory), n_used)
        return memory

    def after(self, before: np.ndarray) -> np.ndarray:
        """What is there after it, by the oracle."""
        after = before.copy()
        views = self.layout.views(after)
        names = self.kernel.map.names()
        for name, array in zip(names, self.expected(before, [views[name] for name in names])):
            views[name][...] = array
        return after

    def expected(self, before: np.ndarray, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """What the oracle makes of these outputs."""
        views = self.layout.views(before)
        batch = Batch(views["x"], views.get("permutation_map", np.zeros(self.M, np.int32)),
                      int(views["n_used"]), views.get("probs"))
        return self.kernel.map.expected(batch, outputs)

    def outputs(self, fill: int) -> list[np.ndarray]:
        """New ones, full of a byte."""
        return [np.full(int(np.prod(shape)) * dtype.itemsize, fill, np.uint8).view(dtype)
                .reshape(shape) for shape, dtype in
                self.kernel.map.format.destinations(self.M, self.N)]


def make_case(seed: int, number: int, *, has_graphs: bool = True, has_ships: bool = True,
              most_elements: int = 1_000_000) -> Case:
    """`has_ships`: of a kernel that ships; else of one with another setting, for which there may be
    none. `most_elements`: of x.
    """
    rng = np.random.default_rng((seed, number))
    kernel = KERNELS[rng.integers(len(KERNELS))]
    form = str(rng.choice(FORMS, p=FORM_WEIGHTS))
    if not has_ships:
        kernel, form = _other_settings(rng, kernel), "out"
    if form == "graph" and not has_graphs:
        form = "out"
    M, N = _shape(rng, kernel, most_elements)
    layout = _place(rng, kernel, M, N, is_new=form == "new")
    n_used = tuple(_n_used(rng, M) for _ in range(3 if form == "graph" else 1))
    expected_rows = None
    kind = rng.random()
    if 0.4 < kind < 0.7:
        expected_rows = min(max(n_used[0], 0), M)
    elif kind > 0.7:
        expected_rows = int(rng.choice([0, 1, M, 5 * M + 3, 10**9, rng.integers(2 * M + 1)]))
    return Case(kernel, M, N, form, layout, rng, n_used, expected_rows,
                programmatic_launch=bool(rng.random() < 0.2),
                ctas=int(rng.choice([0, 1, 2, rng.integers(1, 600), 65535])),
                threads=int(rng.integers(0, 4)), by_name=bool(rng.random() < 0.5))


def _other_settings(rng: np.random.Generator, kernel: Shipped) -> Shipped:
    """The same op with something that is otherwise."""
    settings = kernel.arguments
    changes: list[tuple[str, Any]] = [("dead_rows", "zero")]
    if kernel.is_gated:
        changes += [("limit", float(oracle.bfloat16(np.exp2(rng.uniform(-3, 7))))),
                    ("gate_layout", f"interleaved<{rng.choice([2, 8, 32])}>"),
                    ("gate_layout", "up_gate"), ("beta", 0.5)]
        if settings.get("activation") != "gelu_tanh":
            changes.append(("alpha", 1.25))
    elif "squared_relu" in kernel.op:
        changes.append(("clamp_scale", float(rng.choice([7, 10, 30]))))
    if kernel.quantizes:
        changes.append(("dead_scales", "untouched"))
        changes.append(("scale_layout", oracle.LINEAR))
    name, value = changes[rng.integers(len(changes))]
    if name in ("dead_scales", "scale_layout"):
        return replace(kernel, **{name: value})
    settings[name] = value
    return replace(kernel, settings=tuple(sorted(settings.items())))


def _shape(rng: np.random.Generator, kernel: Shipped, most_elements: int) -> tuple[int, int]:
    """Rows, and columns of the result."""
    unit = GROUP if kernel.quantizes else 1
    block = kernel.arguments.get("gate_layout", "").removeprefix("interleaved<").rstrip(">")
    unit = lcm(unit, int(block)) if block.isdecimal() else unit
    width = int(rng.choice([rng.integers(1, 80), rng.integers(1, 80), rng.integers(1, 2200),
                            rng.integers(1, 2200), rng.choice(WIDTHS), rng.integers(1, 9000)]))
    if rng.random() < 0.3:
        width |= 1
    N = unit * max(1, width // unit)
    most = min(most_elements, int(np.exp(rng.uniform(np.log(2_000), np.log(most_elements)))))
    rows = int(min(MOST_ROWS, max(1, most // (N * kernel.parts))))
    M = int(rng.choice([rows, rng.integers(1, rows + 1), rng.integers(1, rows + 1),
                        min(rows, int(rng.choice([0, 1, 127, 128, 129, 255, 257, 384])))]))
    return M, N


def _n_used(rng: np.random.Generator, M: int) -> int:
    return int(rng.choice([M, M, rng.integers(M + 1), rng.integers(M + 1), 0, 1, M - 1, M + 1, -1,
                           INT32.min, INT32.max, rng.integers(INT32.min, INT32.max)],
                          p=[0.2, 0.15, 0.25, 0.2] + [0.025] * 8))


def _place(rng: np.random.Generator, kernel: Shipped, M: int, N: int, is_new: bool) -> Layout:
    """Where operands are: all of them aligned, or some of them not. New outputs have no place."""
    is_aligned = rng.random() < 0.45

    def odd(*unusual: int) -> int:
        return 0 if is_aligned or rng.random() < 0.4 else int(rng.choice(unusual))

    def padding(itemsize: int) -> int:
        if is_aligned:  # To a multiple of 32 bytes, if the rows are one without it.
            return int(rng.choice([0, 0, 64])) // itemsize
        return odd(1, 3, 8, 16, 64, int(rng.integers(1, 200)))

    layout, map = Layout(), kernel.map
    layout.place("x", (M, N * kernel.parts), oracle.bfloat16, padding=padding(2),
                 misalignment=odd(1, 2, 4, 8, 16, 63))
    if kernel.has_map:
        layout.place("permutation_map", (M,), np.int32, misalignment=odd(1, 2, 3, 5))
    layout.place("n_used", (), np.int32, misalignment=odd(1, 3))
    if kernel.has_probs:
        layout.place("probs", (M,), np.float32, misalignment=odd(1, 2, 3, 5))
    if is_new:
        return layout
    destinations = map.format.destinations(M, N)
    for name, (shape, dtype) in zip(map.names(), destinations):
        is_matrix = len(shape) == 2
        layout.place(name, shape, dtype, padding=padding(dtype.itemsize) if is_matrix else 0,
                     misalignment=odd(1, 2, 4, 8, 15, 16))
    return layout


def _fill(rng: np.random.Generator, kernel: Shipped, views: dict[str, np.ndarray],
          n_used: int) -> None:
    """Writes the inputs."""
    M = views["x"].shape[0]
    views["n_used"][...] = n_used
    if kernel.has_map:
        share = rng.choice([0.0, 0.1, 0.5, 0.95, 1.0], p=[0.05, 0.15, 0.4, 0.2, 0.2])
        is_live = rng.random(M) < share
        tokens, padding = rng.integers(0, INT32.max, M), rng.integers(INT32.min, 0, M)
        usual = rng.random(M) < 0.8
        tokens[usual], padding[usual] = rng.integers(0, M + 1, int(usual.sum())), -1
        views["permutation_map"][...] = np.where(is_live, tokens, padding)
    if kernel.has_probs:
        views["probs"][...] = _probs(rng, M)
    limit = kernel.arguments.get("limit", kernel.arguments.get("clamp_scale", 1.0))
    if not kernel.is_gated:
        views["x"][...] = random_values(rng, views["x"].shape, limit)
        return
    shape = M, views["x"].shape[1] // 2
    pair = random_values(rng, shape, limit, is_gate=True), random_values(rng, shape, limit)
    views["x"][...] = gated_batches.join(*pair, kernel.arguments.get("gate_layout", "gate_up"))


def _probs(rng: np.random.Generator, M: int) -> np.ndarray:
    """Mostly between 0 and 1, now and then any float32, or one that is special."""
    probs = rng.random(M, np.float32)
    kind = rng.random(M)
    is_any = kind < 0.1
    probs[is_any] = rng.integers(0, 1 << 32, int(is_any.sum()), np.uint32).view(np.float32)
    is_special = (kind > 0.1) & (kind < 0.3)
    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2.0**-149, -(2.0**-130), 3e38],
                       np.float32)
    probs[is_special] = rng.choice(special, int(is_special.sum()))
    return probs


# Patterns of bf16. Each function makes an array [rows, columns] of them.


def _ordinary(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    scale = np.exp2(rng.integers(-12, 8, (shape[0], 1))).astype(np.float32)
    values = rng.standard_normal(shape, np.float32) * scale
    return values.astype(oracle.bfloat16).view(np.uint16)


def _gates(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """Where sigma is neither 0 nor 1, and where it becomes one of them."""
    return rng.uniform(-95, 70, shape).astype(oracle.bfloat16).view(np.uint16)


def _any(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    return rng.integers(0, 1 << 16, shape, np.uint16)


def _subnormal(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """And the first of those that are not."""
    return _any(rng, shape, limit) & np.uint16(0x80FF)


def _root_of_tiny(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """Of which the square is subnormal, or next to it."""
    return (0x1C00 + rng.integers(0, 0x0600, shape)).astype(np.uint16)


def _huge(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """From 2^62 on, and infinity: products overflow."""
    patterns = rng.choice([0x5E80, 0x7F00], (shape[0], 1)) + rng.integers(0, 0x0081, shape)
    return patterns.astype(np.uint16) | _signs(rng, shape)


def _zeros(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    return _signs(rng, shape) | (rng.random(shape) < 0.01).astype(np.uint16)


def _equal(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """One magnitude for each group."""
    groups = rng.integers(0, 0x7F82, (shape[0], -(-shape[1] // GROUP))).astype(np.uint16)
    return np.repeat(groups, GROUP, axis=1)[:, : shape[1]] | _signs(rng, shape)


def _near(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """The limit and its neighbours."""
    at = int(np.asarray(limit, oracle.bfloat16).view(np.uint16))
    return (at + rng.integers(-3, 4, shape)).astype(np.uint16) | _signs(rng, shape)


def _scale_edges(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """Next to where the scale of a group steps: 1.75 * 2^k, of the value or of its square, and its
    neighbours; the rest of the group is below.
    """
    groups = shape[0], -(-shape[1] // GROUP)
    mantissas = rng.choice([0x5F, 0x60, 0x61, 0x28, 0x29, 0x2A], groups)
    maxima = np.repeat(rng.integers(1, 0xFE, groups) << 7 | mantissas, GROUP, axis=1)
    lower = np.maximum(maxima[:, : shape[1]] - (rng.integers(0, 9, shape) << 7), 1)
    return lower.astype(np.uint16) | _signs(rng, shape)


def _signs(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.integers(0, 2, shape, np.uint16) << np.uint16(15)


Maker = Callable[[np.random.Generator, tuple[int, int], float], np.ndarray]
KINDS: tuple[Maker, ...] = (_ordinary, _ordinary, _any, _subnormal, _root_of_tiny, _huge, _zeros,
                            _equal, _near, _scale_edges)
SPECIAL = np.array([0x7FC0, 0xFFC0, 0x7F81, 0xFFFF, 0x7F80, 0xFF80, 0x8000, 0x0000, 0x7F7F, 0xFF7F,
                    0x0001, 0x8001], np.uint16)


def random_values(rng: np.random.Generator, shape: tuple[int, int], limit: float,
                  is_gate: bool = False) -> np.ndarray:
    """bf16 values of one to three kinds, each group of a row of one of them, with a few in between
    that are special.
    """
    kinds: list[Maker] = [KINDS[i] for i in rng.integers(len(KINDS), size=rng.integers(1, 4))]
    if is_gate and rng.random() < 0.6:
        kinds[0] = _gates
    patterns = kinds[0](rng, shape, limit)
    for other in kinds[1:]:
        chosen = rng.random((shape[0], -(-shape[1] // GROUP))) < 1 / len(kinds)
        chosen = np.repeat(chosen, GROUP, axis=1)[:, : shape[1]]
        patterns = np.where(chosen, other(rng, shape, limit), patterns)
    if patterns.size and rng.random() < 0.5:
        at = rng.integers(0, patterns.size, rng.integers(1, 2 + patterns.size // 200))
        patterns = np.ascontiguousarray(patterns)
        patterns.reshape(-1)[at] = rng.choice(SPECIAL, at.size)
    return patterns.view(oracle.bfloat16)
