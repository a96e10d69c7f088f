# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routing and its way back on NumPy arrays, on the CPU."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from . import _runtime
from ._hints import parse_expected_rows, parse_programmatic_launch
from ._numpy import (
    _BF16,
    _FLOAT32,
    _INT32,
    Array,
    _address,
    _as_array,
    _check_array,
    _check_output,
    _row_stride,
    _vector_address,
)
from ._routing import NO_MATRIX, check_int, index_options

_INDICES = {np.dtype(np.int32): 0, np.dtype(np.int64): 1}
_ROUTE = {dtype: _runtime.make_call_of("route_tokens", options=index_options(number))
          for dtype, number in _INDICES.items()}
_UNPERMUTE = _runtime.make_call_of("unpermute_tokens")


def check_numbers(num_local_experts: Any, first_expert: Any, alignment: Any,
                  row_alignment: Any = 1, first_name: str = "first_expert") -> None:
    check_int("num_local_experts", num_local_experts, 1)
    check_int(first_name, first_expert, -(2**31))
    check_int("alignment", alignment, 1)
    check_int("row_alignment", row_alignment, 1)


def check_routing_map(routing_map: Any) -> None:
    if not isinstance(routing_map, np.ndarray):
        raise TypeError("routing_map: expected a NumPy array, found "
                        f"{type(routing_map).__module__}.{type(routing_map).__qualname__}")
    if routing_map.dtype not in _INDICES:
        raise TypeError(f"routing_map: expected dtype int32 or int64, found {routing_map.dtype}")
    if routing_map.ndim != 2:
        raise ValueError(f"routing_map: expected shape [T, topk], found {list(routing_map.shape)}")


def check_tokens(hidden_states: Array, routing_map: Any) -> None:
    check_routing_map(routing_map)
    if hidden_states.ndim != 2 or hidden_states.shape[0] != routing_map.shape[0]:
        raise ValueError(f"hidden_states: expected shape [{routing_map.shape[0]}, H], a row for each "
                         f"of routing_map, found {list(hidden_states.shape)}")


def _matrix(name: str, array: Array) -> tuple[int, ...]:
    return (array.ctypes.data, *array.shape, _row_stride(name, array))


def _check_matrix(name: str, array: Any, dtype: np.dtype[Any], shape: str) -> None:
    _check_array(name, array, dtype, "")
    if array.ndim != 2:
        raise ValueError(f"{name}: expected shape {shape}, found {list(array.shape)}")


def _check_count(valid_tokens: Any, tokens: int) -> Array:
    return _as_array(tokens if valid_tokens is None else valid_tokens, "valid_tokens")


def route(routing_map: Array, valid_tokens: Any, probs: Any, num_local_experts: int,
          first_expert: int, alignment: int, num_rows: int, programmatic_launch: bool,
          out: Any) -> tuple[Optional[Array], ...]:
    """The arrays of a Routing but n_used."""
    check_routing_map(routing_map)
    check_int("num_rows", num_rows, 0)
    flags = parse_programmatic_launch(programmatic_launch)
    tokens = routing_map.shape[0]
    count = _check_count(valid_tokens, tokens)
    if probs is not None:
        _check_array("probs", probs, _FLOAT32, "")
        if probs.shape != routing_map.shape:
            raise ValueError(f"probs: expected shape {list(routing_map.shape)}, as routing_map, found "
                             f"{list(probs.shape)}")
    shapes = [(num_local_experts,)] * 3 + [(num_rows,), (tokens, num_local_experts)]
    results: list[Any]
    if out is None:
        results = [np.empty(shape, _INT32) for shape in shapes]
        results.append(None if probs is None else np.empty(num_rows, _FLOAT32))
    else:
        results = list(out[:6])
        for name, array, shape in zip(out._fields, results, shapes):
            _check_output(name, array, _INT32, shape)
        if probs is None:
            results[5] = None
        else:
            _check_output("permuted_probs", results[5], _FLOAT32, (num_rows,))
    *vectors, rows, inverse_map, permuted_probs = results
    addresses = [_vector_address(name, array) for name, array in zip(
        ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets", "permutation_map"),
        (*vectors, rows))]
    status = _ROUTE[routing_map.dtype](
        _runtime.CPU, 0, 0, flags, *_matrix("routing_map", routing_map), count.ctypes.data,
        *(NO_MATRIX if probs is None else _matrix("probs", probs)), first_expert, alignment,
        *addresses, num_rows, *_matrix("inverse_map", inverse_map),
        0 if permuted_probs is None else _vector_address("permuted_probs", permuted_probs))
    if status:
        _runtime.raise_last_error(status)
    return tuple(results)


def check_inverse_map(inverse_map: Any, num_tokens: Any) -> None:
    check_int("num_tokens", num_tokens, 0)
    _check_matrix("batch_invariant_inverse_map", inverse_map, _INT32, "[T, E]")
    if inverse_map.shape[0] != num_tokens:
        raise ValueError(f"batch_invariant_inverse_map: expected {num_tokens} rows, one for each "
                         f"token, found {inverse_map.shape[0]}")


def unpermute(y: Array, inverse_map: Any, valid_tokens: Any, probs: Any, out: Any,
              expected_rows: Optional[int], programmatic_launch: bool) -> Array:
    expected = parse_expected_rows(expected_rows)
    flags = parse_programmatic_launch(programmatic_launch)
    _check_matrix("expert_output", y, _BF16, "[R, H]")
    _check_matrix("inverse_map", inverse_map, _INT32, "[T, E]")
    rows, columns = y.shape
    tokens = inverse_map.shape[0]
    count = _check_count(valid_tokens, tokens)
    weights = 0 if probs is None else _address("probs", probs, _FLOAT32, rows)
    if out is None:
        out = np.empty((tokens, columns), _FLOAT32)
    else:
        _check_output("out", out, _FLOAT32, (tokens, columns))
    status = _UNPERMUTE(
        _runtime.CPU, 0, expected, flags, *_matrix("expert_output", y),
        *_matrix("inverse_map", inverse_map), count.ctypes.data, weights, *_matrix("out", out))
    if status:
        _runtime.raise_last_error(status)
    result: Array = out
    return result


def attach_inverse_map(permutation_map: Array, inverse_map: Array) -> None:
    """An array takes no attributes."""


def find_inverse_map(permutation_map: Any) -> None:
    return None


def compute_offsets(tokens_per_expert: Array, alignment: int) -> tuple[Array, Array]:
    _check_array("tokens_per_expert", tokens_per_expert, _INT32, "")
    rows = -(-tokens_per_expert // alignment) * alignment
    inclusive = np.cumsum(rows, dtype=_INT32)
    return inclusive - rows, inclusive


def init_map(permutation_map: Array, n_used: Any) -> None:
    _check_array("permutation_map", permutation_map, _INT32, "")
    used = int(_as_array(n_used).reshape(()))
    permutation_map[: max(used, 0)] = -1
