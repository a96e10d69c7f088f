# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Figures and tables of invented results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cases
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
    assert [result["name"] for result in found] == [case.name for case in cases.all_cases()]
    assert find(found, "activation dense 128x1856")["peers"]["moe"]["us"] == 77.5


def test_markdown(files: list[str]) -> None:
    done = subprocess.run([sys.executable, plot.__file__, *files, "--markdown"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("| dense 128x1856 | 128 | 77.50 (77.00-78.00) |")
               for line in lines)
    assert len([line for line in lines if line.endswith("| PASS |")]) == 14
    tables = [line.count("|") for line in lines if line.startswith("|")]
    assert set(tables) == {15, 17, 8}


def test_the_table_in_the_docs_is_that_of_the_results() -> None:
    """docs/performance-h100.md, below its first lines."""
    done = subprocess.run([sys.executable, plot.__file__,
                           cases.ROOT / "benchmarks" / "results" / "h100.json", "--markdown"],
                          capture_output=True, text=True, check=True)
    page = (cases.ROOT / "docs" / "performance-h100.md").read_text()
    assert page.endswith(done.stdout)


def test_markdown_has_no_column_for_a_peer_that_nobody_measured(tmp_path: Path) -> None:
    found = [result for result in make_results() if result["op"] == "activation"]
    for result in found:
        del result["peers"]["moe-old"]
    text = plot.markdown(found, "A GPU")
    assert "moe-old" not in text and "| triton / moe |" in text
    assert "`squared_relu_and_quantize_mxfp8`:\n\nnot measured\n" in text


def test_summary() -> None:
    found = make_results()
    sentences = plot.summary(found, "A GPU").splitlines()
    assert len(sentences) == 3 and "A GPU" in sentences[0]
    # 19 dense cases at 1.5, and 68 and 40 routed ones at 2.0; the reference takes 1.4 times that.
    means = [(1.5 ** 19 * 2.0 ** routed) ** (1 / (19 + routed)) for routed in (68, 40)]
    assert "over 146 dense and routed cases" in sentences[0]
    assert f"{means[0]:.2f} and {means[1]:.2f} times as fast as the same" in sentences[0]
    assert (f"{1.4 * means[0]:.2f} and {1.4 * means[1]:.2f} times as fast as the reference"
            in sentences[0])
    assert sentences[1].endswith("; no case is slower.")
    assert "at 97 to 97% of the speed" in sentences[2] and "takes 0.98 times" in sentences[2]

    worst = find(found, "quantize dense 16x7168")
    worst["peers"]["triton"]["us"] = 0.9 * worst["peers"]["moe"]["us"]
    worst["peers"]["compile"]["us"] = 0.5 * worst["peers"]["moe"]["us"]
    find(found, "activation capacity 64 K 1856 capacity 64")["peers"]["triton"]["us"] = 0.1
    text = plot.summary(found, "A GPU")
    assert "is quantize dense 16x7168 at 0.90; 1 of the 146 are slower" in text
    assert "0.50 at the least, in quantize dense 16x7168" in text


def test_summary_of_little() -> None:
    found = make_results()[:3]
    assert plot.summary(found, "A GPU").count("\n") == 1
    assert plot.summary([], "A GPU").count("\n") == 1


def test_gates_of_a_file(files: list[str]) -> None:
    done = subprocess.run([sys.executable, plot.__file__, *files, "--gates"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 15
    assert sum(line.startswith("PASS    ") for line in lines) == 15


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
