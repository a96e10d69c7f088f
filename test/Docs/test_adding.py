# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whether the diffs of docs/adding.md apply to the tree: what they take away, and what stands around
it, is in the file, once; and whether all of them together make ops that ODS, the manifest and the
table of Python's functions take.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from moe_testing.checkout import LLVM, ROOT
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
    assert len(HUNKS) > 15


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, with all that the page changes."""
    root = tmp_path_factory.mktemp("changed")
    for folder in ("include", "lib", "python", "scripts", "testing"):
        shutil.copytree(ROOT / folder, root / folder,
                        ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for block in read_blocks(PAGE):
        if block.language == "diff":
            run(root, "git", "apply", "-", text=block.text)
    return root


def run(folder: Path, *command: object, text: str = "") -> str:
    done = subprocess.run([str(part) for part in command], cwd=folder, input=text, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.needs("git", "mlir-tblgen")
def test_ods_takes_them(changed: Path) -> None:
    command = [LLVM / "bin" / "mlir-tblgen", "-I", "include", "-I", LLVM / "include"]
    ops = run(changed, *command, "-gen-op-defs", "include/moe/IR/MoeOps.td")
    for op in ("PaddedReluOp", "ReluQuantizeMXFP8Op"):
        body = re.search(rf"Value {op}::buildActivation\([^{{]*{{\n(.*?)\n}}", ops, re.DOTALL)
        assert body and " activation = buildRelu(builder, loc, elements);\n" in body.group(1)
    formats = re.findall(r"FormatAttrInterface (\w+)::getFormat\(\) {\n *return (\w+)::get\(", ops)
    assert ("PaddedReluOp", "BF16Attr") in formats
    assert ("QuantizeMXFP8E5M2Op", "MXFP8E5M2Attr") in formats
    # The new file defines the methods that ODS declares.
    attributes = run(changed, *command, "-gen-attrdef-decls", "-attrdefs-dialect=moe",
                     "include/moe/IR/MoeFormats.td")
    declared = re.search(r"class MXFP8E5M2Attr : .*?\n};", attributes, re.DOTALL)
    assert declared
    methods = set(re.findall(r" (\w+)\([^)]*\) const;", declared.group()))
    source = (changed / "lib" / "IR" / "MXFP8E5M2.cpp").read_text()
    defined = set(re.findall(r" MXFP8E5M2Attr::(\w+)\(", source))
    assert defined and methods == defined | {"getScaleLayout", "getDeadScales", "print"}


@pytest.mark.needs("git", "cmake")
def test_the_manifest_has_their_kernels(changed: Path, tmp_path: Path) -> None:
    script = tmp_path / "read.cmake"
    script.write_text("cmake_minimum_required(VERSION 3.21)\ninclude(Manifest.cmake)\n"
                      'file(WRITE ${folder}/Tables.c "${manifest_code}")\n')
    run(changed / "lib" / "Kernels", "cmake", f"-Dfolder={tmp_path}", "-P", script)
    kernels = (tmp_path / "kernels.mlir").read_text()
    for op, modes in (("padded_relu", 1), ("relu_quantize_mxfp8", 4), ("quantize_mxfp8_e5m2", 4)):
        assert len(re.findall(rf"  moe\.{op} ins\(", kernels)) == modes
    assert len(re.findall(r"%data: memref<\?x\?xf8E5M2,", kernels)) == 4
    row = re.search(r'{"quantize_mxfp8_e5m2",\s+5,[^;]*?},\n +\d+, \d+, 0, 0},', (tmp_path / "Tables.c").read_text())
    assert row and '{"data", kMatrixForm, 1, 1,' in row.group()


@pytest.mark.needs("git")
def test_python_has_their_functions(changed: Path) -> None:
    run(changed, sys.executable, "scripts/write_ops.py")
    functions = (changed / "python" / "moe_mlir" / "_ops.py").read_text()
    for name in ("padded_relu", "relu_and_quantize_mxfp8", "quantize_mxfp8_e5m2"):
        assert functions.count(f"def {name}(") == 3


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
