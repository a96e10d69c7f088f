# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measures the ops on a GPU, next to Triton, PyTorch and the device's own copy.

    benchmarks/gpu.py [--quick] [--op OP] [--case TEXT] [--old LIBRARY] [--json FILE]
    benchmarks/gpu.py --num-ctas-per-sm 1,2,3,4,6,8 [--case TEXT] [--old LIBRARY]

Needs a CUDA GPU, PyTorch 2.7 or later with Triton, numpy and ml_dtypes; of this project the
runtime library and the sources, no compiler.

Peers, all in one process and taking turns, all writing into the same results: "moe" is this
project; "moe-old" another build of its library (--old); "reference" writes the same bytes with the
structure, the grid and the blocks of Megatron-Core's kernels (triton_peer.py), "triton" with the
best of several grids, blocks and warps; "compile" is what torch.compile makes of the plain formula
on every row of the capacity, where most of them are live; "copy" is a cudaMemcpyAsync that moves as
many bytes as the op must; "empty" is a kernel that does nothing. "moe-untouched" quantizes with
dead_scales="untouched", "moe-activation" is the activation on the operands of the quantizing case;
"moe-hint" is told the case's live rows as expected_rows (--expected-rows).

With --num-ctas-per-sm, "moe" and "moe-old" alone, and "moe" with so many CTAs for each SM.

Times are those of a launch in a CUDA graph of many, on operands that rotate over twice the L2
cache: the median of the replays, and the 10th and the 90th percentile. Before a case is timed its
bytes are checked: all of the buffers of "moe" against "reference", sampled rows (all rows of small
cases) against the oracle, and that rows that are not live keep what they held. All bf16 patterns
go through both, too, against the oracle.

SwiGLU is measured where the library has it. Its peers compute exp and the quotient in their own
ways: their bytes are near ours (ulps.py), ours are those of the oracle.

Every case is printed when it is done and saved to the JSON file, so a run that is stopped loses
nothing. At the end come the gates: PASS or MISS, the worst case and the mean.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cases
import results

START = time.monotonic()
# Before PyTorch is imported: starting a pool of compilers takes longer than the few compilations.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

try:
    import library
    import moe_mlir
    import rotation
    import torch
    import torch_peer
    import triton
    import triton_peer
    import ulps
    from moe_mlir import torch_ops
except ImportError as missing:
    MISSING: ImportError | None = missing
else:
    MISSING = None

POISON = 0x5A
SEED = 1
POOL_BYTES = 8 << 30
# Up to so many elements the oracle checks every row, else so many rows.
ORACLE_ELEMENTS, ORACLE_ROWS = 1 << 22, 64


class BytesDiffer(Exception):
    """A result that is not what the definition says."""


# ===-------------------------------------------------------------------------------------------===
# Peers
# ===-------------------------------------------------------------------------------------------===


def run_moe(op: str, operands: Any, outputs: Any, dead_scales: str = "zero",
            expected_rows: int | None = None) -> None:
    modes = {"dead_scales": dead_scales} if isinstance(outputs, tuple) else {}
    getattr(moe_mlir, cases.ALL_OPS[op])(*operands, out=outputs, expected_rows=expected_rows,
                                         **modes)


def run_triton(op: str, operands: Any, outputs: Any, config: Any = None) -> None:
    if isinstance(outputs, tuple):
        outputs = outputs[0], outputs[1].view(torch.uint8)
    getattr(triton_peer, cases.ALL_OPS[op])(*operands, out=outputs, config=config)


# ===-------------------------------------------------------------------------------------------===
# Checks
# ===-------------------------------------------------------------------------------------------===


def compare(what: str, found: torch.Tensor, wanted: torch.Tensor) -> None:
    if not torch.equal(found, wanted):
        count = int(torch.count_nonzero(found != wanted))
        raise BytesDiffer(f"{what}: {count} of {wanted.numel()} bytes differ")


def compare_parts(case: cases.Case, what: str, found: Sequence[torch.Tensor],
                  wanted: Sequence[torch.Tensor]) -> None:
    """Of rows that are live: bytes of out, or of data and linear scales; those of SwiGLU may be
    near one another.
    """
    if case.op not in cases.SWIGLU_OPS:
        for name, a, b in zip(output_names(case), found, wanted):
            compare(f"{name}, {what}", a, b)
        return
    if case.quantizes:
        trouble = ulps.mxfp8_trouble((found[0], found[1]), (wanted[0], wanted[1]))
    else:
        trouble = ulps.bf16_trouble(found[0].view(torch.bfloat16), wanted[0].view(torch.bfloat16))
    if trouble is not None:
        raise BytesDiffer(f"{what}: {trouble}")


def output_names(case: cases.Case) -> list[str]:
    return ["data", "scale"] if case.quantizes else ["out"]


def oracle_function(op: str) -> Callable[..., Any]:
    """The results as a list."""
    from moe_testing import oracle

    function = getattr(oracle, cases.ALL_OPS[op].replace("_and_", "_"))

    def run(*arguments: Any, **settings: Any) -> list[Any]:
        found = function(*arguments, **settings)
        return list(found) if isinstance(found, tuple) else [found]

    return run


def oracle_rows(case: cases.Case, x: torch.Tensor) -> list[torch.Tensor]:
    """What the oracle makes of rows of x, all live: bytes of out, or of data and linear scales."""
    import ml_dtypes
    import numpy as np
    from moe_testing import oracle

    rows, K = x.shape[0], case.K
    values = x.cpu().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    operands = (values, np.zeros(rows, np.int32), rows)
    form = oracle.MXFP8(oracle.LINEAR) if case.quantizes else oracle.BF16()
    outs = [np.zeros(shape, dtype) for shape, dtype in form.destinations(rows, K)]
    layout = {"scale_layout": oracle.LINEAR} if case.quantizes else {}
    wanted = oracle_function(case.op)(*operands, *outs, **layout)
    return [torch.from_numpy(np.ascontiguousarray(array).view(np.uint8)) for array in wanted]


def scale_offsets(rows: torch.Tensor, K: int, groups: int) -> torch.Tensor:
    """[rows, groups] offsets into swizzled scales."""
    r, g = rows[:, None], torch.arange(groups, device=rows.device)[None, :]
    tile = (r // 128) * -(-K // 128) + g // 4
    return tile * 512 + (r % 32) * 16 + (r % 128) // 32 * 4 + g % 4


def check_set(workload: rotation.Workload, index: int) -> list[torch.Tensor]:
    """Raises BytesDiffer unless "moe" and "reference" write what they should; returns that."""
    case = workload.case
    operands, outputs = workload.operands[index], workload.outputs[index]

    def run(peer: Callable[..., None], **settings: Any) -> list[torch.Tensor]:
        buffers = workload.raw_outputs(index)
        for buffer in buffers:
            buffer.fill_(POISON)
        peer(case.op, operands, outputs, **settings)
        return [buffer.clone() for buffer in buffers]

    names, groups = output_names(case), case.K // 32
    wanted, found = run(run_triton), run(run_moe)
    x, permutation_map, n_used = operands
    live = (torch.arange(case.M, device=x.device) < n_used) & (permutation_map >= 0)

    def live_parts(buffers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        every = live.nonzero().flatten()
        return [buffers[0][every],
                *(scale[scale_offsets(every, case.K, groups)] for scale in buffers[1:])]

    if case.op in cases.SWIGLU_OPS:
        compare_parts(case, "moe next to reference", live_parts(found), live_parts(wanted))
    else:
        for name, a, b in zip(names, found, wanted):
            compare(f"{name}, moe next to reference", a, b)
    dead = found[0][~live]
    compare(f"{names[0]}, rows that are not live", dead, torch.full_like(dead, POISON))

    rows = live.nonzero().flatten()
    if case.M * case.K > ORACLE_ELEMENTS and rows.numel() > ORACLE_ROWS:
        generator = torch.Generator().manual_seed(SEED)
        order = torch.randperm(rows.numel(), generator=generator)[: ORACLE_ROWS - 2]
        ends = torch.tensor([0, rows.numel() - 1])
        rows = rows[torch.cat([ends, order]).to(rows.device)]
    sampled = [found[0][rows]]
    if case.quantizes:
        sampled.append(found[1][scale_offsets(rows, case.K, groups)])
    for name, a, b in zip(names, sampled, oracle_rows(case, x[rows])):
        compare(f"{name} of {rows.numel()} rows next to the oracle", a.cpu(), b)

    if case.quantizes:
        # No group of x is all zeros, so no scale of a live row is 0, and all others are.
        count = int(torch.count_nonzero(found[1]))
        if count != workload.live * groups:
            raise BytesDiffer(f"scale: {count} bytes are not 0, expected {workload.live * groups}")
        offsets = scale_offsets(live.nonzero().flatten(), case.K, -(-groups // 4) * 4)
        untouched = torch.full_like(found[1], POISON)
        untouched[offsets] = found[1][offsets]
        for name, a, b in zip(names, run(run_moe, dead_scales="untouched"), [found[0], untouched]):
            compare(f"{name}, dead_scales untouched", a, b)
    return found


def check_compiled(workload: rotation.Workload, launch: rotation.Launch) -> str | None:
    """What is wrong with the live rows of "compile", None if nothing is. Raises where it compiles
    anew for other operands of the same shapes.
    """
    launch(0)
    for index in sorted({0, workload.sets - 1}):
        case = workload.case
        x, permutation_map, n_used = workload.operands[index]
        live = (torch.arange(x.shape[0], device=x.device) < n_used) & (permutation_map >= 0)
        rows = live.nonzero().flatten()
        parts = (live, scale_offsets(rows, case.K, case.K // 32))
        buffers = workload.raw_outputs(index)
        run_moe(case.op, workload.operands[index], workload.outputs[index])
        wanted = [buffer[part].clone() for buffer, part in zip(buffers, parts)]
        for buffer in buffers:
            buffer.fill_(POISON)
        with torch._dynamo.config.patch(error_on_recompile=True):
            launch(index)
        try:
            compare_parts(case, "live rows", [buffer[part] for buffer, part in zip(buffers, parts)],
                          wanted)
        except BytesDiffer as error:
            return str(error)
    return None


def contract_batches(op: str) -> dict[str, Any]:
    import numpy as np
    from moe_testing import batches, gated_batches

    if op in cases.SWIGLU_OPS:
        special = [part.reshape(-1, 64) for part in gated_batches.special_groups()]
        return {"all gates": gated_batches.dense(*gated_batches.all_gates(2048, rounds=8)),
                "all results": gated_batches.dense(*gated_batches.all_results(2048)),
                "special groups": gated_batches.dense(*special),
                "random": gated_batches.random_gated_batch(300, 160, 250)}
    patterns = batches.all_bf16_patterns(2048)
    rows = patterns.shape[0]
    return {"all bf16 patterns": batches.Batch(patterns, np.arange(rows), rows),
            "routed 4": batches.routed_batch(4)}


def check_contract(device: str, ops: Sequence[str]) -> list[dict[str, str]]:
    """Both implementations of `ops` on whole batches against the oracle; the failures. Of SwiGLU
    that is ours alone: how near Triton's is is a question of ordinary values.
    """
    import numpy as np
    from moe_testing import oracle

    def upload(array: np.ndarray, dtype: Any) -> torch.Tensor:
        raw = np.array(array).view(np.uint8).reshape(*array.shape, -1)
        tensor = torch.from_numpy(raw).to(device)
        return tensor.view(dtype).view(array.shape)

    failed = []
    torch_types = {np.dtype(oracle.bfloat16): torch.bfloat16,
                   np.dtype(oracle.float8_e4m3fn): torch.float8_e4m3fn,
                   np.dtype(oracle.float8_e8m0fnu): torch.float8_e8m0fnu}
    for op in ops:
        for name, batch in contract_batches(op).items():
            case = cases.Case(op, "dense", batch.x.shape[1] // (1 + (op in cases.SWIGLU_OPS)),
                              batch.M)
            operands = (upload(batch.x, torch.bfloat16), upload(batch.permutation_map, torch.int32),
                        torch.tensor(int(batch.n_used), dtype=torch.int32, device=device))
            form = oracle.MXFP8() if case.quantizes else oracle.BF16()
            before = [np.full(np.prod(shape) * dtype.itemsize, POISON, np.uint8).view(dtype)
                      .reshape(shape) for shape, dtype in form.destinations(case.M, case.K)]
            wanted = oracle_function(op)(batch.x, batch.permutation_map, batch.n_used, *before)
            for peer, run in (("moe", run_moe), ("triton", run_triton)):
                if peer == "triton" and op in cases.SWIGLU_OPS:
                    continue
                outputs = [upload(array, torch_types[array.dtype]) for array in before]
                label = f"{peer} {op} {name}"
                try:
                    run(op, operands, tuple(outputs) if case.quantizes else outputs[0])
                    for found, array in zip(outputs, wanted):
                        compare(label, found.view(torch.uint8).flatten().cpu(),
                                torch.from_numpy(np.array(array).view(np.uint8).reshape(-1)))
                except BytesDiffer as error:
                    failed.append({"name": label, "error": str(error)})
                    print(f"FAILED {error}", flush=True)
    return failed


# ===-------------------------------------------------------------------------------------------===
# Runs
# ===-------------------------------------------------------------------------------------------===


@dataclass(frozen=True)
class Peers:
    """The peers that take more than this project and Triton. grids: numbers of CTAs for each SM
    with which "moe" is timed too, instead of all others. hint: whether "moe-hint" is one of them.
    """

    compiled: Any | None = None
    old: Any | None = None
    own: Any | None = None
    grids: tuple[float, ...] = ()
    hint: bool = False

    def compiles(self, case: cases.Case) -> bool:
        """Where every row is live, and where most are: it computes them all."""
        return (self.compiled is not None and case.alignment == 128 and case.kind != "capacity"
                and 2 * cases.live_rows(case) >= case.M)


def case_launches(workload: rotation.Workload, pools: rotation.Pools, peers: Peers,
                  sms: int) -> dict[str, rotation.Launch]:
    """What is timed. The first launch that is "triton ..." is that of the reference."""
    case, sets = workload.case, workload.sets

    def bind(run: Callable[..., None], op: str = case.op,
             outputs: Sequence[Any] = workload.outputs, **settings: Any) -> rotation.Launch:
        return lambda index: run(op, workload.operands[index % sets], outputs[index % sets],
                                 **settings)

    launches = {"moe": bind(run_moe)}
    if peers.old is not None and case.op in cases.OPS:
        launches["moe-old"] = bind(peers.old.run)
    if peers.hint:
        launches["moe-hint"] = bind(run_moe, expected_rows=workload.live)
    if peers.grids:
        for ctas in peers.grids:
            launches[results.grid_name(ctas)] = bind(peers.own.run,
                                                     num_ctas=max(1, round(ctas * sms)))
        return launches
    for config in triton_peer.candidates(cases.ALL_OPS[case.op], case.M, case.K):
        launches[f"triton {config}"] = bind(run_triton, config=config)
    if case.quantizes and case.kind != "dense":
        launches["moe-untouched"] = bind(run_moe, dead_scales="untouched")
    if case.quantizes and case.kind == "routed":
        # The same operands; the results lie as those of a case of the activation do.
        activation = "swiglu" if case.op in cases.SWIGLU_OPS else "activation"
        room = pools.out.numel() // 2
        size = case.M * case.K
        step = min(max(workload.n_used, 1), case.M) * case.K
        out = pools.out.view(torch.bfloat16)
        places = 1 + (room - size) // step
        activated = [out[i % places * step :][:size].view(case.M, case.K) for i in range(sets)]
        launches["moe-activation"] = bind(run_moe, activation, activated)
    if case.kind != "capacity":
        launches["copy"] = rotation.copy_launch(pools, cases.bytes_moved(case))
        launches["empty"] = lambda index: triton_peer.empty(pools.x)
    if peers.compiles(case):
        launches["compile"] = bind(peers.compiled.run)
    return launches


def warm_up(workload: rotation.Workload, launches: dict[str, rotation.Launch], timer: Any,
            wanted: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Runs each launch, which compiles or loads its kernels; what is to be said of the peers
    before they are timed. "compile", the old library, a given grid and "moe-hint" are taken out of
    `launches` where they do not work or write other bytes.
    """
    peers: dict[str, Any] = {}
    optional = [name for name in launches if name in ("compile", "moe-old", "moe-hint")
                or name.startswith("moe ")]
    for name in list(launches):
        try:
            if name == "compile":
                difference = check_compiled(workload, launches[name])
                peers[name] = {"note": difference} if difference else {}
            elif name in optional:
                for buffer in workload.raw_outputs(0):
                    buffer.fill_(POISON)
                launches[name](0)
                for found, want in zip(workload.raw_outputs(0), wanted):
                    compare(name, found, want)
            else:
                launches[name](0)
            timer.synchronize()
        except Exception as error:
            if name not in optional:
                raise
            peers[name] = {"error": _one_line(error)}
            del launches[name]
    return peers


def run_case(case: cases.Case, pools: rotation.Pools, timer: Any, card: rotation.Card,
             rotate_bytes: int, replays: int, peers: Peers) -> results.Result:
    """Checks and times a case."""
    workload = rotation.Workload(case, pools, rotate_bytes)
    wanted = check_set(workload, 0)
    if workload.sets > 1 and case.kind != "capacity":
        check_set(workload, workload.sets - 1)
    launches = case_launches(workload, pools, peers, card.sms)
    order = list(launches)
    entries = warm_up(workload, launches, timer, wanted)
    del wanted

    tritons = [name for name in launches if name.startswith("triton ")]
    times = rotation.time_launches(timer, launches, workload.sets, replays, [tritons],
                                   keep=tritons[:1])
    summaries = {name: results.summarize(values) for name, values in times.items()}

    def entry(name: str) -> dict[str, Any]:
        """Of a launch that was timed. What a launch consists of is written where it may differ."""
        more = {"nodes": timer.nodes(launches[name])} if name == "compile" else {}
        return {**summaries[name], **more, **entries.get(name, {})}

    found: dict[str, Any] = {}
    for name in order:
        if name in tritons:
            if "triton" in found:
                continue
            best = min((other for other in summaries if other in tritons),
                       key=lambda other: summaries[other]["us"])
            for peer, chosen in (("triton", best), ("reference", name)):
                found[peer] = {**entry(chosen), "parameters": chosen.removeprefix("triton ")}
        else:
            found[name] = entry(name) if name in summaries else entries[name]
    return {**case.describe(), "n_used": workload.n_used, "sets": workload.sets, "peers": found}


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


def run_cases(chosen: Sequence[cases.Case], card: rotation.Card, timer: Any, *, replays: int = 21,
              rotate_bytes: int | None = None, pool_bytes: int = POOL_BYTES,
              time_limit: float = 540, json_file: Path | None = None,
              peers: Peers | None = None) -> dict[str, Any]:
    """Runs all of them, or those that the seconds of `time_limit` allow, counted from the start of
    the program; the document that is in the JSON file then.
    """
    peers = Peers() if peers is None else peers
    rotate_bytes = 2 * card.l2_bytes if rotate_bytes is None else rotate_bytes
    ops = [*cases.OPS, *dict.fromkeys(case.op for case in chosen if case.op not in cases.OPS)]
    planned = [case.describe() for case in cases.planned_cases(ops)]
    document: dict[str, Any] = {
        "device": card.name, "sms": card.sms, "l2_bytes": card.l2_bytes, **_versions(peers),
        "replays": replays, "rotate_bytes": rotate_bytes, "results": [], "failed": [],
        "not_run": [case.name for case in chosen], "gates": [], "seconds": 0.0,
    }

    def save() -> None:
        if not peers.grids:
            document["gates"] = results.verdicts_as_json(
                results.judge(document["results"], planned, document["failed"]))
        document["seconds"] = round(time.monotonic() - START, 1)
        if json_file:
            results.save(json_file, document)

    print(f"{card.name}, PyTorch {document['torch']}, Triton {document['triton']}, "
          f"{document['runtime']}", flush=True)
    if peers.old is not None:
        print(f"old: {document['old_runtime']}")
    pools = rotation.Pools(card.device, min(pool_bytes, card.free_bytes // 5), SEED)
    document["failed"] += check_contract(card.device, ops)
    print(f"start, operands and contract: {time.monotonic() - START:.1f} s")
    print(results.grids_header(list(peers.grids)) if peers.grids else results.table_header(),
          flush=True)
    longest = 0.0
    for case in chosen:
        begin = time.monotonic()
        if begin - START + longest > time_limit:
            break
        try:
            result = run_case(case, pools, timer, card, rotate_bytes, replays, peers)
            document["results"].append(result)
            print((results.grids_line if peers.grids else results.table_line)(result), flush=True)
        except Exception as error:
            document["failed"].append({"name": case.name, "error": _one_line(error)})
            print(f"FAILED {case.name}: {_one_line(error)}", flush=True)
        document["not_run"].remove(case.name)
        save()
        # A frame of a caught exception may hold tensors until here.
        gc.collect()
        try:
            timer.release()
        except Exception as error:
            print(f"the device is lost: {_one_line(error)}", flush=True)
            break
        longest = max(longest, time.monotonic() - begin)
    save()
    return document


def _versions(peers: Peers) -> dict[str, str]:
    own = Path(moe_mlir._runtime.path)
    versions = {"torch": torch.__version__, "cuda": str(torch.version.cuda),
                "triton": triton.__version__, "runtime": moe_mlir.runtime_description(),
                "runtime_sha256": hashlib.sha256(own.read_bytes()).hexdigest()}
    if peers.old is not None:
        versions.update(old_runtime=peers.old.description(), old_runtime_sha256=peers.old.sha256)
    return versions


def choose_cases(op: str | None, texts: Sequence[str], quick: bool) -> list[cases.Case]:
    """The cases of an op whose name has all of `texts` in it."""
    every = cases.quick_cases() if quick else [*cases.all_cases(), *cases.swiglu_cases()]
    return [case for case in every
            if op in (None, case.op) and all(text in case.name for text in texts)]


def parse_grids(text: str) -> tuple[float, ...]:
    grids = tuple(map(float, text.split(",")))
    if not all(0 < ctas < float("inf") for ctas in grids):
        raise argparse.ArgumentTypeError(f"expected numbers above 0, found {text}")
    return grids


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small cases")
    parser.add_argument("--op", choices=list(cases.ALL_OPS))
    parser.add_argument("--case", action="append", default=[], metavar="TEXT",
                        help="cases with TEXT in their names; of several, with all of them")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--time-limit", type=float, default=540, metavar="SECONDS",
                        help="of the whole program; what did not fit is listed (540)")
    parser.add_argument("--replays", type=int, default=21, help="of each graph (21)")
    parser.add_argument("--rotate-mb", type=int, metavar="MB",
                        help="what the operands rotate over; 0 for one set, in the cache as far "
                             "as it fits; twice the L2 cache unless given")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--old", type=Path, metavar="LIBRARY",
                        help="another build of libmoe_runtime.so, to measure beside this one")
    parser.add_argument("--num-ctas-per-sm", type=parse_grids, default=(), metavar="N,N,...",
                        help="time these grids, instead of the peers")
    parser.add_argument("--expected-rows", action="store_true",
                        help='time "moe-hint" too, which is told how many rows are live')
    parser.add_argument("--json", type=Path, default=cases.ROOT / "build" / "gpu.json",
                        metavar="FILE", help="(build/gpu.json)")
    return parser.parse_args(arguments)


def report(document: dict[str, Any]) -> None:
    """The end of the output: what was not run, what failed, the gates."""
    for title, names in (("not run", document["not_run"]),
                         ("failed", [f"{f['name']} ({f['error']})" for f in document["failed"]])):
        if names:
            print(f"{len(names)} {title}: {'; '.join(names)}")
    for verdict in document["gates"]:
        print(results.Verdict(**verdict).line())


def require_gpu(program: str) -> None:
    """Leaves the program, with a line that says why, where it cannot run."""
    cases.require_packages(program)
    if MISSING is not None:
        sys.exit(f"{program}: needs PyTorch, Triton and the runtime library: {MISSING}")
    if not torch.cuda.is_available():
        sys.exit(f"{program}: needs a CUDA GPU, and PyTorch {torch.__version__} finds none")


def main() -> None:
    options = parse_arguments()
    chosen = choose_cases(options.op, options.case, options.quick)
    if options.list:
        print("\n".join(case.name for case in chosen))
        return
    if not chosen:
        sys.exit("gpu.py: no case has that name; --list names them")
    if options.old is not None and not options.old.is_file():
        sys.exit(f"gpu.py: --old {options.old}: no such file")
    require_gpu("gpu.py")
    chosen = [case for case in chosen if hasattr(moe_mlir, cases.ALL_OPS[case.op])
              and not (options.num_ctas_per_sm and case.op in cases.SWIGLU_OPS)]
    if not chosen:
        sys.exit("gpu.py: the library has none of these ops")
    card = rotation.find_card()
    with torch.no_grad():
        torch_ops.load_kernels()
        own, old = (None if path is None else library.Library(path) for path in (
            Path(moe_mlir._runtime.path) if options.num_ctas_per_sm else None, options.old))
        for build in filter(None, (own, old)):
            build.load_kernels(card.device)
        document = run_cases(
            chosen, card, rotation.GraphTimer(), replays=options.replays,
            rotate_bytes=None if options.rotate_mb is None else options.rotate_mb * 1_000_000,
            time_limit=options.time_limit, json_file=options.json,
            peers=Peers(None if options.no_compile else torch_peer.TorchPeer(), old, own,
                        options.num_ctas_per_sm, options.expected_rows))
    report(document)
    print(f"{document['seconds']} s; {options.json}")
    sys.exit(bool(document["failed"]))


if __name__ == "__main__":
    main()
