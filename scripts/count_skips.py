# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Counts what a run of scripts/test.sh skipped, by reason, and names it. With --with-torch a skip
for want of a Python package is a failure.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree


def lit_skips(log: str) -> list[tuple[str, str]]:
    """The tests that lit's output names as unsupported, each with a reason."""
    listed = re.findall(r"^Unsupported Tests \(\d+\):\n((?:  \S+ :: .*\n)+)", log, re.M)
    return [("lacks what REQUIRES names", name)
            for name in re.findall(r" :: (.*)", "".join(listed))]


def pytest_skips(report: str) -> list[tuple[str, str]]:
    """The skips of a JUnit report: reason and test."""
    skips = []
    for case in ElementTree.fromstring(report).iter("testcase"):
        for skipped in case.iter("skipped"):
            name = re.sub(r"\[.*", "", f"{case.get('classname')}.{case.get('name')}".strip("."))
            reason = skipped.get("message", "no reason")
            # Of a file that is skipped whole, the text alone has the reason.
            whole = re.search(r"'Skipped: (.*)'\)$", skipped.text or "")
            skips.append((whole.group(1) if whole else reason, name))
    return skips


def summarise(skips: list[tuple[str, str]]) -> list[str]:
    """Lines: the total, then each reason with its count and the tests."""
    if not skips:
        return ["nothing was skipped"]
    tests = defaultdict(list)
    for reason, name in skips:
        tests[reason].append(name)
    lines = [f"skipped {len(skips)}:"]
    for reason, names in sorted(tests.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(names):6}  {reason}: {', '.join(sorted(set(names)))}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lit_log", type=Path)
    parser.add_argument("pytest_report", type=Path)
    parser.add_argument("--with-torch", action="store_true")
    arguments = parser.parse_args()
    skips = (lit_skips(arguments.lit_log.read_text())
             + pytest_skips(arguments.pytest_report.read_text()))
    for line in summarise(skips):
        print(f"test: {line}")
    absent = [reason for reason, _ in skips if "is not installed" in reason]
    if not arguments.with_torch:
        if absent:
            print("test: scripts/test.sh --with-torch runs what is not installed; a file counts as "
                  "one here")
        return 0
    if absent:
        print(f"test: failed, as with --with-torch nothing may be skipped for this: {absent[0]}")
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
