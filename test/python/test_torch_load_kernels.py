# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""load_kernels with PyTorch: on a CUDA device, and what it says where there is none."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
if not hasattr(torch, "float8_e8m0fnu"):
    pytest.skip("this PyTorch has no float8_e8m0fnu", allow_module_level=True)

import moe_mlir  # noqa: E402
from moe_mlir import _runtime, _torch_launch  # noqa: E402

DEVICES = (None, "cuda", "cuda:0", 0, torch.device("cuda"), torch.device("cuda", 0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", DEVICES, ids=repr)
def test_without_a_gpu(device: Any) -> None:
    with pytest.raises(moe_mlir.MoeRuntimeError) as caught:
        moe_mlir.load_kernels(device)
    assert caught.value.status in ("NO_DRIVER", "DRIVER_ERROR", "NO_CONTEXT")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("device", DEVICES, ids=repr)
def test_with_a_gpu(device: Any) -> None:
    moe_mlir.load_kernels(device)


@pytest.mark.parametrize("device, error, message", [
    ("cpu", ValueError, "device: expected a CUDA device, found cpu"),
    (torch.device("meta"), ValueError, "device: expected a CUDA device, found meta"),
    ("no device", ValueError, "device: expected a CUDA device, found no device"),
    (2.5, TypeError, "device: expected a CUDA device as a torch.device.* found float"),
    (True, TypeError, "device: expected a CUDA device as a torch.device.* found bool")])
def test_what_is_no_cuda_device(device: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        moe_mlir.load_kernels(device)


@pytest.mark.parametrize("device, wanted", [(None, 1), (0, 0), ("cuda", 1), ("cuda:1", 1)])
def test_on_which_device(monkeypatch: pytest.MonkeyPatch, device: Any, wanted: int) -> None:
    current, loaded = [1], []

    class Device:
        def __init__(self, index: int) -> None:
            self.index = index

        def __enter__(self) -> None:
            current.append(self.index)

        def __exit__(self, *exception: object) -> None:
            current.pop()

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1])
    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(_torch_launch, "_bind_context", lambda index: None)
    monkeypatch.setattr(_runtime, "load_kernels", lambda kind: loaded.append(current[-1]) or 0)
    moe_mlir.load_kernels(device)
    assert loaded == [wanted] and current == [1]
    for missing in (2, -1, "cuda:7"):
        with pytest.raises(ValueError, match="device: expected one of 2 CUDA devices"):
            moe_mlir.load_kernels(missing)
    assert loaded == [wanted]
