# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tests of the oracle of routing and permutation, against loops over one pair at a time and sums in
exact rational arithmetic, written from the definition of the ops and sharing nothing with it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import rational
from moe_testing import oracle, permutation, permutation_batches
from moe_testing.permutation_batches import TokenBatch

POISON = 0x5A
POISON_I32 = 0x5A5A5A5A
RARE = permutation_batches.rare_batches()


def lists(routing: permutation.Routing) -> dict[str, list]:
    """Bit patterns, as Python numbers."""
    return {name: array.view(np.uint32 if array.dtype == np.float32 else array.dtype).tolist()
            for name, array in routing.arrays().items()}


def slowly_routed(batch: TokenBatch) -> dict[str, list]:
    """What the destinations hold afterwards, pair by pair, each byte 0x5a before."""
    T, E, R, alignment = batch.T, batch.experts, batch.rows, batch.alignment
    routing_map = batch.routing_map.tolist()
    valid = 0 if batch.valid_tokens < 0 else T if batch.valid_tokens > T else batch.valid_tokens
    where: dict[str, list] = {"tokens_per_expert": [0] * E, "exclusive_offsets": [],
                              "inclusive_offsets": [], "permutation_map": [POISON_I32] * R,
                              "inverse_map": [[POISON_I32] * E for _ in range(T)]}
    if batch.probs is not None:
        where["permuted_probs"] = [POISON_I32] * R
        prob_bits = batch.probs.view(np.uint32).tolist()
    for t in range(valid):
        where["inverse_map"][t] = [-1] * E
    row = 0
    for e in range(E):
        where["exclusive_offsets"].append(row)
        for t in range(valid):
            for k, expert in enumerate(routing_map[t]):
                if expert - batch.first_expert != e:
                    continue
                where["tokens_per_expert"][e] += 1
                where["inverse_map"][t][e] = row if row < R else -1
                if row < R:
                    where["permutation_map"][row] = t
                    if batch.probs is not None:
                        where["permuted_probs"][row] = prob_bits[t][k]
                row += 1
        while row % alignment:
            if row < R:
                where["permutation_map"][row] = -1
            row += 1
        where["inclusive_offsets"].append(row)
    return where


@pytest.mark.parametrize("name", RARE)
def test_routing_pair_by_pair(name: str) -> None:
    assert lists(RARE[name].routed()) == slowly_routed(RARE[name])


def test_random_routings_pair_by_pair() -> None:
    for seed in range(150):
        batch = permutation_batches.random_batch(seed)
        assert lists(batch.routed()) == slowly_routed(batch), seed


def test_the_rare_is_there() -> None:
    """Each batch has what its name says."""
    routings = {name: batch.routed() for name, batch in RARE.items()}
    assert routings["no local pair"].n_used[0] == routings["no token"].n_used[0] == 0
    assert routings["one expert takes all"].tokens_per_expert.tolist() == [0, 0, 160, 0, 0, 0]
    assert RARE["i64"].routing_map.dtype == np.int64
    assert np.array_equal(routings["i64"].permutation_map, routings["plain"].permutation_map)
    for name in ("duplicates", "only duplicates", "duplicates without room"):
        placed = routings[name]
        found = np.count_nonzero(placed.inverse_map >= 0)
        assert found < placed.tokens_per_expert.sum(), name
    for name in ("no room for the last pairs", "duplicates without room"):
        assert routings[name].n_used[0] > RARE[name].rows, name
        assert (routings[name].permutation_map[-3:] >= 0).any(), name
    assert routings["no room for some padding"].permutation_map[-1] == -1
    assert len({routings[f"alignment {a}"].n_used[0]
                for a in permutation_batches.ALIGNMENTS}) == 4
    assert {batch.T > 4096 for name, batch in permutation_batches.large_batches().items()
            if name != "4096 tokens"} == {True}


@pytest.mark.parametrize("name", RARE)
def test_what_holds_of_every_routing(name: str) -> None:
    batch = RARE[name]
    found = batch.routed()
    counts, begin, end = (array.astype(np.int64) for array in (
        found.tokens_per_expert, found.exclusive_offsets, found.inclusive_offsets))
    assert begin[0] == 0 and np.array_equal(begin[1:], end[:-1])
    assert not (end % batch.alignment).any()
    assert (counts <= end - begin).all() and (end - begin < counts + batch.alignment).all()
    assert (end[counts == 0] == begin[counts == 0]).all()
    valid = min(max(batch.valid_tokens, 0), batch.T)
    for e in range(batch.experts):
        # As a multiset: where rows are in their block is the other tests' concern.
        block = found.permutation_map[begin[e] : end[e]]
        wanted = np.repeat(np.arange(valid),
                           (batch.routing_map[:valid] == batch.first_expert + e).sum(axis=1))
        if end[e] <= batch.rows:
            assert sorted(block[block >= 0].tolist()) == wanted.tolist()
        # Whoever a token is sent to finds it there.
        rows = found.inverse_map[:valid, e]
        has_row = rows >= 0
        assert np.array_equal(found.permutation_map[rows[has_row]], np.flatnonzero(has_row))
        assert ((begin[e] <= rows[has_row]) & (rows[has_row] < begin[e] + counts[e])).all()
    past = found.permutation_map[min(int(end[-1]), batch.rows) :]
    assert (past == POISON_I32).all() and (found.inverse_map[valid:] == POISON_I32).all()
    if found.permuted_probs is not None:
        is_pair = np.zeros(batch.rows, bool)
        is_pair[: end[-1]] = found.permutation_map[: end[-1]] >= 0
        assert (found.permuted_probs.view(np.uint32)[~is_pair] == POISON_I32).all()


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_routing_depends_on_nothing_before(byte: int) -> None:
    """And changes nothing that it is given."""
    batch = RARE["no room for the last pairs"]
    before = batch.before(byte)
    given = {name: array.copy() for name, array in before.arrays().items()}
    found = batch.routed(before)
    for name, array in before.arrays().items():
        assert np.array_equal(oracle.bits(array), oracle.bits(given[name])), name
    expected = batch.routed()
    for name, array in found.arrays().items():
        wanted = expected.arrays()[name]
        untouched = oracle.bits(wanted) == POISON_I32
        assert untouched.any() == (name in ("permuted_probs",)), name
        assert np.array_equal(oracle.bits(array)[~untouched], oracle.bits(wanted)[~untouched])
        assert (array.view(np.uint8).reshape(*array.shape, -1)[untouched] == byte).all()


@pytest.mark.parametrize(("change", "message"), [
    ({"routing_map": np.zeros((4, 2), np.int16)}, "int32 or int64"),
    ({"routing_map": np.zeros((5, 2), np.int32)}, "inverse_map has 4 tokens"),
    ({"alignment": 0}, "alignment of at least 1"),
    ({"alignment": 1 << 30}, "below 2"),
    ({"probs": np.zeros((4, 2), np.float64)}, "probs must be float32"),
    ({"probs": None}, "go together"),
])
def test_routing_that_is_refused(change: dict, message: str) -> None:
    arguments = {"routing_map": np.zeros((4, 2), np.int32), "valid_tokens": 4, "first_expert": 0,
                 "alignment": 16, "before": permutation.Routing.filled(4, 3, 64, True),
                 "probs": np.zeros((4, 2), np.float32)}
    permutation.route_tokens(**arguments)
    with pytest.raises(ValueError, match=message):
        permutation.route_tokens(**{**arguments, **change})


# ===-------------------------------------------------------------------------------------------===
# Rows
# ===-------------------------------------------------------------------------------------------===


def junk(dtype: type, *shape: int) -> np.ndarray:
    return np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, POISON,
                   np.uint8).view(dtype).reshape(shape)


def some_maps(rows: int, T: int, seed: int) -> np.ndarray:
    """Entries that are tokens, one of them twice and more; -1; any negative; at and past T."""
    rng = np.random.default_rng(seed)
    kinds = np.stack([rng.integers(0, max(T, 1), rows), np.full(rows, -1),
                      rng.integers(-(2**31), 0, rows), np.full(rows, T),
                      rng.integers(T, 2**31, rows)])
    return kinds[rng.choice(5, rows, p=[0.6, 0.2, 0.05, 0.05, 0.1]),
                 np.arange(rows)].astype(np.int32)


@pytest.mark.parametrize("n_used", [0, 1, 37, 50, 51, -1, 2**31 - 1, -(2**31)])
def test_permuted_rows_one_by_one(n_used: int) -> None:
    T, R, H = 9, 50, 12
    x, where = permutation_batches.odd_tokens(T, H), some_maps(R, T, 1)
    found = permutation.permute_tokens(x, where, n_used, junk(ml_dtypes.bfloat16, R, H))
    zeroed = permutation.permute_tokens(x, where, np.array([n_used], np.int32),
                                        junk(ml_dtypes.bfloat16, R, H), dead_rows="zero")
    tokens = set()
    for r, t in enumerate(where.tolist()):
        live = r < n_used and 0 <= t < T
        wanted = x[t].view(np.uint16).tolist() if live else [0x5A5A] * H
        assert found[r].view(np.uint16).tolist() == wanted
        padding = [0] * H if not live and r < n_used else wanted
        assert zeroed[r].view(np.uint16).tolist() == padding
        tokens |= {t} if live else set()
    assert n_used < R or tokens == set(range(T))


def exponent(magnitudes: list[float]) -> int:
    """Of a group without NaN: the least e in 1..254 so that none is above 448 * 2^(e - 127)."""
    m = max(magnitudes)
    if m == 0 or math.isinf(m):
        return 255 if m else 0
    e = 1
    while Fraction(m) > 448 * Fraction(2) ** (e - 127):
        e += 1
    return e


@pytest.mark.parametrize("layout", ["swizzle_32_4_4", "linear"])
@pytest.mark.parametrize("dead_scales", ["zero", "untouched"])
def test_quantized_rows_one_by_one(layout: str, dead_scales: str) -> None:
    T, R, H, n_used = 6, 140, 96, 137
    x, where = permutation_batches.tokens(T, H), some_maps(R, T, 2)
    linear, groups = layout == "linear", H // 32
    before = (junk(ml_dtypes.float8_e4m3fn, R, H),
              junk(ml_dtypes.float8_e8m0fnu, *((R, groups) if linear else (2 * 512,))))
    data, scale = (array.view(np.uint8) for array in permutation.permute_quantize_mxfp8(
        x, where, n_used, *before, layout, dead_scales))
    wanted = np.full(scale.shape, 0 if dead_scales == "zero" else POISON, np.uint8)
    for r, t in enumerate(where.tolist()):
        if not (r < n_used and 0 <= t < T):
            assert (data[r] == POISON).all()
            continue
        values = x[t].astype(np.float64)
        for g in range(groups + 1):
            e = exponent(np.abs(values[32 * g :][:32]).tolist()) if g < groups else 0
            if linear and g < groups:
                wanted[r, g] = e
            elif not linear:
                wanted[r // 128 * 512 + r % 32 * 16 + r % 128 // 32 * 4 + g] = e
            for c in range(32 * g, min(32 * g + 32, H)):
                exact = values[c] * 2.0 ** (127 - e)
                byte = np.float32(exact).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
                assert data[r, c] == byte
    assert np.array_equal(scale, wanted)


def test_quantized_rows_are_those_of_the_two_steps() -> None:
    T, R, H = 14, 60, 64
    x, where = permutation_batches.odd_tokens(T, H), some_maps(R, T, 3)
    live = np.array([0 <= t < T for t in where.tolist()])
    rows = permutation.permute_tokens(x, where, R, np.zeros((R, H), ml_dtypes.bfloat16))
    before = (junk(ml_dtypes.float8_e4m3fn, R, H), junk(ml_dtypes.float8_e8m0fnu, 512))
    wanted = oracle.quantize_mxfp8(rows, np.where(live, 0, -1).astype(np.int32), R, *before)
    found = permutation.permute_quantize_mxfp8(x, where, R, *before)
    for a, b in zip(found, wanted):
        assert np.array_equal(a.view(np.uint8), b.view(np.uint8))


# ===-------------------------------------------------------------------------------------------===
# Sums
# ===-------------------------------------------------------------------------------------------===


def exact_sum(values: list[float], probs: list[float] | None) -> float:
    """Rounded after each product and each sum; a zero without its sign."""
    total = Fraction(0)
    for i, value in enumerate(values):
        v = Fraction(value)
        if probs is not None:
            v = rational.f32(v * Fraction(probs[i]))
        total = rational.f32(total + v)
    return float(total)


@pytest.mark.parametrize("has_probs", [False, True])
def test_sums_in_rational_arithmetic(has_probs: bool) -> None:
    T, E, H = 30, 9, 10
    rng = np.random.default_rng(4)
    y = permutation_batches.expert_results(64, H)
    inverse = np.where(rng.random((T, E)) < 0.6, rng.integers(0, 64, (T, E)), -1).astype(np.int32)
    # What is no row: at and past R, and any negative.
    inverse[3], inverse[4, ::2], inverse[5, 1::2] = -1, 64, -(2**31)
    inverse[6, 2], inverse[6, 3] = 2**31 - 1, 63
    probs = (rng.random(64, np.float32) - np.float32(0.25)) if has_probs else None
    found = permutation.unpermute_tokens(y, inverse, 28, junk(np.float32, T, H), probs)
    orders = 0
    for t in range(28):
        rows = [row for row in inverse[t].tolist() if 0 <= row < 64]
        for h in range(H):
            values = [float(y[row, h]) for row in rows]
            weights = None if probs is None else [float(probs[row]) for row in rows]
            wanted = exact_sum(values, weights)
            assert found[t, h] == np.float32(wanted) and float(np.float32(wanted)) == wanted
            backwards = exact_sum(values[::-1], None if weights is None else weights[::-1])
            orders += backwards != wanted
    assert orders > 20, "the order of the sum must tell"
    assert (found[28:].view(np.uint32) == POISON_I32).all()


def test_special_sums() -> None:
    inf, nan = math.inf, math.nan
    columns = [  # values in order, the bits of their sum
        ([-0.0], 0x00000000), ([-0.0, -0.0], 0x00000000), ([1.0, -1.0], 0x00000000),
        ([inf, 1.0], 0x7F800000), ([-inf, 1.0], 0xFF800000), ([inf, -inf], 0x7FFFFFFF),
        ([nan, 1.0], 0x7FFFFFFF), ([1.0, -nan], 0x7FFFFFFF),
        ([2.0**-133, -(2.0**-132)], 0x80010000), ([2.0**-133, 0.0], 0x00010000),
        ([3.3e38, 3.3e38], 0x7F800000), ([3.3e38, 3.3e38, -3.3e38], 0x7F800000),
        ([1.0, 2.0**-24, 2.0**-24], 0x3F800000), ([2.0**-24, 2.0**-24, 1.0], 0x3F800001),
        ([2.0**100, 1.0, -(2.0**100)], 0x00000000),
    ]
    for values, wanted in columns:
        y = np.array(values, np.float32).astype(ml_dtypes.bfloat16)[:, None]
        inverse = np.arange(len(values), dtype=np.int32)[None, :]
        for probs in (None, np.ones(len(values), np.float32)):
            found = permutation.unpermute_tokens(y, inverse, 1, junk(np.float32, 1, 1), probs)
            assert found.view(np.uint32).item() == wanted, values
    # A product is rounded before it is added: with a fused operation 2^-24 would remain.
    y = np.array([[-1.0], [1.0 + 2.0**-7]], np.float32).astype(ml_dtypes.bfloat16)
    probs = np.array([1.0 + 2.0**-7, 1.0 + 2.0**-23], np.float32)
    found = permutation.unpermute_tokens(y, np.array([[0, 1]], np.int32), 1,
                                         junk(np.float32, 1, 1), probs)
    product = float(np.float32((1 + 2.0**-7) * (1 + 2.0**-23)))
    assert found.item() == product - (1 + 2.0**-7) != (1 + 2.0**-7) * 2.0**-23
    # A NaN of probs, 0 times infinity, an underflow of the product.
    for value, prob, wanted in ((1.0, nan, 0x7FFFFFFF), (inf, 0.0, 0x7FFFFFFF),
                                (-1.0, 0.0, 0x00000000), (2.0**-126, 2.0**-23, 0x00000001),
                                (2.0**-126, 2.0**-25, 0x00000000)):
        y = np.array([[value]], np.float32).astype(ml_dtypes.bfloat16)
        found = permutation.unpermute_tokens(y, np.zeros((1, 1), np.int32), 1,
                                             junk(np.float32, 1, 1), np.float32([prob]))
        assert found.view(np.uint32).item() == wanted, (value, prob)


@pytest.mark.parametrize("valid_tokens", [-1, 0, 3, 5, 9])
def test_rows_past_valid_tokens_are_untouched(valid_tokens: int) -> None:
    y, inverse = permutation_batches.expert_results(8, 5), np.full((5, 2), -1, np.int32)
    found = permutation.unpermute_tokens(y, inverse, valid_tokens, junk(np.float32, 5, 5))
    valid = min(max(valid_tokens, 0), 5)
    assert not found[:valid].view(np.uint32).any()
    assert (found[valid:].view(np.uint32) == POISON_I32).all()


def test_there_and_back() -> None:
    """unpermute after permute, with weight 1, is x times the number of its local experts, as the
    ordered sum has it: x + x + ..., each rounded.
    """
    for name in ("plain", "all experts local", "alignment 256", "valid_tokens 17", "no local pair",
                 "every token to every expert"):
        batch = RARE[name]
        H, routing = 8, batch.routed()
        x = permutation_batches.odd_tokens(batch.T, H)
        rows = permutation.permute_tokens(x, routing.permutation_map, routing.n_used,
                                          junk(ml_dtypes.bfloat16, batch.rows, H))
        found = permutation.unpermute_tokens(rows, routing.inverse_map, batch.valid_tokens,
                                             junk(np.float32, batch.T, H))
        valid = min(batch.valid_tokens, batch.T)
        experts = batch.routing_map[:valid] - batch.first_expert
        count = ((experts >= 0) & (experts < batch.experts)).sum(axis=1)
        values = x[:valid].astype(np.float32)
        total = np.zeros_like(values)
        with np.errstate(all="ignore"):
            for n in range(int(count.max(initial=0))):
                total = np.where((n < count)[:, None], total + values, total)
        nan = np.isnan(total)
        assert np.array_equal(np.isnan(found[:valid]), nan), name
        assert np.array_equal(found[:valid].view(np.uint32)[~nan], total.view(np.uint32)[~nan])


def test_a_token_does_not_depend_on_the_others() -> None:
    """The sum of a token is the same bits in any batch: batch-invariant."""
    H, weights = 16, np.random.default_rng(5).standard_normal((16, 16)).astype(np.float32)

    def layer(batch: TokenBatch, x: np.ndarray) -> np.ndarray:
        """With an expert that scales by its own number, in bf16."""
        routing = batch.routed()
        rows = permutation.permute_tokens(x, routing.permutation_map, routing.n_used,
                                          np.zeros((batch.rows, H), ml_dtypes.bfloat16))
        expert = np.searchsorted(routing.inclusive_offsets, np.arange(batch.rows), "right")
        y = rows * weights[:, 0][np.minimum(expert, 15)][:, None]
        return permutation.unpermute_tokens(y.astype(ml_dtypes.bfloat16), routing.inverse_map,
                                            batch.T, np.zeros((batch.T, H), np.float32),
                                            routing.permuted_probs)

    many = permutation_batches.routed(20, 4, 16)
    x = permutation_batches.tokens(20, H)
    together = layer(many, x)
    assert many.probs is not None
    for t in (0, 7, 19):
        alone = replace(many, routing_map=many.routing_map[t : t + 1],
                        probs=many.probs[t : t + 1], valid_tokens=1)
        assert np.array_equal(layer(alone, x[t : t + 1])[0], together[t])
