# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops of the dialect, on memrefs and on tensors, with the oracle as what they do."""

from __future__ import annotations

import numpy as np
from moe_testing import oracle

from .builder import Builder
from .program import DTYPES, Shaped, Value

RELU = "padded_squared_relu"
QUANTIZE = "quantize_mxfp8"
FUSED = "squared_relu_quantize_mxfp8"


def scale_sizes(rows: int, columns: int, layout: str) -> tuple[int, ...]:
    return (rows, columns // 32) if layout == "linear" else (oracle.scale_size(rows, columns),)


def compute(op: str, modes: dict[str, str], x, permutation_map, n_used, *outs) -> list[np.ndarray]:
    """What the oracle says, as new arrays."""
    n = int(np.asarray(n_used).reshape(()))
    x = np.ascontiguousarray(x)
    if op == RELU:
        return [oracle.padded_squared_relu(x, permutation_map, n, *outs)]
    return list(getattr(oracle, op)(x, permutation_map, n, *outs, **modes))


def random_shape(b: Builder) -> tuple[str, tuple[int, int], dict[str, str]]:
    op = b.rng.choice([RELU, RELU, QUANTIZE, FUSED])
    rows = b.rng.choice([1, 2, 3, 5, 31, 33, 64, 127, 128, 129, 160])
    if op == RELU:
        return op, (rows, b.rng.choice([1, 7, 31, 32, 33, 64, 96, 160])), {}
    modes = {
        "scale_layout": b.rng.choice(["swizzle_32_4_4", "linear"]),
        "dead_scales": b.rng.choice(["zero", "untouched"]),
    }
    return op, (rows, b.rng.choice([32, 64, 96, 128, 160])), modes


def shape_in_use(b: Builder) -> tuple[str, tuple[int, int], dict[str, str]]:
    """Rather a shape that some value has, so that ops meet on the same buffers."""
    op, sizes, modes = random_shape(b)
    known = [
        v.sizes
        for v in b.values
        if isinstance(v.type, Shaped)
        and v.type.element == "bf16"
        and len(v.sizes) == 2
        and v.sizes[1] > 0
        and (op == RELU or v.sizes[1] % 32 == 0)
    ]
    if known and b.rng.random() < 0.75:
        sizes = b.rng.choice(known)
    return op, sizes, modes


def modes_text(b: Builder, modes: dict[str, str]) -> str:
    """The attributes; defaults are sometimes left out."""
    defaults = {"scale_layout": "swizzle_32_4_4", "dead_scales": "zero"}
    return "".join(
        f" {name}<{value}>"
        for name, value in modes.items()
        if value != defaults[name] or b.rng.random() < 0.3
    )


def n_used(b: Builder, sizes: tuple[int, ...], is_memref: bool) -> Value:
    """A number of rows that cuts off some, in memory or as a tensor."""
    rows = sizes[0]
    number = b.rng.choice([0, 1, rows - 1, rows, rows + 1, rows // 2, -1, -(2**31), 2**31 - 1])
    shape = b.rng.choice([(), (1,)])
    if is_memref:
        value = b.need("i32", shape, is_written=b.rng.random() < 0.5)
        if value.type.sizes != shape:
            value = b.cast(value, shape)
        if not value.is_read_only and not value.name.startswith("%g") and b.rng.random() < 0.7:
            store(b, b.i32(number), value, tuple(b.index(0) for _ in shape))
        return value
    if b.rng.random() < 0.4:
        value = tensor(b, "i32", shape)
        return value if value.type.sizes == shape else tensor_cast(b, value, shape)
    type = Shaped("i32", shape, is_memref=False)
    result = b.value("n", type, shape)

    def run(machine, env, op) -> None:
        env[result.name] = np.full(shape, number, np.int32)

    b.add(f"{result.name} = arith.constant dense<{number}> : {type}", run, (), (result,))
    return result


def store(
    b: Builder, scalar: Value, memref: Value, indices: tuple[Value, ...], dialect: str = "memref"
) -> None:
    at = ", ".join(v.name for v in indices)

    def run(machine, env, op) -> None:
        env[memref.name][tuple(env[v.name] for v in indices)] = env[scalar.name]

    b.add(
        f"{dialect}.store {scalar.name}, {memref.name}[{at}] : {memref.type}",
        run,
        (scalar, memref, *indices),
    )


def on_memrefs(b: Builder) -> None:
    """One op on buffers that do not overlap, but that may be parts of what others use."""
    op, sizes, modes = shape_in_use(b)
    n = n_used(b, sizes, is_memref=True)
    x = b.need("bf16", sizes, n.bases)
    map = b.need("i32", sizes[:1], x.bases)
    taken = x.bases | map.bases | n.bases
    if op == RELU:
        outs = [b.need("bf16", sizes, taken, is_written=True)]
    else:
        data = b.need("f8E4M3FN", sizes, taken, is_written=True)
        outs = [
            data,
            b.need(
                "f8E8M0FNU",
                scale_sizes(*sizes, modes["scale_layout"]),
                taken | data.bases,
                is_written=True,
            ),
        ]
    ins = [x, map, n]

    def run(machine, env, op_) -> None:
        results = compute(op, modes, *(env[v.name] for v in ins), *(env[v.name] for v in outs))
        for out, result in zip(outs, results):
            env[out.name][...] = result

    b.add(
        f"moe.{op} ins({listed(ins)}) outs({listed(outs)}){modes_text(b, modes)}",
        run,
        (*ins, *outs),
    )


def listed(values: list[Value]) -> str:
    return ", ".join(v.name for v in values) + " : " + ", ".join(str(v.type) for v in values)


def tensor(b: Builder, element: str, sizes: tuple[int, ...]) -> Value:
    """A tensor of this shape in scope, a part of one, or a new one."""
    rng = b.rng
    tensors = [
        v
        for v in b.values
        if isinstance(v.type, Shaped)
        and not v.type.is_memref
        and v.type.element == element
        and len(v.sizes) == len(sizes)
    ]
    same = [v for v in tensors if v.sizes == sizes]
    larger = [
        v for v in tensors if v.sizes != sizes and all(s <= t for s, t in zip(sizes, v.sizes))
    ]
    choice = rng.random()
    if same and choice < 0.6:
        value = rng.choice(same)
    elif larger and choice < 0.8 and sizes:
        value = extract_slice(b, rng.choice(larger), sizes)
    elif b.is_entry and choice < 0.95:
        value = tensor_argument(b, element, sizes)
    else:
        value = filled_tensor(b, element, sizes)
    return tensor_cast(b, value) if rng.random() < 0.15 and sizes else value


def tensor_argument(b: Builder, element: str, sizes: tuple[int, ...]) -> Value:
    from .builder import random_array

    value = b.value("t", Shaped(element, b.hide(sizes), is_memref=False), sizes)
    b.function.params.append(value)
    b.module.arrays.append(random_array(b.rng, element, sizes))
    b.values.insert(0, value)
    return value


def filled_tensor(b: Builder, element: str, sizes: tuple[int, ...]) -> Value:
    type = Shaped(element, b.hide(sizes, 0.3), is_memref=False)
    dynamic = tuple(b.size(s) for s, t in zip(sizes, type.sizes) if t is None)
    scalar, number = b.constant(element)
    empty, result = b.value("e", type, sizes), b.value("f", type, sizes)

    def make(machine, env, op) -> None:
        env[empty.name] = np.zeros(sizes, DTYPES[element])

    def fill(machine, env, op) -> None:
        env[result.name] = np.full(sizes, number, DTYPES[element])

    b.add(
        f"{empty.name} = tensor.empty({', '.join(v.name for v in dynamic)}) : {type}",
        make,
        dynamic,
        (empty,),
    )
    b.values.remove(empty)
    b.add(
        f"{result.name} = linalg.fill ins({scalar.name} : {element}) outs({empty.name} : {type})"
        f" -> {type}",
        fill,
        (scalar, empty),
        (result,),
    )
    return result


def tensor_cast(b: Builder, value: Value, shown: tuple[int, ...] | None = None) -> Value:
    sizes = shown or tuple(
        s if b.rng.random() < 0.5 else (None if b.rng.random() < 0.5 else t)
        for s, t in zip(value.sizes, value.type.sizes)
    )
    result = b.value("t", Shaped(value.type.element, sizes, is_memref=False), value.sizes)

    def run(machine, env, op) -> None:
        env[result.name] = env[value.name]

    b.add(
        f"{result.name} = tensor.cast {value.name} : {value.type} to {result.type}",
        run,
        (value,),
        (result,),
    )
    return result


def extract_slice(b: Builder, source: Value, sizes: tuple[int, ...]) -> Value:
    offsets = [b.rng.randint(0, t - s) for s, t in zip(sizes, source.sizes)]
    texts, operands = slice_offsets(b, offsets)
    result = b.value("t", Shaped(source.type.element, sizes, is_memref=False), sizes)
    index = tuple(slice(o, o + s) for o, s in zip(offsets, sizes))

    def run(machine, env, op) -> None:
        env[result.name] = env[source.name][index].copy()

    b.add(
        f"{result.name} = tensor.extract_slice {source.name}[{texts}][{', '.join(map(str, sizes))}]"
        f"[{', '.join('1' for _ in sizes)}] : {source.type} to {result.type}",
        run,
        (source, *operands),
        (result,),
    )
    return result


def insert_slice(b: Builder, source: Value, target: Value) -> None:
    """`target` with `source` in a part of it."""
    offsets = [b.rng.randint(0, t - s) for s, t in zip(source.sizes, target.sizes)]
    texts, operands = slice_offsets(b, offsets)
    sizes = [b.size(s) if t is None else None for s, t in zip(source.sizes, source.type.sizes)]
    operands += [s for s in sizes if s]
    shown = ", ".join(v.name if v else str(s) for v, s in zip(sizes, source.sizes))
    result = b.value("t", target.type, target.sizes)
    index = tuple(slice(o, o + s) for o, s in zip(offsets, source.sizes))

    def run(machine, env, op) -> None:
        array = env[target.name].copy()
        array[index] = env[source.name]
        env[result.name] = array

    b.add(
        f"{result.name} = tensor.insert_slice {source.name} into {target.name}[{texts}][{shown}]"
        f"[{', '.join('1' for _ in offsets)}] : {source.type} into {target.type}",
        run,
        (source, target, *operands),
        (result,),
    )


def slice_offsets(b: Builder, offsets: list[int]) -> tuple[str, list[Value]]:
    values = [b.size(o) if b.rng.random() < 0.4 else None for o in offsets]
    return (
        ", ".join(v.name if v else str(o) for v, o in zip(values, offsets)),
        [v for v in values if v],
    )


def apply_to_tensors(
    b: Builder, op: str, modes: dict[str, str], ins: list[Value], outs: list[Value]
) -> list[Value]:
    results = [b.value("t", v.type, v.sizes) for v in outs]
    ins, outs = tuple(ins), tuple(outs)

    def run(machine, env, op_) -> None:
        arrays = compute(op, modes, *(env[v.name] for v in ins), *(env[v.name] for v in outs))
        env.update({v.name: a for v, a in zip(results, arrays)})

    names = results[0].name if len(results) == 1 else ", ".join(v.name for v in results)
    b.add(
        f"{names} = moe.{op} ins({listed(ins)}) outs({listed(outs)}){modes_text(b, modes)}"
        f" -> {', '.join(str(v.type) for v in outs)}",
        run,
        (*ins, *outs),
        tuple(results),
    )
    return results


def on_tensors(b: Builder) -> None:
    """One op on tensors, or an activation and its quantisation."""
    op, sizes, modes = shape_in_use(b)
    n = n_used(b, sizes, is_memref=False)
    ins = [tensor(b, "bf16", sizes), tensor(b, "i32", sizes[:1]), n]
    if op == RELU:
        apply_to_tensors(b, op, modes, ins, [tensor(b, "bf16", sizes)])
        return
    if op == QUANTIZE and b.rng.random() < 0.6:
        out = tensor(b, "bf16", sizes)
        ins[0] = apply_to_tensors(b, RELU, {}, ins, [out])[0]
    data = tensor(b, "f8E4M3FN", sizes)
    scale = tensor(b, "f8E8M0FNU", scale_sizes(*sizes, modes["scale_layout"]))
    apply_to_tensors(b, op, modes, ins, [data, scale])


def on_slices(b: Builder) -> None:
    """A part of a tensor put into another."""
    candidates = [
        v for v in b.values if isinstance(v.type, Shaped) and not v.type.is_memref and v.sizes
    ]
    if not candidates:
        return on_tensors(b)
    source = b.rng.choice(candidates)
    targets = [
        v
        for v in candidates
        if v.type.element == source.type.element
        and len(v.sizes) == len(source.sizes)
        and all(s <= t for s, t in zip(source.sizes, v.sizes))
    ]
    insert_slice(b, source, b.rng.choice(targets))
