# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the compiled kernels on a GPU and compares every byte with the oracle.

Where the compiler is:      run_ptx.py prepare build/gpu
Where the GPU is:           run_ptx.py run build/gpu

The first writes the PTX of every case into a folder; the second needs that folder, numpy,
ml_dtypes and the CUDA driver, and neither LLVM nor a CUDA toolkit. compute-sanitizer takes the
second as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from moe_testing import batches, gated_batches
from moe_testing.cuda_driver import CudaDriver
from moe_testing.family import FamilyKernel
from moe_testing.kernels import FUSED, QUANTIZE, SQUARED_RELU, Kernel, RegionKernel, check
from moe_testing.regions import REGIONS
from moe_testing.shipped import Shipped, shipped

OPS = (SQUARED_RELU, FUSED, QUANTIZE)
GRIDS = ((1, 1), (2, 33), (3, 88), (2, 264), (7, 150))


def kernels() -> list[Kernel]:
    """Every kernel that a case uses."""
    found = [Kernel(op, columns, strided=columns is None) for op in OPS for columns in (None, 1856)]
    found += [Kernel(op, None, layout, dead, strided=True)
              for op in (FUSED, QUANTIZE)
              for layout in ("swizzle_32_4_4", "linear") for dead in ("zero", "untouched")]
    return list(dict.fromkeys(found)) + region_kernels()


def region_kernels() -> list[Kernel]:
    """Activations that no named op has."""
    return [RegionKernel(operands, 1024, region=region)
            for region in REGIONS for operands in (SQUARED_RELU, QUANTIZE)]


class FamilyCase:
    """A kernel that ships, of SwiGLU or with what squared ReLU may have, for kernels.check. Where it
    runs there is no compiler: what it is called is read from its PTX.
    """

    def __init__(self, shipped: Shipped) -> None:
        self.shipped, self.map = shipped, shipped.map
        self.name = re.sub(r"[^a-z0-9_.]+", "-", shipped.id).strip("-")
        self.text = ""

    def ptx(self, chip: str) -> str:
        modes = {}
        if self.shipped.quantizes:
            modes = {"scale_layout": self.shipped.scale_layout,
                     "dead_scales": self.shipped.dead_scales}
        return FamilyKernel.of(self.shipped.op, {**self.shipped.arguments, **modes}, strided=True,
                               has_map=self.shipped.has_map,
                               has_probs=self.shipped.has_probs).ptx(chip)

    def entry(self, aligned: bool) -> str:
        [name] = [name for name in re.findall(r"\.visible \.entry (\w+)\(", self.text)
                  if name.endswith("_unaligned") != aligned]
        return name


def family() -> list[FamilyCase]:
    return [FamilyCase(kernel) for kernel in shipped()
            if kernel.is_gated or kernel.settings or kernel.has_probs]


def family_cases(quick: bool) -> Iterator[tuple[str, FamilyCase, batches.Batch, tuple[int, int], dict]]:
    """As `cases`, for those of `family`."""
    M = 60 if quick else 1000
    for case in family():
        kernel, misaligned = case.shipped, {"aligned": False, "padding": 3, "x_offset": 2}
        misaligned["data_offset"] = 1 if kernel.quantizes else 2
        for N in (32, 768, 1856, 3072):
            for grid in GRIDS:
                yield f"{kernel.id} {M} x {N}, grid {grid}", case, kernel.batch(M, N, M - 9), grid, {}
        batch = kernel.batch(M, 704, M)
        for n_used in (-3, 0, 1, 129, M - 1, 2**31 - 1):
            yield f"{kernel.id} n_used {n_used}", case, batch.with_n_used(n_used), (2, 264), {}
        yield f"{kernel.id} strided rows", case, batch, (2, 264), {"padding": 64}
        yield f"{kernel.id} unaligned", case, batch, (2, 264), misaligned
        if not kernel.is_gated:
            continue
        layout = kernel.arguments.get("gate_layout", "gate_up")
        pairs = {"all gates": gated_batches.all_gates(1024, rounds=2 if quick else 32),
                 "all results": gated_batches.all_results(1024),
                 "special groups": gated_batches.special_groups(),
                 "around the limit": gated_batches.around_limit(kernel.arguments.get("limit", 1.0))}
        for name, (gate, up) in pairs.items():
            batch = gated_batches.dense(gate, up, layout)
            if kernel.has_probs:
                probs = np.exp2(np.arange(batch.M, dtype=np.float32) % 5 - 2)
                batch = batches.Batch(batch.x, batch.permutation_map, batch.n_used, probs)
            for options in ({}, misaligned):
                yield f"{kernel.id} {name} {options}", case, batch, (2, 264), options


def patterns_batch(columns: int = 2048, nan: bool = True) -> batches.Batch:
    """Every bf16 pattern; 1 in the place of each NaN unless `nan`."""
    x = batches.all_bf16_patterns(columns)
    if not nan:
        x[np.isnan(x.astype(np.float32))] = 1
    return batches.Batch(x, np.arange(x.shape[0]), x.shape[0])


def cases(quick: bool) -> Iterator[tuple[str, Kernel, batches.Batch, tuple[int, int], dict]]:
    """What is run: a name, the kernel, the batch, the grid and the options of check()."""
    patterns = patterns_batch()
    routed = batches.routed_batch(64 if not quick else 4)
    dense = batches.dense_batch(1024 if not quick else 200, 1856)
    padding = batches.Batch(dense.x, np.full(dense.M, -1), dense.M)
    for op in OPS:
        dynamic, static = Kernel(op, None, strided=True), Kernel(op, 1856)
        yield f"{op} all bf16 patterns", dynamic, patterns, (2, 264), {}
        yield f"{op} all bf16 patterns, unaligned", dynamic, patterns, (2, 264), {"aligned": False}
        for grid in GRIDS:
            yield f"{op} routed, grid {grid}", static, routed, grid, {}
            yield f"{op} dense, grid {grid}", static, dense, grid, {}
        for n_used in (-3, 0, 1, 129, dense.M - 1, dense.M, 2**31 - 1):
            yield f"{op} n_used {n_used}", static, dense.with_n_used(n_used), (2, 264), {}
        yield f"{op} all padding", static, padding, (2, 264), {}
        for M in (1, 127, 129):
            for K in (32, 2688, 7168, 14336):
                yield f"{op} {M} x {K}", dynamic, batches.dense_batch(M, K), (2, 66), {}
        yield f"{op} strided rows", dynamic, dense, (2, 264), {"padding": 64}
        misaligned = {"aligned": False, "padding": 3, "x_offset": 2,
                      "data_offset": 2 if op == SQUARED_RELU else 1}
        yield f"{op} unaligned", dynamic, dense, (2, 264), misaligned
    for kernel in kernels():
        if kernel.op != SQUARED_RELU and kernel.columns is None:  # not those of regions
            for aligned in (True, False):
                yield f"{kernel.name} aligned={aligned}", kernel, routed, (2, 264), {
                    "aligned": aligned}
    # Which NaN a region makes is the target's choice.
    for kernel in region_kernels():
        for aligned in (True, False):
            yield (f"{kernel.name} all bf16 numbers, aligned={aligned}", kernel,
                   patterns_batch(1024, nan=False), (1, 264), {"aligned": aligned})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["prepare", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chip", default="sm_90", help="the chip to prepare PTX for")
    parser.add_argument("--quick", action="store_true", help="small batches, for a sanitizer")
    options = parser.parse_args()

    if options.action == "prepare":
        options.folder.mkdir(parents=True, exist_ok=True)
        found = [*kernels(), *family()]
        for kernel in found:
            (options.folder / f"{kernel.name}.ptx").write_text(kernel.ptx(options.chip))
        print(f"{len(found)} PTX files in {options.folder}")
        return

    driver = CudaDriver()
    print(f"on {driver.name}", flush=True)
    passed, failed = 0, 0
    for name, kernel, batch, grid, settings in chain(cases(options.quick),
                                                     family_cases(options.quick)):
        ptx = (options.folder / f"{kernel.name}.ptx").read_text()
        if isinstance(kernel, FamilyCase):
            kernel.text = ptx
        try:
            check(driver, ptx, kernel, batch, grid, **settings)
            passed += 1
        except AssertionError as error:
            failed += 1
            print(f"FAILED {name}: {error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
