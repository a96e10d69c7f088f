# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A small routed batch through both functions of swiglu.mlir on the CPU, by moe-run: every byte of
every destination is compared with the oracle, those of rows that are not live among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

try:
    from moe_testing import on_cpu, oracle
    from moe_testing.batches import routed_batch
except ModuleNotFoundError:
    sys.exit("demo.py: this Python lacks moe_testing: run it by build/venv/bin/python, which "
             "scripts/setup.sh makes; or, from the root of the checkout, with "
             "PYTHONPATH=$PWD/testing")

MODEL = Path(__file__).with_name("swiglu.mlir")
FFN = 768


def main() -> None:
    batch = routed_batch(tokens=32, experts=16, top_k=4, ffn=2 * FFN)
    print(f"demo: 32 tokens, 16 experts, top-4: {batch.M} rows of {2 * FFN}, {batch.n_used} used, "
          f"{batch.live} live")
    inputs = [batch.x, batch.permutation_map, np.array(batch.n_used, np.int32)]

    # Random bytes: a row that is not live has to keep them.
    rng = np.random.default_rng(1)
    out, data, scale = (
        rng.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
        .view(dtype).reshape(shape)
        for form in (oracle.BF16(), oracle.MXFP8()) for shape, dtype in
        form.destinations(batch.M, FFN))

    failed = False
    for entry, outputs, wanted in (
            ("swiglu", {"out": out}, [oracle.padded_swiglu(*inputs, out)]),
            ("quantized_swiglu", {"data": data, "scale": scale},
             oracle.swiglu_quantize_mxfp8(*inputs, data, scale))):
        arrays = [*inputs, *outputs.values()]
        found = on_cpu.call(MODEL.read_text(), arrays, range(len(inputs), len(arrays)), entry)
        for name, have, want in zip(outputs, found, wanted):
            differing = int(np.count_nonzero(oracle.bits(have) != oracle.bits(want)))
            failed |= differing != 0
            print(f"demo: @{entry}: {name}: {want.nbytes} bytes, {differing} elements differ from "
                  "the oracle")
    if failed:
        sys.exit("demo: FAILED")
    print("demo: passed")


if __name__ == "__main__":
    main()
