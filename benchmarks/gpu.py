# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measures the ops on a GPU, next to Triton, PyTorch and the device's own copy.

    benchmarks/gpu.py [--quick] [--op OP] [--case TEXT] [--time-limit SECONDS] [--json FILE]

Needs a CUDA GPU, PyTorch 2.7 or later with Triton, numpy and ml_dtypes; of this project the
runtime library and the sources, no compiler.

Peers, all in one process and taking turns: "moe" is this project; "triton" writes the same bytes
the way Megatron-Core's kernels do (triton_peer.py), with the best of a few launch parameters;
"eager" and "compile" are PyTorch without a fused kernel, on every row of the capacity; "copy" is a
cudaMemcpyAsync that moves as many bytes as the op must; "empty" is a kernel that does nothing.
"moe-untouched" quantizes with dead_scales="untouched", "moe-activation" is the activation on the
operands of the quantizing case.

Times are those of a launch in a CUDA graph of many, on operands that rotate over twice the L2
cache: the median of the replays, and the 10th and the 90th percentile. Before a case is timed its
bytes are checked: all of the buffers of "moe" against "triton", sampled rows (all rows of small
cases) against the oracle, and that rows that are not live keep what they held. All bf16 patterns
go through both, too, against the oracle.

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
from pathlib import Path
from typing import Any, Callable, Optional, Sequence

# Before PyTorch is imported: starting a pool of compilers takes longer than the few compilations.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import cases
import results

try:
    import torch
    import triton

    import moe_mlir
    import rotation
    import triton_peer
    from moe_mlir import torch_ops
except ImportError as missing:
    MISSING: Optional[ImportError] = missing
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


def run_moe(op: str, operands: Any, outputs: Any, dead_scales: str = "zero") -> None:
    if op == "activation":
        moe_mlir.padded_squared_relu(*operands, out=outputs)
    else:
        moe_mlir.squared_relu_and_quantize_mxfp8(*operands, dead_scales=dead_scales, out=outputs)


def run_triton(op: str, operands: Any, outputs: Any, config: Any = None) -> None:
    if op == "activation":
        triton_peer.padded_squared_relu(*operands, out=outputs, config=config)
    else:
        data, scale = outputs
        triton_peer.squared_relu_and_quantize_mxfp8(
            *operands, out=(data, scale.view(torch.uint8)), config=config)


def unfused_activation(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).square()


def unfused_quantize(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Data and swizzled scales of all rows, M a multiple of 128."""
    M, K = x.shape
    groups, col_tiles = K // 32, -(-K // 128)
    a = torch.relu(x).square().view(M, groups, 32)
    m = a.amax(-1).float()
    e = ((m.view(torch.int32) + 0x1FFFFF) >> 23) - 8
    e = torch.where(m == 0, 0, e.clamp(min=1))
    e = torch.where(m == float("inf"), 255, e)
    factor = torch.where(e == 255, 0.0, ((254 - e) << 23).view(torch.float32))
    data = (a.float() * factor[:, :, None]).to(torch.float8_e4m3fn).view(M, K)
    scale = torch.nn.functional.pad(e.to(torch.uint8), (0, 4 * col_tiles - groups))
    scale = scale.view(M // 128, 4, 32, col_tiles, 4).permute(0, 3, 2, 1, 4).reshape(-1)
    return data, scale


class TorchPeers:
    """"eager" and "compile": the unfused formula, and what torch.compile makes of it."""

    def __init__(self, compiled: bool = True) -> None:
        self._functions: dict[str, dict[str, Callable[[torch.Tensor], Any]]] = {"eager": {
            "activation": unfused_activation, "quantize": unfused_quantize}}
        if not compiled:
            return
        # One compilation for each K serves all M, and a silent return to eager would be no peer.
        for name, value in (("recompile_limit", 64), ("fail_on_recompile_limit_hit", True)):
            if hasattr(torch._dynamo.config, name):
                setattr(torch._dynamo.config, name, value)
        # The square is rounded to bf16 before it is quantized.
        options = {"emulate_precision_casts": True}
        self._functions["compile"] = {op: torch.compile(function, options=options)
                                      for op, function in self._functions["eager"].items()}

    def launches(self, workload: rotation.Workload) -> dict[str, rotation.Launch]:
        inputs = [x for x, _, _ in workload.operands]
        for x in inputs if "compile" in self._functions else ():
            torch._dynamo.maybe_mark_dynamic(x, 0)
            torch._dynamo.mark_static(x, 1)

        def bind(function: Any) -> rotation.Launch:
            return lambda index: function(inputs[index % len(inputs)])

        return {peer: bind(functions[workload.case.op])
                for peer, functions in self._functions.items()}


# ===-------------------------------------------------------------------------------------------===
# Checks
# ===-------------------------------------------------------------------------------------------===


def compare(what: str, found: torch.Tensor, wanted: torch.Tensor) -> None:
    if not torch.equal(found, wanted):
        count = int(torch.count_nonzero(found != wanted))
        raise BytesDiffer(f"{what}: {count} of {wanted.numel()} bytes differ")


def oracle_rows(op: str, x: torch.Tensor) -> list[torch.Tensor]:
    """What the oracle makes of rows of x, all live: bytes of out, or of data and linear scales."""
    import ml_dtypes
    import numpy as np
    import oracle

    rows, K = x.shape
    values = x.cpu().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    operands = (values, np.zeros(rows, np.int32), rows)
    if op == "activation":
        wanted = [oracle.padded_squared_relu(*operands, np.zeros_like(values))]
    else:
        data = np.zeros((rows, K), ml_dtypes.float8_e4m3fn)
        scale = np.zeros((rows, K // 32), ml_dtypes.float8_e8m0fnu)
        wanted = list(oracle.squared_relu_quantize_mxfp8(*operands, data, scale,
                                                         scale_layout=oracle.LINEAR))
    return [torch.from_numpy(np.ascontiguousarray(array).view(np.uint8)) for array in wanted]


def scale_offsets(rows: torch.Tensor, K: int, groups: int) -> torch.Tensor:
    """[rows, groups] offsets into swizzled scales."""
    r, g = rows[:, None], torch.arange(groups, device=rows.device)[None, :]
    tile = (r // 128) * -(-K // 128) + g // 4
    return tile * 512 + (r % 32) * 16 + (r % 128) // 32 * 4 + g % 4


def check_set(workload: rotation.Workload, index: int) -> list[torch.Tensor]:
    """Raises BytesDiffer unless "moe" and "triton" write what they should; returns that."""
    case = workload.case
    operands, outputs = workload.operands[index], workload.outputs[index]

    def run(peer: Callable[..., None], **settings: Any) -> list[torch.Tensor]:
        buffers = workload.raw_outputs(index)
        for buffer in buffers:
            buffer.fill_(POISON)
        peer(case.op, operands, outputs, **settings)
        return [buffer.clone() for buffer in buffers]

    names = ["out"] if case.op == "activation" else ["data", "scale"]
    wanted, found = run(run_triton), run(run_moe)
    for name, a, b in zip(names, found, wanted):
        compare(f"{name}, moe next to triton", a, b)

    x, permutation_map, n_used = operands
    live = (torch.arange(case.M, device=x.device) < n_used) & (permutation_map >= 0)
    dead = found[0][~live]
    compare(f"{names[0]}, rows that are not live", dead, torch.full_like(dead, POISON))

    rows = live.nonzero().flatten()
    if case.M * case.K > ORACLE_ELEMENTS and rows.numel() > ORACLE_ROWS:
        generator = torch.Generator().manual_seed(SEED)
        order = torch.randperm(rows.numel(), generator=generator)[: ORACLE_ROWS - 2]
        ends = torch.tensor([0, rows.numel() - 1])
        rows = rows[torch.cat([ends, order]).to(rows.device)]
    groups = case.K // 32
    sampled = [found[0][rows]]
    if case.op == "quantize":
        sampled.append(found[1][scale_offsets(rows, case.K, groups)])
    for name, a, b in zip(names, sampled, oracle_rows(case.op, x[rows])):
        compare(f"{name} of {rows.numel()} rows next to the oracle", a.cpu(), b)

    if case.op == "quantize":
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


def check_unfused(workload: rotation.Workload, launch: rotation.Launch,
                  wanted: Sequence[torch.Tensor]) -> Optional[str]:
    """What is wrong with the live rows of a PyTorch peer, None if nothing is."""
    x, permutation_map, n_used = workload.operands[0]
    live = ((torch.arange(x.shape[0], device=x.device) < n_used) & (permutation_map >= 0))
    outputs = launch(0)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    offsets = scale_offsets(live.nonzero().flatten(), x.shape[1], x.shape[1] // 32)
    try:
        for index, (name, part) in enumerate((("first result", live), ("scale", offsets))):
            if index < len(outputs):
                compare(name, outputs[index].view(torch.uint8)[part], wanted[index][part])
    except BytesDiffer as error:
        return str(error)
    return None


def contract_batches() -> dict[str, Any]:
    import batches
    import numpy as np

    patterns = batches.all_bf16_patterns(2048)
    rows = patterns.shape[0]
    return {"all bf16 patterns": batches.make_batch(patterns, np.arange(rows), rows),
            "routed 4": batches.routed_batch(4)}


def check_contract(device: str) -> list[dict[str, str]]:
    """Both implementations on whole batches against the oracle; the failures."""
    import numpy as np
    import oracle

    def upload(array: np.ndarray, dtype: Any) -> torch.Tensor:
        raw = np.array(array).view(np.uint8).reshape(*array.shape, -1)
        tensor = torch.from_numpy(raw).to(device)
        return tensor.view(dtype).view(array.shape)

    failed = []
    for name, batch in contract_batches().items():
        M, K = batch.x.shape
        operands = (upload(batch.x, torch.bfloat16), upload(batch.permutation_map, torch.int32),
                    torch.tensor(int(batch.n_used), dtype=torch.int32, device=device))
        for op in cases.OPS:
            types = ([("bf16", (M, K), torch.bfloat16)] if op == "activation" else
                     [("f8", (M, K), torch.float8_e4m3fn),
                      ("e8", (oracle.scale_size(M, K),), torch.float8_e8m0fnu)])
            numpy_types = {"bf16": oracle.bfloat16, "f8": oracle.float8_e4m3fn,
                           "e8": oracle.float8_e8m0fnu}
            before = [np.full(np.prod(shape) * np.dtype(numpy_types[kind]).itemsize, POISON,
                              np.uint8).view(numpy_types[kind]).reshape(shape)
                      for kind, shape, _ in types]
            function = (oracle.padded_squared_relu if op == "activation"
                        else oracle.squared_relu_quantize_mxfp8)
            wanted = function(batch.x, batch.permutation_map, batch.n_used, *before)
            wanted = [wanted] if op == "activation" else list(wanted)
            for peer, run in (("moe", run_moe), ("triton", run_triton)):
                outputs = [upload(array, dtype) for array, (_, _, dtype) in zip(before, types)]
                label = f"{peer} {op} {name}"
                try:
                    run(op, operands, outputs[0] if op == "activation" else tuple(outputs))
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


def case_launches(workload: rotation.Workload, pools: rotation.Pools,
                  torch_peers: Optional[TorchPeers]) -> dict[str, rotation.Launch]:
    """What is timed; the peers "triton" with different parameters as "triton <parameters>"."""
    case, sets = workload.case, workload.sets

    def bind(run: Callable[..., None], op: str, outputs: Sequence[Any],
             **settings: Any) -> rotation.Launch:
        return lambda index: run(op, workload.operands[index % sets], outputs[index % sets],
                                 **settings)

    launches = {"moe": bind(run_moe, case.op, workload.outputs)}
    for config in triton_peer.candidates(cases.OPS[case.op], case.K):
        launches[f"triton block {config.block} warps {config.num_warps}"] = bind(
            run_triton, case.op, workload.outputs, config=config)
    if case.op == "quantize" and case.kind != "dense":
        launches["moe-untouched"] = bind(run_moe, case.op, workload.outputs,
                                         dead_scales="untouched")
        # The same operands; the results lie as those of a case of the activation do.
        room = pools.out.numel() // 2
        size = case.M * case.K
        step = min(max(workload.n_used, 1), case.M) * case.K
        out = pools.out.view(torch.bfloat16)
        places = 1 + (room - size) // step
        activated = [out[i % places * step :][:size].view(case.M, case.K) for i in range(sets)]
        launches["moe-activation"] = bind(run_moe, "activation", activated)
    launches["copy"] = rotation.copy_launch(pools, cases.bytes_moved(case))
    launches["empty"] = lambda index: triton_peer.empty(pools.x)
    if torch_peers is not None and case.kind != "capacity" and case.alignment == 128:
        launches.update(torch_peers.launches(workload))
    return launches


def run_case(case: cases.Case, pools: rotation.Pools, timer: Any, rotate_bytes: int, replays: int,
             torch_peers: Optional[TorchPeers]) -> results.Result:
    """Checks and times a case."""
    workload = rotation.Workload(case, pools, rotate_bytes)
    wanted = check_set(workload, 0)
    if workload.sets > 1:
        check_set(workload, workload.sets - 1)
    launches = case_launches(workload, pools, torch_peers)
    peers: dict[str, Any] = {}
    for name in list(launches):
        # Whatever compiles or loads kernels does it here.
        try:
            if name in ("eager", "compile"):
                difference = check_unfused(workload, launches[name], wanted)
                peers[name] = {"note": difference} if difference else {}
            else:
                launches[name](0)
            timer.synchronize()
        except Exception as error:
            if name not in ("eager", "compile"):
                raise
            peers[name] = {"error": _one_line(error)}
            del launches[name]
    del wanted

    tritons = [name for name in launches if name.startswith("triton ")]
    times = rotation.time_launches(timer, launches, workload.sets, replays, [tritons])
    summaries = {name: results.summarize(values) for name, values in times.items()}
    best = min((name for name in summaries if name in tritons),
               key=lambda name: summaries[name]["us"])
    for name in ("moe", "triton", *launches):
        if name == "triton":
            peers[name] = {**summaries[best], "parameters": best.removeprefix("triton ")}
        elif name in summaries and name not in tritons:
            peers[name] = {**summaries[name], **peers.get(name, {})}
    return {**case.describe(), "n_used": workload.n_used, "sets": workload.sets, "peers": peers}


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


def run_cases(chosen: Sequence[cases.Case], card: rotation.Card, timer: Any, *, replays: int = 21,
              rotate_bytes: Optional[int] = None, pool_bytes: int = POOL_BYTES,
              time_limit: float = 540, json_file: Optional[Path] = None,
              torch_peers: Optional[TorchPeers] = None) -> dict[str, Any]:
    """Runs all of them, or those that the seconds of `time_limit` allow; the document that is in
    the JSON file then.
    """
    start = time.monotonic()
    rotate_bytes = 2 * card.l2_bytes if rotate_bytes is None else rotate_bytes
    planned = [case.describe() for case in cases.all_cases()]
    document: dict[str, Any] = {
        "device": card.name, "sms": card.sms, "l2_bytes": card.l2_bytes, **_versions(),
        "replays": replays, "rotate_bytes": rotate_bytes, "results": [], "failed": [],
        "not_run": [case.name for case in chosen], "gates": [], "seconds": 0.0,
    }

    def save() -> None:
        document["gates"] = results.verdicts_as_json(
            results.judge(document["results"], planned, document["failed"]))
        document["seconds"] = round(time.monotonic() - start, 1)
        if json_file:
            results.save(json_file, document)

    print(f"{card.name}, PyTorch {document['torch']}, Triton {document['triton']}, "
          f"{document['runtime']}", flush=True)
    pools = rotation.Pools(card.device, min(pool_bytes, card.free_bytes // 5), SEED)
    document["failed"] += check_contract(card.device)
    print(f"operands and contract: {time.monotonic() - start:.1f} s")
    print(results.table_header(), flush=True)
    for case in chosen:
        if time.monotonic() - start > time_limit:
            break
        try:
            result = run_case(case, pools, timer, rotate_bytes, replays, torch_peers)
            document["results"].append(result)
            print(results.table_line(result), flush=True)
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
    save()
    return document


def _versions() -> dict[str, str]:
    library = Path(moe_mlir._runtime.path)
    return {"torch": torch.__version__, "cuda": str(torch.version.cuda),
            "triton": triton.__version__, "runtime": moe_mlir.runtime_description(),
            "runtime_sha256": hashlib.sha256(library.read_bytes()).hexdigest()}


def choose_cases(op: Optional[str], texts: Sequence[str], quick: bool) -> list[cases.Case]:
    """The cases of an op whose name has all of `texts` in it."""
    return [case for case in (cases.quick_cases() if quick else cases.all_cases())
            if op in (None, case.op) and all(text in case.name for text in texts)]


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small cases")
    parser.add_argument("--op", choices=list(cases.OPS))
    parser.add_argument("--case", action="append", default=[], metavar="TEXT",
                        help="cases with TEXT in their names; of several, with all of them")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--time-limit", type=float, default=540, metavar="SECONDS",
                        help="start no case after this time; the rest is listed (540)")
    parser.add_argument("--replays", type=int, default=21, help="of each graph (21)")
    parser.add_argument("--rotate-mb", type=int, metavar="MB",
                        help="what the operands rotate over; 0 for one set, in the cache as far "
                             "as it fits; twice the L2 cache unless given")
    parser.add_argument("--no-torch", action="store_true", help="without eager and compile")
    parser.add_argument("--no-compile", action="store_true", help="without compile")
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
    require_gpu("gpu.py")
    with torch.no_grad():
        torch_ops.load_kernels()
        document = run_cases(
            chosen, rotation.find_card(), rotation.GraphTimer(), replays=options.replays,
            rotate_bytes=None if options.rotate_mb is None else options.rotate_mb * 1_000_000,
            time_limit=options.time_limit, json_file=options.json,
            torch_peers=None if options.no_torch else TorchPeers(not options.no_compile))
    report(document)
    print(f"{document['seconds']} s; {options.json}")
    sys.exit(bool(document["failed"]))


if __name__ == "__main__":
    main()
