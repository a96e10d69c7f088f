# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Puts mistakes into a copy of the last commit, one at a time, and says which ones the tests notice:
`python test/Mutants/run.py [NAME ...]`, or `--check` for whether every mistake can still be made.

The copy and its build are in build/mutants and stay for the next run. The tests most likely to notice run
first; all others only if those did not (and not at all with --first).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import in_compiler
import in_libraries
from mutant import Mutant

MUTANTS = in_libraries.MUTANTS + in_compiler.MUTANTS
ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutants"
# By this path the environment finds the Python packages of the copy.
PYTHON = COPY / "build" / "venv" / "bin" / "python"
TIMEOUT_S = 1200

# For files that begin so: what to build, and the tests that are likely to notice, below test/. A test that is
# no .py is a folder or file of lit.
FIRST = [
    ("python/moe_mlir/_compiler", "", "python/test_compile.py python/test_compile_op.py"),
    ("python/moe_mlir/torch_ops", "", "python/test_torch.py"),
    ("python/", "", "python/test_numpy.py python/test_numpy_memory.py"),
    ("lib/MgpuRuntime/Mgpu", "moe_mgpu_runtime", "Runtime/test_mgpu.py"),
    (
        "lib/Runtime/Cuda",
        "moe_runtime",
        "Runtime/test_runtime_choices.py Runtime/test_runtime_limits.py Runtime/test_runtime_cuda.py",
    ),
    (
        "lib/Runtime/Image",
        "moe_runtime",
        "Runtime/test_runtime_limits.py Runtime/test_runtime_cuda.py",
    ),
    (
        "lib/Driver/",
        "moe_runtime moe_mgpu_runtime",
        "Runtime/test_runtime_cuda.py Runtime/test_mgpu.py",
    ),
    (
        "lib/Launch/",
        "moe-opt moe-translate moe_runtime",
        "Runtime/test_runtime_cuda.py Conversion Docs/test_kernel_abi.py",
    ),
    ("lib/Runtime/Python", "moe_runtime", "python/test_direct.py python/test_hints.py"),
    (
        "lib/Runtime/",
        "moe_runtime",
        "Runtime/test_runtime_limits.py Runtime/test_runtime_errors.py Runtime/test_runtime_cpu.py "
        "Runtime/test_runtime_choices.py",
    ),
    ("tools/moe-run/", "moe-run", "Tools/moe-run/test_traces.py Tools/moe-run/test_moe_run.py"),
    ("lib/IR/", "moe-opt", "Dialect Transforms"),
    ("lib/Transforms/", "moe-opt", "Transforms Pipelines"),
    ("lib/Target/", "moe-opt moe-translate", "Target Pipelines"),
    (
        "lib/Conversion/Kernel",
        "moe-opt moe-translate",
        "Conversion Integration/PTX/test_kernel_edges.py Integration/PTX/test_kernels.py",
    ),
    (
        "lib/Conversion/MoeToSCF",
        "moe-run",
        "Integration/CPU/test_cpu.py Integration/test_permute.py",
    ),
    (
        "lib/Conversion/GroupWords",
        "moe-run",
        "Integration/CPU/test_cpu.py Integration/CPU/test_conversions.py",
    ),
    (
        "lib/Conversion/LegalizeBF16.cpp",
        "moe-opt moe-run",
        "Conversion/legalize-bf16.mlir Integration/CPU/test_conversions.py",
    ),
    (
        "lib/Conversion/PermutationToGPU",
        "moe-opt moe-translate",
        "Integration/PTX/test_permutation_kernels.py",
    ),
    ("lib/Conversion/PermutationToSCF", "moe-run", "Integration/CPU/test_permutation_cpu.py"),
    ("lib/Conversion/Unpermute", "moe-run", "Integration/CPU/test_permutation_cpu.py"),
    (
        "lib/Conversion/",
        "moe-opt moe-translate moe-run",
        "Conversion Integration/CPU/test_cpu.py Integration/PTX/test_kernel_edges.py "
        "Integration/test_permute.py",
    ),
    ("include/moe/Target/", "moe-opt moe-translate", "Target Pipelines Conversion"),
]


def run(command: list[str], **kwargs) -> subprocess.CompletedProcess | None:
    """None after a timeout, which a test that hangs deserves to be noticed by."""
    try:
        return subprocess.run(
            command,
            cwd=COPY,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            **kwargs,
        )
    except subprocess.TimeoutExpired:
        return None


def build(targets: list[str]) -> str | None:
    """What is wrong with the build, if anything."""
    command = ["cmake", "--build", "build", "-j", str(os.cpu_count())]
    result = run(command + (["--target", *targets] if targets else []))
    if result is not None and result.returncode == 0:
        return None
    return "the build" if result is None else "the build: " + result.stdout[-2000:]


def test(paths: list[str]) -> str | None:
    """The first test of these that fails."""
    for path in paths:
        if path.endswith(".py") or path.startswith("Integration"):
            result = run(
                [str(PYTHON), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"test/{path}"]
            )
            marks = ("FAILED", "ERROR")
        else:
            result = run(
                ["/usr/lib/llvm-22/bin/lit", "-sv", f"build/test/{path}"]
                if path
                else ["cmake", "--build", "build", "--target", "check-moe"]
            )
            marks = ("FAIL:", "TIMEOUT:")
        if result is None:
            return f"{path} (does not end)"
        if result.returncode:
            lines = [line for line in result.stdout.splitlines() if line.startswith(marks)]
            return lines[0] if lines else f"{path}: {(result.stdout + result.stderr)[-500:]}"
    return None


def prepare() -> None:
    """A copy of the last commit, built."""
    if not (COPY / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(COPY)], check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for command in (
        ["git", "fetch", "--quiet", str(ROOT), head.strip()],
        ["git", "checkout", "--quiet", "--force", "--detach", head.strip()],
    ):
        subprocess.run(command, cwd=COPY, check=True)
    (COPY / "build").mkdir(exist_ok=True)
    if not (COPY / "build" / "venv").exists():
        (COPY / "build" / "venv").symlink_to(ROOT / "build" / "venv")
    configured = run(["cmake", "--preset", "debian"])
    assert configured and configured.returncode == 0, configured and configured.stderr
    problem = build([])
    if problem:
        sys.exit(f"without a mistake: {problem}")


def problem_of(mutant: Mutant, root: Path) -> str | None:
    """Why the mistake cannot be made."""
    path = root / mutant.file
    if not path.is_file():
        return f"{mutant.name}: no file {mutant.file}"
    count = path.read_text().count(mutant.old)
    return (
        None
        if count == 1
        else f"{mutant.name}: {mutant.file} has the text {count} times, not once: {mutant.old!r}"
    )


def notice(mutant: Mutant, only_first: bool) -> str | None:
    """What noticed the mistake."""
    path = COPY / mutant.file
    text = path.read_text()
    targets, first = next((t, f) for prefix, t, f in FIRST if mutant.file.startswith(prefix))
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        problem = build(targets.split()) if targets else None
        problem = problem or test(first.split())
        if problem or only_first:
            return problem
        return (build([]) if targets else None) or test(
            ["", "python", "Runtime", "Tools", "Integration", "Package"]
        )
    finally:
        path.write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="mutants to try, or parts of their names or files; all if none"
    )
    parser.add_argument("--check", action="store_true", help="only say which can no longer be made")
    parser.add_argument("--first", action="store_true", help="run the likeliest tests alone")
    options = parser.parse_args()
    chosen = [
        m
        for m in MUTANTS
        if not options.names or any(n in m.name or n in m.file for n in options.names)
    ]
    problems = [p for p in (problem_of(m, ROOT) for m in chosen) if p]
    if problems or options.check:
        print("\n".join(problems) or f"all {len(chosen)} can be made")
        return 1 if problems else 0

    COPY.parent.mkdir(exist_ok=True)
    with open(COPY.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another run is at work in {COPY}")
        return try_all(chosen, options.first)


def try_all(chosen: list[Mutant], only_first: bool) -> int:
    prepare()
    missed = []
    for mutant in chosen:
        begin = time.monotonic()
        by = notice(mutant, only_first)
        missed += [] if by else [mutant.name]
        print(
            f"{'noticed    ' if by else 'NOT NOTICED'} {mutant.name} ({time.monotonic() - begin:.0f} s)"
            + (f": {by.splitlines()[0][:160]}" if by else ""),
            flush=True,
        )
    print(
        f"{len(chosen) - len(missed)} of {len(chosen)} noticed; not noticed: {', '.join(missed) or 'none'}"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
