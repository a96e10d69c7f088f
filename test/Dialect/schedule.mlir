// The text of #moe.schedule: what is not the default is printed.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s | moe-opt | FileCheck %s
// RUN: moe-opt %s --emit-bytecode | moe-opt | FileCheck %s

// CHECK: @defaults() attributes {test.a = #moe.schedule<>, test.b = #moe.schedule<>}
func.func @defaults() attributes {
  test.a = #moe.schedule<>,
  test.b = #moe.schedule<rows = single, threads = 256, access_bytes = 16, steps = 4,
                         early_bytes = 0, early_steps = 0, clear_bytes = 1, min_ctas = 4, num_ctas = 528,
                         alignment = 16, waits = false, keeps_x = false, cluster = 1>} {
  return
}

// CHECK: @all() attributes {test.a = #moe.schedule<threads = 128, access_bytes = 32, steps = 2, early_bytes = 1048576, early_steps = 1, min_ctas = 8, num_ctas = 7, alignment = 16, waits = true, keeps_x = true>
// CHECK-SAME: test.b = #moe.schedule<clear_bytes = 16, rows = quads>
// CHECK-SAME: test.c = #moe.schedule<threads = 1024, min_ctas = 1, cluster = 8, waits = true>}
func.func @all() attributes {
  test.a = #moe.schedule<threads = 128, access_bytes = 32, steps = 2, early_bytes = 1048576, early_steps = 1,
                         min_ctas = 8, num_ctas = 7, alignment = 16, waits = true, keeps_x = true>,
  test.b = #moe.schedule<rows = quads, clear_bytes = 16>,
  test.c = #moe.schedule<cluster = 8, threads = 1024, min_ctas = 1, waits = true>} {
  return
}

// Where it is not given, the alignment is that of the access.
// CHECK: @alignment() attributes {test.a = #moe.schedule<access_bytes = 2, steps = 2>, test.b = #moe.schedule<access_bytes = 32>}
func.func @alignment() attributes {
  test.a = #moe.schedule<access_bytes = 2, alignment = 2, steps = 2>,
  test.b = #moe.schedule<access_bytes = 32>} {
  return
}

// CHECK: moe.padded_squared_relu
// CHECK-SAME: {moe.schedule = [#moe.schedule<steps = 8>, #moe.schedule<access_bytes = 2, steps = 2>]}
func.func @on_an_op(%x: memref<?x64xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x64xbf16>) {
  moe.padded_squared_relu ins(%x, %map, %n : memref<?x64xbf16>, memref<?xi32>, memref<i32>) outs(%out : memref<?x64xbf16>)
    {moe.schedule = [#moe.schedule<steps = 8>, #moe.schedule<access_bytes = 2, steps = 2>]}
  return
}
