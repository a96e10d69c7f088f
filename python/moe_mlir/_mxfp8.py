# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""MXFP8, which the quantising ops return: a quantised matrix, of arrays or of tensors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar, Union, cast, overload

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ._modes import ScaleLayout, parse_layout
from ._scales import GROUP, scale_shape, scale_size

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", NDArray[Any], "torch.Tensor")


class MXFP8(Generic[Array]):
    """A quantised [M, K] matrix: MXFP8 of OCP Microscaling Formats (MX) v1.0.

    The value of an element is data[r, c] * 2^(e - 127), where e is the E8M0 byte of row r and
    group c // 32; all 32 are NaN where e is 255.

    It holds what MXFP8Tensor of Megatron-Core holds, under the same names. It unpacks to the pair
    (data, scale), which is also what len() and [] know of it. Two are equal if they hold the same
    two objects for the same layout, dtype and backend, whatever the bytes: rows that are not live
    may hold anything.

    Once PyTorch is imported it is a node of its pytrees with `data` and `scale` as leaves, so that
    torch.compile, torch.export, torch.vmap and the like return it whole, and a type that
    torch.load reads with weights_only=True.

    Attributes:
        data: float8_e4m3fn [M, K].
        scale: float8_e8m0fnu, one for 32 columns: flat [scale_size(M, K)] in tiles of 128 rows by
            4 groups for "swizzle_32_4_4" (cuBLAS's layout of 1x32 scales, PyTorch's
            SwizzleType.SWIZZLE_32_4_4), [M, K // 32] for "linear".
        scale_layout: which of the two.
        dtype: the dtype of what was quantised, which the whole stands for; bfloat16 if None is
            given.
        backend: "triton", Megatron-Core's word for scales of dtype float8_e8m0fnu, which
            PyTorch's scaled_mm and scaled_grouped_mm take.

    Raises:
        TypeError, ValueError: there is no such scale_layout. Nothing else is checked.

    Source: core.inference.quantization.mxfp8_tensor.MXFP8Tensor of Megatron-Core.
    """

    __slots__ = ("data", "scale", "scale_layout", "dtype", "backend", "__weakref__")

    data: Array
    scale: Array
    scale_layout: ScaleLayout
    dtype: Any
    backend: Optional[str]

    def __init__(self, data: Array, scale: Array, scale_layout: ScaleLayout = "swizzle_32_4_4",
                 dtype: Any = None, backend: Optional[str] = "triton") -> None:
        parse_layout(scale_layout)
        self.data = data
        self.scale = scale
        self.scale_layout = scale_layout
        self.dtype = _bfloat16_of(data) if dtype is None else dtype
        self.backend = backend

    def __iter__(self) -> Iterator[Array]:
        return iter((self.data, self.scale))

    def __len__(self) -> int:
        return 2

    @overload
    def __getitem__(self, index: int) -> Array: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Array, ...]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[Array, tuple[Array, ...]]:
        return (self.data, self.scale)[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MXFP8):
            return NotImplemented
        return (self.data is other.data and self.scale is other.scale
                and (self.scale_layout, self.dtype, self.backend)
                == (other.scale_layout, other.dtype, other.backend))

    def __hash__(self) -> int:
        return hash((id(self.data), id(self.scale), self.scale_layout))

    def __repr__(self) -> str:
        # Neither values nor anything else that waits for a device.
        device = getattr(self.data, "device", None)
        place = "" if device is None or isinstance(self.data, np.ndarray) else f", device={device}"
        return (f"{type(self).__name__}(data={_describe(self.data)}, "
                f'scale={_describe(self.scale)}, scale_layout="{self.scale_layout}", '
                f"dtype={self.dtype}{place})")

    def __copy__(self) -> MXFP8[Array]:
        return self._with(self.data, self.scale, self.dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> MXFP8[Array]:
        return self._with(deepcopy(self.data, memo), deepcopy(self.scale, memo), self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        # A call of a function is what torch.load allows with weights_only=True.
        return rebuild, (type(self), _as_bytes(self.data), _as_bytes(self.scale),
                         self.scale_layout, self.dtype, self.backend)

    def _with(self, data: Array, scale: Array, dtype: Any) -> MXFP8[Array]:
        return type(self)(data, scale, self.scale_layout, dtype, self.backend)

    @property
    def shape(self) -> tuple[int, ...]:
        """[M, K], as the shape of `data` says it."""
        return self.data.shape

    @property
    def device(self) -> Any:
        """The torch.device of tensors, "cpu" for arrays."""
        return "cpu" if isinstance(self.data, np.ndarray) else self.data.device

    def size(self, idx: Optional[int] = None) -> Any:
        """The shape of `data`, or its size in dimension `idx`.

        Raises:
            IndexError: there is no such dimension.
        """
        shape = self.data.shape
        return shape if idx is None else shape[idx]

    def scale_2d(self, K: Optional[int] = None) -> Array:
        """`scale` as the matrix that scaled_mm and scaled_grouped_mm take.

        Args:
            K: columns of the matrix; those of `data` if None.

        Returns:
            A view of `scale`: [128 * ceil(M / 128), 4 * ceil(K / 128)] of the same bytes for
            "swizzle_32_4_4", `scale` itself for "linear" or if it has two dimensions already.

        Raises:
            TypeError: K is not an integer.
            ValueError: K is negative, no multiple of 32, or not the K of these scales.
        """
        scale = self.scale
        if len(scale.shape) == 2:
            return scale
        rows, columns = self.data.shape[-2:]
        if K is not None:
            if scale_size(rows, K) != scale.shape[0]:
                raise ValueError(f"K: expected {columns}, as data has, or another of which the "
                                 f"scales are {scale.shape[0]} bytes, found {K}")
            columns = K
        tile_rows, tile_columns = (rows + 127) // 128, (columns + 127) // 128
        return scale.reshape((128 * tile_rows, 4 * tile_columns))

    def to(self, device: Any = None, dtype: Any = None, *, non_blocking: bool = False,
           copy: bool = False) -> MXFP8[Array]:
        """The same matrix on another device, or standing for another dtype.

        Args:
            device: where to, as torch.Tensor.to takes it; a dtype may stand here alone, and a
                tensor or an MXFP8 gives its device and dtype. Arrays stay on the "cpu".
            dtype: what the result's `dtype` says. Bytes are never converted.
            non_blocking: as of torch.Tensor.to.
            copy: whether `data` and `scale` are copied where they need not be.

        Returns:
            This object if nothing changes, else a new one.

        Raises:
            TypeError: dtype is no floating-point dtype of the kind that `data` has.
            ValueError: arrays are to go to another device.
        """
        torch = sys.modules.get("torch")
        if isinstance(device, MXFP8) or torch is not None and isinstance(device, torch.Tensor):
            device, dtype = device.device, device.dtype if dtype is None else dtype
        elif isinstance(device, (np.dtype, type)) or (torch is not None
                                                      and isinstance(device, torch.dtype)):
            if dtype is not None:
                raise TypeError(f"device: expected no second dtype, found {device}")
            device, dtype = None, device
        if dtype is not None:
            dtype = _check_dtype(self.data, dtype)
        data: Any = self.data
        scale: Any = self.scale
        if isinstance(data, np.ndarray):
            if device is not None and str(device) != "cpu":
                raise ValueError(f'device: expected "cpu", where arrays are, found {device}')
            if copy:
                data, scale = data.copy(), scale.copy()
        elif device is not None or copy:
            device = data.device if device is None else device
            data, scale = (part.to(device, non_blocking=non_blocking, copy=copy)
                           for part in (data, scale))
        dtype = self.dtype if dtype is None else dtype
        if data is self.data and scale is self.scale and dtype == self.dtype:
            return self
        return self._with(data, scale, dtype)

    def dequantize(self, dtype: Any = None) -> Array:
        """The matrix in a wider format.

        Args:
            dtype: of the result, float32 if None. That holds every value as it is but those from
                2^128 on, which are infinite; float64 holds them too, and bfloat16 rounds those
                below 2^-126 to its subnormals. Each is rounded once, to nearest even.

        Returns:
            [M, K]. Rows that are not live hold what `data` and `scale` happen to hold there.

        Raises:
            TypeError: dtype is no floating-point dtype of the kind that `data` has.
            ValueError: `data` is no matrix, or `scale` is not as `scale_layout` says.

        Source: OCP Microscaling Formats (MX) v1.0, 5.1 and 6.3.
        """
        data: Any = self.data
        scale: Any = self.scale
        if len(data.shape) != 2:
            raise ValueError(f"data: expected shape [M, K], found {list(data.shape)}")
        rows, columns = data.shape
        if columns % GROUP:
            raise ValueError(f"data: expected a multiple of 32 columns, found {columns}")
        groups = columns // GROUP
        shape = scale_shape(rows, groups, parse_layout(self.scale_layout))
        if tuple(scale.shape) != shape:
            raise ValueError(f"scale: expected shape {list(shape)}, found {list(scale.shape)}")
        # A double holds every product.
        factor: Any
        result: Any
        if isinstance(data, np.ndarray):
            dtype = np.dtype(np.float32) if dtype is None else _check_dtype(data, dtype)
            e = self._by_rows(scale.view(np.uint8), groups).astype(np.int64)
            factor = np.where(e == 255, np.nan, np.ldexp(1.0, e - 127))
            product = data.astype(np.float64).reshape(rows, groups, GROUP) * factor[:, :, None]
            with np.errstate(over="ignore"):
                result = product.reshape(rows, columns).astype(dtype)
            return cast(Array, result)
        import torch

        dtype = torch.float32 if dtype is None else _check_dtype(data, dtype)
        if torch.compiler.is_compiling():
            # Inductor reads no E8M0.
            raw = torch.ops.moe_mlir.bitcast(scale, torch.uint8)
        else:
            raw = scale.view(torch.uint8)
        e = self._by_rows(raw, groups).long()
        # From its bits: powers are not exact on every device.
        factor = ((e + (1023 - 127)) << 52).view(torch.float64)
        factor = torch.where(e == 255, torch.nan, factor)
        product = data.to(torch.float64).reshape(rows, groups, GROUP) * factor[:, :, None]
        result = product.reshape(rows, columns).to(dtype)
        return cast(Array, result)

    def _by_rows(self, raw: Any, groups: int) -> Any:
        """The bytes of `scale`, [M, groups]."""
        if self.scale_layout == "linear":
            return raw
        rows, tiles = self.data.shape[0], (groups + 3) // 4
        tile_rows = (rows + 127) // 128
        raw = raw.reshape(tile_rows, tiles, 32, 4, 4)
        # Row tile, row // 32, row % 32, column tile, group % 4.
        raw = raw.swapaxes(1, 3).reshape(128 * tile_rows, 4 * tiles)
        return raw[:rows, :groups]


# What pickles and programs of torch.export call it.
MXFP8.__module__ = "moe_mlir"


def _bfloat16_of(data: Any) -> Any:
    """The dtype of that name, of the kind that `data` has."""
    if isinstance(data, np.ndarray):
        return np.dtype(ml_dtypes.bfloat16)
    import torch

    return torch.bfloat16


def _as_bytes(part: Any) -> tuple[Any, Any]:
    """A tensor as pickle takes it, and its dtype: of float8, PyTorch 2.11 writes what it cannot
    read. Anything else as it is, and None.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(part, torch.Tensor) or part.itemsize != 1:
        return part, None
    return part.detach().view(torch.uint8), part.dtype


def rebuild(kind: type[MXFP8[Any]], data: tuple[Any, Any], scale: tuple[Any, Any],
            scale_layout: ScaleLayout, dtype: Any, backend: Optional[str]) -> MXFP8[Any]:
    """What __reduce__ took apart."""
    first, second = (part if was is None else part.view(was) for part, was in (data, scale))
    return kind(first, second, scale_layout, dtype, backend)


def _check_dtype(data: Any, dtype: Any) -> Any:
    """A floating-point dtype of the kind that `data` has."""
    if isinstance(data, np.ndarray):
        try:
            found = np.dtype(dtype)
            # ml_dtypes has names for what NumPy has none.
            ml_dtypes.finfo(found)  # type: ignore[no-untyped-call]
        except (TypeError, ValueError):
            raise TypeError("dtype: expected a floating-point dtype of NumPy or ml_dtypes, found "
                            f"{dtype!r}") from None
        return found
    import torch

    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError("dtype: expected a floating-point dtype of PyTorch, found "
                        f"{dtype!r}")
    return dtype


def _describe(part: Any) -> str:
    """Dtype and shape, or what stands in a pytree instead of an array."""
    dtype, shape = getattr(part, "dtype", None), getattr(part, "shape", None)
    if dtype is None or shape is None:
        return repr(part)
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"


def unpack_out(out: Any, scale_layout: str) -> tuple[Any, Any]:
    """`data` and `scale` of an `out` argument."""
    if isinstance(out, MXFP8):
        if out.scale_layout != scale_layout:
            raise ValueError(f'out: expected an MXFP8 with scale_layout "{scale_layout}", found '
                             f'"{out.scale_layout}"')
        return out.data, out.scale
    if isinstance(out, (tuple, list)) and len(out) == 2:
        return out[0], out[1]
    length = f" of {len(out)}" if isinstance(out, (tuple, list)) else ""
    raise TypeError("out: expected an MXFP8 or a pair (data, scale), found "
                    f"{type(out).__name__}{length}")
