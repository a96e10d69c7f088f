# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Draws the results of gpu.py as SVG, or writes them as Markdown tables, with a summary.

    benchmarks/plot.py FILE.json ... --figures FOLDER     bandwidth.svg, speedup.svg, capacity.svg
    benchmarks/plot.py FILE.json ... --markdown           tables and gates on stdout
    benchmarks/plot.py FILE.json ... --summary            three sentences on stdout
    benchmarks/plot.py FILE.json ... --gates              PASS or MISS, a line for each

Of several files the last that has a case counts. The figures need matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cases
import results

# Of peers: colour, marker, label.
STYLES = {
    "copy": ("#222222", "", "cudaMemcpyAsync"),
    "moe": ("#0a6e5c", "o", "moe-mlir"),
    "moe-untouched": ("#6cc3b0", "v", "moe-mlir, dead scales untouched"),
    "moe-hint": ("#2f6fae", "+", "moe-mlir, told the live rows"),
    "moe-old": ("#8f8f8f", "x", "moe-mlir before"),
    "triton": ("#c45a11", "s", "Triton, best grid"),
    "reference": ("#e3b088", "D", "Triton, the reference's grid"),
    "compile": ("#6b5b95", "^", "torch.compile"),
}


def read(paths: Sequence[Path]) -> tuple[list[results.Result], str]:
    """The results in the order of the cases, and the names of the devices."""
    found: dict[str, results.Result] = {}
    devices = []
    for path in paths:
        document = json.loads(path.read_text())
        devices.append(document["device"])
        found.update({result["name"]: result for result in document["results"]})
    order = {case.name: index for index, case in enumerate(
        [*cases.all_cases(), *cases.swiglu_cases()])}
    ordered = sorted(found.values(), key=lambda r: order.get(r["name"], len(order)))
    return ordered, ", ".join(dict.fromkeys(devices))


def of_kind(all_results: Sequence[results.Result], op: str, *kinds: str) -> list[results.Result]:
    return [result for result in all_results if result["op"] == op and result["kind"] in kinds]


def style(peer: str) -> dict[str, Any]:
    colour, marker, label = STYLES[peer]
    return {"color": colour, "marker": marker, "label": label, "markersize": 4}


def short(result: results.Result) -> str:
    """The case's name without its op."""
    return result["name"].removeprefix(result["op"] + " ")


def draw_bandwidth(all_results: Sequence[results.Result], figure: Any) -> None:
    """Dense inputs by the bytes that must move: GB/s, where the copy is the ceiling, and below
    that the part of the copy's.
    """
    axes = figure.subplots(2, len(cases.OPS), sharex=True, sharey="row")
    for (above, below), op in zip(axes.T, cases.OPS):
        chosen = sorted(of_kind(all_results, op, "dense"), key=lambda r: r["bytes"])
        for peer in ("copy", "reference", "compile", "triton", "moe"):
            for axis, value in ((above, lambda r, peer=peer: results.bandwidth(r, peer)),
                                (below, lambda r, peer=peer: results.ratio(r, "copy", peer))):
                points = [(result["bytes"] / 1e6, found) for result in chosen
                          if (found := value(result)) is not None]
                if points:
                    axis.plot(*zip(*points), linestyle="-" if peer == "copy" else "", linewidth=1,
                              **style(peer))
        above.set_title(f"{op}, dense")
        below.set(xscale="log", xlabel="bytes read and written, MB")
        for axis in (above, below):
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("GB/s")
    axes[1][0].set_ylabel("part of the copy's")


def draw_speedup(all_results: Sequence[results.Result], figure: Any) -> None:
    """How many times as fast as Triton with its best grid and with the reference's; a line each."""
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    axes = figure.subplots(1, len(cases.OPS), sharex=True)
    for axis, op in zip(axes, cases.OPS):
        chosen = [result for result in of_kind(all_results, op, "dense", "routed")
                  if results.time_of(result, "moe") is not None][::-1]
        for peer in ("reference", "triton"):
            points = [(ratio, index) for index, result in enumerate(chosen)
                      if (ratio := results.ratio(result, peer, "moe")) is not None]
            if points:
                axis.plot(*zip(*points), linestyle="", **style(peer))
            if peer == "triton":
                for ratio, index in points:
                    axis.annotate(f"{ratio:.2f}", (ratio, index), (-4, 0), fontsize=5,
                                  ha="right", va="center", textcoords="offset points")
        axis.axvline(1, color="#222222", linewidth=0.8)
        axis.set_yticks(range(len(chosen)), [short(result) for result in chosen], fontsize=6)
        axis.set_ylim(-1, max(len(chosen), 1))
        axis.set_xscale("log")
        axis.set_xlim(left=0.5)
        axis.set_xticks([0.5, 1, 2, 5, 10])
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel="moe-mlir is so many times as fast as", title=op)
        axis.grid(alpha=0.3)


TIME_TICKS = (3, 5, 10, 20, 50, 100)


def draw_capacity(all_results: Sequence[results.Result], figure: Any) -> None:
    """The same live rows under growing capacities, a row of panels for each K."""
    ticks = cases.SWEEP_CAPACITIES[::2]
    axes = figure.subplots(len(cases.SWEEP_K), len(cases.OPS), sharex=True, squeeze=False)
    for row, K in zip(axes, cases.SWEEP_K):
        for axis, op in zip(row, cases.OPS):
            chosen = sorted((r for r in of_kind(all_results, op, "capacity") if r["K"] == K),
                            key=lambda r: r["M"])
            for peer in ("reference", "triton", "moe-old", "moe-untouched", "moe-hint", "moe"):
                points = [(result["capacity_tokens"], results.time_of(result, peer))
                          for result in chosen if results.time_of(result, peer) is not None]
                if points:
                    axis.plot(*zip(*points), linewidth=1, **style(peer))
            axis.set_title(f"{op}, {cases.SWEEP_TOKENS} tokens routed, K {K}")
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks, list(map(str, ticks)))
            axis.set_yscale("log")
            axis.set_yticks(TIME_TICKS, list(map(str, TIME_TICKS)))
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        row[0].set_ylabel("µs")
    for axis in axes[-1]:
        axis.set_xlabel("capacity, tokens")


# The function and the size in inches.
FIGURES: dict[str, tuple[Callable[..., None], tuple[float, float]]] = {
    "bandwidth": (draw_bandwidth, (10, 6)), "speedup": (draw_speedup, (10, 10)),
    "capacity": (draw_capacity, (10, 8)),
}


def draw(all_results: Sequence[results.Result], device: str, folder: Path,
         form: str = "svg") -> None:
    import matplotlib

    matplotlib.use("agg")
    # The same results give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "moe-mlir", "svg.fonttype": "none",
                                "font.size": 8})
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for name, (draw_figure, size) in FIGURES.items():
        figure = plt.figure(figsize=size, layout="constrained", facecolor="white")
        draw_figure(all_results, figure)
        figure.suptitle(device)
        # One legend below all panels, of the panel that has most peers.
        entries = max((axis.get_legend_handles_labels() for axis in figure.axes),
                      key=lambda found: len(found[0]))
        if entries[0]:
            figure.legend(*entries, loc="outside lower center", ncols=len(entries[0]), fontsize=7)
        figure.savefig(folder / f"{name}.{form}", dpi=100,
                       **({"metadata": {"Date": None}} if form == "svg" else {}))
        plt.close(figure)


def summary(all_results: Sequence[results.Result], device: str) -> str:
    """Mean, worst case and card, in sentences for the README; for a run of all peers."""
    listed = [r for r in all_results if r["op"] in cases.OPS and r["kind"] in ("dense", "routed")]

    def ratios(peer: str, op: str | None = None) -> dict[str, float]:
        found = {r["name"]: results.ratio(r, peer, "moe") for r in listed if op in (None, r["op"])}
        return {name: ratio for name, ratio in found.items() if ratio is not None}

    def means(peer: str) -> str:
        return " and ".join(f"{results.geometric_mean(list(ratios(peer, op).values())):.2f}"
                            for op in cases.OPS)

    if not all(ratios(peer, op) for peer in ("triton", "reference") for op in cases.OPS):
        return "Not all peers of the summary have been measured.\n"
    triton = ratios("triton")
    worst = min(triton, key=triton.__getitem__)
    slower = sum(ratio < 1 for ratio in triton.values())
    sentences = [
        f"On {device}, over {len(triton)} dense and routed cases in one run, the activation and "
        f"the quantizing op are {means('reference')} times as fast as the reference's Triton "
        f"kernels, and {means('triton')} times as fast as the same kernels with the best grid, "
        "block and warps of each case (geometric means).",
        f"The worst case against the latter is {worst} at {triton[worst]:.2f}; "
        + ("no case is slower." if not slower else
           f"{slower} of the {len(triton)} are slower than that peer."),
    ]
    copies = [ratio for r in listed if r["kind"] == "dense" and results.is_large(r)
              and (ratio := results.ratio(r, "copy", "moe")) is not None]
    compiled = {r["name"]: ratio for r in listed if r["kind"] == "dense"
                and (ratio := results.ratio(r, "compile", "moe")) is not None}
    last = []
    if copies:
        last.append(f"dense inputs of 100 MB and more run at {100 * min(copies):.0f} to "
                    f"{100 * max(copies):.0f}% of the speed of a device copy of as many bytes")
    if compiled:
        slowest = min(compiled, key=compiled.__getitem__)
        last.append("on dense inputs torch.compile with static shapes takes "
                    f"{results.geometric_mean(list(compiled.values())):.2f} times as long "
                    f"(geometric mean; {compiled[slowest]:.2f} at the least, in {slowest})")
    if last:
        text = ", and ".join(last) + "."
        sentences.append(text[0].upper() + text[1:])
    return "\n".join(sentences) + "\n"


def markdown(all_results: Sequence[results.Result], device: str) -> str:
    """A table for each op, and the gates."""
    def number(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    def spread(entry: dict[str, Any]) -> str:
        return f" ({entry['p10']:.2f}-{entry['p90']:.2f})" if "p10" in entry else ""

    # By the title of a column, how its cell is made; a peer that nobody measured has none.
    columns: dict[str, Callable[[results.Result], str]] = {
        "case": short, "live rows": lambda r: str(r["live"]),
        "moe": lambda r: number(results.time_of(r, "moe"), 2) + spread(r["peers"].get("moe", {})),
        "GB/s": lambda r: number(results.bandwidth(r, "moe"), 0)}
    for peer in ("moe-old", "triton", "reference", "compile"):
        columns[peer] = lambda r, peer=peer: number(results.time_of(r, peer), 2)
        columns[f"{peer} / moe"] = lambda r, peer=peer: number(results.ratio(r, peer, "moe"), 2)
    columns["copy"] = lambda r: number(results.time_of(r, "copy"), 2)
    columns["of its bandwidth"] = lambda r: (
        "" if (ratio := results.ratio(r, "copy", "moe")) is None else f"{100 * ratio:.0f}%")
    for peer in ("moe-hint", "moe-untouched", "moe-activation"):
        columns[peer] = lambda r, peer=peer: number(results.time_of(r, peer), 2)

    lines = [f"All of {device}; µs of a launch, medians, in parentheses the 10th and the 90th "
             "percentile. What the peers are stands in benchmarks/gpu.py."]
    measured = {result["op"] for result in all_results}
    for op in [*cases.OPS, *(op for op in cases.SWIGLU_OPS if op in measured)]:
        chosen = of_kind(all_results, op, "dense", "routed", "capacity")
        cells = {title: [make(result) for result in chosen] for title, make in columns.items()}
        cells = {title: column for title, column in cells.items() if any(column)}
        lines += ["", f"`{cases.ALL_OPS[op]}`:", ""]
        if chosen:
            lines += [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]
            lines += [f"| {' | '.join(line)} |" for line in zip(*cells.values())]
        else:
            lines.append("not measured")
    planned = [case.describe() for case in cases.planned_cases(measured)]
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
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--gates", action="store_true")
    options = parser.parse_args()
    all_results, device = read(options.files)
    if options.summary:
        print(summary(all_results, device), end="")
    if options.markdown:
        print(markdown(all_results, device), end="")
    if options.gates:
        planned = cases.planned_cases(result["op"] for result in all_results)
        for verdict in results.judge(all_results, [case.describe() for case in planned]):
            print(verdict.line())
    if options.figures:
        try:
            draw(all_results, device, options.figures)
        except ImportError as missing:
            sys.exit(f"plot.py: the figures need matplotlib: {missing}")


if __name__ == "__main__":
    main()
