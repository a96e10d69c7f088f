# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What stands beside moe ops: scalars, vectors, linalg, affine, math, index, views of bytes.

Arithmetic is exact or rounded once, and NaN never gets into it, so that numpy has the same bits.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from .builder import Builder
from .moe_ops import store
from .program import Shaped, Value

bfloat16 = ml_dtypes.bfloat16


def wrap(number: int) -> int:
    return (int(number) + 2**31) % 2**32 - 2**31


def pick(
    b: Builder, element: str, *, is_written: bool = False, rank: int | None = None
) -> Value | None:
    """A memref in scope that is not empty."""
    found = [
        v
        for v in b.values
        if isinstance(v.type, Shaped)
        and v.type.is_memref
        and v.type.element == element
        and all(v.sizes)
        and not (is_written and v.is_read_only)
        and (rank is None or len(v.sizes) == rank)
    ]
    return b.rng.choice(found) if found else None


def target(b: Builder, element: str, rank: int) -> Value:
    """A memref to write."""
    sizes = tuple(b.rng.choice([1, 3, 8, 64]) for _ in range(rank))
    return pick(b, element, is_written=True, rank=rank) or b.need(element, sizes, is_written=True)


def indices(b: Builder, memref: Value, room: int = 1) -> tuple[Value, ...]:
    """Indices with `room` elements from there on in the innermost dimension."""
    last = len(memref.sizes) - 1
    return tuple(
        b.index(b.rng.randint(0, s - (room if d == last else 1)))
        for d, s in enumerate(memref.sizes)
    )


def load(b: Builder, memref: Value, at: tuple[Value, ...], dialect: str = "memref") -> Value:
    names = ", ".join(v.name for v in at)
    return b.pure(
        "l",
        memref.type.element,
        f"{dialect}.load {memref.name}[{names}] : {memref.type}",
        lambda array, *numbers: array[tuple(numbers)],
        memref,
        *at,
    )


def clean(b: Builder, value: Value) -> Value:
    """`value`, or 1 in the place of NaN."""
    one = b.pure("k", value.type, f"arith.constant 1.0 : {value.type}", lambda: 1.0)
    same = b.pure(
        "p", "i1", f"arith.cmpf oeq, {{}}, {{}} : {value.type}", lambda x, y: x == x, value, value
    )
    return b.pure(
        "s",
        value.type,
        f"arith.select {{}}, {{}}, {{}} : {value.type}",
        lambda p, x, y: x if p else type(x)(y),
        same,
        value,
        one,
    )


def integers(b: Builder) -> None:
    """i32 in memory through arith, index and math."""
    memref = target(b, "i32", b.rng.choice([0, 1]))
    at = indices(b, memref)
    dialect = b.rng.choice(["memref", "memref", "affine"]) if "affine" not in b.avoid else "memref"
    x = load(b, memref, at, dialect)
    k = b.i32(b.rng.choice([1, 3, -1]))
    for _ in range(b.rng.randint(1, 3)):
        x = b.pure(
            "i",
            "i32",
            *b.rng.choice(
                [
                    ("arith.addi {}, {} : i32", lambda x, y: wrap(int(x) + int(y))),
                    ("arith.muli {}, {} : i32", lambda x, y: wrap(int(x) * int(y))),
                    ("arith.maxsi {}, {} : i32", lambda x, y: max(int(x), int(y))),
                    ("arith.minsi {}, {} : i32", lambda x, y: min(int(x), int(y))),
                    ("arith.xori {}, {} : i32", lambda x, y: wrap(int(x) ^ int(y))),
                    ("arith.floordivsi {}, {} : i32", lambda x, y: wrap(int(x) // int(y))),
                ]
            ),
            x,
            k,
        )
    if b.rng.random() < 0.5:
        i = b.pure("x", "index", "arith.index_cast {} : i32 to index", int, x)
        i = b.pure(
            "x",
            "index",
            *b.rng.choice(
                [
                    ("index.add {}, {}", lambda x, y: x + y),
                    ("index.maxs {}, {}", max),
                    ("index.sub {}, {}", lambda x, y: x - y),
                    ("index.ceildivs {}, {}", lambda x, y: -(-x // y)),
                ]
            ),
            i,
            b.index(3),
        )
        x = b.pure("i", "i32", "arith.index_cast {} : index to i32", wrap, i)
    if b.rng.random() < 0.4 and "math" not in b.avoid:
        x = b.pure(
            "i",
            "i32",
            *b.rng.choice(
                [
                    ("math.ctpop {} : i32", lambda x: bin(int(x) % 2**32).count("1")),
                    ("math.ctlz {} : i32", lambda x: 32 - (int(x) % 2**32).bit_length()),
                    ("math.absi {} : i32", lambda x: wrap(abs(int(x)))),
                ]
            ),
            x,
        )
    store(b, x, memref, at, dialect)


def floats(b: Builder) -> None:
    """bf16 in memory, in bf16 or in f32, rounded once."""
    memref = target(b, "bf16", 2)
    at = indices(b, memref)
    x = clean(b, load(b, memref, at))
    y = clean(b, load(b, memref, indices(b, memref)))
    choice = b.rng.random()
    if choice < 0.2:
        w, v = (b.pure("f", "f64", "arith.extf {} : bf16 to f64", np.float64, z) for z in (x, y))
        w = b.pure("f", "f64", "arith.addf {}, {} : f64", lambda x, y: np.float64(x + y), w, v)
        w = clean(b, w)
        x = b.pure("f", "bf16", "arith.truncf {} : f64 to bf16", round_once, w)
    elif choice < 0.6:
        x = b.pure(
            "f",
            "bf16",
            *b.rng.choice(
                [
                    (
                        "arith.mulf {}, {} : bf16",
                        lambda x, y: bfloat16(np.float32(x) * np.float32(y)),
                    ),
                    (
                        "arith.addf {}, {} : bf16",
                        lambda x, y: bfloat16(np.float32(x) + np.float32(y)),
                    ),
                    ("arith.maximumf {}, {} : bf16", maximum),
                    ("arith.maxnumf {}, {} : bf16", maximum),
                ]
            ),
            x,
            y,
        )
        x = clean(b, x)
    else:
        w, v = (b.pure("f", "f32", "arith.extf {} : bf16 to f32", np.float32, z) for z in (x, y))
        w = b.pure(
            "f",
            "f32",
            *b.rng.choice(
                [
                    ("arith.mulf {}, {} : f32", lambda x, y: np.float32(x * y)),
                    ("math.copysign {}, {} : f32", np.copysign),
                    ("arith.maximumf {}, {} : f32", maximum),
                ]
            ),
            w,
            v,
        )
        w = clean(b, w)
        if b.rng.random() < 0.5 and "math" not in b.avoid:
            w = b.pure(
                "f",
                "f32",
                *b.rng.choice(
                    [
                        ("math.floor {} : f32", np.floor),
                        ("math.ceil {} : f32", np.ceil),
                        ("math.trunc {} : f32", np.trunc),
                        ("math.roundeven {} : f32", np.round),
                        ("math.absf {} : f32", np.abs),
                    ]
                ),
                w,
            )
        x = b.pure("f", "bf16", "arith.truncf {} : f32 to bf16", bfloat16, w)
    store(b, x, memref, at)


def round_once(x: np.float64) -> object:
    """bf16 nearest to `x`, ties to even; ml_dtypes rounds to f32 in between."""
    near = np.float32(x)
    if np.isfinite(near) and np.float64(near) != x:
        # An f32 with an odd last bit is no tie of bf16 and no value of it.
        toward = near if abs(np.float64(near)) < abs(x) else np.nextafter(near, np.float32(0))
        near = (toward.view(np.uint32) | np.uint32(1)).view(np.float32)
    return bfloat16(near)


def maximum(x, y):
    """The greater one; +0 is greater than -0."""
    return (x if not np.signbit(x) else y) if x == y else (x if x > y else y)


def dequantize(b: Builder) -> None:
    """An element of E4M3 or E8M0 as bf16."""
    element = b.rng.choice(["f8E4M3FN", "f8E8M0FNU"])
    source = pick(b, element)
    if source is None:
        return integers(b)
    x = load(b, source, indices(b, source))
    x = clean(b, b.pure("f", "f32", f"arith.extf {{}} : {element} to f32", np.float32, x))
    x = b.pure("f", "bf16", "arith.truncf {} : f32 to bf16", bfloat16, x)
    memref = target(b, "bf16", 2)
    store(b, x, memref, indices(b, memref))


def vectors(b: Builder) -> None:
    """A few elements of a row, moved or reduced as a vector."""
    memref = target(b, "i32", 1)
    room = b.rng.choice([s for s in (1, 2, 4, 8) if s <= memref.sizes[-1]])
    type = f"vector<{room}xi32>"
    at = indices(b, memref, room)
    unit = memref.type.strides_and_offset()[0][-1] == 1
    zero = b.i32(0)
    names = ", ".join(v.name for v in at)
    if unit and b.rng.random() < 0.5:
        text = f"vector.load {memref.name}[{names}] : {memref.type}, {type}"
    else:
        text = f"vector.transfer_read {memref.name}[{names}], {zero.name} : {memref.type}, {type}"
    x = b.pure("v", type, text, lambda array, *n: array[n[-1] : n[-1] + room].copy(), memref, *at)
    if b.rng.random() < 0.5:
        name, function = b.rng.choice(
            [("add", lambda v: wrap(sum(map(int, v)))), ("maxsi", lambda v: int(max(v)))]
        )
        if b.rng.random() < 0.5 and "multi_reduction" not in b.avoid:
            total = b.pure(
                "i",
                "i32",
                f"vector.multi_reduction <{name}>, {{}}, {zero.name} [0] : {type} to i32",
                lambda v, f=function, n=name: f(v) if n == "add" else max(f(v), 0),
                x,
            )
        else:
            total = b.pure(
                "i", "i32", f"vector.reduction <{name}>, {{}} : {type} into i32", function, x
            )
        return store(b, total, memref, indices(b, memref))
    x = b.pure("v", type, f"arith.addi {{}}, {{}} : {type}", lambda x, y: x + y, x, x)
    at = indices(b, memref, room)
    names = ", ".join(v.name for v in at)
    verb = (
        b.rng.choice(["vector.store", "vector.transfer_write"]) if unit else "vector.transfer_write"
    )
    text = (
        f"vector.store {x.name}, {memref.name}[{names}] : {memref.type}, {type}"
        if verb == "vector.store"
        else f"vector.transfer_write {x.name}, {memref.name}[{names}] : {type}, {memref.type}"
    )

    def run(machine, env, op) -> None:
        start = env[at[-1].name]
        env[memref.name][start : start + room] = env[x.name]

    b.add(text, run, (x, memref, *at))


def generic(b: Builder) -> None:
    """linalg.generic in place: i32 plus a constant, bf16 without NaN."""
    element = b.rng.choice(["i32", "bf16"])
    memref = target(b, element, 1 if element == "i32" else 2)
    rank = len(memref.sizes)
    dims = ", ".join(f"d{d}" for d in range(rank))
    iterators = ", ".join(['"parallel"'] * rank)
    e, one, r, p = (b.name(h) for h in ("e", "k", "r", "p"))
    inner = (
        f"  {one} = arith.constant 1 : i32\n  {r} = arith.addi {e}, {one} : i32\n"
        if element == "i32"
        else f"  {one} = arith.constant 1.0 : bf16\n  {p} = arith.cmpf oeq, {e}, {e} : bf16\n"
        f"  {r} = arith.select {p}, {e}, {one} : bf16\n"
    )

    def run(machine, env, op) -> None:
        array = env[memref.name]
        with np.errstate(all="ignore"):
            array[...] = (
                array + np.int32(1)
                if element == "i32"
                else np.where(np.isnan(array), bfloat16(1), array)
            )

    b.add(
        f"linalg.generic {{indexing_maps = [affine_map<({dims}) -> ({dims})>], iterator_types = [{iterators}]}}"
        f" outs({memref.name} : {memref.type}) {{\n^bb0({e}: {element}):\n{inner}  linalg.yield {r} : {element}\n}}",
        run,
        (memref,),
    )


def tensor_elements(b: Builder) -> None:
    """An element of a tensor replaced, by tensor.extract and tensor.insert."""
    found = [
        v
        for v in b.values
        if isinstance(v.type, Shaped)
        and not v.type.is_memref
        and all(v.sizes)
        and v.type.element == "i32"
    ]
    if not found:
        return integers(b)
    tensor = b.rng.choice(found)
    at = indices(b, tensor)
    names = ", ".join(v.name for v in at)
    x = b.pure(
        "x",
        "i32",
        f"tensor.extract {tensor.name}[{names}] : {tensor.type}",
        lambda array, *n: int(array[tuple(n)]),
        tensor,
        *at,
    )
    x = b.pure("x", "i32", "arith.addi {}, {} : i32", lambda x, y: wrap(x + y), x, b.i32(1))
    result = b.value("t", tensor.type, tensor.sizes)

    def run(machine, env, op) -> None:
        array = np.array(env[tensor.name])
        array[tuple(env[v.name] for v in at)] = env[x.name]
        env[result.name] = array

    b.add(
        f"{result.name} = tensor.insert {x.name} into {tensor.name}[{names}] : {tensor.type}",
        run,
        (x, tensor, *at),
        (result,),
    )


def loop_of_stores(b: Builder) -> None:
    """scf.for over a vector of the map with the induction variable stored."""
    memref = target(b, "i32", 1)
    begin, end, step = b.index(0), b.size(memref.sizes[0]), b.index(b.rng.choice([1, 3]))
    i, k = b.name("i"), b.name("k")
    uses_affine = b.rng.random() < 0.4 and "affine" not in b.avoid
    head = (
        f"affine.for {i} = 0 to {memref.sizes[0]} {{"
        if uses_affine
        else f"scf.for {i} = {begin.name} to {end.name} step {step.name} {{"
    )

    def run(machine, env, op) -> None:
        array = env[memref.name]
        for number in range(0, memref.sizes[0], 1 if uses_affine else env[step.name]):
            array[number] = number

    verb = "affine" if uses_affine else "memref"
    b.add(
        f"{head}\n  {k} = arith.index_cast {i} : index to i32\n"
        f"  {verb}.store {k}, {memref.name}[{i}] : {memref.type}\n}}",
        run,
        (memref, begin, end, step),
    )


NEIGHBOURS = {
    "integers": integers,
    "floats": floats,
    "dequantize": dequantize,
    "vectors": vectors,
    "generic": generic,
    "tensor-elements": tensor_elements,
    "loop-of-stores": loop_of_stores,
}
