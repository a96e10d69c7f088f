# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A layer of experts on several GPUs, each with its slice of them: all ranks gather all tokens, run
the layer on the pairs of their own experts, and reduce-scatter what comes out.

    parallel.py [--ranks N] [--tokens T] [--experts N] [--top-k K] [--hidden H] [--inner F]

--ranks: as many as there are GPUs, with NCCL; without GPUs 2 processes on the CPU, with gloo. T are
the tokens of each rank. On GPUs the step is captured in a CUDA graph, and timed.

What equal means. A rank's sum for a token is the ordered one of its experts: the same bytes in every
batch, on every device. The ranks' sums are then added by the collective, in an order that is its
own. So there are three statements, which each rank checks for its own tokens:

1. the result is within the rounding of N - 1 additions of the exact sum of the N ranks' sums, those
   that one device computes slice by slice;
2. for two ranks, where there is one addition and so one order: the result has the bytes of
   f32(sum of rank 0 + sum of rank 1);
3. the result is within the roundings of both of what one device computes of all experts in one
   ordered sum. Those differ, as (a + b) + (c + d) does from ((a + b) + c) + d; and by what the
   grouped product itself makes different of a row where there are more experts, if it does.

Needs PyTorch, the runtime library, and this checkout's benchmarks on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

for package, what in (("torch", "PyTorch"), ("moe_testing", "testing/ on PYTHONPATH"),
                      ("expert_layer", "benchmarks/ on PYTHONPATH")):
    if importlib.util.find_spec(package) is None:
        sys.exit(f"parallel.py: needs {what}")

import expert_layer  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from expert_layer import Shape, Step, Weights  # noqa: E402

LARGE = {"tokens": 32, "experts": 128, "top_k": 6, "hidden": 2688, "inner": 1856}
SMALL = {"tokens": 8, "experts": 8, "top_k": 3, "hidden": 64, "inner": 32}
# Half a unit in the last place of 1: what an operation on float32 may be off, relatively.
UNIT = 2.0**-24
REPLAYS = 50


def slice_of(shape: Shape, rank: int, ranks: int) -> Shape:
    """All tokens, and the experts of a rank."""
    each = shape.experts // ranks
    return Shape(shape.T, shape.H, shape.F, shape.experts, shape.top_k, rank * each, each)


class Rank:
    """The buffers of a rank, and its step. `everybody` are the tokens of all ranks, gathered; its
    `out` is the rank's sum for each of them.
    """

    def __init__(self, shape: Shape, rank: int, ranks: int, device: torch.device) -> None:
        self.shape = slice_of(shape, rank, ranks)
        self.weights = Weights.random(self.shape, device)
        own = shape.T // ranks
        # Every rank knows how to make all tokens, and uses its own.
        self.reference = Step.random(shape, device, seed=1)
        mine = slice(rank * own, (rank + 1) * own)
        self.own = [tensor[mine].contiguous() for tensor in (
            self.reference.x, self.reference.routing_map, self.reference.probs)]
        self.everybody = Step(*(torch.zeros_like(tensor) for tensor in (
            self.reference.x, self.reference.routing_map, self.reference.probs)),
            self.reference.valid_tokens, torch.empty_like(self.reference.out))
        self.mine, self.ranks = mine, ranks
        self.result = torch.empty(own, shape.H, dtype=torch.float32, device=device)

    def gather(self) -> None:
        for whole, part in zip((self.everybody.x, self.everybody.routing_map,
                                self.everybody.probs), self.own):
            dist.all_gather_into_tensor(whole, part)

    def layer(self) -> None:
        expert_layer.run(expert_layer.ours(self.shape, self.weights, self.everybody))

    def scatter(self) -> None:
        if self.result.is_cuda:
            dist.reduce_scatter_tensor(self.result, self.everybody.out)
            return
        # gloo has no reduce-scatter in all versions.
        total = self.everybody.out.clone()
        dist.all_reduce(total)
        self.result.copy_(total[self.mine])

    def step(self) -> None:
        self.gather()
        self.layer()
        self.scatter()


def check(rank: Rank, shape: Shape) -> list[str]:
    """What is wrong, of the statements above."""
    device, step = rank.result.device, rank.reference
    sums, rows = [], torch.zeros(())
    for other in range(rank.ranks):
        part = slice_of(shape, other, rank.ranks)
        made = dict(expert_layer.ours(part, Weights.random(part, device), step))
        sums.append(made["unpermute"][rank.mine].clone())
        # Each pair has its row in one slice.
        rows = rows.to(device) + expert_layer.pair_rows(part, step, made["FC2"])
    exact = torch.stack(sums).double().sum(0)
    size = torch.stack(sums).double().abs().sum(0)
    found, wrong = rank.result, []
    if not bool(((found.double() - exact).abs() <= (rank.ranks - 1) * UNIT * size).all()):
        wrong.append("further from the sum of the ranks' sums than its additions may be")
    if rank.ranks == 2 and not torch.equal(found, sums[0] + sums[1]):
        wrong.append("other bytes than those of the one addition of two ranks")

    # All experts on one device. What the terms are decides how far two orders may be apart; and
    # PyTorch's product may add up a row in another way where there are more experts.
    made = dict(expert_layer.ours(shape, Weights.random(shape, device), step))
    one_sum = made["unpermute"][rank.mine].double()
    every = expert_layer.pair_rows(shape, step, made["FC2"])

    def weighted(values: torch.Tensor) -> torch.Tensor:
        return (values.double() * step.probs.double()[:, :, None]).sum(1)[rank.mine]

    bound = (2 * (shape.top_k + rank.ranks) * UNIT * weighted(every.abs())
             + weighted((every - rows).abs()) * (1 + 2 * shape.top_k * UNIT))
    if not bool(((found.double() - one_sum).abs() <= bound).all()):
        wrong.append("further from one device's sum than roundings explain")
    return wrong


def time_step(rank: Rank) -> dict[str, float]:
    """Microseconds of a step, and of what it does: CUDA graphs of the first one, two, three."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    through = []
    parts: list[Callable[[], None]] = [rank.gather, rank.layer, rank.scatter]
    for count in range(1, len(parts) + 1):
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # NCCL has a thread that looks at events meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            for part in parts[:count]:
                part()
        for _ in range(3):
            graph.replay()
        dist.barrier()
        torch.cuda.synchronize()
        begin.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        through.append(1e3 * begin.elapsed_time(end) / REPLAYS)
    names = ("all-gather", "layer", "reduce-scatter")
    return {name: after - before for name, before, after in zip(names, [0.0, *through], through)}


def run_rank(index: int, ranks: int, shape: Shape, folder: str) -> None:
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", index) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if has_gpu else "gloo", rank=index, world_size=ranks,
                            init_method=f"file://{folder}/ranks")
    try:
        with torch.no_grad():
            rank = Rank(shape, index, ranks, device)
            rank.step()
            wrong = check(rank, shape)
            before = rank.result.clone()
            times = time_step(rank) if has_gpu else {}
            if not torch.equal(rank.result, before):
                wrong.append("a replay has other bytes")
            Path(folder, f"wrong{index}").write_text("; ".join(wrong))
            dist.barrier()
            if index == 0 and times:
                print("rank 0: " + ", ".join(f"{name} {us:.1f} us" for name, us in times.items()))
    finally:
        dist.destroy_process_group()


def main() -> None:
    gpus = torch.cuda.device_count()
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=gpus or 2, metavar="N",
                        help=f"({gpus or 2})")
    for name, size in (LARGE if gpus else SMALL).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size, metavar="N",
                            help=f"({size})")
    options = parser.parse_args()
    ranks = options.ranks
    if not hasattr(expert_layer.moe_mlir, "unpermute_tokens"):
        sys.exit("parallel.py: the package cannot permute: "
                 f"{expert_layer.WHY_NOT_OURS or 'it is old'}")
    if gpus and not 0 < ranks <= gpus:
        sys.exit(f"parallel.py: --ranks: expected from 1 to the {gpus} GPUs, found {ranks}")
    if ranks < 1 or options.experts % ranks:
        sys.exit(f"parallel.py: --ranks: expected a divisor of the {options.experts} experts, "
                 f"found {ranks}")
    shape = Shape(options.tokens * ranks, options.hidden, options.inner, options.experts,
                  options.top_k)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(run_rank, (ranks, shape, folder), nprocs=ranks)
        wrong = [Path(folder, f"wrong{index}").read_text() for index in range(ranks)]
    for index, text in enumerate(wrong):
        print(f"rank {index}: experts {index * shape.experts // ranks} to "
              f"{(index + 1) * shape.experts // ranks - 1}, {options.tokens} of {shape.T} tokens: "
              f"{text or 'as one device has it'}")
    if any(wrong):
        sys.exit("parallel.py: FAILED")


if __name__ == "__main__":
    main()
