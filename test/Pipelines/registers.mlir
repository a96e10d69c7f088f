// Four CTAs of 256 threads fit on an SM: each kernel has at most 64 registers, and
// neither spills nor a stack frame. Two kernels for each op.
//
// Of those that ship, three CTAs of gated units that are quantised by quads fit, with 80
// registers, and on sm_100, whose lanes have twice the elements, gated units and clamps
// spill some bytes. Routing has one CTA of 512 threads on an SM, in clusters one of 1024, unpermuting three of 256; with
// probs that spills on sm_80.
//
// Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// REQUIRES: ptxas

// RUN: moe-opt %s -moe-lower-to-ptx=chip=sm_90 | moe-translate --moe-to-ptx -o %t.ptx
// RUN: %ptxas -arch=sm_90 -v %t.ptx -o %t.cubin 2>&1 \
// RUN: | %python %S/Inputs/check_ptxas_report.py --kernels=12 --max-registers=64

// The kernels that ship.
// RUN: moe-opt %moe_obj/lib/Kernels/kernels.mlir -moe-lower-to-ptx="chip=sm_80 O=3" | moe-translate --moe-to-ptx -o %t.ptx
// RUN: %ptxas -arch=sm_80 -v %t.ptx -o %t.cubin 2>&1 \
// RUN: | %python %S/Inputs/check_ptxas_report.py --kernels=104 --max-registers=64 \
// RUN:   --besides=swiglu_quantize_mxfp8=80,0 \
// RUN:   --besides=route_tokens=128,0 --besides=unpermute_tokens=80,0 --besides=unpermute_tokens_probs=80,44
// RUN: moe-opt %moe_obj/lib/Kernels/kernels.mlir -moe-lower-to-ptx="chip=sm_80 O=0" | moe-translate --moe-to-ptx -o %t.ptx
// RUN: %ptxas -arch=sm_80 -v %t.ptx -o %t.cubin 2>&1 \
// RUN: | %python %S/Inputs/check_ptxas_report.py --kernels=104 --max-registers=64 \
// RUN:   --besides=swiglu_quantize_mxfp8=80,0 \
// RUN:   --besides=route_tokens=128,0 --besides=unpermute_tokens=80,0
// RUN: moe-opt %moe_obj/lib/Kernels/kernels.mlir -moe-lower-to-ptx="chip=sm_90 O=3" | moe-translate --moe-to-ptx -o %t.ptx
// RUN: %ptxas -arch=sm_90 -v %t.ptx -o %t.cubin 2>&1 \
// RUN: | %python %S/Inputs/check_ptxas_report.py --kernels=108 --max-registers=64 \
// RUN:   --besides=swiglu_quantize_mxfp8=80,0 \
// RUN:   --besides=route_tokens=128,0 --besides=_cluster8=64,0 --besides=unpermute_tokens=80,0
// RUN: moe-opt %moe_obj/lib/Kernels/kernels.mlir -moe-lower-to-ptx="chip=sm_90 O=0" | moe-translate --moe-to-ptx -o %t.ptx
// RUN: %ptxas -arch=sm_90 -v %t.ptx -o %t.cubin 2>&1 \
// RUN: | %python %S/Inputs/check_ptxas_report.py --kernels=108 --max-registers=64 \
// RUN:   --besides=swiglu_quantize_mxfp8=80,0 \
// RUN:   --besides=route_tokens=128,0 --besides=_cluster8=64,0 --besides=unpermute_tokens=80,0
// RUN: moe-opt %moe_obj/lib/Kernels/kernels.mlir -moe-lower-to-ptx="chip=sm_100 O=3" | moe-translate --moe-to-ptx -o %t.ptx
// RUN: %ptxas -arch=sm_100 -v %t.ptx -o %t.cubin 2>&1 \
// RUN: | %python %S/Inputs/check_ptxas_report.py --kernels=108 --max-registers=64 --besides=clamp16=64,36 \
// RUN:   --besides=swiglu_quantize_mxfp8=80,40 --besides=padded_swiglu=64,20 \
// RUN:   --besides=route_tokens=128,0 --besides=_cluster8=64,0 --besides=unpermute_tokens=80,0
// RUN: moe-opt %moe_obj/lib/Kernels/kernels.mlir -moe-lower-to-ptx="chip=sm_100 O=0" | moe-translate --moe-to-ptx -o %t.ptx
// RUN: %ptxas -arch=sm_100 -v %t.ptx -o %t.cubin 2>&1 \
// RUN: | %python %S/Inputs/check_ptxas_report.py --kernels=108 --max-registers=64 --besides=clamp16=64,36 \
// RUN:   --besides=swiglu_quantize_mxfp8=80,40 --besides=padded_swiglu=64,20 \
// RUN:   --besides=route_tokens=128,0 --besides=_cluster8=64,0 --besides=unpermute_tokens=80,0

func.func @static_activation(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                             %out: memref<?x1856xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x1856xbf16>)
  return
}
func.func @dynamic_activation(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                              %out: memref<?x?xbf16>) {
  moe.padded_squared_relu
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%out : memref<?x?xbf16>)
  return
}
func.func @static_fused(%x: memref<?x1856xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                        %data: memref<?x1856xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x1856xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x1856xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
func.func @dynamic_fused(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                         %data: memref<?x?xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
func.func @linear_fused(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                        %data: memref<?x?xf8E4M3FN>, %scale: memref<?x?xf8E8M0FNU>) {
  moe.squared_relu_quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?x?xf8E8M0FNU>)
    scale_layout<linear>
  return
}
func.func @dynamic_quantize(%x: memref<?x?xbf16>, %map: memref<?xi32>, %n: memref<i32>,
                            %data: memref<?x?xf8E4M3FN>, %scale: memref<?xf8E8M0FNU>) {
  moe.quantize_mxfp8
    ins(%x, %map, %n : memref<?x?xbf16>, memref<?xi32>, memref<i32>)
    outs(%data, %scale : memref<?x?xf8E4M3FN>, memref<?xf8E8M0FNU>)
  return
}
