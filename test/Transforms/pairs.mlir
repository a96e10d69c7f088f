// Schedules of pairs of columns, their alignment, and checks of their sizes at run time.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-choose-schedule=chip=sm_90 | FileCheck %s
// RUN: moe-opt %s -moe-choose-schedule=chip=sm_100 | FileCheck %s --check-prefix=WIDE
// RUN: moe-opt %s -moe-choose-schedule=chip=sm_90 -convert-moe-to-gpu | FileCheck %s --check-prefix=ALIGN
// RUN: moe-opt %s -generate-runtime-verification | FileCheck %s --check-prefix=SIZES

// Half the steps of one column. Of a row there are two accesses for one of the destination.
// CHECK-LABEL: func @halves
// CHECK: moe.schedule = [#moe.schedule<steps = 2, early_bytes = 1048576, early_steps = 1, waits = true>, #moe.schedule<access_bytes = 2, steps = 2, waits = true>]

// There are no chunks of less than a step.
// WIDE-LABEL: func @halves
// WIDE: moe.schedule = [#moe.schedule<access_bytes = 32, steps = 1, early_bytes = 1048576, waits = true>,

// SIZES-LABEL: func @halves
// SIZES: %[[WIDTH:.*]] = memref.dim %arg3, %c1
// SIZES: %[[TWICE:.*]] = arith.muli %[[WIDTH]], %c2
// SIZES: %[[EQUAL:.*]] = arith.cmpi eq, %{{.*}}, %[[TWICE]]
// SIZES: cf.assert %[[EQUAL]], "{{.*}}expected 'x' to have two columns for each of the destination (C14)
func.func @halves(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x?xbf16>) {
  moe.padded_swiglu ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}

// Blocks of 12 are no whole vectors.
// CHECK-LABEL: func @blocks
// CHECK: moe.schedule = [#moe.schedule<access_bytes = 2, steps = 2, waits = true>]

// SIZES-LABEL: func @blocks
// SIZES: cf.assert %{{.*}}, "{{.*}}(C14)
// SIZES: arith.remui %{{.*}}, %c12
// SIZES: cf.assert %{{.*}}, "{{.*}}expected the columns of the destination to be a multiple of 12 (C14)
func.func @blocks(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>, %out: memref<?x?xbf16>) {
  moe.padded_swiglu ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>) gate_layout<interleaved<12>>
  return
}

// CHECK-LABEL: func @quantizing
// CHECK: moe.schedule = [#moe.schedule<clear_bytes = 16, min_ctas = 3, rows = quads, waits = true>, #moe.schedule<access_bytes = 2, steps = 2, min_ctas = 3, waits = true>]

// SIZES-LABEL: func @quantizing
// SIZES: cf.assert %{{.*}}, "{{.*}}expected 'probs' to have as many elements as 'x' has rows (C18)
// SIZES: cf.assert %{{.*}}, "{{.*}}expected the columns of 'data' to be a multiple of 32 (C8)
func.func @quantizing(%x: memref<?x?xbf16>, %n: memref<i32>, %p: memref<?xf32>, %data: memref<?x?xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.swiglu_quantize_mxfp8 ins(%x, %n : memref<?x?xbf16>, memref<i32>) probs(%p : memref<?xf32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}

// Zeros are written row by row.
// CHECK-LABEL: func @zeroed
// CHECK: moe.schedule = [#moe.schedule<waits = true>, #moe.schedule<access_bytes = 2, steps = 2, waits = true>]
func.func @zeroed(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>, %data: memref<?x?xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8 ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>) dead_rows<zero>
  return
}

// ALIGN: gpu.func @padded_swiglu(
// ALIGN-SAME: moe.kernel = {{{.*}}chunk_columns = 512 : i64, early_chunk_columns = 256 : i64, early_elements = 262144 : i64, min_ctas_per_sm
// ALIGN-SAME: name = "x", row_alignment = 32 : i64, row_stride_alignment = 16 : i64}
// ALIGN-SAME: name = "out", row_stride_alignment = 16 : i64}
