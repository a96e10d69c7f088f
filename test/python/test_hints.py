# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""expected_rows and programmatic_launch on arrays, and what of them reaches the runtime library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import moe_mlir
import numpy as np
import pytest
from moe_mlir import _hints, _runtime
from moe_mlir._op_table import OPS, Op
from moe_testing import runtime as moe
from moe_testing.fake_driver import FakeDriver, Launch, build, in_child
from moe_testing.run_spy import RunSpy, Told

M, K = 130, 192
EXPECTED_ROWS = [None, 0, 1, M, 10 * M, 2**31, 2**63 - 1, 2**63, 10**30, np.int32(7), np.uint64(2**63)]
ERRORS: list[tuple[Any, type[Exception], str]] = [
    (-1, ValueError, "expected_rows: expected a number of rows that is not negative, found -1"),
    (np.int8(-3), ValueError,
     "expected_rows: expected a number of rows that is not negative, found -3"),
    (2.0, TypeError, "expected_rows: expected an int or None, found builtins.float"),
    ("4", TypeError, "expected_rows: expected an int or None, found builtins.str"),
    (True, TypeError, "expected_rows: expected an int or None, found builtins.bool"),
    (np.array(4), TypeError, "expected_rows: expected an int or None, found numpy.ndarray")]
by_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)


def operands() -> tuple[Any, ...]:
    x = np.random.default_rng(0).standard_normal((M, K)).astype(ml_dtypes.bfloat16)
    permutation_map = np.where(np.arange(M) % 3 == 0, -1, np.arange(M)).astype(np.int32)
    return x, permutation_map, 120


def outputs(op: Op) -> list[Any]:
    columns = K // op.parts
    shapes = [(M, columns), (moe_mlir.scale_size(M, columns) if op.format.has_scales else 0,)]
    return [np.full(np.prod(shape) * np.dtype(getattr(ml_dtypes, output.dtype)).itemsize, 0x5A,
                    np.uint8).view(getattr(ml_dtypes, output.dtype)).reshape(shape)
            for output, shape in zip(op.format.outputs, shapes)]


@by_op
@pytest.mark.parametrize("hint", [*({"expected_rows": value} for value in EXPECTED_ROWS),
                                  {"programmatic_launch": True}, {"programmatic_launch": False}],
                         ids=str)
def test_they_change_no_byte(op: Op, hint: dict[str, Any]) -> None:
    found, wanted = outputs(op), outputs(op)
    for outs, settings in ((found, hint), (wanted, {})):
        out = tuple(outs) if op.format.has_scales else outs[0]
        getattr(moe_mlir, op.name)(*operands(), out=out, **settings)
    for a, b in zip(found, wanted):
        assert (a.view(np.uint8) == b.view(np.uint8)).all() and (a.view(np.uint8) != 0x5A).any()
    getattr(moe_mlir, op.name)(*operands(), **hint)


@by_op
@pytest.mark.parametrize("value, error, message", ERRORS, ids=lambda value: str(value)[:12])
def test_expected_rows_that_are_none(op: Op, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        getattr(moe_mlir, op.name)(*operands(), expected_rows=value)
    assert str(caught.value) == message


@by_op
@pytest.mark.parametrize("value", [None, 0, 1, "True", np.bool_(True)], ids=repr)
def test_programmatic_launch_is_a_bool(op: Op, value: Any) -> None:
    kind = type(value)
    with pytest.raises(TypeError) as caught:
        getattr(moe_mlir, op.name)(*operands(), programmatic_launch=value)
    assert str(caught.value) == ("programmatic_launch: expected a bool, found "
                                 f"{kind.__module__}.{kind.__qualname__}")


@pytest.mark.parametrize("given, wanted", [
    (None, 0), (0, 1), (1, 1), (500, 500), (2**63 - 1, 2**63 - 1), (2**63, 2**63 - 1)])
@by_op
def test_what_the_runtime_is_told(op: Op, given: Any, wanted: int,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """In the structures as another description of them has them."""
    spy = RunSpy([5])
    monkeypatch.setattr(_runtime, "run_op", spy.address)
    call = _runtime.make_call(op)
    more = (10, 11, 12, 1, 0) if op.format.has_scales else ()
    probs = (15,) if op.has_probs else ()
    assert call(_runtime.CUDA, 2, _hints.parse_expected_rows(given), 14, 3, 4, 6, 6, 7, 8, *probs, 9, 5,
                16, 13, *more) == 5
    assert spy.told == [Told(
        moe.find_op(op.dialect), launch=(_runtime.CUDA, 14, 2, None, 0, 0, wanted), x=(3, 4, 6, 6),
        permutation_map=7, n_used=8, out=(9, 5, 16, 13), scale=more or None)]
    assert spy.options[0].probs == (15 if op.has_probs else None)


@by_op
def test_numbers_that_are_no_numbers(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = RunSpy()
    monkeypatch.setattr(_runtime, "run_op", spy.address)
    call = _runtime.make_call(op)
    numbers = [1] * (4 + 4 + 2 + op.has_probs + 4 + 5 * op.format.has_scales)
    for wrong in (numbers[1:], [*numbers, 1]):
        with pytest.raises(TypeError, match="number of arguments"):
            call(*wrong)
    for index in range(len(numbers)):
        with pytest.raises(TypeError):
            call(*numbers[:index], "1", *numbers[index + 1:])
        with pytest.raises(OverflowError):
            call(*numbers[:index], 2**64, *numbers[index + 1:])
    assert not spy.told
    call(*numbers)
    assert len(spy.told) == 1


@pytest.fixture(scope="session")
def driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("driver"))


def launch(driver: FakeDriver, op: Op, expected_rows: int | None = None,
           programmatic_launch: bool = False) -> Launch:
    """The launch that the driver sees."""
    driver.take_calls()
    addresses = [n << 56 for n in range(1, 6)]
    columns = 2048 // op.parts
    scales = (addresses[4], moe.scale_size(1 << 16, columns), 0, 0, 0)
    status = _runtime.calls[op.name](
        _runtime.CUDA, 0, _hints.parse_expected_rows(expected_rows),
        _hints.parse_programmatic_launch(programmatic_launch), addresses[0], 1 << 16, 2048, 2048,
        *addresses[1:3], *((0,) if op.has_probs else ()), addresses[3], 1 << 16, columns, columns,
        *(scales if op.format.has_scales else ()))
    if status:
        _runtime.raise_last_error(status)
    [found] = driver.launches()
    return found


@by_op
@in_child
def test_the_grid_grows_with_expected_rows(op: Op, driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()

    def grid(expected_rows: int | None) -> int:
        x, y, z = launch(driver, op, expected_rows).grid
        return x * y * z

    few, some, many = grid(0), grid(200), grid(1 << 16)
    assert few <= some < many and few < grid(None)
    assert grid(10**30) == many


@by_op
@in_child
def test_a_programmatic_launch_is_one(op: Op, driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    assert launch(driver, op, programmatic_launch=True).programmatic
    assert not launch(driver, op).programmatic


@by_op
@in_child
def test_a_programmatic_launch_where_there_is_none(op: Op, driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.set_device(80)
    driver.create_context()
    launch(driver, op)
    with pytest.raises(moe_mlir.MoeRuntimeError, match="MOE_PROGRAMMATIC_LAUNCH: the kernels"):
        launch(driver, op, programmatic_launch=True)
