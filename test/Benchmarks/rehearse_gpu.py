# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the benchmarks without a GPU: CPU tensors, Triton's interpreter, and a timer that invents
the times.

    rehearse_gpu.py gpu|broken|compile|grids|late|swiglu|variants|host_cost|layer FILE.json [LIBRARY]

A program of its own, for test_programs.py, with the benchmarks on PYTHONPATH. "broken": with
results that are wrong; "compile": with torch.compile, which takes a minute; "grids": other numbers
of CTAs; "late": with no time left; "swiglu": SwiGLU and nothing else, by the oracle in the place of
the library; "layer": layer.py. LIBRARY: the one of --old.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

# First: it says that Triton is to interpret, before anything imports Triton.
from check_triton_peer import prepare_interpreter  # isort: skip

import cases
import gpu
import host_cost
import layer
import ml_dtypes
import numpy as np
import rotation
import torch
import variants
from moe_testing import batches, gated_batches

# Microseconds of a launch; what is not here takes 3.
TIMES = {"moe": 2.0, "moe-old": 2.5, "moe-hint": 1.8, "copy": 1.9, "empty": 1.0,
         "triton block 128 warps 4 512 CTAs": 4.0}
NUMPY_TYPES = {torch.bfloat16: ml_dtypes.bfloat16, torch.float8_e4m3fn: ml_dtypes.float8_e4m3fn,
               torch.float8_e8m0fnu: ml_dtypes.float8_e8m0fnu}
# Of dense cases of SwiGLU, and tokens of permutation, that are not what they should be.
WRONG_ROWS = 8
CARD = rotation.Card("rehearsal", "cpu", l2_bytes=1 << 17, free_bytes=5 << 23, sms=4)


class InventedTimer:
    """Has the methods of rotation.GraphTimer. Runs the first and last launch of a graph."""

    def __init__(self) -> None:
        self.graphs = 0

    def synchronize(self) -> None:
        pass

    def nodes(self, launch: rotation.Launch) -> dict[str, int]:
        return {"kernel": 1}

    def capture(self, launch: rotation.Launch, count: int) -> int:
        self.graphs += 1
        for index in {0, count - 1}:
            launch(index)
        return count

    def replay(self, graphs: Mapping[str, int], replays: int) -> dict[str, list[float]]:
        return {name: [count * TIMES.get(name, 3.0) * (1 + 0.01 * (turn % 3))
                       for turn in range(replays)] for name, count in graphs.items()}

    def release(self) -> None:
        pass


def tiny_cases() -> list[cases.Case]:
    routed = {"experts": 2, "top_k": 2}
    return [case for op in cases.OPS for case in (
        cases.Case(op, "dense", 96, 128),
        cases.routed_case(op, "routed", 3, 96, **routed),
        cases.routed_case(op, "routed", 3, 64, 40, **routed),
        cases.routed_case(op, "capacity", 3, 64, 8, **routed))
    ] + [cases.routed_case("activation", "routed", 3, 64, 8, alignment=16, **routed)]


def run_main(module: ModuleType, *arguments: str) -> Any:
    """main() of a benchmark, its exit status."""
    sys.argv = [module.__name__, *arguments]
    try:
        return module.main()
    except SystemExit as ended:
        return ended.code


def break_results() -> None:
    """From here on one bit of what moe writes is wrong."""
    right = gpu.run_moe

    def wrong(op: str, operands: Any, outputs: Any, **modes: Any) -> None:
        right(op, operands, outputs, **modes)
        (outputs if op == "activation" else outputs[1]).view(torch.uint8).flatten()[5] ^= 1

    gpu.run_moe = wrong


def stand_in(op: str) -> Any:
    """A function of the package, by the oracle."""
    function = gpu.oracle_function(op)

    def as_numpy(tensor: torch.Tensor) -> np.ndarray:
        raw = tensor.contiguous().view(torch.uint8).numpy()
        return raw.view(NUMPY_TYPES[tensor.dtype]).reshape(tensor.shape)

    def run(x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *, out: Any,
            expected_rows: int | None = None, **modes: str) -> None:
        outs = out if isinstance(out, tuple) else (out,)
        found = function(as_numpy(x), permutation_map.numpy(), int(n_used), *map(as_numpy, outs),
                         **modes)
        if x.shape[0] == WRONG_ROWS:
            # To a neighbour, which a peer's result may be, and ours may not.
            found[0].view(np.uint8)[0, 0] ^= 1
        for tensor, array in zip(outs, found):
            tensor.view(torch.uint8).copy_(torch.from_numpy(array.view(np.uint8)))

    return run


def rehearse_swiglu(json_file: Path) -> None:
    """With torch.compile's functions as they are, which takes no minute."""
    torch.compile = lambda function, **options: function
    for op, name in cases.SWIGLU_OPS.items():
        setattr(gpu.moe_mlir, name, stand_in(op))
    gpu.contract_batches = lambda op: (
        {"random": gated_batches.random_gated_batch(40, 96, 30)} if op in cases.SWIGLU_OPS else {})
    cases.all_cases = list
    chosen = [case for op in cases.SWIGLU_OPS for case in (
        cases.Case(op, "dense", 64, 24), cases.Case(op, "dense", 64, WRONG_ROWS),
        cases.routed_case(op, "routed", 2, 96, alignment=16, experts=2, top_k=2))]
    cases.swiglu_cases = lambda: chosen
    assert run_main(gpu, "--json", str(json_file), "--replays", "15", "--expected-rows") is True


def rehearse_gpu(mode: str, json_file: Path, *old: str) -> None:
    gpu.contract_batches = lambda op: {"random": batches.random_batch(150, 96, 140)}
    cases.swiglu_cases = list
    chosen = tiny_cases()
    if mode == "broken":
        break_results()
        chosen = chosen[3:5]
    # One that cannot run must not keep the others from it.
    chosen.insert(1, cases.Case("activation", "dense", 4096, 1 << 20))
    cases.all_cases = lambda: chosen
    status = run_main(gpu, "--json", str(json_file), "--replays", "15",
                      *(["--no-compile"] if mode != "compile" else []),
                      *{"grids": ["--num-ctas-per-sm", "0.5,2"],
                        "late": ["--time-limit", "0"]}.get(mode, []),
                      *(["--expected-rows"] if mode == "gpu" else []),
                      *(["--old", *old] if old else []))
    assert status is (mode != "late"), "a case fails"


def rehearse_variants(json_file: Path) -> None:
    """The launches are the package's, on the CPU; those of the second build write nothing."""
    folder = json_file.parent
    entries = [{"name": name, "op": op, "columns": columns, "file": f"{name} {op}"}
               for name, columns in (("O3", None), ("silent", None), ("K 64", 64))
               for op in cases.OPS]
    (folder / variants.MANIFEST).write_text(json.dumps(entries))
    variants.load = lambda path: path.name
    variants.launch = lambda op, operands, outputs, module, num_ctas: (
        None if "silent" in module else gpu.run_moe(op, operands, outputs))
    variants.chosen_cases = lambda: tiny_cases()[1:3] + tiny_cases()[5:6]
    assert run_main(variants, "run", str(folder), "--json", str(json_file)) is None


def rehearse_layer(json_file: Path) -> None:
    right = layer.moe_mlir.unpermute_tokens_in_expert_order

    def run(*operands: Any, **others: Any) -> None:
        right(*operands, **others)
        if operands[3].shape[0] == WRONG_ROWS:
            operands[3].view(torch.int32)[-1, 5] ^= 1

    layer.moe_mlir.unpermute_tokens_in_expert_order = run
    # Few blocks and grids: the interpreter takes its time.
    every = layer.configurations
    layer.configurations = lambda case: every(case)[::5]
    chosen = [layer.Case(kind, tokens, 4, 2, 2, H, 32) for kind, tokens, H in (
        ("permutation", 3, 64), ("permutation", WRONG_ROWS, 64),
        # One that cannot run must not keep the others from it.
        ("permutation", 4, 1 << 21), ("layer", 3, 64), ("mxfp8", 2, 64))]
    layer.all_cases = lambda: chosen
    assert run_main(layer, "--json", str(json_file), "--replays", "15") is True


def rehearse_host_cost(json_file: Path) -> None:
    host_cost.M, host_cost.K, host_cost.CALLS, host_cost.ROUNDS = 4, 64, 2, 3
    # Its fresh processes need the interpreter prepared too: main() sees their argument.
    host_cost.__file__ = __file__
    assert run_main(host_cost, "--device", "cpu", "--json", str(json_file)) is None
    host_cost.build_loops = lambda folder: None
    calls, how = host_cost.c_calls("cpu")
    assert "ctypes" in how and len(calls) == 2
    assert all(isinstance(call(3), float) for call in calls.values())


def main() -> None:
    prepare_interpreter()
    if sys.argv[1] == "--first-call":
        host_cost.main()
        return
    mode, json_file = sys.argv[1], Path(sys.argv[2])
    gpu.require_gpu = lambda program: None
    gpu.torch_ops.load_kernels = lambda: None
    rotation.find_card, rotation.GraphTimer = lambda: CARD, InventedTimer
    if mode == "variants":
        rehearse_variants(json_file)
    elif mode == "host_cost":
        rehearse_host_cost(json_file)
    elif mode == "swiglu":
        rehearse_swiglu(json_file)
    elif mode == "layer":
        rehearse_layer(json_file)
    else:
        rehearse_gpu(mode, json_file, *sys.argv[3:])


if __name__ == "__main__":
    main()
