# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the commands and programs of the README, of docs/, testing/ and examples/ as they are printed,
and compares what they print; pages.py says how a page is read.

A page is one case, but for its blocks that need PyTorch or a package index: those are another, so
that the rest runs where they are missing.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from moe_testing import machine
from moe_testing.checkout import ROOT, python_path
from pages import RUN, Block, is_output, read_blocks, split_console

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md",
         *(page for page in sorted((ROOT / "docs").rglob("*.md"))
           if ROOT / "docs" / "reference" not in page.parents),
         *(page for folder in ("testing", "examples")
           for page in sorted((ROOT / folder).rglob("*.md")))]
PYTORCH = "PyTorch"
# What the commands of every page need: they begin with a build, or use what it left.
NEEDS = (machine.BUILD_TREE, "cmake", "ninja", machine.C_COMPILER, machine.CXX_COMPILER, "moe-opt",
         "mlir-opt", "mlir-runner")


def what_it_needs(block: Block) -> str:
    """What some machines that build moe-mlir lack."""
    if re.search(r"\bimport torch\b", block.text):
        return PYTORCH
    return machine.PIP_INDEX if re.search(r"\bpip\b", block.text) else ""


def cases() -> Iterator[object]:
    for page in PAGES:
        run = [block for block in read_blocks(page) if block.language in RUN and not block.not_run]
        for need in sorted({what_it_needs(block) for block in run}):
            name = str(page.relative_to(ROOT)) + (f" with {need}" if need else "")
            yield pytest.param(page, need, id=name)


def run(command: list[str], **environment: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                          env={**os.environ, **environment})
    return done.returncode, done.stdout


def run_bash(commands: str) -> tuple[int, str]:
    return run(["bash", "-euo", "pipefail", "-c", commands])


def run_python(program: Path) -> tuple[int, str]:
    return run([sys.executable, str(program)], PYTHONPATH=python_path())


def check(where: str, documented: str | None, status: int, printed: str,
          may_fail: bool = False) -> None:
    assert status == 0 or may_fail, f"{where}: exit status {status}\n{printed}"
    if documented is not None and not is_output(documented, printed):
        difference = "\n".join(difflib.unified_diff(documented.splitlines(), printed.splitlines(),
                                                    "the page", "what it prints", lineterm=""))
        pytest.fail(f"{where}: prints something else\n{difference}", pytrace=False)


@pytest.mark.needs(*NEEDS)
@pytest.mark.parametrize("page, need", list(cases()))
def test_page(page: Path, need: str, tmp_path: Path) -> None:
    if need == PYTORCH:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    elif need:
        machine.need(need)
    for block in read_blocks(page):
        if block.language not in RUN or block.not_run or what_it_needs(block) != need:
            continue
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "python":
            program = tmp_path / f"line{block.line}.py"
            program.write_text(block.text)
            check(where, block.output, *run_python(program))
        elif block.language == "sh":
            check(where, block.output, *run_bash(block.text))
        else:
            for command, output in split_console(block.text):
                # A page that shows what a command prints may show how it fails.
                check(f"{where}: {command.strip()}", output, *run_bash(command),
                      may_fail=bool(output.replace("...", "").strip()))


def test_readme_has_its_commands() -> None:
    blocks = read_blocks(ROOT / "README.md")
    assert sum(block.language in RUN for block in blocks) >= 7
    # It is what runs this test, so it can't be run by it.
    assert [block.text for block in blocks if block.not_run] == ["scripts/test.sh\n"]


def test_ir_of_the_pages_is_that_of_the_examples() -> None:
    examples = [path.read_text() for path in (ROOT / "examples").rglob("*.mlir")]
    blocks = [block for page in PAGES for block in read_blocks(page) if block.language == "mlir"]
    assert blocks
    for block in blocks:
        assert any(block.text in example for example in examples), block.text


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"]({name})" in index, name


def test_folders_of_the_table_exist() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text().split("\n## What is where\n")[1]
    table = re.findall(r"^\| (`.*?) \|", section.split("\n## ")[0], re.M)
    folders = re.findall(r"`([^`]+)`", " ".join(table))
    assert len(folders) > 10
    for folder in folders:
        assert (ROOT / folder).is_dir(), folder


def test_files_of_the_pages_for_contributors_exist() -> None:
    for page in ("architecture.md", "adding.md"):
        text = re.sub(r"^```.*?^```$", "", (ROOT / "docs" / page).read_text(), flags=re.M | re.S)
        files = re.findall(r"`((?:lib|include|python|scripts|test|testing|benchmarks)/[\w./-]+)`", text)
        assert len(files) > 10
        for file in files:
            # The diffs of a page may add one.
            assert (ROOT / file).exists() or f"+++ b/{file}\n" in (ROOT / "docs" / page).read_text(), file


def test_variables_of_the_table_are_read_somewhere() -> None:
    """And those that the package, its build and the tests read are all there."""
    rows = [row for page in ("README.md", "docs/developing.md")
            for row in re.findall(r"^\|(.*?)\|", (ROOT / page).read_text(), re.M)]
    table = set(re.findall(r"`([A-Z_]+)`", " ".join(rows)))
    read = set()
    for folder in ("python", "lib", "tools", "test", "testing"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".cpp", ".h") and path.is_file():
                read |= set(re.findall(r"(?:environ(?:\.get\(|\[)|getenv\()[\"']([A-Z_]+)",
                                       path.read_text()))
    # LLVM's and CMake's own way to a program, over a list of them.
    read |= set(re.findall(r'"(CUDA_\w+)"', (ROOT / "lib/Target/ModuleToBinary.cpp").read_text()))
    assert len(table) > 5 and table <= read, table - read
    wanted = {name for name in read if name.startswith("MOE_")}
    assert wanted <= table, wanted - table


@pytest.mark.parametrize("documented, printed, same", [
    ("a\nb\n", "a\nb\n", True),
    ("a\nb\n", "a\nb", True),
    ("a\n", "a\nb\n", False),
    ("a\nb\n", "a\n", False),
    ("a\n...\nb\n", "a\nb\n", True),
    ("a\n...\nb\n", "a\n1\n2\nb\n", True),
    ("a\n...\nb\n", "a\n1\n2\nc\n", False),
    ("took 3.1 ms of 7\n", "took 12 ms of 7\n", True),
    ("took 3.1 ms of 7\n", "took 12 ms of 8\n", False),
    ("loc(...:3)\n", "loc(x/y:3)\n", True),
    ("2.25\n", "2x25\n", False),
    ("", "a\n", False),
    ("", "", True),
])
def test_comparison(documented: str, printed: str, same: bool) -> None:
    assert is_output(documented, printed) is same


def test_blocks_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\na\n```\n\n```text\nb\n```\n<!-- not run: no -->\n```sh\nc\n```\n"
                    "```\npicture\n```\n```console\n$ d \\\n> e\nf\n$ g\n```\n")
    first, second, picture, third = read_blocks(page)
    assert (first.text, first.output, first.not_run) == ("a\n", "b\n", "")
    assert (second.text, second.output, second.not_run) == ("c\n", None, "no")
    assert picture.language == "" and third.line == 15
    assert split_console(third.text) == [("d \\\ne\n", "f\n"), ("g\n", "")]
    for text in ("```sh\na\n```\nwords\n```text\nb\n```\n", "```sh\na\n"):
        page.write_text(text)
        with pytest.raises(ValueError, match="page.md:"):
            read_blocks(page)
