# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Arguments of every op that change no result: how many rows a caller expects to be live, and
whether a kernel may start before the one in front of it has ended.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MOST = 2**63 - 1


def parse_expected_rows(expected_rows: Any) -> int:
    """The expected_rows of MoeLaunch, in which 0 is unknown, and 1 the least that is known."""
    if expected_rows is None:
        return 0
    # No tensor, of which a look at the value would wait for its device.
    if isinstance(expected_rows, bool) or not isinstance(expected_rows, (int, np.integer)):
        raise TypeError("expected_rows: expected an int or None, found "
                        f"{type(expected_rows).__module__}.{type(expected_rows).__qualname__}")
    if expected_rows < 0:
        raise ValueError("expected_rows: expected a number of rows that is not negative, found "
                         f"{expected_rows}")
    return min(max(int(expected_rows), 1), _MOST)


def parse_programmatic_launch(programmatic_launch: Any) -> int:
    """The flags of MoeLaunch."""
    if programmatic_launch is False:
        return 0
    if programmatic_launch is True:
        return 1
    raise TypeError("programmatic_launch: expected a bool, found "
                    f"{type(programmatic_launch).__module__}."
                    f"{type(programmatic_launch).__qualname__}")
