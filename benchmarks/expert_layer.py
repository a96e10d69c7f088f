# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The part of a mixture of experts between the router and the residual: permute, product, squared
ReLU, product, unpermute. With this package's functions, with the Triton peers, with eager PyTorch;
the two grouped products are PyTorch's in all of them.

A layer is a generator that yields the name of each part when it is done, and what it has made: who
wants to know what the parts take runs it so far and no further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

try:
    import moe_mlir
except ImportError as missing:  # Its library is not built, say.
    moe_mlir, WHY_NOT_OURS = None, str(missing)
else:
    WHY_NOT_OURS = ""

PARTS = ("permute", "FC1", "activation", "FC2", "unpermute")


@dataclass(frozen=True)
class Shape:
    """T tokens of H columns, each routed to top_k of `experts`; of those, `local` from `first` on
    are computed here, with an inner width of F.
    """

    T: int
    H: int
    F: int
    experts: int
    top_k: int
    first: int = 0
    local: int = 0
    alignment: int = 16

    def __post_init__(self) -> None:
        if not self.local:
            object.__setattr__(self, "local", self.experts - self.first)

    @property
    def rows(self) -> int:
        """The capacity: what is enough however the tokens are routed."""
        return self.T * min(self.top_k, self.local) + self.alignment * self.local


@dataclass(frozen=True)
class Weights:
    """Of the local experts, as checkpoints have them: a row is one of the result's columns."""

    fc1: torch.Tensor  # bf16 [E, F, H]
    fc2: torch.Tensor  # bf16 [E, H, F]

    @staticmethod
    def random(shape: Shape, device: torch.device | str) -> Weights:
        """An expert has the same weights in whichever slice it is."""
        fc1 = torch.empty(shape.local, shape.F, shape.H, dtype=torch.bfloat16, device=device)
        fc2 = torch.empty(shape.local, shape.H, shape.F, dtype=torch.bfloat16, device=device)
        for e in range(shape.local):
            generator = torch.Generator(device).manual_seed(shape.first + e)
            fc1[e].normal_(std=shape.H**-0.5, generator=generator)
            fc2[e].normal_(std=shape.F**-0.5, generator=generator)
        return Weights(fc1, fc2)


@dataclass(frozen=True)
class Step:
    """What comes from the layer before and from the router, and where the result goes."""

    x: torch.Tensor  # bf16 [T, H]
    routing_map: torch.Tensor  # int64 [T, top_k], as topk gives it
    probs: torch.Tensor  # float32 [T, top_k]
    valid_tokens: torch.Tensor  # int32, on the device
    out: torch.Tensor  # float32 [T, H]

    @staticmethod
    def random(shape: Shape, device: torch.device | str, seed: int = 0) -> Step:
        generator = torch.Generator(device).manual_seed(seed)

        def normal(columns: int) -> torch.Tensor:
            return torch.randn(shape.T, columns, generator=generator, device=device)

        probs, routing_map = normal(shape.experts).softmax(-1).topk(shape.top_k)
        probs = probs / probs.sum(-1, keepdim=True)
        return Step(normal(shape.H).bfloat16(), routing_map, probs,
                    torch.tensor(shape.T, dtype=torch.int32, device=device),
                    torch.empty(shape.T, shape.H, dtype=torch.float32, device=device))


def grouped_mm(rows: torch.Tensor, weights: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """The rows up to offsets[e], from where those of the expert before it end, times weights[e]
    transposed. Rows past the last offset are anything.
    """
    if rows.is_cuda:
        # Public from PyTorch 2.10 on.
        product = getattr(torch.nn.functional, "grouped_mm", None) or torch._grouped_mm
        return product(rows, weights.transpose(1, 2), offs=offsets)
    out, begin = rows.new_empty(rows.shape[0], weights.shape[1]), 0
    for e, end in enumerate(offsets.tolist()):
        torch.mm(rows[begin:end], weights[e].t(), out=out[begin:end])
        begin = end
    return out


Layer = Iterator[tuple[str, torch.Tensor]]


def ours(shape: Shape, weights: Weights, step: Step, programmatic: bool = False,
         hint: bool = False) -> Layer:
    """Four launches beside the products: one routes, one permutes, one activates, one unpermutes.
    With `programmatic`, each may start while what is before it ends; with `hint`, each is told how
    many rows to expect, as who captures a graph for each size of a batch knows it.
    """
    early: dict[str, Any] = {"programmatic_launch": True} if programmatic else {}
    by_row, by_token = dict(early), dict(early)
    if hint:
        by_row["expected_rows"] = -(-shape.T * shape.top_k * shape.local // shape.experts)
        by_token["expected_rows"] = shape.T
    rows, probs, permutation_map, offsets, inverse_map = moe_mlir.permute_tokens(
        step.x, step.probs, step.routing_map, shape.first, shape.local, step.valid_tokens,
        alignment=shape.alignment, return_batch_invariant_inverse_map=True, **by_row)
    yield "permute", rows
    inner = grouped_mm(rows, weights.fc1, offsets)
    yield "FC1", inner
    active = moe_mlir.padded_squared_relu(inner, permutation_map, offsets[-1:], **by_row)
    yield "activation", active
    y = grouped_mm(active, weights.fc2, offsets)
    yield "FC2", y
    yield "unpermute", moe_mlir.unpermute_tokens(
        y, probs, permutation_map, shape.T, offsets[-1:], step.valid_tokens, out=step.out,
        batch_invariant_inverse_map=inverse_map, **by_token)


def triton(shape: Shape, weights: Weights, step: Step) -> Layer:
    """In the reference's structure: eight launches beside the products."""
    import triton_peer
    import triton_permute

    routing = triton_permute.Routing.empty(shape.local, shape.rows, step.x.device)
    rows = step.x.new_empty(shape.rows, shape.H)
    triton_permute.route(step.routing_map, step.valid_tokens, shape.first, shape.alignment, routing)
    triton_permute.permute(step.x, step.probs, step.routing_map, step.valid_tokens, shape.first,
                           routing, rows)
    yield "permute", rows
    inner = grouped_mm(rows, weights.fc1, routing.inclusive_offsets)
    yield "FC1", inner
    active = triton_peer.padded_squared_relu(inner, routing.permutation_map, routing.n_used)
    yield "activation", active
    y = grouped_mm(active, weights.fc2, routing.inclusive_offsets)
    yield "FC2", y
    triton_permute.unpermute(y, routing, step.valid_tokens, step.out)
    yield "unpermute", step.out


def eager(shape: Shape, weights: Weights, step: Step) -> Layer:
    """As one writes it in PyTorch, with sizes that depend on no value."""
    import torch_permute

    routing = torch_permute.route(step.routing_map, step.valid_tokens, shape.first, shape.local,
                                  shape.alignment, shape.rows)
    rows = torch_permute.permute(step.x, routing)
    yield "permute", rows
    inner = grouped_mm(rows, weights.fc1, routing.inclusive_offsets)
    yield "FC1", inner
    active = torch.relu(inner).square()
    yield "activation", active
    y = grouped_mm(active, weights.fc2, routing.inclusive_offsets)
    yield "FC2", y
    step.out.copy_(torch_permute.unpermute(y, routing, step.probs))
    yield "unpermute", step.out


def variants(with_triton: bool, with_programmatic: bool) -> dict[str, Callable[..., Layer]]:
    """Those that this machine has, the first of them the one to compare with."""
    found: dict[str, Callable[..., Layer]] = {}
    if hasattr(moe_mlir, "unpermute_tokens"):
        found["moe"] = ours
        if with_programmatic:
            found["moe-programmatic"] = lambda *step: ours(*step, programmatic=True)
            found["moe-hint"] = lambda *step: ours(*step, programmatic=True, hint=True)
    if with_triton:
        found["reference"] = triton
    found["eager"] = eager
    return found


def run(layer: Layer, parts: int = len(PARTS)) -> torch.Tensor:
    """The first `parts` of the layer; what the last of them makes."""
    for _ in range(parts):
        _, made = next(layer)
    return made


def trouble(found: torch.Tensor, wanted: torch.Tensor) -> str | None:
    """What is wrong with a result next to another variant's. Sums in another order, and rows whose
    products PyTorch adds up in another way, differ in the last bits of bf16.
    """
    if not bool(torch.isfinite(found).all()):
        return "values that are not finite"
    error = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
    return f"off by {error:.2g} of the largest value" if error > 0.02 else None


def launches(layers: Mapping[str, Callable[..., Layer]], shape: Shape, weights: Weights,
             steps: Sequence[Step]) -> dict[str, Callable[[int], torch.Tensor]]:
    """By "VARIANT through PART", the layer so far, on the steps in turn."""
    def launch(layer: Callable[..., Layer], parts: int) -> Callable[[int], torch.Tensor]:
        return lambda index: run(layer(shape, weights, steps[index % len(steps)]), parts)

    return {f"{name} through {part}": launch(layer, count)
            for name, layer in layers.items() for count, part in enumerate(PARTS, 1)}


def by_part(times: Mapping[str, float], name: str) -> dict[str, float]:
    """Of times through each part, what each adds to what is before it."""
    through = [times[f"{name} through {part}"] for part in PARTS]
    return {part: end - begin for part, begin, end in zip(PARTS, [0.0, *through], through)}


def pair_rows(shape: Shape, step: Step, y: torch.Tensor) -> torch.Tensor:
    """float32 [T, top_k, H]: the row of y that belongs to each pair, 0 for a pair that is not of a
    local expert.
    """
    import torch_permute

    routing = torch_permute.route(step.routing_map, step.valid_tokens, shape.first, shape.local,
                                  shape.alignment, shape.rows)
    exists = routing.pair_rows < shape.rows
    rows = y[routing.pair_rows.clamp(max=shape.rows - 1)].float()
    return torch.where(exists[:, :, None], rows, 0)
