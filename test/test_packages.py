# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Who may import whom. What is shared is imported as a package, by its name: no file changes the path
that Python looks along, and nothing outside test/ depends on test/.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from moe_testing import oracle
from moe_testing.checkout import ROOT, python_path

PACKAGE = ROOT / "python" / "moe_mlir"
SUPPORT = ROOT / "testing" / "moe_testing"
INTERPRETER = ROOT / "testing" / "ptx_interpreter"
# By folder, what its programs and packages may import beside the standard library and themselves.
ALLOWED = {
    ROOT / "benchmarks": {"matplotlib", "ml_dtypes", "moe_mlir", "moe_testing", "numpy", "torch",
                          "triton"},
    # One example is run with the peers of the benchmarks beside it.
    ROOT / "examples": {"matplotlib", "ml_dtypes", "moe_mlir", "moe_testing", "numpy", "torch",
                        *(path.stem for path in (ROOT / "benchmarks").glob("*.py"))},
    SUPPORT: {"ml_dtypes", "numpy", "ptx_interpreter", "pytest"},
    INTERPRETER: {"numpy"},
}
# sys.path may be read. An entry that is taken away again is one that a test put on PYTHONPATH.
CHANGES_THE_PATH = re.compile(
    r"sys\.path(?:\.(?:insert|append|extend)\b|\[[^]]*\]\s*=(?!=)|\s*\+?=(?!=))|\baddsitedir\b")


def texts() -> Iterator[Path]:
    """Every file of the checkout that is text, but for what was built."""
    for top in ROOT.iterdir():
        if top.name.startswith(("build", ".git")) or top.name in ("dist", "install"):
            continue
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".svg", ".json"):
                yield path


def imports(source: str) -> set[str]:
    """The packages that a module imports by name; relative imports stay within its own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def foreign(folder: Path) -> dict[str, set[str]]:
    """By file, what it imports of what is neither the standard library nor beside it."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        beside = {neighbour.stem for neighbour in path.parent.glob("*.py")}
        found[str(path.relative_to(ROOT))] = (imports(path.read_text()) - beside
                                              - set(sys.stdlib_module_names))
    return found


def test_no_file_changes_the_path() -> None:
    found = [f"{path.relative_to(ROOT)}: {line.strip()}" for path in texts()
             for line in path.read_text(errors="replace").splitlines()
             if CHANGES_THE_PATH.search(line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line, is_change", [
    ("sys.path" + ".insert(0, str(folder))", True), ("sys.path" + "[:0] = [folder]", True),
    ("    sys.path" + " += [folder]", True), ("sys.path" + ".append(folder)", True),
    ("sys.path" + " = []", True), ("site." + "addsite" + "dir(folder)", True),
    ("for entry in sys.path:", False), ("if folder in sys.path:", False),
    ("assert sys.path == before", False), ("assert sys.path[0] == folder", False),
])
def test_what_changes_the_path(line: str, is_change: bool) -> None:
    assert bool(CHANGES_THE_PATH.search(line)) is is_change


@pytest.mark.parametrize("folder", ALLOWED, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_imports(folder: Path) -> None:
    found = foreign(folder)
    assert found
    wrong = {file: names - ALLOWED[folder] for file, names in found.items()
             if names - ALLOWED[folder]}
    assert not wrong


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "scripts", "python", "testing"])
def test_nothing_reaches_into_the_tests_by_a_path(folder: str) -> None:
    """Nor runs or reads a file there. Pages and comments may name one."""
    for path in (ROOT / folder).rglob("*.py"):
        constants = {node.value for node in ast.walk(ast.parse(path.read_text()))
                     if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert "test" not in constants, path
        assert not any(re.match(r"(\.\./)*test/", text) for text in constants), path


ORACLE = ("oracle", "activations", "permutation")


@pytest.mark.parametrize("module", ORACLE)
def test_modules_of_the_oracle(module: str) -> None:
    """They share nothing with the compiler, nor with anything of this project but themselves."""
    source = (SUPPORT / f"{module}.py").read_text()
    assert imports(source) - set(sys.stdlib_module_names) == {"ml_dtypes", "numpy"}
    relative = [node for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.ImportFrom) and node.level]
    assert all((node.module or node.names[0].name) in ORACLE for node in relative)


def test_the_oracle_loads_nothing_of_this_project() -> None:
    code = (f"import sys, {', '.join(f'moe_testing.{module}' for module in ORACLE)}\n"
            "print(sorted(name for name in sys.modules if 'moe' in name or 'ptx' in name))\n"
            "print('moe' in open('/proc/self/maps').read().replace(sys.argv[1], ''))\n")
    done = subprocess.run([sys.executable, "-c", code, str(ROOT)], text=True, capture_output=True,
                          env={"PYTHONPATH": python_path()}, check=False)
    modules = ["moe_testing", *(f"moe_testing.{module}" for module in sorted(ORACLE))]
    assert done.stdout == f"{modules}\nFalse\n", done.stderr
    assert Path(oracle.__file__).parent == SUPPORT


def test_the_package_knows_nothing_of_its_tests() -> None:
    for file, names in foreign(PACKAGE).items():
        assert not names & {"moe_testing", "ptx_interpreter", "pytest"}, file
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["packages"] == ["moe_mlir"]


@pytest.mark.parametrize("program, lacking, path", [
    ("benchmarks/gpu.py --quick", "moe_mlir and moe_testing", "$PWD/python:$PWD/testing"),
    ("benchmarks/host_cost.py", "moe_mlir and moe_testing", "$PWD/python:$PWD/testing"),
    ("benchmarks/layer.py", "moe_mlir and moe_testing", "$PWD/python:$PWD/testing"),
    ("benchmarks/cpu.py", "moe_mlir and moe_testing", "$PWD/python:$PWD/testing"),
    ("benchmarks/variants.py prepare nowhere", "moe_mlir and moe_testing",
     "$PWD/python:$PWD/testing"),
    ("examples/routed-moe/demo.py", "moe_testing", "$PWD/testing"),
    ("examples/swiglu/demo.py", "moe_testing", "$PWD/testing"),
    ("examples/swiglu/errors.py", "moe_testing", "$PWD/testing"),
])
def test_a_python_that_lacks_the_packages(program: str, lacking: str, path: str) -> None:
    """One line says how to run the program. Without its site module Python reads no .pth file, so
    this one has numpy, and no package of the checkout.
    """
    elsewhere = Path(np.__file__).parents[1]
    done = subprocess.run([sys.executable, "-S", *program.split()], cwd=ROOT, text=True,
                          capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(elsewhere)})
    name = Path(program.split()[0]).name
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"{name}: this Python lacks {lacking}: ")
    assert "build/venv/bin/python" in done.stderr and f"PYTHONPATH={path}" in done.stderr


def test_pytest_without_the_packages() -> None:
    done = subprocess.run([sys.executable, "-S", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           "test/Scripts"], cwd=ROOT, text=True, capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(Path(np.__file__).parents[1])})
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "No module named 'moe_testing': scripts/setup.sh puts" in done.stderr + done.stdout


def test_imports_are_found() -> None:
    source = "import a.b, c as d\ndef f():\n    from e.f import g\n    from . import h\n"
    assert imports(source) == {"a", "c", "e"}
