# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Wall time of lowering both ops from text to PTX in one moe-opt process.

    benchmarks/lowering_time.py [--repeat N] [--timing]

Prints the median and the minimum, process start included, next to that of a moe-opt that does
nothing: for buffers of unknown alignment, which take a second kernel for each op, and for buffers
that are known to be aligned; and without LLVM's optimiser (O=0). With --timing also where the time goes (--mlir-timing).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "examples" / "routed-moe" / "activation.mlir"
ALIGNED_MODEL = ROOT / "benchmarks" / "aligned_activation.mlir"


def measure(arguments: list[str], repeat: int) -> list[float]:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--timing", action="store_true")
    options = parser.parse_args()

    moe_opt = str(ROOT / "build" / "bin" / "moe-opt")
    pipeline = "--moe-lower-to-ptx=chip=sm_90"
    lowering = [moe_opt, str(MODEL), pipeline]
    for name, arguments in (
        ("parse and print", [moe_opt, str(MODEL)]),
        ("lower to PTX, 4 kernels", lowering),
        ("lower to PTX, 4 kernels, O=0", [moe_opt, str(MODEL), pipeline + " O=0"]),
        ("lower to PTX, alignment known, 2 kernels", [moe_opt, str(ALIGNED_MODEL), pipeline]),
    ):
        times = measure(arguments, options.repeat)
        print(f"{name}: median {statistics.median(times):.1f} ms, minimum {min(times):.1f} ms "
              f"of {len(times)} runs")
    if options.timing:
        subprocess.run(lowering + ["--mlir-timing"], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
