# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiles moe.route_tokens and moe.unpermute_tokens, and checks what they do against the oracle.

As in kernels.py, of which the backends are: destinations start as random bytes, and every byte of
every buffer is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from . import permutation
from .kernels import Backend, compare, compile_ptx, descriptor
from .on_cpu import call
from .permutation_batches import TokenBatch

ROUTE_THREADS = 512
# Of the kernel for many pairs: the CTAs of a cluster, and the experts that one has at a time.
CLUSTER_THREADS = 1024
CLUSTER = 8
CLUSTER_EXPERTS = 32
UNPERMUTE_THREADS = 256
MATRIX_LAYOUT = ", strided<[?, 1], offset: ?>"

# An operand as it is passed: an array, or a number by value.
Operand = np.ndarray | int


def random_like(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same shape and type, of random bytes."""
    data = rng.integers(0, 256, array.size * array.itemsize, dtype=np.uint8)
    return data.view(array.dtype).reshape(array.shape)


class Call(Protocol):
    """One call of an op: its operands by name and what must be in all arrays after it."""

    @property
    def threads(self) -> int: ...

    def entry(self, aligned: bool) -> str:
        """What the compiler calls the kernel for operands that are aligned, or any."""

    def mlir(self) -> str:
        """A module whose @entry has the operands as arguments."""

    def operands(self, rng: np.random.Generator) -> dict[str, Operand]: ...

    def expected(self, operands: Mapping[str, Operand]) -> dict[str, np.ndarray]:
        """Of the destinations, from what they were."""


def _array(operand: Operand) -> np.ndarray:
    assert isinstance(operand, np.ndarray)
    return operand


def _text(op: str, inputs: Mapping[str, str], values: Mapping[str, str],
          outputs: Mapping[str, str], probs: str = "", after: str = "") -> str:
    """A function whose arguments are those of the op, in its order; `probs` comes after inputs, and
    `after` after outputs, each as text; their arguments and values are in `values`.
    """
    arguments = ", ".join(f"%{name}: {type}" for name, type in
                          {**inputs, **values, **outputs}.items())

    def group(operands: Mapping[str, str]) -> str:
        return (", ".join(f"%{name}" for name in operands) + " : "
                + ", ".join(operands.values()))

    return (f"func.func @entry({arguments}) {{\n"
            f"  moe.{op} ins({group(inputs)}) {probs}\n"
            f"    outs({group(outputs)}) {after}\n"
            "  return\n}\n")


@dataclass(frozen=True)
class RouteTokens:
    """`topk` and `experts` are sizes that the kernel is compiled for, None for any. `has_cluster`:
    the kernel is that for many pairs.
    """

    batch: TokenBatch
    topk: int | None = None
    experts: int | None = None
    has_cluster: bool = False

    @property
    def threads(self) -> int:
        return CLUSTER_THREADS if self.has_cluster else ROUTE_THREADS

    @property
    def is_wide(self) -> bool:
        return self.batch.routing_map.dtype == np.int64

    def entry(self, aligned: bool = True) -> str:
        return ("route_tokens" + "_i64" * self.is_wide
                + "_probs" * (self.batch.probs is not None)
                + f"_cluster{CLUSTER}" * self.has_cluster)

    def mlir(self) -> str:
        experts = "?" if self.experts is None else str(self.experts)
        topk = "?" if self.topk is None else str(self.topk)
        has_probs = self.batch.probs is not None
        values = {"first_expert": "i32", "alignment": "i32"}
        if has_probs:
            values = {"probs": f"memref<?x{topk}xf32>", **values}
        outputs = dict.fromkeys(("tokens_per_expert", "exclusive_offsets", "inclusive_offsets"),
                                f"memref<{experts}xi32>")
        outputs |= {"permutation_map": "memref<?xi32>", "inverse_map": f"memref<?x{experts}xi32>"}
        text = _text(
            "route_tokens",
            {"routing_map": f"memref<?x{topk}xi{64 if self.is_wide else 32}>",
             "valid_tokens": "memref<i32>"}, values, outputs,
            (f"probs(%probs : {values['probs']}) " if has_probs else "")
            + "first_expert(%first_expert) alignment(%alignment)",
            "permuted_probs(%permuted_probs : memref<?xf32>)" if has_probs else "")
        if has_probs:
            text = text.replace(") {", ", %permuted_probs: memref<?xf32>) {", 1)
        return text

    def operands(self, rng: np.random.Generator) -> dict[str, Operand]:
        batch = self.batch
        before = {name: random_like(array, rng)
                  for name, array in batch.before().arrays().items()}
        return {"routing_map": batch.routing_map,
                "valid_tokens": np.array(batch.valid_tokens, np.int32),
                **({} if batch.probs is None else {"probs": batch.probs}),
                "first_expert": batch.first_expert, "alignment": batch.alignment, **before}

    def expected(self, operands: Mapping[str, Operand]) -> dict[str, np.ndarray]:
        before = permutation.Routing(**{name: _array(operands[name])
                                        for name in self.batch.before().arrays()})
        return self.batch.routed(before).arrays()


@dataclass(frozen=True)
class UnpermuteTokens:
    """`columns` is the size that the kernel is compiled for, None for any; `is_wide` asks for the
    kernel for many tokens where operands are aligned.
    """

    y: np.ndarray
    inverse_map: np.ndarray
    valid_tokens: int
    probs: np.ndarray | None = None
    columns: int | None = None
    is_wide: bool = False
    threads: int = UNPERMUTE_THREADS

    def entry(self, aligned: bool = True) -> str:
        suffix = "_unaligned" if not aligned else "_aligned16" if self.is_wide else ""
        return "unpermute_tokens" + "_probs" * (self.probs is not None) + suffix

    def mlir(self) -> str:
        columns = "?" if self.columns is None else str(self.columns)
        has_probs = self.probs is not None
        return _text(
            "unpermute_tokens",
            {"y": f"memref<?x{columns}xbf16{MATRIX_LAYOUT}>", "inverse_map": "memref<?x?xi32>",
             "valid_tokens": "memref<i32>"}, {"probs": "memref<?xf32>"} if has_probs else {},
            {"out": f"memref<?x{columns}xf32{MATRIX_LAYOUT}>"},
            "probs(%probs : memref<?xf32>)" if has_probs else "")

    def operands(self, rng: np.random.Generator) -> dict[str, Operand]:
        out = np.empty((self.inverse_map.shape[0], self.y.shape[1]), np.float32)
        return {"y": self.y, "inverse_map": self.inverse_map,
                "valid_tokens": np.array(self.valid_tokens, np.int32),
                **({} if self.probs is None else {"probs": self.probs}),
                "out": random_like(out, rng)}

    def expected(self, operands: Mapping[str, Operand]) -> dict[str, np.ndarray]:
        return {"out": permutation.unpermute_tokens(self.y, self.inverse_map, self.valid_tokens,
                                                    _array(operands["out"]), self.probs)}


def run_on_cpu(call_of_op: Call, seed: int = 0) -> None:
    """One call through moe-run, all destinations compared with the oracle."""
    operands = call_of_op.operands(np.random.default_rng(seed))
    expected = call_of_op.expected(operands)
    arrays = [operand if isinstance(operand, np.ndarray) else np.array(operand, np.int32)
              for operand in operands.values()]
    names = list(operands)
    found = call(call_of_op.mlir(), arrays, [names.index(name) for name in expected])
    for (name, want), have in zip(expected.items(), found):
        compare(name, have, want)


def check(backend: Backend, call_of_op: Call, grid: tuple[int, int], chip: str = "sm_90", *,
          aligned: bool = True, offset: int = 0, padding: int = 0, seed: int = 0) -> None:
    """Compiles a kernel, launches it, and compares every byte. `offset` is that of the first operand
    and the last destination, in bytes past alignment, `padding` elements between their rows.
    """
    rng = np.random.default_rng(seed)
    operands = call_of_op.operands(rng)
    expected = call_of_op.expected(operands)
    moved = {next(iter(operands)), list(operands)[-1]}
    buffers, arguments, wanted = {}, [], {}
    for name, operand in operands.items():
        if not isinstance(operand, np.ndarray):
            arguments.append(operand)
            continue
        storage = operand
        want = expected.get(name, operand)
        if padding and name in moved and operand.ndim == 2:
            storage = random_like(np.empty((operand.shape[0], operand.shape[1] + padding),
                                           operand.dtype), rng)
            storage[:, : operand.shape[1]] = operand
            wide = storage.copy()
            wide[:, : operand.shape[1]] = want
            want = wide
        wanted[name] = want
        view = storage[:, : operand.shape[1]] if operand.ndim == 2 else storage
        buffers[name] = backend.allocate(storage, offset if name in moved else 0)
        arguments += descriptor(backend.address(buffers[name]), view)
    backend.launch(compile_ptx(call_of_op.mlir(), chip), call_of_op.entry(aligned), (*grid, 1),
                   call_of_op.threads, arguments)
    for name, want in wanted.items():
        compare(name, backend.read(buffers[name], want), want)
    backend.finish()
