# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Wall time of lowering both ops from text to PTX in one moe-opt process.

    benchmarks/lowering_time.py [--repeat N] [--timing]

Prints the median and the minimum of the lowering, from parsing to printing as --mlir-timing has it,
and of the whole process, next to one that only parses and prints: for buffers of unknown alignment,
which take a second kernel for each op, for buffers that are known to be aligned, and with LLVM's
optimiser (O=3). With --timing also where the time goes.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "examples" / "routed-moe" / "activation.mlir"
ALIGNED_MODEL = ROOT / "benchmarks" / "aligned_activation.mlir"


def measure(arguments: list[str], repeat: int) -> dict[str, list[float]]:
    """Milliseconds of the lowering and of the process, `repeat` of each."""
    times: dict[str, list[float]] = {"lowering": [], "process": []}
    for _ in range(repeat):
        start = time.perf_counter()
        done = subprocess.run([*arguments, "--mlir-timing"], check=True, text=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        times["process"].append(1e3 * (time.perf_counter() - start))
        total = re.search(r"Total Execution Time: ([0-9.]+) seconds", done.stderr)
        times["lowering"].append(1e3 * float(total.group(1)))
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
        ("lower to PTX, 4 kernels, O=3", [moe_opt, str(MODEL), pipeline + " O=3"]),
        ("lower to PTX, alignment known, 2 kernels", [moe_opt, str(ALIGNED_MODEL), pipeline]),
    ):
        figures = (f"{what} {statistics.median(times):.1f} ms (minimum {min(times):.1f})"
                   for what, times in measure(arguments, options.repeat).items())
        print(f"{name}: {', '.join(figures)}")
    if options.timing:
        subprocess.run(lowering + ["--mlir-timing"], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
