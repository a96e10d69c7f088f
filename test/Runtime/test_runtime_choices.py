# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which kernel and which image the library chooses at the edges, and what it asks of the driver."""

from __future__ import annotations

from pathlib import Path

import pytest
from moe_testing import runtime as moe
from moe_testing.fake_driver import FakeDriver, build, in_child

SQUARED_RELU, FUSED, QUANTIZE = moe.FUNCTIONS


@pytest.fixture(scope="session")
def driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("driver"), "-Wall", "-Wextra", "-Werror")


def launched_name(driver: FakeDriver, call: moe.Call) -> str:
    driver.take_calls()
    call.run()
    [record] = driver.launches()
    return record.name.decode()


@pytest.mark.parametrize("capability, columns, stride, is_unaligned", [
    (90, 64, 64, False), (90, 60, 64, True), (90, 56, 64, False), (90, 57, 64, True), (90, 64, 72, False),
    (100, 64, 64, False), (100, 56, 64, True), (100, 48, 64, False), (100, 64, 72, True), (103, 56, 64, True),
])
@in_child
def test_columns_and_strides(driver_path: Path, capability: int, columns: int, stride: int,
                             is_unaligned: bool) -> None:
    """Rows that begin aligned may end in the middle of an access."""
    driver = FakeDriver(driver_path)
    driver.set_device(capability=capability)
    driver.create_context()
    call = moe.Call(SQUARED_RELU, 40, columns, device=moe.CUDA, x_stride=stride, out_stride=stride)
    assert launched_name(driver, call).endswith("_unaligned") == is_unaligned


@pytest.mark.parametrize("capability, width", [(80, 16), (90, 16), (99, 16), (100, 32), (101, 32), (120, 32)])
@pytest.mark.parametrize("offset", [1, 2, 4, 8, 16, 32])
@in_child
def test_address_of_data(driver_path: Path, capability: int, width: int, offset: int) -> None:
    """An access of x has half as many bytes of data."""
    driver = FakeDriver(driver_path)
    driver.set_device(capability=capability)
    driver.create_context()
    for op in (FUSED, QUANTIZE):
        call = moe.Call(op, 40, 64, device=moe.CUDA, out=moe.Call.out + offset)
        assert launched_name(driver, call).endswith("_unaligned") == (offset % (width // 2) != 0)


@pytest.mark.parametrize("offset", [1, 2, 4, 8, 16])
@in_child
def test_address_of_scale(driver_path: Path, offset: int) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    for layout, dead, width in [(moe.SWIZZLED, moe.ZERO, 16), (moe.SWIZZLED, moe.UNTOUCHED, 4),
                                (moe.LINEAR, moe.ZERO, 1), (moe.LINEAR, moe.UNTOUCHED, 1)]:
        call = moe.Call(FUSED, 40, 64, device=moe.CUDA, layout=layout, dead=dead, scale=moe.Call.scale + offset)
        assert launched_name(driver, call).endswith("_unaligned") == (offset % width != 0)


@pytest.mark.parametrize("capability", [80, 81, 88, 89, 90, 99, 100, 120])
@in_child
def test_programmatic_launches(driver_path: Path, capability: int) -> None:
    """Kernels from sm_90 on wait for their predecessor, so only those may be launched early."""
    driver = FakeDriver(driver_path)
    driver.set_device(capability=capability)
    driver.create_context()
    call = moe.Call(SQUARED_RELU, 40, 64, device=moe.CUDA, flags=moe.PROGRAMMATIC_LAUNCH)
    if capability < 90:
        with pytest.raises(moe.MoeError, match="^MOE_PROGRAMMATIC_LAUNCH: the kernels do not wait"):
            call.run()
        return
    call.run()
    [record] = driver.launches()
    assert record.programmatic


@pytest.mark.parametrize("result", [3, 201])
@in_child
def test_no_context_yet(driver_path: Path, result: int) -> None:
    """CUDA_ERROR_NOT_INITIALIZED, as CUDA_ERROR_INVALID_CONTEXT, says that there is none."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.fail("cuCtxGetId", result)
    with pytest.raises(moe.MoeError, match="no current CUDA context") as caught:
        moe.Call(SQUARED_RELU, 4, 64, device=moe.CUDA).run()
    assert caught.value.status == moe.NO_CONTEXT


@in_child
def test_memory_that_the_device_has_elsewhere(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_device_memory(0x100_0000_0000_0000, 0x600_0000_0000_0000)
    call = moe.Call(FUSED, 4, 64, device=moe.CUDA, flags=moe.VALIDATE_POINTERS)
    call.run()
    driver.set_device_shift(0x1000)
    with pytest.raises(moe.MoeError, match="^x: expected memory that the CUDA device can access"):
        call.run()
    assert len(driver.launches()) == 1
