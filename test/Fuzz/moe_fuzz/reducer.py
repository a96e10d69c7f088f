# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes a module that fails smaller while it fails in the same way.

A generated module loses ops, with all that needs them, and stays valid; a mutant loses lines.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from .program import Module, Stuck
from .properties import Case, Failure, Stage, check_case

MAX_SECONDS = 40.0


def minimize(count: int, attempt: Callable[[list[int]], bool]) -> None:
    """Delta debugging: drops ever smaller runs of the numbers below `count`. `attempt` is given
    what to drop, keeps the change if the failure is still there, and says so."""
    left = list(range(count))
    step = max(count // 2, 1)
    while step:
        position = len(left)
        while position > 0:
            begin = max(position - step, 0)
            if attempt(left[begin:position]):
                del left[begin:position]
            position = begin
        step //= 2


def reduce_case(case: Case, failure: Failure, stage_list: list[Stage]) -> tuple[str, Failure]:
    """The text of a smaller module, and its failure."""
    deadline = time.monotonic() + MAX_SECONDS
    last = failure

    def still_fails(candidate: Case) -> bool:
        nonlocal last
        if time.monotonic() > deadline:
            return False
        try:
            found = check_case(candidate, stage_list, failure.stage)
        except (KeyError, Stuck):
            return False
        if found is None or found.signature() != failure.signature():
            return False
        last = found
        return True

    if case.module is None:
        return _reduce_lines(case, still_fails), last
    return _reduce_ops(case, case.module, still_fails), last


def _reduce_lines(case: Case, still_fails: Callable[[Case], bool]) -> str:
    lines: list[str | None] = list(case.text.splitlines())

    def attempt(dropped: list[int]) -> bool:
        kept = [None if i in dropped else line for i, line in enumerate(lines)]
        text = "\n".join(line for line in kept if line is not None) + "\n"
        if not still_fails(Case(case.name, text)):
            return False
        lines[:] = kept
        return True

    minimize(len(lines), attempt)
    return "\n".join(line for line in lines if line is not None) + "\n"


def _reduce_ops(case: Case, module: Module, still_fails: Callable[[Case], bool]) -> str:
    ops = module.ops()
    results = module.entry.body

    def holds() -> bool:
        return still_fails(Case(case.name, module.text(), module))

    # What is returned keeps ops alive.
    yields = results.yields
    for value in list(yields):
        results.yields = tuple(v for v in results.yields if v is not value)
        if not holds():
            results.yields = yields
        yields = results.yields

    def attempt(dropped: list[int]) -> bool:
        state = [op.is_on for op in ops], [f.is_on for f in module.functions]
        changed = module.switch_off(set(dropped))
        module.drop_uncalled()
        if changed and holds():
            return True
        for op, is_on in zip(ops, state[0]):
            op.is_on = is_on
        for function, is_on in zip(module.functions, state[1]):
            function.is_on = is_on
        return False

    minimize(len(ops), attempt)
    minimize(len(ops), attempt)
    _drop_arguments(module, holds)
    return module.text()


def _drop_arguments(module: Module, holds: Callable[[], bool]) -> None:
    """Arguments that nothing uses any more."""
    entry = module.entry
    for value in list(entry.params):
        before = entry.params, module.arrays
        index = entry.params.index(value)
        entry.params = entry.params[:index] + entry.params[index + 1 :]
        module.arrays = module.arrays[:index] + module.arrays[index + 1 :]
        is_used = re.search(rf"{re.escape(value.name)}\b", module.text())
        if is_used or not holds():
            entry.params, module.arrays = before
