# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What programs do with buffers beside moe ops: other ways to name them, to free them, to keep them
in globals and in other memory spaces, and functions that call themselves or are called through a pointer.
"""

from __future__ import annotations

import numpy as np

from .builder import Builder, random_array
from .moe_ops import store
from .neighbours import indices, integers, load, target, wrap
from .program import DTYPES, Function, Op, Shaped, Value


def view(
    b: Builder,
    text: str,
    memref: Value,
    type: Shaped,
    sizes: tuple[int, ...],
    function,
    *operands: Value,
    **kwargs,
) -> Value:
    """`text` names `memref` or a part of it anew."""
    result = b.value("v", type, sizes, memref.bases, memref.is_read_only)

    def run(machine, env, op) -> None:
        env[result.name] = function(env[memref.name])

    b.add(f"{result.name} = {text}", run, (memref, *operands), (result,), **kwargs)
    return result


def any_memref(b: Builder, has_identity_layout: bool = False) -> Value | None:
    found = [
        v
        for v in b.values
        if isinstance(v.type, Shaped)
        and v.type.is_memref
        and not (has_identity_layout and (v.type.layout or None in v.type.sizes))
    ]
    return b.rng.choice(found) if found else None


def unranked(b: Builder) -> None:
    """Out of and back into a type with a rank."""
    memref = any_memref(b)
    if memref is None:
        return integers(b)
    space = f", {memref.type.space}" if memref.type.space else ""
    name, type = b.name("u"), f"memref<*x{memref.type.element}{space}>"
    result = b.value("v", memref.type, memref.sizes, memref.bases, memref.is_read_only)

    def run(machine, env, op) -> None:
        env[result.name] = env[memref.name]

    b.add(
        f"{name} = memref.cast {memref.name} : {memref.type} to {type}\n"
        f"{result.name} = memref.cast {name} : {type} to {memref.type}",
        run,
        (memref,),
        (result,),
    )


def other_space(b: Builder) -> None:
    """A buffer in memory space 1, which is the host's memory too, or the same buffer said to be there."""
    memref = any_memref(b)
    if memref is None or memref.type.space:
        return integers(b)
    type = Shaped(memref.type.element, memref.type.sizes, layout=memref.type.layout, space="1")
    view(
        b,
        f"memref.memory_space_cast {memref.name} : {memref.type} to {type}",
        memref,
        type,
        memref.sizes,
        lambda array: array,
    )


def expand(b: Builder) -> None:
    """A vector as a matrix: map entries, scales."""
    found = [
        v
        for v in b.values
        if isinstance(v.type, Shaped)
        and v.type.is_memref
        and not v.type.layout
        and len(v.sizes) == 1
        and v.type.sizes[0]
        and v.sizes[0] % 32 == 0
    ]
    if not found:
        return integers(b)
    memref = b.rng.choice(found)
    sizes = (memref.sizes[0] // 32, 32)
    type = Shaped(memref.type.element, sizes)
    view(
        b,
        f"memref.expand_shape {memref.name} [[0, 1]] output_shape [{sizes[0]}, 32] : {memref.type} into {type}",
        memref,
        type,
        sizes,
        lambda array: array.reshape(sizes),
    )


def transpose(b: Builder) -> None:
    """Columns for rows: an innermost stride that no moe op takes, so it is copied."""
    memref = any_memref(b, has_identity_layout=True)
    if memref is None or len(memref.sizes) != 2 or not all(memref.sizes):
        return integers(b)
    rows, columns = memref.sizes
    type = Shaped(memref.type.element, (columns, rows), layout=((1, columns), 0))
    turned = view(
        b,
        f"memref.transpose {memref.name} (i, j) -> (j, i) : {memref.type} to {type}",
        memref,
        type,
        (columns, rows),
        lambda array: array.T,
    )
    fresh = b.alloc(memref.type.element, (columns, rows))
    b.copy(turned, fresh)


def atomic(b: Builder) -> None:
    memref = target(b, "i32", b.rng.choice([0, 1]))
    at = indices(b, memref)
    names = ", ".join(v.name for v in at)
    kind, function = b.rng.choice(
        [("addi", lambda x, y: wrap(x + y)), ("maxs", max), ("assign", lambda x, y: x)]
    )
    k = b.i32(b.rng.choice([1, -1]))
    result = b.value("i", "i32")

    def run(machine, env, op) -> None:
        index = tuple(env[v.name] for v in at)
        env[result.name] = int(env[memref.name][index])
        env[memref.name][index] = function(env[k.name], env[result.name])

    b.add(
        f"{result.name} = memref.atomic_rmw {kind} {k.name}, {memref.name}[{names}] : (i32, {memref.type}) -> i32",
        run,
        (k, memref, *at),
        (result,),
    )


def prefetch(b: Builder) -> None:
    memref = any_memref(b)
    if memref is None or not all(memref.sizes):
        return integers(b)
    at = indices(b, memref)
    names = ", ".join(v.name for v in at)
    b.add(
        f"memref.prefetch {memref.name}[{names}], read, locality<3>, data : {memref.type}",
        lambda machine, env, op: None,
        (memref, *at),
    )


def alloc_and_free(b: Builder) -> None:
    """A buffer that the program frees itself."""
    memref = target(b, "i32", 1)
    k = b.i32(7)
    temporary = b.value("m", Shaped("i32", (4,)), (4,))
    zero = b.index(b.rng.randint(0, 3))

    def make(machine, env, op) -> None:
        env[temporary.name] = np.zeros(4, np.int32)

    b.add(f"{temporary.name} = memref.alloc() : memref<4xi32>", make, (), (temporary,))
    store(b, k, temporary, (zero,))
    store(b, load(b, temporary, (zero,)), memref, indices(b, memref))
    b.add(
        f"memref.dealloc {temporary.name} : memref<4xi32>",
        lambda machine, env, op: None,
        (temporary,),
    )
    b.values.remove(temporary)


def mutable_global(b: Builder) -> None:
    """A global that is written, initialised or not."""
    element, sizes = b.rng.choice([("i32", (4,)), ("i32", ()), ("bf16", (3, 32))])
    symbol = f"g{next(b.module.names)}"
    type = Shaped(element, sizes)
    b.module.globals[symbol] = (
        f'memref.global "private" @{symbol} : {type} = uninitialized',
        random_array(b.rng, element, sizes),
    )
    result = b.value("g", type, sizes, frozenset([symbol]))

    def run(machine, env, op) -> None:
        env[result.name] = machine.globals[symbol]

    b.add(
        f"{result.name} = memref.get_global @{symbol} : {type}",
        run,
        (),
        (result,),
        refused_by=frozenset(["cuda"]),
    )
    b.fill(result)


def recursion(b: Builder) -> None:
    """A function that counts down and adds 1 to an entry of the map for each step."""
    memref = target(b, "i32", 1)
    function = Function(f"f{next(b.module.names)}", is_private=True)
    i, q = b.name("i"), b.name("q")
    function.params = [Value(q, memref.type, memref.sizes, frozenset([q])), Value(i, "index")]
    p, c, d, x, k, y, z = (b.name("z") for _ in range(7))
    trips = b.rng.choice([0, 2])
    n = b.index(trips)

    def add(machine, env, op) -> None:
        env[q][0] = wrap(int(env[q][0]) + env[i])

    function.body.ops.append(
        Op(
            f"{c} = arith.constant 0 : index\n{p} = arith.cmpi sgt, {i}, {c} : index\nscf.if {p} {{\n"
            f"  {k} = arith.constant 1 : index\n  {d} = arith.subi {i}, {k} : index\n"
            f"  {x} = memref.load {q}[{c}] : {memref.type}\n  {z} = arith.constant 1 : i32\n"
            f"  {y} = arith.addi {x}, {z} : i32\n  memref.store {y}, {q}[{c}] : {memref.type}\n"
            f"  func.call @{function.name}({q}, {d}) : ({memref.type}, index) -> ()\n}}",
            add,
        )
    )
    b.module.functions.append(function)

    def run(machine, env, op) -> None:
        machine.call(function, [env[memref.name], trips])

    b.add(
        f"func.call @{function.name}({memref.name}, {n.name}) : ({memref.type}, index) -> ()",
        run,
        (memref, n),
        callee=function,
    )


def assertion(b: Builder) -> None:
    """Something that holds."""
    memref = any_memref(b)
    if memref is None or not memref.sizes:
        return integers(b)
    size = b.size(memref.sizes[0])
    p = b.pure("p", "i1", "arith.cmpi sge, {}, {} : index", lambda x, y: x >= y, size, size)
    b.add(f'cf.assert {p.name}, "holds"', lambda machine, env, op: None, (p,))


def scope(b: Builder) -> None:
    """Stack memory within a region of its own."""
    memref = target(b, "i32", 1)
    x, c, k = (b.name("x") for _ in range(3))
    at = indices(b, memref)
    names = ", ".join(v.name for v in at)

    def run(machine, env, op) -> None:
        env[memref.name][tuple(env[v.name] for v in at)] = 9

    b.add(
        f"memref.alloca_scope {{\n  {k} = arith.constant 9 : i32\n  {x} = memref.alloca() : memref<i32>\n"
        f"  memref.store {k}, {x}[] : memref<i32>\n  {c} = memref.load {x}[] : memref<i32>\n"
        f"  memref.store {c}, {memref.name}[{names}] : {memref.type}\n}}",
        run,
        (memref, *at),
    )


def view_of_bytes(b: Builder) -> None:
    """A buffer of bytes seen as bf16 and as E4M3: one memory, two types."""
    rows, columns = b.rng.choice([1, 3, 64]), b.rng.choice([32, 64])
    size = rows * columns * 2 + 64
    memory = b.alloc("i8", (size,))
    if memory.type.sizes[0] is None:
        return
    for element in b.rng.choice([("bf16",), ("f8E4M3FN", "bf16")]):
        offset = b.index(b.rng.choice([0, 64]))
        result = b.value("v", Shaped(element, (rows, columns)), (rows, columns), memory.bases)

        def run(machine, env, op, result=result, offset=offset, element=element) -> None:
            dtype = DTYPES[element]
            part = env[memory.name][env[offset.name] :][: rows * columns * dtype.itemsize]
            env[result.name] = part.view(dtype).reshape(rows, columns)

        b.add(
            f"{result.name} = memref.view {memory.name}[{offset.name}][] : {memory.type} to {result.type}",
            run,
            (memory, offset),
            (result,),
        )


def reshape(b: Builder) -> None:
    """The scales of the linear layout in one dimension, or map entries in two."""
    found = [
        v
        for v in b.values
        if isinstance(v.type, Shaped)
        and v.type.is_memref
        and not v.type.layout
        and None not in v.type.sizes
        and len(v.sizes) == 2
    ]
    if not found:
        return integers(b)
    memref = b.rng.choice(found)
    sizes = (memref.sizes[0] * memref.sizes[1],)
    result = b.value(
        "v", Shaped(memref.type.element, sizes), sizes, memref.bases, memref.is_read_only
    )

    def run(machine, env, op) -> None:
        env[result.name] = env[memref.name].reshape(sizes)

    b.add(
        f"{result.name} = memref.collapse_shape {memref.name} [[0, 1]] : {memref.type} into {result.type}",
        run,
        (memref,),
        (result,),
    )


def reinterpret(b: Builder) -> None:
    """Rows of a contiguous buffer, two at a time apart, by reinterpret_cast."""
    found = [
        v
        for v in b.values
        if isinstance(v.type, Shaped)
        and v.type.is_memref
        and not v.type.layout
        and None not in v.type.sizes
        and len(v.sizes) == 2
        and v.sizes[0] >= 3
    ]
    if not found:
        return integers(b)
    memref = b.rng.choice(found)
    rows, columns = memref.sizes
    sizes = (rows // 2, columns)
    offset = b.rng.choice([0, columns])
    shown = b.index(offset) if b.rng.random() < 0.5 else None
    type = Shaped(memref.type.element, sizes, layout=((2 * columns, 1), None if shown else offset))
    result = b.value("v", type, sizes, memref.bases, memref.is_read_only)

    def run(machine, env, op) -> None:
        start = offset // columns
        env[result.name] = env[memref.name][start : start + 2 * (rows // 2) - 1 : 2]

    b.add(
        f"{result.name} = memref.reinterpret_cast {memref.name} to offset: [{shown.name if shown else offset}], "
        f"sizes: [{sizes[0]}, {columns}], strides: [{2 * columns}, 1] : {memref.type} to {type}",
        run,
        (memref, *([shown] if shown else [])),
        (result,),
    )


def nested_memref(b: Builder) -> None:
    """A buffer that escapes into memory and comes back."""
    found = [v for v in b.values if isinstance(v.type, Shaped) and v.type.is_memref]
    if not found:
        return integers(b)
    memref = b.rng.choice(found)
    box, result = b.name("b"), b.value(
        "v", memref.type, memref.sizes, memref.bases, memref.is_read_only
    )
    zero = b.index(0)

    def run(machine, env, op) -> None:
        env[result.name] = env[memref.name]

    type = f"memref<1x{memref.type}>"
    b.add(
        f"{box} = memref.alloc() : {type}\nmemref.store {memref.name}, {box}[{zero.name}] : {type}\n"
        f"{result.name} = memref.load {box}[{zero.name}] : {type}",
        run,
        (memref, zero),
        (result,),
        refused_by=frozenset(["cuda", "ptx"]),
    )


MEMORY = {
    "nested-memref": nested_memref,
    "reinterpret": reinterpret,
    "reshape": reshape,
    "view": view_of_bytes,
    "unranked": unranked,
    "space": other_space,
    "expand": expand,
    "transpose": transpose,
    "atomic": atomic,
    "prefetch": prefetch,
    "free": alloc_and_free,
    "mutable-global": mutable_global,
    "recursion": recursion,
    "assert": assertion,
    "scope": scope,
}
