# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A module from a seed: valid by construction, with the arrays that its entry is called with."""

from __future__ import annotations

import random

from . import moe_ops
from .builder import Builder
from .control import WRAPPERS
from .memory import MEMORY
from .neighbours import NEIGHBOURS
from .program import Function, Module, Shaped
from .tensors import TENSORS

# What a caller can leave out, by name.
PARTS = sorted(
    {
        *WRAPPERS,
        *NEIGHBOURS,
        *MEMORY,
        *TENSORS,
        "affine",
        "alloca",
        "globals",
        "layouts",
        "math",
        "names",
        "multi_reduction",
        "returned-memrefs",
        "tensors",
    }
)


def statement(b: Builder) -> None:
    """An op with what it needs, or control flow around one to three of them."""
    rng = b.rng
    choice = rng.random()
    wrappers = [
        f
        for name, f in WRAPPERS.items()
        if name not in b.avoid and not ("affine" in b.avoid and name.startswith("affine"))
    ]
    if choice < 0.3 and b.depth < 3 and wrappers:
        rng.choice(wrappers)(b, [statement] * rng.randint(1, 3))
    elif choice < 0.6:
        tables = [NEIGHBOURS, NEIGHBOURS, MEMORY]
        if b.uses_tensors and "tensors" not in b.avoid:
            tables += [TENSORS, TENSORS]
        rng.choice([f for name, f in rng.choice(tables).items() if name not in b.avoid])(b)
    else:
        moe_statement(b)


def moe_statement(b: Builder) -> None:
    kinds = [moe_ops.on_memrefs] * 3
    if "tensors" not in b.avoid and b.uses_tensors:
        kinds = [moe_ops.on_tensors] * 3 + [moe_ops.on_slices]
        if b.uses_both:
            kinds.append(moe_ops.on_memrefs)
    b.rng.choice(kinds)(b)


def generate(seed: int, index: int, avoid: frozenset[str] = frozenset()) -> Module:
    """Module `index` of the run `seed`."""
    rng = random.Random(f"{seed}/{index}")
    entry = Function("entry")
    module = Module([entry])
    Builder.uses_tensors = rng.random() < 0.45
    Builder.uses_both = rng.random() < 0.2
    b = Builder(rng, module, entry, avoid)
    moe_statement(b)
    for _ in range(rng.randint(1, 5)):
        statement(b)
    tensors = [v for v in b.values if isinstance(v.type, Shaped) and not v.type.is_memref]
    entry.body.yields = tuple(rng.sample(tensors, min(len(tensors), 3)))
    return module
