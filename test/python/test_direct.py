# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calls around PyTorch's dispatcher on CUDA devices that are not there: tensors, PyTorch and the
runtime are stand-ins, so that no branch needs a GPU or PyTorch. test_torch_modes.py has the CPU.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import (
    POINTER,
    c_int,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from types import SimpleNamespace
from typing import Any

import pytest
from moe_mlir import _modes, _runtime
from moe_mlir._op_table import OPS
from moe_testing import runtime as moe
from moe_testing.run_spy import RunSpy, Told

CPU, CUDA = 1, 2
BF16, INT32, UINT8, E4M3, E8M0 = (4, 16), (0, 32), (1, 8), (10, 8), (14, 8)
FLOAT32 = (2, 32)
RELU = next(op for op in OPS if op.name == "padded_squared_relu")
QUANTIZE = next(op for op in OPS if op.name == "quantize_mxfp8")
SWIGLU = next(op for op in OPS if op.name == "padded_swiglu")
GATHER = next(op for op in OPS if op.name == "gather_tokens")
GATHER_QUANTIZE = next(op for op in OPS if op.name == "gather_and_quantize_mxfp8")


class DLTensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("device", c_int), ("index", c_int32), ("rank", c_int32),
                ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16),
                ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)),
                ("byte_offset", c_uint64)]


LEND = ctypes.PYFUNCTYPE(c_int, ctypes.py_object, POINTER(DLTensor))
STREAM = ctypes.PYFUNCTYPE(c_int, c_int, c_int32, POINTER(c_void_p))


class Exchange(ctypes.Structure):
    _fields_ = [("major", c_uint32), ("minor", c_uint32), ("previous", c_void_p),
                ("others", c_void_p * 3), ("lend", LEND), ("current_stream", STREAM)]


class Tensor:
    def __init__(self, data: int, shape: tuple[int, ...], dtype: tuple[int, int],
                 index: int = 0, device: int = CUDA) -> None:
        self.data, self.dtype, self.device, self.index = data, dtype, device, index
        self.lanes, self.byte_offset, self.requires_grad, self.fails = 1, 0, False, False
        self.resize(shape)

    def resize(self, shape: tuple[int, ...], strides: tuple[int, ...] | None = None) -> None:
        rows = (shape[-1], 1) if len(shape) == 2 else (1,) * len(shape)
        self.shape = (c_int64 * len(shape))(*shape)
        self.strides = (c_int64 * len(shape))(*(rows if strides is None else strides))

    def is_neg(self) -> bool:
        return False

    def is_inference(self) -> bool:
        return False


class Parameter(Tensor):
    pass


class World:
    """PyTorch, in the state that its attributes say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *statuses: int) -> None:
        self.current, self.raised, self.versions = 0, RuntimeError("of the runtime"), []
        self.elsewhere: list[tuple[Any, ...]] = []
        self.tells_streams = True
        self.made: list[Tensor] = []
        # What each has been made by.
        self.makers: list[str] = []
        self.is_deterministic = self.is_inference_mode = False
        self.keys, self.function_modes, self.dispatch_modes = 11, 0, 0
        self.spy = RunSpy(statuses)
        monkeypatch.setattr(_runtime, "run_op", self.spy.address)
        self.exchange = Exchange(1, 3, None, (c_void_p * 3)(), LEND(self._lend),
                                 STREAM(self._current_stream))
        self.environment = SimpleNamespace(
            tensor_type=Tensor, parameter_type=Parameter, exchange=self._capsule(),
            included_keys=lambda: SimpleNamespace(raw_repr=lambda: self.keys),
            plain_keys=(11, 2**63),
            count_function_modes=lambda: self.function_modes,
            count_dispatch_modes=lambda: self.dispatch_modes,
            forward_ad=SimpleNamespace(_current_level=-1),
            is_inference_mode=lambda: self.is_inference_mode, empty=self._empty,
            empty_on_cpu=self._make_directly("cpu"), empty_on_cuda=self._make_directly("cuda"),
            is_deterministic=lambda: self.is_deterministic, make_guard=None,
            increment_versions=self.versions.append, current_device=lambda: self.current,
            launch=self._launch, raise_last_error=self._raise_last_error,
            scale_layouts=_modes.LAYOUTS, dead_scales=_modes.DEAD_SCALES)

    def _capsule(self, name: bytes = b"dlpack_exchange_api") -> Any:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [c_void_p, ctypes.c_char_p, c_void_p]
        self.name = name
        return new(ctypes.addressof(self.exchange), name, None)

    def _lend(self, tensor: Tensor, lent: Any) -> int:
        if tensor.fails:
            return -1
        lent[0] = DLTensor(tensor.data, tensor.device, tensor.index, len(tensor.shape),
                           *tensor.dtype, tensor.lanes, tensor.shape, tensor.strides,
                           tensor.byte_offset)
        return 0

    def _current_stream(self, device: int, index: int, stream: Any) -> int:
        assert device == CUDA
        if not self.tells_streams:
            return -1
        stream[0] = 100 + index
        return 0

    def _empty(self, *shape: int, dtype: Any, device: Any) -> Tensor:
        assert device in (CPU, CUDA)
        return self._make("dispatcher", shape, dtype)

    def _make_directly(self, maker: str) -> Any:
        def empty_strided(shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any) -> Tensor:
            assert strides == ((shape[1], 1) if len(shape) == 2 else (1,))
            return self._make(maker, shape, dtype)

        return empty_strided

    def _make(self, maker: str, shape: tuple[int, ...], dtype: Any) -> Tensor:
        made = Tensor(0x1000 * (len(self.made) + 1), shape, dtype)
        self.made.append(made)
        self.makers.append(maker)
        return made

    def _launch(self, *arguments: Any) -> None:
        self.elsewhere.append(arguments)

    def _raise_last_error(self, status: int) -> None:
        self.elsewhere.append((status,))
        raise self.raised

    def make(self, op: Any, *options: Any) -> Any:
        types = ((E4M3, UINT8), (E8M0, UINT8)) if op.format.has_scales else ((BF16,),)
        return _runtime.make_tensor_call(op, "the call", self.environment, types,
                                         tuple(found[0] for found in types), *options)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def inputs(index: int = 0, device: int = CUDA) -> list[Tensor]:
    return [Tensor(0x100, (6, 64), BF16, index, device), Tensor(0x200, (6,), INT32, index, device),
            Tensor(0x300, (), INT32, index, device)]


X, MAP, USED = (0x100, 6, 64, 64), 0x200, 0x300


@pytest.mark.parametrize("index", [0, 3])
def test_on_the_current_device_and_stream(world: World, index: int) -> None:
    world.current = index
    out = Tensor(0x400, (6, 64), BF16, index)
    out.resize((6, 64), (80, 1))
    assert world.make(RELU)(*inputs(index), None, 7, False, out) is out
    assert world.spy.told == [Told(moe.find_op(RELU.dialect), (1, 0, 100 + index, None, 0, 0, 7), X,
                                   MAP, USED, (0x400, 6, 64, 80), None)]
    assert world.versions == [(out,)] and not world.elsewhere


def test_new_results(world: World) -> None:
    direct = world.make(RELU)
    assert [direct(*inputs(), None, None, False, None), direct(*inputs(), None, None, False, None)] == world.made
    assert [told.out for told in world.spy.told] == [(0x1000, 6, 64, 64), (0x2000, 6, 64, 64)]
    assert not world.versions
    assert [tuple(made.shape) for made in world.made] == [(6, 64)] * 2
    assert world.makers == ["cuda"] * 2


@pytest.mark.parametrize("layout, shape, told", [
    ("swizzle_32_4_4", (512,), (512, 0, 0)), ("linear", (6, 2), (12, 0, 1))])
@pytest.mark.parametrize("dead", ["zero", "untouched"])
def test_scales(world: World, layout: str, shape: tuple[int, ...], told: tuple[int, ...],
                dead: str) -> None:
    direct = world.make(QUANTIZE)
    result = direct(*inputs(), None, layout, dead, None, False, None, None)
    assert result == tuple(world.made) and tuple(result[1].shape) == shape
    wanted = (told[0], told[1], told[2], int(dead == "untouched"))
    assert world.spy.told[0].scale == (0x2000, *wanted)
    for types in ((E4M3, E8M0), (UINT8, UINT8)):
        outs = Tensor(0x400, (6, 64), types[0]), Tensor(0x500, shape, types[1])
        assert direct(*inputs(), None, layout, dead, None, False, *outs) == outs
        stride = 2 if layout == "linear" else 0
        assert world.spy.told.pop().scale == (0x500, told[0], stride, *wanted[2:])
        assert world.versions.pop() == outs
    if layout == "linear":
        outs[1].resize(shape, (5, 1))
        direct(*inputs(), None, layout, dead, None, False, *outs)
        assert world.spy.told.pop().scale == (0x500, 5 * 5 + 2, 5, *wanted[2:])


def test_on_the_cpu(world: World) -> None:
    world.current = 5
    assert world.make(RELU)(*inputs(device=CPU), None, None, False, None) is world.made[0]
    assert world.spy.told[0].launch == (0, 0, None, None, 0, 0, 0)
    assert world.makers == ["cpu"]


def test_results_of_other_sizes_one_after_another(world: World) -> None:
    direct, shapes = world.make(QUANTIZE), []
    for rows, columns, layout in ((6, 64, "linear"), (6, 64, "swizzle_32_4_4"), (5, 64, "linear"),
                                  (6, 96, "linear"), (130, 32, "swizzle_32_4_4"),
                                  (6, 64, "linear"), (6, 64, "linear"), (6, 128, "swizzle_32_4_4")):
        operands = inputs()
        operands[0].resize((rows, columns)), operands[1].resize((rows,))
        direct(*operands, None, layout, "zero", None, False, None, None)
        scale = ((rows, columns // 32) if layout == "linear" else (-(-rows // 128) * 512,))
        shapes += [(rows, columns), scale]
    assert [tuple(made.shape) for made in world.made] == shapes


def test_deterministic_algorithms_fill_new_memory(world: World) -> None:
    # Which the dispatcher's function alone does.
    world.is_deterministic = True
    for device in (CPU, CUDA):
        world.make(QUANTIZE)(*inputs(device=device), None, "linear", "zero", None, False, None, None)
    assert world.makers == ["dispatcher"] * 4
    assert [tuple(made.shape) for made in world.made] == [(6, 64), (6, 2)] * 2
    assert [made.dtype for made in world.made] == [E4M3, E8M0] * 2


def test_new_memory_that_begins_further_on(world: World) -> None:
    make = world.environment.empty_on_cuda

    def empty_strided(*arguments: Any) -> Tensor:
        made = make(*arguments)
        made.byte_offset = 6
        return made

    world.environment.empty_on_cuda = empty_strided
    world.make(RELU)(*inputs(), None, None, False, None)
    assert world.spy.told[0].out == (0x1006, 6, 64, 64)


@pytest.mark.parametrize("op", [RELU, QUANTIZE], ids=lambda op: op.name)
def test_programmatic_launch(world: World, op: Any) -> None:
    direct = world.make(op)
    modes = [default for _, default in op.format.modes]
    outs = [None] * len(op.format.outputs)
    for value, flags in ((False, 0), (True, 1)):
        assert direct(*inputs(), None, *modes, None, value, *outs) is not None
        assert world.spy.told.pop().launch == (1, flags, 100, None, 0, 0, 0)
    for value in (None, 0, 1, "True"):
        assert direct(*inputs(), None, *modes, None, value, *outs) is None
    assert not world.spy.told


def test_offsets(world: World) -> None:
    operands = [*inputs(), Tensor(0x400, (6, 64), BF16)]
    for offset, operand in enumerate(operands):
        operand.byte_offset = 2 * offset
    world.make(RELU)(*operands[:3], None, None, False, operands[3])
    told = world.spy.told[0]
    assert (told.x[0], told.permutation_map, told.n_used, told.out[0]) == (
        0x100, 0x202, 0x304, 0x406)


def test_on_another_device_python_launches(world: World) -> None:
    world.current = 1
    assert world.make(RELU)(*inputs(2), None, 7, True, None) is world.made[0]
    assert world.elsewhere == [("the call", 2, 7, 1, *X, MAP, USED, 0, 0x1000, 6, 64, 64)]
    assert world.makers == ["dispatcher"]
    outs = Tensor(0x400, (6, 64), E4M3, 2), Tensor(0x500, (512,), E8M0, 2)
    assert world.make(QUANTIZE)(*inputs(2), None, "swizzle_32_4_4", "untouched", None, False, *outs) == outs
    assert world.elsewhere[1] == ("the call", 2, 0, 0, *X, MAP, USED, 0, 0x400, 6, 64, 64, 0x500,
                                  512, 0, 0, 1)
    assert not world.spy.told and world.versions == [outs]


def test_without_a_context_python_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, _runtime.NO_CONTEXT)
    world.make(RELU)(*inputs(), None, None, False, None)
    assert len(world.spy.told) == len(world.elsewhere) == 1
    assert world.elsewhere[0][0] == "the call"


def test_without_a_stream_python_launches(world: World) -> None:
    world.tells_streams = False
    assert world.make(RELU)(*inputs(), None, 7, True, None) is world.made[0]
    assert world.elsewhere == [("the call", 0, 7, 1, *X, MAP, USED, 0, 0x1000, 6, 64, 64)]
    assert not world.spy.told


@pytest.mark.parametrize("status", [1, 2, 3, 5, 6])
def test_what_the_runtime_refuses_is_raised(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    world = World(monkeypatch, status)
    with pytest.raises(RuntimeError, match="of the runtime"):
        world.make(RELU)(*inputs(), None, None, False, Tensor(0x400, (6, 64), BF16))
    assert world.elsewhere == [(status,)] and not world.versions


def test_what_is_raised_while_it_launches_is_raised(world: World) -> None:
    def fail(*arguments: Any) -> Any:
        raise KeyError("a fault of PyTorch")

    world.environment.increment_versions = fail
    with pytest.raises(KeyError, match="a fault"):
        world.make(RELU)(*inputs(), None, None, False, Tensor(0x400, (6, 64), BF16))
    world.environment.launch, world.current = fail, 1
    with pytest.raises(KeyError, match="a fault"):
        world.make(RELU)(*inputs(), None, None, False, None)


CHANGES: dict[str, dict[str, Any]] = {
    "device": {"index": 1}, "kind of device": {"device": CPU}, "type": {"dtype": (3, 16)},
    "bits": {"dtype": (4, 32)}, "lanes": {"lanes": 2}, "null": {"data": None},
    "exception": {"fails": True}, "negated": {"is_neg": lambda: True},
    "no such method": {"is_neg": None}}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("position", range(4))
def test_tensors_that_are_not_taken(world: World, position: int, change: str) -> None:
    # With one row, of which a map has the shape of n_used.
    operands = [*inputs(), Tensor(0x400, (1, 64), BF16)]
    operands[0].resize((1, 64))
    operands[1].resize((1,))
    assert world.make(RELU)(*operands[:3], None, None, False, operands[3]) is operands[3]
    world.spy.told.clear(), world.versions.clear()
    for name, value in CHANGES[change].items():
        setattr(operands[position], name, value)
    assert world.make(RELU)(*operands[:3], None, None, False, operands[3]) is None
    assert not world.spy.told and not world.elsewhere and not world.versions


@pytest.mark.parametrize("position, shape, strides", [
    (0, (6, 64), (1, 6)), (0, (6, 64), (128, 2)), (0, (6,), None), (0, (6, 8, 8), None),
    (1, (5,), None), (1, (7,), None), (1, (6,), (2,)), (1, (6, 1), None), (1, (), None),
    (2, (2,), None), (2, (0,), None), (2, (1, 1), None),
    (3, (5, 64), None), (3, (6, 63), None), (3, (6, 64), (1, 6)), (3, (6,), None)])
def test_shapes_that_are_not_taken(world: World, position: int, shape: tuple[int, ...],
                                   strides: tuple[int, ...] | None) -> None:
    operands = [*inputs(), Tensor(0x400, (6, 64), BF16)]
    operands[position].resize(shape, strides or ((8,) * (len(shape) - 1) + (1,))[:len(shape)])
    assert world.make(RELU)(*operands[:3], None, None, False, operands[3]) is None
    assert not world.spy.told


def test_shapes_that_are_taken(world: World) -> None:
    x, permutation_map, n_used, out = [*inputs(), Tensor(0x400, (1, 1), BF16)]
    x.resize((1, 1), (9, 7))
    permutation_map.resize((1,), (3,))
    n_used.resize((1,), (4,))
    assert world.make(RELU)(x, permutation_map, n_used, None, None, False, out) is out
    assert world.spy.told[0].x == (0x100, 1, 1, 9)


@pytest.mark.parametrize("scale, layout, shape, strides", [
    (0x500, "swizzle_32_4_4", (511,), (1,)), (0x500, "swizzle_32_4_4", (512,), (2,)),
    (0x500, "swizzle_32_4_4", (6, 2), (2, 1)), (0x500, "linear", (512,), (1,)),
    (0x500, "linear", (5, 2), (2, 1)), (0x500, "linear", (6, 3), (3, 1)),
    (0x500, "linear", (6, 2), (1, 6)), (None, "linear", (6, 2), (2, 1))])
def test_scales_that_are_not_taken(world: World, scale: int | None, layout: str,
                                   shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    outs = Tensor(0x400, (6, 64), E4M3), Tensor(scale, shape, E8M0)
    outs[1].resize(shape, strides)
    assert world.make(QUANTIZE)(*inputs(), None, layout, "zero", None, False, *outs) is None
    assert not world.spy.told


@pytest.mark.parametrize("modes", [("other", "zero"), ("linear", "other"), (None, "zero"),
                                   ("linear", 0), ([], "zero")], ids=str)
def test_modes_that_are_not_taken(world: World, modes: tuple[Any, Any]) -> None:
    assert world.make(QUANTIZE)(*inputs(), None, *modes, None, False, None, None) is None
    operands = inputs()
    operands[0].resize((6, 48))
    assert world.make(QUANTIZE)(*operands, None, "linear", "zero", None, False, None, None) is None


@pytest.mark.parametrize("given, told", [
    (None, 0), (0, 1), (1, 1), (2**63 - 1, 2**63 - 1), (2**63, 2**63 - 1), (-1, None),
    (-2**70, None), (True, None), (2.0, None), ("1", None)])
def test_expected_rows(world: World, given: Any, told: int | None) -> None:
    result = world.make(RELU)(*inputs(), None, given, False, None)
    assert [call.launch[-1] for call in world.spy.told] == ([] if told is None else [told])
    assert (result is None) == (told is None)


@pytest.mark.parametrize("change", [
    {"included_keys": lambda: SimpleNamespace(raw_repr=lambda: 12)},
    {"included_keys": lambda: 1 // 0}, {"count_function_modes": lambda: 1},
    {"count_dispatch_modes": lambda: 1}, {"count_dispatch_modes": lambda: 1 // 0},
    {"forward_ad": SimpleNamespace(_current_level=0)}, {"forward_ad": SimpleNamespace()},
    {"is_deterministic": lambda: 1 // 0}, {"current_device": lambda: 1 // 0},
    {"empty_on_cuda": lambda *arguments: 1 // 0},
    {"empty_on_cuda": lambda *arguments: SimpleNamespace(fails=True)}], ids=lambda change: str(change)[:30])
def test_states_that_are_not_taken(world: World, change: dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(world.environment, name, value)
    assert world.make(RELU)(*inputs(), None, None, False, None) is None
    assert not world.spy.told


@pytest.mark.parametrize("is_inference, is_mode, is_taken", [
    (False, False, True), (False, True, True), (True, True, True), (True, False, False),
    (None, True, False)])
def test_outputs_of_inference_mode(world: World, is_inference: bool | None, is_mode: bool,
                                   is_taken: bool) -> None:
    out = Tensor(0x400, (6, 64), BF16)
    # None has no answer, and that is no reason to take it.
    out.is_inference = None if is_inference is None else lambda: is_inference
    world.environment.is_inference_mode = lambda: is_mode
    assert world.make(RELU)(*inputs(), None, None, False, out) is (out if is_taken else None)


def test_other_devices_are_not_taken(world: World) -> None:
    assert world.make(RELU)(*inputs(device=10), None, None, False, None) is None


def test_exchanges_that_are_not_known(world: World) -> None:
    world.exchange.major = 2
    assert world.make(RELU) is None
    world.exchange.major = 1
    world.exchange.lend, lend = LEND(), world.exchange.lend
    assert world.make(RELU) is None
    world.exchange.lend, world.exchange.current_stream = lend, STREAM()
    assert world.make(RELU) is None
    world.environment.exchange = world._capsule(b"another")
    with pytest.raises(ValueError, match="PyCapsule"):
        world.make(RELU)
    del world.environment.exchange
    with pytest.raises(AttributeError, match="exchange"):
        world.make(RELU)


@pytest.mark.parametrize("op", [RELU, QUANTIZE], ids=lambda op: op.name)
@pytest.mark.parametrize("is_guarded", [False, True])
def test_references_are_given_back(world: World, op: Any, is_guarded: bool) -> None:
    if is_guarded:
        world.environment.make_guard = lambda *tensors: lambda *others: True
    modes = [default for _, default in op.format.modes]
    outs = [Tensor(0x400, (6, 64), BF16 if op is RELU else E4M3)]
    outs += [Tensor(0x500, (512,), E8M0)] * op.format.has_scales
    operands, nothing = inputs(), [None] * len(outs)
    direct = world.make(op)

    def call_all(times: int) -> None:
        for _ in range(times):
            direct(*operands, None, *modes, 7, True, *outs)
            direct(*operands, None, *modes, None, False, *nothing)
            world.current = 1
            direct(*operands, None, *modes, 2**70, False, *outs)
            world.current = 0
            direct(*operands, None, *modes, -1, False, *outs)
            world.environment.forward_ad._current_level = 0
            direct(*operands, None, *modes, None, False, *outs)
            world.environment.forward_ad._current_level = -1
            world.versions.clear(), world.elsewhere.clear(), world.spy.told.clear()

    def count() -> list[int]:
        objects = [*operands, *outs, *modes, direct, Tensor, BF16, world.environment.forward_ad,
                   world.environment.plain_keys, *world.made[:2]]
        return [sys.getrefcount(found) for found in objects]

    found = []
    for times in (3, 100):
        call_all(times)
        # Which have references of their own.
        del world.made[2:]
        found.append(count())
    assert found[0] == found[1]


def test_the_number_of_arguments(world: World) -> None:
    for op, count in ((RELU, 7), (QUANTIZE, 10)):
        for wrong in (count - 1, count + 1):
            with pytest.raises(TypeError, match="number of arguments"):
                world.make(op)(*[None] * wrong)
        assert world.make(op)(*[None] * count) is None


# Pairs of columns, no map, factors of rows, and options.


def test_half_as_many_columns(world: World) -> None:
    direct = world.make(SWIGLU)
    assert direct(*inputs(), None, None, False, None) is world.made[0]
    assert tuple(world.made[0].shape) == (6, 32)
    out = Tensor(0x400, (6, 32), BF16)
    assert direct(*inputs(), None, None, False, out) is out
    assert direct(*inputs(), None, None, False, Tensor(0x400, (6, 64), BF16)) is None
    assert [told.out for told in world.spy.told] == [(0x1000, 6, 32, 32), (0x400, 6, 32, 32)]
    operands = inputs()
    operands[0].resize((6, 63))
    assert direct(*operands, None, None, False, None) is None


def test_without_a_map(world: World) -> None:
    x, _, n_used = inputs()
    assert world.make(SWIGLU)(x, None, n_used, None, None, False, None) is world.made[0]
    assert world.spy.told[0].permutation_map is None
    assert world.make(RELU)(x, None, n_used, None, None, False, None) is None


def test_probs_and_options(world: World) -> None:
    probs = Tensor(0x600, (6,), FLOAT32)
    direct = world.make(SWIGLU, (1, 1, 2, 4, 5, 1, 7, 8, 1, 0))
    assert direct(*inputs(), probs, None, False, None) is world.made[0]
    told = world.spy.options.pop()
    as_bits = [c_uint32.from_buffer(ctypes.c_float(value)).value for value in (
        told.clamp_scale, told.gate.limit, told.gate.alpha, told.gate.beta)]
    assert (told.probs, as_bits) == (0x600, [1, 5, 7, 8])
    assert (told.dead_rows, told.gate.layout, told.gate.block, told.gate.limit_at,
            told.gate.activation) == (1, 2, 4, 1, 1)
    assert direct(*inputs(), None, None, False, None) is world.made[1]
    assert world.spy.options.pop().probs is None
    for name, value in (("dtype", INT32), ("requires_grad", True), ("index", 1), ("fails", True)):
        wrong = Tensor(0x600, (6,), FLOAT32)
        setattr(wrong, name, value)
        assert direct(*inputs(), wrong, None, False, None) is None
    assert direct(*inputs(), Tensor(0x600, (5,), FLOAT32), None, False, None) is None
    assert not world.spy.options


def test_probs_on_another_device(world: World) -> None:
    world.current = 1
    probs = Tensor(0x600, (6,), FLOAT32, 2)
    assert world.make(SWIGLU)(*inputs(2), probs, 7, True, None) is world.made[0]
    assert world.elsewhere == [("the call", 2, 7, 1, *X, MAP, USED, 0x600, 0x1000, 6, 32, 32)]


def test_rows_of_what_gathers_are_those_of_the_map(world: World) -> None:
    x, permutation_map, n_used = inputs()
    permutation_map.resize((9,))
    made = world.make(GATHER)(x, permutation_map, n_used, None, None, False, None)
    assert tuple(made.shape) == (9, 64)
    out = Tensor(0x400, (9, 64), BF16)
    assert world.make(GATHER)(x, permutation_map, n_used, None, None, False, out) is out
    assert [told.out[:3] for told in world.spy.told] == [(0x1000, 9, 64), (0x400, 9, 64)]
    assert [told.x[:3] for told in world.spy.told] == [(0x100, 6, 64)] * 2
    # As many as x has are too few, and a map is needed.
    for arguments in ((x, permutation_map, n_used, None, None, False, Tensor(0x400, (6, 64), BF16)),
                      (x, None, n_used, None, None, False, None),
                      (x, Tensor(0x200, (9, 1), INT32), n_used, None, None, False, None)):
        assert world.make(GATHER)(*arguments) is None
    permutation_map.resize((130,))
    data, scale = world.make(GATHER_QUANTIZE)(
        x, permutation_map, n_used, None, "swizzle_32_4_4", "zero", None, False, None, None)
    assert tuple(data.shape) == (130, 64) and tuple(scale.shape) == (1024,)
    _, scale = world.make(GATHER_QUANTIZE)(
        x, permutation_map, n_used, None, "linear", "zero", None, False, None, None)
    assert tuple(scale.shape) == (130, 2)
    assert world.spy.told[-1].scale == (scale.data, 260, 0, 1, 0)


# Guards, which are asked in the place of most questions.


class Guards:
    """Makes them for a World, and has what was asked of them."""

    def __init__(self, world: World) -> None:
        self.made: list[tuple[Tensor, ...]] = []
        self.asked: list[tuple[int, tuple[Tensor, ...]]] = []
        self.passes = True
        world.environment.make_guard = self._make

    def _make(self, *tensors: Tensor) -> Any:
        self.made.append(tensors)
        number = len(self.made)

        def check(*others: Tensor) -> bool:
            self.asked.append((number, others))
            return self.passes

        return check


def fail() -> Any:
    raise KeyError("was not to be asked")


def forbid_questions(world: World, *tensors: Tensor) -> None:
    """Lets all answers be wrong that a guard has given."""
    world.keys = 12
    for tensor in tensors:
        tensor.is_neg = tensor.is_inference = fail
        del tensor.requires_grad


def test_a_guard_is_made_of_a_call_and_asked_of_the_next(world: World) -> None:
    guards, direct, operands = Guards(world), world.make(RELU), inputs()
    assert direct(*operands, None, None, False, None) is world.made[0]
    assert guards.made == [tuple(operands)] and not guards.asked
    others = inputs()
    forbid_questions(world, *others)
    assert direct(*others, None, None, False, None) is world.made[1]
    assert guards.asked == [(1, tuple(others))] and len(guards.made) == 1
    guards.passes = False
    assert direct(*others, None, None, False, None) is None
    assert len(world.spy.told) == 2 and len(guards.made) == 1


def test_a_guard_of_outputs(world: World) -> None:
    guards, direct, operands = Guards(world), world.make(QUANTIZE), inputs()
    outs = Tensor(0x400, (6, 64), E4M3), Tensor(0x500, (512,), E8M0)
    arguments = [*operands, None, "swizzle_32_4_4", "zero", None, False, *outs]
    assert direct(*arguments) == outs
    forbid_questions(world, *operands, *outs)
    assert direct(*arguments) == outs
    assert guards.made == [(*operands, *outs)] and guards.asked == [(1, (*operands, *outs))]
    assert world.versions == [outs] * 2


def test_what_guards_do_not_know_is_asked(world: World) -> None:
    Guards(world)
    direct = world.make(RELU)

    def is_taken(*operands: Tensor) -> bool:
        return direct(*operands, None, None, False, None) is not None

    assert is_taken(*inputs()) and is_taken(*inputs())
    for holder, name, value in ((world, "function_modes", 1), (world, "dispatch_modes", 1),
                                (world.environment.forward_ad, "_current_level", 0)):
        before = getattr(holder, name)
        setattr(holder, name, value)
        assert not is_taken(*inputs())
        setattr(holder, name, before)
    for position, shape in enumerate(((6,), (5,), (2,))):
        operands = inputs()
        operands[position].resize(shape)
        assert not is_taken(*operands)
        operands = inputs()
        operands[position].fails = True
        assert not is_taken(*operands)
    assert is_taken(*inputs())


def test_other_operands_have_other_guards(world: World) -> None:
    guards, direct = Guards(world), world.make(SWIGLU)
    x, permutation_map, n_used = inputs()
    probs, out = Tensor(0x600, (6,), FLOAT32), Tensor(0x400, (6, 32), BF16)
    calls = [(given_map, given_probs, given_out, mode) for given_map in (permutation_map, None)
             for given_probs in (probs, None)
             for given_out, mode in ((None, False), (out, False), (out, True))]

    def call_all() -> None:
        for given_map, given_probs, given_out, is_mode in calls:
            world.is_inference_mode = is_mode
            assert direct(x, given_map, n_used, given_probs, None, False, given_out) is not None

    call_all()
    assert guards.made == [
        tuple(operand for operand in (x, given_map, n_used, given_probs, given_out) if operand)
        for given_map, given_probs, given_out, _ in calls]
    assert not guards.asked
    call_all()
    assert guards.asked == list(enumerate(guards.made, 1))


def test_there_are_not_ever_more_guards(world: World) -> None:
    guards, direct = Guards(world), world.make(RELU)
    guards.passes = False
    for _ in range(20):
        assert direct(*inputs(), None, None, False, None) is not None
    assert len(guards.made) == 8 and guards.asked[-1][0] == 8


@pytest.mark.parametrize("is_made", [False, True])
def test_guards_that_fail(world: World, is_made: bool) -> None:
    def raise_error(*tensors: Tensor) -> Any:
        raise KeyError("of a guard")

    world.environment.make_guard = (lambda *tensors: raise_error) if is_made else raise_error
    direct, operands = world.make(RELU), inputs()
    for _ in range(3):
        assert direct(*operands, None, None, False, None) is world.made[-1]
    operands[0].is_neg = lambda: True
    assert direct(*operands, None, None, False, None) is None


def test_no_guard_of_a_call_that_is_not_taken(world: World) -> None:
    guards, direct = Guards(world), world.make(RELU)
    operands = inputs()
    operands[1].is_neg = lambda: True
    assert direct(*operands, None, None, False, None) is None
    assert not guards.made
