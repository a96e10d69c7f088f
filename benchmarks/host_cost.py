# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a call costs on the host, on a machine with a GPU.

    benchmarks/host_cost.py [--json FILE]

- An eager call from Python, its results allocated, next to the same call of the Triton peer, to
  torch.empty_like and to torch.relu. Calls in rounds of 100, the functions taking turns, with a
  synchronisation that is not timed between the rounds, so nothing waits for the device.
- A launch through the C API, from a loop in C where there is a compiler; else through ctypes, with
  the time of a function that does nothing taken off.
- The first call of a fresh process that has PyTorch, a CUDA context and operands: what loading the
  kernels, the launch and its end on the device take. The import of the package before it is given
  apart. For Triton that is with an empty compilation cache, and with a filled one.

Medians, the 10th and the 90th percentile; PASS or MISS where there is a limit.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cases
import results

M, K = 128, 1856
CALLS, ROUNDS = 100, 31
# Microseconds.
LIMITS = {
    "python moe activation": 8.0, "python moe quantize": 12.0,
    "C moe activation": 3.0, "C moe quantize": 3.0,
    "first call moe activation": 100_000.0,
}
LOOP = """
#include <time.h>
/* Calls a function of five or six pointers; microseconds of one call, below 0 for a failure. */
double loop(int (*call)(void *, void *, void *, void *, void *, void *), void **a, int count) {
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int i = 0; i < count; ++i)
    if (call(a[0], a[1], a[2], a[3], a[4], a[5]))
      return -1;
  clock_gettime(CLOCK_MONOTONIC, &end);
  return ((end.tv_sec - begin.tv_sec) * 1e6 + (end.tv_nsec - begin.tv_nsec) * 1e-3) / count;
}
"""


def make_operands(device: str) -> tuple[Any, Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn((M, K), generator=generator).to(torch.bfloat16).to(device)
    return (x, torch.arange(M, dtype=torch.int32, device=device),
            torch.tensor(M, dtype=torch.int32, device=device))


def synchronize(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def time_rounds(functions: Mapping[str, Callable[[int], float]],
                device: str) -> dict[str, list[float]]:
    """`functions` make so many calls and return the microseconds of one."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(ROUNDS + 1):
        for name, function in functions.items():
            synchronize(device)
            us = function(CALLS)
            if turn:  # The first is a warm-up.
                times[name].append(us)
    synchronize(device)
    return times


def python_loop(function: Callable[..., Any], *arguments: Any) -> Callable[[int], float]:
    def loop(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            function(*arguments)
        return (time.perf_counter() - begin) / count * 1e6

    return loop


def measure_python(device: str) -> dict[str, list[float]]:
    import moe_mlir
    import torch
    import triton_peer

    operands = make_operands(device)
    functions = {f"python {peer} {op}": python_loop(getattr(module, function), *operands)
                 for op, function in cases.OPS.items()
                 for peer, module in (("moe", moe_mlir), ("triton", triton_peer))}
    for op, function in cases.OPS.items():
        functions[f"python torch.ops.moe_mlir {op}"] = python_loop(
            getattr(torch.ops.moe_mlir, function), *operands)
    functions["python torch.empty_like"] = python_loop(torch.empty_like, operands[0])
    functions["python torch.relu"] = python_loop(torch.relu, operands[0])
    return time_rounds(functions, device)


def build_loop(folder: str) -> Any | None:
    """The C loop as a function, None where nothing compiles it."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    source, library = Path(folder) / "loop.c", Path(folder) / "loop.so"
    source.write_text(LOOP)
    if subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(library)],
                      capture_output=True).returncode:
        return None
    loop = ctypes.CDLL(str(library)).loop
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]
    return loop


def measure_c(device: str) -> tuple[dict[str, list[float]], str]:
    """Times of the C API, and how they were taken."""
    import torch
    from moe_testing import runtime as moe

    x, permutation_map, n_used = make_operands(device)
    out = torch.empty(M, K, dtype=torch.bfloat16, device=device)
    scale = torch.empty(moe.scale_size(M, K), dtype=torch.uint8, device=device)
    launch = moe.Launch(device=moe.CUDA if device == "cuda" else moe.CPU, num_threads=1)
    if device == "cuda":
        launch.stream = torch.cuda.current_stream().cuda_stream
    structures = (launch, moe.Matrix(x.data_ptr(), M, K, K), moe.Matrix(out.data_ptr(), M, K, K),
                  moe.Scale(scale.data_ptr(), scale.numel(), 0, moe.SWIZZLED, moe.ZERO))
    launch_at, x_at, out_at, scale_at = map(ctypes.addressof, structures)
    arguments = (ctypes.c_void_p * 6)(launch_at, x_at, permutation_map.data_ptr(),
                                      n_used.data_ptr(), out_at, scale_at)
    calls = {"C moe activation": moe.library.moePaddedSquaredRelu,
             "C moe quantize": moe.library.moeSquaredReluQuantizeMXFP8}
    with tempfile.TemporaryDirectory() as folder:
        loop = build_loop(folder)
    if loop is None:
        return _measure_with_ctypes(calls, list(arguments), device)

    def bind(call: Any) -> Callable[[int], float]:
        def run(count: int) -> float:
            us = loop(ctypes.cast(call, ctypes.c_void_p), arguments, count)
            if us < 0:
                raise RuntimeError(moe.library.moeGetLastError().decode())
            return us

        return run

    times = time_rounds({name: bind(call) for name, call in calls.items()}, device)
    del structures
    return times, "a loop in C"


def _measure_with_ctypes(calls: Mapping[str, Any], arguments: list[Any],
                         device: str) -> tuple[dict[str, list[float]], str]:
    from moe_testing import runtime as moe

    nothing = moe.library.moeGetVersion
    nothing.argtypes = [ctypes.c_void_p] * 6
    counts = {name: len(call.argtypes) for name, call in calls.items()}
    for call in calls.values():
        call.argtypes = [ctypes.c_void_p] * len(call.argtypes)
    functions = {name: python_loop(call, *arguments[: counts[name]])
                 for name, call in calls.items()}
    functions["nothing"] = python_loop(nothing, *arguments)
    times = time_rounds(functions, device)
    overhead = results.percentile(times.pop("nothing"), 0.5)
    return ({name: [us - overhead for us in values] for name, values in times.items()},
            "ctypes, less a function that does nothing")


def first_call(peer: str, device: str) -> dict[str, float]:
    """In a fresh process: microseconds of the import and of the first call of each op."""
    import torch

    operands = make_operands(device)
    torch.relu(operands[0])
    synchronize(device)
    begin = time.perf_counter()
    if peer == "moe":
        import moe_mlir as module
    else:
        import triton_peer as module  # type: ignore[no-redef]
    found = {"import": 1e6 * (time.perf_counter() - begin)}
    for op, function in cases.OPS.items():
        begin = time.perf_counter()
        getattr(module, function)(*operands)
        synchronize(device)
        found[op] = 1e6 * (time.perf_counter() - begin)
    return found


def measure_first_calls(device: str, repeat: int = 3) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        runs = [("moe", "moe")] * repeat + [("triton", "triton, empty cache"),
                                            ("triton", "triton, filled cache")]
        for peer, title in runs:
            output = subprocess.run(
                [sys.executable, __file__, "--first-call", peer, "--device", device], check=True,
                stdout=subprocess.PIPE, text=True, env={**os.environ, "TRITON_CACHE_DIR": cache})
            for op, us in json.loads(output.stdout).items():
                key = f"import {title}" if op == "import" else f"first call {title} {op}"
                times.setdefault(key, []).append(us)
    return times


def judge(times: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, values in times.items():
        entry: dict[str, Any] = dict(results.summarize(values))
        if name in LIMITS:
            entry["limit"] = LIMITS[name]
            entry["status"] = "PASS" if entry["us"] <= LIMITS[name] else "MISS"
        found[name] = entry
    return found


def print_entries(entries: Mapping[str, dict[str, Any]]) -> None:
    for name, entry in entries.items():
        limit = f"  {entry['status']}, limit {entry['limit']:g}" if "limit" in entry else ""
        print(f"{name:45} {entry['us']:12.2f} us ({entry['p10']:.2f}-{entry['p90']:.2f}){limit}",
              flush=True)


def measure(device: str, json_file: Path | None) -> dict[str, Any]:
    document: dict[str, Any] = {"M": M, "K": K, "entries": {}}

    def add(times: Mapping[str, list[float]]) -> None:
        entries = judge(times)
        print_entries(entries)
        document["entries"].update(entries)
        if json_file:
            results.save(json_file, document)

    add(measure_python(device))
    times, document["C"] = measure_c(device)
    print(f"C API, by {document['C']}:")
    add(times)
    print("fresh processes, after PyTorch, its context and the operands:")
    add(measure_first_calls(device))
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda",
                        help="cpu only to try the program out")
    parser.add_argument("--first-call", choices=["moe", "triton"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_call:
        print(json.dumps(first_call(options.first_call, options.device)))
        return
    import gpu

    if options.device == "cuda" or gpu.MISSING is not None:
        gpu.require_gpu("host_cost.py")
    measure(options.device, options.json)


if __name__ == "__main__":
    main()
