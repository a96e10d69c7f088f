# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every op in every form, as a list of calls for the tests of what PyTorch does around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import moe_mlir
import numpy as np
import torch
from moe_testing import oracle, permutation

M, K, N_USED = 130, 128, 120
QUANTIZING = {"squared_relu_and_quantize_mxfp8": oracle.squared_relu_quantize_mxfp8,
              "quantize_mxfp8": oracle.quantize_mxfp8,
              "swiglu_and_quantize_mxfp8": oracle.swiglu_quantize_mxfp8,
              "gather_and_quantize_mxfp8": permutation.permute_quantize_mxfp8}
_BITS = {1: torch.uint8, 2: torch.int16}


def as_bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().view(_BITS[tensor.element_size()])


def from_numpy(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    raw = oracle.bits(array)
    return torch.from_numpy(raw.view(f"int{8 * raw.itemsize}").copy()).view(dtype)


def _operands() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((M, K)) * np.exp2(rng.integers(-20, 20, (M, 1)))
    permutation_map = np.where(rng.random(M) < 0.7, np.arange(M), -1)
    return x.astype(oracle.bfloat16), permutation_map.astype(np.int32)


_X, _MAP = _operands()
LIVE = torch.from_numpy(oracle.live_rows(_MAP, N_USED))


def operands() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, permutation_map and n_used: dead rows among live ones, and a partial row tile."""
    return (from_numpy(_X, torch.bfloat16), torch.from_numpy(_MAP.copy()),
            torch.tensor(N_USED, dtype=torch.int32))


@dataclass(frozen=True)
class Call:
    """An op with its modes, through the public function or through torch.ops."""

    op: str
    layout: str = "swizzle_32_4_4"
    dead: str = "zero"
    through_ops: bool = False

    def __str__(self) -> str:
        form = "ops" if self.through_ops else "function"
        return "-".join((self.op, self.layout, self.dead, form))

    @property
    def is_quantizing(self) -> bool:
        return self.op in QUANTIZING

    @property
    def columns(self) -> int:
        """Of the result."""
        return K // 2 if "swiglu" in self.op else K

    def __call__(self, x: Any, permutation_map: Any, n_used: Any,
                 outs: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The result's tensors; those of `outs` where there are some."""
        modes: dict[str, str] = {}
        if self.is_quantizing:
            modes = {"scale_layout": self.layout, "dead_scales": self.dead}
        names = ("data", "scale") if self.is_quantizing else ("out",)
        if self.through_ops:
            name = f"{self.op}_out" if outs else self.op
            result = getattr(torch.ops.moe_mlir, name)(x, permutation_map, n_used, **modes,
                                                       **dict(zip(names, outs)))
            return tuple(outs) or (tuple(result) if self.is_quantizing else (result,))
        function = getattr(moe_mlir, self.op)
        if not self.is_quantizing:
            return (function(x, permutation_map, n_used, out=outs[0] if outs else None),)
        result = function(x, permutation_map, n_used, **modes, out=tuple(outs) or None)
        return result.data, result.scale

    def outs(self, fill: int = 0x5A) -> tuple[torch.Tensor, ...]:
        """Outputs of which every byte is `fill`."""
        def make(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
            return torch.full((*shape, dtype.itemsize), fill, dtype=torch.uint8).view(dtype)[..., 0]

        if not self.is_quantizing:
            return (make((M, self.columns), torch.bfloat16),)
        size = oracle.scale_size(M, self.columns)
        shape = (M, self.columns // 32) if self.layout == "linear" else (size,)
        return make((M, self.columns), torch.float8_e4m3fn), make(shape, torch.float8_e8m0fnu)

    def wanted(self, fill: int = 0x5A) -> tuple[torch.Tensor, ...]:
        """What the oracle says of outputs that were full of `fill`."""
        before = [as_bits(out).numpy().view(dtype) for out, dtype in zip(
            self.outs(fill), (oracle.float8_e4m3fn, oracle.float8_e8m0fnu) if self.is_quantizing
            else (oracle.bfloat16,))]
        if not self.is_quantizing:
            function = (permutation.permute_tokens if self.op == "gather_tokens"
                        else getattr(oracle, self.op))
            found = (function(_X, _MAP, np.int32(N_USED), *before),)
        else:
            found = QUANTIZING[self.op](_X, _MAP, np.int32(N_USED), *before, self.layout, self.dead)
        return tuple(from_numpy(a, out.dtype) for a, out in zip(found, self.outs()))

    def assert_written(self, outs: Sequence[torch.Tensor], fill: int = 0x5A) -> None:
        """That `outs`, full of `fill` before, are right to the byte."""
        for found, wanted in zip(outs, self.wanted(fill), strict=True):
            assert found.dtype == wanted.dtype and found.shape == wanted.shape
            assert torch.equal(as_bits(found), as_bits(wanted)), self

    def assert_returned(self, result: Sequence[torch.Tensor]) -> None:
        """That what is defined of new tensors is right to the byte."""
        for found, wanted in zip(result, self.wanted(), strict=True):
            assert found.dtype == wanted.dtype and found.shape == wanted.shape
            found, wanted = as_bits(found), as_bits(wanted)
            if found.shape[0] == M:
                found, wanted = found[LIVE], wanted[LIVE]
            elif self.dead == "untouched":
                continue
            assert torch.equal(found, wanted), self


_FORMS = [("padded_squared_relu", "swizzle_32_4_4", "zero")]
_FORMS += [(op, layout, dead) for op in ("squared_relu_and_quantize_mxfp8", "quantize_mxfp8")
           for layout in ("swizzle_32_4_4", "linear")
           for dead in ("zero", "untouched")]
_FORMS += [("padded_swiglu", "swizzle_32_4_4", "zero"),
           ("swiglu_and_quantize_mxfp8", "linear", "untouched"),
           ("gather_tokens", "swizzle_32_4_4", "zero"),
           ("gather_and_quantize_mxfp8", "swizzle_32_4_4", "untouched")]
CALLS = [Call(*form, through_ops) for through_ops in (False, True) for form in _FORMS]
