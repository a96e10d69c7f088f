# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Descriptions of kernels as docs/kernel-abi.md has them, read from PTX and changed in it."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from .checkout import ROOT

TEXTS = ("magic", "name")
SIGNED = ("pair_block", "offset", "rows", "columns", "row_stride")


class Field(NamedTuple):
    at: int
    size: int
    name: str


@functools.cache
def tables() -> tuple[list[Field], list[Field]]:
    """The fields of the header and of an operand."""
    page = (ROOT / "docs" / "kernel-abi.md").read_text()
    headings = "| at | bytes | field | |\n"
    found = []
    for table in page.split(headings)[1:]:
        rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", table.split("\n\n")[0], re.MULTILINE)
        found.append([Field(int(at), int(size), name) for at, size, name in rows])
    header, operand = found
    return header, operand


def _get(bytes_: bytes, field: Field) -> Any:
    part = bytes_[field.at:field.at + field.size]
    assert len(part) == field.size, f"no {field.name} in {len(bytes_)} bytes"
    if field.name in TEXTS:
        return part.rstrip(b"\0").decode()
    return int.from_bytes(part, "little", signed=field.name in SIGNED)


def _put(bytes_: bytearray, at: int, field: Field, value: Any) -> None:
    part = (value.encode().ljust(field.size, b"\0") if field.name in TEXTS
            else value.to_bytes(field.size, "little", signed=field.name in SIGNED))
    bytes_[at + field.at:at + field.at + field.size] = part


def decode(bytes_: bytes) -> dict[str, Any]:
    """The fields by their names; those of the operands in a list, `operands`."""
    header, operand = tables()
    result = {field.name: _get(bytes_, field) for field in header}
    result["operands"] = []
    for i in range(result["num_operands"]):
        begin = result["header_bytes"] + i * result["operand_bytes"]
        part = bytes_[begin:begin + result["operand_bytes"]]
        result["operands"].append({field.name: _get(part, field) for field in operand})
    return result


def _pattern(kernel: str) -> re.Pattern[str]:
    return re.compile(rf"^\.visible \.global \.align 8 \.b8 moe_kernel_{kernel}\[(\d+)\] = "
                      r"{([\d, ]+)};\n", re.MULTILINE)


_LIST = re.compile(r"^\.visible \.global \.align 1 \.b8 moe_kernels\[(\d+)\] = {([\d, ]+)};\n",
                   re.MULTILINE)


def kernels(ptx: str) -> list[str]:
    """The names of the kernels that the PTX says it has."""
    found = _LIST.search(ptx)
    assert found, "no list of kernels"
    text = bytes(map(int, found[2].split(","))).ljust(int(found[1]), b"\0")
    *names, rest = text.split(b"\0")
    assert rest == b""
    return [name.decode() for name in names]


def put_list(ptx: str, bytes_: bytes) -> str:
    """The PTX with other bytes for that list, none if empty."""
    line = f".visible .global .align 1 .b8 moe_kernels[{len(bytes_)}] = " \
           f"{{{', '.join(map(str, bytes_))}}};\n"
    ptx, count = _LIST.subn(line if bytes_ else "", ptx)
    assert count == 1, "no list of kernels"
    return ptx


def keep(ptx: str, *names: str) -> str:
    """The PTX with these kernels in its list alone."""
    return put_list(ptx, b"".join(name.encode() + b"\0" for name in names))


def find(ptx: str, kernel: str) -> bytes:
    """The description of a kernel."""
    found = _pattern(kernel).search(ptx)
    assert found, f"no description of {kernel}"
    # Zeros at the end are left out.
    return bytes(map(int, found.group(2).split(","))).ljust(int(found.group(1)), b"\0")


def put(ptx: str, kernel: str, bytes_: bytes) -> str:
    """The PTX with other bytes for the description of a kernel, none if empty."""
    line = f".visible .global .align 8 .b8 moe_kernel_{kernel}[{len(bytes_)}] = " \
           f"{{{', '.join(map(str, bytes_))}}};\n"
    ptx, count = _pattern(kernel).subn(line if bytes_ else "", ptx)
    assert count == 1, f"no description of {kernel}"
    return ptx


def change(ptx: str, kernel: str, operand: str | None = None, **fields: Any) -> str:
    """The PTX with other values of `fields` in a kernel's header, or in one of its operands."""
    header, operand_fields = tables()
    bytes_ = bytearray(find(ptx, kernel))
    at, known = 0, header
    if operand:
        old = decode(bytes(bytes_))
        names = [other["name"] for other in old["operands"]]
        at = old["header_bytes"] + names.index(operand) * old["operand_bytes"]
        known = operand_fields
    for field in known:
        if field.name in fields:
            _put(bytes_, at, field, fields.pop(field.name))
    assert not fields, fields
    return put(ptx, kernel, bytes(bytes_))


def make(name: str, operands: list[dict[str, Any]], **fields: Any) -> bytes:
    """The description of a kernel that no one compiled, as the page has it. What is left out of an
    operand is as for one that takes everything as it comes.
    """
    header, operand = tables()

    def round_up(fields: list[Field]) -> int:
        return -(-(fields[-1].at + fields[-1].size) // 8) * 8

    sizes = round_up(header), round_up(operand)
    bytes_ = bytearray(sizes[0] + len(operands) * sizes[1])
    values = {"magic": "MOEK", "version": 2, "header_bytes": sizes[0], "operand_bytes": sizes[1],
              "num_operands": len(operands), "total_bytes": len(bytes_), "name": name, "work": 0,
              "rows_per_unit": 1, "chunk_columns": 256, "threads_per_cta": 256,
              "min_ctas_per_sm": 4, "waits_for_predecessor": 1, "early_chunk_columns": 0,
              "early_elements": 0, "base_name_bytes": len(name), "pair_block": -1,
              "cluster_ctas": 0, "least_units": 0, "gathers": 0, **fields}
    for field in header:
        _put(bytes_, 0, field, values[field.name])
    for i, given in enumerate(operands):
        values = {"is_read": 1, "is_written": 0, "element_bits": 32, "address_alignment": 4,
                  "row_stride_alignment": 1, "row_alignment": 1, "offset": 0, "rows": -1,
                  "columns": -1, "row_stride": -1, **given}
        for field in operand:
            _put(bytes_, sizes[0] + i * sizes[1], field, values[field.name])
    return bytes(bytes_)
