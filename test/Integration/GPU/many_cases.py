# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What programs have in common that run many random cases: operands as tensors, processes, and the
line that says how to repeat what fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from memory_image import Layout, Region
from moe_testing import oracle

CHUNK = 20
DTYPES = {np.dtype(dtype): getattr(torch, name, None) for dtype, name in (
    (oracle.bfloat16, "bfloat16"), (oracle.float8_e4m3fn, "float8_e4m3fn"),
    (oracle.float8_e8m0fnu, "float8_e8m0fnu"), (np.int32, "int32"), (np.int64, "int64"),
    (np.float32, "float32"))}


def tensor_of(memory: torch.Tensor, region: Region) -> torch.Tensor:
    """The operand in a tensor of bytes."""
    raw = memory[region.offset : region.offset + region.nbytes]
    return raw.view(DTYPES[region.dtype]).as_strided(region.shape, region.strides)


def tensors_of(memory: torch.Tensor, layout: Layout) -> dict[str, torch.Tensor]:
    return {name: tensor_of(memory, region) for name, region in layout.regions.items()}


def compare_new(name: str, found: torch.Tensor, wanted: np.ndarray, other: np.ndarray) -> None:
    """Of an output that a call has allocated, compares what is defined: the bytes in which the
    oracle's results agree, of outputs that differed in every bit.
    """
    raw = found.contiguous().reshape(-1).view(torch.uint8).cpu().numpy()
    wanted_bytes, other_bytes = (np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                                 for array in (wanted, other))
    if tuple(found.shape) != wanted.shape or raw.size != wanted_bytes.size:
        raise AssertionError(f"{name}: expected {wanted.dtype} {wanted.shape}, found {found.dtype} "
                             f"{tuple(found.shape)}")
    where = np.flatnonzero((wanted_bytes == other_bytes) & (raw != wanted_bytes))
    if where.size:
        at = int(where[0])
        raise AssertionError(f"{where.size} bytes differ: byte {at} of a new {name}: expected "
                             f"{int(wanted_bytes[at]):#04x}, found {int(raw[at]):#04x}")


def captured(call: Callable[[], Any]) -> Callable[[], Any]:
    """The replay of a CUDA graph of a call. What is loaded at the first call is loaded before."""
    call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


@dataclass
class Outcome:
    """Of some cases: how many calls of each op were right, how many were refused, what failed."""

    launched: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        self.launched += other.launched
        self.refused += other.refused
        self.failures += other.failures


def run_cases(numbers: Iterable[int], command: str, make: Callable[[int], Any],
              run: Callable[[Any, Outcome], None]) -> Outcome:
    """Makes cases and runs them; `run` counts them, and raises for what is wrong. `command` repeats
    one when its number is added.
    """
    outcome = Outcome()
    for number in numbers:
        case = None
        try:
            case = make(number)
            run(case, outcome)
        except Exception as error:  # Whatever it is, the others are looked at too.
            text = " ".join(f"{type(error).__name__}: {error}".split())
            outcome.failures.append(f"FAILED {text}; {command} --case {number}: {case}")
            if "CUDA error" in text or "status DRIVER_ERROR" in text:
                # The context is lost, and all that came after would fail.
                break
    return outcome


def _chunks() -> Iterator[range]:
    start = 0
    while True:
        yield range(start, start + CHUNK)
        start += CHUNK


def run_many(run: Callable[[Iterable[int]], Outcome], cases: int, pool: Executor, processes: int,
             time_limit: float) -> Outcome:
    """As many calls as are asked for, or a few more, by the processes of a pool."""
    total, begin, numbers = Outcome(), time.monotonic(), _chunks()
    pending: set[Future[Outcome]] = set()
    while True:
        is_late = time.monotonic() - begin > time_limit
        # Not more than what is missing, were every call one that counts.
        while (not is_late and len(pending) < 2 * processes
               and total.launched.total() + CHUNK * len(pending) < cases):
            pending.add(pool.submit(run, next(numbers)))
        if not pending:
            break
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                found = future.result()
            except Exception as error:  # The process is gone, and the pool with it.
                found = Outcome(failures=[f"FAILED {type(error).__name__}: {error}"])
            total.add(found)
            for failure in found.failures:
                print(failure, flush=True)
        if len(total.failures) > 20:
            print("too many failures: what is missing is not run")
            for future in pending:
                future.cancel()
            break
    if total.launched.total() < cases and not total.failures:
        total.failures.append(f"FAILED: {total.launched.total()} of {cases} calls in "
                              f"{time_limit:.0f} seconds")
        print(total.failures[-1])
    return total


def _limit_threads() -> None:
    torch.set_num_threads(1)


def make_parser(doc: str | None, cases: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--cases", type=int, default=cases, help="how many calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--processes", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--time-limit", type=float, default=240, metavar="SECONDS")
    return parser


def run_program(options: argparse.Namespace, run: Callable[..., Outcome],
                more: Callable[[], Outcome] = Outcome) -> None:
    """Leaves the program with the status that says whether all was right. run(seed, device, numbers)
    must be a function that another process finds by its name; `more` runs in this one.
    """
    begin = time.monotonic()
    if options.case is not None:
        outcome = run(options.seed, options.device, [options.case])
        print("".join(f"{failure}\n" for failure in outcome.failures), end="")
    else:
        with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn"),
                                 _limit_threads) as pool:
            outcome = run_many(partial(run, options.seed, options.device), options.cases, pool,
                               options.processes, options.time_limit)
        outcome.add(more())
    where = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU"
    for op, count in sorted(outcome.launched.items()):
        print(f"{count:6} {op}")
    print(f"{outcome.launched.total()} calls on {where} equal the oracle, {outcome.refused} were "
          f"refused, {len(outcome.failures)} failed; seed {options.seed}, "
          f"{time.monotonic() - begin:.0f} s")
    sys.exit(bool(outcome.failures))
