# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Invented results of a whole run of gpu.py, in which every gate passes."""

from __future__ import annotations

from typing import Any

import cases

# By kind of case, in times of what moe takes.
SLOWER = {"dense": 1.5, "routed": 5.0, "capacity": 6.0}


def make_results() -> list[dict[str, Any]]:
    found = []
    for case in cases.all_cases():
        us = 2.0 + cases.bytes_moved(case) / 2.9e6
        times = {"moe": us, "triton": SLOWER[case.kind] * us, "copy": 0.97 * us, "empty": 1.0,
                 "eager": 4 * us, "compile": 1.2 * us}
        if case.op == "quantize" and case.kind != "dense":
            times.update({"moe-untouched": 1.1 * us, "moe-activation": us})
        peers = {name: {"us": us, "p10": 0.99 * us, "p90": 1.02 * us}
                 for name, us in times.items()}
        found.append({**case.describe(), "n_used": 1, "sets": 2, "peers": peers})
    return found


def find(results: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(result for result in results if result["name"] == name)
