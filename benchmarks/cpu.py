# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops on the CPU, through the runtime library, next to memcpy and to numpy.

    build/venv/bin/python benchmarks/cpu.py [--quick] [--repeat N] [--json FILE]

Every output is compared with the oracle before anything is timed. Then for each batch and op: the
time on one thread and on all processors, the bytes that the op has to move in that time (x of the
live rows once, their outputs once), that rate as a share of what memcpy of all of x moves (bytes
read and bytes written, one thread), and how many times faster than numpy with ml_dtypes it is, an
element. Times are minima, and the repetitions of what is compared take turns, because a shared
machine changes from second to second. With --quick small batches: it runs, and means nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cases
import ml_dtypes
import numpy as np

try:
    from moe_testing import batches, oracle
    from moe_testing import runtime as moe
except ModuleNotFoundError:
    cases.require_packages("cpu.py")
    raise

SQUARED_RELU, FUSED, QUANTIZE = moe.FUNCTIONS
K = 1856
# numpy is timed on this many live rows at most.
NUMPY_ROWS = 1024


def make_batches(quick: bool) -> dict[str, batches.Batch]:
    if quick:
        return {
            "dense 256": batches.dense_batch(256, K),
            "routed 8 tokens": batches.routed_batch(8, experts=4, top_k=2),
            "routed 1 of 8 tokens": batches.routed_batch(1, experts=4, top_k=2, capacity_tokens=8),
        }
    return {
        "dense 4096": batches.dense_batch(4096, K),
        "dense 32768": batches.dense_batch(32768, K),
        "routed 2048 tokens": batches.routed_batch(2048),
        "routed 16 of 2048 tokens": batches.routed_batch(16, capacity_tokens=2048),
    }


class Problem:
    """An op on a batch."""

    def __init__(self, op: str, batch: batches.Batch) -> None:
        self.op = op
        self.batch = batch
        self.permutation_map = batch.permutation_map
        self.n_used = np.array(batch.n_used, np.int32)
        shapes = [((batch.M, K), ml_dtypes.bfloat16)]
        if op != SQUARED_RELU:
            shapes = [((batch.M, K), ml_dtypes.float8_e4m3fn),
                      ((oracle.scale_size(batch.M, K),), ml_dtypes.float8_e8m0fnu)]
        # Not zeros, which the system would give no memory to before they are written.
        self.outputs = [np.full(shape, 1, dtype) for shape, dtype in shapes]

    def elements(self) -> int:
        return self.batch.live * K

    def bytes(self) -> float:
        return self.elements() * (4 if self.op == SQUARED_RELU else 3 + 1 / batches.GROUP)

    def run(self, num_threads: int) -> None:
        moe.Call(self.op, self.batch.M, K, x=self.batch.x.ctypes.data,
                 permutation_map=self.permutation_map.ctypes.data,
                 n_used=self.n_used.ctypes.data, out=self.outputs[0].ctypes.data,
                 scale=self.outputs[-1].ctypes.data, num_threads=num_threads).run()

    def check(self, num_threads: int) -> None:
        wanted = getattr(oracle, self.op)(self.batch.x, self.permutation_map, self.n_used,
                                          *self.outputs)
        self.run(num_threads)
        for found, want in zip(self.outputs, wanted if len(self.outputs) > 1 else [wanted]):
            if not np.array_equal(oracle.bits(found), oracle.bits(want)):
                sys.exit(f"{self.op} on {num_threads} threads differs from the oracle")


def numpy_squared_relu(x: np.ndarray) -> np.ndarray:
    v = np.fmax(x.astype(np.float32), np.float32(0))
    return (v * v).astype(ml_dtypes.bfloat16)


def numpy_quantize(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E4M3 data, and exponents of which each row has its own: cheaper than the swizzled layout."""
    groups = a.reshape(a.shape[0], -1, batches.GROUP).astype(np.float32)
    m = np.fmax.reduce(np.abs(groups), axis=2).view(np.uint32) >> 16
    e = np.maximum(((m + 0x1F) >> 7).astype(np.int32) - 8, 1)
    e[m == 0] = 0
    data = (groups * np.ldexp(np.float32(1), 127 - e)[:, :, None]).astype(ml_dtypes.float8_e4m3fn)
    return data.reshape(a.shape), e.astype(np.uint8)


NUMPY = {
    SQUARED_RELU: numpy_squared_relu,
    FUSED: lambda x: numpy_quantize(numpy_squared_relu(x)),
    QUANTIZE: numpy_quantize,
}


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(problem: Problem, threads: list[int], repeat: int) -> list[dict]:
    source = problem.batch.x.view(np.uint8)
    copy = np.full_like(source, 1)
    rows = np.flatnonzero(oracle.live_rows(problem.permutation_map, problem.n_used))[:NUMPY_ROWS]
    live = problem.batch.x[rows]
    copy_time = numpy_time = np.inf
    times = dict.fromkeys(threads, np.inf)
    for turn in range(repeat):
        copy_time = min(copy_time, seconds(lambda: np.copyto(copy, source)))
        for count in threads:
            times[count] = min(times[count], seconds(partial(problem.run, count)))
        if turn < 3:
            numpy_time = min(numpy_time, seconds(lambda: NUMPY[problem.op](live)))
    copy_rate = 2e-9 * source.nbytes / copy_time
    numpy_rate = 1e-9 * live.size / numpy_time
    return [{
        "op": problem.op, "threads": count, "ms": 1e3 * times[count],
        "gelements_per_s": 1e-9 * problem.elements() / times[count],
        "gb_per_s": 1e-9 * problem.bytes() / times[count],
        "memcpy_gb_per_s": copy_rate,
        "share_of_memcpy": 1e-9 * problem.bytes() / times[count] / copy_rate,
        "numpy_gelements_per_s": numpy_rate,
        "times_numpy": 1e-9 * problem.elements() / times[count] / numpy_rate,
    } for count in threads]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeat", type=int, default=None)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    repeat = options.repeat or (3 if options.quick else 25)
    threads = sorted({1, len(os.sched_getaffinity(0))})

    print(f"making batches of K = {K}", flush=True)
    problems = [(name, Problem(op, batch)) for name, batch in make_batches(options.quick).items()
                for op in moe.FUNCTIONS]
    for name, problem in problems:
        print(f"checking {name}, {problem.op}", flush=True)
        for count in threads:
            problem.check(count)

    print(f"{'batch':26}{'op':29}{'threads':>7}{'ms':>9}{'Gelem/s':>9}{'GB/s':>7}{'memcpy':>8}"
          f"{'share':>7}{'numpy':>8}", flush=True)
    results = []
    for name, problem in problems:
        for result in measure(problem, threads, repeat):
            results.append({"batch": name, "rows": problem.batch.M, "columns": K,
                            "live_rows": problem.batch.live, **result})
            print(f"{name:26}{result['op']:29}{result['threads']:7}{result['ms']:9.3f}"
                  f"{result['gelements_per_s']:9.2f}{result['gb_per_s']:7.1f}"
                  f"{result['memcpy_gb_per_s']:8.1f}{result['share_of_memcpy']:7.0%}"
                  f"{result['times_numpy']:7.0f}x", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
