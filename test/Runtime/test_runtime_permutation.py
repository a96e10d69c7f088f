# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The ops that bring tokens to experts and back through the C API: on the CPU, every byte of every
buffer and of what is around it; and what is refused, with its message.
"""

from __future__ import annotations

import ctypes
from ctypes import byref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from moe_testing import oracle, permutation, permutation_batches
from moe_testing import runtime as moe
from moe_testing.permutation import Routing
from moe_testing.permutation_batches import TokenBatch

GUARD = 64
RARE = {**permutation_batches.rare_batches(), **permutation_batches.large_batches()}


class Guarded:
    """A copy of an array among random bytes, whose rows are `padding` elements further apart."""

    def __init__(self, array: np.ndarray, padding: int = 0) -> None:
        rows, columns = array.shape if array.ndim == 2 else (1, array.size)
        self.shape, self.itemsize = (rows, columns), array.itemsize
        self.stride = columns + padding
        size = rows * self.stride * array.itemsize
        self.storage = np.random.default_rng(size).integers(0, 256, size + 2 * GUARD, np.uint8)
        self.storage[...] = self.with_(array)
        self.address = self.storage.ctypes.data + GUARD
        self.matrix = moe.Matrix(self.address, rows, columns, self.stride)

    def with_(self, array: np.ndarray) -> np.ndarray:
        """The bytes with `array` in its place."""
        after = self.storage.copy()
        rows, columns = self.shape
        view = after[GUARD : after.size - GUARD].reshape(rows, self.stride * self.itemsize)
        view[:, : columns * self.itemsize] = np.ascontiguousarray(array).reshape(
            rows, columns).view(np.uint8)
        return after


def assert_bytes(name: str, buffer: Guarded, wanted: np.ndarray) -> None:
    assert np.array_equal(buffer.storage, buffer.with_(wanted)), name


def route(batch: TokenBatch, padding: int = 0, by_name: bool = False) -> None:
    before = batch.before()
    wanted = batch.routed(before).arrays()
    buffers = {name: Guarded(array, padding if name == "inverse_map" else 0)
               for name, array in before.arrays().items()}
    routing_map = Guarded(batch.routing_map, padding)
    probs = None if batch.probs is None else Guarded(batch.probs, padding)
    valid_tokens = np.array(batch.valid_tokens, np.int32)
    address = {name: buffer.address for name, buffer in buffers.items()}
    map_of_rows = moe.Vector(address["permutation_map"], batch.rows)
    outputs = (address["tokens_per_expert"], address["exclusive_offsets"],
               address["inclusive_offsets"], byref(map_of_rows), byref(buffers["inverse_map"].matrix),
               address.get("permuted_probs"))
    launch, index_type = moe.Launch(), int(batch.routing_map.itemsize == 8)
    weights = None if probs is None else byref(probs.matrix)
    if by_name:
        numbers = ctypes.c_int32(batch.first_expert), ctypes.c_int32(batch.alignment)
        moe.check(moe.run_op(byref(launch), moe.find_op("route_tokens"), byref(routing_map.matrix),
                             valid_tokens.ctypes.data, weights, *map(byref, numbers), *outputs,
                             options=moe.Options(index_type=index_type)))
    else:
        moe.check(moe.library.moeRouteTokens(
            byref(launch), byref(routing_map.matrix), index_type, valid_tokens.ctypes.data, weights,
            batch.first_expert, batch.alignment, *outputs))
    for name, buffer in buffers.items():
        assert_bytes(name, buffer, wanted[name])
    assert_bytes("routing_map", routing_map, batch.routing_map)


@pytest.mark.parametrize("name", RARE)
def test_routing(name: str) -> None:
    route(RARE[name])


@pytest.mark.parametrize("by_name", [False, True])
def test_routing_of_rows_apart(by_name: bool) -> None:
    for name in ("plain", "i64", "no probs", "duplicates"):
        route(RARE[name], padding=5, by_name=by_name)


def test_routing_of_random_batches() -> None:
    for seed in range(40):
        route(permutation_batches.random_batch(seed), padding=seed % 3)


# The way there.


def permute(batch: TokenBatch, H: int, layout: str | None = None, dead: str = "zero",
            padding: int = 0, num_threads: int = 0, permutation_map: np.ndarray | None = None,
            n_used: int | None = None, by_name: bool = False) -> None:
    """Of the tokens of a batch, or by another map; without a layout in bf16."""
    routing = batch.routed()
    x = permutation_batches.odd_tokens(batch.T, H)
    rows = routing.permutation_map if permutation_map is None else permutation_map
    used = np.array(routing.n_used[0] if n_used is None else n_used, np.int32)
    launch = moe.Launch(num_threads=num_threads)
    source = Guarded(x, padding)
    inputs = (byref(source.matrix), rows.ctypes.data, used.ctypes.data)
    R = rows.size
    if layout is None:
        out = np.full((R, H), 0x5A5A, np.uint16).view(oracle.bfloat16)
        result = Guarded(out, padding)
        wanted = permutation.permute_tokens(x, rows, used, out)
        if by_name:
            moe.check(moe.run_op(byref(launch), moe.find_op("permute_tokens"), *inputs,
                                 byref(result.matrix)))
        else:
            moe.check(moe.library.moePermuteTokens(byref(launch), *inputs, byref(result.matrix)))
        assert_bytes("out", result, wanted)
    else:
        shape = (R, H // 32) if layout == oracle.LINEAR else (oracle.scale_size(R, H),)
        data = np.full((R, H), 0x5A, np.uint8).view(oracle.float8_e4m3fn)
        scale = np.full(shape, 0x5A, np.uint8).view(oracle.float8_e8m0fnu)
        results = Guarded(data, padding), Guarded(scale)
        both = permutation.permute_quantize_mxfp8(x, rows, used, data, scale, layout, dead)
        scales = moe.Scale(results[1].address, scale.size, 0, int(layout == oracle.LINEAR),
                           int(dead == "untouched"))
        moe.check(moe.library.moePermuteQuantizeMXFP8(
            byref(launch), *inputs, byref(results[0].matrix), byref(scales)))
        for name, result, array in zip(("data", "scale"), results, both):
            assert_bytes(name, result, array)
    assert_bytes("x", source, x)


FORMS: list[tuple[Any, ...]] = [(None, "zero"), (oracle.SWIZZLED, "zero"),
                                (oracle.SWIZZLED, "untouched"), (oracle.LINEAR, "zero")]


@pytest.mark.parametrize(("layout", "dead"), FORMS)
@pytest.mark.parametrize("name", ["plain", "one token", "no token", "no local pair", "duplicates",
                                  "no room for the last pairs", "more room than needed",
                                  "valid_tokens 17", "valid_tokens 0"])
def test_permuting(name: str, layout: str | None, dead: str) -> None:
    permute(RARE[name], 96, layout, dead)


@pytest.mark.parametrize(("layout", "dead"), FORMS)
def test_permuting_with_threads(layout: str | None, dead: str) -> None:
    """Each has a part of the rows, which are of any tokens."""
    batch = permutation_batches.routed(300, 4, 8, slice(2, 7))
    permute(batch, 160, layout, dead, padding=3, num_threads=3)
    permute(batch, 64, layout, dead, num_threads=1)


def test_permuting_by_name() -> None:
    permute(RARE["plain"], 96, by_name=True)


def test_permuting_by_other_maps() -> None:
    """Of which entries are at or past T, or n_used out of range."""
    batch = RARE["plain"]
    rng = np.random.default_rng(0)
    rows = rng.integers(-3, batch.T + 3, 400, np.int32)
    rows[::50] = [2**31 - 1, -(2**31)] * 4
    for n_used in (-1, 0, 399, 400, 2**31 - 1):
        for layout, dead in FORMS:
            permute(batch, 32, layout, dead, permutation_map=rows, n_used=n_used)


# The way back.


def unpermute(batch: TokenBatch, H: int, has_probs: bool = True, padding: int = 0,
              num_threads: int = 0, inverse_map: np.ndarray | None = None,
              valid_tokens: int | None = None, by_name: bool = False) -> None:
    routing = batch.routed()
    T, R = batch.T, batch.rows
    y = permutation_batches.odd_tokens(R, H)
    back = routing.inverse_map if inverse_map is None else inverse_map
    rng = np.random.default_rng(1)
    probs = rng.standard_normal(R).astype(np.float32) if has_probs else None
    valid = np.array(batch.valid_tokens if valid_tokens is None else valid_tokens, np.int32)
    out = np.full((T, H), 0x5A5A5A5A, np.uint32).view(np.float32)
    wanted = permutation.unpermute_tokens(y, back, valid, out, probs)
    source, places, result = Guarded(y, padding), Guarded(back, padding), Guarded(out, padding)
    launch = moe.Launch(num_threads=num_threads)
    weights = None if probs is None else probs.ctypes.data
    if by_name:
        moe.check(moe.run_op(byref(launch), moe.find_op("unpermute_tokens"), byref(source.matrix),
                             byref(places.matrix), valid.ctypes.data, byref(result.matrix),
                             options=moe.Options(probs=weights)))
    else:
        moe.check(moe.library.moeUnpermuteTokens(
            byref(launch), byref(source.matrix), byref(places.matrix), valid.ctypes.data, weights,
            byref(result.matrix)))
    assert_bytes("out", result, wanted)
    assert_bytes("y", source, y)


@pytest.mark.parametrize("has_probs", [False, True])
@pytest.mark.parametrize("name", ["plain", "one token", "no token", "no local pair", "duplicates",
                                  "no room at all", "no room for the last pairs",
                                  "valid_tokens 17", "valid_tokens 0", "valid_tokens -1",
                                  "every token to every expert"])
def test_unpermuting(name: str, has_probs: bool) -> None:
    unpermute(RARE[name], 70, has_probs)


def test_unpermuting_with_threads() -> None:
    """Each has a part of the tokens, which have any rows."""
    batch = permutation_batches.routed(600, 4, 8, slice(2, 7), valid_tokens=511)
    for has_probs in (False, True):
        unpermute(batch, 40, has_probs, padding=3, num_threads=3)
        unpermute(batch, 40, has_probs, by_name=True)


def test_unpermuting_by_other_maps() -> None:
    """Of which entries are no rows."""
    batch = RARE["plain"]
    rng = np.random.default_rng(0)
    back = rng.integers(-2, batch.rows + 2, (batch.T, batch.experts), np.int32)
    back.ravel()[::9] = 2**31 - 1
    back.ravel()[4::9] = -(2**31)
    for valid_tokens in (0, 7, batch.T, 2**31 - 1):
        unpermute(batch, 33, inverse_map=back, valid_tokens=valid_tokens)


def test_there_and_back() -> None:
    """With weight 1, x times the number of local pairs, as the sum in order has it."""
    batch = RARE["every token to every expert"]
    T, H, R = batch.T, 64, batch.rows
    x = permutation_batches.tokens(T, H)
    routing = batch.routed()
    rows, out = np.zeros((R, H), oracle.bfloat16), np.zeros((T, H), np.float32)
    matrices = [moe.Matrix(a.ctypes.data, *a.shape, a.shape[1])
                for a in (x, rows, out, routing.inverse_map)]
    launch, valid = moe.Launch(), np.array(T, np.int32)
    used = routing.n_used.copy()
    moe.check(moe.library.moePermuteTokens(
        byref(launch), byref(matrices[0]), routing.permutation_map.ctypes.data, used.ctypes.data,
        byref(matrices[1])))
    moe.check(moe.library.moeUnpermuteTokens(
        byref(launch), byref(matrices[1]), byref(matrices[3]), valid.ctypes.data, None,
        byref(matrices[2])))
    total = np.zeros((T, H), np.float32)
    for _ in range(batch.top_k):
        total += x.astype(np.float32)
    assert np.array_equal(out, total)


# What is refused. Addresses are not dereferenced: all of it is found before.

ADDRESSES = {name: n << 56 for n, name in enumerate(
    ("routing_map", "valid_tokens", "probs", "tokens_per_expert", "exclusive_offsets",
     "inclusive_offsets", "permutation_map", "inverse_map", "permuted_probs"), 1)}


def run_route(**changes: Any) -> None:
    """A good call of 8 tokens, 2 experts each, of which 4 are local, and 40 rows, changed."""
    given: dict[str, Any] = {
        **ADDRESSES, "routing_rows": 8, "routing_columns": 2, "probs_rows": 8, "probs_columns": 2,
        "inverse_rows": 8, "inverse_columns": 4, "rows": 40, "first": 0, "alignment": 4, "type": 0,
        "device": moe.CPU, **changes}

    def matrix(name: str, sizes: str) -> Any:
        rows, columns = given[f"{sizes}_rows"], given[f"{sizes}_columns"]
        return byref(moe.Matrix(given[name], rows, columns, max(columns, 0)))

    moe.check(moe.library.moeRouteTokens(
        byref(moe.Launch(device=given["device"])), matrix("routing_map", "routing"), given["type"],
        given["valid_tokens"], None if changes.get("no_probs") else matrix("probs", "probs"),
        given["first"], given["alignment"], given["tokens_per_expert"], given["exclusive_offsets"],
        given["inclusive_offsets"], byref(moe.Vector(given["permutation_map"], given["rows"])),
        matrix("inverse_map", "inverse"), given["permuted_probs"]))


@pytest.mark.parametrize(("changes", "message"), [
    ({"routing_map": None}, "routing_map: expected a buffer, found a null pointer"),
    ({"valid_tokens": None}, "valid_tokens: expected a buffer, found a null pointer"),
    ({"probs": None}, "probs: expected a buffer, found a null pointer"),
    ({"tokens_per_expert": None}, "tokens_per_expert: expected a buffer, found a null pointer"),
    ({"exclusive_offsets": None}, "exclusive_offsets: expected a buffer, found a null pointer"),
    ({"inclusive_offsets": None}, "inclusive_offsets: expected a buffer, found a null pointer"),
    ({"permutation_map": None}, "permutation_map: expected a buffer, found a null pointer"),
    ({"inverse_map": None}, "inverse_map: expected a buffer, found a null pointer"),
    ({"permuted_probs": None}, "permuted_probs: expected a buffer, found a null pointer"),
    ({"type": 2}, "index_type: expected MOE_INDEX_I32 or MOE_INDEX_I64, found 2"),
    ({"type": 1, "routing_map": 0x1000004},
     "routing_map: expected an address that is a multiple of 8"),
    ({"alignment": 0}, "alignment: expected at least 1, found 0"),
    ({"alignment": -5}, "alignment: expected at least 1, found -5"),
    ({"inverse_columns": 0}, "inverse_map: expected from 1 to 2048 columns, for the experts, found 0"),
    ({"inverse_columns": 2049},
     "inverse_map: expected from 1 to 2048 columns, for the experts, found 2049"),
    ({"inverse_rows": 7}, "inverse_map: expected 8 rows, as many as routing_map has rows, found 7"),
    ({"probs_rows": 7}, "probs: expected the 8 x 2 of routing_map, found 7 x 2"),
    ({"probs_columns": 3}, "probs: expected the 8 x 2 of routing_map, found 8 x 3"),
    ({"rows": -1}, "permutation_map: expected a size that is not negative"),
    ({"rows": 2**62}, "permutation_map: expected a size that is not negative"),
    ({"routing_rows": -1}, "routing_map: expected sizes that are not negative, found -1 x 2"),
    ({"routing_rows": 2**30, "probs_rows": 2**30, "inverse_rows": 2**30},
     "routing_map: expected tokens whose rows have numbers of 32 bits, found 1073741824 x 2 for 4 "
     "experts with an alignment of 4"),
    ({"alignment": 2**29}, "routing_map: expected tokens whose rows have numbers of 32 bits"),
    ({"inverse_map": ADDRESSES["routing_map"]},
     "inverse_map: expected memory that does not overlap routing_map"),
    ({"permutation_map": ADDRESSES["valid_tokens"]},
     "permutation_map: expected memory that does not overlap valid_tokens"),
    ({"inclusive_offsets": ADDRESSES["exclusive_offsets"] + 12},
     "inclusive_offsets: expected memory that does not overlap exclusive_offsets"),
    ({"permuted_probs": ADDRESSES["permutation_map"]},
     "permuted_probs: expected memory that does not overlap permutation_map"),
    ({"permuted_probs": ADDRESSES["probs"]},
     "permuted_probs: expected memory that does not overlap probs"),
])
def test_routing_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(moe.MoeError) as caught:
        run_route(**changes)
    assert str(caught.value).startswith(message)
    assert caught.value.status == moe.INVALID_ARGUMENT


def test_values_by_name() -> None:
    """Are read where they are, and must be there."""
    batch = RARE["plain"]
    good = [byref(moe.Matrix(0x1000000, 8, 2, 2)), 1 << 57, None, byref(ctypes.c_int32(0)),
            byref(ctypes.c_int32(4)), 3 << 56, 4 << 56, 5 << 56, byref(moe.Vector(6 << 56, 40)),
            byref(moe.Matrix(7 << 56, 8, 4, 4)), None]
    names = {0: "routing_map", 3: "first_expert", 4: "alignment", 8: "permutation_map",
             9: "inverse_map"}
    for index, name in names.items():
        with pytest.raises(moe.MoeError, match=f"^{name}: expected a description .* null pointer"):
            moe.check(moe.run_op(byref(moe.Launch()), moe.find_op("route_tokens"),
                                 *good[:index], None, *good[index + 1:]))
    # One without the other has no kernel.
    good[10] = 8 << 56
    with pytest.raises(moe.MoeError, match="route_tokens: the library has no kernel for no probs"):
        moe.check(moe.run_op(byref(moe.Launch()), moe.find_op("route_tokens"), *good))
    route(replace(batch, probs=None), by_name=True)


def matrix(address: int, rows: int, columns: int) -> Any:
    return byref(moe.Matrix(address, rows, columns, columns))


@pytest.mark.parametrize(("x", "out", "message"), [
    ((1 << 56, 8, 64), (4 << 56, 40, 63), "out: expected 64 columns, as many as x has columns, "
                                          "found 63"),
    ((4 << 56, 8, 64), (4 << 56, 40, 64), "out: expected memory that does not overlap x"),
    # Of two operands that have no row in common, each may be in the other's memory.
    ((0, 8, 64), (4 << 56, 40, 64), "x: expected a buffer, found a null pointer"),
])
def test_permuting_refuses(x: Any, out: Any, message: str) -> None:
    with pytest.raises(moe.MoeError, match=f"^{message}"):
        moe.check(moe.library.moePermuteTokens(byref(moe.Launch()), matrix(*x), 2 << 56, 3 << 56,
                                               matrix(*out)))


def test_permute_quantize_refuses() -> None:
    scale = moe.Scale(5 << 56, 512, 0, 0, 0)
    with pytest.raises(moe.MoeError, match="^x: expected a multiple of 32 columns, found 48"):
        moe.check(moe.library.moePermuteQuantizeMXFP8(
            byref(moe.Launch()), matrix(1 << 56, 8, 48), 2 << 56, 3 << 56, matrix(4 << 56, 40, 48),
            byref(scale)))
    # The scales of as many rows as data has, not x.
    scale = moe.Scale(5 << 56, 512, 0, 0, 0)
    with pytest.raises(moe.MoeError, match="^scale: expected a size of 1024 bytes for the swizzled "
                                           "scales of 200 x 64, found 512"):
        moe.check(moe.library.moePermuteQuantizeMXFP8(
            byref(moe.Launch()), matrix(1 << 56, 8, 64), 2 << 56, 3 << 56,
            matrix(4 << 56, 200, 64), byref(scale)))


@pytest.mark.parametrize(("y", "inverse", "out", "message"), [
    ((40, 64), (8, 4), (8, 63), "out: expected 64 columns, as many as y has columns, found 63"),
    ((40, 64), (8, 4), (9, 64), "out: expected 8 rows, as many as inverse_map has rows, found 9"),
])
def test_unpermuting_refuses(y: Any, inverse: Any, out: Any, message: str) -> None:
    with pytest.raises(moe.MoeError, match=f"^{message}"):
        moe.check(moe.library.moeUnpermuteTokens(
            byref(moe.Launch()), matrix(1 << 56, *y), matrix(2 << 56, *inverse), 3 << 56, 4 << 56,
            matrix(5 << 56, *out)))


def test_nothing_to_do() -> None:
    """Without rows or columns of a result, nothing is looked at."""
    launch = byref(moe.Launch())
    nothing = matrix(0, 0, 64)
    moe.check(moe.library.moePermuteTokens(launch, matrix(0, 8, 0), None, None, matrix(0, 40, 0)))
    moe.check(moe.library.moePermuteTokens(launch, matrix(0, 8, 64), None, None, nothing))
    moe.check(moe.library.moeUnpermuteTokens(launch, nothing, matrix(0, 0, 4), None, None, nothing))


def test_routing_no_tokens_is_not_nothing() -> None:
    before = Routing.filled(0, 3, 5)
    after = before.arrays()
    moe.check(moe.library.moeRouteTokens(
        byref(moe.Launch()), matrix(0, 0, 2), 0, np.array(9, np.int32).ctypes.data, None, 0, 16,
        *(after[name].ctypes.data for name in ("tokens_per_expert", "exclusive_offsets",
                                               "inclusive_offsets")),
        byref(moe.Vector(after["permutation_map"].ctypes.data, 5)), matrix(0, 0, 3), None))
    for name in ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets"):
        assert after[name].tolist() == [0, 0, 0]
    assert np.array_equal(after["permutation_map"], Routing.filled(0, 3, 5).permutation_map)
