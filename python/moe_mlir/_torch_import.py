# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Registers the ops with PyTorch when both it and moe_mlir are imported, in either order.

torch.ops.moe_mlir must be there before the first tensor is: for a program that torch.export.load
reads, or one that calls nothing else. Arrays must not wait for PyTorch's import, so moe_mlir does
not bring it about. PyTorch's own way, the entry point torch.backends, would work the other way
round: every `import torch` on the machine would import an installed moe_mlir, and fail where that
fails, and a source checkout has no entry points. So a finder waits for `import torch`.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional


def _register() -> None:
    """Imports torch_ops; a fault of it must be one neither of `import torch` nor of arrays."""
    try:
        importlib.import_module("moe_mlir.torch_ops")
    except Exception as error:  # The first call with a tensor raises it.
        warnings.warn(f"moe_mlir: torch.ops.moe_mlir could not be registered with PyTorch: "
                      f"{type(error).__name__}: {error}", stacklevel=2)


class _TorchFinder(MetaPathFinder):
    """Finds torch as the other finders do, and registers the ops when it has been executed."""

    def find_spec(self, fullname: str, path: Optional[Sequence[str]] = None,
                  target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        if fullname != "torch":
            return None
        for finder in [f for f in sys.meta_path if f is not self]:
            find = getattr(finder, "find_spec", None)
            spec: Optional[ModuleSpec] = find(fullname, path, target) if find else None
            if spec is not None:
                self._watch(spec.loader)
                return spec
        return None

    def _watch(self, loader: Any) -> None:
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        # This loader is torch's alone, and stays what it is. If it may not be changed, the first
        # tensor registers the ops.
        with contextlib.suppress(AttributeError):
            loader.exec_module = exec_module


def register_with_torch() -> None:
    """Registers the ops now if PyTorch is there, else as soon as it is."""
    if "torch" in sys.modules:
        _register()
    elif not any(type(finder) is _TorchFinder for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchFinder())
