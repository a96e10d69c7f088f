# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""No grid of the launch rule lets the live rows of a routed batch meet in few warps or SMs.

The grids are those that the runtime launches, on a driver that records them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from moe_testing import batches
from moe_testing import runtime as moe
from moe_testing.fake_driver import FakeDriver, build, in_child
from moe_testing.launch_balance import Loads, loads

TOKENS = (1, 2, 3, 5, 8, 16, 24, 32, 48, 64, 100, 128, 200, 256, 512, 1024, 4096)
EXPERTS = (8, 16, 32, 64, 128, 256, 512)
TOP_K = (1, 2, 4, 6, 8, 22)
ALIGNMENTS = (16, 64, 128, 256)
CAPACITIES = (None, 1000, 8192)
COLUMNS = (32, 1024, 1856, 2688, 5120, 7168, 14336)
SMS = (46, 58, 78, 80, 84, 108, 114, 128, 132, 142, 144, 148, 160)
NUM_CTAS = (0, 0, 0, 0, 64, 128, 256, 264, 512, 528, 1000, 2048)
BATCHES, LAUNCHES_PER_BATCH = 600, 12


class Launch(NamedTuple):
    """A routed batch's live rows, and how it is launched."""

    live: np.ndarray
    rows: int
    columns: int
    sms: int
    num_ctas: int
    op: str
    what: str

    @property
    def has_quads(self) -> bool:
        return "quantize" in self.op


@functools.lru_cache(maxsize=8)
def routing(tokens: int, experts: int, top_k: int, alignment: int) -> np.ndarray:
    """The live rows of a batch, whatever its capacity."""
    batch = batches.routed_batch(tokens, experts, top_k, alignment, ffn=0)
    used = batch.permutation_map[: int(batch.n_used)]
    return np.flatnonzero(used >= 0)


def launches() -> Iterator[Launch]:
    rng = np.random.default_rng(1)
    for _ in range(BATCHES):
        tokens, experts, alignment = (int(rng.choice(values))
                                      for values in (TOKENS, EXPERTS, ALIGNMENTS))
        top_k = int(rng.choice([k for k in TOP_K if k <= experts]))
        capacity = CAPACITIES[rng.integers(len(CAPACITIES))]
        if capacity is not None and capacity < tokens:
            capacity = None
        live = routing(tokens, experts, top_k, alignment)
        rows = batches.max_rows(capacity or tokens, experts, top_k, alignment)
        for _ in range(LAUNCHES_PER_BATCH):
            columns, sms, num_ctas = (int(rng.choice(values))
                                      for values in (COLUMNS, SMS, NUM_CTAS))
            op = ("padded_squared_relu", "squared_relu_quantize_mxfp8")[rng.integers(2)]
            what = (f"{op} {rows}x{columns}, {tokens} tokens, {experts} experts, top {top_k}, "
                    f"alignment {alignment}, {sms} SMs, num_ctas {num_ctas}")
            yield Launch(live, rows, columns, sms, num_ctas, op, what)


@pytest.fixture(scope="session")
def driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("driver"))


def former_grid(launch: Launch) -> tuple[int, int]:
    """What the rule before this one made: as even for dense rows as can be."""
    limit = launch.num_ctas or 4 * launch.sms
    x = min(-(-launch.columns // 1024), limit)
    quads = -(-launch.rows // 128) * 32
    by_quads = launch.has_quads and quads * 8 >= limit // x * 8 * 7
    ctas = max(-(-(quads if by_quads else launch.rows) // 8), 1)
    return x, max(-(-ctas // -(-ctas // (limit // x))), min(launch.rows, limit // 4 // x))


def check(measured: Iterable[tuple[Launch, Loads]]) -> None:
    """The limits. No fixed assignment of rows keeps the tightest of them in every case: one by
    chance breaks that of the SMs in a quarter of the launches. So a share of the launches may
    exceed each by a little, and none by much.
    """
    total = 0
    beyond, uneven, far = [], [], []
    for launch, found in measured:
        total += 1
        if found.beyond_warp_limit():
            beyond.append((found.beyond_warp_limit(), launch.what, found))
        if not found.is_within(1.5, 2):
            uneven.append((launch.what, found))
        if not found.is_within(2, 4):
            far.append((found.sm, launch.what, found))
    assert total == BATCHES * LAUNCHES_PER_BATCH
    assert len(beyond) <= total / 500 and all(more == 1 for more, _, _ in beyond), max(beyond)
    assert len(uneven) <= total / 16, uneven[0]
    assert len(far) <= total / 200, max(far)


@in_child
def test_rows_are_spread(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)

    def measured() -> Iterator[tuple[Launch, Loads]]:
        sms = None
        for launch in launches():
            if launch.sms != sms:
                sms = launch.sms
                driver.set_device(num_sms=sms)
                driver.create_context()
            driver.take_calls()
            moe.Call(launch.op, launch.rows, launch.columns, device=moe.CUDA,
                     num_ctas=launch.num_ctas).run()
            [record] = driver.launches()
            # An even number tells a kernel that many rows are expected to be live.
            assert record.grid[1] % 2 == 1, launch.what
            yield launch, loads(launch.live, launch.rows, record.grid[:2], sms, launch.has_quads)

    check(measured())


def test_limits_notice_resonance() -> None:
    """Grids as even as they can be for dense rows, whose warps are multiples of eight, are beyond
    them.
    """
    def measured() -> Iterator[tuple[Launch, Loads]]:
        for launch in launches():
            grid = former_grid(launch)
            yield launch, loads(launch.live, launch.rows, grid, launch.sms, launch.has_quads,
                                warps=8 * grid[1], is_dense=False)

    found = list(measured())
    with pytest.raises(AssertionError):
        check(found)
    beyond = sum(part.beyond_warp_limit() > 0 for _, part in found)
    far = sum(not part.is_within(2, 4) for _, part in found)
    assert beyond > len(found) / 10 and far > len(found) / 20
