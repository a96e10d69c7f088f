# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Routing, permuting and unpermuting PyTorch tensors, and as torch.ops.moe_mlir.*, against the
oracle: on the CPU and, where there is one, on a CUDA device.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import moe_mlir
import numpy as np
import pytest
from moe_testing import oracle, permutation, permutation_batches
from moe_testing.permutation_batches import TokenBatch

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if not hasattr(torch, "float8_e8m0fnu"):
    pytest.skip("this PyTorch has no float8_e8m0fnu", allow_module_level=True)

from moe_mlir import megatron  # noqa: E402
from torch_calls import as_bits, from_numpy  # noqa: E402

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[cuda, pytest.mark.cuda])]
by_device = pytest.mark.parametrize("device", DEVICES)
RARE = permutation_batches.rare_batches()
PLAIN = RARE["plain"]
# Of which every element of every result is defined.
WHOLE = replace(permutation_batches.routed(12, 3, 8, alignment=1), rows=36)
FIELDS = ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets", "permutation_map",
          "inverse_map", "permuted_probs")
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def to_torch(array: np.ndarray, device: str) -> torch.Tensor:
    if array.dtype == oracle.bfloat16:
        return from_numpy(array, torch.bfloat16).to(device)
    return torch.from_numpy(array.copy()).to(device)


def assert_same(name: str, found: torch.Tensor, wanted: np.ndarray) -> None:
    assert tuple(found.shape) == wanted.shape, name
    bits = found.detach().cpu().contiguous().view(BITS[found.element_size()]).numpy()
    assert np.array_equal(bits.view(np.uint8), np.ascontiguousarray(
        oracle.bits(wanted)).view(np.uint8).reshape(bits.view(np.uint8).shape)), name


class Tensors:
    """The operands of a batch."""

    def __init__(self, batch: TokenBatch, device: str) -> None:
        self.batch, self.device = batch, device
        self.routing_map = to_torch(batch.routing_map, device)
        self.valid = torch.tensor(batch.valid_tokens, dtype=torch.int32, device=device)
        self.probs = None if batch.probs is None else to_torch(batch.probs, device)

    def route(self, **more: Any) -> moe_mlir.Routing:
        batch = self.batch
        return moe_mlir.route_tokens(self.routing_map, batch.experts, batch.first_expert, self.valid,
                                     self.probs, batch.alignment, **more)

    def op(self) -> tuple[Any, ...]:
        """The arguments of torch.ops.moe_mlir.route_tokens."""
        batch = self.batch
        return (self.routing_map, self.valid, self.probs, batch.experts, batch.first_expert,
                batch.alignment, batch.rows)

    def permute(self, x: torch.Tensor, function: Any = None, **more: Any) -> tuple[Any, ...]:
        batch = self.batch
        return (function or moe_mlir.permute_tokens)(
            x, self.probs, self.routing_map, batch.first_expert, batch.experts, self.valid,
            batch.alignment, **more)


@by_device
@pytest.mark.parametrize("name", RARE)
def test_routing(name: str, device: str) -> None:
    batch = RARE[name]
    before = batch.before()
    arrays = {field: to_torch(getattr(before, field), device) for field in FIELDS
              if getattr(before, field) is not None}
    out = moe_mlir.Routing(*(arrays.get(field) for field in FIELDS), None)
    versions = {field: array._version for field, array in arrays.items()}
    result = Tensors(batch, device).route(out=out)
    for field, array in batch.routed(before).arrays().items():
        assert_same(field, getattr(result, field), array)
        assert getattr(result, field) is arrays[field]
        assert arrays[field]._version > versions[field]
    assert result.n_used.shape == (1,)
    assert result.n_used.data_ptr() == result.inclusive_offsets[-1:].data_ptr()


@by_device
def test_new_tensors_and_the_op(device: str) -> None:
    tensors = Tensors(WHOLE, device)
    wanted = WHOLE.routed().arrays()
    results = [tensors.route(num_rows=WHOLE.rows), torch.ops.moe_mlir.route_tokens(*tensors.op())]
    outs = {field: torch.zeros_like(tensor) for field, tensor in zip(FIELDS, results[1])}
    assert torch.ops.moe_mlir.route_tokens_out(*tensors.op(), **outs) is None
    for result in (*results, tuple(outs.values())):
        for field, tensor in zip(FIELDS, result):
            assert_same(field, tensor, wanted[field])
    # Of no probs, none.
    tensors.probs = None
    assert tensors.route().permuted_probs is None
    assert torch.ops.moe_mlir.route_tokens(*tensors.op())[5].shape == (0,)


@by_device
def test_all_tokens(device: str) -> None:
    tensors = Tensors(PLAIN, device)
    assert tensors.route()[:3] and torch.equal(
        tensors.route().inclusive_offsets,
        moe_mlir.route_tokens(tensors.routing_map, PLAIN.experts, PLAIN.first_expert,
                              alignment=PLAIN.alignment).inclusive_offsets)


@by_device
@pytest.mark.parametrize("zero_padding", [False, True])
@pytest.mark.parametrize("name", ["plain", "i64", "duplicates", "valid_tokens 17", "no token"])
def test_there_and_back(name: str, zero_padding: bool, device: str) -> None:
    """By Megatron-Core's names and its arguments by position; the map knows its inverse."""
    batch = RARE[name]
    tensors = Tensors(batch, device)
    array = permutation_batches.odd_tokens(batch.T, 96)
    x = to_torch(array, device)
    rows, probs, places, offsets = tensors.permute(x, zero_padding=zero_padding)
    routing = replace(batch, rows=rows.shape[0]).routed()
    used = min(int(offsets[-1]), rows.shape[0])
    live = permutation.live_rows(routing.permutation_map, used, batch.T)
    assert_same("map", places[:used], routing.permutation_map[:used])
    assert_same("offsets", offsets, routing.inclusive_offsets)
    at = torch.from_numpy(live).to(device)
    assert_same("rows", rows[at], array[routing.permutation_map[live]])
    assert routing.permuted_probs is not None
    assert_same("probs", probs[at], routing.permuted_probs[live])
    if zero_padding:
        assert not as_bits(rows.cpu())[:used][~at.cpu()[:used]].any()

    y = permutation_batches.expert_results(rows.shape[0], 96, odd=True)
    weights = np.where(live, routing.permuted_probs, 0).astype(np.float32)
    out = torch.full((batch.T, 96), 7.0, device=device)
    wanted = permutation.unpermute_tokens(y, routing.inverse_map, batch.valid_tokens,
                                          out.cpu().numpy(), weights)
    result = moe_mlir.unpermute_tokens(to_torch(y, device), to_torch(weights, device), places, batch.T,
                                       offsets[-1:], tensors.valid, out)
    assert result is out
    assert_same("out", out, wanted)
    new = moe_mlir.unpermute_tokens(to_torch(y, device), to_torch(weights, device), places, batch.T,
                                    offsets[-1:], tensors.valid)
    valid = permutation.clamped_tokens(batch.valid_tokens, batch.T)
    assert_same("new", new[:valid], wanted[:valid])


@by_device
@pytest.mark.parametrize(("layout", "dead"), [("swizzle_32_4_4", "zero"), ("linear", "zero"),
                                              ("swizzle_32_4_4", "untouched")])
def test_permuting_and_quantizing(layout: Any, dead: Any, device: str) -> None:
    batch = PLAIN
    array = permutation_batches.odd_tokens(batch.T, 96)
    tensors = Tensors(batch, device)
    q, probs, places, offsets = tensors.permute(
        to_torch(array, device), moe_mlir.permute_and_quantize_mxfp8, scale_layout=layout,
        dead_scales=dead)
    R = places.shape[0]
    assert R == 256 and q.data.dtype == torch.float8_e4m3fn
    routing = replace(batch, rows=R).routed()
    data, scale = permutation.permute_quantize_mxfp8(
        array, routing.permutation_map, routing.n_used, np.zeros((R, 96), oracle.float8_e4m3fn),
        np.zeros(tuple(q.scale.shape), oracle.float8_e8m0fnu), layout, dead)
    live = permutation.live_rows(routing.permutation_map, routing.n_used, batch.T)
    assert_same("data", as_bits(q.data)[torch.from_numpy(live).to(device)], oracle.bits(data)[live])
    if dead == "zero":
        assert_same("scale", as_bits(q.scale), oracle.bits(scale))
    y = to_torch(permutation_batches.expert_results(R, 32), device)
    out = moe_mlir.unpermute_tokens(y, probs, places, batch.T, offsets[-1:], tensors.valid)
    assert out.shape == (batch.T, 32)


@by_device
def test_maps_without_their_inverse(device: str) -> None:
    tensors = Tensors(PLAIN, device)
    x = to_torch(permutation_batches.tokens(PLAIN.T, 32), device)
    rows, probs, places, offsets, inverse = tensors.permute(
        x, return_batch_invariant_inverse_map=True)
    wanted = moe_mlir.unpermute_tokens(rows, probs, places, PLAIN.T, offsets[-1:], tensors.valid)
    copy = places.clone()
    with pytest.raises(ValueError, match="permutation_map: expected one that permute_tokens returned"):
        moe_mlir.unpermute_tokens(rows, probs, copy, PLAIN.T, offsets[-1:], tensors.valid)
    found = moe_mlir.unpermute_tokens(rows, probs, copy, PLAIN.T, offsets[-1:], tensors.valid,
                                      batch_invariant_inverse_map=inverse)
    assert torch.equal(found, wanted)
    with pytest.raises(ValueError, match=r"batch_invariant_inverse_map: expected shape \[39, E\]"):
        moe_mlir.unpermute_tokens(rows, probs, places, 39, offsets[-1:], tensors.valid)
    # Weighted before, so not here.
    unweighted = moe_mlir.unpermute_tokens_in_expert_order(rows, inverse, tensors.valid)
    assert torch.equal(unweighted, moe_mlir.unpermute_tokens(
        rows, None, places, PLAIN.T, offsets[-1:], tensors.valid))
    assert torch.equal(found, moe_mlir.unpermute_tokens_in_expert_order(
        rows, inverse, tensors.valid, probs=probs))


@by_device
def test_steps(device: str) -> None:
    tensors = Tensors(PLAIN, device)
    wanted = PLAIN.routed()
    counts = moe_mlir.compute_local_tokens_per_expert(
        tensors.routing_map, PLAIN.first_expert, PLAIN.experts, tensors.valid)
    assert_same("counts", counts, wanted.tokens_per_expert)
    exclusive, inclusive = moe_mlir.compute_expert_offsets(counts, alignment=PLAIN.alignment)
    assert_same("exclusive", exclusive, wanted.exclusive_offsets)
    assert_same("inclusive", inclusive, wanted.inclusive_offsets)
    places = torch.arange(PLAIN.rows, dtype=torch.int32, device=device)
    moe_mlir.init_permutation_map(places, inclusive[-1:])
    used = int(inclusive[-1])
    assert (places[:used] == -1).all()
    assert torch.equal(places[used:].cpu(), torch.arange(used, PLAIN.rows, dtype=torch.int32))


@pytest.mark.cuda
@cuda
def test_a_graph_follows_the_routing() -> None:
    tensors = Tensors(PLAIN, "cuda")
    x = to_torch(permutation_batches.tokens(PLAIN.T, 64), "cuda")

    def layer() -> torch.Tensor:
        rows, probs, places, offsets = tensors.permute(x)
        return moe_mlir.unpermute_tokens(rows, probs, places, PLAIN.T, offsets[-1:], tensors.valid)

    moe_mlir.load_kernels()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = layer()
    for seed in range(5):
        other = permutation_batches.routed(PLAIN.T, 4, 16, seed=seed, valid_tokens=30 + seed)
        tensors.routing_map.copy_(to_torch(other.routing_map, "cuda"))
        tensors.valid.fill_(other.valid_tokens)
        graph.replay()
        assert torch.equal(captured[: other.valid_tokens], layer()[: other.valid_tokens])


# PyTorch around them.


def test_opcheck() -> None:
    tensors = Tensors(WHOLE, "cpu")
    ops = torch.ops.moe_mlir
    torch.library.opcheck(ops.route_tokens.default, tensors.op())
    outs = dict(zip(FIELDS, (torch.zeros_like(t) for t in ops.route_tokens(*tensors.op()))))
    torch.library.opcheck(ops.route_tokens_out.default, tensors.op(), outs)
    routing = tensors.route(num_rows=WHOLE.rows)
    x = to_torch(permutation_batches.tokens(WHOLE.T, 32), "cpu")
    torch.library.opcheck(ops.gather_tokens.default, (x, routing.permutation_map, routing.n_used))
    torch.library.opcheck(ops.gather_and_quantize_mxfp8.default,
                          (x, routing.permutation_map, routing.n_used))
    y = to_torch(permutation_batches.expert_results(WHOLE.rows, 32), "cpu")
    arguments = (y, routing.inverse_map, tensors.valid, routing.permuted_probs)
    torch.library.opcheck(ops.unpermute_tokens.default, arguments)
    torch.library.opcheck(ops.unpermute_tokens_out.default, arguments,
                          {"out": torch.zeros(WHOLE.T, 32)})


def test_fake_tensors() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        routing_map = torch.empty(50, 4, dtype=torch.int64, device="cuda")
        valid = torch.empty(1, dtype=torch.int32, device="cuda")
        probs = torch.empty(50, 4, device="cuda")
        x = torch.empty(50, 96, dtype=torch.bfloat16, device="cuda")
        rows, weights, places, offsets = moe_mlir.permute_tokens(x, probs, routing_map, 8, 6, valid, 16)
        assert rows.shape == (50 * 4 + 16 * 6, 96) and rows.dtype == torch.bfloat16
        assert weights.shape == places.shape == (296,) and offsets.shape == (6,)
        assert rows.device.type == weights.device.type == "cuda"
        out = moe_mlir.unpermute_tokens(rows, weights, places, 50, offsets[-1:], valid)
        assert out.shape == (50, 96) and out.dtype == torch.float32
        q = moe_mlir.permute_and_quantize_mxfp8(x, probs, routing_map, 8, 6, valid)[0]
        assert q.data.shape == (1024, 96) and q.scale.shape == (8 * 512,)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiling(dynamic: bool) -> None:
    def layer(x: Any, routing_map: Any, valid: Any, probs: Any) -> Any:
        rows, weights, _, offsets, inverse = moe_mlir.permute_tokens(
            x, probs, routing_map, PLAIN.first_expert, PLAIN.experts, valid, PLAIN.alignment,
            return_batch_invariant_inverse_map=True, zero_padding=True)
        return offsets, moe_mlir.unpermute_tokens(
            rows, weights, None, x.shape[0], offsets[-1:], valid,
            batch_invariant_inverse_map=inverse)

    torch._dynamo.reset()
    tensors = Tensors(PLAIN, "cpu")
    x = to_torch(permutation_batches.tokens(PLAIN.T, 32), "cpu")
    arguments = (x, tensors.routing_map, tensors.valid, tensors.probs)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for found, wanted in zip(compiled(*arguments), layer(*arguments)):
        assert torch.equal(found, wanted)
    torch._dynamo.reset()


def test_no_gradients() -> None:
    tensors = Tensors(WHOLE, "cpu")
    assert tensors.probs is not None
    tensors.probs.requires_grad_()
    routing = tensors.route(num_rows=WHOLE.rows)
    with pytest.raises(RuntimeError, match="moe_mlir.route_tokens is not differentiable"):
        routing.permuted_probs.sum().backward()
    assert not routing.permutation_map.requires_grad
    out = moe_mlir.Routing(*map(torch.zeros_like, (*routing[:5], routing[5].detach(), routing[6])))
    with pytest.raises(RuntimeError, match="out= does not support automatic differentiation, but "
                                           "probs requires grad"):
        tensors.route(out=out)
    with torch.no_grad():
        tensors.route(out=out)
    y = to_torch(permutation_batches.expert_results(WHOLE.rows, 32), "cpu").requires_grad_()
    result = moe_mlir.unpermute_tokens_in_expert_order(y, routing.inverse_map, tensors.valid)
    with pytest.raises(RuntimeError, match="moe_mlir.unpermute_tokens is not differentiable"):
        result.sum().backward()
    x = to_torch(permutation_batches.tokens(WHOLE.T, 32), "cpu").requires_grad_()
    with pytest.raises(RuntimeError, match="moe_mlir.gather_tokens is not differentiable"):
        moe_mlir.gather_tokens(x, routing.permutation_map, routing.n_used).sum().backward()


@pytest.mark.parametrize(("changes", "message"), [
    ({"routing_map": torch.zeros(8, 2, dtype=torch.int16)},
     "routing_map: expected dtype torch.int32 or torch.int64, found torch.int16"),
    ({"routing_map": torch.zeros(8, dtype=torch.int32)},
     r"routing_map: expected shape \[T, topk\], found \[8\]"),
    ({"routing_map": torch.zeros(2, 8, dtype=torch.int32).t()},
     "routing_map: expected consecutive elements in a row"),
    ({"valid_tokens": 8}, "valid_tokens: expected a PyTorch tensor as routing_map is one, found "
                          "builtins.int"),
    ({"valid_tokens": torch.tensor(8)}, "valid_tokens: expected dtype torch.int32"),
    ({"valid_tokens": torch.zeros(2, dtype=torch.int32)}, r"valid_tokens: expected shape \[\] or"),
    ({"probs": torch.zeros(8, 2, dtype=torch.bfloat16)}, "probs: expected dtype torch.float32"),
    ({"probs": torch.zeros(8, 3)}, r"probs: expected shape \[8, 2\], as routing_map, found \[8, 3\]"),
    ({"probs": np.zeros((8, 2))}, "probs: expected a PyTorch tensor as routing_map is one"),
    ({"num_local_experts": 3000}, "inverse_map: expected from 1 to 2048 columns"),
    ({"num_local_experts": 0}, "num_local_experts: expected from 1 to"),
    ({"alignment": 1.5}, "alignment: expected an int, found builtins.float"),
    ({"programmatic_launch": "yes"}, "programmatic_launch: expected a bool"),
])
def test_routing_refuses(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"routing_map": torch.zeros(8, 2, dtype=torch.int32),
                                 "num_local_experts": 4, **changes}
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        moe_mlir.route_tokens(**arguments)


def test_outputs_that_overlap() -> None:
    tensors = Tensors(WHOLE, "cpu")
    good = tensors.route(num_rows=WHOLE.rows)
    with pytest.raises(ValueError, match="inclusive_offsets: expected memory that does not overlap"):
        tensors.route(out=good._replace(inclusive_offsets=good.exclusive_offsets.view(-1)))


# In a program that calls Megatron-Core.


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the stand-in that permutes."""
    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "megatron"]:
            monkeypatch.delitem(sys.modules, name)

    forget()
    for folder in ("stand_in", "stand_in_permute"):
        monkeypatch.syspath_prepend(str(Path(__file__).parent / folder))
    module = importlib.import_module("megatron.core.inference.moe.permute")
    module.calls.clear()
    yield module
    assert not megatron._active, "a test has left its patch in place"
    forget()


def call(program: Any, alignment: int = 16) -> torch.Tensor:
    """From tokens to rows and back, as Megatron-Core does."""
    tensors = Tensors(PLAIN, "cpu")
    x = to_torch(permutation_batches.tokens(PLAIN.T, 32), "cpu")
    rows, probs, places, offsets = program.permute_tokens(
        x, tensors.probs, tensors.routing_map, PLAIN.first_expert, PLAIN.experts, tensors.valid,
        alignment=alignment)
    return program.unpermute_tokens(rows, probs, places, PLAIN.T, offsets[-1:], tensors.valid)


def test_megatron(program: Any) -> None:
    before = call(program)
    assert {"permute_tokens", "unpermute_tokens"} <= set(program.calls)
    program.calls.clear()
    with megatron.patch() as patch:
        assert {"permute_tokens", "permute_and_quantize_mxfp8", "unpermute_tokens",
                "compute_local_tokens_per_expert", "compute_expert_offsets",
                "init_permutation_map"} <= set(patch.replaced)
        after = call(program)
        tensors = Tensors(PLAIN, "cpu")
        counts = program.compute_local_tokens_per_expert(
            tensors.routing_map, PLAIN.first_expert, PLAIN.experts, tensors.valid, persistent=True)
        assert_same("counts", counts, PLAIN.routed().tokens_per_expert)
        x = to_torch(permutation_batches.tokens(PLAIN.T, 32), "cpu")
        q = program.permute_and_quantize_mxfp8(x, tensors.probs, tensors.routing_map,
                                               PLAIN.first_expert, PLAIN.experts, tensors.valid)[0]
        tensor = importlib.import_module("megatron.core.inference.quantization.mxfp8_tensor")
        assert type(q) is tensor.MXFP8Tensor
    assert program.calls == []
    # Which differ in the order of the sums alone.
    torch.testing.assert_close(after, before)
    call(program)
    assert "permute_tokens" in program.calls


def test_megatron_by_a_map_that_is_not_ours(program: Any) -> None:
    """As a test of Megatron-Core's has it."""
    y, probs = torch.ones(3, 8, dtype=torch.bfloat16), torch.tensor([0.5, 0.25, 0.75])
    places, count = torch.tensor([0, 0, 2], dtype=torch.int32), torch.tensor(3, dtype=torch.int32)
    with megatron.patch():
        out = program.unpermute_tokens(y, probs, places, 4, count, torch.tensor(4))
    assert program.calls == ["unpermute_tokens"]
    assert out[:, 0].tolist() == [0.75, 0, 0.75, 0]


def test_megatron_batch_invariant(program: Any) -> None:
    """Weights are applied before, and the inverse map is passed on."""
    inverse = torch.tensor([[-1, -1], [0, 1]], dtype=torch.int32)
    y, count = torch.ones(2, 8, dtype=torch.bfloat16), torch.tensor(2, dtype=torch.int32)
    with megatron.patch():
        out = program.unpermute_tokens(y, None, inverse[0], 2, count, count,
                                       batch_invariant_inverse_map=inverse)
    assert program.calls == []
    assert out[:, 0].tolist() == [0, 2]
    # With weights, it would be for Megatron-Core's mode to say what becomes of them.
    with megatron.patch():
        program.unpermute_tokens(y, torch.ones(2), inverse[0].clone().fill_(-1), 2, count, count,
                                 batch_invariant_inverse_map=inverse)
    assert program.calls == ["unpermute_tokens"]


def test_megatron_of_what_there_is_no_kernel_for(program: Any) -> None:
    tensors = Tensors(PLAIN, "cpu")
    x = to_torch(permutation_batches.tokens(PLAIN.T, 32), "cpu").float()
    with megatron.patch():
        rows = program.permute_tokens(x, tensors.probs, tensors.routing_map, PLAIN.first_expert,
                                      PLAIN.experts, tensors.valid)[0]
    assert program.calls[0] == "permute_tokens" and rows.dtype == torch.float32
