# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests of examples/swiglu/errors.py: of the exact product, against decimal arithmetic, and of the
ways that are compared with it. What it prints is compared with the page beside it by test/Docs.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import rational
from moe_testing import activations
from moe_testing.checkout import ROOT, python_path

PROGRAM = ROOT / "examples" / "swiglu" / "errors.py"
_spec = importlib.util.spec_from_file_location("swiglu_errors", PROGRAM)
assert _spec is not None and _spec.loader is not None
errors = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(errors)


def all_gates() -> np.ndarray:
    return np.concatenate([errors.gates_of(binade, sign) for sign in (-1, 1)
                           for binade in errors.BINADES])


def exact_product(g: float, u: float) -> float:
    """Of 80 digits, rounded once to bf16."""
    with localcontext() as context:
        context.prec = 80
        silu = Decimal(g) / (1 + (-Decimal(g)).exp())
        return float(rational.bf16(Fraction(silu * Decimal(u))))


def test_the_gates() -> None:
    gates = all_gates().astype(np.float32)
    assert np.unique(gates).size == gates.size == 644_992 // 128
    assert (gates.min(), gates.max()) == (-87, 127.5)
    assert np.abs(gates).min() == 2.0**-13


def test_the_exact_product() -> None:
    """Some of all pairs; and those in which a float32 product is in the middle of two values."""
    gates = all_gates()
    wanted = errors.correctly_rounded(gates)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(gates.size, size=1500), rng.integers(128, size=1500)
    product = (activations.silu(gates)[:, None] * errors.UPS).view(np.uint32)
    middles = np.argwhere((product & 0xFFFF) == 0x8000)
    assert len(middles) > 500
    some = rng.choice(middles, 500, replace=False)
    for row, column in [*zip(rows, columns), *some]:
        g, u = float(gates[row]), float(errors.UPS[column])
        assert wanted[row, column] == exact_product(g, u), (g, u)


def test_two_steps_are_operations_on_bf16() -> None:
    gates = all_gates()
    ups = errors.UPS.astype(ml_dtypes.bfloat16)
    wanted = activations.silu(gates).astype(ml_dtypes.bfloat16)[:, None] * ups
    assert np.array_equal(errors.products(errors.in_two_steps(gates)), wanted.astype(np.float64))


def test_two_steps_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    gates = all_gates()
    g = torch.from_numpy(gates.view(np.int16)).view(torch.bfloat16)
    u = torch.from_numpy(errors.UPS).to(torch.bfloat16)
    found = (torch.nn.functional.silu(g)[:, None] * u).to(torch.float64).numpy()
    assert np.array_equal(found, errors.products(errors.in_two_steps(gates)))


def test_the_quotient_differs_in_one_pair() -> None:
    gates = all_gates()
    with np.errstate(over="ignore"):
        [[row, column]] = np.argwhere(errors.products(errors.as_quotient(gates))
                                      != errors.products(activations.silu(gates)))
    assert (float(gates[row]), float(errors.UPS[column])) == (0.78515625, 1.7421875)


def test_errors_are_within_what_is_promised() -> None:
    exact = np.exp2(np.random.default_rng(0).uniform(-20, 20, 1000))
    unit = np.spacing(exact.astype(np.float32)).astype(np.float64)
    for units in (-2, -1, 0, 1, 2):
        found = errors.off_by(exact, units).astype(np.float64)
        # A unit is another one next to a power of two, which none of these is.
        assert np.array_equal(found - exact.astype(np.float32), units * unit)
    assert errors.off_by(np.zeros(1), -2).tolist() == [0]
    with np.errstate(over="ignore"):
        least, drawn, greatest = (make(all_gates()) / all_gates().astype(np.float32) for make in (
            errors.with_least_sigma, errors.with_drawn_errors, errors.with_greatest_sigma))
    assert (least <= drawn).all() and (drawn <= greatest).all()
    assert (least < drawn).any() and (drawn < greatest).any()


def test_what_may_differ_holds_what_does() -> None:
    for binade, sign in ((-3, -1), (5, -1), (5, 1)):
        gates = errors.gates_of(binade, sign)
        wanted = errors.correctly_rounded(gates)
        drawn, worst = (errors.count_differing(gates, way, wanted)
                        for way in ("approx", "at worst"))
        assert 0 < drawn <= worst


def test_the_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    contents = []
    for name in ("one.svg", "two.svg"):
        done = subprocess.run([sys.executable, str(PROGRAM), "--figure", str(tmp_path / name)],
                              capture_output=True, text=True, check=False,
                              env={"PYTHONPATH": python_path()})
        assert done.returncode == 0, done.stderr
        contents.append((tmp_path / name).read_text())
    assert contents[0] == contents[1], "the same numbers must give the same file"
    assert all(label in contents[0] for label in errors.LABELS.values())
