# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Operands that rotate over more than the L2 cache, and CUDA graphs of launches that are timed.

A batch of few tokens touches some kilobytes of buffers of a hundred megabytes. So the operands of
a case are windows into one large buffer of random values, n_used rows apart: no two windows share
a row that is read, and there are as many of them as it takes to touch more than the cache holds.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cases
import torch

Launch = Callable[[int], Any]

MAX_SETS = 4096
# A graph takes at least this long on the device, so that what surrounds a replay does not count.
MIN_GRAPH_US = 2000.0
# Launches that are slower than this allows do not go through every window.
MAX_GRAPH_US = 20_000.0
PROBE_LAUNCHES, PROBE_REPLAYS = 4, 5
# Of alternatives, those are timed to the end that a first look finds this close to the fastest.
CLOSE, MOST_ALTERNATIVES = 1.15, 3
# What replays may take, unless there would be too few of them.
REPLAYS_US, FEWEST_REPLAYS = 800_000.0, 9
# CUgraphNodeType.
NODE_TYPES = ("kernel", "memcpy", "memset")


@dataclass(frozen=True)
class Card:
    """What the measurement must know of the device."""

    name: str
    device: str
    l2_bytes: int
    free_bytes: int
    sms: int


def find_card() -> Card:
    properties = torch.cuda.get_device_properties(0)
    return Card(properties.name, "cuda", properties.L2_cache_size, torch.cuda.mem_get_info()[0],
                properties.multi_processor_count)


class Pools:
    """Random values for x, and as many bytes for results, for all cases of a run.

    No value is zero, and the first of each group of 32 is positive, so no maximum is zero either.
    """

    CHUNK = 1 << 26

    def __init__(self, device: str, size: int, seed: int = 0) -> None:
        size -= size % 4096
        self.x = torch.empty(size // 2, dtype=torch.bfloat16, device=device)
        self.out = torch.empty(size, dtype=torch.uint8, device=device)
        generator = torch.Generator(device).manual_seed(seed)
        for begin in range(0, size // 2, self.CHUNK):
            part = self.x[begin : begin + self.CHUNK].view(-1, 32)
            values = torch.randn(part.shape, generator=generator, device=device)
            # Groups of different magnitudes, for different scales.
            values *= torch.exp2(torch.randint(-5, 6, (part.shape[0], 1), generator=generator,
                                               device=device).float())
            values[:, 0].abs_()
            part.copy_(values)
            part[part == 0] = 1


class Workload:
    """The operands and results of a case, `sets` of them."""

    def __init__(self, case: cases.Case, pools: Pools, rotate_bytes: int) -> None:
        self.case = case
        routing = case.routing()
        self.live, self.n_used = routing.live, routing.n_used
        M, K, width = case.M, case.K, case.x_columns
        device = pools.x.device
        shift = min(max(self.n_used, 1), M)
        room = pools.x.numel() // width - M
        if room < 0:
            raise MemoryError(f"{case.name}: {2 * M * width >> 20} MiB of input, which the pool of "
                              f"{2 * pools.x.numel() >> 20} MiB does not hold")
        touched = self.live * (2 * width + K * (1 if case.quantizes else 2))
        wanted = max(2, math.ceil(rotate_bytes / touched)) if rotate_bytes else 1
        self.sets = min(wanted, MAX_SETS, 1 + room // shift)

        maps = torch.from_numpy(routing.permutation_map).to(device).repeat(self.sets, 1)
        # 32 bytes apart: two that share a sector would be read from it together.
        counts = torch.full((self.sets, 8), self.n_used, dtype=torch.int32, device=device)
        self.operands = [(pools.x[i * shift * width :][: M * width].view(M, width), maps[i],
                          counts[i, 0]) for i in range(self.sets)]
        self.outputs: list[Any] = []
        if not case.quantizes:
            for i in range(self.sets):
                out = pools.out[2 * i * shift * K :][: 2 * M * K]
                self.outputs.append(out.view(torch.bfloat16).view(M, K))
            return
        size = -(-M // 128) * -(-K // 128) * 512
        # Scales are written from end to end, so each set of these is whole.
        scales = [torch.empty(size, dtype=torch.uint8, device=device)
                  for _ in range(min(self.sets, 1 + rotate_bytes // size))]
        for i in range(self.sets):
            data = pools.out[i * shift * K :][: M * K].view(torch.float8_e4m3fn).view(M, K)
            scale = scales[i % len(scales)].view(torch.float8_e8m0fnu)
            self.outputs.append((data, scale))

    def raw_outputs(self, index: int) -> list[torch.Tensor]:
        """The bytes of the results of a set: out, or data and scale."""
        outputs = self.outputs[index]
        return [part.view(torch.uint8)
                for part in (outputs if isinstance(outputs, tuple) else (outputs,))]


def copy_launch(pools: Pools, size: int) -> Launch:
    """cudaMemcpyAsync from device to device that reads and writes `size` bytes together."""
    half = max(size // 2 // 16 * 16, 16)
    source = pools.x.view(torch.uint8)
    step = -(-half // 512) * 512
    places = 1 + (source.numel() - half) // step

    def launch(index: int) -> None:
        begin = index % places * step
        pools.out[begin : begin + half].copy_(source[begin : begin + half])

    return launch


class GraphTimer:
    """Captures launches in CUDA graphs, and times their replays with events."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def capture(self, launch: Launch, count: int) -> Any:
        """A graph of launch(0) to launch(count - 1), which must have run before: a capture cannot
        load kernels.
        """
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            # Not torch.cuda.graph: that collects garbage first, which takes longer than all this.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                for index in range(count):
                    launch(index)
            finally:
                graph.capture_end()
        return graph

    def nodes(self, launch: Launch) -> dict[str, int]:
        """What a launch, which must have run before, puts into a graph: {"kernel": 1}, say. Empty
        where the driver does not tell.
        """
        try:
            driver = ctypes.CDLL("libcuda.so.1")
            get_capture, get_nodes, get_type = (
                driver.cuStreamGetCaptureInfo_v2, driver.cuGraphGetNodes, driver.cuGraphNodeGetType)
        except (OSError, AttributeError):
            return {}
        status, identity, count = ctypes.c_int(), ctypes.c_uint64(), ctypes.c_size_t()
        graph, kind = ctypes.c_void_p(), ctypes.c_int()
        found: Counter[str] = Counter()

        def look(index: int) -> None:
            launch(index)
            stream = ctypes.c_void_p(self._stream.cuda_stream)
            if (get_capture(stream, ctypes.byref(status), ctypes.byref(identity),
                            ctypes.byref(graph), None, None)
                    or get_nodes(graph, None, ctypes.byref(count))):
                return
            nodes = (ctypes.c_void_p * count.value)()
            get_nodes(graph, nodes, ctypes.byref(count))
            for node in nodes:
                get_type(ctypes.c_void_p(node), ctypes.byref(kind))
                found[NODE_TYPES[kind.value] if kind.value < len(NODE_TYPES) else "other"] += 1

        self.capture(look, 1)
        return dict(found)

    def replay(self, graphs: Mapping[str, Any], replays: int) -> dict[str, list[float]]:
        """Microseconds of each replay of each graph. They take turns, so that a drift of the clock
        meets them all, and nothing waits in between, so that the device never does for the host.
        """
        events: dict[str, list[tuple[Any, Any]]] = {name: [] for name in graphs}
        for graph in graphs.values():
            graph.replay()
        for turn in range(replays):
            names = list(graphs)
            for name in names if turn % 2 == 0 else reversed(names):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                graphs[name].replay()
                end.record()
                events[name].append((begin, end))
        torch.cuda.synchronize()
        return {name: [1e3 * begin.elapsed_time(end) for begin, end in pairs]
                for name, pairs in events.items()}

    def release(self) -> None:
        """After the graphs are gone: gives what they allocated back to the device."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def plan_launches(estimate_us: float, sets: int) -> int:
    """How many launches a graph holds: whole rounds of the sets where that is short enough."""
    estimate_us = max(estimate_us, 0.5)
    one_round = estimate_us * sets
    if one_round <= MAX_GRAPH_US:
        return sets * max(1, math.ceil(MIN_GRAPH_US / one_round))
    return max(2, int(MAX_GRAPH_US / estimate_us))


def time_launches(timer: Any, launches: Mapping[str, Launch], sets: int, replays: int,
                  choices: Sequence[Sequence[str]] = (),
                  keep: Sequence[str] = ()) -> dict[str, list[float]]:
    """Microseconds of a launch, for each replay of a graph of them, by the launches' names.

    Of the names in a list of `choices`, those that a first look finds behind are left out, unless
    they are in `keep`. There are fewer replays than asked for where they would take too long.
    """
    probes = {name: timer.capture(launch, PROBE_LAUNCHES) for name, launch in launches.items()}
    # The first look has the cost of a replay in it, which only shortens the graphs.
    estimates = {name: min(times) / PROBE_LAUNCHES
                 for name, times in timer.replay(probes, PROBE_REPLAYS).items()}
    del probes
    chosen = dict(launches)
    for names in choices:
        ordered = sorted(names, key=estimates.__getitem__)
        for rank, name in enumerate(ordered):
            behind = (rank >= MOST_ALTERNATIVES
                      or estimates[name] > CLOSE * estimates[ordered[0]])
            if behind and name not in keep:
                del chosen[name]
    counts = {name: plan_launches(estimates[name], sets) for name in chosen}
    graphs = {name: timer.capture(launch, counts[name]) for name, launch in chosen.items()}
    turn_us = math.fsum(estimates[name] * counts[name] for name in chosen)
    replays = min(replays, max(FEWEST_REPLAYS, int(REPLAYS_US / turn_us)))
    times = timer.replay(graphs, replays)
    return {name: [us / counts[name] for us in times[name]] for name in chosen}
