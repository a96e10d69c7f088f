# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Puts this package's functions in the place of Megatron-Core's, in a program that runs.

    >>> import moe_mlir.megatron
    >>> patch = moe_mlir.megatron.patch()
    >>> ...  # Megatron-Core calls this package now.
    >>> patch.undo()

or, for a part of a program, `with moe_mlir.megatron.patch():`.

Replaced are those that Megatron-Core has of padded_squared_relu, squared_relu_and_quantize_mxfp8,
padded_swiglu, bounded_silu_mul, swiglu_with_probs and squared_relu_with_probs, and of permute_tokens,
permute_and_quantize_mxfp8, unpermute_tokens, unpermute_tokens_in_expert_order,
compute_local_tokens_per_expert, compute_expert_offsets and init_permutation_map, in
megatron.core.inference.moe. Those that quantise return Megatron-Core's own MXFP8Tensor. A call that
asks for what this package does not have goes to Megatron-Core's function, as it would without the
patch: other dtypes, shapes or devices, a clamp_scale or zero_padding for which there is no kernel, a
permutation_map to unpermute by that permute_tokens did not return, and arguments that are not known
here; so does one to permute or unpermute in code that torch.compile traces. All other functions stay
what they are. What Megatron-Core's callers cannot say, how many rows they expect to be live,
expect_rows() says around them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Optional, Union

import torch

from . import _hints, _permutation, torch_ops
from ._op_table import ALIASES, OPERANDS, OPS, Alias, Op
from ._runtime import MoeRuntimeError

__all__ = ["Patch", "expect_rows", "patch"]

_ACTIVATIONS = "megatron.core.inference.moe.activations"
# Where else functions are, in some versions.
_MORE = ("megatron.core.inference.moe.permute",
         "megatron.core.inference.moe.batch_invariant",
         "megatron.core.inference.moe.vllm_fused_moe")
_TENSOR = "megatron.core.inference.quantization.mxfp8_tensor"

# Values with which an argument that this package does not have asks for nothing. Of an argument
# that is not listed, that is its default.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "zero_padding": (False, None),
    "clamp_scale": (False, None),
    "skip_padding": (True,),
    "dtype": (torch.bfloat16, None),
}

# The functions of _permutation.py that Megatron-Core has, with the arguments that each call must
# have, and those that it may have.
_STEPS = {
    "permute_tokens": (
        ("hidden_states", "probs", "routing_map", "local_expert_start", "num_local_experts",
         "valid_tokens"),
        ("alignment", "return_batch_invariant_inverse_map", "row_alignment", "zero_padding")),
    "permute_and_quantize_mxfp8": (
        ("hidden_states", "probs", "routing_map", "local_expert_start", "num_local_experts",
         "valid_tokens"), ("alignment",)),
    "unpermute_tokens": (
        ("expert_output", "permuted_probs", "permutation_map", "num_tokens", "n_used",
         "valid_tokens"), ("out", "batch_invariant_inverse_map")),
    "unpermute_tokens_in_expert_order": (
        ("expert_output", "inverse_map", "valid_tokens", "out"), ()),
    "compute_local_tokens_per_expert": (
        ("routing_map", "local_expert_start", "num_local_experts", "valid_tokens"),
        ("persistent",)),
    "compute_expert_offsets": (("tokens_per_expert",), ("alignment",)),
    "init_permutation_map": (("permutation_map", "n_used"), ()),
}

_Function = Callable[..., Any]

_expected: ContextVar[Optional[int]] = ContextVar("expected_rows", default=None)


@contextlib.contextmanager
def expect_rows(expected_rows: Optional[int]) -> Iterator[None]:
    """Says to the replaced functions what their callers cannot, until the end of a with statement.

        >>> with moe_mlir.megatron.expect_rows(num_tokens * top_k), torch.cuda.graph(graph):
        ...     model(tokens)

    For the calls in this thread, or asyncio task. Code that torch.compile traces is not told.

    Args:
        expected_rows: as the functions of moe_mlir take it. It changes no byte of a result.

    Raises:
        TypeError: expected_rows is neither an int nor None.
        ValueError: it is negative.

    Source: expected_rows of MoeLaunch, of the runtime library.
    """
    _hints.parse_expected_rows(expected_rows)
    token = _expected.set(expected_rows)
    try:
        yield
    finally:
        _expected.reset(token)


class _Ours:
    """What this package has for a function of Megatron-Core.

    Attributes:
        operands: the names of the arguments that a call must have.
        options: those of the arguments that it may have.
    """

    def __init__(self, row: Union[Op, Alias], make_result: Optional[_Function]) -> None:
        self._op = op = row if isinstance(row, Op) else _OPS[row.op]
        self.operands = OPERANDS if isinstance(row, Op) else row.operands
        passed = OPERANDS if isinstance(row, Op) else row.passed
        self._places = [self.operands.index(name) if name in self.operands else None
                        for name in passed]
        self._probs = self.operands.index("probs") if "probs" in self.operands else None
        self._is_plain = self.operands == OPERANDS
        self.options = tuple(option.name for option in op.options)
        if isinstance(row, Alias):
            self.options = row.options
        self._defaults = {option.name: option.default for option in op.options}
        self._modes = tuple(default for _, default in op.format.modes)
        self._run, self._make_result = torch_ops.RUNS[op.name], make_result

    def _sort(self, operands: tuple[Any, ...],
              options: dict[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The operands of the op, and its arguments after the hints."""
        first = tuple(None if i is None else operands[i] for i in self._places)
        probs = None if self._probs is None else operands[self._probs]
        return first, (probs, *{**self._defaults, **options}.values())

    def run(self, operands: tuple[Any, ...], options: dict[str, Any],
            expected_rows: Optional[int]) -> Any:
        if self._is_plain and not options:
            result = self._run(*operands, *self._modes, None, expected_rows, False)
        else:
            first, extras = self._sort(operands, options)
            result = self._run(*first, *self._modes, None, expected_rows, False, *extras)
        return result if self._make_result is None else self._make_result(result)

    def takes(self, operands: tuple[Any, ...], options: dict[str, Any]) -> bool:
        """Whether it surely runs, for a compiler; whether there is a kernel is not asked for."""
        first, extras = self._sort(operands, options)
        return not options and torch_ops.takes(self._op.name, *first, *extras)


class _Step:
    """What this package has for a function of Megatron-Core that brings tokens to experts or back;
    attributes and methods are those of _Ours.
    """

    def __init__(self, name: str, make_result: Optional[_Function]) -> None:
        self._name, self._make_result = name, make_result
        self.operands, self.options = _STEPS[name]
        self._function: _Function = getattr(_permutation, name)
        self._defaults = {
            option: inspect.signature(self._function).parameters[option].default
            for option in self.options}

    def has_defaults_of(self, parameters: dict[str, inspect.Parameter]) -> bool:
        """Whether what a call leaves out is the same."""
        return all(parameters[name].default == default
                   for name, default in self._defaults.items() if name in parameters)

    def run(self, operands: tuple[Any, ...], options: dict[str, Any],
            expected_rows: Optional[int]) -> Any:
        # There, either have the weights been applied, or there is no inverse map.
        if self._name == "unpermute_tokens" and (
                (operands[1] is None) is (options.get("batch_invariant_inverse_map") is None)):
            raise NotImplementedError
        if self._name.startswith("permute"):
            options = {**options, "expected_rows": expected_rows}
        result = self._function(*operands, **options)
        if self._make_result is None:
            return result
        q, *others = result
        return (self._make_result(q), *others)

    def takes(self, operands: tuple[Any, ...], options: dict[str, Any]) -> bool:
        return False


class _Replacement:
    """A function of Megatron-Core, and the one in its place.

    Attributes:
        function: that one.
        users: how many patches want it there.
        is_wanted: whether any does. Else `function`, which someone may have kept, calls `original`.
    """

    def __init__(self, original: _Function, parameters: dict[str, inspect.Parameter],
                 ours: Union[_Ours, _Step]) -> None:
        self.original, self.ours = original, ours
        self.users = 0
        self.is_wanted = True
        self._defaults = {name: p.default for name, p in parameters.items()}
        self._names = tuple(parameters)
        self._positional = [name for name, p in parameters.items() if p.kind != p.KEYWORD_ONLY]
        # Whether a call with nothing but operands asks for what they say and no more.
        self._is_plain = all(self._is_neutral(name, self._defaults[name])
                             for name in self._names[len(ours.operands):])
        self.function = self._make()

    def _is_neutral(self, name: str, value: Any) -> bool:
        choices = _NEUTRAL.get(name, (self._defaults[name],))
        return any(value is choice for choice in choices)

    def match(self, args: tuple[Any, ...],
              kwargs: dict[str, Any]) -> Optional[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The operands of a call, and options; None if this package cannot do what it asks for."""
        if len(args) > len(self._positional):
            return None
        given = dict(zip(self._positional, args))
        for name, value in kwargs.items():
            if name in given or name not in self._defaults:
                return None
            given[name] = value
        operands, options = self.ours.operands, {}
        for name in self._names[len(operands):]:
            value = given.get(name, self._defaults[name])
            if self._is_neutral(name, value):
                continue
            if name not in self.ours.options:
                return None
            options[name] = value
        if not all(name in given for name in operands):
            return None
        return tuple(given[name] for name in operands), options

    def _make(self) -> _Function:
        original, is_plain, ours = self.original, self._is_plain, self.ours
        run, num_operands = ours.run, len(ours.operands)
        has_probs = any(name.endswith("probs") for name in ours.operands)
        is_compiling, Tensor, get_expected = torch.compiler.is_compiling, torch.Tensor, _expected.get

        @functools.wraps(original)
        def function(*args: Any, **kwargs: Any) -> Any:
            options: dict[str, Any] = {}
            operands = args
            if len(args) != num_operands or kwargs or not is_plain:
                matched = self.match(args, kwargs)
                if matched is None:
                    return original(*args, **kwargs)
                operands, options = matched
            x = operands[0]
            if not self.is_wanted or not isinstance(x, Tensor):
                return original(*args, **kwargs)
            if x.requires_grad or has_probs:
                # Megatron-Core's results have no history either.
                operands = tuple(
                    operand.detach() if isinstance(operand, Tensor) and operand.requires_grad
                    else operand
                    for operand in operands)
            if is_compiling():
                if ours.takes(operands, options):
                    return run(operands, options, None)
                return original(*args, **kwargs)
            # Without a question first, which would take as long as the call. Whatever is raised
            # here is raised before anything is launched.
            try:
                return run(operands, options, get_expected())
            except (TypeError, ValueError, NotImplementedError):
                pass
            except MoeRuntimeError as error:
                if error.status not in ("UNSUPPORTED", "NO_DRIVER"):
                    raise
            return original(*args, **kwargs)

        return function


# By `function`, those in place.
_active: dict[_Function, _Replacement] = {}
_lock = threading.RLock()


class Patch:
    """What patch() did; a context manager that undoes it at the end.

    Attributes:
        replaced: the names of the functions that are replaced.
    """

    def __init__(self, replacements: dict[str, _Replacement]) -> None:
        self.replaced = tuple(replacements)
        self._replacements = list(replacements.values())

    def undo(self) -> None:
        """Puts Megatron-Core's functions back wherever this package's are, also into modules that
        imported them meanwhile, unless another patch is still there. Once is enough, more often
        changes nothing.
        """
        with _lock:
            while self._replacements:
                replacement = self._replacements.pop()
                replacement.users -= 1
                if not replacement.users:
                    replacement.is_wanted = False
                    del _active[replacement.function]
                    _rebind(replacement.function, replacement.original)

    def __enter__(self) -> Patch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        state = "in place" if self._replacements else "undone"
        return f"<moe_mlir.megatron.Patch of {', '.join(self.replaced) or 'nothing'}, {state}>"


def patch() -> Patch:
    """Replaces Megatron-Core's functions by this package's, from now on.

    In every module that is loaded and has one of them under any name, so also where it was
    imported by name before; modules that are loaded later get it from Megatron-Core's. What holds
    a function in another way from before, such as a table or a functools.partial, keeps it. Call
    this before a CUDA graph is captured, whose replays know nothing of it; torch.compile notices
    and compiles anew. Several patches may be there at a time: the last that is undone counts.

    A function that has other operands in the Megatron-Core that is installed, as it has in
    versions without n_used, is left alone, and so is one whose MXFP8Tensor takes other parts.

    Returns:
        A Patch: undo() or the end of a with statement takes everything back.

    Raises:
        ImportError: there is no Megatron-Core, or none with these functions' modules.

    Warns:
        RuntimeWarning: no function could be replaced.

    Source: core.inference.moe.activations, core.inference.moe.permute and
    core.inference.quantization.mxfp8_tensor of Megatron-Core.
    """
    try:
        modules = [importlib.import_module(_ACTIVATIONS)]
        theirs = getattr(importlib.import_module(_TENSOR), "MXFP8Tensor", None)
    except ImportError as error:
        raise ImportError("moe_mlir.megatron: expected a Megatron-Core with "
                          f"{_ACTIVATIONS} and {_TENSOR}: {error}") from error
    for name in _MORE:
        with contextlib.suppress(ImportError):
            modules.append(importlib.import_module(name))
    replacements = {}
    with _lock:
        rows: list[Union[Op, Alias, str]] = [*(op for op in OPS if op.is_in_megatron), *ALIASES,
                                             *_STEPS]
        for row in rows:
            name = row if isinstance(row, str) else row.name
            function = next((getattr(module, name) for module in modules
                             if hasattr(module, name)), None)
            replacement = _active.get(function) if callable(function) else None
            if replacement is None:
                ours = _make_ours(row, theirs)
                if ours is None or function is None:
                    continue
                parameters = _parameters(function, ours.operands)
                if parameters is None:
                    continue
                if isinstance(ours, _Step) and not ours.has_defaults_of(parameters):
                    continue
                replacement = _Replacement(function, parameters, ours)
                _active[replacement.function] = replacement
                _rebind(function, replacement.function)
            replacement.users += 1
            replacements[name] = replacement
    if not replacements:
        warnings.warn("moe_mlir.megatron: nothing was replaced, this Megatron-Core has other "
                      f"functions in {_ACTIVATIONS}", RuntimeWarning, stacklevel=2)
    return Patch(replacements)


_OPS = {op.name: op for op in OPS}


def _make_ours(row: Union[Op, Alias, str], theirs: Any) -> Union[_Ours, _Step, None]:
    """What there is, with a result of the class `theirs` if it is an MXFP8; None if that takes other
    parts.
    """
    if isinstance(row, str):
        if not row.endswith("quantize_mxfp8"):
            return _Step(row, None)
    elif isinstance(row, Alias) or not row.format.has_scales:
        return _Ours(row, None)
    make_result = _find_result(theirs)
    if make_result is None:
        return None
    return _Step(row, make_result) if isinstance(row, str) else _Ours(row, make_result)


def _find_result(theirs: Any) -> Optional[_Function]:
    """What makes one of the class `theirs` of an MXFP8."""
    known = _signature(theirs)
    if known is None or "data" not in known or "scale" not in known:
        return None
    about = {name: value for name, value in (("dtype", torch.bfloat16), ("backend", "triton"))
             if name in known}
    if _needed(known) - {"data", "scale", *about}:
        return None
    return lambda q: theirs(data=q.data, scale=q.scale, **about)


def _signature(function: Any) -> Optional[dict[str, inspect.Parameter]]:
    """The parameters that may be given by name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    return {name: p for name, p in parameters.items()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _needed(parameters: dict[str, inspect.Parameter]) -> set[str]:
    """The names of those that have no default."""
    return {name for name, p in parameters.items() if p.default is p.empty}


def _parameters(function: Any,
                operands: tuple[str, ...]) -> Optional[dict[str, inspect.Parameter]]:
    """_signature of a function that has these operands, and whose other arguments may be left out;
    else None.
    """
    known = _signature(function)
    if (known is None or tuple(known)[: len(operands)] != operands
            or _needed(known) - set(operands)):
        return None
    return known


def _rebind(old: _Function, new: _Function) -> None:
    """Lets every module that has `old` under some name have `new` under it."""
    for module in list(sys.modules.values()):
        try:
            # A module that waits for its first use to load would take getattr() for that.
            namespace = object.__getattribute__(module, "__dict__")
        except AttributeError:
            continue
        if isinstance(namespace, dict):
            for name, value in list(namespace.items()):
                if value is old:
                    namespace[name] = new
