# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe-run on the CPU; with a driver whose launches the PTX interpreter runs; and on a GPU where there
is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from moe_run import Tool
from moe_testing import fake_driver, machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder runs the tool."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.needs("moe-run"))


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.build(tmp_path_factory.mktemp("driver"))


@pytest.fixture(params=["cpu", "cuda", "interpreted cuda"])
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> Tool:
    if request.param == "cuda" and not machine.has_gpu():
        pytest.skip("no GPU")
    fake = None
    if request.param.startswith("interpreted"):
        driver = request.getfixturevalue("driver")
        fake = fake_driver.FakeProcess(driver, tmp_path / "driver")
    (tmp_path / "run").mkdir()
    return Tool(tmp_path / "run", request.param.split()[-1], fake)


@pytest.fixture
def gpu_tool(tmp_path: Path, driver: Path) -> Tool:
    (tmp_path / "run").mkdir()
    fake = fake_driver.FakeProcess(driver, tmp_path / "driver")
    return Tool(tmp_path / "run", "cuda", fake)
