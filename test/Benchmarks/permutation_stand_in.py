# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The package's functions of routing and permutation by the oracle, on CPU tensors: for rehearsals
that need no library.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch
from moe_testing import permutation, permutation_batches

NUMPY_TYPES = {torch.bfloat16: ml_dtypes.bfloat16, torch.float8_e4m3fn: ml_dtypes.float8_e4m3fn,
               torch.float8_e8m0fnu: ml_dtypes.float8_e8m0fnu, torch.int32: np.int32,
               torch.int64: np.int64, torch.float32: np.float32}


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw.view(NUMPY_TYPES[tensor.dtype]).reshape(tensor.shape)


def store(tensor: torch.Tensor, array: np.ndarray) -> None:
    raw = torch.from_numpy(np.ascontiguousarray(array).view(np.uint8).reshape(-1))
    tensor.view(torch.uint8).copy_(raw.view(tensor.view(torch.uint8).shape))


class Routing(NamedTuple):
    tokens_per_expert: torch.Tensor
    exclusive_offsets: torch.Tensor
    inclusive_offsets: torch.Tensor
    permutation_map: torch.Tensor
    inverse_map: torch.Tensor
    permuted_probs: torch.Tensor
    n_used: torch.Tensor


def route_tokens(routing_map: torch.Tensor, num_local_experts: int, first_expert: int = 0,
                 valid_tokens: Any = None, probs: Any = None, alignment: int = 1, *, out: Routing,
                 programmatic_launch: bool = False) -> None:
    names = ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets", "permutation_map",
             "inverse_map", "permuted_probs")
    before = permutation.Routing(**{name: as_numpy(getattr(out, name)) for name in names})
    after = permutation.route_tokens(as_numpy(routing_map), int(valid_tokens), first_expert,
                                     alignment, before, as_numpy(probs))
    for name, array in after.arrays().items():
        store(getattr(out, name), array)


def gather_tokens(x: torch.Tensor, permutation_map: torch.Tensor, n_used: torch.Tensor, *,
                  out: torch.Tensor, **hints: Any) -> None:
    store(out, permutation.permute_tokens(as_numpy(x), as_numpy(permutation_map), int(n_used),
                                          as_numpy(out)))


def gather_and_quantize_mxfp8(x: torch.Tensor, permutation_map: torch.Tensor,
                              n_used: torch.Tensor, *, out: Any, **hints: Any) -> None:
    found = permutation.permute_quantize_mxfp8(as_numpy(x), as_numpy(permutation_map), int(n_used),
                                               *map(as_numpy, out))
    for tensor, array in zip(out, found):
        store(tensor, array)


def unpermute_tokens_in_expert_order(y: torch.Tensor, inverse_map: torch.Tensor,
                                     valid_tokens: torch.Tensor, out: torch.Tensor, *,
                                     probs: torch.Tensor, **hints: Any) -> None:
    store(out, permutation.unpermute_tokens(as_numpy(y), as_numpy(inverse_map), int(valid_tokens),
                                            as_numpy(out), as_numpy(probs)))


def permute_tokens(x: torch.Tensor, probs: torch.Tensor, routing_map: torch.Tensor, first: int,
                   local: int, valid_tokens: torch.Tensor, alignment: int = 1,
                   return_batch_invariant_inverse_map: bool = False, **hints: Any) -> tuple:
    rows = permutation_batches.rows_needed(*routing_map.shape, local, alignment)
    counts = [torch.empty(local, dtype=torch.int32) for _ in range(3)]
    routing = Routing(*counts, torch.empty(rows, dtype=torch.int32),
                      torch.empty(routing_map.shape[0], local, dtype=torch.int32),
                      torch.empty(rows), counts[2][-1:])
    route_tokens(routing_map, local, first, valid_tokens, probs, alignment, out=routing)
    out = torch.zeros(rows, x.shape[1], dtype=x.dtype)
    gather_tokens(x, routing.permutation_map, routing.n_used, out=out)
    return (out, routing.permuted_probs, routing.permutation_map, routing.inclusive_offsets,
            routing.inverse_map)


def unpermute_tokens(y: torch.Tensor, probs: torch.Tensor, permutation_map: torch.Tensor,
                     num_tokens: int, n_used: torch.Tensor, valid_tokens: torch.Tensor,
                     out: torch.Tensor, batch_invariant_inverse_map: torch.Tensor,
                     **hints: Any) -> torch.Tensor:
    unpermute_tokens_in_expert_order(y, batch_invariant_inverse_map, valid_tokens, out,
                                     probs=probs)
    return out


FUNCTIONS = (Routing, route_tokens, gather_tokens, gather_and_quantize_mxfp8,
             unpermute_tokens_in_expert_order, permute_tokens, unpermute_tokens)
