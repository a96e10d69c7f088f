# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Programs: decoded kernels, cut into basic blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

# The builders of these modules register themselves when they are imported.
from . import arithmetic, memory_ops, moves  # noqa: F401
from .decoder import Action, Decoder, Reader
from .errors import ParseError
from .memory_ops import Access
from .parser import TYPE_BITS, Instruction, Kernel, Sym
from .sync_ops import ClusterBarrier, CtaBarrier, WarpSync, decode_sync, is_sync


@dataclass
class Block:
    """A basic block: straight-line actions, then at most one control or .sync instruction."""

    start: int
    next: int
    actions: list[tuple[Instruction, Action]] = field(default_factory=list)
    control: Instruction | None = None
    kind: str = "fall"  # fall, bra, brx, exit, trap, warp, cta or cluster
    condition: Reader | None = None
    target: int = -1
    table: list[int] = field(default_factory=list)
    index: Reader | None = None
    sync: WarpSync | CtaBarrier | ClusterBarrier | None = None
    length: int = 0


@dataclass
class Program:
    """A kernel that is ready to run."""

    kernel: Kernel
    blocks: dict[int, Block]
    granule: int  # The narrowest global access, in bytes: races are tracked at this size.
    shared_granule: int  # The same of shared memory.
    noncoherent: bool  # Are there .nc loads?


def is_control(inst: Instruction) -> bool:
    return inst.opcode in ("bra", "brx", "ret", "exit", "trap") or is_sync(inst)


def build_program(kernel: Kernel, symbols: dict[str, tuple[str, int]]) -> Program:
    """Decodes every instruction and cuts the kernel into basic blocks."""
    decoder = Decoder(kernel, symbols)
    instructions = kernel.instructions
    end = len(instructions)
    leaders = {0, end} | set(kernel.labels.values())
    for pc, inst in enumerate(instructions):
        if is_control(inst):
            leaders.add(pc + 1)
    order = sorted(leaders)
    blocks: dict[int, Block] = {}
    granule, shared_granule, noncoherent = 16, 16, False
    for start, stop in zip(order, order[1:]):
        block = Block(start, stop)
        for inst in instructions[start:stop]:
            block.length += 1
            if is_control(inst):
                decode_control(decoder, block, inst)
                continue
            block.actions.append((inst, decoder.decode(inst)))
            if inst.opcode in ("ld", "ldu", "st"):
                access = Access(decoder, inst)
                if access.space in ("global", "generic"):
                    noncoherent |= access.noncoherent
                    granule = min(granule, access.bytes)
                if access.space in ("shared", "cluster", "generic"):
                    shared_granule = min(shared_granule, access.bytes)
            elif inst.opcode in ("atom", "red"):
                granule = min(granule, TYPE_BITS[inst.mods[-1]] // 8)
                shared_granule = min(shared_granule, TYPE_BITS[inst.mods[-1]] // 8)
        blocks[start] = block
    blocks[end] = Block(end, end, kind="exit")
    return Program(kernel, blocks, granule, shared_granule, noncoherent)


def decode_control(d: Decoder, block: Block, inst: Instruction) -> None:
    kernel = d.kernel
    block.control = inst
    if inst.problem is not None:
        raise d.fail(inst, inst.problem)
    if inst.guard is not None:
        block.condition = d.read(inst, inst.guard, "pred")
    op = inst.opcode
    if op == "bra":
        (label,) = d.expect(inst, 1)
        assert isinstance(label, Sym)
        block.kind, block.target = "bra", kernel.labels[label.name]
    elif op == "brx":
        index, label = d.expect(inst, 2)
        assert isinstance(label, Sym)
        if label.name not in kernel.branch_targets:
            raise ParseError(f"{label.name} is no .branchtargets list", inst.line, inst.text)
        block.kind, block.index = "brx", d.read(inst, index, "u32")
        block.table = [kernel.labels[n] for n in kernel.branch_targets[label.name]]
    elif op in ("ret", "exit"):
        block.kind = "exit"
    elif op == "trap":
        block.kind = "trap"
    else:
        try:
            block.sync = decode_sync(d, inst)
        except (KeyError, ValueError) as e:
            raise d.fail(inst, f"unsupported form ({e})") from None
        kinds = {WarpSync: "warp", CtaBarrier: "cta", ClusterBarrier: "cluster"}
        block.kind = kinds[type(block.sync)]
