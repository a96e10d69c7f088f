# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe_mlir on PyTorch tensors and as torch.ops.moe_mlir.*, against the oracle.

The same checks run on the CPU and, where there is one, on a CUDA device.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import moe_mlir
import numpy as np
import pytest
from moe_testing import batches, oracle

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from moe_mlir import _runtime, _torch_launch  # noqa: E402

HAS_CUDA = torch.cuda.is_available()
cuda = pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[cuda, pytest.mark.cuda])]
ORACLE = {"squared_relu_and_quantize_mxfp8": oracle.squared_relu_quantize_mxfp8,
          "quantize_mxfp8": oracle.quantize_mxfp8}
QUANTIZING = list(ORACLE)
MODES = [(layout, dead) for layout in ("swizzle_32_4_4", "linear")
         for dead in ("zero", "untouched")]
TYPES = {"bfloat16": torch.bfloat16, "float8_e4m3fn": torch.float8_e4m3fn,
         "float8_e8m0fnu": torch.float8_e8m0fnu, "int32": torch.int32}


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def to_torch(array: np.ndarray, device: str, padding: int = 0, offset: int = 0) -> torch.Tensor:
    """A copy; rows `padding` elements apart, memory `offset` elements past its start."""
    dtype = TYPES[array.dtype.name]
    raw = array if array.dtype == np.int32 else oracle.bits(array)
    if array.itemsize == 2:
        raw = raw.view(np.int16)
    copy = torch.from_numpy(np.array(raw)).view(dtype)
    if padding or offset:
        rows, columns = array.shape
        wide = torch.empty(offset + rows * (columns + padding), dtype=dtype, device=device)
        wide.view(torch.uint8).fill_(0x5A)
        view = wide[offset:].view(rows, columns + padding)[:, :columns]
        view.copy_(copy)
        return view
    return copy.to(device)


def bits_of(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().contiguous()
    width = torch.int16 if tensor.element_size() == 2 else torch.uint8
    raw = tensor.view(width).cpu().numpy()
    return raw.view(np.uint16) if width is torch.int16 else raw


def assert_same(name: str, found: torch.Tensor, wanted: np.ndarray, live: Any = None) -> None:
    assert found.dtype == TYPES[wanted.dtype.name] and tuple(found.shape) == wanted.shape, name
    found_bits, wanted_bits = bits_of(found), oracle.bits(wanted)
    if live is not None:
        found_bits, wanted_bits = found_bits[live], wanted_bits[live]
    differ = np.argwhere(found_bits != wanted_bits)
    assert differ.size == 0, f"{name}: {len(differ)} elements differ, first {differ[0]}"


def scale_shape(M: int, K: int, layout: str) -> tuple[int, ...]:
    return (M, K // 32) if layout == "linear" else (oracle.scale_size(M, K),)


def random_bytes(shape: tuple[int, ...], dtype: Any, seed: int) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    return raw.view(dtype).reshape(shape)


def random_operands(M: int, K: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((M, K)) * np.exp2(rng.integers(-20, 20, (M, 1)))
    permutation_map = np.where(rng.random(M) < 0.5, rng.permutation(M), -rng.integers(1, 2**31, M))
    return x.astype(oracle.bfloat16), permutation_map.astype(np.int32)


def check(device: str, x: np.ndarray, permutation_map: np.ndarray, n_used: int,
          ops: list[str] | None = None, layout: str = "swizzle_32_4_4", dead: str = "zero",
          padding: int = 0, offset: int = 0) -> None:
    """Every op, allocating and with out=, through the functions and through torch.ops."""
    M, K = x.shape
    live = oracle.live_rows(permutation_map, n_used)
    count = torch.tensor(n_used, dtype=torch.int32, device=device)
    operands = (to_torch(x, device, padding, offset), to_torch(permutation_map, device),
                count if offset == 0 else count.reshape(1))
    registered = torch.ops.moe_mlir
    for op in ["padded_squared_relu", *QUANTIZING] if ops is None else ops:
        if op == "padded_squared_relu":
            before = random_bytes((M, K), oracle.bfloat16, 1)
            wanted = oracle.padded_squared_relu(x, permutation_map, n_used, before)
            for call in (moe_mlir.padded_squared_relu, registered.padded_squared_relu):
                found = call(*operands)
                assert found.device == operands[0].device and found.is_contiguous()
                assert_same("result", found, wanted, live)
            for call in (moe_mlir.padded_squared_relu, registered.padded_squared_relu_out):
                out = to_torch(before, device, padding, offset)
                result = call(*operands, out=out)
                assert result is (out if call is moe_mlir.padded_squared_relu else None)
                assert_same("out", out, wanted)
            continue
        before_data = random_bytes((M, K), oracle.float8_e4m3fn, 1)
        before_scale = random_bytes(scale_shape(M, K, layout), oracle.float8_e8m0fnu, 2)
        wanted = ORACLE[op](x, permutation_map, n_used, before_data, before_scale, layout, dead)
        modes = {"scale_layout": layout, "dead_scales": dead}
        function = getattr(moe_mlir, op)
        result = function(*operands, **modes)
        assert isinstance(result, moe_mlir.MXFP8) and result.scale_layout == layout
        for data, scale in (result[:2], getattr(registered, op)(*operands, **modes)):
            assert data.is_contiguous() and scale.is_contiguous()
            assert_same("result data", data, wanted[0], live)
            if dead == "zero":
                assert_same("result scale", scale, wanted[1])
            elif layout == "linear":
                assert_same("result scale", scale, wanted[1], live)
        for through_ops in (False, True):
            data = to_torch(before_data, device, padding, offset)
            scale = to_torch(before_scale, device, padding if layout == "linear" else 0)
            if through_ops:
                call = getattr(registered, op + "_out")
                assert call(*operands, **modes, data=data, scale=scale) is None
            else:
                result = function(*operands, **modes, out=(data, scale))
                assert result.data is data and result.scale is scale
            assert_same("data", data, wanted[0])
            assert_same("scale", scale, wanted[1])


@pytest.mark.parametrize("device", DEVICES)
def test_all_bf16_patterns(device: str) -> None:
    x = batches.all_bf16_patterns(1856)
    check(device, x, np.arange(x.shape[0], dtype=np.int32), x.shape[0])


@pytest.mark.parametrize("device", DEVICES)
def test_routed_batch(device: str) -> None:
    batch = batches.routed_batch(16, experts=16, top_k=3)
    check(device, batch.x, batch.permutation_map, int(batch.n_used))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout, dead", MODES)
@pytest.mark.parametrize("padding, offset", [(0, 0), (32, 0), (3, 1)])
def test_modes_and_strides(device: str, layout: str, dead: str, padding: int, offset: int) -> None:
    x, permutation_map = random_operands(300, 224)
    check(device, x, permutation_map, 270, None, layout, dead, padding, offset)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_used", [-7, 0, 1, 129, 200, 2**31 - 1, -(2**31)])
def test_n_used(device: str, n_used: int) -> None:
    x, permutation_map = random_operands(200, 64)
    check(device, x, permutation_map, n_used)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("M, K", [(0, 0), (0, 64), (5, 0), (1, 32), (127, 32), (129, 1856)])
def test_sizes(device: str, M: int, K: int) -> None:
    x, permutation_map = random_operands(M, K)
    for layout, dead in MODES:
        check(device, x, permutation_map, M, None, layout, dead)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("K", [2688, 7168, 14336])
def test_wide(device: str, K: int) -> None:
    x, permutation_map = random_operands(130, K)
    check(device, x, permutation_map, 129)


@pytest.mark.parametrize("device", DEVICES)
def test_all_padding(device: str) -> None:
    x, _ = random_operands(140, 64)
    check(device, x, np.full(140, -5, np.int32), 140)


def tensors(device: str = "cpu", M: int = 6, K: int = 64) -> tuple[torch.Tensor, ...]:
    """Operands of which every row is live, so that all of a result is defined."""
    x = torch.linspace(-2, 3, M * K, device=device).to(torch.bfloat16).view(M, K)
    return (x, torch.arange(M, dtype=torch.int32, device=device),
            torch.tensor(M, dtype=torch.int32, device=device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout, dead", MODES)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_opcheck(device: str, layout: str, dead: str, as_bytes: bool) -> None:
    operands = tensors(device)
    ops = torch.ops.moe_mlir
    torch.library.opcheck(ops.padded_squared_relu.default, operands)
    torch.library.opcheck(ops.padded_squared_relu_out.default, operands,
                          {"out": torch.zeros_like(operands[0])})
    modes = {"scale_layout": layout, "dead_scales": dead}
    data = torch.zeros(6, 64, dtype=torch.uint8, device=device)
    scale = torch.zeros(scale_shape(6, 64, layout), dtype=torch.uint8, device=device)
    if not as_bytes:
        data, scale = data.view(torch.float8_e4m3fn), scale.view(torch.float8_e8m0fnu)
    # PyTorch's test_schema compares what was written by arithmetic that 8-bit floats lack.
    tests = ("test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic",
             *(("test_schema",) if as_bytes else ()))
    for op in QUANTIZING:
        if dead == "zero":
            torch.library.opcheck(getattr(ops, op).default, operands, modes)
        torch.library.opcheck(getattr(ops, op + "_out").default, operands,
                              {**modes, "data": data, "scale": scale}, test_utils=tests)
        torch.library.opcheck(getattr(ops, op + "_into").default,
                              (*operands, layout, dead, scale.view(torch.uint8)), {"data": data},
                              test_utils=tests)
    torch.library.opcheck(ops.bitcast.default, (scale.view(torch.uint8), torch.int8))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fake_tensors(device: str) -> None:
    # Needs no device of the kind.
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.empty(300, 96, dtype=torch.bfloat16, device=device)
        permutation_map = torch.empty(300, dtype=torch.int32, device=device)
        n_used = torch.empty(1, dtype=torch.int32, device=device)
        out = moe_mlir.padded_squared_relu(x, permutation_map, n_used)
        assert (out.shape, out.dtype, out.device) == (x.shape, x.dtype, x.device)
        for layout, shape in (("swizzle_32_4_4", (3 * 512,)), ("linear", (300, 3))):
            q = moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used,
                                                         scale_layout=layout)
            assert q.data.shape == x.shape and q.data.dtype == torch.float8_e4m3fn
            assert tuple(q.scale.shape) == shape and q.scale.dtype == torch.float8_e8m0fnu
            assert q.data.device == q.scale.device == x.device


WRONG_OUTPUTS: dict[str, tuple[Callable[[Any, Any], tuple[Any, Any]], type, str]] = {
    "data shape": (lambda d, s: (d[:5], s), ValueError,
                   r"data: expected shape \[6, 64\], found \[5, 64\]"),
    "data dtype": (lambda d, s: (d.view(torch.float8_e5m2), s), TypeError,
                   "data: expected dtype torch.float8_e4m3fn, found torch.float8_e5m2"),
    "data stride": (lambda d, s: (d.t().contiguous().t(), s), ValueError,
                    "data: expected consecutive elements in a row"),
    "scale shape": (lambda d, s: (d, s[1:]), ValueError, "scale: expected shape"),
    "scale rank": (lambda d, s: (d, s[None]), ValueError, "scale: expected shape"),
    "scale dtype": (lambda d, s: (d, s.view(torch.float8_e4m3fn)), TypeError,
                    "scale: expected dtype torch.float8_e8m0fnu, found torch.float8_e4m3fn"),
}


@pytest.mark.parametrize("kind", ["real", "fake", "meta", "compiled"])
@pytest.mark.parametrize("through_ops", [False, True])
@pytest.mark.parametrize("op", QUANTIZING)
@pytest.mark.parametrize("layout, dead", MODES)
@pytest.mark.parametrize("wrong", WRONG_OUTPUTS)
def test_wrong_outputs(kind: str, through_ops: bool, op: str, layout: str, dead: str,
                       wrong: str) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    change, error, message = WRONG_OUTPUTS[wrong]

    def call(*operands: Any) -> None:
        *inputs, data, scale = operands
        data, scale = change(data, scale)
        if through_ops:
            getattr(torch.ops.moe_mlir, op + "_out")(*inputs, layout, dead, data=data, scale=scale)
        else:
            getattr(moe_mlir, op)(*inputs, scale_layout=layout, dead_scales=dead,
                                  out=(data, scale))

    operands = (*tensors(), torch.zeros(6, 64, dtype=torch.uint8).view(torch.float8_e4m3fn),
                torch.zeros(scale_shape(6, 64, layout), dtype=torch.uint8)
                .view(torch.float8_e8m0fnu))
    # torch.compile wraps what is raised in an exception of its own.
    with pytest.raises(Exception if kind == "compiled" else error, match=message):
        if kind == "fake":
            with FakeTensorMode() as mode:
                call(*map(mode.from_tensor, operands))
        elif kind == "meta":
            call(*[t.to("meta") for t in operands])
        elif kind == "compiled":
            torch.compile(call, backend="aot_eager", fullgraph=True)(*operands)
        else:
            call(*operands)


@pytest.mark.parametrize("op", QUANTIZING)
@pytest.mark.parametrize("layout, dead", MODES)
@pytest.mark.parametrize("wrong", ["data shape", "data dtype", "data stride", "scale shape",
                                   "scale rank"])
def test_wrong_outputs_of_what_compilers_see(op: str, layout: str, dead: str, wrong: str) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    change, error, message = WRONG_OUTPUTS[wrong]
    if "scale" in wrong and dead == "zero":
        pytest.skip("scales before are of no use")
    with FakeTensorMode() as mode:
        inputs = [mode.from_tensor(t) for t in tensors()]
        data, scale = change(torch.empty(6, 64, dtype=torch.float8_e4m3fn),
                             torch.empty(scale_shape(6, 64, layout), dtype=torch.uint8))
        with pytest.raises(error, match=message):
            getattr(torch.ops.moe_mlir, op + "_into")(
                *inputs, layout, dead, scale if dead == "untouched" else None, data=data)


@pytest.mark.parametrize("through_ops", [False, True])
def test_the_strides_of_a_single_row_mean_nothing(through_ops: bool) -> None:
    relu_out = (torch.ops.moe_mlir.padded_squared_relu_out if through_ops
                else moe_mlir.padded_squared_relu)
    quantize_out = torch.ops.moe_mlir.quantize_mxfp8_out
    x, permutation_map, n_used = tensors(M=1)
    wanted = moe_mlir.padded_squared_relu(x, permutation_map, n_used)
    scale = torch.zeros(2, dtype=torch.uint8)
    for row in (1, 0, 5, 1000):
        strided = x.as_strided((1, 64), (row, 1))
        out = torch.zeros_like(x).as_strided((1, 64), (row, 1))
        relu_out(strided, permutation_map, n_used, out=out)
        assert torch.equal(out, wanted)
        q = moe_mlir.quantize_mxfp8(strided, permutation_map, n_used, scale_layout="linear")
        data = torch.zeros(64, dtype=torch.uint8).as_strided((1, 64), (row, 1))
        scales = scale.as_strided((1, 2), (row, 1))
        if through_ops:
            quantize_out(strided, permutation_map, n_used, "linear", data=data, scale=scales)
        else:
            moe_mlir.quantize_mxfp8(strided, permutation_map, n_used, scale_layout="linear",
                                    out=(data.view(torch.float8_e4m3fn),
                                         scales.view(torch.float8_e8m0fnu)))
        assert torch.equal(data, q.data.view(torch.uint8))
        assert torch.equal(scales, q.scale.view(torch.uint8))


@pytest.mark.parametrize("through_ops", [False, True])
@pytest.mark.parametrize("entries", [1, 20, 63])
def test_outputs_over_the_end_of_the_map(entries: int, through_ops: bool) -> None:
    # The map is 64 entries of 4 bytes; an output begins so many of them before its end.
    buffer, begin = torch.zeros(4096, dtype=torch.uint8), 256 - 4 * entries
    permutation_map, n_used = buffer[:256].view(torch.int32), torch.tensor(64, dtype=torch.int32)
    x = torch.zeros(64, 32, dtype=torch.bfloat16)

    def relu(out: Any) -> None:
        out = out.view(torch.bfloat16).view(64, 2)
        call = (torch.ops.moe_mlir.padded_squared_relu_out if through_ops
                else moe_mlir.padded_squared_relu)
        call(x[:, :2], permutation_map, n_used, out=out)

    def quantize(data: Any, scale: Any) -> None:
        data = data.view(torch.float8_e4m3fn).view(64, 32)
        scale = scale.view(torch.float8_e8m0fnu)
        if through_ops:
            torch.ops.moe_mlir.quantize_mxfp8_out(x, permutation_map, n_used, data=data,
                                                  scale=scale)
        else:
            moe_mlir.quantize_mxfp8(x, permutation_map, n_used, out=(data, scale))

    apart = torch.zeros(4096, dtype=torch.uint8)
    with pytest.raises(ValueError, match="^out: .* not overlap permutation_map"):
        relu(buffer[begin:begin + 256])
    with pytest.raises(ValueError, match="^data: .* not overlap permutation_map"):
        quantize(buffer[begin:begin + 2048], apart[:512])
    with pytest.raises(ValueError, match="^scale: .* not overlap permutation_map"):
        quantize(apart[:2048], buffer[begin:begin + 512])
    # Right behind it is apart.
    relu(buffer[256:512])
    quantize(buffer[256:2304], buffer[2304:2816])


def test_meta_tensors() -> None:
    x, permutation_map, n_used = (t.to("meta") for t in tensors())
    q = moe_mlir.quantize_mxfp8(x, permutation_map, n_used)
    assert q.data.is_meta and q.data.shape == x.shape and q.scale.shape == (512,)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_torch_compile(device: str, backend: str, dynamic: bool) -> None:
    def model(x: Any, permutation_map: Any, n_used: Any, out: Any) -> Any:
        y = moe_mlir.padded_squared_relu(x * 2, permutation_map, n_used)
        moe_mlir.padded_squared_relu(y, permutation_map, n_used, out=out)
        q = moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used)
        p = moe_mlir.quantize_mxfp8(y + 1, permutation_map, n_used, scale_layout="linear")
        return y + 1, q, p

    compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=dynamic)
    for M in (6, 130, 7):
        operands = tensors(device, M)
        outs = [torch.zeros_like(operands[0]) for _ in range(2)]
        wanted, found = model(*operands, outs[0]), compiled(*operands, outs[1])
        assert torch.equal(outs[0], outs[1]) and torch.equal(wanted[0], found[0])
        for a, b in zip(wanted[1:], found[1:]):
            assert isinstance(b, moe_mlir.MXFP8) and a.scale_layout == b.scale_layout
            assert (bits_of(a.data) == bits_of(b.data)).all()
            assert (bits_of(a.scale) == bits_of(b.scale)).all()


def test_torch_export() -> None:
    class Model(torch.nn.Module):
        def forward(self, x: Any, permutation_map: Any, n_used: Any) -> Any:
            q = moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used)
            return q.data, q.scale

    rows = {0: torch.export.Dim("M", max=4096)}
    program = torch.export.export(Model(), tensors(), dynamic_shapes=(rows, rows, None))
    targets = [str(node.target) for node in program.graph.nodes]
    assert "moe_mlir.squared_relu_and_quantize_mxfp8.default" in targets
    operands = tensors(M=300)
    for found, wanted in zip(program.module()(*operands), Model()(*operands)):
        assert found.shape == wanted.shape and (bits_of(found) == bits_of(wanted)).all()


def test_first_tensor_may_come_inside_torch_compile() -> None:
    result = run_python(
        "import moe_mlir, torch\n"
        "x = torch.ones(2, 32, dtype=torch.bfloat16)\n"
        "m, n = torch.zeros(2, dtype=torch.int32), torch.tensor([2], dtype=torch.int32)\n"
        "f = torch.compile(lambda x: moe_mlir.padded_squared_relu(x, m, n) + 1, backend='eager')\n"
        "print(f(x)[1, 31].item())")
    assert result.stdout == "2.0\n", result.stderr


def run_python(code: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(Path(moe_mlir.__file__).parents[1]),
                   "MOE_RUNTIME_LIBRARY": str(_runtime.path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, text=True,
                          capture_output=True, check=False)


X, MAP, N_USED = tensors(M=4)
DATA = torch.zeros(4, 64, dtype=torch.float8_e4m3fn)
SCALE = torch.zeros(512, dtype=torch.uint8).view(torch.float8_e8m0fnu)
relu, fused = moe_mlir.padded_squared_relu, moe_mlir.squared_relu_and_quantize_mxfp8

ERRORS: dict[str, tuple[Callable[[], Any], type, str]] = {
    "x dtype": (lambda: relu(X.float(), MAP, N_USED), TypeError,
                "x: expected dtype torch.bfloat16, found torch.float32"),
    "x rank": (lambda: relu(X[0], MAP, N_USED), ValueError,
               "x: expected shape [M, N], found [64]"),
    "x inner stride": (lambda: relu(X[:, ::2], MAP, N_USED), ValueError,
                       "x: expected consecutive elements in a row, found strides of [64, 2] "
                       "elements"),
    "x row stride": (lambda: relu(X[:1].expand(4, 64), MAP, N_USED), ValueError,
                     "x: expected a row_stride of at least the 64 columns, found 0"),
    "scale of one row": (lambda: fused(X, MAP, N_USED, scale_layout="linear", out=(
        torch.zeros(4, 64, dtype=torch.float8_e4m3fn),
        torch.zeros(1, 2, dtype=torch.uint8).view(torch.float8_e8m0fnu).expand(4, 2))), ValueError,
                         "scale: expected a size of 8 bytes for the linear scales of 4 x 64, "
                         "found 2"),
    "x columns": (lambda: fused(X[:, :33], MAP, N_USED), ValueError,
                  "x: expected a multiple of 32 columns, found 33"),
    "map type": (lambda: relu(X, MAP.numpy(), N_USED), TypeError,
                 "permutation_map: expected a PyTorch tensor as x is one, found numpy.ndarray"),
    "map dtype": (lambda: relu(X, MAP.long(), N_USED), TypeError,
                  "permutation_map: expected dtype torch.int32, found torch.int64"),
    "map device": (lambda: relu(X, MAP.to("meta"), N_USED), ValueError,
                   "permutation_map: expected device cpu, as x, found meta"),
    "map shape": (lambda: relu(X, MAP[:3], N_USED), ValueError,
                  "permutation_map: expected shape [4], an entry for each row of x, found [3]"),
    "map stride": (lambda: relu(X, torch.zeros(8, dtype=torch.int32)[::2], N_USED), ValueError,
                   "permutation_map: expected consecutive elements, found a stride of 2 elements"),
    "n_used type": (lambda: relu(X, MAP, 4), TypeError,
                    "n_used: expected a PyTorch tensor as x is one, found builtins.int"),
    "n_used dtype": (lambda: relu(X, MAP, torch.tensor(4)), TypeError,
                     "n_used: expected dtype torch.int32, found torch.int64"),
    "n_used shape": (lambda: relu(X, MAP, MAP), ValueError,
                     "n_used: expected shape [] or [1], found [4]"),
    "n_used device": (lambda: relu(X, MAP, N_USED.to("meta")), ValueError,
                      "n_used: expected device cpu, as x, found meta"),
    "out dtype": (lambda: relu(X, MAP, N_USED, out=DATA), TypeError,
                  "out: expected dtype torch.bfloat16, found torch.float8_e4m3fn"),
    "out shape": (lambda: relu(X, MAP, N_USED, out=X[:2]), ValueError,
                  "out: expected shape [4, 64], found [2, 64]"),
    "out device": (lambda: relu(X, MAP, N_USED, out=X.to("meta")), ValueError,
                   "out: expected device cpu, as x, found meta"),
    "out stride": (lambda: relu(X, MAP, N_USED, out=X.t().contiguous().t()), ValueError,
                   "out: expected consecutive elements in a row, found strides of [1, 4]"),
    "out is x": (lambda: relu(X, MAP, N_USED, out=X), ValueError,
                 "out: expected memory that does not overlap x, found"),
    "pair": (lambda: fused(X, MAP, N_USED, out=DATA), TypeError,
             "out: expected an MXFP8 or a pair (data, scale), found Tensor"),
    "data dtype": (lambda: fused(X, MAP, N_USED, out=(X, SCALE)), TypeError,
                   "data: expected dtype torch.float8_e4m3fn, found torch.bfloat16"),
    "scale shape": (lambda: fused(X, MAP, N_USED, out=(DATA, SCALE[:8])), ValueError,
                    "scale: expected shape [512], found [8]"),
    "scale dtype": (lambda: fused(X, MAP, N_USED, out=(DATA, SCALE.view(torch.uint8))), TypeError,
                    "scale: expected dtype torch.float8_e8m0fnu, found torch.uint8"),
    "layout": (lambda: fused(X, MAP, N_USED, scale_layout="blocked"), ValueError,
               'scale_layout: expected "swizzle_32_4_4" or "linear", found "blocked"'),
    "dead": (lambda: fused(X, MAP, N_USED, dead_scales="one"), ValueError,
             'dead_scales: expected "zero" or "untouched", found "one"'),
    "ops dtype": (lambda: torch.ops.moe_mlir.quantize_mxfp8(X.float(), MAP, N_USED), TypeError,
                  "x: expected dtype torch.bfloat16, found torch.float32"),
    "meta columns": (lambda: fused(X[:, :33].to("meta"), MAP.to("meta"), N_USED.to("meta")),
                     ValueError, "x: expected a multiple of 32 columns, found 33"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, kind, text = ERRORS[name]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).startswith(text)


def test_launch_uses_the_stream_and_binds_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the host does for a CUDA tensor, without a device.
    events: list[Any] = []
    current = [0]
    statuses = [0, _runtime.NO_CONTEXT, 0, _runtime.NO_CONTEXT, 0]

    @contextlib.contextmanager
    def device(index: int) -> Iterator[None]:
        current[0], saved = index, current[0]
        yield
        current[0] = saved

    def call(*arguments: Any) -> int:
        events.append((current[0], *arguments))
        return statuses.pop(0)

    monkeypatch.setattr(_torch_launch, "current_device", lambda: current[0])
    monkeypatch.setattr(_torch_launch, "_raw_stream", lambda index: 100 + index)
    monkeypatch.setattr(_torch_launch, "_bind_context", lambda index: events.append(f"bind {index}"))
    monkeypatch.setattr(torch.cuda, "device", device)
    for index in (0, 0, 1):
        _torch_launch.launch(call, index, "operands")
    on_0, on_1 = (0, _runtime.CUDA, 100, "operands"), (1, _runtime.CUDA, 101, "operands")
    assert events == [on_0, on_0, "bind 0", on_0, on_1, "bind 1", on_1]
    assert current == [0] and not statuses


@cuda
@pytest.mark.cuda
def test_cuda_errors_name_the_device() -> None:
    x, permutation_map, n_used = tensors("cuda")
    with pytest.raises(ValueError, match="_map: expected device cuda:0, as x, found cpu"):
        moe_mlir.padded_squared_relu(x, permutation_map.cpu(), n_used)
    with pytest.raises(ValueError, match="n_used: expected device cuda:0, as x, found cpu"):
        moe_mlir.padded_squared_relu(x, permutation_map, n_used.cpu())


@cuda
@pytest.mark.cuda
def test_cuda_graph_follows_n_used_and_the_map() -> None:
    moe_mlir.load_kernels("cuda")
    M, K = 300, 1856
    x_host, _ = random_operands(M, K)
    x = to_torch(x_host, "cuda")
    permutation_map = torch.zeros(M, dtype=torch.int32, device="cuda")
    n_used = torch.zeros(1, dtype=torch.int32, device="cuda")
    relu_before = random_bytes((M, K), oracle.bfloat16, 1)
    data_before = random_bytes((M, K), oracle.float8_e4m3fn, 2)
    scale_before = random_bytes((oracle.scale_size(M, K),), oracle.float8_e8m0fnu, 3)
    before = [to_torch(a, "cuda") for a in (relu_before, data_before, scale_before)]
    out, data, scale = (torch.empty_like(t) for t in before)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        moe_mlir.padded_squared_relu(x, permutation_map, n_used, out=out)
        moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used, out=(data, scale))
        fresh = moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used)
    rng = np.random.default_rng(0)
    for replay in range(1000):
        map_host = rng.integers(-M, M, M).astype(np.int32)
        used = int(rng.integers(-2, M + 3))
        permutation_map.copy_(torch.from_numpy(map_host))
        n_used.fill_(used)
        for tensor, content in zip((out, data, scale), before):
            tensor.copy_(content)
        graph.replay()
        if replay % 20:
            # Cheaply: the kernels that were not captured are right by the other tests.
            eager = [t.clone() for t in before]
            moe_mlir.padded_squared_relu(x, permutation_map, n_used, out=eager[0])
            moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used, out=eager[1:])
            for found, wanted in zip((out, data, scale, fresh.scale), [*eager, eager[2]]):
                assert torch.equal(found.view(torch.uint8), wanted.view(torch.uint8)), replay
            continue
        wanted_data, wanted_scale = oracle.squared_relu_quantize_mxfp8(
            x_host, map_host, used, data_before, scale_before)
        assert_same("out", out, oracle.padded_squared_relu(x_host, map_host, used, relu_before))
        assert_same("data", data, wanted_data)
        assert_same("scale", scale, wanted_scale)
        assert_same("fresh scale", fresh.scale, wanted_scale)


@cuda
@pytest.mark.cuda
def test_current_stream_and_threads() -> None:
    x, permutation_map, n_used = tensors("cuda", 300, 1856)
    wanted = moe_mlir.padded_squared_relu(x, permutation_map, n_used)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.default_stream())
            with torch.cuda.stream(stream):
                for _ in range(100):
                    found = moe_mlir.padded_squared_relu(x, permutation_map, n_used)
                    assert torch.equal(found, wanted)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@cuda
@pytest.mark.cuda
def test_first_use_in_a_thread_without_a_context() -> None:
    x, permutation_map, n_used = tensors("cuda")
    out = torch.empty_like(x)
    torch.cuda.synchronize()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            moe_mlir.padded_squared_relu(x, permutation_map, n_used, out=out)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures
    assert torch.equal(out, moe_mlir.padded_squared_relu(x, permutation_map, n_used))


@pytest.mark.skipif(not HAS_CUDA or torch.cuda.device_count() < 2, reason="no second CUDA device")
@pytest.mark.cuda
def test_another_device_than_the_current_one() -> None:
    for device in ("cuda:0", "cuda:1"):
        x, permutation_map = random_operands(200, 224)
        check(device, x, permutation_map, 170)
    assert torch.cuda.current_device() == 0


@cuda
@pytest.mark.cuda
def test_past_2_to_31_elements() -> None:
    M, K = 150_000, 14_336
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("not 12 GiB of free GPU memory")
    x = torch.full((M, K), -1, dtype=torch.bfloat16, device="cuda")
    x[-1] = 3
    permutation_map = torch.arange(M, dtype=torch.int32, device="cuda")
    n_used = torch.tensor(M, dtype=torch.int32, device="cuda")
    out = moe_mlir.padded_squared_relu(x, permutation_map, n_used)
    assert (out[-1] == 9).all().item() and not out[:-1].any().item()
    del out
    q = moe_mlir.squared_relu_and_quantize_mxfp8(x, permutation_map, n_used, scale_layout="linear")
    # 9 = 288 * 2^-5.
    assert (q.data[-1].float() == 288).all().item()
    assert (q.scale[-1].view(torch.uint8) == 127 - 5).all().item()
    assert not q.data[:-1].view(torch.uint8).any().item()
