# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What must hold: no crash and no hang; accepted means lowered; refused means a located error;
executed means the bytes of the oracle."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .generator import generate
from .mutations import mutate
from .program import Module, expected
from .runner import Outcome, execute, run_tool

CHIPS = [
    "sm_80",
    "sm_86",
    "sm_89",
    "sm_90",
    "sm_90a",
    "sm_100",
    "sm_100a",
    "sm_103f",
    "sm_110",
    "sm_120",
    "sm_121a",
]
OP_NAME = re.compile(r'(?:^|= )\s*"([a-z_0-9]+)\.([\w.]+)"[(<]', re.MULTILINE)


@dataclass(frozen=True)
class Stage:
    """A run of moe-opt. `target` is the pipeline's in `Op.refused_by`, empty for what must take every
    module that verifies; an accepted module holds ops of `lowered` alone, each a dialect or an op, or
    anything but moe ops if that is None."""

    name: str
    options: tuple[str, ...]
    target: str = ""
    lowered: frozenset[str] | None = None
    has_moe: bool = False


def stages(rng: random.Random) -> list[Stage]:
    """The passes and pipelines, two of them for chips and options of `rng`."""
    generic = "--mlir-print-op-generic"
    chip, other = rng.choice(CHIPS), rng.choice(CHIPS)
    width = rng.choice(
        ["", " access-bytes=16", " num-ctas=1", " threads-per-cta=64", " num-ctas=65535"]
    )
    checks = rng.choice(["", "=verify-at-runtime"])
    return [
        Stage("round trip", ("--verify-roundtrip",), has_moe=True),
        Stage(
            "canonicalize",
            ("--canonicalize", "--cse", "--moe-fuse-quantize", "--canonicalize"),
            has_moe=True,
        ),
        Stage("bufferize", ("--moe-bufferize",), "cpu", has_moe=True),
        Stage(
            "cpu", (f"--moe-lower-to-cpu{checks}", generic), "cpu", frozenset(["builtin", "llvm"])
        ),
        Stage(
            "cuda",
            (f"--moe-lower-to-cuda=chip={chip}{width}", generic),
            "cuda",
            frozenset(["builtin", "llvm", "gpu.binary", "gpu.launch_func"]),
        ),
        Stage("ptx", (f"--moe-lower-to-ptx=chip={other}{width}", generic), "ptx"),
    ]


@dataclass(frozen=True)
class Failure:
    """`kind` and `detail` say what did not hold; `detail` is what a reduced module must keep."""

    stage: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.kind}\n{self.detail}".rstrip()

    def signature(self) -> tuple[str, str, str]:
        """Equal for failures that look like one fault."""
        detail = re.sub(r"%[\w#]+|\d+|0x[0-9a-f]+|<[^<>]*>", "", self.detail.split("\n")[0])
        if self.kind == "crash":
            frames = re.findall(r"(?:mlir|llvm)::[\w:]+(?=\()", self.detail)
            detail = " ".join([*self.detail.split("\n")[:1], *frames[:6]])
        return self.stage, self.kind, detail[:160] if self.kind != "wrong bytes" else ""


@dataclass
class Case:
    """A module to try: one that is valid, or only its text."""

    name: str
    text: str
    module: Module | None = None


def make_case(seed: int, index: int, avoid: frozenset[str]) -> Case:
    """Every second module is a mutant of a valid one."""
    module = generate(seed, index, avoid)
    if index % 2 == 0:
        return Case(f"--seed {seed} --only {index}", module.text(), module)
    return Case(
        f"--seed {seed} --only {index}",
        mutate(random.Random(f"{seed}/{index}/mutant"), module.text()),
    )


def check_outcome(stage: Stage, outcome: Outcome, may_be_refused: bool) -> Failure | None:
    if outcome.kind in ("crash", "hang"):
        return Failure(stage.name, outcome.kind, outcome.text)
    if outcome.kind == "refused":
        if not outcome.text:
            return Failure(stage.name, "refused without a located error", "")
        return None if may_be_refused else Failure(stage.name, "refused", outcome.text)
    if stage.has_moe:
        return None
    left = sorted(
        {
            f"{d}.{n}"
            for d, n in OP_NAME.findall(outcome.text)
            if d == "moe" or (stage.lowered and not {d, f"{d}.{n}"} & stage.lowered)
        }
        | ({"gpu.module"} if '"gpu.module"' in outcome.text else set())
    )
    return Failure(stage.name, "accepted but not lowered", ", ".join(left)) if left else None


def check_execution(module: Module, text: str, stage: str) -> Failure | None:
    """Runs the entry and compares every byte of memref arguments and results. A tensor argument may
    be overwritten: bufferization is in place."""
    wanted_arguments, wanted_results = expected(module)
    outcome, arguments, results = execute(module, text)
    if outcome.kind == "refused" and "cpu" in module.refused_by():
        return None
    if outcome.kind != "ok":
        return Failure(stage, outcome.kind, outcome.text)
    names = [f"argument {i}" for i in range(len(arguments))] + [
        f"result {i}" for i in range(len(results))
    ]
    is_compared = [v.type.is_memref for v in module.entry.params] + [True] * len(results)
    for name, found, wanted in itertools.compress(
        zip(names, arguments + results, wanted_arguments + wanted_results), is_compared
    ):
        bits = f"u{wanted.itemsize}"
        if found.shape != wanted.shape:
            return Failure(
                stage, "wrong bytes", f"{name}: expected shape {wanted.shape}, found {found.shape}"
            )
        wrong = np.argwhere(np.atleast_1d(found.view(bits) != wanted.view(bits)))
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            pair = [int(np.atleast_1d(a.view(bits))[at]) for a in (wanted, found)]
            return Failure(
                stage,
                "wrong bytes",
                f"{name}{list(at)}: expected {pair[0]:#x}, found {pair[1]:#x}"
                f" ({len(wrong)} elements differ)",
            )
    return None


@dataclass
class Report:
    modules: int = 0
    counts: Counter = field(default_factory=Counter)
    failures: list[tuple[Case, Failure]] = field(default_factory=list)


def check_case(case: Case, stage_list: list[Stage], only: str | None = None) -> Failure | None:
    """The first failure of one case, of the stage `only` if given."""
    for stage in stage_list:
        if only and stage.name != only.replace("ptx translation", "ptx"):
            continue
        outcome = run_tool("moe-opt", list(stage.options), [case.text])[0]
        failure = check_outcome(stage, outcome, _may_be_refused(case, stage))
        if not failure and stage.name == "ptx" and outcome.kind == "ok":
            failure = _check_translation([outcome])[0]
        if failure and (only is None or failure.stage == only):
            return failure
    if case.module and (only is None or only.startswith("execution")):
        return _check_both_executions(case)
    return None


def _check_both_executions(case: Case) -> Failure | None:
    failure = check_execution(case.module, case.text, "execution")
    if failure:
        return failure
    outcome = run_tool("moe-opt", ["--canonicalize", "--cse", "--moe-fuse-quantize"], [case.text])[
        0
    ]
    return (
        check_execution(case.module, outcome.text, "execution after passes")
        if outcome.kind == "ok"
        else None
    )


def _may_be_refused(case: Case, stage: Stage) -> bool:
    if case.module is None:
        return stage.target != "" or stage.name == "round trip"
    return stage.target in case.module.refused_by()


def _check_translation(outcomes: list[Outcome]) -> list[Failure | None]:
    """PTX text from each module that has a kernel."""
    chosen = [i for i, o in enumerate(outcomes) if o.kind == "ok" and '"gpu.binary"' in o.text]
    failures: list[Failure | None] = [None] * len(outcomes)
    results = run_tool("moe-translate", ["--moe-to-ptx"], [outcomes[i].text for i in chosen])
    for i, result in zip(chosen, results):
        if result.kind != "ok" or ".entry" not in result.text:
            # Several nested modules have several binaries, of which one must be named.
            if result.kind == "refused" and "expected one gpu.binary" in result.text:
                continue
            failures[i] = Failure("ptx translation", result.kind, result.text[:400])
    return failures


def check_batch(cases: list[Case], stage_list: list[Stage], report: Report) -> None:
    """All stages for many modules. Of one module, the first failure is reported."""
    failed: dict[int, Failure] = {}
    # What does not even parse is not tried again.
    left = list(range(len(cases)))
    for stage in stage_list:
        outcomes = run_tool("moe-opt", list(stage.options), [cases[i].text for i in left])
        for i, outcome in zip(left, outcomes):
            report.counts[f"{stage.name} {outcome.kind}"] += 1
            failure = check_outcome(stage, outcome, _may_be_refused(cases[i], stage))
            if failure:
                failed.setdefault(i, failure)
        if stage.name == "ptx":
            for i, failure in zip(left, _check_translation(outcomes)):
                if failure:
                    failed.setdefault(i, failure)
        if stage.name == "round trip":
            left = [i for i, outcome in zip(left, outcomes) if outcome.kind == "ok"]
    for i, case in enumerate(cases):
        if case.module and i not in failed:
            failure = (
                _check_both_executions(case)
                if i % 8 == 0
                else check_execution(case.module, case.text, "execution")
            )
            report.counts["executed"] += 1
            if failure:
                failed[i] = failure
    report.modules += len(cases)
    report.failures += [(cases[i], failed[i]) for i in sorted(failed)]
