# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs PTX on a machine without a GPU.

The compiler's kernels end as PTX text from LLVM's NVPTX backend.  This interpreter executes that
text thread by thread, vectorised with numpy over all threads of a wave of CTAs, so that the bytes
which a kernel leaves in memory can be compared with an oracle's.  It shares no code with the
compiler.  Every access to global memory is checked on the way: bounds, alignment, read-only and
uninitialised bytes, and races between threads.

    memory = Memory()
    x = memory.allocate(numpy_array, readonly=True)
    y = memory.allocate(4 * n, initialized=False)   # a read before a write is an error
    module = Module(ptx_text)
    stats = module.launch("kernel", grid=(8, 1, 1), block=(256, 1, 1), args=[n, x, y],
                          memory=memory)
    y.array(np.float32, (n,))
    memory.check_guards()

Arguments are Python numbers, numpy scalars, bytes or buffers (their address), one a parameter.
`allocate(..., align=256, offset=4)` gives a base that is 4 past a multiple of 256.

launch() returns a dict:
  threads, warps        of the grid
  warp_instructions     executed; a warp counts once an instruction that any of its lanes reaches,
                        also if a guard then turns off all of them
  by_opcode             the same, by opcode with its modifiers
  global_loads, global_stores, global_atomics
                        for each access width in bytes a thread: instructions (warps that access at
                        least one byte), bytes, and 32-byte sectors touched (distinct ones for each
                        warp and instruction: bytes / 32 / sectors is the coalescing efficiency)
  bytes_load, bytes_store, bytes_atomic

Scheduling: the threads at the lowest program counter always run first, so diverged threads meet
again as early as the order of the code permits.  A warp-level .sync instruction holds its threads
until all lanes that the mask names have come; bar.sync holds those of the CTA that have not exited.

What is an error although hardware may let it pass: integer division by zero; a .sync mask that
names exited or absent lanes; lanes of a warp at different aligned barriers; a .nc load of bytes
written in the same launch, and the reverse.  Races are judged over the whole launch, without
regard to barriers: a byte that one thread writes may not be touched by another one at all.
Accesses that are atomic, .volatile, .relaxed, .acquire or .release are exempt.

Not modelled: time; weak memory ordering (memory is sequentially consistent); caches and their
hints; races in shared memory; NaN payloads beyond the canonical NaN of PTX; the error of the
.approx instructions (results are the rounded exact values: their last bits differ from hardware's);
forward progress of threads that spin until another thread, at a higher program counter or in a
later wave of CTAs, does something (such a launch never ends: use max_warp_instructions); clusters,
asynchronous copies, tensor cores, textures, calls and the clock.  Registers and shared memory start
as 0xA5 bytes.  An instruction that is not known raises UnsupportedInstruction with its line.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The directory of this file need not be on the path when a script loads it by its location.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from ptx_interpreter import *  # noqa: E402,F401,F403
from ptx_interpreter import __all__  # noqa: E402,F401
