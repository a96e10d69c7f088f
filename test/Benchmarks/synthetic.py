# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Invented results of a whole run of gpu.py, in which every gate passes."""

from __future__ import annotations

from typing import Any

import cases

# By kind of case, in times of what moe takes.
TRITON = {"dense": 1.5, "routed": 2.0, "capacity": 3.0}
# Cases in which the old library was slow.
OLD = {"activation routed 64 K 1856 capacity 8192": 2.0,
       "activation routed 64 K 2688 experts 512 top 22 capacity 8192": 3.0}


def make_results() -> list[dict[str, Any]]:
    found = []
    for case in cases.all_cases():
        us = 2.0 + cases.bytes_moved(case) / 2.9e6 + case.M / 1e6
        triton = TRITON[case.kind] * us
        times = {"moe": us, "moe-old": OLD.get(case.name, 1.0) * us, "triton": triton,
                 "reference": 1.4 * triton}
        if case.kind != "capacity":
            times.update({"copy": 0.97 * us, "empty": 1.0})
        if 2 * cases.live_rows(case) >= case.M and case.alignment == 128:
            times["compile"] = 0.98 * us
        if case.op == "quantize" and case.kind != "dense":
            times.update({"moe-untouched": 1.1 * us, "moe-activation": us})
        peers = {name: {"us": us, "p10": 0.99 * us, "p90": 1.02 * us}
                 for name, us in times.items()}
        found.append({**case.describe(), "n_used": 1, "sets": 2, "peers": peers})
    return found


def find(results: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(result for result in results if result["name"] == name)
