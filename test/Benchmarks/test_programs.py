# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The benchmarks as programs, on a machine without a GPU: help, errors, and rehearsals on CPU
tensors with invented times.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from moe_testing import checkout
from moe_testing.checkout import LIB_DIR, ROOT, python_path

HERE = Path(__file__).resolve().parent
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None,
                                 reason="PyTorch is not installed")
needs_triton = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "triton")),
    reason="PyTorch or Triton is not installed")
needs_library = pytest.mark.needs("libmoe_runtime.so")


def run(program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "ignore", str(program), *arguments],
                          env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=600)


def benchmark(name: str, *arguments: str,
              **environment: str) -> subprocess.CompletedProcess[str]:
    return run(ROOT / "benchmarks" / name, *arguments, **environment)


@pytest.fixture
def no_torch(tmp_path: Path) -> str:
    """A PYTHONPATH that hides PyTorch."""
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    return python_path(tmp_path)


@pytest.mark.parametrize("program", ["chain.py", "gpu.py", "host_cost.py", "layer.py", "plot.py",
                                     "variants.py"])
def test_help_needs_no_torch(program: str, no_torch: str) -> None:
    done = benchmark(program, "--help", PYTHONPATH=no_torch)
    assert done.returncode == 0 and "usage:" in done.stdout and not done.stderr


def test_list_and_filters(no_torch: str) -> None:
    done = benchmark("gpu.py", "--list", "--op", "quantize", "--case", "routed", "--case",
                     "capacity 8192", PYTHONPATH=no_torch)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 16
    done = benchmark("gpu.py", "--list", "--quick", PYTHONPATH=no_torch)
    assert len(done.stdout.splitlines()) == 6
    done = benchmark("gpu.py", "--case", "nothing like it", PYTHONPATH=no_torch)
    assert done.returncode == 1
    assert done.stderr == "gpu.py: no case has that name; --list names them\n"


def test_options_that_cannot_be(no_torch: str) -> None:
    for options, message in ((("--num-ctas-per-sm", "2,0"), "expected numbers above 0, found 2,0"),
                             (("--num-ctas-per-sm", "2,x"), "--num-ctas-per-sm"),
                             (("--old", "nowhere.so"), "gpu.py: --old nowhere.so: no such file")):
        done = benchmark("gpu.py", *options, PYTHONPATH=no_torch)
        assert done.returncode != 0 and message in done.stderr.splitlines()[-1]


PROGRAMS = [("gpu.py",), ("gpu.py", "--num-ctas-per-sm", "1,2"), ("host_cost.py",),
            ("layer.py",), ("variants.py", "run", "nowhere")]


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_torch_a_line_says_so(program: tuple[str, ...], no_torch: str) -> None:
    done = benchmark(*program, PYTHONPATH=no_torch)
    assert done.returncode != 0 and done.stderr.count("\n") == 1, done.stderr
    assert "PyTorch" in done.stderr and "no torch here" in done.stderr


@needs_triton
@needs_library
@pytest.mark.parametrize("program", PROGRAMS)
def test_without_a_gpu_a_line_says_so(program: tuple[str, ...]) -> None:
    done = benchmark(*program, CUDA_VISIBLE_DEVICES="")
    assert done.returncode != 0 and done.stderr.count("\n") == 1, done.stderr
    assert "needs a CUDA GPU" in done.stderr


def rehearse(mode: str, folder: Path, *arguments: str) -> tuple[str, dict]:
    file = folder / "results.json"
    done = run(HERE / "rehearse_gpu.py", mode, str(file), *arguments,
               PYTHONPATH=python_path(ROOT / "benchmarks"))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(file.read_text())


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The library once more: one of the same path would not be loaded again."""
    folder = tmp_path / "old"
    folder.mkdir()
    return shutil.copy(checkout.LIB_DIR / "libmoe_runtime.so", folder)


@needs_triton
@needs_library
def test_rehearsal_of_gpu(tmp_path: Path, old: str) -> None:
    output, document = rehearse("gpu", tmp_path, old)
    assert [failure["name"] for failure in document["failed"]] == ["activation dense 1048576x4096"]
    assert len(document["results"]) == 9 and document["not_run"] == []
    assert document["old_runtime_sha256"] == document["runtime_sha256"]
    by_name = {result["name"]: result["peers"] for result in document["results"]}
    peers = by_name["quantize routed 3 K 96 experts 2 top 2"]
    assert set(peers) == {"moe", "moe-old", "moe-hint", "triton", "reference", "moe-untouched",
                          "moe-activation", "copy", "empty"}
    assert peers["moe"]["us"] == pytest.approx(2.02, abs=0.01)
    assert peers["moe-old"]["us"] == pytest.approx(2.52, abs=0.01)
    assert peers["moe-hint"]["us"] == pytest.approx(1.82, abs=0.01)
    # On a grid of their own, the reference's is the slowest of the alternatives, and timed yet.
    assert peers["reference"]["us"] == pytest.approx(4.04, abs=0.01)
    assert peers["reference"]["parameters"] == "block 128 warps 4 512 CTAs"
    assert peers["triton"]["us"] == pytest.approx(3.03, abs=0.01)
    assert peers["triton"]["parameters"].startswith("block 128 warps ")
    assert peers["triton"]["parameters"] != peers["reference"]["parameters"]
    assert all(result["sets"] > 1 for result in document["results"])
    assert "1 failed: activation dense 1048576x4096" in output
    assert "FAILED" not in output.replace("FAILED activation dense 1048576x4096", "")
    assert "MISS    time in times of that at the next" not in output
    assert "PASS    time in times of the old library's, every case: 0.800" in output
    assert len(document["gates"]) == 15


@needs_triton
@needs_library
def test_rehearsal_of_grids(tmp_path: Path, old: str) -> None:
    output, document = rehearse("grids", tmp_path, old)
    assert document["gates"] == [] and len(document["results"]) == 9
    for result in document["results"]:
        assert list(result["peers"]) == ["moe", "moe-old", "moe 0.5 a SM", "moe 2 a SM"]
    lines = [line for line in output.splitlines() if line.startswith("quantize dense 128x96 ")]
    assert len(lines) == 1
    assert lines[0].split()[3:] == ["2.02", "2.52", "3.03", "3.03", "0.5", "a", "SM,", "1.500"]


@needs_triton
@needs_library
def test_rehearsal_of_swiglu(tmp_path: Path) -> None:
    """Peers that are near pass, a neighbour of the oracle's result does not."""
    output, document = rehearse("swiglu", tmp_path)
    errors = {failure["name"]: failure["error"] for failure in document["failed"]}
    what = "of 8 rows next to the oracle: 1 of"
    assert errors == {
        "swiglu dense 8x64": f"BytesDiffer: out {what} 1024 bytes differ",
        "swiglu_quantize dense 8x64": f"BytesDiffer: data {what} 512 bytes differ"}
    peers = {result["name"]: set(result["peers"]) for result in document["results"]}
    common = {"moe", "moe-hint", "triton", "reference", "copy", "empty"}
    routed = "routed 2 K 96 experts 2 top 2 align 16"
    assert peers == {
        "swiglu dense 24x64": {*common, "compile"},
        "swiglu_quantize dense 24x64": {*common, "compile"}, f"swiglu {routed}": common,
        f"swiglu_quantize {routed}": {*common, "moe-untouched", "moe-activation"}}
    dense = document["results"][0]
    assert dense["bytes"] == 24 * 64 * 6 and "note" not in dense["peers"]["compile"]
    assert "PASS    times Triton, SwiGLU, every case: 1.500" in output
    assert len(document["gates"]) == 20


@needs_triton
@needs_library
def test_rehearsal_of_layer(tmp_path: Path) -> None:
    """All kinds of cases are measured; a sum that is off by one bit is not."""
    output, document = rehearse("layer", tmp_path)
    rows = "experts (2 local), top 2, H"
    errors = {failure["name"]: failure["error"] for failure in document["failed"]}
    wrong, large = f"permutation 8 tokens, 4 {rows} 64", f"permutation 4 tokens, 4 {rows} 2097152"
    assert errors.keys() == {wrong, large} and "MemoryError" in errors[large]
    assert errors[wrong] == "BytesDiffer: sums: 1 of 2048 bytes differ from the oracle's"
    found = {result["name"]: result for result in document["results"]}
    assert found.keys() == {f"permutation 3 tokens, 4 {rows} 64", f"layer 3 tokens, 4 {rows} 64",
                            f"mxfp8 2 tokens, 4 {rows} 64"}
    parts = {f"{who}-{part}" for who in ("moe", "reference", "copy")
             for part in ("route", "permute", "unpermute")} - {"copy-route"}
    common = {"moe", "moe-programmatic", "moe-hint", "reference", "triton", "empty",
              "moe-permute-hint", "moe-unpermute-hint", "reference-route-permute", *parts}
    permutation = found[f"permutation 3 tokens, 4 {rows} 64"]
    for peers in ("peers", "warm_peers"):
        assert set(permutation[peers]) == {*common, "eager"}
        assert set(found[f"mxfp8 2 tokens, 4 {rows} 64"][peers]) == common
    assert permutation["sets"] > 1 and permutation["live"] <= permutation["n_used"]
    layer = found[f"layer 3 tokens, 4 {rows} 64"]["peers"]
    assert set(layer) == {"moe", "reference", "eager"}
    assert list(layer["moe"]["parts"]) == ["permute", "FC1", "activation", "FC2", "unpermute"]
    assert len(document["gates"]) == 8 and "2 failed: " in output


@needs_triton
@needs_library
def test_rehearsal_without_time(tmp_path: Path) -> None:
    """What does not fit into the time is named, and no case begins that would end after it."""
    output, document = rehearse("late", tmp_path)
    assert document["results"] == [] and len(document["not_run"]) == 10
    assert "10 not run: activation dense 128x96; " in output


@needs_triton
@needs_library
def test_rehearsal_with_wrong_bytes(tmp_path: Path) -> None:
    output, document = rehearse("broken", tmp_path)
    assert document["results"] == []
    errors = {failure["name"]: failure["error"] for failure in document["failed"]}
    assert "bytes differ" in errors["moe activation random"]
    assert "scale, moe next to reference: 1 of" in errors["quantize dense 128x96"]
    assert output.count("\nMISS ") == 1 and "no case" not in output


@needs_triton
@needs_library
def test_rehearsal_of_variants(tmp_path: Path) -> None:
    output, document = rehearse("variants", tmp_path)
    peers = document["results"][1]["peers"]
    assert "us" in peers["K 64, 8 a SM"] and "error" in peers["silent, 1 a SM"]
    assert "K 64, 8 a SM" not in document["results"][0]["peers"]
    assert "DIFFERS" in output


@needs_triton
@needs_library
def test_rehearsal_of_host_cost(tmp_path: Path) -> None:
    output, document = rehearse("host_cost", tmp_path)
    entries = document["entries"]
    relu = entries["python torch.relu"]["us"]
    limits = {name: entry["limit"] for name, entry in entries.items() if "limit" in entry}
    # Without a driver there is no bare launch, in whose terms the C API's limits are.
    assert limits == {"python moe activation": pytest.approx(1.2 * relu, abs=1e-3),
                      "python moe quantize": pytest.approx(1.6 * relu, abs=1e-3),
                      "first call moe activation": 100_000}
    assert {"python triton quantize", "python torch.empty_like", "C moe quantize"} <= set(entries)
    for name, parts in document["parts"].items():
        assert sum(parts.values()) == pytest.approx(entries[name]["us"], abs=1e-2)
        assert bool(parts["allocation"]) is ("out=" not in name) and name in output


def test_judging_of_host_cost() -> None:
    import host_cost

    entries = host_cost.judge({
        "python torch.relu": [8.0], "C bare cuLaunchKernel": [3.0],
        "C moe activation": [3.39, 3.41, 3.42], "C moe quantize": [3.4, 3.3, 9.0],
        "python moe activation": [9.6], "python moe quantize": [12.9], "other": [1.0]})
    assert {name: entry.get("status") for name, entry in entries.items()} == {
        "python torch.relu": None, "C bare cuLaunchKernel": None, "C moe activation": "MISS",
        "C moe quantize": "PASS", "python moe activation": "PASS", "python moe quantize": "MISS",
        "other": None}


@pytest.mark.needs("moe-opt", "moe-translate", "libmoe_runtime.so")
def test_prepare_variants(tmp_path: Path) -> None:
    import variants

    for label, *options in (("before", "--chip", "sm_100"), ("after",), ("after",)):
        done = benchmark("variants.py", "prepare", str(tmp_path), "--label", label, *options)
        assert done.returncode == 0, done.stderr
    # A schedule keeps what the compiler chose for the chip, all but what it changes.
    early = (tmp_path / "before-O3-activation.ptx").read_text()
    late = (tmp_path / "before-not-early-activation.ptx").read_text()
    assert early.count("v8.b32") > late.count("v8.b32") > 0
    entries = json.loads((tmp_path / variants.MANIFEST).read_text())
    ops = [op for build in variants.BUILDS for op in variants.DIALECT_OPS
           if getattr(build, op) is not None]
    assert len(entries) == len({entry["file"] for entry in entries}) == 2 * len(ops)
    for entry in entries:
        ptx = (tmp_path / entry["file"]).read_text()
        assert f".entry {variants.DIALECT_OPS[entry['op']]}" in ptx
    text = {name: (tmp_path / f"after-{name}-quantize.ptx").read_text()
            for name in ("O3", "O0", "128-threads", "single-rows", "any-registers")}
    assert ".maxntid 128" in text["128-threads"]
    # As in the library, whose sizes are dynamic too.
    shipped = (LIB_DIR / "Kernels" / "kernels-sm_90.ptx").read_text()
    begin = text["O3"].index("{", text["O3"].index(".entry"))
    body = text["O3"][begin:text["O3"].index("ret;")]
    own, shipped = (re.sub(r"\$L__BB\d+_", "$L__BB_", ptx) for ptx in (body, shipped))
    assert own in shipped and body not in text["O0"]
    assert ".minnctapersm 4" in text["O3"] and ".minnctapersm 1" in text["any-registers"]
    # Single rows need no packed scales.
    assert "st.global.b32" in text["O3"] and "st.global.b32" not in text["single-rows"]
