# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The compiled kernels, run in the PTX interpreter and compared byte for byte with the oracle."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import ptx_interpreter.module
import pytest
from moe_testing import batches, launch_balance, oracle
from moe_testing.interpreted import Interpreter, parse, run
from moe_testing.kernels import FUSED, QUANTIZE, SQUARED_RELU, Kernel, check, compare
from ptx_interpreter import Memory

OPS = [SQUARED_RELU, FUSED, QUANTIZE]
pytestmark = pytest.mark.needs("moe-opt", "moe-translate")


# What the kernels move, by the counts of the interpreter.


def counted(op: str, batch: batches.Batch, grid: tuple[int, int], dead_scales: str = "zero") -> dict:
    kernel = Kernel(op) if op == SQUARED_RELU else Kernel(op, dead_scales=dead_scales)
    return run(kernel, batch, grid)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("capacity", [2, 40, 200])
def test_bytes_follow_live_rows_and_not_the_capacity(op: str, capacity: int) -> None:
    """Two tokens, four live rows, under three capacities. Every byte is stored once; only scales to
    be zeroed and the map grow with the capacity.
    """
    batch = batches.routed_batch(2, experts=4, top_k=2, capacity_tokens=capacity, ffn=1024)
    threads, data = 2048, 1024 * (2 if op == SQUARED_RELU else 1)
    assert batch.n_used <= threads
    stats = counted(op, batch, (1, threads // 256))
    # n_used for each thread, and its entry of the map if it has one. One warp has no rows.
    lanes = threads - 32
    loaded = batch.live * 2048 + 4 * threads + 4 * min(lanes, batch.M)
    stored = batch.live * data
    if op != SQUARED_RELU:
        loaded += 4 * batch.M
        stored += oracle.scale_size(batch.M, 1024)
    assert (stats["bytes_load"], stats["bytes_store"]) == (loaded, stored)


@pytest.mark.parametrize("op", OPS)
def test_accesses_are_coalesced(op: str) -> None:
    """All sectors of x and of the first output are used in full. Of scales a quad of rows is half a
    sector, and a single row an eighth.
    """
    batch = batches.dense_batch(256, 2048)
    stats = counted(op, batch, (2, 4))  # 32 warps for 64 quads
    wide = (stats["global_loads"][16], stats["global_stores"][16 if op == SQUARED_RELU else 8])
    for access, size in zip(wide, (4096, 4096 if op == SQUARED_RELU else 2048)):
        assert access["bytes"] == 256 * size
        assert access["sectors"] * 32 == access["bytes"]
    if op == SQUARED_RELU:
        return
    assert stats["global_stores"][4]["sectors"] * 16 == 256 * 64
    stats = counted(op, batch, (2, 33))  # a warp for each row
    assert stats["global_stores"][4]["sectors"] * 4 == 256 * 64


@pytest.mark.parametrize(("M", "grid", "is_early"), [
    (256, (2, 33), True),  # 1 MiB, and a row for each warp
    (256, (2, 31), False),
    (257, (2, 33), False),
    (257, (2, 34), True),  # an even number of CTAs: nearly all rows are expected to be live
    (257, (2, 32), False),
])
@pytest.mark.parametrize(("chip", "width"), [("sm_90", 16), ("sm_100", 32)])
def test_small_inputs_are_loaded_early(M: int, grid: tuple[int, int], is_early: bool, chip: str,
                                       width: int) -> None:
    """Of an input that is small, or expected to be dense, all rows are loaded, and the live ones
    stored.
    """
    batch = batches.random_batch(M, 2048, M, live_fraction=0.25)
    stats = run(Kernel(SQUARED_RELU), batch, grid, chip)
    loaded = M if is_early else batch.live
    assert stats["global_loads"][width]["bytes"] == loaded * 4096
    assert stats["bytes_store"] == batch.live * 4096


@pytest.mark.parametrize("columns", [None, 40, 1856, 2048])
@pytest.mark.parametrize("n_used", [-1, 0, 7, 48, 2**31 - 1])
def test_small_inputs(columns: int | None, n_used: int) -> None:
    kernel, batch = Kernel(SQUARED_RELU, columns), batches.random_batch(48, columns or 1072, n_used)
    for grid in (1, 6), (2, 7), (3, 48):
        run(kernel, batch, grid)
    for chip in ("sm_80", "sm_100") if columns != 40 else ("sm_80",):
        run(kernel, batch, (1, 6), chip)


def test_untouched_scales_cost_what_live_rows_do() -> None:
    """dead_scales<untouched> stores for live rows alone, whatever the capacity."""
    batch = batches.routed_batch(2, experts=4, top_k=2, capacity_tokens=200, ffn=1024)
    stats = counted(FUSED, batch, (1, 8), "untouched")
    assert stats["bytes_store"] == batch.live * (1024 + 32)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("columns", [None, 1856])
def test_routed_batch(op: str, columns: int | None) -> None:
    batch = batches.routed_batch(2, experts=16, top_k=3, alignment=128, ffn=1856)
    run(Kernel(op, columns), batch, (2, 5))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("grid", [(1, 1), (3, 1), (1, 7), (2, 2), (5, 64)])
def test_any_grid(op: str, grid: tuple[int, int]) -> None:
    run(Kernel(op), batches.random_batch(300, 2080, 280), grid)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("n_used", [-7, 0, 1, 129, 200, 2**31 - 1, -(2**31)])
def test_n_used(op: str, n_used: int) -> None:
    run(Kernel(op), batches.random_batch(200, 96, n_used), (1, 3))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("live_fraction", [0.0, 0.02, 1.0])
def test_share_of_live_rows(op: str, live_fraction: float) -> None:
    run(Kernel(op), batches.random_batch(513, 160, 500, live_fraction), (1, 4))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("M", [0, 1, 31, 127, 128, 129])
@pytest.mark.parametrize("K", [32, 64, 1024, 1056])
def test_sizes(op: str, M: int, K: int) -> None:
    run(Kernel(op), batches.random_batch(M, K, M, seed=M + K), (2, 2))


@pytest.mark.parametrize("N", [1, 7, 8, 31, 33, 1025, 1858])
@pytest.mark.parametrize("columns", ["static", "dynamic"])
def test_any_number_of_columns(N: int, columns: str) -> None:
    kernel = Kernel(SQUARED_RELU, N if columns == "static" else None)
    run(kernel, batches.random_batch(70, N, 66), (2, 2), aligned=N % 8 == 0)


@pytest.mark.parametrize("op", [FUSED, QUANTIZE])
@pytest.mark.parametrize("scale_layout", ["swizzle_32_4_4", "linear"])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
@pytest.mark.parametrize("aligned", [True, False])
def test_scale_modes(op: str, scale_layout: str, dead_scales: str, aligned: bool) -> None:
    kernel = Kernel(op, None, scale_layout, dead_scales)
    run(kernel, batches.random_batch(300, 1184, 270, 0.3), (1, 3), aligned=aligned)


@pytest.mark.parametrize("op", OPS)
def test_strided_rows(op: str) -> None:
    run(Kernel(op, None, strided=True), batches.random_batch(140, 1056, 130), (2, 2), padding=64)


@pytest.mark.parametrize("op", [FUSED, QUANTIZE])
@pytest.mark.parametrize(("chip", "offset"), [("sm_90", 8), ("sm_100", 16)])
def test_data_needs_half_of_the_alignment(op: str, chip: str, offset: int) -> None:
    kernel = Kernel(op, None, strided=True)
    run(kernel, batches.random_batch(140, 1056, 130), (2, 2), chip, x_offset=2 * offset,
        data_offset=offset, padding=offset)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("threads", [32, 64, 1024])
def test_threads_of_a_cta(op: str, threads: int) -> None:
    kernel = Kernel(op)
    check(Interpreter(), kernel.ptx(threads_per_cta=threads), kernel,
          batches.random_batch(300, 1056, 280), (2, 3), threads=threads)


@pytest.mark.parametrize(("schedule", "scale_layout"), [
    ("access_bytes = 4, steps = 2", "linear"),
    ("access_bytes = 8, steps = 8", "swizzle_32_4_4"),
    ("access_bytes = 16, steps = 2, alignment = 4, threads = 64", "swizzle_32_4_4"),
    ("access_bytes = 32, steps = 2", "linear"),
    ("access_bytes = 8, steps = 8, rows = quads, clear_bytes = 16", "swizzle_32_4_4"),
    ("access_bytes = 16, steps = 1, early_bytes = 4096", None),
    ("access_bytes = 16, steps = 8", None),
    ("access_bytes = 8, steps = 4, alignment = 2, early_bytes = 1000000", None),
])
@pytest.mark.parametrize("columns", [None, 1056])
def test_schedules_by_hand(schedule: str, scale_layout: str | None, columns: int | None) -> None:
    """Whatever a schedule says, the bytes are the same."""
    op = FUSED if scale_layout else SQUARED_RELU
    kernel = Kernel(op, columns, scale_layout or "swizzle_32_4_4",
                    schedule=f"#moe.schedule<{schedule}>, #moe.schedule<access_bytes = 2>")
    threads = 64 if "threads" in schedule else 256
    for M, grid in (40, (1, 6)), (300, (2, 1)):
        check(Interpreter(), kernel.ptx(), kernel, batches.random_batch(M, 1056, M - 20), grid,
              threads=threads)


@pytest.mark.parametrize("op", OPS)
def test_unaligned_addresses(op: str) -> None:
    kernel = Kernel(op, None, strided=True)
    run(kernel, batches.random_batch(140, 160, 130), (2, 2), aligned=False, padding=3, x_offset=2,
        data_offset=2 if op == SQUARED_RELU else 1)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("chip", ["sm_80", "sm_90", "sm_100"])
def test_all_bf16_patterns(op: str, aligned: bool, chip: str) -> None:
    x = batches.all_bf16_patterns(2048)
    if op == SQUARED_RELU:
        x = np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16).reshape(32, 2048)
    batch = batches.Batch(x, np.arange(x.shape[0]), x.shape[0])
    run(Kernel(op), batch, (2, 16), chip, aligned=aligned)


def test_checker_sees_a_wrong_byte() -> None:
    """A conversion that drops negative numbers goes unnoticed where there are none, and only there."""
    kernel = Kernel(FUSED, 64)
    broken = kernel.ptx().replace("cvt.rn.satfinite.e4m3x2.f32", "cvt.rn.satfinite.relu.e4m3x2.f32")
    check(Interpreter(), broken, kernel, batches.random_batch(40, 64, 40), (1, 1))
    signed = Kernel(QUANTIZE, 64)
    broken = signed.ptx().replace("cvt.rn.satfinite.e4m3x2.f32", "cvt.rn.satfinite.relu.e4m3x2.f32")
    with pytest.raises(AssertionError, match="elements differ"):
        check(Interpreter(), broken, signed, batches.random_batch(40, 64, 40), (1, 1))


@pytest.mark.parametrize("op", OPS)
def test_rows_past_2_to_the_31_elements(op: str) -> None:
    """The one live row is 2^32 elements into x and into the first output.

    Only that row is in memory: the base addresses given to the kernel lie far below it.
    """
    kernel, rows, columns, stride = Kernel(op, 64, strided=True), 2**20 + 1, 64, 2**12
    rng = np.random.default_rng(0)
    row = rng.standard_normal((1, columns)).astype(ml_dtypes.bfloat16)
    permutation_map = np.full(rows, -1, np.int32)
    permutation_map[-1] = 7
    memory = Memory()

    def far(array: np.ndarray) -> tuple[object, list[int]]:
        buffer = memory.allocate(array)
        base = buffer.address - (rows - 1) * stride * array.itemsize
        return buffer, [base, base, 0, rows, columns, stride, 1]

    first_type = ml_dtypes.bfloat16 if op == SQUARED_RELU else ml_dtypes.float8_e4m3fn
    out, out_arguments = far(np.zeros((1, columns), first_type))
    arguments = far(row)[1]
    map_buffer, n_buffer = memory.allocate(permutation_map), memory.allocate(np.int32([rows]))
    arguments += [map_buffer.address, map_buffer.address, 0, rows, 1]
    arguments += [n_buffer.address, n_buffer.address, 0]
    arguments += out_arguments
    if op != SQUARED_RELU:
        size = oracle.scale_size(rows, columns)
        scale = memory.allocate(rng.integers(0, 256, size, dtype=np.uint8))
        arguments += [scale.address, scale.address, 0, size, 1]
    parse(kernel.ptx()).launch(kernel.entry(True), grid=(1, 64, 1), block=(256, 1, 1),
                                 args=arguments, memory=memory)
    memory.check_guards()
    if op == SQUARED_RELU:
        wanted = oracle.padded_squared_relu(row, np.int32([7]), 1, np.zeros_like(row))
        compare("out", out.array(wanted.dtype, wanted.shape), wanted)
        return
    one_row = np.zeros(oracle.scale_size(1, columns), ml_dtypes.float8_e8m0fnu)
    data, exponents = getattr(oracle, op)(row, np.int32([7]), 1,
                                          np.zeros((1, columns), first_type), one_row)
    compare("data", out.array(data.dtype, data.shape), data)
    # Row 2^20 is the first of its row tile, as the one row of the small problem is.
    wanted_scale = np.zeros(size, np.uint8)
    wanted_scale[-512:] = oracle.bits(exponents)
    compare("scale", scale.array(np.uint8, (size,)), wanted_scale)


@pytest.mark.parametrize("op", [SQUARED_RELU, FUSED])
@pytest.mark.parametrize(("rows", "grid"), [
    (300, (1, 1)), (300, (1, 3)), (300, (1, 5)), (1000, (1, 4)), (1000, (1, 17)), (96, (1, 17))])
def test_rows_of_warps(op: str, rows: int, grid: tuple[int, int],
                       monkeypatch: pytest.MonkeyPatch) -> None:
    """launch_balance.py, which says how evenly live rows are spread, knows who gets which row."""
    batch = batches.random_batch(rows, 1024, rows, live_fraction=0.5)
    trackers = []

    class Recording(ptx_interpreter.module.Tracker):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            trackers.append(self)

    class Placed(Interpreter):
        """Knows its buffers, in the order of the op's operands."""

        def __init__(self) -> None:
            super().__init__()
            self.buffers: list = []

        def allocate(self, array: np.ndarray, offset: int) -> object:
            self.buffers.append(super().allocate(array, offset))
            return self.buffers[-1]

    monkeypatch.setattr(ptx_interpreter.module, "Tracker", Recording)
    backend = Placed()
    kernel = Kernel(op)
    check(backend, kernel.ptx(), kernel, batch, grid)
    [tracker] = trackers
    row_bytes = batch.x.shape[1] * (2 if op == SQUARED_RELU else 1)
    first = backend.buffers[3].start + np.arange(rows) * row_bytes
    thread = tracker.writer[first // tracker.granule] - 1
    live = np.flatnonzero(batch.permutation_map >= 0)
    assert (thread[live] >= 0).all() and (np.delete(thread, live) < 0).all()
    cta, warp_in_cta = thread[live] // 256, thread[live] % 256 // 32
    warps = launch_balance.row_warps(grid[1])
    expected = launch_balance.warp_of(live, rows, warps, has_quads=op != SQUARED_RELU)
    is_dense = grid[1] % 2 == 0
    assert (cta == launch_balance.cta_of(expected, grid[1], is_dense)).all()
    assert ((cta * 8 + warp_in_cta if is_dense else warp_in_cta * grid[1] + cta) == expected).all()
