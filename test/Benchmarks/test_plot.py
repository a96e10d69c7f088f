# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Figures and tables of invented results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import plot
import pytest
from synthetic import find, make_results


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two files: the second repeats a case."""
    found = make_results()
    again = dict(find(found, "activation dense 128x1856"), peers={"moe": {
        "us": 77.5, "p10": 77.0, "p90": 78.0}})
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    for path, results in zip(paths, (found, [again])):
        path.write_text(json.dumps({"device": "A GPU", "results": results}))
    return list(map(str, paths))


def test_reading_several_files(files: list[str]) -> None:
    found, device = plot.read([Path(file) for file in files])
    assert device == "A GPU" and len(found) == len(make_results())
    assert found[0]["peers"]["moe"]["us"] == 77.5


def test_markdown(files: list[str]) -> None:
    done = subprocess.run([sys.executable, plot.__file__, *files, "--markdown"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("| dense 128x1856 | 128 | 77.50 (77.00-78.00) |")
               for line in lines)
    assert len([line for line in lines if line.endswith("| PASS |")]) == 9
    tables = [line.count("|") for line in lines if line.startswith("|")]
    assert set(tables) == {11, 13, 8}


def test_figures(files: list[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        done = subprocess.run([sys.executable, plot.__file__, *files, "--figures", str(folder)],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        contents.append({path.name: path.read_text() for path in folder.iterdir()})
    assert sorted(contents[0]) == ["bandwidth.svg", "capacity.svg", "speedup.svg"]
    assert contents[0] == contents[1], "the same results must give the same files"
    assert all("<svg" in text for text in contents[0].values())
    assert str(tmp_path) not in "".join(contents[0].values())


def test_figures_of_little(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    plot.draw(make_results()[:1], "A GPU", tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
