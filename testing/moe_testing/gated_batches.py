# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs for gated activations, whose x has a gate and an up for each column of the result: for the
CPU, the interpreter and a card alike. The same arguments always give the same bytes.

Made of pairs [rows, N] that `join` lays out as x [rows, 2N].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np

from .batches import GROUP, Batch, all_bf16_patterns, random_batch

bfloat16 = ml_dtypes.bfloat16

# Of the model that has a limit of 7: a float32 value.
ALPHA = float(np.uint32(0x3FD9DB23).view(np.float32))

# What the models take, by the names of the keyword arguments.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "limit 10": {"limit": 10.0},
    "limit 7 alpha beta": {"limit": 7.0, "alpha": ALPHA, "beta": 1.0},
    "limit 7 after": {"limit": 7.0, "limit_at": "after"},
    "gelu_tanh": {"activation": "gelu_tanh"},
}

_INF, _NAN, _NEGATIVE = 0x7F80, 0x7FC0, 0x8000
# Every mantissa, next to 1.
MANTISSAS = tuple(range(0x3F80, 0x4000))
# Zero, subnormals, the least normal ones, what squares to a subnormal of float32 or overflows, the
# greatest, and what is no number.
EXTREMES = (0x0000, 0x0001, 0x0055, 0x007F, 0x0080, 0x0081, 0x1E80, 0x2000, 0x5F7F, 0x7E80, 0x7F00,
            0x7F7F, _INF, 0x7F81, _NAN, 0x7FFF)


def with_both_signs(patterns: Sequence[int]) -> tuple[int, ...]:
    """Each, and then its negative."""
    return tuple(sign | pattern for pattern in patterns for sign in (0, _NEGATIVE))


UPS = with_both_signs(MANTISSAS + EXTREMES)


def _from_bits(patterns: Any) -> np.ndarray:
    return np.ascontiguousarray(patterns, np.uint16).view(bfloat16)


def join(gate: np.ndarray, up: np.ndarray, gate_layout: str = "gate_up") -> np.ndarray:
    """x [rows, 2N] of a gate and an up [rows, N]."""
    rows, N = gate.shape
    if gate_layout in ("gate_up", "up_gate"):
        return np.concatenate([gate, up] if gate_layout == "gate_up" else [up, gate], axis=1)
    block = int(gate_layout.removeprefix("interleaved<").removesuffix(">"))
    if N % block:
        raise ValueError(f"expected a multiple of {block} columns, found {N}")
    x = np.empty((rows, N // block, 2, block), gate.dtype)
    x[:, :, 0] = gate.reshape(rows, N // block, block)
    x[:, :, 1] = up.reshape(rows, N // block, block)
    return x.reshape(rows, 2 * N)


def dense(gate: np.ndarray, up: np.ndarray, gate_layout: str = "gate_up") -> Batch:
    """A batch of these rows, all of them live."""
    rows = gate.shape[0]
    return Batch(join(gate, up, gate_layout), np.arange(rows), rows)


def all_gates(N: int, ups: Sequence[int] = UPS,
              rounds: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Every gate, 65,536 patterns, in each round with another of `ups`, patterns as well: with as
    many rounds as there are ups, which is the default, every gate meets every up. The last row is
    filled up with zeros.
    """
    gate = np.arange(1 << 16)
    rounds = len(ups) if rounds is None else rounds
    # Neighbouring gates meet different ups, and those that are 2^k apart as well.
    turn = (gate + gate // len(ups))[None, :] + np.arange(rounds)[:, None]
    pairs = np.zeros((2, -(-rounds * gate.size // N) * N), np.uint16)
    pairs[0, : rounds * gate.size] = np.tile(gate, rounds)
    pairs[1, : rounds * gate.size] = np.array(ups, np.uint16)[turn % len(ups)].ravel()
    return _from_bits(pairs[0]).reshape(-1, N), _from_bits(pairs[1]).reshape(-1, N)


def _groups(pairs: Sequence[tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """A row of 32 columns for each pair of patterns, of one or of 32 each."""
    gate, up = (np.stack([np.broadcast_to(np.asarray(pair[part], np.uint16), GROUP)
                          for pair in pairs]) for part in (0, 1))
    return _from_bits(gate), _from_bits(up)


def special_groups() -> tuple[np.ndarray, np.ndarray]:
    """Groups of 32 columns in which the quantiser meets what is rare: results of one sign, zeros of
    either sign and of both, subnormals, one infinity, nothing but NaN, and one NaN at either end.
    """
    one, ramp = 0x3F80, 0x3F80 + 4 * np.arange(GROUP)
    alternating = np.where(np.arange(GROUP) % 2, _NEGATIVE, 0)
    first, last = (np.where(np.arange(GROUP) == at, 1, 0) for at in (0, GROUP - 1))

    def with_one(at: np.ndarray, pattern: int) -> np.ndarray:
        return np.where(at, pattern, ramp)

    far_below, below = 0xC2C8, 0xC000  # -100, whose sigma is 0, and -2
    return _groups([
        (ramp, ramp), (ramp, _NEGATIVE | ramp), (below, ramp), (below, _NEGATIVE | ramp),
        (ramp, alternating | ramp), (_NEGATIVE | ramp, alternating | ramp),
        # -0 by an up, by a gate, by a sigma that is 0, by underflow; +0 by two signs.
        (one, _NEGATIVE), (_NEGATIVE, one), (far_below, one), (0x0080, 0x8080), (far_below, 0xBF80),
        (one, alternating), (0, 0), (_NEGATIVE, alternating),
        # Subnormals: a gate halves, an up stays.
        (0x0001, one), (0x0002 | alternating, one), (0x41A0, 0x0001), (0x41A0, alternating | 0x7F),
        # Infinity once, everywhere, by overflow, times 0; a gate of -infinity is NaN.
        (with_one(first, _INF), one), (one, with_one(last, _INF | _NEGATIVE)), (_INF, one),
        (0x7F00, 0x4100), (_INF, 0), (_INF | _NEGATIVE, one), (_INF, alternating | one),
        # NaN once, with an infinity, and everywhere.
        (with_one(first, _NAN), one), (one, with_one(last, 0xFFFF)), (_NAN, one), (one, 0x7F81),
        (with_one(first, _NAN), with_one(last, _INF)), (_NAN, alternating), (_NAN, _INF),
    ])


def all_results(N: int) -> tuple[np.ndarray, np.ndarray]:
    """Every bf16 pattern as a result, and as the greatest of a group of 32: a gate of 32, of which
    silu and gelu_tanh are 32, and an up that is a 32nd of batches.all_bf16_patterns.

    What is subnormal after that division is not among them; the infinities are.
    """
    patterns = all_bf16_patterns(N)
    with np.errstate(all="ignore"):
        up = (patterns.astype(np.float32) / 32).astype(bfloat16)
    return np.full(up.shape, 32, bfloat16), up


def around_limit(limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Each gate with each up, 32 and 32, that is the limit, one of its two neighbours, well below
    or above it, infinite or NaN, of either sign, and 0: the columns of a row have one gate. The ups
    next to 1 tell a limit of 7 or 10 from silu of that.
    """
    at = int(np.asarray(limit, bfloat16).view(np.uint16))
    chosen = with_both_signs((at, at - 1, at + 1, at - 0x80, at + 0x80, 0x7F7F, _INF, _NAN, 0x7F81,
                              0x3F80, 0x3F86, 0x3FB3, 0x42C8, 0x0001, 0x0000, at - 2))
    assert len(chosen) == GROUP
    gate, up = np.meshgrid(np.array(chosen, np.uint16), np.array(chosen, np.uint16), indexing="ij")
    return _from_bits(gate), _from_bits(up)


def column_numbers(rows: int, N: int) -> np.ndarray:
    """An x [rows, 2N] of which each element tells its column: bf16 values one after the other, from
    2^-31 on.
    """
    if 2 * N > _INF - 0x3000:
        raise ValueError(f"expected at most {(_INF - 0x3000) // 2} columns, found {N}")
    return _from_bits(np.tile(0x3000 + np.arange(2 * N), (rows, 1)))


def ordinary_pairs(rows: int, N: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gates and ups as models have them."""
    rng = np.random.default_rng((seed, 2))
    gate = rng.standard_normal((rows, N)) * np.exp2(rng.integers(-3, 4, (rows, 1)))
    up = rng.standard_normal((rows, N)) * np.exp2(rng.integers(-5, 6, (rows, 1)))
    return gate.astype(bfloat16), up.astype(bfloat16)


def random_gated_batch(M: int, N: int, n_used: int, gate_layout: str = "gate_up",
                       live_fraction: float = 0.5, seed: int = 0,
                       has_probs: bool = False) -> Batch:
    """Gates as the activations of models have them, now and then an extreme one; ups and rows as
    those of batches.random_batch. With probs, they are between 0 and 1, now and then any float32.
    """
    rng = np.random.default_rng((seed, 1))
    batch = random_batch(M, N, n_used, live_fraction, seed)
    gate = (rng.standard_normal((M, N)) * np.exp2(rng.integers(-3, 4, (M, 1)))).astype(bfloat16)
    extreme = rng.random((M, N)) < 0.02
    gate[extreme] = _from_bits(rng.integers(0, 1 << 16, int(extreme.sum())))
    probs = None
    if has_probs:
        probs = rng.random(M, np.float32)
        odd = rng.random(M) < 0.1
        probs[odd] = rng.integers(0, 1 << 32, int(odd.sum()), np.uint32).view(np.float32)
    return Batch(join(gate, batch.x, gate_layout), batch.permutation_map, n_used, probs)


@dataclass(frozen=True)
class RandomCase:
    """A batch, and the keyword arguments of the oracle's functions; without a map where `has_map`
    is false.
    """

    batch: Batch
    arguments: dict[str, Any]
    has_map: bool = True


def _random_settings(rng: np.random.Generator) -> dict[str, Any]:
    """One of the models', or of a limit, alpha, beta and an activation that no model has."""
    if rng.random() < 0.5:
        return dict(list(VARIANTS.values())[rng.integers(len(VARIANTS))])
    settings: dict[str, Any] = {}
    if rng.random() < 0.6:
        settings["limit"] = float(bfloat16(np.exp2(rng.uniform(-4, 6))))
        settings["limit_at"] = str(rng.choice(["before", "after"]))
    if rng.random() < 0.4:
        settings["activation"] = "gelu_tanh"
    elif rng.random() < 0.6:
        settings["alpha"] = float(np.float32(rng.uniform(-1, 4)))
    if rng.random() < 0.5:
        settings["beta"] = float(np.float32(rng.standard_normal()))
    return settings


def random_case(seed: int, *, quantizes: bool, is_plain: bool = False,
                most_elements: int = 20_000) -> RandomCase:
    """A shape, a layout, rows and settings. `is_plain`: with a map and nothing else, no settings,
    no probs, nothing that is zeroed.
    """
    rng = np.random.default_rng(seed)
    gate_layout = str(rng.choice(["gate_up", "up_gate", "interleaved<1>", "interleaved<8>",
                                  "interleaved<32>", "interleaved<b>"]))
    unit = GROUP if quantizes else 1
    if gate_layout == "interleaved<b>":
        block = int(rng.integers(1, 40))
        gate_layout = f"interleaved<{block}>"
    elif gate_layout.startswith("interleaved"):
        block = int(gate_layout[12:-1])
    else:
        block = 1
    # The least common multiple of a group and a block.
    unit *= Fraction(block, unit).numerator
    N = unit * int(rng.integers(1, max(2, min(2200, most_elements) // unit)))
    M = int(rng.integers(1, max(2, min(400, most_elements // N))))
    some = rng.integers(0, M + 1, 2).tolist()
    n_used = int(rng.choice([0, M, M, M + 3, *some]))
    has_probs = not is_plain and rng.random() < 0.4
    batch = random_gated_batch(M, N, n_used, gate_layout, float(rng.choice([0.1, 0.5, 1.0])),
                               seed, has_probs)
    arguments: dict[str, Any] = {"gate_layout": gate_layout}
    if quantizes:
        arguments["scale_layout"] = str(rng.choice(["swizzle_32_4_4", "linear"]))
        arguments["dead_scales"] = str(rng.choice(["zero", "untouched"]))
    if is_plain:
        return RandomCase(batch, arguments)
    arguments.update(_random_settings(rng))
    arguments["dead_rows"] = str(rng.choice(["untouched", "zero"]))
    return RandomCase(batch, arguments, bool(rng.random() < 0.75))
