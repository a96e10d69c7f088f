# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Fuzzes the dialect, its passes, its pipelines and moe-run: `python fuzz.py --seconds 600 --seed 1`.

Each failure is printed with the options that bring it back and with a reduced module.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from moe_fuzz.generator import PARTS
from moe_fuzz.properties import Report, check_batch, make_case, stages
from moe_fuzz.reducer import reduce_case

BATCH = 48


def stages_of(seed: int, index: int):
    """The stages that module `index` goes through, with the options of its batch."""
    return stages(random.Random(f"{seed}/{index // BATCH}/stages"))


def fuzz(
    seed: int, indices: range, avoid: frozenset[str], deadline: float | None, report: Report
) -> None:
    for first in range(indices.start, indices.stop, BATCH):
        if deadline and time.monotonic() > deadline:
            return
        batch = range(first, min(first + BATCH, indices.stop))
        check_batch([make_case(seed, i, avoid) for i in batch], stages_of(seed, first), report)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument(
        "--count", type=int, help="stop after this many modules (96 unless --seconds)"
    )
    parser.add_argument("--only", type=int, help="the one module with this number")
    parser.add_argument(
        "--avoid", nargs="*", default=[], choices=PARTS, help="leave these parts out"
    )
    parser.add_argument(
        "--keep", type=int, default=20, help="reduce at most this many kinds of failures"
    )
    options = parser.parse_args()
    avoid = frozenset(options.avoid)
    report = Report()
    if options.only is not None:
        case = make_case(options.seed, options.only, avoid)
        print(case.text)
        check_batch([case], stages_of(options.seed, options.only), report)
    else:
        count = options.count or (10**9 if options.seconds else 96)
        deadline = time.monotonic() + options.seconds if options.seconds else None
        fuzz(options.seed, range(count), avoid, deadline, report)

    seen: dict[tuple, int] = {}
    for case, failure in report.failures:
        signature = failure.signature()
        seen[signature] = seen.get(signature, 0) + 1
        if seen[signature] > 1 or len(seen) > options.keep:
            continue
        index = int(case.name.split()[-1])
        reduced, last = reduce_case(case, failure, stages_of(options.seed, index))
        print(f"== {case.name}\n{str(last)[:3000]}\n-- reduced to\n{reduced}", flush=True)
    for signature, number in sorted(seen.items(), key=lambda item: -item[1]):
        print(f"{number:6} x {' | '.join(signature)}")
    print(
        f"seed {options.seed}: {report.modules} modules, {len(report.failures)} failures;",
        ", ".join(f"{name} {number}" for name, number in sorted(report.counts.items())),
    )
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
