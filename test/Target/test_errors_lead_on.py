# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The passes that errors of moe-module-to-binary name take a kernel to PTX, one after the other."""

from __future__ import annotations

import re
import subprocess

import pytest
from moe_testing.checkout import BIN_DIR

KERNEL = """
#nvvm_target = #nvvm.target<chip = "sm_90", features = "+ptx80">
module attributes {gpu.container_module} {
  gpu.module @user [#nvvm_target] {
    gpu.func @kernel(%x: memref<?x64xf32>, %y: memref<64xf32>, %bytes: memref<64xf8E4M3FN>) kernel {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c64 = arith.constant 64 : index
      %zero = ub.poison : f32
      %row = gpu.block_id x
      %i = affine.apply affine_map<(d0) -> (d0 * 2)>(%row)
      %j = index.add %i, %c1
      %part = memref.subview %x[%j, 0] [1, 64] [1, 1]
        : memref<?x64xf32> to memref<1x64xf32, strided<[64, 1], offset: ?>>
      linalg.fill ins(%zero : f32) outs(%y : memref<64xf32>)
      scf.for %c = %c0 to %c64 step %c1 {
        %v = memref.load %part[%c0, %c] : memref<1x64xf32, strided<[64, 1], offset: ?>>
        %s = math.sqrt %v : f32
        %b = arith.truncf %s : f32 to f8E4M3FN
        memref.store %b, %bytes[%c] : memref<64xf8E4M3FN>
      }
      scf.forall (%c) in (64) {
        %v = memref.load %y[%c] : memref<64xf32>
        memref.store %v, %y[%c] : memref<64xf32>
      }
      %z = arith.constant 0.0 : f32
      %w = vector.transfer_read %y[%c0], %z : memref<64xf32>, vector<4xf32>
      %tile = vector.transfer_read %x[%c0, %c0], %z : memref<?x64xf32>, vector<2x4xf32>
      vector.transfer_write %tile, %x[%c1, %c0] : vector<2x4xf32>, memref<?x64xf32>
      vector.store %w, %y[%c0] : memref<64xf32>, vector<4xf32>
      gpu.return
    }
  }
}
"""

pytestmark = pytest.mark.needs("moe-opt")


def moe_opt(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN_DIR / "moe-opt", *options], input=module, capture_output=True, text=True, check=False)


def test_each_error_names_a_pass_that_helps() -> None:
    module = KERNEL
    passes: list[str] = []
    while True:
        compiled = moe_opt(module, "--moe-module-to-binary")
        if compiled.returncode == 0:
            break
        named = re.search(r"error: .*: run (\S+) first", compiled.stderr)
        assert named, compiled.stderr
        # A pass that is named twice in a row has not helped.
        assert passes[-1:] != [named[1]], compiled.stderr
        passes.append(named[1])
        assert len(passes) < 40, passes
        lowered = moe_opt(module, f"--pass-pipeline=builtin.module(gpu.module({named[1]}))")
        assert lowered.returncode == 0, lowered.stderr
        module = lowered.stdout
    assert ".visible .entry kernel(" in compiled.stdout
    # All that the kernel was made of.
    assert {"convert-linalg-to-loops", "lower-affine", "convert-scf-to-cf",
            "convert-vector-to-scf", "convert-vector-to-llvm", "convert-arith-to-llvm",
            "convert-index-to-llvm", "convert-ub-to-llvm", "moe-legalize-f8",
            "expand-strided-metadata", "convert-to-llvm{filter-dialects=memref}",
            "moe-convert-kernel-math", "convert-gpu-to-nvvm"} <= set(passes), passes


def test_the_pipeline_that_they_name_does_it_alone() -> None:
    compiled = moe_opt(KERNEL, "--pass-pipeline=builtin.module(gpu.module(moe-lower-kernels),"
                       "moe-module-to-binary)")
    assert compiled.returncode == 0, compiled.stderr
    assert ".visible .entry kernel(" in compiled.stdout


@pytest.mark.parametrize("op, named", [
    ("complex.constant [0.0 : f32, 0.0 : f32] : complex<f32>", "convert-complex-to-llvm"),
    ("bufferization.alloc_tensor() : tensor<4xf32>", "convert-bufferization-to-memref"),
    ("math.exp %x : f32", "convert-gpu-to-nvvm"),
    ("math.sqrt %x : f32", "moe-convert-kernel-math"),
    ("nvgpu.device_async_create_group", "convert-nvgpu-to-nvvm"),
    ("tensor.empty() : tensor<4xf32>", "moe-bufferize"),
    ("arith.extf %b : bf16 to f32", "convert-arith-to-llvm"),
    ("arith.extf %e : f8E4M3FN to f32", "moe-legalize-f8"),
])
def test_the_pass_for_an_op(op: str, named: str) -> None:
    compiled = moe_opt(f"""
        gpu.module @k [#nvvm.target<chip = "sm_90">] {{
          llvm.func @f(%x: f32, %b: bf16) {{
            %e = builtin.unrealized_conversion_cast %x : f32 to f8E4M3FN
            %0 = {op}
            llvm.return
          }}
        }}""", "--moe-module-to-binary")
    assert f"found '{op.split(maxsplit=1)[0].split('(')[0]}': run {named} first" in compiled.stderr
    assert re.search(rf"^ +--{named} ", moe_opt("", "--help").stdout, re.M)
