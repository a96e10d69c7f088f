# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Regions of moe.map_rows that no named op has, and what they compute."""

from __future__ import annotations

from . import activations, oracle


def _constant(name: str, pattern: int) -> str:
    return (f"%{name}_bits = arith.constant {pattern} : i32\n"
            f"%{name} = arith.bitcast %{name}_bits : i32 to f32")


def _sigmoid() -> str:
    """The region of activations.sigmoid, step by step as that function has it."""
    lines = [_constant("high", 0xBFB8AA00 - (1 << 32)), _constant("low", 0xB6ECA570 - (1 << 32))]
    patterns = (0x3F317218, 0x3E75FDEE, 0x3D6357BE, 0x3C1D96F0, 0x3AAF8417, 0x3920B5A8)
    lines += [_constant(f"c{i + 1}", pattern) for i, pattern in enumerate(patterns)]
    lines += """%magic = arith.constant 12582912.0 : f32
%one = arith.constant 1.0 : f32
%zero = arith.constant 0.0 : f32
%least = arith.constant -88.0 : f32
%most = arith.constant 64.0 : f32
%limit = arith.constant 0x7E800000 : f32
%shift = arith.constant 23 : i32
%w = arith.extf %v : bf16 to f32
%a0 = arith.maximumf %w, %least : f32
%a = arith.minimumf %a0, %most : f32
%z = math.fma %a, %high, %magic : f32
%rounded = arith.subf %z, %magic : f32
%minus_rounded = arith.negf %rounded : f32
%f0 = math.fma %a, %high, %minus_rounded : f32
%f = math.fma %a, %low, %f0 : f32
%q5 = math.fma %c6, %f, %c5 : f32
%q4 = math.fma %q5, %f, %c4 : f32
%q3 = math.fma %q4, %f, %c3 : f32
%q2 = math.fma %q3, %f, %c2 : f32
%q1 = math.fma %q2, %f, %c1 : f32
%p = math.fma %q1, %f, %one : f32
%p_bits = arith.bitcast %p : f32 to i32
%z_bits = arith.bitcast %z : f32 to i32
%scaled = arith.shli %z_bits, %shift : i32
%e_bits = arith.addi %p_bits, %scaled : i32
%e = arith.bitcast %e_bits : i32 to f32
%d = arith.addf %one, %e : f32
%quotient = arith.divf %one, %d : f32
%isHuge = arith.cmpf ogt, %d, %limit : f32
%sigma = arith.select %isHuge, %zero, %quotient : f32
%result = arith.truncf %sigma : f32 to bf16
moe.yield %result : bf16""".splitlines()
    return "\n".join(lines)


# By name, the text of a region of one bf16, %v, and its activation.
REGIONS: dict[str, tuple[str, oracle.Activation]] = {
    "leaky_relu": ("""%quarter = arith.constant 0.25 : bf16
%zero = arith.constant 0.0 : bf16
%small = arith.mulf %v, %quarter : bf16
%isPositive = arith.cmpf ogt, %v, %zero : bf16
%result = arith.select %isPositive, %v, %small : bf16
moe.yield %result : bf16""", activations.leaky_relu),
    "clamped_square": ("""%low = arith.constant -1.5 : bf16
%high = arith.constant 6.0 : bf16
%bias = arith.constant 0.375 : f32
%above = arith.maximumf %v, %low : bf16
%clamped = arith.minimumf %above, %high : bf16
%wide = arith.extf %clamped : bf16 to f32
%square = arith.mulf %wide, %wide : f32
%sum = arith.addf %square, %bias : f32
%result = arith.truncf %sum : f32 to bf16
moe.yield %result : bf16""", activations.clamped_square),
    "sigmoid": (_sigmoid(), activations.sigmoid),
}
