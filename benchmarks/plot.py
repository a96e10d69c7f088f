# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Draws the results of gpu.py as SVG, or writes them as Markdown tables.

    benchmarks/plot.py FILE.json ... --figures FOLDER     bandwidth.svg, speedup.svg, capacity.svg
    benchmarks/plot.py FILE.json ... --markdown           on stdout

Of several files the last that has a case counts. The figures need matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Callable, Optional, Sequence

import cases
import results

COLOURS = {"moe": "#0a6e5c", "moe-untouched": "#5fb8a5", "triton": "#c45a11", "eager": "#9a9a9a",
           "compile": "#6b5b95", "copy": "#222222"}
LABELS = {"moe": "moe-mlir", "moe-untouched": "moe-mlir, dead scales untouched",
          "triton": "Triton", "eager": "PyTorch, eager", "compile": "torch.compile",
          "copy": "cudaMemcpyAsync"}


def read(paths: Sequence[Path]) -> tuple[list[results.Result], str]:
    """The results in the order of the cases, and the names of the devices."""
    found: dict[str, results.Result] = {}
    devices = []
    for path in paths:
        document = json.loads(path.read_text())
        devices.append(document["device"])
        found.update({result["name"]: result for result in document["results"]})
    order = {case.name: index for index, case in enumerate(cases.all_cases())}
    ordered = sorted(found.values(), key=lambda r: order.get(r["name"], len(order)))
    return ordered, ", ".join(dict.fromkeys(devices))


def of_kind(all_results: Sequence[results.Result], op: str, *kinds: str) -> list[results.Result]:
    return [result for result in all_results if result["op"] == op and result["kind"] in kinds]


def draw_bandwidth(all_results: Sequence[results.Result], device: str, axes: Sequence[Any]) -> None:
    """Dense inputs: GB/s by the bytes that must move; the copy is the ceiling."""
    for axis, op in zip(axes, cases.OPS):
        chosen = sorted(of_kind(all_results, op, "dense"), key=lambda r: r["bytes"])
        for peer in ("copy", "moe", "triton", "compile", "eager"):
            points = [(result["bytes"] / 1e6, results.bandwidth(result, peer)) for result in chosen
                      if results.time_of(result, peer) is not None]
            if points:
                axis.plot(*zip(*points), "--" if peer == "copy" else "o-", color=COLOURS[peer],
                          label=LABELS[peer], markersize=4, linewidth=1.2)
        axis.set(xscale="log", xlabel="bytes read and written, MB", ylabel="GB/s",
                 title=f"{op}, dense, {device}")
        axis.set_ylim(bottom=0)


def draw_speedup(all_results: Sequence[results.Result], device: str, axes: Sequence[Any]) -> None:
    """Times as fast as Triton, a bar for each case."""
    for axis, op in zip(axes, cases.OPS):
        chosen = [(result, ratio) for result in of_kind(all_results, op, "dense", "routed")
                  if (ratio := results.ratio(result, "triton", "moe")) is not None][::-1]
        names = [result["name"].removeprefix(op + " ") for result, _ in chosen]
        bars = axis.barh(names, [ratio for _, ratio in chosen], color=COLOURS["moe"])
        axis.bar_label(bars, fmt="%.2f", fontsize=6, padding=2)
        axis.axvline(1, color=COLOURS["triton"], linewidth=1, label=LABELS["triton"])
        axis.tick_params(axis="y", labelsize=6)
        axis.margins(x=0.08, y=0.01)
        axis.set(xlabel="times as fast as Triton", title=f"{op}, {device}")


def draw_capacity(all_results: Sequence[results.Result], device: str, axes: Sequence[Any]) -> None:
    """The same live rows under growing capacities."""
    for axis, op in zip(axes, cases.OPS):
        chosen = sorted(of_kind(all_results, op, "capacity"), key=lambda r: r["capacity_tokens"])
        for peer in ("moe", "moe-untouched", "triton"):
            points = [(result["capacity_tokens"], results.time_of(result, peer))
                      for result in chosen if results.time_of(result, peer) is not None]
            if points:
                axis.plot(*zip(*points), "o-", color=COLOURS[peer], label=LABELS[peer],
                          markersize=4, linewidth=1.2)
        axis.set(xlabel="capacity, tokens", ylabel="µs",
                 title=f"{op}, {cases.SWEEP_TOKENS} tokens routed, K {cases.SWEEP_K}, {device}")
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0)


FIGURES: dict[str, tuple[Callable[..., None], tuple[float, float]]] = {
    "bandwidth": (draw_bandwidth, (11, 4)), "speedup": (draw_speedup, (11, 7)),
    "capacity": (draw_capacity, (11, 4)),
}


def draw(all_results: Sequence[results.Result], device: str, folder: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    # The same results give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "moe-mlir", "svg.fonttype": "none",
                                "font.size": 8})
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for name, (draw_axes, size) in FIGURES.items():
        figure, axes = plt.subplots(1, 2, figsize=size, layout="constrained")
        draw_axes(all_results, device, axes)
        for axis in axes:
            axis.grid(alpha=0.3)
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=7)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)


def markdown(all_results: Sequence[results.Result], device: str) -> str:
    """A table for each op, and the gates."""
    def number(value: Optional[float], digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    lines = [f"All of {device}; µs of a launch, medians, in parentheses the 10th and the 90th "
             "percentile. What the peers are stands in benchmarks/gpu.py."]
    for op in cases.OPS:
        others = ["eager", "compile", *(["moe-untouched", "moe-activation"] * (op == "quantize"))]
        header = ["case", "live rows", "moe", "GB/s", "triton", "times", "copy",
                  "of its bandwidth", *others]
        lines += ["", f"`{cases.OPS[op]}`:", "", f"| {' | '.join(header)} |",
                  "|---" * len(header) + "|"]
        for result in of_kind(all_results, op, "dense", "routed", "capacity"):
            moe = result["peers"].get("moe", {})
            spread = f" ({moe['p10']:.2f}-{moe['p90']:.2f})" if "p10" in moe else ""
            copy = results.ratio(result, "copy", "moe")
            cells = [result["name"].removeprefix(op + " "), str(result["live"]),
                     number(moe.get("us"), 2) + spread,
                     number(results.bandwidth(result, "moe"), 0),
                     number(results.time_of(result, "triton"), 2),
                     number(results.ratio(result, "triton", "moe"), 2),
                     number(results.time_of(result, "copy"), 2),
                     "" if copy is None else f"{100 * copy:.0f}%",
                     *(number(results.time_of(result, peer), 2) for peer in others)]
            lines.append(f"| {' | '.join(cells)} |")
    planned = [case.describe() for case in cases.all_cases()]
    lines += ["", "| gate | limit | value | mean | worst | cases | |", "|---" * 7 + "|"]
    for verdict in results.judge(all_results, planned)[1:]:
        worst = f"{number(verdict.worst, 2)} ({verdict.worst_case})" if verdict.worst_case else ""
        lines.append(f"| {verdict.name} | {verdict.limit} | {number(verdict.value, 2)} | "
                     f"{number(verdict.mean, 2)} | {worst} | {verdict.cases} of "
                     f"{verdict.planned} | {verdict.status} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.json")
    parser.add_argument("--figures", type=Path, metavar="FOLDER")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    all_results, device = read(options.files)
    if options.markdown:
        print(markdown(all_results, device), end="")
    if options.figures:
        try:
            draw(all_results, device, options.figures)
        except ImportError as missing:
            sys.exit(f"plot.py: the figures need matplotlib: {missing}")


if __name__ == "__main__":
    main()
