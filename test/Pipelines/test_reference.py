# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""docs/reference/Pipelines.md: every pipeline is on it, and the passes that it lists are the pipeline."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from moe_testing.checkout import BIN_DIR, ROOT

PAGE = (ROOT / "docs" / "reference" / "Pipelines.md").read_text()
SECTIONS = {section.split("`", 1)[0]: section for section in PAGE.split("\n### `-")[1:]}
MODULES = {
    "moe-lower-kernels": [ROOT / "test" / "Pipelines" / "Inputs" / "user-kernel.mlir"],
    "": [ROOT / "examples" / "program" / "main.mlir",
         ROOT / "test" / "Package" / "registered.mlir"],
}

pytestmark = pytest.mark.needs("moe-opt")


def moe_opt(*arguments: object) -> str:
    done = subprocess.run([BIN_DIR / "moe-opt", *map(str, arguments)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_pipeline_is_on_the_page() -> None:
    names = re.findall(r"^      --(\S+)", moe_opt("--help").split("Pass Pipelines:")[1], re.M)
    ours = {name for name in names if name.startswith("moe-")}
    assert len(ours) > 4 and ours == set(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_passes_of_the_page_are_the_pipeline(name: str, tmp_path: Path) -> None:
    passes = SECTIONS[name].split("#### Passes\n\n```\n")[1].split("\n```")[0]
    for module in MODULES.get(name, MODULES[""]):
        source = tmp_path / "module.mlir"
        source.write_text(moe_opt(module, "--moe-attach-target"))
        lowered = moe_opt(source, f"--{name}")
        assert lowered != source.read_text()
        assert moe_opt(source, f"--pass-pipeline={passes}") == lowered


@pytest.mark.parametrize("name", SECTIONS)
def test_defaults_of_the_page_are_the_defaults(name: str) -> None:
    rows = re.findall(r"^\| `(\S+)` \| (?:`(\S+)`)? \|", SECTIONS[name], re.M)
    assert bool(rows) == (name != "moe-lower-kernels")
    for module in MODULES.get(name, MODULES[""])[:1]:
        # -1 says that no level was asked for.
        options = " ".join(f"{option}={value}" for option, value in rows if value and value != "-1")
        assert moe_opt(module, f"--{name}={options}") == moe_opt(module, f"--{name}")
