# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random calls of the ops that bring tokens to experts and back, on tensors of a GPU or of the CPU,
byte for byte, and CUDA graphs of a layer's step, replayed with another routing each time.

    run_routing.py --device cuda --cases 3000 --replays 1000 --seed 1
    run_routing.py --device cuda --seed 1 --case 1234

As run_random.py, with the functions route_tokens, gather_tokens, gather_and_quantize_mxfp8 and
unpermute_tokens_in_expert_order of the package, and the C API with any number of CTAs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any

import many_cases
import moe_mlir
import torch
from many_cases import Outcome, captured, compare_new, tensors_of
from moe_testing import runtime
from routing_cases import STEP_ACTIVATION, STEPS, Case, make_case, make_step

ROUTING = ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets", "permutation_map",
           "inverse_map", "permuted_probs")
Tensors = dict[str, torch.Tensor]


def route(case: Case, tensors: Tensors) -> dict[str, Any]:
    """Into the arrays that have a place, all or none; the results by their names."""
    out = None
    if "inclusive_offsets" in tensors:
        out = moe_mlir.Routing(*map(tensors.get, ROUTING), None)
    found = moe_mlir.route_tokens(
        tensors["routing_map"], case.arguments["num_local_experts"], case.arguments["first_expert"],
        tensors["valid_tokens"], tensors.get("probs"), case.arguments["alignment"],
        num_rows=case.arguments["num_rows"], out=out,
        programmatic_launch=case.programmatic_launch)
    return {name: getattr(found, name) for name in (*ROUTING, "n_used")}


def permute(case: Case, tensors: Tensors) -> dict[str, Any]:
    operands = tensors["x"], tensors["permutation_map"], tensors["n_used"]
    hints = {"expected_rows": case.expected_rows, "programmatic_launch": case.programmatic_launch}
    if case.op == "permute_tokens":
        return {"out": moe_mlir.gather_tokens(*operands, out=tensors.get("out"), **hints)}
    out = (tensors["data"], tensors["scale"]) if "data" in tensors else None
    found = moe_mlir.gather_and_quantize_mxfp8(*operands, out=out, **hints, **case.arguments)
    return {"data": found.data, "scale": found.scale}


def unpermute(case: Case, tensors: Tensors) -> dict[str, Any]:
    return {"out": moe_mlir.unpermute_tokens_in_expert_order(
        tensors["y"], tensors["inverse_map"], tensors["valid_tokens"], tensors.get("out"),
        probs=tensors.get("probs"), programmatic_launch=case.programmatic_launch)}


def take_step(case: Case, tensors: Tensors) -> dict[str, Any]:
    """All kernels of a layer, whose GEMMs are an activation."""
    n_used = route(case, tensors)["n_used"]
    rows, hints = tensors["permutation_map"], {"programmatic_launch": case.programmatic_launch}
    moe_mlir.gather_tokens(tensors["x"], rows, n_used, out=tensors["permuted"], **hints)
    getattr(moe_mlir, STEP_ACTIVATION)(tensors["permuted"], rows, n_used, out=tensors["activated"],
                                       **hints)
    moe_mlir.unpermute_tokens_in_expert_order(
        tensors["activated"], tensors["inverse_map"], tensors["valid_tokens"], tensors["sums"],
        probs=tensors.get("permuted_probs"), **hints)
    return {}


def call_c_api(case: Case, tensors: Tensors) -> dict[str, Any]:
    """By numbers, with another number of CTAs or threads."""
    def matrix(name: str) -> Any:
        if name not in tensors:
            return None
        tensor = tensors[name]
        return ctypes.byref(runtime.Matrix(tensor.data_ptr(), *tensor.shape, tensor.stride(0)))

    def address(name: str) -> int | None:
        return tensors[name].data_ptr() if name in tensors else None

    is_cuda = next(iter(tensors.values())).is_cuda
    launch = ctypes.byref(runtime.Launch(
        runtime.CUDA if is_cuda else runtime.CPU,
        runtime.PROGRAMMATIC_LAUNCH if case.programmatic_launch else 0,
        torch.cuda.current_stream().cuda_stream if is_cuda else None, None, case.ctas, case.threads,
        case.expected_rows or 0))
    library, arguments = runtime.library, case.arguments
    if case.op == "route_tokens":
        rows = runtime.Vector(address("permutation_map"), arguments["num_rows"])
        status = library.moeRouteTokens(
            launch, matrix("routing_map"), int(tensors["routing_map"].dtype == torch.int64),
            address("valid_tokens"), matrix("probs"), arguments["first_expert"],
            arguments["alignment"], *map(address, ROUTING[:3]), ctypes.byref(rows),
            matrix("inverse_map"), address("permuted_probs"))
    elif case.op == "unpermute_tokens":
        status = library.moeUnpermuteTokens(
            launch, matrix("y"), matrix("inverse_map"), address("valid_tokens"), address("probs"),
            matrix("out"))
    elif case.op == "permute_tokens":
        status = library.moePermuteTokens(launch, matrix("x"), address("permutation_map"),
                                          address("n_used"), matrix("out"))
    else:
        scale, is_linear = tensors["scale"], arguments["scale_layout"] == "linear"
        size, stride = scale.numel(), 0
        if is_linear and scale.numel():
            stride = scale.stride(0)
            size = (scale.shape[0] - 1) * stride + scale.shape[1]
        scales = runtime.Scale(
            scale.data_ptr(), size, stride, runtime.LINEAR if is_linear else runtime.SWIZZLED,
            runtime.UNTOUCHED if arguments["dead_scales"] == "untouched" else runtime.ZERO)
        status = library.moePermuteQuantizeMXFP8(
            launch, matrix("x"), address("permutation_map"), address("n_used"), matrix("data"),
            ctypes.byref(scales))
    runtime.check(status)
    return {}


CALLS: dict[str, Callable[[Case, Tensors], dict[str, Any]]] = {
    "route_tokens": route, "permute_tokens": permute, "permute_quantize_mxfp8": permute,
    "unpermute_tokens": unpermute, "a layer's step": take_step}


def run_case(case: Case, device: str, replays: int = 1) -> None:
    """Raises AssertionError for a byte that is wrong."""
    memory = torch.zeros(case.layout.nbytes, dtype=torch.uint8, device=device)
    tensors, call = tensors_of(memory, case.layout), CALLS[case.op]
    if case.form == "c":
        call = call_c_api

    def launch() -> dict[str, Any]:
        return call(case, tensors)

    if case.form == "graph" and memory.is_cuda:
        launch = captured(launch)
    for _ in range(replays):
        before = case.inputs()
        after = before if case.form == "new" else case.after(before)
        memory.copy_(torch.from_numpy(before))
        results = launch()
        case.layout.compare(memory.cpu().numpy(), after)
        if case.form != "new":
            continue
        wanted, others = (case.new_results(before, fill) for fill in (0x00, 0xFF))
        for name, array in wanted.items():
            compare_new(name, results[name], array, others[name])


def run_cases(seed: int, device: str, numbers: Iterable[int], most_tokens: int = 600) -> Outcome:
    """Those with these numbers."""
    def run(case: Case, outcome: Outcome) -> None:
        run_case(case, device)
        outcome.launched[case.op] += 1

    return many_cases.run_cases(numbers, f"run_routing.py --device {device} --seed {seed}",
                                lambda number: make_case(seed, number, most_tokens), run)


def run_steps(seed: int, device: str, replays: int) -> Outcome:
    """As many steps of each layer, on a GPU the replays of one graph."""
    def run(case: Case, outcome: Outcome) -> None:
        run_case(case, device, replays)
        outcome.launched[case.op] += replays

    outcome = many_cases.run_cases(
        range(len(STEPS)), f"run_routing.py --device {device} --seed {seed} --replays {replays} "
        "--cases 0: of layers,", lambda number: make_step(seed, STEPS[number]), run)
    for failure in outcome.failures:
        print(failure, flush=True)
    return outcome


def main() -> None:
    parser = many_cases.make_parser(__doc__, 3000)
    parser.add_argument("--replays", type=int, default=1000, help="of each of three graphs")
    options = parser.parse_args()
    many_cases.run_program(options, run_cases, lambda: run_steps(options.seed, options.device,
                                                                 options.replays))


if __name__ == "__main__":
    main()
