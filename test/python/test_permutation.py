# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routing, permuting and unpermuting NumPy arrays: every byte against the oracle, and every error."""

from __future__ import annotations

from typing import Any

import moe_mlir
import numpy as np
import pytest
from moe_mlir import Routing
from moe_testing import oracle, permutation, permutation_batches
from moe_testing.permutation_batches import TokenBatch

RARE = permutation_batches.rare_batches()
PLAIN = RARE["plain"]
FIELDS = ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets", "permutation_map",
          "inverse_map", "permuted_probs")


def assert_same(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype and found.shape == wanted.shape, name
    assert np.array_equal(oracle.bits(found), oracle.bits(wanted)), name


def route(batch: TokenBatch, **more: Any) -> Routing:
    return moe_mlir.route_tokens(batch.routing_map, batch.experts, batch.first_expert,
                                 batch.valid_tokens, batch.probs, batch.alignment, **more)


def outs(batch: TokenBatch) -> Routing:
    """What the oracle starts from."""
    before = batch.before()
    return Routing(*(getattr(before, name) for name in FIELDS), before.n_used)


@pytest.mark.parametrize("name", RARE)
def test_routing(name: str) -> None:
    """With given outputs every byte; what is defined of new ones."""
    batch = RARE[name]
    wanted, found = batch.routed().arrays(), outs(batch)
    result = route(batch, out=found)
    for field, array in wanted.items():
        assert_same(field, getattr(result, field), array)
        assert getattr(result, field) is getattr(found, field)
    assert np.shares_memory(result.n_used, found.inclusive_offsets)
    assert result.n_used.tolist() == [wanted["inclusive_offsets"][-1]]

    new = route(batch, num_rows=batch.rows)
    used = min(int(new.n_used[0]), batch.rows)
    valid = permutation.clamped_tokens(batch.valid_tokens, batch.T)
    for field in FIELDS[:3]:
        assert_same(field, getattr(new, field), wanted[field])
    assert_same("map", new.permutation_map[:used], wanted["permutation_map"][:used])
    assert_same("inverse", new.inverse_map[:valid], wanted["inverse_map"][:valid])
    assert (new.permuted_probs is None) == (batch.probs is None)
    if batch.probs is not None:
        live = new.permutation_map[:used] >= 0
        assert_same("probs", new.permuted_probs[:used][live], wanted["permuted_probs"][:used][live])


def test_routing_defaults() -> None:
    batch = PLAIN
    routing = moe_mlir.route_tokens(batch.routing_map, 16)
    whole = permutation.route_tokens(
        batch.routing_map, batch.T, 0, 1,
        permutation.Routing.filled(batch.T, 16, batch.T * batch.top_k + 16))
    assert routing.permuted_probs is None
    assert routing.permutation_map.shape == (batch.T * batch.top_k + 16,)
    assert_same("offsets", routing.inclusive_offsets, whole.inclusive_offsets)
    assert_same("inverse", routing.inverse_map, whole.inverse_map)
    # Of fewer experts than choices, a token can have no more.
    assert moe_mlir.route_tokens(batch.routing_map, 2, alignment=8).permutation_map.size == (
        batch.T * 2 + 16)


def test_routing_by_numbers_of_numpy() -> None:
    found = moe_mlir.route_tokens(PLAIN.routing_map, np.int64(6), np.int32(4),
                                  np.array([17], np.int32), alignment=np.int8(16))
    wanted = moe_mlir.route_tokens(PLAIN.routing_map, 6, 4, 17, alignment=16)
    assert_same("offsets", found.inclusive_offsets, wanted.inclusive_offsets)


def test_rows_apart() -> None:
    batch = PLAIN
    wide = np.full((batch.T, batch.top_k + 3), 7, np.int32)
    wide[:, : batch.top_k] = batch.routing_map
    places = np.full((batch.T, batch.experts + 2), 99, np.int32)
    found = outs(batch)._replace(inverse_map=places[:, : batch.experts])
    moe_mlir.route_tokens(wide[:, : batch.top_k], batch.experts, batch.first_expert,
                          batch.valid_tokens, batch.probs, batch.alignment, out=found)
    assert_same("inverse", places[:, : batch.experts], batch.routed().inverse_map)
    assert (places[:, batch.experts :] == 99).all()


def permute(batch: TokenBatch, x: np.ndarray, function: Any = moe_mlir.permute_tokens,
            **more: Any) -> tuple[Any, ...]:
    return function(x, batch.probs, batch.routing_map, batch.first_expert, batch.experts,
                    batch.valid_tokens, batch.alignment, **more)


@pytest.mark.parametrize("zero_padding", [False, True])
@pytest.mark.parametrize("name", ["plain", "i64", "duplicates", "valid_tokens 17", "alignment 128",
                                  "no local pair", "no token"])
def test_permuting(name: str, zero_padding: bool) -> None:
    batch = RARE[name]
    x = permutation_batches.odd_tokens(batch.T, 96)
    rows, probs, places, offsets, inverse = permute(
        batch, x, zero_padding=zero_padding, return_batch_invariant_inverse_map=True)
    routing = route(batch, num_rows=rows.shape[0])
    assert rows.shape[0] == permutation_batches.rows_needed(batch.T, batch.top_k, batch.experts,
                                                            batch.alignment)
    used = min(int(offsets[-1]), rows.shape[0])
    live = permutation.live_rows(places, used, batch.T)
    assert_same("map", places[:used], routing.permutation_map[:used])
    assert_same("offsets", offsets, routing.inclusive_offsets)
    assert_same("probs", probs[live], routing.permuted_probs[live])
    valid = permutation.clamped_tokens(batch.valid_tokens, batch.T)
    assert_same("inverse", inverse[:valid], routing.inverse_map[:valid])
    assert_same("rows", rows[live], x[places[live]])
    if zero_padding:
        assert not oracle.bits(rows)[:used][~live[:used]].any()
    assert len(permute(batch, x)) == 4


def test_permuting_refuses() -> None:
    batch, x = PLAIN, permutation_batches.tokens(PLAIN.T, 32)
    good: dict[str, Any] = {"hidden_states": x, "probs": batch.probs,
                            "routing_map": batch.routing_map, "local_expert_start": 4,
                            "num_local_experts": 6, "valid_tokens": 40}
    for changes, message in [
        ({"hidden_states": x[1:]}, r"hidden_states: expected shape \[40, H\], a row for each of"),
        ({"hidden_states": [1]}, "hidden_states: expected a NumPy array or a PyTorch tensor, found"),
        ({"local_expert_start": 1.5}, "local_expert_start: expected an int, found builtins.float"),
        ({"alignment": 0}, "alignment: expected from 1 to"),
        ({"row_alignment": 0}, "row_alignment: expected from 1 to"),
        ({"zero_padding": "yes"}, "zero_padding: expected a bool, found str"),
        ({"probs": None, "valid_tokens": None, "routing_map": None}, "routing_map: expected a NumPy"),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            moe_mlir.permute_tokens(**{**good, **changes})
    with pytest.raises(TypeError, match="^local_expert_start: expected an int"):
        moe_mlir.compute_local_tokens_per_expert(batch.routing_map, "0", 6, 40)


def test_the_rows_that_permuting_makes() -> None:
    x = permutation_batches.tokens(PLAIN.T, 32)
    assert permute(PLAIN, x, row_alignment=100)[0].shape == (300, 32)
    assert permute(PLAIN, x)[0].shape == (PLAIN.T * 4 + 16 * 6, 32)
    assert permute(PLAIN, x, moe_mlir.permute_and_quantize_mxfp8)[0].data.shape == (256, 32)


@pytest.mark.parametrize(("layout", "dead"), [("swizzle_32_4_4", "zero"), ("linear", "zero"),
                                              ("swizzle_32_4_4", "untouched")])
def test_permuting_and_quantizing(layout: Any, dead: Any) -> None:
    batch = PLAIN
    x = permutation_batches.odd_tokens(batch.T, 96)
    q, probs, places, offsets, inverse = permute(
        batch, x, moe_mlir.permute_and_quantize_mxfp8, scale_layout=layout, dead_scales=dead,
        return_batch_invariant_inverse_map=True)
    R = places.size
    assert R % 128 == 0 and q.scale_layout == layout
    data, scale = permutation.permute_quantize_mxfp8(
        x, places, offsets[-1:], np.zeros((R, 96), oracle.float8_e4m3fn),
        np.zeros(q.scale.shape, oracle.float8_e8m0fnu), layout, dead)
    live = permutation.live_rows(places, offsets[-1:], batch.T)
    assert_same("data", q.data[live], data[live])
    if dead == "zero":
        assert_same("scale", q.scale, scale)
    routing = route(batch, num_rows=R)
    assert_same("inverse", inverse, routing.inverse_map)
    assert_same("probs", probs[live], routing.permuted_probs[live])


@pytest.mark.parametrize("zero_padding", [False, True])
def test_gathering_into(zero_padding: bool) -> None:
    batch = PLAIN
    routing = batch.routed()
    x = permutation_batches.odd_tokens(batch.T, 40)
    out = np.full((batch.rows, 40), 0x5A5A, np.uint16).view(oracle.bfloat16)
    wanted = permutation.permute_tokens(x, routing.permutation_map, routing.n_used, out,
                                        dead_rows="zero" if zero_padding else "untouched")
    result = moe_mlir.gather_tokens(x, routing.permutation_map, routing.n_used, out=out,
                                    zero_padding=zero_padding)
    assert result is out
    assert_same("out", out, wanted)


def test_gathering_refuses() -> None:
    batch = PLAIN
    x, places = permutation_batches.tokens(batch.T, 40), batch.routed().permutation_map
    for arguments, message in [
        ((x, None, 3), "permutation_map: expected a NumPy array as x is one, found"),
        ((x, places.astype(np.int64), 3), "permutation_map: expected dtype int32, found int64"),
        ((x, places[None], 3), r"permutation_map: expected shape \[R\], found \[1, "),
        ((x, places[::2], 3), "permutation_map: expected consecutive elements, 4 bytes apart"),
        ((x[0], places, 3), r"x: expected shape \[T, H\], found \[40\]"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            moe_mlir.gather_tokens(*arguments)
    with pytest.raises(ValueError, match=r"out: expected shape \[256, 40\], found \[40, 40\]"):
        moe_mlir.gather_tokens(x, places, 3, out=x.copy())
    with pytest.raises(ValueError, match="x: expected a multiple of 32 columns, found 40"):
        moe_mlir.gather_and_quantize_mxfp8(x, places, 3)


# The way back.


@pytest.mark.parametrize("has_probs", [False, True])
@pytest.mark.parametrize("name", ["plain", "duplicates", "valid_tokens 17", "no local pair",
                                  "no token", "no room for the last pairs"])
def test_unpermuting(name: str, has_probs: bool) -> None:
    batch = RARE[name]
    routing = batch.routed()
    y = permutation_batches.expert_results(batch.rows, 70, odd=True)
    probs = np.random.default_rng(1).standard_normal(batch.rows).astype(np.float32)
    weights = probs if has_probs else None
    out = np.full((batch.T, 70), 0x5A5A5A5A, np.uint32).view(np.float32)
    wanted = permutation.unpermute_tokens(y, routing.inverse_map, batch.valid_tokens, out, weights)
    into = out.copy()
    assert moe_mlir.unpermute_tokens_in_expert_order(
        y, routing.inverse_map, batch.valid_tokens, into, probs=weights) is into
    assert_same("out", into, wanted)

    arguments = (y, weights, routing.permutation_map, batch.T, routing.n_used, batch.valid_tokens)
    into = out.copy()
    assert moe_mlir.unpermute_tokens(*arguments, into, routing.inverse_map) is into
    assert_same("out", into, wanted)
    valid = permutation.clamped_tokens(batch.valid_tokens, batch.T)
    new = moe_mlir.unpermute_tokens(*arguments, batch_invariant_inverse_map=routing.inverse_map)
    assert new.shape == (batch.T, 70)
    assert_same("new", new[:valid], wanted[:valid])


def test_there_and_back() -> None:
    """By the functions that have Megatron-Core's names alone, and their arguments by position."""
    batch = RARE["every token to every expert"]
    x = permutation_batches.tokens(batch.T, 64)
    rows, probs, places, offsets, inverse = permute(batch, x, return_batch_invariant_inverse_map=True)
    y = moe_mlir.unpermute_tokens(rows, probs, places, batch.T, offsets[-1:], batch.T, None, inverse)
    total = np.zeros((batch.T, 64), np.float32)
    order = np.argsort(batch.routing_map, axis=1)
    assert batch.probs is not None
    for k in range(batch.top_k):
        weight = np.take_along_axis(batch.probs, order[:, k : k + 1], axis=1)
        total = total + x.astype(np.float32) * weight
    assert_same("sum", y, total)


def test_unpermuting_refuses() -> None:
    batch = PLAIN
    routing = batch.routed()
    y = permutation_batches.expert_results(batch.rows, 32)
    with pytest.raises(ValueError, match="permutation_map: expected one that permute_tokens "
                                         "returned, with its inverse map, or batch_invariant_inv"):
        moe_mlir.unpermute_tokens(y, None, routing.permutation_map, batch.T, routing.n_used, 3)
    inverse = routing.inverse_map
    for changes, message in [
        ({"batch_invariant_inverse_map": inverse[1:]}, "batch_invariant_inverse_map: expected 40 "),
        ({"batch_invariant_inverse_map": inverse.astype(np.int64)}, "dtype int32, found int64"),
        ({"expert_output": y.astype(np.float32)}, "expert_output: expected dtype bfloat16"),
        ({"permuted_probs": np.zeros(3, np.float32)}, r"probs: expected shape \[256\]"),
        ({"permuted_probs": np.zeros(batch.rows)}, "probs: expected dtype float32, found float64"),
        ({"valid_tokens": "3"}, "valid_tokens: expected an int or a NumPy array of one int32"),
        ({"num_tokens": 40.0}, "num_tokens: expected an int, found builtins.float"),
        ({"out": np.zeros((40, 32))}, "out: expected dtype float32, found float64"),
        ({"out": np.zeros((40, 31), np.float32)}, r"out: expected shape \[40, 32\]"),
        ({"expected_rows": -1}, "expected_rows: expected a number of rows that is not negative"),
        ({"programmatic_launch": 1}, "programmatic_launch: expected a bool"),
    ]:
        arguments = {"expert_output": y, "permuted_probs": None, "permutation_map": None,
                     "num_tokens": 40, "n_used": None, "valid_tokens": 3,
                     "batch_invariant_inverse_map": inverse, **changes}
        with pytest.raises((TypeError, ValueError), match=message):
            moe_mlir.unpermute_tokens(**arguments)
    with pytest.raises(TypeError, match="expert_output: expected a NumPy array or a PyTorch tensor, "
                                        "found builtins.list"):
        moe_mlir.unpermute_tokens_in_expert_order([], inverse, 3)  # type: ignore[call-overload]


@pytest.mark.parametrize(("changes", "message"), [
    ({"routing_map": [[1]]}, "routing_map: expected a NumPy array or a PyTorch tensor, found"),
    ({"routing_map": PLAIN.routing_map.astype(np.int16)},
     "routing_map: expected dtype int32 or int64, found int16"),
    ({"routing_map": PLAIN.routing_map[0]}, r"routing_map: expected shape \[T, topk\], found \[4\]"),
    ({"routing_map": PLAIN.routing_map[:, ::2], "probs": None},
     "routing_map: expected consecutive elements in a row"),
    ({"num_local_experts": 0}, "num_local_experts: expected from 1 to 2147483647, found 0"),
    ({"num_local_experts": 2049}, "inverse_map: expected from 1 to 2048 columns, for the experts"),
    ({"num_local_experts": True}, "num_local_experts: expected an int, found builtins.bool"),
    ({"first_expert": 2**31}, "first_expert: expected from -2147483648 to 2147483647"),
    ({"first_expert": 1.0}, "first_expert: expected an int, found builtins.float"),
    ({"alignment": 0}, "alignment: expected from 1 to 2147483647, found 0"),
    ({"alignment": 2**30, "num_rows": 8}, "routing_map: expected tokens whose rows have numbers"),
    ({"num_rows": -1}, "num_rows: expected from 0 to 2147483647, found -1"),
    ({"valid_tokens": 3.0}, "valid_tokens: expected an int or a NumPy array of one int32, found"),
    ({"valid_tokens": np.zeros(2, np.int32)}, r"valid_tokens: expected shape \[\] or \[1\]"),
    ({"valid_tokens": np.zeros(1, np.int64)}, "valid_tokens: expected dtype int32, found int64"),
    ({"probs": np.zeros((40, 4))}, "probs: expected dtype float32, found float64"),
    ({"probs": np.zeros((40, 3), np.float32)}, r"probs: expected shape \[40, 4\], as routing_map"),
    ({"programmatic_launch": None}, "programmatic_launch: expected a bool"),
])
def test_routing_refuses(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "routing_map": PLAIN.routing_map, "num_local_experts": 6, "probs": PLAIN.probs, **changes}
    with pytest.raises((TypeError, ValueError), match=message):
        moe_mlir.route_tokens(**arguments)


def test_routing_refuses_outputs() -> None:
    good = outs(PLAIN)
    for name in FIELDS:
        array = getattr(good, name)
        for wrong, message in ((array[:-1], "expected shape"), (array.astype(np.int64), "dtype")):
            with pytest.raises((TypeError, ValueError), match=f"^(?!routing_map).*{message}"):
                route(PLAIN, out=good._replace(**{name: wrong}), num_rows=PLAIN.rows)
    with pytest.raises(ValueError, match="inclusive_offsets: expected memory that does not overlap"):
        route(PLAIN, out=good._replace(inclusive_offsets=good.exclusive_offsets))
    with pytest.raises(ValueError, match="exclusive_offsets: expected a writeable array"):
        frozen = good.exclusive_offsets.copy()
        frozen.flags.writeable = False
        route(PLAIN, out=good._replace(exclusive_offsets=frozen))


# Megatron-Core's steps one by one.


@pytest.mark.parametrize("name", ["plain", "i64", "valid_tokens 17", "duplicates", "far experts, i64"])
def test_counting(name: str) -> None:
    batch = RARE[name]
    found = moe_mlir.compute_local_tokens_per_expert(
        batch.routing_map, batch.first_expert, batch.experts, batch.valid_tokens, persistent=True)
    assert_same("counts", found, batch.routed().tokens_per_expert)


@pytest.mark.parametrize("alignment", [1, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("counts", [
    [5, 0, 12, 3, 0, 7, 1, 20], [1, 1, 1, 1], [0, 0, 0, 0], [100, 0, 0, 50], [1], [33] * 8,
    [127, 0, 129, 0, 1, 0, 255, 0]])
def test_offsets(counts: list[int], alignment: int) -> None:
    """Those that Megatron-Core's own test has, and more."""
    tokens = np.array(counts, np.int32)
    exclusive, inclusive = moe_mlir.compute_expert_offsets(tokens, alignment)
    row = 0
    for expert, count in enumerate(counts):
        assert exclusive[expert] == row
        row += (count + alignment - 1) // alignment * alignment
        assert inclusive[expert] == row
    assert exclusive.dtype == inclusive.dtype == np.int32


def test_clearing_the_map() -> None:
    for n_used, wanted in ((3, 3), (0, 0), (-4, 0), (9, 8), (np.array([5], np.int32), 5)):
        places = np.arange(8, dtype=np.int32)
        moe_mlir.init_permutation_map(places, n_used)
        assert places.tolist() == [-1] * wanted + list(range(wanted, 8))
    with pytest.raises(TypeError, match="permutation_map: expected dtype int32"):
        moe_mlir.init_permutation_map(np.zeros(3), 2)
