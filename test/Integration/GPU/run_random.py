# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random calls of the activations that ship, on tensors of a GPU or of the CPU, byte for byte.

    run_random.py --device cuda --cases 5000 --seed 1
    run_random.py --device cuda --seed 1 --case 1234

Each call is one of the package or of the C API, with operands anywhere in a piece of memory of which
all bytes are compared after it: results, inputs, what is between rows and around operands. A call
for which no kernel ships must be refused, with nothing written, and does not count. What fails is
printed with the command that repeats it alone. It needs PyTorch 2.7, numpy, ml_dtypes and
libmoe_runtime.so, where MOE_RUNTIME_LIBRARY says if it is not in build/lib.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import many_cases
import moe_mlir
import torch
from many_cases import Outcome, captured, compare_new, tensors_of
from moe_mlir._op_table import OPS
from moe_testing import runtime
from random_cases import Case, make_case

NAMES = {op.dialect: op.name for op in OPS}
OPTIONS = {op.dialect: {option.name for option in op.options} for op in OPS}
# Of every so many calls one is with settings for which there may be no kernel.
OTHER_SETTINGS = 12


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


def run_case(case: Case, device: str) -> bool:
    """Whether there is a kernel for it. Raises AssertionError for a byte that is wrong."""
    memory = torch.zeros(case.layout.nbytes, dtype=torch.uint8, device=device)
    launch = make_call(case, tensors_of(memory, case.layout))
    if case.form == "graph" and memory.is_cuda:
        launch = captured(launch)
    for n_used in case.n_used:
        before = case.inputs(n_used)
        after = before if case.form == "new" else case.after(before)
        memory.copy_(torch.from_numpy(before))
        try:
            result = launch()
        except (moe_mlir.MoeRuntimeError, runtime.MoeError, ValueError) as error:
            status = getattr(error, "status", "INVALID_ARGUMENT")
            # Without a map, where there are kernels with one alone: it is what is missing.
            is_refusal = status in ("UNSUPPORTED", runtime.UNSUPPORTED) or (
                not case.ships and "permutation_map: expected a buffer" in str(error))
            if not is_refusal:
                raise RuntimeError(f"status {status}: {error}") from error
            case.layout.compare(memory.cpu().numpy(), before)
            return False
        case.layout.compare(memory.cpu().numpy(), after)
        if case.form == "new":
            found = tuple(result) if case.kernel.quantizes else (result,)
            wanted = (case.expected(before, case.outputs(fill)) for fill in (0x00, 0xFF))
            for parts in zip(case.kernel.map.names(), found, *wanted):
                compare_new(*parts)
    return True


def run_cases(seed: int, device: str, numbers: Iterable[int],
              most_elements: int = 1_000_000) -> Outcome:
    """Those with these numbers."""

    def make(number: int) -> Case:
        return make_case(seed, number, has_graphs=device == "cuda",
                         has_ships=number % OTHER_SETTINGS != 0, most_elements=most_elements)

    def run(case: Case, outcome: Outcome) -> None:
        if run_case(case, device):
            outcome.launched[case.kernel.op] += case.steps
        elif case.ships:
            raise AssertionError("refused, though its kernel ships")
        else:
            outcome.refused += 1

    command = f"run_random.py --device {device} --seed {seed}"
    return many_cases.run_cases(numbers, command, make, run)


def main() -> None:
    many_cases.run_program(many_cases.make_parser(__doc__, 5000).parse_args(), run_cases)


if __name__ == "__main__":
    main()
