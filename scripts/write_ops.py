# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes python/moe_mlir/_ops.py, the public functions, from the table of ops; with --check, fails
if it is out of date.

They are text and not made when the package is imported, so that type checkers and editors see
their signatures and documentation, and a call takes no step more than it needs.
"""

from __future__ import annotations

import runpy
import sys
import textwrap
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "python" / "moe_mlir"
FILE = PACKAGE / "_ops.py"

HEAD = '''\
# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The public functions. Written by scripts/write_ops.py from _op_table.py; change that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union, overload

from numpy.typing import NDArray

from ._dispatch import find_run, runs
from ._modes import DeadScales, GateActivation, LimitAt, ScaleLayout
from ._mxfp8 import MXFP8
from ._numpy import NUsed

if TYPE_CHECKING:
    import torch
'''
# What a mode is for a type checker.
MODE_TYPES = {"scale_layout": "ScaleLayout", "dead_scales": "DeadScales"}
COLUMNS = 99


HINTS = "expected_rows: Optional[int] = None, programmatic_launch: bool = False,"


def quote(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def options_of(op: Any, array: str) -> list[str]:
    """The parameters of an op that others have not."""
    options = [f"{option.name}: {option.type} = {quote(option.default)}" for option in op.options]
    if op.has_probs:
        options.append(f"probs: {'Any' if array == 'Any' else f'Optional[{array}]'} = None")
    return options


def wrap(parameters: list[str]) -> list[str]:
    """Lines of parameters."""
    text = textwrap.wrap(", ".join(parameter.replace(" ", "\0") for parameter in parameters) + ",",
                         COLUMNS - 4)
    return [line.replace("\0", " ") for line in text if parameters]


def signature(op: Any, array: str, permutation_map: str, n_used: str) -> str:
    """The definition of the function, up to the colon, for a type of array."""
    out, result = ("Any", "Any") if array == "Any" else (f"Optional[{array}]", array)
    if op.format.has_scales:
        result = f"MXFP8[{array}]"
        if array != "Any":
            out = f"Union[{result}, tuple[{array}, {array}], None]"
    if not op.needs_map and array != "Any":
        permutation_map = f"Optional[{permutation_map}]"
    modes = [f'{name}: {MODE_TYPES[name]} = "{default}"' for name, default in op.format.modes]
    lines = [*wrap([f"x: {array}", f"permutation_map: {permutation_map}", f"n_used: {n_used}", "*"]),
             *wrap(options_of(op, array)), *([", ".join(modes) + ","] if modes else []),
             f"out: {out} = None,", HINTS]
    return (f"def {op.name}(\n" + textwrap.indent("\n".join(lines), "    ")
            + f"\n) -> {result}")


def write_op(op: Any) -> str:
    """The function of an op, and its types."""
    types = [("NDArray[Any]", "NDArray[Any]", "NUsed"), ("torch.Tensor",) * 3]
    overloads = "".join(f"@overload\n{signature(op, *kinds)}: ...\n\n\n" for kinds in types)
    doc = textwrap.indent(op.doc, "    ").strip()
    arguments = ", ".join(["x", "permutation_map", "n_used",
                           *(name for name, _ in op.format.modes), "out", "expected_rows",
                           "programmatic_launch", "probs" if op.has_probs else "None",
                           *(option.name for option in op.options)])
    # A checker that is strict wants a name with a type where anything may come.
    start, end = (("    result: MXFP8[Any] = run(", "\n    return result") if op.format.has_scales
                  else ("    return run(", ""))
    call = textwrap.fill(arguments, COLUMNS, initial_indent=start,
                         subsequent_indent=" " * len(start))
    body = f'''\
    """{doc}
    """
    run = _{op.name}.get(type(x))
    if run is None:
        run = find_run("{op.name}", x)
{call}){end}
'''
    return (f'_{op.name} = runs["{op.name}"]\n\n\n{overloads}'
            f'{signature(op, "Any", "Any", "Any")}:\n{body}')


def alias_signature(alias: Any, op: Any, array: str) -> str:
    """As signature, for another name of the function of an op."""
    types = {"n_used": "NUsed", "n_rows": "NUsed"} if array.startswith("NDArray") else {}
    options = [f"{option.name}: {option.type} = {quote(option.default)}" for option in op.options
               if option.name in alias.options]
    out = "Any" if array == "Any" else f"Optional[{array}]"
    lines = [*wrap([f"{name}: {types.get(name, array)}" for name in alias.operands] + options + ["*"]),
             f"out: {out} = None,", HINTS]
    return (f"def {alias.name}(\n" + textwrap.indent("\n".join(lines), "    ")
            + f"\n) -> {array}")


def write_alias(alias: Any, op: Any) -> str:
    """A function that is another with some of its arguments."""
    overloads = "".join(f"@overload\n{alias_signature(alias, op, array)}: ...\n\n\n"
                        for array in ("NDArray[Any]", "torch.Tensor"))
    doc = textwrap.indent(alias.doc, "    ").strip()
    keywords = [*alias.options, *(["probs"] if "probs" in alias.operands else []), "out",
                "expected_rows", "programmatic_launch"]
    arguments = ", ".join([*alias.passed, *(f"{name}={name}" for name in keywords)])
    start = f"    result: Any = {op.name}("
    call = textwrap.fill(arguments, COLUMNS, initial_indent=start,
                         subsequent_indent=" " * len(start))
    return (f'{overloads}{alias_signature(alias, op, "Any")}:\n    """{doc}\n    """\n{call})\n'
            "    return result\n")


def write() -> str:
    # Not as a part of the package, which needs the runtime library.
    table = runpy.run_path(str(PACKAGE / "_op_table.py"))
    ops, aliases = table["OPS"], table["ALIASES"]
    by_name = {op.name: op for op in ops}
    names = "".join(f'    "{row.name}",\n' for row in (*ops, *aliases))
    return "\n\n".join([f"{HEAD}\n__all__ = [\n{names}]\n", *map(write_op, ops),
                        *(write_alias(alias, by_name[alias.op]) for alias in aliases)]).replace(
        "]\n\n\n_", "]\n\n_")


def main() -> None:
    text = write()
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text)
    elif FILE.read_text() != text:
        sys.exit(f"{FILE} is out of date: run scripts/write_ops.py")


if __name__ == "__main__":
    main()
