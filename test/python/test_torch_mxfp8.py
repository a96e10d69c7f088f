# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MXFP8 of tensors: its worth, and what it is in PyTorch's pytrees, files and compilers."""

from __future__ import annotations

import copy
import io
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not hasattr(torch, "float8_e8m0fnu"):
    pytest.skip("this PyTorch has no float8_e8m0fnu", allow_module_level=True)

import moe_mlir  # noqa: E402
from moe_mlir import _runtime  # noqa: E402
from moe_testing import oracle  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402
from torch_calls import LIVE, K, M, as_bits, from_numpy, operands  # noqa: E402

LAYOUTS = ("swizzle_32_4_4", "linear")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device"))]
BACKENDS = ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None,
    reason="no C++ compiler, which inductor needs"))]


def quantize(layout: str = "swizzle_32_4_4", device: str = "cpu") -> Any:
    return moe_mlir.quantize_mxfp8(*(t.to(device) for t in operands()), scale_layout=layout)


def assert_same(found: Any, wanted: Any) -> None:
    """That both hold the same bytes and say the same of them."""
    assert type(found) is moe_mlir.MXFP8
    assert (found.scale_layout, found.dtype, found.backend) == (
        wanted.scale_layout, wanted.dtype, wanted.backend)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype and a.device == b.device and torch.equal(as_bits(a), as_bits(b))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_holder_of_tensors(layout: str) -> None:
    q = quantize(layout)
    data, scale = q
    assert data is q.data and scale is q.scale and len(q) == 2 and not isinstance(q, tuple)
    assert q.dtype is torch.bfloat16 and q.device == torch.device("cpu")
    assert q.size() == q.shape == torch.Size([M, K]) and q.size(1) == K
    matrix = q.scale_2d()
    assert matrix.data_ptr() == scale.data_ptr()
    assert matrix.shape == ((M, K // 32) if layout == "linear" else (256, 4))
    assert repr(q) == (
        f"MXFP8(data=float8_e4m3fn [{M}, {K}], scale=float8_e8m0fnu {list(scale.shape)}, "
        f'scale_layout="{layout}", dtype=torch.bfloat16, device=cpu)')


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dequantize_is_what_it_is_on_arrays(dtype: Any, layout: str, device: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (300, 224), dtype=np.uint8).view(oracle.float8_e4m3fn)
    size = (300, 7) if layout == "linear" else moe_mlir.scale_size(300, 224)
    scale = rng.integers(0, 256, size, dtype=np.uint8).view(oracle.float8_e8m0fnu)
    wanted = moe_mlir.MXFP8(data, scale, layout).dequantize(np.float64)
    q = moe_mlir.MXFP8(from_numpy(data, torch.float8_e4m3fn).to(device),
                       from_numpy(scale, torch.float8_e8m0fnu).to(device), layout)
    found = q.dequantize(dtype)
    assert found.dtype == dtype and found.device == q.device
    torch.testing.assert_close(found.cpu(), torch.from_numpy(wanted).to(dtype), rtol=0, atol=0,
                               equal_nan=True)
    assert q.dequantize().dtype == torch.float32


def test_dequantize_keeps_what_is_subnormal() -> None:
    q = moe_mlir.MXFP8(torch.full((1, 32), 2.0**-9).to(torch.float8_e4m3fn),
                       torch.zeros(1, 1, dtype=torch.uint8).view(torch.float8_e8m0fnu), "linear")
    assert q.dequantize()[0, 31].item() == 2.0**-136
    with pytest.raises(TypeError, match="dtype: expected a floating-point dtype of PyTorch"):
        q.dequantize(torch.int32)


def test_to() -> None:
    q = quantize()
    assert q.to("cpu") is q and q.to(torch.device("cpu"), torch.bfloat16) is q
    assert q.to(q) is q and q.to(torch.zeros(1, dtype=torch.bfloat16)) is q
    for wider in (q.to(torch.float32), q.to("cpu", torch.float32), q.to(dtype=torch.float32),
                  q.to(torch.zeros(1))):
        assert wider.dtype is torch.float32 and wider.data is q.data
        assert wider.scale is q.scale and wider.scale_layout == q.scale_layout
    copied = q.to(copy=True)
    assert copied.data.data_ptr() != q.data.data_ptr()
    assert_same(copied, q)
    moved = quantize("linear").to("meta")
    assert moved.data.is_meta and moved.scale.is_meta and moved.scale_layout == "linear"
    with pytest.raises(TypeError, match="dtype: expected a floating-point dtype"):
        q.to(torch.int8)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_to_a_device_and_back() -> None:
    q = quantize("linear")
    moved = q.to("cuda", non_blocking=True)
    assert moved.data.is_cuda and moved.scale.is_cuda and moved.device.type == "cuda"
    assert_same(moved.to("cpu"), q)


def through_torch_save(q: Any, **options: Any) -> Any:
    file = io.BytesIO()
    torch.save({"q": q}, file)
    file.seek(0)
    return torch.load(file, **options)["q"]


COPIES = {
    "pickle": lambda q: pickle.loads(pickle.dumps(q)),
    "pickle protocol 2": lambda q: pickle.loads(pickle.dumps(q, 2)),
    "deepcopy": copy.deepcopy,
    "torch.save": lambda q: through_torch_save(q, weights_only=True),
    "torch.save, mapped": lambda q: through_torch_save(q, weights_only=True, map_location="cpu"),
    "torch.save, any type": lambda q: through_torch_save(q, weights_only=False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", COPIES)
def test_copies(kind: str, layout: str) -> None:
    q = quantize(layout).to(torch.float32)
    found = COPIES[kind](q)
    assert_same(found, q)
    assert found.data.data_ptr() != q.data.data_ptr()
    assert found.scale.data_ptr() != q.scale.data_ptr()


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_bytes(kind: str) -> None:
    """FlashInfer's scales are bytes."""
    q = quantize()
    q.scale, q.backend = q.scale.view(torch.uint8), "flashinfer"
    assert_same(COPIES[kind](q), q)


def test_what_shares_memory_does_so_when_it_is_loaded() -> None:
    q = quantize()
    file = io.BytesIO()
    torch.save([q, q.data, moe_mlir.MXFP8(q.data, q.scale)], file)
    file.seek(0)
    first, data, second = torch.load(file, weights_only=True)
    assert first.data.data_ptr() == data.data_ptr() == second.data.data_ptr()


@pytest.mark.parametrize("imports", ["import moe_mlir, torch", "import torch, moe_mlir"])
def test_another_process_loads_it(tmp_path: Path, imports: str) -> None:
    q = quantize("linear")
    torch.save(q, tmp_path / "q.pt")
    environment = {"PYTHONPATH": str(Path(moe_mlir.__file__).parents[1]), "PATH": "",
                   "MOE_RUNTIME_LIBRARY": str(_runtime.path)}
    result = subprocess.run(
        [sys.executable, "-c", f"{imports}\nprint(torch.load({str(tmp_path / 'q.pt')!r}, "
         "weights_only=True))"], env=environment, text=True, capture_output=True, check=False)
    assert result.stdout == f"{q!r}\n", result.stderr


def test_pytree() -> None:
    q = quantize("linear").to(torch.float32)
    leaves, spec = pytree.tree_flatten({"a": [q, 1]})
    assert leaves[0] is q.data and leaves[1] is q.scale and leaves[2] == 1
    again = pytree.tree_unflatten(leaves, spec)["a"][0]
    assert again == q and again is not q
    shapes = pytree.tree_map(lambda t: t.shape, q)
    assert shapes.data == (M, K) and shapes.scale == (M, K // 32)
    assert pytree.tree_structure(q) != pytree.tree_structure(quantize())
    assert pytree.tree_structure(q) != pytree.tree_structure(quantize("linear"))
    keys = [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(q)[0]]
    assert keys == [".data", ".scale"]
    loaded = pytree.treespec_loads(pytree.treespec_dumps(pytree.tree_structure(q)))
    assert loaded == pytree.tree_structure(q)


def test_pytree_of_arrays() -> None:
    x = np.ones((4, 32), oracle.bfloat16)
    q = moe_mlir.quantize_mxfp8(x, np.arange(4, dtype=np.int32), 4)
    spec = pytree.tree_structure(q)
    assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec
    assert pytree.tree_map(lambda t: t, q) == q


def model(x: Any, permutation_map: Any, n_used: Any, layout: str) -> Any:
    return {"q": moe_mlir.quantize_mxfp8(x * 2, permutation_map, n_used, scale_layout=layout)}


def assert_live(found: Any, layout: str) -> None:
    """That `found` is what model() makes, where that is defined."""
    wanted = model(*operands(), layout)["q"]
    assert type(found) is moe_mlir.MXFP8 and found.scale_layout == layout
    assert found.dtype is torch.bfloat16
    assert torch.equal(as_bits(found.data)[LIVE], as_bits(wanted.data)[LIVE])
    assert torch.equal(as_bits(found.scale), as_bits(wanted.scale))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_compile_returns_it(backend: str, layout: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    assert_live(compiled(*operands(), layout)["q"], layout)


def takes_e8m0(backend: str) -> bool:
    """Whether a graph may have such an input: Inductor of PyTorch 2.7 does not know the type."""
    scale = torch.ones(4, dtype=torch.uint8).view(torch.float8_e8m0fnu)
    compiled = torch.compile(lambda t: torch.ops.moe_mlir.bitcast(t, torch.uint8), backend=backend)
    try:
        return torch.equal(compiled(scale), as_bits(scale))
    except Exception as error:
        return "has no attribute '_schema'" not in str(error)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_compile_takes_it(backend: str, layout: str) -> None:
    torch.compiler.reset()
    if not takes_e8m0(backend):
        pytest.skip("Inductor of this PyTorch takes no E8M0")
    q = quantize(layout)

    def use(q: Any) -> Any:
        return q.dequantize() * 2, q.scale_2d().shape, q.size(0), q.to(torch.float32)

    values, shape, rows, wider = torch.compile(use, backend=backend, fullgraph=True)(q)
    assert torch.equal(values[LIVE], q.dequantize()[LIVE] * 2)
    assert shape == q.scale_2d().shape and rows == M
    assert wider.dtype is torch.float32 and torch.equal(as_bits(wider.data), as_bits(q.data))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("strict", [False, True])
def test_torch_export_returns_it(layout: str, strict: bool) -> None:
    class Model(torch.nn.Module):
        def forward(self, x: Any, permutation_map: Any, n_used: Any) -> Any:
            return model(x, permutation_map, n_used, layout)

    program = torch.export.export(Model(), operands(), strict=strict)
    assert_live(program.module()(*operands())["q"], layout)
    assert_live(program.run_decompositions({}).module()(*operands())["q"], layout)


def test_torch_export_takes_it() -> None:
    class Model(torch.nn.Module):
        def forward(self, q: Any) -> Any:
            return q.dequantize()

    q = quantize()
    program = torch.export.export(Model(), (q,), strict=False)
    assert torch.equal(program.module()(q)[LIVE], q.dequantize()[LIVE])
    with pytest.raises(ValueError):
        program.module()(quantize("linear"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vmap_returns_it(layout: str) -> None:
    x, permutation_map, n_used = operands()
    found = torch.vmap(lambda x: model(x, permutation_map, n_used, layout))(
        torch.stack([x, x]))["q"]
    assert found.size() == (2, M, K)
    for i in range(2):
        assert_live(pytree.tree_map(lambda t, i=i: t[i], found), layout)
