# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Stands in for Megatron-Core's module of this name: a dataclass with the same members."""

from dataclasses import dataclass

import torch


@dataclass
class MXFP8Tensor:
    data: torch.Tensor
    scale: torch.Tensor
    backend: str | None = None

    def size(self, idx: int | None = None):
        return self.data.size(idx)

    def scale_2d(self, K: int | None = None) -> torch.Tensor:
        if self.scale.dim() == 2:
            return self.scale
        columns = self.data.shape[-1] if K is None else K
        return self.scale.reshape(-1, (columns + 127) // 128 * 4)
