# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random ops survive printing and parsing, as text and as bytecode."""

from __future__ import annotations

import random
import subprocess

import pytest
from moe_testing.checkout import BIN_DIR
from moe_testing.kernels import FUSED, QUANTIZE, SQUARED_RELU

pytestmark = pytest.mark.needs("moe-opt")


def random_function(rng: random.Random, index: int) -> str:
    """A function with one op of random shapes, attributes and kind of operands."""
    op = rng.choice([SQUARED_RELU, FUSED, QUANTIZE])
    container = rng.choice(["tensor", "memref"])
    M = rng.choice([None, 0, 1, 128, rng.randrange(1, 5000)])
    N = rng.choice([None, 32 * rng.randrange(1, 500)])
    if op == SQUARED_RELU:
        N = rng.choice([N, rng.randrange(1, 3000)])
    dim = lambda value: "?" if value is None else str(value)  # noqa: E731

    def typed(shape: str, element: str, strided: bool = False) -> str:
        layout = ""
        if strided and container == "memref":
            stride = rng.choice(["?", str((N or 4096) + rng.randrange(64))])
            layout = f", strided<[{stride}, 1], offset: {rng.choice(['?', '0', '16'])}>"
        return f"{container}<{shape}{'x' if shape else ''}{element}{layout}>"

    matrix = f"{dim(M)}x{dim(N)}"
    types = [typed(matrix, "bf16", rng.random() < 0.5), typed(dim(rng.choice([M, None])), "i32"),
             typed(rng.choice(["", "1"]), "i32")]
    attributes = []
    if op == SQUARED_RELU:
        outs = [typed(matrix, "bf16", rng.random() < 0.5)]
    else:
        layout = rng.choice([None, "swizzle_32_4_4", "linear"])
        dead = rng.choice([None, "zero", "untouched"])
        attributes += [f"scale_layout<{layout}>"] if layout else []
        attributes += [f"dead_scales<{dead}>"] if dead else []
        if layout == "linear":
            scale = f"{dim(M)}x{dim(N // 32 if N else None)}"
        elif M is None or N is None:
            scale = "?"
        else:
            scale = str(-(-M // 128) * -(-N // 128) * 512)
        outs = [typed(matrix, "f8E4M3FN", rng.random() < 0.5), typed(scale, "f8E8M0FNU")]
    if rng.random() < 0.3:
        attributes.append('{note = "kept"}')
    names = [f"%a{i}" for i in range(len(types) + len(outs))]
    arguments = ", ".join(f"{n}: {t}" for n, t in zip(names, types + outs))
    results = f" -> {', '.join(outs)}" if container == "tensor" else ""
    bound = f"%r{':2' if len(outs) == 2 else ''} = " if results else ""
    return (f"func.func @f{index}({arguments}) {{\n  {bound}moe.{op} "
            f"ins({', '.join(names[:3])} : {', '.join(types)}) "
            f"outs({', '.join(names[3:])} : {', '.join(outs)}) {' '.join(attributes)}{results}\n"
            "  return\n}\n")


def moe_opt(source: bytes, *arguments: str) -> bytes:
    result = subprocess.run([BIN_DIR / "moe-opt", "-", *arguments], input=source,
                            capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()[:2000]
    return result.stdout


def test_random_ops_survive_text_and_bytecode() -> None:
    rng = random.Random(20)
    source = "".join(random_function(rng, index) for index in range(400)).encode()
    once = moe_opt(source)
    assert once.count(b"moe.") == 400 and once.count(b'note = "kept"') > 50
    assert moe_opt(once) == once
    assert moe_opt(moe_opt(source, "--mlir-print-op-generic")) == once
    assert moe_opt(moe_opt(source, "--emit-bytecode")) == once
