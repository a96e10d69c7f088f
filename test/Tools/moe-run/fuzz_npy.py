# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A fuzzer of moe-run's reader of .npy files: valid files, changed by a seed.

What is read must be what NumPy reads; the rest must be refused with a message of one printable line.
Ten minutes of it, and one seed again:

    python test/Tools/moe-run/fuzz_npy.py --seconds 600
    python test/Tools/moe-run/fuzz_npy.py --first-seed 1234 --seeds 1
"""

from __future__ import annotations

import argparse
import io
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from moe_run import MOE_RUN

READER = MOE_RUN.with_name("moe-npy-reader")
DTYPES = ["?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "V1", "V2"]
NUMBERS = ["0", "1", "-1", "00", "007", "0x2", "1_0", "2L", "1e3", "+1", "-0", "", " ", "None",
           *(str(2**bits + i) for bits in (15, 31, 32, 62, 63, 64, 200) for i in (-1, 0, 1))]
TOKENS = ["'", '"', "{", "}", "(", ")", ",", ":", "\\", "\n", "\r", "\t", "\v", "\f", "\0", "\x1b",
          "é", "#", " ", "True", "False", "b'", "u'", "'descr': '<i4', ", "'shape': (3,), ", "[", "]"]
# Of a file of a kilobyte, and of whatever its header says.
MAX_RESIDENT_BYTES = 1 << 29


def valid_file(rng: random.Random) -> tuple[bytearray, int]:
    """A file, and where its data begins."""
    shape = tuple(rng.choice([0, 1, 2, 3, 5]) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 6])))
    array = np.zeros(shape, rng.choice(DTYPES))
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=rng.choice([(1, 0), (1, 0), (2, 0)]))
    content = bytearray(file.getvalue())
    begin = len(content) - array.nbytes
    for i in range(begin, len(content)):
        content[i] = rng.randrange(256)
    return content, begin


def change_header(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(9)
    if kind == 0:
        return text[:at] + rng.choice(TOKENS) + text[at:]
    if kind == 1:
        return text[:at] + text[at + rng.randint(1, 8):]
    if kind == 2:
        return text[:at] + chr(rng.randrange(256)) + text[at + 1:]
    if kind == 3:
        begin, end = text.find("("), text.find(")")
        sizes = [rng.choice(NUMBERS) for _ in range(rng.choice([0, 1, 1, 2, 3, 63, 64, 65, 2000]))]
        return text[:begin + 1] + ", ".join(sizes) + rng.choice(["", ",", ", "]) + text[end:]
    if kind == 4:
        begin, end = text.find("(") + 1, text.find(")")
        sizes = text[begin:end].split(",")
        sizes[rng.randrange(len(sizes))] = rng.choice(NUMBERS)
        return text[:begin] + ",".join(sizes) + text[end:]
    if kind == 5:
        key = rng.choice(["descr", "fortran_order", "shape"])
        return text.replace(key, rng.choice(["descr", "fortran_order", "shape", "", key + " "]))
    if kind == 6:
        return text.replace("False", rng.choice(["True", "0", "None", "false", "'False'"]))
    if kind == 7:
        begin = text.find("'descr': ") + len("'descr': ")
        end = text.find(",", begin)
        dtype = rng.choice(["'>i4'", "'|O'", "'<U3'", "'<M8[ns]'", "[('a', '<i4')]", "('<i4', (2,))",
                            "''", "'i4'", "'=i4'", "'|i4'", '"<i4"', "'<i4\\n'", "'\x1b[2J'", "3",
                            "'" + "<" * 300 + "'"])
        return text[:begin] + dtype + text[end:]
    other = rng.randrange(len(text) + 1)
    return text[:at] + text[min(at, other):max(at, other)] + text[at:]


def mutant(seed: int) -> bytes:
    rng = random.Random(seed)
    content, begin = valid_file(rng)
    prefix = 10 if content[6] == 1 else 12
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        kind = rng.randrange(8)
        if kind <= 4 and len(content) >= begin > prefix:
            header = change_header(rng, content[prefix:begin].decode("latin1"))
            encoded = header.encode("latin1", "replace")
            content[prefix:begin] = encoded
            begin = prefix + len(encoded)
            # Often the length fits.
            if rng.random() < 0.9:
                width = prefix - 8
                content[8:prefix] = (len(encoded) % 256**width).to_bytes(width, "little")
        elif kind == 5 and content:
            content[rng.randrange(len(content))] = rng.randrange(256)
        elif kind == 6:
            del content[rng.randrange(len(content) + 1):]
        elif kind == 7:
            content += bytes(rng.randrange(256) for _ in range(rng.randint(1, 9)))
    return bytes(content)


def read_by_numpy(content: bytes) -> tuple[str, tuple[int, ...], int]:
    """The dtype and the shape, and where the data begins. Raises where there is none."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}[version]
    with warnings.catch_warnings():
        # Of headers that Python 2 wrote, and of what Python thinks of strings in them.
        warnings.simplefilter("ignore")
        shape, fortran_order, dtype = read(file, max_header_size=1 << 32)
    assert not fortran_order
    return dtype.str, shape, file.tell()


def complaint(content: bytes, line: str) -> str | None:
    """What is wrong with what was read of a file."""
    kind, *fields = line.split("\t")
    if not line.replace("\t", "").isprintable():
        return "the line is not printable"
    if kind == "error":
        if not fields or not 10 < len(fields[0]) < 700:
            return "expected a message of a useful length"
        try:
            dtype, shape, begin = read_by_numpy(content)
        except Exception:  # NumPy raises all kinds.
            return None
        if len(shape) > 64 or not all(0 <= size < 2**63 for size in shape):
            return None
        # Python knows more ways to write a header than NumPy, which is what is read.
        rewritten = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            rewritten, {"descr": dtype, "fortran_order": False, "shape": shape})
        same = rewritten.getvalue()[10:].strip() == content[10 + 2 * (content[6] == 2):begin].strip()
        return "refused, and NumPy would have written it so" if same else None
    if kind != "array" or len(fields) != 4:
        return "expected 'array' or 'error'"
    dtype, shape, size, _ = fields
    if dtype not in {np.dtype(d).str for d in DTYPES}:
        return None
    try:
        expected = read_by_numpy(content)
    except Exception as error:
        return f"NumPy refuses it: {error!r}"
    found = (dtype, shape, len(content) - int(size))
    # NumPy 2 prints a shape as this does.
    wanted = (expected[0], str(tuple(int(s) for s in expected[1])), expected[2])
    return None if found == wanted else f"expected {wanted}, found {found}"


# Runs a program and says its exit code and how much memory it had. In a process of its own: what Linux
# counts for a program begins with the memory of the one that starts it.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


def fuzz(first_seed: int, seeds: int) -> list[str]:
    """A line for each seed that the reader, or its process, did wrong with."""
    contents = [mutant(seed) for seed in range(first_seed, first_seed + seeds)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"{i}.npy") for i in range(seeds)]
        for path, content in zip(paths, contents):
            Path(path).write_bytes(content)
        names, output = Path(folder, "names"), Path(folder, "output")
        names.write_text("\n".join(paths) + "\n")
        with open(names) as stdin, open(output, "w") as stdout:
            measured = subprocess.run([sys.executable, "-c", MEASURE, READER], stdin=stdin,
                                      stdout=stdout, stderr=subprocess.PIPE, text=True,
                                      check=False)
        exit_code, resident_kib = map(int, measured.stderr.split()[-2:])
        lines = output.read_text(errors="surrogateescape").split("\n")[:-1]
    complaints = [f"seed {first_seed + i}: {text}: {line!r}, of {content[:300]!r}"
                  for i, (content, line) in enumerate(zip(contents, lines))
                  if (text := complaint(content, line))]
    if exit_code != 0 or len(lines) != seeds:
        complaints.append(f"seed {first_seed + len(lines)}: exit code {exit_code}")
    if resident_kib * 1024 > MAX_RESIDENT_BYTES:
        complaints.append(f"seeds from {first_seed}: {resident_kib} KiB of memory")
    return complaints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1000, help="files in a process")
    parser.add_argument("--seconds", type=float, default=0, help="go on for so long")
    arguments = parser.parse_args()
    seed, end = arguments.first_seed, time.monotonic() + arguments.seconds
    found = 0
    while seed == arguments.first_seed or time.monotonic() < end:
        for line in fuzz(seed, arguments.seeds):
            print(line)
            found += 1
        seed += arguments.seeds
    print(f"{seed - arguments.first_seed} files, {found} complaints")
    raise SystemExit(found > 0)


if __name__ == "__main__":
    main()
