# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measures what brings tokens to experts and back on a GPU, and the layer around it.

    benchmarks/layer.py [--case TEXT] [--kind KIND] [--json FILE] [--time-limit SECONDS]

Needs what gpu.py needs, with PyTorch 2.8 or later for its grouped product.

Of kind "permutation": "moe" is this project's three launches, which route, permute and unpermute;
"moe-programmatic" the same with programmatic_launch, "moe-hint" with expected_rows as well; the
gates are about the fastest of these. "reference" does as much in seven, with the structure, the
grids and the blocks of Megatron-Core's kernels (triton_permute.py); "triton" is that with the best
of several grids, blocks and warps; "eager" is PyTorch (torch_permute.py); "empty" a kernel that
does nothing. Parts, each alone: "moe-route", "moe-permute", "moe-unpermute" are one
launch each; "reference-route" four; "reference-permute" is what the fifth adds to them, since its
counters must be made anew before each; "reference-unpermute" two. "copy-permute" and
"copy-unpermute" are a cudaMemcpyAsync of as many bytes as those must move. Of kind "mxfp8": the same
with rows that are quantised on their way, which the reference does in eight launches.

Times are those of a launch in a CUDA graph of many, as in gpu.py: the median of the replays, and
the 10th and the 90th percentile. "peers" are on operands that rotate over twice the L2 cache,
"warm_peers" on one set of operands, in the cache as far as they fit. Before a case is timed, its
bytes are checked: all that routing writes, all dead rows, and live ones and sums, all of them or a
sample, against the oracle. Triton's rows may be in another order, and its sums are those of atomics:
they are compared with float64.

Of kind "layer": permute, grouped product, squared ReLU, grouped product, unpermute
(expert_layer.py), with ours, with Triton's and with eager PyTorch, several routings in turn.
"parts" are what each part adds to those before it.

Every case is printed when it is done and saved to the JSON file, so a run that is stopped loses
nothing. At the end come the gates: PASS or MISS, the worst case and the mean.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cases
import gpu
import results

if gpu.MISSING is None:
    import expert_layer
    import moe_mlir
    import rotation
    import torch
    import torch_permute
    import triton_peer
    import triton_permute
    from moe_mlir import torch_ops

POISON = 0x5A
POOL_BYTES = 6 << 30
ROUTINGS = 8
# Up to so many elements the oracle checks every row or token, else so many.
ORACLE_ELEMENTS, ORACLE_ROWS = 1 << 22, 64
# Relative to the sum of the magnitudes of a sum's terms: so many roundings of half a unit.
UNIT = 2.0**-24

TOKENS = (1, 8, 64, 256, 1024, 4096)
# Experts, those that are local, experts of a token, H, F.
MODELS = ((128, 128, 6, 2688, 1856), (128, 16, 6, 2688, 1856), (512, 64, 22, 1024, 2688))
KINDS = ("permutation", "layer", "mxfp8")


@dataclass(frozen=True)
class Case:
    kind: str
    tokens: int
    experts: int
    local: int
    top_k: int
    H: int
    F: int

    @property
    def name(self) -> str:
        local = "" if self.local == self.experts else f" ({self.local} local)"
        return (f"{self.kind} {self.tokens} tokens, {self.experts} experts{local}, "
                f"top {self.top_k}, H {self.H}")

    @property
    def alignment(self) -> int:
        return 128 if self.kind == "mxfp8" else 16

    @property
    def rows(self) -> int:
        """The capacity."""
        rows = self.tokens * min(self.top_k, self.local) + self.alignment * self.local
        return -(-rows // self.alignment) * self.alignment

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "op": self.kind, **asdict(self), "alignment": self.alignment,
                "rows": self.rows}


def all_cases() -> list[Case]:
    """In the order of running: what the gates need comes first."""
    def of(kind: str, tokens: Sequence[int]) -> list[Case]:
        return [Case(kind, T, *model) for T in tokens for model in MODELS]

    return [*of("permutation", TOKENS[:4]), *of("layer", TOKENS[1:3]),
            *of("permutation", TOKENS[4:]), *of("layer", [1, 256]), *of("mxfp8", TOKENS),
            *of("layer", TOKENS[4:])]


# ===-------------------------------------------------------------------------------------------===
# Gates
# ===-------------------------------------------------------------------------------------------===


# Our ways of launching, and what is said to the kernels.
HINTS: dict[str, dict[str, bool]] = {"moe": {}, "moe-programmatic": {"programmatic": True},
                                     "moe-hint": {"programmatic": True, "hint": True}}
OURS = tuple(HINTS)


def best_of_ours(result: results.Result) -> str:
    """The one of our ways of launching that is fastest."""
    names = [name for name in OURS if results.time_of(result, name)]
    return min(names, key=lambda name: result["peers"][name]["us"], default="moe")


def gates() -> list[results.Gate]:
    def values(selects: Callable[[results.Result], bool],
               value: Callable[[results.Result], float | None]) -> Any:
        return lambda found: {r["name"]: value(r) for r in found if selects(r)}

    def is_permutation(most: int, least: int = 0) -> Callable[[results.Result], bool]:
        return lambda r: r["op"] == "permutation" and least <= r["tokens"] <= most

    def ours_to_reference(result: results.Result) -> float | None:
        return results.ratio(result, best_of_ours(result), "reference")

    def ours(result: results.Result) -> float | None:
        return results.time_of(result, best_of_ours(result))

    def part_of_the_copy(result: results.Result, part: str) -> float | None:
        found = [ratio for name in (f"moe-{part}", f"moe-{part}-hint")
                 if (ratio := results.ratio(result, f"copy-{part}", name))]
        return max(found, default=None)

    found = [
        results.Gate("three launches in times of the reference's seven, up to 256 tokens", 0.55,
                     values(is_permutation(256), ours_to_reference), at_most=True),
        *(results.Gate(f"three launches at {tokens} tokens, us", limit,
                       values(is_permutation(tokens, tokens), ours), at_most=True)
          for tokens, limit in ((8, 9.0), (64, 11.0))),
    ]
    for part in ("permute", "unpermute"):
        found.append(results.Gate(
            f"part of the copy's bandwidth, {part}, 4096 tokens, all experts", 0.9,
            values(lambda r: is_permutation(4096, 4096)(r) and r["local"] == r["experts"],
                   lambda r, part=part: part_of_the_copy(r, part))))
    for tokens, limit in ((8, 1.10), (64, 1.07)):
        found.append(results.Gate(
            f"the layer's speed in times of the reference's, {tokens} tokens", limit,
            values(lambda r, tokens=tokens: r["op"] == "layer" and r["tokens"] == tokens,
                   lambda r: results.ratio(r, "reference", best_of_ours(r)))))
    return found


# ===-------------------------------------------------------------------------------------------===
# Operands
# ===-------------------------------------------------------------------------------------------===


@dataclass(frozen=True)
class Set:
    """The operands and the results of one step. x, y, rows, data and total are windows that may
    overlap those of the next step where neither is used.
    """

    x: torch.Tensor
    y: torch.Tensor
    routing_map: torch.Tensor
    probs: torch.Tensor
    valid_tokens: torch.Tensor
    routing: triton_permute.Routing
    inverse_map: torch.Tensor
    rows: torch.Tensor  # bf16, or E4M3
    scale: torch.Tensor | None  # E8M0, swizzled
    total: torch.Tensor

    def clear(self) -> None:
        """Every byte of the results 0x5a."""
        results_of = [*vars(self.routing).values(), self.inverse_map, self.rows, self.total]
        for tensor in [*results_of, *([self.scale] if self.scale is not None else [])]:
            tensor.view(torch.uint8).fill_(POISON)


class Workload:
    """The operands of a case, `sets` of them."""

    def __init__(self, case: Case, pools: rotation.Pools, rotate_bytes: int) -> None:
        from moe_testing import permutation_batches

        self.case = case
        T, E, R, H = case.tokens, case.local, case.rows, case.H
        for seed in itertools.count():
            self.batch = permutation_batches.routed(
                T, case.top_k, case.experts, slice(0, E), alignment=case.alignment, rows=R,
                dtype="int64", seed=seed)
            self.wanted = self.batch.routed()
            self.n_used = int(self.wanted.n_used[0])
            # A token may have no local expert; this is about those that have.
            if self.n_used:
                break
        self.pairs = int(self.wanted.tokens_per_expert.sum())
        reached = int((self.wanted.inverse_map >= 0).any(axis=1).sum())
        width = 2 if case.kind == "permutation" else 1
        scales = self.pairs * H // 32 if case.kind == "mxfp8" else 0
        self.permute_bytes = 2 * reached * H + width * self.pairs * H + scales
        self.unpermute_bytes = 2 * self.pairs * H + 4 * T * H

        device, step = pools.x.device, max(self.n_used, 1)
        half = pools.x.numel() // 2
        room = min((half - R * H) // (step * H), (half - T * H) // (T * H),
                   (pools.out.numel() // 2 - 4 * T * H) // (4 * T * H))
        if room < 0:
            raise MemoryError(f"{case.name}: operands that pools of {2 * half >> 20} MiB do not "
                              "hold")
        touched = self.permute_bytes + self.unpermute_bytes
        wanted = max(2, math.ceil(rotate_bytes / touched)) if rotate_bytes else 1
        self.sets = min(wanted, rotation.MAX_SETS, 1 + room)

        def array(dtype: torch.dtype, *shape: int) -> list[torch.Tensor]:
            """One for each set, 256 bytes or a multiple of that apart."""
            size, unit = math.prod(shape), 256 // dtype.itemsize
            every = torch.empty(self.sets, -(-size // unit) * unit, dtype=dtype, device=device)
            return [part[:size].view(shape) for part in every]

        routing_maps, probs = array(torch.int64, T, case.top_k), array(torch.float32, T, case.top_k)
        for index in range(self.sets):
            routing_maps[index].copy_(torch.from_numpy(self.batch.routing_map))
            probs[index].copy_(torch.from_numpy(self.batch.probs))
        valid_tokens = array(torch.int32)
        for tensor in valid_tokens:
            tensor.fill_(T)
        counts = [array(torch.int32, E) for _ in range(3)]
        maps, permuted_probs = array(torch.int32, R), array(torch.float32, R)
        inverse_maps = array(torch.int32, T, E)
        scale_size = triton_peer.scale_size(R, H)
        # Scales are written from end to end, so each set of these is whole.
        scale_sets = min(self.sets, 1 + rotate_bytes // scale_size) if scales else 0
        scale = [torch.empty(scale_size, dtype=torch.uint8, device=device).view(
            torch.float8_e8m0fnu) for _ in range(scale_sets)]
        out, x = pools.out, pools.x
        middle = out.numel() // 2

        def window(pool: torch.Tensor, begin: int, rows: int) -> torch.Tensor:
            return pool[begin : begin + rows * H].view(rows, H)

        bf16, f32 = out[:middle].view(torch.bfloat16), out[middle:].view(torch.float32)
        e4m3 = out[:middle].view(torch.float8_e4m3fn)
        self.every = [Set(
            window(x, i * T * H, T), window(x, half + i * step * H, R), routing_maps[i], probs[i],
            valid_tokens[i],
            triton_permute.Routing(counts[0][i], counts[1][i], counts[2][i], maps[i],
                                   permuted_probs[i]),
            inverse_maps[i], window(e4m3 if scales else bf16, i * step * H, R),
            scale[i % len(scale)] if scales else None, window(f32, i * T * H, T),
        ) for i in range(self.sets)]


# ===-------------------------------------------------------------------------------------------===
# Peers
# ===-------------------------------------------------------------------------------------------===


class Ours:
    """Each part is one launch. With `hint`, the kernels are told how many rows or tokens there are,
    as who captures a graph for each size of a batch knows it.
    """

    def __init__(self, workload: Workload, programmatic: bool = False, hint: bool = False) -> None:
        self.case = workload.case
        self.hints = {"programmatic_launch": programmatic}
        self.expect: Any = {"expected_rows": workload.pairs} if hint else {}
        self.expect_tokens: Any = {"expected_rows": self.case.tokens} if hint else {}

    def route(self, s: Set) -> None:
        r = s.routing
        out = moe_mlir.Routing(r.tokens_per_expert, r.exclusive_offsets, r.inclusive_offsets,
                               r.permutation_map, s.inverse_map, r.permuted_probs, r.n_used)
        moe_mlir.route_tokens(s.routing_map, self.case.local, 0, s.valid_tokens, s.probs,
                              self.case.alignment, out=out, **self.hints)

    def permute(self, s: Set) -> None:
        operands = (s.x, s.routing.permutation_map, s.routing.n_used)
        if s.scale is None:
            moe_mlir.gather_tokens(*operands, out=s.rows, **self.hints, **self.expect)
        else:
            moe_mlir.gather_and_quantize_mxfp8(*operands, out=(s.rows, s.scale), **self.hints,
                                               **self.expect)

    def unpermute(self, s: Set) -> None:
        moe_mlir.unpermute_tokens_in_expert_order(
            s.y, s.inverse_map, s.valid_tokens, s.total, probs=s.routing.permuted_probs,
            **self.hints, **self.expect_tokens)


class Triton:
    def __init__(self, case: Case, config: Any = None) -> None:
        self.case, self.config = case, config

    def route(self, s: Set) -> None:
        triton_permute.route(s.routing_map, s.valid_tokens, 0, self.case.alignment, s.routing)

    def permute(self, s: Set) -> None:
        """Once after each `route`."""
        operands = (s.x, s.probs, s.routing_map, s.valid_tokens, 0, s.routing)
        if s.scale is None:
            triton_permute.permute(*operands, s.rows, self.config)
            return
        config = self.config
        if config is not None:
            # Here a block is a whole row.
            block = triton_peer.triton.next_power_of_2(self.case.H)
            config = config._replace(block=block, num_warps=max(4, config.num_warps))
        triton_permute.permute_quantize_mxfp8(*operands, s.rows, s.scale.view(torch.uint8), config)

    def unpermute(self, s: Set) -> None:
        triton_permute.unpermute(s.y, s.routing, s.valid_tokens, s.total, self.config)


def whole(peer: Any) -> Callable[[Set], None]:
    def run(s: Set) -> None:
        peer.route(s)
        peer.permute(s)
        peer.unpermute(s)

    return run


def route_and_permute(peer: Any) -> Callable[[Set], None]:
    def run(s: Set) -> None:
        peer.route(s)
        peer.permute(s)

    return run


def run_eager(case: Case) -> Callable[[Set], None]:
    def run(s: Set) -> None:
        routing = torch_permute.route(s.routing_map, s.valid_tokens, 0, case.local, case.alignment,
                                      case.rows)
        torch_permute.permute(s.x, routing)
        torch_permute.unpermute(s.y, routing, s.probs)

    return run


# ===-------------------------------------------------------------------------------------------===
# Checks
# ===-------------------------------------------------------------------------------------------===


def as_numpy(tensor: torch.Tensor, dtype: Any) -> Any:
    """By its bytes: numpy and PyTorch do not share every type."""
    raw = tensor.contiguous().view(torch.uint8).cpu().numpy()
    return raw.view(dtype).reshape(tensor.shape)


def compare(what: str, found: Any, wanted: Any) -> None:
    import numpy as np

    a, b = (np.ascontiguousarray(array).view(np.uint8).ravel() for array in (found, wanted))
    if a.size != b.size or not np.array_equal(a, b):
        raise gpu.BytesDiffer(f"{what}: {np.count_nonzero(a != b)} of {b.size} bytes differ from "
                              "the oracle's")


def some(count: int, width: int) -> torch.Tensor:
    """Numbers below `count`: all of them, or a sample with both ends."""
    if count * width <= ORACLE_ELEMENTS or count <= ORACLE_ROWS:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(gpu.SEED)
    inner = 1 + torch.randperm(count - 2, generator=generator)[: ORACLE_ROWS - 2]
    return torch.cat([torch.tensor([0, count - 1]), inner])


def check_routing(workload: Workload, s: Set) -> None:
    import numpy as np

    for name, wanted in workload.wanted.arrays().items():
        tensor = s.inverse_map if name == "inverse_map" else getattr(s.routing, name)
        compare(name, as_numpy(tensor, np.int32), wanted)


def check_rows(workload: Workload, s: Set) -> None:
    """By the map that is there, which may be another than ours."""
    import ml_dtypes
    import numpy as np
    from moe_testing import oracle, permutation

    case, where = workload.case, s.routing.permutation_map
    device = where.device
    live = (torch.arange(case.rows, device=device) < s.routing.n_used) & (where >= 0)
    every = live.nonzero().flatten()
    if every.numel() != workload.pairs:
        raise gpu.BytesDiffer(f"{every.numel()} rows are live, expected {workload.pairs}")
    raw = s.rows.view(torch.uint8)
    if not bool((raw[~live] == POISON).all()):
        raise gpu.BytesDiffer("a row that is not live has been written")
    # Every row, and a sample by the oracle.
    if s.scale is None and not torch.equal(s.rows.view(torch.int16)[every],
                                           s.x.view(torch.int16)[where[every].long()]):
        raise gpu.BytesDiffer("rows are not their tokens")
    chosen = every[some(every.numel(), case.H).to(device)]
    tokens = where[chosen].long()
    x = as_numpy(s.x[tokens], ml_dtypes.bfloat16)
    count = chosen.numel()
    operands = (x, np.arange(count, dtype=np.int32), count)
    if s.scale is None:
        wanted = permutation.permute_tokens(*operands, np.zeros((count, case.H),
                                                                ml_dtypes.bfloat16))
        compare("rows", as_numpy(s.rows[chosen], ml_dtypes.bfloat16), wanted)
        return
    groups = case.H // 32
    data, scale = permutation.permute_quantize_mxfp8(
        *operands, np.zeros((count, case.H), ml_dtypes.float8_e4m3fn),
        np.zeros((count, groups), ml_dtypes.float8_e8m0fnu), oracle.LINEAR)
    compare("data", as_numpy(raw[chosen], np.uint8), data)
    scales = s.scale.view(torch.uint8)
    found = scales[gpu.scale_offsets(chosen, case.H, groups)]
    compare("scales", as_numpy(found, np.uint8), scale)
    # No group of x is all zeros, so no scale of a live row is 0, and all others are.
    if int(torch.count_nonzero(scales)) != workload.pairs * groups:
        raise gpu.BytesDiffer("scales beside those of live rows are not 0")


def check_sums(workload: Workload, s: Set) -> None:
    """Ours, bit for bit."""
    import ml_dtypes
    import numpy as np
    from moe_testing import permutation

    tokens = some(workload.case.tokens, workload.case.H)
    # The rows of these tokens alone, numbered anew.
    inverse = s.inverse_map.cpu()[tokens]
    rows = inverse[inverse >= 0].unique().long()
    renumbered = torch.searchsorted(rows, inverse.long()).int()
    renumbered[inverse < 0] = -1
    there = rows.to(s.y.device)
    count = tokens.numel()
    wanted = permutation.unpermute_tokens(
        as_numpy(s.y[there], ml_dtypes.bfloat16), renumbered.numpy(), count,
        np.zeros((count, workload.case.H), np.float32),
        as_numpy(s.routing.permuted_probs[there], np.float32))
    compare("sums", as_numpy(s.total[tokens.to(s.y.device)], np.float32), wanted)


def check_sums_nearly(workload: Workload, s: Set) -> None:
    """Of Triton's: every order of adding is within this of the exact sum."""
    case, routing = workload.case, s.routing
    every = ((torch.arange(case.rows, device=s.y.device) < routing.n_used)
             & (routing.permutation_map >= 0)).nonzero().flatten()
    exact, size = (torch.zeros(case.tokens, case.H, dtype=torch.float64, device=s.y.device)
                   for _ in range(2))
    for begin in range(0, every.numel(), 4096):
        rows = every[begin : begin + 4096]
        values = s.y[rows].double() * routing.permuted_probs[rows].double()[:, None]
        token = routing.permutation_map[rows].long()
        exact.index_add_(0, token, values)
        size.index_add_(0, token, values.abs())
    if not bool(((s.total.double() - exact).abs() <= (case.top_k + 1) * UNIT * size).all()):
        raise gpu.BytesDiffer("Triton's sums are further off than their rounding")


def check_set(workload: Workload, index: int) -> dict[str, str]:
    """Raises gpu.BytesDiffer unless Triton and "moe" write what they should; what is wrong with
    ours under hints, by peers. The results of "moe" are what stays.
    """
    s = workload.every[index]
    s.clear()
    whole(Triton(workload.case))(s)
    check_rows(workload, s)
    check_sums_nearly(workload, s)
    wrong = {}
    for name in reversed(OURS):
        try:
            s.clear()
            whole(Ours(workload, **HINTS[name]))(s)
            check_routing(workload, s)
            check_rows(workload, s)
            check_sums(workload, s)
        except Exception as error:
            if name == "moe":
                raise
            wrong[name] = gpu._one_line(error)
    return wrong


# ===-------------------------------------------------------------------------------------------===
# Runs
# ===-------------------------------------------------------------------------------------------===


def configurations(case: Case) -> list[Any]:
    return triton_permute.candidates(case.H, case.tokens * case.top_k)


def permutation_launches(workload: Workload, pools: rotation.Pools,
                         sets: int) -> dict[str, rotation.Launch]:
    """What is timed, on the first `sets` sets. The first "triton ..." is the reference's."""
    case = workload.case

    def bind(run: Callable[[Set], None]) -> rotation.Launch:
        return lambda index: run(workload.every[index % sets])

    ours, hinted, reference = Ours(workload), Ours(workload, hint=True), Triton(case)
    launches = {**{name: bind(whole(Ours(workload, **hints))) for name, hints in HINTS.items()},
                "moe-route": bind(ours.route), "moe-permute": bind(ours.permute),
                "moe-permute-hint": bind(hinted.permute),
                "moe-unpermute": bind(ours.unpermute), "moe-unpermute-hint": bind(hinted.unpermute)}
    for config in configurations(case):
        launches[f"triton {config}"] = bind(whole(Triton(case, config)))
    launches["reference-route"] = bind(reference.route)
    launches["reference-route-permute"] = bind(route_and_permute(reference))
    launches["reference-unpermute"] = bind(reference.unpermute)
    if case.kind == "permutation":
        launches["eager"] = bind(run_eager(case))
    launches["copy-permute"] = rotation.copy_launch(pools, workload.permute_bytes)
    launches["copy-unpermute"] = rotation.copy_launch(pools, workload.unpermute_bytes)
    launches["empty"] = lambda index: triton_peer.empty(pools.x)
    return launches


def summarized(times: dict[str, list[float]]) -> dict[str, Any]:
    """By peers; "triton" and "reference" in the place of all that were tried, and what permuting
    takes of the reference's.
    """
    found = {name: results.summarize(values) for name, values in times.items()}
    tritons = [name for name in found if name.startswith("triton ")]
    best = min(tritons, key=lambda name: found[name]["us"])
    for peer, name in (("triton", best), ("reference", tritons[0])):
        found[peer] = {**found[name], "parameters": name.removeprefix("triton ")}
    for name in tritons:
        del found[name]
    permute = found["reference-route-permute"]["us"] - found["reference-route"]["us"]
    found["reference-permute"] = {"us": round(permute, 4)}
    return found


def run_permutation(case: Case, pools: rotation.Pools, timer: Any, rotate_bytes: int,
                    replays: int) -> results.Result:
    workload = Workload(case, pools, rotate_bytes)
    wrong: dict[str, str] = {}
    for index in sorted({0, workload.sets - 1}):
        wrong.update(check_set(workload, index))
    # Each part alone works with what routing left.
    for s in workload.every:
        Ours(workload).route(s)
    found = {}
    for state, sets in (("peers", workload.sets), ("warm_peers", 1)):
        launches = permutation_launches(workload, pools, sets)
        tritons = [name for name in launches if name.startswith("triton ")]
        for name in list(launches):
            try:
                if name not in wrong:
                    launches[name](0)
                    timer.synchronize()
            except Exception as error:
                # A block that is too large for the device, say.
                if name not in (*tritons[1:], "eager") and not name.endswith("-hint"):
                    raise
                wrong[name] = gpu._one_line(error)
            if name in wrong:
                del launches[name]
        tritons = [name for name in tritons if name in launches]
        found[state] = summarized(rotation.time_launches(timer, launches, sets, replays, [tritons],
                                                         keep=tritons[:1]))
        found[state].update({name: {"error": text} for name, text in wrong.items()})
    return {**case.describe(), "live": workload.pairs, "n_used": workload.n_used,
            "sets": workload.sets, "permute_bytes": workload.permute_bytes,
            "unpermute_bytes": workload.unpermute_bytes, **found}


class LayerWeights:
    """Those of the model that was measured last: the largest take 2.6 GB and some time to make."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._weights: Any = None

    def of(self, shape: Any, device: str) -> Any:
        key = (shape.local, shape.H, shape.F)
        if key != self._shape:
            self._weights = None
            self._weights, self._shape = expert_layer.Weights.random(shape, device), key
        return self._weights


def run_layer(case: Case, weights_of: LayerWeights, timer: Any, device: str,
              replays: int) -> results.Result:
    shape = expert_layer.Shape(case.tokens, case.H, case.F, case.experts, case.top_k, 0, case.local)
    weights = weights_of.of(shape, device)
    steps = [expert_layer.Step.random(shape, device, seed) for seed in range(ROUTINGS)]
    layers = expert_layer.variants(True, device == "cuda")
    wanted, wrong = None, {}
    for name in list(layers):
        steps[0].out.fill_(math.nan)
        try:
            found = expert_layer.run(layers[name](shape, weights, steps[0])).clone()
            wanted = found if wanted is None else wanted
            trouble = expert_layer.trouble(found, wanted)
            if name in OURS and not torch.equal(found, wanted):
                trouble = "other bytes than those of moe"
        except Exception as error:
            if name in ("moe", "reference"):
                raise
            trouble = gpu._one_line(error)
        if trouble is not None and name in ("moe", "reference"):
            raise gpu.BytesDiffer(f"{name}: {trouble}")
        if trouble is not None:
            wrong[name] = {"error": trouble}
            del layers[name]
    launches = expert_layer.launches(layers, shape, weights, steps)
    times = rotation.time_launches(timer, launches, ROUTINGS, replays)
    medians = {name: results.summarize(values) for name, values in times.items()}
    through = {name: entry["us"] for name, entry in medians.items()}
    peers = {name: {**medians[f"{name} through {expert_layer.PARTS[-1]}"],
                    "parts": {part: round(us, 4) for part, us in
                              expert_layer.by_part(through, name).items()}} for name in layers}
    return {**case.describe(), "sets": ROUTINGS, "peers": {**peers, **wrong}}


def permutation_line(result: results.Result) -> str:
    def us(name: str, peers: str = "peers") -> str:
        value = result[peers].get(name, {}).get("us")
        return "-" if value is None else f"{value:.2f}"

    lines = [result["name"]]
    for peers, state in (("peers", "rotating"), ("warm_peers", "one set")):
        of_state = {"peers": result[peers]}
        ours = best_of_ours(of_state)
        ratios = " ".join(f"{name} {us(name, peers)} x{results.ratio(of_state, name, ours) or 0:.2f}"
                          for name in ("reference", "triton", "eager") if name in result[peers])
        parts = " ".join(
            f"{part} {us(f'moe-{part}', peers)}/{us(f'reference-{part}', peers)}"
            + (f" (copy {us(f'copy-{part}', peers)})" if part != "route" else "")
            for part in ("route", "permute", "unpermute"))
        lines.append(f"  {state:8} moe {us('moe', peers)} programmatic "
                     f"{us('moe-programmatic', peers)} hint {us('moe-hint', peers)} {ratios} | "
                     f"ours/reference: {parts} | empty {us('empty', peers)}")
    lines += [f"  {name} FAILED {entry['error']}" for name, entry in result["peers"].items()
              if "error" in entry]
    return "\n".join(lines)


def layer_lines(result: results.Result) -> str:
    lines = [result["name"]]
    ours = best_of_ours(result)
    for name, entry in result["peers"].items():
        if "error" in entry:
            lines.append(f"  {name:17} FAILED {entry['error']}")
            continue
        parts = "  ".join(f"{part} {us:8.2f}" for part, us in entry["parts"].items())
        ratio = results.ratio(result, name, ours) or 0
        lines.append(f"  {name:17} {entry['us']:9.2f} us x{ratio:.3f}   {parts}")
    return "\n".join(lines)


def run_cases(chosen: Sequence[Case], card: Any, timer: Any, *, replays: int, time_limit: float,
              json_file: Path) -> dict[str, Any]:
    """Runs all of them, or those that the seconds of `time_limit` allow, counted from the start of
    the program; the document that is in the JSON file then.
    """
    rotate_bytes = 2 * card.l2_bytes
    planned = [case.describe() for case in all_cases()]
    document: dict[str, Any] = {
        "device": card.name, "sms": card.sms, "l2_bytes": card.l2_bytes,
        **gpu._versions(gpu.Peers()), "replays": replays, "rotate_bytes": rotate_bytes,
        "results": [], "failed": [], "not_run": [case.name for case in chosen], "gates": [],
        "seconds": 0.0,
    }

    def save() -> None:
        document["gates"] = results.verdicts_as_json(results.judge(
            document["results"], planned, document["failed"], gates()))
        document["seconds"] = round(time.monotonic() - gpu.START, 1)
        results.save(json_file, document)

    print(f"{card.name}, PyTorch {document['torch']}, Triton {document['triton']}, "
          f"{document['runtime']}", flush=True)
    pools = rotation.Pools(card.device, min(POOL_BYTES, card.free_bytes // 5), gpu.SEED)
    weights = LayerWeights()
    longest = dict.fromkeys(KINDS, 0.0)
    print(f"start and operands: {time.monotonic() - gpu.START:.1f} s", flush=True)
    for case in chosen:
        begin = time.monotonic()
        if begin - gpu.START + longest[case.kind] > time_limit:
            continue
        try:
            if case.kind == "layer":
                result = run_layer(case, weights, timer, card.device, replays)
                print(layer_lines(result), flush=True)
            else:
                result = run_permutation(case, pools, timer, rotate_bytes, replays)
                print(permutation_line(result), flush=True)
            document["results"].append(result)
            # Others may be too large for a device; ours may not.
            document["failed"] += [{"name": f"{name}, {case.name}", "error": entry["error"]}
                                   for name, entry in result["peers"].items()
                                   if name in OURS and "error" in entry]
        except Exception as error:
            document["failed"].append({"name": case.name, "error": gpu._one_line(error)})
            print(f"FAILED {case.name}: {gpu._one_line(error)}", flush=True)
        document["not_run"].remove(case.name)
        save()
        # A frame of a caught exception may hold tensors until here.
        gc.collect()
        try:
            timer.release()
        except Exception as error:
            print(f"the device is lost: {gpu._one_line(error)}", flush=True)
            break
        longest[case.kind] = max(longest[case.kind], time.monotonic() - begin)
    save()
    return document


def choose_cases(kind: str | None, texts: Sequence[str]) -> Iterator[Case]:
    for case in all_cases():
        if kind in (None, case.kind) and all(text in case.name for text in texts):
            yield case


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--case", action="append", default=[], metavar="TEXT",
                        help="cases with TEXT in their names; of several, with all of them")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--time-limit", type=float, default=540, metavar="SECONDS",
                        help="of the whole program; what did not fit is listed (540)")
    parser.add_argument("--replays", type=int, default=21, help="of each graph (21)")
    parser.add_argument("--json", type=Path, default=cases.ROOT / "build" / "layer.json",
                        metavar="FILE", help="(build/layer.json)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    chosen = list(choose_cases(options.kind, options.case))
    if options.list:
        print("\n".join(case.name for case in chosen))
        return
    if not chosen:
        sys.exit("layer.py: no case has that name; --list names them")
    gpu.require_gpu("layer.py")
    if not hasattr(moe_mlir, "route_tokens"):
        sys.exit("layer.py: the package has no route_tokens")
    card = rotation.find_card()
    with torch.no_grad():
        torch_ops.load_kernels()
        document = run_cases(chosen, card, rotation.GraphTimer(), replays=options.replays,
                             time_limit=options.time_limit, json_file=options.json)
    gpu.report(document)
    print(f"{document['seconds']} s; {options.json}")
    sys.exit(bool(document["failed"]))


if __name__ == "__main__":
    main()
