# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A realistic routed batch through both ops on the CPU, and their PTX for a GPU.

The shapes are those of a Nemotron-like model: FFN size 1856, 128 experts of which each token takes
6, expert blocks padded to 128 rows. Every byte that comes out is compared with the oracle. Beside
the time of the activation stands that of NumPy.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np

try:
    from moe_testing import oracle
    from moe_testing.batches import Batch, routed_batch
except ModuleNotFoundError:
    sys.exit("demo.py: this Python lacks moe_testing: run it by build/venv/bin/python, which "
             "scripts/setup.sh makes; or, from the root of the checkout, with "
             "PYTHONPATH=$PWD/testing")

ROOT = Path(__file__).resolve().parents[2]

MODEL = Path(__file__).with_name("activation.mlir")
RUNS = 5


def run(tool: str, *arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess:
    """Runs one of the project's tools; shows its errors and stops on failure."""
    command = [str(ROOT / "build" / "bin" / tool), *map(str, arguments)]
    result = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr.decode()}")
    return result


def run_entry(folder: Path, entry: str, arrays: dict[str, np.ndarray],
              saved: list[str]) -> tuple[list[np.ndarray], str]:
    """Calls a function of the model on arrays; returns those in `saved` and the timing."""
    arguments: list[object] = [MODEL, "--entry", entry, "--repeat", RUNS]
    for index, (name, array) in enumerate(arrays.items()):
        np.save(folder / f"{name}.npy", oracle.bits(array) if array.itemsize < 4 else array)
        arguments += ["--arg", folder / f"{name}.npy"]
        if name in saved:
            arguments += ["--save", f"{index}={folder / f'{name}.npy'}"]
    timing = run("moe-run", *arguments).stderr.decode().strip()
    return [np.load(folder / f"{name}.npy").view(arrays[name].dtype) for name in saved], timing


def time_numpy(batch: Batch) -> float:
    """Milliseconds of what @activation does, as one would write it with NumPy."""
    live = np.flatnonzero(oracle.live_rows(batch.permutation_map, batch.n_used))
    out = np.zeros_like(batch.x)
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        positive = np.fmax(batch.x[live].astype(np.float32), np.float32(0))
        out[live] = (positive * positive).astype(ml_dtypes.bfloat16)
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    parser.add_argument("--tokens", type=int, default=512)
    options = parser.parse_args()
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)

    batch = routed_batch(options.tokens)
    M, N = batch.x.shape
    print(f"demo: {options.tokens} tokens, 128 experts, top-6: {M} rows of {N}, "
          f"{batch.n_used} used, {batch.live} live")

    # Random bytes: a row that is not live has to keep them.
    rng = np.random.default_rng(1)
    noise = lambda count: rng.integers(0, 256, count, dtype=np.uint8)  # noqa: E731
    inputs = {"x": batch.x, "permutation_map": batch.permutation_map,
              "n_used": np.array(batch.n_used, np.int32)}
    out = noise(2 * M * N).view(ml_dtypes.bfloat16).reshape(M, N)
    data = noise(M * N).view(ml_dtypes.float8_e4m3fn).reshape(M, N)
    scale = noise(oracle.scale_size(M, N)).view(ml_dtypes.float8_e8m0fnu)

    wanted = {
        "activation": [oracle.padded_squared_relu(*inputs.values(), out)],
        "quantized_activation": list(
            oracle.squared_relu_quantize_mxfp8(*inputs.values(), data, scale)),
    }
    outputs = {"activation": {"out": out}, "quantized_activation": {"data": data, "scale": scale}}
    failed = False
    for entry, destinations in outputs.items():
        found, timing = run_entry(folder, entry, inputs | destinations, list(destinations))
        print(f"demo: @{entry} on the CPU: {timing.removeprefix('moe-run: ')}")
        for name, have, want in zip(destinations, found, wanted[entry]):
            differing = int(np.count_nonzero(oracle.bits(have) != oracle.bits(want)))
            failed |= differing != 0
            print(f"demo:   {name}: {want.nbytes} bytes, {differing} elements differ from the "
                  "oracle")

    print(f"demo: the same activation in NumPy: {RUNS} runs, median {time_numpy(batch):.3f} ms")

    lowered = run("moe-opt", MODEL, "--moe-lower-to-ptx=chip=sm_90").stdout
    ptx = folder / "activation-sm_90.ptx"
    ptx.write_bytes(run("moe-translate", "--moe-to-ptx", "-", stdin=lowered).stdout)
    kernels = ptx.read_text().count(".entry ")
    print(f"demo: {kernels} kernels for sm_90 in {ptx}, arrays in {folder}/*.npy")
    if failed:
        sys.exit("demo: FAILED")
    print("demo: passed")


if __name__ == "__main__":
    main()
