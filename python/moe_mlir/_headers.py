# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where the headers of the runtime library are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_C_HEADER = Path("moe-c") / "Runtime.h"


def get_include() -> str:
    """The folder to compile with (-I) for moe-c/Runtime.h and moe/Runtime/Runtime.h.

    The wheel's, else the checkout's. The library to link with is the one whose path
    `python -m moe_mlir` prints.

    Raises:
        FileNotFoundError: the package was installed without its headers.
    """
    folders = (_PACKAGE / "include", _PACKAGE.parents[1] / "include")
    for folder in folders:
        if (folder / _C_HEADER).is_file():
            return str(folder)
    raise FileNotFoundError(f"moe_mlir: {_C_HEADER} was not found in "
                            f"{' or '.join(map(str, folders))}; install the wheel anew")
