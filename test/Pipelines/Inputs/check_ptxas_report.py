# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads the report of `ptxas -v` from standard input and fails if a kernel spills, has a stack
frame or uses too many registers, or if the report is not one of as many kernels as expected.
"""

import argparse
import re
import sys

KERNEL = re.compile(r"Compiling entry function '(?P<name>[^']+)'")
MEMORY = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
)
REGISTERS = re.compile(r"Used (?P<count>\d+) registers")


def problems_of(report: str, kernels: int, max_registers: int) -> list[str]:
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
        if int(memory["stack"]):
            problems.append(f"{name}: expected no stack frame, found {memory['stack']} bytes")
        if int(memory["stores"]) or int(memory["loads"]):
            problems.append(
                f"{name}: expected no spills, found {memory['stores']} bytes of stores and {memory['loads']} of loads"
            )
        if int(registers["count"]) > max_registers:
            problems.append(f"{name}: expected at most {max_registers} registers, found {registers['count']}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=int, required=True)
    parser.add_argument("--max-registers", type=int, required=True)
    arguments = parser.parse_args()
    report = sys.stdin.read()
    problems = problems_of(report, arguments.kernels, arguments.max_registers)
    for problem in problems:
        print(f"error: {problem}")
    if problems:
        print(report)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
