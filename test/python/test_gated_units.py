# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""SwiGLU, and what squared ReLU may have, on arrays: bytes, arguments and names. Which kernels there
are and what each computes, test/Runtime/test_runtime_shipped.py has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import moe_mlir
import numpy as np
import pytest
from moe_mlir._op_table import ALIASES, OPS
from moe_testing import oracle
from moe_testing.gated_batches import random_gated_batch
from moe_testing.shipped import Shipped, shipped

M, N, N_USED = 140, 64, 130
NAMES = {op.dialect: op for op in OPS}


def call(kernel: Shipped, batch: Any, **more: Any) -> Any:
    """The public function, as it asks for a kernel."""
    settings = kernel.arguments
    if settings.pop("dead_rows", None):
        settings["zero_padding"] = True
    if kernel.has_probs:
        settings["probs"] = batch.probs
    if kernel.quantizes:
        settings |= {"scale_layout": kernel.scale_layout, "dead_scales": kernel.dead_scales}
    function = getattr(moe_mlir, NAMES[kernel.op].name)
    return function(batch.x, batch.permutation_map if kernel.has_map else None, batch.n_used,
                    **settings, **more)


@pytest.mark.parametrize("kernel", shipped(), ids=lambda kernel: kernel.id)
def test_every_kernel_has_a_call(kernel: Shipped) -> None:
    batch = kernel.batch(M, N, N_USED)
    outs = kernel.map.random_outputs(batch, np.random.default_rng(0))
    wanted = kernel.map.expected(batch, outs)
    result = call(kernel, batch, out=tuple(outs) if kernel.quantizes else outs[0],
                  expected_rows=7, programmatic_launch=True)
    found = (result.data, result.scale) if kernel.quantizes else (result,)
    for a, b, out in zip(found, wanted, outs):
        assert a is out
        assert np.array_equal(oracle.bits(a), oracle.bits(b))
    new = call(kernel, batch)
    first = new.data if kernel.quantizes else new
    live = kernel.map.expected(batch, kernel.map.random_outputs(batch, np.random.default_rng(1)))
    rows = oracle.used_rows(M, N_USED) if not kernel.has_map else oracle.live_rows(
        batch.permutation_map, N_USED)
    if kernel.gathers:
        rows &= batch.permutation_map < M
    assert np.array_equal(oracle.bits(first)[rows], oracle.bits(live[0])[rows])


BATCH = random_gated_batch(M, N, N_USED, has_probs=True)
X, MAP, PROBS = BATCH.x, BATCH.permutation_map, BATCH.probs


def as_bits(result: Any) -> bytes:
    return oracle.bits(result)[oracle.live_rows(MAP, N_USED)].tobytes()


def test_the_other_names() -> None:
    plain = moe_mlir.padded_swiglu(X, None, N_USED)
    bounded = moe_mlir.bounded_silu_mul(X, N_USED)
    assert np.array_equal(oracle.bits(plain)[:N_USED], oracle.bits(bounded)[:N_USED])
    assert as_bits(moe_mlir.swiglu_with_probs(X, MAP, N_USED, PROBS)) == as_bits(
        moe_mlir.padded_swiglu(X, MAP, N_USED, probs=PROBS))
    weighted = [moe_mlir.squared_relu_with_probs(X, MAP, N_USED, PROBS, *settings)
                for settings in ((), (16.0,), (None, True))]
    wanted = [moe_mlir.padded_squared_relu(X, MAP, N_USED, probs=PROBS, **settings)
              for settings in ({}, {"clamp_scale": 16}, {"zero_padding": True})]
    assert list(map(as_bits, weighted)) == list(map(as_bits, wanted))
    assert as_bits(weighted[0]) != as_bits(weighted[1])
    out = np.zeros((M, N), oracle.bfloat16)
    assert moe_mlir.swiglu_with_probs(X, MAP, N_USED, PROBS, out=out, expected_rows=3,
                                      programmatic_launch=False) is out


def test_the_fused_op_is_the_two_others() -> None:
    fused = moe_mlir.swiglu_and_quantize_mxfp8(X, MAP, N_USED)
    apart = moe_mlir.quantize_mxfp8(moe_mlir.padded_swiglu(X, MAP, N_USED), MAP, N_USED)
    assert as_bits(fused.data) == as_bits(apart.data)
    assert np.array_equal(oracle.bits(fused.scale), oracle.bits(apart.scale))
    assert fused.shape == (M, N)


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.name)
def test_an_alias_says_what_it_takes(alias: Any) -> None:
    parameters = inspect.signature(getattr(moe_mlir, alias.name)).parameters
    positional = [name for name, p in parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD]
    assert tuple(positional) == (*alias.operands, *alias.options)
    assert alias.name in moe_mlir.__all__


def swiglu(**changes: Any) -> Callable[[], Any]:
    arguments = {"x": X, "permutation_map": MAP, "n_used": N_USED, **changes}
    return lambda: moe_mlir.padded_swiglu(**arguments)


@pytest.mark.parametrize(("run", "error", "message"), [
    (swiglu(x=X[:, :-1]), ValueError, "x: expected a multiple of 2 columns, found 127"),
    (swiglu(x=X[0]), ValueError, "x: expected shape [M, 2N], found [128]"),
    (swiglu(out=np.zeros((M, 2 * N), oracle.bfloat16)), ValueError,
     "out: expected shape [140, 64], found [140, 128]"),
    (swiglu(probs=PROBS[1:]), ValueError, "probs: expected shape [140], an entry for each row of x, "
                                          "found [139]"),
    (swiglu(probs=PROBS.astype(np.float64)), TypeError, "probs: expected dtype float32, found float64"),
    (swiglu(probs=PROBS.repeat(2)[::2]), ValueError, "probs: expected consecutive elements, 4 bytes "
                                                     "apart, found a stride of 8 bytes"),
    (swiglu(probs=1.0), TypeError, "probs: expected a NumPy array as x is one, found builtins.float"),
    (swiglu(gate_layout="up"), ValueError, 'gate_layout: expected "gate_up" or "up_gate" or '
                                           '"interleaved<b>", found "up"'),
    (swiglu(gate_layout="interleaved<0>"), ValueError, 'gate_layout: expected "gate_up" or'),
    (swiglu(gate_layout=1), TypeError, 'gate_layout: expected "gate_up" or "up_gate" or '
                                       '"interleaved<b>", found int'),
    (swiglu(gate_layout=["up_gate"]), TypeError, 'gate_layout: expected "gate_up" or'),
    (swiglu(limit=0.0), ValueError, "limit: expected a positive number or None, found 0.0"),
    (swiglu(limit=-7), ValueError, "limit: expected a positive number or None, found -7"),
    (swiglu(limit="7"), TypeError, "limit: expected a float, found str"),
    (swiglu(limit=1e39), ValueError, "limit: expected a finite value of 32 bits, found 1e+39"),
    (swiglu(beta=float("nan")), ValueError, "beta: expected a finite value of 32 bits, found nan"),
    (swiglu(alpha=0.0), ValueError, "alpha: expected a number other than 0, found 0"),
    (swiglu(limit_at="later"), ValueError, 'limit_at: expected "before" or "after", found "later"'),
    (swiglu(activation="gelu"), ValueError, 'activation: expected "silu" or "gelu_tanh", found "gelu"'),
    (lambda: moe_mlir.padded_squared_relu(X, None, N_USED), TypeError,
     "permutation_map: expected a NumPy array as x is one, found builtins.NoneType"),
    (lambda: moe_mlir.padded_squared_relu(X, MAP, N_USED, clamp_scale=-1.0), ValueError,
     "clamp_scale: expected a positive number or None, found -1.0"),
    (lambda: moe_mlir.padded_squared_relu(X, MAP, N_USED, zero_padding=2), TypeError,
     "zero_padding: expected a bool, found int"),
    (lambda: moe_mlir.swiglu_and_quantize_mxfp8(X[:, :96], MAP, N_USED), ValueError,
     "x: expected a multiple of 64 columns, found 96"),
    (swiglu(gate_layout="interleaved<48>"), ValueError, "x: expected a multiple of 96 columns"),
    (swiglu(limit=5.0, probs=PROBS), moe_mlir.MoeRuntimeError,
     "padded_swiglu: the library has no kernel for limit 5 + probs; it has those for nothing, "),
])
def test_what_is_refused(run: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        run()
    assert str(caught.value).startswith(message)
    if error is moe_mlir.MoeRuntimeError:
        assert caught.value.status == "UNSUPPORTED"


def test_settings_are_kept_apart() -> None:
    """Calls with other settings between do not change what a call does."""
    first = as_bits(moe_mlir.padded_swiglu(X, MAP, N_USED))
    others = [as_bits(moe_mlir.padded_swiglu(X, MAP, N_USED, **settings)) for settings in (
        {"limit": 10}, {"limit": 7, "limit_at": "after"}, {"activation": "gelu_tanh"},
        {"limit": 7, "alpha": 1.702, "beta": 1}, {"gate_layout": "up_gate"})]
    assert len({first, *others}) == 6
    assert as_bits(moe_mlir.padded_swiglu(X, MAP, N_USED, alpha=1, beta=-0.0)) == first
