# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe_mlir.compile of an op: the PTX is that of the module which one would write by hand."""

from __future__ import annotations

import os
from pathlib import Path

import moe_mlir
import pytest
from moe_testing.checkout import BIN_DIR
from moe_testing.kernels import FUSED, QUANTIZE, SQUARED_RELU, Kernel

pytestmark = pytest.mark.skipif(not (BIN_DIR / "moe-opt").is_file(), reason="needs moe-opt")


@pytest.mark.parametrize("columns", [None, 64, 1856])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("op, layout", [(SQUARED_RELU, "swizzle_32_4_4"), (FUSED, "swizzle_32_4_4"),
                                        (QUANTIZE, "linear")])
def test_as_by_hand(op: str, layout: str, strided: bool, columns: int | None) -> None:
    kernel = Kernel(op, columns, layout, strided=strided)
    assert moe_mlir.compile(op, columns=columns, strided=strided, scale_layout=layout) == kernel.ptx()


@pytest.mark.parametrize("columns", [1, 16, 31, 48, 1840])
def test_columns_that_are_no_groups(columns: int) -> None:
    with pytest.raises(ValueError, match=f"columns: expected a multiple of 32, found {columns}"):
        moe_mlir.compile("quantize_mxfp8", columns=columns)


@pytest.mark.parametrize("tool", ["moe-opt", "moe-translate"])
def test_one_tool_is_not_enough(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.symlink(BIN_DIR / tool, tmp_path / tool)
    monkeypatch.setenv("MOE_BIN_DIR", str(tmp_path))
    with pytest.raises(moe_mlir.CompilerNotFoundError, match="moe-opt and moe-translate were not found"):
        moe_mlir.compile("padded_squared_relu")
