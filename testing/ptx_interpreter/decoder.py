# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoding: turns instructions into closures over the machine state.

A closure takes the machine, whose `sel` names the threads that execute (a slice or an index array
into the register arrays, `n` of them), and does the work of one instruction for all of them.
Nothing here looks at strings after decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import numerics as nx
from .errors import ParseError, UnsupportedInstruction
from .parser import TYPE_BITS, Addr, Imm, Instruction, Kernel, Operand, Reg, Sink, Sym

if TYPE_CHECKING:
    from .machine import Machine

Action = Callable[["Machine"], None]
# An array over the active threads, or a numpy scalar that they share.
Value = Any
Reader = Callable[["Machine"], Value]
Writer = Callable[["Machine", Value], None]
# Of values.
Function = Callable[..., Any]

STORAGE: dict[int, np.dtype] = {
    1: np.dtype(bool),
    8: np.dtype(np.uint8),
    16: np.dtype(np.uint16),
    32: np.dtype(np.uint32),
    64: np.dtype(np.uint64),
}

# The numpy type in which a PTX type is computed with.  Narrow and packed floats stay raw bits.
COMPUTE: dict[str, np.dtype] = {
    name: np.dtype(
        {"s": f"i{bits // 8}", "f": f"f{bits // 8}"}.get(name[0], f"u{bits // 8}")
        if name in ("s8", "s16", "s32", "s64", "f32", "f64")
        else f"u{bits // 8}"
    )
    for name, bits in TYPE_BITS.items()
    if 8 <= bits <= 64
}

SPECIAL_VECTORS = ("%tid", "%ntid", "%ctaid", "%nctaid", "%clusterid", "%nclusterid",
                   "%cluster_ctaid", "%cluster_nctaid")
SPECIALS = (
    "%laneid",
    "%warpid",
    "%nwarpid",
    "%lanemask_eq",
    "%lanemask_lt",
    "%lanemask_le",
    "%lanemask_gt",
    "%lanemask_ge",
    "%cluster_ctarank",
    "%cluster_nctarank",
    "%dynamic_smem_size",
    "%total_smem_size",
)

BOOLEAN: dict[str, Function] = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}


class Decoder:
    """Decodes the instructions of one kernel."""

    def __init__(self, kernel: Kernel, symbols: dict[str, tuple[str, int]]):
        self.kernel = kernel
        # Name to (space, offset).  Global and const variables get their address at launch.
        self.symbols = symbols

    # --- Operands --------------------------------------------------------------------------

    def fail(self, inst: Instruction, why: str = "unsupported instruction") -> Exception:
        return UnsupportedInstruction(why, inst.line, inst.text)

    def read(self, inst: Instruction, op: Operand, type_name: str, relaxed: bool = False) -> Reader:
        """A function that gives an operand's value for the active threads, as `type_name`.

        `relaxed` permits a register wider than the type (loads, stores and conversions do).
        """
        bits = TYPE_BITS[type_name]
        if isinstance(op, Reg):
            slot = op.slot
            if bits == 1:
                if op.bits != 1:
                    raise ParseError(f"{op.name} is no predicate", inst.line, inst.text)
                if op.negated:
                    return lambda m: ~m.regs[slot][m.sel]
                return lambda m: m.regs[slot][m.sel]
            if op.negated or op.bits == 1:
                raise ParseError(f"{op.name} cannot be used as .{type_name}", inst.line, inst.text)
            if op.bits == bits:
                if bits == 128 or COMPUTE[type_name].kind == "u":
                    return lambda m: m.regs[slot][m.sel]
                dtype = COMPUTE[type_name]
                return lambda m: m.regs[slot][m.sel].view(dtype)
            if relaxed and op.bits > bits and op.bits <= 64:
                raw, dtype = STORAGE[bits], COMPUTE[type_name]
                return lambda m: m.regs[slot][m.sel].astype(raw).view(dtype)
            raise ParseError(
                f"{op.name} has {op.bits} bits, .{type_name} has {bits}", inst.line, inst.text
            )
        if isinstance(op, Imm):
            value = self.constant(inst, op, type_name)
            return lambda m: value
        if isinstance(op, Sym):
            return self.read_symbol(inst, op, type_name)
        raise ParseError("unexpected kind of operand", inst.line, inst.text)

    def constant(self, inst: Instruction, op: Imm, type_name: str) -> np.generic:
        bits = TYPE_BITS[type_name]
        if bits == 1:
            return np.bool_(op.value != 0)
        if bits == 128:
            raise ParseError("immediate of 128 bits", inst.line, inst.text)
        dtype, raw = COMPUTE[type_name], STORAGE[bits]
        if op.fbits is not None:
            if op.fwidth != bits:
                raise ParseError("float literal of another width", inst.line, inst.text)
            return raw.type(op.fbits).view(dtype)
        if isinstance(op.value, float):
            if dtype.kind != "f":
                raise ParseError("float literal for an integer", inst.line, inst.text)
            return dtype.type(op.value)
        if not -(1 << 63) <= op.value < 1 << 64:
            raise ParseError("integer literal out of range", inst.line, inst.text)
        if dtype.kind == "f" and bits == 32 and type_name == "f32":
            raise ParseError("integer literal for a float", inst.line, inst.text)
        return raw.type(op.value & ((1 << bits) - 1)).view(dtype)

    def read_symbol(self, inst: Instruction, op: Sym, type_name: str) -> Reader:
        name = op.name
        dtype = COMPUTE[type_name]
        if name == "WARP_SZ":
            warp = dtype.type(32)
            return lambda m: warp
        base, _, component = name.partition(".")
        if name in SPECIALS or (base in SPECIAL_VECTORS and component in ("x", "y", "z")):
            if TYPE_BITS[type_name] == 32:
                return lambda m: m.special(name).view(dtype)
            return lambda m: m.special(name).astype(dtype)
        if name in self.symbols:
            space, offset = self.symbols[name]
            total = offset + op.offset
            if space in ("global", "const"):
                extra = op.offset
                return lambda m: dtype.type(m.variable_address(name) + extra)
            value = dtype.type(total)
            return lambda m: value
        raise self.fail(inst, f"unknown symbol {name}")

    def write(
        self, inst: Instruction, op: Operand, type_name: str, relaxed: bool = False
    ) -> Writer:
        """A function that stores a value, computed as `type_name`, in a register."""
        if isinstance(op, Sink):
            return lambda m, value: None
        if not isinstance(op, Reg) or op.negated:
            raise ParseError("destination is no register", inst.line, inst.text)
        slot, bits = op.slot, TYPE_BITS[type_name]
        if bits == 1 or op.bits == 1:
            if bits != op.bits:
                raise ParseError(f"{op.name} cannot hold .{type_name}", inst.line, inst.text)

            def write_predicate(m: Machine, value: np.ndarray) -> None:
                m.regs[slot][m.sel] = value

            return write_predicate
        if op.bits == bits == 128:

            def write_128(m: Machine, value: np.ndarray) -> None:
                m.regs[slot][m.sel] = value

            return write_128
        if op.bits == bits:
            raw = STORAGE[bits]

            def write_same(m: Machine, value: np.ndarray) -> None:
                m.regs[slot][m.sel] = value.view(raw)

            return write_same
        if relaxed and op.bits > bits:
            raw = STORAGE[op.bits]
            if COMPUTE[type_name].kind == "i":
                wide = np.dtype(f"i{op.bits // 8}")

                def write_signed(m: Machine, value: np.ndarray) -> None:
                    m.regs[slot][m.sel] = value.astype(wide).view(raw)

                return write_signed
            own = STORAGE[bits]

            def write_unsigned(m: Machine, value: np.ndarray) -> None:
                m.regs[slot][m.sel] = value.view(own)

            return write_unsigned
        raise ParseError(
            f"{op.name} has {op.bits} bits, .{type_name} has {bits}", inst.line, inst.text
        )

    def expect(self, inst: Instruction, count: int) -> list[Operand]:
        if len(inst.operands) != count:
            raise ParseError(
                f"expected {count} operands, found {len(inst.operands)}", inst.line, inst.text
            )
        return inst.operands

    def type_of(self, inst: Instruction, *accepted: str) -> str:
        """The last modifier, which must be one of the accepted types."""
        name = inst.mods[-1] if inst.mods else ""
        if name not in accepted:
            raise self.fail(inst, f"unsupported type .{name}")
        return name

    def only(self, inst: Instruction, *allowed: str) -> set[str]:
        """The modifiers before the type; raises at one that is not in the list."""
        for mod in inst.mods[:-1]:
            if mod not in allowed:
                raise self.fail(inst, f"unsupported modifier .{mod}")
        return set(inst.mods[:-1])

    # --- Entry point -----------------------------------------------------------------------

    def decode(self, inst: Instruction) -> Action:
        """The closure of a non-control instruction, its guard included."""
        builder = BUILDERS.get(inst.opcode)
        if inst.problem is not None:
            raise self.fail(inst, inst.problem)
        if builder is None:
            raise self.fail(inst, f"unknown instruction {inst.opcode}")
        try:
            action = builder(self, inst)
        except KeyError as e:
            raise self.fail(inst, f"unsupported form ({e.args[0]})") from None
        except (IndexError, ValueError) as e:
            raise self.fail(inst, f"unsupported form ({e})") from None
        return self.guarded(inst, action)

    def guarded(self, inst: Instruction, action: Action) -> Action:
        if inst.guard is None:
            return action
        condition = self.read(inst, inst.guard, "pred")

        def run_guarded(m: Machine) -> None:
            mask = condition(m)
            count = int(np.count_nonzero(mask))
            if count == mask.size:
                action(m)
            elif count:
                with m.narrowed(mask):
                    action(m)

        return run_guarded


Builder = Callable[[Decoder, Instruction], Action]
BUILDERS: dict[str, Builder] = {}

INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")
BITS = ("b16", "b32", "b64")
NARROW = ("bf16", "f16", "bf16x2", "f16x2")


def builder(*names: str) -> Callable[[Builder], Builder]:
    def register(function: Builder) -> Builder:
        for name in names:
            BUILDERS[name] = function
        return function

    return register


def unary(d: Decoder, inst: Instruction, type_name: str, fn: Function, result: str = "") -> Action:
    dst, a = d.expect(inst, 2)
    ra, w = d.read(inst, a, type_name), d.write(inst, dst, result or type_name)
    return lambda m: w(m, fn(ra(m)))


def binary(
    d: Decoder, inst: Instruction, type_name: str, fn: Function, result: str = "", second: str = ""
) -> Action:
    dst, a, b = d.expect(inst, 3)
    ra, rb = d.read(inst, a, type_name), d.read(inst, b, second or type_name)
    w = d.write(inst, dst, result or type_name)
    return lambda m: w(m, fn(ra(m), rb(m)))


def ternary(
    d: Decoder, inst: Instruction, types: tuple[str, str, str, str], fn: Function
) -> Action:
    """types: destination, then the three sources."""
    dst, a, b, c = d.expect(inst, 4)
    ra, rb, rc = (d.read(inst, o, t) for o, t in zip((a, b, c), types[1:]))
    w = d.write(inst, dst, types[0])
    return lambda m: w(m, fn(ra(m), rb(m), rc(m)))


def halves(x: np.ndarray) -> np.ndarray:
    """A 32-bit value as its two 16-bit halves, interleaved (low first)."""
    return np.atleast_1d(x).view(np.uint16)


def equally_long(args: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Contiguous arrays of one length, of arguments some of which are scalars."""
    size = max(a.size for a in args)
    return [
        a if a.ndim and a.size == size and a.flags.c_contiguous else np.full(size, a) for a in args
    ]


def packed(fn: Function, *args: np.ndarray) -> np.ndarray:
    """Applies a function of 16-bit arrays to packed 32-bit arguments, some of which are scalars."""
    return np.ascontiguousarray(fn(*(halves(a) for a in equally_long(args))), np.uint16).view(
        np.uint32
    )


def packed_f32(fn: Function, *args: np.ndarray) -> np.ndarray:
    """Applies a function of f32 arrays to packed 64-bit arguments, some of which are scalars."""
    wide = (np.ascontiguousarray(a, np.uint64) for a in equally_long(args))
    return np.ascontiguousarray(fn(*(a.view(np.float32) for a in wide)), np.float32).view(np.uint64)


def narrow_relu(bits: np.ndarray) -> np.ndarray:
    """Negative numbers become +0.  NaN results are canonical, that is, positive."""
    return np.where(bits & np.uint16(0x8000), np.uint16(0), bits)


def canonical_f64(r: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(r), nx.CANONICAL_F64.view(np.float64), r)


def address_reader(d: Decoder, inst: Instruction, op: Operand) -> Reader:
    """The address of a memory operand as u64, for all active threads or as a scalar."""
    if not isinstance(op, Addr):
        raise ParseError("operand is no address", inst.line, inst.text)
    base = op.base
    offset = np.int64(op.offset).view(np.uint64)
    if isinstance(base, Imm):
        value = np.uint64((int(base.value) + op.offset) & (2**64 - 1))
        return lambda m: value
    if isinstance(base, Sym):
        return d.read_symbol(inst, Sym(base.name, base.offset + op.offset), "u64")
    if base.bits == 64:
        r = d.read(inst, base, "u64")
        return r if op.offset == 0 else lambda m: r(m) + offset
    if base.bits == 32:  # Shared and local addresses may be 32 bits wide.
        r32 = d.read(inst, base, "u32")
        narrow = np.int32(op.offset).view(np.uint32)
        return lambda m: (r32(m) + narrow).astype(np.uint64)
    raise ParseError(f"{base.name} cannot hold an address", inst.line, inst.text)
