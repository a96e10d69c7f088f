// Kernels that cannot be lowered.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -split-input-file -convert-moe-warp-to-gpu -verify-diagnostics

gpu.module @kernels {
gpu.func @unknown_threads() kernel {
  // expected-error@+1 {{'moe_warp.wait_for_predecessor' op expected a kernel with a known_block_size of whole warps in x}}
  moe_warp.wait_for_predecessor
  gpu.return
}
}

// -----

gpu.module @kernels {
gpu.func @half_a_warp() kernel attributes {known_block_size = array<i32: 48, 1, 1>} {
  // expected-error@+1 {{'moe_warp.wait_for_predecessor' op expected a kernel with a known_block_size of whole warps in x}}
  moe_warp.wait_for_predecessor
  gpu.return
}
}
