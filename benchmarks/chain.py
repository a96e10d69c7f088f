# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measures the ops where they run, between two matrix products, on a GPU.

    benchmarks/chain.py [--case TEXT] [--json FILE]

A chain is a product of PyTorch's, the op and another product, in a CUDA graph of many, with the op
launched as usual and with programmatic_launch=True, under which it starts while the product before
it ends. The products are a stand-in for those of an expert: 128 rows, operands that stay in the
cache. What the op adds to the two products is its time in the chain; "alone" is that in a graph of
nothing else, as gpu.py measures it. Before anything is timed, the bytes of both launches are
compared. Medians, and the 10th and the 90th percentile of a chain.

Needs what gpu.py needs, but for Triton.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import cases
import results

ROWS, INNER, COLUMNS = 128, 2688, 1856
POOL_BYTES = 4 << 30
POISON = 0x5A


def chosen_cases() -> list[cases.Case]:
    """Batches of decoding, and one of a prompt."""
    return [case for op in cases.OPS for case in (
        *(cases.routed_case(op, "routed", tokens, 1856) for tokens in (1, 8, 64, 512)),
        cases.routed_case(op, "routed", 64, 1856, cases.CAPACITY_TOKENS),
        cases.Case(op, "dense", 1856, 8192))]


def run_op(case: cases.Case, operands: Any, outputs: Any, programmatic: bool) -> None:
    import moe_mlir

    function = getattr(moe_mlir, cases.OPS[case.op])
    function(*operands, out=outputs, programmatic_launch=programmatic,
             expected_rows=cases.live_rows(case))


def measure(case: cases.Case, card: Any, pools: Any, timer: Any, replays: int) -> dict[str, Any]:
    import rotation
    import torch

    workload = rotation.Workload(case, pools, 2 * card.l2_bytes)
    sets = workload.sets
    left = torch.randn(ROWS, INNER, dtype=torch.bfloat16, device=card.device)
    right = torch.randn(INNER, COLUMNS, dtype=torch.bfloat16, device=card.device)
    product = torch.empty(ROWS, COLUMNS, dtype=torch.bfloat16, device=card.device)

    def multiply() -> None:
        torch.mm(left, right, out=product)

    def op(index: int, programmatic: bool) -> None:
        run_op(case, workload.operands[index % sets], workload.outputs[index % sets], programmatic)

    def chain(index: int, programmatic: bool) -> None:
        multiply()
        op(index, programmatic)
        multiply()

    def products(_: int) -> None:
        multiply()
        multiply()

    seen = []
    for programmatic in (False, True):
        raw = workload.raw_outputs(0)
        for buffer in raw:
            buffer.fill_(POISON)
        chain(0, programmatic)
        seen.append([buffer.clone() for buffer in raw])
    for plain, programmatic_bytes in zip(*seen):
        if not torch.equal(plain, programmatic_bytes):
            raise SystemExit(f"chain.py: {case.name}: bytes differ under programmatic_launch")
    times = rotation.time_launches(timer, {
        "products": products, "alone": lambda index: op(index, False),
        "chain": lambda index: chain(index, False),
        "chain, programmatic": lambda index: chain(index, True)}, sets, replays)
    found = {name: results.summarize(values) for name, values in times.items()}
    return {**case.describe(), "sets": sets, "peers": found}


def print_result(result: dict[str, Any]) -> None:
    peers = result["peers"]
    products = peers["products"]["us"]
    plain, early = (peers[name]["us"] - products for name in ("chain", "chain, programmatic"))
    chain = peers["chain"]
    print(f"{result['name']:44} alone {peers['alone']['us']:7.2f} us   in a chain {plain:7.2f} us   "
          f"programmatic {early:7.2f} us   (chain {chain['us']:.2f}, {chain['p10']:.2f}-"
          f"{chain['p90']:.2f}, products {products:.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", default=[], metavar="TEXT",
                        help="cases with TEXT in their names")
    parser.add_argument("--replays", type=int, default=21, help="of each graph (21)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        sys.exit("chain.py: needs PyTorch")
    cases.require_packages("chain.py")
    import torch

    if not torch.cuda.is_available():
        sys.exit("chain.py: needs a GPU that PyTorch can use")
    import rotation
    from moe_mlir import torch_ops

    with torch.no_grad():
        torch_ops.load_kernels()
        card, timer = rotation.find_card(), rotation.GraphTimer()
        print(card.name)
        pools = rotation.Pools(card.device, min(POOL_BYTES, card.free_bytes // 5))
        found = []
        for case in chosen_cases():
            if not all(text in case.name for text in options.case):
                continue
            found.append(measure(case, card, pools, timer, options.replays))
            print_result(found[-1])
            if options.json:
                results.save(options.json, {"device": card.name, "results": found})
            timer.release()


if __name__ == "__main__":
    main()
