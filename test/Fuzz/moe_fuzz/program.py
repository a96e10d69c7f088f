# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs that can be printed as MLIR and run with numpy: what the fuzzer generates and reduces.

A memref is a numpy view, so aliasing is that of numpy; a tensor is an array that is never written.
Every op says in text what it is and in Python what it does. An op may be switched off, with all that
depends on it, which is how a reducer takes programs apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

DTYPES = {
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f8E4M3FN": np.dtype(ml_dtypes.float8_e4m3fn),
    "f8E8M0FNU": np.dtype(ml_dtypes.float8_e8m0fnu),
    "f32": np.dtype(np.float32),
    "i8": np.dtype(np.int8),
    "i32": np.dtype(np.int32),
}
MAX_STEPS = 20_000


def _dims(sizes: tuple) -> str:
    return "".join("?x" if size is None else f"{size}x" for size in sizes)


@dataclass(frozen=True)
class Shaped:
    """A memref or tensor type; None stands for a size, stride or offset that it does not show."""

    element: str
    sizes: tuple[int | None, ...]
    is_memref: bool = True
    layout: tuple[tuple[int | None, ...], int | None] | None = None
    space: str = ""

    def __str__(self) -> str:
        if not self.is_memref:
            return f"tensor<{_dims(self.sizes)}{self.element}>"
        text = f"memref<{_dims(self.sizes)}{self.element}"
        if self.layout:
            strides = ", ".join("?" if s is None else str(s) for s in self.layout[0])
            offset = "?" if self.layout[1] is None else str(self.layout[1])
            text += f", strided<[{strides}]" + (f", offset: {offset}>" if offset != "0" else ">")
        return text + (f", {self.space}>" if self.space else ">")

    def strides_and_offset(self) -> tuple[tuple[int | None, ...], int | None]:
        if self.layout:
            return self.layout
        strides: list[int | None] = []
        stride: int | None = 1
        for size in reversed(self.sizes):
            strides.insert(0, stride)
            stride = None if stride is None or size is None else stride * size
        return tuple(strides), 0


@dataclass(frozen=True)
class Value:
    """An SSA value. `sizes` are what they will be when the program runs, `bases` the buffers that
    a memref may be part of."""

    name: str
    type: Shaped | str
    sizes: tuple[int, ...] = ()
    bases: frozenset[str] = frozenset()
    is_read_only: bool = False


class Stuck(Exception):
    """The program does not end, or does what the generator must not let it do."""


Env = dict[str, object]
Run = Callable[["Machine", Env, "Op"], None]


@dataclass
class Op:
    """`text` has $0, $1, ... on lines of their own where the regions go."""

    text: str
    run: Run
    operands: tuple[Value, ...] = ()
    results: tuple[Value, ...] = ()
    regions: tuple[Block, ...] = ()
    callee: Function | None = None
    # Pipelines that may refuse it, as "cuda".
    refused_by: frozenset[str] = frozenset()
    is_on: bool = True

    def lines(self) -> Iterator[str]:
        for line in self.text.splitlines():
            if line.strip().startswith("$"):
                yield from self.regions[int(line.strip()[1:])].lines()
            else:
                yield line


@dataclass
class Block:
    """Ops in a row and what follows them: a yield or a return of `yields`."""

    ops: list[Op] = field(default_factory=list)
    yields: tuple[Value, ...] = ()
    terminator: str = ""
    # Set apart by the text of its op, so none is printed.
    indent: str = "  "

    def lines(self) -> Iterator[str]:
        for op in self.ops:
            if op.is_on:
                for line in op.lines():
                    yield self.indent + line
        if self.terminator:
            types = ", ".join(str(v.type) for v in self.yields)
            names = ", ".join(v.name for v in self.yields)
            yield self.indent + self.terminator + (f" {names} : {types}" if self.yields else "")

    def run(self, machine: Machine, env: Env) -> list[object]:
        for op in self.ops:
            if op.is_on:
                machine.count_step()
                op.run(machine, env, op)
        return [env[v.name] for v in self.yields]

    def walk(self) -> Iterator[Op]:
        for op in self.ops:
            yield op
            for region in op.regions:
                yield from region.walk()


@dataclass
class Function:
    name: str
    params: list[Value] = field(default_factory=list)
    body: Block = field(default_factory=lambda: Block(terminator="return"))
    is_private: bool = False
    is_on: bool = True

    def text(self) -> str:
        params = ", ".join(f"{v.name}: {v.type}" for v in self.params)
        results = ", ".join(str(v.type) for v in self.body.yields)
        head = f"func.func {'private ' if self.is_private else ''}@{self.name}({params})"
        head += f" -> ({results})" if results else ""
        return "\n".join([head + " {", *self.body.lines(), "}"])


@dataclass
class Module:
    """`functions[0]` is the entry, `arrays` what it is called with."""

    functions: list[Function]
    arrays: list[np.ndarray] = field(default_factory=list)
    globals: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    names: Iterator[int] = field(default_factory=itertools.count)

    @property
    def entry(self) -> Function:
        return self.functions[0]

    def text(self) -> str:
        used = "\n".join(f.text() for f in self.functions if f.is_on)
        texts = [t for name, (t, _) in self.globals.items() if f"@{name} " in used]
        return "\n".join([*texts, used, ""])

    def ops(self) -> list[Op]:
        return [op for f in self.functions for op in f.body.walk()]

    def refused_by(self) -> frozenset[str]:
        """The pipelines that need not take it."""
        return frozenset().union(
            *(op.refused_by for f in self.functions if f.is_on for op in f.body.walk() if op.is_on)
        )

    def switch_off(self, wanted: set[int]) -> bool:
        """Switches off the ops with these indices of `ops()`, and all that needs them. False, and
        nothing changed, if a function's results need them."""
        ops = self.ops()
        before = [op.is_on for op in ops]
        for index in wanted:
            ops[index].is_on = False
        while self._spread():
            pass
        bad = {v.name for op in ops if not op.is_on for v in op.results}
        if any(v.name in bad for f in self.functions if f.is_on for v in f.body.yields):
            for op, was_on in zip(ops, before):
                op.is_on = was_on
            return False
        return True

    def _spread(self) -> bool:
        """Switches off the next round of ops that depend on one which is off."""
        bad: set[str] = set()
        for op in self.ops():
            if not op.is_on:
                bad |= {v.name for v in op.results}
                for region in op.regions:
                    bad |= {v.name for inner in region.walk() for v in inner.results}
                    for inner in region.walk():
                        inner.is_on = False
        changed = False
        for op in self.ops():
            needs = [*op.operands, *(v for r in op.regions for v in r.yields)]
            if op.is_on and any(v.name in bad for v in needs):
                op.is_on = False
                changed = True
        return changed

    def drop_uncalled(self) -> None:
        called = {id(op.callee) for op in self.ops() if op.is_on and op.callee}
        for function in self.functions[1:]:
            function.is_on = function.is_on and id(function) in called


class Machine:
    """Runs a module with numpy."""

    def __init__(self, module: Module) -> None:
        self.globals = {name: array for name, (_, array) in module.globals.items()}
        self._steps = 0

    def count_step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise Stuck("too many steps")

    def call(self, function: Function, arguments: list[object]) -> list[object]:
        env: Env = {v.name: a for v, a in zip(function.params, arguments)}
        return function.body.run(self, env)


def expected(module: Module) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The arguments after a call of the entry, and its results."""
    arguments = [a.copy() for a in module.arrays]
    results = Machine(module).call(module.entry, list(arguments))
    return arguments, [np.array(r) for r in results]
