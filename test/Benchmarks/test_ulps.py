# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How far a peer's bytes may be from ours: what passes, and what does not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import ulps  # noqa: E402


def bf16(*patterns: int) -> torch.Tensor:
    return torch.tensor(patterns, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)


@pytest.mark.parametrize("found, wanted, apart", [
    (0x3F80, 0x3F80, 0), (0x3F80, 0x3F81, 1), (0x4000, 0x3FFE, 2), (0xBF80, 0xBF81, 1),
    (0x7F7F, 0x7F80, 1), (0x3F80, 0xBF80, 2 * 0x3F80), (0x7FC0, 0xFFFF, 0),
    (0x0000, 0x8000, 0), (0x0001, 0x8055, 0),
    # 2^-100 is as good as 0, 2^-99 is not.
    (0x0D80, 0x8000, 0), (0x0E00, 0x8000, 0x0E00), (0x0000, 0x0E00, 0x0E00),
])
def test_ulps(found: int, wanted: int, apart: int) -> None:
    assert ulps.bf16_ulps(bf16(found), bf16(wanted)).tolist() == [apart]


def test_nan_is_far_from_numbers() -> None:
    for number in (0x0000, 0x3F80, 0x7F7E):
        assert ulps.bf16_trouble(bf16(0x7FC0), bf16(number)) == "1 of 1 elements are too far off"
        assert ulps.bf16_trouble(bf16(number), bf16(0xFFFF)) == "1 of 1 elements are too far off"


def test_few_elements_may_be_next_to_what_they_should_be() -> None:
    wanted = torch.ones(10_000, dtype=torch.bfloat16)
    found = wanted.clone()
    found[:14] = bf16(0x3F81)
    assert ulps.bf16_trouble(found, wanted) is None
    found[14] = bf16(0x3F7F)
    assert (ulps.bf16_trouble(found, wanted)
            == "15 of 10000 elements differ, expected at most 14")
    found = wanted.clone()
    found[77] = bf16(0x3F82)
    assert ulps.bf16_trouble(found, wanted) == "1 of 10000 elements are too far off"


def quantized(data: list[int], scale: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a group each: a byte for all of its elements, and an exponent."""
    return (torch.tensor(data, dtype=torch.uint8)[:, None].repeat(1, 32),
            torch.tensor(scale, dtype=torch.uint8)[:, None])


@pytest.mark.parametrize("found, wanted", [
    (([0x7E], [120]), ([0x7E], [120])),
    # 448 * 2^-7 and 224 * 2^-6, and half a step of the coarser one below that.
    (([0x7E], [120]), ([0x76], [121])), (([0x7E], [120]), ([0x75], [121])),
    # NaN with 255; zeros of two signs with 0; what is tiny.
    (([0x7F], [255]), ([0x7F], [255])), (([0x80], [0]), ([0x80], [0])),
    (([0x7E], [17]), ([0x80], [0])),
])
def test_quantized_that_is_near(found: tuple, wanted: tuple) -> None:
    assert ulps.mxfp8_trouble(quantized(*found), quantized(*wanted)) is None


@pytest.mark.parametrize("found, wanted, trouble", [
    (([0x7E], [120]), ([0x7E], [121]), "32 of 32 elements are too far off"),
    (([0x7E], [120]), ([0xFE], [120]), "32 of 32 elements are too far off"),
    (([0x7E], [120]), ([0x7C], [120]), "32 of 32 elements are too far off"),
    (([0x7E], [120]), ([0x6E], [122]), "1 of 1 scales are too far off"),
    (([0x7E], [254]), ([0x00], [255]), "1 of 1 scales are too far off"),
    (([0x00], [0]), ([0x7E], [40]), "1 of 1 scales are too far off"),
    (([0x7F], [120]), ([0x7E], [120]), "32 of 32 elements are too far off"),
    (([0x08], [120]), ([0x7F], [120]), "32 of 32 elements are too far off"),
    # A step each is near, but not in all of them.
    (([0x7D], [120]), ([0x7E], [120]), "32 of 32 elements differ, expected at most 4"),
    (([0x76] * 5, [121] * 5), ([0x7E] * 5, [120] * 5), "5 of 5 scales differ, expected at most 4"),
])
def test_quantized_that_is_not(found: tuple, wanted: tuple, trouble: str) -> None:
    assert ulps.mxfp8_trouble(quantized(*found), quantized(*wanted)) == trouble
