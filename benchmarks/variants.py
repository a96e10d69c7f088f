# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares schedules of the same kernels, and grids, in one process on a GPU.

Where the compiler is:      variants.py prepare FOLDER [--label NAME]
Where the GPU is:           variants.py run FOLDER [--case TEXT] [--json FILE]

The first compiles the kernels under different schedules and writes PTX into a folder;
run again after a change, with another label, it adds to what is there. The second needs the folder
and what gpu.py needs, and times every build under 1, 2, 4 and 8 CTAs for each SM, next to the
library's own kernels and grid ("library"), after comparing the bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cases
import gpu
import results

if gpu.MISSING is None:
    import rotation
    import torch

CTAS_PER_SM = (1, 2, 4, 8)


@dataclass(frozen=True)
class Build:
    """How a kernel is compiled: for `columns` (any if None), with options of the pipeline beside
    those of the kernels that ship, and with fields of `#moe.schedule` in the place of those that
    the compiler chooses for rows that are aligned: of the activation, and of the quantising op.
    An op for which a field is None is left out.
    """

    name: str
    columns: int | None = None
    options: Mapping[str, int] = field(default_factory=dict)
    activation: Mapping[str, object] | None = field(default_factory=dict)
    quantize: Mapping[str, object] | None = field(default_factory=dict)


BUILDS = (
    Build("O3"),
    Build("O0", options={"O": 0}),
    Build("128 threads", options={"threads_per_cta": 128}),
    Build("512 threads", options={"threads_per_cta": 512}),
    Build("K 1856", columns=1856),
    Build("2 steps", activation={"steps": 2}, quantize=None),
    Build("8 steps", activation={"steps": 8}, quantize=None),
    Build("not early", activation={"early_bytes": 0}, quantize=None),
    Build("early by halves", activation={"early_steps": 2}, quantize=None),
    Build("single rows", activation=None, quantize={"rows": "single", "clear_bytes": 1}),
    Build("any registers", activation={"min_ctas": 1}, quantize={"min_ctas": 1}),
    Build("twice the CTAs", activation={"min_ctas": 8}, quantize={"min_ctas": 8}),
)
# The last schedule of every kernel.
ELEMENTS = "#moe.schedule<access_bytes = 2, steps = 2>"
# The ops' names in the dialect.
DIALECT_OPS = {"activation": "padded_squared_relu", "quantize": "squared_relu_quantize_mxfp8"}
MANIFEST = "variants.json"


def chosen_cases() -> list[cases.Case]:
    """Small and large, dense and routed."""
    return [case for op in cases.OPS for case in (
        cases.Case(op, "dense", 1856, 128), cases.Case(op, "dense", 1856, 8192),
        cases.Case(op, "dense", 1856, 65536), cases.Case(op, "dense", 14336, 128),
        cases.Case(op, "dense", 7168, 1024), cases.routed_case(op, "routed", 64, 1856),
        cases.routed_case(op, "routed", 512, 1856),
        cases.routed_case(op, "routed", 64, 1856, cases.CAPACITY_TOKENS))]


def chosen_schedule(kernel: Any, chip: str) -> dict[str, object]:
    """The fields of the schedule that the compiler chooses for aligned rows."""
    from moe_testing.kernels import run_tool

    text = run_tool("moe-opt", f"--moe-choose-schedule=chip={chip}", text=kernel.mlir())
    match = re.search(r"#moe\.schedule<(.*?)>", text)
    assert match, text
    return dict(re.findall(r"(\w+) = (\w+)", match[1]))


def prepare(folder: Path, label: str, chip: str) -> None:
    cases.require_packages("variants.py")
    from moe_testing.kernels import Kernel

    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    entries = json.loads(manifest.read_text()) if manifest.exists() else []
    for build in BUILDS:
        for op, dialect_op in DIALECT_OPS.items():
            changes: Mapping[str, object] | None = getattr(build, op)
            if changes is None:
                continue
            title = f"{label} {build.name}".strip()
            file = f"{title} {op}.ptx".replace(" ", "-")
            kernel = Kernel(dialect_op, build.columns, strided=build.columns is None)
            if changes:
                fields = {**chosen_schedule(kernel, chip), **changes}
                text = ", ".join(f"{name} = {value}" for name, value in fields.items())
                kernel = replace(kernel, schedule=f"#moe.schedule<{text}>, {ELEMENTS}")
            ptx = kernel.ptx(chip, **{"O": 3, **build.options})
            (folder / file).write_text(ptx)
            entries = [e for e in entries if e["file"] != file]
            entries.append({"name": title, "op": op, "columns": build.columns, "file": file})
    manifest.write_text(json.dumps(entries, indent=1) + "\n")
    print(f"{len(entries)} PTX files in {folder}")


def load(path: Path) -> int:
    """The handle of the kernels in a PTX file."""
    from moe_testing import runtime

    return runtime.load_module(path.read_bytes() + b"\0")


def launch(op: str, operands: Any, outputs: Any, module: int, num_ctas: int) -> None:
    from moe_testing import runtime

    x, permutation_map, n_used = operands
    out, scale = outputs if op == "quantize" else (outputs, None)
    runtime.Call(
        DIALECT_OPS[op], *x.shape, x=x.data_ptr(), permutation_map=permutation_map.data_ptr(),
        n_used=n_used.data_ptr(), out=out.data_ptr(),
        scale=None if scale is None else scale.data_ptr(), device=runtime.CUDA,
        stream=torch.cuda.current_stream().cuda_stream, module=module, num_ctas=num_ctas).run()


def run_case(case: cases.Case, modules: Mapping[str, int], card: rotation.Card,
             pools: rotation.Pools, timer: Any, replays: int) -> dict[str, Any]:
    """Times of each build and grid; a build that writes other bytes has an error instead."""
    workload = rotation.Workload(case, pools, 2 * card.l2_bytes)
    wanted = gpu.check_set(workload, 0)
    sets, peers, titles = workload.sets, {}, []
    launches = {"library": lambda index: gpu.run_moe(
        case.op, workload.operands[index % sets], workload.outputs[index % sets])}
    for name, module in modules.items():
        for ctas in CTAS_PER_SM:
            def run(index: int, module: int = module, num_ctas: int = ctas * card.sms) -> None:
                launch(case.op, workload.operands[index % sets], workload.outputs[index % sets],
                       module, num_ctas)

            title = f"{name}, {ctas} a SM"
            titles.append(title)
            raw = workload.raw_outputs(0)
            for buffer in raw:
                buffer.fill_(gpu.POISON)
            try:
                run(0)
                for found, want in zip(raw, wanted):
                    gpu.compare(title, found, want)
                launches[title] = run
            except gpu.BytesDiffer as error:
                peers[title] = {"error": str(error)}
    times = rotation.time_launches(timer, launches, sets, replays)
    peers.update({name: results.summarize(values) for name, values in times.items()})
    ordered = {name: peers[name] for name in ["library", *titles]}
    return {**case.describe(), "sets": sets, "peers": ordered}


def print_result(result: dict[str, Any]) -> None:
    """Builds by grids: microseconds, and the fastest."""
    peers = result["peers"]
    times = {name: entry["us"] for name, entry in peers.items() if "us" in entry}
    library = times["library"]
    fastest = min(times, key=times.__getitem__)
    print(f"{result['name']}: library {library:.2f} us "
          f"({peers['library']['p10']:.2f}-{peers['library']['p90']:.2f}), fastest {fastest} "
          f"{times[fastest]:.2f} us ({library / times[fastest]:.3f} times)")
    for name in dict.fromkeys(name.rpartition(", ")[0] for name in peers if name != "library"):
        entries = [peers[f"{name}, {ctas} a SM"] for ctas in CTAS_PER_SM]
        row = " ".join(f"{entry['us']:8.2f}" if "us" in entry else f"{'DIFFERS':>8}"
                       for entry in entries)
        print(f"    {name:28}{row}", flush=True)


def run_all(chosen: Sequence[cases.Case], folder: Path, card: rotation.Card, timer: Any, *,
            replays: int = 15, time_limit: float = 540, json_file: Path | None = None,
            pool_bytes: int = gpu.POOL_BYTES) -> list[dict[str, Any]]:
    start = time.monotonic()
    entries = json.loads((folder / MANIFEST).read_text())
    modules = {entry["file"]: load(folder / entry["file"]) for entry in entries}
    pools = rotation.Pools(card.device, min(pool_bytes, card.free_bytes // 5), gpu.SEED)
    print(f"{card.name}, {len(entries)} PTX files; CTAs for each SM: "
          f"{', '.join(map(str, CTAS_PER_SM))}", flush=True)
    found = []
    for case in chosen:
        if time.monotonic() - start > time_limit:
            print(f"not run: {case.name}")
            continue
        usable = {entry["name"]: modules[entry["file"]] for entry in entries
                  if entry["op"] == case.op and entry["columns"] in (None, case.K)}
        found.append(run_case(case, usable, card, pools, timer, replays))
        print_result(found[-1])
        if json_file:
            results.save(json_file, {"device": card.name, "results": found})
        timer.release()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["prepare", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--label", default="", help="prepare: put before the builds' names")
    parser.add_argument("--chip", default="sm_90", help="prepare: the GPU")
    parser.add_argument("--case", action="append", default=[], metavar="TEXT",
                        help="run: cases with TEXT in their names")
    parser.add_argument("--time-limit", type=float, default=540, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.action == "prepare":
        prepare(options.folder, options.label, options.chip)
        return
    gpu.require_gpu("variants.py")
    with torch.no_grad():
        gpu.torch_ops.load_kernels()
        chosen = [case for case in chosen_cases()
                  if all(text in case.name for text in options.case)]
        run_all(chosen, options.folder, rotation.find_card(), rotation.GraphTimer(),
                time_limit=options.time_limit, json_file=options.json)


if __name__ == "__main__":
    main()
