# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests of the PTX interpreter, against values worked out by hand, ml_dtypes or exact fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import ptx_interpreter as ptx
import pytest
from ptx_interpreter import Memory, Module

BF16 = ml_dtypes.bfloat16
E4M3 = ml_dtypes.float8_e4m3fn

HEADER = ".version 8.3\n.target sm_90\n.address_size 64\n"
REGISTERS = """
    .reg .pred %p<16>;
    .reg .b16 %rs<32>;
    .reg .b32 %r<64>;
    .reg .f32 %f<16>;
    .reg .b64 %rd<32>;
    .reg .f64 %fd<8>;
"""
# %r0 is the thread's number, %rd0 and %rd1 its places in the input and the output.
PROLOGUE = """
    ld.param.u64 %rd0, [in];
    ld.param.u64 %rd1, [out];
    cvta.to.global.u64 %rd0, %rd0;
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.s32 %r0, %r1, %r2, %r3;
    mad.wide.u32 %rd0, %r0, {in_bytes}, %rd0;
    mad.wide.u32 %rd1, %r0, {out_bytes}, %rd1;
"""


def kernel(body: str, in_bytes: int = 4, out_bytes: int = 4, before: str = "") -> str:
    prologue = PROLOGUE.format(in_bytes=in_bytes, out_bytes=out_bytes)
    return (
        f"{HEADER}{before}\n.visible .entry k(.param .u64 in, .param .u64 out)\n"
        f"{{{REGISTERS}{prologue}{body}\n    ret;\n}}\n"
    )


def run(body, inputs, dtype, block=None, grid=1, before="", per_thread=1, **options):
    """Runs a body with one row of `inputs` a thread; gives what each thread stored."""
    inputs = np.ascontiguousarray(inputs)
    threads = inputs.shape[0]
    block = block or threads // grid
    in_bytes = inputs.nbytes // threads
    out_bytes = np.dtype(dtype).itemsize * per_thread
    memory = Memory()
    source = memory.allocate(inputs, readonly=True, name="in")
    result = memory.allocate(out_bytes * block * grid, name="out")
    module = Module(kernel(body, in_bytes, out_bytes, before))
    module.launch("k", grid, block, [source, result], memory, **options)
    memory.check_guards()
    shape = (-1,) if per_thread == 1 else (-1, per_thread)
    return result.array(dtype, shape)


def unary(op: str, inputs, in_type: str, out_dtype, out_type: str, wide: int = 0) -> np.ndarray:
    """Runs `op d, a;` on every input (in CTAs of 256)."""
    reg = {"b16": "%rs", "b32": "%r1", "b64": "%rd1", "f32": "%f", "f64": "%fd"}
    a = reg[in_type][:3].rstrip("1") + "5"
    d = reg[out_type][:3].rstrip("1") + "6"
    inputs = np.asarray(inputs)
    padded = np.resize(inputs, -(-inputs.size // 256) * 256)
    out = run(
        f"ld.global.{in_type} {a}, [%rd0]; {op} {d}, {a}; st.global.{out_type} [%rd1], {d};",
        padded,
        out_dtype,
        block=256,
        grid=padded.size // 256,
    )
    return out[: inputs.size]


# --- Parsing -------------------------------------------------------------------------------


def test_module_properties():
    module = Module(HEADER + """
// a comment with { and ;
/* another } */
.file 1 "a.cu"
.extern .func foo;
.visible .entry first(
    .param .u64 .ptr .global .align 16 first_param_0,
    .param .b32 first_param_1,
    .param .f32 first_param_2,
    .param .align 8 .b8 first_param_3[24]
)
.maxntid 256, 1, 1
.minnctapersm 2
{
    .loc 1 5 0
    ret;
}
.section .debug_str { .b8 1, 2, 3 }
.entry second() { ret; }
""")
    assert module.version == "8.3" and module.target == "sm_90"
    assert list(module.kernels) == ["first", "second"]
    first = module.kernels["first"]
    assert first.params == [
        ("first_param_0", "u64", 8),
        ("first_param_1", "b32", 4),
        ("first_param_2", "f32", 4),
        ("first_param_3", "b8", 24),
    ]
    assert [p.offset for p in first.parameters] == [0, 8, 12, 16]
    assert first.directives == {"maxntid": (256, 1, 1), "minnctapersm": (2,)}


def test_nested_scopes_shadow_registers_and_labels():
    out = run(
        """
    mov.u32 %r5, 1;
    // begin inline asm
    { .reg .b32 %r5; .reg .pred p; mov.u32 %r5, 7; setp.eq.u32 p, %r0, 0;
      @p bra skip; add.u32 %r0, %r0, %r5;
      skip: }
    setp.ne.u32 %p0, %r3, 0;
    { .reg .b32 t; mov.u32 t, 100; @%p0 bra skip; add.u32 %r0, %r0, t;
    skip: }
    // end inline asm
    add.u32 %r6, %r0, %r5;
    st.global.u32 [%rd1], %r6;""",
        np.arange(32, dtype=np.uint32),
        np.uint32,
    )
    expected = np.arange(32) + 7 + 1
    expected[0] = 0 + 100 + 1
    assert (out == expected).all()


def test_unknown_instruction_names_its_line():
    text = HEADER + ".entry k() {\n.reg .b32 %r<2>;\nfrobnicate.b32 %r0, %r1;\nret;\n}"
    module = Module(text)
    with pytest.raises(ptx.UnsupportedInstruction) as e:
        module.decode()
    assert e.value.line == 6 and "frobnicate.b32 %r0, %r1" in str(e.value)


@pytest.mark.parametrize(
    "instruction",
    [
        "add.q32 %r0, %r1, %r1",
        "add.rz.f32 %f0, %f1, %f1",
        "mov.u32 %r0, %clock",
        "mov.b32 %r0, %rs1",
        "add.s32 %rd0, %rd1, %rd1",
        "setp.lo.s32 %p0, %r0, %r1",
        "mapa.u32 %r0, %r1, %r2",
        "vote.ballot.b32 %r0, %p0",
        "cvt.f32.f64 %f0, %fd0",
        "call.uni (%r0), foo, (%r1)",
    ],
)
def test_forms_that_are_refused(instruction):
    module = Module(f"{HEADER}.entry k() {{ {REGISTERS} {instruction}; ret; }}")
    with pytest.raises(ptx.ParseError) as e:
        module.decode()
    assert instruction in str(e.value)


def test_arguments_are_checked():
    text = HEADER + ".entry k(.param .u32 a, .param .f32 b) .maxntid 64, 1, 1 { ret; }"
    module, memory = Module(text), Memory()
    module.launch("k", 1, 64, [1, 2.0], memory)
    module.launch("k", 1, 64, [np.int32(-1), np.float32(2)], memory)
    module.launch("k", 1, 64, [b"abcd", 2], memory)
    for bad in ([1], [1, 2, 3], [1 << 32, 1.0], [1.5, 1.0], [np.int64(1), 1.0], [b"abc", 1.0]):
        with pytest.raises(ptx.LaunchError):
            module.launch("k", 1, 64, bad, memory)
    with pytest.raises(ptx.LaunchError):
        module.launch("k", 1, 65, [1, 2.0], memory)
    with pytest.raises(ptx.LaunchError):
        module.launch("nope", 1, 64, [], memory)


def test_parameter_bytes_and_grid_coordinates():
    text = HEADER + """
.entry k(.param .align 8 .b8 blob[16], .param .u64 out) {
    .reg .b32 %r<20>; .reg .b64 %rd<4>;
    ld.param.u64 %rd0, [out];
    ld.param.b32 %r0, [blob+12];
    ld.param.v2.b32 {%r1, %r2}, [blob];
    mov.u32 %r3, %ctaid.y; mov.u32 %r4, %nctaid.x; mov.u32 %r5, %ctaid.x;
    mad.lo.u32 %r6, %r3, %r4, %r5;                      // CTA number
    mov.u32 %r7, %tid.y; mov.u32 %r8, %ntid.x; mov.u32 %r9, %tid.x;
    mad.lo.u32 %r10, %r7, %r8, %r9;                     // thread number
    mov.u32 %r11, %ntid.y; mul.lo.u32 %r11, %r11, %r8;
    mad.lo.u32 %r12, %r6, %r11, %r10;
    mul.wide.u32 %rd1, %r12, 4; add.u64 %rd0, %rd0, %rd1;
    add.u32 %r0, %r0, %r2; shl.b32 %r5, %r5, 8; add.u32 %r0, %r0, %r5;
    shl.b32 %r9, %r9, 16; add.u32 %r0, %r0, %r9;
    st.global.u32 [%rd0], %r0; ret;
}"""
    memory = Memory()
    out = memory.allocate(4 * 3 * 2 * 16 * 4)
    blob = np.array([5, 6, 7, 8], np.uint32).tobytes()
    Module(text).launch("k", (3, 2), (16, 4), [blob, out], memory, wave_threads=64)
    got = out.array(np.uint32, (2, 3, 4, 16))
    tid, cta = np.arange(16)[None, None, None], np.arange(3)[None, :, None, None]
    assert (got == 14 + (cta << 8) + (tid << 16)).all()


def test_global_and_const_variables():
    out = run(
        """
    and.b32 %r5, %r0, 3; mul.wide.u32 %rd5, %r5, 4;
    mov.u64 %rd6, table; add.u64 %rd6, %rd6, %rd5; ld.global.nc.u32 %r6, [%rd6];
    ld.const.u32 %r7, [consts+4];
    add.u32 %r6, %r6, %r7; st.global.u32 [%rd1], %r6;""",
        np.zeros(32, np.uint32),
        np.uint32,
        before=".global .align 16 .b8 table[16] = {5, 0, 0, 0, 249, 255, 255, 255, 11};\n"
        ".const .align 4 .u32 consts[2] = {1, 0x100};",
    )
    assert (out == np.resize(np.array([5, -7, 11, 0]) + 256, 32).astype(np.uint32)).all()


# --- Integers ------------------------------------------------------------------------------

SAMPLES = np.array(
    [0, 1, 2, 3, 7, 31, 32, 33, 100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000,
     0x80000001, 0xFFFFFFFF, 0xFFFFFFFE, 0x12345678, 0xDEADBEEF],
    np.uint32,
)  # fmt: skip
PAIRS = np.array([(a, b) for a in SAMPLES for b in SAMPLES] + [(1, 1)] * 112, np.uint32)
M32 = 0xFFFFFFFF


def signed(v, bits=32):
    v = int(v) & ((1 << bits) - 1)
    return v - (1 << bits) if v >> (bits - 1) else v


BINARY = {
    "add.s32": lambda a, b: a + b,
    "sub.u32": lambda a, b: a - b,
    "mul.lo.s32": lambda a, b: a * b,
    "mul.hi.u32": lambda a, b: a * b >> 32,
    "mul.hi.s32": lambda a, b: signed(a) * signed(b) >> 32,
    "min.s32": lambda a, b: min(signed(a), signed(b)),
    "max.u32": lambda a, b: max(a, b),
    "and.b32": lambda a, b: a & b,
    "or.b32": lambda a, b: a | b,
    "xor.b32": lambda a, b: a ^ b,
    "shl.b32": lambda a, b: a << b if b < 32 else 0,
    "shr.u32": lambda a, b: a >> b if b < 32 else 0,
    "shr.s32": lambda a, b: signed(a) >> min(b, 31),
    "add.u16x2": lambda a, b: ((a + b) & 0xFFFF) | ((a >> 16) + (b >> 16) << 16),
    "max.s16x2": lambda a, b: (max(signed(a, 16), signed(b, 16)) & 0xFFFF)
    | (max(signed(a >> 16, 16), signed(b >> 16, 16)) << 16),
    "min.u16x2": lambda a, b: min(a & 0xFFFF, b & 0xFFFF) | (min(a >> 16, b >> 16) << 16),
    "add.sat.s32": lambda a, b: max(min(signed(a) + signed(b), 2**31 - 1), -(2**31)),
}


@pytest.mark.parametrize("op", BINARY)
def test_integer_binary(op):
    out = run(
        f"ld.global.v2.u32 {{%r5, %r6}}, [%rd0]; {op} %r7, %r5, %r6; st.global.u32 [%rd1], %r7;",
        PAIRS,
        np.uint32,
        block=256,
        grid=2,
    )
    expected = [BINARY[op](int(a), int(b)) & M32 for a, b in PAIRS]
    assert out.tolist() == expected


def test_division():
    pairs = PAIRS[PAIRS[:, 1] != 0]
    pairs = pairs[: pairs.shape[0] // 32 * 32]
    out = run(
        """
    ld.global.v2.u32 {%r5, %r6}, [%rd0];
    div.u32 %r7, %r5, %r6; rem.u32 %r8, %r5, %r6; div.s32 %r9, %r5, %r6; rem.s32 %r10, %r5, %r6;
    st.global.v4.u32 [%rd1], {%r7, %r8, %r9, %r10};""",
        pairs,
        np.uint32,
        block=32,
        grid=pairs.shape[0] // 32,
        per_thread=4,
    )
    for (a, b), row in zip(pairs.tolist(), out.tolist()):
        sa, sb = signed(a), signed(b)
        q = abs(sa) // abs(sb) * (1 if (sa < 0) == (sb < 0) else -1)
        assert row == [a // b, a % b, q & M32, (sa - q * sb) & M32]


def test_division_by_zero_is_an_error():
    with pytest.raises(ptx.ExecutionError, match="division by zero"):
        run("div.u32 %r5, %r0, %r3; st.global.u32 [%rd1], %r5;", np.zeros(32, np.uint32), np.uint32)


def test_wide_and_64_bit():
    out = run(
        """
    ld.global.v2.u32 {%r5, %r6}, [%rd0];
    mov.b64 %rd5, {%r5, %r6}; mov.b64 %rd6, {%r6, %r5};
    mul.wide.s32 %rd7, %r5, %r6;
    mad.wide.u32 %rd7, %r5, %r6, %rd7;
    mul.hi.u64 %rd8, %rd5, %rd6;
    mul.hi.s64 %rd9, %rd5, %rd6;
    mad.lo.s64 %rd10, %rd5, %rd6, %rd5;
    st.global.v2.u64 [%rd1], {%rd7, %rd8}; st.global.v2.u64 [%rd1+16], {%rd9, %rd10};""",
        PAIRS,
        np.uint64,
        block=256,
        grid=2,
        per_thread=4,
    )
    m64 = 2**64 - 1
    for (a, b), row in zip(PAIRS.tolist(), out.tolist()):
        x, y = a | b << 32, b | a << 32
        assert row == [
            (signed(a) * signed(b) + a * b) & m64,
            x * y >> 64,
            (signed(x, 64) * signed(y, 64) >> 64) & m64,
            (x * y + x) & m64,
        ]


def test_bit_operations():
    out = run(
        """
    ld.global.u32 %r5, [%rd0];
    popc.b32 %r6, %r5; clz.b32 %r7, %r5; brev.b32 %r8, %r5; bfind.u32 %r9, %r5;
    bfind.s32 %r10, %r5; bfind.shiftamt.u32 %r11, %r5; not.b32 %r12, %r5; neg.s32 %r13, %r5;
    st.global.v4.u32 [%rd1], {%r6, %r7, %r8, %r9};
    st.global.v4.u32 [%rd1+16], {%r10, %r11, %r12, %r13};""",
        np.resize(SAMPLES, 32),
        np.uint32,
        per_thread=8,
    )
    for v, row in zip(np.resize(SAMPLES, 32).tolist(), out.tolist()):
        top = v.bit_length() - 1
        stop = (v ^ (M32 if v >> 31 else 0)).bit_length() - 1
        assert row == [
            bin(v).count("1"),
            32 - v.bit_length(),
            int(f"{v:032b}"[::-1], 2),
            top & M32,
            stop & M32,
            (31 - top) if v else M32,
            v ^ M32,
            -v & M32,
        ]


def test_64_bit_bit_operations():
    values = np.array([0, 1, 1 << 31, 1 << 32, (1 << 63) | 5, 2**64 - 1] * 6, np.uint64)[:32]
    out = run(
        """
    ld.global.u64 %rd5, [%rd0];
    popc.b64 %r6, %rd5; clz.b64 %r7, %rd5; brev.b64 %rd6, %rd5; mov.b64 {%r8, %r9}, %rd6;
    st.global.v4.u32 [%rd1], {%r6, %r7, %r8, %r9};""",
        values,
        np.uint32,
        per_thread=4,
    )
    for v, row in zip(values.tolist(), out.tolist()):
        back = int(f"{v:064b}"[::-1], 2)
        assert row == [bin(v).count("1"), 64 - v.bit_length(), back & M32, back >> 32]


def test_fields_and_permutations():
    out = run(
        """
    ld.global.v2.u32 {%r5, %r6}, [%rd0];
    bfe.u32 %r7, %r5, 4, 8; bfe.s32 %r8, %r5, 28, 8; bfi.b32 %r9, %r6, %r5, 8, 12;
    prmt.b32 %r10, %r5, %r6, 0x5410; prmt.b32 %r11, %r5, %r6, 0xB376;
    lop3.b32 %r12, %r5, %r6, %r0, 0x96; shf.l.wrap.b32 %r13, %r5, %r6, 40;
    shf.r.clamp.b32 %r14, %r5, %r6, 40;
    st.global.v4.u32 [%rd1], {%r7, %r8, %r9, %r10};
    st.global.v4.u32 [%rd1+16], {%r11, %r12, %r13, %r14};""",
        PAIRS,
        np.uint32,
        block=256,
        grid=2,
        per_thread=8,
    )
    for i, ((a, b), row) in enumerate(zip(PAIRS.tolist(), out.tolist())):
        bytes8 = (a | b << 32).to_bytes(8, "little")
        sign = 0xFF if bytes8[3] & 0x80 else 0  # selector 0xB: sign of byte 3
        assert row == [
            a >> 4 & 0xFF,
            signed(a) >> 28 & M32,
            (a & ~(0xFFF << 8)) | ((b & 0xFFF) << 8),
            (a & 0xFFFF) | (b & 0xFFFF) << 16,
            bytes8[6] | bytes8[7] << 8 | bytes8[3] << 16 | sign << 24,
            a ^ b ^ i,
            ((b << 32 | a) << 8 >> 32) & M32,
            b,
        ]


def test_integer_conversions():
    values = np.resize(SAMPLES, 32)
    out = run(
        """
    ld.global.u32 %r5, [%rd0];
    cvt.u16.u32 %rs5, %r5; cvt.u32.u16 %r6, %rs5; cvt.s32.s8 %r7, %r5; cvt.s32.s16 %r8, %rs5;
    cvt.s64.s32 %rd5, %r5; shr.u64 %rd5, %rd5, 32; cvt.u32.u64 %r9, %rd5;
    cvt.sat.u8.s32 %r10, %r5; cvt.sat.s16.s32 %rs6, %r5; cvt.s32.s16 %r11, %rs6;
    cvt.sat.s32.u32 %r12, %r5; cvt.u32.u8 %r13, %rs5;
    st.global.v4.u32 [%rd1], {%r6, %r7, %r8, %r9};
    st.global.v4.u32 [%rd1+16], {%r10, %r11, %r12, %r13};""",
        values,
        np.uint32,
        per_thread=8,
    )
    for v, row in zip(values.tolist(), out.tolist()):
        s = signed(v)
        assert row == [
            v & 0xFFFF,
            signed(v, 8) & M32,
            signed(v, 16) & M32,
            M32 if s < 0 else 0,
            max(0, min(s, 255)),
            max(-32768, min(s, 32767)) & M32,
            min(v, 0x7FFFFFFF),
            v & 0xFF,
        ]


def test_narrow_loads_extend():
    data = np.array([0x80, 0x7F, 0xFF, 0x01] * 8, np.uint8)
    out = run(
        """
    ld.global.u8 %rs5, [%rd0]; ld.global.s8 %r6, [%rd0]; ld.global.b8 %r7, [%rd0];
    cvt.u32.u16 %r5, %rs5; st.global.v2.u32 [%rd1], {%r5, %r6}; st.global.u32 [%rd1+8], %r7;
    st.global.u8 [%rd1+12], %r6; st.global.u8 [%rd1+13], 7;""",
        data,
        np.uint32,
        per_thread=4,
    )
    for v, row in zip(data.tolist(), out.tolist()):
        assert row == [v, signed(v, 8) & M32, v, v | 7 << 8]


# --- Floats --------------------------------------------------------------------------------

ALL16 = np.arange(65536, dtype=np.uint32).astype(np.uint16)


def same_bits(got, expected, nan=0x7FFF):
    """Equal bit for bit, a NaN in `expected` standing for the canonical one."""
    bits = np.asarray(expected).view(got.dtype).copy()
    with np.errstate(all="ignore"):
        bits[np.isnan(np.asarray(expected).astype(np.float64))] = nan
    assert np.array_equal(got, bits), np.flatnonzero(got != bits)[:5]


def test_bf16_to_f32_and_back_on_all_patterns():
    up = unary("cvt.f32.bf16", ALL16, "b16", np.uint32, "f32")
    assert (up == ALL16.astype(np.uint32) << 16).all()
    back = unary("cvt.rn.bf16.f32", up, "f32", np.uint16, "b16")
    same_bits(back, ALL16.view(BF16))


def test_f32_to_bf16_rounding():
    low = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    bits = ((ALL16.astype(np.uint32) << 16)[::7, None] | low).reshape(-1)
    got = unary("cvt.rn.bf16.f32", bits, "f32", np.uint16, "b16")
    with np.errstate(all="ignore"):
        same_bits(got, bits.view(np.float32).astype(BF16))


def test_f16_conversions_on_all_patterns():
    up = unary("cvt.f32.f16", ALL16, "b16", np.uint32, "f32")
    same_bits(up, ALL16.view(np.float16).astype(np.float32), nan=0x7FFFFFFF)
    back = unary("cvt.rn.f16.f32", up, "f32", np.uint16, "b16")
    same_bits(back, ALL16.view(np.float16))


def exact_round_bf16(value: Fraction) -> int:
    """Bits of the bf16 nearest to an exact non-zero value, ties to even."""
    sign, value = (0x8000, -value) if value < 0 else (0, value)
    exponent = -126
    while value >= Fraction(2) ** (exponent + 1) and exponent < 128:
        exponent += 1
    quantum = Fraction(2) ** (exponent - 7)
    units = round(value / quantum)  # Fractions round half to even
    bits = units if exponent == -126 else ((exponent + 127) << 7) + units - 128
    return sign | min(bits, 0x7F80)


def test_bf16_arithmetic_against_ml_dtypes():
    rng = np.random.default_rng(1)
    a = ALL16
    b = rng.permutation(ALL16)
    near = (a ^ rng.integers(0, 0x80, a.size).astype(np.uint16)) ^ np.uint16(0x8000)
    for second in (b, near):
        pair = np.stack([a, second], axis=1)
        out = run(
            """
    ld.global.v2.b16 {%rs5, %rs6}, [%rd0];
    add.rn.bf16 %rs7, %rs5, %rs6; sub.bf16 %rs8, %rs5, %rs6; mul.rn.bf16 %rs9, %rs5, %rs6;
    max.NaN.bf16 %rs10, %rs5, %rs6; min.bf16 %rs11, %rs5, %rs6; neg.bf16 %rs12, %rs5;
    abs.bf16 %rs13, %rs5; mov.u16 %rs14, 0;
    st.global.v4.b16 [%rd1], {%rs7, %rs8, %rs9, %rs10};
    st.global.v4.b16 [%rd1+8], {%rs11, %rs12, %rs13, %rs14};""",
            pair,
            np.uint16,
            block=256,
            grid=256,
            per_thread=8,
        )
        x, y = a.view(BF16), second.view(BF16)
        columns = [np.ascontiguousarray(c) for c in out.T]
        with np.errstate(all="ignore"):
            # The sum of two doubles that are bf16 is rounded, but to more than 2 * 8 + 2 bits.
            wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
            same_bits(columns[0], (wide_x + wide_y).astype(np.float32).astype(BF16))
            same_bits(columns[1], x - y)
            same_bits(columns[2], x * y)
        nan = np.isnan(wide_x) | np.isnan(wide_y)
        larger = np.where(wide_x > wide_y, a, second)
        zeros = (wide_x == 0) & (wide_y == 0)
        larger = np.where(zeros, a & second, larger)  # +0 is the larger
        assert (columns[3] == np.where(nan, 0x7FFF, larger)).all()
        smaller = np.where(wide_x < wide_y, a, second)
        smaller = np.where(zeros, a | second, smaller)
        smaller = np.where(np.isnan(wide_x), second, np.where(np.isnan(wide_y), a, smaller))
        smaller = np.where(np.isnan(wide_x) & np.isnan(wide_y), 0x7FFF, smaller)
        assert (columns[4] == smaller).all()
        assert (columns[5] == a ^ 0x8000).all() and (columns[6] == a & 0x7FFF).all()


def test_bf16_fma_is_rounded_once():
    rng = np.random.default_rng(2)
    n = 8192
    a, b, c = (rng.integers(0, 65536, n).astype(np.uint16) for _ in range(3))
    # Half of the cases: exponents such that the addend straddles the last bit of the product.
    with np.errstate(all="ignore"):
        product = a.view(BF16).astype(np.float64) * b.view(BF16).astype(np.float64)
        shift = np.ldexp(product, rng.integers(-60, 60, n))
        c = np.where(np.arange(n) % 2, shift.astype(np.float32).astype(BF16).view(np.uint16), c)
    # 1.0078125 * 1.0078125 + tiny: product 1 + 2^-6 + 2^-14; and a tie broken by a tiny addend.
    a[:2], b[:2], c[:2] = 0x3F81, 0x3F81, (0x0001, 0x8001)
    # 129 * 2^-7 * 1.5 = 1.51171875, halfway between two bf16; the addend decides.
    a[2:5], b[2:5], c[2:5] = 0x3F81, 0x3FC0, (0x0001, 0x8001, 0x0000)
    out = run(
        """
    ld.global.v4.b16 {%rs5, %rs6, %rs7, %rs8}, [%rd0];
    fma.rn.bf16 %rs9, %rs5, %rs6, %rs7;
    mov.b32 %r5, {%rs5, %rs6}; mov.b32 %r6, {%rs6, %rs5}; mov.b32 %r7, {%rs7, %rs7};
    fma.rn.bf16x2 %r8, %r5, %r6, %r7; mov.b32 {%rs10, %rs11}, %r8;
    fma.rn.relu.bf16 %rs12, %rs5, %rs6, %rs7;
    st.global.v4.b16 [%rd1], {%rs9, %rs10, %rs11, %rs12};""",
        np.stack([a, b, c, c], axis=1),
        np.uint16,
        block=256,
        grid=n // 256,
        per_thread=4,
    )
    with np.errstate(all="ignore"):
        fa, fb, fc = (v.view(BF16).astype(np.float64) for v in (a, b, c))
    checked = 0
    for i in range(n):
        if not all(map(np.isfinite, (fa[i], fb[i], fc[i]))):
            continue
        exact = Fraction(fa[i]) * Fraction(fb[i]) + Fraction(fc[i])
        if exact == 0:
            continue
        want = exact_round_bf16(exact)
        assert out[i].tolist() == [want, want, want, 0 if want & 0x8000 else want], i
        checked += 1
    assert checked > 6000
    assert out[2:5, 0].tolist() == [0x3FC2, 0x3FC1, 0x3FC2]


def test_bf16x2_packs_and_f16x2():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((256, 4)).astype(np.float32)
    out = run(
        """
    ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd0];
    cvt.rn.bf16x2.f32 %r5, %f1, %f0; cvt.rn.bf16x2.f32 %r6, %f3, %f2;
    add.bf16x2 %r7, %r5, %r6; mul.bf16x2 %r8, %r5, %r6; max.bf16x2 %r9, %r5, %r6;
    cvt.rn.f16x2.f32 %r10, %f1, %f0; cvt.rn.f16x2.f32 %r11, %f3, %f2;
    fma.rn.f16x2 %r12, %r10, %r11, %r10; cvt.rn.relu.bf16x2.f32 %r13, %f1, %f0;
    st.global.v4.u32 [%rd1], {%r5, %r7, %r8, %r9};
    st.global.v4.u32 [%rd1+16], {%r10, %r12, %r13, %r13};""",
        x,
        np.uint32,
        per_thread=8,
    )
    h = np.ascontiguousarray(out).view(np.uint16).reshape(256, 8, 2)
    lo, hi = x[:, :2].astype(BF16), x[:, 2:].astype(BF16)
    column = lambda k: np.ascontiguousarray(h[:, k])  # noqa: E731
    same_bits(column(0), lo)
    same_bits(column(1), lo + hi)
    same_bits(column(2), lo * hi)
    same_bits(column(3), np.maximum(lo, hi))
    g, k = x[:, :2].astype(np.float16), x[:, 2:].astype(np.float16)
    same_bits(column(4), g)
    exact = g.astype(np.float64) * k.astype(np.float64) + g.astype(np.float64)
    same_bits(column(5), exact.astype(np.float16))
    same_bits(column(6), np.where(x[:, :2] < 0, 0, lo).astype(BF16))


def test_f32_fma_is_rounded_once():
    rng = np.random.default_rng(4)
    n = 4096
    f = np.ldexp(rng.integers(-(2**24), 2**24, (n, 3)).astype(np.float64), -20).astype(np.float32)
    f[:, 2] *= np.ldexp(1.0, rng.integers(-60, 60, n)).astype(np.float32)
    # (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24 is a tie of f32; a tiny addend, far below the last bit of
    # a double, decides it.
    f[0] = (1 + 2.0**-12, 1 + 2.0**-12, 2.0**-100)
    f[1] = (1 + 2.0**-12, 1 + 2.0**-12, -(2.0**-100))
    f[2] = (2.0**-75, 2.0**-75, 2.0**-149)  # one and a half units of the least subnormal: a tie
    out = run(
        """
    ld.global.v2.f32 {%f0, %f1}, [%rd0]; ld.global.f32 %f2, [%rd0+8];
    fma.rn.f32 %f3, %f0, %f1, %f2; st.global.f32 [%rd1], %f3;""",
        np.concatenate([f, f[:, :1]], axis=1),
        np.float32,
        block=256,
        grid=n // 256,
    )
    assert out[0] == 1 + 2.0**-11 + 2.0**-23 and out[1] == 1 + 2.0**-11
    assert out[2] == 2.0**-148
    for row, got in zip(f.tolist(), out.tolist()):
        exact = Fraction(row[0]) * Fraction(row[1]) + Fraction(row[2])
        error = abs(Fraction(got) - exact)
        g = np.float32(got)
        for other in (np.nextafter(g, np.float32(np.inf)), np.nextafter(g, np.float32(-np.inf))):
            distance = abs(Fraction(float(other)) - exact)
            assert error < distance or (error == distance and not g.view(np.uint32) & 1)


def test_f32_specials():
    specials = np.array([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 1e-40], np.float32)
    pairs = np.array([(a, b) for a in specials for b in specials], np.float32)
    out = run(
        """
    ld.global.v2.f32 {%f0, %f1}, [%rd0];
    add.f32 %f2, %f0, %f1; mul.rn.f32 %f3, %f0, %f1; min.f32 %f4, %f0, %f1;
    max.NaN.f32 %f5, %f0, %f1; mul.ftz.f32 %f6, %f0, %f1; add.sat.f32 %f7, %f0, %f1;
    div.rn.f32 %f8, %f0, %f1; abs.f32 %f9, %f0;
    st.global.v4.f32 [%rd1], {%f2, %f3, %f4, %f5}; st.global.v4.f32 [%rd1+16], {%f6, %f7, %f8, %f9};
    """,
        pairs,
        np.uint32,
        per_thread=8,
    )
    columns = [np.ascontiguousarray(c) for c in out.T]
    a, b = pairs.T
    with np.errstate(all="ignore"):
        same_bits(columns[0], a + b, 0x7FFFFFFF)
        same_bits(columns[1], a * b, 0x7FFFFFFF)
        zero = np.float32(0)
        fa, fb = (np.where(np.abs(v) < 1e-38, np.copysign(zero, v), v) for v in (a, b))
        same_bits(columns[4], fa * fb, 0x7FFFFFFF)
        clamped = np.where(a + b > 0, np.minimum(a + b, np.float32(1)), np.float32(0))
        same_bits(columns[5], clamped)
        same_bits(columns[6], a / b, 0x7FFFFFFF)
    for i, (x, y) in enumerate(pairs):
        if np.isnan(x) or np.isnan(y):
            low = 0x7FFFFFFF if np.isnan(x) and np.isnan(y) else None
            other = y if np.isnan(x) else x
            assert columns[2][i] == (low if low else other.view(np.uint32))
            assert columns[3][i] == 0x7FFFFFFF
        else:
            key = lambda v: (v, 0 if np.signbit(v) else 1)  # noqa: E731
            assert columns[2][i] == min((x, y), key=key).view(np.uint32)
            assert columns[3][i] == max((x, y), key=key).view(np.uint32)


def test_f32_integer_conversions():
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 3e9, -3e9, 1e20, np.nan, np.inf, -np.inf, 255.7,
                  -0.0, 2147483648.0, 4294967040.0, 16777217.0], np.float32)  # fmt: skip
    x = np.resize(x, 32)
    out = run(
        """
    ld.global.f32 %f0, [%rd0];
    cvt.rni.s32.f32 %r5, %f0; cvt.rzi.u32.f32 %r6, %f0; cvt.rmi.s32.f32 %r7, %f0;
    cvt.rpi.s32.f32 %r8, %f0; cvt.rmi.f32.f32 %f1, %f0; cvt.sat.f32.f32 %f2, %f0;
    cvt.rzi.s64.f32 %rd5, %f0; mov.b64 {%r9, %r10}, %rd5;
    st.global.v4.u32 [%rd1], {%r5, %r6, %r7, %r8};
    st.global.v2.f32 [%rd1+16], {%f1, %f2}; st.global.v2.u32 [%rd1+24], {%r9, %r10};""",
        x,
        np.uint32,
        per_thread=8,
    )

    def clip(w: float, low: int, high: int) -> int:
        return int(max(low, min(w, high)))

    def s(w: float) -> int:
        return clip(w, -(2**31), 2**31 - 1) & M32

    for v, row in zip(x, out.tolist()):
        exact = float(v)
        if np.isnan(exact):
            assert row[:4] == [0, 0, 0, 0] and row[6:] == [0, 0x80000000]
            continue
        assert row[:4] == [
            s(np.rint(exact)),
            clip(np.trunc(exact), 0, M32),
            s(np.floor(exact)),
            s(np.ceil(exact)),
        ]
        assert np.uint32(row[4]).view(np.float32) == np.floor(exact)
        assert np.uint32(row[5]).view(np.float32) == max(0.0, min(exact, 1.0))
        whole = clip(np.trunc(exact), -(2**63), 2**63 - 1) & (2**64 - 1)
        assert row[6] | row[7] << 32 == whole


def test_integers_to_f32():
    values = np.resize(np.array([0, 1, 16777217, 16777219, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000001],
                                np.uint32), 32)  # fmt: skip
    out = run(
        """
    ld.global.u32 %r5, [%rd0];
    cvt.rn.f32.u32 %f0, %r5; cvt.rn.f32.s32 %f1, %r5; cvt.rz.f32.u32 %f2, %r5;
    cvt.rp.f32.s32 %f3, %r5; st.global.v4.f32 [%rd1], {%f0, %f1, %f2, %f3};""",
        values,
        np.float32,
        per_thread=4,
    )
    for v, row in zip(values.tolist(), out):
        s = signed(v)
        assert row[0] == np.float32(v) and row[1] == np.float32(s)
        down = np.float32(v)
        assert row[2] == (np.nextafter(down, np.float32(0)) if float(down) > v else down)
        up = np.float32(s)
        assert row[3] == (np.nextafter(up, np.float32(np.inf)) if float(up) < s else up)


def e4m3_inputs() -> np.ndarray:
    codes = np.arange(0x7F, dtype=np.uint8).view(E4M3).astype(np.float32)
    ties = (codes[:-1] + codes[1:]) / 2
    beyond = np.array([448, 449, 463.9, 464, 464.1, 480, 1e10, np.inf, 1e-10, 1e-45], np.float32)
    rng = np.random.default_rng(5)
    noise = np.ldexp(rng.standard_normal(4000), rng.integers(-14, 12, 4000)).astype(np.float32)
    up, down = np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(0))
    x = np.concatenate([codes, ties, up, down, beyond, noise])
    return np.concatenate([x, -x, [np.float32(np.nan)]]).astype(np.float32)


def test_e4m3_conversion():
    x = e4m3_inputs()
    x = np.resize(x, -(-x.size // 512) * 512)
    out = run(
        """
    ld.global.v2.f32 {%f0, %f1}, [%rd0];
    cvt.rn.satfinite.e4m3x2.f32 %rs5, %f1, %f0; cvt.rn.f16x2.e4m3x2 %r5, %rs5;
    cvt.rn.satfinite.relu.e4m3x2.f32 %rs6, %f1, %f0; mov.b32 %r6, {%rs5, %rs6};
    st.global.v2.u32 [%rd1], {%r6, %r5};""",
        x.reshape(-1, 2),
        np.uint32,
        block=256,
        grid=x.size // 512,
        per_thread=2,
    )
    # The first source is the high byte, so with (%f1, %f0) memory order is kept.
    words = np.ascontiguousarray(out[:, 0])
    code = words.view(np.uint8).reshape(-1, 4)
    plain = np.ascontiguousarray(code[:, :2]).reshape(-1)
    expected = np.clip(x, -448, 448).astype(E4M3).view(np.uint8).copy()
    expected[np.isnan(x)] = 0x7F
    assert (plain == expected).all()
    relu = np.ascontiguousarray(code[:, 2:]).reshape(-1)
    assert (relu == np.where(expected & 0x80, 0, expected)).all()
    back = np.ascontiguousarray(out[:, 1]).view(np.float16)
    assert np.array_equal(back, plain.view(E4M3).astype(np.float16), equal_nan=True)
    pins = [(0.0, 0x00), (-0.0, 0x80), (1.0, 0x38), (448.0, 0x7E), (-1e10, 0xFE), (2.0**-9, 0x01),
            (2.0**-10, 0x00), (np.nan, 0x7F), (-np.nan, 0x7F), (np.inf, 0x7E)]  # fmt: skip
    for value, want in pins:
        got = unary_e4m3(value)
        assert got == want, value


def unary_e4m3(value: float) -> int:
    out = run(
        """
    ld.global.f32 %f0, [%rd0]; mov.f32 %f1, 0f3F800000;
    cvt.rn.satfinite.e4m3x2.f32 %rs5, %f1, %f0; st.global.u16 [%rd1], %rs5;""",
        np.full(32, value, np.float32),
        np.uint16,
    )
    assert out[0] >> 8 == 0x38
    return int(out[0]) & 0xFF


# --- Predicates ----------------------------------------------------------------------------


def test_float_comparisons():
    values = np.array([(1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (np.nan, 1.0)] * 8, np.float32)
    names = ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num",
             "nan"]  # fmt: skip
    lines = ["mov.u32 %r9, 0; ld.global.v2.f32 {%f0, %f1}, [%rd0];"]
    lines.append("cvt.rn.bf16.f32 %rs0, %f0; cvt.rn.bf16.f32 %rs1, %f1;")
    for i, name in enumerate(names):
        for k, form in enumerate(("f32 %p0, %f0, %f1", "bf16 %p0, %rs0, %rs1")):
            lines.append(f"setp.{name}.{form}; selp.b32 %r5, {1 << (2 * i + k)}, 0, %p0;")
            lines.append("or.b32 %r9, %r9, %r5;")
    lines.append("st.global.u32 [%rd1], %r9;")
    out = run("\n".join(lines), values, np.uint32)
    truth = {  # for less, greater, equal, unordered
        "eq": "0010", "ne": "1100", "lt": "1000", "le": "1010", "gt": "0100", "ge": "0110",
        "equ": "0011", "neu": "1101", "ltu": "1001", "leu": "1011", "gtu": "0101", "geu": "0111",
        "num": "1110", "nan": "0001",
    }  # fmt: skip
    for case in range(4):
        want = sum(3 << (2 * i) for i, n in enumerate(names) if truth[n][case] == "1")
        assert out[case] == want


def test_setp_with_boolean_and_two_destinations():
    out = run(
        """
    setp.gt.u32 %p0, %r0, 3;
    setp.lt.and.s32 %p1|%p2, %r0, 10, %p0;          // p1: 4..9, p2: 10..
    setp.eq.or.b32 %p3, %r0, 0, !%p0;               // p3: 0..3
    xor.pred %p4, %p1, %p3; not.pred %p5, %p4; mov.pred %p6, %p5; mov.pred %p7, 1;
    and.pred %p7, %p7, %p1;
    selp.b32 %r5, 1, 0, %p1; selp.b32 %r6, 2, 0, %p2; selp.b32 %r7, 4, 0, %p3;
    selp.b32 %r8, 8, 0, %p6; selp.b32 %r9, 16, 0, %p7;
    add.u32 %r5, %r5, %r6; add.u32 %r5, %r5, %r7; add.u32 %r5, %r5, %r8; add.u32 %r5, %r5, %r9;
    set.eq.u32.s32 %r10, %r0, 5; slct.u32.s32 %r11, 32, 64, %r10; add.u32 %r5, %r5, %r11;
    @%p1 add.u32 %r5, %r5, 1000; @!%p1 add.u32 %r5, %r5, 2000;
    st.global.u32 [%rd1], %r5;""",
        np.zeros(32, np.uint32),
        np.uint32,
    )
    for t in range(32):
        p1, p2, p3 = 4 <= t < 10, t >= 10, t <= 3
        want = p1 + 2 * p2 + 4 * p3 + 8 * (not (p1 ^ p3)) + 16 * p1
        want += (64 if t == 5 else 32) + (1000 if p1 else 2000)
        assert out[t] == want


def test_packed_comparison_and_moves():
    out = run(
        """
    mov.b32 %r5, 0x3F803F80; mov.b32 %r6, 0x40003F80;          // (1, 1) and (1, 2), low first
    setp.lt.bf16x2 %p0|%p1, %r5, %r6;
    selp.b32 %r7, 1, 0, %p0; selp.b32 %r8, 2, 0, %p1; or.b32 %r7, %r7, %r8;
    mov.b64 %rd5, 0x1122334455667788; mov.b64 {_, %r9}, %rd5; mov.b64 {%rs0, _, %rs2, _}, %rd5;
    mov.b32 %r10, {%rs0, %rs2};
    st.global.v2.u32 [%rd1], {%r7, %r9}; st.global.u32 [%rd1+8], %r10;""",
        np.zeros(32, np.uint32),
        np.uint32,
        per_thread=4,
    )
    assert out[0, :3].tolist() == [2, 0x11223344, 0x33447788]


# --- Control flow --------------------------------------------------------------------------


def test_nested_divergence_and_trip_counts():
    trips = np.random.default_rng(6).integers(0, 40, 512).astype(np.uint32)
    out = run(
        """
    ld.global.u32 %r5, [%rd0];
    mov.u32 %r6, 0; mov.u32 %r7, 0;
LOOP:
    setp.ge.u32 %p0, %r6, %r5;
    @%p0 bra DONE;
    and.b32 %r8, %r6, 1; setp.eq.u32 %p1, %r8, 0;
    @%p1 bra EVEN;
    and.b32 %r8, %r6, 2; setp.eq.u32 %p2, %r8, 0;
    @!%p2 bra ODD3;
    add.u32 %r7, %r7, 100;
    bra.uni NEXT;
ODD3:
    add.u32 %r7, %r7, 10000;
    bra NEXT;
EVEN:
    add.u32 %r7, %r7, 1;
    setp.gt.u32 %p3, %r6, 30;
    @%p3 bra EARLY;
NEXT:
    add.u32 %r6, %r6, 1;
    bra LOOP;
EARLY:
    st.global.u32 [%rd1], 77;
    exit;
DONE:
    st.global.u32 [%rd1], %r7;""",
        trips,
        np.uint32,
        block=128,
        grid=4,
    )
    for trip, got in zip(trips.tolist(), out.tolist()):
        total = sum(1 if i % 2 == 0 else 100 if i % 4 == 1 else 10000 for i in range(trip))
        assert got == (77 if trip > 32 else total)


def test_branch_table():
    out = run(
        """
    rem.u32 %r5, %r0, 3;
TABLE: .branchtargets A, B, C;
    brx.idx %r5, TABLE;
A:  mov.u32 %r6, 10; bra END;
B:  mov.u32 %r6, 20; bra END;
C:  mov.u32 %r6, 30;
END: st.global.u32 [%rd1], %r6;""",
        np.zeros(32, np.uint32),
        np.uint32,
    )
    assert (out == 10 + 10 * (np.arange(32) % 3)).all()


def test_trap_and_runaway():
    with pytest.raises(ptx.TrapError) as e:
        run(
            "setp.eq.u32 %p0, %r0, 37; @%p0 trap;",
            np.zeros(64, np.uint32),
            np.uint32,
            block=32,
            grid=2,
        )
    assert e.value.ctaid == (1, 0, 0) and e.value.tid == (5, 0, 0)
    with pytest.raises(ptx.RunawayError):
        run("L: bra L;", np.zeros(32, np.uint32), np.uint32, max_warp_instructions=1000)


# --- Warps and barriers --------------------------------------------------------------------


def shuffle(mode: str, b: int, c: int, mask: int = M32) -> tuple[list[int], list[int]]:
    out = run(
        f"""
    add.u32 %r5, %r0, 100;
    shfl.sync.{mode}.b32 %r6|%p0, %r5, {b}, {c}, {mask};
    selp.u32 %r7, 1, 0, %p0; st.global.v2.u32 [%rd1], {{%r6, %r7}};""",
        np.zeros(64, np.uint32),
        np.uint32,
        per_thread=2,
    )
    assert (out[32:, 0] == out[:32, 0] + 32).all() and (out[32:, 1] == out[:32, 1]).all()
    return (out[:32, 0].astype(int) - 100).tolist(), out[:32, 1].tolist()


def test_shuffles():
    lanes = range(32)
    value, valid = shuffle("bfly", 5, 31)
    assert value == [i ^ 5 for i in lanes] and valid == [1] * 32
    value, valid = shuffle("down", 4, 31)
    assert value == [i + 4 if i < 28 else i for i in lanes]
    assert valid == [int(i < 28) for i in lanes]
    value, valid = shuffle("up", 3, 0)
    assert value == [i - 3 if i >= 3 else i for i in lanes]
    assert valid == [int(i >= 3) for i in lanes]
    value, valid = shuffle("idx", 9, 31)
    assert value == [9] * 32 and valid == [1] * 32
    # Segments of 8 lanes: the mask 0b11000 is in bits 8 to 12 of c.
    segments = 0b11000 << 8
    value, valid = shuffle("down", 3, segments | 31)
    assert value == [i + 3 if i % 8 < 5 else i for i in lanes]
    value, valid = shuffle("up", 3, segments)
    assert value == [i - 3 if i % 8 >= 3 else i for i in lanes]
    value, valid = shuffle("idx", 10, segments | 31)
    assert value == [i // 8 * 8 + 2 for i in lanes] and valid == [1] * 32
    value, valid = shuffle("bfly", 8, segments | 31)
    # Lane i ^ 8 lies in the next segment: beyond the limit for the lower one of each pair.
    assert value == [i if i & 8 == 0 else i ^ 8 for i in lanes]
    assert valid == [int(i & 8 != 0) for i in lanes]


def test_partial_masks_and_divergent_shuffle():
    out = run(
        """
    and.b32 %r5, %r0, 1; setp.eq.u32 %p0, %r5, 1; mov.u32 %r6, 0;
    @%p0 bra ODD;
    shfl.sync.bfly.b32 %r6, %r0, 2, 31, 0x55555555;
    bra JOIN;
ODD: shfl.sync.bfly.b32 %r6, %r0, 4, 31, 0xAAAAAAAA;
JOIN: bar.warp.sync -1;
    st.global.u32 [%rd1], %r6;""",
        np.zeros(32, np.uint32),
        np.uint32,
    )
    assert out.tolist() == [i ^ 4 if i & 1 else i ^ 2 for i in range(32)]


def test_votes_wait_for_late_lanes():
    # Odd lanes come to the vote through a detour at higher addresses; half masks vote apart.
    out = run(
        """
    and.b32 %r5, %r0, 1; setp.eq.u32 %p0, %r5, 1; setp.lt.u32 %p1, %r0, 20;
    @%p0 bra DETOUR;
VOTE:
    vote.sync.ballot.b32 %r6, %p1, 0xFFFFFFFF;
    setp.lt.u32 %p5, %r0, 16; selp.b32 %r9, 0xFFFF, 0xFFFF0000, %p5;
    vote.sync.all.pred %p2, %p1, %r9; vote.sync.any.pred %p3, %p1, -1;
    vote.sync.uni.pred %p4, %p1, %r9;
    selp.u32 %r7, 1, 0, %p2; selp.u32 %r8, 2, 0, %p3; or.b32 %r7, %r7, %r8;
    selp.u32 %r8, 4, 0, %p4; or.b32 %r7, %r7, %r8;
    st.global.v2.u32 [%rd1], {%r6, %r7};
    ret;
DETOUR:
    add.u32 %r10, %r0, 1;
    bra VOTE;""",
        np.zeros(32, np.uint32),
        np.uint32,
        per_thread=2,
    )
    assert (out[:, 0] == (1 << 20) - 1).all()
    assert out[:, 1].tolist() == [7] * 16 + [2] * 16


def test_redux_match_elect_activemask():
    out = run(
        """
    redux.sync.add.u32 %r5, %r0, -1; redux.sync.max.s32 %r6, %r0, -1;
    redux.sync.xor.b32 %r7, %r0, -1;
    shr.u32 %r8, %r0, 3; match.any.sync.b32 %r9, %r8, -1;
    elect.sync %r10|%p0, 0xFFFFFFFF; selp.u32 %r11, 1, 0, %p0;
    setp.lt.u32 %p1, %r3, 5; mov.u32 %r12, 0;
    @%p1 activemask.b32 %r12;
    mov.u32 %r13, %lanemask_lt;
    add.u32 %r10, %r10, %r11;
    st.global.v4.u32 [%rd1], {%r5, %r6, %r7, %r9};
    st.global.v4.u32 [%rd1+16], {%r10, %r12, %r13, %r13};""",
        np.zeros(32, np.uint32),
        np.uint32,
        per_thread=8,
    )
    for t, row in enumerate(out.tolist()):
        assert row[:4] == [496, 31, 0, 0xFF << (t // 8 * 8)]
        assert row[4:7] == [int(t == 0), 0x1F if t < 5 else 0, (1 << t) - 1]


def test_mask_that_names_an_exited_lane():
    with pytest.raises(ptx.ConvergenceError, match="exited"):
        run(
            "setp.eq.u32 %p0, %r0, 3; @%p0 exit; vote.sync.ballot.b32 %r5, %p0, -1;",
            np.zeros(32, np.uint32),
            np.uint32,
        )
    with pytest.raises(ptx.ConvergenceError, match="does not name it"):
        run("vote.sync.ballot.b32 %r5, %p0, 0xFF;", np.zeros(32, np.uint32), np.uint32)


def test_deadlock_is_reported():
    with pytest.raises(ptx.ConvergenceError, match="deadlock"):
        run(
            """setp.lt.u32 %p0, %r0, 3; @%p0 bra LOW;
    bar.warp.sync -1; bra END;
LOW: shfl.sync.idx.b32 %r5, %r0, 0, 31, -1;
END:""",
            np.zeros(32, np.uint32),
            np.uint32,
        )


SHARED_REVERSE = """
    .shared .align 16 .b8 tile[1024];
    mov.u32 %r5, tile; shl.b32 %r6, %r3, 2; add.u32 %r7, %r5, %r6;
    ld.global.u32 %r8, [%rd0]; st.shared.u32 [%r7], %r8;
    {sync}
    sub.u32 %r9, 255, %r3; shl.b32 %r9, %r9, 2; add.u32 %r9, %r5, %r9;
    ld.shared.u32 %r10, [%r9]; st.global.u32 [%rd1], %r10;"""


def test_barrier_and_shared_memory():
    data = np.arange(1024, dtype=np.uint32) * 3
    expected = data.reshape(4, 256)[:, ::-1].reshape(-1)
    for sync in ("bar.sync 0;", "barrier.sync 1;", "bar.sync 0, 256;"):
        out = run(SHARED_REVERSE.replace("{sync}", sync), data, np.uint32, block=256, grid=4)
        assert (out == expected).all()


def test_barrier_between_diverged_warps():
    # Warp 0 is late (it loops); the other warps must wait for what it stores.
    out = run(
        """
    .shared .align 4 .u32 box;
    setp.ge.u32 %p0, %r3, 32; mov.u32 %r5, 0;
    @%p0 bra WAIT;
LOOP: add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, 50; @%p1 bra LOOP;
    setp.ne.u32 %p2, %r3, 0; @!%p2 st.shared.u32 [box], %r5;
WAIT: bar.sync 0;
    ld.shared.u32 %r6, [box]; st.global.u32 [%rd1], %r6;""",
        np.zeros(128, np.uint32),
        np.uint32,
        block=64,
        grid=2,
    )
    assert (out == 50).all()


def test_barrier_does_not_wait_for_exited_threads_but_for_all_others():
    out = run(
        "setp.ge.u32 %p0, %r3, 32; @%p0 exit; bar.sync 0; st.global.u32 [%rd1], 1;",
        np.zeros(64, np.uint32),
        np.uint32,
    )
    assert out.tolist() == [1] * 32 + [0] * 32
    with pytest.raises(ptx.ConvergenceError, match="deadlock"):
        run(
            "setp.ge.u32 %p0, %r3, 32; @%p0 bra B; bar.sync 0; ret; B: bar.sync 1;",
            np.zeros(64, np.uint32),
            np.uint32,
        )
    with pytest.raises(ptx.ConvergenceError, match="different barrier"):
        run(
            "setp.ge.u32 %p0, %r3, 16; @%p0 bra B; bar.sync 0; ret; B: bar.sync 0;",
            np.zeros(32, np.uint32),
            np.uint32,
        )


def test_barrier_reduction():
    out = run(
        """
    setp.lt.u32 %p0, %r0, 37;
    barrier.cta.red.popc.aligned.u32 %r5, 0, %p0;
    barrier.cta.red.or.aligned.pred %p1, 0, %p0; barrier.cta.red.and.aligned.pred %p2, 0, %p0;
    selp.u32 %r6, 1000, 0, %p1; selp.u32 %r7, 2000, 0, %p2; add.u32 %r5, %r5, %r6;
    add.u32 %r5, %r5, %r7; st.global.u32 [%rd1], %r5;""",
        np.zeros(96, np.uint32),
        np.uint32,
        block=32,
        grid=3,
    )
    assert out.tolist() == [3032] * 32 + [1005] * 32 + [0] * 32


def test_generic_addresses_local_and_dynamic_shared():
    text = kernel(
        """
    .local .align 8 .b8 depot[16];
    mov.u64 %rd5, depot; cvta.local.u64 %rd6, %rd5;
    st.local.u32 [%rd5+4], %r0; ld.u32 %r5, [%rd6+4];
    mov.u64 %rd7, dyn; cvta.shared.u64 %rd8, %rd7; mul.wide.u32 %rd9, %r3, 4;
    add.u64 %rd8, %rd8, %rd9; st.u32 [%rd8], %r5;
    bar.sync 0;
    xor.b32 %r6, %r3, 1; shl.b32 %r6, %r6, 2; mov.u32 %r7, dyn; add.u32 %r7, %r7, %r6;
    ld.shared.u32 %r8, [%r7];
    bar.sync 0;
    setp.lt.u32 %p0, %r0, 7; selp.b64 %rd10, %rd8, %rd1, %p0;   // half shared, half global
    st.u32 [%rd10], %r8; ld.u32 %r9, [%rd10];
    st.global.u32 [%rd1], %r9;""",
        before=".extern .shared .align 16 .b8 dyn[];",
    )
    memory = Memory()
    source, result = memory.allocate(256), memory.allocate(256)
    Module(text).launch("k", 1, 64, [source, result], memory, dynamic_shared=256)
    assert (result.array(np.uint32) == (np.arange(64) ^ 1)).all()
    with pytest.raises(ptx.OutOfBoundsError, match="shared"):
        Module(text).launch("k", 1, 64, [source, result], memory, dynamic_shared=128)


SHARED = ".shared .align 4 .b8 box[1024]; mov.u32 %r5, box; shl.b32 %r6, %r3, 2;" \
    " add.u32 %r6, %r5, %r6; xor.b32 %r7, %r3, 1; shl.b32 %r7, %r7, 2; add.u32 %r7, %r5, %r7;" \
    " xor.b32 %r8, %r3, 32; shl.b32 %r8, %r8, 2; add.u32 %r8, %r5, %r8;"
STORE, NEIGHBOUR = "st.shared.u32 [%r6], %r0;", "ld.shared.u32 %r9, [%r7];"
OTHER_WARP = "ld.shared.u32 %r9, [%r8];"
ADD, ADD_ALL = "red.shared.add.u32 [%r7], 1;", "red.shared.add.u32 [box], 1;"
READ_ALL, STORE_ALL = "ld.shared.u32 %r9, [box];", "st.shared.u32 [box], %r0;"


@pytest.mark.parametrize(("body", "is_race"), [
    (STORE + NEIGHBOUR, True),
    (STORE + "bar.sync 0;" + NEIGHBOUR, False),
    (STORE + "bar.warp.sync -1;" + NEIGHBOUR, False),
    (STORE + "bar.warp.sync -1;" + OTHER_WARP, True),
    (STORE + "bar.sync 0;" + OTHER_WARP, False),
    # A shuffle orders no memory.
    (STORE + "shfl.sync.idx.b32 %r10, %r0, 0, 31, -1;" + NEIGHBOUR, True),
    ("bar.sync 0;" + STORE + NEIGHBOUR, True),
    (STORE + "ld.shared.u32 %r9, [%r6];" + STORE, False),
    # What was read must not be overwritten either.
    (STORE + "bar.sync 0;" + NEIGHBOUR + STORE, True),
    (STORE + "bar.sync 0;" + NEIGHBOUR + "bar.sync 0;" + STORE, False),
    (STORE + "bar.sync 0;" + NEIGHBOUR + "bar.warp.sync -1;" + STORE, False),
    (STORE + "bar.sync 0;" + OTHER_WARP + "bar.warp.sync -1;" + STORE, True),
    (READ_ALL + READ_ALL, False),
    (READ_ALL + "bar.warp.sync -1; setp.eq.u32 %p0, %r3, 0; @%p0 " + STORE_ALL, True),
    (READ_ALL + "bar.sync 0; setp.eq.u32 %p0, %r3, 0; @%p0 " + STORE_ALL, False),
    (STORE_ALL, True),
    ("setp.eq.u32 %p0, %r3, 9; @%p0 " + STORE_ALL, False),
    # Atomics are no race among each other, but with all else.
    (ADD_ALL + ADD_ALL, False),
    (STORE + ADD, True),
    (STORE + "bar.sync 0;" + ADD + "bar.sync 0;" + NEIGHBOUR, False),
    (STORE + "bar.sync 0;" + ADD + NEIGHBOUR, False),
    (ADD_ALL + READ_ALL, True),
    (READ_ALL + ADD_ALL, True),
    (ADD_ALL + "bar.sync 0;" + READ_ALL, False),
])
def test_races_in_shared_memory(body: str, is_race: bool) -> None:
    def launch(**options: Any) -> None:
        run(SHARED + body, np.zeros(128, np.uint32), np.uint32, block=64, grid=2, **options)

    if not is_race:
        launch()
        return
    with pytest.raises(ptx.RaceError, match="data race in shared memory"):
        launch()
    launch(detect_races=False)


def test_who_met_at_a_barrier_is_known_for_each_cta() -> None:
    """CTA 1 has met once more than CTA 0."""
    run(SHARED + "mov.u32 %r9, %ctaid.x; setp.eq.u32 %p0, %r9, 1;" + STORE
        + "@!%p0 bra NEXT; bar.sync 0;" + NEIGHBOUR + "NEXT: bar.sync 0;" + NEIGHBOUR,
        np.zeros(128, np.uint32), np.uint32, block=64, grid=2)
    with pytest.raises(ptx.RaceError, match=r"ctaid=\(0, 0, 0\)"):
        run(SHARED + "mov.u32 %r9, %ctaid.x; setp.eq.u32 %p0, %r9, 1;" + STORE
            + "@!%p0 bra NEXT; bar.sync 0; NEXT: " + NEIGHBOUR,
            np.zeros(128, np.uint32), np.uint32, block=64, grid=2)


def test_atomics():
    text = kernel(
        """
    .shared .align 8 .u64 sum;
    setp.eq.u32 %p0, %r3, 0; @%p0 st.shared.u64 [sum], 0;
    bar.sync 0;
    ld.param.u64 %rd5, [in];
    atom.global.add.u32 %r5, [%rd5], 2;
    red.global.max.u32 [%rd5+4], %r0; red.global.or.b32 [%rd5+8], %r0;
    red.global.min.s32 [%rd5+12], %r0;
    atom.global.exch.b32 %r6, [%rd5+16], %r0;
    atom.global.cas.b32 %r7, [%rd5+20], %r0, 5;
    atom.global.inc.u32 %r8, [%rd5+24], 9;
    red.global.add.f32 [%rd5+28], 0f3F000000;
    cvt.u64.u32 %rd6, %r0; red.shared.add.u64 [sum], %rd6;
    bar.sync 0;
    ld.shared.u64 %rd7, [sum]; cvt.u32.u64 %r9, %rd7;
    st.global.v4.u32 [%rd1], {%r5, %r6, %r8, %r9};""",
        out_bytes=16,
    )
    memory = Memory()
    state = memory.allocate(np.array([10, 0, 0, 5, 0, 0, 0, 0], np.uint32))
    out = memory.allocate(16 * 128)
    Module(text).launch("k", 2, 64, [state, out], memory)
    rows = out.array(np.uint32, (128, 4))
    assert (rows[:, 0] == 10 + 2 * np.arange(128)).all()  # in thread order
    assert rows[:, 1].tolist() == [0, *range(127)]
    assert rows[:, 2].tolist() == [i % 10 for i in range(128)]
    assert (rows[:, 3] == np.repeat([2016, 2016 + 64 * 64], 64)).all()
    final = state.array(np.uint32)
    assert final[:7].tolist() == [266, 127, 127, 0, 127, 5, 8]
    assert final[7:].view(np.float32)[0] == 64.0


# --- Memory checks -------------------------------------------------------------------------


def test_vector_and_128_bit_accesses_and_hints():
    data = np.arange(32 * 8, dtype=np.uint32).reshape(32, 8)
    out = run(
        """
    .reg .b128 %rq<2>;
    ld.global.nc.L1::no_allocate.v4.u32 {%r5, %r6, %r7, %r8}, [%rd0];
    ld.global.L1::evict_last.L2::128B.v2.b64 {%rd5, %rd6}, [%rd0+16];
    mov.b128 %rq0, {%rd6, %rd5}; mov.b128 {%rd7, %rd8}, %rq0;
    st.global.cs.v4.u32 [%rd1], {%r8, %r7, %r6, %r5};
    st.global.v2.u64 [%rd1+16], {%rd7, %rd8};""",
        data,
        np.uint32,
        per_thread=8,
    )
    assert (out == data[:, [3, 2, 1, 0, 6, 7, 4, 5]]).all()


def test_relaxed_and_volatile_accesses():
    out = run(
        """
    ld.relaxed.sys.global.u32 %r5, [%rd0]; ld.volatile.global.u32 %r6, [%rd0];
    fence.acq_rel.sys; membar.gl; add.u32 %r5, %r5, %r6;
    st.relaxed.sys.global.u32 [%rd1], %r5; st.volatile.global.u32 [%rd1], %r5;
    griddepcontrol.wait; griddepcontrol.launch_dependents; prefetch.global.L2 [%rd0];""",
        np.arange(32, dtype=np.uint32),
        np.uint32,
    )
    assert (out == 2 * np.arange(32)).all()


def launch_store(body: str, memory: Memory, source, result, **options) -> dict:
    return Module(kernel(body)).launch("k", 1, 64, [source, result], memory, **options)


def test_out_of_bounds():
    memory = Memory()
    source, result = memory.allocate(256, name="src"), memory.allocate(252, name="dst")
    with pytest.raises(ptx.OutOfBoundsError) as e:
        launch_store("st.global.u32 [%rd1], %r0;", memory, source, result)
    error = e.value
    assert error.kernel == "k" and error.tid == (63, 0, 0) and error.ctaid == (0, 0, 0)
    assert error.instruction == "st.global.u32 [%rd1], %r0" and error.line > 0
    assert error.address == result.address + 252 and "dst +252" in str(error)
    with pytest.raises(ptx.OutOfBoundsError, match="src -4"):
        launch_store("ld.global.u32 %r5, [%rd0+-4];", memory, source, result)
    with pytest.raises(ptx.OutOfBoundsError):
        launch_store("mov.u64 %rd5, 0; ld.global.u32 %r5, [%rd5];", memory, source, result)
    with pytest.raises(ptx.OutOfBoundsError):  # a truncated pointer
        launch_store("and.b64 %rd5, %rd0, 0xFFFFFFFF; ld.u32 %r5, [%rd5];", memory, source, result)
    source.free()
    with pytest.raises(ptx.OutOfBoundsError):
        launch_store("ld.global.u32 %r5, [%rd0];", memory, source, result)


def test_misaligned():
    memory = Memory()
    source, result = memory.allocate(1024, offset=4), memory.allocate(1024)
    assert source.address % 256 == 4
    launch_store("ld.global.u32 %r5, [%rd0];", memory, source, result)
    with pytest.raises(ptx.MisalignedError) as e:
        launch_store("ld.global.v2.u32 {%r5, %r6}, [%rd0];", memory, source, result)
    assert e.value.tid == (0, 0, 0)
    with pytest.raises(ptx.MisalignedError) as e:
        launch_store("st.global.v4.b32 [%rd1], {%r0, %r0, %r0, %r0};", memory, source, result)
    assert e.value.tid == (1, 0, 0)


def test_readonly_and_uninitialized():
    memory = Memory()
    source = memory.allocate(np.arange(64, dtype=np.uint32), readonly=True)
    fresh = memory.allocate(256, initialized=False)
    with pytest.raises(ptx.ReadOnlyError):
        launch_store("st.global.u32 [%rd0], %r0;", memory, source, fresh)
    with pytest.raises(ptx.ReadOnlyError):
        launch_store("red.global.add.u32 [%rd0], %r0;", memory, source, fresh)
    with pytest.raises(ptx.UninitializedError):
        launch_store("ld.global.u32 %r5, [%rd1];", memory, source, fresh)
    launch_store("st.global.u16 [%rd1], 7; ld.global.u16 %rs5, [%rd1];", memory, source, fresh)
    assert fresh.initialized_mask().reshape(-1, 4).tolist() == [[True, True, False, False]] * 64
    with pytest.raises(ptx.UninitializedError):
        launch_store("ld.global.u32 %r5, [%rd1];", memory, source, fresh)


def test_guard_zones():
    memory = Memory()
    buffer = memory.allocate(100)
    memory.check_guards()
    memory.arena[buffer.start + 100] ^= 1
    with pytest.raises(ptx.GuardError, match="byte 100 relative"):
        memory.check_guards()


RACES = {
    "two writers, one instruction": "ld.param.u64 %rd5, [out]; st.global.u32 [%rd5], %r0;",
    "two writers, two instructions": """ld.param.u64 %rd5, [out]; setp.eq.u32 %p0, %r0, 0;
        setp.eq.u32 %p1, %r0, 40; @%p0 st.global.u32 [%rd5], 1; @%p1 st.global.u8 [%rd5+3], 1;""",
    "write, then read": """st.global.u32 [%rd1], %r0; ld.param.u64 %rd5, [out];
        setp.eq.u32 %p0, %r0, 9; @%p0 ld.global.u32 %r5, [%rd5+16];""",
    "read, then write": """ld.global.u32 %r5, [%rd1]; ld.param.u64 %rd5, [out];
        setp.eq.u32 %p0, %r0, 9; @%p0 st.global.u32 [%rd5+16], %r0;""",
    "many readers, then one of them writes": """ld.param.u64 %rd5, [out];
        ld.global.u32 %r5, [%rd5]; setp.eq.u32 %p0, %r0, 0; @%p0 st.global.u32 [%rd5], %r0;""",
}


@pytest.mark.parametrize("case", RACES)
def test_races(case):
    memory = Memory()
    source, result = memory.allocate(256), memory.allocate(256)
    with pytest.raises(ptx.RaceError, match="data race"):
        launch_store(RACES[case], memory, source, result)
    launch_store(RACES[case], memory, source, result, detect_races=False)


def test_no_race():
    memory = Memory()
    source, result = memory.allocate(256), memory.allocate(256)
    body = """ld.param.u64 %rd5, [in]; ld.global.u32 %r5, [%rd5]; ld.global.u32 %r5, [%rd1];
        st.global.u32 [%rd1], %r5; st.global.u8 [%rd1], %r5; ld.global.u32 %r5, [%rd1];
        red.global.add.u32 [%rd5+8], 1;"""
    launch_store(body, memory, source, result)


def test_noncoherent_load_of_written_bytes():
    memory = Memory()
    source, result = memory.allocate(256), memory.allocate(256)
    for body in (
        "st.global.u32 [%rd1], %r0; ld.global.nc.u32 %r5, [%rd1];",
        "ld.global.nc.u32 %r5, [%rd1]; st.global.u32 [%rd1], %r0;",
    ):
        with pytest.raises(ptx.RaceError, match=r"\.nc load"):
            launch_store(body, memory, source, result, detect_races=False)


def test_races_across_waves_name_the_other_thread():
    memory = Memory()
    source, result = memory.allocate(256), memory.allocate(256)
    body = "ld.param.u64 %rd5, [out]; @%p0 ret; st.global.u32 [%rd5], %r0;"
    body = "setp.ne.u32 %p0, %r3, 7;" + body
    with pytest.raises(ptx.RaceError, match=r"ctaid=\(0, 0, 0\) tid=\(7, 0, 0\)") as e:
        Module(kernel(body)).launch("k", 4, 64, [source, result], memory, wave_threads=64)
    assert e.value.ctaid == (1, 0, 0) and e.value.tid == (7, 0, 0)


# --- Statistics ----------------------------------------------------------------------------


def test_statistics():
    memory = Memory()
    source, result = memory.allocate(64 * 64), memory.allocate(64 * 4)
    stats = launch_store(
        """
    setp.lt.u32 %p0, %r3, 8;
    ld.global.u32 %r5, [%rd0];               // 2 warps, 4 sectors each
    mul.wide.u32 %rd5, %r0, 60; add.u64 %rd5, %rd5, %rd0; ld.global.u32 %r6, [%rd5];  // stride 64
    @%p0 st.global.u32 [%rd1], %r5;          // 1 warp, 1 sector
    @!%p0 bra END;
    add.u32 %r5, %r5, 1;                     // 1 warp
END:""",
        memory,
        source,
        result,
    )
    assert stats["threads"] == 64 and stats["warps"] == 2
    assert stats["global_loads"] == {4: {"instructions": 4, "bytes": 512, "sectors": 8 + 64}}
    assert stats["global_stores"] == {4: {"instructions": 1, "bytes": 32, "sectors": 1}}
    assert stats["by_opcode"]["add.u32"] == 1
    assert stats["by_opcode"]["st.global.u32"] == 2
    assert stats["by_opcode"]["ret"] == 2
    # Prologue 10, then setp, ld, mul, add, ld, st, bra, ret in both warps, and one add.
    assert stats["warp_instructions"] == 2 * (10 + 8) + 1


def test_waves_do_not_change_results():
    data = np.random.default_rng(7).integers(0, 2**32, 2048, dtype=np.uint32)
    body = SHARED_REVERSE.replace("{sync}", "bar.sync 0;")
    results = [
        run(body, data, np.uint32, block=256, grid=8, wave_threads=w) for w in (1, 512, 1 << 20)
    ]
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


def test_f32x2_arithmetic_is_that_of_the_halves() -> None:
    ptx = """
.version 8.8
.target sm_100
.address_size 64
.visible .entry k(.param .u64 p)
{
    .reg .b64 %rd<8>;
    ld.param.b64 %rd1, [p];
    ld.global.b64 %rd2, [%rd1];
    ld.global.b64 %rd3, [%rd1+8];
    mul.rn.f32x2 %rd4, %rd2, %rd3;
    add.rn.f32x2 %rd5, %rd2, %rd3;
    fma.rn.f32x2 %rd6, %rd2, %rd3, %rd2;
    st.global.b64 [%rd1+16], %rd4;
    st.global.b64 [%rd1+24], %rd5;
    st.global.b64 [%rd1+32], %rd6;
    ret;
}
"""
    memory = Memory()
    values = np.array([3.0, -0.5, 7.0, 4.0] + [0.0] * 6, np.float32)
    buffer = memory.allocate(values)
    Module(ptx).launch("k", grid=(1, 1, 1), block=(1, 1, 1), args=[buffer], memory=memory)
    expected = [21.0, -2.0, 10.0, 3.5, 24.0, -2.5]
    assert buffer.array(np.float32, (10,))[4:].tolist() == expected


def test_mixed_arithmetic_widens_the_narrow_operands() -> None:
    ptx = """
.version 8.8
.target sm_100
.address_size 64
.visible .entry k(.param .u64 p)
{
    .reg .b64 %rd<2>;
    .reg .b32 %r<6>;
    .reg .b16 %rs<3>;
    ld.param.b64 %rd1, [p];
    ld.global.b16 %rs1, [%rd1];
    ld.global.b16 %rs2, [%rd1+2];
    ld.global.b32 %r1, [%rd1+4];
    add.rn.f32.bf16 %r2, %rs1, %r1;
    sub.rn.f32.bf16 %r3, %rs1, %r1;
    fma.rn.f32.bf16 %r4, %rs1, %rs2, %r1;
    st.global.b32 [%rd1+8], %r2;
    st.global.b32 [%rd1+12], %r3;
    st.global.b32 [%rd1+16], %r4;
    ret;
}
"""
    memory = Memory()
    # 2.5 and -3 as bf16, then an f32 that bf16 does not hold.
    words = np.array([0xC0404020, 0, 0, 0, 0], np.uint32)
    words[1] = np.float32(1 + 2.0**-20).view(np.uint32)
    buffer = memory.allocate(words)
    Module(ptx).launch("k", grid=(1, 1, 1), block=(1, 1, 1), args=[buffer], memory=memory)
    expected = [3.5 + 2.0**-20, 1.5 - 2.0**-20, -6.5 + 2.0**-20]
    assert buffer.array(np.float32, (5,))[2:].tolist() == expected
