# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a call costs on the host, on a machine with a GPU.

    benchmarks/host_cost.py [--json FILE]

- An eager call from Python, its results allocated or given, next to the same call of the Triton
  peer, to torch.empty_like and to torch.relu.
- A launch through the C API, from a loop in C, next to a bare cuLaunchKernel of a kernel that does
  nothing, with as many parameters; where there is no compiler through ctypes, with the time of a
  function that does nothing taken off, and without the bare one.
- What becomes of a call: the launch, the allocation of the results, and the rest.
- The first call of a fresh process that has PyTorch, a CUDA context and operands: what loading the
  kernels, the launch and its end on the device take. The import of the package before it is given
  apart. For Triton that is with an empty compilation cache, and with a filled one.

Calls in rounds of 100, all functions taking turns, with a synchronisation that is not timed between
the rounds, so nothing waits for the device. Medians, the 10th and the 90th percentile; PASS or MISS
where there is a limit, which is most often one in terms of another time of the same run.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
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
RELU, BARE = "python torch.relu", "C bare cuLaunchKernel"
# A limit is so many times what another entry took, and so many microseconds.
LIMITS: dict[str, tuple[str | None, float, float]] = {
    "python moe activation": (RELU, 1.2, 0.0), "python moe quantize": (RELU, 1.6, 0.0),
    "C moe activation": (BARE, 1.0, 0.4), "C moe quantize": (BARE, 1.0, 0.4),
    "first call moe activation": (None, 0.0, 100_000.0),
}
# What the eager calls do besides: the entry of the launch, and how many results are allocated.
PARTS = {"python moe activation": ("C moe activation", 1),
         "python moe activation, out=": ("C moe activation", 0),
         "python moe quantize": ("C moe quantize", 2),
         "python moe quantize, out=": ("C moe quantize", 0)}
# As many parameters as a kernel of the activation has.
NUM_PARAMETERS = 22
LOOP = """
#include <time.h>
typedef struct timespec Time;
static double elapsed(Time begin, Time end, int count) {
  return ((end.tv_sec - begin.tv_sec) * 1e6 + (end.tv_nsec - begin.tv_nsec) * 1e-3) / count;
}
/* Calls a function of five or six pointers; microseconds of one call, below 0 for a failure. */
double loop(int (*call)(void *, void *, void *, void *, void *, void *), void **a, int count) {
  Time begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int i = 0; i < count; ++i)
    if (call(a[0], a[1], a[2], a[3], a[4], a[5]))
      return -1;
  clock_gettime(CLOCK_MONOTONIC, &end);
  return elapsed(begin, end, count);
}
/* The same of cuLaunchKernel. */
double launch(int (*call)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                          unsigned, void *, void **, void **),
              void *function, void *stream, void **parameters, int count) {
  Time begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int i = 0; i < count; ++i)
    if (call(function, 528, 1, 1, 256, 1, 1, 0, stream, parameters, 0))
      return -1;
  clock_gettime(CLOCK_MONOTONIC, &end);
  return elapsed(begin, end, count);
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


def python_calls(device: str) -> dict[str, Callable[[int], float]]:
    import moe_mlir
    import torch
    import triton_peer

    operands = make_operands(device)
    functions = {f"python {peer} {op}": python_loop(getattr(module, function), *operands)
                 for op, function in cases.OPS.items()
                 for peer, module in (("moe", moe_mlir), ("triton", triton_peer))}
    for op, function in cases.OPS.items():
        call = getattr(moe_mlir, function)
        out = call(*operands)
        functions[f"python moe {op}, out="] = python_loop(functools.partial(call, out=out),
                                                          *operands)
        functions[f"python torch.ops.moe_mlir {op}"] = python_loop(
            getattr(torch.ops.moe_mlir, function), *operands)
    functions["python torch.empty_like"] = python_loop(torch.empty_like, operands[0])
    functions[RELU] = python_loop(torch.relu, operands[0])
    return functions


def build_loops(folder: str) -> Any | None:
    """The loops in C as a library, None where nothing compiles it."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    source, path = Path(folder) / "loop.c", Path(folder) / "loop.so"
    source.write_text(LOOP)
    if subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(path)],
                      capture_output=True).returncode:
        return None
    loops = ctypes.CDLL(str(path))
    pointer, pointers = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
    loops.loop.restype = loops.launch.restype = ctypes.c_double
    loops.loop.argtypes = [pointer, pointers, ctypes.c_int]
    loops.launch.argtypes = [pointer, pointer, pointer, pointers, ctypes.c_int]
    return loops


def c_calls(device: str) -> tuple[dict[str, Callable[[int], float]], str]:
    """Calls of the C API, and how they are made."""
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
    kept = structures, x, permutation_map, n_used, out, scale
    with tempfile.TemporaryDirectory() as folder:
        loops = build_loops(folder)
    if loops is None:
        return (_calls_by_ctypes(calls, list(arguments), kept),
                "ctypes, less a function that does nothing")

    def bind(call: Any) -> Callable[[int], float]:
        def run(count: int, kept: Any = kept) -> float:
            us: float = loops.loop(ctypes.cast(call, ctypes.c_void_p), arguments, count)
            if us < 0:
                raise RuntimeError(moe.library.moeGetLastError().decode())
            return us

        return run

    functions = {name: bind(call) for name, call in calls.items()}
    if device == "cuda":
        functions[BARE] = _bare_launch(loops, launch.stream)
    return functions, "a loop in C"


def _bare_launch(loops: Any, stream: int | None) -> Callable[[int], float]:
    """Launches of a kernel that does nothing, in the context that PyTorch made."""
    cuda = ctypes.CDLL("libcuda.so.1")
    parameters = ", ".join(f".param .u64 p{i}" for i in range(NUM_PARAMETERS))
    text = (".version 7.0\n.target sm_80\n.address_size 64\n"
            f".visible .entry nothing({parameters})\n{{\nret;\n}}\n")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    if (cuda.cuModuleLoadData(ctypes.byref(module), text.encode())
            or cuda.cuModuleGetFunction(ctypes.byref(function), module, b"nothing")):
        raise RuntimeError("the driver does not load a kernel that does nothing")
    values = (ctypes.c_uint64 * NUM_PARAMETERS)()
    pointers = (ctypes.c_void_p * NUM_PARAMETERS)(
        *(ctypes.addressof(values) + 8 * i for i in range(NUM_PARAMETERS)))

    def run(count: int, kept: Any = values) -> float:
        us: float = loops.launch(ctypes.cast(cuda.cuLaunchKernel, ctypes.c_void_p), function,
                                 stream, pointers, count)
        if us < 0:
            raise RuntimeError("cuLaunchKernel failed")
        return us

    return run


def _calls_by_ctypes(calls: Mapping[str, Any], arguments: list[Any],
                     kept: Any) -> dict[str, Callable[[int], float]]:
    from moe_testing import runtime as moe

    nothing = python_loop(_with_pointers(moe.library.moeGetVersion, 6), *arguments)

    def bind(call: Any) -> Callable[[int], float]:
        count = len(call.argtypes)
        loop = python_loop(_with_pointers(call, count), *arguments[:count])
        return lambda times, kept=kept: loop(times) - nothing(times)

    return {name: bind(call) for name, call in calls.items()}


def _with_pointers(call: Any, count: int) -> Any:
    call.argtypes = [ctypes.c_void_p] * count
    return call


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
    """The entries of a run; no verdict where what a limit stands on was not measured."""
    found: dict[str, dict[str, Any]] = {name: dict(results.summarize(values))
                                        for name, values in times.items()}
    for name, (base, factor, addition) in LIMITS.items():
        if name in found and (base is None or base in found):
            entry, scale = found[name], found[base]["us"] if base else 0.0
            entry["limit"] = round(factor * scale + addition, 4)
            entry["status"] = "PASS" if entry["us"] <= entry["limit"] else "MISS"
    return found


def split(entries: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Where the time of eager calls goes."""
    found = {}
    for name, (launch, outputs) in PARTS.items():
        allocation = outputs * entries["python torch.empty_like"]["us"]
        parts = {"launch": entries[launch]["us"], "allocation": allocation}
        parts["rest"] = entries[name]["us"] - sum(parts.values())
        found[name] = {part: round(us, 4) for part, us in parts.items()}
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

    in_c, document["C"] = c_calls(device)
    print(f"C API by {document['C']}:")
    add(time_rounds({**python_calls(device), **in_c}, device))
    document["parts"] = split(document["entries"])
    for name, parts in document["parts"].items():
        print(f"{name:45} {' + '.join(f'{part} {us:.2f}' for part, us in parts.items())} us")
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
