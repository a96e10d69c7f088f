#!/usr/bin/env python3
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares kernels of two builds, entry by entry: the gate for changes that should change none.

    compare-kernels.py OLD NEW [--counts] [--launches]    folders with kernels-sm_*.ptx
    compare-kernels.py --lib OLD.so NEW.so                the PTX within two runtime libraries

Prints what differs, and exits with 1 if anything does. A build has its PTX in lib/Kernels. With
--counts and --launches, text may differ. Under the first, ptxas compiles both, and what fails is
more registers, bytes spilled, or instructions of any kernel. Under the second, the PTX interpreter
launches both, as the build's venv has it, and what fails is another number of accesses, bytes or
sectors of any width, or of shuffles, votes or conversions.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of a kernel's difference that are printed.
DIFF_LINES = 8


def entries(ptx: str) -> dict[str, str]:
    """Text by the name of the kernel; what stands before the first under the empty name."""
    parts = re.split(r"^(?=(?:\.visible )?\.entry )", ptx, flags=re.M)
    found = {"": parts[0]}
    for part in parts[1:]:
        match = re.search(r"\.entry\s+([\w$]+)", part)
        assert match
        found[match[1]] = part
    return found


def read_folder(folder: Path) -> dict[str, str]:
    """PTX by chip."""
    files = {path.stem.removeprefix("kernels-"): path.read_text()
             for path in sorted(folder.glob("kernels-sm_*.ptx"))}
    if not files:
        raise SystemExit(f"{folder}: expected kernels-sm_*.ptx, found none")
    return files


def read_library(path: Path) -> dict[str, str]:
    """The same of a library that carries PTX uncompressed. Machine code is not looked at."""
    files = {}
    for match in re.finditer(rb"\.version [\d.]+\s+\.target (sm_\w+)[^\0]*", path.read_bytes()):
        files[match[1].decode()] = match[0].decode(errors="replace")
    if not files:
        raise SystemExit(f"{path}: expected PTX in it, found none")
    return files


def compare_texts(old: dict[str, str], new: dict[str, str], chip: str) -> list[str]:
    differences = []
    for name in sorted(old.keys() | new.keys()):
        title = f"{chip} {name or '(before the kernels)'}"
        if name not in old or name not in new:
            differences.append(f"{title}: only in {'new' if name in new else 'old'}")
        elif old[name] != new[name]:
            lines = list(difflib.unified_diff(
                old[name].splitlines(), new[name].splitlines(), "old", "new", lineterm="", n=0))
            differences.append("\n    ".join([f"{title}: differs", *lines[:DIFF_LINES]]))
    return differences


#===------------------------------------------------------------------------===#
# Counts
#===------------------------------------------------------------------------===#


# Of machine code from sm_70 on.
INSTRUCTION_BYTES = 16
NOP = 0x918


@dataclass(frozen=True)
class Counts:
    registers: int
    spilled: int
    instructions: int

    def __str__(self) -> str:
        return (f"{self.registers} registers, {self.spilled} bytes spilled, "
                f"{self.instructions} instructions")


def find_ptxas() -> str:
    for folder in [os.environ.get(name, "") + "/bin"
                   for name in ("CUDA_ROOT", "CUDA_HOME", "CUDA_PATH")]:
        if Path(folder, "ptxas").exists():
            return str(Path(folder, "ptxas"))
    wheels = sorted(ROOT.glob("build/venv/lib/python3*/site-packages/nvidia/cu*/bin/ptxas"))
    found = shutil.which("ptxas") or (str(wheels[-1]) if wheels else None)
    if not found:
        raise SystemExit("--counts: expected ptxas of CUDA 13, found none: run scripts/setup.sh")
    return found


def count_instructions(cubin: bytes) -> dict[str, int]:
    """Those of each kernel, from its section of code, without the padding at the end."""
    def number(at: int, size: int) -> int:
        return int.from_bytes(cubin[at:at + size], "little")

    table, size, count, names = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2),
                                 number(0x3e, 2))
    strings = number(table + names * size + 0x18, 8)
    found = {}
    for section in range(table, table + count * size, size):
        start = strings + number(section, 4)
        name = cubin[start:cubin.index(b"\0", start)].decode()
        if name.startswith(".text."):
            code, end = number(section + 0x18, 8), number(section + 0x20, 8)
            while end > 0 and number(code + end - INSTRUCTION_BYTES, 2) & 0xfff == NOP:
                end -= INSTRUCTION_BYTES
            found[name.removeprefix(".text.")] = end // INSTRUCTION_BYTES
    return found


def count(ptxas: str, ptx: str, chip: str) -> dict[str, Counts]:
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "kernels.ptx"), Path(folder, "kernels.cubin")
        source.write_text(ptx)
        done = subprocess.run([ptxas, "-v", f"-arch={chip}", source, "-o", cubin],
                              text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{chip}: {done.stderr}")
        instructions = count_instructions(cubin.read_bytes())
    found = {}
    for block in re.split(r"Compiling entry function '", done.stderr)[1:]:
        name = block.split("'")[0]
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill", block)))
        registers = re.search(r"Used (\d+) registers", block)
        assert registers
        found[name] = Counts(int(registers[1]), spilled, instructions[name])
    return found


def compare_counts(old: dict[str, Counts], new: dict[str, Counts], chip: str,
                   is_verbose: bool) -> list[str]:
    differences = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            differences.append(f"{chip} {name}: only in {'new' if name in new else 'old'}")
            continue
        before, after = old[name], new[name]
        line = f"{chip} {name}: {before} before, {after} after"
        if (after.registers > before.registers or after.spilled > before.spilled
                or after.instructions > before.instructions):
            differences.append(line)
        elif is_verbose:
            print(line)
    return differences


#===------------------------------------------------------------------------===#
# Launches
#===------------------------------------------------------------------------===#

# Instructions that are counted besides accesses: what a lane computes between them is LLVM's.
COUNTED = ("shfl.", "vote.", "cvt.rn.satfinite.", "griddepcontrol.")


def launch(ptx: str, name: str) -> dict[str, object]:
    """What the interpreter counts, over launches with few and many rows and columns."""
    from moe_testing import batches
    from moe_testing.interpreted import Interpreter
    from moe_testing.kernels import Kernel, check

    aligned = not name.endswith("_unaligned")
    op = name.removesuffix("_unaligned")
    dead_scales = "untouched" if op.endswith("_untouched") else "zero"
    op = op.removesuffix("_untouched")
    layout = "linear" if op.endswith("_linear") else "swizzle_32_4_4"
    kernel = Kernel(op.removesuffix("_linear"), None, layout, dead_scales, strided=True)
    counted: dict[str, object] = {}
    for M, N, grid in ((40, 1056, (2, 6)), (300, 1056, (2, 1)), (150, 64, (1, 2))):
        backend = Interpreter()
        check(backend, ptx, kernel, batches.random_batch(M, N, M - 20), grid, aligned=aligned)
        title = f"{M}x{N}"
        for kind in ("global_loads", "global_stores"):
            counted[f"{title} {kind}"] = backend.stats[kind]
        for opcode, count in backend.stats["by_opcode"].items():
            if opcode.startswith(COUNTED):
                counted[f"{title} {opcode}"] = count
    return counted


def compare_launches(old: str, new: str, chip: str) -> list[str]:
    names = sorted(entries(old).keys() & entries(new).keys() - {""})
    differences = []
    for name in names:
        before, after = launch(old, name), launch(new, name)
        differences += [f"{chip} {name}: {what}: {before.get(what)} before, {after.get(what)} after"
                        for what in sorted(before.keys() | after.keys())
                        if before.get(what) != after.get(what)]
    return differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--lib", action="store_true", help="compare runtime libraries")
    parser.add_argument("--counts", action="store_true", help="compare what ptxas makes of them")
    parser.add_argument("--launches", action="store_true",
                        help="compare what the PTX interpreter counts")
    parser.add_argument("--verbose", action="store_true", help="print counts that are no worse, too")
    options = parser.parse_args()
    read = read_library if options.lib else read_folder
    old, new = read(options.old), read(options.new)
    differences = [f"{chip}: only in {'new' if chip in new else 'old'}"
                   for chip in sorted(old.keys() ^ new.keys())]
    chips = sorted(old.keys() & new.keys())
    kernels = 0
    if options.counts:
        ptxas = find_ptxas()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            counts = list(pool.map(lambda job: count(ptxas, *job),
                                   [(text[chip], chip) for chip in chips for text in (old, new)]))
        for chip, before, after in zip(chips, counts[::2], counts[1::2]):
            kernels += len(after)
            differences += compare_counts(before, after, chip, options.verbose)
    if options.launches:
        for chip in chips:
            kernels = max(kernels, len(entries(new[chip])) - 1)
            differences += compare_launches(old[chip], new[chip], chip)
    if not options.counts and not options.launches:
        for chip in chips:
            texts = entries(old[chip]), entries(new[chip])
            kernels += len(texts[1]) - 1
            differences += compare_texts(*texts, chip)
    print("\n".join(differences + [f"{kernels} kernels for {', '.join(chips)}: "
                                   f"{len(differences)} differences"]))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
