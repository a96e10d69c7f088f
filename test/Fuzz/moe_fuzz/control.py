# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Control flow around statements: regions of scf and affine, branches of cf, and calls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .builder import Builder
from .program import Block, Function, Shaped, Value

Statement = Callable[[Builder], None]

# Names that a lowering or a JIT may want for its own.
TAKEN_NAMES = [
    "_mlir_entry",
    "_mlir_ciface_entry",
    "_mlir__mlir_entry",
    "main",
    "malloc",
    "free",
    "abort",
    "memcpy",
    "memrefCopy",
    "mgpuLaunchKernel",
    "mgpuMemAlloc",
    "padded_squared_relu",
    "quantize_mxfp8",
    "moe",
    "__truncsfbf2",
    "floorf",
    "entry_0",
]


def body(b: Builder, statements: list[Statement], *arguments: Value, terminator: str = "") -> Block:
    with b.region(*arguments, terminator=terminator) as block:
        for statement in statements:
            statement(b)
    return block


def condition(b: Builder) -> Value:
    """An i1 that the compiler may or may not be able to see through."""
    left = b.i32(b.rng.choice([0, 1]))
    scalars = [v for v in b.values if v.type == "i32"]
    right = b.rng.choice(scalars)
    return b.pure(
        "p", "i1", "arith.cmpi sle, {}, {} : i32", lambda x, y: int(x) <= int(y), left, right
    )


def if_(b: Builder, inner: list[Statement]) -> None:
    test = condition(b)
    taken, other = body(b, inner[:1]), body(b, inner[1:])

    def run(machine, env, op) -> None:
        op.regions[0 if env[test.name] else 1].run(machine, env)

    b.add(f"scf.if {test.name} {{\n$0\n}} else {{\n$1\n}}", run, (test,), regions=(taken, other))


def for_(
    b: Builder, inner: list[Statement], head: str = "scf.for {} = {} to {} step {} {{"
) -> None:
    trips = b.rng.choice([0, 1, 2, 3])
    begin, end, step = b.index(0), b.index(2 * trips), b.index(2)
    induction = b.value("i", "index")
    block = body(b, inner, induction)

    def run(machine, env, op) -> None:
        for i in range(trips):
            env[induction.name] = 2 * i
            op.regions[0].run(machine, env)

    b.add(
        head.format(induction.name, begin.name, end.name, step.name) + "\n$0\n}",
        run,
        (begin, end, step),
        regions=(block,),
    )


def parallel(b: Builder, inner: list[Statement]) -> None:
    for_(b, inner, "scf.parallel ({}) = ({}) to ({}) step ({}) {{")


def affine_for(b: Builder, inner: list[Statement]) -> None:
    trips = b.rng.choice([1, 2, 3])
    induction = b.value("i", "index")
    block = body(b, inner, induction)

    def run(machine, env, op) -> None:
        for i in range(trips):
            env[induction.name] = i
            op.regions[0].run(machine, env)

    b.add(f"affine.for {induction.name} = 0 to {trips} {{\n$0\n}}", run, regions=(block,))


def affine_if(b: Builder, inner: list[Statement]) -> None:
    number = b.rng.choice([3, 4])
    at = b.index(number)
    block = body(b, inner)

    def run(machine, env, op) -> None:
        if number <= 3:
            op.regions[0].run(machine, env)

    b.add(
        f"affine.if affine_set<(d0) : (3 - d0 >= 0)>({at.name}) {{\n$0\n}}",
        run,
        (at,),
        regions=(block,),
    )


def while_(b: Builder, inner: list[Statement]) -> None:
    trips = b.rng.choice([0, 1, 2])
    zero, one, end = b.index(0), b.index(1), b.index(trips)
    i, j, k, p = (
        b.value(h, t) for h, t in (("i", "index"), ("j", "index"), ("k", "index"), ("p", "i1"))
    )
    block = body(b, inner, j)

    def run(machine, env, op) -> None:
        for number in range(trips):
            env[j.name] = number
            op.regions[0].run(machine, env)

    text = (
        f"scf.while ({i.name} = {zero.name}) : (index) -> index {{\n"
        f"  {p.name} = arith.cmpi slt, {i.name}, {end.name} : index\n"
        f"  scf.condition({p.name}) {i.name} : index\n}} do {{\n^bb0({j.name}: index):\n$0\n"
        f"  {k.name} = arith.addi {j.name}, {one.name} : index\n  scf.yield {k.name} : index\n}}"
    )
    b.add(text, run, (zero, one, end), regions=(block,))


def execute_region(b: Builder, inner: list[Statement]) -> None:
    block = body(b, inner, terminator="scf.yield")

    def run(machine, env, op) -> None:
        op.regions[0].run(machine, env)

    b.add("scf.execute_region {\n$0\n}", run, regions=(block,))


def index_switch(b: Builder, inner: list[Statement]) -> None:
    number = b.rng.choice([1, 2])
    selector = b.index(number)
    case, default = (body(b, part, terminator="scf.yield") for part in (inner[:1], inner[1:]))

    def run(machine, env, op) -> None:
        op.regions[0 if number == 1 else 1].run(machine, env)

    b.add(
        f"scf.index_switch {selector.name}\ncase 1 {{\n$0\n}}\ndefault {{\n$1\n}}",
        run,
        (selector,),
        regions=(case, default),
    )


def cf_loop(b: Builder, inner: list[Statement]) -> None:
    """Branches back, in the blocks of a function."""
    if b.depth:
        return while_(b, inner)
    trips = b.rng.choice([0, 1, 3])
    zero, one, end = b.index(0), b.index(1), b.index(trips)
    i, k, p = b.value("i", "index"), b.value("k", "index"), b.value("p", "i1")
    label = i.name[1:]
    block = body(b, inner, i)

    def run(machine, env, op) -> None:
        for number in range(trips):
            env[i.name] = number
            op.regions[0].run(machine, env)

    text = (
        f"cf.br ^head{label}({zero.name} : index)\n^head{label}({i.name}: index):\n"
        f"{p.name} = arith.cmpi slt, {i.name}, {end.name} : index\n"
        f"cf.cond_br {p.name}, ^body{label}, ^exit{label}\n^body{label}:\n$0\n"
        f"{k.name} = arith.addi {i.name}, {one.name} : index\n"
        f"cf.br ^head{label}({k.name} : index)\n^exit{label}:"
    )
    b.add(text, run, (zero, one, end), regions=(block,))


def cf_if(b: Builder, inner: list[Statement]) -> None:
    """A branch around something."""
    if b.depth:
        return if_(b, inner)
    test = condition(b)
    block = body(b, inner)
    label = b.name("b")[1:]

    def run(machine, env, op) -> None:
        if env[test.name]:
            op.regions[0].run(machine, env)

    b.add(
        f"cf.cond_br {test.name}, ^then{label}, ^after{label}\n^then{label}:\n$0\n"
        f"cf.br ^after{label}\n^after{label}:",
        run,
        (test,),
        regions=(block,),
    )


def call(b: Builder, inner: list[Statement]) -> None:
    """A function with the memrefs and tensors that its body needs as parameters."""
    rng = b.rng
    shaped = [v for v in b.values if isinstance(v.type, Shaped)]
    chosen: list[Value] = []
    for value in rng.sample(shaped, min(len(shaped), 5)):
        # Parameters that may be the same buffer must not be taken for different ones.
        if not any(value.bases & other.bases for other in chosen):
            chosen.append(value)
    name = f"f{next(b.module.names)}"
    is_taken = rng.random() < 0.08 and "names" not in b.avoid
    if is_taken:
        name = rng.choice([n for n in TAKEN_NAMES if n not in {f.name for f in b.module.functions}])
    function = Function(name, is_private=rng.random() < 0.7)
    for value in chosen:
        name = b.name("q")
        bases = frozenset([name]) if value.type.is_memref else frozenset()
        function.params.append(Value(name, value.type, value.sizes, bases, value.is_read_only))
    callee = Builder(rng, b.module, function, b.avoid)
    callee.is_entry = False
    for statement in inner:
        statement(callee)
    returned = [v for v in callee.values if isinstance(v.type, Shaped) and _may_return(v, function)]
    function.body.yields = tuple(rng.sample(returned, min(len(returned), rng.choice([0, 1, 2]))))
    if "returned-memrefs" in b.avoid:
        function.body.yields = tuple(v for v in function.body.yields if not v.type.is_memref)
    b.module.functions.append(function)

    bases = {p.name: v.bases for p, v in zip(function.params, chosen)}
    results = tuple(
        b.value(
            "r",
            v.type,
            v.sizes,
            frozenset().union(*(bases.get(n, frozenset()) for n in v.bases)),
            v.is_read_only,
        )
        for v in function.body.yields
    )

    def run(machine, env, op) -> None:
        values = machine.call(function, [env[v.name] for v in chosen])
        env.update({v.name: a for v, a in zip(results, values)})

    left = ", ".join(v.name for v in results) + (" = " if results else "")
    b.add(
        f"{left}func.call @{function.name}({', '.join(v.name for v in chosen)}) : "
        f"({', '.join(str(v.type) for v in chosen)}) -> ({', '.join(str(v.type) for v in results)})",
        run,
        tuple(chosen),
        results,
        callee=function,
        refused_by=frozenset(["cpu", "cuda"] if is_taken else []),
    )


def _may_return(value: Value, function: Function) -> bool:
    """Whether `value` outlives the call: a tensor, or part of a parameter."""
    return not value.type.is_memref or value.bases <= {p.name for p in function.params}


def choose_memref(b: Builder, inner: list[Statement]) -> None:
    """One of two buffers, by select or by scf.if."""
    memrefs = [v for v in b.values if isinstance(v.type, Shaped)]
    pairs = [
        (v, w)
        for v in memrefs
        for w in memrefs
        if v.name != w.name and v.type == w.type and v.sizes == w.sizes
    ]
    if not pairs:
        return if_(b, inner)
    first, second = b.rng.choice(pairs)
    test = condition(b)
    result = b.value(
        "w",
        first.type,
        first.sizes,
        first.bases | second.bases,
        first.is_read_only or second.is_read_only,
    )

    def select(machine, env, op) -> None:
        env[result.name] = env[first.name if env[test.name] else second.name]

    type = first.type
    if b.rng.random() < 0.5:
        b.add(
            f"{result.name} = arith.select {test.name}, {first.name}, {second.name} : {type}",
            select,
            (test, first, second),
            (result,),
        )
        return
    taken, other = body(b, inner[:1]), body(b, inner[1:])
    for block, value in ((taken, first), (other, second)):
        block.terminator, block.yields = "scf.yield", (value,)

    def run(machine, env, op) -> None:
        env[result.name] = op.regions[0 if env[test.name] else 1].run(machine, env)[0]

    b.add(
        f"{result.name} = scf.if {test.name} -> ({type}) {{\n$0\n}} else {{\n$1\n}}",
        run,
        (test, first, second),
        (result,),
        regions=(taken, other),
    )


def for_tensor(b: Builder, inner: list[Statement]) -> None:
    """A loop that carries a tensor."""
    tensors = [v for v in b.values if isinstance(v.type, Shaped) and not v.type.is_memref]
    if not tensors:
        return for_(b, inner)
    start = b.rng.choice(tensors)
    trips = b.rng.choice([0, 1, 2])
    begin, end, step = b.index(0), b.index(trips), b.index(1)
    i = b.value("i", "index")
    carried = b.value("t", start.type, start.sizes)
    result = b.value("t", start.type, start.sizes)
    with b.region(i, carried, terminator="scf.yield") as block:
        for statement in inner:
            statement(b)
        block.yields = (
            b.rng.choice(
                [
                    v
                    for v in b.values
                    if v.type == start.type and v.sizes == start.sizes and v.name != start.name
                ]
            ),
        )

    def run(machine, env, op) -> None:
        value = env[start.name]
        for number in range(trips):
            env[i.name], env[carried.name] = number, value
            value = op.regions[0].run(machine, env)[0]
        env[result.name] = np.asarray(value)

    b.add(
        f"{result.name} = scf.for {i.name} = {begin.name} to {end.name} step {step.name} "
        f"iter_args({carried.name} = {start.name}) -> ({start.type}) {{\n$0\n}}",
        run,
        (begin, end, step, start),
        (result,),
        regions=(block,),
    )


WRAPPERS = {
    "if": if_,
    "for": for_,
    "parallel": parallel,
    "while": while_,
    "execute_region": execute_region,
    "index_switch": index_switch,
    "affine_for": affine_for,
    "affine_if": affine_if,
    "cf_loop": cf_loop,
    "cf_if": cf_if,
    "call": call,
    "choose": choose_memref,
    "for_tensor": for_tensor,
}
