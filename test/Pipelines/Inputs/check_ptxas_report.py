# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads the report of `ptxas -v` from standard input and fails if a kernel spills, has a stack
frame or uses too many registers, or if the report is not one of as many kernels as expected.

    --besides TEXT=REGISTERS,BYTES   kernels with TEXT in their names may have so many registers, and
                                     BYTES each of stack frame, of spills stored and of spills loaded
"""

import argparse
import re
import sys

KERNEL = re.compile(r"Compiling entry function '(?P<name>[^']+)'")
MEMORY = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
)
REGISTERS = re.compile(r"Used (?P<count>\d+) registers")


def problems_of(report: str, kernels: int, max_registers: int,
                besides: list[tuple[str, int, int]]) -> list[str]:
    starts = list(KERNEL.finditer(report))
    problems = []
    if len(starts) != kernels:
        problems.append(f"expected {kernels} kernels, found {len(starts)}")
    ends = [start.start() for start in starts[1:]] + [len(report)]
    for start, end in zip(starts, ends):
        name, text = start["name"], report[start.end() : end]
        memory, registers = MEMORY.search(text), REGISTERS.search(text)
        if not memory or not registers:
            problems.append(f"{name}: expected its stack frame, spills and registers, found none")
            continue
        most, spilled = max_registers, 0
        for part, more_registers, more_bytes in besides:
            if part in name:
                most, spilled = more_registers, more_bytes
        allowed = f"at most {spilled} bytes of" if spilled else "no"
        if int(memory["stack"]) > spilled:
            problems.append(f"{name}: expected {allowed} stack frame, found {memory['stack']} bytes")
        if int(memory["stores"]) > spilled or int(memory["loads"]) > spilled:
            problems.append(f"{name}: expected {allowed} spills, found {memory['stores']} bytes of stores "
                            f"and {memory['loads']} of loads")
        if int(registers["count"]) > most:
            problems.append(f"{name}: expected at most {most} registers, found {registers['count']}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, required=True)
    parser.add_argument("--max-registers", type=int, required=True)
    parser.add_argument("--besides", action="append", default=[], metavar="TEXT=REGISTERS,BYTES")
    arguments = parser.parse_args()
    besides = []
    for text in arguments.besides:
        name, _, limits = text.partition("=")
        registers, _, spilled = limits.partition(",")
        besides.append((name, int(registers), int(spilled)))
    report = sys.stdin.read()
    problems = problems_of(report, arguments.kernels, arguments.max_registers, besides)
    for problem in problems:
        print(f"error: {problem}")
    if problems:
        print(report)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
