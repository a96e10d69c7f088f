# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The peers of permutation compute what the ops do, but for the order that atomics leave open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from moe_testing import permutation, permutation_batches
from moe_testing.checkout import ROOT, python_path

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch_permute  # noqa: E402

RARE = permutation_batches.rare_batches()


def test_triton_in_the_interpreter() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    program = Path(__file__).with_name("check_triton_permute.py")
    done = subprocess.run([sys.executable, "-W", "ignore", str(program)], capture_output=True,
                          env={**os.environ, "PYTHONPATH": python_path(ROOT / "benchmarks")},
                          text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "ordinary" and done.stdout.count("\n") == 4


@pytest.mark.parametrize("name", ["plain", "i64", "all experts local", "no local pair", "no token",
                                  "one expert takes all", "duplicates", "alignment 128",
                                  "valid_tokens 17", "no room for the last pairs"])
def test_eager_pytorch(name: str) -> None:
    batch, H = RARE[name], 24
    assert batch.probs is not None
    wanted = batch.routed()
    valid = torch.tensor(batch.valid_tokens, dtype=torch.int32)
    routing = torch_permute.route(torch.from_numpy(batch.routing_map), valid, batch.first_expert,
                                  batch.experts, batch.alignment, batch.rows)
    assert np.array_equal(routing.inclusive_offsets.numpy(), wanted.inclusive_offsets)
    n_used = min(int(wanted.n_used[0]), batch.rows)
    found = routing.permutation_map.numpy()
    assert np.array_equal(found[:n_used], wanted.permutation_map[:n_used])
    assert (found[n_used:] == -1).all()

    x = permutation_batches.odd_tokens(batch.T, H)
    rows = torch_permute.permute(torch.from_numpy(x.view(np.int16)).view(torch.bfloat16), routing)
    permuted = permutation.permute_tokens(x, wanted.permutation_map, n_used,
                                          np.zeros((batch.rows, H), ml_dtypes.bfloat16))
    live = found >= 0
    assert np.array_equal(rows.view(torch.int16).numpy()[live], permuted.view(np.int16)[live])

    y = permutation_batches.expert_results(batch.rows, H)
    total = torch_permute.unpermute(torch.from_numpy(y.view(np.int16)).view(torch.bfloat16),
                                    routing, torch.from_numpy(batch.probs)).numpy()
    exact = np.zeros((batch.T, H))
    size = np.zeros((batch.T, H))
    for row in np.flatnonzero(live):
        value = y[row].astype(np.float64) * float(wanted.permuted_probs[row])
        exact[found[row]] += value
        size[found[row]] += np.abs(value)
    assert (np.abs(total - exact) <= (batch.top_k + 1) * 2.0**-24 * size).all()
