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
from ._modes import DeadScales, ScaleLayout
from ._mxfp8 import MXFP8
from ._numpy import NUsed

if TYPE_CHECKING:
    import torch
'''
# What a mode is for a type checker.
MODE_TYPES = {"scale_layout": "ScaleLayout", "dead_scales": "DeadScales"}
COLUMNS = 99


def signature(op: Any, array: str, permutation_map: str, n_used: str) -> str:
    """The definition of the function, up to the colon, for a type of array."""
    out, result = ("Any", "Any") if array == "Any" else (f"Optional[{array}]", array)
    if op.format.has_scales:
        result = f"MXFP8[{array}]"
        if array != "Any":
            out = f"Union[{result}, tuple[{array}, {array}], None]"
    modes = [f'{name}: {MODE_TYPES[name]} = "{default}"' for name, default in op.format.modes]
    lines = [f"x: {array}, permutation_map: {permutation_map}, n_used: {n_used}, *,",
             *([", ".join(modes) + ","] if modes else []), f"out: {out} = None,",
             "expected_rows: Optional[int] = None, programmatic_launch: bool = False,"]
    return (f"def {op.name}(\n" + textwrap.indent("\n".join(lines), "    ")
            + f"\n) -> {result}")


def write_op(op: Any) -> str:
    """The function of an op, and its types."""
    types = [("NDArray[Any]", "NDArray[Any]", "NUsed"), ("torch.Tensor",) * 3]
    overloads = "".join(f"@overload\n{signature(op, *kinds)}: ...\n\n\n" for kinds in types)
    doc = textwrap.indent(op.doc, "    ").strip()
    arguments = ", ".join(["x", "permutation_map", "n_used",
                           *(name for name, _ in op.format.modes), "out", "expected_rows",
                           "programmatic_launch"])
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


def write() -> str:
    # Not as a part of the package, which needs the runtime library.
    ops = runpy.run_path(str(PACKAGE / "_op_table.py"))["OPS"]
    names = "".join(f'    "{op.name}",\n' for op in ops)
    return "\n\n".join([f"{HEAD}\n__all__ = [\n{names}]\n", *map(write_op, ops)]).replace(
        "]\n\n\n_", "]\n\n_")


def main() -> None:
    text = write()
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text)
    elif FILE.read_text() != text:
        sys.exit(f"{FILE} is out of date: run scripts/write_ops.py")


if __name__ == "__main__":
    main()
