# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops that gather rows of x, on the CPU and as PTX, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from moe_testing import batches, interpreted, on_cpu, oracle, permutation, permutation_batches
from moe_testing.family import FamilyKernel
from moe_testing.kernels import RowMap, check, compile_ptx
from moe_testing.regions import REGIONS
from ptx_interpreter import Memory

pytestmark = pytest.mark.needs("moe-opt", "moe-translate", "moe-run")

PERMUTE, QUANTIZING = "permute_tokens", "permute_quantize_mxfp8"
MODES: dict[str, dict[str, Any]] = {
    "bf16": {},
    "swizzled zero": {"scale_layout": oracle.SWIZZLED},
    "swizzled untouched": {"scale_layout": oracle.SWIZZLED, "dead_scales": "untouched"},
    "linear zero": {"scale_layout": oracle.LINEAR},
}
each_mode = pytest.mark.parametrize("mode", MODES)
# Rows one by one, and by quads.
each_walk = pytest.mark.parametrize("mode", ["bf16", "swizzled zero"])


def kernel_of(mode: str, **settings: Any) -> FamilyKernel:
    fields = {name: settings.pop(name) for name in ("columns", "strided") if name in settings}
    return FamilyKernel.of(PERMUTE if mode == "bf16" else QUANTIZING, MODES[mode] | settings,
                           **fields)


def gather_batch(T: int, R: int, H: int, n_used: int | None = None, *, live: float = 0.7,
                 seed: int = 0) -> batches.Batch:
    """Any token in any row, again and again; entries that are none are negative, T or more."""
    rng = np.random.default_rng((seed, 11))
    entries = rng.integers(0, max(T, 1), R)
    none = np.array([-1, -2, -(2**31), T, T + 1, T + 31, 2**31 - 1])
    is_none = (rng.random(R) >= live) | (T == 0)
    entries[is_none] = rng.choice(none, np.count_nonzero(is_none))
    return batches.Batch(permutation_batches.odd_tokens(T, H, seed), entries,
                         R if n_used is None else n_used)


def routed_batch(tokens: int, H: int, alignment: int) -> batches.Batch:
    """What route_tokens makes of tokens of which six in seven are valid."""
    routing = permutation_batches.routed(tokens, 4, 16, slice(4, 10), alignment=alignment,
                                         valid_tokens=6 * tokens // 7).routed()
    return batches.Batch(permutation_batches.tokens(tokens, H), routing.permutation_map,
                         int(routing.n_used[0]))


# Fewer tokens than rows, and more; rows past the last whole row tile.
SIZES = [(3, 300, 96), (200, 40, 2080), (1, 129, 32), (0, 140, 64), (40, 0, 64)]


@each_mode
@pytest.mark.parametrize(("T", "R", "H"), SIZES)
def test_sizes(mode: str, T: int, R: int, H: int) -> None:
    batch = gather_batch(T, R, H, R - 7)
    on_cpu.run(kernel_of(mode), batch)
    interpreted.run(kernel_of(mode), batch, (2, 2))


@each_walk
@pytest.mark.parametrize("n_used", [-7, 0, 129, 2**31 - 1, -(2**31)])
def test_n_used(mode: str, n_used: int) -> None:
    batch = gather_batch(9, 200, 64, n_used)
    on_cpu.run(kernel_of(mode), batch)
    interpreted.run(kernel_of(mode), batch, (1, 3))


@each_walk
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (2, 2), (5, 64)])
def test_any_grid(mode: str, grid: tuple[int, int]) -> None:
    interpreted.run(kernel_of(mode), gather_batch(50, 300, 1056, 280), grid)


@each_walk
@pytest.mark.parametrize(("chip", "columns", "alignment"), [
    ("sm_80", 1184, 16), ("sm_90", None, 128), ("sm_100", None, 16)])
def test_routed_tokens(mode: str, chip: str, columns: int | None, alignment: int) -> None:
    batch, kernel = routed_batch(30, 1184, alignment), kernel_of(mode, columns=columns)
    if columns:
        on_cpu.run(kernel, batch)
    for grid in (1, 5), (2, 300 // alignment):
        interpreted.run(kernel, batch, grid, chip)


@each_mode
def test_zeroed_rows(mode: str) -> None:
    kernel, batch = kernel_of(mode, dead_rows="zero"), gather_batch(9, 134, 96, 120)
    on_cpu.run(kernel, batch)
    interpreted.run(kernel, batch, (1, 3))


@pytest.mark.parametrize("H", [1, 31, 1858])
@pytest.mark.parametrize("columns", ["static", "dynamic"])
def test_any_number_of_columns(H: int, columns: str) -> None:
    kernel = kernel_of("bf16", columns=H if columns == "static" else None)
    batch = gather_batch(11, 70, H, 66)
    on_cpu.run(kernel, batch)
    interpreted.run(kernel, batch, (2, 2), aligned=False)


@each_walk
@pytest.mark.parametrize("aligned", [True, False])
def test_strided_rows(mode: str, aligned: bool) -> None:
    """Those of x and of the first output, at addresses of their own."""
    kernel, batch = kernel_of(mode, strided=True), gather_batch(11, 140, 1056, 130)
    offset = {} if aligned else {"x_offset": 2, "data_offset": 2 if mode == "bf16" else 1}
    interpreted.run(kernel, batch, (2, 2), aligned=aligned, padding=64 if aligned else 3, **offset)


@each_mode
def test_all_bf16_patterns(mode: str) -> None:
    x = batches.all_bf16_patterns(1024)
    rng = np.random.default_rng(1)
    batch = batches.Batch(x, rng.permutation(x.shape[0]), x.shape[0])
    on_cpu.run(kernel_of(mode), batch)
    interpreted.run(kernel_of(mode), batches.Batch(x, rng.permutation(x.shape[0])[:70], 70), (1, 2))


def test_a_token_is_loaded_for_its_rows_alone() -> None:
    """What is loaded and stored follows the live rows, and no other row of x is touched: there are
    a thousand tokens, of which two are wanted. A row's entry is loaded once, by one lane.
    """
    batch = batches.Batch(permutation_batches.tokens(1000, 1024),
                          np.repeat([701, -1, 3, 1000], 10), 40)
    stats = interpreted.run(kernel_of("bf16"), batch, (1, 8))
    lanes = 64 * 32 - 32
    assert stats["bytes_load"] == 20 * 2048 + 4 * 64 * 32 + 4 * min(lanes, 40)
    assert stats["bytes_store"] == 20 * 2048


@pytest.mark.parametrize(("schedule", "mode"), [
    ("access_bytes = 8, steps = 8, rows = quads, clear_bytes = 16", "swizzled zero"),
    ("access_bytes = 4, steps = 2, alignment = 2", "linear zero"),
    ("access_bytes = 16, steps = 8", "bf16"),
])
def test_schedules_by_hand(schedule: str, mode: str) -> None:
    kernel = kernel_of(mode)
    ptx = ptx_by(kernel, f"#moe.schedule<{schedule}>, #moe.schedule<access_bytes = 2>")
    for grid in (1, 6), (2, 1):
        check(interpreted.Interpreter(), ptx, kernel, gather_batch(13, 290, 1056, 270), grid)


def ptx_by(kernel: FamilyKernel, schedules: str) -> str:
    @dataclass(frozen=True)
    class Scheduled(FamilyKernel):
        def mlir(self) -> str:
            return super().mlir().replace(
                "\n  return", f" {{moe.schedule = [{schedules}]}}\n  return")

    return Scheduled(kernel.op, kernel.arguments).ptx()


@dataclass(frozen=True)
class GatheringRegion:
    """An activation of the rows that are gathered, with a factor for each row of the result."""

    quantizes: bool

    @property
    def map(self) -> RowMap:
        format = oracle.MXFP8() if self.quantizes else oracle.BF16()
        return RowMap(REGIONS["leaky_relu"][1], format, is_any_nan_right=True, has_probs=True,
                      gathers=True)

    def entry(self, aligned: bool) -> str:
        return "leaky" + ("" if aligned else "_unaligned")

    def mlir(self) -> str:
        names, types = (("%data, %scale", "memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>")
                        if self.quantizes else ("%out", "memref<?x?xbf16>"))
        outs = ", ".join(f"{name}: {type}" for name, type
                         in zip(names.split(", "), types.split(", ")))
        body = REGIONS["leaky_relu"][0].replace("moe.yield %result : bf16", """\
%wide = arith.extf %result : bf16 to f32
%product = arith.mulf %wide, %prob : f32
%weighted = arith.truncf %product : f32 to bf16
moe.yield %weighted : bf16""")
        assert "%weighted" in body
        return f"""\
func.func @entry(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                 %p: memref<?xf32>, {outs}) {{
  moe.map_rows ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>) gathers
    probs(%p : memref<?xf32>) outs({names} : {types})
    format({"#moe.mxfp8" if self.quantizes else "#moe.bf16"}) kernel_name("leaky") {{
  ^bb0(%v: bf16, %prob: f32):
{body}
  }}
  return
}}
"""

    def ptx(self, chip: str = "sm_90", **options: object) -> str:
        return compile_ptx(self.mlir(), chip, **options)


@pytest.mark.parametrize("quantizes", [False, True])
def test_any_activation(quantizes: bool) -> None:
    batch = gather_batch(12, 134, 96, 130)
    probs = np.random.default_rng(2).standard_normal(134).astype(np.float32)
    batch = batches.Batch(permutation_batches.tokens(12, 96), batch.permutation_map, 130, probs)
    on_cpu.run(GatheringRegion(quantizes), batch)
    interpreted.run(GatheringRegion(quantizes), batch, (1, 3))


@pytest.mark.parametrize("layout", [oracle.SWIZZLED, oracle.LINEAR])
def test_the_two_ops_one_after_the_other(layout: str) -> None:
    """The quantisation of what permute_tokens gives, by the oracle's own quantize_mxfp8."""
    batch = gather_batch(20, 150, 128, 141)
    n_used = np.array(batch.n_used, np.int32)
    out = permutation.permute_tokens(batch.x, batch.permutation_map, n_used,
                                     np.zeros((150, 128), oracle.bfloat16))
    where = np.where(batch.permutation_map < 20, batch.permutation_map, -1).astype(np.int32)
    kernel = FamilyKernel.of(QUANTIZING, {"scale_layout": layout})
    before = kernel.map.random_outputs(batch, np.random.default_rng(4))
    wanted = oracle.map_rows(out, where, n_used, before, oracle.identity, kernel.format)
    found = on_cpu.call(kernel.mlir(), [batch.x, batch.permutation_map, n_used, *before], [3, 4])
    for have, want in zip(found, wanted):
        assert np.array_equal(oracle.bits(have), oracle.bits(want))


def test_tokens_past_2_to_the_31_elements() -> None:
    """The token is 2^32 elements into x, its row as far into out: only they are in memory."""
    kernel, count, stride = kernel_of("bf16", columns=64, strided=True), 2**20 + 1, 2**12
    row = permutation_batches.tokens(1, 64)
    where = np.full(count, -1, np.int32)
    where[-1] = count - 1
    memory = Memory()

    def far(array: np.ndarray) -> tuple[Any, list[int]]:
        buffer = memory.allocate(array)
        base = buffer.address - (count - 1) * stride * array.itemsize
        return buffer, [base, base, 0, count, 64, stride, 1]

    out, of_out = far(np.zeros((1, 64), ml_dtypes.bfloat16))
    x = far(row)[1]
    entries, n_used = memory.allocate(where), memory.allocate(np.int32([count]))
    arguments = [*x, entries.address, entries.address, 0, count, 1, n_used.address,
                 n_used.address, 0, *of_out]
    interpreted.parse(kernel.ptx()).launch(kernel.entry(True), grid=(1, 64, 1),
                                           block=(256, 1, 1), args=arguments, memory=memory)
    assert np.array_equal(oracle.bits(out.array(row.dtype, row.shape)), oracle.bits(row))
