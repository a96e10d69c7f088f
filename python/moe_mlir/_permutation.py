# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What brings tokens to their experts and back, under the names that Megatron-Core has, and
route_tokens, which is the first step of all of it in one kernel.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, Optional

import numpy as np

from . import _numpy_permutation
from ._modes import DeadScales, ScaleLayout
from ._ops import gather_and_quantize_mxfp8, gather_tokens

__all__ = [
    "Routing",
    "compute_expert_offsets",
    "compute_local_tokens_per_expert",
    "init_permutation_map",
    "permute_and_quantize_mxfp8",
    "permute_tokens",
    "route_tokens",
    "unpermute_tokens",
    "unpermute_tokens_in_expert_order",
]

# The rows of a tile of swizzled scales.
_SCALE_ROWS = 128


class Routing(NamedTuple):
    """Which rows the tokens of each local expert have: what route_tokens returns.

    Attributes:
        tokens_per_expert: int32 [E], the tokens of each.
        exclusive_offsets: int32 [E], the first row of each.
        inclusive_offsets: int32 [E], the row behind the last of each; the offsets that grouped GEMMs
            take.
        permutation_map: int32 [R], the token of each row, -1 for padding.
        inverse_map: int32 [T, E], the row of a token at an expert, -1 for none.
        permuted_probs: float32 [R], the factor of each row; None without probs.
        n_used: int32 [1], the rows that are used: the last of inclusive_offsets, of which it is a
            view.
    """

    tokens_per_expert: Any
    exclusive_offsets: Any
    inclusive_offsets: Any
    permutation_map: Any
    inverse_map: Any
    permuted_probs: Any
    n_used: Any


def _backend(name: str, array: Any) -> Any:
    """The module that has the functions for an array of this type."""
    if isinstance(array, np.ndarray):
        return _numpy_permutation
    torch = sys.modules.get("torch")
    if torch is not None and (isinstance(array, torch.Tensor)
                              or hasattr(type(array), "__torch_function__")):
        from . import _torch_permutation

        return _torch_permutation
    raise TypeError(f"{name}: expected a NumPy array or a PyTorch tensor, found "
                    f"{type(array).__module__}.{type(array).__qualname__}")


def _count_rows(shape: Any, num_local_experts: Any, alignment: Any, row_alignment: Any = 1) -> Any:
    """Rows that are enough for whatever a routing_map of this shape says, if no token has an expert
    twice.
    """
    tokens, choices = shape
    rows = tokens * min(choices, num_local_experts) + alignment * num_local_experts
    return -(-rows // row_alignment) * row_alignment


def route_tokens(
    routing_map: Any, num_local_experts: int, first_expert: int = 0, valid_tokens: Any = None,
    probs: Any = None, alignment: int = 1, *,
    num_rows: Optional[int] = None, out: Optional[Routing] = None, programmatic_launch: bool = False,
) -> Routing:
    """Counts, offsets and maps of the tokens of the local experts, in one kernel.

    Token t has the experts routing_map[t, :], of which those are local that are at first_expert or
    up to num_local_experts - 1 behind it. Each pair of a token below valid_tokens and a local expert
    has a row: those of an expert lie one after the other, in the order of tokens, and their number
    is rounded up to a multiple of `alignment`, 0 for an expert without tokens. The order is always
    the same, so that all results are, on every device.

    A token that has an expert twice has two rows, of which inverse_map has the last. What is past
    the last row is not written, as is inverse_map of tokens at or past valid_tokens: undefined in a
    result that is allocated here. Where there are more rows than num_rows those that fit are right,
    and the offsets say how many there should have been.

    All operands are NumPy arrays, or tensors of one device. On CUDA the kernel is launched on the
    current stream and nothing waits for it; the host reads no value, so that a CUDA graph can
    capture the call, whose replays follow what routing_map, probs and valid_tokens hold then. There
    is no gradient, as padded_squared_relu says.

    Args:
        routing_map: int32 or int64 [T, topk]. The elements of a row are consecutive.
        num_local_experts: E, from 1 to 2048.
        first_expert: the number of the first local expert.
        valid_tokens: one int32, shape [] or [1], on routing_map's device; with NumPy arrays also a
            Python int. Below 0 counts as 0, above T as T. None is T; for tensors that is one more
            launch, which fills a new one.
        probs: float32 [T, topk], the factor of each pair, or None.
        alignment: at least 1; 16 for PyTorch's grouped_mm in bf16, 128 for scales in tiles.
        num_rows: R, the size of the maps of rows; None for what is always enough,
            T * min(topk, E) + alignment * E.
        out: a Routing whose arrays are written, apart from the inputs and each other; nothing is
            allocated then. Its n_used is not looked at.
        programmatic_launch: as for padded_squared_relu.

    Returns:
        A Routing of new arrays, or of those of `out`.

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device, overlap or number is wrong, or T * topk + E * alignment
            is 2^31 or more.
        MoeRuntimeError: the device or its driver cannot run the op.
        RuntimeError: `out` is given, and autograd would need a gradient.

    Source: core.inference.moe.permute of Megatron-Core, compute_local_tokens_per_expert,
    compute_expert_offsets, init_permutation_map, and a part of permute_tokens.
    """
    backend = _backend("routing_map", routing_map)
    backend.check_numbers(num_local_experts, first_expert, alignment)
    if num_rows is None:
        if out is not None:
            num_rows = out.permutation_map.shape[0]
        else:
            backend.check_routing_map(routing_map)
            num_rows = _count_rows(routing_map.shape, num_local_experts, alignment)
    tokens, exclusive, inclusive, rows, inverse, weights = backend.route(
        routing_map, valid_tokens, probs, num_local_experts, first_expert, alignment, num_rows,
        programmatic_launch, out)
    return Routing(tokens, exclusive, inclusive, rows, inverse, weights, inclusive[-1:])


def permute_tokens(
    hidden_states: Any, probs: Any, routing_map: Any, local_expert_start: int,
    num_local_experts: int, valid_tokens: Any, alignment: int = 1,
    return_batch_invariant_inverse_map: bool = False, row_alignment: int = 1,
    zero_padding: bool = False, *,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> tuple[Any, ...]:
    """The tokens in the order of their experts; a drop-in for the function of Megatron-Core.

    route_tokens and gather_tokens, two kernels: what they say about arguments and results holds
    here. The order of an expert's rows is that of the tokens, always; Megatron-Core's is that in
    which its atomics came to pass.

    Of tensors, the permutation_map has its inverse map with it, so that unpermute_tokens finds it,
    but not where torch.compile traces. A view or copy of permutation_map has not.

    Args:
        hidden_states: bfloat16 [T, H].
        probs: float32 [T, topk].
        routing_map: int32 or int64 [T, topk].
        local_expert_start: the number of the first local expert.
        num_local_experts: E.
        valid_tokens: one int32, as route_tokens takes it.
        alignment: of the rows of an expert.
        return_batch_invariant_inverse_map: whether to return the inverse map too.
        row_alignment: a number of which R is a multiple.
        zero_padding: whether the rows of padding become zeros.
        expected_rows: of gather_tokens.
        programmatic_launch: of both.

    Returns:
        hidden states, bfloat16 [R, H]; probs, float32 [R]; permutation_map, int32 [R]; the
        inclusive offsets, int32 [E], of which the last is n_used; and, if it is asked for, the
        inverse map, int32 [T, E].

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device or number is wrong.
        MoeRuntimeError: the device or its driver cannot run the op.

    Source: core.inference.moe.permute.permute_tokens of Megatron-Core.
    """
    routing = _route(hidden_states, probs, routing_map, local_expert_start, num_local_experts,
                     valid_tokens, alignment, row_alignment, programmatic_launch)
    permuted = gather_tokens(hidden_states, routing.permutation_map, routing.n_used,
                             zero_padding=zero_padding, expected_rows=expected_rows,
                             programmatic_launch=programmatic_launch)
    return _results(permuted, routing, return_batch_invariant_inverse_map)


def permute_and_quantize_mxfp8(
    hidden_states: Any, probs: Any, routing_map: Any, local_expert_start: int,
    num_local_experts: int, valid_tokens: Any, alignment: int = 128, *,
    return_batch_invariant_inverse_map: bool = False,
    scale_layout: ScaleLayout = "swizzle_32_4_4", dead_scales: DeadScales = "zero",
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> tuple[Any, ...]:
    """permute_tokens, quantised to MXFP8; a drop-in for the function of Megatron-Core.

    route_tokens and gather_and_quantize_mxfp8, two kernels. R is a multiple of 128. With
    dead_scales="zero" every byte of the scales is defined, and nothing is cleared before.

    Args:
        hidden_states: bfloat16 [T, H], H a multiple of 32.
        probs: as for permute_tokens.
        routing_map: as for permute_tokens.
        local_expert_start: as for permute_tokens.
        num_local_experts: as for permute_tokens.
        valid_tokens: as for permute_tokens.
        alignment: as for permute_tokens; block-scaled grouped GEMMs need 128 for scales in tiles.
        return_batch_invariant_inverse_map: as for permute_tokens.
        scale_layout: as for quantize_mxfp8.
        dead_scales: as for quantize_mxfp8.
        expected_rows: as for permute_tokens.
        programmatic_launch: as for permute_tokens.

    Returns:
        What permute_tokens does, with an MXFP8 for the hidden states.

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device, number or mode is wrong.
        MoeRuntimeError: the device or its driver cannot run the op.

    Source: core.inference.moe.permute.permute_and_quantize_mxfp8 of Megatron-Core.
    """
    routing = _route(hidden_states, probs, routing_map, local_expert_start, num_local_experts,
                     valid_tokens, alignment, _SCALE_ROWS, programmatic_launch)
    permuted = gather_and_quantize_mxfp8(
        hidden_states, routing.permutation_map, routing.n_used, scale_layout=scale_layout,
        dead_scales=dead_scales, expected_rows=expected_rows,
        programmatic_launch=programmatic_launch)
    return _results(permuted, routing, return_batch_invariant_inverse_map)


def _route(hidden_states: Any, probs: Any, routing_map: Any, first_expert: int,
           num_local_experts: int, valid_tokens: Any, alignment: int, row_alignment: int,
           programmatic_launch: bool) -> Routing:
    """route_tokens of arguments that belong together."""
    backend = _backend("hidden_states", hidden_states)
    backend.check_numbers(num_local_experts, first_expert, alignment, row_alignment,
                          "local_expert_start")
    backend.check_tokens(hidden_states, routing_map)
    rows = _count_rows(routing_map.shape, num_local_experts, alignment, row_alignment)
    return route_tokens(routing_map, num_local_experts, first_expert, valid_tokens, probs, alignment,
                        num_rows=rows, programmatic_launch=programmatic_launch)


def _results(permuted: Any, routing: Routing, returns_inverse_map: bool) -> tuple[Any, ...]:
    permutation_map, inverse_map = routing.permutation_map, routing.inverse_map
    _backend("permutation_map", permutation_map).attach_inverse_map(permutation_map, inverse_map)
    results = (permuted, routing.permuted_probs, permutation_map, routing.inclusive_offsets)
    return (*results, inverse_map) if returns_inverse_map else results


def unpermute_tokens(
    expert_output: Any, permuted_probs: Any, permutation_map: Any, num_tokens: int, n_used: Any,
    valid_tokens: Any, out: Any = None, batch_invariant_inverse_map: Any = None, *,
    expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> Any:
    """The sum of what experts gave for each token; a drop-in for the function of Megatron-Core.

    unpermute_tokens_in_expert_order with the inverse map that belongs to permutation_map:
    batch_invariant_inverse_map, or the one that permute_tokens left with it. Of neither is there a
    way from other maps: that is refused. The sum is in the order of the experts, always, one kernel
    without a pass that clears; Megatron-Core's is in the order in which its atomics come to pass.

    Args:
        expert_output: bfloat16 [R, H].
        permuted_probs: float32 [R] by which rows are multiplied in float32, or None. Unlike with
            Megatron-Core's batch-invariant mode, they are applied if they are given.
        permutation_map: int32 [R], from permute_tokens. No element is read.
        num_tokens: T.
        n_used: what belongs to permutation_map. It is not read.
        valid_tokens: one int32, as route_tokens takes it: rows at or past it are not written.
        out: float32 [T, H] for the result, apart from the inputs; nothing is allocated then.
        batch_invariant_inverse_map: int32 [T, E], or None.
        expected_rows: as for padded_squared_relu, of tokens.
        programmatic_launch: as for padded_squared_relu.

    Returns:
        `out`, or a new float32 [T, H].

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device or overlap is wrong, or there is no inverse map.
        MoeRuntimeError: the device or its driver cannot run the op.
        RuntimeError: `out` is given, and autograd would need a gradient.

    Source: core.inference.moe.permute.unpermute_tokens of Megatron-Core.
    """
    backend = _backend("expert_output", expert_output)
    inverse_map = batch_invariant_inverse_map
    if inverse_map is None:
        inverse_map = backend.find_inverse_map(permutation_map)
    if inverse_map is None:
        raise ValueError(
            "permutation_map: expected one that permute_tokens returned, with its inverse map, or "
            "batch_invariant_inverse_map, found neither; of arrays, and where torch.compile traces, "
            "permute_tokens returns the inverse map for return_batch_invariant_inverse_map=True")
    backend.check_inverse_map(inverse_map, num_tokens)
    return backend.unpermute(expert_output, inverse_map, valid_tokens, permuted_probs, out,
                             expected_rows, programmatic_launch)


def unpermute_tokens_in_expert_order(
    expert_output: Any, inverse_map: Any, valid_tokens: Any, out: Any = None, *,
    probs: Any = None, expected_rows: Optional[int] = None, programmatic_launch: bool = False,
) -> Any:
    """The sum of what experts gave for each token, in the order of the experts.

    For every token t below valid_tokens, beginning with 0, for every e in turn whose row
    r = inverse_map[t, e] is not negative and below R,

        out[t, c] = f32(out[t, c] + f32(expert_output[r, c] * probs[r]))

    or without the product where there are no probs. A NaN is 0x7fffffff. Rows at or past
    valid_tokens are not written. So a token's result depends on nothing but its own rows, and is
    the same to the bit on every device. There is no gradient, as padded_squared_relu says.

    Args:
        expert_output: bfloat16 [R, H]. The elements of a row are consecutive.
        inverse_map: int32 [T, E], as route_tokens gives it.
        valid_tokens: one int32, as route_tokens takes it.
        out: float32 [T, H] for the result, apart from the inputs; nothing is allocated then.
        probs: float32 [R], or None.
        expected_rows: as for padded_squared_relu, of tokens.
        programmatic_launch: as for padded_squared_relu.

    Returns:
        `out`, or a new float32 [T, H].

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device or overlap is wrong, or expected_rows is negative.
        MoeRuntimeError: the device or its driver cannot run the op.
        RuntimeError: `out` is given, and autograd would need a gradient.

    Source: core.inference.moe.batch_invariant.unpermute_tokens_in_expert_order of Megatron-Core.
    """
    backend = _backend("expert_output", expert_output)
    return backend.unpermute(expert_output, inverse_map, valid_tokens, probs, out, expected_rows,
                             programmatic_launch)


def compute_local_tokens_per_expert(
    routing_map: Any, local_expert_start: int, num_local_experts: int, valid_tokens: Any,
    persistent: bool = False,
) -> Any:
    """How many tokens each local expert has; a drop-in for the function of Megatron-Core.

    tokens_per_expert of route_tokens, which has the offsets and maps as well, in the same kernel.

    Args:
        routing_map: int32 or int64 [T, topk].
        local_expert_start: the number of the first local expert.
        num_local_experts: E.
        valid_tokens: one int32, as route_tokens takes it.
        persistent: changes nothing.

    Returns:
        int32 [E].

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size, stride, device or number is wrong.
        MoeRuntimeError: the device or its driver cannot run the op.

    Source: core.inference.moe.permute.compute_local_tokens_per_expert of Megatron-Core.
    """
    backend = _backend("routing_map", routing_map)
    backend.check_numbers(num_local_experts, local_expert_start, 1, 1, "local_expert_start")
    return route_tokens(routing_map, num_local_experts, local_expert_start, valid_tokens,
                        num_rows=0).tokens_per_expert


def compute_expert_offsets(tokens_per_expert: Any, alignment: int = 1) -> tuple[Any, Any]:
    """Exclusive and inclusive sums of rows; a drop-in for the function of Megatron-Core.

    The rows of an expert are its tokens, rounded up to a multiple of `alignment`. A few calls of
    NumPy or PyTorch; route_tokens has them in its one kernel.

    Args:
        tokens_per_expert: int32 [E].
        alignment: at least 1.

    Returns:
        The exclusive and the inclusive offsets, int32 [E] both.

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size or number is wrong.

    Source: core.inference.moe.permute.compute_expert_offsets of Megatron-Core.
    """
    backend = _backend("tokens_per_expert", tokens_per_expert)
    backend.check_numbers(1, 0, alignment)
    offsets: tuple[Any, Any] = backend.compute_offsets(tokens_per_expert, alignment)
    return offsets


def init_permutation_map(permutation_map: Any, n_used: Any) -> None:
    """Writes -1 to permutation_map below n_used; a drop-in for the function of Megatron-Core.

    A few calls of NumPy or PyTorch; route_tokens writes all of the map in its one kernel.

    Args:
        permutation_map: int32 [R].
        n_used: one int32, shape [] or [1]; with NumPy arrays also a Python int.

    Raises:
        TypeError: the type or dtype of an argument is wrong.
        ValueError: a size or device is wrong.

    Source: core.inference.moe.permute.init_permutation_map of Megatron-Core.
    """
    _backend("permutation_map", permutation_map).init_map(permutation_map, n_used)
