# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether the diffs of docs/adding.md apply to the tree: what they take away, and what stands around
it, is in the file, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from moe_testing.checkout import ROOT
from pages import read_blocks

PAGE = ROOT / "docs" / "adding.md"


@dataclass
class Hunk:
    """Lines that a file has, or that it is new."""

    line: int
    file: str
    is_new: bool
    before: list[str] = field(default_factory=list)


def read_hunks(page: Path) -> Iterator[Hunk]:
    for block in read_blocks(page):
        if block.language != "diff":
            continue
        old = new = ""
        hunk: Hunk | None = None
        for number, line in enumerate(block.text.splitlines(), block.line + 1):
            if line.startswith("--- "):
                old = line[4:]
            elif line.startswith("+++ b/"):
                new = line[6:]
            elif line.startswith("@@ "):
                if hunk:
                    yield hunk
                hunk = Hunk(number, new, old == "/dev/null")
            elif hunk and line[:1] in ("-", " ", ""):
                hunk.before.append(line[1:])
        if hunk:
            yield hunk


HUNKS = list(read_hunks(PAGE))


def check(hunk: Hunk, root: Path) -> None:
    path = root / hunk.file
    if hunk.is_new:
        assert not hunk.before and not path.exists(), f"{hunk.file} is there already"
        return
    lines, count = path.read_text().splitlines(), len(hunk.before)
    found = sum(lines[i:i + count] == hunk.before for i in range(len(lines)))
    assert found == 1, (f"expected these lines of {hunk.file} once, found them {found} times:\n"
                        + "\n".join(hunk.before))


@pytest.mark.parametrize("hunk", HUNKS, ids=lambda hunk: f"{PAGE.name}:{hunk.line}")
def test_it_applies(hunk: Hunk) -> None:
    check(hunk, ROOT)


def test_every_section_has_a_diff() -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]
    assert [section.splitlines()[0] for section in sections if "```diff" in section] == [
        "An activation", "A format", "A chip", "A schedule field"]
    assert len(HUNKS) > 20


def test_what_has_changed_is_seen(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a\nb\nc\n")
    check(Hunk(1, "file", False, ["b", "c"]), tmp_path)
    for before in (["c", "b"], ["b", "d"], ["b "]):
        with pytest.raises(AssertionError, match="found them 0 times"):
            check(Hunk(1, "file", False, before), tmp_path)
    (tmp_path / "file").write_text("a\na\n")
    with pytest.raises(AssertionError, match="found them 2 times"):
        check(Hunk(1, "file", False, ["a"]), tmp_path)
    with pytest.raises(AssertionError, match="there already"):
        check(Hunk(1, "file", True, []), tmp_path)
