# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The mark of tests that need more of a machine than Python: see moe_testing.machine."""

from __future__ import annotations

import pytest

try:
    from moe_testing import machine
except ModuleNotFoundError as missing:
    raise pytest.UsageError(
        f"{missing}: scripts/setup.sh puts what the tests share into build/venv; for another "
        "Python, set PYTHONPATH=$PWD/python:$PWD/testing in the root of the checkout") from missing


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(name, ...): skipped, by name, where the machine lacks one of them")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        machine.need(*mark.args)
