# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""docs/kernel-abi.md against what the compiler emits: the page is read, nothing of it repeated."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache

import ml_dtypes
import numpy as np
import pytest
from moe_testing import checkout, descriptions, permutation_batches
from moe_testing.family import FamilyKernel
from moe_testing.kernels import FUSED, QUANTIZE, SQUARED_RELU, Kernel, compile_ptx
from moe_testing.permutation_kernels import RouteTokens, UnpermuteTokens

pytestmark = pytest.mark.needs("moe-opt", "moe-translate")

PAGE = (checkout.ROOT / "docs" / "kernel-abi.md").read_text()
KERNELS = [Kernel(SQUARED_RELU), Kernel(SQUARED_RELU, 1856), Kernel(SQUARED_RELU, strided=True)] + [
    Kernel(op, columns, layout, dead, strided)
    for op in (FUSED, QUANTIZE) for layout in ("swizzle_32_4_4", "linear")
    for dead in ("zero", "untouched") for columns, strided in ((None, True), (2048, False))]
CHIPS = {"sm_89": 16, "sm_90": 16, "sm_100": 32}


@cache
def ptx(kernel: Kernel, chip: str) -> str:
    return kernel.ptx(chip)


def described(kernel: Kernel, chip: str, aligned: bool) -> dict:
    return descriptions.decode(descriptions.find(ptx(kernel, chip), kernel.entry(aligned)))


def attribute(kernel: Kernel, name: str) -> dict:
    """moe.kernel of a kernel, as moe-opt prints it."""
    text = subprocess.run([checkout.BIN_DIR / "moe-opt", "--convert-moe-to-gpu", "-"],
                          input=kernel.mlir(), text=True, capture_output=True, check=True).stdout
    [printed] = re.findall(rf"gpu\.func @{name}\(.*moe\.kernel = ({{.*}}), nvvm\.minctasm", text)
    printed = re.sub(r" : i64|\b(\w+)(?= = )", lambda found: f'"{found[1]}"' if found[1] else "", printed)
    return json.loads(printed.replace(" = ", ": "))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name + kernel.strided * "-strided")
@pytest.mark.parametrize("aligned", [True, False])
def test_bytes_are_those_of_the_attribute(kernel: Kernel, aligned: bool) -> None:
    name = kernel.entry(aligned)
    found, printed = described(kernel, "sm_89", aligned), attribute(kernel, name)
    kinds, works = ["scalar", "vector", "matrix", "value"], ["rows", "experts"]
    operands = []
    for operand in found["operands"]:
        expected = {"name": operand["name"], "kind": kinds[operand["kind"]],
                    "access": {(1, 0): "read", (0, 1): "write"}[operand["is_read"], operand["is_written"]],
                    "element_bits": operand["element_bits"]}
        for field, usual in [("rank", operand["kind"]), ("address_alignment", operand["element_bits"] // 8),
                             ("row_stride_alignment", 1), ("row_alignment", 1), ("rows", -1),
                             ("columns", -1), ("row_stride", -1)]:
            if operand[field] != usual:
                expected[field] = operand[field]
        assert operand["offset"] == (-1 if kernel.strided and operand["kind"] == 2
                                     and operand["name"] != "scale" else 0)
        operands.append(expected)
    assert found["name"] == name
    assert printed == {"operands": operands, "work": works[found["work"]],
                       "waits_for_predecessor": bool(found["waits_for_predecessor"]),
                       **{field: found[field] for field in (
                           "version", "rows_per_unit", "chunk_columns", "threads_per_cta",
                           "min_ctas_per_sm", "base_name_bytes")}}
    assert name[:found["base_name_bytes"]] == kernel.entry(aligned=True)
    assert found["pair_block"] == -1


def test_list_of_kernels() -> None:
    for kernel in KERNELS[:3]:
        text = ptx(kernel, "sm_90")
        assert descriptions.kernels(text) == re.findall(r"^\.visible \.entry (\w+)\(", text, re.MULTILINE)


@pytest.mark.parametrize(("attributes", "block", "suffix"), [
    ("", 0, ""), ("gate_layout<up_gate>", 0, "_up_gate"),
    ("gate_layout<interleaved<8>> limit_at<after> {limit = 5.0 : f32, beta = 2.5 : f32}", 8,
     "_interleaved8_limit5_after_betax40200000")])
def test_pairs_and_names(attributes: str, block: int, suffix: str) -> None:
    text = compile_ptx(f"""
func.func @entry(%x: memref<?x?xbf16>, %n: memref<i32>, %out: memref<?x?xbf16>) {{
  moe.padded_swiglu ins(%x, %n : memref<?x?xbf16>, memref<i32>) outs(%out : memref<?x?xbf16>) {attributes}
  return
}}""")
    name = f"padded_swiglu{suffix}_dense"
    assert descriptions.kernels(text) == [name, name + "_unaligned"]
    for kernel in descriptions.kernels(text):
        found = descriptions.decode(descriptions.find(text, kernel))
        assert (found["pair_block"], found["base_name_bytes"]) == (block, len(name))


REGION = """
  moe.map_rows ins(%x, %n : memref<?x{x}xbf16>, memref<i32>) outs(%out : memref<?x{x}xbf16>)
    format(#moe.bf16) {name} {{
  ^bb0(%v: bf16):
    %r = arith.{op} %v{operands} : bf16
    moe.yield %r : bf16
  }}"""


def test_base_names() -> None:
    """They are of one computation each, for all of its shapes."""
    ops = [("", "negf", "", 64), ("", "negf", "", 128), ("", "addf", ", %v", 64),
           ('kernel_name("twice")', "addf", ", %v", 64), ('kernel_name("twice")', "negf", "", 64)]
    functions = "".join(
        f"func.func @f{i}(%x: memref<?x{x}xbf16>, %n: memref<i32>, %out: memref<?x{x}xbf16>) {{"
        + REGION.format(x=x, name=name, op=op, operands=operands) + "\n  return\n}\n"
        for i, (name, op, operands, x) in enumerate(ops))
    text = compile_ptx(functions)
    names = descriptions.kernels(text)
    bases = [name[:descriptions.decode(descriptions.find(text, name))["base_name_bytes"]] for name in names]
    of_base = {base: [name for name, other in zip(names, bases) if other == base] for base in bases}
    assert of_base == {
        "map_rows": ["map_rows", "map_rows_unaligned", "map_rows_0", "map_rows_unaligned_0"],
        "map_rows_0": ["map_rows_0_0", "map_rows_0_unaligned"],
        "twice": ["twice", "twice_unaligned"], "twice_0": ["twice_0", "twice_0_unaligned"]}


def test_sizes_of_the_tables() -> None:
    bytes_ = descriptions.find(ptx(KERNELS[0], "sm_90"), SQUARED_RELU)
    found = descriptions.decode(bytes_)
    assert found["magic"] == "MOEK"
    assert found["total_bytes"] == len(bytes_)
    for fields, size in zip(descriptions.tables(), (found["header_bytes"], found["operand_bytes"])):
        ends = [field.at + field.size for field in fields]
        assert [field.at for field in fields[1:]] == ends[:-1]
        # Up to a multiple of 8.
        assert size == (ends[-1] + 7) // 8 * 8
    assert found["total_bytes"] == found["header_bytes"] + found["num_operands"] * found["operand_bytes"]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name + kernel.strided * "-strided")
def test_parameters(kernel: Kernel) -> None:
    """As many as the table of the page says for the ranks of the operands, all of 8 bytes."""
    lines = re.findall(r"^\| (\w+ pointer|offset|n sizes|n strides) \|", PAGE, re.MULTILINE)
    for aligned in (True, False):
        entry = ptx(kernel, "sm_90").partition(f".entry {kernel.entry(aligned)}(")[2].partition(")")[0]
        found = re.findall(r"\.param (\.\w+)", entry)
        ranks = [operand["rank"] for operand in described(kernel, "sm_90", aligned)["operands"]]
        assert set(found) == {".u64"} or set(found) == {".u64", ".b64"}
        assert len(found) == sum(rank if line.startswith("n ") else 1 for rank in ranks for line in lines)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name + kernel.strided * "-strided")
def test_alignment(kernel: Kernel, chip: str) -> None:
    rows = re.findall(r"^\| (`x`|`out`|`data`|`scale`.*?) \|(.*)\|(.*)\|(.*)\|$",
                      PAGE.partition("## Alignment")[2], re.MULTILINE)
    modes = {"scale": [f"`{kernel.scale_layout}`"] + [f"`{kernel.dead_scales}`"] *
                      (kernel.scale_layout != "linear")}
    needs = {}
    for operand, *cells in rows:
        name, *attributes = operand.replace("`", "").split(", ")
        if [f"`{attribute}`" for attribute in attributes] == modes.get(name, []):
            needs[name] = [eval(cell, {"a": CHIPS[chip]}) if cell.strip() else 0
                           for cell in cells]
    for aligned in (True, False):
        for operand in described(kernel, chip, aligned)["operands"]:
            wanted = needs.get(operand["name"], [0, 0, 0]) if aligned else [0, 0, 0]
            assert [operand["address_alignment"], operand["row_stride_alignment"],
                    operand["row_alignment"]] == [max(wanted[0], operand["element_bits"] // 8),
                                                  max(wanted[1], 1), max(wanted[2], 1)]


def test_kernels_that_are_no_map_over_rows() -> None:
    """Values are one parameter each, the grid is that of experts; operands are those of the op."""
    batch = permutation_batches.routed(4, 2, 8, dtype=np.int64)
    call = RouteTokens(batch)
    text = compile_ptx(call.mlir(), "sm_90")
    found = descriptions.decode(descriptions.find(text, "route_tokens_i64_probs"))
    assert re.search(r"`work` \| 0: rows.*; 1: experts; .*3: windows", PAGE) and found["work"] == 1
    assert found["cluster_ctas"] == found["least_units"] == 0
    clusters = descriptions.decode(descriptions.find(text, "route_tokens_i64_probs_cluster8"))
    assert descriptions.kernels(text) == ["route_tokens_i64_probs_cluster8", "route_tokens_i64_probs"]
    assert clusters["operands"] == found["operands"]
    assert {name: clusters[name] for name in clusters if clusters[name] != found[name]} == {
        "name": "route_tokens_i64_probs_cluster8", "work": 3, "threads_per_cta": 1024,
        "cluster_ctas": 8, "least_units": 6145}
    assert re.search(r"`kind` \| .*3 value", PAGE)
    operands = found["operands"]
    assert [operand["name"] for operand in operands] == list(call.operands(np.random.default_rng(0)))
    values = [operand for operand in operands if operand["kind"] == 3]
    assert [(value["name"], value["rank"], value["element_bits"]) for value in values] == [
        ("first_expert", 0, 32), ("alignment", 0, 32)]
    assert [operand["kind"] for operand in operands if operand["kind"] != 3] == [
        2, 0, 2, 1, 1, 1, 1, 2, 1]
    entry = text.partition(".entry route_tokens_i64_probs(")[2].partition(")")[0]
    sizes = re.findall(r"\.param \.[ub](\d+)", entry)
    assert sizes.count("32") == 2
    assert len(sizes) == sum(1 if operand["kind"] == 3 else 3 + 2 * operand["rank"]
                             for operand in operands)


def test_alignment_of_unpermute() -> None:
    y, inverse = np.zeros((4, 32), ml_dtypes.bfloat16), np.zeros((2, 2), np.int32)
    text = compile_ptx(UnpermuteTokens(y, inverse, 2).mlir(), "sm_90")
    base = "unpermute_tokens"
    assert descriptions.kernels(text) == [base + "_aligned16", base, base + "_unaligned"]
    for name in descriptions.kernels(text):
        is_aligned = not name.endswith("_unaligned")
        operands = {operand["name"]: operand for operand in
                    descriptions.decode(descriptions.find(text, name))["operands"]}
        for operand, size in (("y", 2), ("out", 4)):
            rows = {owner: cells for owner, *cells in re.findall(
                rf"^\| `{operand}` of `(\w+)` \|(.*)\|(.*)\|(.*)\|$", PAGE, re.MULTILINE)}
            row = rows.get(name, rows[base])
            wanted = [int(cell) if cell.strip() and is_aligned else 1 for cell in row]
            found = operands[operand]
            assert [found["address_alignment"], found["row_stride_alignment"],
                    found["row_alignment"]] == [max(wanted[0], size), *wanted[1:]]


@pytest.mark.parametrize("chip", CHIPS)
def test_early_chunks(chip: str) -> None:
    """A step of pairs, where chunks have two, and 1 MiB of them."""
    pairs = FamilyKernel("padded_swiglu")
    for kernel, name, expected in [
            (pairs, "padded_swiglu", (256, 2**18) if CHIPS[chip] == 16 else (0, 0)),
            (pairs, "padded_swiglu_unaligned", (0, 0)), (KERNELS[0], SQUARED_RELU, (0, 0))]:
        found = descriptions.decode(descriptions.find(kernel.ptx(chip), name))
        assert (found["early_chunk_columns"], found["early_elements"]) == expected, name


@pytest.mark.parametrize("chip", CHIPS)
def test_who_waits(chip: str) -> None:
    for aligned in (True, False):
        text = ptx(KERNELS[0], chip).partition(f".entry {KERNELS[0].entry(aligned)}(")[2].partition("\n}")[0]
        waits = described(KERNELS[0], chip, aligned)["waits_for_predecessor"]
        assert ("griddepcontrol.wait" in text) == waits == (int(chip.removeprefix("sm_")) >= 90)


def test_threads_and_registers() -> None:
    """What the PTX asks for is what the description says."""
    for threads in (32, 128, 256, 512, 1024):
        text = KERNELS[0].ptx("sm_90", threads_per_cta=threads)
        for name in (SQUARED_RELU, SQUARED_RELU + "_unaligned"):
            found = descriptions.decode(descriptions.find(text, name))
            head = text.partition(f".entry {name}(")[2].partition("{")[0]
            assert re.search(r"\.(?:max|req)ntid (\d+)", head)[1] == str(found["threads_per_cta"])
            assert re.search(r"\.minnctapersm (\d+)", head)[1] == str(found["min_ctas_per_sm"])
            assert found["threads_per_cta"] == threads
