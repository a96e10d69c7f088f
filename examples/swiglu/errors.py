# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How many bf16 results of SwiGLU differ from the exact product silu(g) * u rounded once, by the way
in which it is computed: a table, and with --figure FILE.svg a picture, which needs matplotlib.

Of all gates g with |g| from 2^-13 to below 128, down to -87, and all 128 mantissas of an up u: its
sign and its exponent change nothing but those of the result. Everything is computed here, in NumPy;
what runs the same operations has the same numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

try:
    from moe_testing import activations, oracle
    from moe_testing.gated_batches import MANTISSAS
except ModuleNotFoundError:
    sys.exit("errors.py: this Python lacks moe_testing: run it by build/venv/bin/python, which "
             "scripts/setup.sh makes; or, from the root of the checkout, with "
             "PYTHONPATH=$PWD/testing")

# Powers of two, the first of them of |g|.
BINADES = range(-13, 7)
UPS = oracle.bf16_from_bits(np.array(MANTISSAS)).astype(np.float32)


def gates_of(binade: int, sign: int) -> np.ndarray:
    """The bf16 gates of a sign from 2^binade to below twice that; sigma of those below -87 is 0 or
    next to it.
    """
    patterns = (127 + binade << 7) + np.arange(128) + (0x8000 if sign < 0 else 0)
    gates = oracle.bf16_from_bits(patterns)
    return gates[gates.astype(np.float32) >= -87]


def correctly_rounded(g: np.ndarray) -> np.ndarray:
    """silu(g) * u of each gate and each of UPS, exact and then rounded to bf16.

    By float64. What a product may lack in it is less than its distance from where it would be
    rounded otherwise, except for gates so large that silu(g) is g but for 16 digits: their products
    are near those of g and u, many of which lie in the middle between two bf16 values. silu is the
    smaller one.
    """
    wide = g.astype(np.float64)
    silu = wide / (1 + np.exp(-wide))
    silu = np.where(wide > 0, np.minimum(silu, np.nextafter(wide, 0)), silu)
    fraction, exponent = np.frexp(silu[:, None] * UPS.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, 8)), exponent - 8)


# Of gates to their silu in float32, which is multiplied by the up in float32, and that rounded to
# bf16.


def in_two_steps(g: np.ndarray) -> np.ndarray:
    """silu rounded to bf16 first, as operations on bf16 tensors do."""
    return activations.silu(g).astype(ml_dtypes.bfloat16).astype(np.float32)


def as_quotient(g: np.ndarray) -> np.ndarray:
    """g / (1 + exp(-g)), rounded once where g * sigma is rounded twice; exp correctly rounded."""
    gate = g.astype(np.float32)
    return gate / (1 + np.exp(-gate.astype(np.float64)).astype(np.float32))


# PTX promises that ex2.approx and rcp.approx are so many units of the last place from the correctly
# rounded result, at most.
EX2_UNITS, RCP_UNITS = 2, 1
LOG2E = np.float32(1.4426950408889634)


def off_by(exact: np.ndarray, units: Any) -> np.ndarray:
    """float32 values so many units of the last place from the correctly rounded ones of values that
    are 0 or above; not below 0.
    """
    patterns = oracle.bits(exact.astype(np.float32)).astype(np.int64) + units
    return np.maximum(patterns, 0).astype(np.uint32).view(np.float32)


def approximated(g: np.ndarray, ex2_units: Any, rcp_units: Any) -> np.ndarray:
    """g * rcp(1 + ex2(-g * log2(e))), with these errors."""
    gate = g.astype(np.float32)
    e = off_by(np.exp2((-gate * LOG2E).astype(np.float64)), ex2_units)
    return gate * off_by(1 / (np.float32(1) + e).astype(np.float64), rcp_units)


def with_drawn_errors(g: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    return approximated(g, *(rng.integers(-most, most + 1, g.size)
                             for most in (EX2_UNITS, RCP_UNITS)))


def with_least_sigma(g: np.ndarray) -> np.ndarray:
    return approximated(g, EX2_UNITS, -RCP_UNITS)


def with_greatest_sigma(g: np.ndarray) -> np.ndarray:
    return approximated(g, -EX2_UNITS, RCP_UNITS)


# By name, functions of which any may be what is computed: a result differs if one of them does. What
# lies between the least and the greatest sigma rounds to what they do, or between.
Silu = Callable[[np.ndarray], np.ndarray]
WAYS: dict[str, tuple[Silu, ...]] = {
    "moe-mlir": (activations.silu,),
    "quotient": (as_quotient,),
    "approx": (with_drawn_errors,),
    "at worst": (with_least_sigma, with_greatest_sigma),
    "two steps": (in_two_steps,),
}
LABELS = {
    "moe-mlir": "moe-mlir",
    "quotient": "g / (1 + exp(-g)), as Inductor",
    "approx": "ex2.approx and rcp.approx, errors drawn within the promised",
    "at worst": "ex2.approx and rcp.approx, whatever errors are promised",
    "two steps": "silu rounded to bf16 first, as eager PyTorch",
}


def products(silu: np.ndarray) -> np.ndarray:
    """bf16(f32(silu * u)) of each of UPS, as float64."""
    return oracle.round_to_bf16(silu[:, None] * UPS).astype(np.float64)


def count_differing(g: np.ndarray, way: str, wanted: np.ndarray) -> int:
    differ = np.zeros(wanted.shape, bool)
    for silu in WAYS[way]:
        differ |= products(silu(g)) != wanted
    return int(np.count_nonzero(differ))


def shares(sign: int) -> dict[str, list[float]]:
    """Of each way, the part of results that differ, for each binade."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for binade in BINADES:
        g = gates_of(binade, sign)
        wanted = correctly_rounded(g)
        for way in WAYS:
            found[way].append(count_differing(g, way, wanted) / wanted.size)
    return found


def print_table(below: dict[str, list[float]], above: dict[str, list[float]]) -> None:
    def row(first: str, cells: list[str]) -> None:
        print(first.ljust(10) + "".join(cell.rjust(10) for cell in cells))

    def percent(share: float) -> str:
        return f"{100 * share:.3f}%" if share else "0"

    for title, found in (("g < 0", below), ("g > 0", above)):
        row(title, list(WAYS))
        for index, binade in enumerate(BINADES):
            row(f"2^{binade}", [percent(found[way][index]) for way in WAYS])
        print()
    # All binades but the last three count the same number of pairs.
    usual = BINADES.index(4)
    row("below 16", [percent(float(np.mean(below[way][:usual] + above[way][:usual])))
                     for way in WAYS])


# Colour, marker, size; those drawn later lie above.
STYLES = {"two steps": ("#222222", "^", 4), "approx": ("#c45a11", "s", 7),
          "moe-mlir": ("#0a6e5c", "o", 4.5), "quotient": ("#e6b800", "x", 4)}
TICKS = {0: "none", 1e-4: "0.01%", 1e-3: "0.1%", 1e-2: "1%", 1e-1: "10%", 1: "100%"}


def draw(below: dict[str, list[float]], above: dict[str, list[float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    # The same numbers give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "moe-mlir", "svg.fonttype": "none",
                                "font.size": 8})
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
    axes = figure.subplots(1, 2, sharey=True)
    middles = [2.0 ** (binade + 0.5) for binade in BINADES]
    for axis, found, title in zip(axes, (below, above), ("g < 0", "g > 0")):
        axis.fill_between(middles, found["at worst"], color=STYLES["approx"][0], alpha=0.15,
                          linewidth=0, label=LABELS["at worst"])
        # One in 16,384 says little of the next binade: no lines where there are so few.
        for way, (colour, marker, size) in STYLES.items():
            axis.plot(middles, found[way], color=colour, marker=marker, linewidth=1,
                      linestyle="-" if way == "two steps" else "", markersize=size,
                      label=LABELS[way], clip_on=False, zorder=3,
                      fillstyle="none" if way == "approx" else "full")
        axis.set_xscale("log", base=2)
        # Linear below what one of a binade's pairs is.
        axis.set_yscale("symlog", linthresh=5e-5, linscale=0.5)
        axis.set_ylim(0, 1)
        axis.set_yticks(list(TICKS), list(TICKS.values()))
        axis.minorticks_off()
        axis.set(title=title, xlabel="|g|")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("results unlike the exact product, rounded to bf16")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, **({"metadata": {"Date": None}} if path.suffix == ".svg" else {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    with np.errstate(over="ignore"):
        below, above = shares(-1), shares(1)
    print_table(below, above)
    if options.figure:
        try:
            draw(below, above, options.figure)
        except ImportError as missing:
            sys.exit(f"errors.py: the figure needs matplotlib: {missing}")


if __name__ == "__main__":
    main()
