# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Launches of the ops that bring tokens to experts and back, of modules that were never compiled, on
a driver that only records them: which kernel, with which parameters, under which grid.
"""

from __future__ import annotations

from ctypes import byref, c_int32
from pathlib import Path
from typing import Any

import pytest
from moe_testing import descriptions
from moe_testing import runtime as moe
from moe_testing.fake_driver import FakeDriver, Launch, build, in_child

SCALAR, VECTOR, MATRIX, VALUE = range(4)
# A parameter for each of the two pointers and the offset, of each dimension a size and a stride.
PARAMETERS = {SCALAR: 3, VECTOR: 5, MATRIX: 7, VALUE: 1}
HEAD = ".version 8.0\n.target sm_90\n.address_size 64\n"
T, TOP_K, E, R, H = 8, 2, 4, 40, 64

ROUTE = [("routing_map", MATRIX), ("valid_tokens", SCALAR), ("probs", MATRIX),
         ("first_expert", VALUE), ("alignment", VALUE), ("tokens_per_expert", VECTOR),
         ("exclusive_offsets", VECTOR), ("inclusive_offsets", VECTOR), ("permutation_map", VECTOR),
         ("inverse_map", MATRIX), ("permuted_probs", VECTOR)]
PERMUTE = [("x", MATRIX), ("permutation_map", VECTOR), ("n_used", SCALAR), ("out", MATRIX)]
UNPERMUTE = [("y", MATRIX), ("inverse_map", MATRIX), ("valid_tokens", SCALAR), ("probs", VECTOR),
             ("out", MATRIX)]
WRITTEN = {"route_tokens": ROUTE[5:], "permute_tokens": PERMUTE[3:], "unpermute_tokens": UNPERMUTE[4:]}
KERNELS = [("route_tokens" + wide + weighted, ROUTE) for wide in ("", "_i64")
           for weighted in ("", "_probs")]
KERNELS += [("unpermute_tokens", UNPERMUTE), ("unpermute_tokens_probs", UNPERMUTE),
            ("permute_tokens", PERMUTE)]
ADDRESS = {name: n << 52 for n, name in enumerate(
    dict.fromkeys(name for _, operands in KERNELS for name, _ in operands), 1)}


@pytest.fixture(scope="session")
def driver_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("driver"), "-Wall", "-Wextra", "-Werror")


def kernel_list(*names: str) -> str:
    bytes_ = "".join(f"{name}\0" for name in names).encode()
    return (f".visible .global .align 1 .b8 moe_kernels[{len(bytes_)}] = "
            f"{{{', '.join(map(str, bytes_))}}};\n")


def kernel_text(name: str, description: bytes, num_parameters: int) -> str:
    parameters = ", ".join(f".param .u64 p{i}" for i in range(num_parameters))
    return (f".visible .global .align 8 .b8 moe_kernel_{name}[{len(description)}] = "
            f"{{{', '.join(map(str, description))}}};\n"
            f".visible .entry {name}({parameters})\n{{\nret;\n}}\n")


def ptx(**changes: Any) -> str:
    """A module with all of the kernels, as far as a launch looks at them; `changes` of
    route_tokens's header, or by the name of an operand of its.
    """
    text = HEAD + kernel_list(*(kernel for kernel, _ in KERNELS))
    for kernel, all_operands in KERNELS:
        op = kernel.removesuffix("_probs").removesuffix("_i64")
        operands = [(name, kind) for name, kind in all_operands
                    if kernel.endswith("_probs") or not name.endswith("probs")]
        fields = []
        for name, kind in operands:
            bits = 16 if name in ("x", "y") or (op, name) == ("permute_tokens", "out") else 32
            if "_i64" in kernel and name == "routing_map":
                bits = 64
            is_written = any(name == other for other, _ in WRITTEN[op])
            fields.append({"name": name, "kind": kind, "rank": 0 if kind == VALUE else kind,
                           "is_written": int(is_written), "is_read": int(not is_written),
                           "element_bits": bits, "address_alignment": max(bits // 8, 1),
                           **(changes.get(name, {}) if kernel == "route_tokens" else {})})
        header = {"work": {"route_tokens": 1, "unpermute_tokens": 2}.get(op, 0), "min_ctas_per_sm": 2}
        if kernel == "route_tokens":
            header.update({name: value for name, value in changes.items() if name not in ADDRESS})
        bytes_ = descriptions.make(kernel, fields, **header)
        text += kernel_text(kernel, bytes_, sum(PARAMETERS[kind] for _, kind in operands))
    return text


def cluster_ptx(*names: str, **fields: Any) -> str:
    """A module with kernels that route tokens, those of their names for clusters."""
    text = HEAD + kernel_list(*names)
    operands = [(name, kind) for name, kind in ROUTE if not name.endswith("probs")]
    for kernel in names:
        header = {"work": 1, "min_ctas_per_sm": 2, "base_name_bytes": len("route_tokens")}
        if "cluster" in kernel:
            header.update({"work": 3, "min_ctas_per_sm": 1, "threads_per_cta": 1024,
                           "cluster_ctas": 8, "least_units": 18, **fields})
        rows = [{"name": name, "kind": kind, "rank": 0 if kind == VALUE else kind,
                 "is_written": int((name, kind) in WRITTEN["route_tokens"]),
                 "is_read": int((name, kind) not in WRITTEN["route_tokens"])}
                for name, kind in operands]
        text += kernel_text(kernel, descriptions.make(kernel, rows, **header),
                            sum(PARAMETERS[kind] for _, kind in operands))
    return text


def matrix(name: str, rows: int, columns: int, stride: int = 0) -> Any:
    return byref(moe.Matrix(ADDRESS[name], rows, columns, stride or columns))


def launched(driver: FakeDriver, call: Any, *arguments: Any, **fields: Any) -> Launch:
    """What the driver saw of a call."""
    driver.take_calls()
    moe.check(call(byref(moe.Launch(device=moe.CUDA, **fields)), *arguments))
    [record] = driver.launches()
    return record


def route(driver: FakeDriver, module: int | None, experts: int = E, index_type: int = 0,
          has_probs: bool = False, tokens: int = T, **fields: Any) -> Launch:
    return launched(
        driver, moe.library.moeRouteTokens, matrix("routing_map", tokens, TOP_K, 5), index_type,
        ADDRESS["valid_tokens"], matrix("probs", tokens, TOP_K) if has_probs else None, -7, 16,
        ADDRESS["tokens_per_expert"], ADDRESS["exclusive_offsets"], ADDRESS["inclusive_offsets"],
        byref(moe.Vector(ADDRESS["permutation_map"], R)), matrix("inverse_map", tokens, experts, 5000),
        ADDRESS["permuted_probs"], module=module, **fields)


def memory(name: str, *sizes: int, strides: tuple[int, ...] = ()) -> list[int]:
    return [ADDRESS[name], ADDRESS[name], 0, *sizes, *strides, *([1] if sizes else [])]


@pytest.mark.parametrize("has_probs", [False, True])
@pytest.mark.parametrize("index_type", [0, 1])
@in_child
def test_parameters_of_routing(driver_path: Path, index_type: int, has_probs: bool) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    record = route(driver, moe.load_module(ptx().encode()), index_type=index_type,
                   has_probs=has_probs)
    assert record.name.decode() == ("route_tokens" + "_i64" * index_type + "_probs" * has_probs)
    wanted = memory("routing_map", T, TOP_K, strides=(5,)) + memory("valid_tokens")
    if has_probs:
        wanted += memory("probs", T, TOP_K, strides=(TOP_K,))
    wanted += [2**32 - 7, 16]
    for name in ("tokens_per_expert", "exclusive_offsets", "inclusive_offsets"):
        wanted += memory(name, E)
    wanted += memory("permutation_map", R) + memory("inverse_map", T, E, strides=(5000,))
    if has_probs:
        wanted += memory("permuted_probs", R)
    assert list(record.parameters[: record.num_parameters]) == wanted


@in_child
def test_a_kernel_that_is_compiled_with_weights_needs_some(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    kernel = moe.find_kernel(moe.load_module(ptx().encode()), "route_tokens_probs")

    def run(probs: Any) -> None:
        moe.check(moe.run_op(
            byref(moe.Launch(device=moe.CUDA)), kernel, matrix("routing_map", T, TOP_K),
            ADDRESS["valid_tokens"], probs, byref(c_int32(0)), byref(c_int32(16)),
            ADDRESS["tokens_per_expert"], ADDRESS["exclusive_offsets"],
            ADDRESS["inclusive_offsets"], byref(moe.Vector(ADDRESS["permutation_map"], R)),
            matrix("inverse_map", T, E), ADDRESS["permuted_probs"]))

    run(matrix("probs", T, TOP_K))
    with pytest.raises(moe.MoeError, match="^probs: expected a description of the operand, found a "
                                           "null pointer"):
        run(None)


@in_child
def test_grids_of_routing(driver_path: Path) -> None:
    """A CTA for each expert, as far as there is room, or as the caller says."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_device(90, 100)
    module = moe.load_module(ptx().encode())
    for experts, num_ctas, wanted in ((1, 0, 1), (4, 0, 4), (200, 0, 200), (201, 0, 200), (2048, 0, 200),
                                      (2048, 7, 7), (4, 7, 4), (2048, 65535, 2048)):
        record = route(driver, module, experts, num_ctas=num_ctas)
        assert list(record.grid) == [wanted, 1, 1]
        assert list(record.block) == [256, 1, 1]
        # What is known of rows says nothing about experts.
        assert list(route(driver, module, experts, num_ctas=num_ctas, expected_rows=1).grid) == list(
            record.grid)
    assert route(driver, module, flags=moe.PROGRAMMATIC_LAUNCH).programmatic


@in_child
def test_routing_in_clusters(driver_path: Path) -> None:
    """From so many pairs on as the description says, or if there is no other kernel."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_device(90, 100)
    clusters, plain = "route_tokens_cluster8", "route_tokens"
    both = moe.load_module(cluster_ptx(clusters, plain).encode())
    for tokens, wanted in ((0, plain), (1, plain), (8, plain), (9, clusters), (4096, clusters)):
        assert route(driver, both, tokens=tokens).name.decode() == wanted, tokens
    for num_ctas, wanted in ((1, plain), (7, plain), (8, clusters), (100, clusters)):
        assert route(driver, both, tokens=4096, num_ctas=num_ctas).name.decode() == wanted
    alone = moe.load_module(cluster_ptx(clusters).encode())
    for tokens in (0, 1, 4096):
        assert route(driver, alone, tokens=tokens).name.decode() == clusters
    late = moe.load_module(cluster_ptx(plain, clusters).encode())
    assert route(driver, late, tokens=4096).name.decode() == plain
    assert route(driver, both, tokens=9, flags=moe.PROGRAMMATIC_LAUNCH).programmatic


@in_child
def test_grids_of_clusters(driver_path: Path) -> None:
    """A cluster for each 32 experts, as far as there is room for whole ones, and at least one."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_device(90, 100)
    module = moe.load_module(cluster_ptx("route_tokens_cluster8").encode())
    for experts, num_ctas, wanted in ((1, 0, 8), (32, 0, 8), (33, 0, 16), (64, 0, 16), (65, 0, 24),
                                      (384, 0, 96), (385, 0, 96), (2048, 0, 96), (64, 15, 8),
                                      (64, 7, 8), (64, 1, 8), (2048, 65535, 512)):
        record = route(driver, module, experts, num_ctas=num_ctas)
        assert list(record.grid) == [wanted, 1, 1], (experts, num_ctas)
        assert list(record.block) == [1024, 1, 1]
        assert list(route(driver, module, experts, num_ctas=num_ctas,
                          expected_rows=1).grid) == [wanted, 1, 1]
    two = moe.load_module(cluster_ptx("route_tokens_cluster2", cluster_ctas=2).encode())
    assert list(route(driver, two, 2048).grid) == [100, 1, 1]


@pytest.mark.parametrize("capability", [80, 86, 89, 90, 100, 103, 120])
@in_child
def test_shipped_kernels_in_clusters(driver_path: Path, capability: int) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_device(capability, 132)
    for index_type in (0, 1):
        for has_probs in (False, True):
            name = "route_tokens" + "_i64" * index_type + "_probs" * has_probs
            for tokens in (3072, 3073):
                record = route(driver, None, 64, index_type, has_probs, tokens=tokens)
                is_clustered = capability >= 90 and tokens == 3073
                assert record.name.decode() == name + "_cluster8" * is_clustered
                assert list(record.grid) == [16 if is_clustered else 64, 1, 1]
                assert list(record.block) == [1024 if is_clustered else 512, 1, 1]


@in_child
def test_parameters_of_the_way_there_and_back(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    module = moe.load_module(ptx().encode())
    record = launched(driver, moe.library.moePermuteTokens, matrix("x", T, H, 72),
                      ADDRESS["permutation_map"], ADDRESS["n_used"], matrix("out", R, H, 80),
                      module=module)
    assert record.name == b"permute_tokens"
    assert list(record.parameters[: record.num_parameters]) == (
        memory("x", T, H, strides=(72,)) + memory("permutation_map", R) + memory("n_used")
        + memory("out", R, H, strides=(80,)))
    for weights in (None, ADDRESS["probs"]):
        record = launched(driver, moe.library.moeUnpermuteTokens, matrix("y", R, H),
                          matrix("inverse_map", T, E), ADDRESS["valid_tokens"], weights,
                          matrix("out", T, H), module=module)
        assert record.name == (b"unpermute_tokens_probs" if weights else b"unpermute_tokens")
        assert list(record.parameters[: record.num_parameters]) == (
            memory("y", R, H, strides=(H,)) + memory("inverse_map", T, E, strides=(E,))
            + memory("valid_tokens") + (memory("probs", R) if weights else [])
            + memory("out", T, H, strides=(H,)))


@in_child
def test_rows_that_a_grid_is_for(driver_path: Path) -> None:
    """Those of the destination, of which the others may have fewer or more."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    module = moe.load_module(ptx().encode())

    def permute(tokens: int, rows: int) -> list[int]:
        return list(launched(driver, moe.library.moePermuteTokens, matrix("x", tokens, H),
                             ADDRESS["permutation_map"], ADDRESS["n_used"], matrix("out", rows, H),
                             module=module).grid)

    def unpermute(rows: int, tokens: int) -> list[int]:
        return list(launched(driver, moe.library.moeUnpermuteTokens, matrix("y", rows, H),
                             matrix("inverse_map", tokens, E), ADDRESS["valid_tokens"], None,
                             matrix("out", tokens, H), module=module).grid)

    assert permute(8, 100000) == permute(100000, 100000) != permute(100000, 8)
    assert unpermute(8, 100000) == unpermute(100000, 100000) != unpermute(100000, 8)
    # No token, and still rows whose scales or zeros are to be written.
    assert permute(0, 8) == permute(8, 8)


@in_child
def test_grids_of_tokens(driver_path: Path) -> None:
    """A warp for each token, and more of them for its chunks where there are few tokens."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    driver.set_device(90, 100)
    module = moe.load_module(ptx().encode())
    columns, chunk, warps, ctas_of_sm = 2688, 256, 8, 2

    def grid(tokens: int, **options: int) -> tuple[int, int]:
        x, y, z = launched(driver, moe.library.moeUnpermuteTokens, matrix("y", 100, columns),
                           matrix("inverse_map", tokens, E), ADDRESS["valid_tokens"], None,
                           matrix("out", tokens, columns), module=module, **options).grid
        assert z == 1
        return x, y

    chunks = -(-columns // chunk)
    for tokens in (1, 8, 9, 500, 1000, 4096, 100_000, 10_000_000):
        wanted = min(-(-4 * 100 * ctas_of_sm * warps // tokens), chunks)
        found = grid(tokens)
        assert found == (wanted, min(-(-tokens // warps), 65535 // wanted))
        # The tokens that are expected to be valid, if they are fewer.
        assert grid(10_000_000, expected_rows=tokens) == grid(tokens, expected_rows=2**40) == found
    assert [grid(tokens)[0] for tokens in (1, 4096, 100_000)] == [11, 2, 1]
    for limit in 1, 20, 22, 500:
        x, y = grid(1000, num_ctas=limit)
        assert x == min(chunks, -(-4 * limit * warps // 1000)) and y == min(125, limit // x)


@in_child
def test_validated_pointers(driver_path: Path) -> None:
    """Values are none, and neither is what has no elements."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    module = moe.load_module(ptx().encode())
    driver.set_device_memory(1 << 52, 1 << 60)
    route(driver, module, has_probs=True, flags=moe.VALIDATE_POINTERS)
    assert driver.take_calls().count("cuPointerGetAttribute") == len(ROUTE) - 2
    driver.set_device_memory(1 << 52, ADDRESS["inverse_map"])
    with pytest.raises(moe.MoeError, match="^inverse_map: expected memory that the CUDA device can"):
        route(driver, module, flags=moe.VALIDATE_POINTERS)


@in_child
def test_images_of_other_kernels(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    for changes, message in [
        ({"work": 0}, "expected work that is given out by experts, found kind 0"),
        ({"work": 4}, "expected work that is given out by experts, found kind 4"),
        ({"alignment": {"kind": SCALAR}}, "found a scalar 'alignment' of 32 bits"),
        ({"first_expert": {"element_bits": 64}}, "found a value 'first_expert' of 64 bits"),
        ({"routing_map": {"element_bits": 16}}, "found a matrix 'routing_map' of 16 bits"),
        ({"valid_tokens": {"kind": VALUE}}, "found a value 'valid_tokens'"),
        ({"permutation_map": {"is_written": 0}}, "found a vector 'permutation_map' .* is read"),
        ({"inverse_map": {"kind": VECTOR, "rank": 1}}, "found a vector 'inverse_map'"),
    ]:
        with pytest.raises(moe.MoeError, match=f"^image: kernel route_tokens: .*{message}") as caught:
            moe.load_module(ptx(**changes).encode())
        assert caught.value.status == moe.UNSUPPORTED
    # One whose name says otherwise is a kernel, but none for the call.
    module = moe.load_module(ptx(routing_map={"element_bits": 64}).encode())
    with pytest.raises(moe.MoeError, match="^module: kernel route_tokens: expected operands as "
                                           "route_tokens has them, found others"):
        route(driver, module)


@in_child
def test_descriptions_of_clusters_that_there_are_not(driver_path: Path) -> None:
    driver = FakeDriver(driver_path)
    driver.create_context()
    for fields in ({"cluster_ctas": 0}, {"cluster_ctas": 16}, {"work": 1}):
        with pytest.raises(moe.MoeError, match="^image: expected a description of kernel "
                                               "route_tokens_cluster8, found .* damaged$"):
            moe.load_module(cluster_ptx("route_tokens_cluster8", **fields).encode())


@in_child
def test_a_kernel_that_writes_nothing(driver_path: Path) -> None:
    """There is nothing to do for it."""
    driver = FakeDriver(driver_path)
    driver.create_context()
    bytes_ = descriptions.make("look", [{"name": "x", "kind": MATRIX, "rank": 2, "element_bits": 16,
                                         "address_alignment": 2}], work=1)
    module = moe.load_module((HEAD + kernel_list("look") + kernel_text("look", bytes_, 7)).encode())
    look = moe.find_kernel(module, "look")
    driver.take_calls()
    moe.check(moe.run_op(byref(moe.Launch(device=moe.CUDA)), look, matrix("x", T, H)))
    assert not driver.launches()
