# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A layer of experts three ways, and where its time goes: benchmarks/expert_layer.py has the ways.

    run.py [--tokens T] [--experts N] [--local N] [--top-k K] [--hidden H] [--inner F]

On a GPU: each way in a CUDA graph, Triton's too, and each part's share of it. Without one: on CPU
tensors, a small layer, whose results are compared, and nothing is timed.

Needs PyTorch, the runtime library, and this checkout's benchmarks on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys

for package, what in (("torch", "PyTorch"), ("moe_testing", "testing/ on PYTHONPATH"),
                      ("expert_layer", "benchmarks/ on PYTHONPATH")):
    if importlib.util.find_spec(package) is None:
        sys.exit(f"run.py: needs {what}")

import expert_layer  # noqa: E402
import torch  # noqa: E402
from expert_layer import PARTS, Layer, Shape, Step, Weights  # noqa: E402

# A model of 128 experts on 8 GPUs; and one that a CPU has done in a moment.
LARGE = {"tokens": 64, "experts": 128, "local": 16, "top_k": 6, "hidden": 2688, "inner": 1856}
SMALL = {"tokens": 24, "experts": 16, "local": 4, "top_k": 3, "hidden": 128, "inner": 64}
ROUTINGS, REPLAYS = 8, 21


def check(layers: dict[str, Layer], shape: Shape, weights: Weights, step: Step) -> bool:
    """Whether all have the same result, to what the order of a sum and bf16 may change."""
    wanted = None
    passed = True
    for name, layer in layers.items():
        step.out.fill_(float("nan"))
        found = expert_layer.run(layer(shape, weights, step)).clone()
        wanted = found if wanted is None else wanted
        trouble = expert_layer.trouble(found, wanted)
        passed &= trouble is None
        same = "the same bytes" if torch.equal(found, wanted) else "the same to rounding"
        print(f"{name:17} {trouble or same}")
    return passed


def time_parts(layers: dict[str, Layer], shape: Shape, weights: Weights,
               steps: list[Step]) -> None:
    """A table: microseconds that each part adds to those before it, in a CUDA graph of many."""
    import results
    import rotation

    launches = expert_layer.launches(layers, shape, weights, steps)
    for launch in launches.values():
        launch(0)
    times = rotation.time_launches(rotation.GraphTimer(), launches, ROUTINGS, REPLAYS)
    medians = {name: results.percentile(values, 0.5) for name, values in times.items()}
    print(f"\n{'us':17} " + " ".join(f"{part:>10}" for part in PARTS) + f" {'all':>10} {'':>6}")
    first = medians[f"{next(iter(layers))} through {PARTS[-1]}"]
    for name in layers:
        whole = medians[f"{name} through {PARTS[-1]}"]
        parts = expert_layer.by_part(medians, name).values()
        print(f"{name:17} " + " ".join(f"{us:10.2f}" for us in parts)
              + f" {whole:10.2f} {whole / first:5.2f}x")


def main() -> None:
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in (LARGE if has_gpu else SMALL).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size, metavar="N",
                            help=f"({size})")
    options = parser.parse_args()
    shape = Shape(options.tokens, options.hidden, options.inner, options.experts, options.top_k,
                  first=0, local=options.local)
    device = "cuda" if has_gpu else "cpu"
    layers = expert_layer.variants(with_triton=has_gpu, with_programmatic=has_gpu)
    if "moe" not in layers:
        sys.exit(f"run.py: the package cannot permute: {expert_layer.WHY_NOT_OURS or 'it is old'}")
    with torch.no_grad():
        weights = Weights.random(shape, device)
        steps = [Step.random(shape, device, seed) for seed in range(ROUTINGS)]
        print(f"{shape.T} tokens, {shape.local} of {shape.experts} experts, top-{shape.top_k}: "
              f"{shape.rows} rows of {shape.H}")
        if not check(layers, shape, weights, steps[0]):
            sys.exit("run.py: FAILED")
        if has_gpu:
            time_parts(layers, shape, weights, steps)


if __name__ == "__main__":
    main()
