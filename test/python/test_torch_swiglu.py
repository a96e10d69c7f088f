# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What ops take beside operands and modes, on tensors: probs, no map, settings. How ops behave under
PyTorch's layers otherwise, the other tests say of SwiGLU too, which is among torch_calls.CALLS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not hasattr(torch, "float8_e8m0fnu"):
    pytest.skip("this PyTorch has no float8_e8m0fnu", allow_module_level=True)

import moe_mlir  # noqa: E402
from moe_mlir._op_table import OPS  # noqa: E402
from moe_testing.gated_batches import random_gated_batch  # noqa: E402
from moe_testing.shipped import Shipped, shipped  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch_calls import as_bits, from_numpy  # noqa: E402

M, N, N_USED = 140, 64, 130
NAMES = {op.dialect: op.name for op in OPS}
DTYPES = {"out": torch.bfloat16, "data": torch.float8_e4m3fn, "scale": torch.float8_e8m0fnu}
KERNELS = [kernel for kernel in shipped() if kernel.is_gated or kernel.settings or kernel.has_probs]


def settings_of(kernel: Shipped, probs: Any) -> dict[str, Any]:
    settings = kernel.arguments
    if settings.pop("dead_rows", None):
        settings["zero_padding"] = True
    if kernel.has_probs:
        settings["probs"] = probs
    if kernel.quantizes:
        settings |= {"scale_layout": kernel.scale_layout, "dead_scales": kernel.dead_scales}
    return settings


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.id)
@pytest.mark.parametrize("form", ["function", "ops", "compiled", "not direct"])
def test_every_kernel_has_a_call(kernel: Shipped, form: str) -> None:
    if form == "compiled" and kernel.quantizes and kernel.settings:
        pytest.skip("for time: one that quantises is enough")
    batch = kernel.batch(M, N, N_USED)
    before = kernel.map.random_outputs(batch, np.random.default_rng(0))
    wanted = kernel.map.expected(batch, before)
    x = from_numpy(batch.x, torch.bfloat16)
    permutation_map = torch.from_numpy(batch.permutation_map.copy()) if kernel.has_map else None
    n_used = torch.tensor(N_USED, dtype=torch.int32)
    probs = torch.from_numpy(batch.probs.copy()) if kernel.has_probs else None
    outs = [from_numpy(out, DTYPES[name]) for out, name in zip(before, kernel.map.names())]
    settings, name = settings_of(kernel, probs), NAMES[kernel.op]

    def call(x: Any, permutation_map: Any, n_used: Any, settings: Any, outs: Any) -> None:
        if form == "ops":
            getattr(torch.ops.moe_mlir, f"{name}_out")(
                x, permutation_map, n_used, **settings, **dict(zip(kernel.map.names(), outs)))
        else:
            getattr(moe_mlir, name)(x, permutation_map, n_used, **settings,
                                    out=tuple(outs) if kernel.quantizes else outs[0])

    if form == "compiled":
        torch._dynamo.reset()
        torch.compile(call, backend="aot_eager", fullgraph=True)(
            x, permutation_map, n_used, settings, outs)
    elif form == "not direct":
        with torch.device("cpu"):  # A mode, with which no call goes around the dispatcher.
            call(x, permutation_map, n_used, settings, outs)
    else:
        call(x, permutation_map, n_used, settings, outs)
    for found, values in zip(outs, wanted):
        assert torch.equal(as_bits(found), as_bits(from_numpy(values, found.dtype)))


BATCH = random_gated_batch(M, N, N_USED, has_probs=True)
X, MAP = from_numpy(BATCH.x, torch.bfloat16), torch.from_numpy(BATCH.permutation_map.copy())
USED, PROBS = torch.tensor(N_USED, dtype=torch.int32), torch.from_numpy(BATCH.probs.copy())
LIVE = (MAP >= 0) & (torch.arange(M) < N_USED)


def test_the_other_names() -> None:
    for found, wanted in [
            (moe_mlir.bounded_silu_mul(X, USED), moe_mlir.padded_swiglu(X, None, USED)),
            (moe_mlir.swiglu_with_probs(X, MAP, USED, PROBS),
             moe_mlir.padded_swiglu(X, MAP, USED, probs=PROBS)),
            (moe_mlir.squared_relu_with_probs(X, MAP, USED, PROBS, 16.0),
             moe_mlir.padded_squared_relu(X, MAP, USED, probs=PROBS, clamp_scale=16.0))]:
        assert torch.equal(as_bits(found)[LIVE], as_bits(wanted)[LIVE])


def test_without_memory() -> None:
    with FakeTensorMode() as mode:
        x, permutation_map, n_used, probs = map(mode.from_tensor, (X, MAP, USED, PROBS))
        assert moe_mlir.padded_swiglu(x, permutation_map, n_used, probs=probs).shape == (M, N)
        assert moe_mlir.padded_swiglu(x, None, n_used).dtype == torch.bfloat16
        q = moe_mlir.swiglu_and_quantize_mxfp8(x, permutation_map, n_used, scale_layout="linear")
        assert (q.data.shape, q.scale.shape) == ((M, N), (M, N // 32))
        with pytest.raises(ValueError, match="x: expected a multiple of 2 columns, found 127"):
            moe_mlir.padded_swiglu(x[:, :-1], None, n_used)
        with pytest.raises(ValueError, match="limit: expected a positive number"):
            torch.ops.moe_mlir.padded_swiglu(x, None, n_used, limit=-1.0)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"probs": PROBS[1:]}, ValueError, "probs: expected shape [140]"),
    ({"probs": PROBS.double()}, TypeError, "probs: expected dtype torch.float32, found torch.float64"),
    ({"probs": PROBS.repeat(2)[::2]}, ValueError, "probs: expected consecutive elements"),
    ({"probs": 1.0}, TypeError, "probs: expected a PyTorch tensor as x is one, found builtins.float"),
    ({"x": X[:, :-1]}, ValueError, "x: expected a multiple of 2 columns, found 127"),
    ({"limit": "7"}, TypeError, "limit: expected a float, found str"),
    ({"gate_layout": []}, TypeError, "gate_layout: expected"),
    ({"limit": 5.0}, moe_mlir.MoeRuntimeError, "padded_swiglu: the library has no kernel for limit 5"),
])
def test_what_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        moe_mlir.padded_swiglu(**{"x": X, "permutation_map": MAP, "n_used": USED, **arguments})
    assert str(caught.value).startswith(message)


def test_a_map_that_squared_relu_needs() -> None:
    with pytest.raises(TypeError, match="permutation_map: expected a PyTorch tensor"):
        moe_mlir.padded_squared_relu(X, None, USED)


def test_probs_that_require_grad() -> None:
    probs = PROBS.clone().requires_grad_()
    result = moe_mlir.swiglu_with_probs(X, MAP, USED, probs)
    assert result.requires_grad
    with pytest.raises(RuntimeError, match="padded_swiglu is not differentiable"):
        result.sum().backward()
    for name, outs in (("padded_swiglu", {"out": torch.empty(M, N, dtype=torch.bfloat16)}),
                       ("swiglu_and_quantize_mxfp8", {
                           "data": torch.empty(M, N, dtype=torch.float8_e4m3fn),
                           "scale": torch.empty(moe_mlir.scale_size(M, N), dtype=torch.uint8)})):
        with pytest.raises(RuntimeError, match="but probs requires grad"):
            getattr(torch.ops.moe_mlir, f"{name}_out")(X, MAP, USED, probs=probs, **outs)
    with torch.no_grad():
        assert not moe_mlir.swiglu_with_probs(X, MAP, USED, probs).requires_grad
