# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks on a GPU what is inside of SwiGLU: the table of silu, and its reciprocal.

Where the compiler is:      run_sigma.py prepare build/sigma
Where the GPU is:           run_sigma.py run build/sigma

silu of all 65,536 gates in f32 has the hash that is published, and the three instructions that stand
for 1 / d give its bits for every d that a sigma may have: 2^23 for each of 127 exponents. That of
rcp.approx is known from a test alone, for each chip: PTX promises an accuracy. The kernels are those
of all chips that the GPU can run. The second needs what run_ptx.py needs.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from moe_testing import sigma
from moe_testing.cuda_driver import CudaDriver
from moe_testing.kernels import Backend, compile_ptx

CHIPS = ("sm_80", "sm_90", "sm_100")
GRIDS = ((1, 1), (2, 264))


def prepare(folder: Path, chips: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    modules = {"silu": sigma.silu_module(), "reciprocal": sigma.reciprocal_module()}
    for chip in chips:
        for name, module in modules.items():
            ptx = compile_ptx(module, chip)
            # Else what is checked is a division of the chip's.
            assert "rcp.approx.ftz" in ptx and "div" not in ptx and "rcp.rn" not in ptx, name
            (folder / f"{name}-{chip}.ptx").write_text(ptx)


def chips_for(folder: Path, capability: int) -> list[str]:
    """Those of the folder whose PTX runs on a GPU."""
    found = {path.stem.rpartition("-")[2] for path in folder.glob("silu-*.ptx")}
    numbers = {chip: int(re.sub("[^0-9]", "", chip)) for chip in found}
    return sorted((chip for chip in found if numbers[chip] <= capability), key=numbers.__getitem__)


def all_divisors() -> Iterable[np.ndarray]:
    """Their bits, an exponent at a time."""
    for begin, end in sigma.binades():
        yield np.arange(begin, end, dtype=np.uint32)


def run(folder: Path, backend: Backend, capability: int,
        divisors: Callable[[], Iterable[np.ndarray]] = all_divisors,
        grids: Sequence[tuple[int, int]] = GRIDS) -> bool:
    """Whether all is as it should be; prints what was checked."""
    chips = chips_for(folder, capability)
    if not chips:
        print(f"FAILED: {folder} has no kernels for compute capability {capability}")
        return False
    is_right = True

    def report(name: str, check: Callable[[], str]) -> None:
        nonlocal is_right
        start = time.monotonic()
        try:
            text = check()
        except AssertionError as error:
            is_right = False
            text = f"FAILED: {error}"
        print(f"{name}: {text} ({time.monotonic() - start:.1f} s)", flush=True)

    for chip in chips:
        ptx = (folder / f"silu-{chip}.ptx").read_text()

        def check_silu(ptx: str = ptx) -> str:
            for grid in grids:
                for aligned in (True, False):
                    sigma.check_silu(backend, ptx, grid, aligned=aligned)
            return f"SHA-256 {sigma.SILU_TABLE}"

        report(f"silu of 65536 gates, {chip}", check_silu)
    for chip in chips:
        ptx = (folder / f"reciprocal-{chip}.ptx").read_text()

        def check_reciprocal(ptx: str = ptx) -> str:
            count = 0
            for patterns in divisors():
                sigma.check_reciprocal(backend, ptx, patterns, grids[-1])
                count += patterns.size
            return f"{count} divisors, every bit of the quotient"

        report(f"1 / d, {chip}", check_reciprocal)
    return is_right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["prepare", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chip", nargs="+", default=CHIPS, help="prepare: the chips")
    options = parser.parse_args()
    if options.action == "prepare":
        prepare(options.folder, options.chip)
        print(f"kernels for {', '.join(options.chip)} in {options.folder}")
        return
    driver = CudaDriver()
    print(f"on {driver.name}", flush=True)
    sys.exit(not run(options.folder, driver, driver.capability))


if __name__ == "__main__":
    main()
