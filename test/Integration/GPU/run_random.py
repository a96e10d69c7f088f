# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random calls of the ops that ship, on tensors of a GPU or of the CPU, byte for byte.

    run_random.py --device cuda --cases 5000 --seed 1
    run_random.py --device cuda --seed 1 --case 1234

Each call is one of the package or of the C API, with operands anywhere in a piece of memory of which
all bytes are compared after it: results, inputs, what is between rows and around operands. A call
for which no kernel ships must be refused, with nothing written, and does not count. What fails is
printed with the command that repeats it alone. It needs PyTorch 2.7, numpy, ml_dtypes and
libmoe_runtime.so, where MOE_RUNTIME_LIBRARY says if it is not in build/lib.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import moe_mlir
import numpy as np
import torch
from memory_image import Region
from moe_mlir._op_table import OPS
from moe_testing import runtime
from random_cases import Case, make_case

NAMES = {op.dialect: op.name for op in OPS}
OPTIONS = {op.dialect: {option.name for option in op.options} for op in OPS}
DTYPES = {"x": torch.bfloat16, "permutation_map": torch.int32, "n_used": torch.int32,
          "probs": torch.float32, "out": torch.bfloat16,
          "data": getattr(torch, "float8_e4m3fn", None),
          "scale": getattr(torch, "float8_e8m0fnu", None)}
# Of every so many calls one is with settings for which there may be no kernel.
OTHER_SETTINGS = 12
CHUNK = 20


def tensor_of(memory: torch.Tensor, region: Region) -> torch.Tensor:
    """The operand in a tensor of bytes."""
    raw = memory[region.offset : region.offset + region.nbytes]
    return raw.view(DTYPES[region.name]).as_strided(region.shape, region.strides)


def package_settings(case: Case) -> dict[str, Any] | None:
    """The keyword arguments that say what is computed, but for probs; None if the package has no
    such argument.
    """
    settings = case.kernel.arguments
    if settings.pop("dead_rows", None):
        settings["zero_padding"] = True
    if not settings.keys() <= OPTIONS[case.kernel.op]:
        return None
    if case.kernel.quantizes:
        settings |= {"scale_layout": case.kernel.scale_layout,
                     "dead_scales": case.kernel.dead_scales}
    return settings


def find_alias(case: Case) -> Callable[..., Any] | None:
    """Another function of the package that does the same: f(x, map, n_used, **more)."""
    kernel, settings = case.kernel, case.kernel.arguments
    if kernel.op == "padded_swiglu" and not (kernel.has_map or settings or kernel.has_probs):
        return lambda x, permutation_map, n_used, **more: moe_mlir.bounded_silu_mul(
            x, n_used, **more)
    if kernel.has_probs and settings.keys() <= {"dead_rows", "clamp_scale"}:
        aliases = {"padded_swiglu": moe_mlir.swiglu_with_probs,
                   "padded_squared_relu": moe_mlir.squared_relu_with_probs}
        return aliases.get(kernel.op)
    return None


def call_c_api(case: Case, tensors: dict[str, torch.Tensor]) -> None:
    """By numbers, with another number of CTAs or threads."""
    kernel = case.kernel
    x, out = tensors["x"], tensors["data" if kernel.quantizes else "out"]
    is_cuda = x.is_cuda

    def address(name: str) -> int | None:
        return tensors[name].data_ptr() if name in tensors else None

    linear = kernel.quantizes and kernel.scale_layout == "linear"
    runtime.Call(
        kernel.op, *x.shape, x=x.data_ptr(), permutation_map=address("permutation_map"),
        n_used=address("n_used"), out=out.data_ptr(), scale=address("scale"),
        x_stride=x.stride(0), out_stride=out.stride(0),
        scale_stride=tensors["scale"].stride(0) if linear else 0,
        layout=runtime.LINEAR if linear else runtime.SWIZZLED,
        dead=runtime.UNTOUCHED if kernel.dead_scales == "untouched" else runtime.ZERO,
        device=runtime.CUDA if is_cuda else runtime.CPU,
        stream=torch.cuda.current_stream().cuda_stream if is_cuda else None,
        num_ctas=case.ctas, num_threads=case.threads, by_name=case.by_name,
        expected_rows=case.expected_rows or 0, probs=address("probs"),
        settings=kernel.arguments).run()


def make_call(case: Case, tensors: dict[str, torch.Tensor]) -> Callable[[], Any]:
    """What makes the call; it returns new outputs where they have no place."""
    settings = package_settings(case)
    if settings is None or case.form == "c":
        return lambda: call_c_api(case, tensors)
    name, names = NAMES[case.kernel.op], case.kernel.map.names()
    operands = tensors["x"], tensors.get("permutation_map"), tensors["n_used"]
    settings["expected_rows"] = case.expected_rows
    settings["programmatic_launch"] = case.programmatic_launch
    if "probs" in tensors:
        settings["probs"] = tensors["probs"]
    outputs = tuple(tensors[name] for name in names if name in tensors)
    if case.form == "ops":
        op = getattr(torch.ops.moe_mlir, f"{name}_out")
        return lambda: op(*operands, **settings, **dict(zip(names, outputs)))
    function = (find_alias(case) if case.form == "alias" else None) or getattr(moe_mlir, name)
    if not outputs:
        return lambda: function(*operands, **settings)
    out = outputs if case.kernel.quantizes else outputs[0]
    return lambda: function(*operands, **settings, out=out)


def compare_new(case: Case, before: np.ndarray, result: Any) -> None:
    """Of outputs that the call has allocated, what is defined: what the oracle makes the same of any
    bytes.
    """
    found = tuple(result) if case.kernel.quantizes else (result,)
    wanted, again = (case.expected(before, case.outputs(fill)) for fill in (0x00, 0xFF))
    for name, tensor, array, other in zip(case.kernel.map.names(), found, wanted, again):
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy()
        bytes_of, others = (np.ascontiguousarray(a).reshape(-1).view(np.uint8)
                            for a in (array, other))
        if tuple(tensor.shape) != array.shape or raw.size != bytes_of.size:
            raise AssertionError(f"{name}: expected shape {array.shape}, found {tuple(tensor.shape)}")
        where = np.flatnonzero((bytes_of == others) & (raw != bytes_of))
        if where.size:
            at = int(where[0])
            raise AssertionError(f"{where.size} bytes differ: byte {at} of a new {name}: expected "
                                 f"{int(bytes_of[at]):#04x}, found {int(raw[at]):#04x}")


def run_case(case: Case, device: str) -> bool:
    """Whether there is a kernel for it. Raises AssertionError for a byte that is wrong."""
    memory = torch.empty(case.layout.nbytes, dtype=torch.uint8, device=device)
    tensors = {name: tensor_of(memory, region) for name, region in case.layout.regions.items()}
    launch = make_call(case, tensors)
    if case.form == "graph" and memory.is_cuda:
        memory.zero_()
        launch()  # What is loaded at the first launch is loaded now.
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launch()
        launch = graph.replay
    for n_used in case.n_used:
        before = case.inputs(n_used)
        after = before if case.form == "new" else case.after(before)
        memory.copy_(torch.from_numpy(before))
        try:
            result = launch()
        except (moe_mlir.MoeRuntimeError, runtime.MoeError) as error:
            if getattr(error, "status", None) not in ("UNSUPPORTED", runtime.UNSUPPORTED):
                raise
            case.layout.compare(memory.cpu().numpy(), before)
            return False
        case.layout.compare(memory.cpu().numpy(), after)
        if case.form == "new":
            compare_new(case, before, result)
    return True


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


def run_cases(seed: int, numbers: range | list[int], device: str,
              most_elements: int = 1_000_000) -> Outcome:
    """Those with these numbers."""
    outcome = Outcome()
    for number in numbers:
        is_shipped = number % OTHER_SETTINGS != 0
        case = None
        try:
            case = make_case(seed, number, has_graphs=device == "cuda", has_ships=is_shipped,
                             most_elements=most_elements)
            if run_case(case, device):
                outcome.launched[case.kernel.op] += case.steps
            elif is_shipped:
                raise AssertionError("refused, though its kernel ships")
            else:
                outcome.refused += 1
        except Exception as error:  # Whatever it is, the others are looked at too.
            text = " ".join(f"{type(error).__name__}: {error}".split())
            outcome.failures.append(
                f"FAILED {text}; run_random.py --device {device} --seed {seed} --case {number}: "
                f"{case}")
            if "CUDA error" in text or "DRIVER_ERROR" in text:
                # The context is lost, and all that came after would fail.
                break
    return outcome


def chunks(start: int = 0) -> Iterator[range]:
    while True:
        yield range(start, start + CHUNK)
        start += CHUNK


def _limit_threads() -> None:
    torch.set_num_threads(1)


def run_many(seed: int, cases: int, device: str, pool: Executor, processes: int,
             time_limit: float) -> Outcome:
    """As many calls as are asked for, or a few more, by the processes of a pool."""
    total, begin, numbers = Outcome(), time.monotonic(), chunks()
    pending: set[Future[Outcome]] = set()
    while True:
        is_late = time.monotonic() - begin > time_limit
        # Not more than what is missing, were every call one that counts.
        while (not is_late and len(pending) < 2 * processes
               and total.launched.total() + CHUNK * len(pending) < cases):
            pending.add(pool.submit(run_cases, seed, next(numbers), device))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--cases", type=int, default=5000, help="how many calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--processes", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--time-limit", type=float, default=240, metavar="SECONDS")
    options = parser.parse_args()
    begin = time.monotonic()
    if options.case is not None:
        outcome = run_cases(options.seed, [options.case], options.device)
        print("\n".join(outcome.failures), end="\n" * bool(outcome.failures))
    else:
        with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn"),
                                 _limit_threads) as pool:
            outcome = run_many(options.seed, options.cases, options.device, pool,
                               options.processes, options.time_limit)
    where = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU"
    for op, count in sorted(outcome.launched.items()):
        print(f"{count:6} {op}")
    print(f"{outcome.launched.total()} calls on {where} equal the oracle, {outcome.refused} were "
          f"refused, {len(outcome.failures)} failed; seed {options.seed}, "
          f"{time.monotonic() - begin:.0f} s")
    sys.exit(bool(outcome.failures))


if __name__ == "__main__":
    main()
