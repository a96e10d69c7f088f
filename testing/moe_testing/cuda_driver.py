# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The few calls of the CUDA driver that a test needs, through ctypes.

Buffers stand between guard zones of known bytes, which `finish` checks.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

GUARD_BYTES = 4096
GUARD_VALUE = 0xA5


class CudaError(RuntimeError):
    """A driver call that did not return CUDA_SUCCESS."""


@dataclass
class Buffer:
    allocation: int
    address: int
    nbytes: int
    total: int


class CudaDriver:
    """A backend of kernels.check: one device, its primary context, synchronous launches."""

    def __init__(self, device: int = 0) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")
        self._call("cuInit", ctypes.c_uint(0))
        handle = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(handle), ctypes.c_int(device))
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), handle)
        self._call("cuCtxSetCurrent", context)
        name = ctypes.create_string_buffer(100)
        self._call("cuDeviceGetName", name, ctypes.c_int(100), handle)
        self.name = name.value.decode()
        # Compute capability 9.0 is 90, as in sm_90.
        self.capability = 10 * self._attribute(75, handle) + self._attribute(76, handle)
        self._modules: dict[str, ctypes.c_void_p] = {}
        self._buffers: list[Buffer] = []

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._cuda, function)(*arguments)
        if status != 0:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(status, ctypes.byref(text))
            raise CudaError(f"{function}: {(text.value or b'unknown').decode()} ({status})")

    def _attribute(self, number: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), device)
        return value.value

    def _copy_in(self, address: int, array: np.ndarray) -> None:
        if array.nbytes:
            self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address),
                       array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes))

    def _copy_out(self, address: int, nbytes: int) -> np.ndarray:
        array = np.empty(nbytes, np.uint8)
        if nbytes:
            self._call("cuMemcpyDtoH_v2", array.ctypes.data_as(ctypes.c_void_p),
                       ctypes.c_uint64(address), ctypes.c_size_t(nbytes))
        return array

    def allocate(self, array: np.ndarray, offset: int) -> Buffer:
        total = array.nbytes + offset + 2 * GUARD_BYTES
        allocation = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(allocation), ctypes.c_size_t(total))
        image = np.full(total, GUARD_VALUE, np.uint8)
        start = GUARD_BYTES + offset
        image[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._copy_in(allocation.value, image)
        buffer = Buffer(allocation.value, allocation.value + start, array.nbytes, total)
        self._buffers.append(buffer)
        return buffer

    def address(self, buffer: Buffer) -> int:
        return buffer.address

    def read(self, buffer: Buffer, like: np.ndarray) -> np.ndarray:
        return self._copy_out(buffer.address, buffer.nbytes).view(like.dtype).reshape(like.shape)

    def launch(self, ptx: str, entry: str, grid: tuple[int, int, int], threads: int,
               arguments: list[int]) -> None:
        if ptx not in self._modules:
            module = ctypes.c_void_p()
            self._call("cuModuleLoadData", ctypes.byref(module), ptx.encode() + b"\0")
            self._modules[ptx] = module
        function = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(function), self._modules[ptx],
                   entry.encode())
        values = [ctypes.c_int64(value) for value in arguments]
        pointers = (ctypes.c_void_p * len(values))(
            *(ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in values))
        self._call("cuLaunchKernel", function, *(ctypes.c_uint(g) for g in grid),
                   ctypes.c_uint(threads), ctypes.c_uint(1), ctypes.c_uint(1), ctypes.c_uint(0),
                   None, pointers, None)
        self._call("cuCtxSynchronize")

    def finish(self) -> None:
        for buffer in self._buffers:
            start = buffer.address - buffer.allocation
            image = self._copy_out(buffer.allocation, buffer.total)
            guards = np.concatenate([image[:start], image[start + buffer.nbytes :]])
            self._call("cuMemFree_v2", ctypes.c_uint64(buffer.allocation))
            assert (guards == GUARD_VALUE).all(), "a guard zone was written"
        self._buffers.clear()
