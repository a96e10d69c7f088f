# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Adds ops to a function while it is being generated, and finds or makes the operands they need."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from .program import DTYPES, Block, Function, Module, Op, Run, Shaped, Value

# Bit patterns that decide something: zeros, subnormals, the ends of each range, infinities, NaN.
BF16_CORNERS = [
    0x0000,
    0x8000,
    0x0001,
    0x8001,
    0x007F,
    0x0080,
    0x1FFF,
    0x3F80,
    0x3FE0,
    0x43E0,
    0x43E1,
    0x5F7F,
    0x5F80,
    0x7F7F,
    0x7F80,
    0xFF80,
    0x7F81,
    0x7FC0,
    0xFFFF,
    0xFF7F,
]


def random_array(rng: random.Random, element: str, sizes: tuple[int, ...]) -> np.ndarray:
    """Contents of a buffer. Half of the bf16 ones have infinities and NaN."""
    generator = np.random.default_rng(rng.getrandbits(64))
    dtype = DTYPES[element]
    if element == "i32":
        values = generator.integers(-2, 9, sizes).astype(np.int32)
        wild = generator.random(sizes) < 0.1
        return np.where(wild, generator.integers(-(2**31), 2**31, sizes), values).astype(np.int32)
    if element == "f32":
        return generator.standard_normal(sizes).astype(np.float32)
    if element == "bf16" and rng.random() < 0.5:
        scale = np.exp2(generator.integers(-40, 40, sizes))
        return (generator.standard_normal(sizes) * scale).astype(dtype)
    raw = generator.integers(0, 256, (*sizes, dtype.itemsize)).astype(np.uint8)
    array = raw.view(dtype).reshape(sizes)
    if element == "bf16":
        corners = np.array(BF16_CORNERS, np.uint16)
        chosen = corners[generator.integers(0, len(corners), sizes)]
        bits = np.where(generator.random(sizes) < 0.3, chosen, array.view(np.uint16))
        array = bits.astype(np.uint16).view(dtype)
    return array


class Builder:
    """Appends to one function of a module. `values` are those in scope."""

    def __init__(
        self,
        rng: random.Random,
        module: Module,
        function: Function,
        avoid: frozenset[str] = frozenset(),
    ) -> None:
        self.rng = rng
        self.module = module
        self.function = function
        self.avoid = avoid
        self.block = function.body
        self.values: list[Value] = list(function.params)
        self.depth = 0
        # Whether the block is that of the function, where branches may be put.
        self.is_entry = function is module.entry if module.functions else True

    # Ops and scopes.

    def name(self, hint: str) -> str:
        return f"%{hint}{next(self.module.names)}"

    def value(
        self,
        hint: str,
        type: Shaped | str,
        sizes: tuple[int, ...] = (),
        bases: frozenset[str] = frozenset(),
        is_read_only: bool = False,
    ) -> Value:
        return Value(self.name(hint), type, sizes, bases, is_read_only)

    def add(
        self,
        text: str,
        run: Run,
        operands: tuple[Value, ...] = (),
        results: tuple[Value, ...] = (),
        **kwargs,
    ) -> Op:
        op = Op(text, run, operands, results, **kwargs)
        self.block.ops.append(op)
        self.values += results
        return op

    def pure(
        self,
        hint: str,
        type: str,
        expression: str,
        function: Callable[..., object],
        *operands: Value,
    ) -> Value:
        """A scalar or vector value of `expression`, in which {} are the operands."""
        result = self.value(hint, type)

        def run(machine, env, op) -> None:
            env[result.name] = function(*(env[v.name] for v in operands))

        self.add(
            f"{result.name} = " + expression.format(*(v.name for v in operands)),
            run,
            operands,
            (result,),
        )
        return result

    @contextmanager
    def region(self, *arguments: Value, terminator: str = "") -> Iterator[Block]:
        """A new block, in scope until the end of the with."""
        outer, values = self.block, list(self.values)
        self.block = Block(terminator=terminator)
        self.values += arguments
        self.depth += 1
        try:
            yield self.block
        finally:
            self.block, self.values = outer, values
            self.depth -= 1

    def index(self, number: int) -> Value:
        return self.pure("c", "index", f"arith.constant {number} : index", lambda: number)

    def i32(self, number: int) -> Value:
        return self.pure("k", "i32", f"arith.constant {number} : i32", lambda: number)

    def size(self, number: int) -> Value:
        """An index that is `number`: a constant, or the size of something."""
        candidates = [
            (v, d)
            for v in self.values
            if isinstance(v.type, Shaped)
            for d, s in enumerate(v.sizes)
            if s == number
        ]
        if not candidates or self.rng.random() < 0.4:
            return self.index(number)
        value, dim = self.rng.choice(candidates)
        at = self.index(dim)
        dialect = "memref" if value.type.is_memref else "tensor"
        return self.pure(
            "d",
            "index",
            f"{dialect}.dim {{}}, {{}} : {value.type}",
            lambda array, dim: array.shape[dim],
            value,
            at,
        )

    # Memrefs.

    def hide(self, sizes: tuple[int, ...], chance: float = 0.4) -> tuple[int | None, ...]:
        """Some of the sizes, the others dynamic."""
        return tuple(None if self.rng.random() < chance else s for s in sizes)

    def alloc(self, element: str, sizes: tuple[int, ...]) -> Value:
        """A buffer of its own with defined contents."""
        on_stack = (
            math.prod(sizes) <= 4096
            and self.depth == 0
            and self.rng.random() < 0.15
            and "alloca" not in self.avoid
        )
        type = Shaped(element, self.hide(sizes, 0.3))
        dynamic = tuple(self.size(s) for s, t in zip(sizes, type.sizes) if t is None)
        name = self.name("m")
        result = Value(name, type, sizes, frozenset([name]))
        names = ", ".join(v.name for v in dynamic)
        alignment = self.rng.choice(["", "", "", " {alignment = 64 : i64}"])

        def run(machine, env, op) -> None:
            env[name] = np.zeros(sizes, DTYPES[element])

        self.add(
            f"{name} = memref.{'alloca' if on_stack else 'alloc'}({names}){alignment} : {type}",
            run,
            dynamic,
            (result,),
            refused_by=frozenset(["cuda", "ptx"] if on_stack else []),
        )
        sources = [
            v
            for v in self.values
            if isinstance(v.type, Shaped)
            and v.type.is_memref
            and v.type.element == element
            and v.sizes == sizes
            and v.name != name
        ]
        if sources and self.rng.random() < 0.5:
            self.copy(self.rng.choice(sources), result)
        else:
            self.fill(result)
        return result

    def constant(self, element: str) -> tuple[Value, object]:
        if element in ("i32", "i8"):
            number = self.rng.choice([0, 1, -1, 5])
            return (
                self.pure("k", element, f"arith.constant {number} : {element}", lambda: number),
                number,
            )
        text, number = self.rng.choice([("0.0", 0.0), ("1.5", 1.5), ("-2.0", -2.0)])
        if element == "f8E8M0FNU":
            text, number = "1.0", 1.0
        scalar = DTYPES[element].type(number)
        return self.pure("k", element, f"arith.constant {text} : {element}", lambda: scalar), scalar

    def fill(self, memref: Value) -> None:
        scalar, number = self.constant(memref.type.element)

        def run(machine, env, op) -> None:
            env[memref.name][...] = number

        self.add(
            f"linalg.fill ins({scalar.name} : {scalar.type}) outs({memref.name} : {memref.type})",
            run,
            (scalar, memref),
        )

    def copy(self, source: Value, target: Value) -> None:
        def run(machine, env, op) -> None:
            env[target.name][...] = env[source.name]

        verb = self.rng.choice(["memref.copy", "linalg.copy"])
        if verb == "linalg.copy":
            text = f"linalg.copy ins({source.name} : {source.type}) outs({target.name} : {target.type})"
        else:
            text = f"memref.copy {source.name}, {target.name} : {source.type} to {target.type}"
        self.add(text, run, (source, target))

    def argument(self, element: str, sizes: tuple[int, ...]) -> Value:
        """A new argument of the entry, a memref of random contents."""
        type = Shaped(element, self.hide(sizes))
        if sizes and self.rng.random() < 0.3 and "layouts" not in self.avoid:
            strides = Shaped(element, sizes).strides_and_offset()[0]
            hidden = tuple(None if self.rng.random() < 0.5 else s for s in strides[:-1])
            type = Shaped(element, type.sizes, layout=((*hidden, 1), self.rng.choice([0, None])))
        name = self.name("a")
        value = Value(name, type, sizes, frozenset([name]))
        self.function.params.append(value)
        self.module.arrays.append(random_array(self.rng, element, sizes))
        self.values.insert(0, value)
        return value

    def global_constant(self, element: str, sizes: tuple[int, ...]) -> Value:
        """A constant of the module, which nobody may write."""
        array = random_array(self.rng, element, sizes)
        bits = array.view(np.dtype(f"u{array.itemsize}"))
        symbol = f"g{next(self.module.names)}"
        digits = 2 * array.itemsize
        if element == "i32":
            dense = np.array2string(array, separator=", ", threshold=10**9).replace("\n", "")
        else:
            dense = '"0x' + "".join(f"{int(b):0{digits}X}" for b in bits.byteswap().ravel()) + '"'
        type = Shaped(element, sizes)
        self.module.globals[symbol] = (
            f'memref.global "private" constant @{symbol} : {type} = dense<{dense}>',
            array,
        )
        result = self.value("g", type, sizes, frozenset([symbol]), is_read_only=True)

        def run(machine, env, op) -> None:
            env[result.name] = machine.globals[symbol]

        self.add(f"{result.name} = memref.get_global @{symbol} : {type}", run, (), (result,))
        return result

    def cast(self, memref: Value, shown: tuple[int, ...] | None = None) -> Value:
        """The same buffer with less or more that is known of its type: all sizes, if `shown`."""
        type = memref.type
        strides, offset = type.strides_and_offset()
        if shown:
            new = Shaped(type.element, shown, layout=type.layout, space=type.space)
        elif self.rng.random() < 0.5 and memref.sizes:
            new = Shaped(
                type.element,
                tuple(None if self.rng.random() < 0.5 else s for s in type.sizes),
                layout=(
                    (*(None if self.rng.random() < 0.5 else s for s in strides[:-1]), strides[-1]),
                    self.rng.choice([offset, None]),
                ),
                space=type.space,
            )
        else:
            sizes = tuple(
                s if self.rng.random() < 0.5 else t for s, t in zip(memref.sizes, type.sizes)
            )
            new = Shaped(type.element, sizes, layout=type.layout, space=type.space)
        result = self.value("v", new, memref.sizes, memref.bases, memref.is_read_only)

        def run(machine, env, op) -> None:
            env[result.name] = env[memref.name]

        self.add(
            f"{result.name} = memref.cast {memref.name} : {type} to {new}",
            run,
            (memref,),
            (result,),
        )
        return result

    def subview(self, memref: Value, sizes: tuple[int, ...]) -> Value | None:
        """A part of `memref` of this size; rows may be skipped."""
        type = memref.type
        if len(sizes) != len(memref.sizes) or any(s > t for s, t in zip(sizes, memref.sizes)):
            return None
        rng = self.rng
        steps = [1] * len(sizes)
        if len(sizes) == 2 and 2 * sizes[0] - 1 <= memref.sizes[0] and rng.random() < 0.4:
            steps[0] = 2
        offsets = [
            rng.randint(0, t - (s - 1) * p - 1) if s else 0
            for s, t, p in zip(sizes, memref.sizes, steps)
        ]
        operands: list[Value] = []

        def mixed(numbers, chance: float) -> tuple[list[str], list[int | None]]:
            texts, static = [], []
            for number in numbers:
                if rng.random() < chance:
                    operands.append(self.size(number))
                    texts.append(operands[-1].name)
                    static.append(None)
                else:
                    texts.append(str(number))
                    static.append(number)
            return texts, static

        offset_texts, offset_static = mixed(offsets, 0.4)
        size_texts, size_static = mixed(sizes, 0.3)
        strides, offset = type.strides_and_offset()
        new_strides = tuple(None if s is None else s * p for s, p in zip(strides, steps))
        for o, s in zip(offset_static, strides):
            offset = None if None in (offset, o) or s is None and o != 0 else offset + o * (s or 0)
        new = Shaped(
            type.element, tuple(size_static), layout=(new_strides, offset), space=type.space
        )
        result = self.value("s", new, sizes, memref.bases, memref.is_read_only)
        index = tuple(
            slice(o, o + (s - 1) * p + 1 if s else o, p) for o, s, p in zip(offsets, sizes, steps)
        )

        def run(machine, env, op) -> None:
            env[result.name] = env[memref.name][index]

        self.add(
            f"{result.name} = memref.subview {memref.name}[{', '.join(offset_texts)}]"
            f"[{', '.join(size_texts)}][{', '.join(map(str, steps))}] : {type} to {new}",
            run,
            (memref, *operands),
            (result,),
        )
        return result

    def need(
        self,
        element: str,
        sizes: tuple[int, ...],
        avoid: frozenset[str] = frozenset(),
        is_written: bool = False,
    ) -> Value:
        """A memref of this shape, innermost stride 1, that overlaps nothing in `avoid`."""
        rng = self.rng

        def fits(v: Value) -> bool:
            return (
                isinstance(v.type, Shaped)
                and v.type.is_memref
                and v.type.element == element
                and not v.bases & avoid
                and not (is_written and v.is_read_only)
                and (not v.sizes or v.type.strides_and_offset()[0][-1] == 1)
            )

        same = [v for v in self.values if fits(v) and v.sizes == sizes]
        larger = [
            v
            for v in self.values
            if fits(v)
            and len(v.sizes) == len(sizes)
            and v.sizes != sizes
            and all(s <= t for s, t in zip(sizes, v.sizes))
        ]
        choice = rng.random()
        value = None
        if same and choice < 0.55:
            value = rng.choice(same)
        elif larger and choice < 0.8 and sizes:
            value = self.subview(rng.choice(larger), sizes)
        if value is None and self.is_entry and rng.random() < 0.6:
            grown = tuple(s + rng.choice([0, 0, 0, 1, 32]) for s in sizes)
            value = self.argument(element, grown if len(sizes) == 2 else sizes)
            if value.sizes != sizes:
                value = self.subview(value, sizes)
        if (
            value is None
            and not is_written
            and math.prod(sizes)
            and rng.random() < 0.15
            and "globals" not in self.avoid
        ):
            value = self.global_constant(element, sizes)
        if value is None:
            value = self.alloc(element, sizes)
        if rng.random() < 0.2:
            value = self.cast(value)
        return value
