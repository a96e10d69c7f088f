# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The gated ops, and what all named ops may have, on the CPU and as PTX, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from moe_testing import batches, gated_batches, interpreted, on_cpu, oracle, sigma
from moe_testing.family import FamilyKernel
from moe_testing.kernels import check, compile_ptx

pytestmark = pytest.mark.needs("moe-opt", "moe-translate", "moe-run")

SWIGLU, QUANTIZING = "padded_swiglu", "swiglu_quantize_mxfp8"


def test_the_table_of_silu_on_the_cpu() -> None:
    batch = sigma.silu_batch()
    out = np.zeros((batch.M, sigma.SILU_COLUMNS), oracle.bfloat16)
    [found] = on_cpu.call(sigma.silu_module(), [batch.x, batch.permutation_map,
                                                np.array(batch.n_used, np.int32), out], [3])
    assert sigma.table_of(found) == sigma.SILU_TABLE


@pytest.mark.parametrize("chip", ["sm_80", "sm_90", "sm_100"])
def test_the_table_of_silu_in_the_interpreter(chip: str) -> None:
    ptx = compile_ptx(sigma.silu_module(), chip)
    assert "rcp.approx.ftz.f32" in ptx and "div" not in ptx and "rcp.rn" not in ptx
    sigma.check_silu(interpreted.Interpreter(), ptx, (1, 4))


@pytest.mark.parametrize("op", [SWIGLU, QUANTIZING])
@pytest.mark.parametrize("variant", gated_batches.VARIANTS)
def test_variants(op: str, variant: str) -> None:
    """Every gate once, with ordinary and extreme ups."""
    settings = gated_batches.VARIANTS[variant]
    kernel = FamilyKernel.of(op, settings)
    gate, up = gated_batches.all_gates(1024, rounds=1)
    on_cpu.run(kernel, gated_batches.dense(gate, up))
    interpreted.run(kernel, gated_batches.dense(gate[::3], up[::3]), (1, 2))
    if "limit" in settings:
        batch = gated_batches.dense(*gated_batches.around_limit(settings["limit"]))
        on_cpu.run(kernel, batch)
        interpreted.run(kernel, batch, (1, 2), aligned=batch.x.shape[1] % 32 == 0)


# Small inputs, which have chunks of 256 columns instead of 512.


@pytest.mark.parametrize(("rows", "grid", "chunk"), [
    (7, (4, 1), 256),  # a row for each warp, and a CTA for each chunk
    (7, (5, 1), 256),
    (7, (3, 1), 512),
    (7, (2, 1), 512),  # made for chunks of 512
    (8, (4, 1), None),  # a warp has two rows
    (8, (4, 3), None),  # too large
    (8, (4, 2), 256),  # but an even number of CTAs: nearly all rows are expected to be live
    (8, (2, 2), 512),
    (16, (4, 2), None),
])
@pytest.mark.parametrize("columns", [None, 1024])
def test_which_inputs_have_smaller_chunks(rows: int, grid: tuple[int, int], chunk: int | None,
                                          columns: int | None) -> None:
    """`chunk`: the columns of those of a small input, whose rows are all loaded, 4096 bytes each, and
    asked for each chunk whether they are live; None for others, of which the live rows are loaded.
    """
    kernel = FamilyKernel(SWIGLU, columns=columns)
    schedule = "#moe.schedule<steps = 2, early_bytes = 28672, early_steps = 1>"
    text = kernel.mlir().replace("\n  return", f" {{moe.schedule = [{schedule}, "
                                 "#moe.schedule<access_bytes = 2>]}\n  return")
    batch = gated_batches.random_gated_batch(rows, 1024, rows, live_fraction=0.4)
    assert 0 < batch.live < rows
    backend = interpreted.Interpreter()
    check(backend, compile_ptx(text), kernel, batch, grid)
    loaded = rows if chunk else batch.live
    # Others are asked 32 rows at a time, by every warp.
    votes = rows * 1024 // chunk if chunk else grid[0] * min(rows, 8 * grid[1] - 1)
    assert backend.stats["by_opcode"]["vote.sync.ballot.b32"] == votes
    assert backend.stats["global_loads"][16]["bytes"] == loaded * 4096
    assert backend.stats["bytes_store"] == batch.live * 2048


@pytest.mark.parametrize(("chip", "columns", "has_probs"), [
    ("sm_80", None, False), ("sm_90", None, True), ("sm_100", None, False), ("sm_90", 40, True),
    ("sm_90", 520, False), ("sm_90", 512, True)])
def test_small_inputs(chip: str, columns: int | None, has_probs: bool) -> None:
    """Under grids for smaller chunks, for larger ones, and for neither."""
    kernel = FamilyKernel(SWIGLU, columns=columns, has_probs=has_probs)
    for seed, (rows, n_used, grid) in enumerate([
            (20, 17, (1, 3)), (20, 2**31 - 1, (2, 3)), (20, 14, (4, 4)), (20, 20, (3, 1)),
            (15, 15, (4, 2)), (16, 16, (4, 2))]):
        batch = gated_batches.random_gated_batch(rows, columns or 784, n_used, "gate_up", 0.6,
                                                 seed, has_probs)
        interpreted.run(kernel, batch, grid, chip)


@pytest.mark.parametrize("chip", ["sm_80", "sm_89", "sm_100"])
@pytest.mark.parametrize("op", [SWIGLU, QUANTIZING])
@pytest.mark.parametrize("layout", ["up_gate", "interleaved<1>", "interleaved<8>"])
def test_layouts_on_other_chips(chip: str, op: str, layout: str) -> None:
    batch = gated_batches.random_gated_batch(40, 1184, 37, layout)
    interpreted.run(FamilyKernel.of(op, {"gate_layout": layout}), batch, (2, 3), chip)


def test_groups_that_are_rare() -> None:
    batch = gated_batches.dense(*gated_batches.special_groups())
    for layout in (oracle.SWIZZLED, oracle.LINEAR):
        kernel = FamilyKernel.of(QUANTIZING, {"scale_layout": layout})
        on_cpu.run(kernel, batch)
        interpreted.run(kernel, batch, (1, 2))


@pytest.mark.parametrize("seed", range(16))
def test_random_cases_on_the_cpu(seed: int) -> None:
    op = (SWIGLU, QUANTIZING)[seed % 2]
    case = gated_batches.random_case(seed, quantizes=op == QUANTIZING)
    kernel = FamilyKernel.of(op, case.arguments, has_map=case.has_map,
                             has_probs=case.batch.probs is not None)
    on_cpu.run(kernel, case.batch)


@pytest.mark.parametrize("seed", range(12))
def test_random_cases_in_the_interpreter(seed: int) -> None:
    op = (SWIGLU, QUANTIZING)[seed % 2]
    case = gated_batches.random_case(100 + seed, quantizes=op == QUANTIZING, most_elements=6000)
    kernel = FamilyKernel.of(op, case.arguments, has_map=case.has_map,
                             has_probs=case.batch.probs is not None)
    interpreted.run(kernel, case.batch, (1, 2), ("sm_80", "sm_90", "sm_100")[seed % 3],
                    aligned=False)


# What the ops of one column may have.

SQUARED = ["padded_squared_relu", "squared_relu_quantize_mxfp8"]


def weighted_batch(rows: int, columns: int) -> batches.Batch:
    batch = batches.random_batch(rows, columns, rows - 5)
    probs = np.random.default_rng(3).standard_normal(rows).astype(np.float32)
    probs[:8] = [0, 1, -1, np.inf, np.nan, 2.0**-140, -np.inf, 3e38]
    return batches.Batch(batch.x, batch.permutation_map, batch.n_used, probs)


@pytest.mark.parametrize("op", SQUARED)
@pytest.mark.parametrize("scale", [16.0, 7.0])
@pytest.mark.parametrize("has_probs", [False, True])
def test_clamp(op: str, scale: float, has_probs: bool) -> None:
    kernel = FamilyKernel.of(op, {"clamp_scale": scale}, has_probs=has_probs)
    x = batches.all_bf16_patterns(1024)
    probs = np.linspace(-2, 2, x.shape[0], dtype=np.float32)
    on_cpu.run(kernel, batches.Batch(x, np.arange(x.shape[0]), x.shape[0], probs))
    some = np.ascontiguousarray(x[::9])
    interpreted.run(kernel, batches.Batch(some, np.arange(some.shape[0]), some.shape[0],
                                          probs[: some.shape[0]]), (1, 2))


@pytest.mark.parametrize("op", SQUARED)
@pytest.mark.parametrize("has_map", [True, False])
@pytest.mark.parametrize("has_probs", [True, False])
@pytest.mark.parametrize("dead_rows", ["zero", "untouched"])
def test_rows(op: str, has_map: bool, has_probs: bool, dead_rows: str) -> None:
    layouts = [oracle.SWIZZLED, oracle.LINEAR] if "mxfp8" in op else [None]
    for layout in layouts:
        arguments = {"dead_rows": dead_rows} | ({"scale_layout": layout} if layout else {})
        kernel = FamilyKernel.of(op, arguments, has_map=has_map, has_probs=has_probs)
        batch = weighted_batch(134, 96)
        on_cpu.run(kernel, batch)
        interpreted.run(kernel, batch, (1, 3), aligned=layout != oracle.LINEAR)
