# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routing and its way back on PyTorch tensors, and as torch.ops.moe_mlir.*:

    route_tokens(routing_map, valid_tokens, probs, num_local_experts, first_expert, alignment,
                 num_rows, programmatic_launch=False)
        -> (tokens_per_expert, exclusive_offsets, inclusive_offsets, permutation_map, inverse_map,
            permuted_probs)
    route_tokens_out(..., *, tokens_per_expert, ..., permuted_probs)
    unpermute_tokens(y, inverse_map, valid_tokens, probs=None, expected_rows=None,
                     programmatic_launch=False) -> out
    unpermute_tokens_out(..., *, out)

Without probs, permuted_probs has no elements.
"""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from . import _runtime
from ._hints import parse_expected_rows, parse_programmatic_launch
from ._routing import NO_MATRIX, check_int, index_options
from ._torch_launch import launch
from ._torch_library import register
from ._torch_operands import (
    check_count,
    check_expected_rows,
    check_matrix,
    check_output,
    check_types,
    check_vector,
    row_stride,
    to_schema,
)

_BF16, _INT32, _INT64, _FLOAT32 = torch.bfloat16, torch.int32, torch.int64, torch.float32
_ROUTE = {dtype: _runtime.make_call_of("route_tokens", options=index_options(number))
          for number, dtype in enumerate((_INT32, _INT64))}
_UNPERMUTE = _runtime.make_call_of("unpermute_tokens")
_RESULTS = ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets", "permutation_map",
            "inverse_map", "permuted_probs")
# What permute_tokens leaves with a permutation_map.
_INVERSE_MAP = "_moe_mlir_inverse_map"

_is_compiling = torch.compiler.is_compiling


def _matrix(name: str, tensor: Tensor) -> tuple[int, ...]:
    return (tensor.data_ptr(), *tensor.shape, row_stride(name, tensor))


#===----------------------------------------------------------------------===#
# Routing
#===----------------------------------------------------------------------===#

def check_routing_map(routing_map: Any) -> None:
    check_types("", routing_map=routing_map)
    if routing_map.dtype not in _ROUTE:
        raise TypeError("routing_map: expected dtype torch.int32 or torch.int64, found "
                        f"{routing_map.dtype}")
    if routing_map.dim() != 2:
        raise ValueError(f"routing_map: expected shape [T, topk], found {list(routing_map.shape)}")


def check_tokens(hidden_states: Tensor, routing_map: Any) -> None:
    check_routing_map(routing_map)
    if hidden_states.dim() != 2 or hidden_states.shape[0] != routing_map.shape[0]:
        raise ValueError(f"hidden_states: expected shape [{routing_map.shape[0]}, H], a row for each "
                         f"of routing_map, found {list(hidden_states.shape)}")


def check_numbers(num_local_experts: Any, first_expert: Any, alignment: Any,
                  row_alignment: Any = 1, first_name: str = "first_expert") -> None:
    for name, value, least in (("num_local_experts", num_local_experts, 1),
                               (first_name, first_expert, -(2**31)),
                               ("alignment", alignment, 1), ("row_alignment", row_alignment, 1)):
        # While a compiler traces, an int may be a symbol, whose value is not known.
        if not isinstance(value, torch.SymInt):
            check_int(name, value, least)


def _check_route(routing_map: Tensor, valid_tokens: Any, probs: Any, num_local_experts: Any,
                 first_expert: Any, alignment: Any, num_rows: Any) -> list[tuple[Any, ...]]:
    """The shapes of the results."""
    check_routing_map(routing_map)
    check_numbers(num_local_experts, first_expert, alignment)
    if not isinstance(num_rows, torch.SymInt):
        check_int("num_rows", num_rows, 0)
    device = routing_map.device
    if not (routing_map.is_cuda or routing_map.is_cpu or routing_map.is_meta):
        raise ValueError("routing_map: expected a tensor on the CPU or a CUDA device, found "
                         f"{device}")
    row_stride("routing_map", routing_map)
    check_count("valid_tokens", valid_tokens, device, "routing_map")
    if probs is not None:
        check_matrix("probs", probs, _FLOAT32, device, "[T, topk]", "routing_map")
        if probs.shape != routing_map.shape:
            raise ValueError(f"probs: expected shape {list(routing_map.shape)}, as routing_map, found "
                             f"{list(probs.shape)}")
        row_stride("probs", probs)
    return [(num_local_experts,)] * 3 + [(num_rows,), (routing_map.shape[0], num_local_experts),
                                         (0 if probs is None else num_rows,)]


def _dtypes() -> list[torch.dtype]:
    return [_INT32] * 5 + [_FLOAT32]


def _run_route(routing_map: Tensor, valid_tokens: Tensor, probs: Optional[Tensor],
               num_local_experts: int, first_expert: int, alignment: int, num_rows: int,
               programmatic_launch: bool = False, **outs: Tensor) -> tuple[Tensor, ...]:
    flags = parse_programmatic_launch(programmatic_launch)
    shapes = _check_route(routing_map, valid_tokens, probs, num_local_experts, first_expert,
                          alignment, num_rows)
    device = routing_map.device
    if outs:
        results = _check_results(shapes, device, outs)
    else:
        results = [torch.empty(shape, dtype=dtype, device=device)
                   for shape, dtype in zip(shapes, _dtypes())]
    *vectors, inverse_map, permuted_probs = results
    launch(_ROUTE[routing_map.dtype], routing_map.get_device(), 0, flags,
           *_matrix("routing_map", routing_map), valid_tokens.data_ptr(),
           *(NO_MATRIX if probs is None else _matrix("probs", probs)), first_expert, alignment,
           *(vector.data_ptr() for vector in vectors), num_rows,
           *_matrix("inverse_map", inverse_map),
           0 if probs is None else permuted_probs.data_ptr())
    return tuple(results)


def _check_results(shapes: list[tuple[Any, ...]], device: torch.device,
                   outs: dict[str, Tensor]) -> list[Tensor]:
    """The outputs in their order."""
    for name, dtype, shape in zip(_RESULTS, _dtypes(), shapes):
        check_output(name, outs[name], dtype, shape, device, "routing_map")
        if len(shape) == 1:
            check_vector(name, outs[name], dtype, device, "E", "routing_map")
        else:
            row_stride(name, outs[name])
    return [outs[name] for name in _RESULTS]


def _fake_route(routing_map: Tensor, valid_tokens: Tensor, probs: Optional[Tensor],
                num_local_experts: Any, first_expert: Any, alignment: Any, num_rows: Any,
                programmatic_launch: bool = False) -> tuple[Tensor, ...]:
    shapes = _check_route(routing_map, valid_tokens, probs, num_local_experts, first_expert,
                          alignment, num_rows)
    return tuple(routing_map.new_empty(shape, dtype=dtype)
                 for shape, dtype in zip(shapes, _dtypes()))


def _run_route_out(routing_map: Tensor, valid_tokens: Tensor, probs: Optional[Tensor],
                   num_local_experts: int, first_expert: int, alignment: int, num_rows: int,
                   programmatic_launch: bool = False, **outs: Tensor) -> None:
    _run_route(routing_map, valid_tokens, probs, num_local_experts, first_expert, alignment,
               num_rows, programmatic_launch, **outs)


def _fake_route_out(routing_map: Tensor, valid_tokens: Tensor, probs: Optional[Tensor],
                    num_local_experts: Any, first_expert: Any, alignment: Any, num_rows: Any,
                    programmatic_launch: bool = False, **outs: Tensor) -> None:
    shapes = _check_route(routing_map, valid_tokens, probs, num_local_experts, first_expert,
                          alignment, num_rows)
    _check_results(shapes, routing_map.device, outs)


_ROUTE_SCHEMA = ("Tensor routing_map, Tensor valid_tokens, Tensor? probs, SymInt num_local_experts, "
                 "SymInt first_expert, SymInt alignment, SymInt num_rows, "
                 "bool programmatic_launch=False")
_route = register(
    f"route_tokens({_ROUTE_SCHEMA}) -> ({', '.join(f'Tensor {name}' for name in _RESULTS)})",
    _run_route, _fake_route)
_route_out = register(
    f"route_tokens_out({_ROUTE_SCHEMA}, *, "
    + ", ".join(f"Tensor({letter}!) {name}" for letter, name in zip("abcdef", _RESULTS)) + ") -> ()",
    _run_route_out, _fake_route_out, function="route_tokens")


def _count(valid_tokens: Any, like: Tensor) -> Tensor:
    """valid_tokens, which may be left out."""
    if valid_tokens is None:
        return torch.full((), like.shape[0], dtype=_INT32, device=like.device)
    check_types(" as routing_map is one", valid_tokens=valid_tokens)
    count: Tensor = valid_tokens
    return count


def route(routing_map: Any, valid_tokens: Any, probs: Any, num_local_experts: Any,
          first_expert: Any, alignment: Any, num_rows: Any, programmatic_launch: bool,
          out: Any) -> tuple[Any, ...]:
    """The tensors of a Routing but n_used."""
    check_routing_map(routing_map)
    if not isinstance(num_rows, torch.SymInt):
        check_int("num_rows", num_rows, 0)
    _, programmatic_launch = to_schema(None, programmatic_launch)
    if probs is not None:
        check_types(" as routing_map is one", probs=probs)
    arguments = (routing_map, _count(valid_tokens, routing_map), probs, num_local_experts,
                 first_expert, alignment, num_rows, programmatic_launch)
    if out is None:
        results = tuple(_route(*arguments))
    else:
        results = tuple(out[:6])
        if probs is None:
            # Nothing is written there.
            results = (*results[:5], routing_map.new_empty(0, dtype=_FLOAT32))
        outs = dict(zip(_RESULTS, results))
        check_types(" as routing_map is one", **outs)
        _route_out(*arguments, **outs)
    return results if probs is not None else (*results[:5], None)


#===----------------------------------------------------------------------===#
# The way back
#===----------------------------------------------------------------------===#

def check_inverse_map(inverse_map: Any, num_tokens: Any) -> None:
    if not isinstance(num_tokens, torch.SymInt):
        check_int("num_tokens", num_tokens, 0)
    check_types(" as expert_output is one", batch_invariant_inverse_map=inverse_map)
    if inverse_map.dim() != 2 or inverse_map.shape[0] != num_tokens:
        raise ValueError(f"batch_invariant_inverse_map: expected shape [{num_tokens}, E], a row for "
                         f"each token, found {list(inverse_map.shape)}")


def _check_unpermute(y: Tensor, inverse_map: Any, valid_tokens: Any,
                     probs: Any) -> tuple[Any, Any]:
    """The shape of the result."""
    device = y.device
    if not (y.is_cuda or y.is_cpu or y.is_meta):
        raise ValueError(f"y: expected a tensor on the CPU or a CUDA device, found {device}")
    check_matrix("y", y, _BF16, device, "[R, H]", "y")
    check_matrix("inverse_map", inverse_map, _INT32, device, "[T, E]", "y")
    check_count("valid_tokens", valid_tokens, device, "y")
    row_stride("y", y)
    row_stride("inverse_map", inverse_map)
    if probs is not None:
        size = check_vector("probs", probs, _FLOAT32, device, "R", "y")
        if size != y.shape[0]:
            raise ValueError(f"probs: expected shape [{y.shape[0]}], an entry for each row of y, "
                             f"found [{size}]")
    return inverse_map.shape[0], y.shape[1]


def _run_unpermute(y: Tensor, inverse_map: Tensor, valid_tokens: Tensor,
                   probs: Optional[Tensor] = None, expected_rows: Optional[int] = None,
                   programmatic_launch: bool = False, *, out: Optional[Tensor] = None) -> Tensor:
    expected = parse_expected_rows(expected_rows)
    flags = parse_programmatic_launch(programmatic_launch)
    shape = _check_unpermute(y, inverse_map, valid_tokens, probs)
    if out is None:
        out = torch.empty(shape, dtype=_FLOAT32, device=y.device)
    else:
        check_output("out", out, _FLOAT32, shape, y.device, "y")
    launch(_UNPERMUTE, y.get_device(), expected, flags, *_matrix("y", y),
           *_matrix("inverse_map", inverse_map), valid_tokens.data_ptr(),
           0 if probs is None else probs.data_ptr(), *_matrix("out", out))
    return out


def _fake_unpermute(y: Tensor, inverse_map: Tensor, valid_tokens: Tensor,
                    probs: Optional[Tensor] = None, expected_rows: Any = None,
                    programmatic_launch: bool = False) -> Tensor:
    check_expected_rows(expected_rows)
    return y.new_empty(_check_unpermute(y, inverse_map, valid_tokens, probs), dtype=_FLOAT32)


def _run_unpermute_out(y: Tensor, inverse_map: Tensor, valid_tokens: Tensor,
                       probs: Optional[Tensor] = None, expected_rows: Optional[int] = None,
                       programmatic_launch: bool = False, *, out: Tensor) -> None:
    _run_unpermute(y, inverse_map, valid_tokens, probs, expected_rows, programmatic_launch, out=out)


def _fake_unpermute_out(y: Tensor, inverse_map: Tensor, valid_tokens: Tensor,
                        probs: Optional[Tensor] = None, expected_rows: Any = None,
                        programmatic_launch: bool = False, *, out: Tensor) -> None:
    check_expected_rows(expected_rows)
    check_output("out", out, _FLOAT32, _check_unpermute(y, inverse_map, valid_tokens, probs),
                 y.device, "y")
    row_stride("out", out)


_UNPERMUTE_SCHEMA = ("Tensor y, Tensor inverse_map, Tensor valid_tokens, Tensor? probs=None, "
                     "SymInt? expected_rows=None, bool programmatic_launch=False")
_unpermute = register(f"unpermute_tokens({_UNPERMUTE_SCHEMA}) -> Tensor", _run_unpermute,
                      _fake_unpermute)
_unpermute_out = register(f"unpermute_tokens_out({_UNPERMUTE_SCHEMA}, *, Tensor(a!) out) -> ()",
                          _run_unpermute_out, _fake_unpermute_out, function="unpermute_tokens")


def unpermute(y: Any, inverse_map: Any, valid_tokens: Any, probs: Any, out: Any, expected_rows: Any,
              programmatic_launch: Any) -> Any:
    check_types(" as expert_output is one", inverse_map=inverse_map,
                **({} if probs is None else {"probs": probs}))
    arguments = (y, inverse_map, _count(valid_tokens, inverse_map), probs,
                 *to_schema(expected_rows, programmatic_launch))
    if out is None:
        return _unpermute(*arguments)
    check_types(" as expert_output is one", out=out)
    _unpermute_out(*arguments, out=out)
    return out


def attach_inverse_map(permutation_map: Tensor, inverse_map: Tensor) -> None:
    """So that find_inverse_map finds it."""
    if not _is_compiling():
        setattr(permutation_map, _INVERSE_MAP, inverse_map)


def find_inverse_map(permutation_map: Any) -> Any:
    """None if it has none."""
    return None if _is_compiling() else getattr(permutation_map, _INVERSE_MAP, None)


#===----------------------------------------------------------------------===#
# Of other steps
#===----------------------------------------------------------------------===#

def compute_offsets(tokens_per_expert: Tensor, alignment: int) -> tuple[Tensor, Tensor]:
    check_vector("tokens_per_expert", tokens_per_expert, _INT32, tokens_per_expert.device, "E",
                 "tokens_per_expert")
    rows = (tokens_per_expert + (alignment - 1)).div_(alignment, rounding_mode="floor").mul_(alignment)
    inclusive = rows.cumsum(0, dtype=_INT32)
    return inclusive - rows, inclusive


def init_map(permutation_map: Tensor, n_used: Any) -> None:
    device = permutation_map.device
    size = check_vector("permutation_map", permutation_map, _INT32, device, "R", "permutation_map")
    check_count("n_used", n_used, device, "permutation_map")
    permutation_map.masked_fill_(torch.arange(size, device=device) < n_used, -1)
