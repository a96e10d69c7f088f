# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Draws a picture of boxes and arrows from text, as SVG.

    draw_picture.py IN.txt OUT.svg

A line of the text is one of

    size WIDTH HEIGHT
    group X Y WIDTH HEIGHT TITLE
    box NAME X Y WIDTH HEIGHT KIND | TITLE | LINE | ...
    arrow NAME.SIDE NAME.SIDE LABEL         left, right, top or bottom; the label may be missing
    route NAME.SIDE NAME.SIDE V672 H429     an arrow by way of these places
    note X Y TEXT

A side may be followed by how many pixels from its middle the arrow is, as in top+20.

Sizes are pixels. Text that is too wide for its box is an error. The background is drawn too, so
that the picture is the same on a page that is dark.
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

# Of a box: its fill and its border.
KINDS = {"caller": ("#f6f8fa", "#57606a"), "library": ("#ddf4ff", "#0969da"),
         "kernels": ("#fff8c5", "#9a6700"), "device": ("#eaeef2", "#57606a"),
         "ir": ("#dafbe1", "#1a7f37")}
TEXT, LINE, PAPER = "#1f2328", "#57606a", "#ffffff"
TITLE_SIZE, TEXT_SIZE, LABEL_SIZE = 14, 12, 11
# The mean width of a character by its height, of the fonts that browsers have: of titles, of text.
WIDTHS = (0.61, 0.54)


class Picture:
    def __init__(self) -> None:
        self.size = (0, 0)
        self.back: list[str] = []
        self.front: list[str] = []
        self.boxes: dict[str, tuple[int, int, int, int]] = {}

    def read(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "size":
            width, height = map(int, rest.split())
            self.size = (width, height)
        elif word == "group":
            *numbers, title = rest.split(maxsplit=4)
            x, y, width, height = map(int, numbers)
            self.group(x, y, width, height, title)
        elif word == "box":
            place, *lines = rest.split("|")
            name, *numbers, kind = place.split()
            x, y, width, height = map(int, numbers)
            self.box(name, (x, y, width, height), kind,
                     [text.strip() for text in lines if text.strip()])
        elif word == "arrow":
            begin, end, *labels = rest.split(maxsplit=2)
            self.arrow(begin, end, "".join(labels))
        elif word == "route":
            begin, end, *places = rest.split()
            (x1, y1), (x2, y2) = self.find_side(begin), self.find_side(end)
            self.line(f"M{x1} {y1}{''.join(places)}" + (f"H{x2}" if places[-1][0] == "V" else f"V{y2}"))
        elif word == "note":
            *numbers, label = rest.split(maxsplit=2)
            x, y = map(int, numbers)
            self.text(x, y, label, LABEL_SIZE, "start")
        else:
            raise ValueError(f"expected size, group, box, arrow, route or note, found {word!r}")

    def text(self, x: int, y: int, text: str, size: int, anchor: str = "middle",
             weight: str = "normal") -> None:
        self.front.append(f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" '
                          f'font-weight="{weight}">{escape(text)}</text>')

    def group(self, x: int, y: int, width: int, height: int, title: str) -> None:
        self.back.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" '
                         f'fill="none" stroke="{LINE}" stroke-dasharray="4 4"/>')
        self.text(x + 12, y + 20, title, TITLE_SIZE, "start", "bold")

    def box(self, name: str, place: tuple[int, int, int, int], kind: str,
            lines: list[str]) -> None:
        x, y, width, height = self.boxes[name] = place
        fill, border = KINDS[kind]
        self.back.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" '
                         f'fill="{fill}" stroke="{border}"/>')
        step = 20
        top = y + height // 2 - (len(lines) - 1) * step // 2 + 5
        for index, line in enumerate(lines):
            size = TITLE_SIZE if index == 0 else TEXT_SIZE
            if len(line) * size * WIDTHS[index > 0] > width - 8:
                raise ValueError(f"{name}: expected text of {width - 8} pixels at most, found "
                                 f"{line!r}")
            self.text(x + width // 2, top + index * step, line, size,
                      weight="bold" if index == 0 else "normal")

    def find_side(self, place: str) -> tuple[int, int]:
        name, side = place.split(".")
        side, _, offset = side.partition("+")
        x, y, width, height = self.boxes[name]
        along = int(offset or 0)
        return {"left": (x, y + height // 2 + along), "right": (x + width, y + height // 2 + along),
                "top": (x + width // 2 + along, y),
                "bottom": (x + width // 2 + along, y + height)}[side]

    def arrow(self, begin: str, end: str, label: str) -> None:
        """Straight, or where it is sideways to a top or between sides apart, round a corner."""
        (x1, y1), (x2, y2) = self.find_side(begin), self.find_side(end)
        leaves, enters = (re.split(r"[.+]", place)[1] for place in (begin, end))
        if leaves in ("left", "right") and enters == "top":
            path = f"M{x1} {y1}H{x2}V{y2}"
        elif leaves in ("left", "right"):
            middle = (x1 + x2) // 2
            path = f"M{x1} {y1}H{middle}V{y2}H{x2}"
        elif abs(x1 - x2) < 2:
            path = f"M{x1} {y1}V{y2}"
        else:
            middle = (y1 + y2) // 2
            path = f"M{x1} {y1}V{middle}H{x2}V{y2}"
        self.line(path)
        if label:
            self.text(x1 + 8, (y1 + y2) // 2 + 4, label, LABEL_SIZE, "start")

    def line(self, path: str) -> None:
        self.back.append(f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.5" '
                         f'marker-end="url(#end)"/>')

    def svg(self) -> str:
        width, height = self.size
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" '
            f'font-family="Helvetica, Arial, sans-serif" fill="{TEXT}">',
            f'<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>',
            *self.back, *self.front, "</svg>", ""])


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    source, picture = Path(sys.argv[1]), Picture()
    for number, line in enumerate(source.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                picture.read(" ".join(line.split()))
            except (KeyError, ValueError) as error:
                raise SystemExit(f"{source}:{number}: {error}") from error
    Path(sys.argv[2]).write_text(picture.svg())


if __name__ == "__main__":
    main()
