# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Clusters of CTAs in the PTX interpreter: who is where, what they share, and who has met."""

from __future__ import annotations

import numpy as np
import ptx_interpreter as ptx
import pytest
from ptx_interpreter import Memory, Module

CLUSTER = 4
HEADER = ".version 8.3\n.target sm_90\n.address_size 64\n"
# %r0 is the thread's number in the grid, %rd1 its place in the output. %r4 is the rank of the next
# CTA, %r5 the one's own, %rd3 the address of the thread's word in that CTA, %r7 in the own one.
PROLOGUE = """
    .reg .pred %p<8>; .reg .b32 %r<32>; .reg .b64 %rd<16>;
    .shared .align 4 .b8 mine[256];
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
    mad.lo.s32 %r0, %r1, %r2, %r3;
    mad.wide.u32 %rd1, %r0, 4, %rd1;
    mov.u32 %r5, %cluster_ctarank;
    add.u32 %r4, %r5, 1; and.b32 %r4, %r4, 3;
    mov.u64 %rd2, mine; mul.wide.u32 %rd4, %r3, 4; add.u64 %rd2, %rd2, %rd4;
    mapa.shared::cluster.u64 %rd3, %rd2, %r4;
    cvt.u32.u64 %r7, %rd2;
"""
BARRIER = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"
PUT = "st.shared.u32 [%rd2], %r0;"
GET = "ld.shared::cluster.u32 %r6, [%rd3]; st.global.u32 [%rd1], %r6;"


def kernel(body: str, size: str = f"{CLUSTER}, 1, 1") -> str:
    return (f"{HEADER}.visible .entry k(.param .u64 out)\n.explicitcluster\n"
            f".reqnctapercluster {size}\n{{{PROLOGUE}{body}\n    ret;\n}}\n")


def run(body: str, grid: int = CLUSTER, block: int = 32, size: str = f"{CLUSTER}, 1, 1",
        **options: int) -> np.ndarray:
    """What each thread has stored."""
    memory = Memory()
    out = memory.allocate(4 * grid * block, name="out")
    Module(kernel(body, size)).launch("k", grid, block, [out], memory, **options)
    memory.check_guards()
    return out.array(np.uint32)


@pytest.mark.parametrize(("register", "expected"), [
    ("%cluster_ctarank", [0, 1, 2, 3] * 3), ("%cluster_nctarank", [4] * 12),
    ("%cluster_ctaid.x", [0, 1, 2, 3] * 3), ("%cluster_ctaid.y", [0] * 12),
    ("%cluster_nctaid.x", [4] * 12), ("%cluster_nctaid.z", [1] * 12),
    ("%clusterid.x", [0] * 4 + [1] * 4 + [2] * 4), ("%nclusterid.x", [3] * 12),
    ("%nclusterid.y", [1] * 12), ("%ctaid.x", list(range(12))), ("%nctaid.x", [12] * 12)])
def test_special_registers(register: str, expected: list[int]) -> None:
    found = run(f"mov.u32 %r6, {register}; st.global.u32 [%rd1], %r6;", grid=12)
    assert found.tolist() == np.repeat(expected, 32).tolist()


def next_cta(grid: int, block: int = 32) -> np.ndarray:
    """The number that the same thread of the next CTA of the cluster has."""
    cta = np.arange(grid)
    other = cta // CLUSTER * CLUSTER + (cta + 1) % CLUSTER
    return (other[:, None] * block + np.arange(block)).reshape(-1)


@pytest.mark.parametrize("get", [
    GET,
    # By 32-bit addresses, and by generic ones.
    "mapa.shared::cluster.u32 %r8, %r7, %r4; ld.shared::cluster.u32 %r6, [%r8];"
    "st.global.u32 [%rd1], %r6;",
    "cvta.shared.u64 %rd5, %rd2; mapa.u64 %rd6, %rd5, %r4; ld.u32 %r6, [%rd6];"
    "st.global.u32 [%rd1], %r6;",
    "cvta.shared::cluster.u64 %rd5, %rd3; ld.u32 %r6, [%rd5]; st.global.u32 [%rd1], %r6;"])
@pytest.mark.parametrize("wave_threads", [1, 65536])
def test_shared_memory_of_another_cta(get: str, wave_threads: int) -> None:
    found = run(PUT + BARRIER + get + BARRIER, grid=12, wave_threads=wave_threads)
    assert (found == next_cta(12)).all()


def test_an_address_without_a_rank_is_the_ctas_own() -> None:
    found = run(PUT + "ld.shared::cluster.u32 %r6, [%rd2]; st.global.u32 [%rd1], %r6;", grid=8)
    assert (found == np.arange(8 * 32)).all()


def test_stores_and_atomics_to_another_cta() -> None:
    store = "st.shared::cluster.u32 [%rd3], %r0;"
    take = "ld.shared.u32 %r6, [%rd2]; st.global.u32 [%rd1], %r6;"
    found = run(BARRIER + store + BARRIER + take)
    assert (next_cta(CLUSTER)[found] == np.arange(CLUSTER * 32)).all()
    add = "mapa.shared::cluster.u64 %rd3, %rd2, 0; red.shared::cluster.add.u32 [%rd3], 5;"
    clear = "st.shared.u32 [%rd2], 0;"
    found = run(clear + BARRIER + add + BARRIER + take)
    assert found.tolist() == [5 * CLUSTER] * 32 + [0] * (CLUSTER - 1) * 32


@pytest.mark.parametrize("between", [
    "", "bar.sync 0;", "barrier.cluster.arrive.aligned;",
    "barrier.cluster.arrive.relaxed; barrier.cluster.wait;",
    # What is stored after the arrival is not ordered by it.
    "barrier.cluster.arrive; st.shared.u32 [%rd2], %r0; barrier.cluster.wait;"])
def test_races_between_ctas(between: str) -> None:
    with pytest.raises(ptx.RaceError, match="data race in shared memory"):
        run(PUT + between + GET + BARRIER)


def test_a_store_to_what_another_cta_reads_is_a_race() -> None:
    body = PUT + BARRIER + GET + "{}" + PUT + BARRIER
    with pytest.raises(ptx.RaceError, match="bytes read by another thread"):
        run(body.format(""))
    with pytest.raises(ptx.RaceError, match="bytes read by another thread"):
        run(body.format("bar.sync 0;"))
    assert (run(body.format(BARRIER)) == next_cta(CLUSTER)).all()


def test_the_barrier_orders_what_other_threads_of_a_cta_did() -> None:
    """Who has waited tells the others of its CTA, at a barrier of the CTA."""
    other = "xor.b32 %r9, %r3, 1; mul.wide.u32 %rd7, %r9, 4; mov.u64 %rd8, mine;" \
            "add.u64 %rd8, %rd8, %rd7; mapa.shared::cluster.u64 %rd3, %rd8, %r4;"
    found = run(PUT + "bar.sync 0;" + BARRIER + other + GET + BARRIER)
    assert (found == next_cta(CLUSTER) ^ 1).all()


@pytest.mark.parametrize("end", ["", "bar.sync 0;"])
def test_a_cta_that_ends_while_others_read_its_memory(end: str) -> None:
    with pytest.raises(ptx.ExecutionError, match="the CTA ends while another one"):
        run(PUT + BARRIER + GET + end)


def test_an_arrival_before_the_read_does_not_keep_a_cta() -> None:
    with pytest.raises(ptx.ExecutionError, match="the CTA ends while another one"):
        run(PUT + BARRIER + "barrier.cluster.arrive;" + GET + "barrier.cluster.wait;")
    found = run(PUT + BARRIER + GET + "barrier.cluster.arrive.release;"
                "barrier.cluster.wait.acquire;")
    assert (found == next_cta(CLUSTER)).all()


def test_a_relaxed_arrival_is_enough_for_what_was_read() -> None:
    relaxed = "barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.aligned;"
    assert (run(PUT + BARRIER + GET + relaxed) == next_cta(CLUSTER)).all()
    with pytest.raises(ptx.RaceError, match="bytes read by another thread"):
        run(PUT + BARRIER + GET + relaxed + PUT + BARRIER)
    assert (run(PUT + relaxed + BARRIER + GET + BARRIER) == next_cta(CLUSTER)).all()


def test_a_cta_that_has_ended() -> None:
    body = PUT + BARRIER + "setp.eq.u32 %p1, %r5, 1; @%p1 ret; bar.sync 0;" + GET
    with pytest.raises(ptx.ExecutionError, match="of a CTA that has ended"):
        run(body)


def test_ranks_that_there_are_not() -> None:
    body = "mapa.shared::cluster.u64 %rd3, %rd2, 4;" + GET
    with pytest.raises(ptx.ExecutionError, match="of CTA 4 of a cluster of 4"):
        run(PUT + BARRIER + body + BARRIER)
    with pytest.raises(ptx.OutOfBoundsError):
        run(PUT + BARRIER + "ld.shared::cluster.u32 %r6, [%rd3 + 256];" + BARRIER)


def test_exited_threads_are_not_waited_for() -> None:
    leave = "setp.lt.u32 %p1, %r3, 32; @%p1 ret;"
    found = run(PUT + leave + BARRIER + GET + BARRIER, block=64)
    expected = next_cta(CLUSTER, 64).reshape(-1, 2, 32)
    assert (found.reshape(-1, 2, 32)[:, 1] == expected[:, 1]).all()


def test_misused_barriers() -> None:
    with pytest.raises(ptx.ConvergenceError, match="without having arrived"):
        run("barrier.cluster.wait;")
    with pytest.raises(ptx.ConvergenceError, match="again without having waited"):
        run("barrier.cluster.arrive; barrier.cluster.arrive;")
    with pytest.raises(ptx.ConvergenceError, match=".aligned"):
        run("setp.eq.u32 %p1, %r3, 0; @%p1 bra L; barrier.cluster.arrive.aligned;\n"
            "barrier.cluster.wait;\nret;\nL:\nbarrier.cluster.arrive; barrier.cluster.wait;")
    with pytest.raises(ptx.ConvergenceError, match="deadlock"):
        run("setp.eq.u32 %p1, %r5, 0; @%p1 bra L;" + BARRIER + "\nL:\nbar.sync 1, 64;")
    with pytest.raises(ptx.UnsupportedInstruction):
        run("barrier.cluster.arrive.acquire; barrier.cluster.wait;")


def test_launches_without_whole_clusters() -> None:
    with pytest.raises(ptx.LaunchError, match="clusters of 4 CTAs, got a grid of"):
        run(BARRIER, grid=6)
    with pytest.raises(ptx.LaunchError, match="along x alone"):
        run(BARRIER, size="1, 4, 1")
