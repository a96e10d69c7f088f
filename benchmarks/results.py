# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What becomes of measured times: statistics, the table, the gates, and the file they go into.

A result is a case (Case.describe) with "peers": for each peer's name the median, the 10th and the
90th percentile of the microseconds of a launch, or the "error" that kept it from running.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cases

Result = dict[str, Any]

LARGE_INPUT_BYTES = 100_000_000


def percentile(values: Iterable[float], fraction: float) -> float:
    """With linear interpolation between neighbours."""
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def summarize(times: Sequence[float]) -> dict[str, float]:
    """The entry of a peer, of times in microseconds."""
    return {"us": round(percentile(times, 0.5), 4), "p10": round(percentile(times, 0.1), 4),
            "p90": round(percentile(times, 0.9), 4)}


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def time_of(result: Result, peer: str) -> float | None:
    """The median, if the peer ran."""
    return result["peers"].get(peer, {}).get("us")


def ratio(result: Result, peer: str, other: str) -> float | None:
    """The time of `peer` in times of `other`: above 1, `other` is faster."""
    times = time_of(result, peer), time_of(result, other)
    return None if None in times else times[0] / times[1]  # type: ignore[operator]


def bandwidth(result: Result, peer: str) -> float | None:
    """GB/s, of the bytes that the op must move."""
    time = time_of(result, peer)
    return None if time is None else result["bytes"] / time / 1e3


Selection = Callable[[Result], bool]


@dataclass(frozen=True)
class Gate:
    """A limit on one number of each case that it is about, or on the geometric mean of them.

    values: these numbers, by the cases' names, None where a peer did not run.
    """

    name: str
    limit: float
    values: Callable[[Sequence[Result]], dict[str, float | None]]
    mean: bool = False
    at_most: bool = False


@dataclass(frozen=True)
class Verdict:
    """status: PASS, MISS or NOT RUN. `cases` of the `planned` ones have been measured."""

    name: str
    status: str
    limit: str
    cases: int
    planned: int
    value: float | None = None
    mean: float | None = None
    worst: float | None = None
    worst_case: str | None = None

    def line(self) -> str:
        text = f"{self.status:8}{self.name}: "
        if self.value is None:
            return text + f"0 of {self.planned} cases"
        return (f"{text}{self.value:.3f}, limit {self.limit}; mean {self.mean:.3f}, worst "
                f"{self.worst:.3f} ({self.worst_case}); {self.cases} of {self.planned} cases")


def _is_small_routed(result: Result) -> bool:
    return (result["kind"] == "routed" and result["tokens"] <= 512
            and result["alignment"] == 128)


def is_large(result: Result) -> bool:
    width = 2 if result["op"] in cases.SWIGLU_OPS else 1
    return 2 * result["live"] * width * result["K"] >= LARGE_INPUT_BYTES


def _each(peer: str, other: str,
          selects: Selection) -> Callable[[Sequence[Result]], dict[str, float | None]]:
    """The ratio of the two in the cases that are selected."""
    return lambda results: {r["name"]: ratio(r, peer, other) for r in results if selects(r)}


def capacity_series(results: Sequence[Result]) -> list[list[Result]]:
    """Cases that differ in nothing but their capacity, smaller capacities first."""
    series: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        if result["kind"] == "capacity":
            key = tuple(result[name] for name in ("op", "K", "tokens", "experts", "top_k",
                                                  "alignment"))
            series.setdefault(key, []).append(result)
    return [sorted(found, key=lambda r: r["M"]) for found in series.values()]


def _against_the_next_capacity(results: Sequence[Result]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for series in capacity_series(results):
        for smaller, larger in zip(series, series[1:]):
            times = time_of(smaller, "moe"), time_of(larger, "moe")
            found[smaller["name"]] = None if None in times else times[0] / times[1]
    return found


def _gates() -> list[Gate]:
    gates = [Gate("times Triton, every case", 0.93,
                  _each("triton", "moe", lambda r: r["op"] in cases.OPS))]
    for op, limit in (("activation", 1.2), ("quantize", 1.35)):
        gates.append(Gate(
            f"times Triton, {op}, geometric mean of dense and routed", limit,
            _each("triton", "moe",
                  lambda r, op=op: r["op"] == op and r["kind"] in ("dense", "routed")),
            mean=True))
    for op, limit in (("activation", 1.4), ("quantize", 1.6)):
        gates.append(Gate(
            f"times Triton, {op}, up to 512 routed tokens, geometric mean", limit,
            _each("triton", "moe", lambda r, op=op: r["op"] == op and _is_small_routed(r)),
            mean=True))
    gates.append(Gate("time in times of that at the next larger capacity", 1.1,
                      _against_the_next_capacity, at_most=True))
    gates.append(Gate("time in times of the old library's, every case", 1.02,
                      _each("moe", "moe-old", lambda r: r["op"] in cases.OPS), at_most=True))
    for name, limit in (("activation routed 64 K 1856 capacity 8192", 0.6),
                        ("activation routed 64 K 2688 experts 512 top 22 capacity 8192", 0.5)):
        gates.append(Gate(
            f"time in times of the old library's, {name}", limit,
            _each("moe", "moe-old", lambda r, name=name: r["name"] == name), at_most=True))
    for op, limit in (("activation", 0.95), ("quantize", 0.93)):
        for kind in ("dense", "routed"):
            gates.append(Gate(
                f"part of the copy's bandwidth, {op}, {kind}, live input from 100 MB", limit,
                _each("copy", "moe", lambda r, op=op, kind=kind: (
                    r["op"] == op and r["kind"] == kind and is_large(r)))))
    gates.append(Gate(
        "quantize with dead_scales untouched, in times of the activation, routed", 1.15,
        _each("moe-untouched", "moe-activation",
              lambda r: r["op"] == "quantize" and r["kind"] == "routed"), at_most=True))
    return gates


def _swiglu_gates() -> list[Gate]:
    gates = [Gate("times Triton, SwiGLU, every case", 1.0,
                  _each("triton", "moe", lambda r: r["op"] in cases.SWIGLU_OPS))]
    for op, part in (("swiglu", 0.95), ("swiglu_quantize", 0.93)):
        gates.append(Gate(
            f"times Triton, {op}, up to 512 routed tokens, geometric mean", 1.8,
            _each("triton", "moe", lambda r, op=op: r["op"] == op and _is_small_routed(r)),
            mean=True))
        gates.append(Gate(
            f"part of the copy's bandwidth, {op}, live input from 100 MB", part,
            _each("copy", "moe", lambda r, op=op: r["op"] == op and is_large(r))))
    return gates


def judge(results: Sequence[Result], planned: Sequence[Result],
          failed: Sequence[dict[str, str]] = (),
          gates: Sequence[Gate] | None = None) -> list[Verdict]:
    """`planned`: the cases of a whole run; `failed`: those with an error or with other bytes;
    `gates`: those of the activations unless given.
    """
    wrong = [failure["name"] for failure in failed]
    verdicts = [Verdict(
        "the bytes of the oracle and of Triton, cases that differ or failed",
        "MISS" if wrong else "PASS" if results else "NOT RUN", "0", len(results) + len(wrong),
        len(planned), *((len(wrong), len(wrong), len(wrong), ", ".join(wrong) or "none")
                        if results or wrong else ()))]
    if gates is None:
        has_swiglu = any(result["op"] in cases.SWIGLU_OPS for result in [*results, *planned])
        gates = [*_gates(), *(_swiglu_gates() if has_swiglu else [])]
    for gate in gates:
        found = {name: value for name, value in gate.values(results).items() if value is not None}
        count = len(gate.values([{**case, "peers": {}} for case in planned]))
        limit = f"{'at most' if gate.at_most else 'at least'} {gate.limit:g}"
        if not found:
            verdicts.append(Verdict(gate.name, "NOT RUN", limit, 0, count))
            continue
        worst_case = (max if gate.at_most else min)(found, key=found.__getitem__)
        mean, worst = geometric_mean(list(found.values())), found[worst_case]
        value = mean if gate.mean else worst
        passes = value <= gate.limit if gate.at_most else value >= gate.limit
        verdicts.append(Verdict(gate.name, "PASS" if passes else "MISS", limit, len(found), count,
                                value, mean, worst, worst_case))
    return verdicts


def table_header() -> str:
    return (f"{'case':60} {'live':>6} {'moe us':>8} {'p10-p90':>15} {'GB/s':>6} "
            f"{'old':>8} {'x':>5} {'triton':>8} {'x':>5} {'reference':>9} {'x':>5} "
            f"{'compile':>8} {'x':>5} {'copy':>8} {'of it':>6} others")


def table_line(result: Result) -> str:
    def number(value: float | None, width: int, digits: int) -> str:
        return f"{'-' if value is None else format(value, f'.{digits}f'):>{width}}"

    def peer(name: str, width: int = 8, digits: int = 2) -> str:
        """Its time, and that in times of moe's."""
        return (f"{number(time_of(result, name), width, 2)} "
                f"{number(ratio(result, name, 'moe'), 5 if digits == 2 else 6, digits)}")

    moe = result["peers"].get("moe", {})
    spread = f"{moe['p10']:.2f}-{moe['p90']:.2f}" if "p10" in moe else "-"
    others = [f"{name} {time_of(result, name):.2f}" for name in result["peers"]
              if name not in ("moe", "moe-old", "triton", "reference", "copy", "compile")
              and time_of(result, name) is not None]
    others += [f"{name} FAILED" for name, entry in result["peers"].items() if "error" in entry]
    others += [f"{name}: {entry['note']}" for name, entry in result["peers"].items()
               if "note" in entry]
    return (f"{result['name']:60} {result['live']:6} {number(moe.get('us'), 8, 2)} {spread:>15} "
            f"{number(bandwidth(result, 'moe'), 6, 0)} {peer('moe-old')} {peer('triton')} "
            f"{peer('reference', 9)} {peer('compile')} {peer('copy', 8, 3)} {', '.join(others)}")


def grid_name(ctas_per_sm: float) -> str:
    """The peer that is moe with so many CTAs for each SM."""
    return f"moe {ctas_per_sm:g} a SM"


def grids_header(grids: Sequence[float]) -> str:
    columns = " ".join(f"{ctas:>8g}" for ctas in grids)
    return f"{'case':60} {'moe':>8} {'old':>8} CTAs a SM: {columns}  fastest"


def grids_line(result: Result) -> str:
    """Times of every grid, the fastest, and how much of the default's time it takes."""
    def time(name: str) -> str:
        us = time_of(result, name)
        if us is not None:
            return f"{us:8.2f}"
        return f"{'FAILED' if name in result['peers'] else '-':>8}"

    given = [name for name in result["peers"] if name.startswith("moe ")]
    line = (f"{result['name']:60} {time('moe')} {time('moe-old')}            "
            f"{' '.join(map(time, given))}")
    times = {name: us for name in given if (us := time_of(result, name)) is not None}
    if not times:
        return line
    fastest = min(times, key=times.__getitem__)
    return f"{line}  {fastest.removeprefix('moe ')}, {ratio(result, fastest, 'moe'):.3f}"


def verdicts_as_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [asdict(verdict) for verdict in verdicts]


def save(path: Path, document: dict[str, Any]) -> None:
    """Replaces the file at once, so that whoever stops the program finds a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(partial, path)
