# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules that are probably not valid: the text of a valid one with a few changes that a parser
takes, or nearly."""

from __future__ import annotations

import random
import re

ELEMENTS = [
    "bf16",
    "f8E4M3FN",
    "f8E8M0FNU",
    "f8E5M2",
    "f4E2M1FN",
    "f16",
    "f32",
    "f64",
    "i32",
    "i8",
    "i1",
    "i64",
    "index",
    "si32",
    "ui32",
    "i128",
    "complex<f32>",
    "vector<4xbf16>",
]
SIZES = [
    "0",
    "1",
    "2",
    "3",
    "31",
    "32",
    "64",
    "127",
    "129",
    "512",
    "2147483647",
    "2147483648",
    "36028797018963968",
    "9223372036854775807",
    "?",
]
SPACES = ["1", "3", "7", "#gpu.address_space<global>", "#gpu.address_space<workgroup>", '"host"']
# Ops that stand alone. $f is a value of the type in front, made for the purpose.
NEIGHBOURS = """
f8E4M3FN arith.extf $f : f8E4M3FN to f32
f8E4M3FN arith.extf $f : f8E4M3FN to bf16
f8E8M0FNU arith.extf $f : f8E8M0FNU to f32
f8E8M0FNU arith.extf $f : f8E8M0FNU to f64
f8E5M2 arith.extf $f : f8E5M2 to f32
f4E2M1FN arith.extf $f : f4E2M1FN to f32
f32 arith.truncf $f : f32 to f8E8M0FNU
f32 arith.truncf $f : f32 to f8E5M2
f64 arith.truncf $f : f64 to bf16
f64 arith.truncf $f : f64 to f8E4M3FN
bf16 arith.bitcast $f : bf16 to f16
bf16 arith.fptosi $f : bf16 to i32
bf16 arith.fptoui $f : bf16 to i64
f8E4M3FN arith.fptosi $f : f8E4M3FN to i32
f8E4M3FN arith.addf $f, $f : f8E4M3FN
f8E8M0FNU arith.mulf $f, $f : f8E8M0FNU
bf16 arith.remf $f, $f : bf16
bf16 arith.divf $f, $f : bf16
bf16 math.exp $f : bf16
f32 math.exp $f : f32
f32 math.erf $f : f32
f64 math.tanh $f : f64
f32 math.rsqrt $f : f32
f32 math.powf $f, $f : f32
f32 math.fma $f, $f, $f : f32
f32 math.cbrt $f : f32
f32 math.sinh $f : f32
f32 math.isnan $f : f32
bf16 math.absf $f : bf16
i32 math.ipowi $f, $f : i32
i32 arith.ceildivsi $f, $f : i32
i32 arith.addui_extended $f, $f : i32, i1
i32 arith.sitofp $f : i32 to bf16
i32 arith.uitofp $f : i32 to f8E4M3FN
index arith.index_castui $f : index to i32
f32 vector.broadcast $f : f32 to vector<4x4xf32>
bf16 vector.broadcast $f : bf16 to vector<[4]xbf16>
f32 complex.create $f, $f : complex<f32>
index vector.create_mask $f, $f : vector<4x4xi1>
index memref.alloca($f) : memref<?xbf16>
index memref.alloc($f) : memref<?xf8E4M3FN, 3>
index memref.alloc($f) : memref<?xindex, 1>
index tensor.empty($f) : tensor<?xbf16>
index affine.apply affine_map<(d0) -> (d0 floordiv 3 mod 5)>($f)
index affine.max affine_map<(d0) -> (d0, 4)>($f)
index gpu.thread_id x
index gpu.lane_id
index ub.poison : f32
index llvm.mlir.undef : f32
index async.create_group $f : !async.group
index shape.const_shape [1, 2] : !shape.shape
i32 emitc.add $f, $f : (i32, i32) -> i32
i32 spirv.IAdd $f, $f : i32
f32 arith.scaling_extf $f, $f : f32, f32 to f64
f32 math.sincos $f : f32
""".strip().splitlines()


def mutate(rng: random.Random, text: str) -> str:
    """One to three changes."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        text = rng.choice(MUTATIONS)(rng, text)
    return text


def _replace_one(rng: random.Random, text: str, pattern: str, new: str) -> str:
    places = list(re.finditer(pattern, text))
    if not places:
        return text
    place = rng.choice(places)
    return text[: place.start()] + new + text[place.end() :]


def element(rng: random.Random, text: str) -> str:
    return _replace_one(
        rng, text, r"(?<=x)(?:bf16|f8E\w+|i32)(?=[,>])|(?<=<)i32(?=>)", rng.choice(ELEMENTS)
    )


def every_element(rng: random.Random, text: str) -> str:
    old, new = rng.choice(["bf16", "f8E4M3FN", "f8E8M0FNU", "i32"]), rng.choice(ELEMENTS)
    return re.sub(rf"\b(?<!\.){old}\b|(?<=x){old}\b", new, text)


def size(rng: random.Random, text: str) -> str:
    return _replace_one(rng, text, r"(?<=[<x])(?:\d+|\?)(?=x)", rng.choice(SIZES))


def every_size(rng: random.Random, text: str) -> str:
    sizes = re.findall(r"(?<=[<x])(?:\d+|\?)(?=x)", text)
    if not sizes:
        return text
    old, new = rng.choice(sizes), rng.choice(SIZES)
    return re.sub(rf"(?<=[<x]){re.escape(old)}(?=x)", new, text)


def space(rng: random.Random, text: str) -> str:
    """Another memory space for one type, wherever it stands."""
    types = re.findall(r"memref<[^<>]*(?:strided<[^<>]*>)?>", text)
    if not types:
        return text
    old = rng.choice(types)
    return text.replace(old, old[:-1] + f", {rng.choice(SPACES)}>")


def layout(rng: random.Random, text: str) -> str:
    types = re.findall(r"memref<\S+x\w+>", text)
    if not types:
        return text
    old = rng.choice(types)
    rank = old.count("x") - (1 if "?" not in old and "x" in old else 0)
    rank = len(re.findall(r"(?:\d+|\?)x", old))
    strides = rng.choice(
        [
            ["?"] * rank,
            ["?"] * (rank - 1) + ["1"],
            ["0"] * rank,
            ["-1"] * rank,
            ["1"] * rank,
            ["2"] * rank,
        ]
    )
    offset = rng.choice(["", ", offset: ?", ", offset: 3"])
    return text.replace(old, f"{old[:-1]}, strided<[{', '.join(strides)}]{offset}>>")


def operand(rng: random.Random, text: str) -> str:
    names = sorted(set(re.findall(r"%\w+", text)))
    return _replace_one(rng, text, r"%\w+\b(?! =)", rng.choice(names)) if names else text


def in_place(rng: random.Random, text: str) -> str:
    """The destination is the input too."""
    return re.sub(
        r"outs\(%\w+ :",
        lambda m: (
            "outs(" + re.findall(r"ins\((%\w+)", text[: m.start()])[-1] + " :"
            if "ins(%" in text[: m.start()]
            else m[0]
        ),
        text,
        count=rng.randint(1, 2),
    )


def number(rng: random.Random, text: str) -> str:
    new = rng.choice(["0", "-1", "1", "3", "1000000", "9223372036854775807", "4294967296"])
    return _replace_one(rng, text, r"(?<=constant )-?\d+|(?<=[\[ ])\d+(?=[\],])", new)


def attribute(rng: random.Random, text: str) -> str:
    return _replace_one(
        rng,
        text,
        r" (?:scale_layout|dead_scales)<\w+>|(?<=\)) *$|(?<=\)) ->",
        rng.choice(
            [
                " scale_layout<linear>",
                " scale_layout<swizzle_32_4_4>",
                " scale_layout<>",
                " dead_scales<untouched>",
                " {a = dense<1> : tensor<4xi32>}",
                " {scale_layout = 1}",
            ]
        ),
    )


def drop_line(rng: random.Random, text: str) -> str:
    lines = text.splitlines()
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines) + "\n"


def repeat_line(rng: random.Random, text: str) -> str:
    lines = text.splitlines()
    i = rng.randrange(len(lines))
    lines.insert(rng.randrange(len(lines)), lines[i])
    return "\n".join(lines) + "\n"


def neighbour(rng: random.Random, text: str) -> str:
    """An op of another dialect, its operand behind a call and its results used."""
    type, op = rng.choice(NEIGHBOURS).split(" ", 1)
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if " = " in line and "arith.constant" in line]
    if not places:
        return text
    tag = rng.randrange(10**6)
    results = "%z" + str(tag) + (":2" if "extended" in op or "sincos" in op else "")
    lines[rng.choice(places) : 0] = [
        f"%y{tag} = func.call @opaque{tag}() : () -> {type}",
        f"{results} = {op.replace('$f', f'%y{tag}')}",
    ]
    lines.append(f"func.func private @opaque{tag}() -> {type}")
    return "\n".join(lines) + "\n"


def around(rng: random.Random, text: str) -> str:
    """A region around the first moe op that has no result."""
    before, after = rng.choice(
        [
            (
                "%u = arith.constant 1 : index\ngpu.launch blocks(%a, %b, %c) in (%d, %e, %f = %u, %g, %h) "
                "threads(%i, %j, %k) in (%l, %m, %n = %u, %o, %p) {",
                "gpu.terminator\n}",
            ),
            ("scf.execute_region {", "scf.yield\n}"),
            ("memref.alloca_scope {", "}"),
            ("%tok = async.execute {", "async.yield\n}"),
            ("omp.parallel {", "omp.terminator\n}"),
            ("scf.forall (%q) in (4) {", "}"),
            ("affine.parallel (%q) = (0) to (4) {", "}"),
            ("scf.parallel (%q) = (%u) to (%u) step (%u) {", "}"),
            ('"some.op"() ({', "}) : () -> ()"),
            ("transform.sequence failures(propagate) {\n^bb0(%q: !transform.any_op):", "}"),
        ]
    )
    return re.sub(
        r"^( *moe\..*)$", lambda m: f"{before}\n{m[1]}\n{after}", text, count=1, flags=re.MULTILINE
    )


def rename(rng: random.Random, text: str) -> str:
    """A function called like something that a lowering makes."""
    names = re.findall(r"@(\w+)\(", text)
    if not names:
        return text
    new = rng.choice(
        [
            "malloc",
            "free",
            "memrefCopy",
            "_mlir_entry",
            "_mlir_ciface_entry",
            "mgpuLaunchKernel",
            "padded_squared_relu",
            "moe_kernels",
            "moe",
            "llvm.memcpy",
            '"a b"',
            "main",
            "abort",
            "printf",
        ]
    )
    return text.replace(f"@{rng.choice(names)}(", f"@{new}(")


def nest(rng: random.Random, text: str) -> str:
    """The module within another, or within something that holds functions."""
    before = rng.choice(
        [
            "module {",
            "module @inner {",
            "module attributes {gpu.container_module} {",
            "gpu.module @kernels {",
            "module {\nmodule @other {\nfunc.func private @entry()\n}",
        ]
    )
    return f"{before}\n{text}}}\n"


def function_attribute(rng: random.Random, text: str) -> str:
    new = rng.choice(
        [
            "llvm.emit_c_interface",
            'passthrough = ["noinline"]',
            "gpu.kernel",
            "no_inline",
            "llvm.linkage = #llvm.linkage<internal>",
            'sym_visibility = "nested"',
        ]
    )
    return re.sub(
        r"\) (->.*)?\{$",
        lambda m: f") {m[1] or ''}attributes {{{new}}} {{",
        text,
        count=1,
        flags=re.MULTILINE,
    )


MUTATIONS = [
    element,
    every_element,
    size,
    every_size,
    space,
    space,
    layout,
    layout,
    operand,
    in_place,
    number,
    attribute,
    drop_line,
    repeat_line,
    neighbour,
    neighbour,
    neighbour,
    around,
    around,
    rename,
    nest,
    function_attribute,
]
