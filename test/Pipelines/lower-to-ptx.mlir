// What the kernels are made of on sm_90: wide accesses to global memory, packed bf16
// arithmetic, the E4M3 conversion and a vote; no division, no call, no local memory.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// RUN: moe-opt %s -moe-lower-to-ptx | moe-translate --moe-to-ptx \
// RUN: | FileCheck %s --implicit-check-not=.extern --implicit-check-not=.local \
// RUN:     --implicit-check-not=div. --implicit-check-not=rem. --implicit-check-not=call

// CHECK: .version 8.0
// CHECK: .target sm_90{{$}}

// CHECK-LABEL: .visible .entry padded_squared_relu(
// CHECK: .maxntid 256, 1, 1
// CHECK-NOT: {{ld|st}}.global
// CHECK: griddepcontrol.wait;
// CHECK: vote.sync.ballot.b32
// CHECK-DAG: ld.global.v4.b32
// CHECK-DAG: max.bf16x2
// CHECK-DAG: mul.rn.bf16x2
// CHECK-DAG: st.global.v4.b32
// CHECK-DAG: .pragma "nounroll";
// CHECK-NOT: cvt.f32.bf16
// CHECK: ret;
// CHECK-LABEL: .visible .entry padded_squared_relu_unaligned(
// CHECK-NOT: .global.v
// CHECK-DAG: ld.global.b16
// CHECK-DAG: mul.rn.bf16
// CHECK-DAG: st.global.b16
// CHECK: ret;
func.func @activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                      %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}

// CHECK-LABEL: .visible .entry padded_squared_relu_{{[0-9]+}}(
// CHECK: vote.sync.ballot.b32
// CHECK-DAG: ld.global.v4.b32
// CHECK-DAG: max.bf16x2
// CHECK-DAG: mul.rn.bf16x2
// CHECK-DAG: st.global.v4.b32
// CHECK: ret;
// CHECK-LABEL: .visible .entry padded_squared_relu_unaligned_{{[0-9]+}}(
func.func @dynamic_activation(%x: memref<?x?xbf16, strided<[?, 1], offset: ?>>, %map: memref<?xi32>,
                              %n: memref<1xi32>, %out: memref<?x?xbf16, strided<[?, 1], offset: ?>>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16, strided<[?, 1], offset: ?>>, memref<?xi32>, memref<1xi32>)
    outs(%out : memref<?x?xbf16, strided<[?, 1], offset: ?>>)
  return
}

// CHECK-LABEL: .visible .entry squared_relu_quantize_mxfp8(
// CHECK: .maxntid 256, 1, 1
// CHECK: vote.sync.ballot.b32
// CHECK-DAG: ld.global.v4.b32
// CHECK-DAG: max.bf16x2
// CHECK-DAG: mul.rn.bf16x2
// CHECK-DAG: shfl.sync.bfly.b32
// CHECK-DAG: cvt.rn.satfinite.e4m3x2.f32
// CHECK-DAG: st.global.v2.b32
// CHECK-DAG: st.global.b32
// CHECK-NOT: st.global.b8
// CHECK: ret;
// CHECK-LABEL: .visible .entry squared_relu_quantize_mxfp8_unaligned(
// CHECK-NOT: .global.v
// CHECK: cvt.rn.satfinite.e4m3x2.f32
// CHECK-NOT: .global.v
// CHECK: ret;
func.func @quantize(%x: memref<300x1856xbf16>, %map: memref<300xi32>, %n: memref<i32>,
                    %data: memref<300x1856xf8E4M3FN>, %scale: memref<23040xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<300x1856xbf16>, memref<300xi32>, memref<i32>)
    outs(%data, %scale : memref<300x1856xf8E4M3FN>, memref<23040xf8E8M0FNU>)
  return
}

// CHECK-LABEL: .visible .entry squared_relu_quantize_mxfp8_linear(
// CHECK: vote.sync.ballot.b32
// CHECK-DAG: ld.global.v4.b32
// CHECK-DAG: mul.rn.bf16x2
// CHECK-DAG: cvt.rn.satfinite.e4m3x2.f32
// CHECK-DAG: st.global.v2.b32
// CHECK: ret;
// CHECK-LABEL: .visible .entry squared_relu_quantize_mxfp8_linear_unaligned(
func.func @dynamic_quantize(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                            %data: memref<?x?xf8E4M3FN>, %scale: memref<?x?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?x?xf8E8M0FNU>)
    scale_layout<linear>
  return
}

// The magnitude must not become a library call.
// CHECK-LABEL: .visible .entry quantize_mxfp8_untouched(
// CHECK-DAG: ld.global.v4.b32
// CHECK-DAG: {{abs.bf16x2|and.b32 .*, 2147450879;}}
// CHECK-DAG: max.bf16x2
// CHECK-DAG: mul.rn.bf16x2
// CHECK-DAG: cvt.rn.satfinite.e4m3x2.f32
// CHECK-DAG: st.global.v2.b32
// CHECK: ret;
// CHECK-LABEL: .visible .entry quantize_mxfp8_untouched_unaligned(
func.func @quantize_alone(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                          %data: memref<?x1856xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x1856xf8E4M3FN>, memref<?xf8E8M0FNU>)
    dead_scales<untouched>
  return
}
