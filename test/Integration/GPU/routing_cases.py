# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random calls of the ops that bring tokens to experts and back, with what the oracle makes of them;
and a step of a layer, of all of them in a row. The same seed and number always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from memory_image import Layout
from moe_testing import oracle, permutation, permutation_batches
from moe_testing.batches import GROUP
from moe_testing.permutation_batches import TokenBatch
from random_cases import INT32, random_values

WIDTHS = (704, 1856, 2048, 2688, 4096, 7168)
OPS = ("route_tokens", "permute_tokens", "permute_quantize_mxfp8", "unpermute_tokens")
OP_WEIGHTS = (0.4, 0.15, 0.2, 0.25)
# By the functions of the package, into given outputs or new ones; by the C API.
FORMS = ("out", "new", "c")
FORM_WEIGHTS = (0.5, 0.15, 0.35)
# What a step of a layer has between its ends.
STEP_ACTIVATION = "padded_squared_relu"


@dataclass(frozen=True)
class Case:
    """A call. `inputs_of` writes the inputs; `results_of` has the outputs, by their names, from the
    arrays that there were. `arguments` are what is not in memory.
    """

    op: str
    form: str
    layout: Layout = field(repr=False)
    rng: np.random.Generator = field(repr=False)
    inputs_of: Callable[[np.random.Generator, dict[str, np.ndarray]], None] = field(repr=False)
    results_of: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = field(repr=False)
    outputs: Layout = field(repr=False)
    arguments: dict[str, Any]
    expected_rows: int | None = None
    programmatic_launch: bool = False
    ctas: int = 0
    threads: int = 0

    def __str__(self) -> str:
        arrays = [f"{name} {list(region.shape)} at {region.offset % 256} by {list(region.strides)}"
                  for name, region in self.layout.regions.items()]
        return f"{self.op}, {self.form}, {self.arguments}, {', '.join(arrays)}"

    def inputs(self) -> np.ndarray:
        """What is in memory before a call."""
        memory = self.layout.random_bytes(self.rng)
        self.inputs_of(self.rng, self.layout.views(memory))
        return memory

    def after(self, before: np.ndarray) -> np.ndarray:
        """What is there after it, by the oracle."""
        after = before.copy()
        views = self.layout.views(after)
        for name, array in self.results_of(self.layout.views(before)).items():
            views[name][...] = array
        return after

    def new_results(self, before: np.ndarray, fill: int) -> dict[str, np.ndarray]:
        """The oracle's outputs where they were full of a byte."""
        outputs = self.outputs.views(np.full(self.outputs.nbytes, fill, np.uint8))
        return self.results_of({**self.layout.views(before), **outputs})


def make_case(seed: int, number: int, most_tokens: int = 600) -> Case:
    rng = np.random.default_rng((seed, number))
    op = str(rng.choice(OPS, p=OP_WEIGHTS))
    make = {"route_tokens": _route, "unpermute_tokens": _unpermute}.get(op, _permute)
    case: Case = make(op, str(rng.choice(FORMS, p=FORM_WEIGHTS)), rng, most_tokens)
    return replace(case, programmatic_launch=bool(rng.random() < 0.2),
                   ctas=int(rng.choice([0, 1, 2, rng.integers(1, 600), 65535])),
                   threads=int(rng.integers(0, 4)))


class _Places:
    """Places operands of a case: all of them aligned, or some of them not. New outputs are only
    listed.
    """

    def __init__(self, rng: np.random.Generator, form: str) -> None:
        self.inputs, self.outputs, self.form, self._rng = Layout(), Layout(), form, rng
        self._is_aligned = rng.random() < 0.45

    def _odd(self, *unusual: int) -> int:
        if self._is_aligned or self._rng.random() < 0.4:
            return 0
        return int(self._rng.choice(unusual))

    def add(self, name: str, shape: tuple[int, ...], dtype: Any, is_output: bool = False) -> None:
        padding = 0
        if len(shape) == 2:
            padding = self._odd(1, 3, 8, 16, 64, int(self._rng.integers(1, 100)))
        misalignment = self._odd(1, 2, 4, 8, 15, 16)
        if is_output:
            self.outputs.place(name, shape, dtype)
            if self.form == "new":
                return
        self.inputs.place(name, shape, dtype, padding=padding, misalignment=misalignment)


# route_tokens.


@cache
def _rare(has_large: bool) -> tuple[TokenBatch, ...]:
    large = permutation_batches.large_batches() if has_large else {}
    return (*permutation_batches.rare_batches().values(), *large.values())


def random_routing(rng: np.random.Generator, most_tokens: int) -> TokenBatch:
    """Small ones of any kind, rare ones, and such as models have, whole or of one of their ranks."""
    seed = int(rng.integers(1 << 30))
    kind = rng.random()
    if kind < 0.25:
        return permutation_batches.random_batch(seed, most_tokens)
    if kind < 0.45:
        found = _rare(has_large=most_tokens >= 600)
        return found[rng.integers(len(found))]
    T = 0 if kind > 0.95 else int(min(most_tokens, np.exp(rng.uniform(0, 7))))
    experts = int(rng.choice([8, 64, 128, 256, 384, 512]))
    first = int(rng.choice([0, rng.integers(experts)]))
    local = slice(first, int(rng.integers(first, experts)) + 1)
    top_k, alignment = int(rng.integers(1, 9)), int(rng.choice(permutation_batches.ALIGNMENTS))
    if most_tokens >= 600 and rng.random() < 0.15:
        # More pairs than one CTA has registers for.
        T, top_k = int(rng.integers(300, 2500)), min(22, experts)
    valid_tokens = int(rng.choice([T, T, rng.integers(T + 1), 0, -1, T + 1, INT32.min, INT32.max]))
    if kind < 0.6:
        batch = permutation_batches.with_duplicates(
            T, top_k, experts, local, alignment=alignment, valid_tokens=valid_tokens, seed=seed)
    else:
        batch = permutation_batches.routed(
            T, top_k, experts, local, alignment=alignment, valid_tokens=valid_tokens,
            has_probs=bool(rng.random() < 0.7), seed=seed)
    if rng.random() < 0.2:
        batch = replace(batch, rows=int(rng.integers(batch.rows + 1)))
    return batch.with_wide_routing() if rng.random() < 0.4 else batch


def _place_routing(places: _Places, batch: TokenBatch) -> None:
    places.add("routing_map", (batch.T, batch.top_k), batch.routing_map.dtype)
    places.add("valid_tokens", (), np.int32)
    if batch.probs is not None:
        places.add("probs", (batch.T, batch.top_k), np.float32)
    for name, array in batch.before().arrays().items():
        places.add(name, array.shape, array.dtype, is_output=True)


def _write_routing(views: dict[str, np.ndarray], batch: TokenBatch) -> None:
    views["routing_map"][...] = batch.routing_map
    views["valid_tokens"][...] = batch.valid_tokens
    if batch.probs is not None:
        oracle.bits(views["probs"])[...] = oracle.bits(batch.probs)


def _routing_results(views: dict[str, np.ndarray], batch: TokenBatch) -> dict[str, np.ndarray]:
    names = batch.before().arrays()
    before = permutation.Routing(**{name: np.array(views[name]) for name in names})
    return permutation.route_tokens(
        views["routing_map"], views["valid_tokens"], batch.first_expert, batch.alignment, before,
        views.get("probs")).arrays()


def _route(op: str, form: str, rng: np.random.Generator, most_tokens: int) -> Case:
    batch, places = random_routing(rng, most_tokens), _Places(rng, form)
    _place_routing(places, batch)
    return Case(op, form, places.inputs, rng, lambda rng, views: _write_routing(views, batch),
                lambda views: _routing_results(views, batch), places.outputs,
                {"num_local_experts": batch.experts, "first_expert": batch.first_expert,
                 "alignment": batch.alignment, "num_rows": batch.rows})


# permute_tokens and permute_quantize_mxfp8.


def _width(rng: np.random.Generator, rows: int, unit: int) -> int:
    """Columns, fewer for many rows."""
    most = max(1, 400_000 // max(rows, 1))
    width = int(rng.choice([rng.integers(1, 80), rng.integers(1, 2200), rng.choice(WIDTHS)]))
    return max(1, min(width, most) // unit) * unit


def _map_of_rows(rng: np.random.Generator, R: int, T: int) -> np.ndarray:
    """Tokens, each perhaps several times, and what is none: negative, or at or past T."""
    entries = rng.integers(0, max(T, 1), R)
    kind = rng.random(R)
    share = rng.choice([0.0, 0.2, 0.6, 1.0])
    entries[kind < share] = -1
    is_odd = kind < share / 4
    entries[is_odd] = rng.choice([T, T + 1, INT32.max, INT32.min, -2], int(is_odd.sum()))
    if T == 0:
        entries = np.maximum(entries, rng.integers(0, 2, R))
    return entries.astype(np.int32)


def _permute(op: str, form: str, rng: np.random.Generator, most_tokens: int) -> Case:
    is_quantizing = op != "permute_tokens"
    T = int(rng.choice([rng.integers(1, most_tokens + 1), rng.integers(1, 9), 0],
                       p=[0.7, 0.25, 0.05]))
    R = int(rng.choice([rng.integers(0, 601), 128 * rng.integers(1, 5), rng.integers(0, 9)]))
    H = _width(rng, max(R, T), GROUP if is_quantizing else 1)
    n_used = int(rng.choice([R, R, rng.integers(R + 1), 0, -1, R + 1, INT32.min, INT32.max]))
    places, arguments = _Places(rng, form), {}
    format: oracle.Format = oracle.BF16()
    if is_quantizing:
        modes = [("swizzle_32_4_4", "zero"), ("swizzle_32_4_4", "untouched"), ("linear", "zero")]
        layout, dead = modes[rng.integers(len(modes))]
        format = oracle.MXFP8(layout, dead)
        arguments = {"scale_layout": layout, "dead_scales": dead}
    places.add("x", (T, H), oracle.bfloat16)
    places.add("permutation_map", (R,), np.int32)
    places.add("n_used", (), np.int32)
    names = ("data", "scale") if is_quantizing else ("out",)
    for name, (shape, dtype) in zip(names, format.destinations(R, H)):
        places.add(name, shape, dtype, is_output=True)

    def write(rng: np.random.Generator, views: dict[str, np.ndarray]) -> None:
        views["x"][...] = random_values(rng, (T, H), 1.0)
        views["permutation_map"][...] = _map_of_rows(rng, R, T)
        views["n_used"][...] = n_used

    def results(views: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        inputs = views["x"], views["permutation_map"], views["n_used"]
        if not is_quantizing:
            return {"out": permutation.permute_tokens(*inputs, views["out"])}
        return dict(zip(names, permutation.permute_quantize_mxfp8(
            *inputs, views["data"], views["scale"], **arguments)))

    hint = rng.choice([-1, R, rng.integers(2 * R + 1), 10**9])
    return Case(op, form, places.inputs, rng, write, results, places.outputs, arguments,
                expected_rows=None if hint < 0 else int(hint))


# unpermute_tokens.


def _unpermute(op: str, form: str, rng: np.random.Generator, most_tokens: int) -> Case:
    T = int(rng.choice([rng.integers(1, most_tokens + 1), rng.integers(1, 9), 0],
                       p=[0.7, 0.25, 0.05]))
    E = int(rng.choice([rng.integers(1, 9), rng.integers(1, 70), rng.choice([31, 32, 33, 128, 257])]))
    R = int(rng.choice([rng.integers(1, 601), rng.integers(1, 9), 0], p=[0.8, 0.17, 0.03]))
    H = _width(rng, max(T, R), 1)
    if rng.random() < 0.4:
        H = -(-H // 8) * 8
    has_probs = bool(rng.random() < 0.6)
    valid_tokens = int(rng.choice([T, T, rng.integers(T + 1), 0, -1, T + 1, INT32.min, INT32.max]))
    places = _Places(rng, form)
    places.add("y", (R, H), oracle.bfloat16)
    places.add("inverse_map", (T, E), np.int32)
    places.add("valid_tokens", (), np.int32)
    if has_probs:
        places.add("probs", (R,), np.float32)
    places.add("out", (T, H), np.float32, is_output=True)
    share, is_odd = float(rng.choice([0.03, 0.2, 0.7, 1.0])), bool(rng.random() < 0.4)

    def write(rng: np.random.Generator, views: dict[str, np.ndarray]) -> None:
        views["y"][...] = permutation_batches.expert_results(
            R, H, int(rng.integers(1 << 30)), odd=is_odd)
        entries = rng.integers(0, max(R, 1), (T, E))
        kind = rng.random((T, E))
        entries[kind >= share] = -1
        none = kind < share / 20
        entries[none] = rng.choice([R, R + 1, INT32.max, INT32.min, -2], int(none.sum()))
        views["inverse_map"][...] = entries if R else np.where(entries == 0, -1, entries)
        views["valid_tokens"][...] = valid_tokens
        if has_probs:
            probs = rng.random(R, np.float32)
            special = rng.random(R) < 0.1
            probs[special] = rng.choice(np.float32([0, -0.0, -1, np.inf, np.nan, 2.0**-149, 3e38]),
                                        int(special.sum()))
            views["probs"][...] = probs

    def results(views: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"out": permutation.unpermute_tokens(
            views["y"], views["inverse_map"], views["valid_tokens"], views["out"],
            views.get("probs"))}

    return Case(op, form, places.inputs, rng, write, results, places.outputs, {})


# A step of a layer.


@dataclass(frozen=True)
class Step:
    """Sizes of a layer, of which each step has another routing: `rows` are enough for most of them."""

    T: int
    top_k: int
    experts: int
    local: slice
    H: int
    alignment: int
    rows: int
    has_probs: bool
    dtype: Any
    programmatic_launch: bool = False

    def routing(self, rng: np.random.Generator) -> TokenBatch:
        """Now and then one that is rare: all tokens to one expert, to none, duplicates."""
        seed, kind = int(rng.integers(1 << 30)), rng.random()
        valid = int(rng.choice([self.T, rng.integers(self.T + 1), 0, -5, self.T + 7],
                               p=[0.5, 0.38, 0.04, 0.04, 0.04]))
        make: Any = permutation_batches.with_duplicates if kind < 0.15 else permutation_batches.routed
        batch: TokenBatch = make(self.T, self.top_k, self.experts, self.local,
                                 alignment=self.alignment, valid_tokens=valid, seed=seed)
        routing_map = batch.routing_map
        if kind > 0.9:
            expert = int(rng.choice([self.local.start, self.local.stop - 1, self.local.stop, -1]))
            routing_map = np.full_like(routing_map, expert)
        return replace(batch, routing_map=routing_map.astype(self.dtype), rows=self.rows,
                       probs=batch.probs if self.has_probs else None)


STEPS = (
    Step(64, 6, 128, slice(32, 64), 256, 16, 64 * 6 + 16 * 32, True, np.int32),
    Step(33, 4, 16, slice(0, 16), 200, 1, 120, True, np.int64, True),
    Step(96, 8, 24, slice(5, 9), 128, 128, 96 * 4 + 128 * 4, False, np.int32),
)


def make_step(seed: int, step: Step) -> Case:
    """Routing, the rows of the tokens, an activation, and the sums of what comes of them, as a case
    whose inputs are others each time.
    """
    rng = np.random.default_rng((seed, step.T, step.H))
    places, batch = _Places(rng, "out"), step.routing(rng)
    _place_routing(places, batch)
    places.add("x", (step.T, step.H), oracle.bfloat16)
    places.add("permuted", (step.rows, step.H), oracle.bfloat16, is_output=True)
    places.add("activated", (step.rows, step.H), oracle.bfloat16, is_output=True)
    places.add("sums", (step.T, step.H), np.float32, is_output=True)

    def write(rng: np.random.Generator, views: dict[str, np.ndarray]) -> None:
        _write_routing(views, step.routing(rng))
        views["x"][...] = rng.standard_normal((step.T, step.H)).astype(oracle.bfloat16)

    def results(views: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = _routing_results(views, batch)
        rows, n_used = found["permutation_map"], found["inclusive_offsets"][-1:]
        found["permuted"] = permutation.permute_tokens(views["x"], rows, n_used, views["permuted"])
        found["activated"] = oracle.padded_squared_relu(
            found["permuted"], rows, n_used, views["activated"])
        found["sums"] = permutation.unpermute_tokens(
            found["activated"], found["inverse_map"], views["valid_tokens"], views["sums"],
            found.get("permuted_probs"))
        return found

    return Case("a layer's step", "graph", places.inputs, rng, write, results, places.outputs,
                {"num_local_experts": batch.experts, "first_expert": batch.first_expert,
                 "alignment": batch.alignment, "num_rows": batch.rows},
                programmatic_launch=step.programmatic_launch)
