# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is measured: the shapes and batches of gpu.py, and the bytes that each must move."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def require_packages(program: str) -> None:
    """Leaves a benchmark, with a line that says how to run it, where it lacks the packages of this
    checkout.
    """
    missing = [name for name in ("moe_mlir", "moe_testing")
               if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"{program}: this Python lacks {' and '.join(missing)}: run it by "
                 "build/venv/bin/python, which scripts/setup.sh makes; or, from the root of the "
                 "checkout, with PYTHONPATH=$PWD/python:$PWD/testing")


# By the names of the command line, the functions of the Python package.
OPS = {"activation": "padded_squared_relu", "quantize": "squared_relu_and_quantize_mxfp8"}
# The same of a gate and an up: x is twice as wide as the result.
SWIGLU_OPS = {"swiglu": "padded_swiglu", "swiglu_quantize": "swiglu_and_quantize_mxfp8"}
ALL_OPS = {**OPS, **SWIGLU_OPS}

DENSE_M = (16, 128, 1024, 8192, 65536)
DENSE_K = (1856, 2688, 7168, 14336)
MAX_INPUT_BYTES = 1 << 30
TOKENS = (1, 8, 32, 64, 256, 512, 4096)
ROUTED_K = (1856, 2688)
CAPACITY_TOKENS = 8192
# Many small experts.
WIDE = {"experts": 512, "top_k": 22}
WIDE_TOKENS = (1, 8, 64, 512, 4096)
WIDE_K = (2688, 5120)
SWEEP_TOKENS = 64
SWEEP_K = (1856, 2688, 5120)
# Powers of two, and steps between them that share no large power of two with anything.
SWEEP_CAPACITIES = tuple(1 << n for n in range(6, 17))
ODD_SWEEP_CAPACITIES = (90, 173, 357, 701, 1443, 2845, 5721, 11447, 22933, 45811)
# Models with a SwiGLU: the width of its result, experts, and experts of a token.
SWIGLU_ROUTED = ((768, 128, 8), (2048, 256, 6), (3072, 384, 6))
SWIGLU_DENSE_K = 1856


class Routing(NamedTuple):
    """Where the live rows of a batch are."""

    permutation_map: np.ndarray
    n_used: int
    live: int


@dataclass(frozen=True)
class Case:
    """An op, one of ALL_OPS, on a dense batch of M rows, or on `tokens` routed tokens.

    kind: "dense"; "routed"; "capacity", one of a series of capacities with the same live rows. K is
    the width of the result.
    """

    op: str
    kind: str
    K: int
    M: int
    tokens: int = 0
    capacity_tokens: int = 0
    alignment: int = 128
    experts: int = 128
    top_k: int = 6

    @property
    def quantizes(self) -> bool:
        return self.op in ("quantize", "swiglu_quantize")

    @property
    def x_columns(self) -> int:
        return 2 * self.K if self.op in SWIGLU_OPS else self.K

    @property
    def name(self) -> str:
        if self.kind == "dense":
            return f"{self.op} dense {self.M}x{self.K}"
        capacity = f" capacity {self.capacity_tokens}" if self.capacity_tokens else ""
        alignment = f" align {self.alignment}" if self.alignment != 128 else ""
        experts = ("" if (self.experts, self.top_k) == (128, 6)
                   else f" experts {self.experts} top {self.top_k}")
        return f"{self.op} {self.kind} {self.tokens} K {self.K}{experts}{capacity}{alignment}"

    def routing(self) -> Routing:
        import numpy as np
        from moe_testing import batches

        if self.kind == "dense":
            return Routing(np.arange(self.M, dtype=np.int32), self.M, self.M)
        batch = batches.routed_batch(self.tokens, self.experts, self.top_k, self.alignment,
                                     self.capacity_tokens or None, ffn=0)
        assert batch.M == self.M
        return Routing(batch.permutation_map, batch.n_used, batch.live)

    def describe(self) -> dict[str, Any]:
        """The case's entry in a result file."""
        return {"name": self.name, **asdict(self), "live": live_rows(self),
                "bytes": bytes_moved(self)}


def live_rows(case: Case) -> int:
    return case.M if case.kind == "dense" else case.tokens * case.top_k


def bytes_moved(case: Case) -> int:
    """What the op cannot avoid: x of the live rows read, their results written."""
    rows = live_rows(case)
    written = rows * case.K + rows * case.K // 32 if case.quantizes else 2 * rows * case.K
    return 2 * rows * case.x_columns + written


def routed_case(op: str, kind: str, tokens: int, K: int, capacity_tokens: int = 0,
                alignment: int = 128, experts: int = 128, top_k: int = 6) -> Case:
    """M is what batches.max_rows gives, restated here so that listing cases needs no numpy."""
    rows = (capacity_tokens or tokens) * top_k + experts * alignment
    return Case(op, kind, K, -(-rows // alignment) * alignment, tokens, capacity_tokens, alignment,
                experts, top_k)


def all_cases() -> list[Case]:
    """Every case, in the order of running: what the gates need most comes first."""
    return [*_main_cases(), *_wide_cases(), *_capacity_cases(SWEEP_K[0]), *_aligned_16_cases(),
            *(case for K in SWEEP_K[1:] for case in _capacity_cases(K))]


def _main_cases() -> Iterator[Case]:
    for op in OPS:
        for K in ROUTED_K:
            for tokens in TOKENS:
                for capacity in (0, CAPACITY_TOKENS):
                    yield routed_case(op, "routed", tokens, K, capacity)
    for op in OPS:
        for K in DENSE_K:
            for M in DENSE_M:
                if 2 * M * K <= MAX_INPUT_BYTES:
                    yield Case(op, "dense", K, M)


def _wide_cases() -> Iterator[Case]:
    for op in OPS:
        for K in WIDE_K:
            for tokens in WIDE_TOKENS:
                yield routed_case(op, "routed", tokens, K, **WIDE)
            yield routed_case(op, "routed", SWEEP_TOKENS, K, CAPACITY_TOKENS, **WIDE)


def _aligned_16_cases() -> Iterator[Case]:
    """Expert blocks as bf16 GEMMs want them; MXFP8 GEMMs want 128."""
    for K in ROUTED_K:
        for tokens in TOKENS:
            for capacity in (0, CAPACITY_TOKENS):
                yield routed_case("activation", "routed", tokens, K, capacity, alignment=16)


def _capacity_cases(K: int) -> Iterator[Case]:
    for op in OPS:
        for capacity in sorted(SWEEP_CAPACITIES + ODD_SWEEP_CAPACITIES):
            yield routed_case(op, "capacity", SWEEP_TOKENS, K, capacity)


def swiglu_cases() -> list[Case]:
    """Those of the ops of a gate and an up, in the order of running."""
    return [*_swiglu_routed_cases(), *(
        Case(op, "dense", SWIGLU_DENSE_K, M) for op in SWIGLU_OPS for M in DENSE_M)]


def _swiglu_routed_cases() -> Iterator[Case]:
    for op in SWIGLU_OPS:
        for K, experts, top_k in SWIGLU_ROUTED:
            for tokens in TOKENS:
                yield routed_case(op, "routed", tokens, K, experts=experts, top_k=top_k)
            yield routed_case(op, "routed", SWEEP_TOKENS, K, CAPACITY_TOKENS, experts=experts,
                              top_k=top_k)


def planned_cases(ops: Iterable[str]) -> list[Case]:
    """The cases of a whole run in which some of `ops` are measured."""
    return all_cases() + (swiglu_cases() if SWIGLU_OPS.keys() & set(ops) else [])


def quick_cases() -> list[Case]:
    """A few small ones, to see that everything runs."""
    return [case for op in OPS for case in (
        Case(op, "dense", 1856, 128), routed_case(op, "routed", 8, 1856),
        routed_case(op, "capacity", SWEEP_TOKENS, SWEEP_K[0], SWEEP_TOKENS))]
