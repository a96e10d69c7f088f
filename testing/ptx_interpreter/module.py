# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules and launches: the part that users of the interpreter see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .counters import Counters
from .errors import LaunchError
from .machine import Machine, Tracker
from .memory import Buffer, Memory
from .parser import Kernel, Param, Variable, parse_module
from .program import Program, build_program

# How many threads run together.  Fewer means more Python steps, more means that the registers no
# longer fit the processor's caches; the speed is flat around this value.
WAVE_THREADS = 65536

Argument = int | float | np.generic | bytes | Buffer


def _three(values: int | Sequence[int], what: str) -> tuple[int, int, int]:
    items = (values,) if isinstance(values, (int, np.integer)) else tuple(values)
    if not 1 <= len(items) <= 3 or any(int(v) < 1 for v in items):
        raise LaunchError(f"{what} {values!r} is not one to three positive numbers")
    x, y, z = (*(int(v) for v in items), 1, 1)[:3]
    return x, y, z


def pack_argument(param: Param, value: Argument) -> bytes:
    """The bytes of one kernel argument; raises LaunchError if it does not suit the parameter."""

    def wrong(why: str) -> LaunchError:
        return LaunchError(f"argument {value!r} for .{param.type} {param.name}: {why}")

    if isinstance(value, Buffer):
        value = value.address
    if isinstance(value, (bytes, bytearray)):
        raw = bytes(value)
    elif isinstance(value, (np.generic, np.ndarray)):
        raw = value.tobytes()
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong("unsupported Python type")
    elif param.size not in (1, 2, 4, 8) or param.type in ("f16", "bf16"):
        raise wrong("needs bytes")
    elif param.type in ("f32", "f64"):
        raw = np.dtype(param.type.replace("f", "float")).type(value).tobytes()
    elif isinstance(value, float):
        raise wrong("a float for an integer parameter")
    else:
        bits = 8 * param.size
        if not -(1 << (bits - 1)) <= value < 1 << bits:
            raise wrong("out of range")
        raw = (value & ((1 << bits) - 1)).to_bytes(param.size, "little")
    if len(raw) != param.size:
        raise wrong(f"has {len(raw)} bytes, the parameter {param.size}")
    return raw


class Module:
    """A parsed PTX module.

    `kernels` maps names to Kernel objects, whose `params` lists (name, type, size in bytes) and
    whose `directives` holds what stands between the parameters and the body, such as
    {"maxntid": (256, 1, 1)}.  `target` and `version` are the texts of those directives.
    """

    def __init__(self, ptx_text: str):
        parsed = parse_module(ptx_text)
        self.version = parsed.version
        self.target = parsed.target
        self.kernels: dict[str, Kernel] = parsed.kernels
        self.variables: list[Variable] = parsed.variables
        self._programs: dict[str, Program] = {}

    def decode(self, name: str | None = None) -> None:
        """Decodes one kernel, or all of them; raises at the first instruction that is unknown.

        A launch does this for its kernel, so that an unsupported instruction in one kernel does
        not stand in the way of the others.
        """
        for kernel in self.kernels.values() if name is None else [self._kernel(name)]:
            if kernel.name not in self._programs:
                self._programs[kernel.name] = build_program(kernel, self._layout(kernel)[0])

    def launch(
        self,
        name: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        args: Sequence[Argument],
        memory: Memory,
        detect_races: bool = True,
        dynamic_shared: int = 0,
        max_warp_instructions: int | None = None,
        wave_threads: int = WAVE_THREADS,
    ) -> dict[str, Any]:
        """Runs a kernel to its end and returns statistics, see README.md.

        CTAs run in waves of about `wave_threads` threads, in the order of their numbers.
        """
        kernel = self._kernel(name)
        grid3, block3 = _three(grid, "grid"), _three(block, "block")
        size = block3[0] * block3[1] * block3[2]
        self._check_block(kernel, block3, size)
        if len(args) != len(kernel.parameters):
            raise LaunchError(
                f"kernel {name} has {len(kernel.parameters)} parameters, got {len(args)} arguments"
            )
        params = np.zeros(kernel.param_bytes, np.uint8)
        for param, value in zip(kernel.parameters, args):
            raw = pack_argument(param, value)
            params[param.offset : param.offset + param.size] = np.frombuffer(raw, np.uint8)
        self.decode(name)
        program = self._programs[name]
        _, static, local = self._layout(kernel)
        addresses = self._place_variables(memory)
        tracker = Tracker(memory, program, detect_races)
        counters = Counters()
        cluster = self._cluster(kernel, grid3)
        ctas = grid3[0] * grid3[1] * grid3[2]
        if ctas * size >= 1 << 31:
            raise LaunchError("more threads than the interpreter can number")
        # CTAs of a cluster run together.
        wave = max(wave_threads // size // cluster, 1) * cluster
        with np.errstate(all="ignore"):
            for first in range(0, ctas, wave):
                Machine(
                    program,
                    memory,
                    grid3,
                    block3,
                    first,
                    min(wave, ctas - first),
                    cluster,
                    params,
                    (static, dynamic_shared),
                    local,
                    addresses,
                    tracker,
                    counters,
                    max_warp_instructions,
                ).run()
        return {"threads": ctas * size, "warps": ctas * -(-size // 32), **counters.report()}

    def _kernel(self, name: str) -> Kernel:
        if name not in self.kernels:
            raise LaunchError(f"no kernel {name}; there are {', '.join(self.kernels) or 'none'}")
        return self.kernels[name]

    @staticmethod
    def _check_block(kernel: Kernel, block: tuple[int, int, int], size: int) -> None:
        if size > 1024:
            raise LaunchError(f"a CTA of {size} threads is larger than 1024")
        required = kernel.directives.get("reqntid")
        if required is not None and (*required, 1, 1)[:3] != block:
            raise LaunchError(f"kernel {kernel.name} requires a CTA of {required}, got {block}")
        largest = kernel.directives.get("maxntid")
        if largest is not None and size > int(np.prod(largest)):
            raise LaunchError(f"kernel {kernel.name} allows a CTA of {largest}, got {block}")

    @staticmethod
    def _cluster(kernel: Kernel, grid: tuple[int, int, int]) -> int:
        """How many CTAs a cluster has, which extends along x."""
        x, y, z = (*kernel.directives.get("reqnctapercluster", ()), 1, 1, 1)[:3]
        if (y, z) != (1, 1):
            raise LaunchError(f"kernel {kernel.name} has clusters that do not extend along x alone")
        if grid[0] % x != 0:
            raise LaunchError(
                f"kernel {kernel.name} has clusters of {x} CTAs, got a grid of {grid}"
            )
        return x

    def _layout(self, kernel: Kernel) -> tuple[dict[str, tuple[str, int]], int, int]:
        """Symbols of a kernel, and how many bytes of static shared and local memory it has."""
        symbols = {p.name: ("param", p.offset) for p in kernel.parameters}
        used = {"shared": 0, "local": 0}
        dynamic = []
        for v in self.variables + kernel.variables:
            if v.space not in used:
                symbols[v.name] = (v.space, 0)
            elif v.space == "shared" and v.size == 0:
                dynamic.append(v)
            else:
                offset = -(-used[v.space] // v.align) * v.align
                symbols[v.name] = (v.space, offset)
                used[v.space] = offset + v.size
        for v in dynamic:  # All of them name the memory behind the static part.
            used["shared"] = -(-used["shared"] // v.align) * v.align
        for v in dynamic:
            symbols[v.name] = ("shared", used["shared"])
        return symbols, used["shared"], used["local"]

    def _place_variables(self, memory: Memory) -> dict[str, int]:
        """Addresses of the module's global and const variables, allocated on first use."""
        placed = memory.variables.setdefault(self, {})
        for v in self.variables:
            if v.space in ("global", "const") and v.name not in placed:
                raw = np.frombuffer(v.initial if v.initial else bytes(v.size), np.uint8)
                placed[v.name] = memory.allocate(
                    raw, align=max(v.align, 16), readonly=v.space == "const", name=v.name
                )
        return {name: buffer.address for name, buffer in placed.items()}
