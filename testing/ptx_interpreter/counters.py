# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Statistics of a launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .program import Block

if TYPE_CHECKING:
    from .machine import Machine


class Counters:
    """Statistics of one launch."""

    def __init__(self) -> None:
        self.blocks: dict[int, tuple[Block, int]] = {}
        self.total = 0
        self.accesses: dict[tuple[str, int], list[int]] = {}

    def count_block(self, m: Machine, block: Block) -> None:
        warps = m.count_warps()
        self.total += warps * block.length
        before = self.blocks.get(block.start)
        self.blocks[block.start] = (block, warps + (before[1] if before else 0))

    def count_access(self, m: Machine, offset: np.ndarray, width: int, kind: str) -> None:
        sector = offset >> np.uint64(5)  # An aligned access lies within one sector.
        warps = m.active_warps()
        same_warp = warps[1:] == warps[:-1]
        if (same_warp & (sector[1:] < sector[:-1])).any():
            order = np.lexsort((sector, warps))
            sector = sector[order]  # warps are sorted already
        changes = ~same_warp | (sector[1:] != sector[:-1])
        entry = self.accesses.setdefault((kind, width), [0, 0, 0])
        entry[0] += int(warps.size - np.count_nonzero(same_warp))
        entry[1] += width * m.n
        entry[2] += int(np.count_nonzero(changes)) + 1

    def report(self) -> dict[str, Any]:
        opcodes: dict[str, int] = {}
        for block, warps in self.blocks.values():
            instructions = [inst for inst, _ in block.actions]
            if block.control is not None:
                instructions.append(block.control)
            for inst in instructions:
                name = ".".join((inst.opcode, *inst.mods))
                opcodes[name] = opcodes.get(name, 0) + warps
        result: dict[str, Any] = {
            "warp_instructions": self.total,
            "by_opcode": dict(sorted(opcodes.items(), key=lambda kv: -kv[1])),
        }
        for kind in ("load", "store", "atomic"):
            table = {
                width: {"instructions": e[0], "bytes": e[1], "sectors": e[2]}
                for (k, width), e in sorted(self.accesses.items())
                if k == kind
            }
            result[f"global_{kind}s"] = table
            result[f"bytes_{kind}"] = sum(e["bytes"] for e in table.values())
        return result
