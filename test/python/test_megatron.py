# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""moe_mlir.megatron in a program that calls Megatron-Core, for which a package of the same
structure stands in.
"""

from __future__ import annotations

import functools
import importlib
import pickle
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
if not hasattr(torch, "float8_e8m0fnu"):
    pytest.skip("this PyTorch has no float8_e8m0fnu", allow_module_level=True)

import moe_mlir  # noqa: E402
from moe_mlir import _runtime, megatron, torch_ops  # noqa: E402
from torch_calls import LIVE, N_USED, Call, K, M, as_bits, operands  # noqa: E402

ACTIVATIONS = "megatron.core.inference.moe.activations"
NAMES = ("padded_squared_relu", "squared_relu_and_quantize_mxfp8", "padded_swiglu")
RELU, FUSED, SWIGLU = (Call(name) for name in NAMES)


class Program:
    """The modules of the stand-in, as a program has them that has imported all by name."""

    def __init__(self) -> None:
        self.activations = importlib.import_module(ACTIVATIONS)
        self.fused_moe = importlib.import_module("megatron.core.inference.moe.fused_moe")
        module = importlib.import_module("megatron.core.inference.quantization.mxfp8_tensor")
        self.MXFP8Tensor = module.MXFP8Tensor
        self.calls: list[str] = self.activations.calls

    def run(self, use_mxfp8: bool, *args: Any, kind: str = "SQUARED_RELU") -> Any:
        """The caller's path; `offs` as it makes it: n_used is a view of one element."""
        x, permutation_map, n_used = args or operands()
        offs = torch.stack([n_used // 2, n_used]).to(torch.int32)
        return self.fused_moe.mcore_fused_moe(x, permutation_map, offs,
                                              self.fused_moe.ActivationType[kind], use_mxfp8)

    def names(self) -> dict[tuple[str, str], Any]:
        """What every name in every module of the stand-in is bound to."""
        return {(module, name): value for module in list(sys.modules)
                if module.split(".")[0] == "megatron"
                for name, value in vars(sys.modules[module]).items()}


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the end of the test, as if none of the modules had been imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "megatron"]:
        monkeypatch.delitem(sys.modules, name)


# Once: torch.compile knows modules by name.
@pytest.fixture(scope="module")
def modules() -> Iterator[Program]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        forget(monkeypatch)
        monkeypatch.syspath_prepend(str(Path(__file__).parent / "stand_in"))
        yield Program()
        for name in [name for name in sys.modules if name.split(".")[0] == "megatron"]:
            del sys.modules[name]


@pytest.fixture
def program(modules: Program) -> Iterator[Program]:
    modules.calls.clear()
    yield modules
    assert not megatron._active, "a test has left its patch in place"


def assert_fused(program: Program, q: Any) -> None:
    """That q is what this package computes, in Megatron-Core's class."""
    assert type(q) is program.MXFP8Tensor and q.backend == "triton"
    FUSED.assert_returned((q.data, q.scale))


def test_the_caller_runs_this_package(program: Program) -> None:
    with megatron.patch() as patch:
        assert patch.replaced == NAMES
        data, scale = program.run(use_mxfp8=True)
        FUSED.assert_returned((data, scale.flatten()))
        assert scale.shape == (256, 4)
        RELU.assert_returned((program.run(use_mxfp8=False),))
        q = program.activations.squared_relu_and_quantize_mxfp8(*operands())
        assert_fused(program, q)
        assert q.size(1) == K and q.scale_2d().shape == (256, 4)
    assert program.calls == []


def test_the_result_is_what_it_was_before(program: Program) -> None:
    before = [*program.run(use_mxfp8=True), program.run(use_mxfp8=False)]
    assert len(program.calls) == 2
    with megatron.patch():
        after = [*program.run(use_mxfp8=True), program.run(use_mxfp8=False)]
    assert len(program.calls) == 2
    for a, b in zip(before, after, strict=True):
        rows = LIVE if a.shape[0] == M else slice(None)
        assert a.shape == b.shape and a.dtype == b.dtype
        assert torch.equal(as_bits(a)[rows], as_bits(b)[rows])


def test_undo_is_exact(program: Program) -> None:
    before = program.names()
    patch = megatron.patch()
    changed = [key for key, value in program.names().items() if value is not before[key]]
    assert sorted(changed) == sorted((f"megatron.core.inference.moe.{module}", name)
                                     for module in ("activations", "fused_moe") for name in NAMES)
    assert "in place" in repr(patch)
    for _ in range(2):
        patch.undo()
        after = program.names()
        assert after.keys() == before.keys()
        assert all(after[key] is before[key] for key in before)
    assert "undone" in repr(patch)
    program.run(use_mxfp8=True)
    assert program.calls == ["squared_relu_and_quantize_mxfp8"]


def test_an_exception_undoes_it(program: Program) -> None:
    before = program.names()
    with pytest.raises(KeyError), megatron.patch():
        raise KeyError
    assert all(program.names()[key] is value for key, value in before.items())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_patches_share(program: Program, order: tuple[int, int]) -> None:
    before = program.names()
    patches = [megatron.patch(), megatron.patch()]
    assert [patch.replaced for patch in patches] == [NAMES, NAMES]
    patches[order[0]].undo()
    patches[order[0]].undo()
    RELU.assert_returned((program.run(use_mxfp8=False),))
    assert program.calls == []
    patches[order[1]].undo()
    assert all(program.names()[key] is value for key, value in before.items())


def test_modules_under_other_names_before_and_after(program: Program) -> None:
    original = program.activations.padded_squared_relu
    early, late = types.ModuleType("early"), types.ModuleType("late")
    early.act = early.other = original
    early.table = {"relu": original}
    sys.modules.update(early=early, late=late)
    try:
        with megatron.patch():
            assert early.act is early.other is program.activations.padded_squared_relu
            late.act = program.activations.padded_squared_relu
            kept = functools.partial(late.act)
            # As patch() says.
            assert early.act is not original and early.table["relu"] is original
        assert early.act is early.other is late.act is original
        # What was kept of the patch is Megatron-Core's function again, too.
        kept(*operands())
        assert program.calls == ["padded_squared_relu"]
    finally:
        del sys.modules["early"], sys.modules["late"]


def test_a_name_that_someone_else_took_is_theirs(program: Program,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program.fused_moe, "padded_squared_relu",
                        program.activations.padded_squared_relu)
    with megatron.patch():
        program.fused_moe.padded_squared_relu = theirs = lambda *args: None
    assert program.fused_moe.padded_squared_relu is theirs


def test_modules_that_load_late_are_not_touched(program: Program) -> None:
    class Lazy(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"asked for {name}")

    sys.modules["lazy"], sys.modules["nothing"] = Lazy("lazy"), None
    try:
        megatron.patch().undo()
    finally:
        del sys.modules["lazy"], sys.modules["nothing"]


def test_the_module_need_not_be_loaded_yet(program: Program,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    with megatron.patch():
        later = Program()
        assert_fused(later, later.activations.squared_relu_and_quantize_mxfp8(*operands()))
        RELU.assert_returned((later.run(use_mxfp8=False),))
        assert later.calls == []


def test_the_functions_still_look_like_theirs(program: Program) -> None:
    original = program.activations.padded_squared_relu
    with megatron.patch():
        function = program.activations.padded_squared_relu
        assert (function.__name__, function.__module__, function.__doc__) == (
            original.__name__, ACTIVATIONS, original.__doc__)
        assert pickle.loads(pickle.dumps(function)) is function
        # As tests of Megatron-Core ask.
        chosen = program.fused_moe._get_activation_func(
            program.fused_moe.ActivationType.SQUARED_RELU)
        assert chosen is function


@pytest.mark.parametrize("names", [(), ("n_used",), ("permutation_map", "n_used"),
                                   ("n_used", "x", "permutation_map")])
def test_operands_by_name(program: Program, names: tuple[str, ...]) -> None:
    given = dict(zip(("x", "permutation_map", "n_used"), operands()))
    by_name = {name: given.pop(name) for name in names}
    with megatron.patch():
        q = program.activations.squared_relu_and_quantize_mxfp8(*given.values(), **by_name)
        assert_fused(program, q)
    assert program.calls == []


def test_an_x_that_requires_grad_gives_what_it_did(program: Program) -> None:
    x, permutation_map, n_used = operands()
    with megatron.patch():
        result = program.activations.padded_squared_relu(x.requires_grad_(), permutation_map,
                                                         n_used)
    RELU.assert_returned((result,))
    assert not result.requires_grad and program.calls == []


X, MAP, USED = operands()
OTHERS = {
    "float32": (X.float(), MAP, USED),
    "float16": (X.half(), MAP, USED),
    "map of int64": (X, MAP.long(), USED),
    "n_used of int64": (X, MAP, USED.long()),
    "n_used as a number": (X, MAP, N_USED),
    "columns apart": (torch.stack([X, X], 2)[..., 0], MAP, USED),
    "rows that overlap": (X.as_strided((M, K), (K // 2, 1)), MAP, USED),
    "map of another length": (X[:100], MAP, USED),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", OTHERS)
def test_other_operands_go_to_their_function(program: Program, monkeypatch: pytest.MonkeyPatch,
                                             kind: str, name: str) -> None:
    found = []

    def function(x: Any, permutation_map: Any, n_used: Any) -> str:
        found.append((x, permutation_map, n_used))
        return "theirs"

    monkeypatch.setattr(program.activations, name, function)
    with megatron.patch():
        assert getattr(program.activations, name)(*OTHERS[kind]) == "theirs"
    assert all(a is b for a, b in zip(found[0], OTHERS[kind], strict=True))


def test_groups_that_are_not_whole_go_to_their_function(program: Program) -> None:
    with megatron.patch(), pytest.raises(AssertionError):
        program.activations.squared_relu_and_quantize_mxfp8(X[:, :48].contiguous(), MAP, USED)
    assert program.calls == ["squared_relu_and_quantize_mxfp8"]


def test_wrong_calls_fail_as_theirs(program: Program) -> None:
    with megatron.patch():
        for args, kwargs in (((X, MAP), {}), ((X, MAP, USED, True), {}),
                             ((X, MAP, USED), {"x": X}), ((X, MAP, USED), {"zero": True})):
            with pytest.raises(TypeError, match=r"padded_squared_relu\(\)"):
                program.activations.padded_squared_relu(*args, **kwargs)


def test_swiglu(program: Program) -> None:
    with megatron.patch():
        SWIGLU.assert_returned((program.run(False, kind="SWIGLU"),))
    assert program.calls == []


def with_probs(x: Any, permutation_map: Any, n_used: Any, probs: Any,
               clamp_scale: float | None = None, zero_padding: bool = False) -> Any:
    """As Megatron-Core's functions are called."""
    return "theirs"


def bounded(x: Any, n_rows: Any) -> Any:
    return "theirs"


@pytest.fixture
def more(program: Program, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Another module of Megatron-Core, with functions that are not everywhere."""
    module = types.ModuleType("megatron.core.inference.moe.batch_invariant")
    module.swiglu_with_probs = types.FunctionType(with_probs.__code__, globals(), "swiglu_with_probs",
                                                  (None, False))
    module.squared_relu_with_probs = types.FunctionType(
        with_probs.__code__, globals(), "squared_relu_with_probs", (None, False))
    module.bounded_silu_mul = bounded
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


PROBS = torch.linspace(-1, 2, M)


def test_functions_of_other_modules(more: types.ModuleType) -> None:
    original = more.swiglu_with_probs
    with megatron.patch() as patch:
        assert set(patch.replaced) == {*NAMES, "swiglu_with_probs", "squared_relu_with_probs",
                                       "bounded_silu_mul"}
        for found, wanted in [
            (more.bounded_silu_mul(X, USED), moe_mlir.bounded_silu_mul(X, USED)),
            (more.swiglu_with_probs(X, MAP, USED, PROBS.requires_grad_()),
             moe_mlir.swiglu_with_probs(X, MAP, USED, PROBS.detach())),
            (more.swiglu_with_probs(X, MAP, USED, probs=PROBS, zero_padding=True),
             moe_mlir.swiglu_with_probs(X, MAP, USED, PROBS.detach(), True)),
            (more.squared_relu_with_probs(X, MAP, USED, PROBS, 16.0),
             moe_mlir.squared_relu_with_probs(X, MAP, USED, PROBS.detach(), 16.0)),
        ]:
            assert torch.equal(as_bits(found)[LIVE], as_bits(wanted)[LIVE])
            assert not found.requires_grad
    PROBS.requires_grad_(False)
    assert more.swiglu_with_probs is original


@pytest.mark.parametrize("settings", [(15.0,), (16.0, True), (0.0,)])
def test_what_there_is_no_kernel_for_goes_to_their_function(more: types.ModuleType,
                                                            settings: tuple[Any, ...]) -> None:
    with megatron.patch():
        assert more.squared_relu_with_probs(X, MAP, USED, PROBS, *settings) == "theirs"
        assert more.squared_relu_with_probs(X, MAP, USED, PROBS.double()) == "theirs"
        assert more.bounded_silu_mul(X[:, :-1], USED) == "theirs"


def newer(x: Any, permutation_map: Any, n_used: Any, zero_padding: bool = False, *,
          clamp_scale: float | None = None, dtype: Any = None, block: int = 1024) -> Any:
    """A function with all arguments that newer versions have been seen to take, and one unknown."""
    return "theirs"


# Of the third whether it is this package's: for each of NAMES, or for all.
ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any], bool | tuple[bool, ...]]] = {
    "none": ((), {}, True),
    "zero_padding": ((), {"zero_padding": True}, (True, True, False)),
    "no zero_padding": ((), {"zero_padding": False}, True),
    "zero_padding by place": ((True,), {}, (True, True, False)),
    "no zero_padding by place": ((False,), {}, True),
    "clamp_scale": ((), {"clamp_scale": 16.0}, (True, True, False)),
    "another clamp_scale": ((), {"clamp_scale": 1.0}, False),
    "clamp_scale of 0": ((), {"clamp_scale": 0.0}, False),
    "no clamp_scale": ((), {"clamp_scale": None}, True),
    "its own dtype": ((), {"dtype": torch.bfloat16}, True),
    "another dtype": ((), {"dtype": torch.float16}, False),
    "the default of what is unknown": ((), {"block": 1024}, True),
    "what is unknown": ((), {"block": 512}, False),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ARGUMENTS)
def test_arguments_of_newer_versions(program: Program, monkeypatch: pytest.MonkeyPatch, kind: str,
                                     name: str) -> None:
    args, kwargs, found = ARGUMENTS[kind]
    ours = found if isinstance(found, bool) else found[NAMES.index(name)]
    monkeypatch.setattr(program.activations, name, newer)
    with megatron.patch() as patch:
        assert name in patch.replaced
        result = getattr(program.activations, name)(X, MAP, USED, *args, **kwargs)
    assert isinstance(result, str) != ours


def test_a_default_that_asks_for_something(program: Program,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Any, permutation_map: Any, n_used: Any, clamp_scale: float = 1.0) -> Any:
        return "theirs"

    monkeypatch.setattr(program.activations, "padded_squared_relu", function)
    with megatron.patch():
        assert program.activations.padded_squared_relu(X, MAP, USED) == "theirs"
        RELU.assert_returned((program.activations.padded_squared_relu(X, MAP, USED, None),))


def test_versions_with_other_operands_are_left_alone(program: Program,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    def older(x: Any, permutation_map: Any, skip_padding: bool = True) -> Any:
        return "theirs"

    monkeypatch.setattr(program.activations, NAMES[1], older)
    with megatron.patch() as patch:
        assert patch.replaced == NAMES[::2]
        assert program.activations.squared_relu_and_quantize_mxfp8 is older
    for name in NAMES[::2]:
        monkeypatch.delattr(program.activations, name)
    with pytest.warns(RuntimeWarning, match="nothing was replaced"):
        patch = megatron.patch()
    assert patch.replaced == () and "nothing" in repr(patch)
    patch.undo()


@dataclass
class WithDtype:
    data: Any
    scale: Any
    dtype: Any
    backend: str | None = None


@dataclass
class Bare:
    data: Any
    scale: Any


@dataclass
class WithMore:
    data: Any
    scale: Any
    block_size: int


@pytest.mark.parametrize("theirs", [WithDtype, Bare, WithMore])
def test_other_versions_of_their_class(program: Program, monkeypatch: pytest.MonkeyPatch,
                                       theirs: Any) -> None:
    module = sys.modules[program.MXFP8Tensor.__module__]
    monkeypatch.setattr(module, "MXFP8Tensor", theirs)
    with megatron.patch() as patch:
        if theirs is WithMore:
            assert patch.replaced == NAMES[::2]
            return
        q = program.activations.squared_relu_and_quantize_mxfp8(X, MAP, USED)
        assert type(q) is theirs
        FUSED.assert_returned((q.data, q.scale))
        if theirs is WithDtype:
            assert q.dtype is torch.bfloat16 and q.backend == "triton"


@pytest.mark.parametrize("status, is_theirs", [(2, True), (3, True), (5, False), (6, False)])
def test_devices_without_kernels(program: Program, monkeypatch: pytest.MonkeyPatch, status: int,
                                 is_theirs: bool) -> None:
    monkeypatch.setitem(torch_ops.RUNS, "padded_squared_relu",
                        lambda *_: _runtime.raise_last_error(status))
    with megatron.patch():
        if is_theirs:
            program.activations.padded_squared_relu(X, MAP, USED)
            assert program.calls == ["padded_squared_relu"]
        else:
            with pytest.raises(moe_mlir.MoeRuntimeError):
                program.activations.padded_squared_relu(X, MAP, USED)
            assert program.calls == []


def test_without_megatron(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "megatron", None)
    with pytest.raises(ImportError, match="expected a Megatron-Core with megatron.core"):
        megatron.patch()


def test_threads(program: Program) -> None:
    """Patches come and go while others are there; the last to go leaves all as it was."""
    before, errors = program.names(), []

    def work() -> None:
        try:
            for _ in range(20):
                with megatron.patch() as patch:
                    assert patch.replaced == NAMES
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(program.names()[key] is value for key, value in before.items())


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("use_mxfp8", [False, True])
def test_torch_compile(program: Program, use_mxfp8: bool, dynamic: bool) -> None:
    graphs: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph.code)
        return graph.forward

    def step(x: Any, permutation_map: Any, n_used: Any) -> Any:
        return program.run(use_mxfp8, x, permutation_map, n_used)

    def assert_right(result: Any) -> None:
        if use_mxfp8:
            FUSED.assert_returned((result[0], result[1].flatten()))
        else:
            RELU.assert_returned((result,))

    torch.compiler.reset()
    compiled = torch.compile(step, backend=backend, fullgraph=True, dynamic=dynamic)
    with megatron.patch():
        assert_right(compiled(X, MAP, USED))
        assert len(graphs) == 1 and graphs[0].count("moe_mlir.") == 1
        # What this package does not take is compiled as without it.
        if not use_mxfp8:
            found = compiled(X.float(), MAP, USED)
            assert torch.equal(found, torch.relu(X.float()).square())
            assert "moe_mlir." not in graphs.pop()
    assert_right(compiled(X, MAP, USED))
    assert len(graphs) == 2 and "moe_mlir." not in graphs[1]
    with megatron.patch():
        assert_right(compiled(X, MAP, USED))
    assert "moe_mlir." in graphs[0]


def test_a_plain_call_asks_nothing_first(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way around the dispatcher stays open; with an older PyTorch operands are checked once."""
    checked = []
    check = torch_ops.check_inputs
    monkeypatch.setattr(torch_ops, "check_inputs", lambda *args: checked.append(1) or check(*args))
    with megatron.patch():
        program.run(use_mxfp8=True)
    assert checked == ([] if hasattr(torch.Tensor, "__dlpack_c_exchange_api__") else [1])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_graph(program: Program) -> None:
    x, permutation_map, n_used = (t.cuda() for t in operands())
    with megatron.patch():
        program.run(True, x, permutation_map, n_used)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            data, scale = program.run(True, x, permutation_map, n_used)
    graph.replay()
    FUSED.assert_returned((data.cpu(), scale.flatten().cpu()))
    assert program.calls == []


def test_expected_rows_are_said_around_the_caller(program: Program,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    for name in NAMES:
        def recorded(*args: Any, run: Any = torch_ops.RUNS[name], **keywords: Any) -> Any:
            told.append(args[-2])  # before programmatic_launch
            return run(*args, **keywords)

        monkeypatch.setitem(torch_ops.RUNS, name, recorded)
    with megatron.patch():
        with megatron.expect_rows(31):
            data, scale = program.run(True)
            FUSED.assert_returned((data, scale.flatten()))
            with megatron.expect_rows(None):
                program.run(False)
            RELU.assert_returned((program.run(False),))
        program.run(True)
    assert told == [31, None, 31, None] and program.calls == []
    with pytest.raises(ValueError, match="expected_rows: .* not negative, found -1"), megatron.expect_rows(-1):
        pass
