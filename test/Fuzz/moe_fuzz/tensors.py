# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What stands beside moe ops on tensors: tensor, linalg, bufferization and vector ops."""

from __future__ import annotations

import numpy as np

from .builder import Builder
from .moe_ops import on_tensors
from .neighbours import bfloat16
from .program import DTYPES, Shaped, Value


def pick_tensor(b: Builder, rank: int | None = None, element: str | None = None) -> Value | None:
    found = [
        v
        for v in b.values
        if isinstance(v.type, Shaped)
        and not v.type.is_memref
        and all(v.sizes)
        and (rank is None or len(v.sizes) == rank)
        and (element is None or v.type.element == element)
    ]
    return b.rng.choice(found) if found else None


def result_of(
    b: Builder, text: str, type: Shaped, sizes: tuple[int, ...], function, *operands: Value
) -> Value:
    """A tensor that `text` makes of `operands`, {} in it."""
    result = b.value("t", type, sizes)

    def run(machine, env, op) -> None:
        env[result.name] = np.array(function(*(env[v.name] for v in operands)))

    b.add(f"{result.name} = {text.format(*(v.name for v in operands))}", run, operands, (result,))
    return result


def reshape(b: Builder) -> None:
    tensor = pick_tensor(b, rank=2)
    if tensor is None or None in tensor.type.sizes:
        return on_tensors(b)
    rows, columns = tensor.sizes
    flat = Shaped(tensor.type.element, (rows * columns,), is_memref=False)
    one = result_of(
        b,
        f"tensor.collapse_shape {{}} [[0, 1]] : {tensor.type} into {flat}",
        flat,
        flat.sizes,
        lambda array: array.reshape(-1),
        tensor,
    )
    if b.rng.random() < 0.6:
        shape = (columns, rows) if b.rng.random() < 0.5 else (rows, columns)
        type = Shaped(tensor.type.element, shape, is_memref=False)
        result_of(
            b,
            f"tensor.expand_shape {{}} [[0, 1]] output_shape [{shape[0]}, {shape[1]}] : {flat} into {type}",
            type,
            shape,
            lambda array: array.reshape(shape),
            one,
        )


def pad(b: Builder) -> None:
    """More rows and columns."""
    tensor = pick_tensor(b, rank=2, element="bf16")
    if tensor is None:
        return on_tensors(b)
    more = b.rng.choice([(1, 0), (0, 32), (3, 0)])
    sizes = tuple(s + m for s, m in zip(tensor.sizes, more))
    type = Shaped(
        "bf16",
        tuple(None if t is None else s for s, t in zip(sizes, tensor.type.sizes)),
        is_memref=False,
    )
    i, j, k = (b.name("p") for _ in range(3))
    result_of(
        b,
        f"tensor.pad {{}} low[0, 0] high[{more[0]}, {more[1]}] {{{{\n^bb0({i}: index, {j}: index):\n"
        f"  {k} = arith.constant 0.0 : bf16\n  tensor.yield {k} : bf16\n}}}} : {tensor.type} to {type}",
        type,
        sizes,
        lambda array: np.pad(array, [(0, m) for m in more]),
        tensor,
    )


def generate(b: Builder) -> None:
    """A map that numbers its rows."""
    rows = b.rng.choice([1, 33, 128])
    size = b.size(rows)
    type = Shaped("i32", (None,), is_memref=False)
    i, k = b.name("i"), b.name("k")
    result_of(
        b,
        f"tensor.generate {{}} {{{{\n^bb0({i}: index):\n  {k} = arith.index_cast {i} : index to i32\n"
        f"  tensor.yield {k} : i32\n}}}} : {type}",
        type,
        (rows,),
        lambda n: np.arange(n, dtype=np.int32),
        size,
    )


def from_elements(b: Builder) -> None:
    k = b.i32(b.rng.choice([0, 3, -1]))
    type = Shaped("i32", (1,), is_memref=False)
    result_of(
        b, f"tensor.from_elements {{}} : {type}", type, (1,), lambda x: np.array([x], np.int32), k
    )


def concat(b: Builder) -> None:
    tensor = pick_tensor(b, rank=2)
    if tensor is None or None in tensor.type.sizes:
        return on_tensors(b)
    sizes = (2 * tensor.sizes[0], tensor.sizes[1])
    type = Shaped(tensor.type.element, sizes, is_memref=False)
    result_of(
        b,
        f"tensor.concat dim(0) {{}}, {{}} : ({tensor.type}, {tensor.type}) -> {type}",
        type,
        sizes,
        lambda x, y: np.concatenate([x, y]),
        tensor,
        tensor,
    )


def generic(b: Builder) -> None:
    """linalg.generic with the destination as input, or elementwise arith on whole tensors."""
    tensor = pick_tensor(b, element="i32")
    if tensor is None:
        return on_tensors(b)
    type = tensor.type
    if b.rng.random() < 0.4:
        result_of(
            b,
            f"arith.addi {{}}, {{}} : {type}",
            type,
            tensor.sizes,
            lambda x, y: x + y,
            tensor,
            tensor,
        )
        return
    dims = ", ".join(f"d{d}" for d in range(len(tensor.sizes)))
    iterators = ", ".join(['"parallel"'] * len(tensor.sizes))
    e, k, r = (b.name("e") for _ in range(3))
    result_of(
        b,
        f"linalg.generic {{{{indexing_maps = [affine_map<({dims}) -> ({dims})>], iterator_types = "
        f"[{iterators}]}}}} outs({{}} : {type}) {{{{\n^bb0({e}: i32):\n  {k} = arith.constant 1 : i32\n"
        f"  {r} = arith.xori {e}, {k} : i32\n  linalg.yield {r} : i32\n}}}} -> {type}",
        type,
        tensor.sizes,
        lambda array: array ^ np.int32(1),
        tensor,
    )


def transpose(b: Builder) -> None:
    tensor = pick_tensor(b, rank=2)
    if tensor is None or None in tensor.type.sizes:
        return on_tensors(b)
    sizes = tensor.sizes[::-1]
    type = Shaped(tensor.type.element, sizes, is_memref=False)
    empty = result_of(
        b,
        f"tensor.empty() : {type}",
        type,
        sizes,
        lambda: np.zeros(sizes, DTYPES[tensor.type.element]),
    )
    b.values.remove(empty)
    result_of(
        b,
        f"linalg.transpose ins({{}} : {tensor.type}) outs({{}} : {type}) permutation = [1, 0]",
        type,
        sizes,
        lambda array, _: array.T,
        tensor,
        empty,
    )


def to_buffer(b: Builder) -> None:
    """A tensor made of a buffer that nothing writes from then on."""
    sizes = b.rng.choice([(33,), (1,), (128,)])
    memref = b.alloc("i32", sizes)
    type = Shaped("i32", memref.type.sizes, is_memref=False)
    result_of(
        b,
        f"bufferization.to_tensor {{}} restrict : {memref.type} to {type}",
        type,
        sizes,
        lambda array: array,
        memref,
    )
    b.values.remove(memref)


def vectors(b: Builder) -> None:
    """A part of a row read and written as a vector."""
    tensor = pick_tensor(b, rank=2, element="bf16")
    if tensor is None or tensor.sizes[1] < 4:
        return on_tensors(b)
    row, column = b.index(tensor.sizes[0] - 1), b.index(b.rng.choice([0, tensor.sizes[1] - 4]))
    zero = b.pure("k", "bf16", "arith.constant 0.0 : bf16", lambda: bfloat16(0))
    x = b.pure(
        "v",
        "vector<4xbf16>",
        f"vector.transfer_read {{}}[{{}}, {{}}], {{}} : {tensor.type}, vector<4xbf16>",
        lambda array, i, j, _: array[i, j : j + 4].copy(),
        tensor,
        row,
        column,
        zero,
    )

    def write(v, array, i, j):
        array = array.copy()
        array[i, j : j + 4] = v
        return array

    other = b.index(0)
    result_of(
        b,
        f"vector.transfer_write {{}}, {{}}[{{}}, {{}}] : vector<4xbf16>, {tensor.type}",
        tensor.type,
        tensor.sizes,
        write,
        x,
        tensor,
        other,
        other,
    )


TENSORS = {
    "tensor-reshape": reshape,
    "pad": pad,
    "generate": generate,
    "from-elements": from_elements,
    "concat": concat,
    "tensor-generic": generic,
    "tensor-transpose": transpose,
    "to-tensor": to_buffer,
    "tensor-vectors": vectors,
}
