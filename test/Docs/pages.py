# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The code blocks of a page, and whether what was printed is what the page says.

    sh       commands, run by bash in the root of the checkout
    python   a program, run with the package of the checkout
    console  commands after "$ " (more lines of one after "> "), each with what it prints
    text     what the sh or python block just before it prints

What is printed is stdout and stderr together. In the output of a page a line "..." stands for any
lines, "..." within a line for any text, and a time in ms for any time. A block after a comment
<!-- not run: why --> is not run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RUN = ("sh", "python", "console")


@dataclass
class Block:
    """A fenced block of a page; `output` is that of the text block that belongs to it."""

    line: int
    language: str
    text: str
    output: str | None = None
    not_run: str = ""


def read_blocks(page: Path) -> list[Block]:
    """Raises ValueError for a text block that is nobody's output, and what is not closed."""
    blocks: list[Block] = []
    fence: Block | None = None
    reason, follows = "", False
    for number, line in enumerate(page.read_text().splitlines(keepends=True), 1):
        if fence is not None:
            if line.rstrip() != "```":
                fence.text += line
                continue
            if fence.language != "text":
                blocks.append(fence)
                follows = fence.language in ("sh", "python") and not fence.not_run
            elif follows:
                blocks[-1].output, follows = fence.text, False
            elif not fence.not_run:
                raise ValueError(f"{page.name}:{fence.line}: this text is the output of no block")
            fence, reason = None, ""
        elif line.startswith("```"):
            fence = Block(number, line[3:].strip(), "", not_run=reason)
        elif line.strip():
            found = re.fullmatch(r"<!-- not run: (.+) -->", line.strip())
            reason, follows = found.group(1) if found else "", False
    if fence is not None:
        raise ValueError(f"{page.name}:{fence.line}: this block is not closed")
    return blocks


def split_console(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, and the output that each has there."""
    steps: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            steps.append((line[2:], ""))
        elif line.startswith("> ") and steps and not steps[-1][1]:
            steps[-1] = (steps[-1][0] + line[2:], "")
        elif steps:
            steps[-1] = (steps[-1][0], steps[-1][1] + line)
        else:
            raise ValueError(f"expected '$ ' and a command first, found {line!r}")
    return steps


def _pattern(line: str) -> str:
    """A regular expression for a line of documented output."""
    parts = re.split(r"(\.\.\.|\d+(?:\.\d+)? ms\b)", line.rstrip())
    return "".join(".*" if part == "..." else r"\d+(?:\.\d+)? ms" if index % 2 else re.escape(part)
                   for index, part in enumerate(parts))


def is_output(documented: str, printed: str) -> bool:
    """Whether `printed` is what a page documents."""
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "..." else _pattern(line) + r"[ \t]*\n"
                      for line in documented.splitlines())
    return re.fullmatch(pattern, printed if printed.endswith("\n") or not printed
                        else printed + "\n") is not None
