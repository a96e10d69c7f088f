# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calls any build of libmoe_runtime.so through its C API, beside the one that the package loads."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path
from typing import Any

import torch

CPU, CUDA = 0, 1
SWIZZLED = 0
DEAD_SCALES = {"zero": 0, "untouched": 1}


class Launch(ctypes.Structure):
    # A build from before expected_rows reads what is before it.
    _fields_ = [("device", ctypes.c_int), ("flags", ctypes.c_uint32), ("stream", ctypes.c_void_p),
                ("module", ctypes.c_void_p), ("num_ctas", ctypes.c_int32),
                ("num_threads", ctypes.c_int32), ("expected_rows", ctypes.c_int64)]


class Matrix(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("rows", ctypes.c_int64), ("columns", ctypes.c_int64),
                ("row_stride", ctypes.c_int64)]


class Scale(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_int64),
                ("row_stride", ctypes.c_int64), ("layout", ctypes.c_int), ("dead", ctypes.c_int)]


def _matrix(tensor: torch.Tensor) -> Matrix:
    return Matrix(tensor.data_ptr(), *tensor.shape, tensor.stride(0))


class Library:
    """The build in a file, with kernels and state of its own. The file that the package has
    loaded gives that one again.
    """

    def __init__(self, path: Path) -> None:
        path = path.resolve()
        self._library = ctypes.CDLL(str(path))
        self._library.moeGetLastError.restype = ctypes.c_char_p
        self._library.moeGetDescription.restype = ctypes.c_char_p
        pointer = ctypes.c_void_p
        self._library.moePaddedSquaredRelu.argtypes = [pointer] * 5
        self._library.moeSquaredReluQuantizeMXFP8.argtypes = [pointer] * 6
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def description(self) -> str:
        return self._library.moeGetDescription().decode()

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(self._library.moeGetLastError().decode())

    def load_kernels(self, device: str) -> None:
        self._check(self._library.moeLoadKernels(CUDA if device == "cuda" else CPU))

    def run(self, op: str, operands: Any, outputs: Any, dead_scales: str = "zero",
            num_ctas: int = 0) -> None:
        """What the package's functions do with out=, on PyTorch's current stream."""
        x, permutation_map, n_used = operands
        on_gpu = x.device.type == "cuda"
        launch = Launch(CUDA if on_gpu else CPU, num_ctas=num_ctas)
        if on_gpu:
            launch.stream = torch.cuda.current_stream().cuda_stream
        out = outputs if op == "activation" else outputs[0]
        arguments: list[Any] = [ctypes.byref(launch), ctypes.byref(_matrix(x)),
                                permutation_map.data_ptr(), n_used.data_ptr(),
                                ctypes.byref(_matrix(out))]
        if op == "activation":
            self._check(self._library.moePaddedSquaredRelu(*arguments))
            return
        scale = outputs[1]
        arguments.append(ctypes.byref(Scale(scale.data_ptr(), scale.numel(), 0, SWIZZLED,
                                            DEAD_SCALES[dead_scales])))
        self._check(self._library.moeSquaredReluQuantizeMXFP8(*arguments))
