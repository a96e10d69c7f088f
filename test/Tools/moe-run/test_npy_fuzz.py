# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A bounded run of the fuzzer of .npy files, the same files each time; fuzz_npy.py goes on."""

from __future__ import annotations

import subprocess

import fuzz_npy
import numpy as np
import pytest
from moe_run import MOE_RUN, identity


def test_reader():
    assert fuzz_npy.fuzz(0, 4000) == []


def test_kinds_of_files():
    """Of the files some are read and some are refused, each for several reasons."""
    contents = [fuzz_npy.mutant(seed) for seed in range(500)]
    assert contents == [fuzz_npy.mutant(seed) for seed in range(500)]
    accepted = 0
    errors = set()
    for content in contents:
        try:
            fuzz_npy.read_by_numpy(content)
            accepted += 1
        except Exception as error:
            errors.add((type(error), str(error)[:20]))
    assert 100 < accepted < 400
    assert len(errors) > 5


@pytest.mark.parametrize("type_", ["memref<?xi32>", "tensor<?x?xbf16>", "memref<?xi1>", "index",
                                   "memref<2x3xf8E4M3FN>", "f64"])
def test_tool(tmp_path, type_):
    """The whole tool: it runs, or it says why not in one line and saves nothing."""
    (tmp_path / "input.mlir").write_text(identity(type_))
    output = tmp_path / "out.npy"
    for seed in range(15):
        (tmp_path / "x.npy").write_bytes(fuzz_npy.mutant(seed))
        result = subprocess.run([MOE_RUN, "input.mlir", "--entry=f", "--arg=x.npy",
                                 "--save=0=out.npy"], cwd=tmp_path, capture_output=True,
                                timeout=60, check=False)
        stderr = result.stderr.decode()
        if result.returncode == 0:
            assert stderr == ""
            np.load(output)
        else:
            assert result.returncode == 1, (seed, result)
            assert stderr.startswith("moe-run: error: argument 0 ('x.npy'): "), seed
            assert stderr.endswith("\n") and stderr[:-1].isprintable(), seed
            assert not output.exists()
        output.unlink(missing_ok=True)
